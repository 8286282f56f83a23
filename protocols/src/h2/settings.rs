//! SETTINGS, both ways (RFC 9113 §6.5).
//!
//! We advertise once, in the preface, and never change our mind. The peer may at any time; a frame
//! of up to 2 730 values is read six bytes at a time and takes effect at its end, so that a frame
//! that changes the window a thousand times walks the streams once.

use super::flow::WINDOW_FIRST;
use super::frame::{PAYLOAD_BYTES_MAX, STREAM_MAX};
use crate::error::Fault;
use crate::spec::WireSpec;
use crate::wire::Role;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 9218 §2.1: the priorities of RFC 7540 are not used.
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// The size of a dynamic table before anybody changed it (RFC 9113 §6.5.2).
pub(super) const HEADER_TABLE_FIRST: u32 = 4096;

/// What the peer has said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerSettings {
    pub(super) header_table_bytes: u32,
    pub(super) streams_max: u32,
    pub(super) stream_window_bytes: u32,
}

impl PeerSettings {
    /// The protocol's defaults.
    pub(super) fn new() -> PeerSettings {
        PeerSettings {
            header_table_bytes: HEADER_TABLE_FIRST,
            streams_max: u32::MAX,
            stream_window_bytes: WINDOW_FIRST,
        }
    }

    /// One value. `role` is ours. What is unknown is ignored (RFC 9113 §6.5.2): among it grpc's
    /// 0xfe03, which is neither sent nor obeyed here.
    pub(super) fn set(&mut self, id: u16, value: u32, role: Role) -> Result<(), Fault> {
        let good = |good: bool| if good { Ok(()) } else { Err(Fault::BadSetting) };
        match id {
            HEADER_TABLE_SIZE => self.header_table_bytes = value,
            // A server never says 1; a client may, and nothing is pushed to it.
            ENABLE_PUSH => good(value == 0 || (value == 1 && role == Role::Server))?,
            MAX_CONCURRENT_STREAMS => self.streams_max = value,
            INITIAL_WINDOW_SIZE if value > STREAM_MAX => return Err(Fault::FlowControl),
            INITIAL_WINDOW_SIZE => self.stream_window_bytes = value,
            // Frames of the smallest size that it may allow are what we send.
            MAX_FRAME_SIZE => good((PAYLOAD_BYTES_MAX..1 << 24).contains(&value))?,
            NO_RFC7540_PRIORITIES => good(value <= 1)?,
            _ => {}
        }
        Ok(())
    }
}

/// What we advertise.
pub(super) fn ours(role: Role, spec: &WireSpec) -> impl Iterator<Item = (u16, u32)> {
    let server = role == Role::Server;
    let table = spec.h2_header_table_bytes;
    [
        (table != HEADER_TABLE_FIRST).then_some((HEADER_TABLE_SIZE, table)),
        (!server).then_some((ENABLE_PUSH, 0)),
        server.then_some((MAX_CONCURRENT_STREAMS, spec.h2_streams_max)),
        Some((INITIAL_WINDOW_SIZE, stream_window(spec))),
        Some((MAX_HEADER_LIST_SIZE, spec.head_bytes_max)),
        Some((NO_RFC7540_PRIORITIES, 1)),
    ]
    .into_iter()
    .flatten()
}

/// `h2_stream_window_bytes` as it acts: within what the protocol can say.
pub(super) fn stream_window(spec: &WireSpec) -> u32 {
    spec.h2_stream_window_bytes.min(STREAM_MAX)
}

/// `h2_connection_window_bytes` as it acts: a connection's window can only be raised.
pub(super) fn connection_window(spec: &WireSpec) -> u32 {
    spec.h2_connection_window_bytes.clamp(WINDOW_FIRST, STREAM_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(id: u16, value: u32, role: Role) -> Result<PeerSettings, Fault> {
        let mut settings = PeerSettings::new();
        settings.set(id, value, role).map(|()| settings)
    }

    #[test]
    fn values_are_taken() {
        let new = PeerSettings::new();
        for role in [Role::Server, Role::Client] {
            let want = PeerSettings { header_table_bytes: 0, ..new };
            assert_eq!(set(1, 0, role), Ok(want));
            assert_eq!(set(3, 7, role), Ok(PeerSettings { streams_max: 7, ..new }));
            let want = PeerSettings { stream_window_bytes: STREAM_MAX, ..new };
            assert_eq!(set(4, STREAM_MAX, role), Ok(want));
            for (id, value) in [(2, 0), (5, 16_384), (5, 0xff_ffff), (6, 1), (9, 1), (0xfe03, 1)] {
                assert_eq!(set(id, value, role), Ok(new));
            }
        }
        assert_eq!(set(2, 1, Role::Server), Ok(new));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for role in [Role::Server, Role::Client] {
            assert_eq!(set(4, STREAM_MAX + 1, role), Err(Fault::FlowControl));
            for (id, value) in [(2, 2), (5, 16_383), (5, 1 << 24), (5, 0), (9, 2)] {
                assert_eq!(set(id, value, role), Err(Fault::BadSetting), "{id} {value}");
            }
        }
        assert_eq!(set(2, 1, Role::Client), Err(Fault::BadSetting));
    }

    #[test]
    fn what_is_advertised() {
        let spec = WireSpec::default();
        let server: Vec<_> = ours(Role::Server, &spec).collect();
        assert_eq!(server, [(3, 128), (4, 65_536), (6, 65_536), (9, 1)]);
        let client: Vec<_> = ours(Role::Client, &spec).collect();
        assert_eq!(client, [(2, 0), (4, 65_536), (6, 65_536), (9, 1)]);
        let small = WireSpec { h2_header_table_bytes: 0, ..spec };
        assert_eq!(ours(Role::Server, &small).next(), Some((1, 0)));
    }
}

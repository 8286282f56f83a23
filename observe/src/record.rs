//! `Record`: what happened to one request, as plain data with bounded inline strings.
//!
//! Filled by the exchange, written out by the access log's thread. It owns no heap and refers to
//! nothing, so a record may outlive its connection, its route and its snapshot. R1 A text longer
//! than its field is cut, at a byte, and marked. R2 Times are microseconds; a phase that was not
//! reached is `None`. Cost: about 1 KiB, recycled by [`crate::Recorder`].

use std::net::SocketAddr;
use std::time::SystemTime;

/// A string of at most `N` bytes, any bytes; what did not fit is cut off and marked (R1).
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u16,
    cut: bool,
}

impl<const N: usize> Text<N> {
    /// Replaces the content.
    pub fn set(&mut self, text: &[u8]) {
        const { assert!(N <= u16::MAX as usize) };
        let taken = text.len().min(N);
        self.bytes[..taken].copy_from_slice(&text[..taken]);
        self.len = taken as u16;
        self.cut = taken < text.len();
    }

    /// The bytes kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether something was cut off.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Makes it empty.
    pub fn clear(&mut self) {
        self.len = 0;
        self.cut = false;
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Text<N> {
        Text { bytes: [0; N], len: 0, cut: false }
    }
}

/// One end of a connection. Unix sockets are named by the path's last 64 bytes at most.
#[derive(Clone, Copy, Default)]
pub enum Place {
    /// Not known, or not reached.
    #[default]
    None,
    /// An IP address and port.
    Inet(SocketAddr),
    /// A unix socket's path; empty for an unnamed peer.
    Unix(Text<64>),
}

/// The protocol spoken downstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing understood yet.
    #[default]
    Unknown,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
    /// Thrift, with a length before each message.
    ThriftFramed,
    /// Thrift without one.
    ThriftBuffered,
    /// Apache's and Facebook's header around Thrift.
    ThriftTheader,
    /// CloudWeGo's header around Thrift.
    ThriftTtheader,
    /// Bytes, passed through.
    Tcp,
}

impl Protocol {
    /// The word of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Unknown => "unknown",
            Protocol::Http10 => "http/1.0",
            Protocol::Http11 => "http/1.1",
            Protocol::Http2 => "http/2",
            Protocol::ThriftFramed => "thrift_framed",
            Protocol::ThriftBuffered => "thrift_buffered",
            Protocol::ThriftTheader => "thrift_theader",
            Protocol::ThriftTtheader => "thrift_ttheader",
            Protocol::Tcp => "tcp",
        }
    }
}

/// The parts of a request's life that are timed, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// First byte of the request to its complete head.
    Head,
    /// Route look-up and head edits.
    Route,
    /// Waiting for a connection of the pool.
    Queue,
    /// Connecting to the upstream.
    Connect,
    /// Head (and body) of the request queued to sent.
    Send,
    /// Request sent to the reply's first byte.
    FirstByte,
    /// First byte of the reply to its end, downstream flush included.
    Body,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 7] = [
        Phase::Head,
        Phase::Route,
        Phase::Queue,
        Phase::Connect,
        Phase::Send,
        Phase::FirstByte,
        Phase::Body,
    ];
}

/// One request, told when it is over.
#[derive(Clone, Default)]
pub struct Record {
    /// Wall clock at the request's first byte; `None` is written as 1970.
    pub at: Option<SystemTime>,
    /// `X-Request-Id`, received or made.
    pub request_id: Text<128>,
    /// Method.
    pub method: Text<16>,
    /// Host, lower-case, without port.
    pub host: Text<128>,
    /// Target as received, query included.
    pub target: Text<512>,
    /// Protocol downstream.
    pub protocol: Protocol,
    /// Status sent downstream; 0 when none was.
    pub status: u16,
    /// How a gRPC call ended, by number; `None` for what is no call.
    pub grpc_status: Option<u32>,
    /// Why ringway answered or cut by itself; empty when the upstream's reply went through.
    pub reason: &'static str,
    /// Index of the route in its generation; `None` when none matched.
    pub route: Option<u32>,
    /// Index of the cluster in its generation.
    pub cluster: Option<u32>,
    /// Generation that routed the request.
    pub generation: u64,
    /// Who asked.
    pub peer: Place,
    /// Who answered, or was tried last.
    pub upstream: Place,
    /// Body bytes received from downstream.
    pub bytes_in: u64,
    /// Body bytes sent downstream.
    pub bytes_out: u64,
    /// Upstream attempts, 0 when none was made.
    pub tries: u8,
    /// First byte to last, in microseconds.
    pub duration_us: u64,
    /// The part of it that ringway itself took, in microseconds.
    pub overhead_us: u64,
    /// Time of each phase in microseconds, by [`Phase`]; `None` was not reached (R2).
    pub phases_us: [Option<u32>; Phase::ALL.len()],
}

impl Record {
    /// Sets the time one phase took, in microseconds; longer than 71 minutes is kept as that.
    pub fn set_phase(&mut self, phase: Phase, time_us: u64) {
        self.phases_us[phase as usize] = Some(u32::try_from(time_us).unwrap_or(u32::MAX));
    }

    /// The time one phase took, if it was reached (R2).
    pub fn phase_us(&self, phase: Phase) -> Option<u32> {
        self.phases_us[phase as usize]
    }

    /// Back to a record of nothing; text bytes are left in place, only lengths are reset.
    pub fn clear(&mut self) {
        self.at = None;
        self.request_id.clear();
        self.method.clear();
        self.host.clear();
        self.target.clear();
        self.protocol = Protocol::Unknown;
        (self.status, self.grpc_status, self.reason) = (0, None, "");
        (self.route, self.cluster, self.generation) = (None, None, 0);
        (self.peer, self.upstream) = (Place::None, Place::None);
        (self.bytes_in, self.bytes_out, self.tries) = (0, 0, 0);
        (self.duration_us, self.overhead_us) = (0, 0);
        self.phases_us = [None; Phase::ALL.len()];
    }
}

const _: () = assert!(size_of::<Record>() <= 1216, "a record is about 1 KiB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_says_so() {
        let mut text: Text<4> = Text::default();
        assert!(text.is_empty());
        text.set(b"abcd");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"abcd"[..], false));
        text.set(b"abcde");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"abcd"[..], true));
        text.set(b"x");
        assert_eq!((text.as_bytes(), text.is_cut()), (&b"x"[..], false));
    }

    #[test]
    fn a_cleared_record_tells_nothing_of_the_one_before() {
        let mut record = Record { status: 200, tries: 2, route: Some(1), ..Record::default() };
        record.grpc_status = Some(5);
        record.host.set(b"secret");
        record.set_phase(Phase::Connect, 7);
        record.set_phase(Phase::Body, u64::MAX);
        assert_eq!(record.phase_us(Phase::Body), Some(u32::MAX));
        record.clear();
        assert!(record.host.is_empty() && record.route.is_none());
        assert_eq!(record.grpc_status, None);
        assert_eq!((record.status, record.tries, record.phase_us(Phase::Connect)), (0, 0, None));
    }
}

//! Frames: their heads, types, flags and error codes, read and written (RFC 9113 §4.1, §6, §7).
//!
//! Nothing here knows a stream or a connection. Payload of DATA is never touched; the payload of
//! control frames is at most eight bytes that matter, and field blocks are HPACK's.

use crate::error::Fault;

/// What a client sends before its first frame (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub(super) const HEAD_LEN: usize = 9;
/// The largest payload that is taken and sent: the default, which every peer accepts.
pub(super) const PAYLOAD_BYTES_MAX: u32 = 16 * 1024;
/// The last stream identifier there is.
pub(super) const STREAM_MAX: u32 = (1 << 31) - 1;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// A frame's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Any other: to be ignored.
    Unknown,
}

const KINDS: [Kind; 10] = [
    Kind::Data,
    Kind::Headers,
    Kind::Priority,
    Kind::RstStream,
    Kind::Settings,
    Kind::PushPromise,
    Kind::Ping,
    Kind::GoAway,
    Kind::WindowUpdate,
    Kind::Continuation,
];

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes of payload.
    pub(super) len: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// The stream, 0 for the connection.
    pub(super) stream: u32,
}

impl FrameHead {
    /// Reads a head; the reserved bit is ignored.
    pub(super) fn read(bytes: [u8; HEAD_LEN]) -> FrameHead {
        let [a, b, c, kind, flags, e, f, g, h] = bytes;
        FrameHead {
            len: u32::from_be_bytes([0, a, b, c]),
            kind: KINDS.get(usize::from(kind)).copied().unwrap_or(Kind::Unknown),
            flags,
            stream: u32::from_be_bytes([e, f, g, h]) & STREAM_MAX,
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The bytes of a head.
    pub(super) fn bytes(self) -> [u8; HEAD_LEN] {
        let [_, a, b, c] = self.len.to_be_bytes();
        let [e, f, g, h] = self.stream.to_be_bytes();
        [a, b, c, self.kind as u8, self.flags, e, f, g, h]
    }

    fn write(self, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_eq!(self.len as usize, payload.len());
        out.extend_from_slice(&self.bytes());
        out.extend_from_slice(payload);
    }
}

/// Writes the head of a DATA frame; its payload follows.
pub(super) fn data(stream: u32, len: u32, end: bool, out: &mut Vec<u8>) {
    let flags = if end { END_STREAM } else { 0 };
    out.extend_from_slice(&FrameHead { len, kind: Kind::Data, flags, stream }.bytes());
}

pub(super) fn rst_stream(stream: u32, code: Code, out: &mut Vec<u8>) {
    FrameHead { len: 4, kind: Kind::RstStream, flags: 0, stream }
        .write(&(code as u32).to_be_bytes(), out);
}

/// Writes SETTINGS with these values.
pub(super) fn settings(values: impl Iterator<Item = (u16, u32)>, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    let len = (out.len() - at - HEAD_LEN) as u32;
    put(out, at, FrameHead { len, kind: Kind::Settings, flags: 0, stream: 0 });
}

pub(super) fn settings_ack(out: &mut Vec<u8>) {
    FrameHead { len: 0, kind: Kind::Settings, flags: ACK, stream: 0 }.write(b"", out);
}

pub(super) fn ping(opaque: [u8; 8], ack: bool, out: &mut Vec<u8>) {
    let flags = if ack { ACK } else { 0 };
    FrameHead { len: 8, kind: Kind::Ping, flags, stream: 0 }.write(&opaque, out);
}

/// Writes GOAWAY; `words` tell a person why.
pub(super) fn go_away(last: u32, code: Code, words: &[u8], out: &mut Vec<u8>) {
    let len = 8 + words.len() as u32;
    out.extend_from_slice(&FrameHead { len, kind: Kind::GoAway, flags: 0, stream: 0 }.bytes());
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(words);
}

pub(super) fn window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    FrameHead { len: 4, kind: Kind::WindowUpdate, flags: 0, stream }
        .write(&increment.to_be_bytes(), out);
}

/// Writes a field block that `write` appends: HEADERS, and CONTINUATION where it is longer than a
/// frame.
pub(super) fn headers(stream: u32, end: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    write(out);
    let len = out.len() - at - HEAD_LEN;
    let end_stream = if end { END_STREAM } else { 0 };
    let max = PAYLOAD_BYTES_MAX as usize;
    if len <= max {
        let flags = END_HEADERS | end_stream;
        let head = FrameHead { len: len as u32, kind: Kind::Headers, flags, stream };
        return put(out, at, head);
    }
    put(out, at, FrameHead { len: max as u32, kind: Kind::Headers, flags: end_stream, stream });
    let rest = out.split_off(at + HEAD_LEN + max);
    let count = rest.len().div_ceil(max);
    for (index, piece) in rest.chunks(max).enumerate() {
        let flags = if index + 1 == count { END_HEADERS } else { 0 };
        let len = piece.len() as u32;
        FrameHead { len, kind: Kind::Continuation, flags, stream }.write(piece, out);
    }
}

fn put(out: &mut [u8], at: usize, head: FrameHead) {
    if let Some(place) = out.get_mut(at..at + HEAD_LEN) {
        place.copy_from_slice(&head.bytes());
    }
}

/// Declares the error codes of RFC 9113 §7: code, number, and the fault that a peer's use of it is.
macro_rules! codes {
    ($($code:ident = $number:literal, $fault:ident;)+) => {
        /// An error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(dead_code, reason = "some codes only a peer may have a use for")]
        #[repr(u32)]
        pub(super) enum Code { $($code = $number,)+ }

        /// What a peer says by this code. One without a name is like INTERNAL_ERROR.
        pub(super) fn fault_of(code: u32) -> Fault {
            match code {
                $($number => Fault::$fault,)+
                _ => Fault::PeerInternalError,
            }
        }
    };
}

codes! {
    NoError = 0x0, PeerNoError;
    ProtocolError = 0x1, PeerProtocolError;
    InternalError = 0x2, PeerInternalError;
    FlowControlError = 0x3, PeerFlowControlError;
    SettingsTimeout = 0x4, PeerSettingsTimeout;
    StreamClosed = 0x5, PeerStreamClosed;
    FrameSizeError = 0x6, PeerFrameSizeError;
    RefusedStream = 0x7, PeerRefusedStream;
    Cancel = 0x8, PeerCancel;
    CompressionError = 0x9, PeerCompressionError;
    ConnectError = 0xa, PeerConnectError;
    EnhanceYourCalm = 0xb, PeerEnhanceYourCalm;
    InadequateSecurity = 0xc, PeerInadequateSecurity;
    Http11Required = 0xd, PeerHttp11Required;
}

impl Code {
    /// How this side names what the peer did wrong.
    pub(super) fn for_fault(fault: Fault) -> Code {
        match fault {
            Fault::BadFrameSize => Code::FrameSizeError,
            Fault::FlowControl => Code::FlowControlError,
            Fault::StreamClosed => Code::StreamClosed,
            Fault::StreamRefused => Code::RefusedStream,
            Fault::SettingsTimeout => Code::SettingsTimeout,
            Fault::RapidReset | Fault::MadeYouReset | Fault::ContinuationFlood => {
                Code::EnhanceYourCalm
            }
            Fault::GlitchFlood | Fault::HeadTimeout | Fault::TooManyInterim => {
                Code::EnhanceYourCalm
            }
            Fault::BadHpackIndex | Fault::BadHpackInteger | Fault::BadHuffman => {
                Code::CompressionError
            }
            Fault::BadTableSize | Fault::HpackTruncated => Code::CompressionError,
            Fault::HpackBomb => Code::EnhanceYourCalm,
            Fault::Cancelled | Fault::PingTimeout | Fault::BodyTooLarge | Fault::BodyTooSlow => {
                Code::Cancel
            }
            _ => Code::ProtocolError,
        }
    }

    /// How this side breaks a stream off of its own accord: the peer did nothing wrong.
    pub(super) fn for_reset(fault: Fault) -> Code {
        match Code::for_fault(fault) {
            Code::ProtocolError => Code::InternalError,
            code => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_written() {
        for kind in KINDS {
            let head = FrameHead { len: 0x01_0203, kind, flags: 0x2d, stream: STREAM_MAX };
            assert_eq!(FrameHead::read(head.bytes()), head);
        }
        let unknown = FrameHead::read([0, 0, 1, 10, 0xff, 0x80, 0, 0, 1]);
        let want = FrameHead { len: 1, kind: Kind::Unknown, flags: 0xff, stream: 1 };
        assert_eq!(unknown, want, "the reserved bit is dropped");
    }

    #[test]
    fn a_block_is_cut_into_frames() {
        let max = PAYLOAD_BYTES_MAX as usize;
        for len in [0, 1, max, max + 1, 2 * max, 2 * max + 1, 5 * max] {
            let mut out = b"before".to_vec();
            headers(7, true, &mut out, |out| out.extend((0..len).map(|at| at as u8)));
            let (mut rest, mut block, mut frames) = (&out[6..], Vec::new(), Vec::new());
            while let Some((head, after)) = rest.split_at_checked(HEAD_LEN) {
                let head = FrameHead::read(head.try_into().unwrap());
                let (payload, after) = after.split_at(head.len as usize);
                block.extend_from_slice(payload);
                frames.push(head);
                rest = after;
            }
            assert_eq!(block, (0..len).map(|at| at as u8).collect::<Vec<_>>());
            assert_eq!(frames.len(), len.div_ceil(max).max(1));
            for (index, frame) in frames.iter().enumerate() {
                let last = index + 1 == frames.len();
                let first = index == 0;
                let kind = if first { Kind::Headers } else { Kind::Continuation };
                assert_eq!((frame.kind, frame.stream), (kind, 7));
                assert_eq!(frame.has(END_HEADERS), last);
                assert_eq!(frame.has(END_STREAM), first);
            }
        }
    }

    #[test]
    fn codes_and_faults() {
        assert_eq!(fault_of(Code::Cancel as u32), Fault::PeerCancel);
        assert_eq!(fault_of(0xd), Fault::PeerHttp11Required);
        assert_eq!(fault_of(0xe), Fault::PeerInternalError);
        assert_eq!(fault_of(u32::MAX), Fault::PeerInternalError);
        assert_eq!(Code::for_fault(Fault::BadTarget), Code::ProtocolError);
        assert_eq!(Code::for_reset(Fault::BadTarget), Code::InternalError);
        assert_eq!(Code::for_reset(Fault::Cancelled), Code::Cancel);
        assert_eq!(Code::for_reset(Fault::StreamRefused), Code::RefusedStream);
    }
}

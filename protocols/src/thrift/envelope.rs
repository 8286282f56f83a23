//! Everything before a message's struct, in any dialect, parsed as one.
//!
//! What is not all there is asked for by a length that it has at least, so that nothing behind it
//! is ever gathered, and each part is parsed a few times at most however it comes.

use core::ops::Range;

use super::dialect::{Dialect, Encoding, Transport};
use super::header::{Header, Limits, Step};
use super::message::{self, Beginning};
use super::{framed, theader, ttheader};
use crate::detect::{Detected, Families, Family, Options, detect};
use crate::error::Fault;
use crate::spec::WireSpec;

/// What stands before a struct.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) dialect: Dialect,
    /// Of a header; without one 0.
    pub(super) flags: u16,
    /// The sequence id of a header; without one 0.
    pub(super) outer: u32,
    /// Where a header's pairs lie.
    pub(super) blocks: Range<usize>,
    pub(super) message: Beginning,
    /// Bytes of the struct, where something says it.
    pub(super) struct_len: Option<u64>,
    /// Bytes up to the struct.
    pub(super) len: usize,
}

/// How far it could be parsed.
#[derive(Debug)]
pub(super) enum Parsed {
    /// It has at least so many bytes.
    Need(usize),
    Message(Envelope),
    /// A whole frame whose payload is compressed.
    Packed(Header, Encoding),
}

/// Limits of the parts, as a spec has them.
pub(super) fn limits(spec: &WireSpec) -> Limits {
    Limits {
        frame_bytes_max: spec.thrift_frame_bytes_max.min(FRAME_BYTES_CAP),
        header_bytes_max: spec.thrift_header_bytes_max,
        keys_max: spec.thrift_keys_max,
    }
}

/// What no frame of the family may have more of.
const FRAME_BYTES_CAP: u32 = 0x3fff_ffff;

const THRIFT: [Family; 4] = [Family::Framed, Family::Unframed, Family::THeader, Family::TtHeader];

/// Parses what `bytes` begin with; without a dialect they say which one it is.
pub(super) fn parse(
    bytes: &[u8],
    dialect: Option<Dialect>,
    is_server: bool,
    spec: &WireSpec,
) -> Result<Parsed, Fault> {
    let limits = limits(spec);
    let (transport, encoding) = match dialect {
        Some(dialect) => (dialect.transport, Some(dialect.encoding)),
        None => {
            let options = Options {
                proxy: false,
                lax: spec.thrift_lax,
                frame_bytes_max: limits.frame_bytes_max,
                allowed: Families::of(&THRIFT),
            };
            match detect(bytes, &options) {
                Detected::Thrift(transport, encoding) => (transport, encoding),
                Detected::Refused(fault) => return Err(fault),
                _ => return Ok(Parsed::Need(bytes.len() + 1)),
            }
        }
    };
    let encoding = encoding.unwrap_or(Encoding::Binary);
    let parsed = match transport {
        Transport::Framed => parse_framed(bytes, encoding, &limits),
        Transport::Unframed => {
            let plain = Dialect::new(Transport::Unframed, encoding);
            parse_message(bytes, Envelope::empty(plain, 0), None)
        }
        Transport::THeader => parse_theader(bytes, &limits),
        Transport::TtHeader => parse_ttheader(bytes, &limits),
    }?;
    match &parsed {
        Parsed::Message(found) if !is_same(dialect, found.dialect, is_server) => {
            Err(Fault::DialectChanged)
        }
        _ => Ok(parsed),
    }
}

/// Whether a message is in the connection's dialect. A server may put frames into a header as it
/// likes: that is its own length, said twice.
pub(super) fn is_same(told: Option<Dialect>, found: Dialect, is_server: bool) -> bool {
    told.is_none_or(|told| {
        let inside = !is_server || told.is_framed_inside == found.is_framed_inside;
        inside && told.transport == found.transport && told.encoding == found.encoding
    })
}

impl Envelope {
    /// What is known before the message at `len` is.
    fn empty(dialect: Dialect, len: usize) -> Envelope {
        let message =
            Beginning { kind: message::Kind::Call, seqid: 0, name: 0..0, len: 0, lax: false };
        Envelope { dialect, flags: 0, outer: 0, blocks: 0..0, message, struct_len: None, len }
    }

    fn behind(header: &Header, dialect: Dialect, len: usize) -> Envelope {
        let (flags, outer, blocks) = (header.flags, header.seqid, header.blocks.clone());
        Envelope { flags, outer, blocks, ..Envelope::empty(dialect, len) }
    }

    /// The envelope of a message that was unpacked; its name lies in the plain bytes.
    pub(super) fn unpacked(
        header: &Header,
        encoding: Encoding,
        plain: &[u8],
    ) -> Result<Envelope, Fault> {
        let dialect = Dialect::new(Transport::THeader, encoding);
        match parse_message(plain, Envelope::behind(header, dialect, 0), Some(plain.len() as u64))?
        {
            Parsed::Message(envelope) => Ok(envelope),
            _ => Err(Fault::BadThriftFrame),
        }
    }
}

/// The message at `envelope.len`, which with its struct has `room` bytes, if that is known.
fn parse_message(bytes: &[u8], mut envelope: Envelope, room: Option<u64>) -> Result<Parsed, Fault> {
    let at = envelope.len;
    let need = |need: usize| match room {
        Some(room) if need as u64 > room => Err(Fault::BadThriftFrame),
        _ => Ok(Parsed::Need(at + need)),
    };
    // What lies behind the frame is not looked at: it must not change the verdict.
    let bytes = bytes.get(at..).unwrap_or_default();
    let room_here = room.and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX);
    let bytes = bytes.get(..room_here).unwrap_or(bytes);
    match message::read(envelope.dialect.encoding, bytes)? {
        message::Step::Need(more) => need(more),
        message::Step::Done(mut message) => {
            let struct_len = room.map(|room| room.saturating_sub(message.len as u64));
            // A struct has one byte at least.
            if struct_len == Some(0) {
                return Err(Fault::BadThriftFrame);
            }
            message.name = message.name.start + at..message.name.end + at;
            envelope.len += message.len;
            Ok(Parsed::Message(Envelope { message, struct_len, ..envelope }))
        }
    }
}

fn parse_framed(bytes: &[u8], encoding: Encoding, limits: &Limits) -> Result<Parsed, Fault> {
    let Some(length) = framed::read(bytes, limits.frame_bytes_max)? else {
        return Ok(Parsed::Need(framed::LENGTH_BYTES));
    };
    let dialect = Dialect::new(Transport::Framed, encoding);
    let envelope = Envelope::empty(dialect, framed::LENGTH_BYTES);
    parse_message(bytes, envelope, Some(length.into()))
}

fn parse_theader(bytes: &[u8], limits: &Limits) -> Result<Parsed, Fault> {
    let header = match theader::read(bytes, limits)? {
        Step::Need(need) => return Ok(Parsed::Need(need)),
        Step::Done(header) => header,
    };
    let encoding = match header.protocol {
        theader::PROTOCOL_COMPACT => Encoding::Compact,
        _ => Encoding::Binary,
    };
    if header.is_zlib {
        let whole = header.len + header.payload_len as usize;
        let is_whole = bytes.len() >= whole;
        return Ok(if is_whole { Parsed::Packed(header, encoding) } else { Parsed::Need(whole) });
    }
    let dialect = Dialect::new(Transport::THeader, encoding);
    let envelope = Envelope::behind(&header, dialect, header.len);
    parse_message(bytes, envelope, Some(header.payload_len.into()))
}

/// The payload is looked at: what the header says of it is not reliable.
fn parse_ttheader(bytes: &[u8], limits: &Limits) -> Result<Parsed, Fault> {
    let header = match ttheader::read(bytes, limits)? {
        Step::Need(need) => return Ok(Parsed::Need(need)),
        Step::Done(header) => header,
    };
    let room = u64::from(header.payload_len);
    let payload = bytes.get(header.len..).unwrap_or_default();
    let (encoding, is_framed_inside) = match payload {
        [] => return Ok(Parsed::Need(header.len + 1)),
        [0x80, ..] => (Encoding::Binary, false),
        [0x82, ..] => (Encoding::Compact, false),
        [_, _, _, _, 0x80, ..] => (Encoding::Binary, true),
        [_, _, _, _, 0x82, ..] => (Encoding::Compact, true),
        _ if room < 5 => return Err(Fault::BadThriftFrame),
        [_, _, _, _, _, ..] => return Err(Fault::UnknownPayloadProtocol),
        _ => return Ok(Parsed::Need(header.len + 5)),
    };
    let dialect = Dialect { transport: Transport::TtHeader, encoding, is_framed_inside };
    if !is_framed_inside {
        let envelope = Envelope::behind(&header, dialect, header.len);
        return parse_message(bytes, envelope, Some(room));
    }
    let inside = framed::read(payload, limits.frame_bytes_max)?.map(u64::from);
    if inside != room.checked_sub(framed::LENGTH_BYTES as u64) {
        return Err(Fault::BadThriftFrame);
    }
    let envelope = Envelope::behind(&header, dialect, header.len + framed::LENGTH_BYTES);
    parse_message(bytes, envelope, inside)
}

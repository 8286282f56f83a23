//! What a call is answered with, and what its headers may ask for.

use std::time::Duration;

use super::cursor::{Broken, put_varint};
use super::message::{Encoding, Head, Kind};
use super::packet::{Packet, write};
use super::walk::Fields;

/// The type of a TApplicationException for whatever has no type of its own.
const INTERNAL_ERROR: i32 = 6;

/// The method that fails.
const FAIL: &[u8] = b"fail";

/// What the headers of a call ask for. The doc of each field names its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// `mock-delay-ms`: pause before the reply.
    pub(super) delay: Duration,
    /// `mock-exception`: the type of the TApplicationException that is the reply.
    exception: Option<i32>,
}

impl Orders {
    /// The orders of a call, over a default `delay`. What cannot be read is answered with an
    /// exception.
    pub(super) fn of(packet: &Packet<'_>, delay: Duration) -> Result<Self, Broken> {
        let given = packet.pair("mock-delay-ms")?.map(number);
        let exception = packet.pair("mock-exception")?.map(number);
        let is_broken = given == Some(None) || exception == Some(None);
        let fails = is_broken || method(packet.head.name) == FAIL;
        let given = given.flatten().and_then(|ms| u64::try_from(ms).ok());
        Ok(Self {
            delay: given.map_or(delay, Duration::from_millis),
            exception: exception.flatten().or(fails.then_some(INTERNAL_ERROR)),
        })
    }
}

fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number| *number >= 0)
}

/// A method's name without the service that stands before it.
fn method(name: &[u8]) -> &[u8] {
    let colon = name.iter().position(|&byte| byte == b':');
    colon.map_or(name, |colon| &name[colon + 1..])
}

/// Writes the reply to a call, as the caller speaks.
pub(super) fn answer(
    out: &mut Vec<u8>,
    packet: &Packet<'_>,
    orders: &Orders,
) -> Result<(), Broken> {
    let Packet { envelope, head: Head { encoding, number, name, .. }, .. } = *packet;
    // As servers of TMultiplexedProtocol do, without the service.
    let name = method(name);
    if let Some(kind) = orders.exception {
        let head = Head { encoding, number, name, kind: Kind::Exception };
        write(out, envelope, &[], &head, &[&exception(encoding, kind, "as asked")]);
        return Ok(());
    }
    let (begin, value) = echo(packet)?;
    let head = Head { encoding, number, name, kind: Kind::Reply };
    write(out, envelope, &[], &head, &[begin.as_slice(), value, &[0]]);
    Ok(())
}

/// A result whose value is the call's first argument: what stands before it, and the value. A call
/// without arguments has a reply without a result.
fn echo<'a>(packet: &Packet<'a>) -> Result<(Vec<u8>, &'a [u8]), Broken> {
    let encoding = packet.head.encoding;
    let Some(field) = Fields::new(encoding, packet.body).next()? else {
        return Ok((Vec::new(), &[]));
    };
    // Field 0; Compact has no short form for it.
    let begin = match encoding {
        Encoding::Binary => vec![field.kind, 0, 0],
        Encoding::Compact => vec![field.kind, 0],
    };
    Ok((begin, field.value))
}

/// The struct of a TApplicationException.
fn exception(encoding: Encoding, kind: i32, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Binary => {
            out.extend_from_slice(&[11, 0, 1]);
            out.extend_from_slice(&(message.len() as u32).to_be_bytes());
            out.extend_from_slice(message.as_bytes());
            out.extend_from_slice(&[8, 0, 2]);
            out.extend_from_slice(&kind.to_be_bytes());
        }
        Encoding::Compact => {
            out.push(0x18);
            put_varint(&mut out, message.len() as u32);
            out.extend_from_slice(message.as_bytes());
            out.push(0x15);
            put_varint(&mut out, ((kind << 1) ^ (kind >> 31)) as u32);
        }
    }
    out.push(0);
    out
}

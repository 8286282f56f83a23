//! The Compact encoding: how a message begins, and the shapes of its types.
//!
//! Numbers are variable in length, seven bits a byte, the lowest first. Version 1 is spoken: in
//! version 2 a double has the other byte order, and passing it on to a reader of version 1 would
//! falsify it.

use super::message::{Beginning, Kind, NAME_BYTES_MAX, Step};
use super::walk::Shape;
use crate::error::Fault;

const MARK: u8 = 0x82;
const VERSION: u8 = 1;
/// Bytes of the longest number of 32 bits.
pub(super) const VARINT32_BYTES_MAX: usize = 5;

/// See [`super::message::read`]; names are checked there.
pub(super) fn read(bytes: &[u8]) -> Result<Step, Fault> {
    let (kind, rest) = match bytes {
        [] => return Ok(Step::Need(1)),
        [MARK] => return Ok(Step::Need(2)),
        [MARK, second, rest @ ..] if second & 0x1f == VERSION => (second >> 5, rest),
        _ => return Err(Fault::BadThriftMessage),
    };
    let kind = Kind::find(kind).ok_or(Fault::BadThriftMessage)?;
    let Some((seqid, seqid_len)) = varint(rest).ok_or(Fault::BadThriftMessage)? else {
        return Ok(Step::Need(bytes.len() + 1));
    };
    let rest = rest.get(seqid_len..).unwrap_or_default();
    let Some((name_len, len_len)) = varint(rest).ok_or(Fault::BadThriftName)? else {
        return Ok(Step::Need(bytes.len() + 1));
    };
    let (at, name_len) = (2 + seqid_len + len_len, name_len as usize);
    if name_len > NAME_BYTES_MAX {
        return Err(Fault::BadThriftName);
    }
    let len = at + name_len;
    if bytes.len() < len {
        return Ok(Step::Need(len));
    }
    Ok(Step::Done(Beginning { kind, seqid: seqid as i32, name: at..len, len, lax: false }))
}

/// Appends the beginning of a message.
pub(super) fn write(kind: Kind, name: &[u8], seqid: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[MARK, (kind as u8) << 5 | VERSION]);
    write_varint(seqid as u32, out);
    write_varint(name.len() as u32, out);
    out.extend_from_slice(name);
}

/// The number of 32 bits at the start of `bytes`, and its length. Inside, `None` if it is not all
/// there; outside, if it is too long.
pub(super) fn varint(bytes: &[u8]) -> Option<Option<(u32, usize)>> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(VARINT32_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some(Some((u32::try_from(value).ok()?, index + 1)));
        }
    }
    if bytes.len() < VARINT32_BYTES_MAX { Some(None) } else { None }
}

/// Appends a number of 32 bits.
pub(crate) fn write_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`write_varint`] appends.
pub(super) fn varint_len(value: u32) -> usize {
    let bits = u32::BITS - value.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

/// What a value of this type looks like inside a container; the value of a field that is a bool
/// lies in its type.
pub(super) fn shape(kind: u8) -> Option<Shape> {
    match kind {
        1..=3 => Some(Shape::Fixed(1)),
        4 | 5 => Some(Shape::Varint(VARINT32_BYTES_MAX as u8)),
        6 => Some(Shape::Varint(10)),
        7 => Some(Shape::Fixed(8)),
        8 => Some(Shape::Bytes),
        9 | 10 => Some(Shape::List),
        11 => Some(Shape::Map),
        12 => Some(Shape::Struct),
        13 => Some(Shape::Fixed(16)),
        _ => None,
    }
}

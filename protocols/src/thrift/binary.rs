//! The Binary encoding: how a message begins, and the shapes of its types.
//!
//! All numbers are big-endian. Strict messages begin with a version; readers ignore its third byte.
//! The older form begins with the name's length: it is read where the caller says so, and such a
//! caller understands strict ones as well.

use super::message::{Beginning, Kind, NAME_BYTES_MAX, Step};
use super::walk::Shape;
use crate::error::Fault;

/// Version 1, in the two bytes that are compared.
const VERSION: [u8; 2] = [0x80, 1];

/// See [`super::message::read`]; names are checked there.
pub(super) fn read(bytes: &[u8], lax: bool) -> Result<Step, Fault> {
    match bytes {
        [0x80, ..] => read_strict(bytes),
        [_, ..] if lax => read_lax(bytes),
        [_, ..] => Err(Fault::BadThriftMessage),
        [] => Ok(Step::Need(1)),
    }
}

fn read_strict(bytes: &[u8]) -> Result<Step, Fault> {
    let Some((word, _)) = bytes.split_first_chunk::<4>() else { return Ok(Step::Need(4)) };
    let [first, second, _, kind] = *word;
    let kind = Kind::find(kind).filter(|_| [first, second] == VERSION);
    let kind = kind.ok_or(Fault::BadThriftMessage)?;
    let Some(name_len) = number(bytes, 4) else { return Ok(Step::Need(8)) };
    let name_len = check_len(name_len)?;
    let Some(seqid) = number(bytes, 8 + name_len) else { return Ok(Step::Need(12 + name_len)) };
    let name = 8..8 + name_len;
    Ok(Step::Done(Beginning { kind, seqid: seqid as i32, name, len: 12 + name_len, lax: false }))
}

fn read_lax(bytes: &[u8]) -> Result<Step, Fault> {
    let Some(name_len) = number(bytes, 0) else { return Ok(Step::Need(4)) };
    let name_len = check_len(name_len)?;
    let Some(&kind) = bytes.get(4 + name_len) else { return Ok(Step::Need(5 + name_len)) };
    let kind = Kind::find(kind).ok_or(Fault::BadThriftMessage)?;
    let Some(seqid) = number(bytes, 5 + name_len) else { return Ok(Step::Need(9 + name_len)) };
    let name = 4..4 + name_len;
    Ok(Step::Done(Beginning { kind, seqid: seqid as i32, name, len: 9 + name_len, lax: true }))
}

fn check_len(len: u32) -> Result<usize, Fault> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len <= NAME_BYTES_MAX { Ok(len) } else { Err(Fault::BadThriftName) }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*four))
}

/// Appends the beginning of a strict message.
pub(super) fn write(kind: Kind, name: &[u8], seqid: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&[0, kind as u8]);
    out.extend_from_slice(&(name.len() as u32).to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&seqid.to_be_bytes());
}

/// Appends the beginning of a message without a version.
pub(super) fn write_lax(kind: Kind, name: &[u8], seqid: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.len() as u32).to_be_bytes());
    out.extend_from_slice(name);
    out.push(kind as u8);
    out.extend_from_slice(&seqid.to_be_bytes());
}

/// What a value of this type looks like.
pub(super) fn shape(kind: u8) -> Option<Shape> {
    match kind {
        2 | 3 => Some(Shape::Fixed(1)),
        4 | 10 => Some(Shape::Fixed(8)),
        6 => Some(Shape::Fixed(2)),
        // 19 is Facebook's FLOAT.
        8 | 19 => Some(Shape::Fixed(4)),
        11 => Some(Shape::Bytes),
        12 => Some(Shape::Struct),
        13 => Some(Shape::Map),
        14 | 15 => Some(Shape::List),
        16 => Some(Shape::Fixed(16)),
        _ => None,
    }
}

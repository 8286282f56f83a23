//! What begins a message: type, method and sequence id, in either encoding.

use core::ops::Range;

use super::dialect::Encoding;
use super::{binary, compact};
use crate::error::Fault;

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request that is answered.
    Call = 1,
    /// The answer, declared exceptions included.
    Reply = 2,
    /// A failure of the call itself: a TApplicationException.
    Exception = 3,
    /// A request that is not answered.
    Oneway = 4,
}

impl Kind {
    /// The type with this number.
    pub fn find(number: u8) -> Option<Kind> {
        [Kind::Call, Kind::Reply, Kind::Exception, Kind::Oneway]
            .into_iter()
            .find(|&kind| kind as u8 == number)
    }

    /// Whether it asks for something.
    pub fn is_request(self) -> bool {
        matches!(self, Kind::Call | Kind::Oneway)
    }
}

/// The beginning of a message, as it lies in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The type.
    pub kind: Kind,
    /// The sender's number of the call.
    pub seqid: i32,
    /// Where the method's name lies.
    pub name: Range<usize>,
    /// Bytes up to the struct.
    pub len: usize,
    /// It is Binary without a version.
    pub lax: bool,
}

/// How far the beginning of a message could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has at least so many bytes.
    Need(usize),
    /// It is whole.
    Done(Beginning),
}

/// Bytes of a method's name with its service: twice the longest name found in the wild.
pub const NAME_BYTES_MAX: usize = 256;

/// Reads the beginning of a message at the start of `bytes`.
///
/// # Errors
///
/// `bad_thrift_message` for a version or type that there is not, `bad_thrift_name`.
pub fn read(encoding: Encoding, bytes: &[u8]) -> Result<Step, Fault> {
    let step = match encoding {
        Encoding::Binary => binary::read(bytes, false)?,
        Encoding::LaxBinary => binary::read(bytes, true)?,
        Encoding::Compact => compact::read(bytes)?,
    };
    if let Step::Done(Beginning { kind, name, .. }) = &step {
        check_name(*kind, bytes.get(name.clone()).unwrap_or_default())?;
    }
    Ok(step)
}

/// Appends the beginning of a message.
pub fn write(encoding: Encoding, kind: Kind, name: &[u8], seqid: i32, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Binary => binary::write(kind, name, seqid, out),
        Encoding::LaxBinary => binary::write_lax(kind, name, seqid, out),
        Encoding::Compact => compact::write(kind, name, seqid, out),
    }
}

/// Bytes that [`write()`] appends.
pub fn written_len(encoding: Encoding, name: &[u8], seqid: i32) -> usize {
    match encoding {
        Encoding::Binary => 12 + name.len(),
        Encoding::LaxBinary => 9 + name.len(),
        Encoding::Compact => {
            let lens = compact::varint_len(seqid as u32) + compact::varint_len(name.len() as u32);
            2 + lens + name.len()
        }
    }
}

/// A name that stands for itself in a path: letters, digits and `_ . $ -`, beginning with a letter,
/// a digit or `_`. What a path treats in a way of its own (`/ ? % ;`) no name may hold.
pub fn is_identifier(name: &[u8]) -> bool {
    let first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let rest = |byte: &u8| first(byte) || b".$-".contains(byte);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.first().is_some_and(first)
        && name.iter().all(rest)
}

/// The service of a multiplexed call and the method: split at the first colon.
pub fn split_name(name: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match name.iter().position(|&byte| byte == b':') {
        Some(at) => (name.get(..at), name.get(at + 1..).unwrap_or_default()),
        None => (None, name),
    }
}

/// Some servers do not say which method an exception belongs to.
fn check_name(kind: Kind, name: &[u8]) -> Result<(), Fault> {
    let (service, method) = split_name(name);
    let nameless = kind == Kind::Exception && name.is_empty();
    let fits = service.is_none_or(is_identifier) && is_identifier(method);
    if nameless || fits { Ok(()) } else { Err(Fault::BadThriftName) }
}

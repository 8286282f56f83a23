//! TApplicationException: how a call itself failed, as the struct that an EXCEPTION message holds.

use super::compact;
use super::dialect::Encoding;

/// The number of what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

impl Code {
    /// Nobody serves this method.
    pub const UNKNOWN_METHOD: Code = Code(1);
    /// The call failed on its way, or in its server.
    pub const INTERNAL_ERROR: Code = Code(6);
    /// The message could not be understood.
    pub const PROTOCOL_ERROR: Code = Code(7);
}

/// An exception that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// What went wrong; 0 where it does not say.
    pub code: Code,
    /// In words, for people; nothing says that they are UTF-8.
    pub text: &'a [u8],
}

/// Appends the struct.
pub fn write(encoding: Encoding, code: Code, text: &[u8], out: &mut Vec<u8>) {
    if encoding == Encoding::Compact {
        out.push(0x18);
        compact::write_varint(text.len() as u32, out);
        out.extend_from_slice(text);
        out.push(0x15);
        compact::write_varint(zigzag(code.0), out);
    } else {
        out.extend_from_slice(&[11, 0, 1]);
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text);
        out.extend_from_slice(&[8, 0, 2]);
        out.extend_from_slice(&code.0.to_be_bytes());
    }
    out.push(0);
}

/// Bytes that [`write()`] appends.
pub fn written_len(encoding: Encoding, code: Code, text: &[u8]) -> usize {
    let len = text.len();
    if encoding == Encoding::Compact {
        3 + compact::varint_len(len as u32) + len + compact::varint_len(zigzag(code.0))
    } else {
        15 + len
    }
}

/// Reads the struct at the start of `bytes`; `None` if they are not all of one, or one with other
/// fields.
pub fn read(encoding: Encoding, mut bytes: &[u8]) -> Option<Exception<'_>> {
    let mut found = Exception { code: Code(0), text: b"" };
    let mut id = 0;
    while let Some((kind, rest)) = field(encoding, bytes, &mut id)? {
        bytes = match (id, kind) {
            (1, TEXT) => {
                let (text, rest) = text(encoding, rest)?;
                found.text = text;
                rest
            }
            (2, NUMBER) => {
                let (code, rest) = number(encoding, rest)?;
                found.code = Code(code);
                rest
            }
            _ => return None,
        };
    }
    Some(found)
}

/// Binary's types of the two fields.
const TEXT: u8 = 11;
const NUMBER: u8 = 8;

/// A field's type, as Binary numbers it, and what is behind it; inside, `None` for STOP.
fn field<'a>(encoding: Encoding, bytes: &'a [u8], id: &mut i32) -> Option<Option<(u8, &'a [u8])>> {
    match (encoding, bytes) {
        (_, [0, ..]) => Some(None),
        (Encoding::Compact, [head, rest @ ..]) => {
            let kind = match head & 15 {
                8 => TEXT,
                5 => NUMBER,
                _ => return None,
            };
            *id += i32::from(head >> 4);
            if head >> 4 > 0 {
                return Some(Some((kind, rest)));
            }
            let (number, rest) = number(encoding, rest)?;
            *id = number;
            Some(Some((kind, rest)))
        }
        (_, [kind, high, low, rest @ ..]) => {
            *id = i32::from(i16::from_be_bytes([*high, *low]));
            Some(Some((*kind, rest)))
        }
        _ => None,
    }
}

fn text(encoding: Encoding, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match encoding {
        Encoding::Compact => {
            let (len, used) = compact::varint(bytes)??;
            (len, bytes.get(used..)?)
        }
        Encoding::Binary | Encoding::LaxBinary => {
            let (len, rest) = bytes.split_first_chunk()?;
            (u32::from_be_bytes(*len), rest)
        }
    };
    rest.split_at_checked(usize::try_from(len).ok()?)
}

fn number(encoding: Encoding, bytes: &[u8]) -> Option<(i32, &[u8])> {
    match encoding {
        Encoding::Compact => {
            let (value, used) = compact::varint(bytes)??;
            let value = (value >> 1) as i32 ^ -((value & 1) as i32);
            Some((value, bytes.get(used..)?))
        }
        Encoding::Binary | Encoding::LaxBinary => {
            let (value, rest) = bytes.split_first_chunk()?;
            Some((i32::from_be_bytes(*value), rest))
        }
    }
}

fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

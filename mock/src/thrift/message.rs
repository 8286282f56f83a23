//! The beginning of a message: its kind, name and number, in either encoding.

use super::cursor::{Broken, Cursor, Stop, put_varint};

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Big-endian numbers of fixed length; only with a version in front.
    Binary,
    /// Numbers as long as they need.
    Compact,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants a reply.
    Call = 1,
    /// Answers a call.
    Reply = 2,
    /// Says why a call was not done.
    Exception = 3,
    /// Wants none.
    Oneway = 4,
}

/// What stands before a message's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// How it is written, and the struct behind it.
    pub encoding: Encoding,
    /// What it is for.
    pub kind: Kind,
    /// The method's, as it is on the wire: maybe behind a service and a colon.
    pub name: &'a [u8],
    /// What a reply repeats of its call.
    pub number: i32,
}

const NAME_BYTES_MAX: usize = 256;
/// `80 01`, a byte that nobody reads, and the kind.
const BINARY: u32 = 0x8001_0000;
const BINARY_MASK: u32 = 0xffff_0000;
/// The first byte of Compact, and the version in the second one.
const COMPACT: u8 = 0x82;
const COMPACT_VERSION: u8 = 1;

impl<'a> Head<'a> {
    /// Reads one; what follows is its struct.
    pub(super) fn read(input: &mut Cursor<'a>) -> Result<Self, Stop> {
        match input.rest().first() {
            None => Err(Stop::More),
            Some(0x80) => Self::read_binary(input),
            Some(&COMPACT) => Self::read_compact(input),
            Some(_) => Err(Broken("no message of Binary or Compact").into()),
        }
    }

    fn read_binary(input: &mut Cursor<'a>) -> Result<Self, Stop> {
        let word = input.u32()?;
        if word & BINARY_MASK != BINARY {
            return Err(Broken("another version of Binary").into());
        }
        let kind = kind_of(word as u8)?;
        let name = name(input, true)?;
        let number = input.u32()? as i32;
        Ok(Self { encoding: Encoding::Binary, kind, name, number })
    }

    fn read_compact(input: &mut Cursor<'a>) -> Result<Self, Stop> {
        input.u8()?;
        let second = input.u8()?;
        if second & 0x1f != COMPACT_VERSION {
            return Err(Broken("another version of Compact").into());
        }
        let kind = kind_of(second >> 5)?;
        let number = input.varint()? as u32 as i32;
        let name = name(input, false)?;
        Ok(Self { encoding: Encoding::Compact, kind, name, number })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Binary => {
                out.extend_from_slice(&(BINARY | self.kind as u32).to_be_bytes());
                out.extend_from_slice(&(self.name.len() as u32).to_be_bytes());
                out.extend_from_slice(self.name);
                out.extend_from_slice(&self.number.to_be_bytes());
            }
            Encoding::Compact => {
                out.extend_from_slice(&[COMPACT, (self.kind as u8) << 5 | COMPACT_VERSION]);
                put_varint(out, self.number as u32);
                put_varint(out, self.name.len() as u32);
                out.extend_from_slice(self.name);
            }
        }
    }
}

fn kind_of(number: u8) -> Result<Kind, Stop> {
    let all = [Kind::Call, Kind::Reply, Kind::Exception, Kind::Oneway];
    let kind = all.into_iter().find(|kind| *kind as u8 == number);
    kind.ok_or(Broken("a message of no known kind").into())
}

fn name<'a>(input: &mut Cursor<'a>, is_binary: bool) -> Result<&'a [u8], Stop> {
    let length = input.length(is_binary)?;
    if length > NAME_BYTES_MAX {
        return Err(Broken("a name of more than 256 bytes").into());
    }
    input.take(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        for encoding in [Encoding::Binary, Encoding::Compact] {
            for (kind, number) in [(Kind::Call, 0), (Kind::Reply, -1), (Kind::Oneway, 300)] {
                let head = Head { encoding, kind, name: b"echo", number };
                let mut out = Vec::new();
                head.write(&mut out);
                let mut input = Cursor::new(&out, 0);
                assert_eq!((Head::read(&mut input), input.at), (Ok(head), out.len()));
                for len in 0..out.len() {
                    assert_eq!(Head::read(&mut Cursor::new(&out[..len], 0)), Err(Stop::More));
                }
            }
        }
    }

    #[test]
    fn what_is_no_head_is_broken() {
        let long = [&b"\x80\x01\0\x01\0\0\x01\x01"[..], &[b'a'; 257]].concat();
        let cases: [&[u8]; 5] =
            [b"GET / HT", b"\x80\x02\0\x01", b"\x82\x22", b"\x80\x01\0\x05", &long];
        for bytes in cases {
            let read = Head::read(&mut Cursor::new(bytes, 0));
            assert!(matches!(read, Err(Stop::Broken(_))), "{bytes:x?}");
        }
    }
}

//! Finds where a struct or a value ends, however its bytes arrive.
//!
//! It knows no field's meaning. It goes on where it stopped, so that a struct which comes in many
//! pieces is read once; its depth is bounded, and it does not recurse.

use super::cursor::{Broken, Cursor, Stop};
use super::message::Encoding;

/// Structs and containers in each other.
const DEPTH_MAX: usize = 64;

/// A walk over one struct or value.
pub(super) struct Walk {
    encoding: Encoding,
    at: usize,
    levels: Vec<Level>,
}

enum Level {
    Fields,
    /// So many are left; even and odd ones are of their own kind, as keys and values are.
    Elements {
        left: u64,
        kinds: [u8; 2],
    },
}

impl Walk {
    /// Of a struct whose first byte is at `at`.
    pub(super) fn of_struct(encoding: Encoding, at: usize) -> Self {
        Self { encoding, at, levels: vec![Level::Fields] }
    }

    /// Goes on over `bytes`, which begin as they did before; the end, once it is among them.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        self.run_while(bytes, |levels| levels > 0)
    }

    fn run_while(
        &mut self,
        bytes: &[u8],
        goes_on: impl Fn(usize) -> bool,
    ) -> Result<Option<usize>, Broken> {
        while goes_on(self.levels.len()) {
            match self.step(bytes) {
                Ok(()) => {}
                Err(Stop::More) => return Ok(None),
                Err(Stop::Broken(broken)) => return Err(broken),
            }
        }
        Ok(Some(self.at))
    }

    /// Takes one value that holds no other, or enters or leaves one that does.
    fn step(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut input = Cursor::new(bytes, self.at);
        let (kind, is_field) = match self.levels.last() {
            None => return Ok(()),
            Some(Level::Fields) => (field(self.encoding, &mut input)?, true),
            Some(Level::Elements { left: 0, .. }) => (STOP, true),
            Some(Level::Elements { left, kinds }) => (kinds[(left % 2) as usize], false),
        };
        if kind == STOP && is_field {
            self.levels.pop();
            self.at = input.at;
            return Ok(());
        }
        let inner = value(self.encoding, kind, is_field, &mut input)?;
        if let Some(Level::Elements { left, .. }) = self.levels.last_mut() {
            *left -= 1;
        }
        self.at = input.at;
        if let Some(inner) = inner {
            self.enter(inner)?;
        }
        Ok(())
    }

    fn enter(&mut self, level: Level) -> Result<(), Broken> {
        if self.levels.len() == DEPTH_MAX {
            return Err(Broken("too deep"));
        }
        self.levels.push(level);
        Ok(())
    }
}

/// The kind of a field, in either encoding, that ends a struct.
const STOP: u8 = 0;

/// Reads a field's beginning.
fn field(encoding: Encoding, input: &mut Cursor<'_>) -> Result<u8, Stop> {
    let first = input.u8()?;
    match encoding {
        Encoding::Binary if first == STOP => {}
        Encoding::Binary => drop(input.u16()?),
        Encoding::Compact if first & 0xf0 == 0 && first != STOP => drop(input.varint()?),
        Encoding::Compact => return Ok(first & 0x0f),
    }
    Ok(first)
}

/// Reads a value that holds no other; of one that does its beginning, and what it holds.
fn value(
    encoding: Encoding,
    kind: u8,
    is_field: bool,
    input: &mut Cursor<'_>,
) -> Result<Option<Level>, Stop> {
    let is_binary = encoding == Encoding::Binary;
    let fixed = match (encoding, kind) {
        (Encoding::Compact, 1 | 2) => usize::from(!is_field),
        (Encoding::Binary, 2 | 3) | (Encoding::Compact, 3) => 1,
        (Encoding::Binary, 6) => 2,
        (Encoding::Binary, 8) => 4,
        (Encoding::Binary, 4 | 10) | (Encoding::Compact, 7) => 8,
        (Encoding::Binary, 16) | (Encoding::Compact, 13) => 16,
        (Encoding::Compact, 4..=6) => {
            input.varint()?;
            0
        }
        (Encoding::Binary, 11) | (Encoding::Compact, 8) => input.length(is_binary)?,
        (_, 12) => return Ok(Some(Level::Fields)),
        (Encoding::Binary, 13) | (Encoding::Compact, 11) => return map(is_binary, input).map(Some),
        (Encoding::Binary, 14 | 15) | (Encoding::Compact, 9 | 10) => {
            return list(is_binary, input).map(Some);
        }
        _ => return Err(Broken("a kind of value that there is not").into()),
    };
    input.take(fixed)?;
    Ok(None)
}

fn map(is_binary: bool, input: &mut Cursor<'_>) -> Result<Level, Stop> {
    let (kinds, left) = if is_binary {
        let kinds = [input.u8()?, input.u8()?];
        (kinds, input.length(true)?)
    } else {
        let left = input.length(false)?;
        let kinds = if left > 0 { input.u8()? } else { 0 };
        ([kinds >> 4, kinds & 0x0f], left)
    };
    Ok(Level::Elements { left: 2 * left as u64, kinds })
}

fn list(is_binary: bool, input: &mut Cursor<'_>) -> Result<Level, Stop> {
    let first = input.u8()?;
    let (kind, left) = match (is_binary, first >> 4) {
        (true, _) => (first, input.length(true)?),
        (false, 15) => (first & 0x0f, input.length(false)?),
        (false, left) => (first & 0x0f, usize::from(left)),
    };
    Ok(Level::Elements { left: left as u64, kinds: [kind; 2] })
}

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// By the encoding's own numbers; Compact's for truth values says which one it is.
    pub(super) kind: u8,
    pub(super) id: i16,
    pub(super) value: &'a [u8],
}

/// The fields of a struct that is there as a whole, one after the other.
pub(super) struct Fields<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    at: usize,
    last_id: i16,
}

impl<'a> Fields<'a> {
    pub(super) fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
        Self { encoding, bytes, at: 0, last_id: 0 }
    }

    /// The next field; `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Broken> {
        let mut input = Cursor::new(self.bytes, self.at);
        let kind = field(self.encoding, &mut input).map_err(|_| CUT)?;
        if kind == STOP {
            return Ok(None);
        }
        let start = input.at;
        let mut walk = Walk::of_struct(self.encoding, self.at);
        walk.step(self.bytes).map_err(|_| CUT)?;
        let end = walk.run_while(self.bytes, |levels| levels > 1)?.ok_or(CUT)?;
        self.last_id = self.id();
        self.at = end;
        Ok(Some(Field { kind, id: self.last_id, value: &self.bytes[start..end] }))
    }

    /// The number of the field that is next.
    fn id(&self) -> i16 {
        let mut input = Cursor::new(self.bytes, self.at + 1);
        match (self.encoding, self.bytes[self.at] >> 4) {
            (Encoding::Binary, _) => input.u16().unwrap_or_default() as i16,
            (Encoding::Compact, 0) => unzigzag(input.varint().unwrap_or_default()) as i16,
            (Encoding::Compact, delta) => self.last_id.wrapping_add(delta.into()),
        }
    }
}

const CUT: Broken = Broken("a struct that is cut short");

/// A number of Compact whose sign is its lowest bit.
pub(super) fn unzigzag(value: u64) -> i32 {
    (value as u32 >> 1) as i32 ^ -((value & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of a call that has every common kind of value, and their bytes in Compact.
    const RICH: &str = "1c180568656c6c6f1603111700\
                        0000000000f83f18020 0ff19350204061b01860 16b0e15040000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|letter| letter.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    #[test]
    fn a_struct_ends_at_the_same_place_however_it_comes() {
        let binary = bytes(
            "0c00010b0001000000026869 0f0002 02 00000002 0100 0d0003 0b0a 00000001 00000001 61 \
             0000000000000005 10000400112233445566778899aabbccddeeff 00 00",
        );
        for (encoding, bytes) in [(Encoding::Compact, bytes(RICH)), (Encoding::Binary, binary)] {
            let mut walk = Walk::of_struct(encoding, 0);
            for len in 0..bytes.len() {
                assert_eq!(walk.run(&bytes[..len]), Ok(None), "{encoding:?} {len}");
            }
            let more = [&bytes[..], b"more"].concat();
            assert_eq!(walk.run(&more), Ok(Some(bytes.len())), "{encoding:?}");
        }
    }

    #[test]
    fn what_is_no_struct_is_broken() {
        let deep = [0x1c; 100];
        let cases: [(Encoding, &[u8]); 4] = [
            (Encoding::Compact, &deep),
            (Encoding::Compact, &[0x1e]),
            (Encoding::Binary, &[1, 0, 1]),
            (Encoding::Binary, &[11, 0, 1, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (encoding, bytes) in cases {
            assert!(Walk::of_struct(encoding, 0).run(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn fields_are_told_apart() {
        let all = |encoding, bytes: &[u8]| {
            let (mut fields, mut found) = (Fields::new(encoding, bytes), Vec::new());
            while let Some(field) = fields.next()? {
                found.push((field.kind, field.id, field.value.to_vec()));
            }
            Ok::<_, Broken>(found)
        };
        let compact = bytes("18026869 0c00 180161 00 25 04 00");
        let fields = all(Encoding::Compact, &compact).unwrap();
        let wanted = [(8, 1, b"\x02hi".to_vec()), (12, 0, b"\x18\x01a\0".to_vec())];
        assert_eq!((&fields[..2], &fields[2]), (&wanted[..], &(5, 2, vec![4])));
        let binary = bytes("080007 0000002a 0bffff 00000001 61 00");
        let fields = all(Encoding::Binary, &binary).unwrap();
        assert_eq!(fields, [(8, 7, b"\0\0\0*".to_vec()), (11, -1, b"\0\0\0\x01a".to_vec())]);
        assert_eq!(all(Encoding::Binary, &[0]), Ok(Vec::new()));
        assert!(all(Encoding::Binary, &binary[..9]).is_err());
        assert!(all(Encoding::Compact, &[]).is_err());
    }
}

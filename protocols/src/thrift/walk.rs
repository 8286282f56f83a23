//! Walking over a struct to its end, however its bytes are cut.
//!
//! Where no frame says how long a message is, only its struct does; and where one says it, the two
//! must agree, or the next hop would see another message than this one. A [`Walk`] looks at types
//! and lengths only; values are stepped over, never kept, and what is in them is not its business.
//!
//! K1 Each byte is looked at once; text and containers of fixed elements are not looked at. K2
//! Nothing is allocated by a length that was read: memory is the stack of what is open, 8 bytes a
//! level. K3 A length or count must fit into what is left, each element with its least size, so
//! that no count can promise work that no bytes pay for. K4 Depth is bounded, without recursion.

use super::dialect::Encoding;
use super::{binary, compact};
use crate::error::Fault;

/// What a value looks like to somebody who only wants to get past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// So many bytes.
    Fixed(u8),
    /// A number of variable length, of so many bytes at most.
    Varint(u8),
    /// A length and so many bytes.
    Bytes,
    /// Fields up to a STOP.
    Struct,
    /// A type, a count, and so many of it.
    List,
    /// Two types, a count, and so many pairs.
    Map,
}

/// Something that is open.
#[derive(Clone, Copy, Debug)]
enum Level {
    Struct,
    /// Elements still to come.
    Items {
        kind: u8,
        left: u32,
    },
    /// Keys and values still to come; a key is next while `left` is even.
    Pairs {
        key: u8,
        value: u8,
        left: u64,
    },
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// A field's type, or STOP.
    Field,
    /// Compact: the number of a field in its long form, then its value.
    FieldId(u8),
    /// A value of this type.
    Value(u8),
    /// A number that means nothing here.
    Varint(u8),
    /// The length of text.
    Length,
    ListHead,
    /// Compact: a count of 15 and more.
    ListCount(u8),
    MapHead,
    /// Compact: the types of so many pairs.
    MapKinds(u32),
    /// Nothing: the struct is over.
    End,
}

/// The bytes of a token that came in pieces; the longest is a map's head of Binary, or a number.
#[derive(Clone, Copy, Debug, Default)]
struct Token {
    bytes: [u8; 10],
    len: u8,
}

/// How far a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Bytes that belong to the struct.
    pub used: usize,
    /// The struct is over.
    pub done: bool,
}

/// One struct after another; see the module doc.
#[derive(Debug)]
pub struct Walk {
    levels: Vec<Level>,
    due: Due,
    token: Token,
    /// Bytes to step over before anything is looked at.
    skip: u64,
    /// Bytes that the struct may still have.
    left: u64,
    /// What it is to have more.
    over: Fault,
    encoding: Encoding,
    depth_max: u16,
}

/// Levels whose memory is kept for the next struct.
const LEVELS_KEPT: usize = 64;

impl Walk {
    /// A walk that has nowhere to go yet; structs may be `depth_max` deep in each other.
    pub fn new(depth_max: u16) -> Walk {
        Walk {
            levels: Vec::new(),
            due: Due::End,
            token: Token::default(),
            skip: 0,
            left: 0,
            over: Fault::ThriftStructTruncated,
            encoding: Encoding::Binary,
            depth_max,
        }
    }

    /// A struct comes, of `bytes_max` bytes at most; `over` is what it is to want more.
    pub fn begin(&mut self, encoding: Encoding, bytes_max: u64, over: Fault) {
        self.levels.clear();
        self.levels.shrink_to(LEVELS_KEPT);
        self.levels.push(Level::Struct);
        self.due = Due::Field;
        self.token = Token::default();
        self.skip = 0;
        self.left = bytes_max;
        self.over = over;
        self.encoding = encoding;
    }

    /// Bytes that the struct may still have.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Bytes of heap that it holds.
    pub fn held_bytes(&self) -> usize {
        self.levels.capacity() * size_of::<Level>()
    }

    /// Walks on.
    ///
    /// # Errors
    ///
    /// `bad_thrift_struct`, `thrift_too_deep`, or what `begin` said for a struct that is too long.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Walked, Fault> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let mut rest = bytes;
        while !matches!(self.due, Due::End) || self.skip > 0 {
            if !self.step(&mut rest)? {
                break;
            }
        }
        let used = bytes.len() - rest.len();
        let done = matches!(self.due, Due::End) && self.skip == 0;
        if !done && self.left == 0 {
            return Err(self.over);
        }
        Ok(Walked { used, done })
    }

    /// One token; false if it is not all there.
    fn step(&mut self, rest: &mut &[u8]) -> Result<bool, Fault> {
        if self.skip > 0 {
            let now = self.skip.min(rest.len() as u64);
            self.take(rest, now as usize);
            self.skip -= now;
            return Ok(self.skip == 0);
        }
        if let Due::Value(kind) = self.due {
            return self.value(kind).map(|()| true);
        }
        let Some(token) = self.token(rest)? else { return Ok(false) };
        match self.encoding {
            Encoding::Compact => self.compact(&token)?,
            Encoding::Binary | Encoding::LaxBinary => self.binary(&token)?,
        }
        Ok(true)
    }

    fn take<'a>(&mut self, rest: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (taken, left) = rest.split_at_checked(len).unwrap_or((*rest, &[]));
        *rest = left;
        self.left -= taken.len() as u64;
        taken
    }

    /// The bytes of what is due, once they are all there.
    fn token(&mut self, rest: &mut &[u8]) -> Result<Option<Token>, Fault> {
        let (fixed, max) = match (self.encoding, self.due) {
            (Encoding::Compact, Due::Field | Due::ListHead | Due::MapKinds(_)) => (true, 1),
            (Encoding::Compact, Due::Varint(max)) => (false, max),
            (Encoding::Compact, _) => (false, compact::VARINT32_BYTES_MAX as u8),
            (_, Due::Field) => (true, 1),
            (_, Due::ListHead) => (true, 5),
            (_, Due::MapHead) => (true, 6),
            (_, _) => (true, 4),
        };
        while let [byte, ..] = **rest {
            self.take(rest, 1);
            if let Some(place) = self.token.bytes.get_mut(usize::from(self.token.len)) {
                *place = byte;
            }
            self.token.len += 1;
            let whole = self.token.len == max;
            if !fixed && whole && byte >= 0x80 {
                return Err(Fault::BadThriftStruct);
            }
            if whole || (!fixed && byte < 0x80) {
                return Ok(Some(core::mem::take(&mut self.token)));
            }
        }
        Ok(None)
    }

    fn shape(&self, kind: u8) -> Result<Shape, Fault> {
        let shape = match self.encoding {
            Encoding::Compact => compact::shape(kind),
            Encoding::Binary | Encoding::LaxBinary => binary::shape(kind),
        };
        shape.ok_or(Fault::BadThriftStruct)
    }

    /// The fewest bytes that a value of this type has.
    fn least(&self, kind: u8) -> Result<u64, Fault> {
        let shape = self.shape(kind)?;
        let compact = self.encoding == Encoding::Compact;
        Ok(match shape {
            Shape::Fixed(len) => u64::from(len),
            Shape::Bytes if !compact => 4,
            Shape::List if !compact => 5,
            Shape::Map if !compact => 6,
            _ => 1,
        })
    }

    fn value(&mut self, kind: u8) -> Result<(), Fault> {
        self.due = match self.shape(kind)? {
            Shape::Fixed(len) => return self.pass(u64::from(len)),
            Shape::Varint(max) => Due::Varint(max),
            Shape::Bytes => Due::Length,
            Shape::List => Due::ListHead,
            Shape::Map => Due::MapHead,
            Shape::Struct => {
                self.open(Level::Struct)?;
                Due::Field
            }
        };
        Ok(())
    }

    /// A value is over but for so many bytes.
    fn pass(&mut self, len: u64) -> Result<(), Fault> {
        if len > self.left {
            return Err(self.over);
        }
        self.skip = len;
        self.next();
        Ok(())
    }

    fn open(&mut self, level: Level) -> Result<(), Fault> {
        if self.levels.len() >= usize::from(self.depth_max) {
            return Err(Fault::ThriftTooDeep);
        }
        self.levels.push(level);
        Ok(())
    }

    /// A value is over: what comes next where it stood.
    fn next(&mut self) {
        self.due = loop {
            match self.levels.last_mut() {
                None => break Due::End,
                Some(Level::Struct) => break Due::Field,
                Some(Level::Items { kind, left: left @ 1.. }) => {
                    *left -= 1;
                    break Due::Value(*kind);
                }
                Some(Level::Pairs { key, value, left: left @ 1.. }) => {
                    *left -= 1;
                    break Due::Value(if *left % 2 == 1 { *key } else { *value });
                }
                Some(Level::Items { .. } | Level::Pairs { .. }) => self.levels.pop(),
            };
        };
    }

    fn close(&mut self) {
        self.levels.pop();
        self.next();
    }

    fn list(&mut self, kind: u8, count: u32) -> Result<(), Fault> {
        if count == 0 {
            return self.pass(0);
        }
        let least = self.least(kind)?;
        if u64::from(count).saturating_mul(least) > self.left {
            return Err(self.over);
        }
        if let Shape::Fixed(_) = self.shape(kind)? {
            return self.pass(u64::from(count) * least);
        }
        self.open(Level::Items { kind, left: count })?;
        self.next();
        Ok(())
    }

    fn map(&mut self, key: u8, value: u8, count: u32) -> Result<(), Fault> {
        if count == 0 {
            return self.pass(0);
        }
        let least = self.least(key)? + self.least(value)?;
        if u64::from(count).saturating_mul(least) > self.left {
            return Err(self.over);
        }
        self.open(Level::Pairs { key, value, left: 2 * u64::from(count) })?;
        self.next();
        Ok(())
    }

    fn binary(&mut self, token: &Token) -> Result<(), Fault> {
        let number = |at: usize| {
            let four = token.bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).copied();
            let number = four.map_or(0, u32::from_be_bytes);
            if number > i32::MAX as u32 { Err(Fault::BadThriftStruct) } else { Ok(number) }
        };
        let [first, second, ..] = token.bytes;
        match self.due {
            Due::Field if first == 0 => self.close(),
            Due::Field => {
                self.shape(first)?;
                self.pass(2)?;
                self.due = Due::Value(first);
            }
            Due::ListHead => self.list(first, number(1)?)?,
            Due::MapHead => self.map(first, second, number(2)?)?,
            _ => self.pass(u64::from(number(0)?))?,
        }
        Ok(())
    }

    fn compact(&mut self, token: &Token) -> Result<(), Fault> {
        let [first, ..] = token.bytes;
        let text = token.bytes.get(..usize::from(token.len)).unwrap_or_default();
        let number = || match compact::varint(text) {
            Some(Some((number, _))) if number <= i32::MAX as u32 => Ok(number),
            _ => Err(Fault::BadThriftStruct),
        };
        match self.due {
            Due::Field if first == 0 => self.close(),
            Due::Field if first >> 4 == 0 => self.due = Due::FieldId(first),
            Due::Field => self.field(first & 15)?,
            Due::FieldId(kind) => self.field(kind)?,
            Due::ListHead if first >> 4 == 15 => self.due = Due::ListCount(first & 15),
            Due::ListHead => self.list(first & 15, u32::from(first >> 4))?,
            Due::ListCount(kind) => self.list(kind, number()?)?,
            Due::MapHead if first == 0 => self.pass(0)?,
            Due::MapHead => self.due = Due::MapKinds(number()?),
            Due::MapKinds(count) => self.map(first >> 4, first & 15, count)?,
            Due::Length => self.pass(u64::from(number()?))?,
            Due::Varint(_) | Due::Value(_) | Due::End => self.pass(0)?,
        }
        Ok(())
    }

    /// Compact: a field of this type; a bool is its type.
    fn field(&mut self, kind: u8) -> Result<(), Fault> {
        self.shape(kind)?;
        match kind {
            1 | 2 => self.next(),
            _ => self.due = Due::Value(kind),
        }
        Ok(())
    }
}

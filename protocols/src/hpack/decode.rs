//! Decoding of header blocks (RFC 7541 §3, §5, §6).
//!
//! A field is lent to the caller as soon as it is decoded; no list of fields is kept. Strings that
//! are not compressed are lent from the block, names and values of the tables from there, and
//! what was decompressed from a scratch that is given back when it grew.

use crate::error::Fault;
use crate::hpack::table::{TABLE_BYTES_CAP, Table, size_of_field};
use crate::hpack::{Field, huffman, statics};

/// One direction of a connection: what the peer's encoder says.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// Decompressed strings of the current field, and a name of the dynamic table.
    scratch: Vec<u8>,
    /// What the peer's encoder may use.
    allowed: u32,
    /// The next block must begin with a size update of at most this.
    owed: Option<u32>,
}

/// What a block of no length may decode to, counted as in the table: three times the list of fields
/// that HTTP/2 advertises, so that one which is merely too long costs its stream only.
const FIELDS_BYTES_FREE: usize = 192 * 1024;

/// What each byte of a block adds to that. Without repetitions a byte becomes 8/5 by Huffman codes,
/// and fields of 14 bytes or more add another 32/14. 12 000 times an entry of 3 900 bytes end after
/// 63 of them.
const FIELDS_BYTES_PER_BYTE: usize = 4;

/// A scratch that grew beyond this is given back behind the block.
const SCRATCH_BYTES_KEPT: usize = 1024;

fn fields_bytes_max(block: &[u8]) -> usize {
    FIELDS_BYTES_FREE + FIELDS_BYTES_PER_BYTE * block.len()
}

impl Decoder {
    /// A decoder whose peer may use `table_bytes_max` bytes of dynamic table from the start: 4096
    /// in HTTP/2, whatever our first SETTINGS will say. At most 64 KiB.
    pub fn new(table_bytes_max: u32) -> Decoder {
        let table = Table::new(table_bytes_max);
        Decoder { allowed: table.max(), table, scratch: Vec::new(), owed: None }
    }

    /// Decodes a complete header block: calls `field` with each field in order. Once that returned
    /// false it is not called again, and the rest is decoded for the table's sake.
    ///
    /// A limit on the list of fields is the caller's to enforce, by returning false. Memory does
    /// not depend on what the block decodes to, but for a string of 8/5 of its length.
    ///
    /// # Errors
    ///
    /// Each ends the connection with COMPRESSION_ERROR: the table may have missed an entry.
    /// [`Fault::HpackBomb`] alone is no error of coding: the block decodes to 192 KiB and four
    /// times its own length, or more.
    pub fn decode(
        &mut self,
        block: &[u8],
        field: impl FnMut(Field<'_>) -> bool,
    ) -> Result<(), Fault> {
        let mut input = Input { rest: block };
        self.size_updates(&mut input)?;
        let mut sink = Sink { field, is_wanted: true, bytes_left: fields_bytes_max(block) };
        while let Some(&first) = input.rest.first() {
            self.representation(first, &mut input, &mut sink)?;
        }
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// Our SETTINGS_HEADER_TABLE_SIZE, now that the peer acknowledged it: at most 64 KiB. Where it
    /// is less than the table's maximum the next block must begin with a size update (§4.2).
    pub fn set_table_max(&mut self, bytes: u32) {
        self.allowed = bytes.min(TABLE_BYTES_CAP);
        if self.allowed < self.table.max() {
            self.owed = Some(self.owed.map_or(self.allowed, |owed| owed.min(self.allowed)));
        }
    }

    /// Bytes of heap this decoder holds: at most 5/4 of the table's maximum, and 1 KiB.
    pub fn held_bytes(&self) -> usize {
        self.table.held_bytes() + self.scratch.capacity()
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// §6.3: size updates stand before the first field only (§4.2).
    fn size_updates(&mut self, input: &mut Input<'_>) -> Result<(), Fault> {
        while input.rest.first().is_some_and(|first| first & 0xe0 == 0x20) {
            let bytes = input.integer(5)?;
            if bytes > self.allowed {
                return Err(Fault::BadTableSize);
            }
            self.owed = self.owed.filter(|&owed| bytes > owed);
            self.table.set_max(bytes);
        }
        if self.owed.is_some() { Err(Fault::BadTableSize) } else { Ok(()) }
    }

    #[inline]
    fn representation<F: FnMut(Field<'_>) -> bool>(
        &mut self,
        first: u8,
        input: &mut Input<'_>,
        sink: &mut Sink<F>,
    ) -> Result<(), Fault> {
        match first {
            0x80.. => {
                let (name, value) = self.entry(input.integer(7)?)?;
                sink.take(Field { name, value, sensitive: false })
            }
            0x40.. => self.literal(6, false, input, sink),
            0x20.. => Err(Fault::BadTableSize),
            _ => self.literal(4, first & 0x10 != 0, input, sink),
        }
    }

    /// §6.2: a prefix of 6 bits means incremental indexing.
    fn literal<F: FnMut(Field<'_>) -> bool>(
        &mut self,
        prefix_bits: u8,
        sensitive: bool,
        input: &mut Input<'_>,
        sink: &mut Sink<F>,
    ) -> Result<(), Fault> {
        self.scratch.clear();
        let name = match input.integer(prefix_bits)? {
            0 => self.string(input)?,
            index => self.name(index)?,
        };
        let value = self.string(input)?;
        let (name, value) = (name.bytes(&self.scratch), value.bytes(&self.scratch));
        sink.take(Field { name, value, sensitive })?;
        if prefix_bits == 6 {
            self.table.insert(name, value);
        }
        Ok(())
    }

    /// An entry of either table (§2.3.3).
    #[inline]
    fn entry(&self, index: u32) -> Result<(&[u8], &[u8]), Fault> {
        let entry = match index.checked_sub(statics::ENTRIES_COUNT + 1) {
            Some(index) => self.table.field(index as usize),
            None => statics::entry(index),
        };
        entry.ok_or(Fault::BadHpackIndex)
    }

    /// An entry's name. One of the dynamic table is copied: its entry may be evicted by the very
    /// field that is being read (§4.4).
    fn name<'a>(&mut self, index: u32) -> Result<Place<'a>, Fault> {
        if let Some((name, _)) = statics::entry(index) {
            return Ok(Place::Lent(name));
        }
        let index = index.checked_sub(statics::ENTRIES_COUNT + 1).ok_or(Fault::BadHpackIndex)?;
        let (name, _) = self.table.field(index as usize).ok_or(Fault::BadHpackIndex)?;
        self.scratch.extend_from_slice(name);
        Ok(Place::Scratch { at: 0, len: name.len() })
    }

    /// §5.2.
    #[inline]
    fn string<'a>(&mut self, input: &mut Input<'a>) -> Result<Place<'a>, Fault> {
        let is_compressed = input.rest.first().is_some_and(|first| first & 0x80 != 0);
        let len = input.integer(7)? as usize;
        let (bytes, rest) = input.rest.split_at_checked(len).ok_or(Fault::HpackTruncated)?;
        input.rest = rest;
        if !is_compressed {
            return Ok(Place::Lent(bytes));
        }
        let at = self.scratch.len();
        huffman::decode(bytes, &mut self.scratch)?;
        Ok(Place::Scratch { at, len: self.scratch.len() - at })
    }
}

/// Where a name or a value lies while its field is read.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// In the block, or in the static table.
    Lent(&'a [u8]),
    Scratch {
        at: usize,
        len: usize,
    },
}

impl<'a> Place<'a> {
    #[inline]
    fn bytes<'b>(self, scratch: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Place::Lent(bytes) => bytes,
            Place::Scratch { at, len } => scratch.get(at..at + len).unwrap_or_default(),
        }
    }
}

/// The caller's closure, and what the block came to so far.
struct Sink<F> {
    field: F,
    is_wanted: bool,
    /// What the block may still come to.
    bytes_left: usize,
}

impl<F: FnMut(Field<'_>) -> bool> Sink<F> {
    #[inline]
    fn take(&mut self, field: Field<'_>) -> Result<(), Fault> {
        let size = size_of_field(field.name, field.value);
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or(Fault::HpackBomb)?;
        self.is_wanted = self.is_wanted && (self.field)(field);
        Ok(())
    }
}

/// What is left of the block.
pub(super) struct Input<'a> {
    pub(super) rest: &'a [u8],
}

impl Input<'_> {
    /// An integer that begins in the low bits of the next byte (§5.1).
    #[inline]
    pub(super) fn integer(&mut self, prefix_bits: u8) -> Result<u32, Fault> {
        let prefix_max = (1 << prefix_bits) - 1;
        let prefix = u32::from(self.byte()?) & prefix_max;
        if prefix < prefix_max { Ok(prefix) } else { self.rest_of_integer(prefix) }
    }

    /// At most four bytes behind the prefix: 28 bits are more than any length or size has here.
    fn rest_of_integer(&mut self, prefix: u32) -> Result<u32, Fault> {
        let mut value = prefix;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::BadHpackInteger)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let (&byte, rest) = self.rest.split_first().ok_or(Fault::HpackTruncated)?;
        self.rest = rest;
        Ok(byte)
    }
}

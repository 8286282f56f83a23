//! Encoding of header blocks (RFC 7541 §4, §5, §6).
//!
//! A field that one of the tables holds becomes an index. Another one becomes a literal, whose name
//! is an index if a table holds that: credentials are never indexed, what differs with each message
//! is not indexed, the rest goes into the dynamic table (`statics.rs` has the names). A string is
//! compressed where that makes it shorter.

use crate::hpack::huffman;
use crate::hpack::lookup::{Hashes, Lookup};
use crate::hpack::statics::{self, Indexing, Known};
use crate::hpack::table::{Table, size_of_field};

/// One direction of a connection: what the peer's decoder is told.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    lookup: Lookup,
    /// The smallest maximum since the last block, where the peer must be told of a change (§4.2).
    changed: Option<u32>,
}

/// Our table's most, whatever the peer offers, and its size before the peer's SETTINGS
/// (RFC 9113 §6.5.2).
const TABLE_BYTES_MAX: u32 = 4096;

impl Default for Encoder {
    fn default() -> Self {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder with an empty table of 4096 bytes at most.
    pub fn new() -> Encoder {
        let table = Table::new(TABLE_BYTES_MAX);
        Encoder { table, lookup: Lookup::default(), changed: None }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE, when it is acknowledged, between two blocks. The next
    /// block then begins with the size updates that are due: two if the size fell and rose (§4.2).
    pub fn set_peer_max(&mut self, bytes: u32) {
        let (old, new) = (self.table.max(), bytes.min(TABLE_BYTES_MAX));
        if new != old {
            self.changed = Some(self.changed.map_or(new, |least| least.min(new)));
            self.table.set_max(new);
        }
    }

    /// Appends a field to the block that `out` ends with. The name is in lower case. `sensitive`
    /// makes it a literal that nobody on the way may index: it must be set where the field was
    /// received as one (§6.2.3), and has the effect that credentials have without it.
    ///
    /// Fields of one block are encoded one after the other, and blocks are sent in the order in
    /// which they were encoded: all of them, or the peer's table differs from ours.
    pub fn encode(&mut self, name: &[u8], value: &[u8], sensitive: bool, out: &mut Vec<u8>) {
        if let Some(least) = self.changed.take() {
            self.write_size_updates(least, out);
        }
        let known = Known::find(name);
        let indexing = if sensitive { Indexing::Never } else { indexing_of(known, value) };
        match indexing {
            Indexing::With => self.index(known, name, value, out),
            Indexing::Without => self.write_literal(WITHOUT, known, name, value, out),
            Indexing::Never => self.write_literal(NEVER, known, name, value, out),
        }
    }

    /// Bytes of heap this encoder holds: 6 KiB at most.
    pub fn held_bytes(&self) -> usize {
        self.table.held_bytes() + self.lookup.held_bytes()
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// An index if a table holds the field; else a literal that goes into the dynamic one, unless
    /// it would push out half of that.
    fn index(&mut self, known: Option<&Known>, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if let Some(index) = known.and_then(|known| known.entry_with(value)) {
            return write_integer(INDEXED, index, out);
        }
        if size_of_field(name, value) > self.table.max() as usize / 2 {
            return self.write_literal(WITHOUT, known, name, value, out);
        }
        let hashes = Hashes::of(name, value);
        let is_field = |age| self.table.field(age) == Some((name, value));
        if let Some(age) = self.lookup.find(hashes.field, self.table.newest(), is_field) {
            return write_integer(INDEXED, dynamic_index(age), out);
        }
        self.write_literal(WITH, known, name, value, out);
        self.table.insert(name, value);
        self.lookup.put(hashes.field, self.table.newest());
        if known.is_none() {
            self.lookup.put(hashes.name, self.table.newest());
        }
    }

    fn write_literal(
        &self,
        prefix: Prefix,
        known: Option<&Known>,
        name: &[u8],
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        let index = self.name_index(known, name);
        write_integer(prefix, index, out);
        if index == 0 {
            write_string(name, out);
        }
        write_string(value, out);
    }

    /// An entry that has this name; 0 where there is none. Names that are known but not static are
    /// never in the dynamic table either.
    fn name_index(&self, known: Option<&Known>, name: &[u8]) -> u32 {
        if let Some(known) = known {
            return u32::from(known.first);
        }
        let is_name = |age| self.table.field(age).is_some_and(|(known, _)| known == name);
        let age = self.lookup.find(Hashes::of(name, b"").name, self.table.newest(), is_name);
        age.map_or(0, dynamic_index)
    }

    #[cold]
    fn write_size_updates(&self, least: u32, out: &mut Vec<u8>) {
        if least < self.table.max() {
            write_integer(SIZE_UPDATE, least, out);
        }
        write_integer(SIZE_UPDATE, self.table.max(), out);
    }
}

fn indexing_of(known: Option<&Known>, value: &[u8]) -> Indexing {
    known.map_or(Indexing::With, |known| known.indexing(value))
}

/// The index of a dynamic entry behind which `age` others came.
fn dynamic_index(age: usize) -> u32 {
    statics::ENTRIES_COUNT + 1 + age as u32
}

/// How a representation begins: a pattern, and so many low bits for the integer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) pattern: u8,
    pub(super) bits: u8,
}

const INDEXED: Prefix = Prefix { pattern: 0x80, bits: 7 };
const WITH: Prefix = Prefix { pattern: 0x40, bits: 6 };
const WITHOUT: Prefix = Prefix { pattern: 0, bits: 4 };
const NEVER: Prefix = Prefix { pattern: 0x10, bits: 4 };
const SIZE_UPDATE: Prefix = Prefix { pattern: 0x20, bits: 5 };
const PLAIN: Prefix = Prefix { pattern: 0, bits: 7 };
const COMPRESSED: Prefix = Prefix { pattern: 0x80, bits: 7 };

/// §5.1.
#[inline]
pub(super) fn write_integer(prefix: Prefix, value: u32, out: &mut Vec<u8>) {
    let prefix_max = (1u32 << prefix.bits) - 1;
    if value < prefix_max {
        return out.push(prefix.pattern | value as u8);
    }
    out.push(prefix.pattern | prefix_max as u8);
    let mut rest = value - prefix_max;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// §5.2.
fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let compressed_len = huffman::encoded_len(text);
    if compressed_len < text.len() {
        write_integer(COMPRESSED, compressed_len as u32, out);
        huffman::encode(text, out);
    } else {
        write_integer(PLAIN, text.len() as u32, out);
        out.extend_from_slice(text);
    }
}

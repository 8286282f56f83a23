//! The fuzz function of HPACK: a script of blocks and table sizes, invariants asserted.
//!
//! Beyond "no panic": memory stays within its bounds, a caller who stops listening changes
//! nothing, and what was decoded returns from our encoder and a second decoder, field by field.

#![allow(clippy::panic, reason = "a fuzz function is meant to panic")]

use crate::error::Fault;
use crate::hpack::table::{TABLE_BYTES_CAP, Table, size_of_field};
use crate::hpack::{Decoder, Encoder, Field};

/// Table sizes that a script may ask for.
const SIZES: [u32; 8] = [0, 32, 64, 100, 256, 1000, 4096, TABLE_BYTES_CAP];

/// More than a list of fields may have on the wire, and less than a bomb.
const LIST_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a script: 0 to 239 is the length of a block that follows, 240 and up a table size, for
/// the decoder if even.
pub fn fuzz_hpack(script: &[u8]) {
    let mut session = Session {
        decoder: Decoder::new(4096),
        deaf: Decoder::new(4096),
        encoder: Encoder::new(),
        second: Decoder::new(4096),
        out: Vec::new(),
        fields: Vec::new(),
        marks: Vec::new(),
        returned: Vec::new(),
    };
    let mut rest = script;
    while let Some((&step, tail)) = rest.split_first() {
        rest = tail;
        if step >= 240 {
            session.resize(step);
            continue;
        }
        let (block, tail) = rest.split_at(rest.len().min(usize::from(step)));
        rest = tail;
        if session.block(block).is_err() {
            break;
        }
    }
    session.settle();
}

struct Session {
    decoder: Decoder,
    /// The same, of a caller who wants no field.
    deaf: Decoder,
    /// What was decoded goes through this ..
    encoder: Encoder,
    /// .. and comes back here.
    second: Decoder,
    out: Vec<u8>,
    /// Names and values of the block's fields, one behind the other.
    fields: Vec<u8>,
    marks: Vec<bool>,
    /// As `fields`, of those that came back.
    returned: Vec<u8>,
}

impl Session {
    fn resize(&mut self, step: u8) {
        let bytes = SIZES.get(usize::from(step / 2 % 8)).copied().unwrap_or_default();
        if step.is_multiple_of(2) {
            self.decoder.set_table_max(bytes);
            self.deaf.set_table_max(bytes);
        } else {
            self.encoder.set_peer_max(bytes);
            self.second.set_table_max(bytes);
        }
    }

    fn block(&mut self, block: &[u8]) -> Result<(), Fault> {
        let Session { decoder, deaf, encoder, second, out, fields, marks, returned } = self;
        out.clear();
        fields.clear();
        marks.clear();
        let mut list_bytes = 0;
        let ended = decoder.decode(block, |field| {
            list_bytes += size_of_field(field.name, field.value);
            marks.push(field.sensitive);
            write(field, fields);
            encoder.encode(field.name, field.value, field.sensitive, out);
            list_bytes < LIST_BYTES_MAX
        });
        assert_eq!(deaf.decode(block, |_| false), ended);
        assert!(decoder.held_bytes() <= TABLE_BYTES_CAP as usize * 5 / 4 + block.len() * 2 + 1024);
        if !marks.is_empty() {
            returned.clear();
            let mut marks = marks.iter();
            let again = second.decode(out, |field| {
                // We may add the mark, and never lose it.
                let is_marked = marks.next() == Some(&true);
                assert!(field.sensitive || !is_marked);
                write(field, returned);
                true
            });
            assert_eq!((again, &*returned), (Ok(()), &*fields), "it did not return");
            assert_eq!(encoder.table().field(0), second.table().field(0));
        }
        ended
    }

    /// Compares the tables, once the encoder said what its maximum is now.
    fn settle(&mut self) {
        self.out.clear();
        self.encoder.encode(b":method", b"GET", false, &mut self.out);
        assert_eq!(self.second.decode(&self.out, |_| true), Ok(()));
        assert!(entries(self.encoder.table()).eq(entries(self.second.table())));
        assert!(entries(self.decoder.table()).eq(entries(self.deaf.table())));
        for table in [self.decoder.table(), self.encoder.table()] {
            let sizes = entries(table).map(|(name, value)| size_of_field(name, value));
            assert!(sizes.sum::<usize>() <= table.max() as usize);
        }
    }
}

/// Name and value, in a form that leaves no doubt where each ends.
fn write(field: Field<'_>, out: &mut Vec<u8>) {
    for text in [field.name, field.value] {
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text);
    }
}

fn entries(table: &Table) -> impl Iterator<Item = (&[u8], &[u8])> {
    (0..).map_while(|index| table.field(index))
}

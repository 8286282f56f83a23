//! §3: what each representation does to the list and to the table.

use super::{decode, decode_hex, field, hex};
use crate::error::Fault;
use crate::hpack::Decoder;

#[test]
fn an_indexed_field_is_appended_and_changes_no_table() {
    let mut decoder = Decoder::new(4096);
    let fields = decode(&mut decoder, &hex("82 87")).unwrap();
    assert_eq!(fields, [field(":method", "GET"), field(":scheme", "https")]);
    assert_eq!(decoder.table().count(), 0);
}

#[test]
fn a_literal_that_is_not_added_changes_no_table() {
    let mut decoder = Decoder::new(4096);
    for block in ["00 01 61 01 62", "10 01 61 01 62", "0f 01 01 62", "04 01 2f"] {
        assert_eq!(decode(&mut decoder, &hex(block)).unwrap().len(), 1, "{block}");
    }
    assert_eq!(decoder.table().count(), 0);
}

#[test]
fn a_literal_that_is_added_becomes_the_newest_entry() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &hex("40 01 61 01 62 40 01 63 01 64")).unwrap();
    assert_eq!(decoder.table().field(0), Some((&b"c"[..], &b"d"[..])));
    assert_eq!(decoder.table().field(1), Some((&b"a"[..], &b"b"[..])));
}

#[test]
fn a_block_that_ends_within_a_field_is_an_error() {
    let whole = hex("82 04 03 2f 61 62 40 03 61 62 63 83 1d 75 d0 ff 00 3f");
    let ends = [0, 1, 6];
    for len in 0..12 {
        let expected = if ends.contains(&len) { Ok(()) } else { Err(Fault::HpackTruncated) };
        let found = decode(&mut Decoder::new(4096), &whole[..len]).map(|_| ());
        assert_eq!(found, expected, "{len} bytes");
    }
    for block in ["ff", "ff 80", "3f", "40", "40 01", "40 01 61", "40 01 61 7f", "40 01 61 02 62"] {
        assert_eq!(decode_hex(block), Err(Fault::HpackTruncated), "{block}");
    }
}

#[test]
fn an_empty_block_has_no_fields() {
    assert_eq!(decode_hex(""), Ok(Vec::new()));
}

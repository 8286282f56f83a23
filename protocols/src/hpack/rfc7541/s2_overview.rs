//! §2: order of fields, tables and indexes.

use super::{decode, decode_hex, encode, field, hex};
use crate::error::Fault;
use crate::hpack::{Decoder, Encoder};

#[test]
fn fields_keep_their_order() {
    let list = [("a", "1"), (":status", "200"), ("a", "2"), ("date", "x"), ("a", "1"), ("b", "")];
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    for _ in 0..3 {
        let block = encode(&mut encoder, &list);
        let expected = list.map(|(name, value)| field(name, value));
        assert_eq!(decode(&mut decoder, &block).unwrap(), expected);
    }
}

#[test]
fn directions_have_tables_of_their_own() {
    let (mut one, mut other) = (Decoder::new(4096), Decoder::new(4096));
    assert_eq!(decode(&mut one, &hex("40 01 61 01 62 be")).unwrap().len(), 2);
    assert_eq!(decode(&mut other, &hex("be")), Err(Fault::BadHpackIndex));
}

#[test]
fn a_duplicate_entry_is_no_error() {
    let mut decoder = Decoder::new(4096);
    let twice = decode(&mut decoder, &hex("40 01 61 01 62 40 01 61 01 62 be bf")).unwrap();
    assert_eq!(twice, vec![field("a", "b"); 4]);
    assert_eq!(decoder.table().count(), 2);
}

#[test]
fn an_index_beyond_both_tables_is_an_error() {
    for block in ["be", "ff 00", "ff 80 01", "7e 00", "0f 2f 00", "1f 2f 00"] {
        assert_eq!(decode_hex(block), Err(Fault::BadHpackIndex), "{block}");
    }
    let mut decoder = Decoder::new(4096);
    let last = decode(&mut decoder, &hex("40 01 61 01 62 be"));
    assert_eq!(last.unwrap()[1], field("a", "b"));
    assert_eq!(decode(&mut decoder, &hex("bf")), Err(Fault::BadHpackIndex));
}

#[test]
fn indexes_61_and_62_are_the_border_of_the_tables() {
    let fields = decode_hex("40 01 61 01 62 bd be").unwrap();
    assert_eq!(fields[1..], [field("www-authenticate", ""), field("a", "b")]);
}

//! §4: sizes, size updates and eviction.

use super::{decode, encode, field, hex};
use crate::error::Fault;
use crate::hpack::table::TABLE_BYTES_CAP;
use crate::hpack::{Decoder, Encoder};

/// A decoder with `a: b` in its table, whose size that makes 34.
fn with_an_entry() -> Decoder {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &hex("40 01 61 01 62")).unwrap();
    decoder
}

/// The size updates that an encoder begins its next block with: `82` ends them.
fn updates(encoder: &mut Encoder) -> Vec<u8> {
    let mut block = encode(encoder, &[(":method", "GET")]);
    assert_eq!(block.pop(), Some(0x82));
    block
}

#[test]
fn an_entry_counts_its_bytes_without_huffman_codes_and_32() {
    assert_eq!(with_an_entry().table().size(), 34);
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &hex("41 8c f1e3 c2e5 f23a 6ba0 ab90 f4ff")).unwrap();
    assert_eq!(decoder.table().size(), ":authority".len() + "www.example.com".len() + 32);
}

#[test]
fn an_encoder_uses_no_more_than_the_peer_allows() {
    for allowed in [0, 31, 32, 100, 4096, 1 << 20] {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        encoder.set_peer_max(allowed);
        decoder.set_table_max(allowed);
        for round in 0..200 {
            let block = encode(&mut encoder, &[("name", &round.to_string()), ("b", "c")]);
            let fields = decode(&mut decoder, &block).unwrap();
            assert_eq!(fields, [field("name", &round.to_string()), field("b", "c")]);
            let size = decoder.table().size();
            assert!(size <= 4096.min(allowed as usize), "{size} of {allowed}");
        }
    }
}

#[test]
fn an_encoder_says_first_what_its_maximum_is_now() {
    let mut encoder = Encoder::new();
    assert_eq!(updates(&mut encoder), []);
    encoder.set_peer_max(100);
    assert_eq!(updates(&mut encoder), hex("3f 45"));
    assert_eq!(updates(&mut encoder), []);
    encoder.set_peer_max(4096);
    assert_eq!(updates(&mut encoder), hex("3f e1 1f"));
    encoder.set_peer_max(1 << 30);
    assert_eq!(updates(&mut encoder), [], "our own maximum is 4096");
}

#[test]
fn an_encoder_says_the_least_of_several_maxima_and_the_last() {
    let mut encoder = Encoder::new();
    [1000, 0, 16, 30].into_iter().for_each(|bytes| encoder.set_peer_max(bytes));
    assert_eq!(updates(&mut encoder), hex("20 3e"));
    [4096, 30, 4096].into_iter().for_each(|bytes| encoder.set_peer_max(bytes));
    assert_eq!(updates(&mut encoder), hex("3e 3f e1 1f"));
    [0, 4096].into_iter().for_each(|bytes| encoder.set_peer_max(bytes));
    assert_eq!(updates(&mut encoder), hex("20 3f e1 1f"));
    [16, 0].into_iter().for_each(|bytes| encoder.set_peer_max(bytes));
    assert_eq!(updates(&mut encoder), hex("20"));
}

#[test]
fn a_size_update_behind_a_field_is_an_error() {
    for block in ["82 20", "82 3f e1 1f", "20 82 20"] {
        assert_eq!(decode(&mut Decoder::new(4096), &hex(block)), Err(Fault::BadTableSize));
    }
}

#[test]
fn a_missing_size_update_is_an_error() {
    for (block, expected) in [
        ("82", Err(Fault::BadTableSize)),
        ("", Err(Fault::BadTableSize)),
        ("3f 46 82", Err(Fault::BadTableSize)),
        ("3f 45 82", Ok(())),
        ("20 82", Ok(())),
        ("20 3f 45 82", Ok(())),
    ] {
        let mut decoder = Decoder::new(4096);
        decoder.set_table_max(100);
        assert_eq!(decode(&mut decoder, &hex(block)).map(|_| ()), expected, "{block}");
    }
}

#[test]
fn the_least_of_several_maxima_must_be_said() {
    let lowered_and_raised = || {
        let mut decoder = with_an_entry();
        decoder.set_table_max(0);
        decoder.set_table_max(4096);
        decoder
    };
    assert_eq!(decode(&mut lowered_and_raised(), &hex("82")), Err(Fault::BadTableSize));
    assert_eq!(decode(&mut lowered_and_raised(), &hex("3f e1 1f")), Err(Fault::BadTableSize));
    let mut decoder = lowered_and_raised();
    assert_eq!(decode(&mut decoder, &hex("20 3f e1 1f 82")).unwrap().len(), 1);
    assert_eq!(decoder.table().count(), 0);
    assert_eq!(decode(&mut decoder, &hex("82")).unwrap().len(), 1, "it is owed once");
    let mut decoder = Decoder::new(4096);
    [50, 0, 100].into_iter().for_each(|bytes| decoder.set_table_max(bytes));
    assert_eq!(decode(&mut decoder, &hex("3f 45 82")), Err(Fault::BadTableSize));
}

#[test]
fn a_maximum_that_the_peer_does_not_use_needs_no_update() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &hex("3f 45 82")).unwrap();
    decoder.set_table_max(100);
    assert_eq!(decode(&mut decoder, &hex("82")).unwrap().len(), 1);
    decoder.set_table_max(8192);
    assert_eq!(decode(&mut decoder, &hex("82")).unwrap().len(), 1);
    assert_eq!(decoder.table().max(), 100, "it is the peer who raises it");
}

#[test]
fn a_maximum_of_0_clears_the_table() {
    let mut decoder = with_an_entry();
    decode(&mut decoder, &hex("20 3f e1 1f")).unwrap();
    assert_eq!((decoder.table().count(), decoder.table().max()), (0, 4096));
    assert_eq!(decode(&mut decoder, &hex("be")), Err(Fault::BadHpackIndex));
}

#[test]
fn a_smaller_maximum_evicts_the_oldest() {
    let mut decoder = with_an_entry();
    decode(&mut decoder, &hex("40 01 63 01 64")).unwrap();
    let fields = decode(&mut decoder, &hex("3f 03 be")).unwrap();
    assert_eq!(fields, [field("c", "d")]);
    assert_eq!((decoder.table().count(), decoder.table().size()), (1, 34));
    decode(&mut decoder, &hex("3f 02")).unwrap();
    assert_eq!(decoder.table().count(), 0);
}

#[test]
fn a_new_entry_evicts_until_it_fits() {
    let mut decoder = Decoder::new(102);
    for block in ["40 01 61 01 31", "40 01 61 01 32", "40 01 61 01 33"] {
        decode(&mut decoder, &hex(block)).unwrap();
    }
    assert_eq!((decoder.table().count(), decoder.table().size()), (3, 102));
    decode(&mut decoder, &hex("40 01 61 02 34 34")).unwrap();
    assert_eq!((decoder.table().count(), decoder.table().size()), (2, 69));
    assert_eq!(decoder.table().field(1), Some((&b"a"[..], &b"3"[..])));
}

#[test]
fn an_entry_larger_than_the_table_empties_it_without_an_error() {
    let mut decoder = with_an_entry();
    let block = [hex("3f 03 40 01 61 02"), b"bb".to_vec()].concat();
    assert_eq!(decode(&mut decoder, &block).unwrap(), [field("a", "bb")]);
    assert_eq!((decoder.table().count(), decoder.table().size()), (0, 0));
}

#[test]
fn a_name_may_be_that_of_the_entry_which_it_evicts() {
    let mut decoder = Decoder::new(40);
    decode(&mut decoder, &hex("40 03 61 62 63 01 31")).unwrap();
    for value in ["32", "33", "34"] {
        let fields = decode(&mut decoder, &hex(&format!("7e 01 {value}"))).unwrap();
        let value = String::from_utf8(hex(value)).unwrap();
        assert_eq!(fields, [field("abc", &value)]);
        assert_eq!(decoder.table().field(0), Some((&b"abc"[..], value.as_bytes())));
        assert_eq!(decoder.table().count(), 1);
    }
}

#[test]
fn a_table_has_at_most_64_kib() {
    let mut decoder = Decoder::new(u32::MAX);
    assert_eq!(decoder.table().max(), TABLE_BYTES_CAP);
    decoder.set_table_max(u32::MAX);
    assert_eq!(decode(&mut decoder, &hex("3f e1 ff 03")), Ok(Vec::new()));
    assert_eq!(decode(&mut decoder, &hex("3f e2 ff 03")), Err(Fault::BadTableSize));
}

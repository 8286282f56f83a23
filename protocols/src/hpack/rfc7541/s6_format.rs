//! §6: the representations.

use super::{decode, decode_hex, encode, field, hex};
use crate::error::Fault;
use crate::hpack::{Decoder, Encoder};

#[test]
fn index_0_is_an_error() {
    assert_eq!(decode_hex("80"), Err(Fault::BadHpackIndex));
    assert_eq!(decode_hex("82 80 84"), Err(Fault::BadHpackIndex));
}

#[test]
fn a_name_may_be_an_index_of_either_table() {
    let fields = decode_hex("40 01 61 01 62 7e 01 63 0f 30 01 64 1f 2f 01 65 50 01 66").unwrap();
    assert_eq!(fields[1..3], [field("a", "c"), field("a", "d")]);
    assert_eq!(fields[3], ("a".to_owned(), "e".to_owned(), true));
    assert_eq!(fields[4], field("accept-encoding", "f"));
}

#[test]
fn a_name_that_a_table_holds_is_sent_as_an_index() {
    let mut encoder = Encoder::new();
    encode(&mut encoder, &[("x-tenant", "north"), ("x-zone", "1")]);
    for (name, value, expected) in [
        ("x-tenant", "south", "7f 00"),
        ("x-tenant", "west", "7e"),
        ("x-zone", "2", "7f 01"),
        ("accept", "text/html", "53"),
        ("x-other", "1", "40"),
    ] {
        let block = encode(&mut encoder, &[(name, value)]);
        assert!(block.starts_with(&hex(expected)), "{name}: {value} is {block:x?}");
    }
}

#[test]
fn a_never_indexed_field_is_forwarded_as_one() {
    let received = decode_hex("10 05 702d70696e 04 31323334 1f 2b 01 78 14 01 2f").unwrap();
    assert!(received.iter().all(|(_, _, sensitive)| *sensitive));
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    // The same fields are in the tables: they must not become indexes all the same.
    let block = encode(&mut encoder, &[("p-pin", "1234"), ("user-agent", "x"), (":path", "/")]);
    decode(&mut decoder, &block).unwrap();
    let mut out = Vec::new();
    for (name, value, _) in &received {
        encoder.encode(name.as_bytes(), value.as_bytes(), true, &mut out);
    }
    assert_eq!(decode(&mut decoder, &out).unwrap(), received);
}

#[test]
fn a_never_indexed_field_enters_no_table() {
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    (0..3).for_each(|_| encoder.encode(b"token", b"0123456789012345678901234", true, &mut out));
    assert_eq!(encoder.held_bytes(), 0);
    let mut decoder = Decoder::new(4096);
    assert!(decode(&mut decoder, &out).unwrap().iter().all(|(_, _, sensitive)| *sensitive));
    assert_eq!(decoder.table().count(), 0);
}

#[test]
fn a_size_over_the_limit_is_an_error() {
    for (block, expected) in [
        ("3f e1 1f", Ok(())),
        ("3f e2 1f", Err(Fault::BadTableSize)),
        ("20 3f e2 1f", Err(Fault::BadTableSize)),
        ("3f ff ff ff 7f", Err(Fault::BadTableSize)),
    ] {
        assert_eq!(decode_hex(block).map(|_| ()), expected, "{block}");
    }
}

#[test]
fn a_limit_holds_from_its_acknowledgement() {
    let mut decoder = Decoder::new(4096);
    decoder.set_table_max(8192);
    assert_eq!(decode(&mut decoder, &hex("3f e1 3f")), Ok(Vec::new()));
    decoder.set_table_max(4096);
    assert_eq!(decode(&mut decoder, &hex("3f e1 3f")), Err(Fault::BadTableSize));
}

#[test]
fn an_encoder_sends_no_size_over_the_limit() {
    let mut encoder = Encoder::new();
    for allowed in [0, 1, 100, 4095, 4096, 5000, 16, 1 << 20] {
        encoder.set_peer_max(allowed);
        let block = encode(&mut encoder, &[(":method", "GET")]);
        let mut decoder = Decoder::new(allowed);
        assert_eq!(decode(&mut decoder, &block).unwrap(), [field(":method", "GET")]);
        assert!(decoder.table().max() <= allowed);
    }
}

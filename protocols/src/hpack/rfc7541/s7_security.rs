//! §7: what must not show in a length, and what a peer can make us spend.

use super::{decode, decode_hex, encode, hex};
use crate::error::Fault;
use crate::hpack::encode::{Prefix, write_integer};
use crate::hpack::{Decoder, Encoder};

/// The first byte of a field that was sent twice: the second time an index, if it was indexed.
fn second_time(name: &str, value: &str) -> u8 {
    let mut encoder = Encoder::new();
    encode(&mut encoder, &[(name, value)]);
    encode(&mut encoder, &[(name, value)])[0]
}

#[test]
fn credentials_are_never_indexed() {
    for name in ["authorization", "proxy-authorization", "set-cookie", "x-api-key"] {
        let block = encode(&mut Encoder::new(), &[(name, "Basic dXNlcjpwYXNzd29yZA==")]);
        assert!(decode(&mut Decoder::new(4096), &block).unwrap()[0].2, "{name}");
        assert_eq!(second_time(name, "Basic dXNlcjpwYXNzd29yZA==") & 0xf0, 0x10, "{name}");
    }
}

#[test]
fn a_short_cookie_is_never_indexed() {
    assert_eq!(second_time("cookie", "lang=en") & 0xf0, 0x10);
    assert_eq!(second_time("cookie", "session=0123456789abcdef"), 0x80 | 62);
}

#[test]
fn what_differs_with_each_message_is_not_indexed() {
    for (name, value) in [
        (":path", "/search?q=1"),
        ("content-length", "12345"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("etag", "\"0123456789\""),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-request-id", "0123456789abcdef"),
    ] {
        assert_eq!(second_time(name, value) & 0xf0, 0, "{name}");
    }
    assert_eq!(second_time("user-agent", "bench/1.0"), 0x80 | 62);
    assert_eq!(second_time(":path", "/pkg.Service/Method"), 0x80 | 62);
}

#[test]
fn a_field_that_would_push_out_half_the_table_is_not_indexed() {
    assert_eq!(second_time("a", &"x".repeat(2015)), 0x80 | 62);
    assert_eq!(second_time("a", &"x".repeat(2016)), 0);
}

#[test]
fn a_never_indexed_literal_is_told_from_one_without_indexing() {
    let fields = decode_hex("10 01 61 01 62 00 01 61 01 62").unwrap();
    assert_eq!((fields[0].2, fields[1].2), (true, false));
}

/// An entry of 3 900 bytes, referenced so many times.
fn bomb(references: usize) -> Vec<u8> {
    let mut block = hex("40 01 61");
    write_integer(Prefix { pattern: 0, bits: 7 }, VALUE_LEN as u32, &mut block);
    block.resize(block.len() + VALUE_LEN, b'x');
    block.resize(block.len() + references, 0xbe);
    block
}

const VALUE_LEN: usize = 3_900 - 32 - 1;

#[test]
fn a_bomb_ends_early_and_costs_no_memory() {
    let (mut decoder, mut called) = (Decoder::new(4096), 0);
    let block = bomb(12_000);
    let ended = decoder.decode(&block, |_| {
        called += 1;
        true
    });
    assert_eq!(ended, Err(Fault::HpackBomb));
    assert_eq!(called, (192 * 1024 + 4 * block.len()) / 3_900);
    assert!(decoder.held_bytes() < 8 * 1024);
}

#[test]
fn a_caller_who_has_enough_is_not_called_again() {
    let (mut decoder, mut called) = (Decoder::new(4096), 0);
    let ended = decoder.decode(&bomb(20), |_| {
        called += 1;
        called < 17
    });
    assert_eq!((ended, called), (Ok(()), 17), "64 KiB of fields");
    assert_eq!(decode(&mut decoder, &hex("be")).unwrap()[0].1.len(), VALUE_LEN);
}

#[test]
fn the_table_is_kept_for_a_caller_who_wants_nothing() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decoder.decode(&hex("82 40 01 61 01 62 40 01 63 01 64"), |_| false), Ok(()));
    let fields = decode(&mut decoder, &hex("be bf")).unwrap();
    assert_eq!((fields[0].0.as_str(), fields[1].0.as_str()), ("c", "a"));
}

#[test]
fn a_name_that_is_copied_again_and_again_is_a_bomb_too() {
    let mut block = hex("40");
    write_integer(Prefix { pattern: 0, bits: 7 }, 2_000, &mut block);
    block.resize(block.len() + 2_000, b'n');
    block.push(0);
    (0..20_000).for_each(|_| block.extend([0x7e, 0]));
    let mut decoder = Decoder::new(4096);
    let (mut called, limit) = (0, 192 * 1024 + 4 * block.len());
    let ended = decoder.decode(&block, |_| {
        called += 1;
        true
    });
    assert_eq!(ended, Err(Fault::HpackBomb));
    assert_eq!(called, limit / 2_032);
}

#[test]
fn a_list_that_is_merely_too_long_is_no_bomb() {
    let mut block = Vec::new();
    for number in 0..1_000 {
        block.extend(encode(&mut Encoder::new(), &[("cookie", &format!("{number:60}"))]));
    }
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, &block).unwrap().len(), 1_000);
}

#[test]
fn memory_is_that_of_the_table_and_one_string() {
    let mut decoder = Decoder::new(4096);
    assert_eq!((decoder.held_bytes(), Encoder::new().held_bytes()), (0, 0));
    let mut encoder = Encoder::new();
    for number in 0..1_000 {
        let long = format!("{number} {}", "a".repeat(number * 7));
        let block = encode(&mut encoder, &[("x", &long), ("y", &number.to_string())]);
        decode(&mut decoder, &block).unwrap();
        assert!(decoder.held_bytes() <= 4096 + 1024 + 1024, "{}", decoder.held_bytes());
        assert!(encoder.held_bytes() <= 4096 + 1024 + 1024, "{}", encoder.held_bytes());
    }
}

#[test]
fn a_declared_length_reserves_nothing() {
    for block in ["00 7f ff ff ff 7e", "00 ff ff ff ff 7e", "00 01 61 ff ff ff ff 7e 00"] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, &hex(block)), Err(Fault::HpackTruncated));
        assert_eq!(decoder.held_bytes(), 0);
    }
}

//! §5: integers and strings.

use super::{decode_hex, encode, field, hex};
use crate::error::Fault;
use crate::hpack::Encoder;
use crate::hpack::decode::Input;
use crate::hpack::encode::{Prefix, write_integer};

#[test]
fn every_integer_returns() {
    let near = |value: u32| value.saturating_sub(2)..=value.saturating_add(2);
    let values = (0..29).flat_map(|bits| near(1 << bits)).filter(|value| *value < 1 << 28);
    for value in values {
        for bits in 1..=8 {
            let mut out = Vec::new();
            write_integer(Prefix { pattern: 0, bits }, value, &mut out);
            let mut input = Input { rest: &out };
            assert_eq!(input.integer(bits), Ok(value));
            assert!(input.rest.is_empty());
        }
    }
}

#[test]
fn an_integer_of_more_than_28_bits_is_an_error() {
    let mut most = Input { rest: &[0xff, 0xff, 0xff, 0xff, 0x7f] };
    assert_eq!(most.integer(8), Ok(255 + (1 << 28) - 1));
    for block in ["ff ff ff ff ff 0f", "3f ff ff ff ff 0f", "40 7f ff ff ff ff 0f"] {
        assert_eq!(decode_hex(block), Err(Fault::BadHpackInteger), "{block}");
    }
}

#[test]
fn an_integer_of_more_than_5_bytes_is_an_error() {
    assert_eq!(decode_hex("40 01 61 7f 80 80 80 00").unwrap_err(), Fault::HpackTruncated);
    assert_eq!(decode_hex("40 01 61 7f 80 80 80 80 00").unwrap_err(), Fault::BadHpackInteger);
    assert_eq!(decode_hex(&format!("ff {}", "80 ".repeat(1_000))), Err(Fault::BadHpackInteger));
}

#[test]
fn an_integer_may_be_longer_than_it_needs() {
    assert_eq!(decode_hex("0f 82 80 80 00 01 2f").unwrap(), [field("accept-language", "/")]);
}

#[test]
fn strings_may_be_compressed_or_not() {
    let custom_key = [field("custom-key", "no-cache")];
    assert_eq!(decode_hex("00 88 25a849e95ba97d7f 86 a8eb10649cbf").unwrap(), custom_key);
    let plain = "00 0a 637573746f6d2d6b6579 08 6e6f2d6361636865";
    assert_eq!(decode_hex(plain).unwrap(), custom_key);
    assert_eq!(decode_hex("00 00 00").unwrap(), [field("", "")]);
    assert_eq!(decode_hex("00 80 80").unwrap(), [field("", "")]);
}

#[test]
fn a_string_is_compressed_only_where_that_is_shorter() {
    // `&` takes 8 bits, `0` 5, and a control byte 28.
    for (value, expected) in [("&", "01 26"), ("&0", "02 26 30"), ("00", "02 30 30")] {
        let block = encode(&mut Encoder::new(), &[("date", value)]);
        assert_eq!(block, [hex("0f 12"), hex(expected)].concat(), "{value}");
    }
    let block = encode(&mut Encoder::new(), &[("date", "000")]);
    assert_eq!(block, hex("0f 12 82 00 01"));
    let block = encode(&mut Encoder::new(), &[("date", "\x01\x02")]);
    assert_eq!(block, hex("0f 12 02 01 02"));
}

#[test]
fn padding_of_more_than_7_bits_is_an_error() {
    // `a` is 00011, and 3 bits of padding.
    assert_eq!(decode_hex("00 01 61 81 1f").unwrap(), [field("a", "a")]);
    for block in ["00 01 61 82 1f ff", "00 01 61 81 ff", "00 01 61 84 ff ff ff fe"] {
        assert_eq!(decode_hex(block), Err(Fault::BadHuffman), "{block}");
    }
}

#[test]
fn padding_other_than_ones_is_an_error() {
    for value in ["18", "19", "1a", "1b", "1c", "1d", "1e"] {
        let block = format!("00 01 61 81 {value}");
        assert_eq!(decode_hex(&block), Err(Fault::BadHuffman), "{block}");
    }
    assert_eq!(decode_hex("00 81 18 01 61"), Err(Fault::BadHuffman), "in a name as well");
}

#[test]
fn eos_within_a_string_is_an_error() {
    for block in
        ["00 01 61 84 ff ff ff ff", "00 01 61 85 1f ff ff ff e0", "00 01 61 84 ff ff ff fc"]
    {
        assert_eq!(decode_hex(block), Err(Fault::BadHuffman), "{block}");
    }
}

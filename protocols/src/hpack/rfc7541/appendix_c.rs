//! The examples of Appendix C: every block byte by byte, and the table behind it.

use super::{Owned, decode, encode, field, hex};
use crate::hpack::decode::Input;
use crate::hpack::encode::{Prefix, write_integer};
use crate::hpack::{Decoder, Encoder};

/// One example of C.2 to C.6.
struct Example {
    name: String,
    block: Vec<u8>,
    fields: Vec<(String, String)>,
    /// The dynamic table behind it, newest first.
    entries: Vec<(String, String)>,
    table_bytes: usize,
}

/// The examples whose names begin with `prefix`.
fn examples(prefix: &str) -> Vec<Example> {
    let text = include_str!("../../../testdata/hpack_appendix_c.txt");
    let examples = text.split("\n\n").skip(1).map(example);
    examples.filter(|example| example.name.starts_with(prefix)).collect()
}

fn example(text: &str) -> Example {
    let (title, lines) = text.split_once('\n').unwrap();
    let (name, table_bytes) = title.split_once(' ').unwrap();
    let of = |kind: &'static str| lines.lines().filter_map(move |line| line.strip_prefix(kind));
    let field = |line: &str| {
        // The name of a pseudo-header field begins with a colon.
        let colon = 1 + line[1..].find(": ").unwrap();
        (line[..colon].to_owned(), line[colon + 2..].to_owned())
    };
    Example {
        name: name.to_owned(),
        block: hex(of("block ").next().unwrap()),
        fields: of("field ").map(field).collect(),
        entries: of("entry ").map(field).collect(),
        table_bytes: table_bytes.parse().unwrap(),
    }
}

fn is_sensitive(example: &Example) -> bool {
    example.name == "C.2.3"
}

/// Decodes the example, and compares fields and table.
fn check(decoder: &mut Decoder, example: &Example) {
    let sensitive = is_sensitive(example);
    let fields = example.fields.iter().cloned().map(|(name, value)| (name, value, sensitive));
    let fields: Vec<Owned> = fields.collect();
    assert_eq!(decode(decoder, &example.block), Ok(fields), "{}", example.name);
    assert_eq!(decoder.table().size(), example.table_bytes, "{}", example.name);
    let entries: Vec<(&[u8], &[u8])> =
        example.entries.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let table = decoder.table();
    let found: Vec<_> = (0..table.count()).map(|index| table.field(index).unwrap()).collect();
    assert_eq!(found, entries, "{}", example.name);
}

/// A session of examples on one connection.
fn check_session(prefix: &str, table_bytes_max: u32) {
    let (mut decoder, examples) = (Decoder::new(table_bytes_max), examples(prefix));
    assert_eq!(examples.len(), 3);
    examples.iter().for_each(|example| check(&mut decoder, example));
}

#[test]
fn c1_integers_are_written_and_read() {
    for (bits, value, bytes) in [(5, 10, "0a"), (5, 1337, "1f9a0a"), (8, 42, "2a")] {
        let mut out = Vec::new();
        write_integer(Prefix { pattern: 0, bits }, value, &mut out);
        assert_eq!(out, hex(bytes));
        let mut input = Input { rest: &out };
        assert_eq!((input.integer(bits), input.rest), (Ok(value), &b""[..]));
    }
}

#[test]
fn c2_each_representation_decodes() {
    let examples = examples("C.2.");
    assert_eq!(examples.len(), 4);
    examples.iter().for_each(|example| check(&mut Decoder::new(4096), example));
}

#[test]
fn c3_requests_without_huffman_codes_decode() {
    check_session("C.3.", 4096);
}

#[test]
fn c4_requests_with_huffman_codes_decode() {
    check_session("C.4.", 4096);
}

#[test]
fn c5_replies_without_huffman_codes_decode() {
    check_session("C.5.", 256);
}

#[test]
fn c6_replies_with_huffman_codes_decode() {
    check_session("C.6.", 256);
}

/// Our encoder makes the choices of C.4, so that its blocks are those bytes.
#[test]
fn c4_requests_encode_to_the_same_bytes() {
    let mut encoder = Encoder::new();
    for example in examples("C.4.") {
        let fields = example.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let block = encode(&mut encoder, &fields.collect::<Vec<_>>());
        assert_eq!(block, example.block, "{}", example.name);
    }
}

#[test]
fn c2_a_sensitive_field_encodes_to_the_same_meaning() {
    let mut out = Vec::new();
    Encoder::new().encode(b"password", b"secret", true, &mut out);
    let fields = decode(&mut Decoder::new(4096), &out).unwrap();
    assert_eq!(fields, [("password".to_owned(), "secret".to_owned(), true)]);
    assert_ne!(fields, [field("password", "secret")]);
    assert_eq!(out[0], examples("C.2.3")[0].block[0]);
}

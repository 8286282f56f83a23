//! RFC 7541, a test for each requirement and for each example: `docs/rfc7541.md` lists them.

mod appendix_c;
mod s2_overview;
mod s3_decoding;
mod s4_table;
mod s5_primitives;
mod s6_format;
mod s7_security;

use crate::error::Fault;
use crate::hpack::{Decoder, Encoder};

/// A decoded field: name, value, and whether it is never to be indexed.
type Owned = (String, String, bool);

/// Bytes of hex digits; spaces are for readers.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What a block decodes to.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, Fault> {
    let mut fields = Vec::new();
    decoder.decode(block, |field| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push((text(field.name), text(field.value), field.sensitive));
        true
    })?;
    Ok(fields)
}

/// The same of hex digits and a new decoder.
fn decode_hex(text: &str) -> Result<Vec<Owned>, Fault> {
    decode(&mut Decoder::new(4096), &hex(text))
}

/// A block with these fields.
fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        encoder.encode(name.as_bytes(), value.as_bytes(), false, &mut out);
    }
    out
}

/// A field that is not sensitive, as [`decode`] returns it.
fn field(name: &str, value: &str) -> Owned {
    (name.to_owned(), value.to_owned(), false)
}

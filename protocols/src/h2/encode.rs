//! Heads and trailers, written as field blocks (RFC 9113 §8.2, §8.3).
//!
//! Pseudo-header fields first, names in lower case, and nothing that belongs to an HTTP/1
//! connection; content-length comes from the head's length and from nowhere else. A field that
//! came as one never to be indexed leaves as one (RFC 7541 §6.2.3).
//!
//! Cost: HPACK appends to the send queue's scratch. A name with capital letters, as HTTP/1 peers
//! send them, is copied to the stack or, from 64 bytes on, to the heap.

use super::frame;
use crate::head::{Head, Length};
use crate::hpack::Encoder;
use crate::name::Name;

/// Names up to this are put into lower case on the stack.
const NAME_BYTES_STACK: usize = 64;

/// What is written, and to which stream.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) stream: u32,
    /// Nothing follows.
    pub(super) end: bool,
}

/// Writes a request's head.
pub(super) fn request(head: &Head, to: Target, encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.reserve(head.bytes_len() + 64);
    frame::headers(to.stream, to.end, out, |out| {
        encoder.encode(b":method", head.method(), false, out);
        encoder.encode(b":scheme", head.scheme().as_bytes(), false, out);
        if !head.authority().is_empty() {
            encoder.encode(b":authority", head.authority(), false, out);
        }
        let target = if head.target().is_empty() { b"/" } else { head.target() };
        encoder.encode(b":path", target, false, out);
        fields(head, encoder, out);
        if let Length::Exact(len) = head.length() {
            content_length(len, encoder, out);
        }
    });
}

/// Writes a reply's head; the reason phrase has no place in it.
pub(super) fn reply(head: &Head, to: Target, encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.reserve(head.bytes_len() + 64);
    frame::headers(to.stream, to.end, out, |out| {
        status(head.status(), encoder, out);
        fields(head, encoder, out);
        // RFC 9110 §8.6: not in a 1xx or 204.
        if let (Length::Exact(len), 200..=203 | 205..) = (head.length(), head.status()) {
            content_length(len, encoder, out);
        }
    });
}

/// Writes a whole reply that is only a status.
pub(super) fn bare_reply(code: u16, to: Target, encoder: &mut Encoder, out: &mut Vec<u8>) {
    frame::headers(to.stream, to.end, out, |out| {
        status(code, encoder, out);
        content_length(0, encoder, out);
    });
}

/// Writes a trailer section, which ends its stream. Without a field it would be no section.
pub(super) fn trailers(stream: u32, head: &Head, encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.reserve(head.bytes_len() + 32);
    frame::headers(stream, true, out, |out| fields(head, encoder, out));
}

/// Whether any field of the head would be written.
pub(super) fn has_fields(head: &Head) -> bool {
    head.named().any(|(name, _, value)| is_sent(head, name, value))
}

/// RFC 9113 §8.2.2.
fn is_sent(head: &Head, name: Name, value: &[u8]) -> bool {
    match name {
        Name::Upgrade => false,
        Name::Te => head.is_request() && value.eq_ignore_ascii_case(b"trailers"),
        name => !name.is_connection_level() && !name.is_framing(),
    }
}

fn fields(head: &Head, encoder: &mut Encoder, out: &mut Vec<u8>) {
    for (name, text, value, secret) in head.secrets() {
        if !is_sent(head, name, value) {
            continue;
        }
        let value = crate::head::trim(value);
        match name {
            Name::Other => other(text, value, secret, encoder, out),
            known => encoder.encode(known.text(), value, secret, out),
        }
    }
}

/// RFC 9113 §8.2: in lower case.
fn other(text: &[u8], value: &[u8], secret: bool, encoder: &mut Encoder, out: &mut Vec<u8>) {
    if !text.iter().any(u8::is_ascii_uppercase) {
        return encoder.encode(text, value, secret, out);
    }
    let mut stack = [0; NAME_BYTES_STACK];
    let Some(lower) = stack.get_mut(..text.len()) else {
        return encoder.encode(&text.to_ascii_lowercase(), value, secret, out);
    };
    lower.copy_from_slice(text);
    lower.make_ascii_lowercase();
    encoder.encode(lower, value, secret, out);
}

fn status(code: u16, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let digits = [code / 100 % 10, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
    encoder.encode(b":status", &digits, false, out);
}

fn content_length(len: u64, encoder: &mut Encoder, out: &mut Vec<u8>) {
    // 2^64 has 20 digits.
    let (mut digits, mut first, mut rest) = ([b'0'; 20], 20, len);
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        first = index;
        if rest == 0 {
            break;
        }
    }
    let digits = digits.get(first..).unwrap_or_default();
    encoder.encode(b"content-length", digits, false, out);
}

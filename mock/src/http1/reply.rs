//! Writes replies: heads, chunk lines, the JSON of an echo, and the bytes of a fixed body.
//!
//! It does no I/O. Everything is appended to a buffer that the connection reuses.

use std::io::Write as _;
use std::time::SystemTime;

use super::ask::Ask;

/// 61 is prime, so no power-of-two block of a broken copy lines up with the pattern.
const PATTERN: &[u8; 61] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxy";

/// The byte at `offset` of a fixed body: it depends on the position, so lost, repeated and
/// exchanged parts show.
pub fn body_byte(offset: u64) -> u8 {
    PATTERN[(offset % PATTERN.len() as u64) as usize]
}

/// `periods` repetitions of the pattern: any part of a fixed body is a slice of it.
pub(super) fn block(periods: usize) -> Vec<u8> {
    PATTERN.repeat(periods)
}

/// Where in a [`block`] the byte at `offset` of a fixed body lies.
pub(super) fn block_start(offset: u64) -> usize {
    (offset % PATTERN.len() as u64) as usize
}

/// How the end of a reply's body is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Exact(u64),
    Chunked,
    UntilClose,
    /// 204, 304: neither length nor body.
    Without,
}

impl Length {
    pub(super) fn of(ask: &Ask, bytes: u64) -> Self {
        match ask {
            Ask { status: 100..200 | 204 | 304, .. } => Self::Without,
            Ask { until_close: true, .. } => Self::UntilClose,
            Ask { chunk_bytes: 1.., .. } => Self::Chunked,
            _ => Self::Exact(bytes),
        }
    }
}

/// Appends a reply's head; `connection` is the value of that field, empty for none.
pub(super) fn head(out: &mut Vec<u8>, status: u16, kind: &[u8], length: Length, connection: &[u8]) {
    // As every origin with a clock has to (RFC 9110 section 6.6.1): a gateway then adds none.
    let date = httpdate::HttpDate::from(SystemTime::now());
    let reason = reason(status);
    write(out, format_args!("HTTP/1.1 {status} {reason}\r\nserver: mock\r\ndate: {date}\r\n"));
    match length {
        Length::Exact(bytes) => write(out, format_args!("content-length: {bytes}\r\n")),
        Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Length::UntilClose | Length::Without => {}
    }
    if length != Length::Without {
        out.extend_from_slice(b"content-type: ");
        out.extend_from_slice(kind);
        out.extend_from_slice(b"\r\n");
    }
    if !connection.is_empty() {
        out.extend_from_slice(b"connection: ");
        out.extend_from_slice(connection);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one chunk.
pub(super) fn chunk(out: &mut Vec<u8>, payload: &[u8]) {
    write(out, format_args!("{:x}\r\n", payload.len()));
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Appends the JSON of an echo up to the place where the body goes.
pub(super) fn echo_start(out: &mut Vec<u8>, request: &httparse::Request<'_, '_>) {
    out.extend_from_slice(b"{\"method\":");
    json_string(out, request.method.unwrap_or_default().as_bytes());
    out.extend_from_slice(b",\"target\":");
    json_string(out, request.path.unwrap_or_default().as_bytes());
    write(out, format_args!(",\"version\":\"1.{}\"", request.version.unwrap_or(1)));
    out.extend_from_slice(b",\"fields\":[");
    for (index, field) in request.headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
        json_string(out, field.name.as_bytes());
        out.push(b',');
        json_string(out, field.value);
        out.push(b']');
    }
    out.push(b']');
}

/// Appends the rest of an echo's JSON.
pub(super) fn echo_end(out: &mut Vec<u8>, body: &[u8]) {
    write(out, format_args!(",\"body_bytes\":{},\"body\":", body.len()));
    json_string(out, body);
    out.extend_from_slice(b"}\n");
}

/// A JSON string; bytes that are no UTF-8 become U+FFFD.
fn json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for letter in String::from_utf8_lossy(bytes).chars() {
        match letter {
            '"' | '\\' => write(out, format_args!("\\{letter}")),
            '\0'..=' ' if letter != ' ' => write(out, format_args!("\\u{:04x}", letter as u32)),
            _ => write(out, format_args!("{letter}")),
        }
    }
    out.push(b'"');
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // INVARIANT: writing to a Vec does not fail.
    out.write_fmt(text).expect("a Vec takes every byte");
}

fn reason(status: u16) -> &'static str {
    match status {
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Mock",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_pattern_at_every_offset() {
        let block = block(3);
        for offset in [0u64, 60, 61, 62, 1 << 40] {
            assert_eq!(block[block_start(offset)], body_byte(offset));
        }
    }

    #[test]
    fn json_escapes_what_must_be_escaped() {
        let mut out = Vec::new();
        json_string(&mut out, b"a\"b\\c\r\n\x01 \xff\xc3\xa9");
        assert_eq!(out, "\"a\\\"b\\\\c\\u000d\\u000a\\u0001 \u{fffd}\u{e9}\"".as_bytes());
    }

    #[test]
    fn a_head_without_body_announces_none() {
        let mut out = Vec::new();
        head(&mut out, 204, b"", Length::Without, b"close");
        let text = String::from_utf8(out).unwrap();
        let (line, fields) = text.split_once("\r\n").unwrap();
        assert_eq!(line, "HTTP/1.1 204 No Content");
        let (server, rest) = fields.split_once("date: ").unwrap();
        let (date, rest) = rest.split_once("\r\n").unwrap();
        assert_eq!((server, rest), ("server: mock\r\n", "connection: close\r\n\r\n"));
        assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    }
}

//! Heads, written: start line, Host first, the fields, then what frames the body.
//!
//! Hop-by-hop fields of the head are never copied (RFC 9110 §7.6.1); Connection, Content-Length
//! and Transfer-Encoding are written here and nowhere else, so a message leaves with exactly one
//! framing whatever the head's fields say.
//!
//! Cost: appends to the send queue's scratch; neighbouring fields go in one copy.

use super::parse::Asked;
use crate::error::Fault;
use crate::head::{Head, Length};
use crate::name::Name;

/// What may still be written of the current message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// No head yet.
    Before,
    /// So many bytes of payload.
    Exact(u64),
    /// Chunks.
    Chunked,
    /// Payload up to the connection's end.
    Close,
    /// Bytes of another protocol.
    Tunnel,
    /// Nothing.
    Ended,
}

/// What a reply's framing depends on beside its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) asked: Asked,
    pub(super) http10: bool,
    /// The connection goes on after this reply.
    pub(super) keep: bool,
    /// Nothing follows the head.
    pub(super) end: bool,
}

/// Writes a request's head.
pub(super) fn request(head: &Head, end: bool, close: bool, out: &mut Vec<u8>) -> Outgoing {
    out.reserve(head.bytes_len() + 96);
    out.extend_from_slice(head.method());
    out.push(b' ');
    let target = head.target();
    out.extend_from_slice(if target.is_empty() { b"/" } else { target });
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.authority());
    out.extend_from_slice(b"\r\n");
    let tunnel = head.length() == Length::Tunnel;
    fields(head, tunnel, out);
    let te = head.known(Name::Te) == Some(b"trailers");
    out.extend_from_slice(match (tunnel, close, te) {
        (true, _, _) => b"connection: upgrade\r\n",
        (false, true, true) => b"connection: close, te\r\n",
        (false, true, false) => b"connection: close\r\n",
        (false, false, true) => b"connection: te\r\n",
        (false, false, false) => b"",
    });
    let outgoing = match head.length() {
        Length::Tunnel => Outgoing::Tunnel,
        Length::Exact(len) if len > 0 && !end => exact(len, out),
        Length::Unknown if !end => chunked(out),
        Length::Empty | Length::Exact(_) | Length::Unknown => {
            // RFC 9110 §8.6: methods that expect content say that there is none.
            let expected = matches!(head.method(), b"POST" | b"PUT" | b"PATCH");
            if expected || head.length() == Length::Exact(0) {
                exact(0, out);
            }
            Outgoing::Ended
        }
    };
    out.extend_from_slice(b"\r\n");
    outgoing
}

/// Writes a final reply's head, or a 101.
pub(super) fn reply(head: &Head, with: Reply, out: &mut Vec<u8>) -> Outgoing {
    out.reserve(head.bytes_len() + 128);
    status_line(head.status(), head.reason(), out);
    let switching = head.status() == 101;
    fields(head, switching, out);
    if switching {
        out.extend_from_slice(b"connection: upgrade\r\n\r\n");
        return Outgoing::Tunnel;
    }
    let (outgoing, keep) = reply_length(head, with, out);
    out.extend_from_slice(match (keep, with.http10) {
        (false, _) => b"connection: close\r\n",
        (true, true) => b"connection: keep-alive\r\n",
        (true, false) => b"",
    });
    out.extend_from_slice(b"\r\n");
    outgoing
}

/// Writes the length field; what may follow, and whether the connection outlives it.
fn reply_length(head: &Head, with: Reply, out: &mut Vec<u8>) -> (Outgoing, bool) {
    let outgoing = match (head.status(), head.length()) {
        // RFC 9110 §8.6: no Content-Length in a 204.
        (204, _) => Outgoing::Ended,
        // Here the length is what a GET would have had (RFC 9110 §8.6, §15.4.5).
        (status, length) if status == 304 || with.asked.head => {
            if let Length::Exact(len) = length {
                exact(len, out);
            }
            Outgoing::Ended
        }
        (_, Length::Exact(len)) if len > 0 && !with.end => exact(len, out),
        (_, Length::Unknown | Length::Tunnel) if !with.end && with.http10 => Outgoing::Close,
        (_, Length::Unknown | Length::Tunnel) if !with.end => chunked(out),
        _ => {
            exact(0, out);
            Outgoing::Ended
        }
    };
    (outgoing, with.keep && outgoing != Outgoing::Close)
}

/// Writes a 1xx other than 101.
pub(super) fn interim(head: &Head, out: &mut Vec<u8>) {
    status_line(head.status(), head.reason(), out);
    fields(head, false, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole reply that says what was wrong, the last of its connection.
pub(super) fn last_words(fault: Fault, date: Option<&[u8]>, without_body: bool, out: &mut Vec<u8>) {
    let (status, reason) = (fault.status(), fault.reason());
    status_line(status, b"", out);
    out.extend_from_slice(b"content-type: text/plain\r\ncontent-length: ");
    // Status, space, reason word, newline.
    decimal(reason.len() as u64 + 5, out);
    if let Some(date) = date {
        out.extend_from_slice(b"\r\ndate: ");
        out.extend_from_slice(date);
    }
    out.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    if !without_body {
        decimal(u64::from(status), out);
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.push(b'\n');
    }
}

/// Writes the last chunk and the trailers, if any.
pub(super) fn last_chunk(trailers: Option<&Head>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(trailers, false, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the size line of a chunk.
pub(super) fn chunk_size(len: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = (len >> (digit * 4)) as u8 & 15;
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

fn fields(head: &Head, upgrade: bool, out: &mut Vec<u8>) {
    head.write_fields(out, |name, value| match name {
        Name::Upgrade => upgrade,
        Name::Te => head.is_request() && value == b"trailers",
        name => !name.is_connection_level() && !name.is_framing(),
    });
}

fn exact(len: u64, out: &mut Vec<u8>) -> Outgoing {
    out.extend_from_slice(b"content-length: ");
    decimal(len, out);
    out.extend_from_slice(b"\r\n");
    if len == 0 { Outgoing::Ended } else { Outgoing::Exact(len) }
}

fn chunked(out: &mut Vec<u8>) -> Outgoing {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    Outgoing::Chunked
}

fn status_line(status: u16, reason: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(if reason.is_empty() { reason_of(status) } else { reason });
    out.extend_from_slice(b"\r\n");
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    // 2^64 has 20 digits.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first = index;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// The usual phrase of a status that this gateway itself may send (RFC 9110 §15).
fn reason_of(status: u16) -> &'static [u8] {
    match status {
        100 => b"Continue",
        101 => b"Switching Protocols",
        200 => b"OK",
        204 => b"No Content",
        301 => b"Moved Permanently",
        302 => b"Found",
        304 => b"Not Modified",
        307 => b"Temporary Redirect",
        308 => b"Permanent Redirect",
        400 => b"Bad Request",
        401 => b"Unauthorized",
        403 => b"Forbidden",
        404 => b"Not Found",
        405 => b"Method Not Allowed",
        408 => b"Request Timeout",
        413 => b"Content Too Large",
        414 => b"URI Too Long",
        417 => b"Expectation Failed",
        421 => b"Misdirected Request",
        425 => b"Too Early",
        429 => b"Too Many Requests",
        431 => b"Request Header Fields Too Large",
        500 => b"Internal Server Error",
        501 => b"Not Implemented",
        502 => b"Bad Gateway",
        503 => b"Service Unavailable",
        504 => b"Gateway Timeout",
        505 => b"HTTP Version Not Supported",
        508 => b"Loop Detected",
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 404, 65_536, u64::MAX] {
            assert_eq!(text(|out| decimal(number, out)), number.to_string());
        }
        for len in [0, 1, 15, 16, 255, 256, 0x1_2345, usize::MAX] {
            assert_eq!(text(|out| chunk_size(len, out)), format!("{len:x}\r\n"));
        }
    }

    #[test]
    fn last_words_are_complete() {
        for fault in Fault::ALL.iter().filter(|fault| fault.status() != 0) {
            let words = text(|out| last_words(*fault, Some(b"now"), false, out));
            let (head, body) = words.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{words}");
            assert!(head.ends_with("\r\ndate: now\r\nconnection: close"), "{words}");
            let undated = text(|out| last_words(*fault, None, false, out));
            assert_eq!(undated, words.replace("date: now\r\n", ""));
            assert!(!reason_of(fault.status()).is_empty(), "{words}");
        }
    }
}

//! Each of the 256 byte values at each place of a head where a parser may stumble: it passes as it
//! is, or the request is refused; nothing in between.

use crate::support::Talk;

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Sends `start`, a byte and `end` as a head for each byte value. Where `passes` gives a forwarded
/// head, exactly that must arrive; elsewhere a refusal and a close must follow.
fn each_byte(start: &str, end: &str, passes: impl Fn(u8) -> Option<Vec<u8>>) {
    // What a path rule makes of a backslash is shown elsewhere.
    let mut talk = Talk::with(&[("--path-rule", "off")]);
    for byte in 0..=255 {
        talk.client([start.as_bytes(), &[byte], end.as_bytes()].concat());
        match passes(byte) {
            Some(head) => talk.forwarded(head).answered(),
            None => talk.refused_somehow(byte),
        };
        talk.next_client();
    }
    talk.goes_on();
}

/// A head as it is forwarded, with `byte` in the given place.
fn head(start: &str, byte: u8, end: &str) -> Option<Vec<u8>> {
    Some([start.as_bytes(), &[byte], end.as_bytes()].concat())
}

#[test]
fn in_a_method() {
    let end = "T / HTTP/1.1\r\nHost: test\r\n\r\n";
    each_byte("G", end, |byte| {
        is_token(byte).then(|| head("G", byte, "T / HTTP/1.1\r\nhost: test\r\n\r\n"))?
    });
}

#[test]
fn in_a_target() {
    each_byte("GET /a", "z HTTP/1.1\r\nHost: test\r\n\r\n", |byte| {
        let passes = byte.is_ascii_graphic() && !b"#%".contains(&byte);
        passes.then(|| head("GET /a", byte, "z HTTP/1.1\r\nhost: test\r\n\r\n"))?
    });
}

#[test]
fn in_a_host() {
    each_byte("GET / HTTP/1.1\r\nHost: a", "z\r\n\r\n", |byte| {
        let passes = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        passes.then(|| head("GET / HTTP/1.1\r\nhost: a", byte, "z\r\n\r\n"))?
    });
}

#[test]
fn in_a_field_name() {
    let forwarded = "GET / HTTP/1.1\r\nhost: test\r\nX";
    each_byte("GET / HTTP/1.1\r\nHost: test\r\nX", "Y: z\r\n\r\n", |byte| match byte {
        b':' => head(forwarded, byte, " Y: z\r\n\r\n"),
        _ => is_token(byte).then(|| head(forwarded, byte, "Y: z\r\n\r\n"))?,
    });
}

#[test]
fn in_a_field_value() {
    each_byte("GET / HTTP/1.1\r\nHost: test\r\nX: a", "z\r\n\r\n", |byte| {
        let passes = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        passes.then(|| head("GET / HTTP/1.1\r\nhost: test\r\nX: a", byte, "z\r\n\r\n"))?
    });
}

/// Beside a length, each byte around the words of `Transfer-Encoding: chunked` makes it another
/// field's line, which passes by its length, or a refusal.
#[test]
fn around_transfer_encoding() {
    let start = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n";
    let forwarded = "POST / HTTP/1.1\r\nhost: test\r\n";
    let end = "\r\ncontent-length: 5\r\n\r\nhello";
    let name = |before: &str, byte, after: &str| {
        head(&format!("{forwarded}{before}"), byte, &format!("{after}: chunked{end}"))
    };
    let rest = "\r\n\r\nhello";
    each_byte(start, &format!("Transfer-Encoding: chunked{rest}"), |byte| {
        is_token(byte).then(|| name("", byte, "Transfer-Encoding"))?
    });
    let before = format!("{start}Transfer-Encoding");
    each_byte(&before, &format!(": chunked{rest}"), |byte| {
        is_token(byte).then(|| name("Transfer-Encoding", byte, ""))?
    });
    let before = format!("{start}Transfer");
    each_byte(&before, &format!("Encoding: chunked{rest}"), |byte| match byte {
        b'-' | b'_' => None,
        b':' => head(&format!("{forwarded}Transfer"), byte, &format!(" Encoding: chunked{end}")),
        _ => is_token(byte).then(|| name("Transfer", byte, "Encoding"))?,
    });
    let before = format!("{start}Transfer-Encoding: ");
    each_byte(&before, &format!("chunked{rest}"), |_| None);
    let before = format!("{start}Transfer-Encoding: chunked");
    each_byte(&before, rest, |_| None);
}

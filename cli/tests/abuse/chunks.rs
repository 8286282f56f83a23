//! Chunked bodies that cannot be read in one way only, or that cost more than they carry.

use crate::support::Talk;

const HEAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
const FORWARDED: &str = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";

/// The body is refused after its head went out: a 4xx, an end without a last chunk for the origin,
/// and the next client is served.
fn refused_in_body(talk: &mut Talk, status: u16, reason: &str) {
    talk.local_reply(status, reason);
    let sent = talk.origin.until_closed();
    assert!(!sent.ends_with(b"0\r\n\r\n"), "the origin got a whole request");
    talk.closed();
}

/// Each byte value behind a size, behind payload and inside of an extension: only what the grammar
/// has there is taken.
#[test]
fn every_byte_in_the_framing() {
    let mut talk = Talk::start();
    for byte in 0..=255_u8 {
        talk.client(HEAD).forwarded(FORWARDED);
        talk.client([b"5", &[byte][..], b"\r\nhello\r\n0\r\n\r\n"].concat());
        match byte {
            b';' => _ = talk.forwarded("5\r\nhello\r\n0\r\n\r\n").answered(),
            // Another size, which the rest does not fit or does not fill.
            _ if byte.is_ascii_hexdigit() => _ = talk.client_finishes().origin.until_closed(),
            b'\r' => refused_in_body(&mut talk, 400, "bare_cr"),
            _ => refused_in_body(&mut talk, 400, "bad_chunk_size"),
        }
        talk.next_client();
    }
    for byte in (0..=255_u8).filter(|byte| *byte != b'\r') {
        talk.client(HEAD).forwarded(FORWARDED).client([b"1\r\na", &[byte][..]].concat());
        refused_in_body(&mut talk, 400, "bad_chunk_end");
    }
    for byte in 0..=255_u8 {
        talk.client(HEAD).forwarded(FORWARDED);
        talk.client([b"5;a", &[byte][..], b"z\r\nhello\r\n0\r\n\r\n"].concat());
        match byte {
            b'\t' | b' '..=b'~' | 128.. => _ = talk.forwarded("5\r\nhello\r\n0\r\n\r\n").answered(),
            b'\r' => refused_in_body(&mut talk, 400, "bare_cr"),
            _ => refused_in_body(&mut talk, 400, "bad_chunk_extension"),
        }
    }
    talk.goes_on();
}

/// Sizes and ends that other parsers let pass, with a request hidden in what follows.
#[test]
fn chunks_that_hide_a_request() {
    let mut talk = Talk::start();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    for (body, reason) in [
        ("0\n\n", "bad_chunk_size"),
        ("0\r\n\n", "bare_lf"),
        ("0;\n\r\n", "bad_chunk_extension"),
        ("0x0\r\n\r\n", "bad_chunk_size"),
        ("0 \r\n\r\n", "bad_chunk_size"),
        ("-0\r\n\r\n", "bad_chunk_size"),
        ("00000000000000000\r\n\r\n", "bad_chunk_size"),
        ("1;a\nb\r\nc\r\n0\r\n\r\n", "bad_chunk_extension"),
        ("1;a=\"\r\"\r\nc\r\n0\r\n\r\n", "bare_cr"),
        ("2\r\nabXX0\r\n\r\n", "bad_chunk_end"),
        ("2\r\nab0\r\n\r\n", "bad_chunk_end"),
        ("2\r\nab\n0\r\n\r\n", "bad_chunk_end"),
        ("0\r\nX : y\r\n\r\n", "bad_trailer"),
        ("0\r\n X: y\r\n\r\n", "bad_trailer"),
    ] {
        talk.client(HEAD).forwarded(FORWARDED).client(format!("{body}{hidden}"));
        refused_in_body(&mut talk, 400, reason);
    }
}

/// Many chunks of one byte, each with an extension below the limit of one chunk: the limit of a
/// whole body ends it.
#[test]
fn extensions_on_every_chunk() {
    let mut talk = Talk::start();
    talk.client(HEAD).forwarded(FORWARDED);
    talk.client(format!("1;{}\r\na\r\n", "e".repeat(199)).repeat(100));
    refused_in_body(&mut talk, 400, "bad_chunk_extension");
    let mut talk = Talk::with(&[("--chunk-ext-bytes-max", "0B")]);
    talk.client(HEAD).forwarded(FORWARDED).client("1;\r\na\r\n");
    refused_in_body(&mut talk, 400, "bad_chunk_extension");
}

/// An extension without an end is not waited for.
#[test]
fn an_endless_extension() {
    let mut talk = Talk::start();
    talk.client(HEAD).forwarded(FORWARDED).client(format!("1;{}", "e".repeat(1024 * 1024)));
    refused_in_body(&mut talk, 400, "bad_chunk_extension");
}

/// Trailers have limits of their own, in fields and in bytes.
#[test]
fn trailer_bombs() {
    let mut talk = Talk::start();
    let many = "X: y\r\n".repeat(33);
    let long = format!("X: {}\r\n", "y".repeat(9 * 1024));
    let endless = "X: y\r\n".repeat(100_000);
    for trailers in [many, long, endless] {
        talk.client(HEAD).forwarded(FORWARDED).client(format!("0\r\n{trailers}\r\n"));
        refused_in_body(&mut talk, 431, "trailer_too_large");
    }
}

/// A body in chunks of one byte costs, but passes.
#[test]
fn tiny_chunks_pass() {
    let mut talk = Talk::start();
    let chunks = "1\r\na\r\n".repeat(2_000);
    talk.client(format!("{HEAD}{chunks}0\r\n\r\n"));
    talk.forwarded(format!("{FORWARDED}{chunks}0\r\n\r\n")).answered().goes_on();
}

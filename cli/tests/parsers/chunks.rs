//! The chunked coding, in requests and in replies alike.

use crate::support::Talk;

const HEAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
const FORWARDED: &str = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
const REPLY: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const REPLIED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// What is one chunk of `hello` and the last one, however it is written (RFC 9112 §7.1, §7.1.1).
#[test]
fn chunks_that_are_written_oddly() {
    let mut talk = Talk::start();
    for (what, chunks) in [
        ("a last chunk of several zeros", "5\r\nhello\r\n000\r\n\r\n"),
        ("an extension without a value", "5;a\r\nhello\r\n0;b\r\n\r\n"),
        ("several of both kinds", "5;a;b=c;d=e\r\nhello\r\n0\r\n\r\n"),
        ("quotes around a semicolon", "5;a=\"b; c\";d\r\nhello\r\n0\r\n\r\n"),
        ("quotes within quotes", "5;a=\"b \\\"c\\\" \\\\\"\r\nhello\r\n0\r\n\r\n"),
        ("white space behind the semicolon", "5; a = b\r\nhello\r\n0\r\n\r\n"),
        // Not by the grammar; what is ignored need not be understood, and its end is certain.
        ("quotes that stay open", "5;a=\"b\";c=\"d; e\r\nhello\r\n0\r\n\r\n"),
        ("nothing behind the semicolon", "5;\r\nhello\r\n0\r\n\r\n"),
    ] {
        println!("{what}");
        talk.client(format!("{HEAD}{chunks}"));
        talk.forwarded(format!("{FORWARDED}5\r\nhello\r\n0\r\n\r\n"));
        talk.origin(format!("{REPLY}{chunks}"));
        talk.reply(format!("{REPLIED}5\r\nhello\r\n0\r\n\r\n")).goes_on();
    }
}

/// What has no certain end: a request is refused and its link closed, a reply is cut (RFC 9112
/// §7.1). White space before a semicolon is in the grammar as what bad senders do; refusing it is
/// stricter than RFC 9110 §5.6.3, since another parser might end the size there.
#[test]
fn chunks_that_end_nowhere() {
    let mut talk = Talk::start();
    for (what, body, reason) in [
        ("words without a semicolon", "5 words\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
        ("white space before the semicolon", "5 ;a\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
        ("two spaces", "5  \r\nhello\r\n0  \r\n\r\n", "bad_chunk_size"),
        ("a line feed among spaces", "5 \n  \r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
        ("two CRs", "5\r\r;a\r\nhello\r\n0\r\n\r\n", "bare_cr"),
        ("a letter in a CRLF", "5\rX\nhello\r\n0\r\n\r\n", "bare_cr"),
        ("no digit", "z\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
        ("a digit too many", "fffffffffffffffff\r\nhello", "bad_chunk_size"),
        ("a CR in an extension", "5;a\r;b\r\nhello\r\n0\r\n\r\n", "bare_cr"),
        ("a CR within quotes", "5;a=\"b\rc\"\r\nhello\r\n0\r\n\r\n", "bare_cr"),
        ("a line feed within quotes", "5;a=\"b\nc\"\r\nhello\r\n0\r\n\r\n", "bad_chunk_extension"),
    ] {
        println!("{what}");
        talk.client(HEAD).forwarded(FORWARDED).client(body);
        talk.local_reply(400, reason).link_closed().closed();
        talk.get("").forwarded_get("").origin(REPLY).reply(REPLIED);
        talk.origin(body).link_closed().closed();
    }
}

/// An empty line where the next size is due is not the last chunk (RFC 9112 §7.1).
#[test]
fn an_empty_line_is_no_last_chunk() {
    let mut talk = Talk::start();
    let (chunk, end) = ("5\r\nhello\r\n", "\r\n");
    talk.client(format!("{HEAD}{chunk}")).forwarded(format!("{FORWARDED}{chunk}")).client(end);
    talk.local_reply(400, "bad_chunk_size").link_closed().closed();
    talk.get("").forwarded_get("").origin(format!("{REPLY}{chunk}"));
    talk.reply(format!("{REPLIED}{chunk}")).origin(end).link_closed().closed();
}

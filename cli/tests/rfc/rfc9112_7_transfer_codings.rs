//! RFC 9112 section 7: chunks, their extensions, trailers and TE.

use crate::support::Talk;

const HEAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
const FORWARDED: &str = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
const REPLY: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const REPLIED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Chunks are decoded in both directions; sizes are hexadecimal in either case and may have
/// leading zeros (§7.1).
#[test]
fn chunks_are_decoded() {
    let mut talk = Talk::start();
    talk.client(format!("{HEAD}3\r\nhel\r\n002\r\nlo\r\n00A\r\n0123456789\r\n0\r\n\r\n"));
    talk.forwarded(format!("{FORWARDED}3\r\nhel\r\n2\r\nlo\r\na\r\n0123456789\r\n0\r\n\r\n"));
    talk.origin(format!("{REPLY}b\r\nhello world\r\n0\r\n\r\n"));
    talk.reply(format!("{REPLIED}b\r\nhello world\r\n0\r\n\r\n")).goes_on();
}

/// A size that no number holds is refused, in either direction, and does not wrap (§7.1).
#[test]
fn a_chunk_size_does_not_overflow() {
    let mut talk = Talk::start();
    for size in ["ffffffffffffffff", "8000000000000000", "10000000000000005"] {
        talk.client(HEAD).forwarded(FORWARDED).client(format!("{size}\r\nhello"));
        talk.local_reply(400, "bad_chunk_size").link_closed().closed();
        talk.get("").forwarded_get("").origin(REPLY).reply(REPLIED);
        talk.origin(format!("{size}\r\nhello")).link_closed().closed();
    }
}

/// What is no size, or no CRLF where one is due, ends the message without a last chunk (§7.1).
#[test]
fn malformed_chunks_are_refused() {
    let mut talk = Talk::start();
    for (body, reason) in [
        ("\r\n", "bad_chunk_size"),
        (" 5\r\n", "bad_chunk_size"),
        ("5 \r\n", "bad_chunk_size"),
        ("+5\r\n", "bad_chunk_size"),
        ("-5\r\n", "bad_chunk_size"),
        ("0x5\r\n", "bad_chunk_size"),
        ("5\nhello\r\n", "bad_chunk_size"),
        ("5\rhello\r\n", "bare_cr"),
    ] {
        talk.client(HEAD).forwarded(FORWARDED).client(body);
        talk.local_reply(400, reason).link_closed().closed();
        talk.get("").forwarded_get("").origin(REPLY).reply(REPLIED);
        talk.origin(body).link_closed().closed();
    }
    for end in ["0\r\n\r\n", "\n", "\r0", "X\r\n"] {
        talk.client(HEAD).client("5\r\nhello").forwarded(FORWARDED).forwarded("5\r\nhello\r\n");
        talk.client(end).local_reply(400, "bad_chunk_end").link_closed().closed();
        talk.get("").forwarded_get("").origin(format!("{REPLY}5\r\nhello"));
        talk.reply(format!("{REPLIED}5\r\nhello\r\n")).origin(end).link_closed().closed();
    }
}

/// Extensions that nobody knows are ignored; they concern one hop and are not sent on (§7.1.1).
#[test]
fn chunk_extensions_are_ignored() {
    let mut talk = Talk::start();
    let chunks = "5;a=b;c=\"d\"; e\r\nhello\r\n0;f\r\n\r\n";
    talk.client(format!("{HEAD}{chunks}")).forwarded(format!("{FORWARDED}5\r\nhello\r\n0\r\n\r\n"));
    talk.origin(format!("{REPLY}{chunks}")).reply(format!("{REPLIED}5\r\nhello\r\n0\r\n\r\n"));
    talk.goes_on();
}

/// Extensions over their limit are answered with a 4xx (§7.1.1).
#[test]
fn chunk_extensions_are_limited() {
    let mut talk = Talk::start();
    talk.client(HEAD).forwarded(FORWARDED).client(format!("5;{}\r\nhello", "a".repeat(256)));
    talk.local_reply(400, "bad_chunk_extension").link_closed().closed();
}

/// Trailers are passed on as trailers, never merged into a head; those that would say something
/// about framing, routing or access are dropped (§7.1.2).
#[test]
fn trailers_stay_trailers() {
    let mut talk = Talk::start();
    let trailers = "X-Sum: 1\r\nContent-Length: 9\r\nHost: other\r\nTransfer-Encoding: chunked\r\n\
                    Authorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n";
    talk.client(format!("{HEAD}2\r\nok\r\n0\r\n{trailers}\r\n"));
    talk.forwarded(format!("{FORWARDED}2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"));
    talk.origin(format!("{REPLY}2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n"));
    talk.reply(format!("{REPLIED}2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")).goes_on();
}

/// A client that gets no chunks gets no trailers either (§7.1.2).
#[test]
fn http_10_gets_no_trailers() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.0\r\nHost: test\r\n\r\n").forwarded_get("");
    talk.origin(format!("{REPLY}2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"));
    talk.reply("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok").closed();
}

/// A malformed trailer section is refused and ends the message without its last line (§7.1.2).
#[test]
fn malformed_trailers_are_refused() {
    let mut talk = Talk::start();
    for (trailer, reason) in [
        ("X : y\r\n\r\n", "bad_trailer"),
        ("X: a\r\n b\r\n\r\n", "bad_trailer"),
        ("X: a\0\r\n\r\n", "bad_trailer"),
        ("X: a\n\r\n", "bare_lf"),
        ("\n", "bare_lf"),
    ] {
        talk.client(HEAD).forwarded(FORWARDED).client(format!("0\r\n{trailer}"));
        talk.local_reply(400, reason).link_closed().closed();
        talk.get("").forwarded_get("").origin(REPLY).reply(REPLIED);
        talk.origin(format!("0\r\n{trailer}")).link_closed().closed();
    }
}

/// TE goes out as `trailers` only, never as `chunked` or another coding that a client named, and
/// with its connection option (§7.4).
#[test]
fn te_says_trailers_only_and_names_itself() {
    let mut talk = Talk::start();
    talk.get("TE: chunked\r\nConnection: TE\r\n").forwarded_get("").answered();
    talk.get("TE: gzip;q=0.5\r\nConnection: TE\r\n").forwarded_get("").answered();
    let te = "te: trailers\r\nconnection: te\r\n";
    talk.get("TE: gzip, trailers\r\nConnection: TE\r\n").forwarded_get(te).answered();
    talk.goes_on();
}

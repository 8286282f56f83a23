//! Replies of origins: status lines, names that look like framing, and where a reply ends.

use crate::support::Talk;

/// What does not begin as a reply of HTTP/1 does is none: 502 (RFC 9112 §2.3, §4).
#[test]
fn status_lines_that_are_none() {
    let mut talk = Talk::start();
    for line in [
        "HTP/1.1 200 OK",
        "HTTP/01.1 200 OK",
        "HTTP/11.1 200 OK",
        "HTTP/1.01 200 OK",
        "HTTP/1.1\t200 OK",
        "\rHTTP/1.1 200 OK",
        "HTTP/1. 200 OK",
        "HTTP/1.2z 200 OK",
        "HTTP/5.6 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.1  OK",
        "HTTP/1.1 2 OK",
        "HTTP/1.1 200X",
        "HTTP/1.1 200X ",
        "HTTP/1.1 200X OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1   200   OK",
        "HTTPER/1.1 200 OK",
        "RTSP/1.1 200 OK",
        "ICE/1.1 200 OK",
        "GET / HTTP/1.1",
        "HTTP/1.1 200 OK\r\rX: y",
    ] {
        println!("{line:?}");
        talk.get("").forwarded_get("").origin(format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        talk.reply_refused();
    }
}

/// A reason phrase is any text, of which the first byte may be a space and others may be in no
/// certain encoding: it is passed on (RFC 9112 §4).
#[test]
fn odd_reason_phrases() {
    let mut talk = Talk::start();
    for reason in [&b" OK"[..], b"Ori\xebntatieprobleem", b"a\tb", b"\"'(): 100 %", b"OK "] {
        let reply = [b"HTTP/1.1 500 ", reason, b"\r\ncontent-length: 2\r\n\r\nno"].concat();
        talk.get("").forwarded_get("").origin(&reply).reply(&reply).goes_on();
    }
}

/// Names that are nearly those of framing or of one hop mean nothing, and pass (RFC 9110 §5.1).
#[test]
fn names_that_only_look_like_others() {
    let mut talk = Talk::start();
    let lines = "Content-Length-X: 0\r\nX-Content-Length: 1\r\n.et-Cookie: a=b; path=/\r\n\
                 _eep-Alive: timeout=45\r\n_onnection: close\r\nX-$Version: 1.6\r\n\
                 DCLK_imp: v7;x;~okv=;;~cs=o\r\nPragma: \r\nTransfer-Encodings: gzip\r\n";
    let chunks = "2\r\nOK\r\n0\r\n\r\n";
    talk.get("").forwarded_get("");
    talk.origin(format!("HTTP/1.1 200 OK\r\n{lines}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    talk.reply(format!("HTTP/1.1 200 OK\r\n{lines}transfer-encoding: chunked\r\n\r\n{chunks}"));
    talk.goes_on();
    talk.get(lines).forwarded_get(lines).answered().goes_on();
}

/// The same in a request and in a reply: a name with a space in it is none (RFC 9112 §5.1).
#[test]
fn a_name_of_two_words() {
    let mut talk = Talk::start();
    let line = "en-US Content-Type: text/xml\r\n";
    talk.get(line).refused(400, "bad_field_name");
    talk.get("").forwarded_get("");
    talk.origin(format!("HTTP/1.1 200 OK\r\n{line}Content-Length: 0\r\n\r\n")).reply_refused();
}

/// White space around a reply's length is no part of it (RFC 9110 §5.5).
#[test]
fn tabs_around_a_length() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nContent-Length:\t2\t \r\n\r\nok");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").goes_on();
}

/// `Proxy-Connection` is not `Connection`: it ends no link and goes no further (RFC 9110 §7.6.1).
#[test]
fn proxy_connection_closes_nothing() {
    let mut talk = Talk::start();
    let lines = "Proxy-Connection: close\r\ncontent-length: 2\r\n\r\nok";
    talk.get("Proxy-Connection: close\r\n").forwarded_get("");
    talk.origin(format!("HTTP/1.1 200 OK\r\n{lines}"));
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").goes_on();
    assert_eq!(talk.origin.links(), 1);
}

/// Without a length a reply lasts to the end of its link, `keep-alive` or not, and what looks like
/// another reply in it is content (RFC 9112 §6.3).
#[test]
fn content_that_looks_like_a_reply() {
    let mut talk = Talk::start();
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"] {
        let content = "HTTP/1.0 200 OK\r\n\r\n";
        talk.get("").forwarded_get("").origin(format!("{head}{content}"));
        talk.reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        talk.reply(format!("{:x}\r\n{content}\r\n", content.len()));
        talk.origin_finishes().reply("0\r\n\r\n").link_closed().goes_on();
    }
}

/// A 204 of HTTP/1.0 has no content, and its link goes on when it says so (RFC 9112 §9.3).
#[test]
fn a_204_of_http_10_keeps_its_link() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    talk.origin("HTTP/1.0 204 No content\r\nConnection: keep-alive\r\n\r\n");
    talk.reply("HTTP/1.1 204 No content\r\n\r\n").goes_on();
    assert_eq!(talk.origin.links(), 1);
}

/// What follows a reply that says `close`, or a 304 with a length, or the first of three replies,
/// is not passed on (RFC 9112 §6.3, §9.6).
#[test]
fn bytes_behind_the_last_reply() {
    let mut talk = Talk::start();
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n";
    talk.get("").forwarded_get("").origin(format!("{length}Connection: close\r\n\r\n2ad731e3-4d"));
    talk.reply(format!("{length}\r\n2ad73")).link_closed().goes_on();
    let not_modified = "HTTP/1.1 304 N\r\ncontent-length: 5\r\n\r\n";
    talk.get("").forwarded_get("").origin(format!("{not_modified}{length}\r\nhello"));
    talk.reply(not_modified).link_closed().goes_on();
    let (two, three) =
        ("HTTP/1.1 201 B\r\ncontent-length: 4\r\n\r\nBBBB", "HTTP/1.1 204 C\r\n\r\n");
    talk.get("").forwarded_get("").origin(format!("{length}\r\nAAAAA{two}{three}"));
    talk.reply(format!("{length}\r\nAAAAA")).link_closed().goes_on();
}

/// A coding that is not chunked at its end would last to the end of the link (RFC 9112 §6.3); a
/// gateway that does not know the coding does not pass it on as its own: 502.
#[test]
fn codings_that_do_not_end_in_chunked() {
    let mut talk = Talk::start();
    for lines in [
        "Transfer-Encoding: chunked, deflate\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunkedchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \r\n",
    ] {
        println!("{lines:?}");
        talk.get("").forwarded_get("");
        talk.origin(format!("HTTP/1.1 200 OK\r\n{lines}\r\n5\r\nWorld\r\n0\r\n\r\n"));
        talk.reply_refused();
    }
}

/// A 100 that nobody waits for, then an error with content, in one segment (RFC 9110 §15.2).
#[test]
fn an_error_behind_a_100() {
    let mut talk = Talk::start();
    let replies = "HTTP/1.1 100 Continue\r\n\r\n\
                   HTTP/1.1 404 Not Found\r\ncontent-length: 14\r\n\r\n404: Not Found";
    talk.get("").forwarded_get("").origin(replies).reply(replies).goes_on();
}

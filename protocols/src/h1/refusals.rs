//! What is refused, as tables: request bytes to fault and status, reply bytes to fault. Every row
//! is run whole, cut at every byte, and in small pieces.

use crate::error::Fault;
use crate::pair::{Peer, client_says, every_cut, server_says};
use crate::spec::WireSpec;

/// The head of a valid POST up to its length fields.
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\n";

fn refused(rows: &[(&str, Fault)], spec: &WireSpec) {
    for (text, fault) in rows {
        let said = server_says(text.as_bytes(), spec);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(last, format!("fault {}", fault.reason()), "{text:?} said\n{said}");
        let mut peer = Peer::server(spec.clone(), crate::pair::answer_ok);
        peer.feed(text.as_bytes());
        let wrote = peer.wrote();
        let start = format!("HTTP/1.1 {} ", fault.status());
        assert!(wrote.starts_with(&start), "{text:?} wrote\n{wrote}");
        assert!(wrote.contains("\nconnection: close\n"), "{wrote}");
        assert!(wrote.ends_with(&format!("\n\n{} {}\\n", fault.status(), fault.reason())));
        assert!(peer.is_closing());
    }
}

#[test]
fn request_lines() {
    let rows = [
        ("GET / HTTP/1.1\nHost: h\n\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", Fault::BareLf),
        ("GET /\rx HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", Fault::BareCr),
        ("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BareCr),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadMethod),
        ("GET /\t HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET / a HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET /\r\n\r\n", Fault::BadRequestLine),
        ("GET\r\n\r\n", Fault::BadRequestLine),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadMethod),
        ("G\0T / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadMethod),
        ("GE\u{e9}T / HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadMethod),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", Fault::BadVersion),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", Fault::BadVersion),
        ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", Fault::BadVersion),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fault::BadVersion),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET / HTTP/1.1x\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET / HTTP/11\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET / HTTP/1.\r\nHost: h\r\n\r\n", Fault::BadRequestLine),
        ("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET /#a HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET a HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadTarget),
        ("GET /%0 HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadEscape),
        ("GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadEscape),
        ("GET http://a@b/ HTTP/1.1\r\nHost: h\r\n\r\n", Fault::BadHost),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", Fault::ConnectRefused),
        ("\u{16}\u{3}\u{1}", Fault::BadRequestLine),
        ("\0", Fault::BadRequestLine),
    ];
    refused(&rows, &WireSpec::default());
}

#[test]
fn hosts() {
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n", Fault::MissingHost),
        ("GET http://h/ HTTP/1.1\r\n\r\n", Fault::MissingHost),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", Fault::DuplicateHost),
        ("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", Fault::DuplicateHost),
        ("GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", Fault::DuplicateHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: a:70000\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Fault::BadHost),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Fault::BadHost),
        ("GET http://h/ HTTP/1.1\r\nHost: a,b\r\n\r\n", Fault::BadHost),
    ];
    refused(&rows, &WireSpec::default());
}

#[test]
fn field_lines() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\t: b\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA(: b\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\0: b\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\n\u{e9}: b\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n", Fault::BadFieldName),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", Fault::ObsFold),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", Fault::ObsFold),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n", Fault::ObsFold),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n \r\n\r\n", Fault::ObsFold),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n", Fault::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", Fault::BadFieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: \u{b}\r\n\r\n", Fault::BadFieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: \u{7f}\r\n\r\n", Fault::BadFieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n", Fault::BadExpectation),
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, x\r\n\r\n", Fault::BadExpectation),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: x-forwarded-for\r\n\r\n", Fault::BadConnection),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close, Host\r\n\r\n", Fault::BadConnection),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: authorization\r\n\r\n", Fault::BadConnection),
    ];
    refused(&rows, &WireSpec::default());
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {}\r\n\r\n", "a,".repeat(33));
    refused(&[(many.as_str(), Fault::BadConnection)], &WireSpec::default());
}

/// Length fields after `POST`, and what they are refused as.
const LENGTHS: &[(&str, Fault)] = &[
    ("Content-Length: 1\r\nTransfer-Encoding: chunked", Fault::LengthConflict),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0", Fault::LengthConflict),
    ("Transfer-Encoding: xchunked\r\nContent-Length: 5", Fault::LengthConflict),
    ("Content-Length: 5\r\nContent-Length: 5", Fault::DuplicateContentLength),
    ("Content-Length: 5\r\nContent-Length: 6", Fault::DuplicateContentLength),
    ("Content-Length: 5, 5", Fault::DuplicateContentLength),
    ("Content-Length: 5, 6", Fault::DuplicateContentLength),
    ("Content-Length: 5,", Fault::DuplicateContentLength),
    ("Content-Length:", Fault::BadContentLength),
    ("Content-Length: +5", Fault::BadContentLength),
    ("Content-Length: -5", Fault::BadContentLength),
    ("Content-Length: 5 5", Fault::BadContentLength),
    ("Content-Length: 0x5", Fault::BadContentLength),
    ("Content-Length: 5;", Fault::BadContentLength),
    ("Content-Length: \"5\"", Fault::BadContentLength),
    ("Content-Length: 1e3", Fault::BadContentLength),
    ("Content-Length: 9223372036854775808", Fault::BadContentLength),
    ("Content-Length: 18446744073709551617", Fault::BadContentLength),
    ("Content-Length: 99999999999999999999999999", Fault::BadContentLength),
    ("Transfer-Encoding:", Fault::BadTransferEncoding),
    ("Transfer-Encoding: identity", Fault::BadTransferEncoding),
    ("Transfer-Encoding: gzip", Fault::BadTransferEncoding),
    ("Transfer-Encoding: xchunked", Fault::BadTransferEncoding),
    ("Transfer-Encoding: \"chunked\"", Fault::BadTransferEncoding),
    ("Transfer-Encoding: chunked;q=1", Fault::BadTransferEncoding),
    ("Transfer-Encoding: chunked, identity", Fault::BadTransferEncoding),
    ("Transfer-Encoding: chunked, chunked", Fault::BadTransferEncoding),
    ("Transfer-Encoding: chunked,", Fault::BadTransferEncoding),
    ("Transfer-Encoding: , chunked", Fault::BadTransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Fault::BadTransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Fault::BadTransferEncoding),
    ("Transfer-Encoding: \u{b}chunked", Fault::BadFieldValue),
    ("Transfer-Encoding: chun\u{a0}ked", Fault::BadTransferEncoding),
    ("Transfer-Encoding: gzip, chunked", Fault::UnknownCoding),
    ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", Fault::UnknownCoding),
    ("Transfer-Encoding : chunked", Fault::BadFieldName),
    (" Transfer-Encoding: chunked", Fault::ObsFold),
    ("X: y\r\n Transfer-Encoding: chunked", Fault::ObsFold),
    ("X: y\rTransfer-Encoding: chunked", Fault::BareCr),
    ("X: y\nTransfer-Encoding: chunked", Fault::BareLf),
    ("Transfer-Encoding\0: chunked", Fault::BadFieldName),
];

#[test]
fn request_lengths() {
    for (fields, fault) in LENGTHS {
        let text = format!("{POST}{fields}\r\n\r\nhello");
        refused(&[(text.as_str(), *fault)], &WireSpec::default());
    }
    let text = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&[(text, Fault::TransferEncodingInHttp10)], &WireSpec::default());
}

#[test]
fn reply_lengths() {
    for (fields, fault) in LENGTHS {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello");
        let said = client_says("GET", text.as_bytes(), &WireSpec::default());
        assert_eq!(said, format!("fault {}", fault.reason()), "{text:?}");
    }
}

#[test]
fn chunked_requests() {
    let rows = [
        ("5 \r\nhello\r\n0\r\n\r\n", Fault::BadChunkSize),
        ("0x5\r\nhello\r\n0\r\n\r\n", Fault::BadChunkSize),
        ("5\nhello\r\n0\r\n\r\n", Fault::BadChunkSize),
        ("5\rX\nhello\r\n0\r\n\r\n", Fault::BareCr),
        ("5;a\nhello\r\n0\r\n\r\n", Fault::BadChunkExtension),
        ("5\r\nhelloX\r\n0\r\n\r\n", Fault::BadChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", Fault::BadChunkEnd),
        ("5\r\nhello0\r\n\r\n", Fault::BadChunkEnd),
        ("0\r\nA : b\r\n\r\n", Fault::BadTrailer),
        ("0\r\nA: b\r\n c\r\n\r\n", Fault::BadTrailer),
        ("0\r\nA: b\0\r\n\r\n", Fault::BadTrailer),
        ("0\r\nA: b\n\r\n", Fault::BareLf),
        ("0\r\n\n", Fault::BareLf),
    ];
    for (body, fault) in rows {
        let text = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}");
        refused(&[(text.as_str(), fault)], &WireSpec::default());
    }
}

#[test]
fn limits() {
    let spec = WireSpec {
        head_bytes_max: 200,
        line_bytes_max: 60,
        target_bytes_max: 40,
        fields_max: 4,
        body_bytes_max: Some(10),
        trailer_bytes_max: 30,
        trailer_fields_max: 2,
        ..WireSpec::default()
    };
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    let rows = [
        (format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(40)), Fault::TargetTooLong),
        (format!("GET /{}", "a".repeat(60)), Fault::TargetTooLong),
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(60)),
            Fault::FieldTooLong,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{}",
                "A: 90123456789012345678901234567890\r\n".repeat(5)
            ),
            Fault::HeadTooLarge,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(4)),
            Fault::TooManyFields,
        ),
        (format!("{POST}Content-Length: 11\r\n\r\n"), Fault::BodyTooLarge),
        (format!("{chunked}b\r\nhello"), Fault::BodyTooLarge),
        (format!("{chunked}a\r\n0123456789\r\n1\r\n"), Fault::BodyTooLarge),
        (format!("{chunked}0\r\nA: 0123456789012345678901234567\r\n\r\n"), Fault::TrailerTooLarge),
        (format!("{chunked}0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n"), Fault::TrailerTooLarge),
    ];
    for (text, fault) in &rows {
        refused(&[(text.as_str(), *fault)], &spec);
    }
    let fits = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(3));
    assert!(server_says(fits.as_bytes(), &spec).ends_with("end"));
}

#[test]
fn replies() {
    for (text, fault) in [
        ("HTTP/1.1 200 OK\n\n", Fault::BareLf),
        ("HTTP/1.1  200 OK\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1 abc OK\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", Fault::BadVersion),
        ("HTTX/1.1 200 OK\r\n\r\n", Fault::BadStatusLine),
        ("ICY 200 OK\r\n\r\n", Fault::BadStatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Fault::BadStatusLine),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Fault::BadFieldName),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Fault::ObsFold),
        ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", Fault::BadFieldValue),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::TransferEncodingInHttp10),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", Fault::UnexpectedUpgrade),
    ] {
        let said = client_says("GET", text.as_bytes(), &WireSpec::default());
        assert_eq!(said, format!("fault {}", fault.reason()), "{text:?}");
    }
    let flood = "HTTP/1.1 103 x\r\n\r\n".repeat(17);
    let said = client_says("GET", flood.as_bytes(), &WireSpec::default());
    assert_eq!(said.lines().last(), Some("fault too_many_interim"));
}

#[test]
fn a_fault_in_mid_reply_adds_no_words() {
    let mut peer = Peer::new(crate::Role::Server, WireSpec::default());
    peer.feed(format!("{POST}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n").as_bytes());
    let head = crate::pair::status(200, crate::Length::Unknown);
    peer.with(|wire, cx| crate::Wire::head(wire, crate::pair::STREAM, &head, false, cx)).unwrap();
    peer.push(b"partial", false).unwrap();
    let before = peer.out.len();
    peer.feed(b"zz");
    assert_eq!(peer.failed.map(|e| e.fault), Some(Fault::BadChunkSize));
    assert_eq!(peer.out.len(), before, "no second status line, no last chunk");
    assert!(peer.is_closing());
}

#[test]
fn no_refusal_depends_on_what_follows() {
    let text = b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let said = every_cut(text, |pieces| {
        let mut peer = Peer::server(WireSpec::default(), crate::pair::answer_ok);
        pieces.iter().for_each(|piece| peer.feed(piece));
        (peer.said(), peer.wrote())
    });
    assert_eq!(said.0, "fault duplicate_host");
}

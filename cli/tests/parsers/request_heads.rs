//! Request lines and fields.

use crate::Must::{Become, Refuse};
use crate::support::Talk;
use crate::{Line, each_request};

/// A parser with a list of methods refuses the others; a gateway need not know a method to forward
/// it (RFC 9110 §9.1). PUT, POST and PATCH without content say so (RFC 9110 §8.6).
#[test]
fn methods_that_few_parsers_list() {
    let mut talk = Talk::start();
    for method in [
        "ACL",
        "ANNOUNCE",
        "BIND",
        "COPY",
        "LINK",
        "LOCK",
        "MKCALENDAR",
        "MKCOLA",
        "NOTIFY",
        "PURGE",
        "QUERY",
        "REBIND",
        "REPORT",
        "SEARCH",
        "SOURCE",
        "SUBSCRIBE",
        "UNLINK",
        "HEADER",
        "H",
    ] {
        talk.client(format!("{method} /a HTTP/1.1\r\nHost: test\r\n\r\n"));
        talk.forwarded(format!("{method} /a HTTP/1.1\r\nhost: test\r\n\r\n")).answered();
    }
    for method in ["PUT", "PATCH"] {
        talk.client(format!("{method} /a HTTP/1.1\r\nHost: test\r\n\r\n"));
        let length = "content-length: 0\r\n\r\n";
        talk.forwarded(format!("{method} /a HTTP/1.1\r\nhost: test\r\n{length}")).answered();
    }
    for method in ["PATCH", "QUERY", "LINK", "ANNOUNCE"] {
        let lines = "content-length: 6\r\n\r\nselect";
        talk.client(format!("{method} /a HTTP/1.1\r\nHost: test\r\n{lines}"));
        talk.forwarded(format!("{method} /a HTTP/1.1\r\nhost: test\r\n{lines}")).answered();
    }
    talk.goes_on();
}

#[test]
fn request_lines() {
    const S3: &str = "RFC 9112 §3";
    const BAD_LINE: crate::Must = Refuse(400, "bad_request_line");
    each_request(&[
        Line("ICE by GET", "RFC 9112 §2.3", "GET / ICE/1.0\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("ICE by SOURCE", "RFC 9112 §2.3", "SOURCE / ICE/1.0\r\nHost: t\r\n\r\n", BAD_LINE),
        Line("RTSP", "RFC 9112 §2.3", "OPTIONS / RTSP/1.0\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("almost HTTP", "RFC 9112 §2.3", "GET / IHTTP/1.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("HTTP and more", "RFC 9112 §2.3", "GET / HTTPER/1.1\r\nHost: t\r\n\r\n", BAD_LINE),
        Line("two digits", "RFC 9112 §2.3", "GET / HTTP/01.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("no minor", "RFC 9112 §2.3", "GET / HTTP/1.\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("no dot", "RFC 9112 §2.3", "GET / HTTP/1 1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("many spaces", S3, "GET   /   HTTP/1.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("no target", S3, "GET  HTTP/1.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("no method", S3, " / HTTP/1.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("a reply", S3, "HTTP/1.1 200 OK\r\nHost: t\r\n\r\n", Refuse(400, "bad_method")),
        Line("tab as space", S3, "GET /\tHTTP/1.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("colon first", S3, ":GET / HTTP/1.1\r\nHost: test\r\n\r\n", BAD_LINE),
        Line("NUL", S3, "G\0T / HTTP/1.1\r\nHost: test\r\n\r\n", Refuse(400, "bad_method")),
        Line("tab", S3, "G\tT / HTTP/1.1\r\nHost: test\r\n\r\n", Refuse(400, "bad_method")),
    ]);
}

#[test]
fn targets() {
    const FORMS: &str = "RFC 9112 §3.2";
    each_request(&[
        Line(
            "a host, a port and a query without a path",
            "RFC 9112 §3.2.1",
            "GET http://a.test:1234?hail=all HTTP/1.1\r\nHost: a.test:1234\r\n\r\n",
            Become("GET /?hail=all HTTP/1.1\r\nhost: a.test:1234\r\n\r\n"),
        ),
        Line(
            "a host and a port and nothing else",
            "RFC 9112 §3.2.1",
            "GET http://a.test:1234 HTTP/1.1\r\nHost: a.test:1234\r\n\r\n",
            Become("GET / HTTP/1.1\r\nhost: a.test:1234\r\n\r\n"),
        ),
        Line(
            "a question mark in a query, quotes in a path",
            "RFC 3986 §3.4",
            "GET /a\"b\"?c=d?e=\"f\" HTTP/1.1\r\nHost: test\r\n\r\n",
            Become("GET /a\"b\"?c=d?e=\"f\" HTTP/1.1\r\nhost: test\r\n\r\n"),
        ),
        Line(
            "an underscore in a host",
            "RFC 3986 §3.2.2",
            "GET http://home_0.test/ HTTP/1.1\r\nHost: home_0.test\r\n\r\n",
            Become("GET / HTTP/1.1\r\nhost: home_0.test\r\n\r\n"),
        ),
        Line(
            "a fragment behind a query",
            "RFC 9112 §3.2",
            "GET /a?b=c#d HTTP/1.1\r\nHost: test\r\n\r\n",
            Refuse(400, "bad_target"),
        ),
        Line(
            "credentials with odd characters",
            "RFC 9110 §4.2.4",
            "GET http://a%12:b!&*$@test:1234/ HTTP/1.1\r\nHost: test\r\n\r\n",
            Refuse(400, "bad_host"),
        ),
        Line(
            "two hosts in one target",
            "RFC 3986 §3.2",
            "GET http://a@b@test/ HTTP/1.1\r\nHost: test\r\n\r\n",
            Refuse(400, "bad_host"),
        ),
        Line(
            "text in a path that is not escaped",
            FORMS,
            "GET /\u{3b4}/a HTTP/1.1\r\nHost: test\r\n\r\n",
            Refuse(400, "bad_target"),
        ),
        Line(
            "DEL in a path",
            FORMS,
            "GET /\u{7f}a HTTP/1.1\r\nHost: test\r\n\r\n",
            Refuse(400, "bad_target"),
        ),
        Line(
            "the asterisk of another method",
            "RFC 9112 §3.2.4",
            "M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nST: \"ssdp:all\"\r\n\r\n",
            Refuse(400, "bad_target"),
        ),
    ]);
}

/// CONNECT in HTTP/1.0, without Host, with a length, with bytes behind it: refused before any of
/// that matters (RFC 9110 §9.3.6). The preface of HTTP/2 likewise (RFC 9113 §3.4).
#[test]
fn other_protocols_by_their_first_line() {
    const CONNECT: crate::Must = Refuse(501, "connect_refused");
    const S936: &str = "RFC 9110 §9.3.6";
    each_request(&[
        Line("old", S936, "CONNECT a.test:443 HTTP/1.0\r\nUser-Agent: x\r\n\r\nmore", CONNECT),
        Line("capitals", S936, "CONNECT A.TEST:443 HTTP/1.0\r\n\r\n", CONNECT),
        Line("underscore", S936, "CONNECT a_0.test:443 HTTP/1.0\r\n\r\n", CONNECT),
        Line(
            "a length",
            S936,
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 2\r\n\r\nok",
            CONNECT,
        ),
        Line(
            "HTTP/2, but for its preface",
            "RFC 9113 §3.4",
            "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n",
            Refuse(505, "bad_version"),
        ),
        Line(
            "HTTP/2, almost",
            "RFC 9112 §3.2.4",
            "PRI * HTTP/1.1\r\nHost: test\r\n\r\nSM\r\n\r\n",
            Refuse(400, "bad_target"),
        ),
    ]);
}

/// Bytes at the ends of a value, where taking white space off might take them too (RFC 9110 §5.5).
#[test]
fn edges_of_values() {
    let mut talk = Talk::start();
    for value in ["\u{c}", "\u{b}", "\u{1b}", "\u{7f}", "\0"] {
        for line in [format!("X: {value}"), format!("X:{value}a"), format!("X: a {value}")] {
            talk.get(&format!("{line}\r\n")).refused(400, "bad_field_value");
            talk.get("").forwarded_get("");
            talk.origin(format!("HTTP/1.1 204 N\r\n{line}\r\n\r\n")).reply_refused();
        }
    }
    talk.client(b"GET / HTTP/1.1\r\nHost: test\r\nX:\xff a \xa0 \r\n\r\n");
    talk.forwarded(b"GET / HTTP/1.1\r\nhost: test\r\nX: \xff a \xa0\r\n\r\n").answered().goes_on();
}

#[test]
fn fields_that_only_a_loose_parser_takes() {
    const FOLD: crate::Must = Refuse(400, "obs_fold");
    const S52: &str = "RFC 9112 §5.2";
    each_request(&[
        Line(
            "a folded Connection",
            S52,
            "GET / HTTP/1.1\r\nHost: t\r\nConnection: a,\r\n upgrade, ,keep-alive\r\n\r\n",
            FOLD,
        ),
        Line(
            "a fold behind chunked",
            S52,
            "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n  abc\r\n\r\n0\r\n\r\n",
            FOLD,
        ),
        Line("a folded Host", S52, "GET / HTTP/1.1\r\nHost:\r\n test\r\n\r\n", FOLD),
        Line("only folds", S52, "GET / HTTP/1.1\r\nHost: t\r\nX: \r\n \r\n\t\r\n\r\n", FOLD),
        Line(
            "a CR for a dash",
            "RFC 9112 §2.2",
            "PUT / HTTP/1.1\r\nHost: t\r\nContent\rLength: 3\r\n\r\nabc",
            Refuse(400, "bare_cr"),
        ),
        Line(
            "a CR in an option",
            "RFC 9112 §2.2",
            "GET / HTTP/1.1\r\nHost: t\r\nConnection: keep\ralive\r\n\r\n",
            Refuse(400, "bare_cr"),
        ),
        Line(
            "a CR for the colon",
            "RFC 9112 §2.2",
            "GET / HTTP/1.1\r\nHost: t\r\nConnection\r\u{1b}5eep-Alive\r\n\r\n",
            Refuse(400, "bare_cr"),
        ),
        Line(
            "a CR before a hidden request",
            "RFC 9112 §2.2",
            "GET / HTTP/1.1\r\nHost: t\r\n\r\rGET /hidden HTTP/1.1\r\nHost: t\r\n\r\n",
            Refuse(400, "bare_cr"),
        ),
        Line(
            "empty codings beside a length",
            "RFC 9112 §6.3",
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nTransfer-Encoding:\r\n\
             Transfer-Encoding:\r\n\r\nok",
            Refuse(400, "bad_transfer_encoding"),
        ),
    ]);
}

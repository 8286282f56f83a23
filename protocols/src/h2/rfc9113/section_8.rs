//! RFC 9113 §8: messages over streams.

use super::super::testing::*;
use super::{client_resets, server_refuses, server_resets};
use crate::head::Length;
use crate::pair::{request, status};
use crate::{Head, StreamId, Wire, WireSpec};

const OK: &[(&str, &str)] = &[(":status", "200")];

/// What a server says to a request of these fields.
fn asks(fields: &[(&str, &str)]) -> String {
    server_says(&headers(1, fields, true)).0
}

/// A request of these fields is refused.
fn refuses(fields: &[(&str, &str)], fault: &str) {
    server_refuses(&headers(1, fields, true), fault, 1);
}

/// GET with one of its fields changed, or left out.
fn get_with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let fields = GET.iter().map(|&(known, text)| {
        if known == name { value.map(|value| (name, value)) } else { Some((known, text)) }
    });
    fields.flatten().collect()
}

#[test]
fn trailers_end_the_stream() {
    let mut input = headers(1, POST, false);
    input.extend(data(1, b"x", false));
    let trailers = headers(1, &[("grpc-status", "0"), ("a", "b")], true);
    let (said, _) = server_says(&[input.as_slice(), &trailers].concat());
    let want = "0 POST / @h Unknown\n0 data x\n0 trailers | grpc-status: 0 | a: b";
    assert_eq!(said, want);
    let unended = headers(1, &[("a", "b")], false);
    server_resets(&[input.as_slice(), &unended].concat(), "unexpected_frame", 1);
}

#[test]
fn a_second_final_head_is_malformed() {
    let second = [headers(1, OK, false), headers(1, OK, false)].concat();
    client_resets("GET", &second, "bad_pseudo_field", 1);
    let unended = [headers(1, OK, false), headers(1, &[("a", "b")], false)].concat();
    client_resets("GET", &unended, "unexpected_frame", 1);
}

#[test]
fn trailers_have_no_pseudo_fields() {
    for pseudo in [":status", ":path", ":x"] {
        let input = [headers(1, POST, false), headers(1, &[(pseudo, "1")], true)].concat();
        server_resets(&input, "bad_pseudo_field", 1);
        let input = [headers(1, OK, false), headers(1, &[(pseudo, "1")], true)].concat();
        client_resets("GET", &input, "bad_pseudo_field", 1);
    }
}

#[test]
fn trailers_without_a_field_are_an_end() {
    // Framing and routing have no place in trailers: such fields are dropped.
    for fields in [&[][..], &[("content-length", "1"), ("authorization", "x"), ("host", "h")]] {
        let input = [headers(1, POST, false), headers(1, fields, true)].concat();
        assert_eq!(server_says(&input).0, "0 POST / @h Unknown\n0 end");
    }
}

#[test]
fn a_reply_may_end_before_its_request() {
    let mut peer = Peer::server(WireSpec::default());
    for n in 0..3 {
        peer.feed(&headers(2 * n + 1, POST, false));
    }
    peer.head(0, &status(413, Length::Empty), true).unwrap();
    peer.head(1, &status(200, Length::Unknown), false).unwrap();
    peer.end(1, None).unwrap();
    let want = "HEADERS 1 end :status=413\nRST_STREAM 1 0\n\
                HEADERS 3 :status=200\nDATA 3  end\nRST_STREAM 3 0";
    assert_eq!(peer.wrote(), want);
    // Behind payload that the caller pushes: with the next call.
    peer.head(2, &status(200, Length::Exact(2)), false).unwrap();
    peer.push(2, b"ok", true).unwrap();
    assert_eq!(peer.wrote(), "HEADERS 5 :status=200 content-length=2\nDATA 5 ok end");
    peer.wire.release(StreamId(2));
    peer.feed(b"");
    assert_eq!(peer.wrote(), "RST_STREAM 5 0");
    // The client still sends: late, and harmless.
    peer.feed(&[data(1, b"x", false), data(3, b"x", true), data(5, b"x", true)].concat());
    assert_eq!((peer.failed, peer.wrote()), (None, String::new()));
}

#[test]
fn a_reply_is_kept_when_its_request_is_not_wanted() {
    let mut post = request("POST", "/");
    post.set_length(Length::Unknown);
    let mut client = Peer::client(WireSpec::default());
    client.ask(&post, false);
    client.wrote();
    client.feed(&[headers(1, OK, false), data(1, b"x", true), rst(1, 0)].concat());
    assert_eq!(client.said(), "0 200  Unknown\n0 data x\n0 end\n0 writable");
    assert!(client.wire.ready(StreamId(0)));
    assert_eq!(client.push(0, b"more", false), Err(crate::Gone));
    client.release(0);
    assert_eq!(client.wrote(), "");
}

#[test]
fn a_malformed_request_is_refused_with_protocol_error() {
    refuses(&get_with(":method", None), "missing_pseudo_field");
    let input = [headers(1, &with(GET, &[("A", "b")]), true), headers(3, GET, true)].concat();
    let (said, wrote) = server_says(&input);
    assert_eq!(said, "- refused bad_field_name\n0 GET / @h end");
    assert_eq!(wrote, "RST_STREAM 1 1");
}

#[test]
fn a_malformed_reply_is_reset() {
    for (fields, fault) in [
        (&[][..], "missing_pseudo_field"),
        (&[("a", "b")][..], "missing_pseudo_field"),
        (&[(":status", "200"), ("A", "b")], "bad_field_name"),
        (&[(":status", "200"), ("a", "b\n")], "bad_field_value"),
        (&[(":status", "200"), ("connection", "close")], "connection_field"),
        (&[(":status", "200"), ("te", "trailers")], "connection_field"),
        (&[(":status", "200"), (":path", "/")], "bad_pseudo_field"),
    ] {
        client_resets("GET", &headers(1, fields, true), fault, 1);
    }
}

#[test]
fn content_is_as_long_as_content_length_says() {
    let post = with(POST, &[("content-length", "3")]);
    let open = headers(1, &post, false);
    for (frames, fault) in [
        (data(1, b"ab", true), "content_length_mismatch"),
        (data(1, b"abcd", false), "content_length_mismatch"),
        ([data(1, b"ab", false), data(1, b"cd", true)].concat(), "content_length_mismatch"),
        (data(1, b"", true), "content_length_mismatch"),
        (headers(1, &[("a", "b")], true), "content_length_mismatch"),
        (padded(1, b"abcd", 3, true), "content_length_mismatch"),
    ] {
        server_resets(&[open.as_slice(), &frames].concat(), fault, 1);
        let reply = headers(1, &with(OK, &[("content-length", "3")]), false);
        client_resets("GET", &[reply.as_slice(), &frames].concat(), fault, 1);
    }
    let whole = [open, data(1, b"ab", false), padded(1, b"c", 9, true)].concat();
    assert_eq!(server_says(&whole).0, "0 POST / @h Exact(3)\n0 data abc\n0 end");
    server_refuses(&headers(1, &post, true), "content_length_mismatch", 1);
    let zero = with(POST, &[("content-length", "0")]);
    assert_eq!(asks(&zero), "0 POST / @h Exact(0) end");
    let input = [headers(1, &zero, false), data(1, b"", true)].concat();
    assert_eq!(server_says(&input).0, "0 POST / @h Exact(0)\n0 end");
}

#[test]
fn content_length_is_one_plain_number() {
    for bad in ["", "+1", "1,1", "0x1", "1 1", "9223372036854775808"] {
        let fields = with(POST, &[("content-length", bad)]);
        let fault =
            if bad.contains(',') { "duplicate_content_length" } else { "bad_content_length" };
        server_refuses(&headers(1, &fields, false), fault, 1);
    }
    let twice = with(POST, &[("content-length", "1"), ("content-length", "1")]);
    server_refuses(&headers(1, &twice, false), "duplicate_content_length", 1);
}

#[test]
fn a_reply_without_content_may_tell_a_length() {
    let long = |code| headers(1, &[(":status", code), ("content-length", "5")], true);
    assert_eq!(client_says("HEAD", &long("200")).0, "0 200  Exact(5) end");
    assert_eq!(client_says("GET", &long("304")).0, "0 304  Exact(5) end");
    assert_eq!(client_says("GET", &long("204")).0, "0 204  end");
    let open = headers(1, &[(":status", "200"), ("content-length", "5")], false);
    let (said, _) = client_says("HEAD", &[open.as_slice(), &data(1, b"", true)].concat());
    assert_eq!(said, "0 200  Exact(5)\n0 end");
    client_resets(
        "HEAD",
        &[open.as_slice(), &data(1, b"hello", true)].concat(),
        "content_length_mismatch",
        1,
    );
}

#[test]
fn names_are_sent_in_lower_case() {
    let mut client = Peer::client(WireSpec::default());
    let mut head = request("GET", "/x?y");
    let long = "Long-".repeat(20);
    for (name, value) in [("X-Mixed", "Aa"), ("ACCEPT", "*/*"), (&long[..], "1")] {
        head.push(name.as_bytes(), value.as_bytes());
    }
    client.ask(&head, true);
    let long = long.to_lowercase();
    let start = "HEADERS 1 end :method=GET :scheme=http :authority=h :path=/x?y";
    assert_eq!(client.wrote(), format!("{start} x-mixed=Aa accept=*/* {long}=1"));
}

#[test]
fn names_are_tokens_in_lower_case() {
    for name in ["", "A", "aB", "a b", "a\0", "a\x7f", "a:b", "a\u{e4}", "a\r\nb", "a@"] {
        refuses(&with(GET, &[(name, "v")]), "bad_field_name");
    }
    assert_eq!(asks(&with(GET, &[("!#$%&'*+-.^_`|~0a", "v")])).matches("~0a: v").count(), 1);
    // What a variable's name would make of it (RFC 3875).
    refuses(&with(GET, &[("transfer_encoding", "v")]), "bad_field_name");
    refuses(&with(GET, &[("x_forwarded_for", "v")]), "bad_field_name");
}

#[test]
fn values_hold_no_control_bytes_and_no_space_around() {
    for value in ["a\0", "a\r", "\na", "a\x01b", "\x7f", " a", "a ", "\ta", "a\t", " "] {
        refuses(&with(GET, &[("a", value)]), "bad_field_value");
    }
    for name in [":method", ":path", ":authority", ":scheme"] {
        for value in ["/\r\n", "/ ", " /", "/\0", "h\n"] {
            refuses(&get_with(name, Some(value)), "bad_field_value");
        }
    }
    let said = asks(&with(GET, &[("a", ""), ("b", "c \t d"), ("e", "\u{e4}")]));
    assert_eq!(said, "0 GET / @h | a:  | b: c \\t d | e: \\xc3\\xa4 end");
}

#[test]
fn connection_fields_are_malformed() {
    for name in ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"] {
        refuses(&with(GET, &[(name, "x")]), "connection_field");
        client_resets("GET", &headers(1, &with(OK, &[(name, "x")]), true), "connection_field", 1);
        let trailers = headers(1, &[(name, "x")], true);
        server_resets(&[headers(1, POST, false), trailers].concat(), "connection_field", 1);
    }
}

#[test]
fn te_says_trailers_or_nothing() {
    assert_eq!(asks(&with(GET, &[("te", "trailers")])), "0 GET / @h | te: trailers end");
    for te in ["gzip", "trailers, gzip", ""] {
        refuses(&with(GET, &[("te", te)]), "connection_field");
    }
}

#[test]
fn connection_fields_are_not_sent() {
    let fields = [
        ("Connection", "x-hop"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("HTTP2-Settings", "x"),
        ("Host", "other"),
        ("Content-Length", "7"),
        ("TE", "trailers"),
        ("te", "gzip"),
    ];
    let mut head = request("GET", "/");
    fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
    let mut client = Peer::client(WireSpec::default());
    client.ask(&head, true);
    let want = "HEADERS 1 end :method=GET :scheme=http :authority=h :path=/ te=trailers";
    assert_eq!(client.wrote(), want);
    let mut server = Peer::server(WireSpec::default());
    server.feed(&headers(1, GET, true));
    let mut head = status(200, Length::Empty);
    fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
    server.head(0, &head, true).unwrap();
    assert_eq!(server.wrote(), "HEADERS 1 end :status=200");
}

#[test]
fn cookies_in_pieces_are_joined() {
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    let said = asks(&with(GET, &crumbs));
    assert_eq!(said, "0 GET / @h | x: y | cookie: a=1; b=2; c=3 end");
    assert_eq!(asks(&with(GET, &[("cookie", "a=1; b")])), "0 GET / @h | cookie: a=1; b end");
    // One field however many pieces.
    let many: Vec<_> = (0..500).map(|_| ("cookie", "a=1")).collect();
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, &with(GET, &many), true));
    assert!(peer.said().ends_with("a=1; a=1 end"));
    let said =
        client_says("GET", &headers(1, &with(OK, &[("cookie", "a"), ("cookie", "b")]), true));
    assert_eq!(said.0, "0 200  | cookie: a | cookie: b end", "in a reply it is any field");
}

#[test]
fn only_known_pseudo_fields_are_taken() {
    for name in [":protocol", ":status", ":x", ":", ":Path"] {
        refuses(&with(&[(name, "x")], GET), "bad_pseudo_field");
    }
    client_resets("GET", &headers(1, &with(&[(":path", "/")], OK), true), "bad_pseudo_field", 1);
}

#[test]
fn pseudo_fields_come_first() {
    refuses(&with(&GET[..3], &[("a", "b"), GET[3]]), "bad_pseudo_field");
    client_resets("GET", &headers(1, &[("a", "b"), OK[0]], true), "bad_pseudo_field", 1);
}

#[test]
fn pseudo_fields_come_once() {
    for &field in GET {
        refuses(&with(GET, &[field]), "duplicate_pseudo_field");
    }
    let input = headers(1, &with(OK, &[(":status", "200")]), true);
    client_resets("GET", &input, "duplicate_pseudo_field", 1);
}

#[test]
fn pseudo_fields_may_come_in_any_order() {
    let mut fields = GET.to_vec();
    for _ in 0..4 {
        fields.rotate_left(1);
        assert_eq!(asks(&fields), "0 GET / @h end");
    }
}

#[test]
fn a_request_names_method_scheme_and_path() {
    for name in [":method", ":scheme", ":path"] {
        refuses(&get_with(name, None), "missing_pseudo_field");
    }
    refuses(&get_with(":method", Some("")), "bad_method");
    refuses(&get_with(":method", Some("G(T")), "bad_method");
    refuses(&get_with(":scheme", Some("ftp")), "bad_target");
    refuses(&get_with(":scheme", Some("")), "bad_target");
}

#[test]
fn a_path_is_a_path() {
    for path in ["", "x", "http://h/", "/a b", "/a#b", "/\u{e4}", "*", "?x"] {
        refuses(&get_with(":path", Some(path)), "bad_target");
    }
    refuses(&get_with(":path", Some("/%0")), "bad_escape");
    refuses(&get_with(":path", Some("/%00")), "bad_escape");
    assert_eq!(asks(&get_with(":path", Some("//a/../b?c=d|%"))), "0 GET //a/../b?c=d|% @h end");
    let options = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), GET[3]];
    assert_eq!(asks(&options), "0 OPTIONS * @h end");
}

#[test]
fn authority_replaces_host() {
    for (authority, host, want) in [
        (Some("h"), None, Ok("h")),
        (None, Some("h:81"), Ok("h:81")),
        (Some("H"), Some("h"), Ok("H")),
        (Some("h:80"), Some("h"), Ok("h:80")),
        (Some("h"), Some("h:80"), Ok("h")),
        (Some("h"), Some("h:81"), Err("duplicate_host")),
        (Some("h"), Some("h:443"), Err("duplicate_host")),
        (Some("h"), Some("i"), Err("duplicate_host")),
        (Some("h"), Some(""), Err("bad_host")),
        (None, None, Err("missing_host")),
        (None, Some("a@b"), Err("bad_host")),
    ] {
        let mut fields = get_with(":authority", authority);
        fields.extend(host.map(|host| ("host", host)));
        match want {
            Ok(want) => assert_eq!(asks(&fields), format!("0 GET / @{want} end")),
            Err(fault) => refuses(&fields, fault),
        }
    }
    refuses(&with(GET, &[("host", "h"), ("host", "h")]), "duplicate_host");
}

#[test]
fn authority_has_no_user_information() {
    for authority in ["u@h", "u:p@h", "", "h,i", "h:0", "h:65536", "[::1", "a/b"] {
        refuses(&get_with(":authority", Some(authority)), "bad_host");
    }
}

#[test]
fn what_is_asked_is_what_was_asked() {
    let mut client = Peer::client(WireSpec::default());
    let mut head = Head::new();
    head.set_request(b"GET", b"");
    head.set_https(true);
    client.ask(&head, true);
    // No authority, none made up; a path for none.
    assert_eq!(client.wrote(), "HEADERS 1 end :method=GET :scheme=https :path=/");
    head.set_request(b"OPTIONS", b"*");
    head.set_authority(b"a.example:8443");
    client.ask(&head, true);
    let want = "HEADERS 3 end :method=OPTIONS :scheme=https :authority=a.example:8443 :path=*";
    assert_eq!(client.wrote(), want);
}

#[test]
fn a_reply_has_a_status() {
    for bad in ["", "20", "2000", "099", "2a0", "+20", "101"] {
        client_resets("GET", &headers(1, &[(":status", bad)], true), "bad_status", 1);
    }
    assert_eq!(client_says("GET", &headers(1, &[(":status", "999")], true)).0, "0 999  end");
}

#[test]
fn interim_replies_come_before_the_final_one() {
    let early = |n| (0..n).flat_map(|_| headers(1, &[(":status", "103"), ("a", "b")], false));
    let input: Vec<u8> = early(2).chain(headers(1, OK, true)).collect();
    assert_eq!(client_says("GET", &input).0, "0 103  | a: b\n0 103  | a: b\n0 200  end");
    client_resets("GET", &headers(1, &[(":status", "100")], true), "unexpected_frame", 1);
    let many: Vec<u8> = early(17).collect();
    client_resets("GET", &many, "too_many_interim", 11);
    let input: Vec<u8> = early(1).chain(data(1, b"x", true)).collect();
    client_resets("GET", &input, "unexpected_content", 1);
}

#[test]
fn interim_replies_are_sent() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, &with(POST, &[("expect", "100-continue")]), false));
    assert_eq!(peer.said(), "0 POST / @h Unknown | expect: 100-continue");
    peer.head(0, &status(100, Length::Empty), false).unwrap();
    peer.head(0, &status(103, Length::Exact(5)), false).unwrap();
    peer.head(0, &status(204, Length::Exact(5)), true).unwrap();
    let want = "HEADERS 1 :status=100\nHEADERS 1 :status=103\nHEADERS 1 end :status=204\n\
                RST_STREAM 1 0";
    assert_eq!(peer.wrote(), want);
}

#[test]
fn an_expectation_without_content_is_dropped() {
    let expects = with(POST, &[("expect", "100-continue")]);
    assert_eq!(asks(&expects), "0 POST / @h end");
    let other = headers(1, &with(POST, &[("expect", "x")]), false);
    let (said, wrote) = server_says(&other);
    assert_eq!(said, "- refused bad_expectation");
    assert_eq!(wrote, "HEADERS 1 end :status=417 content-length=0\nRST_STREAM 1 0");
}

#[test]
fn content_before_a_reply_is_malformed() {
    client_resets("GET", &data(1, b"x", true), "unexpected_content", 1);
}

#[test]
fn connect_is_refused() {
    for fields in [
        &[(":method", "CONNECT"), (":authority", "h:80")][..],
        &[(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "h")],
    ] {
        let (said, wrote) = server_says(&headers(1, fields, true));
        assert_eq!(said, "- refused connect_refused");
        assert_eq!(wrote, "HEADERS 1 end :status=501 content-length=0");
    }
}

#[test]
fn nothing_is_said_to_be_unprocessed_that_was_passed_on() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[headers(1, GET, true), headers(3, GET, true)].concat());
    peer.with(|wire, cx| wire.drain(true, cx));
    assert_eq!(peer.wrote(), "GOAWAY 3 0");
}

#[test]
fn a_refused_stream_is_unprocessed() {
    let said = client_says("GET", &rst(1, 7)).0;
    assert_eq!(said, "0 reset peer_refused_stream unprocessed");
    let said = client_says("GET", &[headers(1, OK, false), rst(1, 8)].concat()).0;
    assert_eq!(said, "0 200  Unknown\n0 reset peer_cancel");
}

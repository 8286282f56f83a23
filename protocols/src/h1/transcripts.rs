//! Conversations by section of RFC 9110 and RFC 9112: bytes in, meaning and bytes out. Bytes are
//! delivered cut at every position (`server_says`, `client_says`, `every_cut`).

use core::time::Duration;

use crate::error::Fault;
use crate::head::{Head, Length};
use crate::pair::{
    Pair, Peer, STREAM, answer_ok, client_says, every_cut, request, server_says, status,
};
use crate::spec::WireSpec;
use crate::wire::{ReadSide, Role, Wire, WriteSide};

fn server(input: &str) -> String {
    server_says(input.as_bytes(), &WireSpec::default())
}

fn client(input: &str) -> String {
    client_says("GET", input.as_bytes(), &WireSpec::default())
}

/// A server that has read `input` and answers nothing of its own accord.
fn silent(input: &str) -> Peer {
    let mut peer = Peer::new(Role::Server, WireSpec::default());
    peer.feed(input.as_bytes());
    peer
}

/// What a server writes for this reply to this request.
fn replies(input: &str, head: &Head, body: &[u8]) -> String {
    let mut peer = silent(input);
    peer.reply(head, body);
    peer.wrote()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const GET10: &str = "GET / HTTP/1.0\r\n\r\n";
const POST5: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";

#[test]
fn rfc9112_2_2_an_empty_line_before_a_request_is_skipped() {
    let said =
        server("\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(said, "GET /a @h\nend\nGET /b @h\nend");
    let mut peer = silent("\r\n");
    assert_eq!(peer.wire.deadline(), Some(peer.now + Duration::from_secs(75)), "still idle");
    peer.eof(true);
    assert!(peer.is_closing() && peer.said().is_empty());
}

#[test]
fn rfc9112_3_2_1_origin_form() {
    let said = server("GET /a//b/../c?d=%zz&e HTTP/1.1\r\nHost: A.example:81\r\nX: \ty \t\r\n\r\n");
    assert_eq!(said, "GET /a//b/../c?d=%zz&e @A.example:81 | X: y\nend");
}

#[test]
fn rfc9112_3_2_2_absolute_form_overrides_host() {
    let said = server("GET HTTP://a:1/b?c HTTP/1.1\r\nHost: z\r\n\r\n");
    assert_eq!(said, "GET /b?c @a:1\nend");
    assert_eq!(server("GET http://a?c HTTP/1.1\r\nHost: z\r\n\r\n"), "GET /?c @a\nend");
    assert_eq!(server("GET http://a HTTP/1.1\r\nHost:\r\n\r\n"), "GET / @a\nend");
    assert_eq!(server("OPTIONS http://a HTTP/1.1\r\nHost: z\r\n\r\n"), "OPTIONS * @a\nend");
}

#[test]
fn rfc9112_3_2_4_asterisk_form() {
    assert_eq!(server("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), "OPTIONS * @h\nend");
}

#[test]
fn rfc9112_6_3_request_bodies() {
    assert_eq!(server(&format!("{POST5}hello")), "POST / @h Exact(5)\ndata hello\nend");
    let none = "POST / HTTP/1.1\r\nHost: h\r\n";
    assert_eq!(server(&format!("{none}\r\n")), "POST / @h\nend");
    assert_eq!(server(&format!("{none}Content-Length: 0\r\n\r\n")), "POST / @h Exact(0)\nend");
    let chunks = "Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
    assert_eq!(server(&format!("{none}{chunks}")), "POST / @h Unknown\ndata hello\nend");
    let empty = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(server(&format!("{none}{empty}")), "POST / @h Unknown\nend");
}

#[test]
fn rfc9112_6_3_reply_bodies() {
    assert_eq!(
        client("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "200 OK Exact(2)\ndata ok\nend"
    );
    assert_eq!(client("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "200 OK Exact(0)\nend");
    assert_eq!(client("HTTP/1.1 200\r\n\r\nto the end"), "200  Unknown\ndata to the end\nend");
    assert_eq!(client("HTTP/1.1 200 \r\n\r\n"), "200  Unknown\nend");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!(client(chunked), "200 OK Unknown\ndata ok\nend");
    for without in ["204 No Content", "304 Not Modified"] {
        let said = client(&format!("HTTP/1.1 {without}\r\nContent-Length: 9\r\n\r\n"));
        assert!(said.ends_with("\nend") && !said.contains("data"), "{said}");
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(client_says("HEAD", head, &WireSpec::default()), "200 OK Exact(9)\nend");
}

#[test]
fn rfc9112_7_1_2_trailers_are_apart_and_filtered() {
    let post = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
    let said =
        server(&format!("{post}X-Sum: 1\r\nContent-Length: 9\r\nAuthorization: x\r\nA:b\r\n\r\n"));
    assert_eq!(said, "POST / @h Unknown\ndata ok\ntrailers | X-Sum: 1 | A: b\nend");
    assert_eq!(server(&format!("{post}Host: x\r\n\r\n")), "POST / @h Unknown\ndata ok\nend");
    let listed = post.replace("Host: h", "Host: h\r\nConnection: te, x-sum");
    let said = server(&format!("{listed}X-Sum: 1\r\n\r\n"));
    assert!(said.ends_with("\ndata ok\nend"), "{said}");
    let listed = post.replace("Host: h", "Host: h\r\nConnection: te, keep-alive");
    let said = server(&format!("{listed}X-Sum: 1\r\n\r\n"));
    assert!(said.ends_with("\ntrailers | X-Sum: 1\nend"), "{said}");
}

#[test]
fn rfc9112_8_an_incomplete_message_is_never_whole() {
    for (input, said) in [
        ("", "reset closed_before_reply"),
        ("HTTP/1.1 200 OK\r\nCont", "reset head_truncated"),
        ("HTTP/1.1 103 x\r\n\r\n", "103 x\nreset head_truncated"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "200 OK Exact(5)\ndata hell\nreset body_truncated",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
            "200 OK Unknown\ndata ok\nreset body_truncated",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r",
            "200 OK Unknown\ndata ok\nreset body_truncated",
        ),
    ] {
        assert_eq!(client(input), said, "{input:?}");
    }
    let mut peer = Peer::asked("GET", WireSpec::default());
    peer.feed(b"HTTP/1.1 200 OK\r\n\r\npart");
    peer.eof(false);
    assert_eq!(peer.said(), "200 OK Unknown\ndata part\nreset body_truncated");
}

#[test]
fn rfc9112_4_a_reason_phrase_may_be_in_no_certain_encoding() {
    for reason in [&b"Ori\xebntatie"[..], b"\xff", b" \xe2\x82\xac ", b"plain", b""] {
        let reply = [b"HTTP/1.1 500 ", reason, b"\r\nContent-Length: 0\r\n\r\n"].concat();
        let mut head = Head::new();
        let facts =
            super::parse::reply(&reply, &WireSpec::default(), super::Asked::default(), &mut head);
        assert!(facts.is_ok() && head.reason() == reason, "{}", reply.escape_ascii());
    }
}

#[test]
fn rfc9112_8_a_truncated_request_is_reset_and_its_reply_closes() {
    let mut peer = silent(&format!("{POST5}hel"));
    peer.eof(true);
    assert_eq!(peer.said(), "POST / @h Exact(5)\ndata hel\nreset body_truncated");
    assert_eq!(peer.sides().read, ReadSide::Done);
    assert_eq!(peer.sides().write, WriteSide::Open);
    peer.reply(&status(400, Length::Exact(0)), b"");
    assert_eq!(peer.wrote(), "HTTP/1.1 400 Bad Request\ncontent-length: 0\nconnection: close\n\n");
    assert!(peer.is_closing());
}

#[test]
fn rfc9112_9_3_persistence() {
    for (input, keeps) in [
        (GET, true),
        (GET10, false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: h\r\nProxy-Connection: close\r\n\r\n", true),
    ] {
        let mut peer = silent(input);
        assert_eq!(peer.sides().read, ReadSide::Hold);
        peer.reply(&status(200, Length::Exact(2)), b"ok");
        assert_eq!(peer.is_closing(), !keeps, "{input}");
        let wrote = peer.wrote();
        assert_eq!(wrote.contains("connection: close"), !keeps, "{wrote}");
        let said_so = wrote.contains("connection: keep-alive");
        assert_eq!(said_so, keeps && input.contains("1.0"), "{wrote}");
        assert_eq!(peer.sides().read, if keeps { ReadSide::Open } else { ReadSide::Done });
    }
}

#[test]
fn rfc9112_9_3_upstream_persistence() {
    for (reply, keeps) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nextra", false),
        ("HTTP/1.1 204 x\r\n\r\n", true),
    ] {
        let open = every_cut(reply.as_bytes(), |pieces| {
            let mut peer = Peer::asked("GET", WireSpec::default());
            pieces.iter().for_each(|piece| peer.feed(piece));
            assert!(peer.said().ends_with("end"));
            assert_eq!(peer.wire.open(), None, "not before release");
            peer.wire.release(STREAM);
            (peer.wire.open().is_some(), peer.is_closing())
        });
        assert_eq!(open, (keeps, !keeps), "{reply}");
    }
}

#[test]
fn rfc9112_9_3_2_pipelined_requests_wait_their_turn() {
    let three = format!("{GET}{POST5}hello{GET}");
    assert_eq!(server(&three), "GET / @h\nend\nPOST / @h Exact(5)\ndata hello\nend\nGET / @h\nend");
    let mut peer = silent(&three);
    assert_eq!(peer.said(), "GET / @h\nend", "held");
    peer.feed(b"");
    assert_eq!(peer.said(), "");
    peer.reply(&status(204, Length::Empty), b"");
    peer.feed(b"");
    assert_eq!(peer.said(), "POST / @h Exact(5)\ndata hello\nend");
}

#[test]
fn a_half_closed_client_gets_its_replies() {
    let mut peer = silent(&format!("{GET}{GET}"));
    peer.eof(true);
    for _ in 0..2 {
        assert_eq!(peer.said(), "GET / @h\nend");
        assert!(!peer.is_closing());
        peer.reply(&status(204, Length::Empty), b"");
        peer.feed(b"");
    }
    assert!(peer.is_closing());
}

#[test]
fn rfc9110_6_4_1_replies_without_body() {
    let head = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
    let wrote = replies(head, &status(200, Length::Exact(9)), b"");
    assert_eq!(wrote, "HTTP/1.1 200 OK\ncontent-length: 9\n\n");
    assert_eq!(replies(head, &status(200, Length::Unknown), b""), "HTTP/1.1 200 OK\n\n");
    assert_eq!(replies(GET, &status(204, Length::Exact(9)), b""), "HTTP/1.1 204 No Content\n\n");
    let wrote = replies(GET, &status(304, Length::Exact(9)), b"");
    assert_eq!(wrote, "HTTP/1.1 304 Not Modified\ncontent-length: 9\n\n");
    assert_eq!(replies(GET, &status(304, Length::Empty), b""), "HTTP/1.1 304 Not Modified\n\n");
    let wrote = replies(GET, &status(200, Length::Empty), b"");
    assert_eq!(wrote, "HTTP/1.1 200 OK\ncontent-length: 0\n\n");
}

#[test]
fn rfc9112_6_1_replies_of_unknown_length() {
    let unknown = status(200, Length::Unknown);
    let wrote = replies(GET, &unknown, b"hello");
    assert_eq!(wrote, "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n0\n\n");
    let keep10 = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    for input in [GET10, keep10] {
        let mut peer = silent(input);
        peer.reply(&unknown, b"hello");
        assert_eq!(peer.wrote(), "HTTP/1.1 200 OK\nconnection: close\n\nhello");
        assert!(peer.is_closing());
        assert!(!peer.wire.must_reset());
    }
}

#[test]
fn a_broken_off_reply_never_looks_whole() {
    for (input, length, must_reset) in [
        (GET, Length::Unknown, false),
        (GET, Length::Exact(9), false),
        (GET10, Length::Unknown, true),
    ] {
        let mut peer = silent(input);
        let head = status(200, length);
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        peer.push(b"part", false).unwrap();
        peer.with(|wire, cx| wire.reset(STREAM, Fault::Cancelled, cx));
        assert!(peer.is_closing());
        assert_eq!(peer.wire.must_reset(), must_reset);
        assert!(!peer.wrote().contains("\n0\n"));
        assert!(peer.push(b"more", false).is_err());
    }
}

#[test]
fn payload_that_contradicts_its_length_breaks_the_reply_off() {
    for (body, end) in [(&b"123456"[..], false), (b"1234", true)] {
        let mut peer = silent(GET);
        peer.with(|wire, cx| wire.head(STREAM, &status(200, Length::Exact(5)), false, cx)).unwrap();
        assert!(peer.push(body, end).is_err());
        assert!(peer.is_closing());
    }
    let mut peer = silent(GET);
    peer.with(|wire, cx| wire.head(STREAM, &status(200, Length::Exact(5)), false, cx)).unwrap();
    assert!(peer.with(|wire, cx| wire.end(STREAM, None, cx)).is_err());
    assert!(peer.is_closing());
}

#[test]
fn rfc9110_7_6_1_hop_by_hop_fields_are_not_written() {
    let mut head = request("GET", "/a?b");
    for (name, value) in [
        ("connection", "close"),
        ("Accept", "*/*"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("host", "evil"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("x", "y"),
    ] {
        head.push(name.as_bytes(), value.as_bytes());
    }
    let mut peer = Peer::new(Role::Client, WireSpec::default());
    peer.ask(&head);
    assert_eq!(peer.wrote(), "GET /a?b HTTP/1.1\nhost: h\nAccept: */*\nx: y\n\n");
    head.set(b"te", b"trailers");
    let mut peer = Peer::new(Role::Client, WireSpec::default());
    peer.ask(&head);
    let wrote = peer.wrote();
    assert!(wrote.contains("te: trailers\n") && wrote.contains("connection: te\n"), "{wrote}");
}

#[test]
fn rfc9110_8_6_requests_say_their_length() {
    for (method, length, body, end) in [
        ("POST", Length::Empty, "", "content-length: 0\n\n"),
        ("GET", Length::Empty, "", "host: h\n\n"),
        ("GET", Length::Exact(0), "", "content-length: 0\n\n"),
        ("PUT", Length::Exact(2), "ok", "content-length: 2\n\nok"),
        ("PUT", Length::Unknown, "ok", "transfer-encoding: chunked\n\n2\nok\n0\n\n"),
    ] {
        let mut head = request(method, "/");
        head.set_length(length);
        let mut peer = Peer::new(Role::Client, WireSpec::default());
        peer.wire.open().unwrap();
        peer.send(&head, body.as_bytes()).unwrap();
        let wrote = peer.wrote();
        assert!(wrote.ends_with(end), "{wrote}");
    }
}

#[test]
fn trailers_are_written_after_the_last_chunk() {
    let mut peer = silent(GET);
    let mut trailers = Head::new();
    trailers.push(b"x-sum", b"1");
    trailers.push(b"content-length", b"1");
    peer.with(|wire, cx| wire.head(STREAM, &status(200, Length::Unknown), false, cx)).unwrap();
    peer.push(b"", false).unwrap();
    peer.push(b"ok", false).unwrap();
    peer.with(|wire, cx| wire.end(STREAM, Some(&trailers), cx)).unwrap();
    assert!(peer.wrote().ends_with("\n\n2\nok\n0\nx-sum: 1\n\n"));
}

#[test]
fn rfc9110_10_1_1_expectations() {
    let expect = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    let mut peer = silent(expect);
    assert_eq!(peer.said(), "POST / @h Exact(5) | Expect: 100-Continue", "forwarded as it is");
    assert_eq!(peer.wire.deadline(), None, "the client waits for us");
    peer.with(|wire, cx| wire.head(STREAM, &status(100, Length::Empty), false, cx)).unwrap();
    assert_eq!(peer.wrote(), "HTTP/1.1 100 Continue\n\n");
    assert!(peer.wire.deadline().is_some());
    peer.feed(b"hello");
    peer.reply(&status(204, Length::Empty), b"");
    assert!(!peer.is_closing());

    // A final reply instead of the 100: the body may come or not.
    let mut peer = silent(expect);
    peer.reply(&status(403, Length::Exact(0)), b"");
    assert!(peer.wrote().contains("connection: close"));
    assert!(peer.is_closing());

    let said = server("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(said, "POST / @ 1.0 Exact(1)\ndata x\nend", "HTTP/1.0: ignored, not forwarded");
    let said = server("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(said, "GET / @h\nend", "nothing to wait for: not forwarded");
}

#[test]
fn rfc9110_15_2_interim_replies() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 5\r\n\r\n";
    let said = client(&format!("{hints}{hints}HTTP/1.1 204 x\r\n\r\n"));
    assert_eq!(said, "103 Early Hints | Link: x\n103 Early Hints | Link: x\n204 x\nend");
    let mut interim = status(103, Length::Empty);
    interim.push(b"link", b"x");
    for (input, wrote) in [(GET, "HTTP/1.1 103 \nlink: x\n\n"), (GET10, "")] {
        let mut peer = silent(input);
        peer.with(|wire, cx| wire.head(STREAM, &interim, false, cx)).unwrap();
        assert_eq!(peer.wrote(), wrote);
    }
}

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn rfc9110_7_8_an_upgrade_makes_a_tunnel() {
    let said = every_cut(format!("{UPGRADE}early bytes").as_bytes(), |pieces| {
        let mut peer = Peer::new(Role::Server, WireSpec::default());
        pieces.iter().for_each(|piece| peer.feed(piece));
        assert_eq!(peer.sides().read, ReadSide::Hold);
        let mut head = status(101, Length::Tunnel);
        head.push(b"upgrade", b"websocket");
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        let wrote = peer.wrote();
        let start = "HTTP/1.1 101 Switching Protocols\nupgrade: websocket\nconnection: upgrade\n\n";
        assert_eq!(wrote, start);
        peer.feed(b"");
        peer.push(b"down", false).unwrap();
        peer.feed(b", later");
        peer.eof(true);
        assert_eq!(peer.sides().read, ReadSide::Done);
        assert_eq!(peer.sides().write, WriteSide::Open, "half-closed");
        peer.push(b"more", false).unwrap();
        peer.with(|wire, cx| wire.end(STREAM, None, cx)).unwrap();
        assert!(peer.is_closing());
        assert_eq!(peer.wrote(), "downmore");
        peer.said()
    });
    let head = "GET /ws @h Tunnel | Connection: Upgrade | Upgrade: websocket";
    assert_eq!(said, format!("{head}\ndata early bytes, later\nend"));
}

#[test]
fn rfc9110_7_8_a_refused_upgrade_goes_on_as_http() {
    let head = "GET /ws @h Tunnel | Connection: Upgrade | Upgrade: websocket";
    let no = status(200, Length::Exact(2));
    let mut peer = silent(UPGRADE);
    peer.send(&no, b"no").unwrap();
    assert_eq!(peer.sides().read, ReadSide::Open, "the end is still to be said");
    peer.feed(b"");
    assert_eq!(peer.said(), format!("{head}\nend"));
    assert_eq!(peer.sides().read, ReadSide::Hold);
    peer.wire.release(STREAM);
    peer.feed(GET.as_bytes());
    assert_eq!(peer.said(), "GET / @h\nend");

    // Released before anyone asked: the end is not said to the next exchange.
    let mut peer = silent(UPGRADE);
    peer.reply(&no, b"no");
    peer.feed(GET.as_bytes());
    assert_eq!(peer.said(), format!("{head}\nGET / @h\nend"));
    assert!(!peer.is_closing());
}

#[test]
fn rfc9110_7_8_upgrades_that_are_not_taken() {
    for (fields, version) in [
        ("Upgrade: websocket", "1.1"),
        ("Connection: upgrade", "1.1"),
        ("Connection: upgrade\r\nUpgrade: h2c", "1.1"),
        ("Connection: upgrade\r\nUpgrade: websocket, H2C", "1.1"),
        ("Connection: upgrade\r\nUpgrade: websocket", "1.0"),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1", "1.1"),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked", "1.1"),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n\r\n");
        let said = server(&input);
        assert!(!said.contains("Tunnel"), "{said}");
    }
}

#[test]
fn an_upstream_tunnel() {
    let mut head = request("GET", "/ws");
    head.push(b"upgrade", b"websocket");
    head.set_length(Length::Tunnel);
    let reply = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nup";
    let said = every_cut(reply, |pieces| {
        let mut peer = Peer::new(Role::Client, WireSpec::default());
        peer.wire.open().unwrap();
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        let wrote = peer.wrote();
        let start = "GET /ws HTTP/1.1\nhost: h\nupgrade: websocket\nconnection: upgrade\n\n";
        assert_eq!(wrote, start);
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.push(b"down", false).unwrap();
        peer.with(|wire, cx| wire.end(STREAM, None, cx)).unwrap();
        assert_eq!(peer.sides().write, WriteSide::ShutAfterFlush);
        assert_eq!(peer.sides().read, ReadSide::Open);
        peer.feed(b"per");
        peer.eof(true);
        assert!(peer.is_closing());
        peer.said()
    });
    let head = "101 x Tunnel | Connection: upgrade | Upgrade: websocket";
    assert_eq!(said, format!("{head}\ndata upper\nend"));
}

#[test]
fn an_early_reply_swallows_a_short_rest() {
    let input = format!("{POST5}hello{GET}");
    let said = every_cut(&input.as_bytes()[POST5.len()..], |pieces| {
        let mut peer = silent(POST5);
        peer.reply(&status(403, Length::Exact(0)), b"");
        assert!(!peer.is_closing());
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    });
    assert_eq!(said, "POST / @h Exact(5)\nGET / @h\nend");

    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rest = format!("5\r\nhello\r\n0\r\nA: b\r\n\r\n{GET}");
    let said = every_cut(rest.as_bytes(), |pieces| {
        let mut peer = silent(chunked);
        peer.reply(&status(403, Length::Exact(0)), b"");
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    });
    assert_eq!(said, "POST / @h Unknown\nGET / @h\nend");
}

#[test]
fn an_early_reply_to_a_long_request_closes() {
    let long = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n";
    let mut peer = silent(long);
    peer.reply(&status(413, Length::Exact(0)), b"");
    assert!(peer.wrote().contains("connection: close"));
    assert!(peer.is_closing());

    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut peer = silent(chunked);
    peer.reply(&status(403, Length::Exact(0)), b"");
    assert!(!peer.is_closing());
    let chunk = [b"8000\r\n".as_slice(), &[b'x'; 0x8000], b"\r\n"].concat();
    peer.feed(&chunk);
    assert!(!peer.is_closing());
    peer.feed(&chunk);
    assert!(peer.is_closing());
    assert_eq!(peer.said(), "POST / @h Unknown");
}

#[test]
fn an_early_reply_ends_an_upstream_connection() {
    let mut head = request("POST", "/");
    head.set_length(Length::Exact(5));
    let mut peer = Peer::new(Role::Client, WireSpec::default());
    peer.wire.open().unwrap();
    peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
    peer.push(b"he", false).unwrap();
    peer.feed(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(peer.said(), "403 No Exact(2)\ndata no\nend");
    assert!(peer.push(b"llo", true).is_err());
    peer.wire.release(STREAM);
    assert!(peer.is_closing() && peer.wire.open().is_none());
}

#[test]
fn the_next_request_waits_for_release() {
    let mut peer = silent(&format!("{GET}{GET}"));
    peer.send(&status(204, Length::Empty), b"").unwrap();
    peer.feed(b"");
    assert_eq!((peer.said().as_str(), peer.sides().read), ("GET / @h\nend", ReadSide::Hold));
    peer.wire.release(STREAM);
    peer.feed(b"");
    assert_eq!(peer.said(), "GET / @h\nend");
    peer.wire.release(STREAM);
    assert!(peer.is_closing(), "released without a reply");
}

#[test]
fn unsolicited_bytes_poison_an_idle_upstream_connection() {
    let mut peer = Peer::new(Role::Client, WireSpec::default());
    peer.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::UnsolicitedBytes));
    assert!(peer.wrote().is_empty() && peer.is_closing() && peer.wire.open().is_none());
    let mut peer = Peer::new(Role::Client, WireSpec::default());
    peer.eof(true);
    assert!(peer.is_closing() && peer.wire.open().is_none() && peer.failed.is_none());
}

#[test]
fn draining() {
    // Polite: an idle client may still send one request, whose reply says close.
    let mut peer = silent("");
    peer.with(|wire, cx| wire.drain(false, cx));
    assert!(!peer.is_closing());
    peer.feed(GET.as_bytes());
    peer.reply(&status(204, Length::Empty), b"");
    assert_eq!(peer.wrote(), "HTTP/1.1 204 No Content\nconnection: close\n\n");
    assert!(peer.is_closing());

    // The last call ends what is idle, and leaves what is not.
    let mut peer = silent("");
    peer.with(|wire, cx| wire.drain(true, cx));
    assert!(peer.is_closing() && peer.wrote().is_empty());
    let mut peer = silent(GET);
    peer.with(|wire, cx| wire.drain(true, cx));
    assert!(!peer.is_closing());
    peer.reply(&status(204, Length::Empty), b"");
    assert!(peer.is_closing());

    let mut peer = Peer::asked("GET", WireSpec::default());
    peer.with(|wire, cx| wire.drain(false, cx));
    peer.feed(b"HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(peer.said(), "204 x\nend");
    peer.wire.release(STREAM);
    assert!(peer.is_closing() && peer.wire.open().is_none());
}

#[test]
fn a_connection_serves_so_many_requests() {
    let spec = WireSpec { requests_per_connection_max: Some(2), ..WireSpec::default() };
    let said = server_says(format!("{GET}{GET}{GET}").as_bytes(), &spec);
    assert_eq!(said, "GET / @h\nend\nGET / @h\nend");
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn an_idle_connection_ends_without_words() {
    let mut peer = Peer::server(WireSpec::default(), answer_ok);
    peer.sleep(secs(74));
    assert!(!peer.is_closing());
    peer.feed(GET.as_bytes());
    peer.out.clear();
    peer.sleep(secs(74));
    assert!(!peer.is_closing(), "counted from the reply");
    peer.sleep(secs(1));
    assert!(peer.is_closing() && peer.wrote().is_empty() && peer.failed.is_none());
}

#[test]
fn a_slow_head_is_408_ten_seconds_after_its_first_byte() {
    let mut peer = silent("");
    peer.sleep(secs(60));
    for byte in GET.as_bytes().iter().take(5) {
        peer.feed(&[*byte]);
        peer.sleep(secs(2) - Duration::from_millis(1));
        assert_eq!(peer.failed, None);
    }
    peer.sleep(Duration::from_millis(5));
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::HeadTimeout));
    assert!(peer.wrote().starts_with("HTTP/1.1 408 Request Timeout\n") && peer.is_closing());
}

#[test]
fn a_slow_body_is_408() {
    let big = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n";
    // One byte in two seconds buys nothing.
    let mut peer = silent(big);
    for _ in 0..3 {
        assert_eq!(peer.failed, None);
        peer.feed(b"x");
        peer.sleep(secs(2));
    }
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::BodyTooSlow));
    assert!(peer.wrote().starts_with("HTTP/1.1 408 "));
    // 480 bytes in two seconds are enough for ever.
    let mut peer = silent(big);
    for _ in 0..100 {
        peer.feed(&[b'x'; 480]);
        peer.sleep(secs(2));
    }
    assert_eq!(peer.failed, None);
    // Much at once buys a silence of 30 s and no more.
    let mut peer = silent(big);
    peer.feed(&[b'x'; 100_000]);
    peer.sleep(secs(29));
    assert_eq!(peer.failed, None);
    peer.sleep(secs(1));
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::BodyTooSlow));
}

#[test]
fn a_pump_that_paused_does_not_blame_the_peer() {
    let mut peer = silent("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n");
    peer.feed(b"x");
    // Ninety seconds without a tick: nothing was received on purpose.
    peer.now += secs(90);
    peer.feed(b"x");
    peer.sleep(secs(4));
    assert_eq!(peer.failed, None);
    peer.sleep(secs(2));
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::BodyTooSlow));
}

#[test]
fn an_unused_upstream_connection_ends_before_the_server_ends_it() {
    for (field, idle) in
        [("", 4), ("Keep-Alive: timeout=3\r\n", 2), ("Keep-Alive: timeout=60\r\n", 4)]
    {
        let mut peer = Peer::asked("GET", WireSpec::default());
        assert_eq!(peer.wire.deadline(), None, "in use");
        peer.feed(format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\n").as_bytes());
        peer.sleep(secs(100));
        peer.feed(b"ok");
        assert_eq!(peer.wire.deadline(), None, "still in use");
        peer.wire.release(STREAM);
        assert_eq!(peer.wire.deadline(), Some(peer.now + secs(idle)));
        peer.sleep(secs(idle));
        assert!(peer.is_closing() && peer.wire.open().is_none());
    }
}

#[test]
fn an_idle_wire_is_small() {
    assert!(size_of::<crate::AnyWire>() <= 128, "{}", size_of::<crate::AnyWire>());
    let mut peer = Peer::server(WireSpec::default(), answer_ok);
    assert_eq!(peer.wire.held_bytes(), 0);
    peer.feed(&GET.as_bytes()[..20]);
    assert!(peer.wire.held_bytes() >= 20);
    peer.feed(&GET.as_bytes()[20..]);
    assert_eq!(peer.wire.held_bytes(), 0);
}

#[test]
fn heads_are_recycled() {
    let mut peer = Peer::server(WireSpec::default(), answer_ok);
    for _ in 0..3 {
        peer.feed(GET.as_bytes());
    }
    assert_eq!(peer.heads.len(), 1);
    peer.feed(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(peer.heads.len(), 1, "given back on a fault");
}

#[test]
fn calls_on_a_stream_that_is_not_there_are_gone() {
    let mut peer = silent("");
    assert!(peer.send(&status(200, Length::Empty), b"").is_err());
    assert!(!peer.wire.ready(STREAM) && peer.wire.open().is_none());
    peer.wire.release(STREAM);
    assert!(!peer.is_closing());
    let mut peer = silent(GET);
    let other = crate::StreamId(1);
    assert!(peer.with(|wire, cx| wire.end(other, None, cx)).is_err());
    assert!(peer.with(|wire, cx| wire.end(STREAM, None, cx)).is_err(), "no head yet");
    assert!(peer.is_closing());
}

/// Runs `talk` with pipes that carry 1, 2, 3 .. bytes at a time; all must give the same result.
fn at_every_step(talk: impl Fn(usize) -> String) -> String {
    let whole = talk(usize::MAX);
    for step in (1..40).chain([64, 100, 200]) {
        assert_eq!(talk(step), whole, "{step} bytes at a time");
    }
    whole
}

#[test]
fn two_wires_exchange_messages() {
    let said = at_every_step(|step| {
        let client = Peer::new(Role::Client, WireSpec::default());
        let server = Peer::server(WireSpec::default(), |peer| {
            peer.with(|wire, cx| wire.head(STREAM, &status(103, Length::Empty), false, cx))
                .unwrap();
            peer.reply(&status(200, Length::Unknown), b"reply body");
        });
        let mut pair = Pair { client, server };
        for length in [Length::Unknown, Length::Exact(10)] {
            let mut head = request("PUT", "/a");
            head.set_length(length);
            pair.client.wire.open().unwrap();
            pair.client.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
            pair.carry(step);
            pair.client.push(b"01234", false).unwrap();
            pair.carry(step);
            pair.client.push(b"56789", false).unwrap();
            let mut trailers = Head::new();
            trailers.push(b"x-sum", b"45");
            pair.client.with(|wire, cx| wire.end(STREAM, Some(&trailers), cx)).unwrap();
            pair.carry(step);
            pair.client.wire.release(STREAM);
        }
        format!("{}\n--\n{}", pair.server.said(), pair.client.said())
    });
    let requests = "PUT /a @h Unknown\ndata 0123456789\ntrailers | x-sum: 45\nend\n\
        PUT /a @h Exact(10)\ndata 0123456789\nend";
    let reply = "103 \n200 OK Unknown\ndata reply body\nend";
    assert_eq!(said, format!("{requests}\n--\n{reply}\n{reply}"));
}

#[test]
fn two_wires_tunnel_and_close_in_turn() {
    let said = at_every_step(|step| {
        let client = Peer::new(Role::Client, WireSpec::default());
        let server = Peer::new(Role::Server, WireSpec::default());
        let mut pair = Pair { client, server };
        let mut head = request("GET", "/ws");
        head.push(b"upgrade", b"x");
        head.set_length(Length::Tunnel);
        pair.client.wire.open().unwrap();
        pair.client.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        pair.carry(step);
        let mut head = status(101, Length::Tunnel);
        head.push(b"upgrade", b"x");
        pair.server.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        pair.server.push(b"from the server", false).unwrap();
        pair.carry(step);
        pair.client.push(b"from the client", true).unwrap();
        pair.carry(step);
        assert!(!pair.server.is_closing(), "one direction lives on");
        pair.server.push(b", last words", true).unwrap();
        pair.carry(step);
        assert!(pair.client.is_closing() && pair.server.is_closing());
        format!("{}\n--\n{}", pair.server.said(), pair.client.said())
    });
    let (to_server, to_client) = said.split_once("\n--\n").unwrap();
    assert!(to_server.ends_with("\ndata from the client\nend"), "{to_server}");
    assert!(to_client.ends_with("\ndata from the server, last words\nend"), "{to_client}");
}

#[test]
fn two_wires_never_pass_a_broken_reply_off_as_whole() {
    for version in [GET, GET10] {
        let mut server = silent(version);
        let client = Peer::asked("GET", WireSpec::default());
        server
            .with(|wire, cx| wire.head(STREAM, &status(200, Length::Unknown), false, cx))
            .unwrap();
        server.push(b"half", false).unwrap();
        server.with(|wire, cx| wire.reset(STREAM, Fault::Cancelled, cx));
        let mut pair = Pair { client, server };
        pair.carry(3);
        let said = pair.client.said();
        assert!(said.ends_with("\ndata half\nreset body_truncated"), "{said}");
    }
}

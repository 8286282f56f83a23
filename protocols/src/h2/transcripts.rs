//! Transcripts of what RFC 9113 leaves to us: ends, deadlines, refusals, what is held.

use std::time::Duration;

use super::frame::{PREFACE, STREAM_MAX};
use super::testing::*;
use crate::head::Length;
use crate::pair::{request, status};
use crate::{Fault, Gone, Head, Role, Sides, StreamId, Wire, WireSpec, WriteSide};

const OK: &[(&str, &str)] = &[(":status", "200")];
const SECOND: Duration = Duration::from_secs(1);

fn exact(len: u64) -> Head {
    status(200, Length::Exact(len))
}

fn post(length: Length) -> Head {
    let mut head = request("POST", "/");
    head.set_length(length);
    head
}

fn fields(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
    head
}

#[test]
fn a_request_and_its_reply() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, &with(GET, &[("accept", "*/*")]), true));
    assert_eq!(peer.said(), "0 GET / @h | accept: */* end");
    peer.head(0, &exact(2), false).unwrap();
    peer.push(0, b"ok", true).unwrap();
    assert_eq!(peer.wrote(), "HEADERS 1 :status=200 content-length=2\nDATA 1 ok end");
    peer.release(0);
    assert_eq!(peer.wrote(), "");
    peer.feed(&headers(3, GET, true));
    assert_eq!(peer.said(), "0 GET / @h end");
}

#[test]
fn messages_with_trailers_both_ways() {
    let mut client = Peer::client(WireSpec::default());
    let key = client.ask(&post(Length::Unknown), false).0;
    client.push(key, b"hello", false).unwrap();
    client.end(key, Some(&fields(&[("A", "b")]))).unwrap();
    let want = "HEADERS 1 :method=POST :scheme=http :authority=h :path=/\nDATA 1 hello\n\
                HEADERS 1 end a=b";
    let bytes = client.out.clone();
    assert_eq!(client.wrote(), want);
    let mut server = Peer::server(WireSpec::default());
    server.feed(&bytes);
    assert_eq!(server.said(), "0 POST / @h Unknown\n0 data hello\n0 trailers | a: b");
    server.head(0, &status(200, Length::Unknown), false).unwrap();
    server.push(0, b"bye", false).unwrap();
    server.end(0, Some(&fields(&[("grpc-status", "0")]))).unwrap();
    client.feed(&server.out);
    assert_eq!(client.said(), "0 200  Unknown\n0 data bye\n0 trailers | grpc-status: 0");
    // Nothing that may be sent is left of them: an end without trailers.
    let key = client.ask(&post(Length::Unknown), false).0;
    client.wrote();
    client.end(key, Some(&fields(&[("connection", "x")]))).unwrap();
    assert_eq!(client.wrote(), "DATA 3  end");
}

#[test]
fn replies_without_content_have_none() {
    let mut peer = Peer::server(WireSpec::default());
    let head = with(&[(":method", "HEAD")], &GET[1..]);
    for (n, code) in [(0, 200), (1, 204), (2, 304)] {
        let id = 2 * n + 1;
        peer.feed(&headers(id, if n == 0 { &head } else { GET }, true));
        peer.head(0, &status(code, Length::Exact(5)), n == 1).unwrap();
        let length = if code == 204 { "" } else { " content-length=5" };
        let end = if n == 1 { " end" } else { "" };
        assert_eq!(peer.wrote(), format!("HEADERS {id}{end} :status={code}{length}"));
        if n != 1 {
            peer.end(0, None).unwrap();
            assert_eq!(peer.wrote(), format!("DATA {id}  end"));
        }
        peer.release(0);
    }
    peer.feed(&headers(7, &head, true));
    peer.head(0, &exact(5), false).unwrap();
    assert_eq!(peer.push(0, b"hello", true), Err(Gone), "content where none may be");
}

#[test]
fn a_message_other_than_announced_is_broken_off() {
    type Act = fn(&mut Peer) -> Result<(), Gone>;
    let acts: &[(Length, Act)] = &[
        (Length::Exact(3), |peer| peer.push(0, b"abcd", false).map(drop)),
        (Length::Exact(3), |peer| peer.push(0, b"ab", true).map(drop)),
        (Length::Exact(3), |peer| peer.end(0, None)),
        (Length::Exact(3), |peer| {
            peer.push(0, b"ab", false)?;
            peer.end(0, None)
        }),
        (Length::Exact(3), |peer| peer.push(0, b"", true).map(drop)),
        (Length::Empty, |peer| peer.push(0, b"a", true).map(drop)),
        (Length::Unknown, |peer| peer.head(0, &exact(1), false)),
    ];
    for (length, act) in acts {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&headers(1, GET, true));
        peer.head(0, &status(200, *length), false).unwrap();
        assert_eq!(act(&mut peer), Err(Gone));
        let wrote = peer.wrote();
        assert!(wrote.ends_with("RST_STREAM 1 2") && !wrote.contains("end"), "{wrote}");
    }
    let early: [Act; 2] = [|peer| peer.end(0, None), |peer| peer.push(0, b"a", true).map(drop)];
    for act in early {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&headers(1, GET, true));
        assert_eq!((act(&mut peer), peer.wrote()), (Err(Gone), "RST_STREAM 1 2".into()));
    }
}

#[test]
fn an_end_after_the_end_says_nothing_new() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, GET, true));
    peer.head(0, &status(200, Length::Empty), true).unwrap();
    assert_eq!((peer.push(0, b"", true), peer.end(0, None)), (Ok(0), Ok(())));
    assert_eq!(peer.wrote(), "HEADERS 1 end :status=200");
}

#[test]
fn too_large_a_head_is_answered() {
    let long = "x".repeat(9000);
    let many: Vec<_> = (0..101).map(|_| ("a", "b")).collect();
    // 64 KiB counting 32 bytes a field, and fewer as they are encoded.
    let large = (0..97).map(|n| if n < 7 { ("a", &long[..]) } else { ("a", "b") });
    let large: Vec<_> = large.collect();
    let line = "x".repeat(16_384);
    let path = format!("/{long}");
    let target = [GET[0], GET[1], GET[3], (":path", &path[..])];
    for (fields, fault, status) in [
        (with(GET, &many), "too_many_fields", 431),
        (with(GET, &large), "head_too_large", 431),
        (with(GET, &[("a", &line[..])]), "field_too_long", 431),
        (target.to_vec(), "target_too_long", 414),
    ] {
        let mut peer = Peer::server(WireSpec::default());
        let block = block(&fields);
        let pieces: Vec<_> = block.chunks(16_384).collect();
        let last = pieces.len() - 1;
        for (index, piece) in pieces.iter().enumerate() {
            let kind = if index == 0 { 1 } else { 9 };
            peer.feed(&frame(kind, if index == last { 4 } else { 0 }, 1, piece));
        }
        assert_eq!(peer.said(), format!("- refused {fault}"));
        let want = format!("HEADERS 1 end :status={status} content-length=0\nRST_STREAM 1 0");
        assert_eq!(peer.wrote(), want);
        peer.feed(&[data(1, b"late", true), headers(3, GET, true)].concat());
        assert_eq!(peer.said(), "0 GET / @h end");
        assert_eq!(peer.wire.held_bytes(), peer.wire.held_bytes().min(4096), "given back");
    }
}

#[test]
fn too_large_a_body_is_refused() {
    let spec = || WireSpec { body_bytes_max: Some(5), ..WireSpec::default() };
    let mut peer = Peer::server(spec());
    peer.feed(&headers(1, &with(POST, &[("content-length", "6")]), false));
    assert_eq!(peer.said(), "- refused body_too_large");
    assert_eq!(peer.wrote(), "HEADERS 1 end :status=413 content-length=0\nRST_STREAM 1 0");
    peer.feed(&[headers(3, POST, false), data(3, b"12345", false), data(3, b"6", true)].concat());
    assert_eq!(peer.said(), "0 POST / @h Unknown\n0 data 12345\n0 reset body_too_large");
    assert_eq!(peer.wrote(), "RST_STREAM 3 8");
}

#[test]
fn trailers_have_limits() {
    let many: Vec<_> = (0..33).map(|_| ("a", "b")).collect();
    let long = "x".repeat(8200);
    for trailers in [&many[..], &[("a", &long[..])]] {
        let input = [headers(1, POST, false), headers(1, trailers, true)].concat();
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&input);
        assert_eq!(peer.said(), "0 POST / @h Unknown\n0 reset trailer_too_large");
    }
}

#[test]
fn a_field_that_must_not_be_indexed_stays_one() {
    let mut secret = block(GET);
    secret.extend(b"\x10\x05token\x01s");
    secret.extend(b"\x00\x05plain\x01p");
    let mut server = Peer::server(WireSpec::default());
    server.feed(&frame(1, 5, 1, &secret));
    assert_eq!(server.said(), "0 GET / @h | token: s | plain: p end");
    let head = server.heads.pop().unwrap();
    let mut client = Peer::client(WireSpec::default());
    for id in [1, 3] {
        client.ask(&head, true);
        let wrote = client.wrote();
        assert!(wrote.starts_with(&format!("HEADERS {id} end")), "{wrote}");
        assert!(wrote.ends_with(" token=s! plain=p"), "{wrote}");
    }
}

#[test]
fn a_tunnel_is_impossible() {
    let mut client = Peer::client(WireSpec::default());
    let mut head = request("GET", "/");
    head.set_length(Length::Tunnel);
    let key = client.wire.open().unwrap().0;
    assert_eq!(client.head(key, &head, false), Err(Gone));
    client.feed(b"");
    assert_eq!(client.said(), "0 reset tunnel_impossible unprocessed");
    client.release(key);
    assert_eq!(client.wrote(), "");
    let mut server = Peer::server(WireSpec::default());
    server.feed(&headers(1, GET, true));
    assert_eq!(server.head(0, &status(101, Length::Tunnel), false), Err(Gone));
    server.feed(b"");
    assert_eq!(server.said(), "0 GET / @h end\n0 reset tunnel_impossible");
    assert_eq!(server.wrote(), "RST_STREAM 1 2");
}

#[test]
fn a_stream_given_back_early_is_cancelled() {
    let mut client = Peer::client(WireSpec::default());
    let key = client.ask(&post(Length::Unknown), false).0;
    client.wrote();
    client.feed(&headers(1, OK, true));
    client.release(key);
    assert_eq!(client.wrote(), "RST_STREAM 1 8");
    // Its key is free, and what comes for it is late.
    assert_eq!(client.ask(&request("GET", "/"), true).0, key);
    client.wrote();
    client.feed(&[data(1, b"x", false), window(1, 1), rst(1, 0)].concat());
    assert_eq!((client.failed, client.wrote().as_str()), (None, ""));
}

#[test]
fn a_drain_waits_for_what_is_on_its_way() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, GET, true));
    peer.with(|wire, cx| wire.drain(false, cx));
    peer.with(|wire, cx| wire.drain(false, cx));
    assert_eq!(peer.wrote(), "GOAWAY 2147483647 0\nPING rw-drain");
    peer.feed(&headers(3, GET, true));
    assert_eq!(peer.said(), "0 GET / @h end\n1 GET / @h end");
    peer.feed(&ping(b"rw-drain", true));
    assert_eq!(peer.wrote(), "GOAWAY 3 0");
    peer.feed(&headers(5, GET, true));
    assert_eq!((peer.said().as_str(), peer.wrote().as_str()), ("", ""));
    for key in 0..2 {
        assert!(!peer.is_closing());
        peer.head(key, &status(200, Length::Empty), true).unwrap();
        peer.release(key);
    }
    assert!(peer.is_closing());
}

#[test]
fn a_drain_waits_for_a_second() {
    let mut peer = Peer::server(WireSpec::default());
    peer.with(|wire, cx| wire.drain(false, cx));
    assert_eq!(peer.wire.deadline(), Some(peer.now + SECOND));
    peer.sleep(SECOND - Duration::from_nanos(1));
    assert_eq!(peer.wrote(), "GOAWAY 2147483647 0\nPING rw-drain");
    peer.sleep(Duration::from_nanos(1));
    assert_eq!(peer.wrote(), "GOAWAY 0 0");
    assert!(peer.is_closing());
    let mut late = Peer::server(WireSpec::default());
    late.feed(&headers(1, GET, true));
    late.with(|wire, cx| wire.drain(false, cx));
    late.sleep(SECOND);
    late.feed(&ping(b"rw-drain", true));
    assert_eq!(late.failed, None);
}

#[test]
fn a_client_drains_at_once() {
    let mut client = Peer::asked("GET");
    client.with(|wire, cx| wire.drain(false, cx));
    assert_eq!((client.wrote().as_str(), client.wire.open()), ("GOAWAY 0 0", None));
    client.feed(&headers(1, OK, true));
    assert!(!client.is_closing());
    client.release(0);
    assert!(client.is_closing());
}

#[test]
fn so_many_requests_and_no_more() {
    let spec = WireSpec { requests_per_connection_max: Some(2), ..WireSpec::default() };
    let mut peer = Peer::server(spec);
    peer.feed(&headers(1, GET, true));
    assert_eq!(peer.wrote(), "");
    peer.feed(&headers(3, GET, true));
    assert_eq!(peer.wrote(), "GOAWAY 2147483647 0\nPING rw-drain");
}

#[test]
fn identifiers_run_out() {
    let mut client = Peer::client(WireSpec::default());
    client.wire.next_id = STREAM_MAX;
    client.ask(&request("GET", "/"), true);
    let wrote = client.wrote();
    assert!(wrote.starts_with("HEADERS 2147483647 end") && wrote.ends_with("GOAWAY 0 0"));
    client.feed(b"");
    assert_eq!((client.said().as_str(), client.wire.open()), ("closing", None));
    client.feed(&headers(STREAM_MAX, OK, true));
    client.release(0);
    assert_eq!((client.said().as_str(), client.is_closing()), ("0 200  end", true));
}

#[test]
fn an_idle_connection_ends() {
    for role in [Role::Server, Role::Client] {
        let mut peer = match role {
            Role::Server => Peer::server(WireSpec::default()),
            Role::Client => Peer::client(WireSpec::default()),
        };
        let idle = WireSpec::default().idle_timeout;
        assert_eq!(peer.wire.deadline(), Some(peer.now + idle));
        peer.now += SECOND;
        let now = peer.now;
        peer.wire.restart_idle(now);
        peer.sleep(idle - SECOND);
        assert!(!peer.is_closing());
        peer.sleep(SECOND);
        assert_eq!((peer.wrote().as_str(), peer.failed), ("GOAWAY 0 0", None));
        assert!(peer.is_closing());
    }
}

#[test]
fn a_connection_with_streams_is_not_idle() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, GET, true));
    assert_eq!(peer.wire.deadline(), None);
    peer.sleep(Duration::from_secs(10_000));
    assert!(!peer.is_closing());
    peer.head(0, &status(200, Length::Empty), true).unwrap();
    peer.release(0);
    assert_eq!(peer.wire.deadline(), Some(peer.now + WireSpec::default().idle_timeout));
}

#[test]
fn settings_are_acknowledged_in_time() {
    let ten = WireSpec::default().h2_settings_timeout;
    let mut client = Peer::new(Role::Client, WireSpec::default());
    client.feed(&settings(&[]));
    client.sleep(ten - Duration::from_nanos(1));
    assert_eq!(client.failed, None);
    client.sleep(Duration::from_nanos(1));
    assert_eq!(client.failed.map(|error| error.fault), Some(Fault::SettingsTimeout));
    assert!(client.wrote().ends_with("GOAWAY 0 4 settings_timeout"));
    // A server counts from the client's first byte.
    let mut server = Peer::new(Role::Server, WireSpec::default());
    assert_eq!(server.wire.deadline(), Some(server.now + WireSpec::default().idle_timeout));
    server.sleep(ten);
    server.feed(&PREFACE[..1]);
    server.sleep(ten - SECOND);
    server.feed(&[&PREFACE[1..], &settings(&[])].concat());
    assert_eq!(server.failed, None);
    server.sleep(SECOND);
    assert_eq!(server.failed.map(|error| error.fault), Some(Fault::SettingsTimeout));
}

#[test]
fn a_field_block_comes_in_time() {
    let mut peer = Peer::server(WireSpec::default());
    let block = block(GET);
    peer.feed(&frame(1, 1, 1, &block)[..20]);
    assert_eq!(peer.wire.deadline(), Some(peer.now + WireSpec::default().head_timeout));
    peer.sleep(Duration::from_secs(9));
    peer.feed(&frame(1, 1, 1, &block)[20..]);
    peer.sleep(SECOND);
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::HeadTimeout));
    assert_eq!(peer.wrote(), "GOAWAY 1 11 head_timeout");
    let mut whole = Peer::server(WireSpec::default());
    whole.feed(&frame(1, 5, 1, &block));
    assert_eq!(whole.wire.deadline(), None);
}

#[test]
fn a_silent_peer_is_asked_for_a_sign_of_life() {
    let spec = WireSpec { h2_ping_interval: Some(30 * SECOND), ..WireSpec::default() };
    let mut peer = Peer::server(spec.clone());
    assert_eq!(peer.wire.deadline(), Some(peer.now + spec.idle_timeout), "not without streams");
    peer.feed(&headers(1, GET, true));
    peer.sleep(10 * SECOND);
    peer.feed(&window(0, 1));
    peer.sleep(29 * SECOND);
    assert_eq!(peer.wrote(), "");
    peer.sleep(SECOND);
    assert_eq!(peer.wrote(), "PING rw-alive");
    assert_eq!(peer.wire.deadline(), Some(peer.now + spec.h2_ping_timeout));
    peer.feed(&ping(b"rw-alive", true));
    peer.sleep(30 * SECOND);
    assert_eq!(peer.wrote(), "PING rw-alive");
    // Other bytes are a sign of life as well, for as long again.
    peer.sleep(19 * SECOND);
    peer.feed(&window(0, 1));
    peer.sleep(19 * SECOND);
    assert_eq!(peer.failed, None);
    peer.sleep(SECOND);
    assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::PingTimeout));
    assert_eq!(peer.wrote(), "GOAWAY 1 8 ping_timeout");
}

#[test]
fn a_connection_that_breaks_resets_its_streams() {
    let mut client = Peer::client(WireSpec::default());
    for _ in 0..4 {
        client.ask(&request("GET", "/"), true);
    }
    client.wire.open().unwrap();
    client.feed(&[headers(3, OK, false), headers(5, OK, true)].concat());
    client.said();
    client.feed(&headers(7, OK, false)[..12]);
    client.eof();
    let want = "0 reset closed_before_reply\n1 reset body_truncated\n3 reset closed_before_reply\n\
                4 reset closed_before_reply unprocessed";
    assert_eq!(client.said(), want);
    assert_eq!(
        client.sides(),
        Sides { read: crate::ReadSide::Done, write: WriteSide::CloseAfterFlush }
    );
    assert_eq!(client.push(0, b"x", true), Err(Gone));
    let mut server = Peer::server(WireSpec::default());
    server.feed(&[headers(1, GET, true), headers(3, POST, false)].concat());
    server.said();
    server.eof();
    assert_eq!(server.said(), "0 reset cancelled\n1 reset body_truncated");
}

#[test]
fn tales_wait_for_decode_before_the_end() {
    let mut client = Peer::asked("GET");
    client.with(|wire, cx| wire.eof(true, cx)).unwrap();
    assert_eq!(client.sides().read, crate::ReadSide::Open, "something is to be told");
    client.feed(b"");
    assert_eq!(client.sides().read, crate::ReadSide::Done);
}

#[test]
fn an_idle_connection_holds_little() {
    let mut peer = Peer::server(WireSpec::default());
    assert!(peer.wire.held_bytes() <= 1024, "{}", peer.wire.held_bytes());
    for n in 0..100 {
        let id = 2 * n + 1;
        let value = format!("value-{n}");
        peer.feed(&headers(id, &with(GET, &[("x-field", &value[..])]), true));
        peer.head(n, &exact(0), true).unwrap();
    }
    for n in 0..100 {
        peer.release(n);
    }
    assert!(peer.wire.held_bytes() <= 2048, "{}", peer.wire.held_bytes());
}

#[test]
fn a_wire_is_small() {
    // One box of the size class of 640 bytes.
    assert!(size_of::<super::H2>() <= 640, "{}", size_of::<super::H2>());
    assert!(size_of::<crate::AnyWire>() <= 136, "{}", size_of::<crate::AnyWire>());
}

#[test]
fn answers_are_counted() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[ping(b"12345678", false), settings(&[]), ping(b"12345678", false)].concat());
    peer.feed(&headers(1, POST, false));
    peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
    assert_eq!((peer.wire.answers(), peer.wire.answers()), (4 + 1, 0), "one of the first hello");
}

/// Whatever is wrong with it and wherever that stands: what is counted is a call.
#[test]
fn a_refused_call_is_known_for_one() {
    let grpc = ("content-type", "application/grpc+proto");
    let bad = ("connection", "x");
    let long = "x".repeat(16_384);
    for (fields, said) in [
        (with(POST, &[grpc, bad]), "connection_field call"),
        (with(POST, &[bad, ("a", "b"), grpc]), "connection_field call"),
        (with(POST, &[("a", &long), grpc]), "field_too_long call"),
        (with(&POST[1..], &[grpc]), "missing_pseudo_field call"),
        (with(POST, &[bad, ("content-type", "text/plain"), grpc]), "connection_field"),
        (with(POST, &[bad, ("content-type", "application/grpc-web")]), "connection_field"),
        (with(POST, &[bad]), "connection_field"),
    ] {
        let mut peer = Peer::server(WireSpec::default());
        let block = block(&fields);
        let (first, rest) = block.split_at(block.len().min(16_384));
        let is_whole = rest.is_empty();
        peer.feed(&frame(1, if is_whole { 5 } else { 1 }, 1, first));
        if !is_whole {
            peer.feed(&frame(9, 4, 1, rest));
        }
        assert_eq!(peer.said(), format!("- refused {said}"));
    }
    let mut peer = Peer::server(WireSpec { h2_streams_max: 1, ..WireSpec::default() });
    peer.feed(
        &[headers(1, POST, false), headers(3, &with(POST, &[("a", "b"), grpc]), true)].concat(),
    );
    peer.feed(&headers(5, &with(POST, &[("content-type", "text/plain"), grpc]), true));
    let refused = "- refused stream_refused call\n- refused stream_refused";
    assert_eq!(peer.said(), format!("0 POST / @h Unknown\n{refused}"));
}

//! What one wire says and writes: peers' own bytes, local failures, refusals, time.

use std::time::Duration;

use super::headers::deflate;
use super::testing::*;
use super::vectors::files;
use super::{Dialect, Encoding, Transport, theader};
use crate::pair::every_cut;
use crate::{Fault, ReadSide, StreamId, Wire, WireSpec};

const FRAMED: Dialect = Dialect::new(Transport::Framed, Encoding::Binary);
const UNFRAMED: Dialect = Dialect::new(Transport::Unframed, Encoding::Binary);
const THEADER: Dialect = Dialect::new(Transport::THeader, Encoding::Binary);
const TTHEADER: Dialect = Dialect::TTHEADER_FRAMED;

/// What a server that echoes says to this input, whatever the cuts.
fn server_says(input: &[u8], spec: &WireSpec) -> String {
    every_cut(input, |pieces| {
        let mut peer = Peer::server(spec.clone());
        peer.echoes = true;
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    })
}

/// The same, and what it writes.
fn server_writes(input: &[u8]) -> (String, String) {
    every_cut(input, |pieces| {
        let mut peer = Peer::server(WireSpec::default());
        pieces.iter().for_each(|piece| peer.feed(piece));
        (peer.said(), peer.wrote())
    })
}

/// What a client that called `/Echo/echo` once says to this input, whatever the cuts.
fn client_says(dialect: Dialect, input: &[u8]) -> String {
    every_cut(input, |pieces| {
        let mut peer = Peer::client(dialect);
        peer.ask("CALL", "/Echo/echo");
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    })
}

#[test]
fn whole_connections_of_every_client() {
    let spec = WireSpec { thrift_lax: true, ..WireSpec::default() };
    let mut count = 0;
    let calls = ["_call", "_c2s", "_oneway", "ttheader_acl", "ttheader_kitex_style_call"];
    for (name, bytes) in files("") {
        let is_call = calls.iter().any(|part| name.contains(part));
        if !is_call || name.contains("_reply") || name.ends_with("_s2c") {
            continue;
        }
        let said = server_says(&bytes, &spec);
        assert!(!said.contains("fault") && said.contains(" end"), "{name}: {said}");
        count += said.matches(" end").count();
    }
    assert_eq!(count, 57);
}

#[test]
fn what_clients_ask_for() {
    let heads = |prefix: &str| {
        let (_, bytes) = files(prefix).remove(0);
        let said = server_says(&bytes, &WireSpec::default());
        let heads = said.lines().filter(|line| line.contains(" | ")).map(str::to_string);
        heads.collect::<Vec<_>>()
    };
    let content = " | content-type: application/vnd.apache.thrift";
    assert_eq!(
        heads("py_framed_oneway"),
        [
            format!("0 ONEWAY /-/fire @ Exact(9){content}.binary"),
            format!("0 CALL /-/ping @ Exact(1){content}.binary")
        ]
    );
    assert_eq!(
        heads("py_buffered_call_min"),
        [format!("0 CALL /-/echo @ Unknown{content}.binary")]
    );
    assert_eq!(
        heads("py_compact_call_min"),
        [format!("0 CALL /-/echo @ Exact(9){content}.compact")]
    );
    assert_eq!(
        heads("py_mux_call"),
        [format!("0 CALL /Echo/echo @Echo Exact(25) | tt-multiplexed: Echo{content}.binary")]
    );
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(
        heads("py_header_call_min"),
        [format!("0 CALL /-/echo @ Exact(25) | x-request-id: req-1 | {trace}{content}.binary")]
    );
    let volo = &heads("volo_ttheader_framed_min_c2s")[0];
    assert!(
        volo.starts_with(
            "0 CALL /Echo/echo @echo-svc Exact(25) | isn: Echo | tt-int-16: 3 | \
         grpc-timeout: 1500000u | tt-int-17: 50 | tt-int-3: caller-svc | tt-int-9: echo | \
         tt-int-6: echo-svc | tt-int-11: 127.0.0.1:"
        ),
        "{volo}"
    );
}

#[test]
fn a_compressed_reply_comes_out_whole() {
    let packed = deflate(&message(2, "echo", 1, HI));
    let mut bytes = Vec::new();
    let writer = theader::Writer::new(0, 1, theader::PROTOCOL_BINARY, true, &mut bytes);
    assert!(writer.finish(packed.len() as u32));
    bytes.extend_from_slice(&packed);
    let said = client_says(THEADER, &bytes);
    let head = "0 200  Exact(10) | content-type: application/vnd.apache.thrift.binary";
    assert_eq!(said, format!("{head}\n0 data \\x0b\\x00\\x01\\x00\\x00\\x00\\x02hi\\x00\n0 end"));
    let len = bytes.len();
    bytes[len - 1] ^= 1;
    assert_eq!(client_says(THEADER, &bytes), "fault bad_zlib");
}

#[test]
fn a_compressed_call_comes_out_whole() {
    let (_, bytes) = files("py_header_zlib_call").remove(0);
    let said = server_says(&bytes, &WireSpec::default());
    assert!(said.starts_with("0 CALL /-/echo @ Exact(76)"), "{said}");
    assert!(said.contains(&"z".repeat(64)) && said.ends_with("0 end"));
    let small = WireSpec { thrift_frame_bytes_max: 60, ..WireSpec::default() };
    assert_eq!(server_says(&bytes, &small), "fault inflated_too_large");
}

#[test]
fn a_local_failure_reads_as_apaches_own() {
    for variant in ["framed", "buffered", "compact", "header"] {
        let (_, call) = files(&format!("py_{variant}_call_unknown_method")).remove(0);
        let (_, reply) = files(&format!("py_{variant}_reply_unknown_method")).remove(0);
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&call);
        peer.head(0, &local(404, "Unknown function nosuch"), true).unwrap();
        assert_eq!(peer.wrote(), reply.escape_ascii().to_string(), "{variant}");
        peer.release(0);
        assert!(!peer.is_closing());
    }
}

#[test]
fn local_failures_have_a_code_and_nothing_is_said_to_a_oneway() {
    for (code, number) in [(404, 1), (400, 7), (503, 6), (504, 6)] {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&ttheader(1, "echo", 77, HI));
        peer.head(0, &local(code, "word"), true).unwrap();
        let payload = [b"\x0b\0\x01\0\0\0\x04word\x08\0\x02\0\0\0", &[number][..], &[0]].concat();
        let want = ttheader(3, "echo", 77, &payload);
        assert_eq!(peer.wrote(), want.escape_ascii().to_string());
    }
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&framed(4, "fire", 1, HI));
    peer.head(0, &local(503, "word"), true).unwrap();
    peer.release(0);
    peer.feed(&framed(4, "fire", 2, HI));
    peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
    peer.release(0);
    assert_eq!((peer.wrote(), peer.is_closing()), (String::new(), false));
}

#[test]
fn a_call_that_is_let_go_is_answered_all_the_same() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&framed(1, "echo", 1, HI));
    peer.release(0);
    let payload = b"\x0b\0\x01\0\0\0\x09cancelled\x08\0\x02\0\0\0\x06\0";
    assert_eq!(peer.wrote(), framed(3, "echo", 1, payload).escape_ascii().to_string());
    peer.feed(&framed(1, "echo", 2, HI));
    assert!(peer.said().starts_with("0 CALL"));
    // A reply of another protocol has no struct.
    let head = status(200, Encoding::Compact, 5);
    assert!(peer.head(0, &head, false).is_err());
    peer.feed(b"");
    assert_eq!(peer.wrote(), framed(3, "echo", 2, payload).escape_ascii().to_string());
}

#[test]
fn replies_in_order_where_the_client_cannot_match_them() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[framed(1, "a", 5, HI), framed(4, "fire", 0, HI), framed(1, "b", 6, HI)].concat());
    assert_eq!(peer.said().matches(" end").count(), 3);
    assert!(peer.wire.ready(StreamId(0)) && !peer.wire.ready(StreamId(2)));
    // One that is given up waits for its turn as well.
    peer.with(|wire, cx| wire.reset(StreamId(2), Fault::Cancelled, cx));
    peer.release(2);
    assert_eq!(peer.wrote(), "");
    peer.reply(0);
    let cancelled = b"\x0b\0\x01\0\0\0\x09cancelled\x08\0\x02\0\0\0\x06\0";
    let want = [framed(2, "a", 5, HI), framed(3, "b", 6, cancelled)].concat();
    assert_eq!(peer.wrote(), want.escape_ascii().to_string());
}

#[test]
fn replies_out_of_order_where_it_can() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[ttheader(1, "a", 5, HI), ttheader(1, "b", 6, HI)].concat());
    peer.reply(1);
    peer.reply(0);
    let want = [ttheader(2, "b", 6, HI), ttheader(2, "a", 5, HI)].concat();
    assert_eq!(peer.wrote(), want.escape_ascii().to_string());
    // Two calls with one number cannot be told apart but by their order.
    peer.feed(&[ttheader(1, "a", 5, HI), ttheader(1, "b", 5, HI)].concat());
    assert!(peer.wire.ready(StreamId(0)) && !peer.wire.ready(StreamId(1)));
}

#[test]
fn a_reply_that_is_being_written_is_written_whole() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[ttheader(1, "a", 5, HI), ttheader(1, "b", 6, HI)].concat());
    peer.head(1, &status(200, Encoding::Binary, HI.len()), false).unwrap();
    assert_eq!(peer.push(1, &HI[..4], false), Ok(4));
    assert!(!peer.wire.ready(StreamId(0)) && peer.wire.ready(StreamId(1)));
    assert_eq!(peer.push(1, &[&HI[4..], b"more"].concat(), true), Ok(6), "not beyond its length");
    assert!(peer.wire.ready(StreamId(0)));
    peer.head(0, &status(200, Encoding::Binary, HI.len()), false).unwrap();
    assert_eq!(peer.push(0, &HI[..4], false), Ok(4));
    peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
    assert!(peer.is_closing(), "half a frame cannot be taken back");
    peer.feed(&ttheader(1, "c", 7, HI));
    peer.wrote();
    peer.release(0);
    assert_eq!(peer.wrote(), "", "nothing comes behind the half that was written");
}

#[test]
fn a_reply_that_is_broken_off_ends_the_other_calls() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(
        &[ttheader(1, "a", 5, HI), ttheader(1, "b", 6, HI), ttheader(4, "c", 7, HI)].concat(),
    );
    peer.head(0, &status(200, Encoding::Binary, HI.len()), false).unwrap();
    assert_eq!(peer.push(0, &HI[..4], false), Ok(4));
    assert!(peer.wire.ready(StreamId(2)), "nothing is written for a oneway");
    peer.said();
    peer.release(0);
    assert_eq!(peer.said(), "1 reset cancelled");
    assert!(peer.is_closing());
    assert_eq!(peer.sides().read, ReadSide::Done);
    assert!(peer.wire.ready(StreamId(2)), "a oneway waits for nobody");
    peer.head(2, &local(200, ""), true).unwrap();
}

#[test]
fn a_oneway_that_is_done_does_not_free_the_line() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(
        &[ttheader(1, "a", 5, HI), ttheader(4, "b", 6, HI), ttheader(1, "c", 7, HI)].concat(),
    );
    peer.head(0, &status(200, Encoding::Binary, HI.len()), false).unwrap();
    peer.head(1, &local(200, ""), true).unwrap();
    assert!(!peer.wire.ready(StreamId(2)));
}

#[test]
fn a_service_of_discovery_is_not_made_one_of_the_idl() {
    let heard = |fields: &[(&str, &str)]| {
        let mut peer = Peer::client(TTHEADER);
        let mut head = request("CALL", "/svc/a", Encoding::Binary);
        fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
        let key = peer.wire.open().unwrap().0;
        peer.send(key, &head, HI).unwrap();
        peer.wrote().contains("isn")
    };
    assert!(heard(&[]));
    assert!(!heard(&[("tt-int-6", "svc")]));
    assert!(heard(&[("tt-int-6", "other")]));
}

#[test]
fn requests_that_are_refused() {
    let spec = WireSpec { thrift_depth_max: 8, ..WireSpec::default() };
    let refused = |input: &[u8]| server_says(input, &spec);
    let garbage = framed(1, "echo", 1, &[HI, b"garbage"].concat());
    assert!(refused(&garbage).ends_with("\nfault thrift_frame_garbage"));
    let hidden = framed(1, "echo", 1, &[HI, &message(1, "admin", 2, HI)].concat());
    assert!(refused(&hidden).ends_with("\nfault thrift_frame_garbage"), "nothing hides");
    let short = framed(1, "echo", 1, &HI[..6]);
    assert!(refused(&short).ends_with("\nfault thrift_struct_truncated"));
    let deep = framed(1, "echo", 1, &b"\x0c\0\x01".repeat(10));
    assert!(refused(&deep).ends_with("\nfault thrift_too_deep"));
    let negative = framed(1, "echo", 1, b"\x0b\0\x01\xff\xff\xff\xff\0");
    assert!(refused(&negative).ends_with("\nfault bad_thrift_struct"));
    assert_eq!(refused(b"\x7f\xff\xff\xff\x80\x01\0\x01"), "fault unknown_protocol");
    assert_eq!(refused(b"\x3f\xff\xff\xff\x80\x01\0\x01"), "fault thrift_frame_too_large");
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), "fault protocol_not_allowed");
    assert_eq!(refused(&framed(2, "echo", 1, HI)), "fault unexpected_thrift_message");
    assert_eq!(
        refused(b"\0\0\0\x0d\x80\x01\0\x01\0\0\0\x04echo\0\0\0\0"),
        "fault bad_thrift_frame"
    );
    let mut second = [framed(1, "echo", 1, HI), ttheader(1, "echo", 2, HI)].concat();
    assert!(refused(&second).ends_with("\nfault bad_thrift_message"));
    second = [ttheader(1, "echo", 1, HI), framed(1, "echo", 2, HI)].concat();
    assert!(refused(&second).ends_with("\nfault bad_ttheader"));
    let mut unframed_inside = ttheader(1, "echo", 2, HI);
    unframed_inside.drain(18..22);
    unframed_inside[3] -= 4;
    second = [ttheader(1, "echo", 1, HI), unframed_inside].concat();
    assert!(refused(&second).ends_with("\nfault dialect_changed"));
    let unframed = [message(1, "echo", 1, HI), b"garbage".to_vec()].concat();
    assert!(refused(&unframed).ends_with("\nfault bad_thrift_message"));
}

#[test]
fn a_caller_hears_what_was_wrong_with_its_message() {
    let bad = framed(1, "echo", 9, &[HI, b"garbage"].concat());
    let payload = b"\x0b\0\x01\0\0\0\x14thrift_frame_garbage\x08\0\x02\0\0\0\x07\0";
    let (said, wrote) = server_writes(&bad);
    assert!(said.ends_with("fault thrift_frame_garbage"));
    assert_eq!(wrote, framed(3, "echo", 9, payload).escape_ascii().to_string());
    // Not in the place of an older answer, and not for a oneway.
    let (_, wrote) = server_writes(&[framed(1, "a", 8, HI), bad].concat());
    assert_eq!(wrote, "");
    let (_, wrote) = server_writes(&framed(4, "fire", 9, b"\x01"));
    assert_eq!(wrote, "");
}

#[test]
fn a_lax_message_is_judged_by_its_type_as_soon_as_it_is_there() {
    let spec = WireSpec { thrift_lax: true, ..WireSpec::default() };
    let call = b"\0\0\0\x04echo\x01\0\0\0\0\x0c\0\x01\0\0";
    let said = server_says(&[&call[..], b"\0\0\0\0\x29"].concat(), &spec);
    assert!(said.ends_with("0 end\nfault bad_thrift_message"), "{said}");
}

#[test]
fn an_unframed_struct_has_a_bound() {
    let spec = WireSpec { thrift_frame_bytes_max: 20, ..WireSpec::default() };
    let fits = message(1, "e", 1, b"\x0b\0\x01\0\0\0\x0c0123456789ab\0");
    assert!(server_says(&fits, &spec).contains(" end"));
    let long = message(1, "e", 1, b"\x0b\0\x01\0\0\0\x0e0123456789abcd\0");
    assert!(server_says(&long, &spec).ends_with("\nfault thrift_frame_too_large"));
}

#[test]
fn replies_that_end_the_connection() {
    let says = |input: &[u8]| client_says(FRAMED, input);
    assert!(says(&framed(2, "echo", 1, HI)).ends_with("\n0 end"));
    assert!(says(&framed(3, "", 1, HI)).starts_with("0 500"), "an exception without a name");
    assert!(says(&framed(3, "echo", 0, HI)).starts_with("0 500"), "the only call there is");
    assert_eq!(says(&framed(2, "echo", 0, HI)), "fault unknown_seqid");
    assert_eq!(says(&framed(2, "echo", 2, HI)), "fault unknown_seqid");
    assert_eq!(says(&framed(2, "other", 1, HI)), "fault reply_name_mismatch");
    assert_eq!(says(&framed(1, "echo", 1, HI)), "fault unexpected_thrift_message");
    let twice = [framed(2, "echo", 1, HI), framed(2, "echo", 1, HI)].concat();
    assert!(says(&twice).ends_with("\nfault unknown_seqid"));
    let garbage = [framed(2, "echo", 1, HI), b"garbage".to_vec()].concat();
    assert!(says(&garbage).ends_with("\nfault thrift_frame_too_large"));
    // What volo answers to what it cannot decode, whatever the client speaks.
    assert_eq!(says(&message(3, "", 0, HI)), "fault thrift_frame_too_large");
}

#[test]
fn a_header_and_its_message_are_of_one_call() {
    let reply = |outer: i32, inner| {
        let mut reply = ttheader(2, "echo", inner, HI);
        reply[8..12].copy_from_slice(&outer.to_be_bytes());
        client_says(TTHEADER, &reply)
    };
    assert!(reply(1, 1).ends_with("\n0 end"));
    assert!(reply(0, 1).ends_with("\n0 end"), "some peers do not write the one");
    assert!(reply(1, 0).ends_with("\n0 end"), "or the other");
    assert_eq!(reply(2, 1), "fault seqid_mismatch");
    assert_eq!(reply(2, 2), "fault unknown_seqid");
}

#[test]
fn a_oneway_is_answered_here_and_by_nobody_else() {
    let mut peer = Peer::client(FRAMED);
    peer.ask("ONEWAY", "/-/fire");
    assert_eq!(peer.wrote(), framed(4, "fire", 1, HI).escape_ascii().to_string());
    assert_eq!(peer.said(), "0 200 \n0 end");
    peer.release(0);
    peer.ask("CALL", "/-/ping");
    peer.feed(&framed(2, "fire", 1, HI));
    assert_eq!(peer.said(), "fault reply_to_oneway");
}

#[test]
fn replies_of_real_servers() {
    // Node counts from 1, as this client does.
    for (prefix, dialect) in [("node_framed", FRAMED), ("node_buffered", UNFRAMED)] {
        let (_, bytes) = files(&format!("{prefix}_session_s2c")).remove(0);
        let said = every_cut(&bytes, |pieces| {
            let mut peer = Peer::client(dialect);
            for method in ["echo", "echo", "echo", "ping"] {
                peer.ask("CALL", &format!("/-/{method}"));
            }
            pieces.iter().for_each(|piece| peer.feed(piece));
            peer.said()
        });
        assert!(said.contains(" 200 ") && !said.contains("unknown_seqid"), "{said}");
    }
    // Volo answers the second call first.
    let (_, bytes) = files("volo_ttheader_mux_ooo_s2c").remove(0);
    let mut renumbered = bytes.clone();
    let mut at = 0;
    while at < bytes.len() {
        let len = 4 + u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let frame = &mut renumbered[at..at + len];
        frame[11] += 1;
        let name = frame.windows(8).position(|eight| eight[..3] == [0x80, 1, 0]).unwrap();
        frame[name + 8 + frame[name + 7] as usize + 3] += 1;
        at += len;
    }
    let said = every_cut(&renumbered, |pieces| {
        let mut peer = Peer::client(TTHEADER);
        peer.ask("CALL", "/Echo/echo");
        peer.ask("CALL", "/Echo/echo");
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    });
    let ends: Vec<_> = said.lines().filter(|line| line.ends_with(" end")).collect();
    assert_eq!(ends, ["1 end", "0 end"], "{said}");
}

#[test]
fn a_call_that_was_given_up_leaves_its_number() {
    let mut peer = Peer::client(FRAMED);
    let (lost, kept) = (peer.ask("CALL", "/-/a"), peer.ask("CALL", "/-/b"));
    peer.release(lost);
    peer.feed(&[framed(2, "a", 1, HI), framed(2, "b", 2, HI)].concat());
    assert_eq!(peer.said().matches(" end").count(), 1, "the late reply is swallowed");
    peer.release(kept);
    assert_eq!(peer.failed, None);
    // A reply that comes while its call is given up is swallowed to its end.
    let key = peer.ask("CALL", "/-/c");
    let reply = framed(2, "c", 3, HI);
    peer.feed(&reply[..22]);
    peer.release(key);
    peer.feed(&reply[22..]);
    assert!(peer.ask("CALL", "/-/d") == 0 && peer.failed.is_none());
    // A tombstone that stays ends new calls.
    peer.release(0);
    peer.sleep(Duration::from_secs(29));
    peer.said();
    peer.sleep(Duration::from_secs(1));
    assert_eq!((peer.said().as_str(), peer.wire.open()), ("closing", None));
}

#[test]
fn a_link_of_one_call_at_a_time_ends_with_a_call_that_was_given_up() {
    let mut peer = Peer::new(crate::Role::Client, Some(FRAMED), WireSpec::default());
    peer.ask("CALL", "/-/a");
    assert_eq!(peer.wire.open(), None);
    peer.feed(&framed(2, "a", 1, HI));
    peer.release(0);
    peer.ask("CALL", "/-/b");
    peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
    assert!(peer.is_closing());
}

#[test]
fn a_request_that_cannot_be_framed_is_not_begun() {
    let mut peer = Peer::client(FRAMED);
    let key = peer.wire.open().unwrap().0;
    let mut head = request("CALL", "/-/a", Encoding::Binary);
    head.set_length(crate::Length::Unknown);
    assert!(peer.head(key, &head, false).is_err());
    assert!(peer.head(key, &request("CALL", "/-/a", Encoding::Compact), false).is_err());
    assert!(peer.head(key, &request("CALL", "/a", Encoding::Binary), false).is_err());
    assert!(peer.head(key, &request("CALL", "/-/a", Encoding::Binary), true).is_err());
    assert_eq!((peer.wrote(), peer.is_closing()), (String::new(), false));
    peer.send(key, &request("CALL", "/-/a", Encoding::Binary), HI).unwrap();
}

#[test]
fn a_server_that_closes_says_so() {
    let mut control = ttheader(2, "none", 0, b"\0");
    let pair = b"\x01\0\x01\0\x05crrst\0\x011\0";
    control.splice(16..18, pair.iter().copied());
    control[13] = 4;
    control[3] += 12;
    assert_eq!(files("ttheader_control").len(), 1);
    for bytes in [control, files("ttheader_control").remove(0).1] {
        let said = every_cut(&bytes, |pieces| {
            let mut peer = Peer::client(TTHEADER);
            peer.ask("CALL", "/Echo/echo");
            pieces.iter().for_each(|piece| peer.feed(piece));
            assert_eq!(peer.wire.open(), None);
            peer.feed(&ttheader(2, "echo", 1, HI));
            let said = peer.said();
            peer.release(0);
            assert!(peer.is_closing());
            said
        });
        assert!(said.starts_with("closing\n0 200") && said.ends_with("0 end"), "{said}");
    }
}

#[test]
fn a_drain_ends_with_the_next_reply() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&ttheader(1, "echo", 1, HI));
    peer.with(|wire, cx| wire.drain(false, cx));
    peer.reply(0);
    assert!(peer.wrote().contains("crrst") && peer.is_closing());
    let mut peer = Peer::server(WireSpec::default());
    peer.with(|wire, cx| wire.drain(false, cx));
    assert!(!peer.is_closing(), "its next call is on its way, perhaps");
    peer.with(|wire, cx| wire.drain(true, cx));
    assert!(peer.is_closing());
    let spec = WireSpec { requests_per_connection_max: Some(1), ..WireSpec::default() };
    let mut peer = Peer::server(spec);
    peer.feed(&framed(1, "echo", 1, HI));
    peer.reply(0);
    assert!(peer.is_closing());
}

#[test]
fn calls_are_bounded_and_the_rest_is_held() {
    let spec = WireSpec { thrift_calls_max: 2, ..WireSpec::default() };
    let mut peer = Peer::server(spec);
    let calls: Vec<u8> = (0..5).flat_map(|n| framed(1, "echo", n, HI)).collect();
    peer.feed(&calls);
    assert_eq!(peer.said().matches(" end").count(), 2);
    assert_eq!(peer.sides().read, ReadSide::Hold);
    peer.reply(0);
    assert_eq!(peer.said().matches(" end").count(), 1);
    peer.reply(1);
    peer.reply(0);
    peer.reply(1);
    assert_eq!(peer.sides().read, ReadSide::Open);
}

#[test]
fn pairs_that_persist_are_of_every_later_message() {
    let call = |persistent: bool, seqid| {
        let mut out = Vec::new();
        let mut writer = super::theader::Writer::new(0, seqid, 0, false, &mut out);
        if persistent {
            let (key, value) = (&b"who"[..], &b"me"[..]);
            writer.push(super::theader::Pair { key, value, is_persistent: true });
        }
        let message = message(1, "echo", seqid as i32, HI);
        assert!(writer.finish(message.len() as u32));
        [out, message].concat()
    };
    let said = server_says(&[call(true, 1), call(false, 2)].concat(), &WireSpec::default());
    assert_eq!(said.matches("| who: me |").count(), 2, "{said}");
    let spec = WireSpec { thrift_keys_max: 0, ..WireSpec::default() };
    assert_eq!(server_says(&call(true, 1), &spec), "fault too_many_fields");
}

#[test]
fn the_end_of_the_connection() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[framed(1, "a", 1, HI), framed(4, "fire", 2, HI)].concat());
    peer.feed(&framed(1, "b", 3, HI)[..25]);
    peer.said();
    peer.eof();
    assert_eq!(peer.said(), "0 reset cancelled\n2 reset body_truncated");
    assert!(!peer.is_closing(), "the oneway is still under way");
    peer.head(1, &local(200, ""), true).unwrap();
    peer.release(1);
    assert!(peer.is_closing());

    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&framed(1, "a", 1, HI)[..9]);
    peer.eof();
    assert_eq!(peer.said(), "fault head_truncated");

    let mut peer = Peer::client(FRAMED);
    peer.ask("CALL", "/-/a");
    peer.ask("CALL", "/-/b");
    peer.wire.open().unwrap();
    peer.feed(&framed(2, "b", 2, HI)[..25]);
    peer.said();
    peer.eof();
    let said = "0 reset closed_before_reply\n1 reset body_truncated\n\
                2 reset closed_before_reply unprocessed";
    assert_eq!(peer.said(), said);
    assert!(peer.is_closing());
}

#[test]
fn slow_peers_and_silent_ones() {
    let spec = WireSpec::default();
    let mut peer = Peer::server(spec.clone());
    peer.feed(&framed(1, "a", 1, HI)[..9]);
    peer.sleep(spec.head_timeout);
    assert_eq!(peer.said(), "fault head_timeout");

    let mut peer = Peer::server(spec.clone());
    peer.feed(&framed(1, "a", 1, HI)[..25]);
    peer.said();
    peer.sleep(spec.body_grace + Duration::from_secs(1));
    assert_eq!(peer.said(), "fault body_too_slow");
    assert!(peer.wrote().contains("body_too_slow"), "the caller hears it");

    let mut peer = Peer::server(spec.clone());
    peer.feed(&framed(1, "a", 1, HI));
    peer.sleep(spec.idle_timeout * 2);
    assert!(!peer.is_closing(), "a call is open");
    peer.reply(0);
    peer.sleep(spec.idle_timeout);
    assert!(peer.is_closing() && peer.failed.is_none());

    let mut peer = Peer::client(THEADER);
    peer.sleep(spec.link_idle_timeout);
    assert!(peer.is_closing());
}

#[test]
fn a_connection_whose_call_is_still_read_is_not_idle() {
    let spec = WireSpec { idle_timeout: Duration::from_secs(3), ..WireSpec::default() };
    let mut peer = Peer::server(spec.clone());
    let oneway = framed(4, "fire", 1, HI);
    let (begun, rest) = oneway.split_at(oneway.len() - 1);
    peer.feed(begun);
    peer.release(0);
    peer.sleep(spec.idle_timeout + Duration::from_secs(1));
    assert!(!peer.is_closing(), "nobody wants it, but it is on its way");
    peer.feed(rest);
    peer.sleep(spec.idle_timeout - Duration::from_secs(1));
    assert!(!peer.is_closing(), "idle since its last byte");
    peer.sleep(Duration::from_secs(1));
    assert!(peer.is_closing() && peer.failed.is_none());
}

//! End to end: several calls of Thrift under way at a time, on a caller's connection and on links
//! that callers share. The upstream's calls come to the test, which answers them in its own order.
#![forbid(unsafe_code)]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use support::thrift::{
    CALL, EMPTY, EXCEPTION, ONEWAY, REPLY, Servant, Waiting, call, exception, frame, framed,
    message, text, ttheader,
};
use support::{Client, Folder, Gateway, Origin, Setup, until};

const FRAMED: &str = "{}";
const SHARED: &str = "{transport: ttheader, calls_max: 64}";

/// One shard, so that there is one link where calls share it.
fn start(servant: &Servant, dialect: &str) -> Gateway {
    start_with(servant, dialect, "1", "10s")
}

fn start_with(servant: &Servant, dialect: &str, shards: &str, timeout: &str) -> Gateway {
    start_before(&servant.origin, dialect, shards, timeout)
}

fn start_before(origin: &Origin, dialect: &str, shards: &str, timeout: &str) -> Gateway {
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', protocols: [thrift]}}]\n\
         clusters: {{c: {{protocol: thrift, thrift: {dialect}, endpoints: ['{}']}}}}\n\
         routes: [{{id: r, cluster: c, match: {{path: '/*'}}, timeout: {timeout}}}]\n",
        origin.address
    );
    let folder = Folder::new();
    Setup::config(&folder.write("ringway.yaml", config)).flag("--shards", shards).start()
}

/// A framed caller of each name, each with a call under way.
fn callers(gateway: &Gateway, names: &[&str]) -> Vec<Client> {
    let begin = |name: &&str| {
        let mut client = Client::connect(gateway.address);
        client.send(call(name, 7, &text(name)));
        client
    };
    names.iter().map(begin).collect()
}

fn late(gateway: &Gateway) -> f64 {
    gateway.metric("ringway_thrift_late_replies_total")
}

/// Connections that 64 callers at a time need, each with a call that is answered only when all of
/// them are under way.
fn connections_of_64(dialect: &str) -> usize {
    let servant = Servant::start();
    let gateway = start_with(&servant, dialect, "2", "60s");
    let names: Vec<String> = (10..74).map(|number| format!("call_{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut clients = callers(&gateway, &names);
    let mut calls = servant.gather(names.len());
    calls.reverse();
    for waiting in &calls {
        assert_eq!(waiting.payload, text(&waiting.name));
        waiting.answer(&text(&format!("to {}", waiting.name)));
    }
    for (name, client) in names.iter().zip(&mut clients) {
        assert_eq!(frame(client), message(REPLY, name, 7, &text(&format!("to {name}"))));
    }
    servant.origin.connections()
}

#[test]
fn callers_share_the_links_of_a_server_that_answers_by_number() {
    let (framed, shared) = (connections_of_64(FRAMED), connections_of_64(SHARED));
    assert_eq!(framed, 64, "one call at a time on each");
    assert!(shared * 8 <= framed, "{shared} of {framed}");
}

#[test]
fn replies_are_told_apart_by_number_whatever_their_order() {
    let servant = Servant::start();
    for dialect in ["{calls_max: 3}", "{transport: ttheader, calls_max: 3}"] {
        let gateway = start(&servant, dialect);
        let before = servant.origin.connections();
        let names = ["a", "b", "c"];
        let mut clients = callers(&gateway, &names);
        let calls = servant.gather(3);
        for index in [2, 0, 1] {
            calls[index].answer(&text(names[index]));
            let expected = message(REPLY, names[index], 7, &text(names[index]));
            assert_eq!(frame(&mut clients[index]), expected, "{dialect}");
        }
        assert_eq!(servant.origin.connections() - before, 1, "{dialect}");
    }
}

/// What a link cannot take goes to another one.
#[test]
fn a_full_link_is_not_asked_more() {
    let servant = Servant::start();
    let gateway = start(&servant, "{transport: ttheader, calls_max: 2}");
    let mut clients = callers(&gateway, &["a", "b", "c", "d", "e"]);
    let calls = servant.gather(5);
    assert_eq!(servant.origin.connections(), 3);
    calls.iter().for_each(|waiting| waiting.answer(EMPTY));
    for client in &mut clients {
        frame(client);
    }
    let again = callers(&gateway, &["a", "b", "c", "d", "e", "f"]);
    servant.gather(6);
    assert_eq!(servant.origin.connections(), 3, "each takes two again");
    drop(again);
}

#[test]
fn a_oneway_takes_no_place() {
    let servant = Servant::start();
    let gateway = start(&servant, "{transport: ttheader, calls_max: 1}");
    let mut client = Client::connect(gateway.address);
    for name in ["a", "b", "c"] {
        client.send(framed(&message(ONEWAY, name, 1, EMPTY)));
    }
    client.send(call("d", 2, EMPTY));
    let calls = servant.gather(4);
    assert!(calls[..3].iter().all(|waiting| waiting.kind == ONEWAY));
    calls[3].answer(EMPTY);
    assert_eq!(frame(&mut client), message(REPLY, "d", 2, EMPTY));
}

#[test]
fn a_call_that_is_given_up_leaves_its_link_to_the_others() {
    let servant = Servant::start();
    let gateway = start_with(&servant, SHARED, "1", "300ms");
    let mut slow = callers(&gateway, &["slow"]);
    let lost = servant.next();
    assert_eq!(
        frame(&mut slow[0]),
        message(EXCEPTION, "slow", 7, &exception("request_timeout", 6))
    );
    let gone = callers(&gateway, &["gone"]);
    let left = servant.next();
    drop(gone);
    until("the caller is known to be gone", || {
        gateway.metric("http_server_active_requests") == 0.0
    });
    let mut clients = callers(&gateway, &["kept"]);
    let kept = servant.next();
    lost.answer(EMPTY);
    left.answer(&text("nobody waits"));
    kept.answer(&text("kept"));
    assert_eq!(frame(&mut clients[0]), message(REPLY, "kept", 7, &text("kept")));
    assert_eq!(servant.origin.connections(), 1);
    assert_eq!(late(&gateway), 2.0);
}

/// What a server does to a link, and the word for each call that was under way.
type Break = (&'static str, fn(&Waiting) -> Vec<u8>, &'static str);

const BREAKS: &[Break] = &[
    ("an unknown number", |waiting| waiting.reply(9999, EMPTY), "upstream_protocol_error"),
    ("garbage", |_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "upstream_protocol_error"),
    (
        "another call's name",
        |waiting| ttheader(REPLY, "other", waiting.seqid, EMPTY),
        "upstream_protocol_error",
    ),
    (
        "no number",
        |waiting| ttheader(EXCEPTION, &waiting.name, 0, EMPTY),
        "upstream_protocol_error",
    ),
    (
        "bytes behind the struct",
        |waiting| waiting.reply(waiting.seqid, b"\0garbage"),
        "upstream_protocol_error",
    ),
];

#[test]
fn a_broken_link_is_a_definite_end_of_all_its_calls() {
    let servant = Servant::start();
    let gateway = start(&servant, SHARED);
    for (count, (what, said, word)) in BREAKS.iter().enumerate() {
        let names = ["a", "b", "c"];
        let mut clients = callers(&gateway, &names);
        let calls = servant.gather(3);
        assert_eq!(servant.origin.connections(), count + 1, "{what}: on a link of its own");
        calls[1].write(&said(&calls[1]));
        for (name, client) in names.iter().zip(&mut clients) {
            let expected = message(EXCEPTION, name, 7, &exception(word, 6));
            // The reply that is broken behind its struct has begun, or not, when that is seen.
            let is_begun = what.starts_with("bytes") && *name == "b";
            assert!(is_begun || frame(client) == expected, "{what}: {name}");
        }
        let log = gateway.log(3 * (count + 1));
        assert!(log[3 * count..].iter().any(|line| line["reason"] == *word), "{what}");
    }
}

#[test]
fn an_answered_oneway_ends_a_shared_link() {
    let servant = Servant::start();
    let gateway = start(&servant, SHARED);
    let mut clients = callers(&gateway, &["a"]);
    servant.next();
    let mut other = Client::connect(gateway.address);
    other.send(framed(&message(ONEWAY, "fire", 3, EMPTY)));
    servant.next().answer(EMPTY);
    let expected = message(EXCEPTION, "a", 7, &exception("upstream_protocol_error", 6));
    assert_eq!(frame(&mut clients[0]), expected);
    other.send(call("b", 4, EMPTY));
    servant.next().answer(EMPTY);
    assert_eq!(frame(&mut other), message(REPLY, "b", 4, EMPTY));
    assert_eq!(servant.origin.connections(), 2);
}

/// A framed caller cannot match replies by number in general: it gets them in its own order. One of
/// TTHeader gets each as it comes.
#[test]
fn pipelined_calls_are_answered_in_the_order_that_their_dialect_has() {
    let servant = Servant::start();
    let gateway = start(&servant, SHARED);
    let names = ["a", "b", "c", "d"];
    let pipeline = |write: fn(u8, &str, u32, &[u8]) -> Vec<u8>| {
        let calls = names.iter().zip(1..).map(|(name, seqid)| write(CALL, name, seqid, EMPTY));
        let mut client = Client::connect(gateway.address);
        client.send(calls.collect::<Vec<_>>().concat());
        let calls = servant.gather(names.len());
        calls.iter().rev().for_each(|waiting| waiting.answer(&text(&waiting.name)));
        client
    };
    let mut client =
        pipeline(|kind, name, seqid, payload| framed(&message(kind, name, seqid, payload)));
    for (name, seqid) in names.iter().zip(1..) {
        assert_eq!(frame(&mut client), message(REPLY, name, seqid, &text(name)));
    }
    let mut client = pipeline(ttheader);
    for (name, seqid) in names.iter().rev().zip([4, 3, 2, 1]) {
        assert_eq!(frame(&mut client), ttheader(REPLY, name, seqid, &text(name))[4..]);
    }
    assert_eq!(servant.origin.connections(), 1);
}

/// What the first caller does not take holds up neither the others of its link nor its place.
#[test]
fn a_slow_reader_holds_up_nobody_on_its_link() {
    let servant = Servant::start();
    let gateway = start(&servant, SHARED);
    let mut clients = callers(&gateway, &["a", "b"]);
    let calls = servant.gather(2);
    let long = text(&"x".repeat(8 * 1024 * 1024));
    calls[0].answer(&long);
    calls[1].answer(&text("b"));
    assert_eq!(frame(&mut clients[1]), message(REPLY, "b", 7, &text("b")));
    assert!(frame(&mut clients[0]) == message(REPLY, "a", 7, &long), "all of it comes");
    assert_eq!(servant.origin.connections(), 1);
}

/// A server that answers a call before it has all of it, as it may one that it knows by the name
/// alone. On a link of its own the call's rest is nobody's any more.
#[test]
fn an_early_reply_reaches_its_caller_and_ends_the_link() {
    let origin = Origin::start(|mut accepted| {
        let Some(begin) = accepted.read_exactly(16) else { return };
        let reply = match &begin[12..] {
            b"long" => call_of(EXCEPTION, "long", &exception("never heard of it", 1)),
            name => call_of(REPLY, std::str::from_utf8(name).expect("a name"), EMPTY),
        };
        accepted.write(&reply);
        accepted.drain();
    });
    let gateway = start_before(&origin, FRAMED, "1", "60s");
    let mut client = Client::connect(gateway.address);
    let long = call("long", 7, &text(&"x".repeat(200_000)));
    client.send(&long[..100_000]);
    let expected = message(EXCEPTION, "long", 7, &exception("never heard of it", 1));
    assert_eq!(frame(&mut client), expected);
    client.send(&long[100_000..]);
    client.send(call("next", 8, EMPTY));
    assert_eq!(frame(&mut client), message(REPLY, "next", 8, EMPTY));
    assert_eq!(origin.connections(), 2);
    let log = gateway.log(2);
    assert!(log.iter().all(|line| line["reason"].is_null()), "{log:?}");
}

/// The first number that the gateway gives to a call of a link.
fn call_of(kind: u8, name: &str, payload: &[u8]) -> Vec<u8> {
    framed(&message(kind, name, 1, payload))
}

/// Answers `long` as it begins, takes its rest when told to, and then answers `old_` on the same
/// link; `next` on another.
fn hasty() -> (Origin, SyncSender<()>) {
    let (go_on, wait) = sync_channel::<()>(1);
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut accepted| {
        let Some(first) = accepted.read_exactly(4) else { return };
        let first = accepted.read_exactly(length(&first)).expect("a call");
        if !first.windows(4).any(|name| name == b"old_") {
            accepted.write(&ttheader(REPLY, "next", 1, EMPTY));
            return accepted.drain();
        }
        let long = accepted.read_exactly(4).expect("a second call");
        accepted.read_exactly(1000).expect("its beginning");
        accepted.write(&ttheader(REPLY, "long", 2, &text("early")));
        let told = wait.lock().expect("no thread panicked").recv();
        if told.is_ok() {
            accepted.read_exactly(length(&long) - 1000).expect("the rest of it");
            accepted.write(&ttheader(REPLY, "old_", 1, EMPTY));
        }
        accepted.drain();
    });
    (origin, go_on)
}

/// A caller that waits for `old_`, and one that has the early reply to `long`.
fn early(gateway: &Gateway, origin: &Origin) -> (Client, Client) {
    let old = callers(gateway, &["old_"]).remove(0);
    until("the first call went out", || !origin.received().is_empty());
    let mut client = Client::connect(gateway.address);
    client.send(call("long", 7, &text(&"x".repeat(LONG))));
    assert_eq!(frame(&mut client), message(REPLY, "long", 7, &text("early")));
    (old, client)
}

/// On a link that others share the rest still goes out, so that they get their replies.
#[test]
fn an_early_reply_leaves_a_shared_link_to_those_that_wait() {
    let (origin, go_on) = hasty();
    let gateway = start_before(&origin, SHARED, "1", "60s");
    let (mut old, mut client) = early(&gateway, &origin);
    assert_eq!(gateway.metric("http_server_active_requests"), 2.0, "its rest is still to go");
    go_on.send(()).expect("the origin waits");
    assert_eq!(frame(&mut old), message(REPLY, "old_", 7, EMPTY));
    assert_eq!(origin.connections(), 1);
    client.send(call("next", 8, EMPTY));
    assert_eq!(frame(&mut client), message(REPLY, "next", 8, EMPTY));
    assert_eq!(origin.connections(), 2, "what answers early gets no more calls");
}

/// It is waited for within the call's time, and then the link ends.
#[test]
fn a_server_that_answers_early_and_reads_no_more_is_left() {
    let (origin, _never) = hasty();
    let gateway = start_before(&origin, SHARED, "1", "900ms");
    let (mut old, mut client) = early(&gateway, &origin);
    assert_eq!(frame(&mut old)[3], EXCEPTION);
    until("the rest is given up", || gateway.metric("http_server_active_requests") == 0.0);
    client.send(call("next", 8, EMPTY));
    assert_eq!(frame(&mut client), message(REPLY, "next", 8, EMPTY));
    let log = gateway.log(3);
    let long = log.iter().find(|line| line["target"] == "/-/long").expect("its line");
    assert_eq!((&long["status"], &long["reason"]), (&200.into(), &"request_timeout".into()));
}

fn length(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes.try_into().expect("four bytes")) as usize
}

/// More than sockets and send queues hold on the way.
const LONG: usize = 12 * 1024 * 1024;

/// Half a call reaches no link: the other callers' go out before it.
#[test]
fn a_slow_writer_holds_up_nobody_on_its_link() {
    let servant = Servant::start();
    let gateway = start(&servant, SHARED);
    let long = text(&"x".repeat(200_000));
    let slow = call("slow", 1, &long);
    let mut client = Client::connect(gateway.address);
    client.send(&slow[..100_000]);
    until("its call has begun", || gateway.metric("http_server_active_requests") == 1.0);
    let mut clients = callers(&gateway, &["fast"]);
    let fast = servant.next();
    assert_eq!(fast.name, "fast");
    fast.answer(EMPTY);
    frame(&mut clients[0]);
    client.send(&slow[100_000..]);
    let waiting = servant.next();
    assert!(waiting.payload == long, "all of it came");
    waiting.answer(EMPTY);
    assert_eq!(frame(&mut client), message(REPLY, "slow", 1, EMPTY));
    assert_eq!(servant.origin.connections(), 1);
}

/// A caller has so many calls at a time; the rest is not read until some are over.
#[test]
fn calls_of_one_caller_are_bounded() {
    let servant = Servant::start();
    let gateway = start(&servant, "{transport: ttheader, calls_max: 1000}");
    let mut client = Client::connect(gateway.address);
    let calls: Vec<Vec<u8>> =
        (1..=200).map(|seqid| ttheader(CALL, &format!("n{seqid:03}"), seqid, EMPTY)).collect();
    client.send(calls.concat());
    let first = servant.gather(128);
    assert_eq!(gateway.metric("http_server_active_requests"), 128.0);
    first.iter().for_each(|waiting| waiting.answer(EMPTY));
    let rest = servant.gather(72);
    rest.iter().for_each(|waiting| waiting.answer(EMPTY));
    let mut answered: Vec<Vec<u8>> = calls.iter().map(|_| frame(&mut client)).collect();
    answered.sort();
    let expected = (1..=200).map(|seqid| ttheader(REPLY, &format!("n{seqid:03}"), seqid, EMPTY));
    assert!(answered == expected.map(|reply| reply[4..].to_vec()).collect::<Vec<_>>());
}

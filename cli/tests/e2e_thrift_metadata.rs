//! End to end: what of a caller's metadata reaches a server of Thrift, by whom it comes and in
//! which header. Callers are what other implementations wrote, byte for byte, or made here.
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use support::{Client, Folder, Gateway, Origin, Setup};

/// The pairs of a header, numbers as decimal text.
type Pairs = BTreeMap<String, String>;

const TTHEADER: u16 = 0x1000;
const THEADER: u16 = 0x0fff;
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Bytes that are read from their start.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken.to_vec()
    }

    fn u16(&mut self) -> usize {
        usize::from(u16::from_be_bytes(self.take(2).try_into().expect("two bytes")))
    }

    /// A number below 128, which is all that these headers have.
    fn small(&mut self) -> usize {
        let byte = self.take(1)[0];
        assert!(byte < 128, "a longer number");
        usize::from(byte)
    }

    fn text(&mut self, len: usize) -> String {
        String::from_utf8(self.take(len)).expect("text")
    }
}

/// The pairs of a frame behind its length, and its payload.
fn read(frame: &[u8]) -> (Pairs, Vec<u8>) {
    let mut cursor = Cursor(frame);
    let (magic, _) = (cursor.u16(), cursor.take(6));
    let header = cursor.u16() * 4;
    let header = cursor.take(header);
    let mut blocks = Cursor(&header[2..]);
    let mut pairs = Pairs::new();
    while !blocks.0.is_empty() {
        let block = blocks.small();
        let is_wide = magic == usize::from(TTHEADER);
        if block == 0x11 {
            let len = blocks.u16();
            pairs.insert("token".to_owned(), blocks.text(len));
        } else if block > 0 {
            let count = if is_wide { blocks.u16() } else { blocks.small() };
            for _ in 0..count {
                let (key, value) = read_pair(&mut blocks, block == 0x10, is_wide);
                pairs.insert(key, value);
            }
        }
    }
    (pairs, cursor.0.to_vec())
}

fn read_pair(blocks: &mut Cursor<'_>, is_number: bool, is_wide: bool) -> (String, String) {
    let len = |blocks: &mut Cursor<'_>| if is_wide { blocks.u16() } else { blocks.small() };
    let key = match len(blocks) {
        number if is_number => number.to_string(),
        len => blocks.text(len),
    };
    let value = len(blocks);
    (key, blocks.text(value))
}

/// A frame with these pairs, those whose keys are numbers as numbers of a TTHeader.
fn frame(magic: u16, pairs: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0, 0];
    for (key, value) in pairs {
        match (magic, key.parse::<u16>()) {
            (TTHEADER, Ok(number)) => {
                header.extend([&[0x10, 0, 1], &number.to_be_bytes()[..]].concat());
                header.extend((value.len() as u16).to_be_bytes());
                header.extend(value.as_bytes());
            }
            (TTHEADER, Err(_)) => {
                header.extend([1, 0, 1]);
                for text in [key, value] {
                    header.extend((text.len() as u16).to_be_bytes());
                    header.extend(text.as_bytes());
                }
            }
            _ => {
                header.extend([1, 1]);
                for text in [key, value] {
                    header.push(u8::try_from(text.len()).expect("a short text"));
                    header.extend(text.as_bytes());
                }
            }
        }
    }
    header.resize(header.len().next_multiple_of(4), 0);
    let fixed = [magic.to_be_bytes(), [0, 0], [0, 0], [0, 1]].concat();
    let size = (header.len() as u16 / 4).to_be_bytes();
    let rest = [&fixed[..], &size, &header, payload].concat();
    [&(rest.len() as u32).to_be_bytes()[..], &rest].concat()
}

/// A message of strict Binary without fields.
fn message(kind: u8, name: &str, seqid: u32) -> Vec<u8> {
    let len = (name.len() as u32).to_be_bytes();
    [&[0x80, 1, 0, kind], &len[..], name.as_bytes(), &seqid.to_be_bytes(), &[0]].concat()
}

fn call(magic: u16, name: &str, pairs: &[(&str, &str)]) -> Vec<u8> {
    frame(magic, pairs, &message(1, name, 1))
}

/// A server that says what it read and answers each call but those of `silent`.
fn server() -> (Origin, Receiver<Pairs>) {
    let (sender, receiver) = sync_channel(64);
    let origin = Origin::start(move |mut accepted| {
        while let Some(len) = accepted.read_exactly(4) {
            let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
            let Some(call) = accepted.read_exactly(len as usize) else { return };
            let magic = u16::from_be_bytes([call[0], call[1]]);
            let (pairs, mut payload) = read(&call);
            let inside = if payload[0] == 0x80 { 0 } else { 4 };
            payload.drain(..inside);
            sender.send(pairs).expect("the test is there");
            let len = usize::from(payload[7]);
            let name = String::from_utf8(payload[8..8 + len].to_vec()).expect("a name");
            let seqid = payload[8 + len..12 + len].try_into().expect("four bytes");
            let mut reply = message(2, &name, u32::from_be_bytes(seqid));
            if inside > 0 {
                reply.splice(..0, (reply.len() as u32).to_be_bytes());
            }
            let mut reply = frame(magic, &[], &reply);
            // The header's number is the message's.
            reply[8..12].copy_from_slice(seqid_bytes(&payload, len));
            if name != "silent" && !accepted.write(&reply) {
                return;
            }
        }
    });
    (origin, receiver)
}

fn seqid_bytes(payload: &[u8], name_len: usize) -> &[u8] {
    &payload[8 + name_len..12 + name_len]
}

/// A gateway before a server, spoken to in TTHeader or, for methods that begin with `theader`, in
/// THeader.
struct Edge {
    gateway: Gateway,
    seen: Receiver<Pairs>,
    _server: Origin,
    _folder: Folder,
}

impl Edge {
    fn start(settings: &str) -> Self {
        let (folder, (server, seen)) = (Folder::new(), server());
        let endpoint = server.address;
        let config = format!(
            "version: 1\nsettings: {{{settings}}}\n\
             listeners:\n\
             - {{name: all, address: '127.0.0.1:0', protocols: [http1, thrift]}}\n\
             - {{name: own, address: '127.0.0.2:0', protocols: [thrift], trust_metadata: true}}\n\
             clusters:\n\
             \x20 tt: {{protocol: thrift, thrift: {{transport: ttheader}}, \
             endpoints: ['{endpoint}']}}\n\
             \x20 th: {{protocol: thrift, thrift: {{transport: theader}}, \
             endpoints: ['{endpoint}']}}\n\
             routes:\n\
             - {{id: brief, match: {{path: '/{{service}}/brief'}}, cluster: tt, timeout: 900ms}}\n\
             - {{id: th, match: {{path: '/{{service}}/theader'}}, cluster: th}}\n\
             - {{id: tt, match: {{path: '/*'}}, cluster: tt}}\n"
        );
        let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
        Self { gateway, seen, _server: server, _folder: folder }
    }

    /// What the server read of a call that came by a listener: 0 for `all`, 1 for `own`.
    fn ask(&self, listener: usize, call: &[u8]) -> Pairs {
        let mut client = Client::connect(self.gateway.addresses()[listener]);
        client.send(call);
        let len = client.exactly(4).expect("a length");
        let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
        let answer = client.exactly(len as usize).expect("a whole frame");
        let (_, payload) = read(&answer);
        let kind = payload[if payload[0] == 0x80 { 3 } else { 7 }];
        assert_eq!(kind, 2, "a reply: {}", payload.escape_ascii());
        self.seen.recv().expect("the server read it")
    }

    fn dropped(&self, reason: &str) -> f64 {
        self.gateway.metric_of("ringway_metadata_dropped_total", reason)
    }
}

/// Bytes of a file of the wires' test data.
fn vector(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocols/testdata/thrift");
    let text = std::fs::read_to_string(folder.join(name).with_extension("hex")).expect("a vector");
    let digits: Vec<u32> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.chars().map(|digit| digit.to_digit(16).expect("a digit")))
        .collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Takes out what differs from run to run, after a look at it.
fn settled(mut pairs: Pairs) -> String {
    if let Some(ms) = pairs.get_mut("12") {
        let left: u32 = ms.parse().expect("milliseconds");
        assert!((1..=1500).contains(&left), "{left} ms are left of 1500");
        *ms = "left".to_owned();
    }
    if let Some(rip) = pairs.get_mut("rip") {
        let (address, port) = rip.rsplit_once(':').expect("an address and a port");
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{rip}");
        *rip = format!("{address}:port");
    }
    if let Some(id) = pairs.get_mut("RPC_PERSIST_X_REQUEST_ID")
        && id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        *id = "new".to_owned();
    }
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

#[test]
fn callers_of_other_implementations_are_not_believed() {
    let edge = Edge::start("");
    let volo = edge.ask(0, &vector("volo_ttheader_framed_meta_c2s"));
    let want = "\
1=framed\n12=left\n16=3\n3=ringway\n6=echo-svc\n9=echo\nRPC_PERSIST_X_REQUEST_ID=new\n\
isn=Echo\nrip=127.0.0.1:port\nvia=Thrift/1 ringway\n";
    assert_eq!(settled(volo), want);
    let kitex = edge.ask(0, &vector("ttheader_kitex_style_call"));
    let log_id = "202611220000000000000000000000001";
    let want = format!(
        "1=framed\n12=left\n2={log_id}\n3=ringway\n6=echo-svc\n9=echo\n\
         RPC_PERSIST_X_REQUEST_ID={log_id}\nRPC_TRANSIT_traceparent={PARENT}\n\
         isn=Echo\nrip=127.0.0.1:port\nvia=Thrift/1 ringway\n"
    );
    assert_eq!(settled(kitex), want);
    // The token is the caller's own, and what it asks for is what routes see.
    let token = edge.ask(0, &vector("ttheader_acl_token"));
    let said = settled(token);
    assert!(said.contains("token=tok\n") && said.contains("6=echo-svc\n"), "{said}");
    assert_eq!(edge.dropped("untrusted"), 10.0);
}

#[test]
fn callers_of_a_listener_of_ones_own_are() {
    let edge = Edge::start("");
    let kitex = settled(edge.ask(1, &vector("ttheader_kitex_style_call")));
    for said in ["3=caller-svc", "20=call", "RPC_PERSIST_TRACE=t1", "RPC_TRANSIT_TOKEN=s3"] {
        assert!(kitex.contains(said), "{said}: {kitex}");
    }
    assert!(!kitex.contains("\n17="), "how long a connection took is of one hop: {kitex}");
    let claims = [("rip", "192.0.2.1:80"), ("x-auth-subject", "me"), ("x-real-ip", "192.0.2.1")];
    let pairs = edge.ask(1, &call(TTHEADER, "echo", &claims));
    assert_eq!(pairs.get("RPC_TRANSIT_X_AUTH_SUBJECT").map(String::as_str), Some("me"));
    assert_eq!(pairs.get("x-real-ip"), None, "where a client is, proxies say");
    assert!(pairs["rip"].starts_with("127.0.0.1:"), "{pairs:?}");
    assert_eq!(edge.dropped("untrusted"), 2.0);
}

#[test]
fn proxies_say_where_the_client_is() {
    let edge = Edge::start("trusted_proxies: 127.0.0.0/8");
    let rip = [("rip", "192.0.2.1:5000")];
    assert_eq!(edge.ask(0, &call(TTHEADER, "echo", &rip))["rip"], "192.0.2.1:5000");
    let pairs = edge.ask(0, &call(TTHEADER, "theader", &rip));
    assert_eq!(pairs["x-forwarded-for"], "192.0.2.1, 127.0.0.1");
    assert_eq!(pairs.get("rip"), None, "a THeader has another key for it");
    let list = [("x-forwarded-for", "198.51.100.1, 192.0.2.9")];
    let pairs = edge.ask(0, &call(THEADER, "echo", &list));
    assert_eq!(pairs["rip"], "192.0.2.9:0", "of a client behind a proxy no port is known");
    assert_eq!(pairs.get("x-forwarded-for"), None);
    let pairs = edge.ask(0, &call(TTHEADER, "echo", &[("rip", "nowhere")]));
    assert!(pairs["rip"].starts_with("127.0.0.1:"), "{pairs:?}");
    assert_eq!(edge.dropped("bad_client_address"), 1.0);
    let log = edge.gateway.log(4);
    let clients = log.iter().map(|line| line["peer"].as_str().unwrap_or_default().to_owned());
    let clients: Vec<_> = clients.collect();
    assert!(
        clients[0].starts_with("192.0.2.1") && clients[2].starts_with("192.0.2.9"),
        "{clients:?}"
    );
}

#[test]
fn values_that_mean_nothing_go_no_further() {
    let edge = Edge::start("");
    let broken = [
        ("RPC_PERSIST_X_REQUEST_ID", "two words"),
        ("RPC_TRANSIT_traceparent", "00-1"),
        ("tracestate", "a=1"),
        ("RPC_TRANSIT_BAGGAGE", "a=1,b"),
        ("b3", "?"),
        ("12", "soon"),
    ];
    let said = settled(edge.ask(0, &call(TTHEADER, "echo", &broken)));
    assert!(said.contains("RPC_PERSIST_X_REQUEST_ID=new\nRPC_TRANSIT_baggage=a=1\n"), "{said}");
    for key in ["traceparent", "tracestate", "b3", "12="] {
        assert!(!said.contains(key), "{key}: {said}");
    }
    for word in ["bad_request_id", "bad_traceparent", "bad_tracestate", "bad_b3", "bad_timeout"] {
        assert_eq!(edge.dropped(word), 1.0, "{word}");
    }
    let fine = [("traceparent", PARENT), ("tracestate", "a=1"), ("x-b3-sampled", "true")];
    let said = settled(edge.ask(0, &call(THEADER, "echo", &fine)));
    for pair in ["traceparent=00-0af7", "tracestate=a=1", "x-b3-sampled=1"] {
        assert!(said.contains(&format!("RPC_TRANSIT_{pair}")), "{pair}: {said}");
    }
    let pairs = edge.ask(0, &call(TTHEADER, "theader", &[("RPC_TRANSIT_TRACEPARENT", PARENT)]));
    assert_eq!(pairs["traceparent"], PARENT);
}

#[test]
fn how_long_a_caller_waits_is_told_in_every_header_and_kept() {
    let edge = Edge::start("");
    let left = |pairs: &Pairs, key: &str| pairs[key].parse::<u32>().expect("milliseconds");
    let pairs = edge.ask(0, &call(TTHEADER, "theader", &[("12", "5000")]));
    assert!((1..=5000).contains(&left(&pairs, "client_timeout")), "{pairs:?}");
    let pairs = edge.ask(0, &call(THEADER, "echo", &[("client_timeout", "5000")]));
    assert!((1..=5000).contains(&left(&pairs, "12")), "{pairs:?}");
    let pairs = edge.ask(0, &call(TTHEADER, "brief", &[("12", "5000")]));
    assert!((1..=900).contains(&left(&pairs, "12")), "the route's is sooner: {pairs:?}");
    let pairs = edge.ask(0, &call(TTHEADER, "echo", &[("12", "0")]));
    assert_eq!(pairs.get("12"), None, "0 is no limit");
    let mut client = Client::connect(edge.gateway.address);
    client.send(call(TTHEADER, "silent", &[("12", "200")]));
    let len = client.exactly(4).expect("a length");
    let answer = client.exactly(len[3].into()).expect("an exception");
    assert!(answer.windows(15).any(|text| text == b"request_timeout"), "{}", answer.escape_ascii());
}

//! Two wires back to back, and four with a hop between: every dialect to every other.

use proptest::prelude::*;

use super::testing::*;
use super::vectors::files;
use super::{Dialect, Encoding, Transport};
use crate::pair::line;
use crate::{Head, Wire, WireSpec};

const BINARY: [Dialect; 7] = [
    Dialect::new(Transport::Framed, Encoding::Binary),
    Dialect::new(Transport::Unframed, Encoding::Binary),
    Dialect::new(Transport::THeader, Encoding::Binary),
    Dialect::new(Transport::TtHeader, Encoding::Binary),
    Dialect::TTHEADER_FRAMED,
    Dialect::new(Transport::Framed, Encoding::LaxBinary),
    Dialect::new(Transport::Unframed, Encoding::LaxBinary),
];
const COMPACT: [Dialect; 5] = [
    Dialect::new(Transport::Framed, Encoding::Compact),
    Dialect::new(Transport::Unframed, Encoding::Compact),
    Dialect::new(Transport::THeader, Encoding::Compact),
    Dialect::new(Transport::TtHeader, Encoding::Compact),
    Dialect { is_framed_inside: true, ..Dialect::new(Transport::TtHeader, Encoding::Compact) },
];

/// By encoding: those whose payload passes from one to the other.
pub(super) const ALL: [&[Dialect]; 2] = [&BINARY, &COMPACT];

fn spec() -> WireSpec {
    WireSpec { thrift_lax: true, thrift_link_calls_max: 4, ..WireSpec::default() }
}

/// The client, the hop and the upstream, with bytes carried `step` at a time.
struct Chain {
    client: Peer,
    hop: Hop,
    upstream: Peer,
}

impl Chain {
    fn new(downstream: Dialect, upstream: Dialect) -> Chain {
        let mut server = Peer::server(spec());
        server.echoes = true;
        Chain {
            client: Peer::client(downstream),
            hop: Hop::new(upstream, &spec()),
            upstream: server,
        }
    }

    fn carry(&mut self, step: usize) {
        loop {
            deliver(&mut self.client, &mut self.hop.down, step);
            deliver(&mut self.hop.up, &mut self.upstream, step);
            deliver(&mut self.upstream, &mut self.hop.up, step);
            deliver(&mut self.hop.down, &mut self.client, step);
            self.hop.relay();
            let outs = [&self.client, &self.hop.down, &self.hop.up, &self.upstream];
            if outs.iter().all(|peer| peer.out.is_empty()) {
                break;
            }
        }
    }

    fn check(&self) {
        for peer in [&self.client, &self.hop.down, &self.hop.up, &self.upstream] {
            assert_eq!(peer.failed, None);
        }
    }

    /// A call, a oneway and two calls at once; what the client and the upstream heard.
    fn run(&mut self, step: usize) -> (String, String) {
        let first = self.client.ask("CALL", "/Echo/echo");
        self.carry(step);
        self.client.release(first);
        let oneway = self.client.ask("ONEWAY", "/Echo/fire");
        self.carry(step);
        self.client.release(oneway);
        let both = [self.client.ask("CALL", "/Echo/a"), self.client.ask("CALL", "/Echo/b")];
        self.carry(step);
        both.into_iter().for_each(|key| self.client.release(key));
        self.check();
        (self.client.said(), self.upstream.said())
    }
}

#[test]
fn every_dialect_to_every_other_in_pieces() {
    for dialects in [&BINARY[..], &COMPACT[..]] {
        for &downstream in dialects {
            for &upstream in dialects {
                let whole = Chain::new(downstream, upstream).run(usize::MAX);
                let data = whole.0.matches(" data ").count();
                assert_eq!((data, whole.1.matches(" end").count()), (3, 4), "{whole:?}");
                for step in [1, 2, 3, 7, 50] {
                    let pieces = Chain::new(downstream, upstream).run(step);
                    assert_eq!(pieces, whole, "{downstream:?} {upstream:?} by {step}");
                }
            }
        }
    }
}

#[test]
fn every_dialect_to_every_other_cut_at_every_byte() {
    for dialects in [&BINARY[..], &COMPACT[..]] {
        for &downstream in dialects {
            for &upstream in dialects {
                let mut len = 1;
                for cut in 0.. {
                    if cut > len {
                        break;
                    }
                    let mut chain = Chain::new(downstream, upstream);
                    let key = chain.client.ask("CALL", "/Echo/echo");
                    len = chain.client.out.len();
                    deliver(&mut chain.client, &mut chain.hop.down, cut);
                    chain.hop.relay();
                    deliver(&mut chain.client, &mut chain.hop.down, usize::MAX);
                    chain.hop.relay();
                    deliver(&mut chain.hop.up, &mut chain.upstream, cut);
                    deliver(&mut chain.hop.up, &mut chain.upstream, usize::MAX);
                    deliver(&mut chain.upstream, &mut chain.hop.up, cut);
                    chain.carry(usize::MAX);
                    chain.check();
                    let message = chain.client.messages[key as usize].as_ref().unwrap();
                    assert!(message.is_whole && message.body == hi(downstream.encoding));
                }
            }
        }
    }
}

/// What an upstream hears of a request with these fields.
fn heard(downstream: Dialect, upstream: Dialect, fields: &[(&str, &str)]) -> String {
    let mut chain = Chain::new(downstream, upstream);
    let mut head = request("CALL", "/Echo/echo", downstream.encoding);
    fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
    let key = chain.client.wire.open().unwrap().0;
    chain.client.send(key, &head, hi(downstream.encoding)).unwrap();
    deliver(&mut chain.client, &mut chain.hop.down, usize::MAX);
    chain.hop.relay();
    chain.upstream.echoes = false;
    deliver(&mut chain.hop.up, &mut chain.upstream, usize::MAX);
    chain.check();
    let message: &Head = &chain.upstream.messages[0].as_ref().unwrap().head;
    line(message)
}

const TYPE: &str = "| content-type: application/vnd.apache.thrift.binary";

#[test]
fn metadata_passes_between_headers() {
    let [framed, _, theader, ttheader, ..] = BINARY;
    let fields = [
        ("traceparent", "00-1"),
        ("x-request-id", "r"),
        ("grpc-timeout", "250m"),
        ("tt-int-2", "log"),
        ("own", "1"),
    ];
    let same = "| x-request-id: r | own: 1";
    assert_eq!(
        heard(ttheader, ttheader, &fields),
        format!(
            "CALL /Echo/echo @Echo Exact(10) | isn: Echo | traceparent: 00-1 {same} | \
             grpc-timeout: 250000u | tt-int-2: log | tt-int-9: echo | tt-int-6: Echo {TYPE}"
        )
    );
    assert_eq!(
        heard(theader, ttheader, &fields),
        format!(
            "CALL /-/echo @ Exact(10) | traceparent: 00-1 {same} | \
             grpc-timeout: 250000u | tt-int-9: echo {TYPE}"
        )
    );
    assert_eq!(
        heard(ttheader, theader, &fields),
        format!(
            "CALL /-/echo @ Exact(10) | isn: Echo | traceparent: 00-1 {same} | \
             grpc-timeout: 250000u {TYPE}"
        )
    );
    assert_eq!(heard(framed, theader, &fields), format!("CALL /-/echo @ Exact(10) {TYPE}"));
    assert_eq!(heard(theader, framed, &fields), format!("CALL /-/echo @ Exact(10) {TYPE}"));
}

#[test]
fn a_multiplexed_name_is_kept_given_or_taken() {
    let [framed, _, _, ttheader, ..] = BINARY;
    let run = |dialect, multiplexed, prefix: Option<&str>| {
        let spec = WireSpec { thrift_multiplexed: multiplexed, ..spec() };
        let mut client = Peer::new(crate::Role::Client, Some(dialect), spec);
        let mut head = request("CALL", "/Echo/echo", Encoding::Binary);
        if let Some(prefix) = prefix {
            head.push(b"tt-multiplexed", prefix.as_bytes());
        }
        let key = client.wire.open().unwrap().0;
        client.send(key, &head, HI).unwrap();
        let mut server = Peer::server(WireSpec::default());
        server.echoes = true;
        carry(&mut client, &mut server, usize::MAX);
        assert!(client.messages[0].as_ref().unwrap().is_whole, "the reply has the bare name");
        server.said().lines().next().unwrap().to_string()
    };
    let prefixed = format!("0 CALL /Echo/echo @Echo Exact(10) | tt-multiplexed: Echo {TYPE}");
    let bare = format!("0 CALL /-/echo @ Exact(10) {TYPE}");
    assert_eq!(run(framed, Some(true), None), prefixed);
    assert_eq!(run(framed, None, Some("Echo")), prefixed);
    assert_eq!(run(framed, None, None), bare);
    assert_eq!(run(framed, Some(false), Some("Echo")), bare);
    assert!(run(ttheader, Some(true), None).starts_with("0 CALL /Echo/echo @"));
}

/// A client and a server of which the client has begun a call; its key, and what is still to send.
fn begun(client: &mut Peer, server: &mut Peer, dialect: Dialect) -> (u32, &'static [u8]) {
    let key = client.wire.open().unwrap().0;
    let (first, rest) = hi(dialect.encoding).split_at(2);
    client.head(key, &request("CALL", "/-/late", dialect.encoding), false).unwrap();
    client.push(key, first, false).unwrap();
    carry(client, server, usize::MAX);
    assert!(server.messages.iter().flatten().any(|message| !message.is_whole));
    (key, rest)
}

/// A server that need not see the end of a request to answer it.
#[test]
fn a_reply_before_its_request_is_whole_is_its_reply_and_the_last() {
    for &dialect in ALL.into_iter().flatten() {
        for sends_rest in [false, true] {
            let spec = WireSpec { thrift_lax: true, ..WireSpec::default() };
            let mut client = Peer::new(crate::Role::Client, Some(dialect), spec);
            let mut server = Peer::server(self::spec());
            let (key, rest) = begun(&mut client, &mut server, dialect);
            server.reply(0);
            carry(&mut client, &mut server, 3);
            let said = client.said();
            assert!(said.contains(" 200 ") && said.ends_with("0 end"), "{dialect:?} {said}");
            assert!(said.contains("closing"), "{dialect:?} {said}");
            if sends_rest {
                client.push(key, rest, true).unwrap();
                carry(&mut client, &mut server, 1);
                assert_eq!(server.wire.calls.held(), 0, "{dialect:?}");
            }
            assert_eq!((client.wire.open(), client.is_closing()), (None, false));
            client.release(key);
            assert!(client.is_closing() && client.said().is_empty(), "{dialect:?}");
            assert_eq!((client.failed, server.failed), (None, None));
        }
    }
}

#[test]
fn what_shares_a_link_with_an_early_reply_is_answered() {
    let dialect = Dialect::TTHEADER_FRAMED;
    let (mut client, mut server) = (Peer::client(dialect), Peer::server(spec()));
    let older = client.ask("CALL", "/-/older");
    let (key, rest) = begun(&mut client, &mut server, dialect);
    server.reply(1);
    carry(&mut client, &mut server, 5);
    assert!(client.messages[key as usize].as_ref().is_some_and(|message| message.is_whole));
    client.push(key, rest, true).unwrap();
    client.release(key);
    assert!(client.wire.open().is_none() && !client.is_closing(), "one is still waited for");
    server.reply(0);
    carry(&mut client, &mut server, 5);
    assert!(client.messages[older as usize].as_ref().is_some_and(|message| message.is_whole));
    client.release(older);
    assert!(client.is_closing());
    assert_eq!((client.failed, server.failed), (None, None));
}

#[test]
fn half_a_request_whose_reply_came_ends_the_link_of_all() {
    let dialect = Dialect::TTHEADER_FRAMED;
    let (mut client, mut server) = (Peer::client(dialect), Peer::server(spec()));
    let older = client.ask("CALL", "/-/older");
    let (key, _) = begun(&mut client, &mut server, dialect);
    server.reply(1);
    carry(&mut client, &mut server, usize::MAX);
    client.said();
    client.release(key);
    assert_eq!(client.said(), format!("{older} reset closed_before_reply"));
    assert!(client.is_closing());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_script_and_any_bytes(data in prop::collection::vec(any::<u8>(), 0..200)) {
        super::fuzz_pair(&data);
    }

    #[test]
    fn any_script(mode in 0..128u8, script in prop::collection::vec(any::<u8>(), 0..200)) {
        super::fuzz_pair(&[&[mode], &script[..]].concat());
    }

    #[test]
    fn bytes_that_begin_well(
        mode in 128u8..,
        index in 0..101usize,
        keep in 0..200usize,
        change in 0..400usize,
        by: u8,
    ) {
        let (_, mut bytes) = files("").swap_remove(index);
        bytes.truncate(bytes.len().max(1).min(keep + 20));
        if let Some(byte) = bytes.get_mut(change) {
            *byte = byte.wrapping_add(by);
        }
        super::fuzz_pair(&[&[mode], &bytes[..]].concat());
    }
}

//! Several calls on one connection, held against a model that knows nothing of wires: a list of
//! calls with their numbers. Scripts ask, answer in any order, give up, wait, and deliver in
//! pieces; what the wire says of each call, what it takes and when it ends must be the model's.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::testing::*;
use super::{Dialect, Encoding, Transport};
use crate::{Fault, Role, StreamId, Wire, WireSpec};

const FRAMED: Dialect = Dialect::new(Transport::Framed, Encoding::Binary);
const UNFRAMED: Dialect = Dialect::new(Transport::Unframed, Encoding::Binary);
const DIALECTS: [Dialect; 3] = [FRAMED, UNFRAMED, Dialect::TTHEADER_FRAMED];

/// A call that was sent, by its number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    key: u32,
    number: i32,
    /// Its reply is on the way.
    is_replied: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Asked,
    Lost(Instant),
    Answered,
}

struct Model {
    peer: Peer,
    dialect: Dialect,
    calls_max: usize,
    calls: Vec<Call>,
    numbers: i32,
    /// Bytes on their way to the client, and how many there were in all at the end of each reply.
    input: Vec<u8>,
    replies: Vec<(usize, i32)>,
    queued: usize,
    delivered: usize,
    late: u32,
    is_going: bool,
}

impl Model {
    fn new(dialect: Dialect, calls_max: u16) -> Model {
        let hour = Duration::from_secs(3600);
        let spec = WireSpec {
            thrift_link_calls_max: calls_max,
            link_idle_timeout: hour,
            ..WireSpec::default()
        };
        Model {
            peer: Peer::new(Role::Client, Some(dialect), spec),
            dialect,
            calls_max: usize::from(calls_max),
            calls: Vec::new(),
            numbers: 0,
            input: Vec::new(),
            replies: Vec::new(),
            queued: 0,
            delivered: 0,
            late: 0,
            is_going: false,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| !matches!(call.state, State::Lost(_)))
    }

    /// The `index`-th call, round and round, of those that `fits` takes.
    fn pick(&self, index: u8, fits: impl Fn(&Call) -> bool) -> Option<usize> {
        let fitting: Vec<usize> =
            (0..self.calls.len()).filter(|&at| fits(&self.calls[at])).collect();
        fitting.get(usize::from(index) % fitting.len().max(1)).copied()
    }

    fn open(&mut self) -> Option<u32> {
        let opened = self.peer.wire.open();
        let may = !self.is_going && self.live().count() < self.calls_max;
        assert_eq!(opened.is_some(), may);
        let key = opened?.0;
        assert!(self.calls.iter().all(|call| call.key != key), "a key of another call");
        Some(key)
    }

    fn ask(&mut self, method: &str) {
        let Some(key) = self.open() else { return };
        let head = request(method, "/-/echo", Encoding::Binary);
        self.peer.send(key, &head, HI).unwrap();
        self.numbers += 1;
        if method == "ONEWAY" {
            assert!(self.peer.messages[key as usize].as_ref().unwrap().is_whole);
            self.peer.release(key);
            return;
        }
        let number = self.numbers;
        self.calls.push(Call { key, number, is_replied: false, state: State::Asked });
    }

    fn reply(&mut self, number: i32) {
        let payload = text(&number.to_string());
        let reply = match self.dialect.transport {
            Transport::TtHeader => ttheader(2, "echo", number, &payload),
            Transport::Unframed => message(2, "echo", number, &payload),
            _ => framed(2, "echo", number, &payload),
        };
        self.queued += reply.len();
        self.input.extend(reply);
        self.replies.push((self.queued, number));
    }

    fn answer(&mut self, index: u8) {
        let Some(at) = self.pick(index, |call| !call.is_replied) else { return };
        self.calls[at].is_replied = true;
        self.reply(self.calls[at].number);
    }

    fn give_up(&mut self, index: u8) {
        let Some(at) = self.pick(index, |call| call.state == State::Asked) else { return };
        self.peer.release(self.calls[at].key);
        self.calls[at].state = State::Lost(self.peer.now);
    }

    fn finish(&mut self, index: u8) {
        let Some(at) = self.pick(index, |call| call.state == State::Answered) else { return };
        let call = self.calls.remove(at);
        self.peer.release(call.key);
    }

    fn deliver(&mut self, len: usize) {
        let bytes: Vec<u8> = self.input.drain(..len.min(self.input.len())).collect();
        self.delivered += bytes.len();
        self.peer.feed(&bytes);
        while let Some(&(_, number)) =
            self.replies.first().filter(|(end, _)| *end <= self.delivered)
        {
            self.replies.remove(0);
            self.heard(number);
        }
    }

    /// A reply is there to its last byte.
    fn heard(&mut self, number: i32) {
        let at = self.calls.iter().position(|call| call.number == number).unwrap();
        if self.calls[at].state != State::Asked {
            self.calls.remove(at);
            self.late += 1;
            return;
        }
        let call = &mut self.calls[at];
        call.state = State::Answered;
        let message = self.peer.messages[call.key as usize].as_ref().unwrap();
        assert!(message.is_whole && message.body == text(&number.to_string()));
    }

    fn wait(&mut self, seconds: u8) {
        self.peer.sleep(Duration::from_secs(seconds.into()));
        let now = self.peer.now;
        let is_old = |since: Instant| now - since >= Duration::from_secs(30);
        let lost = |call: &Call| matches!(call.state, State::Lost(since) if is_old(since));
        self.is_going |= self.calls.iter().any(lost);
    }

    /// False when the connection is over.
    fn check(&mut self) -> bool {
        assert_eq!(self.peer.failed, None);
        self.late -= self.peer.wire.late();
        assert_eq!(self.late, 0);
        let is_over = self.is_going && self.live().count() == 0;
        assert_eq!(self.peer.is_closing(), is_over);
        !is_over
    }

    fn play(&mut self, action: u8, arg: u8) {
        match action % 10 {
            0..=2 => self.ask("CALL"),
            3 => self.ask("ONEWAY"),
            4 | 5 => self.answer(arg),
            6 => self.give_up(arg),
            7 => self.deliver(arg.into()),
            8 => self.wait(arg % 16),
            _ => self.finish(arg),
        }
    }

    /// A call is given up in the middle of its message: each other one that waits is told.
    fn break_off(mut self) {
        let Some(key) = self.open() else { return };
        self.peer.head(key, &request("CALL", "/-/echo", Encoding::Binary), false).unwrap();
        self.peer.push(key, &HI[..3], false).unwrap();
        let blocked = self.peer.wire.open();
        assert!(blocked.is_none_or(|blocked| !self.peer.wire.ready(blocked)));
        self.peer.said();
        self.peer.release(key);
        let said = self.peer.said();
        for call in &self.calls {
            let line = format!("{} reset", call.key);
            let told = said.lines().any(|said| said.starts_with(&line));
            assert_eq!(told, call.state == State::Asked, "{call:?} {said}");
        }
        let retry =
            blocked.map(|blocked| format!("{} reset closed_before_reply unprocessed", blocked.0));
        assert!(retry.is_none_or(|line| said.contains(&line)), "{said}");
        assert!(self.peer.is_closing() && self.peer.wire.open().is_none());
        let read = self.peer.sides().read;
        assert_eq!(read, crate::ReadSide::Done, "all is told");
    }

    /// A reply that belongs to no call ends the connection.
    fn stray(mut self, number: i32) {
        self.deliver(usize::MAX);
        self.reply(number);
        let bytes = std::mem::take(&mut self.input);
        self.peer.feed(&bytes);
        assert_eq!(self.peer.failed.map(|error| error.fault.reason()), Some("unknown_seqid"));
        assert!(self.peer.is_closing() && self.peer.wire.open().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn calls_are_what_a_naive_model_says(
        dialect in prop::sample::select(&DIALECTS[..]),
        calls_max in 2..9_u16,
        script in prop::collection::vec((any::<u8>(), any::<u8>()), 0..300),
        ending in 0..3_u8,
    ) {
        let mut model = Model::new(dialect, calls_max);
        for (action, arg) in script {
            model.play(action, arg);
            if !model.check() {
                return Ok(());
            }
        }
        let next = model.numbers + 1;
        match ending {
            0 => model.break_off(),
            1 => model.stray(next),
            _ => model.deliver(usize::MAX),
        }
    }
}

#[test]
fn so_many_calls_that_were_given_up_end_a_connection() {
    let mut model = Model::new(FRAMED, 300);
    (0..257).for_each(|_| model.ask("CALL"));
    model.ask("CALL");
    (0..256).for_each(|_| model.give_up(0));
    assert!(model.check());
    model.ask("CALL");
    model.give_up(0);
    model.is_going = true;
    assert!(model.check(), "two calls are still under way");
    let left: Vec<u32> = model.live().map(|call| call.key).collect();
    assert_eq!(left.len(), 2);
    left.into_iter().for_each(|key| model.peer.wire.release(StreamId(key)));
    assert!(model.peer.is_closing(), "what is lost is not waited for");
}

/// A server's calls hear that their connection ends with half a reply, but for a oneway, which is
/// done all the same.
#[test]
fn half_a_reply_is_the_end_of_the_other_calls() {
    let mut peer = Peer::server(WireSpec::default());
    let calls = [ttheader(1, "a", 5, HI), ttheader(1, "b", 6, HI), ttheader(4, "fire", 7, HI)];
    peer.feed(&calls.concat());
    peer.said();
    peer.head(0, &status(200, Encoding::Binary, HI.len()), false).unwrap();
    peer.push(0, &HI[..4], false).unwrap();
    assert!(!peer.wire.ready(StreamId(1)));
    peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
    peer.feed(b"");
    assert_eq!(peer.said(), "1 reset cancelled");
    assert!(peer.wire.ready(StreamId(1)), "it would wait in vain");
    assert!(peer.head(1, &local(503, "word"), true).is_err());
    assert!(peer.is_closing());
}

/// Every dialect to every other, three calls at a time, answered last first where the upstream's
/// dialect lets it; the same whatever the cuts.
#[test]
fn three_calls_at_a_time_cut_at_every_byte() {
    let is_told_apart = |dialect: &&Dialect| dialect.encoding != Encoding::LaxBinary;
    for dialects in super::pairs::ALL {
        for &downstream in dialects.iter().filter(is_told_apart) {
            for &upstream in dialects.iter().filter(is_told_apart) {
                let (whole, len) = three(downstream, upstream, usize::MAX);
                assert_eq!(whole.matches(" end").count(), 3, "{whole}");
                for cut in 0..=len {
                    assert_eq!(three(downstream, upstream, cut).0, whole, "{cut}");
                }
            }
        }
    }
}

/// What a client hears whose bytes, and those of its replies, are cut once; and the most bytes that
/// there were to cut.
fn three(downstream: Dialect, upstream: Dialect, cut: usize) -> (String, usize) {
    let spec = WireSpec { thrift_link_calls_max: 4, ..WireSpec::default() };
    let mut client = Peer::client(downstream);
    let mut hop = Hop::new(upstream, &spec);
    let mut server = Peer::server(spec);
    for path in ["/Echo/a", "/Echo/b", "/Echo/c"] {
        client.ask("CALL", path);
    }
    let mut len = two_pieces(&mut client, &mut hop.down, cut);
    hop.relay();
    len = len.max(two_pieces(&mut hop.up, &mut server, cut));
    let mut calls = whole(&mut server);
    while !calls.is_empty() {
        let ready = |(key, _): &(u32, Message)| server.wire.ready(StreamId(*key));
        let (key, _) = calls.remove(calls.iter().rposition(ready).unwrap());
        server.reply(key);
    }
    len = len.max(two_pieces(&mut server, &mut hop.up, cut));
    hop.relay();
    len = len.max(two_pieces(&mut hop.down, &mut client, cut));
    for peer in [&client, &hop.down, &hop.up, &server] {
        assert_eq!(peer.failed, None);
    }
    (client.said(), len)
}

/// How many bytes there were.
fn two_pieces(from: &mut Peer, to: &mut Peer, cut: usize) -> usize {
    let len = from.out.len();
    deliver(from, to, cut);
    deliver(from, to, usize::MAX);
    len
}

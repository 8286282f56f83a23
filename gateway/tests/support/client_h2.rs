//! Scripted clients of HTTP/2: several exchanges at a time on one connection.
//!
//! They speak through the wire that the gateway has, in the other role, which is held to the RFC by
//! tests of its own: what is asked here is whether exchanges stay apart, end, and lose nothing
//! while streams, connections and origins break. A reply that ends without END_STREAM is broken;
//! one that ends with it must be whole.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Address;
use engine::sim::{Net, Peer, Rng};
use protocols::{AnyWire, Cx, Event, Fault, Head, Role, StreamId, Wire, WireSpec};

use super::http::Message;
use super::life::{Life, Line, Scripted};
use super::plan::{Conduct, Plan, Upload};
use super::verdict::Judge;

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// As many exchanges as it may, each to its end.
    Steady,
    /// Reads a little at a time through a small window.
    Slow,
    /// Gives credit late, so that windows shut.
    Stingy,
    /// Breaks streams off now and then.
    Fickle,
    /// Leaves in the middle.
    Leaver,
}

const HABITS: [Habit; 5] =
    [Habit::Steady, Habit::Slow, Habit::Stingy, Habit::Fickle, Habit::Leaver];

/// Exchanges of a connection at a time.
const AT_ONCE: usize = 5;

/// A client.
pub(crate) struct ClientH2 {
    life: Life<Conn>,
    habit: Habit,
    epoch: Instant,
}

pub(crate) struct Conn {
    line: Line,
    wire: AnyWire,
    #[expect(clippy::vec_box, reason = "that is the free list of a wire's context")]
    heads: Vec<Box<Head>>,
    input: Vec<u8>,
    output: VecDeque<u8>,
    calls: BTreeMap<StreamId, Call>,
    /// The gateway takes no more streams.
    closing: bool,
}

/// One exchange.
struct Call {
    plan: Plan,
    /// What is left of the request's body; None once its end is sent.
    upload: Option<VecDeque<u8>>,
    reply: Message,
    /// Credit that is not given back yet.
    owed: u32,
    over: bool,
}

impl Scripted for ClientH2 {
    type Conn = Conn;

    fn life(&self) -> &Life<Conn> {
        &self.life
    }

    fn life_mut(&mut self) -> &mut Life<Conn> {
        &mut self.life
    }

    fn state(&self) -> String {
        let conn = self.life.conn.as_ref().map(|conn| {
            let (unsent, unread) = (conn.output.len(), conn.line.peer.unread());
            let plans: Vec<&Plan> = conn.calls.values().map(|call| &call.plan).collect();
            format!("{:?}: {unsent} unsent, {unread} unread, awaits {plans:?}", conn.line.peer)
        });
        format!("HTTP/2 {:?}, {} to do, {conn:?}", self.habit, self.life.plans.len())
    }

    fn open(&mut self, peer: Peer, now: Duration) -> Conn {
        let leaves = self.habit == Habit::Leaver && self.life.rng.below(2) == 0;
        let leave_after = leaves.then(|| self.life.rng.below(200));
        Conn {
            line: Line::new(peer, now, leave_after),
            wire: AnyWire::h2(Role::Client, &Arc::new(WireSpec::default())),
            heads: Vec::new(),
            input: Vec::new(),
            output: VecDeque::new(),
            calls: BTreeMap::new(),
            closing: false,
        }
    }

    fn line(conn: &mut Conn) -> &mut Line {
        &mut conn.line
    }

    fn end(conn: Conn) -> (Line, usize) {
        (conn.line, conn.calls.len())
    }

    fn exchange(&mut self, conn: &mut Conn, now: Duration) -> bool {
        if !self.read(conn, now) {
            return false;
        }
        self.begin(conn, now);
        self.upload(conn, now);
        self.give_credit(conn, now);
        let sent = conn.line.write(conn.output.make_contiguous(), now);
        conn.output.drain(..sent);
        let idle = conn.calls.is_empty() && conn.output.is_empty();
        let over = idle && (self.life.plans.is_empty() || conn.closing);
        !over && !self.life.is_impatient(&conn.line, now, &conn.calls.keys())
    }
}

impl ClientH2 {
    /// A client with its exchanges.
    pub(crate) fn new(
        net: &Net,
        address: &Address,
        seed: u64,
        plans: Vec<Plan>,
        quiet: bool,
    ) -> ClientH2 {
        let mut rng = Rng::new(seed);
        let habit = HABITS[rng.below(HABITS.len() as u64) as usize];
        // HTTP/2 has no upgrades.
        let plain = |plan: Plan| match plan.conduct {
            Conduct::Tunnel => Plan { conduct: Conduct::Exact, upload_bytes: 0, ..plan },
            _ => plan,
        };
        #[expect(clippy::disallowed_methods, reason = "any moment will do for the clock's zero")]
        let epoch = Instant::now();
        let is_slow = habit == Habit::Slow;
        let life = Life::new(net, address, rng, plans.into_iter().map(plain), quiet, is_slow);
        ClientH2 { life, habit, epoch }
    }

    fn begin(&mut self, conn: &mut Conn, now: Duration) {
        // The first step reads nothing: it is what makes the wire say hello.
        while conn.calls.len() < AT_ONCE && !conn.closing && !self.life.plans.is_empty() {
            let Some(stream) = conn.wire.open() else { return };
            let Some(plan) = self.life.plans.pop_front() else { return };
            self.life.tally.sent += 1;
            self.life.tally.panics += u64::from(plan.conduct == Conduct::Panic);
            let upload = plan.upload();
            let end = upload.is_empty();
            let head = plan.head();
            let sent = conn.with(self.epoch + now, |wire, cx| wire.head(stream, &head, end, cx));
            let call = Call {
                plan,
                upload: (!end).then(|| upload.into()),
                reply: Message::default(),
                owed: 0,
                over: sent.is_err(),
            };
            conn.calls.insert(stream, call);
        }
    }

    fn upload(&mut self, conn: &mut Conn, now: Duration) {
        let streams: Vec<StreamId> = conn.calls.keys().copied().collect();
        for stream in streams {
            self.upload_one(conn, stream, now);
            if self.habit == Habit::Fickle && self.life.rng.below(300) == 0 && !conn.is_over(stream)
            {
                let reset = |wire: &mut AnyWire, cx: &mut Cx<'_>| {
                    wire.reset(stream, Fault::Cancelled, cx);
                };
                conn.with(self.epoch + now, reset);
                self.give_up(conn, stream);
            }
        }
        conn.settle();
    }

    fn upload_one(&mut self, conn: &mut Conn, stream: StreamId, now: Duration) {
        while conn.wire.ready(stream) {
            let Some(call) = conn.calls.get_mut(&stream).filter(|call| !call.over) else { return };
            let Some(mut left) = call.upload.take() else { return };
            let len = left.len().min(self.life.rng.size(20_000));
            let end = len == left.len();
            let framing = conn.with(self.epoch + now, |w, cx| w.data(stream, len, end, cx));
            // The gateway broke the stream off: its RST_STREAM is on its way.
            let Ok(framing) = framing else { return };
            conn.output.extend(left.drain(..framing.take));
            conn.output.extend(framing.suffix);
            if !(end && framing.take == len) {
                conn.upload_later(stream, left);
                if framing.take == 0 {
                    return;
                }
            }
        }
    }

    fn give_credit(&mut self, conn: &mut Conn, now: Duration) {
        if self.habit == Habit::Stingy && self.life.rng.below(20) != 0 {
            return;
        }
        let owed = |(stream, call): (&StreamId, &mut Call)| {
            (call.owed > 0).then(|| (*stream, std::mem::take(&mut call.owed)))
        };
        let credits: Vec<(StreamId, u32)> = conn.calls.iter_mut().filter_map(owed).collect();
        for (stream, bytes) in credits {
            conn.with(self.epoch + now, |wire, cx| wire.credit(stream, bytes, cx));
        }
    }

    /// Reads and checks; false when the connection is over.
    fn read(&mut self, conn: &mut Conn, now: Duration) -> bool {
        let most = self.life.read_most(&conn.line.peer);
        let seen = conn.line.peer.read_up_to(&mut conn.input, most);
        if seen.bytes > 0 {
            conn.line.progress = now;
        }
        loop {
            let input = std::mem::take(&mut conn.input);
            let decoded = conn.with(self.epoch + now, |wire, cx| wire.decode(&input, cx));
            let decoded =
                decoded.unwrap_or_else(|error| panic!("the gateway broke RFC 9113: {error:?}"));
            let (event, rest) = (decoded.event, input.get(decoded.used..).unwrap_or_default());
            conn.input = rest.to_vec();
            let Some(event) = event else { break };
            self.take(conn, event, &input);
        }
        conn.settle();
        let over = seen.eof || seen.reset;
        let is_fair = !self.life.quiet || conn.calls.is_empty() || conn.closing;
        assert!(!over || is_fair, "closed with {} calls open", conn.calls.len());
        !over
    }

    fn take(&mut self, conn: &mut Conn, event: Event, input: &[u8]) {
        match event {
            Event::Head { stream, head, end } => {
                let Some(call) = conn.calls.get_mut(&stream) else { return };
                if head.status() >= 200 {
                    call.reply = message(&head);
                }
                conn.heads.push(head);
                self.ended(conn, stream, end);
            }
            Event::Data { stream, at, charge, end } => {
                self.body(conn, stream, input.get(at).unwrap_or_default(), charge, end);
            }
            Event::Copied { stream, bytes, charge, end } => {
                self.body(conn, stream, &bytes, charge, end);
            }
            Event::Trailers { stream, head } => {
                conn.heads.push(head);
                self.ended(conn, stream, true);
            }
            Event::Reset { stream, .. } => self.give_up(conn, stream),
            Event::Refused { .. } => unreachable!("a reply opens no stream"),
            Event::Closing => conn.closing = true,
            Event::Writable { .. } => {}
        }
    }

    fn body(&mut self, conn: &mut Conn, stream: StreamId, bytes: &[u8], charge: u32, end: bool) {
        let Some(call) = conn.calls.get_mut(&stream) else { return };
        call.reply.body.extend_from_slice(bytes);
        call.owed += charge;
        self.ended(conn, stream, end);
    }

    /// A reply that ended must be whole.
    fn ended(&mut self, conn: &mut Conn, stream: StreamId, end: bool) {
        let Some(call) = conn.calls.get_mut(&stream).filter(|call| end && !call.over) else {
            return;
        };
        let judge = Judge { net: &self.life.net, quiet: self.life.quiet };
        judge.reply(&call.plan, &call.reply, &mut self.life.tally);
        self.life.tally.streams += 1;
        call.over = true;
    }

    /// A stream that was broken off, by either side.
    fn give_up(&mut self, conn: &mut Conn, stream: StreamId) {
        let Some(call) = conn.calls.get_mut(&stream).filter(|call| !call.over) else { return };
        call.over = true;
        self.life.tally.broken += 1;
        let excused =
            !self.life.quiet || self.habit == Habit::Fickle || !call.plan.conduct.is_good();
        // What was refused or answered early may be told by a reset, and so may a stale link.
        let excused = excused || call.plan.upload != Upload::Get || conn.closing;
        assert!(excused, "{:?} was broken off though nothing was wrong", call.plan);
    }
}

impl Conn {
    /// Calls the wire; what it writes is sent later.
    fn with<R>(&mut self, now: Instant, call: impl FnOnce(&mut AnyWire, &mut Cx<'_>) -> R) -> R {
        let mut out = Vec::new();
        let mut cx = Cx { now, out: &mut out, heads: &mut self.heads };
        let result = call(&mut self.wire, &mut cx);
        self.output.extend(out);
        result
    }

    fn is_over(&self, stream: StreamId) -> bool {
        self.calls.get(&stream).is_none_or(|call| call.over)
    }

    fn upload_later(&mut self, stream: StreamId, left: VecDeque<u8>) {
        if let Some(call) = self.calls.get_mut(&stream) {
            call.upload = Some(left);
        }
    }

    /// Lets go of streams that are over on both sides.
    fn settle(&mut self) {
        let over = self.calls.iter().filter(|(_, call)| call.over);
        let over: Vec<StreamId> = over.map(|(stream, _)| *stream).collect();
        for stream in over {
            self.calls.remove(&stream);
            self.wire.release(stream);
        }
    }
}

/// A reply's head in the form that plans are held against.
fn message(head: &Head) -> Message {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    Message {
        start: format!("HTTP/2 {}", head.status()),
        fields: head.fields().map(|(name, value)| (text(name), text(value))).collect(),
        body: Vec::new(),
    }
}

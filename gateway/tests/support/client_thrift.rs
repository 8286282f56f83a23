//! Scripted clients of Thrift, each in a dialect of its own.
//!
//! The truths they hold the gateway to: replies are in the client's dialect, under the numbers of
//! its calls and, where nothing else tells them apart, in their order; one that a server gave is
//! that server's, whole, and of this call; an exception that the gateway gives is one that it may
//! give; a oneway is never answered.

use std::collections::VecDeque;
use std::time::Duration;

use engine::Address;
use engine::sim::{Net, Peer, Rng};
use mock::thrift::{
    Envelope, Head, Kind, Outcome, Packet, Reader, theader_blocks, ttheader_blocks, write,
};

use super::life::{Life, Line, Scripted};
use super::plan::{Conduct, Plan};
use super::thrift::{Dialect, method, parts, string};
use super::upstream_thrift::SERVERS_OWN;

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// One call after the other.
    Steady,
    /// Up to six calls ahead of their replies.
    Ahead,
    /// Reads a little at a time through a small window.
    Slow,
    /// Writes a few bytes at a time.
    Dripping,
    /// Leaves in the middle.
    Leaver,
}

const HABITS: [Habit; 5] =
    [Habit::Steady, Habit::Ahead, Habit::Slow, Habit::Dripping, Habit::Leaver];

/// A client.
pub(crate) struct ClientThrift {
    life: Life<Conn>,
    habit: Habit,
    dialect: Dialect,
}

pub(crate) struct Conn {
    line: Line,
    reader: Reader,
    input: Vec<u8>,
    output: VecDeque<u8>,
    awaited: VecDeque<(i32, Plan)>,
    number: i32,
    /// A call was sent that panics in the gateway, and takes the connection with it.
    is_doomed: bool,
}

impl Scripted for ClientThrift {
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
            let (peer, awaited) = (&conn.line.peer, &conn.awaited);
            format!("{peer:?}: {unsent} unsent, {unread} unread, awaits {awaited:?}")
        });
        let left = self.life.plans.len();
        format!("{:?} {:?}, {left} to do, {conn:?}", self.dialect, self.habit)
    }

    fn open(&mut self, peer: Peer, now: Duration) -> Conn {
        let leaves = self.habit == Habit::Leaver && self.life.rng.below(2) == 0;
        // Some clients begin at 0, some never count at all where order tells replies apart.
        let number = [0, 1, -3, i32::MAX - 2][self.life.rng.below(4) as usize];
        let leave_after = leaves.then(|| self.life.rng.below(200));
        Conn {
            line: Line::new(peer, now, leave_after),
            reader: Reader::default(),
            input: Vec::new(),
            output: VecDeque::new(),
            awaited: VecDeque::new(),
            number,
            is_doomed: false,
        }
    }

    fn line(conn: &mut Conn) -> &mut Line {
        &mut conn.line
    }

    fn end(conn: Conn) -> (Line, usize) {
        (conn.line, conn.awaited.len())
    }

    fn exchange(&mut self, conn: &mut Conn, now: Duration) -> bool {
        self.begin(conn);
        self.write(conn, now);
        let is_open = self.read(conn, now);
        let idle = conn.awaited.is_empty() && conn.output.is_empty();
        let is_over = !is_open || (idle && self.life.plans.is_empty());
        !is_over && !self.life.is_impatient(&conn.line, now, &conn.awaited)
    }
}

impl ClientThrift {
    /// A client with its calls.
    pub(crate) fn new(
        net: &Net,
        address: &Address,
        seed: u64,
        plans: Vec<Plan>,
        quiet: bool,
    ) -> ClientThrift {
        let mut rng = Rng::new(seed);
        let habit = HABITS[rng.below(HABITS.len() as u64) as usize];
        let dialect = Dialect::draw(rng.next());
        let has_header =
            matches!(dialect.envelope, Envelope::Theader { .. } | Envelope::Ttheader { .. });
        let plain = |plan: Plan| match plan.conduct {
            Conduct::Tunnel => Plan { conduct: Conduct::Exact, ..plan },
            // Only a header has a place for what asks for it.
            Conduct::Panic if !has_header => Plan { conduct: Conduct::Exact, ..plan },
            _ => plan,
        };
        let is_slow = habit == Habit::Slow;
        let life = Life::new(net, address, rng, plans.into_iter().map(plain), quiet, is_slow);
        ClientThrift { life, habit, dialect }
    }

    /// Begins calls as the habit allows.
    fn begin(&mut self, conn: &mut Conn) {
        let ahead = if self.habit == Habit::Ahead { 6 } else { 1 };
        while conn.awaited.len() < ahead && conn.output.len() < 100_000 {
            let Some(plan) = self.life.plans.pop_front() else { return };
            let kind = if is_oneway(&plan) { Kind::Oneway } else { Kind::Call };
            conn.output.extend(self.call(&plan, kind, conn.number));
            conn.is_doomed |= plan.conduct == Conduct::Panic;
            if kind == Kind::Call {
                conn.awaited.push_back((conn.number, plan));
            }
            let counts = !self.dialect.is_ordered() || conn.number != 0;
            conn.number = conn.number.wrapping_add(i32::from(counts));
            self.life.tally.sent += 1;
            self.life.tally.panics += u64::from(plan.conduct == Conduct::Panic);
        }
    }

    fn call(&self, plan: &Plan, kind: Kind, number: i32) -> Vec<u8> {
        let panics: &[(&str, &str)] = match plan.conduct {
            Conduct::Panic => &[("x-ringway-panic", "1")],
            _ => &[],
        };
        let blocks = match self.dialect.envelope {
            Envelope::Ttheader { .. } => ttheader_blocks(&[(9, method(plan))], panics),
            _ => theader_blocks(panics),
        };
        let Dialect { encoding, .. } = self.dialect;
        let head = Head { encoding, kind, name: method(plan).as_bytes(), number };
        let body = string(encoding, 1, &plan.target(), &plan.upload());
        let mut out = Vec::new();
        write(&mut out, self.dialect.numbered(number), &blocks, &head, &[&body]);
        out
    }

    fn write(&mut self, conn: &mut Conn, now: Duration) {
        if conn.output.is_empty() {
            return;
        }
        let length = conn.output.len();
        let is_dripping = self.habit == Habit::Dripping;
        let most = if is_dripping { self.life.rng.size(64.min(length)) } else { length };
        let bytes: Vec<u8> = conn.output.range(..most).copied().collect();
        let sent = conn.line.write(&bytes, now);
        conn.output.drain(..sent);
        if is_dripping && !conn.output.is_empty() {
            self.life.pause(2_000);
        }
    }

    /// Reads and checks; false when the connection is over.
    fn read(&mut self, conn: &mut Conn, now: Duration) -> bool {
        let most = self.life.read_most(&conn.line.peer);
        let end = conn.line.peer.read_up_to(&mut conn.input, most);
        if end.bytes > 0 {
            conn.line.progress = now;
        }
        let (input, mut at) = (std::mem::take(&mut conn.input), 0);
        loop {
            let next = conn.reader.next(&input[at..]);
            let next = next.unwrap_or_else(|broken| panic!("a client got nonsense: {broken:?}"));
            let Some(packet) = next else { break };
            self.take(conn, &packet);
            at += packet.len;
        }
        conn.input = input[at..].to_vec();
        if !(end.eof || end.reset) {
            return true;
        }
        let is_broken = |(_, plan): &(i32, Plan)| !self.is_good(plan);
        let excused = !self.life.quiet || conn.is_doomed || conn.awaited.iter().any(is_broken);
        assert!(
            excused || conn.awaited.is_empty(),
            "closed (reset {}) with calls open: {:?} {:?} {:?}",
            end.reset,
            self.dialect,
            self.habit,
            conn.awaited
        );
        false
    }

    fn take(&mut self, conn: &mut Conn, packet: &Packet<'_>) {
        let number = packet.head.number;
        let at = match self.dialect.is_ordered() {
            true => 0,
            false => {
                let place = conn.awaited.iter().position(|(awaited, _)| *awaited == number);
                place.unwrap_or_else(|| panic!("a reply to nothing: {:?}", packet.head))
            }
        };
        let Some((awaited, plan)) = conn.awaited.remove(at) else {
            panic!("a reply to nothing: {:?}", packet.head);
        };
        assert_eq!(number, awaited, "the reply to another call: {plan:?}");
        let name = String::from_utf8_lossy(packet.head.name).into_owned();
        assert_eq!(name, method(&plan), "a reply of another name");
        assert_eq!(packet.head.encoding, self.dialect.encoding, "another encoding");
        assert_eq!(packet.envelope, self.dialect.numbered(number), "another dialect");
        self.judge(&plan, packet);
    }

    fn judge(&mut self, plan: &Plan, packet: &Packet<'_>) {
        let outcome = packet.outcome().unwrap_or_else(|broken| panic!("{broken:?} in a reply"));
        let note = match outcome {
            Outcome::Success => 0,
            Outcome::Declared(id) => id.into(),
            Outcome::Exception(kind) => kind,
        };
        self.life.net.note(plan.id << 16 | note as u64);
        match outcome {
            Outcome::Success => {
                let (line, body) = parts(packet, 0);
                assert_eq!(line, format!("{} {:x}", plan.id, plan.upload_hash()), "{plan:?}");
                assert!(body == plan.reply_body(), "another body than the server's: {plan:?}");
                let is_wrong = matches!(plan.conduct, Conduct::NoContent | Conduct::NotModified);
                assert!(!is_wrong, "a result where there was none: {plan:?}");
                self.life.tally.good += 1;
                self.life.tally.calls += 1;
            }
            Outcome::Exception(SERVERS_OWN) => {
                assert_eq!(plan.conduct, Conduct::NoContent, "nobody raised this: {plan:?}");
                self.life.tally.good += 1;
                self.life.tally.calls += 1;
            }
            Outcome::Exception(6) => {
                self.life.tally.errors += 1;
                let excused = !self.life.quiet || !self.is_good(plan);
                assert!(excused, "{:?}: failed though nothing was wrong: {plan:?}", self.dialect);
            }
            other => panic!("{other:?} for {plan:?}"),
        }
    }

    /// True when nothing stands between the call and a whole reply.
    fn is_good(&self, plan: &Plan) -> bool {
        // Where one side alone has a length before its messages, the other's are collected.
        let is_unframed = self.dialect.envelope == Envelope::Unframed;
        let is_collected = is_unframed != (method(plan) == "buffered");
        let is_wrong = plan.conduct == Conduct::NotModified;
        // A death on a link that calls share is everybody's.
        let is_alone = !matches!(method(plan), "theader" | "ttheader");
        plan.conduct.is_good() && !is_wrong && !is_collected && is_alone && plan.cluster != 2
    }
}

/// Every seventh call wants no reply.
fn is_oneway(plan: &Plan) -> bool {
    plan.id % 7 == 5
}

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

use super::client::PATIENCE;
use super::plan::{Conduct, Plan};
use super::thrift::{Dialect, method, parts, string};
use super::upstream_thrift::SERVERS_OWN;
use super::verdict::Tally;

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
    net: Net,
    rng: Rng,
    habit: Habit,
    dialect: Dialect,
    address: Address,
    plans: VecDeque<Plan>,
    quiet: bool,
    conn: Option<Conn>,
    wait_until: Duration,
    /// The tally of this client.
    pub(crate) tally: Tally,
}

struct Conn {
    peer: Peer,
    reader: Reader,
    input: Vec<u8>,
    output: VecDeque<u8>,
    awaited: VecDeque<(i32, Plan)>,
    number: i32,
    /// A call was sent that panics in the gateway, and takes the connection with it.
    is_doomed: bool,
    progress: Duration,
    steps: u64,
    leave_after: Option<u64>,
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
        ClientThrift {
            net: net.clone(),
            habit,
            dialect,
            address: address.clone(),
            plans: plans.into_iter().map(plain).collect(),
            quiet,
            conn: None,
            wait_until: Duration::from_micros(rng.below(20_000)),
            rng,
            tally: Tally::default(),
        }
    }

    /// True when every call has ended and the connection is gone.
    pub(crate) fn done(&self) -> bool {
        self.plans.is_empty() && self.conn.is_none()
    }

    /// What it is doing, for a failure's message.
    pub(crate) fn state(&self) -> String {
        let conn = self.conn.as_ref().map(|conn| {
            let (unsent, unread) = (conn.output.len(), conn.peer.unread());
            format!("{:?}: {unsent} unsent, {unread} unread, awaits {:?}", conn.peer, conn.awaited)
        });
        format!("{:?} {:?}, {} to do, {conn:?}", self.dialect, self.habit, self.plans.len())
    }

    /// Gets on.
    pub(crate) fn step(&mut self) {
        let now = self.net.elapsed();
        if now < self.wait_until {
            self.net.alarm(self.wait_until - now);
            return;
        }
        if self.conn.is_none() && !self.plans.is_empty() {
            self.open(now);
        }
        let Some(mut conn) = self.conn.take() else { return };
        if self.exchange(&mut conn, now) {
            self.conn = Some(conn);
        } else {
            self.tally.broken += conn.awaited.len() as u64;
            self.leave(conn, now);
        }
    }

    fn open(&mut self, now: Duration) {
        let peer = self.net.connect(&self.address);
        if self.habit == Habit::Slow {
            peer.set_window(self.rng.size(4_096));
        }
        let leaves = self.habit == Habit::Leaver && self.rng.below(2) == 0;
        self.tally.connections += 1;
        // Some clients begin at 0, some never count at all where order tells replies apart.
        let number = [0, 1, -3, i32::MAX - 2][self.rng.below(4) as usize];
        self.conn = Some(Conn {
            peer,
            reader: Reader::default(),
            input: Vec::new(),
            output: VecDeque::new(),
            awaited: VecDeque::new(),
            number,
            is_doomed: false,
            progress: now,
            steps: 0,
            leave_after: leaves.then(|| self.rng.below(200)),
        });
    }

    /// One round on a connection; false when it is over.
    fn exchange(&mut self, conn: &mut Conn, now: Duration) -> bool {
        match conn.peer.connected() {
            None => return !self.impatient(conn, now),
            Some(false) => {
                assert!(!self.quiet, "the gateway refused a connection");
                return false;
            }
            Some(true) => {}
        }
        conn.steps += 1;
        if conn.leave_after.is_some_and(|steps| conn.steps > steps) {
            return false;
        }
        self.begin(conn);
        self.write(conn, now);
        let is_open = self.read(conn, now);
        let idle = conn.awaited.is_empty() && conn.output.is_empty();
        is_open && !(idle && self.plans.is_empty()) && !self.impatient(conn, now)
    }

    /// Begins calls as the habit allows.
    fn begin(&mut self, conn: &mut Conn) {
        let ahead = if self.habit == Habit::Ahead { 6 } else { 1 };
        while conn.awaited.len() < ahead && conn.output.len() < 100_000 {
            let Some(plan) = self.plans.pop_front() else { return };
            let kind = if is_oneway(&plan) { Kind::Oneway } else { Kind::Call };
            conn.output.extend(self.call(&plan, kind, conn.number));
            conn.is_doomed |= plan.conduct == Conduct::Panic;
            if kind == Kind::Call {
                conn.awaited.push_back((conn.number, plan));
            }
            let counts = !self.dialect.is_ordered() || conn.number != 0;
            conn.number = conn.number.wrapping_add(i32::from(counts));
            self.tally.sent += 1;
            self.tally.panics += u64::from(plan.conduct == Conduct::Panic);
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
        let most = if is_dripping { self.rng.size(64.min(length)) } else { length };
        let bytes: Vec<u8> = conn.output.range(..most).copied().collect();
        let sent = conn.peer.write(&bytes);
        conn.output.drain(..sent);
        if sent > 0 {
            conn.progress = now;
        }
        if is_dripping && !conn.output.is_empty() {
            self.pause(now, 2_000);
        }
    }

    /// Reads and checks; false when the connection is over.
    fn read(&mut self, conn: &mut Conn, now: Duration) -> bool {
        let most = if self.habit == Habit::Slow { self.rng.size(3_000) } else { usize::MAX };
        if self.habit == Habit::Slow && conn.peer.unread() > most {
            self.pause(now, 3_000);
        }
        let end = conn.peer.read_up_to(&mut conn.input, most);
        if end.bytes > 0 {
            conn.progress = now;
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
        let excused = !self.quiet || conn.is_doomed || conn.awaited.iter().any(is_broken);
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
        self.net.note(plan.id << 16 | note as u64);
        match outcome {
            Outcome::Success => {
                let (line, body) = parts(packet, 0);
                assert_eq!(line, format!("{} {:x}", plan.id, plan.upload_hash()), "{plan:?}");
                assert!(body == plan.reply_body(), "another body than the server's: {plan:?}");
                let is_wrong = matches!(plan.conduct, Conduct::NoContent | Conduct::NotModified);
                assert!(!is_wrong, "a result where there was none: {plan:?}");
                self.tally.good += 1;
                self.tally.calls += 1;
            }
            Outcome::Exception(SERVERS_OWN) => {
                assert_eq!(plan.conduct, Conduct::NoContent, "nobody raised this: {plan:?}");
                self.tally.good += 1;
                self.tally.calls += 1;
            }
            Outcome::Exception(6) => {
                self.tally.errors += 1;
                let excused = !self.quiet || !self.is_good(plan);
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

    fn impatient(&mut self, conn: &Conn, now: Duration) -> bool {
        let given_up = now - conn.progress > PATIENCE;
        if given_up {
            assert!(!self.quiet, "no progress for {PATIENCE:?}: {:?}", conn.awaited);
            self.tally.gave_up += 1;
        }
        given_up
    }

    /// Does nothing for a while; the clock will stop there.
    fn pause(&mut self, now: Duration, most_us: u64) {
        let pause = Duration::from_micros(1 + self.rng.below(most_us));
        self.wait_until = now + pause;
        self.net.alarm(pause);
    }

    fn leave(&mut self, conn: Conn, now: Duration) {
        if self.rng.below(3) == 0 {
            conn.peer.reset();
        } else {
            conn.peer.close();
        }
        self.pause(now, 5_000);
    }
}

/// Every seventh call wants no reply.
fn is_oneway(plan: &Plan) -> bool {
    plan.id % 7 == 5
}

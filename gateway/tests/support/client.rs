//! Scripted clients: each drives its exchanges over one connection after the other and checks
//! every reply against its plan.
//!
//! The truths they hold the gateway to: replies come in the order of the requests; a reply that
//! carries an origin's id carries the right one, the right upload hash and the right body; a reply
//! that is presented as complete is complete; an error reply is one that the gateway may give.

use std::collections::VecDeque;
use std::time::Duration;

use engine::Address;
use engine::sim::{Net, Peer, Rng};

use super::http::{Reader, Side};
use super::life::{Life, Line, Scripted};
use super::plan::{Conduct, Plan, Upload};
use super::verdict::Judge;

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// One exchange after the other.
    KeepAlive,
    /// Up to four requests ahead of their replies.
    Pipelined,
    /// `connection: close` with each request.
    Close,
    /// HTTP/1.0 without keep-alive.
    Old,
    /// Reads a little at a time through a small window.
    Slow,
    /// Writes a few bytes at a time.
    Dripping,
    /// Leaves in the middle now and then, or stops reading and stays.
    Leaver,
}

const HABITS: [Habit; 7] = [
    Habit::KeepAlive,
    Habit::Pipelined,
    Habit::Close,
    Habit::Old,
    Habit::Slow,
    Habit::Dripping,
    Habit::Leaver,
];

/// A client.
pub(crate) struct Client {
    life: Life<Conn>,
    habit: Habit,
}

pub(crate) struct Conn {
    line: Line,
    reader: Reader,
    output: VecDeque<u8>,
    awaited: VecDeque<Plan>,
    /// The connection is a tunnel now; whether all was said in it.
    tunnel: Option<(Plan, bool)>,
    /// The request with `connection: close` was begun, or the gateway said so.
    last: bool,
    /// Stops reading at this step, without leaving.
    deaf_after: Option<u64>,
    /// The last exchange that was answered, and how.
    before: Option<(Plan, String)>,
}

impl Scripted for Client {
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
            let next = conn.awaited.front();
            format!("{:?}: {unsent} unsent, {unread} unread, awaits {next:?}", conn.line.peer)
        });
        format!("{:?}, {} to do, {conn:?}", self.habit, self.life.plans.len())
    }

    fn open(&mut self, peer: Peer, now: Duration) -> Conn {
        let (leaves, deaf) = match self.life.rng.below(8) {
            _ if self.habit != Habit::Leaver => (false, false),
            0..=3 => (true, false),
            4 => (false, !self.life.quiet),
            _ => (false, false),
        };
        let leave_after = leaves.then(|| self.life.rng.below(200));
        Conn {
            line: Line::new(peer, now, leave_after),
            reader: Reader::default(),
            output: VecDeque::new(),
            awaited: VecDeque::new(),
            tunnel: None,
            last: false,
            deaf_after: deaf.then(|| self.life.rng.below(100)),
            before: None,
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
        if conn.deaf_after.is_some_and(|steps| conn.line.steps > steps) {
            return !conn.line.peer.was_reset() && !self.is_impatient(conn, now);
        }
        let open = self.read(conn, now);
        open && !self.finished(conn) && !self.is_impatient(conn, now)
    }
}

impl Client {
    /// A client with its exchanges.
    pub(crate) fn new(
        net: &Net,
        address: &Address,
        seed: u64,
        plans: Vec<Plan>,
        quiet: bool,
    ) -> Client {
        let mut rng = Rng::new(seed);
        let habit = HABITS[rng.below(HABITS.len() as u64) as usize];
        let life = Life::new(net, address, rng, plans, quiet, habit == Habit::Slow);
        Client { life, habit }
    }

    /// A client whose bytes reach an origin as they are. What it may expect is less: nobody tells
    /// its requests apart, and a connection that its origin closes is closed for it.
    pub(crate) fn passed_through(
        net: &Net,
        address: &Address,
        seed: u64,
        plans: Vec<Plan>,
    ) -> Client {
        // Nobody is there to panic.
        let plain = |plan: Plan| match plan.conduct {
            Conduct::Panic => Plan { conduct: Conduct::Exact, ..plan },
            _ => plan,
        };
        let plans = plans.into_iter().map(plain).collect();
        let client = Client::new(net, address, seed, plans, false);
        // The origins answer one request after the other.
        let habit = match client.habit {
            Habit::Pipelined => Habit::KeepAlive,
            habit => habit,
        };
        Client { habit, ..client }
    }

    /// Begins requests as the habit allows.
    fn begin(&mut self, conn: &mut Conn) {
        let ahead = if self.habit == Habit::Pipelined { 4 } else { 1 };
        while conn.awaited.len() < ahead && !conn.last && conn.output.is_empty() {
            let Some(plan) = self.life.plans.pop_front() else { return };
            let old = self.habit == Habit::Old;
            let close = self.habit == Habit::Close;
            // HTTP/1.0 knows no chunks.
            let upload = match plan.upload {
                Upload::Chunked if old => Upload::Exact,
                upload => upload,
            };
            let plan = Plan { upload, ..plan };
            let chunk = self.life.rng.size(5_000);
            conn.output.extend(plan.request(u8::from(!old), close, chunk));
            conn.last |= old || close || plan.conduct == Conduct::Tunnel;
            conn.awaited.push_back(plan);
            self.life.tally.sent += 1;
            self.life.tally.panics += u64::from(plan.conduct == Conduct::Panic);
        }
    }

    fn write(&mut self, conn: &mut Conn, now: Duration) {
        if conn.output.is_empty() {
            if let Some((_, said @ false)) = &mut conn.tunnel {
                *said = true;
                conn.line.peer.shut_write();
            }
            return;
        }
        let length = conn.output.len();
        let most =
            if self.habit == Habit::Dripping { self.life.rng.size(64.min(length)) } else { length };
        let bytes: Vec<u8> = conn.output.range(..most).copied().collect();
        let sent = conn.line.write(&bytes, now);
        conn.output.drain(..sent);
        if self.habit == Habit::Dripping && !conn.output.is_empty() {
            self.life.pause(if sent > 0 { 2_000 } else { 500_000 });
        }
    }

    /// Reads and checks; false when the connection is over.
    fn read(&mut self, conn: &mut Conn, now: Duration) -> bool {
        let most = self.life.read_most(&conn.line.peer);
        let seen = conn.line.peer.read_up_to(conn.reader.input(), most);
        if seen.bytes > 0 {
            conn.line.progress = now;
        }
        while conn.tunnel.is_none() && self.reply(conn, seen.eof && !seen.reset) {}
        if !(seen.eof || seen.reset) {
            return true;
        }
        match conn.tunnel {
            Some((plan, _)) => self.check_tunnel(conn, plan, seen.reset),
            None => self.check_end(conn, seen.reset),
        }
        false
    }

    /// A tunnel ended: by a FIN only if everything was carried both ways.
    fn check_tunnel(&mut self, conn: &mut Conn, plan: Plan, reset: bool) {
        let expected = [plan.upload(), plan.reply_body()].concat();
        let carried = std::mem::take(conn.reader.input());
        assert!(expected.starts_with(&carried), "a tunnel changed its bytes: {plan:?}");
        let whole = carried.len() == expected.len();
        let (got, due) = (carried.len(), expected.len());
        assert!(whole || reset, "a cut tunnel ended cleanly at {got} of {due}: {plan:?}");
        assert!(
            whole || !self.life.quiet,
            "a tunnel was cut for nothing at {got} of {due}: {plan:?}"
        );
        self.life.tally.good += u64::from(whole);
        self.life.tally.tunnels += u64::from(whole);
        self.life.tally.broken += u64::from(!whole);
    }

    /// Takes one reply if it is whole.
    fn reply(&mut self, conn: &mut Conn, eof: bool) -> bool {
        let side = match conn.awaited.front() {
            Some(plan) if plan.upload == Upload::Head => Side::ReplyToHead,
            _ => Side::Replies,
        };
        let next = conn.reader.next(side, eof);
        let next = next.unwrap_or_else(|error| panic!("client got a bad reply: {error}"));
        let Some(reply) = next else { return false };
        if reply.status() == 101 {
            let plan = conn.awaited.pop_front().expect("a 101 to a request");
            assert_eq!(plan.conduct, Conduct::Tunnel, "an upgrade that was not asked for");
            conn.output.extend(plan.upload());
            conn.tunnel = Some((plan, false));
            return false;
        }
        if reply.status() < 200 {
            return true;
        }
        let says_close = reply.field("connection").is_some_and(|value| value == "close");
        conn.last |= says_close;
        match conn.awaited.pop_front() {
            Some(plan) => {
                let judge = Judge { net: &self.life.net, quiet: self.life.quiet };
                judge.reply(&plan, &reply, &mut self.life.tally);
                conn.before =
                    Some((plan, format!("{} at {:?}", reply.start, self.life.net.elapsed())));
            }
            // A word about a request that never came.
            None => assert_eq!(reply.status(), 408, "a reply to nothing: {}", reply.start),
        }
        true
    }

    /// The connection ended: was it allowed to?
    fn check_end(&mut self, conn: &Conn, reset: bool) {
        let whole = conn.awaited.is_empty();
        let broken_plan = conn.awaited.iter().any(|plan| !plan.conduct.is_good());
        // An answer before the end of an upload of unknown length is kept alive in the hope that
        // little is left; more than swallow-bytes-max of it closes the connection.
        let endless = conn.before.as_ref().is_some_and(|(plan, answer)| {
            let refused = answer.starts_with("HTTP/1.1 503");
            let early = plan.conduct == Conduct::Early || !plan.conduct.is_good() || refused;
            plan.upload == Upload::Chunked && (early || plan.cluster == 2)
        });
        let excused = !self.life.quiet || whole || broken_plan || conn.last || endless;
        assert!(
            excused,
            "at {:?} {:?} {:?} closed (reset {reset}) after {:?} with {:?} unanswered",
            self.life.net.elapsed(),
            self.habit,
            conn.line.peer,
            conn.before,
            conn.awaited.front()
        );
    }

    fn finished(&mut self, conn: &Conn) -> bool {
        let quiet = conn.awaited.is_empty() && conn.output.is_empty();
        // A client that was told of the close waits for it; others leave when they are done.
        conn.tunnel.is_none() && quiet && !conn.last && self.life.plans.is_empty()
    }

    fn is_impatient(&mut self, conn: &Conn, now: Duration) -> bool {
        self.life.is_impatient(&conn.line, now, &conn.awaited.front())
    }
}

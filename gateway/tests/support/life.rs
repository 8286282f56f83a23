//! What every scripted client does, whatever it speaks: connect, get on, wait, lose heart, leave.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use engine::Address;
use engine::sim::{Net, Peer, Rng};

use super::plan::Plan;
use super::verdict::Tally;

/// Longer than every deadline of the gateway under test.
const PATIENCE: Duration = Duration::from_secs(100);

/// A client, but for what it speaks.
pub(crate) struct Life<C> {
    pub(crate) net: Net,
    pub(crate) rng: Rng,
    address: Address,
    /// Exchanges not begun.
    pub(crate) plans: VecDeque<Plan>,
    /// Nothing is allowed to fail but what a plan itself breaks.
    pub(crate) quiet: bool,
    /// Reads a little at a time through a small window.
    is_slow: bool,
    pub(crate) conn: Option<C>,
    /// Not before this time.
    wait_until: Duration,
    /// What came of its exchanges.
    pub(crate) tally: Tally,
}

/// A connection, but for what is spoken on it.
pub(crate) struct Line {
    pub(crate) peer: Peer,
    /// When bytes last went either way.
    pub(crate) progress: Duration,
    pub(crate) steps: u64,
    /// Leaves in the middle, at this step.
    pub(crate) leave_after: Option<u64>,
}

/// A client of some protocol.
pub(crate) trait Scripted {
    type Conn;

    fn life(&self) -> &Life<Self::Conn>;

    fn life_mut(&mut self) -> &mut Life<Self::Conn>;

    fn open(&mut self, peer: Peer, now: Duration) -> Self::Conn;

    fn line(conn: &mut Self::Conn) -> &mut Line;

    /// A connection that is over, and how many of its exchanges have no answer.
    fn end(conn: Self::Conn) -> (Line, usize);

    /// One round on a connection that is made; false when it is over.
    fn exchange(&mut self, conn: &mut Self::Conn, now: Duration) -> bool;

    /// What it is doing, for a failure's message.
    fn state(&self) -> String;

    /// True when every exchange has ended and the connection is gone.
    fn done(&self) -> bool {
        self.life().plans.is_empty() && self.life().conn.is_none()
    }

    /// Gets on.
    fn step(&mut self) {
        let life = self.life_mut();
        let now = life.net.elapsed();
        if now < life.wait_until {
            life.net.alarm(life.wait_until - now);
            return;
        }
        let mut conn = match life.conn.take() {
            Some(conn) => conn,
            None if life.plans.is_empty() => return,
            None => {
                let peer = life.connect();
                self.open(peer, now)
            }
        };
        if self.gets_on(&mut conn, now) {
            self.life_mut().conn = Some(conn);
        } else {
            let (line, unanswered) = Self::end(conn);
            let life = self.life_mut();
            life.tally.broken += unanswered as u64;
            life.leave(line.peer);
        }
    }

    /// One round on a connection; false when it is over.
    fn gets_on(&mut self, conn: &mut Self::Conn, now: Duration) -> bool {
        let line = Self::line(conn);
        match line.peer.connected() {
            None => return !self.life_mut().is_impatient(line, now, &"a connect"),
            Some(false) => {
                assert!(!self.life().quiet, "the gateway refused a connection");
                return false;
            }
            Some(true) => {}
        }
        line.steps += 1;
        let leaves = line.leave_after.is_some_and(|steps| line.steps > steps);
        !leaves && self.exchange(conn, now)
    }
}

impl<C> Life<C> {
    /// A client with its exchanges, which begins within some milliseconds.
    pub(crate) fn new(
        net: &Net,
        address: &Address,
        mut rng: Rng,
        plans: impl IntoIterator<Item = Plan>,
        quiet: bool,
        is_slow: bool,
    ) -> Life<C> {
        let wait_until = Duration::from_micros(rng.below(20_000));
        Life {
            net: net.clone(),
            rng,
            address: address.clone(),
            plans: plans.into_iter().collect(),
            quiet,
            is_slow,
            conn: None,
            wait_until,
            tally: Tally::default(),
        }
    }

    fn connect(&mut self) -> Peer {
        let peer = self.net.connect(&self.address);
        if self.is_slow {
            peer.set_window(self.rng.size(4_096));
        }
        self.tally.connections += 1;
        peer
    }

    /// How much is read at a time; who reads slowly leaves the rest for later.
    pub(crate) fn read_most(&mut self, peer: &Peer) -> usize {
        if !self.is_slow {
            return usize::MAX;
        }
        let most = self.rng.size(3_000);
        if peer.unread() > most {
            self.pause(3_000);
        }
        most
    }

    /// Does nothing for less than so many microseconds; the clock will stop there.
    pub(crate) fn pause(&mut self, most_us: u64) {
        let pause = Duration::from_micros(self.rng.below(most_us));
        self.wait_until = self.net.elapsed() + pause;
        self.net.alarm(pause);
    }

    pub(crate) fn is_impatient(&mut self, line: &Line, now: Duration, awaited: &dyn Debug) -> bool {
        let given_up = now - line.progress > PATIENCE;
        if given_up {
            assert!(!self.quiet, "no progress for {PATIENCE:?}: {awaited:?}");
            self.tally.gave_up += 1;
        }
        given_up
    }

    fn leave(&mut self, peer: Peer) {
        if self.rng.below(3) == 0 {
            peer.reset();
        } else {
            peer.close();
        }
        self.pause(5_000);
    }
}

impl Line {
    pub(crate) fn new(peer: Peer, now: Duration, leave_after: Option<u64>) -> Line {
        Line { peer, progress: now, steps: 0, leave_after }
    }

    /// Sends what the peer takes of these bytes: how many.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Duration) -> usize {
        let sent = self.peer.write(bytes);
        if sent > 0 {
            self.progress = now;
        }
        sent
    }
}

//! The simulated ring: the seam's interface on in-memory sockets, a virtual clock and seeded
//! faults.
//!
//! `faults.rs` says what goes wrong and counts it, `world.rs` is the network and the clock,
//! `ops.rs` the kernel's side of submissions and completions, `net.rs` the handle with which a test
//! plays the far ends. It is *not* a model of TCP: no congestion, no loss, no segments' sizes.
//! Invariants: one seed gives one run, bit for bit; the clock moves only in `enter`, by at most one
//! event at a time, so that the driver sees everything when it happens.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::{Cqe, Family, Group, Request, SqFull, Wait};
use crate::buf::pool::Pool;
use crate::config::{Liveness, ShardConfig};
use crate::net::address::Address;

mod audit;
mod faults;
mod net;
mod ops;
#[cfg(test)]
mod tests;
mod world;

pub use super::rules::{Checked, Rule, Shape, checked};
pub use audit::Audit;
pub(crate) use audit::audit;
pub use faults::{Fault, Faults, Fired, Rng};
pub use net::{Net, Peer, PeerListener, Seen};
use ops::{Ops, Sqe, Work};
use world::{Node, Owner};

/// One shard's simulated ring.
pub(crate) struct SimRing {
    net: Net,
    ops: Ops,
    sq: VecDeque<(u64, Sqe)>,
    sq_entries: usize,
    cq: VecDeque<Cqe>,
    /// The last push was refused by a fault; the next is not.
    refused: bool,
}

/// Completions handed out at once while the cap is on, as Linux 6.13 does with min_complete 1.
const CAP: usize = 20;

/// Virtual cost of one enter, so that a busy shard's clock moves too.
const ENTER_NS: u64 = 1_000;

/// Virtual time zero as wall time, seconds since the epoch: 2026-01-01.
const WALL_BASE_S: u64 = 1_767_225_600;

/// A descriptor that nothing can be done with but closing it: held in reserve.
const RESERVE: RawFd = world::FD_FIRST - 1;

impl SimRing {
    /// A ring on `net` whose received bytes go to `pool`.
    pub(crate) fn new(net: &Net, config: &ShardConfig, pool: &Rc<Pool>) -> SimRing {
        SimRing {
            net: net.clone(),
            ops: Ops::new(pool.clone()),
            sq: VecDeque::new(),
            sq_entries: config.ring_entries as usize,
            cq: VecDeque::new(),
            refused: false,
        }
    }

    pub(crate) fn push(&mut self, user_data: u64, request: Request<'_>) -> Result<(), SqFull> {
        let full = self.sq.len() >= self.sq_entries;
        if full || (!self.refused && self.net.world().roll(Fault::SqFull)) {
            self.refused = true;
            return Err(SqFull);
        }
        self.refused = false;
        self.sq.push_back((user_data, owned(request)));
        Ok(())
    }

    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let early = self.submit();
        self.settle();
        if let Wait::Until(until) = wait
            && self.cq.is_empty()
            && !early
        {
            self.sleep(until);
            self.settle();
        }
        let room = if matches!(wait, Wait::Until(_)) { self.batch() } else { usize::MAX };
        self.show(room);
        Ok(())
    }

    /// Executes what is staged. True when a fault makes enter return without waiting.
    fn submit(&mut self) -> bool {
        let mut world = self.net.world();
        let now = world.nanos + ENTER_NS;
        world.advance(now);
        if !self.sq.is_empty() && world.roll(Fault::EnterBusy) {
            return true;
        }
        let mut count = self.sq.len();
        let part = count > 1 && world.roll(Fault::PartialSubmit);
        if part {
            count = 1 + world.rng.below(count as u64 - 1) as usize;
        }
        for (user_data, sqe) in self.sq.drain(..count) {
            self.ops.submit(&mut world, user_data, sqe);
        }
        part || world.roll(Fault::EnterInterrupted) || world.roll(Fault::EnterTimeout)
    }

    /// Lets the network and the ops get on as far as the clock allows.
    fn settle(&mut self) {
        let mut world = self.net.world();
        world.run_due();
        self.ops.progress(&mut world);
    }

    /// Moves the clock to the next thing that happens, at most to `until`.
    fn sleep(&mut self, until: Option<Instant>) {
        let mut world = self.net.world();
        if self.ops.next_visible().is_some_and(|at| at <= world.nanos) {
            return;
        }
        let until = until.map(|at| at.saturating_duration_since(world.base).as_nanos() as u64);
        let next = [world.next_event(), self.ops.next_visible(), until];
        if let Some(at) = next.into_iter().flatten().min() {
            world.advance(at);
        }
    }

    /// How many completions this enter shows: with the cap on, up to 20 of those that are due.
    fn batch(&self) -> usize {
        let due = self.ops_due();
        let mut world = self.net.world();
        let most = 1 + world.rng.below(CAP as u64) as usize;
        if due > most && world.roll(Fault::Cap) { most } else { usize::MAX }
    }

    fn ops_due(&self) -> usize {
        self.ops.due(self.net.world().nanos)
    }

    fn show(&mut self, room: usize) {
        let now = self.net.world().nanos;
        for _ in 0..room {
            let Some(cqe) = self.ops.take_visible(now) else { return };
            self.cq.push_back(cqe);
        }
    }

    pub(crate) fn reap(&mut self, into: &mut Vec<Cqe>) -> bool {
        into.extend(self.cq.drain(..));
        self.ops_due() == 0
    }

    pub(crate) fn provide(&mut self, group: Group, bid: u16) {
        self.ops.provide(group, bid);
    }

    pub(crate) fn publish(&mut self) {
        self.ops.publish();
    }

    pub(crate) fn now(&self) -> Instant {
        self.net.now()
    }

    pub(crate) fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_BASE_S) + self.net.elapsed()
    }

    pub(crate) fn random(&self) -> u64 {
        self.net.world().rng.next()
    }

    pub(crate) fn socket(&mut self, _family: Family) -> io::Result<RawFd> {
        let mut world = self.net.world();
        let end = world.new_end(Owner::Shard);
        Ok(world.open_file(Node::End(end)))
    }

    pub(crate) fn set_nodelay(&mut self, fd: RawFd) -> io::Result<()> {
        self.end(fd).map(|_| ())
    }

    /// No simulated peer dies without a word.
    pub(crate) fn set_liveness(&mut self, fd: RawFd, _liveness: &Liveness) -> io::Result<()> {
        self.end(fd).map(|_| ())
    }

    pub(crate) fn peer_address(&mut self, fd: RawFd) -> io::Result<Address> {
        let end = self.end(fd)?;
        let world = self.net.world();
        // getpeername(2) no longer knows the peer of a connection that was reset.
        let remote = world.ends[end].remote.clone().filter(|_| !world.ends[end].dead);
        remote.ok_or_else(|| errno(libc::ENOTCONN))
    }

    pub(crate) fn local_address(&mut self, fd: RawFd) -> io::Result<Address> {
        let end = self.end(fd)?;
        let local = self.net.world().ends[end].local.clone();
        local.ok_or_else(|| errno(libc::ENOTCONN))
    }

    pub(crate) fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        let end = self.end(fd)?;
        self.net.world().shut_write(end).map_err(errno)
    }

    pub(crate) fn linger_zero(&mut self, fd: RawFd) -> io::Result<()> {
        let end = self.end(fd)?;
        self.net.world().ends[end].linger_zero = true;
        Ok(())
    }

    pub(crate) fn close_now(&mut self, fd: RawFd) {
        let open = self.net.world().close_file(fd);
        assert!(open || fd == RESERVE, "close of descriptor {fd}, which is not open");
    }

    pub(crate) fn accept_now(&mut self, fd: RawFd) -> io::Result<Option<RawFd>> {
        let mut world = self.net.world();
        match world.file(fd) {
            Some(Node::Listener(listener)) => Ok(ops::accept_fd(&mut world, listener)),
            _ => Err(errno(libc::EBADF)),
        }
    }

    pub(crate) fn open_reserve(&mut self) -> io::Result<RawFd> {
        Ok(RESERVE)
    }

    pub(crate) fn hand_over(&mut self, _fd: RawFd) -> Option<OwnedFd> {
        None
    }

    pub(crate) fn overflowed(&mut self) -> bool {
        false
    }

    fn end(&self, fd: RawFd) -> io::Result<usize> {
        match self.net.world().file(fd) {
            Some(Node::End(end)) => Ok(end),
            Some(_) => Err(errno(libc::ENOTCONN)),
            None => Err(errno(libc::EBADF)),
        }
    }
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn owned(request: Request<'_>) -> Sqe {
    let (fd, work) = match request {
        Request::Cancel { target } => return Sqe::Cancel { target },
        Request::Close { fd } => return Sqe::Close { fd },
        Request::Accept { fd } => (fd, Work::Accept),
        Request::RecvMulti { fd, group } => (fd, Work::Recv { group, multishot: true }),
        Request::Recv { fd, group, .. } => (fd, Work::Recv { group, multishot: false }),
        Request::Send { fd, block } => {
            let bytes = block.slices().flatten().copied().collect();
            (fd, Work::Send { bytes, done: 0 })
        }
        Request::Connect { fd, address } => (fd, Work::Connect { to: address.address() }),
        Request::PollHup { fd } => (fd, Work::PollHup),
        Request::PollIn { fd } => (fd, Work::PollIn),
    };
    Sqe::Start { fd, work }
}

//! The simulated kernel's ops: what a submission starts, and when it completes.
//!
//! It obeys the kernel's rules and takes every freedom they leave: order holds per op only, a
//! cancel may complete before or after its target, CLOSE neither cancels nor sends FIN while an op
//! holds the socket, a multishot may eat all visible buffers at once, ENOBUFS eats no data, a final
//! completion may carry data. Bytes to send are copied at push; received bytes are written into the
//! pool when the completion is made. Cost: a few ordered-map operations per op; tests only.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::faults::Fault;
use super::world::{Node, Readable, World};
use crate::buf::pool::Pool;
use crate::net::address::Address;
use crate::ring::{Cqe, Group};

/// A submission, owning what it needs.
#[derive(Debug)]
pub(super) enum Sqe {
    Start { fd: i32, work: Work },
    Cancel { target: u64 },
    Close { fd: i32 },
}

/// What an op waits for.
#[derive(Debug)]
pub(super) enum Work {
    Accept,
    Recv { group: Group, multishot: bool },
    Send { bytes: Vec<u8>, done: usize },
    Connect { to: Option<Address> },
    PollHup,
    PollIn,
}

#[derive(Debug)]
struct Op {
    node: Node,
    work: Work,
    /// Where its last completion stands in the order of becoming visible.
    last: (u64, u8),
}

/// A provided-buffer ring as the kernel sees it.
#[derive(Debug, Default)]
struct BufRing {
    staged: Vec<u16>,
    visible: VecDeque<u16>,
}

/// What an attempt to get on came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing to do until the node changes.
    Wait,
    /// A completion that is not the last.
    More(Outcome),
    /// The last completion.
    Final(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    result: i32,
    buffer: Option<u16>,
}

impl Outcome {
    fn plain(result: i32) -> Outcome {
        Outcome { result, buffer: None }
    }
}

/// Ops in flight and completions on their way.
pub(super) struct Ops {
    pool: Rc<Pool>,
    ops: BTreeMap<u64, Op>,
    by_node: BTreeMap<Node, Vec<u64>>,
    /// Happened but not visible: by time, then chance, then order.
    hidden: BTreeMap<(u64, u8, u64), Cqe>,
    hidden_seq: u64,
    rings: [BufRing; 2],
}

impl Ops {
    pub(super) fn new(pool: Rc<Pool>) -> Ops {
        Ops {
            pool,
            ops: BTreeMap::new(),
            by_node: BTreeMap::new(),
            hidden: BTreeMap::new(),
            hidden_seq: 0,
            rings: [BufRing::default(), BufRing::default()],
        }
    }

    pub(super) fn provide(&mut self, group: Group, bid: u16) {
        self.rings[group.index()].staged.push(bid);
    }

    pub(super) fn publish(&mut self) {
        for ring in &mut self.rings {
            ring.visible.extend(ring.staged.drain(..));
        }
    }

    /// When the next completion becomes visible, virtual nanoseconds.
    pub(super) fn next_visible(&self) -> Option<u64> {
        self.hidden.keys().next().map(|key| key.0)
    }

    /// Completions that are visible at this time.
    pub(super) fn due(&self, now_ns: u64) -> usize {
        self.hidden.range(..(now_ns + 1, 0, 0)).count()
    }

    /// Takes the next completion that is visible at this time.
    pub(super) fn take_visible(&mut self, now_ns: u64) -> Option<Cqe> {
        let entry = self.hidden.first_entry()?;
        (entry.key().0 <= now_ns).then(|| entry.remove())
    }

    /// Executes one submission.
    pub(super) fn submit(&mut self, world: &mut World, user_data: u64, sqe: Sqe) {
        match sqe {
            Sqe::Cancel { target } => self.cancel(world, user_data, target),
            Sqe::Close { fd } => {
                let result = if world.close_file(fd) { 0 } else { -libc::EBADF };
                self.answer(world, user_data, result);
            }
            Sqe::Start { fd, work } => match node_for(world, fd, &work) {
                Ok(node) => self.start(world, user_data, node, work),
                Err(errno) => self.answer(world, user_data, -errno),
            },
        }
    }

    fn start(&mut self, world: &mut World, user_data: u64, node: Node, work: Work) {
        world.retain(node);
        let before = self.ops.insert(user_data, Op { node, work, last: (0, 0) });
        assert!(before.is_none(), "user data {user_data:#x} is in flight already");
        self.by_node.entry(node).or_default().push(user_data);
        self.attempt(world, user_data);
    }

    /// Lets every op get on whose node has changed.
    pub(super) fn progress(&mut self, world: &mut World) {
        while let Some(node) = world.dirty.pop_first() {
            let waiting = self.by_node.get(&node).cloned().unwrap_or_default();
            for user_data in waiting {
                self.attempt(world, user_data);
            }
        }
    }

    fn attempt(&mut self, world: &mut World, user_data: u64) {
        while let Some(op) = self.ops.get_mut(&user_data) {
            let step = match (&mut op.work, op.node) {
                (Work::Accept, Node::Listener(listener)) => accept(world, listener),
                (Work::Recv { group, multishot }, Node::End(end)) => {
                    let ring = &mut self.rings[group.index()];
                    let mut receive = Receive { pool: &self.pool, ring, group: *group };
                    receive.step(world, end, *multishot)
                }
                (Work::Send { bytes, done }, Node::End(end)) => send(world, end, bytes, done),
                (Work::Connect { to }, Node::End(end)) => connect(world, end, to),
                (Work::PollHup, Node::End(end)) => match world.hangup_mask(end) {
                    0 => Step::Wait,
                    mask => Step::Final(Outcome::plain(mask)),
                },
                _ => Step::Wait,
            };
            match step {
                Step::Wait => return,
                Step::More(outcome) => self.post(world, user_data, outcome, true),
                Step::Final(outcome) => self.finish(world, user_data, outcome),
            }
        }
    }

    fn finish(&mut self, world: &mut World, user_data: u64, outcome: Outcome) {
        self.post(world, user_data, outcome, false);
        let Some(op) = self.ops.remove(&user_data) else { return };
        if let Some(waiting) = self.by_node.get_mut(&op.node) {
            waiting.retain(|other| *other != user_data);
            if waiting.is_empty() {
                self.by_node.remove(&op.node);
            }
        }
        world.release(op.node);
    }

    /// The only completion of an op that never waits.
    fn answer(&mut self, world: &mut World, user_data: u64, result: i32) {
        self.post(world, user_data, Outcome::plain(result), false);
    }

    /// Makes a completion, visible now or later but never before an earlier one of the same op.
    fn post(&mut self, world: &mut World, user_data: u64, outcome: Outcome, more: bool) {
        let late = world.roll(Fault::DelayedCqe);
        let delay = if late { world.rng.below(world.faults.delay_max_ns.max(2)) } else { 0 };
        let mut place = (world.nanos + delay, 128);
        if world.roll(Fault::ReorderedCqe) {
            place.1 = world.rng.below(256) as u8;
        }
        if let Some(op) = self.ops.get_mut(&user_data) {
            place = place.max(op.last);
            op.last = place;
        }
        self.hidden_seq += 1;
        let cqe = Cqe { user_data, result: outcome.result, more, buffer: outcome.buffer };
        world.note(&[4, user_data, outcome.result as u64, u64::from(more)]);
        self.hidden.insert((place.0, place.1, self.hidden_seq), cqe);
    }

    // Cancelling.

    fn cancel(&mut self, world: &mut World, user_data: u64, target: u64) {
        let Some(op) = self.ops.get(&target) else {
            return self.answer(world, user_data, -libc::ENOENT);
        };
        let node = op.node;
        // Work that the network had under way may win the race against the cancel.
        let racing = matches!(op.work, Work::Recv { .. } | Work::Accept)
            && world.rng.chance(world.faults.rate(Fault::FinalData))
            && world.hurry(node);
        let running = world.roll(Fault::CancelAlready);
        let result = if running { -libc::EALREADY } else { 0 };
        if running || world.roll(Fault::CancelFirst) {
            self.answer(world, user_data, result);
            self.end_cancelled(world, target, racing);
        } else {
            if world.faults.rate(Fault::CancelLast) > 0 {
                world.fired.add(Fault::CancelLast);
            }
            self.end_cancelled(world, target, racing);
            self.answer(world, user_data, result);
        }
    }

    /// Ends a cancelled op: with what it had got by then, else ECANCELED.
    fn end_cancelled(&mut self, world: &mut World, target: u64, racing: bool) {
        let Some(op) = self.ops.get_mut(&target) else { return };
        let mut last = Outcome::plain(-libc::ECANCELED);
        match (&mut op.work, op.node) {
            (Work::Send { done, .. }, _) if *done > 0 => {
                last.result = *done as i32;
                world.fired.add(Fault::CancelledSend);
            }
            (Work::Recv { group, .. }, Node::End(end)) if racing => {
                let ring = &mut self.rings[group.index()];
                let mut receive = Receive { pool: &self.pool, ring, group: *group };
                if let Step::Final(outcome) = receive.step(world, end, false) {
                    last = outcome;
                    world.fired.add(Fault::FinalData);
                }
            }
            (Work::Accept, Node::Listener(listener)) if racing => {
                if let Step::More(outcome) | Step::Final(outcome) = accept(world, listener) {
                    last = outcome;
                    world.fired.add(Fault::FinalData);
                }
            }
            _ => {}
        }
        self.finish(world, target, last);
    }
}

/// The object an op works on; an errno where the kernel would refuse at once.
fn node_for(world: &World, fd: i32, work: &Work) -> Result<Node, i32> {
    if matches!(work, Work::PollIn) {
        return Ok(Node::Event);
    }
    match (world.file(fd), work) {
        (None, _) => Err(libc::EBADF),
        (Some(node @ Node::Listener(_)), Work::Accept) => Ok(node),
        (Some(Node::Listener(_)), _) => Err(libc::ENOTCONN),
        (Some(Node::End(_)), Work::Accept) => Err(libc::EINVAL),
        (Some(node), _) => Ok(node),
    }
}

/// Takes one connection from the backlog.
fn accept(world: &mut World, listener: usize) -> Step {
    if world.listeners[listener].backlog.is_empty() {
        return Step::Wait;
    }
    if world.roll(Fault::AcceptNoFiles) {
        return Step::Final(Outcome::plain(-libc::EMFILE));
    }
    let Some(fd) = accept_fd(world, listener) else { return Step::Wait };
    if world.roll(Fault::AcceptAborted) {
        if let Some(Node::End(end)) = world.file(fd) {
            world.ends[end].linger_zero = true;
        }
        world.close_file(fd);
        return Step::Final(Outcome::plain(-libc::ECONNABORTED));
    }
    let outcome = Outcome::plain(fd);
    if world.roll(Fault::MultishotEnd) { Step::Final(outcome) } else { Step::More(outcome) }
}

/// A descriptor for the first connection of the backlog.
pub(super) fn accept_fd(world: &mut World, listener: usize) -> Option<i32> {
    let end = world.listeners[listener].backlog.pop_front()?;
    let fd = world.open_file(Node::End(end));
    // The descriptor holds the connection now, not the backlog.
    world.release(Node::End(end));
    Some(fd)
}

/// One receive attempt and what it needs.
struct Receive<'a> {
    pool: &'a Pool,
    ring: &'a mut BufRing,
    group: Group,
}

impl Receive<'_> {
    fn step(&mut self, world: &mut World, end: usize, multishot: bool) -> Step {
        let waiting = match world.readable(end) {
            Readable::Nothing => return Step::Wait,
            Readable::Eof => return Step::Final(Outcome::plain(0)),
            Readable::Error(errno) => return Step::Final(Outcome::plain(-errno)),
            Readable::Bytes(count) => count,
        };
        if self.ring.visible.is_empty() {
            world.fired.add(Fault::NoBuffers);
        }
        if self.ring.visible.is_empty() || world.roll(Fault::NoBuffers) {
            return Step::Final(Outcome::plain(-libc::ENOBUFS));
        }
        let Some(bid) = self.ring.visible.pop_front() else { return Step::Wait };
        let mut count = waiting.min(self.pool.page_bytes(self.group) as usize);
        if count > 1 && world.roll(Fault::ShortRecv) {
            count = world.rng.size(count - 1);
        }
        let bytes = world.take(end, count);
        self.pool.kernel_write(self.group, bid, &bytes);
        let outcome = Outcome { result: count as i32, buffer: Some(bid) };
        if multishot && !world.roll(Fault::MultishotEnd) {
            Step::More(outcome)
        } else {
            Step::Final(outcome)
        }
    }
}

fn send(world: &mut World, end: usize, bytes: &[u8], done: &mut usize) -> Step {
    if let Some(errno) = world.send_error(end, *done > 0) {
        let result = if *done > 0 { *done as i32 } else { -errno };
        return Step::Final(Outcome::plain(result));
    }
    let left = &bytes[*done..];
    let room = world.space(end).min(left.len());
    if room == 0 && !left.is_empty() {
        return Step::Wait;
    }
    let short = room > 1 && world.roll(Fault::ShortSend);
    let count = if short { world.rng.size(room - 1) } else { room };
    world.transmit(end, &left[..count]);
    *done += count;
    // Partly sent: either reported as short, or kept until the rest fits (MSG_WAITALL).
    if *done < bytes.len() && !short && world.rng.chance(800_000) {
        return Step::Wait;
    }
    Step::Final(Outcome::plain(*done as i32))
}

fn connect(world: &mut World, end: usize, to: &mut Option<Address>) -> Step {
    if let Some(to) = to.take() {
        world.start_connect(end, to);
    }
    match world.ends[end].connected {
        None => Step::Wait,
        Some(errno) => Step::Final(Outcome::plain(-errno)),
    }
}

//! A shard's I/O state, and the two things a turn does with it: what tasks left to do goes to the
//! ring (`end_turn`), what the ring completed goes to the slots (`complete`).
//!
//! Everything here runs under one short `RefCell` borrow and calls no foreign code: wakes only
//! queue task ids, and `Bytes` (whose drop may run anything) collect in `trash` for the caller.
//! Cost: no allocation in steady state; lists and blocks are reused.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::buf::out::SendBlock;
use crate::buf::pool::Pool;
use crate::config::{Liveness, ShardConfig};
use crate::net::listener::ListenerSlot;
use crate::net::pressure::Pressure;
use crate::net::slot::{Active, Flag, Phase, Socket};
use crate::op::{Kind, NO_OP, Op, Ops, Payload};
use crate::ring::{Cqe, Group, Ring};
use crate::slab::{Key, Slab};
use crate::stats::Stats;
use crate::sys;
use crate::task::current::wake;
use crate::task::raw::TaskId;
use crate::time::{Target, Wheel};

/// Blocks and active parts kept for reuse.
const FREE_MAX: usize = 64;
/// ENOBUFS doubled the visible buffers; without another one it halves again this much later.
const DECAY_AFTER: Duration = Duration::from_millis(100);

/// Caps from the configuration.
pub(crate) struct Limits {
    pub(crate) out_bytes: usize,
    pub(crate) inbox_bytes: usize,
    pub(crate) stalled_bytes: usize,
}

/// The shard's rings, slots and lists.
#[expect(clippy::vec_box, reason = "blocks and active parts move by their box, never by value")]
pub(crate) struct Io {
    pub(crate) ring: Ring,
    pub(crate) pool: Rc<Pool>,
    pub(crate) ops: Ops,
    pub(crate) sockets: Slab<Socket>,
    pub(crate) listeners: Slab<ListenerSlot>,
    pub(crate) wheel: Wheel,
    pub(crate) limits: Limits,
    pub(crate) liveness: Liveness,
    pub(crate) stats: Stats,
    /// Time of this turn, and of the shard's start.
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) turn: u64,
    /// Completions reaped and not yet handled.
    pub(crate) cqes: Vec<Cqe>,
    /// How many of them the last turn handled.
    pub(crate) last_completed: u32,
    /// Sockets that a task or a completion touched in this turn.
    pub(crate) dirty: Vec<Key>,
    /// Sockets that found no buffer, by group, first come first served.
    pub(crate) starved: [VecDeque<Key>; 2],
    /// Sockets with unread bytes: delivered in this turn, and before.
    pub(crate) fresh: Vec<Key>,
    pub(crate) aged: Vec<Key>,
    /// What is done when pages are short (B4).
    pub(crate) pressure: Pressure,
    /// When the visible part is next halved; None = it was not doubled.
    decay_at: Option<Instant>,
    blocks: Vec<Box<SendBlock>>,
    actives: Vec<Box<Active>>,
    pub(crate) trash: Vec<Bytes>,
    /// The descriptor held back for EMFILE.
    pub(crate) reserve: Option<RawFd>,
    eventfd: RawFd,
    /// No new sockets, no re-arming: the shard is leaving.
    pub(crate) leaving: bool,
}

impl Io {
    pub(crate) fn new(mut ring: Ring, pool: Rc<Pool>, config: &ShardConfig, eventfd: RawFd) -> Io {
        let now = ring.now();
        let mut wheel = Wheel::new(now);
        let pressure = Pressure::new(wheel.add(Target::Pressure));
        let reserve = ring.open_reserve().ok();
        let mut io = Io {
            ring,
            pool,
            ops: Ops::new(),
            sockets: Slab::new(),
            listeners: Slab::new(),
            wheel,
            limits: Limits {
                out_bytes: config.out_bytes_max,
                inbox_bytes: config.inbox_bytes_max,
                stalled_bytes: config.stalled_bytes_max,
            },
            liveness: config.liveness,
            stats: Stats::default(),
            now,
            start: now,
            turn: 0,
            cqes: Vec::with_capacity(64),
            last_completed: 0,
            dirty: Vec::with_capacity(64),
            starved: [VecDeque::new(), VecDeque::new()],
            fresh: Vec::new(),
            aged: Vec::new(),
            pressure,
            decay_at: None,
            blocks: Vec::new(),
            actives: Vec::new(),
            trash: Vec::new(),
            reserve,
            eventfd,
            leaving: false,
        };
        io.watch_eventfd();
        io
    }

    fn watch_eventfd(&mut self) {
        let op = Op { kind: Kind::PollIn, owner: Key::unpack(NO_OP), payload: Payload::None };
        self.ops.submit(&mut self.ring, &mut self.cqes, self.eventfd, op);
    }

    /// Submits an op of a socket and counts it there.
    pub(crate) fn submit(&mut self, key: Key, kind: Kind, payload: Payload) -> u64 {
        let Some(socket) = self.sockets.get_mut(key) else {
            return NO_OP;
        };
        debug_assert!(socket.phase != Phase::Closed || kind == Kind::Close, "an op after CLOSE");
        socket.ops += 1;
        let fd = socket.fd;
        self.ops.submit(&mut self.ring, &mut self.cqes, fd, Op { kind, owner: key, payload })
    }

    pub(crate) fn cancel(&mut self, target: u64) {
        if target != NO_OP {
            self.ops.cancel(&mut self.ring, &mut self.cqes, target);
        }
    }

    /// Milliseconds since the shard's start.
    pub(crate) fn millis(&self) -> u32 {
        self.now.saturating_duration_since(self.start).as_millis() as u32
    }

    /// The socket does something at the end of this turn.
    pub(crate) fn touch(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.is(Flag::DIRTY)
        {
            socket.set(Flag::DIRTY, true);
            self.dirty.push(key);
        }
    }

    /// The socket's active part, from the free list if it has none. None = no such socket.
    pub(crate) fn active(&mut self, key: Key) -> Option<&mut Active> {
        let socket = self.sockets.get_mut(key)?;
        let active = socket
            .active
            .get_or_insert_with(|| self.actives.pop().unwrap_or_else(|| Box::new(Active::new())));
        Some(active)
    }

    pub(crate) fn block(&mut self) -> Box<SendBlock> {
        self.blocks.pop().unwrap_or_default()
    }

    pub(crate) fn recycle_block(&mut self, mut block: Box<SendBlock>) {
        self.stats.stalled_bytes -= block.copied() as u64;
        block.clear(&mut self.trash);
        if self.blocks.len() < FREE_MAX {
            self.blocks.push(block);
        }
    }

    pub(crate) fn recycle_active(&mut self, mut active: Box<Active>) {
        if let Some(block) = active.building.take() {
            self.recycle_block(block);
        }
        if let Some(timer) = active.timer.take() {
            self.wheel.remove(timer);
        }
        if self.actives.len() < FREE_MAX {
            let mut inbox = std::mem::take(&mut active.inbox);
            inbox.clear();
            inbox.shrink_to(8);
            *active = Active { inbox, ..Active::new() };
            self.actives.push(active);
        }
    }

    /// What tasks left to do goes to the ring; buffers that came back become visible.
    pub(crate) fn end_turn(&mut self) {
        let mut at = 0;
        while let Some(key) = self.dirty.get(at).copied() {
            at += 1;
            self.settle(key);
        }
        self.dirty.clear();
        self.empty_aged();
        self.decay();
        self.show_and_serve();
        self.ring.publish();
    }

    /// One touched socket: send, close, or go back to idle.
    fn settle(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::DIRTY, false);
        let phase = socket.phase;
        if matches!(phase, Phase::Open | Phase::Flushing) {
            self.start_send(key);
            self.advance_close(key);
        }
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let reader = socket.reader;
        if socket.active.as_ref().is_some_and(|active| active.is_idle(reader))
            && let Some(active) = socket.active.take()
        {
            self.recycle_active(active);
        }
    }

    /// Shows the kernel what pages there are and hands them to who stands in line.
    fn show_and_serve(&mut self) {
        self.show_buffers();
        if !self.starved.iter().all(VecDeque::is_empty) {
            self.serve_starved();
        }
    }

    fn show_buffers(&mut self) {
        for group in Group::ALL {
            while let Some(bid) = self.pool.next_visible(group) {
                self.ring.provide(group, bid);
            }
        }
    }

    /// The visible part was doubled: notes when to halve it again.
    pub(crate) fn doubled(&mut self) {
        self.decay_at = Some(self.now + DECAY_AFTER);
    }

    fn decay(&mut self) {
        if self.decay_at.is_none_or(|at| at > self.now) {
            return;
        }
        let mut boosted = false;
        for group in Group::ALL {
            boosted |= self.pool.decay(group);
        }
        self.decay_at = boosted.then(|| self.now + DECAY_AFTER);
    }

    /// Handles one completion.
    pub(crate) fn complete(&mut self, cqe: Cqe) {
        self.stats.cqes += 1;
        let Some(op) = self.ops.complete(&cqe) else {
            self.stats.stale_cqes += 1;
            return;
        };
        match op.kind {
            Kind::RecvMulti => self.on_recv(op.owner, Group::Head, cqe),
            Kind::Recv { group, .. } => self.on_recv(op.owner, group, cqe),
            Kind::Send => {
                if let Payload::Block(block) = op.payload {
                    self.on_send(op.owner, block, cqe.result);
                }
            }
            Kind::Accept => return self.on_accept(op.owner, cqe),
            Kind::Connect => self.on_connect(op.owner, cqe.result),
            Kind::PollHup => self.on_hangup(op.owner, cqe.result),
            Kind::PollIn => return self.on_eventfd(cqe),
            Kind::Cancel => return,
            // EBADF would mean that somebody else closed our descriptor.
            Kind::Close => debug_assert!(cqe.result != -libc::EBADF, "closed twice"),
        }
        if !cqe.more {
            self.op_ended(op.owner);
        }
    }

    /// A socket's op is over. The last one of a closed socket frees the slot.
    fn op_ended(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            debug_assert!(false, "a slot outlives its ops");
            return;
        };
        socket.ops -= 1;
        if socket.ops > 0 {
            return;
        }
        if socket.phase == Phase::Closed {
            self.free(key);
        } else if socket.is(Flag::LEAVING) {
            wake(socket.reader);
        }
    }

    /// Frees a slot that no op names any more.
    pub(crate) fn free(&mut self, key: Key) {
        let Some(mut socket) = self.sockets.remove(key) else {
            return;
        };
        debug_assert_eq!(socket.ops, 0);
        if let Some(active) = socket.active.take() {
            self.recycle_active(active);
        }
    }

    fn on_eventfd(&mut self, cqe: Cqe) {
        if !self.ring.is_simulated() {
            sys::eventfd_drain(self.eventfd);
        }
        if !cqe.more && !self.leaving {
            self.watch_eventfd();
        }
    }

    /// Fires deadlines.
    pub(crate) fn fire_timers(&mut self, due: &mut Vec<Target>) {
        self.wheel.expire(self.now, due);
        if due.is_empty() {
            return;
        }
        for target in due.drain(..) {
            match target {
                Target::Task(task) => wake(task),
                Target::Socket(key) => self.on_close_timer(key),
                Target::Listener(key) => self.resume_accept(key),
                Target::Pressure => self.relieve_pressure(),
            }
        }
        // Pages that a timer has freed wake nobody: they would lie until something else happens.
        self.show_and_serve();
    }

    /// Marks the socket failed and tells everybody who waits on it.
    pub(crate) fn fail(&mut self, key: Key, errno: i32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.errno == 0 {
            socket.errno = errno;
        }
        if let Some(active) = &mut socket.active
            && let Some(block) = active.building.take()
        {
            self.recycle_block(block);
        }
        self.wake_everyone(key);
        self.touch(key);
        if self.sockets.get(key).is_some_and(|socket| socket.phase == Phase::Draining) {
            self.begin_close(key);
        }
    }

    pub(crate) fn wake_everyone(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        wake(std::mem::replace(&mut socket.reader, TaskId::NONE));
        if let Some(active) = &mut socket.active {
            wake(std::mem::replace(&mut active.room_waiter, TaskId::NONE));
            wake(std::mem::replace(&mut active.flush_waiter, TaskId::NONE));
            wake(std::mem::replace(&mut active.hangup_waiter, TaskId::NONE));
        }
    }
}

#[cfg(feature = "sim")]
impl Io {
    /// What must hold between turns.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for group in Group::ALL {
            let [free, visible, held] = self.pool.census(group);
            if free + visible + held != self.pool.count(group) {
                return Err(format!("{group:?}: {free} + {visible} + {held} pages"));
            }
            if visible != self.pool.visible(group) as usize {
                return Err(format!("{group:?}: {visible} pages are visible by their marks"));
            }
        }
        let over = self.limits.out_bytes + self.pool.page_bytes(Group::Bulk) as usize;
        for (key, socket) in self.sockets.iter() {
            let armed = usize::from(socket.recv != NO_OP);
            if armed > usize::from(socket.ops) {
                return Err(format!("socket {}: a receive that is not counted", key.index));
            }
            // Framing is never refused, so the scratch may come on top.
            if socket.queued() > over + SCRATCH_SLACK {
                return Err(format!("socket {}: {} bytes queued", key.index, socket.queued()));
            }
        }
        let in_ring = self.ring.rules().ops_in_flight();
        if in_ring != self.ops.in_flight() {
            return Err(format!("{} ops in slots, {in_ring} in the ring", self.ops.in_flight()));
        }
        Ok(())
    }
}

/// Heads and control answers that framing may put on top of a full queue, in bytes.
#[cfg(feature = "sim")]
const SCRATCH_SLACK: usize = 128 * 1024;

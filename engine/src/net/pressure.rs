//! B4: what happens when receive buffers stay short.
//!
//! Readers queue up (`recv.rs`), and from then on no socket that has something to send is given
//! room for more: what is stuck holds one page, not a whole queue. If the shortage lasts 100 ms,
//! sends that have not moved for as long are what keeps the pages: the longest-stalled first, they
//! are cancelled, their rest is copied to the heap, and they go on from there. All of it, whatever
//! one socket can hold (`out_bytes_max`, one bulk page and framing), is charged to
//! `stalled_bytes_max` until the copy is freed. Only what exceeds that is shed: the longest-stalled
//! sockets fail with ENOBUFS (reason `buffer_pressure`), and their heap goes to younger ones.
//!
//! Cost: a few stores per send; nothing scans the sockets. Sends still in flight after their
//! first turn are noted in the order of their last progress, and forgotten lazily. A look frees
//! 1/16 of the pages, 512 KiB by default: 0.3 ms, and in a virtual machine whose host has not yet
//! backed the heap 2.5 ms, since each page costs a fault there. Nobody's turn gets long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::slot::{Active, Flag, Phase, Socket};
use crate::buf::out::SendBlock;
use crate::io::Io;
use crate::op::NO_OP;
use crate::ring::Group;
use crate::slab::{Key, Slab};

/// Buffers short for so long: a look follows. Also how long a send must have been stuck.
pub(crate) const STALLED_FOR: Duration = Duration::from_millis(100);
/// Between two looks while buffers stay short: one or two ticks of the wheel.
const LOOK_AGAIN: Duration = Duration::from_millis(4);
/// One look frees 1/16 of a group that is short, so that no more is copied or shed than needed.
const RELIEVED_SHARE: usize = 16;
/// Bytes of pages freed in one look at most.
const RELIEVED_MAX: usize = 2 << 20;
/// Stale notes kept for each socket before the notes are cleaned.
const STALE_PER_SOCKET: usize = 2;
const STALE_MIN: usize = 64;

/// The state of a shard's pressure relief.
pub(crate) struct Pressure {
    /// The timer of the next look, and whether it runs.
    timer: Key,
    running: bool,
    /// Pages are short: whoever has something to send gets no room for more.
    squeezed: bool,
    /// Sends that began or moved on in this turn.
    started: Vec<Key>,
    /// Sends that were in flight at the end of a turn, by their last progress. A note is stale
    /// once the socket's own moment differs.
    stalls: VecDeque<(Instant, Key)>,
    /// Bytes whose copy waits for a cancel, already charged.
    copying: usize,
}

impl Pressure {
    pub(crate) fn new(timer: Key) -> Pressure {
        Pressure {
            timer,
            running: false,
            squeezed: false,
            started: Vec::new(),
            stalls: VecDeque::new(),
            copying: 0,
        }
    }

    /// A send has begun or moved on.
    pub(crate) fn started(&mut self, key: Key) {
        self.started.push(key);
    }

    /// No further room for a socket with this queue.
    pub(crate) fn refuses(&self, active: &Active) -> bool {
        active.stalled() > 0 || (self.squeezed && active.send != NO_OP)
    }
}

impl Io {
    /// A socket waits for a page of the group: a look follows if that lasts.
    pub(crate) fn press(&mut self, group: Group) {
        self.pressure.squeezed |= self.is_short(group);
        if !self.pressure.running {
            self.look_after(STALLED_FOR);
        }
    }

    fn look_after(&mut self, time: Duration) {
        self.pressure.running = true;
        self.wheel.set(self.pressure.timer, Some(self.now + time));
    }

    /// Notes the sends that were not over at once.
    pub(crate) fn note_stalls(&mut self) {
        let mut started = std::mem::take(&mut self.pressure.started);
        for key in started.drain(..) {
            if let Some(since) = self.send_stalled_since(key) {
                self.pressure.stalls.push_back((since, key));
            }
        }
        self.pressure.started = started;
        if self.pressure.stalls.len() > STALE_PER_SOCKET * self.sockets.len() + STALE_MIN {
            self.forget_stale();
        }
    }

    fn forget_stale(&mut self) {
        let sockets = &self.sockets;
        self.pressure.stalls.retain(|(since, key)| is_stuck(sockets, *key, *since));
    }

    /// Buffers have been short for a while.
    pub(crate) fn relieve_pressure(&mut self) {
        self.pressure.running = false;
        // Sockets over their own share (B3) also queue up; only a real shortage hurts others.
        let short =
            |group: &Group| !self.starved[group.index()].is_empty() && self.is_short(*group);
        self.pressure.squeezed = Group::ALL.iter().any(short);
        if self.pressure.squeezed {
            self.relieve_oldest();
            self.look_after(LOOK_AGAIN);
        } else if !self.starved.iter().all(VecDeque::is_empty) {
            self.look_after(STALLED_FOR);
        }
    }

    /// Frees some pages: stuck sends are copied out, the longest-stalled first, and where the
    /// budget does not allow it the longest-stalled of all are shed.
    fn relieve_oldest(&mut self) {
        self.forget_stale();
        let until = self.now;
        let due = |(since, _): &&(Instant, Key)| until.duration_since(*since) >= STALLED_FOR;
        let stuck: Vec<Key> =
            self.pressure.stalls.iter().take_while(due).map(|(_, key)| *key).collect();
        let charged = self.stats.stalled_bytes as usize + self.pressure.copying;
        let mut budget = self.limits.stalled_bytes.saturating_sub(charged);
        let (mut wanted, mut shed) = (self.wanted_bytes(), 0);
        for (at, key) in stuck.iter().enumerate() {
            let (need, pinned) = self.pinned(*key);
            if wanted == 0 || pinned == 0 {
                continue;
            }
            // At worst it is the turn of the socket itself.
            while need > budget && shed <= at {
                budget += self.shed(stuck[shed]);
                shed += 1;
            }
            if shed <= at {
                self.relieve(*key);
                budget -= need;
            }
            wanted = wanted.saturating_sub(pinned);
        }
    }

    /// Bytes of pages that one look is to free: a share of each group that is short.
    fn wanted_bytes(&self) -> usize {
        let short = |group: &Group| !self.starved[group.index()].is_empty();
        let share = |group: Group| {
            (self.pool.count(group) / RELIEVED_SHARE).max(1) * self.pool.page_bytes(group) as usize
        };
        Group::ALL.into_iter().filter(short).map(share).sum::<usize>().min(RELIEVED_MAX)
    }

    /// Bytes that a copy of the socket's pinned blocks takes, and bytes of pages that it frees.
    /// Both 0 when it pins nothing, or is being copied or closed.
    fn pinned(&self, key: Key) -> (usize, usize) {
        let open = |socket: &&Socket| {
            let phase = matches!(socket.phase, Phase::Open | Phase::Flushing);
            phase && socket.errno == 0 && !socket.is(Flag::COPY_OUT)
        };
        let Some(active) = self.sockets.get(key).filter(open).and_then(|s| s.active.as_ref())
        else {
            return (0, 0);
        };
        let blocks = [self.ops.block(active.send), active.building.as_deref()];
        let pinning = blocks.into_iter().flatten().filter(|block| block.pins());
        pinning
            .fold((0, 0), |(len, pinned), block| (len + block.len(), pinned + block.pinned_bytes()))
    }

    fn relieve(&mut self, key: Key) {
        if let Some(mut block) = self.active(key).and_then(|active| active.building.take()) {
            self.copy_out(&mut block);
            if let Some(active) = self.active(key) {
                active.building = Some(block);
            }
        }
        let send = self.active(key).map_or(NO_OP, |active| active.send);
        let Some(len) = self.ops.block(send).filter(|block| block.pins()).map(SendBlock::len)
        else {
            return;
        };
        self.pressure.copying += len;
        if let Some(active) = self.active(key) {
            active.copying = len;
        }
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.set(Flag::COPY_OUT, true);
        }
        self.cancel(send);
    }

    /// Replaces a block's pages by a heap copy and charges for it.
    pub(crate) fn copy_out(&mut self, block: &mut SendBlock) {
        if !block.pins() {
            return;
        }
        let before = block.copied();
        block.copy_out(&mut self.trash);
        self.stats.stalled_bytes += (block.copied() - before) as u64;
    }

    /// A send is over: the charge of a copy that waited for it is dropped. True = it is to be
    /// copied now.
    pub(crate) fn end_copying(&mut self, key: Key) -> bool {
        let Some(socket) = self.sockets.get_mut(key) else {
            return false;
        };
        let copying = socket.is(Flag::COPY_OUT);
        socket.set(Flag::COPY_OUT, false);
        if let Some(active) = &mut socket.active {
            self.pressure.copying -= std::mem::take(&mut active.copying);
        }
        copying
    }

    /// Fails a stuck socket, if that frees a page or heap. Returns the bytes of heap freed.
    fn shed(&mut self, key: Key) -> usize {
        let pinned = self.pinned(key).1;
        let Some(socket) = self.sockets.get_mut(key) else {
            return 0;
        };
        let open = matches!(socket.phase, Phase::Open | Phase::Flushing);
        if !open || socket.errno != 0 {
            return 0;
        }
        let (send, freed) = socket
            .active
            .as_ref()
            .map_or((NO_OP, 0), |active| (active.send, active.stalled() + active.copying));
        if freed + pinned == 0 {
            return 0;
        }
        let flushing = socket.phase == Phase::Flushing;
        self.stats.buffer_pressure_closes += 1;
        if flushing {
            self.begin_close(key);
            return freed;
        }
        socket.set(Flag::RECV_FAILED, true);
        self.cancel(send);
        self.fail(key, SHED);
        freed
    }

    /// True when the socket failed because buffers stayed short.
    pub(crate) fn is_shed(&self, key: Key) -> bool {
        self.sockets.get(key).is_some_and(|socket| socket.errno == SHED)
    }
}

/// What calls on a shed socket fail with. No send of a stream socket gives it otherwise.
const SHED: i32 = libc::ENOBUFS;

/// True while the send of that moment is in flight and has not moved since.
fn is_stuck(sockets: &Slab<Socket>, key: Key, since: Instant) -> bool {
    let active = sockets.get(key).and_then(|socket| socket.active.as_ref());
    active.is_some_and(|active| active.send != NO_OP && active.send_since == Some(since))
}

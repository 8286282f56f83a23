//! The send side of a socket: a bounded queue, one send op at a time, short sends continued here.
//!
//! Pieces pushed during a turn become one gathered send at its end. B2: a slice under 1/8 of its
//! page is copied into the scratch instead of pinning the page. The cap counts charges (pages
//! that stay pinned, bytes that were copied), building and in flight together.

use std::io;
use std::task::Poll;
use std::time::Instant;

use super::recv::gone;
use super::slot::{Flag, Phase};
use crate::buf::out::{Piece, SendBlock};
use crate::io::Io;
use crate::op::{Kind, NO_OP, Payload};
use crate::slab::Key;
use crate::task::current::wake;
use crate::task::raw::TaskId;

/// What became of a pushed piece. `Bytes` that were not kept go back to be dropped by the caller,
/// outside the borrow.
pub(crate) enum Pushed {
    Kept,
    /// Copied, or the socket is gone: drop it.
    Done {
        #[expect(dead_code, reason = "carried out of the borrow only to be dropped there")]
        piece: Piece,
    },
    Full(Piece),
}

/// Pieces that own no page are copied below this, in bytes: an iovec costs more than the copy.
const COPY_BELOW: usize = 512;

impl Io {
    /// Queues a piece unless the queue was full before.
    pub(crate) fn push(&mut self, key: Key, piece: Piece) -> Pushed {
        let limit = self.limits.out_bytes;
        match self.sockets.get(key) {
            Some(socket) if accepts(socket) => {
                if socket.queued() >= limit {
                    return Pushed::Full(piece);
                }
            }
            // What is written to a socket that failed is lost, as it would be a moment later.
            _ => return Pushed::Done { piece },
        }
        let copied = match &piece {
            Piece::Buf(buf) => buf.len() * 8 < buf.capacity(),
            Piece::Bytes(_) | Piece::Static(_) => piece.len() < COPY_BELOW,
        };
        let block = self.building(key);
        let outcome = if copied {
            block.copy(piece.as_slice());
            Pushed::Done { piece }
        } else {
            block.push(piece);
            Pushed::Kept
        };
        let held_bytes = self.sockets.get(key).map_or(0, |socket| socket.held_bytes() as u64);
        self.stats.held_bytes_max = self.stats.held_bytes_max.max(held_bytes);
        self.asked(key);
        self.touch(key);
        outcome
    }

    /// The block under construction.
    fn building(&mut self, key: Key) -> &mut SendBlock {
        let missing = self.active(key).is_some_and(|active| active.building.is_none());
        if missing {
            let block = self.block();
            if let Some(active) = self.active(key) {
                active.building = Some(block);
            }
        }
        // INVARIANT: the callers have just found the socket, and the block was made above.
        self.active(key).and_then(|active| active.building.as_deref_mut()).expect("a block")
    }

    /// Takes the block out, so that foreign code can write to its scratch without a borrow held.
    pub(crate) fn lend_block(&mut self, key: Key) -> Box<SendBlock> {
        match self.active_block(key) {
            Some(block) => block,
            None => self.block(),
        }
    }

    fn active_block(&mut self, key: Key) -> Option<Box<SendBlock>> {
        self.sockets.get_mut(key)?.active.as_mut()?.building.take()
    }

    /// Puts a lent block back; its bytes are lost if the socket has failed meanwhile.
    pub(crate) fn return_block(&mut self, key: Key, block: Box<SendBlock>) {
        if !self.sockets.get(key).is_some_and(accepts) || block.is_empty() {
            return self.recycle_block(block);
        }
        if let Some(active) = self.active(key) {
            assert!(active.building.is_none(), "scratch: the closure used the same stream");
            active.building = Some(block);
        }
        self.asked(key);
        self.touch(key);
    }

    /// Starts the send of what was built, unless one is in flight.
    pub(crate) fn start_send(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.errno != 0 {
            return;
        }
        let Some(active) = &mut socket.active else {
            return;
        };
        if active.send != NO_OP || active.building.as_ref().is_none_or(|block| block.is_empty()) {
            return;
        }
        if let Some(block) = active.building.take() {
            self.send(key, block, true);
        }
    }

    fn send(&mut self, key: Key, mut block: Box<SendBlock>, progressed: bool) {
        block.prepare();
        let (charge, copied) = (block.charge(), block.copied());
        let op = self.submit(key, Kind::Send, Payload::Block(block));
        let now = self.now;
        if let Some(active) = self.active(key) {
            (active.send, active.in_flight, active.copied) = (op, charge, copied);
            if progressed {
                active.send_since = Some(now);
                self.pressure.started(key);
            }
        }
    }

    /// A send is over: continue it, or start the next, or report the failure.
    pub(crate) fn on_send(&mut self, key: Key, block: Box<SendBlock>, result: i32) {
        self.sent(key, block, result);
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let sending = socket.active.as_ref().is_some_and(|active| active.send != NO_OP);
        if socket.is(Flag::FIN_HELD) && !sending {
            socket.set(Flag::FIN_HELD, false);
            self.on_fin(key);
        }
    }

    fn sent(&mut self, key: Key, mut block: Box<SendBlock>, result: i32) {
        let sent = result.max(0) as usize;
        block.advance(sent, &mut self.trash);
        let copy_out = self.end_copying(key);
        let Some(socket) = self.sockets.get_mut(key) else {
            return self.recycle_block(block);
        };
        socket.bytes_out += sent as u64;
        if let Some(active) = &mut socket.active {
            (active.send, active.in_flight, active.copied) = (NO_OP, 0, 0);
        }
        let failed = match -result {
            errno if errno <= 0 => false,
            libc::EAGAIN | libc::EINTR => false,
            libc::ECANCELED => !copy_out,
            _ => true,
        };
        let over = socket.phase == Phase::Closed || socket.errno != 0;
        if failed && !over {
            socket.set(Flag::HUNG_UP, true);
            self.recycle_block(block);
            return self.fail(key, -result);
        }
        if over || failed {
            self.recycle_block(block);
            return self.touch(key);
        }
        if block.is_empty() {
            self.recycle_block(block);
            self.sent_all(key);
        } else {
            let mut sent = sent;
            if copy_out {
                self.copy_out(&mut block);
                // What a cancelled send had moved, it moved before: it has been stuck for as long.
                sent = 0;
            }
            self.send(key, block, sent > 0);
        }
        self.touch(key);
        self.wake_writers(key);
    }

    /// The block in flight is done; with nothing behind it the queue is empty.
    fn sent_all(&mut self, key: Key) {
        let Some(active) = self.active(key) else {
            return;
        };
        active.send_since = None;
    }

    fn wake_writers(&mut self, key: Key) {
        let half = self.limits.out_bytes / 2;
        let Some(active) = self.sockets.get_mut(key).and_then(|socket| socket.active.as_mut())
        else {
            return;
        };
        if active.queued() < half {
            wake(std::mem::replace(&mut active.room_waiter, TaskId::NONE));
        }
        if active.flushed() {
            wake(std::mem::replace(&mut active.flush_waiter, TaskId::NONE));
        }
    }

    /// Bytes that the cap still allows; none for a queue that is stuck while pages are short.
    /// `push` does not ask for that: framing and its payload stay together.
    pub(crate) fn room(&self, key: Key) -> usize {
        match self.sockets.get(key).and_then(|socket| socket.active.as_ref()) {
            Some(active) if self.pressure.refuses(active) => 0,
            Some(active) => self.limits.out_bytes.saturating_sub(active.queued()),
            None => self.limits.out_bytes,
        }
    }

    /// Ready below half of the cap.
    pub(crate) fn poll_room(&mut self, key: Key, task: TaskId) -> Poll<io::Result<()>> {
        let half = self.limits.out_bytes / 2;
        if let Some(over) = self.send_side_over(key) {
            return Poll::Ready(Err(over));
        }
        let pressure = &self.pressure;
        match self.sockets.get_mut(key).and_then(|socket| socket.active.as_mut()) {
            Some(active) if active.queued() >= half || pressure.refuses(active) => {
                active.room_waiter = task;
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready when nothing is queued and nothing is in flight.
    pub(crate) fn poll_flushed(&mut self, key: Key, task: TaskId) -> Poll<io::Result<()>> {
        if let Some(over) = self.send_side_over(key) {
            return Poll::Ready(Err(over));
        }
        match self.sockets.get_mut(key).and_then(|socket| socket.active.as_mut()) {
            Some(active) if !active.flushed() => {
                active.flush_waiter = task;
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn send_side_over(&self, key: Key) -> Option<io::Error> {
        match self.sockets.get(key) {
            None => Some(gone()),
            Some(socket) if socket.is(Flag::DETACHED) => Some(gone()),
            Some(socket) if socket.errno != 0 => Some(io::Error::from_raw_os_error(socket.errno)),
            Some(_) => None,
        }
    }

    /// Since when the send in flight has not moved.
    pub(crate) fn send_stalled_since(&self, key: Key) -> Option<Instant> {
        let active = self.sockets.get(key)?.active.as_ref()?;
        if active.send == NO_OP { None } else { active.send_since }
    }
}

/// True while pushed bytes have a chance to go out.
fn accepts(socket: &super::slot::Socket) -> bool {
    let open = matches!(socket.phase, Phase::Open | Phase::Connecting);
    open && socket.errno == 0 && !socket.is(Flag::DETACHED) && !socket.is(Flag::SHUT_DONE)
}

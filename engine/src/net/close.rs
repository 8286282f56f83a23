//! Closing, as a state of the slot: flush, SHUT_WR, drain, then cancels and CLOSE in one batch.
//!
//! A close with unread input would make the kernel answer with RST and the peer lose our last
//! words, so `finish` first shuts the write side and drops what still comes, at most 256 KiB or
//! one second. CLOSE neither cancels nor sends FIN while an op holds the file, so every op is
//! cancelled in the same batch, before it; no op is submitted for the descriptor afterwards. The
//! slot is freed by the last final completion. shutdown(2) is a plain call: the SHUTDOWN op would
//! start a kernel worker thread.

use std::time::{Duration, Instant};

use super::slot::{Flag, Phase};
use crate::io::Io;
use crate::op::{Kind, NO_OP, Payload};
use crate::slab::Key;
use crate::time::Target;

/// Bytes dropped after SHUT_WR before patience ends: a client that streams on is cut off.
pub(crate) const DRAIN_BYTES_MAX: usize = 256 * 1024;
/// Time for the peer's FIN after SHUT_WR.
const DRAIN_FOR: Duration = Duration::from_secs(1);

impl Io {
    /// SHUT_WR once everything queued is out.
    pub(crate) fn shut_write(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.is(Flag::DETACHED)
        {
            socket.set(Flag::SHUT, true);
            self.touch(key);
        }
    }

    /// Detaches the socket: what is queued goes out until `deadline`, then the close follows.
    pub(crate) fn finish(&mut self, key: Key, deadline: Instant) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.is(Flag::DETACHED) {
            return;
        }
        if socket.phase != Phase::Open || socket.errno != 0 {
            return self.begin_close(key);
        }
        socket.set(Flag::DETACHED, true);
        socket.phase = Phase::Flushing;
        // Whoever waits on the handle learns that it is inert now.
        self.wake_everyone(key);
        let timer = self.wheel.add(Target::Socket(key));
        self.wheel.set(timer, Some(deadline));
        if let Some(active) = self.active(key) {
            (active.timer, active.deadline) = (Some(timer), Some(deadline));
            active.inbox.clear();
            active.inbox_bytes = 0;
        }
        self.touch(key);
    }

    /// Moves a shut or finished socket on; called at the end of every turn that touched it.
    pub(crate) fn advance_close(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let flushing = socket.phase == Phase::Flushing;
        if !flushing && !socket.is(Flag::SHUT) {
            return;
        }
        if socket.errno != 0 {
            if flushing {
                self.begin_close(key);
            }
            return;
        }
        if !socket.flushed() {
            return;
        }
        if !socket.is(Flag::SHUT_DONE) {
            socket.set(Flag::SHUT_DONE, true);
            // A failure means that the peer has gone, which the receive side reports.
            let _ = self.ring.shutdown_write(socket.fd);
        }
        if flushing {
            self.begin_drain(key);
        }
    }

    fn begin_drain(&mut self, key: Key) {
        let until = self.now + DRAIN_FOR;
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.is(Flag::EOF) || socket.is(Flag::HUNG_UP) {
            return self.begin_close(key);
        }
        socket.phase = Phase::Draining;
        if socket.recv == NO_OP {
            // One large page at a time; an armed multishot goes on as it is.
            socket.set(Flag::BULK, true);
        }
        if let Some(active) = &socket.active
            && let (Some(timer), Some(deadline)) = (active.timer, active.deadline)
        {
            self.wheel.set(timer, Some(deadline.min(until)));
        }
        self.want_recv(key);
    }

    /// The deadline of a flush or a drain: no more waiting.
    /// Bytes that did not go out in time are missing, so the end must not look like one.
    pub(crate) fn on_close_timer(&mut self, key: Key) {
        match self.sockets.get(key).map(|socket| socket.phase) {
            Some(Phase::Flushing) => self.reset(key),
            Some(Phase::Draining) => self.begin_close(key),
            _ => {}
        }
    }

    /// Cancels every op and closes, in one batch. What is queued is dropped.
    pub(crate) fn begin_close(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.phase == Phase::Closed {
            return;
        }
        socket.phase = Phase::Closed;
        socket.set(Flag::DETACHED, true);
        // Whoever waits on the handle learns that it is inert now.
        self.wake_everyone(key);
        // Before it is connected the field names the connect op.
        self.stop_recv(key);
        if let Some(socket) = self.sockets.get_mut(key)
            && let Some(active) = &mut socket.active
        {
            let (send, poll) = (active.send, active.poll);
            active.inbox.clear();
            active.inbox_bytes = 0;
            let (block, timer) = (active.building.take(), active.timer.take());
            self.cancel(send);
            self.cancel(poll);
            if let Some(block) = block {
                self.recycle_block(block);
            }
            if let Some(timer) = timer {
                self.wheel.remove(timer);
            }
        }
        self.submit(key, Kind::Close, Payload::None);
    }

    /// RST instead of FIN.
    pub(crate) fn reset(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get(key)
            && socket.phase != Phase::Closed
        {
            // A failure means that the connection is gone already.
            let _ = self.ring.linger_zero(socket.fd);
        }
        self.begin_close(key);
    }
}

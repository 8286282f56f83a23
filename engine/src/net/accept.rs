//! The accept side of a listener: one multishot accept, and what happens when it fails.
//!
//! EMFILE: the reserve descriptor is closed to accept and refuse one connection, which is better
//! than leaving it to hang in the backlog; then accepting pauses 10 ms. A listener whose task does
//! not keep up stops accepting at a bound and goes on when its queue is empty.

use std::os::fd::RawFd;
use std::time::Duration;

use super::address::Address;
use super::slot::{Peer, Phase, Socket};
use crate::io::Io;
use crate::op::{Kind, NO_OP, Op, Payload};
use crate::ring::Cqe;
use crate::slab::Key;
use crate::task::current::wake;
use crate::task::raw::TaskId;

/// Accepting pauses so long when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(10);
/// Accepted connections that wait for the listener's task.
const QUEUE_MAX: usize = 1024;

impl Io {
    pub(crate) fn arm_accept(&mut self, key: Key) {
        let leaving = self.leaving;
        let Some(slot) = self.listeners.get_mut(key) else {
            return;
        };
        let idle = slot.accept == NO_OP && !slot.closing && !slot.paused && !leaving;
        if !idle || slot.queue.len() >= QUEUE_MAX {
            return;
        }
        let op = Op { kind: Kind::Accept, owner: key, payload: Payload::None };
        slot.accept = self.ops.submit(&mut self.ring, &mut self.cqes, slot.fd, op);
    }

    /// A completion of the accept: a descriptor, an error, or the end of the multishot.
    pub(crate) fn on_accept(&mut self, key: Key, cqe: Cqe) {
        if cqe.result >= 0 {
            self.accepted(key, cqe.result);
        }
        if cqe.more {
            return;
        }
        let Some(slot) = self.listeners.get_mut(key) else {
            return;
        };
        slot.accept = NO_OP;
        slot.cancelled = false;
        if slot.closing {
            return self.listener_ended(key);
        }
        match -cqe.result {
            libc::EMFILE | libc::ENFILE => {
                self.refuse_one(key);
                self.pause_accept(key);
            }
            libc::ENOBUFS | libc::ENOMEM | libc::EPERM | libc::EINVAL => self.pause_accept(key),
            _ => self.arm_accept(key),
        }
    }

    fn accepted(&mut self, key: Key, fd: RawFd) {
        let closing = self.listeners.get(key).is_none_or(|slot| slot.dropped);
        let socket = if closing { None } else { self.adopt(fd) };
        let (Some(socket), Some(slot)) = (socket, self.listeners.get_mut(key)) else {
            return;
        };
        slot.queue.push_back(socket);
        let waiter = slot.waiter;
        wake(waiter);
        let stop = slot.queue.len() >= QUEUE_MAX && !slot.cancelled;
        if stop {
            slot.cancelled = true;
            let op = slot.accept;
            self.cancel(op);
        }
    }

    /// Makes a socket of an accepted descriptor. None = the peer is gone already; it is closed.
    pub(crate) fn adopt(&mut self, fd: RawFd) -> Option<Key> {
        let peer = match self.ring.peer_address(fd) {
            Ok(peer) if !self.leaving => peer,
            _ => {
                self.ring.close_now(fd);
                return None;
            }
        };
        if matches!(peer, Address::Inet(_)) {
            // Without it small replies wait for acknowledgements; never fatal.
            let _ = self.ring.set_nodelay(fd);
        }
        self.stats.accepts += 1;
        let opened = self.millis();
        Some(self.sockets.insert(Socket::new(fd, Phase::Open, Peer::new(peer), opened)))
    }

    /// No descriptor is left: gives the reserve one up for a moment to refuse one connection.
    fn refuse_one(&mut self, key: Key) {
        let Some(fd) = self.listeners.get(key).map(|slot| slot.fd) else {
            return;
        };
        if let Some(reserve) = self.reserve.take() {
            self.ring.close_now(reserve);
        }
        if let Ok(Some(refused)) = self.ring.accept_now(fd) {
            self.ring.close_now(refused);
        }
        self.reserve = self.ring.open_reserve().ok();
    }

    fn pause_accept(&mut self, key: Key) {
        self.stats.accept_pauses += 1;
        let until = self.now + PAUSE;
        let Some(slot) = self.listeners.get_mut(key) else {
            return;
        };
        slot.paused = true;
        let timer = slot.timer;
        self.wheel.set(timer, Some(until));
    }

    pub(crate) fn resume_accept(&mut self, key: Key) {
        if self.reserve.is_none() {
            self.reserve = self.ring.open_reserve().ok();
        }
        if let Some(slot) = self.listeners.get_mut(key) {
            slot.paused = false;
        }
        self.arm_accept(key);
    }

    /// Cancels the accept; the slot goes when its final completion is there.
    pub(crate) fn stop_accept(&mut self, key: Key) {
        let Some(slot) = self.listeners.get_mut(key) else {
            return;
        };
        slot.closing = true;
        let (op, cancelled) = (slot.accept, slot.cancelled);
        slot.cancelled = true;
        if op == NO_OP {
            self.listener_ended(key);
        } else if !cancelled {
            self.cancel(op);
        }
    }

    /// The accept of a closing listener is over.
    fn listener_ended(&mut self, key: Key) {
        let Some(slot) = self.listeners.get(key) else {
            return;
        };
        if slot.dropped {
            self.free_listener(key);
        } else {
            wake(slot.waiter);
        }
    }

    /// Nobody will ask for the listener's connections any more.
    pub(crate) fn drop_listener(&mut self, key: Key) {
        let Some(slot) = self.listeners.get_mut(key) else {
            return;
        };
        slot.dropped = true;
        slot.waiter = TaskId::NONE;
        let queue = std::mem::take(&mut slot.queue);
        for socket in queue {
            self.begin_close(socket);
        }
        self.stop_accept(key);
    }

    pub(crate) fn free_listener(&mut self, key: Key) {
        if let Some(slot) = self.listeners.remove(key) {
            self.wheel.remove(slot.timer);
            self.ring.close_now(slot.fd);
        }
    }
}

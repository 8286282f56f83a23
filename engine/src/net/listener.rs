//! The handle of a listening socket on one shard, and its slot.
//!
//! `close` cancels the accept, awaits its final completion (which may carry a connection), takes
//! what is left in the backlog, and only then closes: no connection that the kernel has completed
//! is reset.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::address::Address;
use super::bind::BoundListener;
use super::recv::gone;
use super::stream::Stream;
use crate::core::Core;
use crate::io::Io;
use crate::op::NO_OP;
use crate::slab::Key;
use crate::task::raw::TaskId;
use crate::time::Target;

/// A listener's part of the shard's state.
pub(crate) struct ListenerSlot {
    pub(crate) fd: RawFd,
    /// The multishot accept in flight.
    pub(crate) accept: u64,
    /// Accepted and not yet taken.
    pub(crate) queue: VecDeque<Key>,
    pub(crate) waiter: TaskId,
    pub(crate) timer: Key,
    pub(crate) paused: bool,
    pub(crate) cancelled: bool,
    pub(crate) closing: bool,
    pub(crate) dropped: bool,
}

impl Io {
    pub(crate) fn listen(&mut self, fd: RawFd) -> Key {
        let timer = self.wheel.add(Target::Pressure);
        let slot = ListenerSlot {
            fd,
            accept: NO_OP,
            queue: VecDeque::new(),
            waiter: TaskId::NONE,
            timer,
            paused: false,
            cancelled: false,
            closing: false,
            dropped: false,
        };
        let key = self.listeners.insert(slot);
        self.wheel.set_target(timer, Target::Listener(key));
        self.arm_accept(key);
        key
    }

    fn poll_accept(&mut self, key: Key, task: TaskId) -> Poll<io::Result<Key>> {
        let Some(slot) = self.listeners.get_mut(key) else {
            return Poll::Ready(Err(gone()));
        };
        if let Some(socket) = slot.queue.pop_front() {
            return Poll::Ready(Ok(socket));
        }
        slot.waiter = task;
        self.arm_accept(key);
        Poll::Pending
    }

    fn poll_stopped(&mut self, key: Key, task: TaskId) -> Poll<()> {
        match self.listeners.get_mut(key) {
            Some(slot) if slot.accept != NO_OP => {
                slot.waiter = task;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Everything accepted or still in the backlog; then the descriptor is closed.
    fn take_rest(&mut self, key: Key) -> Vec<Key> {
        let Some(slot) = self.listeners.get_mut(key) else {
            return Vec::new();
        };
        let fd = slot.fd;
        let mut rest: Vec<Key> = slot.queue.drain(..).collect();
        while let Ok(Some(accepted)) = self.ring.accept_now(fd) {
            rest.extend(self.adopt(accepted));
        }
        self.free_listener(key);
        rest
    }
}

/// A listening socket of this shard. Dropping it closes it; connections not taken are aborted.
pub struct Listener {
    core: Rc<Core>,
    key: Key,
    address: Address,
}

impl Listener {
    pub(crate) fn new(core: &Rc<Core>, socket: BoundListener) -> io::Result<Listener> {
        if core.io(|io| io.leaving).unwrap_or(true) {
            return Err(gone());
        }
        let (fd, address) = socket.into_parts();
        let key = core.io(|io| io.listen(fd)).ok_or_else(gone)?;
        Ok(Listener { core: Rc::clone(core), key, address })
    }

    /// Where it listens; a port of 0 was replaced by the real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection, in heads mode.
    pub async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`Listener::accept`], for hand-written futures.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let task = TaskId::of(cx.waker());
        match self.core.io(|io| io.poll_accept(self.key, task)) {
            Some(Poll::Ready(Ok(socket))) => {
                Poll::Ready(Ok(Stream::new(Rc::clone(&self.core), socket)))
            }
            Some(Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Stops listening without resetting anybody: returns the connections that were complete.
    pub async fn close(self) -> Vec<Stream> {
        self.core.io(|io| io.stop_accept(self.key));
        poll_fn(|cx| {
            let task = TaskId::of(cx.waker());
            self.core.io(|io| io.poll_stopped(self.key, task)).unwrap_or(Poll::Ready(()))
        })
        .await;
        let rest = self.core.io(|io| io.take_rest(self.key)).unwrap_or_default();
        rest.into_iter().map(|key| Stream::new(Rc::clone(&self.core), key)).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.core.io(|io| io.drop_listener(self.key));
    }
}

//! Wakes that come from other threads: a static inbox per shard, never freed.
//!
//! The eventfd and the queue of a slot are made when the slot is first claimed and live for ever,
//! so a waker that outlives its shard writes to memory and a descriptor that still exist: at
//! worst a later shard polls a task for nothing, which every future tolerates.
//!
//! Producer: push, fence, `sleeping.swap(false)`, eventfd if it was set. Shard:
//! `sleeping.store(true)`, fence, recheck, enter. One of the two sees the other (SeqCst fences),
//! so no wake is lost and a busy shard costs its wakers no system call.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;

use super::raw::TaskId;
use crate::sys;

/// One shard's inbox; padded so that two shards share no cache line.
#[repr(align(128))]
pub(crate) struct Inbox {
    claimed: AtomicBool,
    sleeping: AtomicBool,
    /// The queue was full: poll every task.
    wake_all: AtomicBool,
    parts: OnceLock<Parts>,
}

struct Parts {
    queue: ArrayQueue<u64>,
    eventfd: OwnedFd,
}

/// Slots of the packed waker's ten bits.
pub(crate) const SLOTS: usize = 1024;
/// Wakes waiting in one inbox; more of them become one `wake_all`.
const CAPACITY: usize = 1024;

static INBOXES: [Inbox; SLOTS] = [const { Inbox::new() }; SLOTS];

impl Inbox {
    const fn new() -> Inbox {
        Inbox {
            claimed: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            wake_all: AtomicBool::new(false),
            parts: OnceLock::new(),
        }
    }

    fn push(&self, id: TaskId) {
        let Some(parts) = self.parts.get() else {
            return;
        };
        if parts.queue.push(id.packed()).is_err() {
            self.wake_all.store(true, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::AcqRel) {
            sys::eventfd_signal(parts.eventfd.as_raw_fd());
        }
    }
}

/// A claimed slot; released on drop.
pub(crate) struct Claim {
    slot: u16,
}

impl Claim {
    /// Claims a free slot; None when all 1024 are taken or no eventfd is to be had.
    pub(crate) fn new() -> Option<Claim> {
        let free = |inbox: &&Inbox| !inbox.claimed.swap(true, Ordering::AcqRel);
        // Slot 0 stays unused so that no packed id is ever 0.
        let (slot, inbox) = INBOXES.iter().enumerate().skip(1).find(|(_, inbox)| free(inbox))?;
        let claim = Claim { slot: slot as u16 };
        if inbox.parts.get().is_none() {
            let parts = Parts { queue: ArrayQueue::new(CAPACITY), eventfd: sys::eventfd().ok()? };
            // Only the claimant gets here, so the cell is still empty.
            let _ = inbox.parts.set(parts);
        }
        Some(claim)
    }

    fn inbox(&self) -> &'static Inbox {
        &INBOXES[usize::from(self.slot)]
    }

    pub(crate) fn slot(&self) -> u16 {
        self.slot
    }

    pub(crate) fn eventfd(&self) -> RawFd {
        self.inbox().parts.get().map_or(-1, |parts| parts.eventfd.as_raw_fd())
    }

    /// The next foreign wake.
    pub(crate) fn pop(&self) -> Option<TaskId> {
        self.inbox().parts.get()?.queue.pop().map(TaskId::from_packed)
    }

    pub(crate) fn take_wake_all(&self) -> bool {
        self.inbox().wake_all.load(Ordering::Relaxed)
            && self.inbox().wake_all.swap(false, Ordering::AcqRel)
    }

    /// The shard is about to wait. False = something came in: do not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.inbox().sleeping.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        let empty = self.inbox().parts.get().is_none_or(|parts| parts.queue.is_empty());
        if empty && !self.inbox().wake_all.load(Ordering::Acquire) {
            return true;
        }
        self.wake_up();
        false
    }

    /// The shard runs again.
    pub(crate) fn wake_up(&self) {
        self.inbox().sleeping.store(false, Ordering::Release);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        self.wake_up();
        self.inbox().claimed.store(false, Ordering::Release);
    }
}

/// Delivers a wake to the shard's inbox, whichever thread calls.
pub(crate) fn wake(id: TaskId) {
    if let Some(inbox) = INBOXES.get(usize::from(id.slot())) {
        inbox.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_arrive_in_order_and_overflow_becomes_wake_all() {
        let claim = Claim::new().unwrap();
        for task in 0..=CAPACITY as u32 {
            wake(TaskId::new(claim.slot(), 1, task));
        }
        assert!(claim.take_wake_all());
        assert!(!claim.take_wake_all());
        assert_eq!(claim.pop(), Some(TaskId::new(claim.slot(), 1, 0)));
        assert!(!claim.fall_asleep());
    }

    #[test]
    fn a_slot_is_claimed_by_one_shard_at_a_time() {
        let first = Claim::new().unwrap();
        let second = Claim::new().unwrap();
        assert_ne!(first.slot(), second.slot());
        assert!(first.fall_asleep());
        assert_ne!(first.eventfd(), second.eventfd());
    }
}

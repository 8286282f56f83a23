//! `Signal`: a condition that tasks of a shard wait for.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// A condition that tasks of this shard wait for; once set it stays set.
#[derive(Default)]
pub(crate) struct Signal {
    set: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    pub(crate) fn set(&self) {
        self.set.set(true);
        self.notify();
    }

    /// Wakes who waits without setting: they look again.
    pub(crate) fn notify(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.get()
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.set.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

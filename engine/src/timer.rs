//! The lazy deadline handle over the wheel.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::core::Core;
use crate::slab::Key;
use crate::task::raw::TaskId;
use crate::time::Target;

/// A deadline that may be moved at will: later costs one store, earlier a re-link.
pub struct Timer {
    core: Rc<Core>,
    deadline: Cell<Option<Instant>>,
    entry: Cell<Option<Key>>,
    task: Cell<TaskId>,
}

impl Timer {
    pub(crate) fn new(core: &Rc<Core>) -> Timer {
        Timer {
            core: Rc::clone(core),
            deadline: Cell::new(None),
            entry: Cell::new(None),
            task: Cell::new(TaskId::NONE),
        }
    }

    /// Sets or clears the deadline.
    pub fn set(&self, at: Option<Instant>) {
        if self.deadline.replace(at) == at {
            return;
        }
        if let Some(entry) = self.entry.get() {
            self.core.io(|io| io.wheel.set(entry, at));
        }
    }

    /// The deadline, if one is set.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Ready once the deadline has passed, and from then on until it is set anew.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.deadline.get();
        if at.is_some_and(|at| self.core.now.get() >= at) {
            return Poll::Ready(());
        }
        let task = TaskId::of(cx.waker());
        match self.entry.get() {
            // Filed by `set` already; one that fired is in the past, so it was found above.
            Some(_) if self.task.get() == task => {}
            Some(entry) => {
                self.core.io(|io| {
                    io.wheel.set_target(entry, Target::Task(task));
                    io.wheel.set(entry, at);
                });
            }
            // Also without a deadline yet: whoever sets one later, this task is woken.
            None => self.entry.set(self.core.io(|io| {
                let entry = io.wheel.add(Target::Task(task));
                io.wheel.set(entry, at);
                entry
            })),
        }
        self.task.set(task);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.get() {
            self.core.io(|io| io.wheel.remove(entry));
        }
    }
}

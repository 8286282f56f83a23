//! The crate's one `thread_local!`: which shard runs on this thread, and its run queue.
//!
//! A wake from the shard's own thread goes straight to the queue; one bit a task keeps a task in
//! it at most once. A wake from anywhere else goes to the shard's static inbox (`inbox.rs`).
//! Several runtimes may take turns on one thread (the simulator does): each installs itself for
//! the length of its turn. Cost of a local wake: one thread-local look-up, one compare, one push.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::inbox;
use super::raw::TaskId;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// A shard's run queue.
pub(crate) struct Local {
    /// The shard's slot among the static inboxes.
    pub(crate) slot: u16,
    queue: RefCell<VecDeque<u32>>,
    /// By task index: generation << 1 | queued. Generation 0 = no task.
    marks: RefCell<Vec<u32>>,
    /// The main future of `block_on` was woken.
    main: Cell<bool>,
    /// The task being polled.
    running: Cell<TaskId>,
}

impl Local {
    pub(crate) fn new(slot: u16) -> Rc<Local> {
        Rc::new(Local {
            slot,
            queue: RefCell::new(VecDeque::with_capacity(256)),
            marks: RefCell::new(Vec::new()),
            main: Cell::new(false),
            running: Cell::new(TaskId::NONE),
        })
    }

    /// A task with this index and generation exists from now on, and runs soon.
    pub(crate) fn admit(&self, id: TaskId) {
        let index = id.task() as usize;
        let mut marks = self.marks.borrow_mut();
        if index >= marks.len() {
            marks.resize((index | 255) + 1, 0);
        }
        marks[index] = id.generation() << 1;
        drop(marks);
        self.wake(id);
    }

    /// The task is gone: later wakes find nothing.
    pub(crate) fn retire(&self, index: u32) {
        if let Some(mark) = self.marks.borrow_mut().get_mut(index as usize) {
            *mark = 0;
        }
    }

    /// Queues a task unless it is queued or gone.
    pub(crate) fn wake(&self, id: TaskId) {
        if id.task() == TaskId::MAIN_TASK {
            self.main.set(true);
            return;
        }
        let mut marks = self.marks.borrow_mut();
        let Some(mark) = marks.get_mut(id.task() as usize) else {
            return;
        };
        if *mark == id.generation() << 1 {
            *mark |= 1;
            self.queue.borrow_mut().push_back(id.task());
        }
    }

    /// Queues every task.
    pub(crate) fn wake_all(&self) {
        self.main.set(true);
        let mut queue = self.queue.borrow_mut();
        for (index, mark) in self.marks.borrow_mut().iter_mut().enumerate() {
            if *mark != 0 && *mark & 1 == 0 {
                *mark |= 1;
                queue.push_back(index as u32);
            }
        }
    }

    /// The next task to poll; it may be woken again from now on.
    pub(crate) fn next(&self) -> Option<u32> {
        loop {
            let index = self.queue.borrow_mut().pop_front()?;
            if let Some(mark) = self.marks.borrow_mut().get_mut(index as usize)
                && *mark & 1 == 1
            {
                *mark &= !1;
                return Some(index);
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.main.get() && self.queue.borrow().is_empty()
    }

    pub(crate) fn take_main(&self) -> bool {
        self.main.replace(false)
    }

    pub(crate) fn set_running(&self, id: TaskId) {
        self.running.set(id);
    }

    pub(crate) fn running(&self) -> TaskId {
        self.running.get()
    }
}

/// Restores what was installed before.
pub(crate) struct Installed {
    before: Option<Rc<Local>>,
}

/// Makes `local` this thread's shard until the guard is dropped.
pub(crate) fn install(local: &Rc<Local>) -> Installed {
    Installed { before: CURRENT.replace(Some(Rc::clone(local))) }
}

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Wakes a task of any shard from any thread.
pub(crate) fn wake(id: TaskId) {
    if id == TaskId::NONE {
        return;
    }
    let local = CURRENT.try_with(|current| match &*current.borrow() {
        Some(local) if local.slot == id.slot() => {
            local.wake(id);
            true
        }
        _ => false,
    });
    if !local.unwrap_or(false) {
        inbox::wake(id);
    }
}

/// The task being polled on this thread; NONE outside polls.
pub(crate) fn running() -> TaskId {
    let running = CURRENT.try_with(|current| current.borrow().as_ref().map(|l| l.running()));
    running.ok().flatten().unwrap_or(TaskId::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_queued_once_and_a_stale_wake_is_lost() {
        let local = Local::new(7);
        let id = TaskId::new(7, 3, 0);
        local.admit(id);
        local.wake(id);
        local.wake(TaskId::new(7, 2, 0));
        assert_eq!(local.next(), Some(0));
        assert_eq!(local.next(), None);
        local.wake(id);
        local.retire(0);
        assert_eq!(local.next(), None);
        assert!(local.is_idle());
    }

    #[test]
    fn wake_all_reaches_every_task() {
        let local = Local::new(7);
        for index in 0..3 {
            local.admit(TaskId::new(7, 1, index));
            local.next();
        }
        local.wake_all();
        assert_eq!(std::iter::from_fn(|| local.next()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(local.take_main());
    }
}

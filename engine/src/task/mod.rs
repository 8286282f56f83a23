//! The executor: a slab of boxed futures, polled from the shard's run queue.
//!
//! A poll runs with no engine borrow held and under `catch_unwind`: a panic drops that task and
//! is counted; a panic in a destructor aborts the process. Tasks run in wake order, at most
//! `poll_budget` polls a turn. Cost of a poll: a slot look-up and two moves of a box.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll};

pub(crate) mod current;
pub(crate) mod inbox;
pub(crate) mod raw;

use crate::core::Core;
use crate::slab::{Key, Slab};
use current::Local;
use raw::TaskId;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The shard's tasks.
pub(crate) struct Tasks {
    local: Rc<Local>,
    /// None while the task is being polled.
    slots: RefCell<Slab<Option<Task>>>,
    panics: Cell<u64>,
    polls: Cell<u64>,
}

/// Called with a shard's number and the panic's message; the default writes to stderr.
static PANIC_HOOK: OnceLock<fn(u16, &str)> = OnceLock::new();

/// Sets what is told of a task's panic, once for the process; false if it was set before.
pub fn on_task_panic(hook: fn(shard: u16, message: &str)) -> bool {
    PANIC_HOOK.set(hook).is_ok()
}

fn report_panic(shard: u16, payload: &(dyn std::any::Any + Send)) {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    match PANIC_HOOK.get() {
        Some(hook) => hook(shard, message),
        None => eprintln!("shard {shard}: a task panicked and was dropped: {message}"),
    }
}

/// Aborts if dropped while armed, by unwinding: destructors of tasks must not panic.
struct AbortOnUnwind {
    armed: bool,
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if self.armed {
            std::process::abort();
        }
    }
}

fn drop_task(task: Task) {
    let mut guard = AbortOnUnwind { armed: true };
    drop(task);
    guard.armed = false;
}

impl Tasks {
    pub(crate) fn new(local: Rc<Local>) -> Tasks {
        Tasks { local, slots: RefCell::new(Slab::new()), panics: Cell::new(0), polls: Cell::new(0) }
    }

    pub(crate) fn spawn(&self, task: Task) {
        let key = self.slots.borrow_mut().insert(Some(task));
        assert!(key.index < TaskId::MAIN_TASK, "more than 16 million tasks");
        self.local.admit(self.id(key));
    }

    fn id(&self, key: Key) -> TaskId {
        // Never generation 0, which marks a slot without a task.
        TaskId::new(self.local.slot, key.generation % ((1 << 30) - 1) + 1, key.index)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.get()
    }

    pub(crate) fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// Polls one task. `shard` names it in the panic report.
    pub(crate) fn poll(&self, index: u32, shard: u16) {
        let Some((key, mut task)) = self.take(index) else {
            return;
        };
        self.polls.set(self.polls.get() + 1);
        let id = self.id(key);
        let waker = id.waker();
        self.local.set_running(id);
        let polled =
            catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut Context::from_waker(&waker))));
        self.local.set_running(TaskId::NONE);
        match polled {
            Ok(Poll::Pending) => {
                if let Some(slot) = self.slots.borrow_mut().get_mut(key) {
                    *slot = Some(task);
                }
            }
            Ok(Poll::Ready(())) => self.end(key, task),
            Err(payload) => {
                self.panics.set(self.panics.get() + 1);
                report_panic(shard, payload.as_ref());
                self.end(key, task);
            }
        }
    }

    fn take(&self, index: u32) -> Option<(Key, Task)> {
        let mut slots = self.slots.borrow_mut();
        let key = slots.key_at(index)?;
        let task = slots.get_mut(key)?.take()?;
        Some((key, task))
    }

    fn end(&self, key: Key, task: Task) {
        self.local.retire(key.index);
        self.slots.borrow_mut().remove(key);
        drop_task(task);
    }

    /// Drops all tasks, also those that the drops spawn.
    pub(crate) fn clear(&self) {
        loop {
            let keys = self.slots.borrow().keys();
            if keys.is_empty() {
                return;
            }
            for key in keys {
                let task = self.slots.borrow_mut().get_mut(key).and_then(Option::take);
                match task {
                    Some(task) => self.end(key, task),
                    None => {
                        self.local.retire(key.index);
                        self.slots.borrow_mut().remove(key);
                    }
                }
            }
        }
    }
}

/// Gives other tasks a turn: pending once.
pub(crate) struct Yield {
    pub(crate) yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Ends at the next turn, once the ring was looked at.
pub(crate) struct NextTurn {
    pub(crate) core: Rc<Core>,
    pub(crate) asked: bool,
}

impl Future for NextTurn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked {
            return Poll::Ready(());
        }
        self.asked = true;
        self.core.next_turn.borrow_mut().push(TaskId::of(cx.waker()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tasks: &Tasks) {
        let _installed = current::install(&tasks.local);
        while let Some(index) = tasks.local.next() {
            tasks.poll(index, 0);
        }
    }

    #[test]
    fn tasks_run_in_wake_order_and_end() {
        let tasks = Tasks::new(Local::new(9));
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in ["a", "b"] {
            let order = Rc::clone(&order);
            tasks.spawn(Box::pin(async move {
                order.borrow_mut().push(name);
                Yield { yielded: false }.await;
                order.borrow_mut().push(name);
            }));
        }
        run(&tasks);
        assert_eq!(*order.borrow(), ["a", "b", "a", "b"]);
        assert_eq!(tasks.len(), 0);
    }

    #[test]
    fn a_panic_costs_its_own_task_only() {
        let tasks = Tasks::new(Local::new(9));
        let done = Rc::new(Cell::new(false));
        let also = Rc::clone(&done);
        tasks.spawn(Box::pin(async { panic!("expected by the test") }));
        tasks.spawn(Box::pin(async move { also.set(true) }));
        run(&tasks);
        assert!(done.get());
        assert_eq!((tasks.panics(), tasks.len()), (1, 0));
    }

    #[test]
    fn clearing_also_drops_what_drops_spawn() {
        struct Spawner(Rc<Tasks>);
        impl Drop for Spawner {
            fn drop(&mut self) {
                self.0.spawn(Box::pin(std::future::pending()));
            }
        }
        let tasks = Rc::new(Tasks::new(Local::new(9)));
        let spawner = Spawner(Rc::clone(&tasks));
        tasks.spawn(Box::pin(async move {
            let _spawner = spawner;
            std::future::pending::<()>().await;
        }));
        run(&tasks);
        tasks.clear();
        assert_eq!(tasks.len(), 0);
    }
}

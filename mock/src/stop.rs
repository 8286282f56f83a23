//! Ends the tasks of one mock thread: a flag, and the wakers of the tasks that wait on their peers.
//!
//! It is not a channel between threads; the thread's main task raises it after its doorbell rang.
//! A task that is stopped drops its socket operation, which monoio cancels, keeping the buffer
//! until the kernel is done with it. Cost on the hot path: one flag load and one waker comparison
//! a poll.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

/// The flag of one thread, with a seat for each running task.
#[derive(Default)]
pub(crate) struct Stop {
    raised: Cell<bool>,
    seats: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Stop {
    /// Wakes every task; each ends at its next poll.
    pub(crate) fn raise(&self) {
        self.raised.set(true);
        let wakers: Vec<Waker> =
            self.seats.borrow_mut().iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many tasks are running under this flag.
    pub(crate) fn task_count(&self) -> usize {
        self.seats.borrow().len() - self.free.borrow().len()
    }

    /// Runs `work` until it ends or the flag is raised, in which case it is dropped half-way.
    pub(crate) async fn unless_raised<F: Future>(&self, work: F) -> Option<F::Output> {
        let seat = Seat::take(self);
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.raised.get() {
                return Poll::Ready(None);
            }
            seat.remember(cx.waker());
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

struct Seat<'a> {
    stop: &'a Stop,
    index: usize,
}

impl<'a> Seat<'a> {
    fn take(stop: &'a Stop) -> Self {
        let index = stop.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut seats = stop.seats.borrow_mut();
            seats.push(None);
            seats.len() - 1
        });
        Self { stop, index }
    }

    fn remember(&self, waker: &Waker) {
        let seat = &mut self.stop.seats.borrow_mut()[self.index];
        match seat {
            Some(old) if old.will_wake(waker) => {}
            _ => *seat = Some(waker.clone()),
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.stop.seats.borrow_mut()[self.index] = None;
        self.stop.free.borrow_mut().push(self.index);
    }
}

//! The replies of one connection that are still to be sent, each with the time when it is due.
//!
//! It joins the task that receives to the one that sends. What is held is bounded: past the bound
//! the one that receives waits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Replies that wait for their time, and bytes in all, beyond which no call is taken.
const COUNT_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;

/// The queue of a connection.
#[derive(Default)]
pub(super) struct Replies {
    state: RefCell<State>,
    sender: Cell<Option<Waker>>,
    receiver: Cell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    ready: Vec<u8>,
    /// By time and order of arrival.
    later: BTreeMap<(Instant, u64), Vec<u8>>,
    later_bytes: usize,
    count: u64,
    /// When the last reply is due that others must not overtake.
    last: Option<Instant>,
    has_ended: bool,
}

/// What the sender is to do.
enum Next {
    Send(Vec<u8>),
    Wait(Option<Duration>),
    End,
}

impl Replies {
    /// Queues a reply that `write` writes, to be sent after `delay`. One that keeps the order
    /// begins its delay only when those before it were due.
    pub(super) fn push<E>(
        &self,
        delay: Duration,
        keeps_order: bool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let state = &mut *self.state.borrow_mut();
        if delay.is_zero() && state.later.is_empty() {
            write(&mut state.ready)?;
        } else {
            let mut reply = Vec::new();
            write(&mut reply)?;
            state.put_off(delay, keeps_order, reply);
        }
        wake(&self.sender);
        Ok(())
    }

    /// Waits until there is room; `false` when nobody sends any more.
    pub(super) async fn room(&self) -> bool {
        poll_fn(|cx| {
            let state = self.state.borrow();
            if state.has_ended || state.has_room() {
                return Poll::Ready(!state.has_ended);
            }
            self.receiver.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// What is due, once there is some, in `buffer`; `None` when there will be no more.
    pub(super) async fn due(&self, mut buffer: Vec<u8>) -> Option<Vec<u8>> {
        buffer.clear();
        loop {
            let next = self.state.borrow_mut().next(&mut buffer);
            match next {
                Next::Send(bytes) => {
                    wake(&self.receiver);
                    return Some(bytes);
                }
                Next::End => return None,
                Next::Wait(None) => self.changed().await,
                Next::Wait(Some(time)) => {
                    // Either way there is something to look at.
                    drop(monoio::time::timeout(time, self.changed()).await);
                }
            }
        }
    }

    /// No more replies come; or nobody sends them.
    pub(super) fn end(&self) {
        self.state.borrow_mut().has_ended = true;
        wake(&self.sender);
        wake(&self.receiver);
    }

    async fn changed(&self) {
        let mut is_first = true;
        poll_fn(|cx| {
            if !mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            self.sender.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl State {
    fn put_off(&mut self, delay: Duration, keeps_order: bool, reply: Vec<u8>) {
        let now = Instant::now();
        let begin = self.last.filter(|_| keeps_order).map_or(now, |last| last.max(now));
        let due = begin + delay;
        if keeps_order {
            self.last = Some(due);
        }
        self.count += 1;
        self.later_bytes += reply.len();
        self.later.insert((due, self.count), reply);
    }

    fn has_room(&self) -> bool {
        self.later.len() < COUNT_MAX && self.later_bytes + self.ready.len() < BYTES_MAX
    }

    fn next(&mut self, buffer: &mut Vec<u8>) -> Next {
        let now = if self.later.is_empty() { None } else { Some(Instant::now()) };
        while let Some(entry) = self.later.first_entry()
            && Some(entry.key().0) <= now
        {
            let reply = entry.remove();
            self.later_bytes -= reply.len();
            self.ready.extend_from_slice(&reply);
        }
        if !self.ready.is_empty() {
            return Next::Send(mem::replace(&mut self.ready, mem::take(buffer)));
        }
        match (self.later.first_key_value(), now) {
            (Some(((due, _), _)), Some(now)) => Next::Wait(Some(*due - now)),
            _ if self.has_ended => Next::End,
            _ => Next::Wait(None),
        }
    }
}

//! A bounded queue into a shard, from any thread (A8).
//!
//! No lock and no allocation a message. The receiver's task is kept as a packed id in an atomic:
//! a sender pushes, fences, reads the id and wakes it; the receiver stores its id, fences, and
//! looks again before it waits. One of the two sees the other, so no message is left lying.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::task::{Context, Poll};

use crossbeam_queue::ArrayQueue;

use crate::task::current::wake;
use crate::task::raw::TaskId;

struct Shared<T> {
    queue: ArrayQueue<T>,
    task: AtomicU64,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
}

impl<T> Shared<T> {
    fn wake(&self) {
        fence(Ordering::SeqCst);
        wake(TaskId::from_packed(self.task.load(Ordering::Relaxed)));
    }
}

/// The sending half: clone it, move it, share it.
pub struct MailSender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving half: moves to the shard that polls it.
pub struct MailReceiver<T> {
    shared: Arc<Shared<T>>,
}

/// A mailbox of at most `capacity` messages. Panics if that is 0.
pub fn mailbox<T: Send>(capacity: usize) -> (MailSender<T>, MailReceiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        task: AtomicU64::new(0),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
    });
    (MailSender { shared: Arc::clone(&shared) }, MailReceiver { shared })
}

impl<T: Send> MailSender<T> {
    /// Queues a message and wakes the receiver. The message comes back when the mailbox is full
    /// or the receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        if self.shared.receiver_gone.load(Ordering::Acquire) {
            return Err(message);
        }
        self.shared.queue.push(message)?;
        self.shared.wake();
        Ok(())
    }
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> MailSender<T> {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        MailSender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for MailSender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The last one: the receiver learns that nothing will come.
            self.shared.wake();
        }
    }
}

impl<T: Send> MailReceiver<T> {
    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<T> {
        self.shared.queue.pop()
    }

    /// The next message; None once the mailbox is empty and every sender is gone.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(Some(message));
        }
        self.shared.task.store(TaskId::of(cx.waker()).packed(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let closed = self.shared.senders.load(Ordering::Acquire) == 0;
        match self.try_recv() {
            Some(message) => Poll::Ready(Some(message)),
            None if closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// As [`MailReceiver::poll_recv`], to await.
    pub async fn recv(&self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }
}

impl<T> Drop for MailReceiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn messages_arrive_in_order_and_a_full_mailbox_refuses() {
        let (sender, receiver) = mailbox(2);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(3));
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(1), Some(2)));
    }

    #[test]
    fn both_ends_learn_that_the_other_is_gone() {
        let mut cx = Context::from_waker(Waker::noop());
        let (sender, receiver) = mailbox(1);
        assert_eq!(receiver.poll_recv(&mut cx), Poll::Pending);
        sender.clone().try_send('a').unwrap();
        drop(sender);
        assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(Some('a')));
        assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(None));
        let (sender, receiver) = mailbox(1);
        drop(receiver);
        assert_eq!(sender.try_send('b'), Err('b'));
    }
}

//! Wakes load connections at their intended start.
//!
//! monoio's timers tick in milliseconds, which is longer than most requests take, so they are not
//! used here: a thread of its own sleeps on the kernel's high-resolution timer and rings a socket
//! at every beat; the runtime then wakes what is due. What is left of lateness is reported as
//! start lag. Cost: a wake-up of the runtime per beat, at most `1 / BEAT_MIN` a second.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::Write as _;
use std::os::unix::net::UnixStream as Bell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

use crate::plan::Rhythm;

/// Shorter beats cost more than they give: a wake-up through a socket takes about 30 us.
const BEAT_MIN: Duration = Duration::from_micros(100);

/// Lets sleeps end on time. The kernel delays them by 50 us by default; threads inherit the value
/// from the thread that starts them, so the main thread must call this before it starts any.
pub(crate) fn sharpen() {
    // Kernels without the file only make the start lag larger, which is reported.
    drop(std::fs::write("/proc/self/timerslack_ns", "1000"));
}

/// The waiting connections of one load thread, by due time.
#[derive(Default)]
pub(crate) struct Pacer {
    due: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    wakers: RefCell<HashMap<usize, Waker>>,
}

/// Ends the beat when dropped.
pub(crate) struct Beat(Arc<AtomicBool>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pacer {
    /// Starts to beat in `rhythm`, counted from `start`, until the result is dropped.
    pub(crate) fn start(self: &Rc<Self>, start: Instant, rhythm: Rhythm) -> std::io::Result<Beat> {
        let (bell, ear) = Bell::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let ear = UnixStream::from_std(ear)?;
        let ended = Arc::new(AtomicBool::new(false));
        let beat = Beat(Arc::clone(&ended));
        std::thread::Builder::new()
            .name("pace".into())
            .spawn(move || ring(bell, start, rhythm, &ended))?;
        monoio::spawn(listen(ear, Rc::clone(self)));
        Ok(beat)
    }

    /// Returns at `at`, or at once when that has passed. One wait an `owner` at a time.
    pub(crate) async fn until(&self, at: Instant, owner: usize) {
        let mut queued = false;
        poll_fn(|cx| {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().insert(owner, cx.waker().clone());
            if !queued {
                queued = true;
                self.due.borrow_mut().push(Reverse((at, owner)));
            }
            Poll::Pending
        })
        .await;
    }

    fn wake_due(&self, now: Instant) {
        let mut due = self.due.borrow_mut();
        while let Some(&Reverse((at, owner))) = due.peek()
            && at <= now
        {
            due.pop();
            if let Some(waker) = self.wakers.borrow_mut().remove(&owner) {
                waker.wake();
            }
        }
    }
}

fn ring(mut bell: Bell, start: Instant, rhythm: Rhythm, ended: &AtomicBool) {
    let mut beat = 0;
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep((start + rhythm.at(beat)).saturating_duration_since(Instant::now()));
        // A full socket means that the runtime has beats enough to wake up for.
        match bell.write(&[0]) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
        beat = next_beat(rhythm, beat, start.elapsed());
    }
}

/// A later beat that is not past and at least [`BEAT_MIN`] away: missed ones are skipped.
fn next_beat(rhythm: Rhythm, beat: u64, elapsed: Duration) -> u64 {
    rhythm.first_after(elapsed.max(rhythm.at(beat)) + BEAT_MIN - Duration::from_nanos(1))
}

async fn listen(mut ear: UnixStream, pacer: Rc<Pacer>) {
    let mut buf = vec![0u8; 64];
    loop {
        let (read, back) = ear.read(buf).await;
        buf = back;
        if !matches!(read, Ok(1..)) {
            return;
        }
        pacer.wake_due(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_beats_are_skipped_and_the_grid_stays() {
        let slow = Rhythm::new(100.0);
        assert_eq!(next_beat(slow, 0, Duration::ZERO), 1);
        assert_eq!(next_beat(slow, 0, Duration::from_millis(35)), 4);
        let fast = Rhythm::new(1e6);
        assert_eq!(next_beat(fast, 0, Duration::ZERO), 100);
    }

    #[test]
    fn waits_do_not_end_before_their_time() {
        mock::driver::block_on(|| async {
            let pacer = Rc::new(Pacer::default());
            let start = Instant::now();
            let _beat = pacer.start(start, Rhythm::new(1000.0)).unwrap();
            let mut tasks = Vec::new();
            for (owner, at_ms) in [(0, 6), (1, 2), (2, 4), (3, 0)] {
                let pacer = Rc::clone(&pacer);
                tasks.push(monoio::spawn(async move {
                    let at = start + Duration::from_millis(at_ms);
                    pacer.until(at, owner).await;
                    assert!(Instant::now() >= at);
                }));
            }
            for task in tasks {
                task.await;
            }
        })
        .unwrap();
    }
}

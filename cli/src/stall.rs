//! The stall detector: a thread that watches every shard's progress word.
//!
//! A shard that does not move for 100 ms while it is not waiting in the kernel is busy with
//! something too long, and all its connections wait. That is logged once a stall, with its
//! length when it ends, and counted. Cost to a shard: nothing beyond the word it stores anyway.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::Progress;
use observe::{ErrorLog, Level, Registry};

/// How often the words are read; a stall is noticed at most this late.
const INTERVAL: Duration = Duration::from_millis(50);
/// Unmoved for this long is a stall.
const STALL: Duration = Duration::from_millis(100);

/// The running detector; ends when dropped.
pub(crate) struct StallDetector {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StallDetector {
    /// Watches one progress word a shard.
    pub(crate) fn start(
        progress: Vec<Arc<Progress>>,
        registry: Arc<Registry>,
        errors: ErrorLog,
    ) -> std::io::Result<StallDetector> {
        let (stop, stopped) = sync_channel::<()>(0);
        let body = move || {
            let now = Instant::now();
            let mut watches: Vec<Watch> = progress.iter().map(|_| Watch::new(now)).collect();
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                for (shard, (watch, progress)) in watches.iter_mut().zip(&progress).enumerate() {
                    let seen = progress.snapshot();
                    let moved = (seen.turn, u64::from(seen.task));
                    let stall = watch.look(moved, seen.is_waiting(), Instant::now());
                    report(stall, shard, &registry, &errors);
                }
            }
        };
        let thread = thread::Builder::new().name("stalls".into()).spawn(body)?;
        Ok(StallDetector { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for StallDetector {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

fn report(stall: Stall, shard: usize, registry: &Registry, errors: &ErrorLog) {
    let process = registry.process();
    match stall {
        Stall::No => {}
        Stall::Began => {
            process.stalls.fetch_add(1, Relaxed);
            let text = format!("shard {shard} has not moved for {} ms", STALL.as_millis());
            errors.write(Level::Warn, "stall", text);
        }
        Stall::Ended(length) => {
            let length_us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
            process.stall_max_us.fetch_max(length_us, Relaxed);
            let text = format!("shard {shard} moves again after {} ms", length.as_millis());
            errors.write(Level::Warn, "stall", text);
        }
    }
}

/// What one look at a shard told.
#[derive(Debug, PartialEq, Eq)]
enum Stall {
    No,
    Began,
    Ended(Duration),
}

/// One shard's word over time.
struct Watch {
    seen: (u64, u64),
    since: Instant,
    stalled: bool,
}

impl Watch {
    fn new(now: Instant) -> Watch {
        Watch { seen: (u64::MAX, u64::MAX), since: now, stalled: false }
    }

    fn look(&mut self, moved: (u64, u64), is_waiting: bool, now: Instant) -> Stall {
        if moved != self.seen || is_waiting {
            let length = now.saturating_duration_since(self.since);
            let ended = std::mem::replace(&mut self.stalled, false);
            (self.seen, self.since) = (moved, now);
            return if ended { Stall::Ended(length) } else { Stall::No };
        }
        if self.stalled || now.saturating_duration_since(self.since) < STALL {
            return Stall::No;
        }
        self.stalled = true;
        Stall::Began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_begins_once_and_ends_with_its_length() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Watch::new(start);
        assert_eq!(watch.look((1, 0), false, at(0)), Stall::No);
        assert_eq!(watch.look((1, 0), false, at(50)), Stall::No);
        assert_eq!(watch.look((1, 0), false, at(100)), Stall::Began);
        assert_eq!(watch.look((1, 0), false, at(150)), Stall::No);
        assert_eq!(watch.look((2, 0), false, at(200)), Stall::Ended(Duration::from_millis(200)));
        assert_eq!(watch.look((2, 0), true, at(900)), Stall::No);
        assert_eq!(watch.look((2, 0), false, at(950)), Stall::No);
    }
}

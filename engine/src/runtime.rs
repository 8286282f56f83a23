//! A shard's runtime: the turn loop, and the orderly end.
//!
//! A turn (I7): poll at most `poll_budget` tasks, or for about 2 ms, hand what they left to the
//! ring, publish the buffer tails, one enter, copy out what is there, complete ops, fire timers.
//! The wait is the next timer; with runnable tasks, or a batch that was cut off, it is none. The
//! end (I5): drop all tasks, cancel all ops, reap until nothing is in flight, drop the ring; memory
//! that an op still refers to is leaked and counted, never unmapped on a timeout.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::buf::pool::Pool;
use crate::config::{Features, SetupError, ShardConfig};
use crate::core::Core;
use crate::io::Io;
use crate::probe;
use crate::progress::{Progress, TurnPhase};
use crate::ring::{Ring, Wait};
use crate::shard::Shard;
use crate::stats::ExitReport;
use crate::task::current::{self, Local};
use crate::task::inbox::Claim;
use crate::task::raw::TaskId;
use crate::time::Target;

/// The owner of a shard's ring, executor and buffers; lives on its thread.
pub struct Runtime {
    core: Rc<Core>,
    claim: Claim,
    features: Features,
    progress: Arc<Progress>,
    /// The last reap may have been cut off: do not wait.
    more: bool,
    due: Vec<Target>,
    /// Bounds the wait of a driven turn.
    wait_max: Option<Duration>,
    ended: bool,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Tasks polled.
    pub polled: u32,
    /// Completions handled.
    pub completed: u32,
    /// Nothing is runnable: only a completion or a timer moves the shard on.
    pub idle: bool,
    /// The next timer.
    pub next_timer: Option<Instant>,
}

/// Visible head pages without ENOBUFS: 64, before 6.13 (no cap on a batch) 256.
fn visible_mark() -> u32 {
    if probe::kernel_version() >= (6, 13) { 64 } else { 256 }
}

/// A turn polls no more tasks this long after its completions were reaped.
const RUN_FOR: Duration = Duration::from_millis(2);
/// Polls between two looks at the clock.
const CLOCK_EVERY: u32 = 8;
/// Longest wait of a driven turn without a timer.
const DRIVEN_WAIT: Duration = Duration::from_millis(20);
/// Reaping to zero gives up after this; what is left is leaked.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

impl Runtime {
    /// Sets up a real ring on this thread.
    pub fn new(config: &ShardConfig) -> Result<Runtime, SetupError> {
        Runtime::with_progress(config, Progress::new())
    }

    pub(crate) fn with_progress(
        config: &ShardConfig,
        progress: Arc<Progress>,
    ) -> Result<Runtime, SetupError> {
        config.check()?;
        let pool = Pool::new(config, visible_mark())
            .map_err(SetupError::io("mapping the buffer region"))?;
        let (ring, features) = Ring::uring(config, &pool)?;
        Runtime::over(config, ring, pool, features, progress)
    }

    /// A runtime on the simulated network. Panics on an impossible configuration.
    #[cfg(feature = "sim")]
    pub fn simulated(config: &ShardConfig, net: &crate::ring::sim::Net) -> Runtime {
        use crate::ring::{Backend, sim::SimRing};
        let pool = Pool::new(config, 64).expect("memory for the simulated region");
        let ring = Ring::over(Backend::Sim(Box::new(SimRing::new(net, config, &pool))));
        Runtime::over(config, ring, pool, Features::default(), Progress::new())
            .expect("a free wake-up slot")
    }

    fn over(
        config: &ShardConfig,
        ring: Ring,
        pool: Rc<Pool>,
        features: Features,
        progress: Arc<Progress>,
    ) -> Result<Runtime, SetupError> {
        let claim = Claim::new().ok_or(SetupError::Shards)?;
        let local = Local::new(claim.slot());
        let io = Io::new(ring, pool, config, claim.eventfd());
        let core = Core::new(config, local, io);
        let due = Vec::new();
        Ok(Runtime {
            core,
            claim,
            features,
            progress,
            more: false,
            due,
            wait_max: None,
            ended: false,
        })
    }

    /// The handle for tasks.
    pub fn shard(&self) -> Shard {
        Shard::new(&self.core)
    }

    /// What is active; `Display` is a part of the start line.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The progress word, for the stall detector.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Runs until `main` is done, then ends in order: tasks still alive are dropped.
    pub fn block_on<F: Future>(mut self, main: F) -> F::Output {
        let output = self.run(main);
        self.end();
        output
    }

    pub(crate) fn run<F: Future>(&mut self, main: F) -> F::Output {
        let mut main = pin!(main);
        let waker = TaskId::main(self.core.local.slot).waker();
        let mut output = None;
        self.core.local.wake(TaskId::main(self.core.local.slot));
        loop {
            let local = Rc::clone(&self.core.local);
            let poll_main = || {
                local.set_running(TaskId::main(local.slot));
                if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    output = Some(value);
                }
                local.set_running(TaskId::NONE);
                output.is_some()
            };
            if self.turn_with(poll_main).is_none() {
                break;
            }
        }
        // INVARIANT: `turn_with` gives None only after `poll_main` has set the output.
        output.expect("main is done")
    }

    /// Takes one turn, for drivers and tests. With nothing to wait for it returns after a moment,
    /// so that the driver can look at what the last task left.
    pub fn turn(&mut self) -> Turn {
        self.wait_max = Some(DRIVEN_WAIT);
        // INVARIANT: None only when the closure says that main is done.
        self.turn_with(|| false).expect("no main to end")
    }

    /// Checks the engine's invariants between turns, and panics on the first contradiction.
    #[cfg(feature = "sim")]
    pub fn audit(&self) -> crate::ring::sim::Audit {
        // INVARIANT: `end` takes the I/O part away, and it consumes or drops the runtime.
        self.core.io(crate::ring::sim::audit).expect("a running shard")
    }

    /// The shapes of all completions so far; what the simulator is held to.
    #[cfg(feature = "sim")]
    pub fn shapes(&self) -> std::collections::BTreeSet<crate::ring::sim::Shape> {
        self.core.io(|io| io.ring.rules().shapes().clone()).unwrap_or_default()
    }

    /// One turn. None = main is done, and the rest of the turn was not taken.
    fn turn_with(&mut self, poll_main: impl FnOnce() -> bool) -> Option<Turn> {
        let _installed = current::install(&self.core.local);
        self.progress.phase(TurnPhase::Run);
        let polled = self.run_tasks(poll_main)?;
        self.core.io(Io::end_turn);
        let (completed, next_timer) = self.enter_and_complete();
        let idle = self.core.local.is_idle();
        Some(Turn { polled, completed, idle, next_timer })
    }

    fn run_tasks(&mut self, poll_main: impl FnOnce() -> bool) -> Option<u32> {
        let local = &self.core.local;
        while let Some(id) = self.claim.pop() {
            local.wake(id);
        }
        if self.claim.take_wake_all() || self.core.config.poll_everything {
            local.wake_all();
        }
        if local.take_main() && poll_main() {
            return None;
        }
        let mut polled = 0;
        while polled < self.core.config.poll_budget {
            if polled % CLOCK_EVERY == CLOCK_EVERY - 1 && self.has_run_long() {
                break;
            }
            let Some(task) = local.next() else {
                break;
            };
            self.progress.task(task);
            self.core.tasks.poll(task, self.core.config.id);
            polled += 1;
        }
        Some(polled)
    }

    /// Polls differ by a factor of a hundred: 256 ends of connections with full queues took 10 ms.
    fn has_run_long(&self) -> bool {
        let spent = self.core.io(|io| io.ring.now().saturating_duration_since(io.now));
        spent.is_some_and(|spent| spent >= RUN_FOR)
    }

    /// The second half of a turn. Returns how many completions there were, and the next timer.
    fn enter_and_complete(&mut self) -> (u32, Option<Instant>) {
        let put_off = !self.core.next_turn.borrow().is_empty();
        let runnable = !self.core.local.is_idle() || self.more || put_off;
        let (claim, due, more) = (&self.claim, &mut self.due, &mut self.more);
        let (progress, wait_max) = (&self.progress, self.wait_max);
        let turned = self.core.io(|io| {
            let began = io.now;
            let at_once = runnable || !io.cqes.is_empty() || !claim.fall_asleep();
            let wait = if at_once { Wait::No } else { Wait::Until(io.wait_until(wait_max)) };
            if !at_once {
                // The enter may wait, and nobody waits for a shard that does.
                let now = io.ring.now();
                io.note_turn(now.saturating_duration_since(began));
            }
            io.turn += 1;
            io.stats.enters += 1;
            progress.turn(io.turn);
            progress.phase(TurnPhase::Enter);
            let entered = io.ring.enter(wait);
            progress.phase(TurnPhase::Complete);
            claim.wake_up();
            if let Err(error) = entered {
                // Only programmer faults get here (EBADF, EFAULT, EINVAL).
                panic!("io_uring_enter: {error}");
            }
            *more = !io.reap();
            if at_once {
                io.note_turn(io.now.saturating_duration_since(began));
            }
            io.complete_all();
            io.note_stalls();
            io.fire_timers(due);
            (io.last_completed, io.now, io.wheel.next())
        });
        let Some((completed, now, next)) = turned else {
            return (0, None);
        };
        self.core.now.set(now);
        self.core.wall.set(None);
        for task in self.core.next_turn.borrow_mut().drain(..) {
            self.core.local.wake(task);
        }
        (completed, next)
    }

    /// Ends in order and says what was left.
    pub fn shutdown(mut self) -> ExitReport {
        self.end()
    }

    fn end(&mut self) -> ExitReport {
        if std::mem::replace(&mut self.ended, true) {
            return ExitReport::default();
        }
        let _installed = current::install(&self.core.local);
        self.core.tasks.clear();
        self.core.io(Io::leave_all);
        let limit = self.core.io(|io| io.ring.now() + LEAVE_WITHIN);
        while let Some(false) = self.core.io(|io| io.drained(limit)) {
            self.core.tasks.clear();
        }
        let io = self.core.io.borrow_mut().take();
        self.progress.phase(TurnPhase::Idle);
        io.map_or(ExitReport::default(), |io| dispose(*io))
    }
}

/// Drops the ring and the slots, or leaks them if an op is still in flight.
fn dispose(mut io: Io) -> ExitReport {
    let leaked_ops = io.ops.in_flight() as u64;
    let held = io.views_alive();
    if leaked_ops > 0 {
        // The kernel may still write to the region and read the blocks.
        Box::leak(Box::new(io));
        return ExitReport { leaked_regions: 1, leaked_ops };
    }
    io.close_reserve();
    #[cfg(any(debug_assertions, feature = "sim"))]
    io.ring.rules().finish();
    // A view that outlives the shard keeps the mapping by its own count; nothing is unmapped under
    // it, but it is reported, because nobody should hold one.
    ExitReport { leaked_regions: u64::from(held), leaked_ops: 0 }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end();
    }
}

impl Io {
    fn note_turn(&mut self, spent: Duration) {
        self.stats.turn_us_max = self.stats.turn_us_max.max(spent.as_micros() as u64);
    }

    /// The next timer; where there is none, a driven turn on the real ring ends soon all the same.
    fn wait_until(&self, wait_max: Option<Duration>) -> Option<Instant> {
        let next = self.wheel.next();
        match wait_max {
            Some(most) if next.is_none() && !self.ring.is_simulated() => Some(self.now + most),
            _ => next,
        }
    }

    /// Copies out what is posted and refreshes the time. False = there may be more.
    fn reap(&mut self) -> bool {
        let all = self.ring.reap(&mut self.cqes);
        if self.ring.overflowed() {
            self.stats.cq_overflows += 1;
        }
        self.now = self.ring.now();
        all
    }

    /// Handles all completions, also those that a forced enter adds meanwhile.
    fn complete_all(&mut self) {
        let mut at = 0;
        while let Some(cqe) = self.cqes.get(at).copied() {
            at += 1;
            self.complete(cqe);
        }
        self.last_completed = at as u32;
        self.cqes.clear();
    }

    /// The shard is leaving: closes all sockets and listeners and cancels every op.
    fn leave_all(&mut self) {
        self.leaving = true;
        for key in self.listeners.keys() {
            self.drop_listener(key);
        }
        for key in self.sockets.keys() {
            self.begin_close(key);
        }
        for op in self.ops.polls() {
            self.cancel(op);
        }
    }

    /// One step of reaping to zero. True when done, or when `limit` has passed.
    fn drained(&mut self, limit: Option<Instant>) -> bool {
        if self.ops.in_flight() == 0 {
            return true;
        }
        let step = self.now + Duration::from_millis(50);
        if self.ring.enter(Wait::Until(Some(step))).is_err() {
            return true;
        }
        self.reap();
        self.complete_all();
        for key in self.sockets.keys() {
            self.begin_close(key);
        }
        limit.is_some_and(|limit| self.now >= limit)
    }

    fn views_alive(&self) -> bool {
        crate::ring::Group::ALL.iter().any(|group| self.pool.census(*group)[2] > 0)
    }

    fn close_reserve(&mut self) {
        if let Some(fd) = self.reserve.take() {
            self.ring.close_now(fd);
        }
    }
}

//! Where a shard is, for the stall detector on the control thread.
//!
//! The shard writes with relaxed stores to a cache line of its own; the reader may see the parts
//! of two neighbouring turns mixed, which is good enough to tell a shard that does not move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnPhase {
    /// Not started, or ended.
    Idle,
    /// Polling a task.
    Run,
    /// Inside io_uring_enter: not a stall, however long.
    Enter,
    /// Handling completions and timers.
    Complete,
}

impl ProgressSnapshot {
    /// Waiting in the kernel, or not running: not moving is no stall.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, TurnPhase::Idle | TurnPhase::Enter)
    }
}

/// Shared with the control thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Progress {
    turn: AtomicU64,
    phase: AtomicU32,
    task: AtomicU32,
}

/// One look at a shard's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// Number of the turn.
    pub turn: u64,
    /// What it is doing.
    pub phase: TurnPhase,
    /// The task polled last.
    pub task: u32,
}

impl Progress {
    pub(crate) fn new() -> Arc<Progress> {
        Arc::new(Progress::default())
    }

    /// What the shard last wrote.
    pub fn snapshot(&self) -> ProgressSnapshot {
        let phase = match self.phase.load(Ordering::Relaxed) {
            1 => TurnPhase::Run,
            2 => TurnPhase::Enter,
            3 => TurnPhase::Complete,
            _ => TurnPhase::Idle,
        };
        let turn = self.turn.load(Ordering::Relaxed);
        ProgressSnapshot { turn, phase, task: self.task.load(Ordering::Relaxed) }
    }

    pub(crate) fn turn(&self, turn: u64) {
        self.turn.store(turn, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self, phase: TurnPhase) {
        self.phase.store(phase as u32, Ordering::Relaxed);
    }

    pub(crate) fn task(&self, task: u32) {
        self.task.store(task, Ordering::Relaxed);
    }
}

//! The waker: a packed {slot: 10, generation: 30, task: 24} in the pointer's place.
//!
//! Clone and drop do nothing and wake never dereferences, so a waker may outlive its task, its
//! shard and its thread's exit. The engine itself keeps the 8-byte [`TaskId`], not the waker.
//! A combinator with wakers of its own is woken as the task it runs in; one that polls only
//! children whose own waker fired is not supported on a shard.

use std::task::{RawWaker, RawWakerVTable, Waker};

use super::current;

const _: () = assert!(usize::BITS == 64, "the packed id needs a 64-bit pointer");

/// Which task of which shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(u64);

impl TaskId {
    /// Nobody: waking it does nothing.
    pub(crate) const NONE: TaskId = TaskId(0);
    /// The task index that stands for the main future of `block_on`.
    pub(crate) const MAIN_TASK: u32 = (1 << 24) - 1;

    pub(crate) fn new(slot: u16, generation: u32, task: u32) -> TaskId {
        debug_assert!(slot < 1024 && task < 1 << 24);
        let generation = u64::from(generation & GENERATION_MASK);
        TaskId(u64::from(slot) << 54 | generation << 24 | u64::from(task))
    }

    pub(crate) fn main(slot: u16) -> TaskId {
        TaskId::new(slot, 0, TaskId::MAIN_TASK)
    }

    pub(crate) fn slot(self) -> u16 {
        (self.0 >> 54) as u16
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 24) as u32 & GENERATION_MASK
    }

    pub(crate) fn task(self) -> u32 {
        self.0 as u32 & 0xFF_FFFF
    }

    pub(crate) fn packed(self) -> u64 {
        self.0
    }

    pub(crate) fn from_packed(packed: u64) -> TaskId {
        TaskId(packed)
    }

    /// The task behind a waker: its own id, or the running task for somebody else's waker.
    pub(crate) fn of(waker: &Waker) -> TaskId {
        if *waker.vtable() == VTABLE {
            TaskId(waker.data().addr() as u64)
        } else {
            current::running()
        }
    }

    pub(crate) fn waker(self) -> Waker {
        // SAFETY: the vtable's functions treat the data as a number and never dereference it, so
        // every contract of `RawWaker` holds for any number, on any thread.
        unsafe { Waker::from_raw(self.raw()) }
    }

    fn raw(self) -> RawWaker {
        RawWaker::new(std::ptr::without_provenance(self.0 as usize), &VTABLE)
    }
}

const GENERATION_MASK: u32 = (1 << 30) - 1;

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| TaskId(data.addr() as u64).raw(),
    |data| current::wake(TaskId(data.addr() as u64)),
    |data| current::wake(TaskId(data.addr() as u64)),
    |_| {},
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_come_back() {
        let id = TaskId::new(1023, GENERATION_MASK, 0xFF_FFFE);
        assert_eq!(id.slot(), 1023);
        assert_eq!(id.generation(), GENERATION_MASK);
        assert_eq!(id.task(), 0xFF_FFFE);
        assert_eq!(TaskId::of(&id.waker().clone()), id);
    }

    #[test]
    fn somebody_elses_waker_stands_for_the_running_task() {
        assert_eq!(TaskId::of(Waker::noop()), TaskId::NONE);
    }
}

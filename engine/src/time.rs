//! Deadlines: a hierarchical wheel with a tick of about 4 ms, and the lazy `Timer` handle.
//!
//! A deadline costs one store while it only moves later: the wheel's entry stays where it is and
//! re-inserts itself when it comes due too early. Moving earlier re-links, dropping unlinks; all
//! are O(1). The next expiry bounds the wait of the shard's one enter. Entries are 40 bytes in a
//! slab; nothing is allocated per request.
//!
//! Not a clock: time is passed in, cached once a turn by the shard.

use std::time::{Duration, Instant};

use crate::slab::{Key, Slab};
use crate::task::raw::TaskId;

/// What a due entry wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Task(TaskId),
    /// A closing socket's next deadline.
    Socket(Key),
    /// A listener's pause is over.
    Listener(Key),
    /// Buffers have been short for a while (B4).
    Pressure,
}

/// log2 of the tick in nanoseconds: 4.19 ms.
const TICK_BITS: u32 = 22;
const LEVELS: usize = 4;
const SLOTS: usize = 64;
const NONE: u32 = u32::MAX;
/// No deadline.
const NEVER: u64 = u64::MAX;
/// An entry that is in no slot.
const UNLINKED: u16 = u16::MAX;

struct Entry {
    /// Nanoseconds since the wheel's start.
    deadline: u64,
    /// The tick it is filed under, at most the deadline's.
    filed: u64,
    previous: u32,
    next: u32,
    slot: u16,
    target: Target,
}

/// The shard's deadlines.
pub(crate) struct Wheel {
    start: Instant,
    /// All ticks up to this one have been handled.
    tick: u64,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    entries: Slab<Entry>,
}

impl Wheel {
    pub(crate) fn new(start: Instant) -> Wheel {
        Wheel {
            start,
            tick: 0,
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            entries: Slab::new(),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(NEVER - 1).min(NEVER - 1)
    }

    /// An entry without a deadline.
    pub(crate) fn add(&mut self, target: Target) -> Key {
        let entry =
            Entry { deadline: NEVER, filed: 0, previous: NONE, next: NONE, slot: UNLINKED, target };
        self.entries.insert(entry)
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if self.entries.get(key).is_some() {
            self.unlink(key.index);
            self.entries.remove(key);
        }
    }

    pub(crate) fn set_target(&mut self, key: Key, target: Target) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.target = target;
        }
    }

    /// Sets or clears the deadline: one store, unless it must come earlier than it is filed.
    pub(crate) fn set(&mut self, key: Key, at: Option<Instant>) {
        let deadline = at.map_or(NEVER, |at| self.nanos(at));
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.deadline = deadline;
        let late_enough = entry.slot != UNLINKED && entry.filed <= ticks_up(deadline);
        if deadline != NEVER && !late_enough {
            self.unlink(key.index);
            self.link(key.index);
        }
    }

    fn link(&mut self, index: u32) {
        let tick = self.tick;
        let Some(entry) = self.entries.at_mut(index) else {
            return;
        };
        let furthest = tick + (1 << (6 * LEVELS as u32)) - 1;
        let filed = ticks_up(entry.deadline).clamp(tick + 1, furthest);
        let level = level_of(tick, filed);
        let slot = (filed >> (6 * level as u32)) as usize % SLOTS;
        let head = self.heads[level][slot];
        (entry.filed, entry.slot) = (filed, (level * SLOTS + slot) as u16);
        (entry.previous, entry.next) = (NONE, head);
        if let Some(second) = self.entries.at_mut(head) {
            second.previous = index;
        }
        self.heads[level][slot] = index;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entries.at_mut(index) else {
            return;
        };
        if entry.slot == UNLINKED {
            return;
        }
        let (previous, next, place) = (entry.previous, entry.next, usize::from(entry.slot));
        entry.slot = UNLINKED;
        if let Some(after) = self.entries.at_mut(next) {
            after.previous = previous;
        }
        let (level, slot) = (place / SLOTS, place % SLOTS);
        match self.entries.at_mut(previous) {
            Some(before) => before.next = next,
            None => self.heads[level][slot] = next,
        }
        if self.heads[level][slot] == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// When the wheel next needs a look: the first expiry or cascade. At most one tick late.
    pub(crate) fn next(&self) -> Option<Instant> {
        let tick = self.next_tick()?.0;
        Some(self.start + Duration::from_nanos(tick << TICK_BITS))
    }

    /// The first occupied slot's tick, level and index.
    fn next_tick(&self) -> Option<(u64, usize, usize)> {
        let at = |level: usize| {
            let occupied = self.occupied[level];
            if occupied == 0 {
                return None;
            }
            let shift = 6 * level as u32;
            let now = (self.tick >> shift) as usize % SLOTS;
            // A slot at the current index belongs to the next rotation (only at the top level).
            let ahead = occupied.rotate_right(now as u32 + 1).trailing_zeros() as u64 + 1;
            let tick = ((self.tick >> shift) + ahead) << shift;
            Some((tick, level, (now + ahead as usize) % SLOTS))
        };
        (0..LEVELS).filter_map(at).min()
    }

    /// Collects what is due at `now`; its entries stay, without a deadline filed.
    pub(crate) fn expire(&mut self, now: Instant, due: &mut Vec<Target>) {
        let nanos = self.nanos(now);
        let last = nanos >> TICK_BITS;
        while let Some((tick, level, slot)) = self.next_tick() {
            if tick > last {
                break;
            }
            self.tick = tick;
            let mut index = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while let Some(entry) = self.entries.at_mut(index) {
                let next = entry.next;
                entry.slot = UNLINKED;
                let target = entry.target;
                if entry.deadline <= nanos {
                    entry.deadline = NEVER;
                    due.push(target);
                } else if entry.deadline != NEVER {
                    self.link(index);
                }
                index = next;
            }
        }
        self.tick = self.tick.max(last);
    }
}

/// The first tick that begins at or after the deadline.
fn ticks_up(deadline: u64) -> u64 {
    deadline.saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS
}

/// The highest group of six bits in which the two ticks differ.
fn level_of(tick: u64, filed: u64) -> usize {
    let highest = 63 - ((tick ^ filed) | 1).leading_zeros();
    (highest as usize / 6).min(LEVELS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel() -> (Wheel, Instant) {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let start = Instant::now();
        (Wheel::new(start), start)
    }

    fn task(number: u32) -> Target {
        Target::Task(TaskId::new(1, 1, number))
    }

    fn expire(wheel: &mut Wheel, now: Instant) -> Vec<Target> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due
    }

    #[test]
    fn every_deadline_fires_once_and_never_early() {
        let (mut wheel, start) = wheel();
        let mut state = 1_u64;
        let mut deadlines = Vec::new();
        for number in 0..500 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = start + Duration::from_micros((state >> 33) % (1 << (10 + number % 28)));
            let key = wheel.add(task(number));
            wheel.set(key, Some(at));
            deadlines.push(at);
        }
        let mut fired = vec![false; 500];
        while let Some(next) = wheel.next() {
            for target in expire(&mut wheel, next) {
                let Target::Task(id) = target else { panic!("only tasks here") };
                let at = deadlines[id.task() as usize];
                assert!(at <= next && next - at <= Duration::from_millis(9), "{:?}", next - at);
                assert!(!std::mem::replace(&mut fired[id.task() as usize], true));
            }
        }
        assert!(fired.iter().all(|fired| *fired));
    }

    #[test]
    fn a_deadline_that_moved_later_is_filed_again_when_it_comes_up() {
        let (mut wheel, start) = wheel();
        let key = wheel.add(task(1));
        wheel.set(key, Some(start + Duration::from_millis(10)));
        wheel.set(key, Some(start + Duration::from_millis(500)));
        assert_eq!(expire(&mut wheel, start + Duration::from_millis(20)), []);
        assert_eq!(expire(&mut wheel, start + Duration::from_millis(505)), [task(1)]);
    }

    #[test]
    fn a_deadline_that_moved_earlier_fires_earlier() {
        let (mut wheel, start) = wheel();
        let key = wheel.add(task(1));
        wheel.set(key, Some(start + Duration::from_secs(60)));
        wheel.set(key, Some(start + Duration::from_millis(8)));
        assert_eq!(expire(&mut wheel, start + Duration::from_millis(20)), [task(1)]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_cleared_or_removed_entry_does_not_fire() {
        let (mut wheel, start) = wheel();
        let (first, second) = (wheel.add(task(1)), wheel.add(task(2)));
        wheel.set(first, Some(start + Duration::from_millis(8)));
        wheel.set(second, Some(start + Duration::from_millis(8)));
        wheel.set(first, None);
        wheel.remove(second);
        assert_eq!(expire(&mut wheel, start + Duration::from_secs(1)), []);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_still_fires() {
        let (mut wheel, start) = wheel();
        let key = wheel.add(task(1));
        let far = start + Duration::from_secs(100 * 3600);
        wheel.set(key, Some(far));
        while let Some(next) = wheel.next() {
            if expire(&mut wheel, next) == [task(1)] {
                assert!(next >= far);
                return;
            }
        }
        panic!("never fired");
    }

    #[test]
    fn a_deadline_in_the_past_fires_with_the_next_tick() {
        let (mut wheel, start) = wheel();
        expire(&mut wheel, start + Duration::from_secs(5));
        let key = wheel.add(task(1));
        wheel.set(key, Some(start));
        let next = wheel.next().unwrap();
        assert_eq!(expire(&mut wheel, next), [task(1)]);
    }
}

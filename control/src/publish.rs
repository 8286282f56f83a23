//! From one new snapshot to all shards, and back when the last one let go.
//!
//! The publisher knows its subscribers only as closures that mail an `Arc`; it never waits for
//! one. Each subscriber says by one atomic store which generation it runs.
//!
//! Invariants:
//! - P1 The publisher keeps every published snapshot until it is the only holder, so the last
//!   reference is dropped by [`Publisher::retire`], on the control thread: a shard never pays for
//!   freeing a large table.
//! - P2 Generations are published in growing order.
//! - P3 A subscriber that could not take the last snapshot is sent it again.
//!
//! Cost to a shard: one atomic increment and one decrement per snapshot, one store to acknowledge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::snapshot::Snapshot;

/// Hands a snapshot to one subscriber without blocking. False when it could not take it now.
pub type Subscriber = Box<dyn Fn(Arc<Snapshot>) -> bool + Send>;

/// Owned by the control thread.
pub struct Publisher {
    subscribers: Vec<Subscriber>,
    adopted: Arc<[AtomicU64]>,
    kept: Vec<Arc<Snapshot>>,
    /// Some subscriber could not take the last snapshot.
    behind: bool,
}

/// What one subscriber acknowledges with. `Send`; give it to the subscriber's thread.
#[derive(Clone, Debug)]
pub struct Acknowledge {
    adopted: Arc<[AtomicU64]>,
    index: usize,
}

impl Acknowledge {
    /// Says that this subscriber now runs `generation`.
    pub fn adopted(&self, generation: u64) {
        self.adopted[self.index].store(generation, Ordering::Release);
    }
}

impl Publisher {
    /// One closure for each shard, in shard order.
    pub fn new(subscribers: Vec<Subscriber>) -> Publisher {
        let adopted = subscribers.iter().map(|_| AtomicU64::new(0)).collect();
        Publisher { subscribers, adopted, kept: Vec::new(), behind: false }
    }

    /// The acknowledging side for the `index`-th subscriber.
    ///
    /// # Panics
    /// When there is no such subscriber.
    pub fn acknowledge(&self, index: usize) -> Acknowledge {
        assert!(index < self.subscribers.len(), "subscriber {index} does not exist");
        Acknowledge { adopted: Arc::clone(&self.adopted), index }
    }

    /// Sends `snapshot` to all subscribers.
    ///
    /// # Panics
    /// When its generation is not above the last one (P2).
    pub fn publish(&mut self, snapshot: &Arc<Snapshot>) {
        let last = self.kept.last().map_or(0, |kept| kept.generation);
        assert!(snapshot.generation > last, "generation {} after {last}", snapshot.generation);
        self.kept.push(Arc::clone(snapshot));
        self.send_last();
        self.retire();
    }

    /// Sends the last snapshot again where a subscriber could not take it. To be called on every
    /// control tick.
    pub fn catch_up(&mut self) {
        if self.behind {
            self.send_last();
        }
    }

    fn send_last(&mut self) {
        let Some(last) = self.kept.last() else { return };
        // Every subscriber is told, whatever another one says.
        let refused = self.subscribers.iter().filter(|send| !send(Arc::clone(last)));
        self.behind = refused.count() > 0;
    }

    /// The generation that every subscriber runs at least; 0 before the first acknowledgement.
    pub fn acknowledged(&self) -> u64 {
        let adopted = self.adopted.iter().map(|adopted| adopted.load(Ordering::Acquire));
        adopted.min().unwrap_or_else(|| self.kept.last().map_or(0, |kept| kept.generation))
    }

    /// The generation each subscriber runs, in shard order.
    pub fn generations(&self) -> Vec<u64> {
        self.adopted.iter().map(|adopted| adopted.load(Ordering::Acquire)).collect()
    }

    /// The last published snapshot.
    pub fn current(&self) -> Option<&Arc<Snapshot>> {
        self.kept.last()
    }

    /// Drops the snapshots that nobody else holds, on the calling thread, except the current
    /// one. Returns how many are still held by others. To be called on every control tick.
    pub fn retire(&mut self) -> usize {
        let last = self.kept.len().saturating_sub(1);
        let mut index = 0;
        self.kept.retain(|kept| {
            index += 1;
            index > last || Arc::strong_count(kept) > 1
        });
        self.kept.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{Sources, load};

    fn snapshot(generation: u64) -> Arc<Snapshot> {
        let upstream = vec!["127.0.0.1:9001".to_owned()];
        let mut snapshot = load(&Sources { upstream, ..Sources::default() }).unwrap();
        snapshot.generation = generation;
        Arc::new(snapshot)
    }

    #[test]
    fn retires_what_all_have_left() {
        let shard = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&shard);
        let mut publisher = Publisher::new(vec![Box::new(move |new| {
            *slot.lock().unwrap() = Some(new);
            true
        })]);
        let acknowledge = publisher.acknowledge(0);

        publisher.publish(&snapshot(1));
        assert_eq!((publisher.acknowledged(), publisher.retire()), (0, 0));
        acknowledge.adopted(1);
        assert_eq!(publisher.acknowledged(), 1);

        let held = shard.lock().unwrap().clone();
        let first = Arc::downgrade(held.as_ref().unwrap());
        publisher.publish(&snapshot(2));
        assert_eq!(publisher.retire(), 1, "an exchange still holds the first");
        drop(held);
        assert!(first.upgrade().is_some(), "P1: the publisher keeps it");
        assert_eq!(publisher.retire(), 0);
        assert!(first.upgrade().is_none());
        acknowledge.adopted(2);
        assert_eq!((publisher.acknowledged(), publisher.generations()), (2, vec![2]));
        assert_eq!(publisher.current().map(|current| current.generation), Some(2));
    }

    #[test]
    fn who_could_not_take_a_snapshot_is_sent_it_again() {
        let (full, taken) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(Vec::new())));
        let (is_full, sink) = (Arc::clone(&full), Arc::clone(&taken));
        let mut publisher = Publisher::new(vec![Box::new(move |new| {
            let takes = !*is_full.lock().unwrap();
            sink.lock().unwrap().extend(takes.then_some(new.generation));
            takes
        })]);
        publisher.publish(&snapshot(1));
        publisher.publish(&snapshot(2));
        publisher.catch_up();
        *full.lock().unwrap() = false;
        publisher.catch_up();
        publisher.catch_up();
        assert_eq!(*taken.lock().unwrap(), [2]);
    }

    #[test]
    #[should_panic(expected = "generation 1 after 1")]
    fn generations_grow() {
        let mut publisher = Publisher::new(Vec::new());
        publisher.publish(&snapshot(1));
        publisher.publish(&snapshot(1));
    }
}

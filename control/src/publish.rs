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
//!
//! Cost to a shard: one atomic increment and one decrement per snapshot, one store to acknowledge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::snapshot::Snapshot;

/// Hands a snapshot to one subscriber without blocking.
pub type Subscriber = Box<dyn Fn(Arc<Snapshot>) + Send>;

/// Owned by the control thread.
pub struct Publisher {
    subscribers: Vec<Subscriber>,
    adopted: Arc<[AtomicU64]>,
    kept: Vec<Arc<Snapshot>>,
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
        Publisher { subscribers, adopted, kept: Vec::new() }
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
        for send in &self.subscribers {
            send(Arc::clone(snapshot));
        }
        self.retire();
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
        let mut publisher =
            Publisher::new(vec![Box::new(move |new| *slot.lock().unwrap() = Some(new))]);
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
    #[should_panic(expected = "generation 1 after 1")]
    fn generations_grow() {
        let mut publisher = Publisher::new(Vec::new());
        publisher.publish(&snapshot(1));
        publisher.publish(&snapshot(1));
    }
}

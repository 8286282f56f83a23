//! `Recorder`: the bounded way of a record from its shard to the access log's thread.
//!
//! Q1 A shard never waits: when the queue is full the record is dropped and counted. Q2 Boxes go
//! round: the exporter returns them on a second queue, so a busy shard allocates none after the
//! first seconds and holds at most as many as both queues take. Q3 With the log off there is no
//! queue, [`Recorder::begin`] gives `None`, and a request costs nothing here. The queues are one
//! of the three places where threads meet.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::counter::{Metric, ShardMetrics};
use crate::record::Record;

/// Records a shard may have waiting. The log's thread looks every 20 ms, so this is good for
/// 4 096 / 0.02 s = 200 000 requests a second and shard.
const QUEUE_RECORDS: usize = 4096;
/// Empty boxes kept for a shard.
const SPARE_RECORDS: usize = 1024;

/// A shard's end: makes records and sends them.
pub struct Recorder {
    queues: Option<Arc<Queues>>,
    metrics: Arc<ShardMetrics>,
}

/// The exporter's end of one shard's queue.
pub struct Feed {
    queues: Arc<Queues>,
}

struct Queues {
    full: ArrayQueue<Box<Record>>,
    spare: ArrayQueue<Box<Record>>,
}

impl Recorder {
    /// A recorder that records nothing.
    pub fn off(metrics: Arc<ShardMetrics>) -> Recorder {
        Recorder { queues: None, metrics }
    }

    /// A recorder and the end that its records come out of.
    pub fn on(metrics: Arc<ShardMetrics>) -> (Recorder, Feed) {
        Recorder::bounded(metrics, QUEUE_RECORDS, SPARE_RECORDS)
    }

    fn bounded(metrics: Arc<ShardMetrics>, full: usize, spare: usize) -> (Recorder, Feed) {
        let queues =
            Arc::new(Queues { full: ArrayQueue::new(full), spare: ArrayQueue::new(spare) });
        let feed = Feed { queues: Arc::clone(&queues) };
        (Recorder { queues: Some(queues), metrics }, feed)
    }

    /// Whether records are wanted.
    pub fn is_on(&self) -> bool {
        self.queues.is_some()
    }

    /// An empty record to fill, or `None` when none is wanted.
    pub fn begin(&self) -> Option<Box<Record>> {
        let queues = self.queues.as_ref()?;
        Some(queues.spare.pop().unwrap_or_default())
    }

    /// Sends a record from [`Recorder::begin`] on its way, or drops and counts it (Q1).
    pub fn finish(&self, record: Box<Record>) {
        let Some(queues) = &self.queues else { return };
        if queues.full.push(record).is_err() {
            self.metrics.add(Metric::LogDropped, 1);
        }
    }

    /// Sends a copy of a record.
    pub fn record(&self, record: &Record) {
        if let Some(mut copy) = self.begin() {
            *copy = record.clone();
            self.finish(copy);
        }
    }
}

impl Feed {
    /// The oldest record waiting.
    pub fn pop(&self) -> Option<Box<Record>> {
        self.queues.full.pop()
    }

    /// Gives a record's box back to its shard, empty.
    pub fn give_back(&self, mut record: Box<Record>) {
        record.clear();
        // A full spare queue means enough boxes exist: this one is freed.
        let _ = self.queues.spare.push(record);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::counter::Registry;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let registry = Registry::new(1, "0", SystemTime::UNIX_EPOCH);
        let (recorder, feed) = Recorder::bounded(registry.shard(0), 2, 2);
        for status in [1, 2, 3] {
            let mut record = recorder.begin().expect("on");
            record.status = status;
            recorder.finish(record);
        }
        assert_eq!(registry.total(Metric::LogDropped), 1);
        assert_eq!(feed.pop().map(|record| record.status), Some(1));
    }

    #[test]
    fn boxes_come_back_empty() {
        let registry = Registry::new(1, "0", SystemTime::UNIX_EPOCH);
        let (recorder, feed) = Recorder::bounded(registry.shard(0), 2, 1);
        let first = recorder.begin().expect("on");
        let address = &raw const *first;
        recorder.record(&Record { status: 418, ..Record::default() });
        recorder.finish(first);
        let copied = feed.pop().expect("copied record");
        assert_eq!(copied.status, 418);
        drop(copied);
        feed.give_back(feed.pop().expect("first record"));
        let again = recorder.begin().expect("on");
        assert_eq!((&raw const *again, again.status), (address, 0));
    }

    #[test]
    fn off_makes_no_records() {
        let registry = Registry::new(1, "0", SystemTime::UNIX_EPOCH);
        let recorder = Recorder::off(registry.shard(0));
        assert!(!recorder.is_on() && recorder.begin().is_none());
        recorder.record(&Record::default());
        assert_eq!(registry.total(Metric::LogDropped), 0);
    }
}

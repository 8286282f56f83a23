//! How long a shard stands still while the table is replaced a thousand times a second.
//!
//! A second thread plays a shard: it asks for random rules, takes each new table from a queue, puts
//! it in the place of the old one, and hands that one back to be freed by who made the new one.
//! What counts is the CPU time of the shard's thread between two finds with a swap between them,
//! the first find in the new table included: it finds that table's lines in nobody's cache. That
//! time has the interrupts that come meanwhile in it, so that here, too, the best of several
//! batches is taken; the longest of all is printed beside it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use router::{PlanId, RouteId, Table};

use super::ask::Asks;
use super::sets::Set;
use super::{ASKS, BATCHES, Figures, thread_ns};

/// Of one batch.
const UPDATES: u32 = 2_000;
const EVERY: Duration = Duration::from_millis(1);
/// Tables that may wait for the shard, and old ones that may wait to be freed.
const QUEUED: usize = 16;

/// The longest stall and that which one of a hundred exceeds, in the best batch; the longest of all
/// batches; and the fewest updates a second that were really made.
pub(super) fn measure(table: &Table, set: &Set) -> Result<Figures> {
    let asks = Asks::hits(set, set.len(), ASKS);
    let batches: Result<Vec<Batch>> = (0..BATCHES).map(|_| batch(table, set, &asks)).collect();
    let batches = batches?;
    let least =
        |figure: fn(&Batch) -> f64| batches.iter().map(figure).fold(f64::INFINITY, f64::min);
    Ok(vec![
        ("stall_us_max", least(|batch| batch.max_us)),
        ("stall_us_p99", least(|batch| batch.p99_us)),
        ("stall_us_worst", batches.iter().map(|batch| batch.max_us).fold(0.0, f64::max)),
        ("stall_updates_per_s", least(|batch| batch.updates_per_s)),
    ])
}

struct Batch {
    max_us: f64,
    p99_us: f64,
    updates_per_s: f64,
}

fn batch(table: &Table, set: &Set, asks: &Asks) -> Result<Batch> {
    let first = Arc::new(table.clone());
    let (new, news) = sync_channel(QUEUED);
    let (old, olds) = sync_channel(QUEUED);
    std::thread::scope(|scope| {
        let shard = scope.spawn({
            let first = Arc::clone(&first);
            move || play_shard(first, asks, &news, &old)
        });
        let made = update(first, set, &new, &olds);
        drop(new);
        // Whoever waits blocked would have to be woken by the shard.
        while !matches!(olds.try_recv(), Err(TryRecvError::Disconnected)) {
            std::thread::yield_now();
        }
        let mut stalls = shard.join().map_err(|_| anyhow!("the shard's thread panicked"))?;
        stalls.sort_unstable();
        let us =
            |from_end: usize| stalls.iter().nth_back(from_end).map_or(0, |ns| *ns) as f64 / 1_000.0;
        Ok(Batch { max_us: us(0), p99_us: us(stalls.len() / 100), updates_per_s: made? })
    })
}

/// Asks until there are no more tables; the stalls in nanoseconds.
fn play_shard(
    first: Arc<Table>,
    asks: &Asks,
    news: &Receiver<Arc<Table>>,
    old: &SyncSender<Arc<Table>>,
) -> Vec<u64> {
    let (mut table, mut stalls) = (first, Vec::with_capacity(UPDATES as usize));
    for index in (0..asks.len()).cycle() {
        let start = thread_ns();
        let is_new = match news.try_recv() {
            Ok(new) => {
                // Who updates takes the old ones away before it sends more than the queue holds.
                drop(old.send(std::mem::replace(&mut table, new)));
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => break,
        };
        asks.with(index, |query| std::hint::black_box(table.find(query)));
        if is_new {
            stalls.push(thread_ns() - start);
        }
    }
    stalls
}

/// Replaces one rule each millisecond, and frees what comes back; the updates a second.
fn update(
    mut table: Arc<Table>,
    set: &Set,
    new: &SyncSender<Arc<Table>>,
    olds: &Receiver<Arc<Table>>,
) -> Result<f64> {
    let start = Instant::now();
    for update in 0..UPDATES {
        let index = (update as usize * 7_919) % set.len();
        let (spec, priority) = set.spec(index);
        let next = table.with(RouteId(index as u32), &spec, priority, PlanId(update));
        table = Arc::new(next.map_err(|errors| anyhow!("{errors:?}"))?);
        while olds.try_recv().is_ok() {}
        new.send(Arc::clone(&table))?;
        std::thread::sleep((EVERY * (update + 1)).saturating_sub(start.elapsed()));
    }
    Ok(f64::from(UPDATES) / start.elapsed().as_secs_f64())
}

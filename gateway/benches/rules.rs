//! What a million routes cost a request: `cargo bench -p gateway --bench rules`.
//!
//! Two shards run on simulated rings, one with a single route for everything and one with a
//! million. Both take the same requests, drawn at random over all routes, in batches by turns. The
//! time is CPU time of this thread. Every batch is run several times and its best run counts, since
//! a neighbour only makes a run slower; batches are short, so that each has a quiet moment. The
//! simulated ring costs both the same, so what counts is the difference.
//!
//! `cargo test --benches` runs it with few routes: then it only shows that it works.
#![forbid(unsafe_code)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::{Snapshot, Sources};
use engine::sim::Rng;
use rustix::time::{ClockId, clock_gettime};

use support::rules::{PER_HOST, Rule};
use support::stage::Stage;

const RULES: usize = 1_000_000;
const REQUESTS: usize = 100_000;
/// Some 20 ms.
const BATCH: usize = 1_000;
const ROUNDS: usize = 5;
const SEED: u64 = 0x5eed;
/// What a million routes may add to a request.
const GOAL_NS: f64 = 600.0;

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (rules, requests) = if is_bench { (RULES, REQUESTS) } else { (40 * PER_HOST, 200) };
    let requests = draw(rules, requests);
    let mut one = Stage::new(SEED, &Arc::new(load("one", 0)));
    let mut many = Stage::new(SEED, &Arc::new(load("many", rules)));
    let (mut one_best, mut many_best) = (Best::new(&requests), Best::new(&requests));
    // The first round fills caches and pools.
    for round in 0..=ROUNDS {
        for (index, batch) in requests.chunks(BATCH).enumerate() {
            let pair = [run(&mut one, batch), run(&mut many, batch)];
            if round > 0 {
                one_best.note(index, pair[0]);
                many_best.note(index, pair[1]);
            }
        }
    }
    let (one_ns, many_ns) = (one_best.mean(requests.len()), many_best.mean(requests.len()));
    println!("one route       {one_ns:8.0} ns a request");
    println!("{rules:7} routes  {many_ns:8.0} ns a request");
    println!("difference      {:8.0} ns (goal: at most {GOAL_NS:.0})", many_ns - one_ns);
}

/// The best run of each batch, in CPU nanoseconds.
struct Best(Vec<u64>);

impl Best {
    fn new(requests: &[Vec<u8>]) -> Best {
        Best(vec![u64::MAX; requests.chunks(BATCH).len()])
    }

    fn note(&mut self, batch: usize, ns: u64) {
        self.0[batch] = self.0[batch].min(ns);
    }

    /// Nanoseconds a request.
    fn mean(&self, requests: usize) -> f64 {
        self.0.iter().sum::<u64>() as f64 / requests as f64
    }
}

/// CPU nanoseconds of a batch.
fn run(stage: &mut Stage, batch: &[Vec<u8>]) -> u64 {
    let start = thread_ns();
    stage.exchange_all(batch);
    thread_ns() - start
}

/// The bytes of `count` requests, each for a rule drawn at random.
fn draw(rules: usize, count: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(SEED);
    (0..count).map(|_| Rule::new(rng.below(rules as u64) as usize).request()).collect()
}

/// The snapshot with so many routes, or with one that takes everything.
fn load(name: &str, rules: usize) -> Snapshot {
    let folder = Folder::new(name);
    std::fs::write(folder.0.join("gateway.yaml"), CONFIG).expect("a folder for files");
    let lines = match rules {
        0 => "{\"id\": \"all\", \"cluster\": \"app\"}\n".to_owned(),
        _ => (0..rules).map(|index| Rule::new(index).line(index)).collect(),
    };
    std::fs::write(folder.0.join("routes.jsonl"), lines).expect("room for the routes");
    let sources = Sources { file: Some(folder.0.clone()), ..Sources::default() };
    control::load(&sources).unwrap_or_else(|errors| panic!("{:?}", errors.first()))
}

/// Files that go when they were read.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("rules-{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the folder for test files is writable");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it would only take space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CONFIG: &str = "
version: 1
listeners: [{address: 10.0.0.1:80}]
clusters: {app: {endpoints: [10.0.1.1:80]}}
";

/// CPU time of this thread.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

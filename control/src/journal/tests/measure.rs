//! Figures, by hand: `cargo test --release -p control measure -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

const ROUTES: usize = 1_000_000;

fn route(index: usize) -> String {
    let (host, path) = (index / 20, index % 20);
    format!(
        "{{\"id\":\"route-{index}\",\"match\":{{\"host\":\"h{host}.example.com\",\
         \"path\":\"/service/{path}/*\"}},\"cluster\":\"cluster-{host}\"}}"
    )
}

/// Resets the peak, so that each part is measured by itself.
fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn memory(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
}

fn report(what: &str, since: Instant) {
    println!("{what}: {:.2} s, {}", since.elapsed().as_secs_f64(), memory("VmHWM"));
}

#[test]
#[ignore = "a measurement, run by hand"]
fn measure_commits() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    for group in [1, 16] {
        let count = 2_000 * group;
        let start = Instant::now();
        for index in 0..count {
            journal.append(&[Change::Put { id: "r", route: &route(index) }]).unwrap();
            if index % group == group - 1 {
                journal.commit().unwrap();
            }
        }
        let rate = count as f64 / start.elapsed().as_secs_f64();
        println!("{group} entries a commit: {rate:.0} entries/s");
    }
}

#[test]
#[ignore = "a measurement, run by hand"]
fn measure_a_million_routes() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    println!("at the start: {}", memory("VmRSS"));
    for round in 0..2 {
        reset_peak();
        let start = Instant::now();
        for index in 0..ROUTES {
            let id = format!("route-{}", (index * (1 + round * 6)) % ROUTES);
            journal.append(&[Change::Put { id: &id, route: &route(index) }]).unwrap();
            if index % 100 == 99 {
                journal.commit().unwrap();
            }
        }
        report("a million appended, 100 a commit", start);
        println!("{} MiB", journal.segments_bytes() >> 20);
        reset_peak();
        let start = Instant::now();
        let mut count = 0;
        journal.replay(&mut |_, _| count += 1).unwrap();
        report(&format!("replay of {count}"), start);
        reset_peak();
        let start = Instant::now();
        journal.begin().unwrap();
        let running = journal.running.take().unwrap();
        let base = running.join().unwrap().unwrap();
        report("compaction", start);
        journal.files.base = base.number;
        (journal.base_bytes, journal.closed_bytes) = (base.bytes, 0);
        let start = Instant::now();
        journal.files.sweep().unwrap();
        report("sweep", start);
    }
    drop(journal);
    let start = Instant::now();
    drop(scratch.open());
    report("open", start);
}

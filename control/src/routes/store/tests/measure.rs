//! Figures, by hand: `cargo test --release -p control measure_a_start -- --ignored --nocapture`.
//! CPU time is what counts on a machine that does other things too.

use super::*;

/// Routes in the journal; the configuration has as many more.
const ROUTES: usize = 200_000;
/// Routes of a batch.
const BATCH: usize = 10_000;

fn line(index: usize, path: &str) -> String {
    let host = index / 20;
    format!(
        "{{\"id\":\"route-{index}\",\"cluster\":\"app\",\"match\":{{\"host\":\
         \"h{host}.example.com\",\"path\":\"/service/{}/{path}/*\"}}}}",
        index % 20
    )
}

fn declare_lines(folder: &Folder) -> Sources {
    let lines: String = (0..ROUTES).map(|index| line(index, "file") + "\n").collect();
    std::fs::write(folder.0.join("routes.jsonl"), lines).unwrap();
    folder.write(&format!(
        "version: 1\nsettings: {{route_journal: {}}}\nlisteners: [{{address: 127.0.0.1:0}}]\n\
         clusters: {{app: {{endpoints: ['127.0.0.1:1']}}}}\nroute_files: [routes.jsonl]\n",
        folder.0.join("journal").display()
    ))
}

/// CPU time of the process so far, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// A file of routes; over it a journal that changes half of them and has as many new ones.
#[test]
#[ignore = "a measurement, run by hand"]
fn measure_a_start() {
    let folder = Folder::new("measure");
    let sources = declare_lines(&folder);
    let timed = |what: &str| {
        let (start, ticks) = (Instant::now(), cpu_ticks());
        let loaded = RouteStore::load(&sources).unwrap();
        let cpu_s = (cpu_ticks() - ticks) as f64 / 100.0;
        println!("{what}: {:.2} s, {cpu_s:.2} s of CPU", start.elapsed().as_secs_f64());
        loaded
    };
    let (_, mut store) = timed("without a journal");
    let ids: Vec<usize> = (ROUTES / 2..ROUTES + ROUTES / 2).collect();
    for batch in ids.chunks(BATCH) {
        let put = |index: &usize| Change::Put {
            id: format!("route-{index}"),
            route: line(*index, "journal"),
        };
        let group: Vec<Change> = batch.iter().map(put).collect();
        change(&mut store, &group).unwrap();
    }
    drop(store);
    let (snapshot, mut store) = timed("with one");
    assert_eq!(snapshot.routes.len(), ROUTES + ROUTES / 2);
    let (start, count) = (Instant::now(), 5_000);
    for index in (0..count).map(|number| number * 37) {
        let id = format!("new-{index}");
        let route = line(index, "new").replace(&format!("route-{index}"), &id);
        store.editor.apply(&[Change::Put { id, route }], start).unwrap();
    }
    let each_us = start.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("a new route in memory: {each_us:.1} us");
}

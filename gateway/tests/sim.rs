//! The whole gateway on the simulated ring, one seed after the other.
//!
//! Each seed starts one shard with its own sizes and faults, drives at least 240 exchanges over 24
//! scripted clients and nine clusters (two of them refuse every connect), checks the engine's
//! and the gateway's invariants after every turn, then lets everybody leave and expects nothing
//! to be left behind. Clients and origins check the end-to-end truths (`support/`).
//!
//! `RINGWAY_SEED=n` replays one seed and prints what the access log says of its errors;
//! `RINGWAY_SEEDS=n` sets how many are run and `RINGWAY_SEED_FIRST=n` the first of them. Without
//! these, half are fixed and half fresh.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::{Snapshot, Sources};
use engine::sim::{Checked, Fault, Faults, Fired, Net, Rng, Rule};
use engine::{Address, MailSender, Runtime, Shard, ShardConfig};
use gateway::{Seat, ToShard};
use observe::{Feed, Gauge, Metric, Record, Recorder, Registry, ShardMetrics};

use support::client::Client;
use support::client_h2::ClientH2;
use support::client_thrift::ClientThrift;
use support::life::Scripted as _;
use support::origin::Origins;
use support::plan::Plan;
use support::upstream_h2::UpstreamsH2;
use support::upstream_thrift::UpstreamsThrift;
use support::verdict::Tally;

/// Clients of a seed, and exchanges of each.
const CLIENTS: u64 = 24;
const EXCHANGES: u64 = 11;

/// A usual seed takes some ten thousand turns; one whose faults cut most receives to a few bytes
/// took a million.
const TURNS_MAX: u64 = 4_000_000;

const LISTEN: &str = "10.0.0.1:80";
/// Here bytes are passed through as they are.
const PASS: &str = "10.0.0.1:81";
const ORIGINS_H2: [&str; 2] = ["10.0.4.1:80", "10.0.4.2:80"];
const ORIGINS_THRIFT: [&str; 4] = ["10.0.5.1:80", "10.0.5.2:80", "10.0.5.3:80", "10.0.5.4:80"];
const ORIGINS: [&str; 3] = ["10.0.1.1:80", "10.0.1.2:80", "10.0.2.1:80"];

/// The configuration: two clusters that answer, one that does in HTTP/2, one of each transport of
/// Thrift, and for HTTP and Thrift one where nobody listens. Calls share links where servers may
/// answer in any order.
const CONFIG: &str = "
version: 1
listeners:
  - name: edge
    address: 10.0.0.1:80
    protocols: [http1, http2, thrift]
  - name: pass
    address: 10.0.0.1:81
    protocols: [tcp]
    cluster: raw
clusters:
  raw: {protocol: tcp, endpoints: [10.0.1.2:80, 10.0.2.1:80, 10.0.3.1:80], retries: 2}
  one: {endpoints: [10.0.1.1:80, 10.0.1.2:80], balance: least_loaded}
  two: {endpoints: [10.0.2.1:80]}
  none: {endpoints: [10.0.3.1:80]}
  mux: {protocol: http2, endpoints: [10.0.4.1:80, 10.0.4.2:80]}
  framed: {protocol: thrift, endpoints: [10.0.5.1:80, 10.0.5.2:80]}
  buffered: {protocol: thrift, thrift: {transport: buffered}, endpoints: [10.0.5.2:80]}
  theader:
    {protocol: thrift, thrift: {transport: theader, calls_max: 3}, endpoints: [10.0.5.3:80]}
  ttheader:
    {protocol: thrift, thrift: {transport: ttheader, calls_max: 8}, endpoints: [10.0.5.4:80]}
  nobody: {protocol: thrift, endpoints: [10.0.3.1:80]}
routes:
  - {id: one, match: {path: /c0/*}, cluster: one, upgrade: [sim]}
  - id: two
    match: {path: /c1/*}
    cluster: two
    upgrade: [sim]
    buffer: {request: 200KB, reply: 50KB}
  - {id: none, match: {path: /c2/*}, cluster: none}
  - {id: mux, match: {path: /c3/*}, cluster: mux}
  - {id: framed, match: {thrift: {method: framed}}, cluster: framed}
  - {id: buffered, match: {thrift: {method: buffered}}, cluster: buffered}
  - {id: theader, match: {thrift: {method: theader}}, cluster: theader}
  - {id: ttheader, match: {thrift: {method: ttheader}}, cluster: ttheader}
  - {id: nobody, match: {thrift: {method: nobody}}, cluster: nobody}
settings:
  buffered_bytes: 60KB
  tunnel_idle_timeout: 20s
  request_timeout: 60s
  first_byte_timeout: 5s
  connect_timeout: 2s
  head_timeout: 20s
  idle_timeout: 10s
  body_idle_timeout: 15s
  write_stall_timeout: 10s
  upstream_idle_timeout: 2s
";

/// What a seed leaves for the tables.
#[derive(Default)]
struct Report {
    hash: u64,
    fired: Fired,
    tally: Tally,
    served: u64,
    panics: u64,
    turns: u64,
    virtual_time: Duration,
    checks: BTreeMap<&'static str, u64>,
}

/// One seed's run.
struct Run {
    net: Net,
    runtime: Runtime,
    shard: Shard,
    mailbox: MailSender<ToShard>,
    metrics: Arc<ShardMetrics>,
    feed: Feed,
    records: u64,
    origins: Origins,
    origins_h2: UpstreamsH2,
    clients: Vec<Client>,
    clients_h2: Vec<ClientH2>,
    origins_thrift: UpstreamsThrift,
    clients_thrift: Vec<ClientThrift>,
    quiet: bool,
    /// Errors are printed.
    is_replay: bool,
    panics: u64,
    panics_asked: u64,
    checks: BTreeMap<&'static str, u64>,
    turns: u64,
}

fn snapshot() -> Arc<Snapshot> {
    // The tests of this file run at the same time: each has a file of its own.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = env!("CARGO_TARGET_TMPDIR");
    let path = format!("{folder}/sim-{}-{number}.yaml", std::process::id());
    std::fs::write(&path, CONFIG).expect("the folder for test files is writable");
    let sources = Sources { file: Some(path.clone().into()), ..Sources::default() };
    let snapshot = control::load(&sources).unwrap_or_else(|errors| panic!("{errors:?}"));
    // Left behind, it would only take space.
    let _ = std::fs::remove_file(path);
    Arc::new(snapshot)
}

/// Small pools and queues, so that every limit is met.
fn config(rng: &mut Rng, quiet: bool) -> ShardConfig {
    if quiet {
        return ShardConfig { head_bufs: 256, bulk_bufs: 64, ..ShardConfig::default() };
    }
    // A budget below the number of tasks would keep such a shard runnable for ever.
    let everything = rng.below(8) == 0;
    ShardConfig {
        ring_entries: 8 << rng.below(7),
        cq_entries: 8192,
        head_bufs: 16 << rng.below(5),
        bulk_bufs: 4 << rng.below(5),
        bulk_buf_bytes: 4096 << rng.below(5),
        out_bytes_max: 4096 << rng.below(6),
        inbox_bytes_max: 4096 << rng.below(5),
        poll_budget: if everything { 256 } else { 1 + rng.below(100) as u32 },
        poll_everything: everything,
        ..ShardConfig::default()
    }
}

impl Run {
    fn new(seed: u64, snapshot: &Arc<Snapshot>) -> Run {
        let mut rng = Rng::new(seed);
        let quiet = seed.is_multiple_of(8);
        let faults = if quiet { Faults::none() } else { Faults::seeded(&mut rng) };
        let net = Net::new(seed, faults);
        let runtime = Runtime::simulated(&config(&mut rng, quiet), &net);
        let shard = runtime.shard();
        let registry = Registry::new(1, "sim", UNIX_EPOCH);
        let metrics = registry.shard(0);
        let (recorder, feed) = Recorder::on(metrics.clone());
        let (mailbox, receiver) = engine::mailbox(16);
        let [listen, pass]: [Address; 2] =
            [LISTEN, PASS].map(|text| text.parse().expect("an address"));
        let seat = Seat {
            snapshot: snapshot.clone(),
            caps: Arc::new(gateway::Caps::new(2, [seed, seed])),
            listeners: vec![net.bind(&listen), net.bind(&pass)],
            mailbox: receiver,
            metrics: metrics.clone(),
            recorder,
        };
        let served = shard.clone();
        shard.spawn(async move {
            gateway::serve(served, seat).await;
        });
        let addresses = ORIGINS.map(|text| text.parse().expect("an address"));
        let origins = Origins::new(&net, seed, &addresses);
        let addresses = ORIGINS_H2.map(|text| text.parse().expect("an address"));
        let origins_h2 = UpstreamsH2::new(&net, seed, &addresses, quiet);
        let addresses = ORIGINS_THRIFT.map(|text| text.parse().expect("an address"));
        let origins_thrift = UpstreamsThrift::new(&net, seed, &addresses, quiet);
        let Clients { http1, http2, thrift } = clients(&net, (&listen, &pass), &mut rng, quiet);
        Run {
            net,
            runtime,
            shard,
            mailbox,
            metrics,
            feed,
            records: 0,
            origins,
            origins_h2,
            clients: http1,
            clients_h2: http2,
            origins_thrift,
            clients_thrift: thrift,
            quiet,
            is_replay: number("RINGWAY_SEED").is_some(),
            panics: 0,
            panics_asked: 0,
            checks: BTreeMap::new(),
            turns: 0,
        }
    }

    fn step(&mut self) {
        self.turns += 1;
        self.runtime.turn();
        self.check();
        self.origins.step();
        self.origins_h2.step();
        self.clients.iter_mut().for_each(Client::step);
        self.clients_h2.iter_mut().for_each(ClientH2::step);
        self.origins_thrift.step();
        self.clients_thrift.iter_mut().for_each(ClientThrift::step);
        if !self.net.pending() {
            self.net.alarm(Duration::from_millis(100));
        }
    }

    fn checked(&mut self, what: &'static str, times: u64) {
        *self.checks.entry(what).or_default() += times;
    }

    /// The invariants that hold after every turn.
    fn check(&mut self) {
        for (what, times) in self.runtime.audit() {
            self.checked(what, times);
        }
        while let Some(record) = self.feed.pop() {
            // A connection that never came to a request has a line of its own, without a status.
            let is_request = record.status > 0 || record.route.is_some();
            self.records += u64::from(is_request || !record.method.is_empty());
            if self.is_replay && !record.reason.is_empty() {
                self.tell(&record);
            }
            self.feed.give_back(record);
        }
        let stats = self.shard.stats();
        // A client that left may have asked for a panic that comes only now.
        self.panics_asked = self.panics_asked.max(self.tally().panics);
        assert!(stats.panics <= self.panics_asked, "a task panicked unasked");
        self.panics = stats.panics;
        assert_eq!(stats.stale_cqes, 0, "a completion without an op");
        self.checked("no panic unasked, no stale completion", 1);
        let started = self.metrics.count(Metric::RequestsStarted);
        let settled: u64 = (0..600).map(|status| self.metrics.status_count(status)).sum();
        let active = self.metrics.level(Gauge::RequestsActive);
        assert_eq!(started, settled + active, "an exchange settled twice or not at all");
        self.checked("settled exactly once", 1);
    }

    /// What a replay prints of an error.
    fn tell(&self, record: &Record) {
        let [method, target] =
            [record.method.as_bytes(), record.target.as_bytes()].map(String::from_utf8_lossy);
        let at = self.net.elapsed();
        let Record { status, reason, tries, duration_us, .. } = record;
        println!("{at:?}: {method} {target} {status} {reason}, tries {tries}, {duration_us} us");
    }

    /// What came of the clients that are still there.
    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.clients.iter().for_each(|client| sum.merge(&client.life().tally));
        self.clients_h2.iter().for_each(|client| sum.merge(&client.life().tally));
        self.clients_thrift.iter().for_each(|client| sum.merge(&client.life().tally));
        sum
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(Client::done)
            && self.clients_h2.iter().all(ClientH2::done)
            && self.clients_thrift.iter().all(ClientThrift::done)
    }

    /// Until every client is done.
    fn exchanges(&mut self) {
        while !self.is_done() {
            assert!(self.turns < TURNS_MAX, "no end in sight: {}", self.state());
            self.step();
        }
    }

    /// Everybody leaves; what is left must go away by the gateway's own deadlines.
    fn leave(&mut self) {
        self.clients.clear();
        self.clients_h2.clear();
        self.clients_thrift.clear();
        self.origins.leave();
        self.origins_h2.leave();
        self.origins_thrift.leave();
        let end = self.net.elapsed() + Duration::from_secs(200);
        while self.shard.connection_count() > 0 {
            assert!(self.net.elapsed() < end, "left behind: {}", self.state());
            self.net.alarm(Duration::from_millis(100));
            self.step();
        }
        assert_eq!(self.metrics.level(Gauge::RequestsActive), 0);
        self.checked("nothing left after everybody left", 1);
        let stop = if self.quiet { ToShard::Drain { deadline: None } } else { ToShard::Stop };
        assert!(self.mailbox.try_send(stop).is_ok(), "the mailbox is full");
        while self.shard.stats().tasks > 0 {
            assert!(self.net.elapsed() < end, "tasks left: {}", self.state());
            self.net.alarm(Duration::from_millis(100));
            self.step();
        }
        assert_eq!(self.metrics.level(Gauge::BufferedBytes), 0, "a body is left in a buffer");
    }

    /// What a failure says.
    fn state(&self) -> String {
        let open = self.clients.iter().filter(|client| !client.done()).map(Client::state);
        let streams = self.clients_h2.iter().filter(|client| !client.done());
        let calls = self.clients_thrift.iter().filter(|client| !client.done());
        let open = open.chain(streams.map(ClientH2::state)).chain(calls.map(ClientThrift::state));
        let open: Vec<String> = open.collect();
        format!(
            "at {:?} after {} turns: {:#?}\n{:#?}\n{open:#?}",
            self.net.elapsed(),
            self.turns,
            self.shard.stats(),
            self.shard.connections()
        )
    }

    fn finish(mut self) -> Report {
        let started = self.metrics.count(Metric::RequestsStarted);
        let dropped = self.metrics.count(Metric::LogDropped);
        assert_eq!(started, self.records + dropped, "requests and their records");
        self.checked("one record a request", 1);
        let report = Report {
            hash: self.net.trace_hash(),
            fired: self.net.fired(),
            tally: self.tally(),
            served: self.origins.served + self.origins_h2.served + self.origins_thrift.served,
            panics: self.panics,
            turns: self.turns,
            virtual_time: self.net.elapsed(),
            checks: std::mem::take(&mut self.checks),
        };
        let Run { net, runtime, shard, .. } = self;
        drop(shard);
        let exit = runtime.shutdown();
        assert_eq!((exit.leaked_ops, exit.leaked_regions), (0, 0), "something was leaked");
        assert_eq!(net.descriptors(), 0, "descriptors are left open");
        report
    }
}

#[derive(Default)]
struct Clients {
    http1: Vec<Client>,
    http2: Vec<ClientH2>,
    thrift: Vec<ClientThrift>,
}

/// Of six clients one speaks HTTP/2, one Thrift, and one is passed through.
fn clients(net: &Net, (listen, pass): (&Address, &Address), rng: &mut Rng, quiet: bool) -> Clients {
    let mut all = Clients::default();
    for index in 0..CLIENTS {
        let ids = index * EXCHANGES + 1..=(index + 1) * EXCHANGES;
        let plans: Vec<Plan> = ids.map(|id| Plan::draw(id, rng)).collect();
        let seed = rng.next();
        match index % 6 {
            5 => all.thrift.push(ClientThrift::new(net, listen, seed, plans, quiet)),
            4 => all.http1.push(Client::passed_through(net, pass, seed, plans)),
            3 => all.http2.push(ClientH2::new(net, listen, seed, plans, quiet)),
            _ => all.http1.push(Client::new(net, listen, seed, plans, quiet)),
        }
    }
    all
}

fn run(seed: u64, snapshot: &Arc<Snapshot>) -> Report {
    let mut run = Run::new(seed, snapshot);
    run.exchanges();
    let tally = run.tally();
    run.leave();
    let report = Report { tally, ..run.finish() };
    assert!(report.tally.sent >= 240, "only {} exchanges", report.tally.sent);
    report
}

/// Sums over seeds.
#[derive(Default)]
struct Totals {
    seeds: u64,
    fired: Fired,
    tally: Tally,
    served: u64,
    panics: u64,
    turns: u64,
    virtual_time: Duration,
    checks: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.fired.merge(&report.fired);
        self.tally.merge(&report.tally);
        self.served += report.served;
        self.panics += report.panics;
        self.turns += report.turns;
        self.virtual_time += report.virtual_time;
        for (what, times) in &report.checks {
            *self.checks.entry(what).or_default() += times;
        }
    }

    fn print(&self, rules: &Checked) {
        let tally = &self.tally;
        println!("{} seeds, {} turns, {:?} virtual", self.seeds, self.turns, self.virtual_time);
        println!(
            "{} exchanges over {} connections: {} whole replies ({} tunnels, {} over HTTP/2, \
             {} of Thrift), {} error replies (502 {}, 503 {}, 504 {}, 408 {}, other {}), {} broken \
             off, {} given up; {} served; {} panics caught",
            tally.sent,
            tally.connections,
            tally.good,
            tally.tunnels,
            tally.streams,
            tally.calls,
            tally.errors,
            tally.statuses[0],
            tally.statuses[1],
            tally.statuses[2],
            tally.statuses[3],
            tally.statuses[4],
            tally.broken,
            tally.gave_up,
            self.served,
            self.panics
        );
        println!("faults fired:\n{}", self.fired);
        println!("invariants checked:");
        for (what, times) in &self.checks {
            println!("  {what:<40} {times:>12}");
        }
        println!("ring rules checked:");
        for rule in Rule::ALL {
            println!("  {:<24} {:>12}", format!("{rule:?}"), rules[rule as usize]);
        }
    }

    /// Every fault kind and every check must have been met; a few seeds cannot promise that.
    fn demand_all(&self, rules: &Checked) {
        let is_due = |fault: &Fault| *fault != RAREST || self.seeds >= SEEDS_FOR_RAREST;
        let missing: Vec<Fault> = self.fired.missing().into_iter().filter(is_due).collect();
        assert_eq!(missing, Vec::<Fault>::new(), "faults that never fired");
        let idle: Vec<Rule> =
            Rule::ALL.into_iter().filter(|rule| rules[*rule as usize] == 0).collect();
        assert_eq!(idle, Vec::<Rule>::new(), "ring rules that were never checked");
        assert!(self.checks.values().all(|times| *times > 0), "checks that never ran");
        let [bad_gateway, _, timed_out, ..] = self.tally.statuses;
        assert!(self.panics > 0, "no exchange panicked");
        assert!(self.tally.tunnels > 0, "no tunnel was whole");
        assert!(self.tally.streams > 0, "no reply came over HTTP/2");
        assert!(self.tally.calls > 0, "no call of Thrift was answered");
        assert!(bad_gateway > 0 && timed_out > 0, "502 and 504 were never seen");
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Seeds of a run in CI, where nothing else is said.
const SEEDS: u64 = 40;
/// So many seeds meet every kind of fault but the rarest.
const SEEDS_FOR_ALL: u64 = 40;
/// It fires 0.16 times a seed (3 170 times in 20 000), several times in some: 40 seeds missed it
/// once.
const RAREST: Fault = Fault::CancelledSend;
/// So many seeds meet that one as well.
const SEEDS_FOR_RAREST: u64 = 1_000;

#[expect(clippy::disallowed_methods, reason = "fresh seeds come from the real clock")]
fn seeds() -> Vec<u64> {
    if let Some(seed) = number("RINGWAY_SEED") {
        return vec![seed];
    }
    let count = number("RINGWAY_SEEDS").unwrap_or(SEEDS);
    if let Some(first) = number("RINGWAY_SEED_FIRST") {
        return (first..first + count).collect();
    }
    let fixed = 0..count.div_ceil(2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fresh = 1_000_000 + now.as_secs() % 1_000_000_000 * 1_000;
    println!("fresh seeds start at {fresh}");
    fixed.chain(fresh..fresh + count / 2).collect()
}

/// Panics that were asked for are not worth a backtrace each.
fn silence_expected_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<&str>().copied().unwrap_or("");
        if !text.contains("a panic that a test asked for") {
            usual(info);
        }
    }));
    // The first caller's hook counts; both say nothing.
    engine::on_task_panic(|_, _| {});
}

/// Says which seed it was when a run panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FAILED: replay with RINGWAY_SEED={}", self.0);
        }
    }
}

#[test]
fn seeds_break_no_invariant() {
    silence_expected_panics();
    let snapshot = snapshot();
    let mut totals = Totals::default();
    for seed in seeds() {
        let named = Named(seed);
        totals.add(&run(seed, &snapshot));
        drop(named);
    }
    let rules = engine::sim::checked();
    totals.print(&rules);
    if totals.seeds >= SEEDS_FOR_ALL {
        totals.demand_all(&rules);
    }
}

#[test]
fn a_seed_replays_bit_for_bit() {
    let snapshot = snapshot();
    for seed in [5, 14] {
        let (first, second) = (run(seed, &snapshot), run(seed, &snapshot));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.turns, second.turns, "seed {seed}");
    }
}

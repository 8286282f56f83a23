//! Offers the load of a `Plan`: threads with a runtime each, a task per seat.
//!
//! It decides nothing about what is offered (`plan`) or said (`report`). In an open loop a
//! request's latency counts from its intended start, whether or not the seat was free then,
//! so a stall of the server is not hidden by the requests that were held back meanwhile
//! (coordinated omission).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::calls::{Call, Calls};
use crate::client::{Fault, Link, Reply};
use crate::pace::Pacer;
use crate::plan::{Plan, Rhythm, Wire};
use crate::process::{self, Cpu};
use crate::streams::{Ask, Streams};
use crate::tally::Tally;

/// What a run brought.
pub(crate) struct Outcome {
    /// The counts of all threads.
    pub(crate) tally: Tally,
    /// From the start of counting to its end.
    pub(crate) window: Duration,
    /// CPU time of the measured processes in the window, when there are any.
    pub(crate) cpu: Option<Cpu>,
    /// Replies that ended in the window: what `cpu` is divided by.
    pub(crate) window_replies: u64,
}

/// What the threads of a run share.
struct Stage {
    plan: Plan,
    /// Of HTTP/1.1; else empty.
    bursts: Vec<Vec<u8>>,
    /// Of HTTP/2; else empty.
    asks: Vec<Ask>,
    /// Of Thrift; else empty.
    calls: Vec<Call>,
    /// Met twice: all connections are open; the first readings are taken. Then the clock starts.
    ready: Barrier,
    start: OnceLock<Instant>,
    replies: AtomicU64,
}

/// Runs `plan` to its end and measures `pids` meanwhile.
pub(crate) fn run(plan: Plan, pids: &[u32]) -> Result<Outcome> {
    process::cpu(pids)?;
    let (mut bursts, mut asks, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    match plan.wire {
        Wire::Http1 => bursts = plan.bursts(),
        Wire::Http2 | Wire::Grpc => asks = Ask::all(&plan)?,
        Wire::Thrift(dialect) => calls = Call::all(&plan, dialect)?,
    }
    let stage = Arc::new(Stage {
        bursts,
        asks,
        calls,
        ready: Barrier::new(plan.threads as usize + 1),
        start: OnceLock::new(),
        replies: AtomicU64::new(0),
        plan,
    });
    let (report, reports) = mpsc::sync_channel(stage.plan.threads as usize);
    for index in 0..stage.plan.threads {
        let (stage, report) = (Arc::clone(&stage), report.clone());
        std::thread::Builder::new()
            .name(format!("load-{index}"))
            // The receiver lives until the last report.
            .spawn(move || drop(report.send(thread(index, &stage))))?;
    }
    drop(report);
    observe(&stage, &reports, pids)
}

/// Takes the readings at both ends of the window and collects the tallies.
fn observe(
    stage: &Stage,
    reports: &mpsc::Receiver<Result<Tally>>,
    pids: &[u32],
) -> Result<Outcome> {
    stage.ready.wait();
    let mut before = (process::cpu(pids), stage.replies.load(Ordering::Relaxed), Instant::now());
    stage.ready.wait();
    let start = *stage.start.get_or_init(Instant::now);
    if stage.plan.warmup > Duration::ZERO {
        std::thread::sleep(stage.plan.warmup.saturating_sub(start.elapsed()));
        before = (process::cpu(pids), stage.replies.load(Ordering::Relaxed), Instant::now());
    }
    // A thread reports early only when a limit of requests was reached.
    let mut early = reports.recv_timeout(stage.plan.end().saturating_sub(start.elapsed())).ok();
    let mut tally = Tally::new();
    let mut left = stage.plan.threads;
    while let Some(report) = early.take() {
        tally.add(&report?);
        left -= 1;
        let rest = stage.plan.end().saturating_sub(start.elapsed());
        early = if left > 0 { reports.recv_timeout(rest).ok() } else { None };
    }
    let window = before.2.elapsed();
    let window_replies = stage.replies.load(Ordering::Relaxed) - before.1;
    let cpu = process::cpu(pids)? - before.0?;
    for _ in 0..left {
        tally.add(&reports.recv().context("a load thread ended without a report")??);
    }
    let cpu = (!pids.is_empty()).then_some(cpu);
    Ok(Outcome { tally, window, cpu, window_replies })
}

fn thread(index: u64, stage: &Arc<Stage>) -> Result<Tally> {
    let run = mock::driver::block_on(|| offer(index, Arc::clone(stage)));
    run.unwrap_or_else(|error| {
        // The others wait for this thread too.
        stage.ready.wait();
        stage.ready.wait();
        Err(anyhow!(error).context("no runtime for a load thread"))
    })
}

async fn offer(index: u64, stage: Arc<Stage>) -> Result<Tally> {
    let bursts = stage.bursts.iter().cloned().map(Rc::new).collect();
    let calls = stage.calls.iter().cloned().map(Rc::new).collect();
    let mut lines = Vec::new();
    for connection in stage.plan.connections_of(index) {
        lines.push((connection, Line::open(&stage.plan).await));
    }
    stage.ready.wait();
    stage.ready.wait();
    let start = *stage.start.get_or_init(Instant::now);
    let pacer = Rc::new(Pacer::default());
    let rhythm = stage.plan.rhythm();
    let _beat = rhythm.map(|rhythm| pacer.start(start, rhythm)).transpose()?;
    let tally = RefCell::new(Tally::new());
    let thread = Rc::new(Thread { stage, bursts, calls, start, rhythm, pacer, tally });
    let mut tasks = Vec::new();
    for (connection, line) in &mut lines {
        for seat in thread.stage.plan.seats_of(*connection) {
            let load = Load { thread: Rc::clone(&thread), seat, line: line.share() };
            tasks.push(monoio::spawn(load.drive()));
        }
    }
    for task in tasks {
        task.await;
    }
    let mut tally = thread.tally.replace(Tally::new());
    tally.connects += lines.iter().map(|(_, line)| line.opened()).sum::<u64>();
    Ok(tally)
}

/// What a seat sends its requests on.
enum Line {
    /// A connection of its own, and whether it was opened before the load began.
    Http1(Option<Link>, bool),
    /// A connection for many seats.
    Streams(Rc<Streams>),
    /// A connection of Thrift for many seats.
    Calls(Rc<Calls>),
}

impl Line {
    async fn open(plan: &Plan) -> Self {
        // Where it fails each request fails by itself.
        match plan.wire {
            Wire::Http1 => {
                let link = Link::open(plan.url.address).await.ok();
                let is_open = link.is_some();
                Self::Http1(link, is_open)
            }
            Wire::Http2 | Wire::Grpc => {
                let streams = Streams::new(plan.url.address);
                drop(streams.connected().await);
                Self::Streams(streams)
            }
            Wire::Thrift(_) => {
                let calls = Calls::new(plan.url.address);
                calls.connect().await;
                Self::Calls(calls)
            }
        }
    }

    /// The line for a seat: the connection itself where only one seat can use it.
    fn share(&mut self) -> Self {
        match self {
            Self::Http1(link, _) => Self::Http1(link.take(), false),
            Self::Streams(streams) => Self::Streams(Rc::clone(streams)),
            Self::Calls(calls) => Self::Calls(Rc::clone(calls)),
        }
    }

    /// Connections that the tally does not hold yet.
    fn opened(&self) -> u64 {
        match self {
            Self::Http1(_, opened) => u64::from(*opened),
            Self::Streams(streams) => streams.opened(),
            Self::Calls(calls) => calls.opened(),
        }
    }
}

struct Thread {
    stage: Arc<Stage>,
    bursts: Vec<Rc<Vec<u8>>>,
    calls: Vec<Rc<Call>>,
    start: Instant,
    rhythm: Option<Rhythm>,
    pacer: Rc<Pacer>,
    tally: RefCell<Tally>,
}

/// The load of one seat.
struct Load {
    thread: Rc<Thread>,
    seat: u64,
    line: Line,
}

/// When a burst was meant to start, was free to start, and did.
struct Times {
    intended: Instant,
    sent: Instant,
    counted: bool,
}

impl Load {
    async fn drive(mut self) {
        let thread = Rc::clone(&self.thread);
        let plan = &thread.stage.plan;
        let end = thread.start + plan.end();
        for burst in 0..plan.bursts_max(self.seat) {
            let turn = plan.turn(self.seat, burst);
            let Some(times) = self.wait(turn, end).await else { break };
            let exchange = self.exchange(turn, &times);
            let done = match monoio::time::timeout(plan.timeout, exchange).await {
                Ok(done) => done,
                Err(_) => Err((Fault::Timeout, plan.pipeline)),
            };
            if let Err((fault, lost)) = done {
                self.fail(fault, lost, &times).await;
            }
        }
    }

    /// Waits for the intended start of `turn`; `None` when the load is over.
    async fn wait(&self, turn: u64, end: Instant) -> Option<Times> {
        let thread = &self.thread;
        let now = Instant::now();
        let Some(rhythm) = thread.rhythm else {
            let counted = now >= thread.start + thread.stage.plan.warmup;
            return (now < end).then_some(Times { intended: now, sent: now, counted });
        };
        let intended = thread.start + rhythm.at(turn);
        if intended >= end {
            return None;
        }
        let counted = intended >= thread.start + thread.stage.plan.warmup;
        if now >= end {
            self.give_up(turn, end);
            return None;
        }
        thread.pacer.until(intended, self.seat as usize).await;
        let sent = Instant::now();
        if counted && now <= intended {
            thread.tally.borrow_mut().lag.record(sent - intended);
        }
        Some(Times { intended, sent, counted })
    }

    /// Records every burst from `turn` on whose time came before `end`.
    fn give_up(&self, mut turn: u64, end: Instant) {
        let thread = &self.thread;
        let Some(rhythm) = thread.rhythm else { return };
        let plan = &thread.stage.plan;
        loop {
            let intended = rhythm.at(turn);
            if thread.start + intended >= end {
                return;
            }
            if intended >= plan.warmup {
                let waited = end.saturating_duration_since(thread.start + intended);
                thread.tally.borrow_mut().never_sent(waited, plan.pipeline);
            }
            turn += plan.seats();
        }
    }

    /// What is due at `turn`; on a fault, how many replies are lost.
    async fn exchange(&mut self, turn: u64, times: &Times) -> Result<(), (Fault, u64)> {
        let thread = Rc::clone(&self.thread);
        let reply = match &self.line {
            Line::Http1(..) => {
                let burst = &thread.bursts[turn as usize % thread.bursts.len()];
                return self.burst(Rc::clone(burst), times).await;
            }
            Line::Streams(streams) => {
                let asks = &thread.stage.asks;
                streams.ask(&asks[turn as usize % asks.len()]).await
            }
            Line::Calls(calls) => {
                calls.ask(&thread.calls[turn as usize % thread.calls.len()]).await
            }
        };
        self.count(&reply.map_err(|fault| (fault, 1))?, times);
        Ok(())
    }

    /// Sends a burst and reads its replies. The connection is kept only when all went well.
    async fn burst(&mut self, bytes: Rc<Vec<u8>>, times: &Times) -> Result<(), (Fault, u64)> {
        let thread = Rc::clone(&self.thread);
        let plan = &thread.stage.plan;
        let all = plan.pipeline;
        let kept = if let Line::Http1(link, _) = &mut self.line { link.take() } else { None };
        let mut link = match kept {
            Some(link) => link,
            None => {
                let link = Link::open(plan.url.address).await.map_err(|fault| (fault, all))?;
                thread.tally.borrow_mut().connects += 1;
                link
            }
        };
        link.send(bytes).await.map_err(|fault| (fault, all))?;
        let bodiless = plan.method == "HEAD";
        for index in 0..all {
            let reply = link.reply(bodiless).await.map_err(|fault| (fault, all - index))?;
            self.count(&reply, times);
            if !reply.keep_alive {
                let lost = all - index - 1;
                return if lost > 0 { Err((Fault::Closed, lost)) } else { Ok(()) };
            }
        }
        self.line = Line::Http1(Some(link), false);
        Ok(())
    }

    fn count(&self, reply: &Reply, times: &Times) {
        self.thread.stage.replies.fetch_add(1, Ordering::Relaxed);
        if times.counted {
            let now = Instant::now();
            let mut tally = self.thread.tally.borrow_mut();
            tally.reply(reply, now - times.intended, now - times.sent);
        }
    }

    async fn fail(&self, fault: Fault, lost: u64, times: &Times) {
        if times.counted {
            self.thread.tally.borrow_mut().fault(fault, lost);
        }
        if fault == Fault::Connect {
            // Nobody listens: asking at full speed would only heat the core.
            monoio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mock::http1::{Options, Running, start};

    use super::*;
    use crate::plan::example;

    fn mock() -> Running {
        start(Options::default()).expect("a mock on a free port")
    }

    fn offer(plan: Plan) -> Tally {
        run(plan, &[]).expect("a run").tally
    }

    #[test]
    fn a_closed_loop_counts_every_reply_once() {
        let mock = mock();
        for (connections, pipeline, threads) in [(8, 1, 1), (3, 4, 1), (5, 2, 2)] {
            let before = mock.requests();
            let plan = example(mock.address);
            let plan = Plan { connections, pipeline, threads, requests_max: 1000, ..plan };
            let tally = offer(plan);
            assert_eq!((tally.completed, tally.errors(), tally.unsent), (1000, 0, 0));
            assert_eq!((tally.latency.count(), tally.connects), (1000, connections));
            assert_eq!(mock.requests() - before, 1000);
        }
    }

    #[test]
    fn an_open_loop_sends_its_whole_schedule() {
        let mock = mock();
        let duration = Duration::from_millis(200);
        let plan = Plan { rate: 1000, duration, connections: 7, ..example(mock.address) };
        let tally = offer(plan);
        assert_eq!(tally.completed + tally.unsent, 200);
        assert_eq!(tally.errors(), 0);
        assert_eq!(tally.latency.count(), 200);
    }

    #[test]
    fn a_warm_up_is_not_counted() {
        let mock = mock();
        let warmup = Duration::from_millis(100);
        let plan = Plan { rate: 500, warmup, duration: warmup, ..example(mock.address) };
        let tally = offer(plan);
        assert_eq!(tally.completed + tally.unsent, 50);
        assert!(mock.requests() > tally.completed);
    }

    #[test]
    fn requests_held_back_by_a_slow_reply_are_late_from_their_intended_start() {
        let mock = mock();
        let mut plan = Plan { rate: 1000, connections: 1, ..example(mock.address) };
        plan.paths = vec!["/?delay_ms=20".into()];
        plan.requests_max = 10;
        let tally = offer(plan);
        // The tenth was meant to start after 9 ms and could not before 9 replies of 20 ms.
        assert!(tally.latency.max_us() >= 190_000.0);
        assert_eq!((tally.latency.count(), tally.completed), (10, 10));
    }

    #[test]
    fn a_schedule_that_cannot_be_kept_is_recorded_as_late() {
        let mock = mock();
        let duration = Duration::from_millis(100);
        let mut plan = Plan { rate: 1000, connections: 1, duration, ..example(mock.address) };
        plan.paths = vec!["/?delay_ms=30".into()];
        let tally = offer(plan);
        assert_eq!(tally.completed + tally.unsent, 100);
        assert!(tally.unsent >= 90);
        assert_eq!(tally.latency.count(), 100);
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let mock = mock();
        let plan = Plan { requests_max: 6, connections: 2, ..example(mock.address) };
        let faults = |path: &str| {
            let tally = offer(Plan { paths: vec![path.into()], ..plan.clone() });
            (tally.faults, tally.statuses[5], tally.completed)
        };
        assert_eq!(faults("/?status=503"), ([0, 0, 0, 0, 0], 6, 6));
        assert_eq!(faults("/?abort_after=10"), ([0, 0, 6, 0, 0], 0, 0));
        assert_eq!(faults("/?close=1"), ([0; 5], 0, 6));
        let timeout = Duration::from_millis(50);
        let tally = offer(Plan { paths: vec!["/?silent=1".into()], timeout, ..plan.clone() });
        assert_eq!(tally.faults, [0, 0, 0, 6, 0]);
        let address = mock.address;
        mock.stop();
        assert_eq!(offer(Plan { requests_max: 4, ..example(address) }).faults, [4, 0, 0, 0, 0]);
    }

    #[test]
    fn a_pipelined_burst_cut_short_loses_only_what_is_missing() {
        let mock = mock();
        let plan = Plan { requests_max: 8, connections: 1, pipeline: 4, ..example(mock.address) };
        let tally = offer(Plan { paths: vec!["/?close=1".into()], ..plan });
        assert_eq!((tally.completed, tally.faults), (2, [0, 0, 6, 0, 0]));
    }

    #[test]
    fn heads_chunks_posts_and_hints_are_understood() {
        let mock = mock();
        let plan = Plan { requests_max: 10, ..example(mock.address) };
        let paths = ["/?chunked=1&bytes=100000", "/?hints=1", "/?bytes=70000", "/?status=204"];
        let paths: Vec<String> = paths.map(str::to_owned).into();
        let tally = offer(Plan { paths, requests_max: 20, ..plan.clone() });
        assert_eq!((tally.completed, tally.errors()), (20, 0));
        let tally = offer(Plan { method: "HEAD".into(), ..plan.clone() });
        assert_eq!((tally.completed, tally.errors()), (10, 0));
        let post = Plan { method: "POST".into(), body_bytes: 100_000, ..plan };
        let tally = offer(Plan { paths: vec!["/raw".into()], ..post });
        assert_eq!((tally.completed, tally.errors()), (10, 0));
        assert!(tally.bytes_in > 1_000_000);
    }
}

//! `ringway-bench grpc --hold`: streams of gRPC that are kept open, each with an echo now and then.
//!
//! `ready` is printed once every stream has had its first echo. The load ends with the end of
//! standard input, or after `--duration`; each stream is then half-closed and must end with status
//! 0. A stream that ends before, answers something else, or is silent for `--timeout` is broken,
//! and is not opened again. One thread, one task a stream; each has its own moment in `--every`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as Bell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::ArgMatches;
use h2::SendStream;
use h2::client::ResponseFuture;
use mock::http1::body_byte;
use mock::http2::{Messages, framed, send};
use monoio::io::AsyncReadRent as _;
use monoio::net::UnixStream;
use serde_json::json;

use crate::args::wants_json;
use crate::client::Fault;
use crate::plan::Plan;
use crate::report;
use crate::slow::say_ready;
use crate::streams::{Ask, Streams, fault_of, fault_of_message, grpc_status};
use crate::tally::Times;

/// What the streams of a run share.
struct Held {
    plan: Plan,
    ask: Ask,
    every: Duration,
    end: Instant,
    seen: RefCell<Seen>,
}

/// What they saw.
struct Seen {
    /// Streams with a first echo.
    ready: u64,
    /// Streams that were broken before it.
    stillborn: u64,
    /// Streams that ended with status 0 when they were told to.
    ended: u64,
    /// All others, by what they came to.
    broken: BTreeMap<String, u64>,
    echoes: u64,
    latency: Times,
    /// Standard input has ended.
    is_over: bool,
}

/// Exits 0 when no stream was broken, 1 otherwise.
pub(crate) fn run(plan: Plan, every: Duration, matches: &ArgMatches) -> Result<ExitCode> {
    let ask = Ask::all(&plan)?.swap_remove(0);
    let (bell, ear) = Bell::pair()?;
    ear.set_nonblocking(true)?;
    std::thread::Builder::new().name("stdin".into()).spawn(move || await_end(bell))?;
    let seen = RefCell::new(Seen {
        ready: 0,
        stillborn: 0,
        ended: 0,
        broken: BTreeMap::new(),
        echoes: 0,
        latency: Times::new(),
        is_over: false,
    });
    let end = Instant::now() + plan.end();
    let held = Rc::new(Held { plan, ask, every, end, seen });
    let connects =
        mock::driver::block_on(|| hold(Rc::clone(&held), ear)).context("no runtime")??;
    let seen = held.seen.borrow();
    let broken: u64 = seen.broken.values().sum();
    if wants_json(matches) {
        println!("{}", report_json(&held, &seen, connects));
    } else {
        print!("{}", report_text(&held, &seen, connects));
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}

/// Rings when standard input has ended.
fn await_end(mut bell: Bell) {
    let mut input = std::io::stdin().lock();
    let mut buffer = [0; 64];
    while matches!(input.read(&mut buffer), Ok(1..)) {}
    // The streams may have ended by themselves; then nobody is left to hear it.
    drop(bell.write_all(b"."));
}

async fn hold(held: Rc<Held>, ear: Bell) -> Result<u64> {
    let mut ear = UnixStream::from_std(ear)?;
    let lines: Vec<_> =
        (0..held.plan.connections).map(|_| Streams::new(held.plan.url.address)).collect();
    let mut tasks = Vec::new();
    for seat in 0..held.plan.seats() {
        let line = Rc::clone(&lines[(seat % held.plan.connections) as usize]);
        tasks.push(monoio::spawn(stream(Rc::clone(&held), line, seat)));
    }
    let told = Rc::clone(&held);
    monoio::spawn(async move {
        drop(ear.read(vec![0u8; 1]).await);
        told.seen.borrow_mut().is_over = true;
    });
    for task in tasks {
        task.await;
    }
    Ok(lines.iter().map(|line| line.opened()).sum())
}

/// How a stream came to be broken.
enum Broke {
    Fault(Fault),
    /// It ended with this status of gRPC, unasked or other than 0.
    Status(u8),
}

impl From<Fault> for Broke {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Broke {
    fn name(&self) -> String {
        match self {
            Self::Status(status) => format!("grpc_status_{status}"),
            Self::Fault(fault) => Fault::ALL[*fault as usize].1.to_owned(),
        }
    }
}

impl Held {
    fn count_echo(&self, turn: u64, latency: Duration) {
        let mut seen = self.seen.borrow_mut();
        seen.latency.record(latency);
        seen.echoes += 1;
        if turn == 0 {
            seen.ready += 1;
            self.say_when_ready(&seen);
        }
    }

    fn count_end(&self, seat_was_ready: bool, result: Result<(), Broke>) {
        let mut seen = self.seen.borrow_mut();
        match result {
            Ok(()) => seen.ended += 1,
            Err(broke) => *seen.broken.entry(broke.name()).or_default() += 1,
        }
        if !seat_was_ready {
            seen.stillborn += 1;
            self.say_when_ready(&seen);
        }
    }

    /// What was broken before its first echo is not waited for.
    fn say_when_ready(&self, seen: &Seen) {
        if seen.ready + seen.stillborn == self.plan.seats() {
            say_ready();
        }
    }

    /// Whether the streams are to end.
    fn is_over(&self) -> bool {
        self.seen.borrow().is_over || Instant::now() >= self.end
    }
}

/// One stream, from its opening to its end.
async fn stream(held: Rc<Held>, line: Rc<Streams>, seat: u64) {
    let mut turn = 0;
    let result = open_and_echo(&held, &line, seat, &mut turn).await;
    held.count_end(turn > 0, result);
}

async fn open_and_echo(
    held: &Held,
    line: &Rc<Streams>,
    seat: u64,
    turn: &mut u64,
) -> Result<(), Broke> {
    let timeout = held.plan.timeout;
    let (reply, out) = in_time(timeout, line.begin(held.ask.head(), false)).await?;
    let mut stream = Stream { out, reply: Some(reply), messages: None };
    // Spread over the interval, whatever the first echoes took.
    let mut at = Instant::now() + held.every.mul_f64(seat as f64 / held.plan.seats() as f64);
    loop {
        let message = message(seat, *turn, held.plan.body_bytes);
        let sent = Instant::now();
        in_time(timeout, stream.echo(&message)).await?;
        held.count_echo(*turn, sent.elapsed());
        *turn += 1;
        while Instant::now() < at && !held.is_over() {
            let rest = at.saturating_duration_since(Instant::now());
            stream.stay_silent(rest.min(LOOK_EVERY)).await?;
        }
        if held.is_over() {
            return in_time(timeout, stream.end()).await;
        }
        at += held.every;
    }
}

/// How long it takes at most until a stream sees that it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(500);

async fn in_time<T, E: From<Fault>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    monoio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::Timeout.into()))
}

/// A message that is its stream's and its turn's alone.
fn message(seat: u64, turn: u64, bytes: u64) -> Vec<u8> {
    let mut message = format!("{seat} {turn} ").into_bytes();
    let rest = bytes.saturating_sub(message.len() as u64);
    message.extend((0..rest).map(body_byte));
    message
}

struct Stream {
    out: SendStream<Bytes>,
    /// Until its head is here.
    reply: Option<ResponseFuture>,
    messages: Option<Messages>,
}

impl Stream {
    async fn echo(&mut self, message: &[u8]) -> Result<(), Broke> {
        let sent = send(&mut self.out, framed(message), false).await;
        sent.map_err(|error| fault_of(&error))?;
        match self.next().await? {
            Some(echo) if echo == message => Ok(()),
            Some(_) => Err(Fault::Malformed.into()),
            None => Err(self.status().await?),
        }
    }

    /// Waits; what comes meanwhile, or an end, breaks the stream.
    async fn stay_silent(&mut self, time: Duration) -> Result<(), Broke> {
        match monoio::time::timeout(time, self.next()).await {
            Err(_) => Ok(()),
            Ok(Err(broke)) => Err(broke),
            Ok(Ok(Some(_))) => Err(Fault::Malformed.into()),
            Ok(Ok(None)) => Err(self.status().await?),
        }
    }

    async fn end(&mut self) -> Result<(), Broke> {
        let sent = send(&mut self.out, Bytes::new(), true).await;
        sent.map_err(|error| fault_of(&error))?;
        if self.next().await?.is_some() {
            return Err(Fault::Malformed.into());
        }
        match self.status().await? {
            Broke::Status(0) => Ok(()),
            broke => Err(broke),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Broke> {
        if let Some(reply) = &mut self.reply {
            let (head, body) = reply.await.map_err(|error| fault_of(&error))?.into_parts();
            self.reply = None;
            if head.headers.contains_key("grpc-status") {
                return Err(Broke::Status(grpc_status(&head.headers)));
            }
            self.messages = Some(Messages::new(body));
        }
        let Some(messages) = &mut self.messages else { return Ok(None) };
        Ok(messages.next().await.map_err(|broken| fault_of_message(&broken))?)
    }

    /// What the stream ended with, once there is no next message.
    async fn status(&mut self) -> Result<Broke, Broke> {
        let Some(messages) = &mut self.messages else { return Err(Fault::Closed.into()) };
        let trailers = messages.trailers().await.map_err(|error| fault_of(&error))?;
        Ok(Broke::Status(trailers.map_or(2, |trailers| grpc_status(&trailers))))
    }
}

fn report_text(held: &Held, seen: &Seen, connects: u64) -> String {
    let broken: Vec<String> =
        seen.broken.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let broken = if broken.is_empty() { "none".to_owned() } else { broken.join(", ") };
    format!(
        "{} streams over {connects} connections: {} ended well, broken: {broken}; {} echoes, \
         p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} us\n",
        held.plan.seats(),
        seen.ended,
        seen.echoes,
        seen.latency.percentile_us(50.0),
        seen.latency.percentile_us(99.0),
        seen.latency.percentile_us(99.9),
        seen.latency.max_us(),
    )
}

fn report_json(held: &Held, seen: &Seen, connects: u64) -> serde_json::Value {
    json!({
        "streams": held.plan.seats(),
        "connects": connects,
        "ended": seen.ended,
        "broken_count": seen.broken.values().sum::<u64>(),
        "broken": seen.broken,
        "echoes": seen.echoes,
        "latency_us": report::times_json(&seen.latency),
    })
}

//! `ringway-bench changes`: single-route changes on the admin socket of a running ringway, at a
//! constant rate, and whether all that were acknowledged are still there afterwards.
//!
//! Every change has a connection of its own, as a control plane's client would have. The threads
//! are plain ones; each has names of its own, so that the order of changes of a name is known.
//! `admin` sends one request, `ledger` knows what each route must be. Latency counts from the
//! intended start: a gateway that falls behind is not spared.

mod admin;
mod ledger;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use clap::ArgMatches;
use serde_json::{Value, json};

use crate::args::{number_of, path_of, span_of, text_of, wants_json};
use crate::tally::Times;
use ledger::{Ledger, State};

/// Routes that each thread changes in turn.
const NAMES: u64 = 200;
/// Every so many changes of a name it is deleted.
const DELETE_EVERY: u64 = 4;

/// What is sent, and when.
struct Plan {
    admin: PathBuf,
    rate: f64,
    conns: u64,
    start: Instant,
    seconds: Duration,
    cluster: String,
    /// The routes' host, with a number from 0 to `hosts` in the place of `{}`.
    host: String,
    hosts: u64,
}

/// What came of it.
struct Seen {
    /// Answers by status.
    statuses: BTreeMap<u16, u64>,
    /// Changes that were not answered, and why the first of them was not.
    unanswered: u64,
    why: Option<String>,
    latency: Times,
    ledger: Ledger,
}

/// Exits 0 when every change was answered with 200; with `--verify`, when nothing is lost.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let admin = path_of(matches, "admin").context("--admin is missing")?;
    if let Some(file) = path_of(matches, "verify") {
        return verify(&admin, &Ledger::read(&file)?);
    }
    let plan = plan(matches, admin)?;
    let seen = change(&plan)?;
    let elapsed = plan.start.elapsed();
    if let Some(file) = path_of(matches, "log") {
        seen.ledger.write(&file)?;
    }
    let report = report(&seen, elapsed);
    println!("{}", if wants_json(matches) { report.to_string() } else { text(&report) });
    let is_whole = seen.unanswered == 0 && seen.statuses.keys().all(|status| *status == 200);
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(matches: &ArgMatches, admin: PathBuf) -> Result<Plan> {
    let (rate, conns) = (number_of(matches, "rate"), number_of(matches, "conns"));
    ensure!(rate > 0 && conns > 0, "--rate and --conns must be more than 0");
    Ok(Plan {
        admin,
        rate: rate as f64,
        conns,
        start: Instant::now(),
        seconds: span_of(matches, "seconds"),
        cluster: text_of(matches, "cluster").to_owned(),
        host: text_of(matches, "host").to_owned(),
        hosts: number_of(matches, "hosts").max(1),
    })
}

/// All threads to their end.
fn change(plan: &Plan) -> Result<Seen> {
    std::thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..plan.conns).map(|thread| scope.spawn(move || one_thread(plan, thread))).collect();
        let mut sum = Seen::new();
        for job in jobs {
            sum.add(job.join().map_err(|_| anyhow!("a thread panicked"))?);
        }
        Ok(sum)
    })
}

/// A thread's share of the changes; it ends early when nobody listens any more.
fn one_thread(plan: &Plan, thread: u64) -> Seen {
    let mut seen = Seen::new();
    for turn in 0.. {
        let share = (turn * plan.conns + thread) as f64 / plan.rate;
        let due = plan.start + Duration::from_secs_f64(share);
        if due >= plan.start + plan.seconds {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (id, state) = (format!("change-{thread}-{}", turn % NAMES), state_at(turn));
        let stream = match admin::connect(&plan.admin) {
            Ok(stream) => stream,
            Err(error) => {
                // The ledger need not know: nothing was sent.
                seen.fail(&error);
                break;
            }
        };
        let answer = match state {
            State::Gone => admin::ask(stream, "DELETE", &id, ""),
            State::Version(version) => admin::ask(stream, "PUT", &id, &plan.route(&id, version)),
        };
        seen.take(id, state, answer.map(|answer| answer.status), due.elapsed());
    }
    seen
}

/// What a thread's change number `turn` makes of its route.
fn state_at(turn: u64) -> State {
    let round = turn / NAMES;
    if round % DELETE_EVERY == DELETE_EVERY - 1 { State::Gone } else { State::Version(turn) }
}

impl Plan {
    fn route(&self, id: &str, version: u64) -> String {
        // Neighbouring changes are far apart in the table.
        let number = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let host = self.host.replace("{}", &(number % self.hosts).to_string());
        let path = ledger::path(id, version);
        json!({ "cluster": self.cluster, "match": { "host": host, "path": path } }).to_string()
    }
}

impl Seen {
    fn new() -> Seen {
        Seen {
            statuses: BTreeMap::new(),
            unanswered: 0,
            why: None,
            latency: Times::new(),
            ledger: Ledger::default(),
        }
    }

    fn take(&mut self, id: String, state: State, status: Result<u16>, latency: Duration) {
        match &status {
            Ok(status) => *self.statuses.entry(*status).or_default() += 1,
            Err(error) => self.fail(error),
        }
        if matches!(status, Ok(200)) {
            self.latency.record(latency);
        }
        self.ledger.note(id, state, status.ok());
    }

    fn fail(&mut self, error: &Error) {
        self.unanswered += 1;
        self.why.get_or_insert_with(|| format!("{error:#}"));
    }

    fn add(&mut self, other: Seen) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.why = self.why.take().or(other.why);
        self.latency.add(&other.latency);
        self.ledger.add(other.ledger);
    }
}

fn report(seen: &Seen, elapsed: Duration) -> Value {
    let made = seen.latency.count();
    let other = seen.statuses.iter().filter(|(status, _)| **status != 200);
    let other: serde_json::Map<String, Value> =
        other.map(|(status, count)| (status.to_string(), json!(count))).collect();
    json!({
        "changes": made,
        "changes_per_second": made as f64 / elapsed.as_secs_f64(),
        "unanswered": seen.unanswered,
        "why": seen.why,
        "other_answers": other,
        "latency_ms": {
            "p50": seen.latency.percentile_us(50.0) / 1000.0,
            "p99": seen.latency.percentile_us(99.0) / 1000.0,
            "max": seen.latency.max_us() / 1000.0,
        },
    })
}

fn text(report: &Value) -> String {
    let number = |name: &str| report[name].as_f64().unwrap_or(0.0);
    let why = report["why"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    let ms = |name: &str| report["latency_ms"][name].as_f64().unwrap_or(0.0);
    format!(
        "{} changes, {:.0}/s, {} unanswered{why}, other answers {}; p50 {:.2} ms, p99 {:.2}, \
         max {:.2}",
        report["changes"],
        number("changes_per_second"),
        report["unanswered"],
        report["other_answers"],
        ms("p50"),
        ms("p99"),
        ms("max"),
    )
}

/// Asks for every route of the ledger.
fn verify(admin: &Path, ledger: &Ledger) -> Result<ExitCode> {
    let mut lost = 0;
    for (id, known) in ledger.routes() {
        let answer = admin::ask(admin::connect(admin)?, "GET", id, "")?;
        ensure!(matches!(answer.status, 200 | 404), "GET {id} was answered {}", answer.status);
        if !known.allows(id, (answer.status == 200).then_some(answer.body.as_str())) {
            lost += 1;
            eprintln!("{id} is {}, must be {known:?}", answer.body.trim_end());
        }
    }
    println!("{} routes asked for, {lost} not as acknowledged", ledger.routes().count());
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_put_several_times_and_then_deleted() {
        let of_one_name = (0..4).map(|round| state_at(round * NAMES + 7));
        let wanted = [7, 207, 407].map(State::Version);
        assert_eq!(of_one_name.collect::<Vec<_>>(), [&wanted[..], &[State::Gone]].concat());
    }

    #[test]
    fn the_report_says_what_failed() {
        let mut seen = Seen::new();
        seen.take("a".into(), State::Version(1), Ok(200), Duration::from_millis(2));
        seen.take("a".into(), State::Gone, Ok(409), Duration::from_millis(2));
        seen.take("a".into(), State::Gone, Err(anyhow!("cut off")), Duration::from_millis(2));
        let report = report(&seen, Duration::from_secs(2));
        assert_eq!(report["changes_per_second"], 0.5);
        assert_eq!(report["other_answers"]["409"], 1);
        assert!(
            text(&report).starts_with("1 changes, 0/s, 1 unanswered (cut off)"),
            "{}",
            text(&report)
        );
    }
}

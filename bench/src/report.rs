//! What a run of `http1`, `http2`, `grpc` or `thrift` brought, as text for people and as JSON for
//! scripts.
//!
//! It computes rates and shares from counts; it measures nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::client::Fault;
use crate::load::Outcome;
use crate::plan::{Plan, Wire};
use crate::tally::{OTHER_EXCEPTION, Times};

const PERCENTILES: [(f64, &str); 4] =
    [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// The report for people.
pub(crate) fn text(plan: &Plan, outcome: &Outcome) -> String {
    let tally = &outcome.tally;
    let seconds = outcome.window.as_secs_f64();
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_lines(&mut out, plan, outcome, seconds);
    if tally.unsent > 0 {
        let _ = writeln!(
            out,
            "  not sent    {}: the offered rate was not reached; their wait is in the latency",
            tally.unsent
        );
    }
    let errors = error_list(outcome);
    let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
    let _ = writeln!(out, "  errors      {errors}");
    if let Some((user, system)) = cpu_us_per_request(outcome) {
        let _ = writeln!(
            out,
            "  cpu         {:.2} us/request (user {user:.2}, system {system:.2}) over {} requests",
            user + system,
            outcome.window_replies
        );
    }
    out
}

fn write_lines(out: &mut String, plan: &Plan, outcome: &Outcome, seconds: f64) -> std::fmt::Result {
    let tally = &outcome.tally;
    writeln!(out, "{} http://{}{}", plan.method, plan.url.host, plan.paths[0])?;
    let offered = match plan.rate {
        0 => "closed loop: latency leaves out what a stall held back".to_owned(),
        rate => format!("open loop: {rate} requests/s offered"),
    };
    let each = match plan.wire {
        Wire::Http1 => format!("pipeline {}", plan.pipeline),
        Wire::Http2 | Wire::Grpc => format!("{} streams each", plan.streams),
        Wire::Thrift(_) => format!("{} calls each", plan.streams),
    };
    writeln!(
        out,
        "  {offered}; {} connections, {each}, {} load thread(s), warm-up {:?}",
        plan.connections, plan.threads, plan.warmup
    )?;
    writeln!(
        out,
        "  completed   {} in {seconds:.2} s: {:.0} requests/s, {:.2} MiB/s in",
        tally.completed,
        tally.completed as f64 / seconds,
        tally.bytes_in as f64 / seconds / f64::from(1 << 20)
    )?;
    let from = if plan.rate == 0 { "from the send" } else { "from the intended start" };
    writeln!(out, "  latency     {} us, {from}", times_line(&tally.latency))?;
    if plan.rate > 0 {
        writeln!(out, "  service     {} us, from the send", times_line(&tally.service))?;
        writeln!(out, "  start lag   {} us, the generator's own", times_line(&tally.lag))?;
    }
    Ok(())
}

fn times_line(times: &Times) -> String {
    let parts = PERCENTILES.map(|(at, name)| format!("{name} {:.1}", times.percentile_us(at)));
    format!("{}  max {:.1}", parts.join("  "), times.max_us())
}

fn error_list(outcome: &Outcome) -> Vec<String> {
    let tally = &outcome.tally;
    let faults = Fault::ALL.iter().zip(tally.faults).map(|((_, name), count)| (*name, count));
    let statuses = [("status 4xx", tally.statuses[4]), ("status 5xx", tally.statuses[5])];
    let other = ("status 6xx-9xx", tally.statuses[6..].iter().sum());
    let all = faults.chain(statuses).chain([other]);
    let all = all.map(|(name, count)| (name.to_owned(), count));
    let calls = tally.grpc_statuses.iter().enumerate().skip(1);
    let all = all.chain(calls.map(|(code, count)| (format!("grpc-status {code}:"), *count)));
    let exceptions = tally.exceptions.iter().enumerate();
    let all = all.chain(exceptions.map(|(kind, count)| (format!("{}:", exception(kind)), *count)));
    all.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect()
}

/// What calls that ended with an exception are counted as.
fn exception(kind: usize) -> String {
    if kind == OTHER_EXCEPTION { "exception other".into() } else { format!("exception {kind}") }
}

/// User and system microseconds per reply that ended in the window.
fn cpu_us_per_request(outcome: &Outcome) -> Option<(f64, f64)> {
    let cpu = outcome.cpu?;
    let replies = outcome.window_replies.max(1) as f64;
    Some((cpu.user_us as f64 / replies, cpu.system_us as f64 / replies))
}

/// The report for scripts.
pub(crate) fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let tally = &outcome.tally;
    let seconds = outcome.window.as_secs_f64();
    let mut errors = serde_json::Map::new();
    for ((_, name), count) in Fault::ALL.iter().zip(tally.faults) {
        errors.insert((*name).to_owned(), count.into());
    }
    errors.insert("status_4xx".into(), tally.statuses[4].into());
    errors.insert("status_5xx".into(), tally.statuses[5].into());
    for (code, count) in tally.grpc_statuses.iter().enumerate().skip(1) {
        if *count > 0 {
            errors.insert(format!("grpc_status_{code}"), (*count).into());
        }
    }
    for (kind, count) in tally.exceptions.iter().enumerate().filter(|(_, count)| **count > 0) {
        errors.insert(exception(kind).replace(' ', "_"), (*count).into());
    }
    json!({
        "loop": if plan.rate == 0 { "closed" } else { "open" },
        "rate": plan.rate,
        "connections": plan.connections,
        "streams": plan.streams,
        "pipeline": plan.pipeline,
        "threads": plan.threads,
        "seconds": seconds,
        "completed": tally.completed,
        "unsent": tally.unsent,
        "connects": tally.connects,
        "requests_per_second": tally.completed as f64 / seconds,
        "bytes_in": tally.bytes_in,
        "latency_us": times_json(&tally.latency),
        "service_us": times_json(&tally.service),
        "start_lag_us": times_json(&tally.lag),
        "errors_count": tally.errors(),
        "errors": errors,
        "cpu": cpu_us_per_request(outcome).map(|(user, system)| json!({
            "us_per_request": user + system,
            "user_us_per_request": user,
            "system_us_per_request": system,
            "requests": outcome.window_replies,
        })),
    })
}

/// Quantiles in microseconds.
pub(crate) fn times_json(times: &Times) -> Value {
    json!({
        "count": times.count(),
        "mean": times.mean_us(),
        "p50": times.percentile_us(50.0),
        "p90": times.percentile_us(90.0),
        "p99": times.percentile_us(99.0),
        "p99_9": times.percentile_us(99.9),
        "max": times.max_us(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::Reply;
    use crate::process::Cpu;
    use crate::tally::Tally;

    fn outcome() -> Outcome {
        let mut tally = Tally::new();
        let reply = Reply { status: 200, grpc_status: Some(0), ..Reply::of_call() };
        let reply = Reply { bytes: 1 << 20, ..reply };
        for _ in 0..100 {
            tally.reply(&reply, Duration::from_micros(200), Duration::from_micros(100));
        }
        tally.fault(Fault::Timeout, 2);
        tally.grpc_statuses[14] = 3;
        tally.exceptions[1] = 4;
        tally.exceptions[OTHER_EXCEPTION] = 5;
        Outcome {
            tally,
            window: Duration::from_secs(10),
            cpu: Some(Cpu { user_us: 100, system_us: 1900 }),
            window_replies: 100,
        }
    }

    #[test]
    fn the_text_says_everything_that_was_counted() {
        let plan = crate::plan::example(([127, 0, 0, 1], 80).into());
        let text = text(&Plan { rate: 10, ..plan.clone() }, &outcome());
        for part in [
            "open loop: 10",
            "100 in 10.00 s: 10 requests/s, 10.00 MiB/s",
            "p50 200",
            "from the intended start",
            "timeout 2",
            "grpc-status 14: 3",
            "exception 1: 4",
            "exception other: 5",
            "20.00 us/request (user 1.00, system 19.00)",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(super::text(&plan, &outcome()).contains("closed loop"));
    }

    #[test]
    fn the_json_has_the_same_numbers() {
        let plan = crate::plan::example(([127, 0, 0, 1], 80).into());
        let value = json(&plan, &outcome());
        assert_eq!(value["completed"], 100);
        assert_eq!(value["errors"]["timeout"], 2);
        assert_eq!(
            (&value["errors_count"], &value["errors"]["grpc_status_14"]),
            (&14.into(), &3.into())
        );
        assert_eq!(value["errors"]["exception_other"], 5);
        assert_eq!(value["cpu"]["us_per_request"], 20.0);
        assert_eq!(value["loop"], "closed");
    }
}

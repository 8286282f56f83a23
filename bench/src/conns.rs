//! `ringway-bench conns`: what an idle keep-alive connection costs a process in private memory.
//!
//! Connections are opened one by one, each makes one request, and Private_Dirty of smaps_rollup is
//! read at `--baseline` and at `--count` connections: the growth in between is what connections
//! cost, free of what every process costs. `--exclude` leaves out a buffer region by its name.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::ArgMatches;
use serde_json::json;

use crate::args::{number_of, pids_of, span_of, text_of, url_of, wants_json};
use crate::idle::{Idle, Opener};
use crate::process::private_dirty;

/// Exits 0 when every connection was open to the end.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let is_http2 = text_of(matches, "protocol") == "http2";
    let opener = Opener::new(url_of(matches)?, matches.get_flag("tls"), is_http2)?;
    let pids = pids_of(matches);
    let (baseline, count) = (number_of(matches, "baseline"), number_of(matches, "count"));
    ensure!(count > baseline, "--count must be more than --baseline");
    warm(&opener, number_of(matches, "warm"))?;
    let exclude = text_of(matches, "exclude");
    let mut open = Vec::new();
    grow(&mut open, &opener, baseline)?;
    let before = private_dirty(&pids, exclude)?;
    grow(&mut open, &opener, count)?;
    let after = private_dirty(&pids, exclude)?;
    std::thread::sleep(span_of(matches, "hold"));
    let lost = open.iter().filter(|idle| !idle.is_idle()).count();

    let growth = |pick: fn((u64, u64)) -> u64| pick(after) as f64 - pick(before) as f64;
    let per_connection = growth(|(all, excluded)| all - excluded) / (count - baseline) as f64;
    if wants_json(matches) {
        println!(
            "{}",
            json!({
                "baseline": baseline, "count": count, "lost": lost,
                "private_dirty_bytes": [before.0, after.0],
                "excluded_bytes": [before.1, after.1],
                "bytes_per_connection": per_connection,
            })
        );
    } else {
        println!(
            "{baseline} -> {count} idle connections: private dirty {} -> {} KiB, of that \
             excluded {} -> {} KiB",
            before.0 >> 10,
            after.0 >> 10,
            before.1 >> 10,
            after.1 >> 10
        );
        println!("{per_connection:.0} bytes per connection; {lost} connections lost");
    }
    Ok(ExitCode::from(u8::from(lost > 0)))
}

/// Requests on one connection, so that every fixed buffer has been used once.
fn warm(opener: &Opener, requests: u64) -> Result<()> {
    let mut idle = opener.open().context("cannot connect")?;
    for _ in 0..requests {
        opener.ask(&mut idle).context("a warm-up request failed")?;
    }
    Ok(())
}

fn grow(open: &mut Vec<Idle>, opener: &Opener, count: u64) -> Result<()> {
    while (open.len() as u64) < count {
        let number = open.len() + 1;
        let mut idle = opener
            .open()
            .with_context(|| format!("cannot open connection {number}; is nofile high enough?"))?;
        let status = opener
            .ask(&mut idle)
            .with_context(|| format!("the request of connection {number} failed"))?;
        ensure!(status < 400, "the request of connection {number} was answered with {status}");
        open.push(idle);
    }
    Ok(())
}

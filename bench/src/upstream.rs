//! `ringway-bench upstream`: the mock of the `mock` crate as a process of its own, so that it can
//! be pinned to a core and its CPU time does not count as anybody else's.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ArgMatches;
use mock::http1::{Options, start};

use crate::args::{number_of, text_of};

/// Prints `listening on ADDRESS` and serves until killed.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let listen = text_of(matches, "listen").parse().context("--listen is no address")?;
    let threads = number_of(matches, "threads").max(1) as usize;
    let cpus = match matches.get_one::<u64>("cpu") {
        Some(&first) => (first as usize..).take(threads).collect(),
        None => Vec::new(),
    };
    let options = Options {
        listen,
        threads,
        body_bytes: number_of(matches, "body-bytes"),
        delay: Duration::from_millis(number_of(matches, "delay-ms")),
        cpus,
        ..Options::default()
    };
    let running = start(options).with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", running.address);
    running.join();
    Ok(ExitCode::SUCCESS)
}

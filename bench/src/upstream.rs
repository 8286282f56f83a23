//! `ringway-bench upstream`: the mock of the `mock` crate as a process of its own, so that it can
//! be pinned to a core and its CPU time does not count as anybody else's.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ArgMatches;
use mock::{http1, http2, thrift};

use crate::args::{number_of, text_of};

/// Grows the kernel's table of open files to its limit while there is one thread: later each
/// doubling would hold up a thread for an RCU grace period, and be taken for the gateway's time.
fn grow_table() -> Result<()> {
    let nofile = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let highest = nofile.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX).saturating_sub(1);
    rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), highest as i32)?;
    Ok(())
}

/// More than one address has ports for; 512 KiB of table.
const DESCRIPTORS_MAX: u64 = 1 << 16;

/// Prints `listening on ADDRESS` and serves until killed.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let listen = text_of(matches, "listen").parse().context("--listen is no address")?;
    let threads = number_of(matches, "threads").max(1) as usize;
    let cpus = match matches.get_one::<u64>("cpu") {
        Some(&first) => (first as usize..).take(threads).collect(),
        None => Vec::new(),
    };
    let body_bytes = number_of(matches, "body-bytes");
    let delay = Duration::from_millis(number_of(matches, "delay-ms"));
    grow_table()?;
    let running = match text_of(matches, "protocol") {
        "http2" => {
            let base = http2::Options::default();
            http2::start(http2::Options { listen, threads, body_bytes, delay, cpus, ..base })
        }
        "thrift" => thrift::start(thrift::Options { listen, threads, delay, cpus }),
        _ => {
            let base = http1::Options::default();
            http1::start(http1::Options { listen, threads, body_bytes, delay, cpus, ..base })
        }
    };
    let running = running.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", running.address);
    running.join();
    Ok(ExitCode::SUCCESS)
}

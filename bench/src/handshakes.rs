//! `ringway-bench handshakes`: full TLS 1.3 handshakes, one after the other on each thread.
//!
//! A client offers one group and one cipher suite, AES-128-GCM, resumes nothing, and closes when
//! the handshake is done. What they cost the server is measured by who runs this.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::ArgMatches;
use serde_json::json;

use crate::args::{number_of, span_of, text_of, url_of, wants_json};
use crate::idle::Opener;

/// Exits 0 when no handshake failed.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let opener = Opener::of_group(url_of(matches)?, text_of(matches, "group"))?;
    let began = Instant::now();
    let until = began + span_of(matches, "duration");
    let client = || -> Result<u64> {
        let mut count = 0;
        while Instant::now() < until {
            opener.open()?.shake_hands().context("a handshake failed")?;
            count += 1;
        }
        Ok(count)
    };
    let counts: Result<Vec<u64>> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..number_of(matches, "threads")).map(|_| scope.spawn(client)).collect();
        let joined = clients.into_iter().map(|client| client.join());
        joined.map(|ended| ended.unwrap_or_else(|_| Err(anyhow!("a client panicked")))).collect()
    });
    let (count, seconds) = (counts?.iter().sum::<u64>(), began.elapsed().as_secs_f64());
    if wants_json(matches) {
        println!("{}", json!({ "handshakes": count, "seconds": seconds }));
    } else {
        println!("{count} handshakes in {seconds:.3} s, {:.0} a second", count as f64 / seconds);
    }
    Ok(ExitCode::SUCCESS)
}

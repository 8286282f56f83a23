//! Thrift calls of every dialect that volo-thrift has, judged here, and servers for them.
//!
//! Usage: `ringway-interop-volo serve [DELAY_MS]`, which prints `ready NAME=PORT...` and serves
//! until it is ended, each call after that time; `ringway-interop-volo call LISTENER
//! TRUSTING_LISTENER`, which asks every case in every dialect of two listeners of the gateway, the
//! second one with `trust_metadata`; or `ringway-interop-volo load LISTENER`, which prints `ready`,
//! waits for a line, and then asks in TTHeader as fast as it can. Both end with `N passed, M
//! failed`; a case fails by a panic.

mod cases;
mod echo;
mod load;
mod metadata;
mod serve;

use std::process::ExitCode;
use std::time::Duration;

use cases::{CASES, Caller, DIALECTS};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", delay @ ..] if delay.len() < 2 => {
            let delay_ms = delay.first().map_or(0, |delay| delay.parse().expect("milliseconds"));
            runtime.block_on(serve::serve(Duration::from_millis(delay_ms)));
            ExitCode::SUCCESS
        }
        ["call", address, trusting] => {
            let [address, trusting] =
                [address, trusting].map(|text| text.parse().expect("an address"));
            let callers =
                DIALECTS.iter().map(|dialect| Caller { dialect: *dialect, address, trusting });
            let failed = runtime.block_on(ask_all(callers));
            ExitCode::from(u8::from(failed > 0))
        }
        ["load", address] => {
            let address = address.parse().expect("an address");
            let asked = runtime.block_on(load::load(address));
            println!("{asked} passed, 0 failed");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: serve [DELAY_MS] | call LISTENER TRUSTING_LISTENER | load LISTENER");
            ExitCode::from(2)
        }
    }
}

async fn ask_all(callers: impl Iterator<Item = Caller>) -> u32 {
    let (mut passed, mut failed) = (0, 0);
    for caller in callers {
        for case in CASES {
            match tokio::spawn((case.start)(caller)).await {
                Ok(()) => passed += 1,
                Err(panicked) => {
                    failed += 1;
                    println!("{} {}: {panicked:?}", caller.dialect.name, case.name);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    failed
}

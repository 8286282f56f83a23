//! The `ringway` binary: what the operator types.
//!
//! Read `command.rs` for the commands and `args.rs` for how they are typed. One file a command;
//! `serve.rs` starts a whole gateway in this process, for `run` and `demo`. Errors go to standard
//! error, data to standard output, and [`failure::Failure`] holds the exit codes.
#![forbid(unsafe_code)]

mod args;
mod certs;
mod check;
mod client;
mod command;
mod conns;
mod demo;
mod descriptors;
mod doctor;
mod expect;
mod explain;
mod failure;
mod group;
mod memory;
mod mock;
mod output;
mod request;
mod routes;
mod run;
mod serve;
mod signal;
mod stall;
mod status;
mod version;

use std::process::ExitCode;

/// glibc's allocator returns memory late and fragments under many small, long-lived pieces; the
/// data path allocates rarely, but control and exporters do not. AddressSanitizer has to see the
/// allocations itself.
#[cfg(not(feature = "asan"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let typed = std::env::args_os().collect();
    let done = args::parse(typed).and_then(|(command, matches)| (command.run)(&matches));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

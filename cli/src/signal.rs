//! `ringway reload | stop | quit | reopen`: a signal to a running ringway, and its outcome.
//!
//! The process is found by its pid file or by asking the admin server. `reload` waits until the
//! new configuration is in force or refused and exits accordingly; the others return when the
//! signal is sent.

use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches};
use control::admin::AdminAddress;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::args;
use crate::client;
use crate::command::Command;
use crate::failure::Failure;
use crate::output;

/// How long `reload` waits for an outcome: a million rules compile in seconds.
const RELOAD_WAIT: Duration = Duration::from_secs(60);

pub(crate) const RELOAD: Command = Command {
    name: "reload",
    about: "Load the configuration anew; fails if it is refused (HUP)",
    define,
    run: reload,
};

pub(crate) const STOP: Command = Command {
    name: "stop",
    about: "Drain up to the drain timeout and stop (TERM)",
    define,
    run: |matches| send(matches, Signal::TERM),
};

pub(crate) const QUIT: Command = Command {
    name: "quit",
    about: "Drain without a deadline and stop (QUIT)",
    define,
    run: |matches| send(matches, Signal::QUIT),
};

pub(crate) const REOPEN: Command = Command {
    name: "reopen",
    about: "Open the log files anew, after a rotation (USR1)",
    define,
    run: |matches| send(matches, Signal::USR1),
};

fn define(command: clap::Command) -> clap::Command {
    command.arg(args::admin_flag()).arg(
        Arg::new("pid-file")
            .long("pid-file")
            .value_name("PATH")
            .help("Find the process by this file instead of its admin server"),
    )
}

fn send(matches: &ArgMatches, signal: Signal) -> Result<(), Failure> {
    let pid = match matches.get_one::<String>("pid-file") {
        Some(path) => pid_in_file(path)?,
        None => Status::ask(&args::admin_address(matches)?)?.pid,
    };
    kill(pid, signal)
}

fn kill(pid: i32, signal: Signal) -> Result<(), Failure> {
    // Zero and below would name process groups.
    let process = if pid > 0 { Pid::from_raw(pid) } else { None };
    let process = process.ok_or_else(|| Failure::Refused(format!("{pid} is no process id")))?;
    kill_process(process, signal)
        .map_err(|error| Failure::Refused(format!("cannot signal process {pid}: {error}")))
}

fn pid_in_file(path: &str) -> Result<i32, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Refused(format!("cannot read {path}: {error}")))?;
    let pid = text.trim().parse();
    pid.map_err(|_| Failure::Refused(format!("{path} holds no process id")))
}

fn reload(matches: &ArgMatches) -> Result<(), Failure> {
    if matches.contains_id("pid-file") {
        // Without the admin server the outcome cannot be learnt; the log tells it.
        return send(matches, Signal::HUP);
    }
    let admin = args::admin_address(matches)?;
    let before = Status::ask(&admin)?;
    kill(before.pid, Signal::HUP)?;
    let deadline = Instant::now() + RELOAD_WAIT;
    while Instant::now() < deadline {
        let after = Status::ask(&admin)?;
        if after.reloads > before.reloads {
            return outcome(&after);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(Failure::Refused(format!("no outcome within {} s", RELOAD_WAIT.as_secs())))
}

fn outcome(after: &Status) -> Result<(), Failure> {
    match &after.reload_error {
        Some(error) => Err(Failure::Refused(format!(
            "the new configuration was refused, generation {} stays in force:\n{error}",
            after.generation
        ))),
        None => output::print(&format!("generation {} is in force\n", after.generation)),
    }
}

/// What `/version` says of a process.
struct Status {
    pid: i32,
    generation: u64,
    reloads: u64,
    reload_error: Option<String>,
}

impl Status {
    fn ask(admin: &AdminAddress) -> Result<Status, Failure> {
        let reply = client::admin_page(admin, "/version").map_err(|error| {
            Failure::Refused(format!("no ringway answers on {admin}: {error}; is it running?"))
        })?;
        Status::parse(&reply.body)
            .ok_or_else(|| Failure::Refused(format!("what answers on {admin} is no ringway")))
    }

    fn parse(json: &[u8]) -> Option<Status> {
        let value: Value = serde_json::from_slice(json).ok()?;
        Some(Status {
            pid: i32::try_from(value["pid"].as_i64()?).ok()?,
            generation: value["generation"].as_u64()?,
            reloads: value["reloads"].as_u64()?,
            reload_error: value["reload_error"].as_str().map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_a_process() {
        let json = br#"{"pid": 7, "generation": 2, "reloads": 1, "reload_error": "x"}"#;
        let status = Status::parse(json).unwrap();
        assert_eq!((status.pid, status.generation, status.reloads), (7, 2, 1));
        assert_eq!(status.reload_error.as_deref(), Some("x"));
        assert!(Status::parse(b"{}").is_none());
    }

    #[test]
    fn only_real_processes_are_signalled() {
        for pid in [0, -1] {
            assert!(matches!(kill(pid, Signal::TERM), Err(Failure::Refused(_))));
        }
    }
}

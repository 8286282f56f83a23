//! Starting other programs: cargo, scripts, tools. Their output is shown as it comes; test
//! summaries are counted.
//!
//! No shell is involved. A program that cannot be started is an error with its name.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::tally::Tally;
use crate::workspace::Workspace;

/// `cargo ARGS` of the pinned toolchain, started in the root.
pub(crate) fn cargo(workspace: &Workspace, args: &[&str]) -> Command {
    command(workspace, "cargo", args)
}

/// `cargo +nightly ARGS`; rustup's proxy is needed for the `+`, so its environment marks are
/// removed.
pub(crate) fn cargo_nightly(workspace: &Workspace, args: &[&str]) -> Command {
    let mut command = command(workspace, "cargo", &["+nightly"]);
    command.args(args).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    command
}

/// `program ARGS`, started in the root without standard input.
pub(crate) fn command(workspace: &Workspace, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(workspace.root()).stdin(Stdio::null());
    command
}

/// Runs to the end with output shown; true when it exited with 0.
pub(crate) fn succeeds(mut command: Command) -> anyhow::Result<bool> {
    show(&command);
    let status = command.status().with_context(|| name_of(&command))?;
    Ok(status.success())
}

/// Runs a cargo test command, shows its output and counts it.
pub(crate) fn tests(mut command: Command) -> anyhow::Result<Tally> {
    show(&command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| name_of(&command))?;
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    each_line(&mut child, |line| {
        println!("{line}");
        tally.read_line(line);
        failures.extend(failed_test(line));
    })?;
    let status = child.wait()?;
    for name in failures {
        println!("failed: {name}");
    }
    Ok(tally.settled(status.success()))
}

/// What a finished program printed on standard output, and whether it exited with 0.
pub(crate) struct Captured {
    pub(crate) text: String,
    pub(crate) succeeded: bool,
}

/// Runs to the end, shows the output and keeps it.
pub(crate) fn captured(mut command: Command) -> anyhow::Result<Captured> {
    show(&command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| name_of(&command))?;
    let mut text = String::new();
    each_line(&mut child, |line| {
        println!("{line}");
        text.push_str(line);
        text.push('\n');
    })?;
    let succeeded = child.wait()?.success();
    Ok(Captured { text, succeeded })
}

/// How a program with a time limit ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Failed,
    Succeeded,
    TimedOut,
}

/// Runs without showing output; past `limit` the program and all that it started in its process
/// group are killed (coreutils' `timeout` does that, and exits with 124).
pub(crate) fn quietly(inner: Command, limit: Duration) -> anyhow::Result<Ended> {
    let mut command = limited(&inner, limit);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| name_of(&inner))?;
    Ok(match status.code() {
        Some(0) => Ended::Succeeded,
        Some(TIMED_OUT_STATUS) => Ended::TimedOut,
        _ => Ended::Failed,
    })
}

const TIMED_OUT_STATUS: i32 = 124;

fn limited(inner: &Command, limit: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(format!("{:.3}", limit.as_secs_f64()));
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        command.current_dir(folder);
    }
    command
}

fn each_line(child: &mut Child, mut take: impl FnMut(&str)) -> anyhow::Result<()> {
    let stdout = child.stdout.take().context("output is not piped")?;
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        take(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

fn failed_test(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.to_owned())
}

fn show(command: &Command) {
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    println!("$ {} {}", command.get_program().to_string_lossy(), args.join(" "));
}

fn name_of(command: &Command) -> String {
    format!("cannot run {}", command.get_program().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_tests_are_named() {
        assert_eq!(failed_test("test a::b ... FAILED").as_deref(), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
    }

    #[test]
    fn a_program_past_its_limit_is_killed() {
        let workspace = Workspace::of_this_build();
        let endless = command(&workspace, "sleep", &["600"]);
        assert_eq!(quietly(endless, Duration::from_millis(1)).unwrap(), Ended::TimedOut);
    }

    #[test]
    fn exit_codes_are_told_apart() {
        let workspace = Workspace::of_this_build();
        let limit = Duration::from_secs(600);
        let run = |program| quietly(command(&workspace, program, &[]), limit).unwrap();
        assert_eq!(run("true"), Ended::Succeeded);
        assert_eq!(run("false"), Ended::Failed);
    }
}

//! `ringway certs check`: what clients would say of certificates, before they go live. Also the
//! certificates in use as a metric.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, value_parser};
use control::Snapshot;
use control::certs::{self, Finding, InUse, Level};

use crate::args;
use crate::check;
use crate::command::Command;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command = Command {
    name: "certs",
    about: "Check certificates: order of the chain, key, names, expiry, key identifiers",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).value_name(name).value_parser(value_parser!(PathBuf)).help(help)
    };
    let cert = file("CERT", "A PEM chain; without it those of the configuration are checked");
    let key = file("KEY", "The PEM key of its first certificate");
    let check = clap::Command::new("check")
        .about("Print what was found, a line each; fails where clients would refuse it")
        .arg(cert.conflicts_with("config"))
        .arg(key);
    command.subcommand_required(true).subcommand(args::with_source_flags(check))
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some(("check", matches)) = matches.subcommand() else {
        return Err(Failure::Usage("no command; see ringway certs --help".into()));
    };
    let mut report = Report::default();
    match matches.get_one::<PathBuf>("CERT") {
        Some(cert) => {
            let key = matches.get_one::<PathBuf>("KEY").map(PathBuf::as_path);
            report.add(cert, certs::check_files(cert, key, true));
        }
        None => {
            let snapshot = check::load(&args::sources(matches))?;
            report.add_all(&snapshot);
        }
    }
    output::print(&report.text)?;
    match report.errors {
        0 => Ok(()),
        1 => Err(Failure::Refused("certs: 1 error".into())),
        errors => Err(Failure::Refused(format!("certs: {errors} errors"))),
    }
}

/// Findings, a line each.
#[derive(Default)]
struct Report {
    text: String,
    errors: usize,
}

impl Report {
    fn add(&mut self, file: &Path, found: Result<Vec<Finding>, String>) {
        let file = file.display();
        let found =
            found.unwrap_or_else(|text| vec![Finding { level: Level::Error, what: "file", text }]);
        for Finding { level, what, text } in found {
            let word = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            self.errors += usize::from(level == Level::Error);
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{file}: {word}: {what}: {text}");
        }
    }

    /// Everything that the configuration names.
    fn add_all(&mut self, snapshot: &Snapshot) {
        for tls in snapshot.listeners.iter().filter_map(|plan| plan.tls.as_ref()) {
            for (cert, key) in tls.pairs() {
                self.add(cert, certs::check_files(cert, Some(key), true));
            }
            if let Some(file) = tls.client_authorities() {
                self.add(file, certs::check_authorities(file));
            }
        }
        for tls in snapshot.upstream_tls.iter().flatten() {
            if let Some((cert, key)) = tls.pair() {
                self.add(cert, certs::check_files(cert, Some(key), false));
            }
            if let Some(file) = tls.authorities() {
                self.add(file, certs::check_authorities(file));
            }
        }
    }
}

/// Adds the ends of the certificates in use to a page of metrics.
pub(crate) fn metrics(snapshot: &Snapshot, out: &mut String) {
    let listeners = snapshot.listeners.iter().filter_map(|plan| plan.tls.as_ref());
    let clusters = snapshot.upstream_tls.iter().flatten();
    let in_use = listeners.flat_map(|tls| &tls.certificates);
    let mut in_use: Vec<&InUse> =
        in_use.chain(clusters.flat_map(|tls| &tls.certificates)).collect();
    if in_use.is_empty() {
        return;
    }
    // A pair of several listeners is one series.
    in_use.sort_by(|a, b| a.file.cmp(&b.file));
    in_use.dedup_by(|a, b| a.file == b.file);
    let name = "ringway_certificate_expiry_timestamp_seconds";
    let help = "When a certificate in use ends, in seconds since 1970.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
    for InUse { file, facts } in in_use {
        let (file, subject) = (label(&file.display().to_string()), label(&facts.subject));
        let end = facts.not_after;
        let _ = writeln!(out, "{name}{{file=\"{file}\",subject=\"{subject}\"}} {end}");
    }
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

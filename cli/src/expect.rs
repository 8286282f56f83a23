//! `ringway test FILE`: requests and the routes that they must take, for a CI of configurations.
//!
//! A line is `METHOD URL [Name: value]... -> ROUTE`, the fields in brackets and the route `none`
//! where no route may take the request. Empty lines and lines that begin with `#` are skipped.

use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};
use control::Snapshot;

use crate::args;
use crate::check;
use crate::command::Command;
use crate::explain;
use crate::failure::Failure;
use crate::output;
use crate::request::TypedRequest;

pub(crate) const COMMAND: Command = Command {
    name: "test",
    about: "Check that requests take the routes that a file says they must",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("Lines like `GET http://host/path [Name: value] -> route`, or `-> none`");
    args::with_source_flags(command.arg(file))
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let snapshot = check::load(&args::sources(matches))?;
    let file = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
    let shown = file.display();
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure::Refused(format!("cannot read {shown}: {error}")))?;
    let (mut passed, mut failures) = (0, Vec::new());
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match expect(&snapshot, line)? {
            None => passed += 1,
            Some(why) => failures.push(format!("{shown}:{number}: {line}: {why}")),
        }
    }
    let failed = failures.len();
    failures.push(format!("{passed} passed, {failed} failed\n"));
    output::print(&failures.join("\n"))?;
    match failed {
        0 if passed > 0 => Ok(()),
        0 => Err(Failure::Refused(format!("{shown} expects nothing"))),
        _ => Err(Failure::Refused(format!("{failed} requests take other routes"))),
    }
}

/// What is wrong with a line's expectation.
fn expect(snapshot: &Snapshot, line: &str) -> Result<Option<String>, Failure> {
    let unclear = || Failure::Usage(format!("`{line}` is not `METHOD URL [Name: value] -> ROUTE`"));
    let (request, wanted) = line.rsplit_once("->").ok_or_else(unclear)?;
    let (start, fields) = match request.split_once('[') {
        Some((start, fields)) => (start, fields.trim_end().strip_suffix(']').ok_or_else(unclear)?),
        None => (request, ""),
    };
    let fields: Vec<&str> = fields.split("][").flat_map(|part| part.split("] [")).collect();
    let fields: Vec<&str> = fields.into_iter().filter(|field| !field.is_empty()).collect();
    let (method, url) = start.trim().split_once(' ').ok_or_else(unclear)?;
    let request = TypedRequest::new((method, url.trim()), &fields, None, snapshot)?;
    let found = request.with(|query| snapshot.routes.table.find(query));
    let name = found.map_or("none", |found| explain::name(snapshot, found.route));
    Ok((name != wanted.trim()).then(|| format!("takes {name}")))
}

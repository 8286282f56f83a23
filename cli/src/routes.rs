//! `ringway routes`: the routes of a configuration, one a line.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches};

use crate::args;
use crate::check;
use crate::command::Command;
use crate::explain;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command = Command {
    name: "routes",
    about: "List routes: name, what they take, and the cluster they lead to",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    let filter = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("TEXT").help(help)
    };
    let command = command
        .arg(filter("name", "Only routes whose name contains this"))
        .arg(filter("host", "Only routes whose host contains this"))
        .arg(filter("cluster", "Only routes to this cluster"));
    args::with_source_flags(command)
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let snapshot = check::load(&args::sources(matches))?;
    let wanted = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let contains = |name: &str, text: &str| wanted(name).is_none_or(|part| text.contains(part));
    let mut routes: Vec<_> = snapshot.table.routes().collect();
    routes.sort_unstable();
    let mut text = String::new();
    for route in routes {
        let Some(plan) = snapshot.routes.get(route.0 as usize) else { continue };
        let cluster = snapshot.cluster(plan.cluster).map_or("?", |cluster| &cluster.name);
        let rule = snapshot.table.describe(route).unwrap_or_default();
        let is_wanted = contains("name", &plan.id)
            && contains("host", &rule.host)
            && wanted("cluster").is_none_or(|name| name == cluster);
        if is_wanted {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} -> {cluster}: {}", plan.id, explain::words(&rule));
        }
    }
    output::print(&text)
}

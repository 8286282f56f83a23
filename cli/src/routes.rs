//! `ringway routes`: routes of a configuration, or of a running ringway, one a line.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches};
use control::Snapshot;
use control::admin::RouteFilter;
use router::RouteId;
use serde_json::{Value, json};

use crate::args;
use crate::check;
use crate::client;
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

/// Routes that are asked for at a time.
const PAGE: usize = 10_000;

fn define(command: clap::Command) -> clap::Command {
    let filter = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("TEXT").help(help)
    };
    let command = command
        .arg(filter("name", "Only routes whose name contains this"))
        .arg(filter("host", "Only routes whose host contains this"))
        .arg(filter("cluster", "Only routes to this cluster"))
        .arg(args::live_flag());
    args::with_source_flags(command)
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let wanted = |name: &str| matches.get_one::<String>(name).cloned();
    let (name, host, cluster) = (wanted("name"), wanted("host"), wanted("cluster"));
    let filter = RouteFilter { name, host, cluster, skip: 0, limit: usize::MAX };
    if matches.get_flag("live") {
        return live(matches, &filter);
    }
    let snapshot = check::load(&args::sources(matches))?;
    let mut text = String::new();
    for route in select(&snapshot, &filter) {
        let (name, cluster) = (explain::name(&snapshot, route), explain::cluster(&snapshot, route));
        let rule = snapshot.routes.table.describe(route).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} -> {cluster}: {}", explain::words(&rule));
    }
    output::print(&text)
}

/// Lists what the running ringway has, page by page.
fn live(matches: &ArgMatches, filter: &RouteFilter) -> Result<(), Failure> {
    let mut skip = 0;
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in
            [("name", &filter.name), ("host", &filter.host), ("cluster", &filter.cluster)]
        {
            query.extend_pairs(value.iter().map(|value| (key, value)));
        }
        query.append_pair("skip", &skip.to_string()).append_pair("limit", &PAGE.to_string());
        let text = client::live_page(matches, &format!("/routes?{}", query.finish()))?;
        let list: Vec<Value> = serde_json::from_str(&text)
            .map_err(|error| Failure::Internal(format!("no list of routes came: {error}")))?;
        let line = |route: &Value| {
            let part = |name: &str| route[name].as_str().unwrap_or("?").to_owned();
            format!("{} -> {}: {}\n", part("id"), part("cluster"), part("match"))
        };
        output::print(&list.iter().map(line).collect::<String>())?;
        if list.len() < PAGE {
            return Ok(());
        }
        skip += PAGE;
    }
}

/// The routes that a filter asks for.
fn select(snapshot: &Snapshot, filter: &RouteFilter) -> impl Iterator<Item = RouteId> {
    let ids = snapshot.routes.ids().into_iter();
    let wanted = ids.filter(move |route| is_wanted(snapshot, filter, *route));
    wanted.skip(filter.skip).take(filter.limit)
}

fn is_wanted(snapshot: &Snapshot, filter: &RouteFilter, route: RouteId) -> bool {
    let contains = |part: &Option<String>, text: &dyn Fn() -> String| {
        part.as_ref().is_none_or(|part| text().contains(part))
    };
    let host = || snapshot.routes.table.describe(route).unwrap_or_default().host;
    let cluster = filter.cluster.as_deref();
    contains(&filter.name, &|| explain::name(snapshot, route).to_owned())
        && cluster.is_none_or(|name| name == explain::cluster(snapshot, route))
        && contains(&filter.host, &host)
}

/// The answer of `/routes`.
pub(crate) fn page(snapshot: &Snapshot, filter: &RouteFilter) -> String {
    let all = select(snapshot, filter).map(|route| shown(snapshot, route));
    format!("{}\n", Value::from_iter(all))
}

/// The answer of `/routes/{id}`.
pub(crate) fn one(snapshot: &Snapshot, id: &str) -> Option<String> {
    Some(format!("{}\n", shown(snapshot, snapshot.routes.id(id)?)))
}

fn shown(snapshot: &Snapshot, route: RouteId) -> Value {
    let rule = snapshot.routes.table.describe(route).unwrap_or_default();
    json!({
        "id": explain::name(snapshot, route),
        "cluster": explain::cluster(snapshot, route),
        "host": rule.host,
        "path": rule.path,
        "methods": rule.methods,
        "predicates": rule.predicates,
        "priority": rule.priority,
        "match": explain::words(&rule),
    })
}

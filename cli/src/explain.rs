//! `ringway explain METHOD URL`: which route would win, and why the others would not.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use control::Snapshot;
use router::{Match, RouteId, RuleText};

use crate::args;
use crate::check;
use crate::command::Command;
use crate::failure::Failure;
use crate::output;
use crate::request::TypedRequest;

pub(crate) const COMMAND: Command = Command {
    name: "explain",
    about: "Say which route a request would take, and why others would not get it",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    let method = Arg::new("method").value_name("METHOD").required(true);
    let url = Arg::new("url").value_name("URL").required(true);
    let field = Arg::new("header")
        .long("header")
        .short('H')
        .value_name("FIELD")
        .action(ArgAction::Append)
        .help("A header field of the request, like 'X-Tenant: acme'; may be repeated");
    let source = Arg::new("source")
        .long("source")
        .value_name("IP")
        .value_parser(value_parser!(IpAddr))
        .help("The client's address");
    args::with_source_flags(command.arg(method).arg(url).arg(field).arg(source))
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let snapshot = check::load(&args::sources(matches))?;
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let fields = matches.get_many::<String>("header").into_iter().flatten();
    let fields: Vec<&str> = fields.map(String::as_str).collect();
    let source = matches.get_one::<IpAddr>("source").copied();
    let request = TypedRequest::new((text("method"), text("url")), &fields, source, &snapshot)?;
    output::print(&explained(&snapshot, &request))?;
    match request.with(|query| snapshot.table.find(query)) {
        Some(_) => Ok(()),
        None => Err(Failure::Refused("no route takes this request".into())),
    }
}

fn explained(snapshot: &Snapshot, request: &TypedRequest) -> String {
    let explanation = request.with(|query| snapshot.table.explain(query));
    let mut text = format!("{}\n", request.line());
    if let Some(found) = explanation.winner {
        text.push_str(&winner(snapshot, request, found));
    }
    for other in explanation.others {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "not {}: {}", name(snapshot, other.route), other.why);
    }
    text
}

fn winner(snapshot: &Snapshot, request: &TypedRequest, found: Match) -> String {
    let plan = snapshot.routes.get(found.plan.0 as usize);
    let cluster = plan.and_then(|plan| snapshot.cluster(plan.cluster));
    let cluster = cluster.map_or("?", |cluster| &cluster.name);
    let rule = snapshot.table.describe(found.route).unwrap_or_default();
    let mut text = format!("route {} -> {cluster}\n", name(snapshot, found.route));
    let _ = writeln!(text, "  {}", words(&rule));
    let captures = (0..found.captures.len()).filter_map(|at| found.captures.range(at));
    let captures: Vec<String> = captures.map(|range| request.part(range)).collect();
    if !captures.is_empty() {
        let _ = writeln!(text, "  captured: {}", captures.join(", "));
    }
    text
}

/// What a rule asks for, in one line.
pub(crate) fn words(rule: &RuleText) -> String {
    let methods = if rule.methods.is_empty() { "*".to_owned() } else { rule.methods.join(",") };
    let mut text = format!("{methods} {}{}", rule.host, rule.path);
    for predicate in &rule.predicates {
        let _ = write!(text, ", {predicate}");
    }
    if rule.priority != 0 {
        let _ = write!(text, ", priority {}", rule.priority);
    }
    text
}

/// A route's name.
pub(crate) fn name(snapshot: &Snapshot, route: RouteId) -> &str {
    snapshot.routes.get(route.0 as usize).map_or("?", |plan| &plan.id)
}

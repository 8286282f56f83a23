//! `ringway explain METHOD URL`: which route would win, and why the others would not.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use control::Snapshot;
use control::admin::ExplainQuery;
use router::{Match, RouteId, RuleText};

use crate::args;
use crate::check;
use crate::client;
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
    let command = command.arg(method).arg(url).arg(field).arg(source).arg(args::live_flag());
    args::with_source_flags(command)
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let fields = matches.get_many::<String>("header").into_iter().flatten();
    let asked = ExplainQuery {
        method: text("method"),
        url: text("url"),
        fields: fields.cloned().collect(),
        source: matches.get_one::<IpAddr>("source").map(IpAddr::to_string),
    };
    if matches.get_flag("live") {
        return output::print(&live(matches, &asked)?);
    }
    let snapshot = check::load(&args::sources(matches))?;
    let request = typed(&snapshot, &asked)?;
    output::print(&explained(&snapshot, &request))?;
    match request.with(|query| snapshot.routes.find(query)) {
        Some(_) => Ok(()),
        None => Err(Failure::Refused("no route takes this request".into())),
    }
}

fn typed(snapshot: &Snapshot, asked: &ExplainQuery) -> Result<TypedRequest, Failure> {
    let source = asked.source.as_deref().map(str::parse::<IpAddr>).transpose();
    let source = source.map_err(|_| Failure::Usage("the source is no IP address".into()))?;
    let fields: Vec<&str> = asked.fields.iter().map(String::as_str).collect();
    TypedRequest::new((&asked.method, &asked.url), &fields, source, snapshot)
}

/// Asks the running ringway.
fn live(matches: &ArgMatches, asked: &ExplainQuery) -> Result<String, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("method", &asked.method).append_pair("url", &asked.url);
    for field in &asked.fields {
        query.append_pair("header", field);
    }
    if let Some(source) = &asked.source {
        query.append_pair("source", source);
    }
    client::live_page(matches, &format!("/explain?{}", query.finish()))
}

/// The answer of `/explain`.
pub(crate) fn page(snapshot: &Snapshot, asked: &ExplainQuery) -> Result<String, String> {
    let request = typed(snapshot, asked).map_err(|failure| failure.to_string())?;
    Ok(explained(snapshot, &request))
}

fn explained(snapshot: &Snapshot, request: &TypedRequest) -> String {
    let explanation = request.with(|query| snapshot.routes.table.explain(query));
    let mut text = format!("{}\n", request.line());
    match explanation.winner {
        Some(found) => text.push_str(&winner(snapshot, request, found)),
        None => text.push_str("no route\n"),
    }
    for other in explanation.others {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "not {}: {}", name(snapshot, other.route), other.why);
    }
    text
}

fn winner(snapshot: &Snapshot, request: &TypedRequest, found: Match) -> String {
    let cluster = cluster(snapshot, found.route);
    let rule = snapshot.routes.table.describe(found.route).unwrap_or_default();
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
    snapshot.routes.name(route).unwrap_or("?")
}

/// The name of a route's cluster.
pub(crate) fn cluster(snapshot: &Snapshot, route: RouteId) -> &str {
    let plan = snapshot.routes.plan_of(route);
    let cluster = plan.and_then(|plan| snapshot.cluster(plan.cluster));
    cluster.map_or("?", |cluster| &cluster.name)
}

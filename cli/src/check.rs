//! `ringway check` (`-t`, `-T`): would this configuration take? Nothing is bound or started.

use clap::{Arg, ArgAction, ArgMatches};
use control::{ConfigError, RouteStore, Snapshot, Sources};

use crate::args;
use crate::command::Command;
use crate::explain;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command = Command {
    name: "check",
    about: "Check a configuration without starting (-t); --dump shows it in full (-T)",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    let dump = Arg::new("dump")
        .long("dump")
        .short('T')
        .action(ArgAction::SetTrue)
        .help("Print what is in effect: listeners, routes, clusters, every setting");
    args::with_source_flags(command.arg(dump))
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let sources = args::sources(matches);
    let snapshot = load(&sources)?;
    for warning in snapshot.warnings.iter() {
        output::note(&format!("warning: {warning}"));
    }
    if matches.get_flag("dump") {
        output::print(&effective(&snapshot))?;
    }
    let files = sources.file.iter().chain(&sources.further);
    let names: Vec<String> = files.map(|file| file.display().to_string()).collect();
    let name = if names.is_empty() { "flags".to_owned() } else { names.join(", ") };
    let (listeners, routes) = (snapshot.listeners.len(), snapshot.routes.len());
    let (clusters, hash) = (snapshot.clusters.len(), snapshot.hash);
    output::note(&format!(
        "{name}: ok, {listeners} listeners, {routes} routes, {clusters} clusters, hash {hash:016x}"
    ));
    Ok(())
}

/// Loads a configuration; all its faults in one failure.
pub(crate) fn load(sources: &Sources) -> Result<Snapshot, Failure> {
    require_source(sources)?;
    control::load(sources).map_err(|errors| Failure::Refused(describe(&errors)))
}

/// Loads a configuration and the journal of its routes, to run it.
pub(crate) fn load_store(sources: &Sources) -> Result<(Snapshot, RouteStore), Failure> {
    require_source(sources)?;
    RouteStore::load(sources).map_err(|errors| Failure::Refused(describe(&errors)))
}

fn require_source(sources: &Sources) -> Result<(), Failure> {
    if sources.file.is_none() && sources.upstream.is_empty() {
        let hint = "nothing to serve: give --config FILE, or --listen and --upstream \
                    (ringway demo needs neither)";
        return Err(Failure::Usage(hint.into()));
    }
    Ok(())
}

/// All faults, one after the other, with their number last.
pub(crate) fn describe(errors: &[ConfigError]) -> String {
    let list: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    let noun = if errors.len() == 1 { "error" } else { "errors" };
    format!("the configuration has {} {noun}\n{}", errors.len(), list.join("\n"))
}

/// A snapshot as text: what listens, where requests go, and every setting with its source.
pub(crate) fn effective(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for listener in snapshot.listeners.iter() {
        text.push_str(&format!("listener {} {}\n", listener.name, listener.address));
    }
    for route in snapshot.routes.ids() {
        let (name, cluster) = (explain::name(snapshot, route), explain::cluster(snapshot, route));
        text.push_str(&format!("route {name} -> {cluster}\n"));
    }
    for cluster in snapshot.clusters.iter() {
        let endpoints: Vec<&str> =
            cluster.endpoints.iter().map(|endpoint| endpoint.address.as_str()).collect();
        text.push_str(&format!("cluster {}: {}\n", cluster.name, endpoints.join(", ")));
    }
    text.push_str(&snapshot.settings.print_effective());
    text
}

//! Where configuration comes from: a file or a folder, the environment, the command line.
//!
//! [`load`] is a start, [`reload`] is everything after it. Both read all sources again, so a
//! reload means exactly what a restart would, except where it says that only a restart can.

mod file;

use std::path::PathBuf;
use std::sync::Arc;

use crate::compile::{Compiled, Resolve, compile};
use crate::config::{Config, TlsFlags};
use crate::error::ConfigError;
use crate::journal::Net;
use crate::settings::{REGISTRY, Settings};
use crate::snapshot::Snapshot;
use crate::tree::Place;

/// Everything that was given to the process.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, or a folder: its `*.yaml` and `*.yml` files are one configuration,
    /// and its `*.jsonl` files are files of routes, all in the order of their names.
    pub file: Option<PathBuf>,
    /// More of them, behind it.
    pub further: Vec<PathBuf>,
    /// The environment; only `RINGWAY_*` is looked at.
    pub env: Vec<(String, String)>,
    /// Settings as flags: name without dashes, value. Later ones win.
    pub flags: Vec<(String, String)>,
    /// `--listen`, each an address or several with commas; else `RINGWAY_LISTEN`.
    pub listen: Vec<String>,
    /// `--upstream`, each an address or several with commas; else `RINGWAY_UPSTREAM`.
    pub upstream: Vec<String>,
    /// `--tls-cert`: a certificate for every listener; else `RINGWAY_TLS_CERT`.
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`; else `RINGWAY_TLS_KEY`.
    pub tls_key: Option<PathBuf>,
}

/// Reads all sources and compiles them to the first snapshot. Blocks on the file and on DNS.
/// All faults come back at once: those of flags first, then those of the file in its order.
pub fn load(sources: &Sources) -> Result<Snapshot, Vec<ConfigError>> {
    Ok(load_all(sources, &mut |_| Ok(None))?.snapshot)
}

/// As [`load`], with the routes of a journal laid over those of the files: `journal` gives what the
/// one that the settings name comes to. Where it cannot be read, faults of the sources go before
/// its own.
pub(crate) fn load_all(
    sources: &Sources,
    journal: &mut dyn FnMut(&Settings) -> Result<Option<Net>, ConfigError>,
) -> Result<Compiled, Vec<ConfigError>> {
    let (mut config, mut errors) = read(sources)?;
    let mut resolve = Resolve::system();
    let net = if errors.is_empty() { journal(&config.settings) } else { Ok(None) };
    let known = net.as_ref().ok().and_then(Option::as_ref);
    let compiled = compile(&mut config, known, &mut resolve, &mut errors);
    ConfigError::sort(&mut errors);
    match compiled {
        Some(compiled) if errors.is_empty() => {
            net.map_err(|error| vec![error])?;
            Ok(compiled)
        }
        _ => Err(errors),
    }
}

/// Reads all sources again and compiles the next generation. On any fault, and when something
/// changed that needs a restart, nothing is different from before; each such change is named.
/// An equal `hash` means that nothing changed.
pub fn reload(current: &Snapshot, sources: &Sources) -> Result<Snapshot, Vec<ConfigError>> {
    Ok(reload_all(current, sources, &mut |_| Ok(None))?.snapshot)
}

/// As [`reload`], with the routes of a journal.
pub(crate) fn reload_all(
    current: &Snapshot,
    sources: &Sources,
    journal: &mut dyn FnMut(&Settings) -> Result<Option<Net>, ConfigError>,
) -> Result<Compiled, Vec<ConfigError>> {
    let mut compiled = load_all(sources, journal)?;
    let next = &mut compiled.snapshot;
    let errors = restarts(current, next, sources);
    if !errors.is_empty() {
        return Err(errors);
    }
    keep_tickets(current, next);
    next.generation = current.generation + 1;
    next.loaded = next.generation;
    Ok(compiled)
}

/// Sessions of before a reload can be resumed after it, where that is safe.
fn keep_tickets(current: &Snapshot, next: &mut Snapshot) {
    let mut listeners = next.listeners.to_vec();
    for plan in &mut listeners {
        let before = current.listeners.iter().find(|before| before.name == plan.name);
        let before = before.and_then(|before| before.tls.as_ref());
        let kept = before.zip(plan.tls.as_ref());
        let kept = kept.and_then(|(before, tls)| tls.with_tickets_of(before));
        plan.tls = kept.map(Arc::new).or(plan.tls.take());
    }
    next.listeners = listeners.into();
}

fn read(sources: &Sources) -> Result<(Config, Vec<ConfigError>), Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut config = Config::default();
    let paths = sources.file.iter().chain(&sources.further);
    let files = file::list_all(paths).map_err(|error| vec![error])?;
    for path in &files.configs {
        let text = file::read(path).map_err(|error| vec![error])?;
        config.add(&path.display().to_string(), &text, &mut errors);
    }
    let routes = files.routes.into_iter().map(|path| (path, Place::default()));
    config.route_files.extend(routes);
    config.settings.lay_variables(&sources.env, &mut errors, &mut config.warnings);
    config.settings.lay_flags(&sources.flags, &mut errors);
    config.check_settings(&mut errors);
    let listen = addresses(&sources.listen, &sources.env, "RINGWAY_LISTEN");
    let upstream = addresses(&sources.upstream, &sources.env, "RINGWAY_UPSTREAM");
    config.lay_addresses(listen, upstream, &mut errors);
    let variable = |name: &str| {
        let found = sources.env.iter().rfind(|(known, text)| known == name && !text.is_empty());
        found.map(|(_, text)| PathBuf::from(text))
    };
    let cert = sources.tls_cert.clone().or_else(|| variable("RINGWAY_TLS_CERT"));
    let key = sources.tls_key.clone().or_else(|| variable("RINGWAY_TLS_KEY"));
    config.lay_tls(&TlsFlags { cert, key }, &mut errors);
    Ok((config, errors))
}

/// Comma-separated addresses of the flags, else of the variable.
fn addresses(flags: &[String], env: &[(String, String)], variable: &str) -> Vec<String> {
    let from_env = || env.iter().rfind(|(name, _)| name == variable).map(|(_, text)| text.clone());
    let given = if flags.is_empty() { from_env().into_iter().collect() } else { flags.to_vec() };
    let parts = given.iter().flat_map(|list| list.split(','));
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn restarts(current: &Snapshot, next: &Snapshot, sources: &Sources) -> Vec<ConfigError> {
    let file = sources.file.as_ref().map_or("flags".to_owned(), |path| path.display().to_string());
    let changed = |what: String| {
        ConfigError::new(file.clone(), format!("{what}: this needs a restart, nothing was changed"))
    };
    let settings = current.settings.restarts(&next.settings);
    let settings = settings.into_iter().map(|(index, old, new)| {
        let mut error =
            changed(format!("setting {} changes from {old} to {new}", REGISTRY[index].name));
        error.file = match next.settings.source_at(index) {
            crate::Source::Default => file.clone(),
            source => source.to_string(),
        };
        error
    });
    let places = |snapshot: &Snapshot| {
        let place = |plan: &crate::ListenerPlan| format!("{} at {}", plan.name, plan.address);
        snapshot.listeners.iter().map(place).collect::<Vec<_>>()
    };
    let (old, new) = (places(current), places(next));
    let gone = old.iter().filter(|place| !new.contains(place));
    let added = new.iter().filter(|place| !old.contains(place));
    settings
        .chain(gone.map(|place| changed(format!("listener {place} is gone"))))
        .chain(added.map(|place| changed(format!("listener {place} is new"))))
        .collect()
}

#[cfg(test)]
mod tests;

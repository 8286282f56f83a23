//! From specs to a table: patterns are read and checked here, once, off the data path.
//!
//! Every fault is reported, in the order of the specs. Faulty routes are left out while the rest
//! is still checked, so one mistake does not hide another.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Table;
use super::host::{HostPattern, Hosts};
use super::path::{Block, PathPattern};
use super::rank::{Candidates, MethodSet};
use crate::RouteId;
use crate::spec::RouteSpec;

/// A route that cannot be part of a table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct BuildError {
    /// Position of the faulty route in the list of specs.
    pub index: usize,
    /// Position of the other route for faults that are about two.
    pub other: Option<usize>,
    /// What is wrong.
    pub fault: BuildFault,
}

/// What is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildFault {
    /// The host is neither a name nor `*.name`.
    #[error("host `{host}` {why}")]
    Host {
        /// As written.
        host: String,
        /// Why, to follow the host.
        why: &'static str,
    },
    /// The path is neither exact nor a prefix.
    #[error("path `{path}` {why}")]
    Path {
        /// As written.
        path: String,
        /// Why, to follow the path.
        why: &'static str,
    },
    /// Not a method.
    #[error("method `{method}` {why}")]
    Method {
        /// As written.
        method: String,
        /// Why, to follow the method.
        why: &'static str,
    },
    /// Earlier routes take every request this one could.
    #[error("can never match: route `{other}` takes the same host, path and methods")]
    Unreachable {
        /// Id of the first route in its place.
        other: String,
    },
    /// More routes than ids.
    #[error("too many routes: at most {} are possible", u32::MAX)]
    TooMany,
}

type Blocks = BTreeMap<HostPattern, BTreeMap<PathPattern, Candidates>>;

pub(super) fn build(specs: &[RouteSpec]) -> Result<Table, Vec<BuildError>> {
    let mut errors = Vec::new();
    let mut blocks = Blocks::new();
    for (index, spec) in specs.iter().enumerate() {
        let Ok(id) = u32::try_from(index) else {
            errors.push(BuildError { index, other: None, fault: BuildFault::TooMany });
            break;
        };
        match read(spec) {
            Ok((host, path, methods)) => {
                let candidates = blocks.entry(host).or_default().entry(path).or_default();
                if let Err(earlier) = candidates.add(methods, RouteId(id)) {
                    errors.push(unreachable(specs, index, earlier));
                }
            }
            Err(faults) => errors.extend(faults.into_iter().map(|fault| BuildError {
                index,
                other: None,
                fault,
            })),
        }
    }
    if errors.is_empty() { Ok(assemble(blocks, specs.len())) } else { Err(errors) }
}

fn unreachable(specs: &[RouteSpec], index: usize, earlier: RouteId) -> BuildError {
    let other = earlier.0 as usize;
    let fault = BuildFault::Unreachable { other: specs[other].id.clone() };
    BuildError { index, other: Some(other), fault }
}

fn assemble(blocks: Blocks, len: usize) -> Table {
    let numbers: BTreeMap<HostPattern, u32> = blocks.keys().cloned().zip(0..).collect();
    Table {
        hosts: Hosts::new(&numbers),
        blocks: blocks.into_values().map(Block::new).collect(),
        len,
    }
}

fn read(spec: &RouteSpec) -> Result<(HostPattern, PathPattern, MethodSet), Vec<BuildFault>> {
    let mut faults = Vec::new();
    let mut keep = |fault| faults.push(fault);
    let host = read_host(spec.r#match.host.as_deref()).map_err(&mut keep).ok();
    let path = read_path(spec.r#match.path.as_deref()).map_err(&mut keep).ok();
    for method in &spec.r#match.methods {
        read_method(method).map_err(&mut keep).ok();
    }
    let methods = MethodSet::new(spec.r#match.methods.iter().map(String::as_bytes));
    match (host, path) {
        (Some(host), Some(path)) if faults.is_empty() => Ok((host, path, methods)),
        _ => Err(faults),
    }
}

fn read_host(host: Option<&str>) -> Result<HostPattern, BuildFault> {
    let Some(host) = host else { return Ok(HostPattern::Any) };
    let lower = host.to_ascii_lowercase();
    let (suffix, name) = match lower.strip_prefix('*') {
        Some(rest) => (true, rest),
        None => (false, lower.as_str()),
    };
    let labels = if suffix { name.strip_prefix('.').unwrap_or("") } else { name };
    if let Some(why) = host_fault(labels, suffix) {
        return Err(BuildFault::Host { host: host.to_owned(), why });
    }
    Ok(if suffix {
        HostPattern::Suffix(name.bytes().rev().collect())
    } else {
        HostPattern::Exact(name.into())
    })
}

/// Names as DNS has them, plus `_` and, for exact hosts, `[` IPv6 `]`.
fn host_fault(name: &str, suffix: bool) -> Option<&'static str> {
    if !suffix && name.starts_with('[') && name.ends_with(']') {
        let inner = name.trim_start_matches('[').trim_end_matches(']');
        let valid = inner.parse::<std::net::Ipv6Addr>().is_ok();
        return (!valid).then_some("is not an IPv6 address");
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() {
        Some("names nothing: leave it out to take any host, or write *.example.com")
    } else if name.len() > 253 {
        Some("is longer than 253 bytes")
    } else if name.contains('*') {
        Some("has a `*` inside: only a leading `*.` is possible")
    } else if name.contains(':') {
        Some("has a port: routes match the name only, leave the port out")
    } else if !name.bytes().all(known) {
        Some("has a byte that no host name has")
    } else if name.split('.').any(str::is_empty) {
        Some("has an empty label: leave the outer dots out")
    } else {
        None
    }
}

fn read_path(path: Option<&str>) -> Result<PathPattern, BuildFault> {
    let Some(path) = path else { return Ok(PathPattern::Any) };
    if let Some(why) = path_fault(path) {
        return Err(BuildFault::Path { path: path.to_owned(), why });
    }
    Ok(match path.strip_suffix('*') {
        Some(prefix) => PathPattern::Prefix(prefix.into()),
        None => PathPattern::Exact(path.into()),
    })
}

fn path_fault(path: &str) -> Option<&'static str> {
    let literal = path.strip_suffix('*').unwrap_or(path);
    if path.starts_with('~') {
        Some("is a regular expression: these are not supported by this build")
    } else if !path.starts_with('/') {
        Some("does not begin with `/`")
    } else if path.len() > 8192 {
        Some("is longer than 8192 bytes")
    } else if path.contains(['{', '}']) {
        Some("has a `{name}` segment: these are not supported by this build")
    } else if literal.contains('*') {
        Some("has a `*` inside: only a trailing `/*` is possible")
    } else if literal.len() < path.len() && !literal.ends_with('/') {
        Some("ends with `*` after a partial segment: only a trailing `/*` is possible")
    } else if path.contains(['?', '#']) {
        Some("has a `?` or `#`: routes match the path without its query")
    } else if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        Some("has a space or a control character: write it percent-encoded")
    } else {
        None
    }
}

/// A token of RFC 9110 §5.6.2. Lower-case forms of common methods are refused because methods
/// are case-sensitive and such a route would silently never match.
fn read_method(method: &str) -> Result<(), BuildFault> {
    let fault = |why| Err(BuildFault::Method { method: method.to_owned(), why });
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if method.is_empty() || !method.bytes().all(token) {
        return fault("is not a method name");
    }
    if method.len() > 32 {
        return fault("is longer than 32 bytes");
    }
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return fault(
            "has lower-case letters: methods are case-sensitive, write them as GET, POST",
        );
    }
    Ok(())
}

//! The path patterns of one host.
//!
//! A prefix pattern ends with the slash before its `*`: `/users/*` is stored as `/users/` and
//! takes every path that begins with it, `/users/` included and `/users` not.

use std::collections::BTreeMap;

use super::keys::Keys;
use super::rank::{Candidates, Method};
use crate::query::{Captures, Match};

/// One host's patterns; values are the routes that share the pattern.
#[derive(Debug, Default)]
pub(super) struct Block {
    exact: Keys,
    exact_routes: Box<[Candidates]>,
    prefix: Keys,
    prefix_routes: Box<[Candidates]>,
    any: Option<Candidates>,
}

/// A path pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathPattern {
    Exact(Vec<u8>),
    /// With its last slash, without the `*`.
    Prefix(Vec<u8>),
    Any,
}

impl Block {
    pub(super) fn new(patterns: BTreeMap<PathPattern, Candidates>) -> Block {
        let mut any = None;
        let (mut exact, mut prefix) = (Vec::new(), Vec::new());
        for (pattern, candidates) in patterns {
            match pattern {
                PathPattern::Exact(key) => exact.push((key, candidates)),
                PathPattern::Prefix(key) => prefix.push((key, candidates)),
                PathPattern::Any => any = Some(candidates),
            }
        }
        Block {
            exact: Keys::from_sorted(exact.iter().map(|(key, _)| key.as_slice())),
            exact_routes: exact.into_iter().map(|(_, candidates)| candidates).collect(),
            prefix: Keys::from_sorted(prefix.iter().map(|(key, _)| key.as_slice())),
            prefix_routes: prefix.into_iter().map(|(_, candidates)| candidates).collect(),
            any,
        }
    }

    pub(super) fn find(&self, path: &[u8], method: Method<'_>) -> Option<Match> {
        self.find_exact(path, method)
            .or_else(|| self.find_prefix(path, method))
            .or_else(|| Some(plain(self.any.as_ref()?.first(method)?)))
    }

    fn find_exact(&self, path: &[u8], method: Method<'_>) -> Option<Match> {
        let index = self.exact.exact(path)?;
        self.exact_routes[index].first(method).map(plain)
    }

    fn find_prefix(&self, path: &[u8], method: Method<'_>) -> Option<Match> {
        self.prefix.prefixes(path).find_map(|index| {
            let route = self.prefix_routes[index].first(method)?;
            let captures = Captures::tail(self.prefix.key(index).len(), path.len());
            Some(Match { route, captures })
        })
    }
}

fn plain(route: crate::RouteId) -> Match {
    Match { route, captures: Captures::NONE }
}

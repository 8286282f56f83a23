//! The routing table: `find` a route for a request.
//!
//! Hosts lead to blocks, a block holds one host's path patterns, a pattern holds the routes that
//! differ only in methods. All three levels are sorted arrays over one text arena each; nothing is
//! hashed, so no choice of request or rule can degrade a lookup into a scan.
//!
//! Not here: what a route does. Callers see only [`Table`], ids and captures, so the inside can
//! be replaced without touching them.

mod build;
mod host;
mod keys;
mod path;
mod rank;

pub use build::{BuildError, BuildFault};

use crate::query::{Match, Query};
use crate::spec::RouteSpec;

/// An immutable set of routes. Cheap to share by `Arc`; `Send + Sync`.
#[derive(Debug, Default)]
pub struct Table {
    hosts: host::Hosts,
    /// Patterns of one host each, by the block numbers `hosts` yields.
    blocks: Vec<path::Block>,
    len: usize,
}

impl Table {
    /// Builds the table of `specs`; route ids are positions in it. All faults come back at once,
    /// in the order of `specs`. O(n log n).
    pub fn build(specs: &[RouteSpec]) -> Result<Table, Vec<BuildError>> {
        build::build(specs)
    }

    /// The route that wins for `query` by the order stated in the crate's documentation.
    /// Never allocates; see there for the cost.
    pub fn find(&self, query: &Query<'_>) -> Option<Match> {
        let method = rank::Method::of(query.method);
        let mut blocks = self.hosts.blocks(query.host);
        blocks.find_map(|block| self.blocks.get(block)?.find(query.path, method))
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Table>();
};

#[cfg(test)]
mod tests;

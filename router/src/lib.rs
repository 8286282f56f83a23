//! Where a request goes: the routing table, clusters of endpoints, and the choice among them.
//!
//! Not here: sockets, clocks, header maps, policies, upstream connections. The router is given a
//! [`Query`] and answers with a [`RouteId`]; what a route *means* is known to `control`'s plans.
//!
//! # Precedence
//!
//! Of all routes that match a request, the first in this order wins. Each line decides only among
//! routes that are equal in the lines above it, and the list is the whole rule:
//!
//! 1. an exact host, before a `*.suffix` host, before no host;
//! 2. of two `*.suffix` hosts, the longer suffix;
//! 3. an exact path, before a prefix path (`/users/*`), before no path;
//! 4. of two prefix paths, the longer prefix;
//! 5. a route that names methods, before one that takes any;
//! 6. the route declared first.
//!
//! So a request whose host has routes of its own still falls back to `*.suffix` routes and then to
//! routes without a host when none of its own matches.
//!
//! Invariants:
//! - R1 Ids are dense: `RouteId(i)` is the i-th spec given to [`Table::build`].
//! - R2 A table is immutable and `Send + Sync`; all shards share one.
//! - R3 Every route in a table can win for some request: a route whose place is wholly taken by
//!   earlier ones is refused by `build`, with both places named.
//!
//! Cost of [`Table::find`]: no allocation; three binary searches (host, exact path, prefix path)
//! plus one step for each *declared* pattern nested around the best one. What a peer sends adds
//! only the comparison of its own bytes, whatever its number of labels or segments.

#![forbid(unsafe_code)]

mod balance;
mod cluster;
mod query;
mod spec;
mod table;
pub mod units;

pub use balance::{BalanceKind, Balancer};
pub use cluster::{Cluster, ClusterProtocol, Endpoint, ProxyVersion, identity};
pub use query::{CAPTURES_MAX, Captures, Match, Query};
pub use spec::{BufferSpec, ClusterSpec, EndpointSpec, ErrorPageSpec, MatchSpec, RouteSpec};
pub use table::{BuildError, BuildFault, Table};

/// A route: its position in the list given to [`Table::build`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// A cluster: its position in the snapshot's list of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// An endpoint: its position in its cluster's list of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

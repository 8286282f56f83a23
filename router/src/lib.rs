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
//! 1. the higher `priority`; 0 where none is given;
//! 2. an exact host, before a `*.suffix` host, before no host; of two suffixes the longer;
//! 3. an exact path, before one with `{name}` segments, before a prefix (`/users/*`), before a
//!    regular expression, before no path;
//! 4. of two prefixes, the one with more segments; of two regular expressions, the one that begins
//!    with more literal segments;
//! 5. of two paths with `{name}`, the one whose first difference is a literal where the other has a
//!    name;
//! 6. a route that names methods, before one that takes any;
//! 7. more header fields and cookies asked for;
//! 8. more query parameters asked for;
//! 9. a route that names source networks, before one that takes any;
//! 10. the route declared first.
//!
//! From 3 on this is the order of the Gateway API, with `{name}`, cookies and sources put in. So a
//! request whose host has routes of its own still falls back to `*.suffix` routes and then to
//! routes without a host when none of its own matches. With [`RuleOrder::FirstMatch`] only line 10
//! counts.
//!
//! Invariants:
//! - R1 Ids are dense at first: `RouteId(i)` is the i-th rule given to [`Builder::add`].
//! - R2 A table is immutable and `Send + Sync`; all shards share one.
//! - R3 A route whose place is wholly taken by others is refused by [`Builder::finish`], with both
//!   named. Under a host with more than 64 rules only those with the same path are compared.
//!
//! Cost of [`Table::find`]: no allocation; a hash of the host and of the path's segments, one look
//! into the index, one compare of tags, and the check of one or two rules. A peer's choice of path
//! adds only the hashing of its bytes, and of 32 segments at most. Where a regular expression with
//! named groups takes the request, the path is read up to three times more; the first time that a
//! thread does this it allocates 256 bytes and keeps them.

#![forbid(unsafe_code)]

mod balance;
mod bytes;
mod cluster;
mod hash;
mod pattern;
mod predicate;
mod query;
mod rule;
mod spec;
mod table;
pub mod units;

pub use balance::{BalanceKind, Balancer};
pub use cluster::{
    Cluster, ClusterProtocol, Endpoint, ProxyVersion, ThriftDialect, ThriftProtocol,
    ThriftTransport, identity,
};
pub use predicate::ValuePlace;
pub use predicate::value::{ValueSpec, ValueSpecs};
pub use query::{CAPTURES_MAX, Captures, Field, Match, Query};
pub use spec::{
    BufferSpec, ClusterSpec, ClusterTlsSpec, EndpointSpec, ErrorPageSpec, GrpcMatchSpec,
    GrpcWebSpec, MatchSpec, RouteSpec, ThriftMatchSpec, ThriftSpec, bytes as deserialize_bytes,
};
#[cfg(any(test, feature = "fuzz"))]
pub use table::fuzz_table;
pub use table::{BuildError, BuildFault, Builder, Explanation, Other, RuleOrder, RuleText, Table};

/// A route: its position among the rules given to [`Builder::add`], or a free one for a rule that
/// came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// What a route does: a number that means something to whoever gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(pub u32);

/// A cluster: its position in the snapshot's list of clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// An endpoint: its position in its cluster's list of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

//! How configuration arrives: read, checked, compiled to a snapshot, handed to the shards.
//!
//! `sources → Config (as typed, with places) → compile → Snapshot → publish → adopt → retire`.
//! Everything slow or fallible happens on the way to the snapshot, on plain threads; shards only
//! swap a pointer. A configuration either takes whole or changes nothing, and all its faults are
//! reported at once, in file order, with file, line and column.
//!
//! Not here: sockets that carry requests, and anything that happens per request.

#![forbid(unsafe_code)]

pub mod admin;
pub mod certs;
mod cidrs;
mod compile;
mod config;
mod decode;
mod error;
pub mod journal;
mod publish;
mod routes;
pub mod settings;
mod snapshot;
mod source;
mod tree;

pub use cidrs::Cidrs;
pub use compile::random_seed;
pub use config::fuzz_config;
pub use error::ConfigError;
pub use publish::{Acknowledge, Publisher, Subscriber};
pub use routes::{
    Change, ChangeFault, ChangeFaultKind, Names, Refusal, RouteStore, Routes, fuzz_route_changes,
    fuzz_route_lines,
};
pub use settings::{Applies, Kind, REGISTRY, Setting, Settings, Source, Unit};
pub use snapshot::{
    ErrorPage, ErrorPages, GrpcHealth, GrpcWebPlan, HealthOf, ListenerPlan, ProxyHeaders,
    RoutePlan, Snapshot, SniRoutes, Speaks,
};
pub use source::{Sources, load, reload};

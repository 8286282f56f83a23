//! What happened: counters, one record a request, logs and their exporters.
//!
//! Two costs, kept apart. Every request moves a handful of single-writer counters
//! ([`ShardMetrics`]): plain loads and stores of memory that only its shard writes, no lock, no
//! atomic read-modify-write. Only when an access log is on does a request also carry a
//! [`Record`], a recycled box that the shard fills and puts on a bounded queue ([`Recorder`]).
//! Formatting, time stamps as text, files and scrapes belong to exporter threads
//! ([`export`]); a full queue drops the record and counts it, and never makes a shard wait.
//!
//! This crate is *not* a logging facade and knows no wire, route table or socket: names of
//! routes and clusters are given to the exporter by generation ([`Names`]).
//!
//! Cardinality rule: a label has values that this program lists (a status, a reason word, a
//! shard), or a bounded number that the configuration does (a cluster). Nothing that a peer sent
//! becomes a label.
#![forbid(unsafe_code)]

pub mod calls;
pub mod counter;
pub mod export;
pub mod record;
pub mod recorder;

pub use calls::CallSeat;
pub use counter::{Gauge, Metric, Process, Registry, ShardMetrics, WordFamily};
pub use export::access_log::{AccessLog, Names, Target};
pub use export::error_log::{ErrorLog, Format, Level};
pub use record::{Phase, Place, Protocol, Record, Text};
pub use recorder::{Feed, Recorder};

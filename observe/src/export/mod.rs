//! Exporters: one file each, each on a thread that is not a shard.
//!
//! To add one: a file here with a `start` or `render` function, and a line below. An exporter
//! reads [`crate::Registry`] or a [`crate::Feed`]; it never asks a shard for anything.

pub mod access_log;
pub mod error_log;
pub mod prometheus;

mod json;
mod time;

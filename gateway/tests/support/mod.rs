//! Far ends for the simulator: scripted clients and upstreams on an independent HTTP reader.

pub mod client;
pub mod http;
pub mod origin;
pub mod plan;

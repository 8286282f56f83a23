//! Far ends for the simulator: scripted clients and upstreams on an independent HTTP reader.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod origin;
pub(crate) mod plan;

//! Far ends for the simulator: scripted clients and upstreams on an independent HTTP/1 reader, and
//! clients of HTTP/2 on the gateway's own wire.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod multiplexed;
pub(crate) mod origin;
pub(crate) mod plan;
pub(crate) mod verdict;

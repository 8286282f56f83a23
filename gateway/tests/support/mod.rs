//! Far ends for the simulator: scripted clients and upstreams on an independent HTTP/1 reader, and
//! those of HTTP/2 on the gateway's own wire.

pub(crate) mod client;
pub(crate) mod client_h2;
pub(crate) mod http;
pub(crate) mod origin;
pub(crate) mod plan;
pub(crate) mod upstream_h2;
pub(crate) mod verdict;

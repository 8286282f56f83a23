//! Far ends for the simulator: scripted clients and upstreams on an independent HTTP/1 reader,
//! those of HTTP/2 on the gateway's own wire, and those of Thrift on the mock's packets.

pub(crate) mod client;
pub(crate) mod client_h2;
pub(crate) mod client_thrift;
pub(crate) mod http;
pub(crate) mod life;
pub(crate) mod origin;
pub(crate) mod plan;
pub(crate) mod thrift;
pub(crate) mod upstream_h2;
pub(crate) mod upstream_thrift;
pub(crate) mod verdict;

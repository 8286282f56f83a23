//! A cluster: interchangeable endpoints and how long to wait for them.
//!
//! Immutable and shared by all shards. What changes per request (requests in flight, the place in
//! a rotation) is owned by each shard, keyed by [`Endpoint::identity`], so that it survives a
//! reload that leaves the endpoint in place.

use std::time::Duration;

use crate::ClusterId;
use crate::balance::BalanceKind;

/// What the endpoints of a cluster speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, many requests on one connection.
    Http2,
    /// Thrift calls, on a connection as many at a time as the dialect says.
    Thrift,
    /// Bytes, passed through.
    Tcp,
}

impl ClusterProtocol {
    /// Its name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            ClusterProtocol::Http1 => "http1",
            ClusterProtocol::Http2 => "http2",
            ClusterProtocol::Thrift => "thrift",
            ClusterProtocol::Tcp => "tcp",
        }
    }

    /// The protocol of that name.
    pub fn find(name: &str) -> Option<ClusterProtocol> {
        let all = [
            ClusterProtocol::Http1,
            ClusterProtocol::Http2,
            ClusterProtocol::Thrift,
            ClusterProtocol::Tcp,
        ];
        all.into_iter().find(|one| one.as_str() == name)
    }
}

/// What delimits the messages of a Thrift endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThriftTransport {
    /// A length before each.
    #[default]
    Framed,
    /// Nothing.
    Buffered,
    /// Apache's header.
    THeader,
    /// CloudWeGo's header, with a frame inside.
    TtHeader,
}

impl ThriftTransport {
    /// The transport of that name in configuration.
    pub fn find(name: &str) -> Option<ThriftTransport> {
        Some(match name {
            "framed" => ThriftTransport::Framed,
            "buffered" => ThriftTransport::Buffered,
            "theader" => ThriftTransport::THeader,
            "ttheader" => ThriftTransport::TtHeader,
            _ => return None,
        })
    }
}

/// How messages of a Thrift endpoint are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThriftProtocol {
    /// Strict Binary.
    Binary,
    /// Compact.
    Compact,
}

impl ThriftProtocol {
    /// The protocol of that name in configuration.
    pub fn find(name: &str) -> Option<ThriftProtocol> {
        match name {
            "binary" => Some(ThriftProtocol::Binary),
            "compact" => Some(ThriftProtocol::Compact),
            _ => None,
        }
    }
}

/// How the endpoints of a Thrift cluster are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThriftDialect {
    /// What delimits messages.
    pub transport: ThriftTransport,
    /// How they are written; as the caller does, where nothing is said.
    pub protocol: Option<ThriftProtocol>,
    /// Calls at a time on one connection; more than one only of endpoints that say by number which
    /// call a reply belongs to, and serve calls of one connection side by side.
    pub calls_max: u16,
}

impl Default for ThriftDialect {
    fn default() -> ThriftDialect {
        ThriftDialect { transport: ThriftTransport::default(), protocol: None, calls_max: 1 }
    }
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// A binary header.
    V2,
}

/// Endpoints that serve the same thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Position in the snapshot's list.
    pub id: ClusterId,
    /// Name as configured.
    pub name: String,
    /// Where requests can go; never empty once compiled.
    pub endpoints: Vec<Endpoint>,
    /// What they speak.
    pub protocol: ClusterProtocol,
    /// In which dialect, where that is Thrift.
    pub thrift: ThriftDialect,
    /// Each connection begins with a PROXY header, and serves one exchange.
    pub proxy_header: Option<ProxyVersion>,
    /// How one is chosen.
    pub balance: BalanceKind,
    /// From `connect` to an established connection.
    pub connect_timeout: Duration,
    /// From the request's last byte sent to the reply's first byte.
    pub first_byte_timeout: Duration,
    /// How long an idle connection is kept; below what common servers allow (5 s).
    pub idle_timeout: Duration,
    /// Connections per endpoint and shard.
    pub links_max: u32,
    /// Further attempts of a safe request when a pooled connection turned out stale.
    pub retries: u32,
}

impl Cluster {
    /// A cluster with the defaults of the settings registry.
    pub fn new(id: ClusterId, name: &str, endpoints: Vec<Endpoint>) -> Cluster {
        Cluster {
            id,
            name: name.to_owned(),
            endpoints,
            protocol: ClusterProtocol::default(),
            thrift: ThriftDialect::default(),
            proxy_header: None,
            balance: BalanceKind::default(),
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(4),
            links_max: 1024,
            retries: 1,
        }
    }
}

/// One place a request can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Canonical text: `ip:port`, `[ip]:port` or `unix:/path`.
    pub address: String,
    /// Share of the traffic relative to its neighbours; 0 takes none.
    pub weight: u32,
    /// Equal for the same address and protocol in every snapshot and process of one build.
    pub identity: u64,
}

impl Endpoint {
    /// An HTTP/1.1 endpoint of weight 1.
    pub fn new(address: &str) -> Endpoint {
        Endpoint { address: address.to_owned(), weight: 1, identity: identity(address, "http1") }
    }
}

/// The identity of an endpoint: 64-bit FNV-1a over address and protocol. Not keyed, because
/// endpoints come from the operator and the value must be the same across reloads.
pub fn identity(address: &str, protocol: &str) -> u64 {
    let bytes = address.bytes().chain([0]).chain(protocol.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_depends_on_address_and_protocol() {
        let one = identity("127.0.0.1:9001", "http1");
        assert_eq!(one, identity("127.0.0.1:9001", "http1"));
        assert_ne!(one, identity("127.0.0.1:9001", "http2"));
        assert_ne!(one, identity("127.0.0.1:9002", "http1"));
        assert_ne!(identity("ab", "c"), identity("a", "bc"), "the boundary counts");
    }
}

//! Routes and clusters as written in configuration.
//!
//! The structs only hold what was typed: patterns are checked by [`Builder::add`], names and
//! addresses by `control`. Unknown keys are refused, so a later feature's key is never ignored.
//!
//! [`Builder::add`]: crate::Builder::add

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::balance::BalanceKind;
use crate::predicate::value::ValueSpecs;
use crate::units;

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Unique name; appears in logs and metrics.
    pub id: String,
    /// What the route takes; everything when absent.
    #[serde(default)]
    pub r#match: MatchSpec,
    /// Of routes that take the same request the one with the highest; 0 by default.
    #[serde(default)]
    pub priority: i32,
    /// Name of the cluster it goes to.
    pub cluster: String,
    /// Limit of the whole request, from its head to the reply's last byte.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// Limit of the request body in bytes.
    #[serde(default, deserialize_with = "bytes")]
    pub body_bytes_max: Option<u64>,
    /// Whether a safe request may be sent again on a stale connection; true by default.
    #[serde(default)]
    pub retry: Option<bool>,
    /// Pages for errors that ringway answers; it says `STATUS reason_word` where there is none.
    #[serde(default)]
    pub error_pages: Vec<ErrorPageSpec>,
    /// Bodies that are buffered; none by default.
    #[serde(default)]
    pub buffer: BufferSpec,
    /// Protocols that a client may upgrade to, like `websocket`; none by default.
    #[serde(default)]
    pub upgrade: Vec<String>,
    /// Turn calls of gRPC-Web into calls of gRPC.
    #[serde(default)]
    pub grpc_web: Option<GrpcWebSpec>,
}

/// gRPC-Web on a route, and what pages may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcWebSpec {
    /// Pages that may call, as origins like `https://shop.example.com`, or `*`.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Their calls may carry cookies and certificates; false by default, and never with `*`.
    #[serde(default)]
    pub allow_credentials: bool,
    /// Fields that a page may send beside those of gRPC-Web.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Fields that a page may read beside those of gRPC-Web.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Limit of one message of a request in bytes; 4 MiB by default.
    #[serde(default, deserialize_with = "bytes")]
    pub message_bytes_max: Option<u64>,
}

/// Which bodies a route buffers, and how much of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferSpec {
    /// Collect request bodies up to this before an endpoint is picked; 413 above it.
    #[serde(default, deserialize_with = "bytes")]
    pub request: Option<u64>,
    /// Take so much of a reply before the client has room for it.
    #[serde(default, deserialize_with = "bytes")]
    pub reply: Option<u64>,
}

/// What is answered instead of the plain words, where ringway itself answers with one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorPageSpec {
    /// 400 to 599.
    pub status: Vec<u16>,
    /// Name of a file, relative to the configuration's folder.
    #[serde(default)]
    pub file: Option<String>,
    /// The page itself.
    #[serde(default)]
    pub body: Option<String>,
    /// `text/html; charset=utf-8` by default.
    #[serde(default)]
    pub content_type: Option<String>,
}

/// What a route takes. An absent part takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchSpec {
    /// Exact (`api.example.com`) or suffix (`*.example.com`).
    #[serde(default)]
    pub host: Option<String>,
    /// Exact (`/users`), with segments of any text (`/users/{id}`), prefix (`/users/*`), or a
    /// regular expression (`~^/users/[0-9]+$`).
    #[serde(default)]
    pub path: Option<String>,
    /// A gRPC service or one of its methods, instead of a path.
    #[serde(default)]
    pub grpc: Option<GrpcMatchSpec>,
    /// Calls of a Thrift service or method, instead of a path and methods.
    #[serde(default)]
    pub thrift: Option<ThriftMatchSpec>,
    /// Methods, case-sensitive; empty takes any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Header fields, by name in any case.
    #[serde(default, deserialize_with = "lower_names")]
    pub headers: ValueSpecs,
    /// Parameters of the query string.
    #[serde(default)]
    pub query: ValueSpecs,
    /// Cookies.
    #[serde(default)]
    pub cookies: ValueSpecs,
    /// Networks that the client's address is in, like `10.0.0.0/8`; empty takes any.
    #[serde(default)]
    pub source: Vec<String>,
}

/// A gRPC service, or one of its methods: the path `/package.Service/Method`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcMatchSpec {
    /// With its package, like `shop.v1.Orders`.
    pub service: String,
    /// One of its methods; all of them when absent.
    #[serde(default)]
    pub method: Option<String>,
}

/// Thrift calls, by service, method or both; all where it names neither. A wire asks for a call as
/// for a request with the method `CALL` or `ONEWAY` and the path `/Service/Method`, where `-` is no
/// service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThriftMatchSpec {
    /// As the caller names it; any, also none, when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// One of its methods; all of them when absent.
    #[serde(default)]
    pub method: Option<String>,
}

/// Names of header fields are compared in lower case.
fn lower_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ValueSpecs, D::Error> {
    let typed = ValueSpecs::deserialize(deserializer)?;
    let mut lower = ValueSpecs::new();
    for (name, test) in typed {
        let name = name.to_ascii_lowercase();
        if lower.insert(name.clone(), test).is_some() {
            return Err(D::Error::custom(format!("header `{name}` is named twice")));
        }
    }
    Ok(lower)
}

/// One cluster; its name is the key it stands under.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// Where requests can go.
    pub endpoints: Vec<EndpointSpec>,
    /// Wire protocol: `http1`, `http2`, `thrift` or `tcp`.
    #[serde(default)]
    pub protocol: Option<String>,
    /// The dialect of a `thrift` cluster.
    #[serde(default)]
    pub thrift: Option<ThriftSpec>,
    /// Begin each connection with a PROXY header of this version: `v1` or `v2`.
    #[serde(default)]
    pub proxy_protocol: Option<String>,
    /// Begin each connection with TLS.
    #[serde(default)]
    pub tls: Option<ClusterTlsSpec>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub balance: BalanceKind,
    /// Instead of the setting `connect-timeout`.
    #[serde(default, deserialize_with = "duration")]
    pub connect_timeout: Option<Duration>,
    /// Instead of the setting `first-byte-timeout`.
    #[serde(default, deserialize_with = "duration")]
    pub first_byte_timeout: Option<Duration>,
    /// Instead of the setting `upstream-idle-timeout`.
    #[serde(default, deserialize_with = "duration")]
    pub idle_timeout: Option<Duration>,
    /// Instead of the setting `links-max`.
    #[serde(default)]
    pub links_max: Option<u32>,
    /// Instead of the setting `retries`.
    #[serde(default)]
    pub retries: Option<u32>,
}

/// How a cluster's endpoints speak Thrift.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThriftSpec {
    /// `framed`, as by default, `buffered`, `theader` or `ttheader`.
    #[serde(default)]
    pub transport: Option<String>,
    /// `binary` or `compact`; as the caller has it when absent.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Calls at a time on one connection, 1 to 1000; 1 when absent.
    #[serde(default)]
    pub calls_max: Option<u32>,
}

/// TLS towards a cluster's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTlsSpec {
    /// The name that is asked for and verified; the endpoints' host where they have one in common.
    #[serde(default)]
    pub sni: Option<String>,
    /// PEM file of the authorities that sign the endpoints; the system's when absent.
    #[serde(default)]
    pub ca: Option<String>,
    /// Whether certificates are verified; true by default.
    #[serde(default)]
    pub verify: Option<bool>,
    /// PEM file of the client certificate, its chain behind it.
    #[serde(default)]
    pub cert: Option<String>,
    /// PEM file of its key.
    #[serde(default)]
    pub key: Option<String>,
    /// `1.2`, as by default, or `1.3`.
    #[serde(default)]
    pub min_version: Option<String>,
}

/// One endpoint: `127.0.0.1:9001`, or `{address: 127.0.0.1:9001, weight: 3}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// `ip:port`, `[ip]:port`, `name:port` or `unix:/path`.
    pub address: String,
    /// Share of the traffic relative to its neighbours.
    pub weight: u32,
}

impl<'de> Deserialize<'de> for EndpointSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EndpointSpec, D::Error> {
        deserializer.deserialize_any(EndpointVisitor)
    }
}

struct EndpointVisitor;

impl<'de> Visitor<'de> for EndpointVisitor {
    type Value = EndpointSpec;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("an address like 127.0.0.1:9001, or {address: .., weight: ..}")
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<EndpointSpec, E> {
        Ok(EndpointSpec { address: address.to_owned(), weight: 1 })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<EndpointSpec, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            address: String,
            #[serde(default)]
            weight: Option<u32>,
        }
        let long = Long::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(EndpointSpec { address: long.address, weight: long.weight.unwrap_or(1) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<EndpointSpec, A::Error> {
        Err(Error::invalid_type(serde::de::Unexpected::Seq, &self))
    }
}

/// A balancer by its configured name.
impl<'de> Deserialize<'de> for BalanceKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BalanceKind, D::Error> {
        const NAMES: &[&str] = &["round_robin", "least_loaded"];
        match String::deserialize(deserializer)?.as_str() {
            "round_robin" => Ok(BalanceKind::RoundRobin),
            "least_loaded" => Ok(BalanceKind::LeastLoaded),
            other => Err(Error::unknown_variant(other, NAMES)),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parse = |text: String| {
        units::parse_duration(&text).map_err(|error| D::Error::custom(format!("`{text}` {error}")))
    };
    text.map(parse).transpose()
}

/// A number of bytes, if it is there: a text with a unit, or a plain number where the format has
/// numbers.
///
/// # Errors
/// The text is no size, or too large.
pub fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Bytes>::deserialize(deserializer)?.map(|Bytes(bytes)| bytes))
}

struct Bytes(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a number of bytes, like 4096 or 4KiB")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        let parsed = units::parse_bytes(text);
        parsed.map(Bytes).map_err(|error| E::custom(format!("`{text}` {error}")))
    }
}

//! From what was typed to what is run: names become ids, addresses become canonical, DNS names
//! become addresses, routes become a table.
//!
//! Every fault is found in one pass, whatever else is wrong: an item that could not be read still
//! counts as declared, so that nothing else is blamed for its absence. Blocks on DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use protocols::WireSpec;
use router::{Cluster, ClusterId, ClusterSpec, Endpoint, EndpointSpec, RouteSpec, Table, identity};

use crate::config::{Config, Item, ListenerSpec, Protocols};
use crate::decode::Fault;
use crate::error::{ConfigError, did_you_mean};
use crate::settings::{REGISTRY, Settings, position};
use crate::snapshot::{ListenerPlan, RoutePlan, Snapshot};
use crate::tree::{Node, Place, shorten};

/// The only protocol of this build.
const PROTOCOL: &str = "http1";

/// Protocols other builds speak: refused by name.
const PROTOCOLS_LATER: &[&str] = &["http2", "http3", "grpc", "thrift", "tcp", "tls"];

/// Largest weight of an endpoint; keeps all sums and products far below 64 bits.
const WEIGHT_MAX: u32 = 65_535;

/// Names to addresses, each name asked once.
pub(crate) struct Resolve {
    ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    known: BTreeMap<(String, u16), Result<Vec<SocketAddr>, String>>,
}

impl Resolve {
    /// The system's resolver. Blocks.
    pub(crate) fn system() -> Resolve {
        Resolve::with(|name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    pub(crate) fn with(ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>) -> Resolve {
        Resolve { ask, known: BTreeMap::new() }
    }

    /// All distinct addresses of the first family the name has, IPv4 before IPv6, sorted: the
    /// order of the answer must not make a reload look like a change.
    fn addresses(&mut self, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let ask = self.ask;
        let known = self.known.entry((name.to_owned(), port));
        known.or_insert_with(|| sort_addresses(ask(name, port))).clone()
    }
}

fn sort_addresses(answer: io::Result<Vec<SocketAddr>>) -> Result<Vec<SocketAddr>, String> {
    let mut all = answer.map_err(|error| error.to_string())?;
    all.sort();
    all.dedup();
    let has_v4 = all.iter().any(SocketAddr::is_ipv4);
    all.retain(|address| address.is_ipv4() == has_v4);
    if all.is_empty() { Err("the name has no address".to_owned()) } else { Ok(all) }
}

/// Compiles; faults are added to `errors`. `None` when there were any faults here.
pub(crate) fn compile(
    config: &Config,
    resolve: &mut Resolve,
    errors: &mut Vec<ConfigError>,
) -> Option<Snapshot> {
    let mut work = Compile { config, resolve, faults: Vec::new() };
    let listeners = work.listeners();
    let clusters = work.clusters();
    let routes = work.routes();
    let table = work.table();
    work.require_parts();
    let mut warnings = config.warnings.clone();
    warnings.extend(work.unused());
    let clean = work.faults.is_empty();
    errors.extend(work.faults.into_iter().map(|fault| config.error(fault)));
    let hash = content_hash(config, &listeners, &clusters, &routes);
    clean.then(|| Snapshot {
        generation: 1,
        hash,
        settings: config.settings.clone(),
        listeners,
        table: Arc::new(table),
        routes: routes.into_iter().map(Arc::new).collect(),
        clusters: clusters.into_iter().map(Arc::new).collect(),
        warnings,
    })
}

struct Compile<'a> {
    config: &'a Config,
    resolve: &'a mut Resolve,
    faults: Vec<Fault>,
}

impl Compile<'_> {
    fn fault(&mut self, place: Place, message: String) {
        self.faults.push(Fault::new(place, message));
    }

    /// A configuration that can do nothing is a mistake, not a wish.
    fn require_parts(&mut self) {
        if !self.config.complete {
            return;
        }
        let start = Place { line: 1, column: 1 };
        for (name, empty) in [
            ("listeners", self.config.listeners.is_empty()),
            ("clusters", self.config.clusters.is_empty()),
            ("routes", self.config.routes.is_empty()),
        ] {
            if empty {
                self.fault(start, format!("`{name}` is missing or empty: nothing can be served"));
            }
        }
    }

    fn listeners(&mut self) -> Vec<ListenerPlan> {
        let config = self.config;
        let wire = Arc::new(listener_wire(config));
        let mut plans: Vec<ListenerPlan> = Vec::new();
        for item in &config.listeners {
            let Some(spec) = &item.spec else { continue };
            self.listener_protocols(item, spec);
            let Some(address) = self.listener_address(item, spec) else { continue };
            let name = spec.name.clone().unwrap_or_else(|| address.clone());
            if plans.iter().any(|plan| plan.address == address) {
                self.fault(item.place(&["address"]), format!("`{address}` is listened on twice"));
            }
            if plans.iter().any(|plan| plan.name == name) {
                self.fault(item.place(&["name"]), format!("two listeners are called `{name}`"));
            }
            let max = spec.max_conns.map(u64::from);
            self.range(item.place(&["max_conns"]), "max_conns", "max-conns", max);
            plans.push(ListenerPlan {
                name,
                address,
                protocols: vec![PROTOCOL.to_owned()],
                wire: Arc::clone(&wire),
                conns_max: spec.max_conns,
            });
        }
        plans
    }

    fn listener_address(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
    ) -> Option<String> {
        let text = spec.address.as_str();
        let why = match read_address(text) {
            _ if item.healed && text.is_empty() => return None,
            Ok(Address::Fixed(address)) => return Some(address),
            Ok(Address::Name(name, port)) => format!(
                "address `{}` is a name: listen on an IP address, like 0.0.0.0:{port} or \
                 127.0.0.1:{port}",
                shorten(&format!("{name}:{port}"))
            ),
            Err(why) => format!("address `{}` {why}", shorten(text)),
        };
        self.fault(item.place(&["address"]), why);
        None
    }

    fn listener_protocols(&mut self, item: &Item<ListenerSpec>, spec: &ListenerSpec) {
        let names = match &spec.protocols {
            None => return,
            Some(Protocols::One(name)) => std::slice::from_ref(name),
            Some(Protocols::Many(names)) => names,
        };
        let place = item.place(&["protocols"]);
        if names.is_empty() {
            self.fault(place, "`protocols` is empty".to_owned());
        }
        for name in names.iter().filter(|name| *name != "auto") {
            if let Some(why) = protocol_fault(name) {
                self.fault(place, why);
            }
        }
    }

    fn clusters(&mut self) -> Vec<Cluster> {
        let config = self.config;
        let mut clusters = Vec::new();
        for (item, index) in config.clusters.iter().zip(0..) {
            let endpoints = match &item.spec {
                Some(spec) => {
                    self.cluster_limits(item, spec);
                    self.endpoints(item, spec)
                }
                None => Vec::new(),
            };
            clusters.push(cluster(ClusterId(index), item, endpoints, &config.settings));
        }
        clusters
    }

    /// The same ranges as the settings these values go before.
    fn cluster_limits(&mut self, item: &Item<ClusterSpec>, spec: &ClusterSpec) {
        let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        for (key, setting, value) in [
            ("connect_timeout", "connect-timeout", ms(spec.connect_timeout)),
            ("first_byte_timeout", "first-byte-timeout", ms(spec.first_byte_timeout)),
            ("idle_timeout", "upstream-idle-timeout", ms(spec.idle_timeout)),
            ("links_max", "links-max", spec.links_max.map(u64::from)),
            ("retries", "retries", spec.retries.map(u64::from)),
        ] {
            self.range(item.place(&[key]), key, setting, value);
        }
        if let Some(why) = spec.protocol.as_deref().and_then(protocol_fault) {
            self.fault(item.place(&["protocol"]), why);
        }
    }

    fn range(&mut self, place: Place, key: &str, setting: &str, value: Option<u64>) {
        let kind = position(setting).map(|index| REGISTRY[index].kind);
        let check = value.zip(kind).map(|(value, kind)| kind.check(value));
        if let Some(Err(why)) = check {
            self.fault(place, format!("{key}: {why}"));
        }
    }

    fn endpoints(&mut self, item: &Item<ClusterSpec>, spec: &ClusterSpec) -> Vec<Endpoint> {
        let list = item.node.as_ref().and_then(|node| node.field("endpoints"));
        let items = list.map_or(&[][..], |list| list.items());
        // Healing may have shifted the list, so that the text decides before the position.
        let place = |index: usize, address: &str| {
            let has_text = |node: &&Node| node.towards(&["address"]).text() == Some(address);
            let found = items.get(index).filter(has_text).or(items.iter().find(has_text));
            found.map_or(item.place(&["endpoints"]), |node| node.towards(&["address"]).place)
        };
        let mut typed = BTreeMap::new();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (index, endpoint) in spec.endpoints.iter().enumerate() {
            let before = self.faults.len();
            if item.healed && endpoint.address.is_empty() {
                continue;
            }
            self.endpoint(endpoint, &mut endpoints);
            if typed.insert(&endpoint.address, index).is_some() {
                let address = shorten(&endpoint.address);
                self.faults.push(Fault::new(
                    Place::default(),
                    format!("endpoint `{address}` is listed twice: give it a `weight` instead"),
                ));
            }
            for fault in &mut self.faults[before..] {
                fault.place = place(index, &endpoint.address);
            }
        }
        if item.healed {
            return endpoints;
        }
        if spec.endpoints.is_empty() {
            let message = format!("cluster `{}` has no endpoints", item.name);
            self.fault(item.place(&["endpoints"]), message);
        } else if spec.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            let message = format!("all endpoints of cluster `{}` have weight 0", item.name);
            self.fault(item.place(&["endpoints"]), message);
        }
        endpoints
    }

    /// Adds the endpoint, or all addresses of its name; the caller gives faults their place.
    fn endpoint(&mut self, spec: &EndpointSpec, endpoints: &mut Vec<Endpoint>) {
        let text = shorten(&spec.address);
        if spec.weight > WEIGHT_MAX {
            let message = format!("weight `{}` is out of range: 0 to {WEIGHT_MAX}", spec.weight);
            self.fault(Place::default(), message);
        }
        let addresses = match read_address(&spec.address) {
            Ok(Address::Fixed(address)) => Ok(vec![address]),
            Ok(Address::Name(name, port)) => self
                .resolve
                .addresses(&name, port)
                .map(|all| all.iter().map(SocketAddr::to_string).collect())
                .map_err(|why| format!("endpoint `{text}` cannot be resolved: {why}")),
            Err(why) => Err(format!("endpoint `{text}` {why}")),
        };
        match addresses {
            Err(why) => self.fault(Place::default(), why),
            Ok(addresses) => endpoints.extend(addresses.into_iter().map(|address| Endpoint {
                weight: spec.weight,
                identity: identity(&address, PROTOCOL),
                address,
            })),
        }
    }

    fn routes(&mut self) -> Vec<RoutePlan> {
        let config = self.config;
        let names: BTreeMap<&str, u32> =
            config.clusters.iter().map(|item| item.name.as_str()).zip(0..).collect();
        let mut ids: BTreeMap<&str, Place> = BTreeMap::new();
        let mut plans = Vec::new();
        for (item, index) in config.routes.iter().zip(0..) {
            if !item.name.is_empty()
                && let Some(first) = ids.insert(&item.name, item.place(&["id"]))
            {
                let (id, line) = (shorten(&item.name), first.line);
                let message = format!("route id `{id}` is already used on line {line}");
                self.fault(item.place(&["id"]), message);
            }
            let Some(spec) = &item.spec else { continue };
            let cluster = names.get(spec.cluster.as_str()).copied();
            let named = !(item.healed && spec.cluster.is_empty());
            if cluster.is_none() && named {
                let message = format!("unknown cluster `{}`", shorten(&spec.cluster));
                let hint = did_you_mean(&spec.cluster, names.keys().copied());
                let place = item.place(&["cluster"]);
                self.faults.push(Fault { hint, ..Fault::new(place, message) });
            }
            let timeout = spec.timeout.map(|time| time.as_millis() as u64);
            self.range(item.place(&["timeout"]), "timeout", "request-timeout", timeout);
            let body = spec.body_bytes_max;
            self.range(item.place(&["body_bytes_max"]), "body_bytes_max", "body-bytes-max", body);
            plans.push(route(index, spec, cluster, &config.settings));
        }
        plans
    }

    /// Builds the table, and gives its faults their places. Routes with faults of their own are
    /// tried alone: half of one must not seem to take another's place.
    fn table(&mut self) -> Table {
        let config = self.config;
        let (healed, whole): (Vec<_>, Vec<_>) =
            config.routes.iter().partition(|item: &&Item<RouteSpec>| item.healed);
        for item in healed {
            self.build(&[item]);
        }
        self.build(&whole)
    }

    fn build(&mut self, items: &[&Item<RouteSpec>]) -> Table {
        let items: Vec<_> = items.iter().filter(|item| item.spec.is_some()).collect();
        let specs: Vec<RouteSpec> = items.iter().filter_map(|item| item.spec.clone()).collect();
        let errors = match Table::build(&specs) {
            Ok(table) => return table,
            Err(errors) => errors,
        };
        for error in errors {
            let item = items[error.index];
            let other = error.other.map(|index| items[index].place(&["id"]));
            let message = match other {
                Some(Place { line, .. }) if line > 0 => format!("{error} (line {line})"),
                _ => error.to_string(),
            };
            self.fault(
                build_place(item, &error.fault),
                format!("route `{}`: {message}", item.name),
            );
        }
        Table::default()
    }

    /// Clusters no route leads to.
    fn unused(&self) -> Vec<String> {
        let specs = self.config.routes.iter().filter_map(|item| item.spec.as_ref());
        let used: BTreeSet<&str> = specs.map(|spec| spec.cluster.as_str()).collect();
        let unused = self.config.clusters.iter().filter(|item| !used.contains(item.name.as_str()));
        let line = |item: &Item<ClusterSpec>| {
            let Place { line, column } = item.place(&[]);
            let file = &self.config.file;
            format!("{file}:{line}:{column}: cluster `{}` has no route", item.name)
        };
        unused.map(line).collect()
    }
}

fn build_place(item: &Item<RouteSpec>, fault: &router::BuildFault) -> Place {
    match fault {
        router::BuildFault::Host { .. } => item.place(&["match", "host"]),
        router::BuildFault::Path { .. } => item.place(&["match", "path"]),
        router::BuildFault::Method { method, .. } => {
            let methods = item.node.as_ref().and_then(|node| node.field("match")?.field("methods"));
            let typed = methods.map_or(&[][..], |list| list.items());
            let found = typed.iter().find(|node| node.text() == Some(method));
            found.map_or(item.place(&["match", "methods"]), |node| node.place)
        }
        _ => item.place(&[]),
    }
}

fn cluster(
    id: ClusterId,
    item: &Item<ClusterSpec>,
    endpoints: Vec<Endpoint>,
    settings: &Settings,
) -> Cluster {
    let spec = item.spec.clone().unwrap_or_default();
    Cluster {
        id,
        name: item.name.clone(),
        endpoints,
        balance: spec.balance,
        connect_timeout: spec.connect_timeout.unwrap_or(settings.connect_timeout()),
        first_byte_timeout: spec.first_byte_timeout.unwrap_or(settings.first_byte_timeout()),
        idle_timeout: spec.idle_timeout.unwrap_or(settings.upstream_idle_timeout()),
        links_max: spec.links_max.unwrap_or(settings.links_max()),
        retries: spec.retries.unwrap_or(settings.retries()),
    }
}

/// A route without a cluster is only made beside a fault; its plan is never used.
fn route(index: u32, spec: &RouteSpec, cluster: Option<u32>, settings: &Settings) -> RoutePlan {
    RoutePlan {
        id: spec.id.clone(),
        index,
        cluster: ClusterId(cluster.unwrap_or(0)),
        timeout: spec.timeout.or(settings.request_timeout()),
        body_bytes_max: spec.body_bytes_max.or(settings.body_bytes_max()),
        retry: spec.retry.unwrap_or(true),
    }
}

/// The limits of client connections. A wire learns a body's length before its route is known, so
/// it enforces the largest limit of any route; the exchange then enforces the route's own.
fn listener_wire(config: &Config) -> WireSpec {
    let setting = config.settings.body_bytes_max();
    let specs = config.routes.iter().filter_map(|item| item.spec.as_ref());
    let limits = specs.map(|spec| spec.body_bytes_max.or(setting));
    let largest = limits.reduce(|a, b| Some(a?.max(b?)));
    WireSpec { body_bytes_max: largest.unwrap_or(setting), ..config.settings.wire() }
}

/// An address as typed.
enum Address {
    /// In canonical text: nothing to look up.
    Fixed(String),
    Name(String, u16),
}

/// Reads `ip:port`, `[ip]:port`, `name:port` or `unix:/path`. The error follows the address.
fn read_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        // sun_path holds 108 bytes with its final NUL.
        let fits = path.starts_with('/') && path.len() > 1 && path.len() < 108;
        let valid = fits && !path.contains('\0');
        let address = valid.then(|| Address::Fixed(text.to_owned()));
        return address.ok_or("is not unix: and an absolute path of at most 107 bytes".to_owned());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("has a scheme: leave `{scheme}://` out"));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Fixed(address.to_string()));
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        return Err("has no port: write it as host:port".to_owned());
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(port) = digits.then(|| port.parse().ok()).flatten() else {
        return Err(format!("has a port `{}` that is not 0 to 65535", shorten(port)));
    };
    name_fault(name).map_or(Ok(Address::Name(name.to_owned(), port)), |why| Err(why.to_owned()))
}

fn name_fault(name: &str) -> Option<&'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if name.is_empty() {
        Some("has no host: write an IP address before the port, like 0.0.0.0:8080")
    } else if name.contains(':') {
        Some("is not an address: write IPv6 as [::1]:8080")
    } else if name.len() > 253 || numeric || !name.bytes().all(known) {
        Some("is neither an IP address nor a host name")
    } else {
        None
    }
}

fn protocol_fault(name: &str) -> Option<String> {
    if name == PROTOCOL {
        None
    } else if PROTOCOLS_LATER.contains(&name) {
        Some(format!("protocol `{name}` is not supported by this build: it speaks {PROTOCOL}"))
    } else {
        Some(format!("unknown protocol `{}`: this build speaks {PROTOCOL}", shorten(name)))
    }
}

/// 64-bit FNV-1a over everything that has an effect, in its compiled form: values, not sources or
/// places, and addresses rather than names.
fn content_hash(
    config: &Config,
    listeners: &[ListenerPlan],
    clusters: &[Cluster],
    routes: &[RoutePlan],
) -> u64 {
    let values: Vec<String> = config.settings.iter().map(|(_, text, _)| text).collect();
    let places: Vec<_> =
        listeners.iter().map(|plan| (&plan.name, &plan.address, plan.conns_max)).collect();
    let matches: Vec<_> =
        config.routes.iter().map(|item| item.spec.as_ref().map(|spec| &spec.r#match)).collect();
    let text = format!("{values:?} {places:?} {clusters:?} {routes:?} {matches:?}");
    identity(&text, "")
}

#[cfg(test)]
mod tests;

//! From what was typed to what is run: names become ids, addresses become canonical, DNS names
//! become addresses, routes become a table.
//!
//! Every fault is found in one pass, whatever else is wrong: an item that could not be read still
//! counts as declared, so that nothing else is blamed for its absence. Blocks on DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use router::{
    BuildFault, Builder, Cluster, ClusterId, ClusterProtocol, ClusterSpec, Endpoint, EndpointSpec,
    PlanId, ProxyVersion, RouteSpec, RuleOrder, Table, ValuePlace, identity,
};

use crate::cidrs::Cidrs;
use crate::config::{Config, Item, ListenerSpec};
use crate::decode::Fault;
use crate::error::ConfigError;
use crate::settings::{REGISTRY, Settings, position};
use crate::snapshot::{ListenerPlan, RoutePlan, Snapshot};
use crate::tree::{Node, Place, shorten};

mod listener;
mod route;

/// Protocols other builds speak: refused by name.
const PROTOCOLS_LATER: &[&str] = &["http2", "http3", "grpc", "thrift", "tls"];

/// Largest weight of an endpoint; keeps all sums and products far below 64 bits.
const WEIGHT_MAX: u32 = 65_535;

/// Names to addresses, each name asked once; and files that the configuration names.
pub(crate) struct Resolve {
    ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    read: fn(&Path) -> io::Result<Vec<u8>>,
    known: BTreeMap<(String, u16), Result<Vec<SocketAddr>, String>>,
}

impl Resolve {
    /// The system's resolver. Blocks.
    pub(crate) fn system() -> Resolve {
        let ask = |name: &str, port| Ok((name, port).to_socket_addrs()?.collect());
        Resolve { ask, read: |path| std::fs::read(path), known: BTreeMap::new() }
    }

    /// For tests and fuzzers: no network, and no file is there.
    pub(crate) fn with(ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>) -> Resolve {
        let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
        Resolve { ask, read, known: BTreeMap::new() }
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
    let mut listeners = work.listeners();
    let clusters = work.clusters();
    let mut routes = work.routes();
    work.tcp_routes(&mut listeners, &mut routes);
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
        trusted_proxies: trusted_proxies(&config.settings),
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
        // Where all listeners pass bytes through there is nothing to route.
        let has_cluster = |item: &Item<ListenerSpec>| {
            item.spec.as_ref().is_some_and(|spec| spec.cluster.is_some())
        };
        let listeners = &self.config.listeners;
        let routed = listeners.is_empty() || !listeners.iter().all(has_cluster);
        for (name, empty) in [
            ("listeners", listeners.is_empty()),
            ("clusters", self.config.clusters.is_empty()),
            ("routes", routed && self.config.routes.is_empty()),
        ] {
            if empty {
                self.fault(start, format!("`{name}` is missing or empty: nothing can be served"));
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
        if let Some(name) = spec.proxy_protocol.as_deref().filter(|name| proxy(name).is_none()) {
            let message = format!("proxy_protocol `{}` is neither v1 nor v2", shorten(name));
            self.fault(item.place(&["proxy_protocol"]), message);
        }
    }

    /// A cluster that speaks something else would be talked to in the wrong language.
    fn expect_protocol(&mut self, place: Place, cluster: u32, expected: ClusterProtocol) {
        let item = self.config.clusters.get(cluster as usize);
        let Some((item, spec)) = item.and_then(|item| Some((item, item.spec.as_ref()?))) else {
            return;
        };
        let protocol = protocol(spec);
        if protocol != expected {
            let (name, protocol, expected) =
                (shorten(&item.name), protocol.as_str(), expected.as_str());
            let message = format!("cluster `{name}` has protocol {protocol}, not {expected}");
            self.fault(place, message);
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
            self.endpoint(endpoint, &language(spec), &mut endpoints);
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
    fn endpoint(&mut self, spec: &EndpointSpec, language: &str, endpoints: &mut Vec<Endpoint>) {
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
                identity: identity(&address, language),
                address,
            })),
        }
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
        let seed = self.config.settings.seed().unwrap_or_else(random_seed);
        let order = match self.config.settings.route_order() {
            "first_match" => RuleOrder::FirstMatch,
            _ => RuleOrder::Specific,
        };
        let mut builder = Builder::new(seed, order);
        let items: Vec<_> =
            items.iter().filter_map(|item| Some((*item, item.spec.as_ref()?))).collect();
        for ((item, spec), plan) in items.iter().zip(0..) {
            let added = builder.add(&spec.r#match, spec.priority, PlanId(plan));
            for fault in added.err().into_iter().flatten() {
                let message = format!("route `{}`: {fault}", item.name);
                self.fault(build_place(item, &fault), message);
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let errors = match builder.finish(threads) {
            Ok(table) => return table,
            Err(errors) => errors,
        };
        for error in errors {
            let item = items[error.route.0 as usize].0;
            let other = error.other.map(|other| items[other.0 as usize].0);
            let taker = other.map_or(String::new(), |other| {
                let Place { line, .. } = other.place(&["id"]);
                format!(" by route `{}` (line {line})", other.name)
            });
            let message = format!("route `{}`: {error}{taker}", item.name);
            self.fault(build_place(item, &error.fault), message);
        }
        Table::empty(seed, order)
    }

    /// Clusters no route leads to.
    fn unused(&self) -> Vec<String> {
        let routes = self.config.routes.iter().filter_map(|item| item.spec.as_ref());
        let routed = routes.map(|spec| spec.cluster.as_str());
        let listeners = self.config.listeners.iter().filter_map(|item| item.spec.as_ref());
        let passed = listeners.filter_map(|spec| spec.cluster.as_deref());
        let used: BTreeSet<&str> = routed.chain(passed).collect();
        let unused = self.config.clusters.iter().filter(|item| !used.contains(item.name.as_str()));
        let line = |item: &Item<ClusterSpec>| {
            let Place { line, column } = item.place(&[]);
            let file = &self.config.file;
            format!("{file}:{line}:{column}: cluster `{}` is not used", item.name)
        };
        unused.map(line).collect()
    }
}

fn build_place(item: &Item<RouteSpec>, fault: &BuildFault) -> Place {
    let in_list = |key: &str, text: &str| {
        let list = item.node.as_ref().and_then(|node| node.field("match")?.field(key));
        let typed = list.map_or(&[][..], |list| list.items());
        let found = typed.iter().find(|node| node.text() == Some(text));
        found.map_or(item.place(&["match", key]), |node| node.place)
    };
    match fault {
        BuildFault::Host(..) => item.place(&["match", "host"]),
        BuildFault::Path(..) => item.place(&["match", "path"]),
        BuildFault::Method(method, _) => in_list("methods", method),
        BuildFault::Source(network, _) => in_list("source", network),
        BuildFault::Value(ValuePlace::Header, name, _) => {
            let tests = item.node.as_ref().and_then(|node| node.field("match")?.field("headers"));
            let typed = tests.map_or(&[][..], |tests| tests.entries()).iter();
            let mut typed = typed.filter(|(key, _)| key.text.eq_ignore_ascii_case(name));
            typed.next().map_or(item.place(&["match", "headers"]), |(_, node)| node.place)
        }
        BuildFault::Value(ValuePlace::QueryParam, name, _) => item.place(&["match", "query", name]),
        BuildFault::Value(ValuePlace::Cookie, name, _) => item.place(&["match", "cookies", name]),
        _ => item.place(&[]),
    }
}

/// Chance from the standard library's hash keys, which come from the kernel.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
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
        protocol: protocol(&spec),
        proxy_header: spec.proxy_protocol.as_deref().and_then(proxy),
        balance: spec.balance,
        connect_timeout: spec.connect_timeout.unwrap_or(settings.connect_timeout()),
        first_byte_timeout: spec.first_byte_timeout.unwrap_or(settings.first_byte_timeout()),
        idle_timeout: spec.idle_timeout.unwrap_or(settings.upstream_idle_timeout()),
        links_max: spec.links_max.unwrap_or(settings.links_max()),
        retries: spec.retries.unwrap_or(settings.retries()),
    }
}

fn trusted_proxies(settings: &Settings) -> Cidrs {
    match settings.trusted_proxies() {
        "none" => Cidrs::default(),
        // INVARIANT: the setting's kind has parsed this text before.
        text => Cidrs::parse(text.split(',')).expect("networks"),
    }
}

fn protocol(spec: &ClusterSpec) -> ClusterProtocol {
    spec.protocol.as_deref().and_then(ClusterProtocol::find).unwrap_or_default()
}

fn proxy(name: &str) -> Option<ProxyVersion> {
    match name {
        "v1" => Some(ProxyVersion::V1),
        "v2" => Some(ProxyVersion::V2),
        _ => None,
    }
}

/// What is spoken to an endpoint: clusters that speak alike share its connections.
fn language(spec: &ClusterSpec) -> String {
    let proxy = spec.proxy_protocol.as_deref().unwrap_or_default();
    format!("{}{proxy}", protocol(spec).as_str())
}

fn protocol_fault(name: &str) -> Option<String> {
    if ClusterProtocol::find(name).is_some() {
        None
    } else if PROTOCOLS_LATER.contains(&name) {
        Some(format!("protocol `{name}` is not supported by this build: it speaks {SPOKEN}"))
    } else {
        Some(format!("unknown protocol `{}`: this build speaks {SPOKEN}", shorten(name)))
    }
}

/// The protocols of this build.
const SPOKEN: &str = "http1 and tcp";

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

/// 64-bit FNV-1a over everything that has an effect, in its compiled form: values, not sources or
/// places, and addresses rather than names.
fn content_hash(
    config: &Config,
    listeners: &[ListenerPlan],
    clusters: &[Cluster],
    routes: &[RoutePlan],
) -> u64 {
    let values: Vec<String> = config.settings.iter().map(|(_, text, _)| text).collect();
    let matches: Vec<_> =
        config.routes.iter().map(|item| item.spec.as_ref().map(|spec| &spec.r#match)).collect();
    let text = format!("{values:?} {listeners:?} {clusters:?} {routes:?} {matches:?}");
    identity(&text, "")
}

#[cfg(test)]
mod tests;

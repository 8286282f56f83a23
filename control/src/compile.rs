//! From what was typed to what is run: names become ids, addresses become canonical, DNS names
//! become addresses, routes become a table.
//!
//! Every fault is found in one pass, whatever else is wrong: an item that could not be read still
//! counts as declared, so that nothing else is blamed for its absence. Blocks on DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use router::{
    Cluster, ClusterId, ClusterProtocol, ClusterSpec, Endpoint, EndpointSpec, ProxyVersion,
    RuleOrder, identity,
};

use crate::certs::{Read, Trusted, system_authorities};
use crate::cidrs::Cidrs;
use crate::config::{Config, Item, ListenerSpec};
use crate::decode::Fault;
use crate::error::ConfigError;
use crate::journal::Net;
use crate::routes::Interner;
use crate::settings::Settings;
use crate::snapshot::{ListenerPlan, Snapshot};
use crate::tree::{Node, Place, shorten};

use draft::{Draft, Finished, Terms};
use facts::range;
use overlay::Overlay;

pub(crate) use draft::{Make, build_fault};
pub(crate) use facts::Facts;
pub(crate) use listener::listen_address;
pub(crate) use single::{explained, read as read_route};
pub(crate) use stream::faults as stream_faults;

mod draft;
mod facts;
mod listener;
mod overlay;
mod route;
mod single;
mod stream;
mod thrift;
mod tls;
mod web;

/// Protocols other builds speak: refused by name.
const PROTOCOLS_LATER: &[&str] = &["http3", "grpc", "tls"];

/// Where clusters and routes come from beside `protocols`.
const UPSTREAM_HINT: &str =
    "give them in one more --config FILE, or as --upstream http=ADDR,grpc=ADDR,thrift=ADDR";

/// Largest weight of an endpoint; keeps all sums and products far below 64 bits.
const WEIGHT_MAX: u32 = 65_535;

/// Names to addresses, each name asked once; and files that the configuration names.
pub(crate) struct Resolve {
    ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    read: Read,
    trusted: Trusted,
    open: fn(&Path) -> io::Result<Box<dyn io::Read + Send>>,
    known: BTreeMap<(String, u16), Result<Vec<SocketAddr>, String>>,
}

impl Resolve {
    /// The system's resolver. Blocks.
    pub(crate) fn system() -> Resolve {
        let ask = |name: &str, port| Ok((name, port).to_socket_addrs()?.collect());
        let open = |path: &Path| -> io::Result<Box<dyn io::Read + Send>> {
            Ok(Box::new(File::open(path)?))
        };
        let read: Read = |path| std::fs::read(path);
        Resolve { ask, read, trusted: system_authorities, open, known: BTreeMap::new() }
    }

    /// For tests and fuzzers: no network, and no file is there.
    pub(crate) fn with(ask: fn(&str, u16) -> io::Result<Vec<SocketAddr>>) -> Resolve {
        let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let open = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let trusted = || Err("nobody is trusted here".to_owned());
        Resolve { ask, read, trusted, open, known: BTreeMap::new() }
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

/// What a configuration comes to.
pub(crate) struct Compiled {
    pub(crate) snapshot: Snapshot,
    /// What routes are checked against, and their plans: to change them.
    pub(crate) facts: Facts,
    pub(crate) make: Make,
    pub(crate) plans: Interner,
    /// Ids below this were declared by files and flags.
    pub(crate) declared: u32,
}

/// Compiles, with the routes of `journal` laid over those that are declared; faults are added to
/// `errors`. `None` when there were any faults here.
pub(crate) fn compile(
    config: &mut Config,
    journal: Option<&Net>,
    resolve: &mut Resolve,
    errors: &mut Vec<ConfigError>,
) -> Option<Compiled> {
    let facts = Facts::new(config, resolve.read);
    let make = make(&config.settings);
    let files = number_route_files(config);
    let overlay = journal.map(|net| Overlay::new(net, config));
    let journal = overlay.as_ref();
    let mut work = Compile { config, facts, resolve, faults: Vec::new(), notes: Vec::new() };
    let mut listeners = work.listeners();
    let clusters = work.clusters();
    let upstream_tls = work.upstream_tls();
    let mut draft = work.routes(make, files, journal);
    work.tcp_routes(&mut listeners, &mut draft);
    let hash = content_hash(config, &listeners, &clusters, &draft);
    let finished = draft.finish(config, journal, &mut work.faults);
    let Finished { routes, plans, declared } = finished;
    work.require_parts(routes.is_empty());
    let mut warnings = config.warnings.clone();
    warnings.extend(work.unused(&plans));
    let Compile { facts, faults, notes, .. } = work;
    warnings.extend(notes);
    let clean = faults.is_empty();
    errors.extend(faults.into_iter().map(|fault| config.error(fault)));
    let snapshot = clean.then(|| Snapshot {
        generation: 1,
        loaded: 1,
        hash,
        trusted_proxies: Arc::new(trusted_proxies(&config.settings)),
        settings: Arc::clone(&facts.settings),
        listeners: listeners.into(),
        routes: Arc::new(routes),
        clusters: clusters.into_iter().map(Arc::new).collect(),
        upstream_tls: upstream_tls.into(),
        warnings: warnings.into(),
    });
    snapshot.map(|snapshot| Compiled { snapshot, facts, make, plans, declared })
}

fn make(settings: &Settings) -> Make {
    let order = match settings.route_order() {
        "first_match" => RuleOrder::FirstMatch,
        _ => RuleOrder::Specific,
    };
    Make { seed: settings.seed().unwrap_or_else(random_seed), order }
}

/// Gives each file of routes its number: the configuration then lends itself to be read only.
fn number_route_files(config: &mut Config) -> Vec<u16> {
    let names: Vec<String> =
        config.route_files.iter().map(|(path, _)| path.display().to_string()).collect();
    names.iter().map(|name| config.add_unkept(name)).collect()
}

struct Compile<'a> {
    config: &'a Config,
    facts: Facts,
    resolve: &'a mut Resolve,
    faults: Vec<Fault>,
    /// What is worth saying but no fault.
    notes: Vec<String>,
}

impl Compile<'_> {
    /// The routes of the configuration, behind them those of its files of routes, and behind those
    /// what the journal has beside them.
    fn routes(&mut self, make: Make, files: Vec<u16>, journal: Option<&Overlay<'_>>) -> Draft {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let Compile { config, facts, resolve, faults, .. } = self;
        let terms = Terms { facts, make, journal };
        let mut draft = Draft::new(make);
        for item in &config.routes {
            if let Some(spec) = &item.spec {
                draft.add(terms, item, spec, faults);
            }
        }
        for ((path, place), file) in config.route_files.iter().zip(files) {
            match (resolve.open)(path) {
                Ok(input) => {
                    let (parts, found) = stream::read(file, input, terms, threads);
                    faults.extend(found);
                    parts.into_iter().for_each(|part| draft.append(part, faults));
                }
                Err(error) => {
                    let message = format!("file `{}` cannot be read: {error}", path.display());
                    faults.push(Fault::new(*place, message));
                }
            }
        }
        draft.lay(terms, threads, faults);
        draft
    }

    fn fault(&mut self, place: Place, message: String) {
        self.faults.push(Fault::new(place, message));
    }

    /// A configuration that can do nothing is a mistake, not a wish.
    fn require_parts(&mut self, no_routes: bool) {
        if !self.config.is_complete() {
            return;
        }
        // Where all listeners pass bytes through there is nothing to route.
        let has_cluster = |item: &Item<ListenerSpec>| {
            item.spec.as_ref().is_some_and(|spec| spec.cluster.is_some() || !spec.sni.is_empty())
        };
        let listeners = &self.config.listeners;
        let routed = listeners.is_empty() || !listeners.iter().all(has_cluster);
        let can_be_added = self.config.settings.route_journal().is_some();
        let none_typed = self.config.routes.is_empty() && self.config.route_files.is_empty();
        let no_routes = no_routes && none_typed && !can_be_added;
        // Whoever writes the short form may not know the long one.
        let is_short =
            |item: &Item<ListenerSpec>| item.spec.as_ref().is_some_and(ListenerSpec::is_short);
        let hint = listeners.iter().any(is_short).then(|| UPSTREAM_HINT.to_owned());
        for (name, empty) in [
            ("listeners", listeners.is_empty()),
            ("clusters", self.config.clusters.is_empty()),
            ("routes", routed && no_routes),
        ] {
            if empty {
                let message = format!("`{name}` is missing or empty: nothing can be served");
                let hint = hint.clone();
                self.faults.push(Fault { hint, ..Fault::new(Place::start(0), message) });
            }
        }
    }

    fn clusters(&mut self) -> Vec<Cluster> {
        let config = self.config;
        let mut clusters = Vec::new();
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for (item, index) in config.clusters.iter().zip(0..) {
            if let Some(first) = seen.insert(&item.name, item.place(&[])) {
                let at = config.relative(first, item.place(&[]), "on line");
                let message = format!("cluster `{}` is already declared {at}", shorten(&item.name));
                self.fault(item.place(&[]), message);
            }
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
            self.faults.extend(range(item.place(&[key]), key, setting, value));
        }
        if let Some(why) = spec.protocol.as_deref().and_then(protocol_fault) {
            self.fault(item.place(&["protocol"]), why);
        }
        if let Some(thrift) = &spec.thrift {
            self.check_thrift(item, thrift, protocol(spec));
        }
        if let Some(name) = spec.proxy_protocol.as_deref().filter(|name| proxy(name).is_none()) {
            let message = format!("proxy_protocol `{}` is neither v1 nor v2", shorten(name));
            self.fault(item.place(&["proxy_protocol"]), message);
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

    /// Clusters that no route leads to.
    fn unused(&self, plans: &Interner) -> Vec<String> {
        // Those of `tcp` listeners have plans as well.
        let used: BTreeSet<ClusterId> = plans.iter().map(|plan| plan.cluster).collect();
        let unused = self.config.clusters.iter().zip(0..);
        let unused = unused.filter(|(_, index)| !used.contains(&ClusterId(*index)));
        let line = |(item, _): (&Item<ClusterSpec>, u32)| {
            let place = item.place(&[]);
            let (file, Place { line, column, .. }) = (self.config.file(place), place);
            format!("{file}:{line}:{column}: cluster `{}` is not used", item.name)
        };
        unused.map(line).collect()
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
        thrift: spec.thrift.as_ref().map(thrift::dialect).unwrap_or_default(),
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
    // A link is as trustworthy as what was asked of it when it was made.
    let tls = spec.tls.as_ref().map(|tls| format!(" {tls:?}")).unwrap_or_default();
    let thrift = spec.thrift.as_ref().map(|thrift| format!(" {:?}", thrift::dialect(thrift)));
    format!("{}{}{proxy}{tls}", protocol(spec).as_str(), thrift.unwrap_or_default())
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
const SPOKEN: &str = "http1, http2, thrift, tcp";

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
    routes: &Draft,
) -> u64 {
    let values: Vec<String> = config.settings.iter().map(|(_, text, _)| text).collect();
    // Ids depend on the journal too; what a listener's plan is belongs to the routes' meaning.
    let without_ids = |plan: &ListenerPlan| ListenerPlan { tcp_route: None, ..plan.clone() };
    let listeners: Vec<ListenerPlan> = listeners.iter().map(without_ids).collect();
    let routes = routes.meaning();
    identity(&format!("{values:?} {listeners:?} {clusters:?} {routes:x}"), "")
}

#[cfg(test)]
mod tests;

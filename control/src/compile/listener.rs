//! Listeners: addresses, protocols, who may send PROXY headers, and the plans of `tcp` ones.
//!
//! A `tcp` listener names its cluster itself: bytes without a head match no route. Its plan stands
//! among those of the routes, so that an exchange follows either in the same way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use protocols::{PathRule, WireSpec};
use router::{ClusterId, ClusterProtocol};

use super::draft::Draft;
use super::facts::range;
use super::{Address, Compile, protocol_fault, read_address};
use crate::cidrs::Cidrs;
use crate::config::{Config, GrpcHealthSpec, Item, ListenerSpec, Protocols};
use crate::decode::Fault;
use crate::error::did_you_mean;
use crate::settings::Settings;
use crate::snapshot::{
    GrpcHealth, HealthOf, ListenerPlan, ProxyHeaders, RoutePlan, SniRoutes, Speaks,
};
use crate::tree::{Place, shorten};

impl Compile<'_> {
    pub(super) fn listeners(&mut self) -> Vec<ListenerPlan> {
        let config = self.config;
        let wire = Arc::new(listener_wire(config));
        let mut plans: Vec<ListenerPlan> = Vec::new();
        for item in &config.listeners {
            let Some(spec) = &item.spec else { continue };
            let speaks = self.listener_speaks(item, spec);
            let path_rule = self.path_rule(item, spec);
            let proxy_headers = self.proxy_headers(item, spec);
            let tls = self.listener_tls(item, spec, speaks);
            let grpc_health = self.grpc_health(item, spec, speaks);
            let trusts_metadata = self.trusts_metadata(item, spec, speaks);
            let place = item.place(&["error_pages"]);
            let error_pages = self.facts.error_pages(place, &spec.error_pages, &mut self.faults);
            let error_pages = Arc::new(error_pages);
            let thrift_transport = self.taken_transport(item, spec, speaks);
            let body_bytes_max = self.body_bytes_max(item, spec, speaks);
            let Some(address) = self.listener_address(item, spec) else { continue };
            let name = called(spec, &address);
            let is_taken = plans.iter().any(|plan| plan.address == address);
            if is_taken && !takes_any_port(&address) {
                self.fault(item.place(&["address"]), format!("`{address}` is listened on twice"));
            }
            if plans.iter().any(|plan| plan.name == name) {
                self.fault(item.place(&["name"]), format!("two listeners are called `{name}`"));
            }
            let max = spec.max_conns.map(u64::from);
            self.faults.extend(range(item.place(&["max_conns"]), "max_conns", "max-conns", max));
            plans.push(ListenerPlan {
                name,
                address,
                speaks,
                wire: Arc::clone(&wire),
                tcp_route: None,
                sni_routes: None,
                path_rule,
                thrift_transport,
                body_bytes_max,
                conns_max: spec.max_conns,
                proxy_headers,
                error_pages,
                grpc_health,
                trusts_metadata,
                tls,
            });
        }
        plans
    }

    fn listener_address(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
    ) -> Option<String> {
        if item.healed && spec.address.is_empty() {
            return None;
        }
        let place = item.place(&["address"]);
        listen_address(&spec.address).map_err(|why| self.fault(place, why)).ok()
    }

    /// Limits requests, so that there is none where bytes pass through.
    fn body_bytes_max(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
        speaks: Speaks,
    ) -> Option<u64> {
        let place = item.place(&["body_bytes_max"]);
        let key = if spec.is_short() { "max_body_size" } else { "body_bytes_max" };
        if speaks == Speaks::Tcp {
            if spec.body_bytes_max.is_some() {
                let message = "`body_bytes_max` is for listeners that take requests";
                self.fault(place, message.to_owned());
            }
            return None;
        }
        self.faults.extend(range(place, key, "body-bytes-max", spec.body_bytes_max));
        spec.body_bytes_max.or(self.config.settings.body_bytes_max())
    }

    /// What a listener takes: all of HTTP where nothing else is said.
    fn listener_speaks(&mut self, item: &Item<ListenerSpec>, spec: &ListenerSpec) -> Speaks {
        let names = match &spec.protocols {
            None => &[][..],
            Some(Protocols::One(name)) => std::slice::from_ref(name),
            Some(Protocols::Many(names)) => names,
        };
        let place = item.place(&["protocols"]);
        if names.is_empty() && spec.protocols.is_some() {
            self.fault(place, "`protocols` is empty".to_owned());
        }
        for name in names.iter().filter(|name| *name != "auto") {
            if let Some(why) = protocol_fault(name) {
                self.fault(place, why);
            }
        }
        let is_tcp = names.iter().any(|name| name == "tcp");
        if is_tcp && names.len() > 1 {
            self.fault(place, "`tcp` takes every connection: it stands alone".to_owned());
        }
        self.check_sni(item, spec, is_tcp);
        match (is_tcp, &spec.cluster) {
            (true, None) if spec.sni.is_empty() => {
                self.fault(place, "a `tcp` listener needs a `cluster`".to_owned());
            }
            (false, Some(_)) => {
                let message = "`cluster` is for `tcp` listeners: requests follow routes";
                self.fault(item.place(&["cluster"]), message.to_owned());
            }
            _ => {}
        }
        let named = |name: &str| names.iter().any(|typed| typed == name);
        let (http1, http2) = (named("http1") || named("auto"), named("http2") || named("auto"));
        match (http1, http2) {
            _ if is_tcp => Speaks::Tcp,
            _ if named("thrift") => Speaks::Thrift { http1, http2 },
            (true, false) => Speaks::Http1,
            (false, true) => Speaks::Http2,
            _ => Speaks::Http,
        }
    }

    fn check_sni(&mut self, item: &Item<ListenerSpec>, spec: &ListenerSpec, is_tcp: bool) {
        let place = item.place(&["sni"]);
        if !spec.sni.is_empty() && !is_tcp {
            let message = "`sni` is for `tcp` listeners: it passes TLS on as it is";
            self.fault(place, message.to_owned());
        }
        if !spec.sni.is_empty() && spec.tls.is_some() {
            let message = "`sni` passes TLS on as it is, `tls` ends it here: use one or the other";
            self.fault(place, message.to_owned());
        }
        for name in spec.sni.keys() {
            let labels = name.strip_prefix("*.").unwrap_or(name);
            if super::name_fault(labels).is_some() || labels.ends_with('.') {
                let message = format!("`{}` is neither a host name nor *.suffix", shorten(name));
                self.fault(item.place(&["sni", name]), message);
            }
        }
    }

    fn path_rule(&mut self, item: &Item<ListenerSpec>, spec: &ListenerSpec) -> PathRule {
        let typed = spec.path_rule.as_deref();
        let name = typed.unwrap_or(self.config.settings.path_rule());
        path_rule(name).unwrap_or_else(|| {
            let hint = did_you_mean(name, ["off", "minimal", "safe", "strict"]);
            let place = item.place(&["path_rule"]);
            let message = format!("unknown path_rule `{}`", shorten(name));
            self.faults.push(Fault { hint, ..Fault::new(place, message) });
            PathRule::default()
        })
    }

    fn grpc_health(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
        speaks: Speaks,
    ) -> Option<Arc<GrpcHealth>> {
        let GrpcHealthSpec { services, clusters } = spec.grpc_health.as_ref()?;
        if speaks == Speaks::Tcp {
            let message = "`grpc_health` is for listeners that take requests";
            self.fault(item.place(&["grpc_health"]), message.to_owned());
        }
        let fits = |name: &String| (1..=SERVICE_BYTES_MAX).contains(&name.len());
        if !services.iter().all(fits) {
            let message = format!("a service's name has 1 to {SERVICE_BYTES_MAX} bytes");
            self.fault(item.place(&["grpc_health", "services"]), message);
        }
        let own = services.iter().map(|name| (name.clone(), HealthOf::Gateway));
        let mut known: BTreeMap<String, HealthOf> = own.collect();
        for name in clusters {
            let place = item.place(&["grpc_health", "clusters"]);
            let Some(cluster) = self.facts.cluster(name) else {
                self.faults.push(self.facts.unknown_cluster(place, name));
                continue;
            };
            if known.insert(name.clone(), HealthOf::Cluster(ClusterId(cluster))).is_some() {
                self.fault(place, format!("two services are called `{}`", shorten(name)));
            }
        }
        Some(Arc::new(GrpcHealth { services: known }))
    }

    fn proxy_headers(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
    ) -> Option<ProxyHeaders> {
        let proxy = spec.proxy_protocol.as_ref()?;
        let place = item.place(&["proxy_protocol", "from"]);
        let is_unix = spec.address.starts_with("unix:");
        if proxy.from.is_empty() && !is_unix {
            let message = "`proxy_protocol` needs `from`: the networks that may send a header";
            self.fault(place, message.to_owned());
        }
        match Cidrs::parse(proxy.from.iter().map(String::as_str)) {
            Ok(from) => Some(ProxyHeaders { from, required: proxy.required.unwrap_or(true) }),
            Err(why) => {
                self.fault(place, why);
                None
            }
        }
    }

    /// Gives each `tcp` listener what its connections follow.
    pub(super) fn tcp_routes(&mut self, listeners: &mut [ListenerPlan], routes: &mut Draft) {
        let config = self.config;
        for item in &config.listeners {
            let Some(spec) = &item.spec else { continue };
            let named = spec.sni.iter().map(|(name, cluster)| {
                (name, self.tcp_cluster(item.place(&["sni", name]), cluster))
            });
            let named: Vec<_> = named.collect();
            let place = item.place(&["cluster"]);
            let default = spec.cluster.as_ref().and_then(|name| self.tcp_cluster(place, name));
            let Ok(address) = listen_address(&spec.address) else { continue };
            let name = called(spec, &address);
            let Some(plan) = listeners.iter_mut().find(|plan| plan.name == name) else { continue };
            let follows = |cluster| tcp_plan(ClusterId(cluster), &config.settings);
            plan.tcp_route = default.map(|cluster| routes.reserve(&plan.name, follows(cluster)));
            let mut by_name = SniRoutes::default();
            for (name, cluster) in named {
                let Some(cluster) = cluster else { continue };
                let called = format!("{}/{name}", plan.name);
                let route = routes.reserve(&called, follows(cluster));
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(suffix) => by_name.suffix.insert(suffix.to_owned(), route),
                    None => by_name.exact.insert(name, route),
                };
            }
            plan.sni_routes = (!spec.sni.is_empty()).then(|| Arc::new(by_name));
        }
    }

    /// The position of a cluster that bytes can be passed to.
    fn tcp_cluster(&mut self, place: Place, name: &str) -> Option<u32> {
        let Some(cluster) = self.facts.cluster(name) else {
            self.faults.push(self.facts.unknown_cluster(place, name));
            return None;
        };
        let wrong = self.facts.expect_protocol(place, cluster, &[ClusterProtocol::Tcp]);
        self.faults.extend(wrong);
        Some(cluster)
    }
}

/// Where to listen, in canonical text; the error is a sentence.
pub(crate) fn listen_address(text: &str) -> Result<String, String> {
    match read_address(text) {
        Ok(Address::Fixed(address)) => Ok(address),
        Ok(Address::Name(name, port)) => Err(format!(
            "address `{}` is a name: listen on an IP address, like 0.0.0.0:{port} or \
             127.0.0.1:{port}",
            shorten(&format!("{name}:{port}"))
        )),
        Err(why) => Err(format!("address `{}` {why}", shorten(text))),
    }
}

/// Whether the kernel chooses the port: another one for each listener.
fn takes_any_port(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.port() == 0)
}

/// The name of a listener at that address.
fn called(spec: &ListenerSpec, address: &str) -> String {
    spec.name.clone().unwrap_or_else(|| address.to_owned())
}

/// Longest name of a service that a health check can ask for; a request has 4 KiB.
const SERVICE_BYTES_MAX: usize = 1024;

/// A connection as a whole follows this; no limit of requests applies to it.
fn tcp_plan(cluster: ClusterId, settings: &Settings) -> RoutePlan {
    RoutePlan { cluster, retry: settings.retries() > 0, ..RoutePlan::default() }
}

fn path_rule(name: &str) -> Option<PathRule> {
    Some(match name {
        "off" => PathRule::Off,
        "minimal" => PathRule::Minimal,
        "safe" => PathRule::Safe,
        "strict" => PathRule::Strict,
        _ => return None,
    })
}

/// The limits of client connections. How long a body may be is its route's to say, and so the
/// exchange's to enforce.
fn listener_wire(config: &Config) -> WireSpec {
    WireSpec { body_bytes_max: None, ..config.settings.wire() }
}

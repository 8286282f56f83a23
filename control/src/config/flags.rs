//! What `--listen`, `--upstream`, `--tls-cert` and `--tls-key` say, laid over the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use router::{
    ClusterSpec, EndpointSpec, MatchSpec, RouteSpec, ThriftMatchSpec, ThriftSpec, ThriftTransport,
    ValueSpec,
};

use super::{CertificateSpec, Config, Item, ListenerSpec, ListenerTlsSpec, Protocols};
use crate::compile::listen_address;
use crate::decode::Fault;
use crate::error::{ConfigError, did_you_mean};
use crate::tree::shorten;

/// Where a flags-only start listens when only `--upstream` is given.
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// What an upstream may be called: each is a cluster, and a route that takes what it speaks.
const UPSTREAMS: [&str; 3] = ["http", "grpc", "thrift"];

/// What calls of gRPC say their body to be. Those of gRPC-Web are none of them.
const GRPC_CONTENT_TYPE: &str = "(?i)^application/grpc([+; ]|$)";

impl Config {
    /// Lays `--listen` and `--upstream` over the file.
    pub(crate) fn lay_addresses(
        &mut self,
        listen: Vec<String>,
        upstream: Vec<String>,
        errors: &mut Vec<ConfigError>,
    ) {
        let has_upstream = !upstream.is_empty();
        if has_upstream {
            if self.listeners.is_empty() {
                self.listeners.push(default_listener(&upstream));
            }
            self.lay_upstream(&upstream, errors);
        }
        if !listen.is_empty() {
            self.lay_listen(&listen, errors);
        }
        if self.files.is_empty() && !has_upstream {
            errors.push(ConfigError::new(
                "flags",
                "nothing to serve: give --config FILE, or --listen ADDRESS and --upstream ADDRESS",
            ));
        }
    }

    fn lay_upstream(&mut self, upstream: &[String], errors: &mut Vec<ConfigError>) {
        let flag = |message| ConfigError::new("flag --upstream", message);
        let has_routes = !self.routes.is_empty() || !self.route_files.is_empty();
        if !self.clusters.is_empty() || has_routes {
            let name = self.main_file();
            let message = format!("{name} already has clusters and routes: use one or the other");
            return errors.push(flag(message));
        }
        let mut clusters: BTreeMap<Option<&str>, Vec<EndpointSpec>> = BTreeMap::new();
        for (name, address) in upstream.iter().map(|text| named(text)) {
            let endpoint = EndpointSpec { address: address.to_owned(), weight: 1 };
            clusters.entry(name).or_default().push(endpoint);
        }
        for name in clusters.keys().flatten().filter(|name| !UPSTREAMS.contains(name)) {
            let hint = did_you_mean(name, UPSTREAMS);
            let hint = hint.unwrap_or_else(|| format!("possible here: {}", UPSTREAMS.join(", ")));
            let message = format!("unknown protocol `{}`", shorten(name));
            errors.push(flag(message).hint(Some(hint)));
        }
        if clusters.len() > 1 && clusters.contains_key(&None) {
            let message = "either every address has its protocol before it or none has";
            return errors.push(flag(message.to_owned()));
        }
        if let Some(endpoints) = clusters.remove(&None) {
            return self.add_upstream("upstream", "all", endpoints);
        }
        for name in UPSTREAMS {
            if let Some(endpoints) = clusters.remove(&Some(name)) {
                self.add_upstream(name, name, endpoints);
            }
        }
    }

    /// A cluster and the route to it.
    fn add_upstream(&mut self, name: &str, id: &str, endpoints: Vec<EndpointSpec>) {
        let protocol = match name {
            "grpc" => Some("http2".to_owned()),
            "thrift" => Some("thrift".to_owned()),
            _ => None,
        };
        let thrift = (name == "thrift").then(|| self.taken_transport()).flatten();
        let cluster = ClusterSpec { endpoints, protocol, thrift, ..ClusterSpec::default() };
        self.clusters.push(Item::made(name, cluster));
        let mut matched = MatchSpec::default();
        match name {
            "grpc" => {
                let test = ValueSpec::Regex(GRPC_CONTENT_TYPE.to_owned());
                matched.headers.insert("content-type".to_owned(), test);
            }
            "thrift" => matched.thrift = Some(ThriftMatchSpec::default()),
            _ => {}
        }
        let (id, cluster) = (id.to_owned(), name.to_owned());
        let route = RouteSpec { r#match: matched, id, cluster, ..RouteSpec::default() };
        self.routes.push(Item::made(&route.id.clone(), route));
    }

    /// Servers are spoken to in the transport that callers are held to, if there is one.
    fn taken_transport(&self) -> Option<ThriftSpec> {
        let specs = self.listeners.iter().filter_map(|item| item.spec.as_ref());
        let mut transports = specs.filter_map(|spec| spec.thrift.as_ref()?.transport.as_deref());
        let transport = transports.find(|name| ThriftTransport::find(name).is_some())?;
        Some(ThriftSpec { transport: Some(transport.to_owned()), ..ThriftSpec::default() })
    }

    fn lay_listen(&mut self, listen: &[String], errors: &mut Vec<ConfigError>) {
        let flag = |message| ConfigError::new("flag --listen", message);
        let named: Vec<_> = listen.iter().map(|text| named(text)).collect();
        let has_name = |(name, _): &(Option<&str>, &str)| name.is_some();
        if named.iter().all(has_name) {
            for (index, (name, address)) in named.iter().enumerate() {
                let name = name.unwrap_or_default();
                if named[..index].iter().any(|(before, _)| *before == Some(name)) {
                    errors.push(flag(format!("`{}` is named twice", shorten(name))));
                } else if let Err(error) = self.move_listener(name, address) {
                    errors.push(error);
                }
            }
        } else if named.iter().any(has_name) {
            let message = "either every address has its listener before it or none has";
            errors.push(flag(message.to_owned()));
        } else if self.listeners.len() > 1 {
            let (file, count) = (self.main_file(), self.listeners.len());
            let message = format!("{file} has {count} listeners: say which, as NAME=ADDRESS");
            errors.push(flag(message));
        } else {
            self.listen_at(listen);
        }
    }

    /// Gives the listener of a name another address; what else was typed of it keeps its place.
    fn move_listener(&mut self, name: &str, address: &str) -> Result<(), ConfigError> {
        let flag = |message| ConfigError::new("flag --listen", message);
        let called = |item: &Item<ListenerSpec>| {
            let typed = item.spec.as_ref().and_then(|spec| spec.name.clone());
            typed.unwrap_or_else(|| item.name.clone())
        };
        let names: Vec<String> = self.listeners.iter().map(called).collect();
        let Some(index) = names.iter().position(|known| known == name) else {
            let hint = did_you_mean(name, names.iter().map(String::as_str));
            let message = format!("no listener is called `{}`", shorten(name));
            return Err(flag(message).hint(hint));
        };
        let address = listen_address(address).map_err(flag)?;
        if let Some(spec) = &mut self.listeners[index].spec {
            spec.address = address;
        }
        Ok(())
    }

    /// Puts these addresses in the place of the one of the only listener.
    fn listen_at(&mut self, listen: &[String]) {
        let typed = self.listeners.pop().and_then(|item| item.spec).unwrap_or_default();
        let several = listen.len() > 1;
        let replace = |address: &String| {
            let name = typed.name.clone().filter(|_| !several);
            let address = address.clone();
            Item::made(&address.clone(), ListenerSpec { name, address, ..typed.clone() })
        };
        self.listeners = listen.iter().map(replace).collect();
    }
}

/// Where there is no file: it takes Thrift beside HTTP where an upstream speaks it.
fn default_listener(upstream: &[String]) -> Item<ListenerSpec> {
    let has_thrift = upstream.iter().any(|text| named(text).0 == Some("thrift"));
    let all = ["http1", "http2", "thrift"].map(str::to_owned).to_vec();
    let protocols = has_thrift.then_some(Protocols::Many(all));
    let address = LISTEN_DEFAULT.to_owned();
    Item::made(LISTEN_DEFAULT, ListenerSpec { address, protocols, ..ListenerSpec::default() })
}

/// `NAME=ADDRESS` in two. An address by itself has no name; a path may have a `=`.
fn named(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, address)) if !name.contains([':', '/']) => (Some(name), address),
        _ => (None, text),
    }
}

/// `--tls-cert` and `--tls-key`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFlags {
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Config {
    /// Gives the certificate of `--tls-cert` and `--tls-key` to every listener, but those of
    /// `protocols` only where they ask for it.
    pub(crate) fn lay_tls(&mut self, flags: &TlsFlags, errors: &mut Vec<ConfigError>) {
        let (cert, key) = match (&flags.cert, &flags.key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return self.require_pair(errors),
            (one, _) => {
                let (here, lacks) = if one.is_some() { ("cert", "key") } else { ("key", "cert") };
                let message = format!("needs --tls-{lacks} as well");
                errors.push(ConfigError::new(format!("flag --tls-{here}"), message));
                return;
            }
        };
        let flag = |message| ConfigError::new("flag --tls-cert", message);
        let certificates = vec![CertificateSpec { cert: absolute(cert), key: absolute(key) }];
        let mut takers = 0;
        for item in &mut self.listeners {
            let Some(spec) = item.spec.as_mut().filter(|spec| spec.wants_tls != Some(false)) else {
                continue;
            };
            takers += 1;
            if spec.tls.is_some() {
                let message =
                    format!("listener `{}` already has `tls`: use one or the other", item.name);
                errors.push(flag(message));
                continue;
            }
            let certificates = certificates.clone();
            spec.tls = Some(ListenerTlsSpec { certificates, ..ListenerTlsSpec::default() });
        }
        if takers == 0 && !self.listeners.is_empty() {
            let message = "no listener has TLS: give a protocol `tls: true`";
            errors.push(flag(message.to_owned()));
        }
    }

    /// Finds fault with each protocol that asks for TLS: there is no pair for it.
    fn require_pair(&self, errors: &mut Vec<ConfigError>) {
        let wants = |item: &&Item<ListenerSpec>| {
            item.spec.as_ref().is_some_and(|spec| spec.wants_tls == Some(true))
        };
        for item in self.listeners.iter().filter(wants) {
            let message = format!("`tls: true` of `{}` needs a certificate and its key", item.name);
            let hint = "give --tls-cert FILE and --tls-key FILE, or their variables \
                        RINGWAY_TLS_CERT and RINGWAY_TLS_KEY";
            let fault = Fault::new(item.place(&["tls"]), message);
            errors.push(self.error(Fault { hint: Some(hint.to_owned()), ..fault }));
        }
    }
}

/// A name on the command line is not relative to the configuration's folder.
fn absolute(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.display().to_string()
}

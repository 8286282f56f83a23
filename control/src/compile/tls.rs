//! TLS of listeners and clusters: names of files to what handshakes need, each fault at its place.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use router::{ClusterProtocol, ClusterSpec, ClusterTlsSpec};
use rustls_pki_types::ServerName;

use super::{Compile, protocol, read_address};
use crate::certs::{
    ClientAuth, ClientSource, ClientTls, LoadFault, MinVersion, PairFiles, Part, ServerSource,
    ServerTls,
};
use crate::config::{Item, ListenerSpec, ListenerTlsSpec};
use crate::decode::Fault;
use crate::error::did_you_mean;
use crate::snapshot::Speaks;
use crate::tree::{Place, shorten};

impl Compile<'_> {
    pub(super) fn listener_tls(
        &mut self,
        item: &Item<ListenerSpec>,
        spec: &ListenerSpec,
        speaks: Speaks,
    ) -> Option<Arc<ServerTls>> {
        let tls = spec.tls.as_ref()?;
        let place = |path: &[&str]| item.place(&[&["tls"], path].concat());
        let min_version = self.min_version(place(&["min_version"]), tls.min_version.as_deref());
        let client_auth = self.client_auth(place(&["client_auth"]), tls);
        let alpn = self.alpn(place(&["alpn"]), tls, speaks);
        if tls.certificates.is_empty() {
            if !item.healed {
                self.fault(place(&["certificates"]), "`certificates` is empty".to_owned());
            }
            return None;
        }
        let at = item.place(&["tls"]);
        let pairs = tls.certificates.iter().map(|pair| PairFiles {
            cert: self.facts.path(at, &pair.cert),
            key: self.facts.path(at, &pair.key),
        });
        let source = ServerSource {
            pairs: pairs.collect(),
            client_ca: tls.client_ca.as_ref().map(|name| self.facts.path(at, name)),
            client_auth,
            min_version,
            alpn,
            tickets: tls.session_tickets.unwrap_or(true),
        };
        if item.healed {
            return None;
        }
        let loaded = ServerTls::load(source, self.resolve.read, None, &mut self.notes);
        loaded.map(Arc::new).map_err(|fault| self.server_fault(item, fault)).ok()
    }

    fn server_fault(&mut self, item: &Item<ListenerSpec>, LoadFault { part, message }: LoadFault) {
        let pair = |index: usize, key: &str| {
            let list = item.node.as_ref().and_then(|node| node.field("tls")?.field("certificates"));
            let node = list.and_then(|list| list.items().get(index));
            node.map_or(item.place(&["tls", "certificates"]), |node| node.towards(&[key]).place)
        };
        let place = match part {
            Part::Cert(index) => pair(index, "cert"),
            Part::Key(index) => pair(index, "key"),
            Part::Authorities => item.place(&["tls", "client_ca"]),
            Part::Whole => item.place(&["tls"]),
        };
        self.fault(place, message);
    }

    fn min_version(&mut self, place: Place, typed: Option<&str>) -> MinVersion {
        let Some(text) = typed else { return MinVersion::default() };
        MinVersion::find(text).unwrap_or_else(|| {
            let message = format!("min_version `{}` is neither 1.2 nor 1.3", shorten(text));
            self.fault(place, message);
            MinVersion::default()
        })
    }

    /// A listener that names authorities asks everybody for a certificate, unless it says
    /// otherwise.
    fn client_auth(&mut self, place: Place, tls: &ListenerTlsSpec) -> ClientAuth {
        let auth = match tls.client_auth.as_deref() {
            None if tls.client_ca.is_some() => ClientAuth::Required,
            None | Some("none") => ClientAuth::None,
            Some("optional") => ClientAuth::Optional,
            Some("required") => ClientAuth::Required,
            Some(other) => {
                let hint = did_you_mean(other, ["none", "optional", "required"]);
                let message = format!("unknown client_auth `{}`", shorten(other));
                self.faults.push(Fault { hint, ..Fault::new(place, message) });
                ClientAuth::None
            }
        };
        if auth != ClientAuth::None && tls.client_ca.is_none() {
            let message = "`client_auth` needs `client_ca`: who signs clients";
            self.fault(place, message.to_owned());
        }
        auth
    }

    /// What is offered: all that the listener speaks, or of it what is typed.
    fn alpn(&mut self, place: Place, tls: &ListenerTlsSpec, speaks: Speaks) -> Vec<String> {
        let spoken = speaks.alpn();
        let Some(typed) = &tls.alpn else {
            return spoken.iter().map(|name| (*name).to_owned()).collect();
        };
        // What a `tcp` listener passes through is for its cluster to speak.
        let is_wrong = |name: &str| match speaks {
            Speaks::Tcp => name.is_empty() || name.len() > 255,
            _ => !spoken.contains(&name),
        };
        for name in typed.iter().filter(|name| is_wrong(name)) {
            let message = format!("alpn `{}` is not spoken: {}", shorten(name), spoken.join(", "));
            self.fault(place, message);
        }
        typed.clone()
    }

    /// By position of the cluster.
    pub(super) fn upstream_tls(&mut self) -> Vec<Option<Arc<ClientTls>>> {
        let config = self.config;
        let of = |item: &Item<ClusterSpec>| {
            let spec = item.spec.as_ref()?;
            self.cluster_tls(item, spec, spec.tls.as_ref()?)
        };
        config.clusters.iter().map(of).collect()
    }

    fn cluster_tls(
        &mut self,
        item: &Item<ClusterSpec>,
        spec: &ClusterSpec,
        tls: &ClusterTlsSpec,
    ) -> Option<Arc<ClientTls>> {
        let place = |key: &str| item.place(&["tls", key]);
        let min_version = self.min_version(place("min_version"), tls.min_version.as_deref());
        let verify = tls.verify.unwrap_or(true);
        let at = item.place(&["tls"]);
        if !verify {
            let text = format!("cluster `{}` verifies no certificate: `verify: false`", item.name);
            self.notes.push(text);
        }
        if !verify && tls.ca.is_some() {
            let message = "`ca` is of no use with `verify: false`".to_owned();
            self.fault(place("ca"), message);
        }
        let pair = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                Some(PairFiles { cert: self.facts.path(at, cert), key: self.facts.path(at, key) })
            }
            (None, None) => None,
            _ => {
                self.fault(at, "`cert` and `key` come together".to_owned());
                None
            }
        };
        let ca = tls.ca.as_ref().map(|name| self.facts.path(at, name));
        let name = self.server_name(item, spec, tls)?;
        if item.healed {
            return None;
        }
        let alpn = match protocol(spec) {
            ClusterProtocol::Http1 => vec!["http/1.1".to_owned()],
            ClusterProtocol::Http2 => vec!["h2".to_owned()],
            ClusterProtocol::Thrift | ClusterProtocol::Tcp => Vec::new(),
        };
        let source = ClientSource { name, ca, verify, pair, min_version, alpn };
        let loaded = ClientTls::load(source, self.resolve.read, self.resolve.trusted).map(Arc::new);
        let fault = |LoadFault { part, message }: LoadFault| {
            let key = match part {
                Part::Cert(_) => "cert",
                Part::Key(_) => "key",
                Part::Authorities => "ca",
                Part::Whole => "sni",
            };
            self.fault(place(key), message);
        };
        loaded.map_err(fault).ok()
    }

    /// The name that a cluster's servers must have: as typed, or the one host of its endpoints.
    fn server_name(
        &mut self,
        item: &Item<ClusterSpec>,
        spec: &ClusterSpec,
        tls: &ClusterTlsSpec,
    ) -> Option<ServerName<'static>> {
        let place = item.place(&["tls", "sni"]);
        let hosts: BTreeSet<String> =
            spec.endpoints.iter().filter_map(|endpoint| host(&endpoint.address)).collect();
        let name = match (&tls.sni, hosts.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(host)) if hosts.len() == 1 => host.clone(),
            (None, _) => {
                let message = "`tls` needs `sni`: the endpoints have not one host in common";
                self.fault(place, message.to_owned());
                return None;
            }
        };
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        let shown = shorten(&name).to_string();
        ServerName::try_from(name)
            .map_err(|_| self.fault(place, format!("sni `{shown}` is no host name")))
            .ok()
    }
}

/// The host of an endpoint's address; `None` for a Unix socket.
fn host(address: &str) -> Option<String> {
    let text = match read_address(address).ok()? {
        super::Address::Name(name, _) => return Some(name),
        super::Address::Fixed(text) => text,
    };
    let address: std::net::SocketAddr = text.parse().ok()?;
    Some(address.ip().to_string())
}

impl super::Facts {
    /// A file relative to the folder of the file that names it.
    pub(super) fn path(&self, place: Place, name: &str) -> PathBuf {
        let folder = self.folder(place);
        folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{Authority, Folder};
    use crate::{Snapshot, Sources, load};

    const REST: &str = "routes: [{id: all, cluster: c}]\n";

    fn folder() -> Folder {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        folder.write_pair("a", &authority.issue(&["a.test"]));
        folder.write_pair("b", &authority.issue(&["b.test"]));
        folder.write("ca.pem", &authority.pem);
        folder
    }

    fn load_with(folder: &Folder, listener: &str, cluster: &str) -> Result<Snapshot, String> {
        let text = format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:1', {listener}}}]\n\
             clusters: {{c: {{endpoints: ['127.0.0.1:2'], {cluster}}}}}\n{REST}"
        );
        let file = folder.write("r.yaml", &text);
        let loaded = load(&Sources { file: Some(file), ..Sources::default() });
        loaded.map_err(|errors| {
            let line = |error: &crate::ConfigError| {
                format!("{}:{}: {}", error.line, error.column, error.message)
            };
            let text = errors.iter().map(line).collect::<Vec<_>>().join("\n");
            let folder = format!("{}/", folder.file("").display());
            text.replace(folder.trim_end_matches('/'), "DIR")
        })
    }

    #[test]
    fn a_listener_and_a_cluster_get_what_handshakes_need() {
        let folder = folder();
        let listener = "tls: {certificates: [{cert: a.pem, key: a.key}], client_ca: ca.pem}";
        let cluster = "tls: {ca: ca.pem, cert: b.pem, key: b.key}";
        let snapshot = load_with(&folder, listener, cluster).unwrap();
        let tls = snapshot.listeners[0].tls.as_ref().unwrap();
        assert_eq!(tls.client_auth, ClientAuth::Required);
        assert_eq!(tls.config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
        let upstream = snapshot.upstream_tls[0].as_ref().unwrap();
        assert_eq!(upstream.name, ServerName::try_from("127.0.0.1").unwrap());
        assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
        let plain = load_with(&folder, "", "").unwrap();
        assert!(plain.listeners[0].tls.is_none() && plain.upstream_tls[0].is_none());
        let identity = |snapshot: &Snapshot| snapshot.clusters[0].endpoints[0].identity;
        assert_ne!(identity(&plain), identity(&snapshot), "links never mix");
        assert_ne!(plain.hash, snapshot.hash);
    }

    #[test]
    fn faults_have_their_places() {
        let folder = folder();
        for (listener, expected) in [
            ("tls: {certificates: []}", "2:58: `certificates` is empty"),
            ("tls: {certificates: [{cert: a.pem}]}", "2:59: `key` is missing"),
            (
                "tls: {certificates: [{cert: a.pem, key: b.key}]}",
                "2:78: key `DIR/b.key` is not that of the first certificate of `DIR/a.pem`",
            ),
            (
                "tls: {certificates: [{cert: no.pem, key: b.key}]}",
                "2:66: file `DIR/no.pem` cannot be read: No such file or directory (os error 2)",
            ),
            (
                "tls: {certificates: [{cert: a.pem, key: a.key}], client_auth: optinal}",
                "2:100: unknown client_auth `optinal`",
            ),
            (
                "tls: {certificates: [{cert: a.pem, key: a.key}], client_auth: required}",
                "2:100: `client_auth` needs `client_ca`: who signs clients",
            ),
            (
                "tls: {certificates: [{cert: a.pem, key: a.key}], min_version: 1.1}",
                "2:100: min_version `1.1` is neither 1.2 nor 1.3",
            ),
            (
                "tls: {certificates: [{cert: a.pem, key: a.key}], alpn: [http/3]}",
                "2:93: alpn `http/3` is not spoken: h2, http/1.1",
            ),
            (
                "tls: {certificates: [{cert: a.pem, key: a.key}], client_ca: a.key}",
                "2:98: file `DIR/a.key` has no certificate",
            ),
        ] {
            assert_eq!(load_with(&folder, listener, "").unwrap_err(), expected);
        }
        for (cluster, expected) in [
            ("tls: {ca: ca.pem, cert: a.pem}", "3:49: `cert` and `key` come together"),
            ("tls: {sni: 'a b', ca: ca.pem}", "3:55: sni `a b` is no host name"),
            ("tls: {ca: ca.pem, verify: false}", "3:54: `ca` is of no use with `verify: false`"),
            (
                "tls: {ca: ca.pem, cert: a.pem, key: b.key}",
                "3:80: key `DIR/b.key` is not that of the first certificate of `DIR/a.pem`",
            ),
        ] {
            assert_eq!(load_with(&folder, "", cluster).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_name_is_needed_where_endpoints_have_none_in_common() {
        let folder = folder();
        let text = format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:1'}}]\n\
             clusters: {{c: {{endpoints: ['127.0.0.1:2', '127.0.0.2:2'], tls: {{ca: ca.pem}}}}}}\n\
             {REST}"
        );
        let file = folder.write("r.yaml", &text);
        let errors = load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
        assert!(errors[0].message.contains("needs `sni`"), "{errors:?}");
    }

    #[test]
    fn flags_give_every_listener_a_certificate() {
        let folder = folder();
        let (cert, key) = (Some(folder.file("a.pem")), Some(folder.file("a.key")));
        let upstream = vec!["127.0.0.1:9001".to_owned()];
        let flags =
            Sources { upstream, tls_cert: cert.clone(), tls_key: key, ..Sources::default() };
        assert!(load(&flags).unwrap().listeners[0].tls.is_some());
        let half = Sources { tls_key: None, ..flags };
        let errors = load(&half).unwrap_err();
        assert_eq!(errors[0].to_string(), "flag --tls-cert: needs --tls-key as well");
    }

    #[test]
    fn who_is_not_verified_is_worth_a_warning() {
        let snapshot = load_with(&folder(), "", "tls: {verify: false}").unwrap();
        let found = snapshot.warnings.iter().any(|text| text.contains("verifies no certificate"));
        assert!(found, "{:?}", snapshot.warnings);
    }
}

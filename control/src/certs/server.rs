//! What a listener needs for TLS: certificates, who may be a client, tickets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls_pki_types::UnixTime;

use super::pair::{self, Pair, PairFiles};
use super::resolver::Resolver;
use super::watch::{Stamps, stamps};
use super::{InUse, Level, LoadFault, MinVersion, Part, Read, authorities, findings, provider};

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// One that is shown must be right.
    Optional,
    /// There must be a right one.
    Required,
}

/// Where a listener's TLS comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSource {
    pub(crate) pairs: Vec<PairFiles>,
    /// Authorities that sign clients.
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_auth: ClientAuth,
    pub(crate) min_version: MinVersion,
    pub(crate) alpn: Vec<String>,
    pub(crate) tickets: bool,
}

/// A listener's TLS, ready for handshakes. Shared by all shards.
#[derive(Clone)]
pub struct ServerTls {
    /// What connections are made with.
    pub config: Arc<ServerConfig>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// The first certificate of each pair.
    pub certificates: Vec<InUse>,
    pub(super) source: ServerSource,
    pub(super) read: Read,
    pub(super) stamps: Stamps,
    /// The bytes of the authorities: a ticket made under others counts no more.
    authorities: Vec<u8>,
}

/// Only what was configured: it is part of the snapshot's hash.
impl fmt::Debug for ServerTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(out)
    }
}

impl ServerTls {
    /// Reads all files. `before` is what was in force for the same listener, whose ticket keys are
    /// kept where that is safe. What is doubtful is added to `notes`.
    pub(crate) fn load(
        source: ServerSource,
        read: Read,
        before: Option<&ServerTls>,
        notes: &mut Vec<String>,
    ) -> Result<ServerTls, LoadFault> {
        // Taken before the files are read: a change in between is seen as one.
        let stamps = stamps(source.files());
        let pairs = source.pairs.iter().zip(0..);
        let pairs = pairs.map(|(files, index)| pair::load(read, files, index));
        let pairs = pairs.collect::<Result<Vec<Pair>, LoadFault>>()?;
        let authorities = match &source.client_ca {
            Some(path) => super::read(read, path)
                .map_err(|message| LoadFault::new(Part::Authorities, message))?,
            None => Vec::new(),
        };
        let mut config = config(&source, read, &pairs)?;
        let before = before.filter(|before| {
            before.authorities == authorities && before.client_auth == source.client_auth
        });
        config.ticketer = ticketer(&source, before)?;
        note(&source, &pairs, notes);
        Ok(ServerTls {
            config: Arc::new(config),
            client_auth: source.client_auth,
            certificates: in_use(&source.pairs, &pairs),
            source,
            read,
            stamps,
            authorities,
        })
    }

    /// The files of each pair: chain and key.
    pub fn pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.source.pairs.iter().map(|files| (files.cert.as_path(), files.key.as_path()))
    }

    /// The file of the authorities that sign clients.
    pub fn client_authorities(&self) -> Option<&Path> {
        self.source.client_ca.as_deref()
    }

    /// The same with the ticket keys of what was in force for the same listener, where that is
    /// safe; `None` where it is not.
    pub(crate) fn with_tickets_of(&self, before: &ServerTls) -> Option<ServerTls> {
        let same_clients =
            before.authorities == self.authorities && before.client_auth == self.client_auth;
        if !same_clients || !self.source.tickets || !before.source.tickets {
            return None;
        }
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = Arc::clone(&before.config.ticketer);
        Some(ServerTls { config: Arc::new(config), ..self.clone() })
    }
}

impl ServerSource {
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.pairs.iter().flat_map(|files| [&files.cert, &files.key]).chain(&self.client_ca)
    }
}

fn config(source: &ServerSource, read: Read, pairs: &[Pair]) -> Result<ServerConfig, LoadFault> {
    let whole = |error: rustls::Error| LoadFault::new(Part::Whole, error.to_string());
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(source.min_version.versions()).map_err(whole)?;
    let resolver = Arc::new(Resolver::new(pairs));
    let mut config = match (source.client_auth, &source.client_ca) {
        (ClientAuth::None, _) | (_, None) => {
            builder.with_no_client_auth().with_cert_resolver(resolver)
        }
        (auth, Some(path)) => {
            let fault = |message| LoadFault::new(Part::Authorities, message);
            let roots = Arc::new(authorities(read, path).map_err(fault)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match auth {
                ClientAuth::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier.build().map_err(|error| fault(error.to_string()))?;
            builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver)
        }
    };
    config.alpn_protocols = source.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    // Sessions are kept by the clients, in tickets: a store of ours would be a lock that all shards
    // share, for the few clients of TLS 1.2 that take none.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if !source.tickets {
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// The keys of tickets: AES-256-CBC and HMAC-SHA-256, made anew every six hours.
fn ticketer(
    source: &ServerSource,
    before: Option<&ServerTls>,
) -> Result<Arc<dyn ProducesTickets>, LoadFault> {
    match before {
        _ if !source.tickets => Ok(Arc::new(NoTickets)),
        Some(before) if before.source.tickets => Ok(Arc::clone(&before.config.ticketer)),
        _ => rustls::crypto::aws_lc_rs::Ticketer::new()
            .map_err(|error| LoadFault::new(Part::Whole, error.to_string())),
    }
}

#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

pub(super) fn in_use(files: &[PairFiles], pairs: &[Pair]) -> Vec<InUse> {
    let one = |(files, pair): (&PairFiles, &Pair)| {
        let facts = pair.chain.first()?.clone();
        Some(InUse { file: files.cert.clone(), facts })
    };
    files.iter().zip(pairs).filter_map(one).collect()
}

/// Says what clients may refuse, one line each.
fn note(source: &ServerSource, pairs: &[Pair], notes: &mut Vec<String>) {
    let now = UnixTime::now().as_secs();
    for (files, pair) in source.pairs.iter().zip(pairs) {
        let found = findings(&pair.chain, now);
        let doubtful = found.iter().filter(|one| one.level > Level::Ok);
        let file = files.cert.display();
        notes.extend(doubtful.map(|one| format!("{file}: {}: {}", one.what, one.text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{Authority, Folder};

    fn source(folder: &Folder, ca: Option<&str>) -> ServerSource {
        ServerSource {
            pairs: vec![PairFiles { cert: folder.file("a.pem"), key: folder.file("a.key") }],
            client_ca: ca.map(|name| folder.file(name)),
            client_auth: if ca.is_some() { ClientAuth::Required } else { ClientAuth::None },
            min_version: MinVersion::Tls12,
            alpn: vec!["http/1.1".into()],
            tickets: true,
        }
    }

    fn load(source: ServerSource, before: Option<&ServerTls>) -> Result<ServerTls, LoadFault> {
        ServerTls::load(source, |path| std::fs::read(path), before, &mut Vec::new())
    }

    fn reads(a: &ServerTls, b: &ServerTls) -> bool {
        let ticket = a.config.ticketer.encrypt(b"session").unwrap();
        b.config.ticketer.decrypt(&ticket).is_some()
    }

    #[test]
    fn tickets_outlive_certificates_but_not_who_may_be_a_client() {
        let folder = Folder::new();
        let (root, other) = (Authority::new("root"), Authority::new("other"));
        folder.write_pair("a", &root.issue(&["a.test"]));
        folder.write("ca.pem", &root.pem);
        let open = load(source(&folder, None), None).unwrap();
        folder.write_pair("a", &root.issue(&["a.test"]));
        let renewed = load(source(&folder, None), Some(&open)).unwrap();
        assert!(reads(&open, &renewed));
        let closed = load(source(&folder, Some("ca.pem")), Some(&open)).unwrap();
        assert!(!reads(&open, &closed), "a session without a certificate counts no more");
        folder.write("ca.pem", &other.pem);
        let moved = load(source(&folder, Some("ca.pem")), Some(&closed)).unwrap();
        assert!(!reads(&closed, &moved));
        assert!(moved.with_tickets_of(&closed).is_none());
        let again = load(source(&folder, Some("ca.pem")), None).unwrap();
        assert!(!reads(&moved, &again));
        assert!(reads(&moved, &again.with_tickets_of(&moved).unwrap()));
    }

    #[test]
    fn tickets_can_be_off() {
        let folder = Folder::new();
        folder.write_pair("a", &Authority::new("root").issue(&["a.test"]));
        let off = ServerSource { tickets: false, ..source(&folder, None) };
        let loaded = load(off, None).unwrap();
        assert_eq!(loaded.config.send_tls13_tickets, 0);
        assert!(!loaded.config.ticketer.enabled());
    }

    #[test]
    fn a_doubtful_certificate_loads_with_a_word() {
        let folder = Folder::new();
        folder.write_pair("a", &Authority::new("root").issue_expired(&["a.test"]));
        let mut notes = Vec::new();
        let read: Read = |path| std::fs::read(path);
        let loaded = ServerTls::load(source(&folder, None), read, None, &mut notes).unwrap();
        assert_eq!(loaded.certificates[0].facts.dns_names, ["a.test"]);
        assert!(notes.len() == 1 && notes[0].contains("expired"), "{notes:?}");
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let folder = Folder::new();
        folder.write_pair("a", &Authority::new("root").issue(&["a.test"]));
        let fault = load(source(&folder, Some("ca.pem")), None).unwrap_err();
        assert_eq!(fault.part, Part::Authorities);
        folder.write("ca.pem", "nothing");
        let fault = load(source(&folder, Some("ca.pem")), None).unwrap_err();
        assert!(fault.message.contains("has no certificate"), "{fault:?}");
    }
}

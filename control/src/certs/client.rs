//! What links to a cluster need for TLS: the name to ask for, whom to believe, who we are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::pair::{self, Pair, PairFiles};
use super::server::in_use;
use super::watch::{Stamps, stamps};
use super::{InUse, LoadFault, MinVersion, Part, Read, authorities, provider};

/// Where a cluster's TLS comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSource {
    /// What the endpoints' certificates must be for; also sent as SNI, unless it is an address.
    pub(crate) name: ServerName<'static>,
    /// Authorities that sign servers; the system's where it is absent.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) verify: bool,
    /// Who we are.
    pub(crate) pair: Option<PairFiles>,
    pub(crate) min_version: MinVersion,
    pub(crate) alpn: Vec<String>,
}

/// Whom the system trusts; tests and fuzzers have nobody.
pub(crate) type Trusted = fn() -> Result<RootCertStore, String>;

/// A cluster's TLS, ready for handshakes. Shared by all shards.
pub struct ClientTls {
    /// What links are made with. It remembers no sessions: each shard gives its own copy a store.
    pub config: Arc<ClientConfig>,
    /// The name that is asked for.
    pub name: ServerName<'static>,
    /// The client certificate, if there is one.
    pub certificates: Vec<InUse>,
    pub(super) source: ClientSource,
    pub(super) read: Read,
    pub(super) trusted: Trusted,
    pub(super) stamps: Stamps,
}

/// Only what was configured.
impl fmt::Debug for ClientTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(out)
    }
}

impl ClientTls {
    /// Reads all files; those of the system too, where no authorities are named.
    pub(crate) fn load(
        source: ClientSource,
        read: Read,
        trusted: Trusted,
    ) -> Result<ClientTls, LoadFault> {
        let stamps = stamps(source.files());
        let pair = source.pair.as_ref().map(|files| pair::load(read, files, 0)).transpose()?;
        let config = config(&source, verifier(&source, read, trusted)?, pair.as_ref())?;
        let files: Vec<PairFiles> = source.pair.iter().cloned().collect();
        let pairs: Vec<Pair> = pair.into_iter().collect();
        Ok(ClientTls {
            config: Arc::new(config),
            name: source.name.clone(),
            certificates: in_use(&files, &pairs),
            source,
            read,
            trusted,
            stamps,
        })
    }
}

impl ClientTls {
    /// The files of the client certificate: chain and key.
    pub fn pair(&self) -> Option<(&Path, &Path)> {
        self.source.pair.as_ref().map(|files| (files.cert.as_path(), files.key.as_path()))
    }

    /// The file of the authorities that sign the endpoints.
    pub fn authorities(&self) -> Option<&Path> {
        self.source.ca.as_deref()
    }
}

impl ClientSource {
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.pair.iter().flat_map(|files| [&files.cert, &files.key]).chain(&self.ca)
    }
}

fn config(
    source: &ClientSource,
    verifier: Arc<dyn ServerCertVerifier>,
    pair: Option<&Pair>,
) -> Result<ClientConfig, LoadFault> {
    let whole = |error: rustls::Error| LoadFault::new(Part::Whole, error.to_string());
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(source.min_version.versions()).map_err(whole)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match pair {
        Some(pair) => {
            let resolver = SingleCertAndKey::from(Arc::clone(&pair.key));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = source.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn verifier(
    source: &ClientSource,
    read: Read,
    trusted: Trusted,
) -> Result<Arc<dyn ServerCertVerifier>, LoadFault> {
    if !source.verify {
        return Ok(Arc::new(Unverified(provider())));
    }
    let fault = |message| LoadFault::new(Part::Authorities, message);
    let roots = match &source.ca {
        Some(path) => authorities(read, path).map_err(fault)?,
        None => trusted().map_err(fault)?,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let built = verifier.build().map_err(|error| fault(error.to_string()))?;
    Ok(built)
}

/// Those that the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` say where they lie otherwise.
pub(crate) fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    match (added, found.errors.first()) {
        (0, Some(error)) => Err(format!("the system's authorities cannot be read: {error}")),
        (0, None) => Err("the system has no authorities: name a file with `ca`".to_owned()),
        _ => Ok(roots),
    }
}

/// Takes any server's certificate, where the operator asked for that: the link is encrypted, and
/// nothing is known of who reads it. That the server holds its certificate's key is still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{Authority, Folder};

    fn source(folder: &Folder) -> ClientSource {
        ClientSource {
            name: ServerName::try_from("a.test").unwrap(),
            ca: Some(folder.file("ca.pem")),
            verify: true,
            pair: Some(PairFiles { cert: folder.file("c.pem"), key: folder.file("c.key") }),
            min_version: MinVersion::Tls13,
            alpn: Vec::new(),
        }
    }

    #[test]
    fn files_are_read_and_faults_name_theirs() {
        let folder = Folder::new();
        let root = Authority::new("root");
        let load = |source| ClientTls::load(source, |path| std::fs::read(path), system_authorities);
        let part = |source| load(source).unwrap_err().part;
        assert_eq!(part(source(&folder)), Part::Cert(0));
        folder.write_pair("c", &root.issue(&["client.test"]));
        assert_eq!(part(source(&folder)), Part::Authorities);
        folder.write("ca.pem", &root.pem);
        let loaded = load(source(&folder)).unwrap();
        assert_eq!(loaded.certificates.len(), 1);
        assert!(loaded.config.client_auth_cert_resolver.has_certs());
        let plain = ClientSource { pair: None, verify: false, ca: None, ..source(&folder) };
        let loaded = load(plain).unwrap();
        assert!(!loaded.config.client_auth_cert_resolver.has_certs());
    }
}

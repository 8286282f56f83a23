//! Certificates: what a file of them says, whom a listener shows which, and when they change.
//!
//! `files → Pair (chain and key, checked) → ServerTls | ClientTls → Snapshot`. A listener's or a
//! cluster's files are one set: they take together, at a load, a reload, or when
//! [`CertificateWatch`] sees that one of them changed; a set that cannot be loaded leaves the old
//! one in force.
//!
//! Session tickets: the keys belong to a listener and are shared by all shards, because they are
//! part of its one `ServerConfig`. They rotate every six hours (rustls keeps the last two), live in
//! memory only, and survive a change of certificates, but not one of who may be a client: a ticket
//! stands for a client certificate that was verified when it was made.
//!
//! Not here: bytes of connections. Everything runs on control threads except
//! [`identity()`] and the resolver, which a handshake calls.

mod check;
mod client;
mod facts;
mod identity;
mod pair;
mod resolver;
mod server;
#[cfg(test)]
pub(crate) mod testing;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

pub use check::{Finding, Level, check_authorities, check_files, findings};
pub use client::ClientTls;
pub(crate) use client::{ClientSource, Trusted, system_authorities};
pub use facts::CertificateFacts;
pub use identity::{ClientIdentity, identity};
pub(crate) use pair::PairFiles;
pub(crate) use server::ServerSource;
pub use server::{ClientAuth, ServerTls};
pub use watch::{CertificateWatch, Renewed};

/// How files are read; tests and fuzzers have none.
pub(crate) type Read = fn(&Path) -> io::Result<Vec<u8>>;

/// Which file of a set is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The chain of the pair at this position.
    Cert(usize),
    /// Its key.
    Key(usize),
    /// The certificates of authorities.
    Authorities,
    /// No file alone.
    Whole,
}

/// Why a set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadFault {
    pub(crate) part: Part,
    pub(crate) message: String,
}

impl LoadFault {
    fn new(part: Part, message: impl Into<String>) -> LoadFault {
        LoadFault { part, message: message.into() }
    }
}

/// One certificate in use, for metrics and the admin pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The file of its chain.
    pub file: PathBuf,
    /// What the certificate itself says.
    pub facts: CertificateFacts,
}

/// Largest file of certificates: system bundles are about 250 KiB.
const FILE_BYTES_MAX: usize = 4 << 20;

/// A file as text for messages, and its bytes.
fn read(read: Read, path: &Path) -> Result<Vec<u8>, String> {
    let bytes =
        read(path).map_err(|error| format!("file `{}` cannot be read: {error}", path.display()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("file `{}` is larger than 4 MiB", path.display()));
    }
    Ok(bytes)
}

fn authorities(read_file: Read, path: &Path) -> Result<RootCertStore, String> {
    let bytes = read(read_file, path)?;
    let mut store = RootCertStore::empty();
    for der in certificates(&bytes, path)? {
        store.add(der).map_err(|error| format!("file `{}`: {error}", path.display()))?;
    }
    Ok(store)
}

/// Every certificate of a PEM file, in its order; at least one.
fn certificates(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|error| format!("file `{}` is no PEM: {error}", path.display()))?;
    if all.is_empty() {
        return Err(format!("file `{}` has no certificate", path.display()));
    }
    Ok(all)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The least version of TLS, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

impl MinVersion {
    pub(crate) fn find(text: &str) -> Option<MinVersion> {
        match text {
            "1.2" => Some(MinVersion::Tls12),
            "1.3" => Some(MinVersion::Tls13),
            _ => None,
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            MinVersion::Tls12 => rustls::ALL_VERSIONS,
            MinVersion::Tls13 => TLS13_ALONE,
        }
    }
}

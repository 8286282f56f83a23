//! A chain and its key, read and found to belong together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::facts::CertificateFacts;
use super::{LoadFault, Part, Read, certificates, provider, read};

/// A chain and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// Of each certificate of the chain, the server's or client's own first.
    pub(super) chain: Vec<CertificateFacts>,
}

/// Where a pair lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Reads the pair at position `index` of its set.
pub(super) fn load(read_file: Read, files: &PairFiles, index: usize) -> Result<Pair, LoadFault> {
    let cert_fault = |message: String| LoadFault::new(Part::Cert(index), message);
    let key_fault = |message: String| LoadFault::new(Part::Key(index), message);
    let bytes = read(read_file, &files.cert).map_err(cert_fault)?;
    let ders = certificates(&bytes, &files.cert).map_err(cert_fault)?;
    let chain = facts(&ders, &files.cert).map_err(cert_fault)?;
    let bytes = read(read_file, &files.key).map_err(key_fault)?;
    let key = private_key(&bytes, &files.key).map_err(key_fault)?;
    let pair = CertifiedKey::from_der(ders, key, &provider());
    let key = pair.map_err(|error| key_fault(why_not(&error, files)))?;
    Ok(Pair { key: Arc::new(key), chain })
}

/// What each certificate says.
pub(super) fn facts(
    ders: &[CertificateDer<'_>],
    path: &Path,
) -> Result<Vec<CertificateFacts>, String> {
    let of = |(der, number): (&CertificateDer<'_>, usize)| {
        let read = CertificateFacts::of(der);
        read.map_err(|why| format!("certificate {number} of file `{}` {why}", path.display()))
    };
    ders.iter().zip(1..).map(of).collect()
}

pub(super) fn private_key(bytes: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            format!("file `{}` has no private key", path.display())
        }
        other => format!("file `{}` is no PEM: {other}", path.display()),
    })
}

fn why_not(error: &rustls::Error, files: &PairFiles) -> String {
    let (cert, key) = (files.cert.display(), files.key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("key `{key}` is not that of the first certificate of `{cert}`")
        }
        rustls::Error::General(why) => format!("key `{key}` cannot be used: {why}"),
        other => format!("key `{key}` with `{cert}`: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{Authority, Folder};

    fn load_text(folder: &Folder, cert: &str, key: &str) -> Result<Pair, LoadFault> {
        let files =
            PairFiles { cert: folder.write("c.pem", cert), key: folder.write("k.pem", key) };
        load(|path| std::fs::read(path), &files, 3)
    }

    #[test]
    fn a_pair_belongs_together() {
        let folder = Folder::new();
        let authority = Authority::new("root");
        let (one, other) = (authority.issue(&["a.test"]), authority.issue(&["b.test"]));
        let chain = format!("{}{}", one.pem, authority.pem);
        let pair = load_text(&folder, &chain, &one.key).unwrap();
        assert_eq!(pair.chain.len(), 2);
        assert_eq!(pair.key.cert.len(), 2);
        let fault = load_text(&folder, &one.pem, &other.key).unwrap_err();
        assert_eq!(fault.part, Part::Key(3));
        assert!(fault.message.contains("is not that of the first certificate"), "{fault:?}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = Folder::new();
        let made = Authority::new("root").issue(&["a.test"]);
        for (cert, key, part, words) in [
            ("", made.key.as_str(), Part::Cert(3), "has no certificate"),
            (&made.pem, "", Part::Key(3), "has no private key"),
            (&made.key, &made.key, Part::Cert(3), "has no certificate"),
            (&made.pem, &made.pem, Part::Key(3), "has no private key"),
            (&made.pem[..made.pem.len() / 2], &made.key, Part::Cert(3), "PEM"),
        ] {
            let fault = load_text(&folder, cert, key).unwrap_err();
            assert_eq!(fault.part, part, "{fault:?}");
            assert!(fault.message.contains(words), "{fault:?}");
        }
        let files = PairFiles { cert: "/no/such".into(), key: "/no/such".into() };
        let fault = load(|path| std::fs::read(path), &files, 0).unwrap_err();
        assert!(fault.message.contains("cannot be read"), "{fault:?}");
    }
}

//! Certificates made on the spot, for tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, date_time_ymd,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::pair;
use super::provider;

/// An authority that signs for anybody.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let (der, pem) = (issuer.der().clone(), issuer.pem());
        Authority { issuer, der, pem }
    }

    /// A certificate for these names, valid now.
    pub(crate) fn issue(&self, names: &[&str]) -> Made {
        self.made(params(names), KeyPair::generate().unwrap())
    }

    pub(crate) fn issue_rsa(&self, names: &[&str]) -> Made {
        self.made(params(names), KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap())
    }

    /// One that ended with the year 2001.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Made {
        let mut params = params(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 12, 31);
        self.made(params, KeyPair::generate().unwrap())
    }

    fn made(&self, params: CertificateParams, key: KeyPair) -> Made {
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Made { der: cert.der().clone(), pem: cert.pem(), key: key.serialize_pem() }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.use_authority_key_identifier_extension = true;
    params
}

impl Made {
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        let key = pair::private_key(self.key.as_bytes(), "k.pem".as_ref()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![self.der.clone()], key, &provider()).unwrap())
    }
}

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-certs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A pair under `name.pem` and `name.key`.
    pub(crate) fn write_pair(&self, name: &str, made: &Made) {
        self.write(&format!("{name}.pem"), &made.pem);
        self.write(&format!("{name}.key"), &made.key);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

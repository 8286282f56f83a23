//! Certificates made on the spot, as PEM files in a test's folder.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use super::Folder;

/// An authority; its certificate lies in `NAME.pem`.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(folder: &Folder, name: &str) -> Self {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        folder.write(&format!("{name}.pem"), issuer.pem());
        Self { issuer }
    }

    /// Writes `NAME.pem` and `NAME.key` for these names.
    pub(crate) fn issue(&self, folder: &Folder, name: &str, names: &[&str]) {
        self.write(folder, name, named(name, names));
    }

    /// One that ended with the year 2001.
    pub(crate) fn issue_expired(&self, folder: &Folder, name: &str) {
        let mut params = named(name, &["expired.test"]);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 12, 31);
        self.write(folder, name, params);
    }

    fn write(&self, folder: &Folder, name: &str, mut params: CertificateParams) {
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        folder.write(&format!("{name}.pem"), cert.pem());
        folder.write(&format!("{name}.key"), key.serialize_pem());
    }
}

fn named(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

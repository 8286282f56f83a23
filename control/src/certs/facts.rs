//! What a certificate says of itself, read once (RFC 5280).

use std::net::IpAddr;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, SubjectAltName, SubjectKeyIdentifier,
};

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// As RFC 4514 writes it.
    pub subject: String,
    /// The same of its issuer.
    pub issuer: String,
    /// DNS names it is for, in lower case, `*.` for any one label.
    pub dns_names: Vec<String>,
    /// Addresses it is for.
    pub addresses: Vec<IpAddr>,
    /// URIs it is for, SPIFFE ids among them.
    pub uris: Vec<String>,
    /// Mailboxes it is for.
    pub mailboxes: Vec<String>,
    /// Seconds since 1970 from which it is valid; negative times count as 0.
    pub not_before: u64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: u64,
    /// Subject key identifier.
    pub key_id: Option<Vec<u8>>,
    /// Authority key identifier: the issuer's `key_id`.
    pub authority_key_id: Option<Vec<u8>>,
    /// It may sign others.
    pub is_authority: bool,
    pub(super) subject_der: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
}

impl CertificateFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is no certificate, in a few words.
    pub fn of(der: &CertificateDer<'_>) -> Result<CertificateFacts, String> {
        let unreadable = |error| format!("is no X.509 certificate: {error}");
        let read = Certificate::from_der(der).map_err(unreadable)?.tbs_certificate;
        let mut facts = CertificateFacts {
            subject: read.subject.to_string(),
            issuer: read.issuer.to_string(),
            not_before: unix_seconds(read.validity.not_before.to_system_time()),
            not_after: unix_seconds(read.validity.not_after.to_system_time()),
            subject_der: read.subject.to_der().map_err(unreadable)?,
            issuer_der: read.issuer.to_der().map_err(unreadable)?,
            ..CertificateFacts::default()
        };
        if let Some((_, SubjectAltName(names))) = read.get().map_err(unreadable)? {
            names.iter().for_each(|name| facts.add_name(name));
        }
        if let Some((_, SubjectKeyIdentifier(id))) = read.get().map_err(unreadable)? {
            facts.key_id = Some(id.as_bytes().to_vec());
        }
        if let Some((_, authority)) = read.get::<AuthorityKeyIdentifier>().map_err(unreadable)? {
            facts.authority_key_id = authority.key_identifier.map(|id| id.as_bytes().to_vec());
        }
        if let Some((_, constraints)) = read.get::<BasicConstraints>().map_err(unreadable)? {
            facts.is_authority = constraints.ca;
        }
        Ok(facts)
    }

    fn add_name(&mut self, name: &GeneralName) {
        match name {
            GeneralName::DnsName(name) => {
                self.dns_names.push(name.as_str().to_ascii_lowercase());
            }
            GeneralName::UniformResourceIdentifier(uri) => self.uris.push(uri.as_str().to_owned()),
            GeneralName::Rfc822Name(mailbox) => self.mailboxes.push(mailbox.as_str().to_owned()),
            GeneralName::IpAddress(octets) => self.addresses.extend(address(octets.as_bytes())),
            _ => {}
        }
    }

    /// Whether it is for nobody: such a certificate is of no use to a server.
    pub fn is_nameless(&self) -> bool {
        self.dns_names.is_empty() && self.addresses.is_empty()
    }

    /// Whether it says that it signed itself.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::Authority;

    #[test]
    fn a_certificate_is_read() {
        let authority = Authority::new("root");
        let made = authority.issue(&["A.example.com", "*.b.example.com", "127.0.0.1"]);
        let facts = CertificateFacts::of(&made.der).unwrap();
        assert_eq!(facts.dns_names, ["a.example.com", "*.b.example.com"]);
        assert_eq!(facts.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(!facts.is_authority && !facts.is_nameless() && !facts.is_self_issued());
        assert!(facts.not_before < facts.not_after);
        let root = CertificateFacts::of(&authority.der).unwrap();
        assert_eq!((root.subject.as_str(), root.is_authority), ("CN=root", true));
        assert_eq!(facts.issuer_der, root.subject_der);
        assert_eq!(facts.authority_key_id, root.key_id);
        assert!(facts.authority_key_id.is_some() && root.is_self_issued());
    }

    #[test]
    fn other_bytes_are_none() {
        let why = CertificateFacts::of(&CertificateDer::from(vec![0x30, 0x03, 1, 2])).unwrap_err();
        assert!(why.starts_with("is no X.509 certificate"), "{why}");
    }
}

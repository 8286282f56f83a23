//! Which certificate a client is shown, by the name that it asks for.
//!
//! Order: the exact name, then `*.` and the rest behind the first label, then the default, which is
//! the first pair of the listener. Several pairs may have the same name, an ECDSA and an RSA one:
//! the first whose key the client can check is taken. A client without SNI gets the default.
//!
//! Cost of a handshake: at most two look-ups of a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// The certificates of a listener by name.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    exact: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`.
    wildcard: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl Resolver {
    /// The first pair is the default, with all others of its names.
    pub(super) fn new(pairs: &[Pair]) -> Resolver {
        let mut resolver = Resolver::default();
        for pair in pairs {
            let names = pair.chain.first().map_or(&[][..], |facts| &facts.dns_names);
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut resolver.wildcard, rest),
                    None => (&mut resolver.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(Arc::clone(&pair.key));
            }
        }
        let names = |pair: &Pair| pair.chain.first().map(|facts| facts.dns_names.clone());
        let first = pairs.first().and_then(names);
        let alike = pairs.iter().filter(|pair| names(pair) == first);
        resolver.default = alike.map(|pair| Arc::clone(&pair.key)).collect();
        resolver
    }

    fn named(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }

    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let keys = name.and_then(|name| self.named(name)).unwrap_or(&self.default);
        let fits = keys.iter().find(|key| key.key.choose_scheme(schemes).is_some());
        fits.or(keys.first()).cloned()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.find(name.as_deref(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::facts::CertificateFacts;
    use crate::certs::testing::Authority;

    fn pair(authority: &Authority, names: &[&str], rsa: bool) -> Pair {
        let made = if rsa { authority.issue_rsa(names) } else { authority.issue(names) };
        let key = made.certified();
        Pair { chain: vec![CertificateFacts::of(&made.der).unwrap()], key }
    }

    #[test]
    fn exact_before_wildcard_before_default() {
        let authority = Authority::new("root");
        let pairs: Vec<Pair> = [
            &["default.test"][..],
            &["*.example.com", "example.com"],
            &["api.example.com"],
            &["*.example.com"],
        ]
        .map(|names| pair(&authority, names, false))
        .into();
        let resolver = Resolver::new(&pairs);
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let position = |name| {
            let found = resolver.find(name, &schemes).unwrap();
            pairs.iter().position(|pair| Arc::ptr_eq(&pair.key, &found)).unwrap()
        };
        for (name, expected) in [
            (None, 0),
            (Some("default.test"), 0),
            (Some("example.com"), 1),
            (Some("www.example.com"), 1),
            (Some("api.example.com"), 2),
            (Some("a.b.example.com"), 0),
            (Some("unknown"), 0),
            (Some(".example.com"), 1),
            (Some(""), 0),
        ] {
            assert_eq!(position(name), expected, "{name:?}");
        }
    }

    #[test]
    fn of_two_kinds_of_key_the_client_gets_the_one_it_can_check() {
        let authority = Authority::new("root");
        let pairs = vec![pair(&authority, &["a.test"], false), pair(&authority, &["a.test"], true)];
        let resolver = Resolver::new(&pairs);
        for name in [Some("a.test"), None] {
            let rsa = resolver.find(name, &[SignatureScheme::RSA_PSS_SHA256]).unwrap();
            assert!(Arc::ptr_eq(&rsa, &pairs[1].key));
            let both = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];
            assert!(Arc::ptr_eq(&resolver.find(name, &both).unwrap(), &pairs[0].key));
            // Neither: the handshake fails with the reason that rustls gives.
            assert!(resolver.find(name, &[SignatureScheme::ED25519]).is_some());
        }
        assert!(Resolver::new(&[]).find(None, &[]).is_none());
    }
}

//! Who a verified client is, as the text that upstreams are told.
//!
//! Names come from a certificate that an authority of the operator's signed; still nothing in them
//! may end a field, or make one name look like two. Bytes other than visible ASCII and space become
//! `%XX`, and inside an alternative name so do `,` and `%`.
//!
//! Cost: once a connection with a client certificate.

use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;

use super::facts::CertificateFacts;

/// Who a client is, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// As RFC 4514 writes it: `CN=billing,O=Example`.
    pub subject: String,
    /// Alternative names with their kind, commas between: `DNS:a.example,URI:spiffe://b`.
    pub alternative_names: String,
}

/// Reads a client's certificate, which was verified before.
///
/// # Errors
/// Why it cannot be read.
pub fn identity(der: &CertificateDer<'_>) -> Result<ClientIdentity, String> {
    let facts = CertificateFacts::of(der)?;
    let mut subject = String::new();
    escape(&mut subject, &facts.subject, b"");
    Ok(ClientIdentity { subject, alternative_names: alternative_names(&facts) })
}

fn alternative_names(facts: &CertificateFacts) -> String {
    let mut text = String::new();
    let mut add = |kind: &str, name: &str| {
        text.push_str(if text.is_empty() { "" } else { "," });
        text.push_str(kind);
        escape(&mut text, name, b",%");
    };
    facts.dns_names.iter().for_each(|name| add("DNS:", name));
    facts.uris.iter().for_each(|uri| add("URI:", uri));
    facts.mailboxes.iter().for_each(|mailbox| add("email:", mailbox));
    facts.addresses.iter().for_each(|address| add("IP:", &address.to_string()));
    text
}

fn escape(text: &mut String, name: &str, also: &[u8]) {
    for byte in name.bytes() {
        if (byte == b' ' || byte.is_ascii_graphic()) && !also.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_end_a_field_nor_be_two() {
        let facts = CertificateFacts {
            dns_names: vec!["a".into(), "b,DNS:evil\r\nx: y%".into()],
            uris: vec!["spiffe://c".into()],
            addresses: vec!["::1".parse().unwrap()],
            ..CertificateFacts::default()
        };
        assert_eq!(
            alternative_names(&facts),
            "DNS:a,DNS:b%2CDNS:evil%0D%0Ax: y%25,URI:spiffe://c,IP:::1"
        );
        let mut subject = String::new();
        escape(&mut subject, "CN=Zo\u{eb}\n,O=x", b"");
        assert_eq!(subject, "CN=Zo%C3%AB%0A,O=x");
    }
}

//! What went wrong with TLS, in words for the log, the counters and the local reply.

use rustls::{AlertDescription, CertificateError, Error};

/// Why there is no TLS connection, or no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// The peer refused with an alert; which certificates it may not like is not ours to know.
    Alert,
    /// Its certificate ended, or has not begun.
    CertificateExpired,
    /// Its certificate is malformed, revoked, for another purpose, or badly signed.
    CertificateInvalid,
    /// It has to show a certificate, and did not.
    CertificateMissing,
    /// No authority that is trusted here signed its certificate.
    CertificateUnknownIssuer,
    /// Its certificate is for another name.
    CertificateWrongName,
    /// It left, or its socket failed.
    Gone,
    /// Its hello, or another message of the handshake, is longer than 64 KiB.
    HelloTooLarge,
    /// No version, cipher suite, group or signature scheme in common.
    Incompatible,
    /// Bytes that are no TLS, or not allowed there.
    BadMessage,
    /// None of the protocols that it offers by ALPN is spoken; or it took none, and needed to.
    NoApplicationProtocol,
    /// The handshake took too long.
    Timeout,
    /// Something on this side: no randomness, no memory of a key.
    Internal,
}

impl TlsFault {
    /// What an error means; `is_client` says which side this is.
    pub(super) fn of(error: &Error, is_client: bool) -> TlsFault {
        match error {
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                TlsFault::NoApplicationProtocol
            }
            Error::AlertReceived(_) => TlsFault::Alert,
            Error::InvalidCertificate(why) => of_certificate(why),
            Error::NoCertificatesPresented => TlsFault::CertificateMissing,
            Error::NoApplicationProtocol => TlsFault::NoApplicationProtocol,
            Error::PeerIncompatible(_) => TlsFault::Incompatible,
            // No certificate of ours fits what the client can check.
            Error::General(why) if !is_client && why.contains("no server certificate") => {
                TlsFault::Incompatible
            }
            Error::InvalidMessage(_) | Error::PeerMisbehaved(_) | Error::DecryptError => {
                TlsFault::BadMessage
            }
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                TlsFault::BadMessage
            }
            Error::PeerSentOversizedRecord => TlsFault::BadMessage,
            _ => TlsFault::Internal,
        }
    }

    /// The reason word where the peer is a client.
    pub(crate) fn word(self) -> &'static str {
        match self {
            TlsFault::Alert => "tls_refused_by_client",
            TlsFault::BadMessage => "tls_bad_message",
            TlsFault::CertificateExpired => "tls_client_cert_expired",
            TlsFault::CertificateInvalid => "tls_client_cert_invalid",
            TlsFault::CertificateMissing => "tls_client_cert_missing",
            TlsFault::CertificateUnknownIssuer => "tls_client_cert_unknown",
            // A client's certificate is for no name.
            TlsFault::CertificateWrongName => "tls_client_cert_invalid",
            TlsFault::Gone => "tls_client_gone",
            TlsFault::HelloTooLarge => "tls_hello_too_large",
            TlsFault::Incompatible => "tls_incompatible",
            TlsFault::Internal => "tls_internal",
            TlsFault::NoApplicationProtocol => "tls_no_application_protocol",
            TlsFault::Timeout => "tls_handshake_timeout",
        }
    }

    /// The reason word where the peer is an endpoint.
    pub(crate) fn upstream_word(self) -> &'static str {
        match self {
            TlsFault::Alert => "upstream_tls_refused",
            TlsFault::BadMessage => "upstream_tls_bad_message",
            TlsFault::CertificateExpired => "upstream_tls_cert_expired",
            // A server always shows one.
            TlsFault::CertificateInvalid | TlsFault::CertificateMissing => {
                "upstream_tls_cert_invalid"
            }
            TlsFault::CertificateUnknownIssuer => "upstream_tls_cert_unknown",
            TlsFault::CertificateWrongName => "upstream_tls_cert_wrong_name",
            TlsFault::Gone => "upstream_tls_closed",
            TlsFault::HelloTooLarge => "upstream_tls_bad_message",
            TlsFault::Incompatible => "upstream_tls_incompatible",
            TlsFault::Internal => "upstream_tls_internal",
            TlsFault::NoApplicationProtocol => "upstream_tls_no_application_protocol",
            TlsFault::Timeout => "upstream_tls_timeout",
        }
    }
}

fn of_certificate(why: &CertificateError) -> TlsFault {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    match why {
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
            TlsFault::CertificateExpired
        }
        NotValidForName | NotValidForNameContext { .. } => TlsFault::CertificateWrongName,
        UnknownIssuer => TlsFault::CertificateUnknownIssuer,
        _ => TlsFault::CertificateInvalid,
    }
}

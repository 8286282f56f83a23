//! Two sessions against each other, cut anywhere; sockets are for the tests of the whole binary.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::Buf;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::fault::TlsFault;
use super::session::{Job, Next, Session};

/// One end: a session with what it has received and opened.
struct End {
    session: Session,
    records: Vec<u8>,
    opened: VecDeque<Buf>,
    established: bool,
    closed: bool,
}

impl End {
    fn new(session: Session) -> End {
        let (records, opened) = (Vec::new(), VecDeque::new());
        End { session, records, opened, established: false, closed: false }
    }

    /// Takes bytes in; gives what is to be said.
    fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, (TlsFault, Vec<u8>)> {
        self.records.extend_from_slice(bytes);
        let mut words = Vec::new();
        loop {
            let mut job = Job::Open(&mut self.opened);
            let (discard, next) = self.session.step(&mut self.records, &mut job, &mut words);
            self.records.drain(..discard);
            match next {
                Next::More => {}
                Next::PeerClosed => self.closed = true,
                Next::Ready => {
                    self.established = true;
                    return Ok(words);
                }
                Next::Blocked => return Ok(words),
                Next::Failed(error) => {
                    self.session.last_words(&mut words);
                    return Err((TlsFault::of(&error, self.session.is_client()), words));
                }
            }
        }
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let (mut sealed, mut words) = (Vec::new(), Vec::new());
        let job = Job::Seal(plain, &mut sealed);
        self.session.act(&mut self.records, job, &mut words).unwrap();
        words.append(&mut sealed);
        words
    }

    fn close(&mut self) -> Vec<u8> {
        let (mut sealed, mut words) = (Vec::new(), Vec::new());
        self.session.act(&mut self.records, Job::Close(&mut sealed), &mut words).unwrap();
        words.append(&mut sealed);
        words
    }

    fn text(&mut self) -> Vec<u8> {
        self.opened.drain(..).flat_map(|buf| buf.to_vec()).collect()
    }
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn identity(name: &str) -> Identity {
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

fn roots(of: &Identity) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(of.0.clone()).unwrap();
    roots
}

type Versions = &'static [&'static SupportedProtocolVersion];

fn server(own: &Identity, clients: Option<&Identity>, versions: Versions) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(roots(clients));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![own.0.clone()], own.1.clone_key()).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn client(trusts: &Identity, versions: Versions) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots(trusts)).with_no_client_auth()
}

fn ends(server: ServerConfig, client: ClientConfig) -> (End, End) {
    let name = ServerName::try_from("a.test").unwrap();
    let server = Session::server(&Arc::new(server)).unwrap();
    (End::new(server), End::new(Session::client(&Arc::new(client), &name).unwrap()))
}

/// Lets both talk, `piece` bytes at a time, until neither has anything to say. The first fault ends
/// it; the other side still hears the alert.
fn talk(server: &mut End, client: &mut End, piece: usize) -> Result<(), (TlsFault, bool)> {
    let mut to_server = client.receive(&[]).unwrap();
    let mut to_client = Vec::new();
    loop {
        for bytes in std::mem::take(&mut to_server).chunks(piece) {
            match server.receive(bytes) {
                Ok(words) => to_client.extend(words),
                Err((fault, alert)) => {
                    to_client.extend(alert);
                    let heard = to_client.chunks(piece).any(|bytes| client.receive(bytes).is_err());
                    return Err((fault, heard));
                }
            }
        }
        for bytes in std::mem::take(&mut to_client).chunks(piece) {
            match client.receive(bytes) {
                Ok(words) => to_server.extend(words),
                Err((fault, alert)) => {
                    to_server.extend(alert);
                    let heard = to_server.chunks(piece).any(|bytes| server.receive(bytes).is_err());
                    return Err((fault, heard));
                }
            }
        }
        if to_server.is_empty() && to_client.is_empty() {
            return Ok(());
        }
    }
}

const VERSIONS: [Versions; 2] = [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

#[test]
fn an_idle_connection_is_small() {
    // Beside it rustls keeps what the session has: 4.8 KiB in all, as measured.
    assert!(size_of::<super::Tls>() <= 2048, "{}", size_of::<super::Tls>());
}

#[test]
fn both_versions_work_however_they_are_cut() {
    let own = identity("own");
    for versions in VERSIONS {
        for piece in [1, 7, 1000, usize::MAX] {
            let (mut server, mut client) =
                ends(server(&own, None, versions), client(&own, versions));
            talk(&mut server, &mut client, piece).unwrap();
            assert!(server.established && client.established);
            for (len, times) in [(1, 3), (16 * 1024, 2), (5000, 1)] {
                for _ in 0..times {
                    let text = vec![b'x'; len];
                    let sealed = client.seal(&text);
                    for bytes in sealed.chunks(piece) {
                        assert!(server.receive(bytes).unwrap().is_empty());
                    }
                    assert!(server.text() == text);
                    let sealed = server.seal(&text);
                    assert!(client.receive(&sealed).unwrap().is_empty());
                    assert!(client.text() == text);
                }
            }
            let last = [client.seal(b"bye"), client.close()].concat();
            server.receive(&last).unwrap();
            assert!(server.closed && server.text() == b"bye");
            // Half of the connection lives on.
            client.receive(&server.seal(b"and you")).unwrap();
            client.receive(&server.close()).unwrap();
            assert!(client.closed && client.text() == b"and you");
        }
    }
}

#[test]
fn each_fault_has_its_word_and_its_alert() {
    let (own, other) = (identity("own"), identity("other"));
    for versions in VERSIONS {
        let fault = |server, client| {
            let (mut server, mut client) = ends(server, client);
            talk(&mut server, &mut client, usize::MAX).unwrap_err()
        };
        let of = |own, clients| server(own, clients, versions);
        let unknown = fault(of(&own, None), client(&other, versions));
        assert_eq!(unknown, (TlsFault::CertificateUnknownIssuer, true));
        let missing = fault(of(&own, Some(&other)), client(&own, versions));
        assert_eq!(missing, (TlsFault::CertificateMissing, true));
        let mut h2 = client(&own, versions);
        h2.alpn_protocols = vec![b"h2".to_vec()];
        let alpn = fault(of(&own, None), h2);
        assert_eq!(alpn, (TlsFault::NoApplicationProtocol, true));
        let apart = VERSIONS.into_iter().find(|others| others[0] != versions[0]).unwrap();
        let versions = fault(of(&own, None), client(&own, apart));
        assert_eq!(versions, (TlsFault::Incompatible, true));
    }
}

#[test]
fn what_is_no_tls_fails_at_its_first_record() {
    let own = identity("own");
    let hello_then_garbage = [&[22, 3, 1, 0, 4][..], &[99, 0, 0, 0]].concat();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x80; 64], &hello_then_garbage] {
        let (mut server, _) = ends(server(&own, None, VERSIONS[1]), client(&own, VERSIONS[1]));
        let (fault, alert) = server.receive(bytes).unwrap_err();
        assert_eq!(fault, TlsFault::BadMessage);
        assert_eq!(alert.first(), Some(&21), "an alert");
    }
}

#[test]
fn a_changed_byte_ends_the_connection() {
    let own = identity("own");
    let (mut server, mut client) = ends(server(&own, None, VERSIONS[1]), client(&own, VERSIONS[1]));
    talk(&mut server, &mut client, usize::MAX).unwrap();
    let mut sealed = client.seal(b"text");
    sealed[8] ^= 1;
    assert_eq!(server.receive(&sealed).unwrap_err().0, TlsFault::BadMessage);
    assert!(server.opened.is_empty());
}

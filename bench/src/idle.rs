//! A connection that makes one request after another and is then left alone: over TCP or TLS, in
//! HTTP/1.1 or HTTP/2.
//!
//! Any certificate is taken: what is measured is what the connection costs the other side.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::plain;
use crate::url::Url;

/// How connections are opened.
pub(crate) struct Opener {
    url: Url,
    tls: Option<Arc<ClientConfig>>,
    is_http2: bool,
}

/// An open connection.
pub(crate) struct Idle {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// The stream of the next request, in HTTP/2.
    stream: Option<u32>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0];
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status 200` of HPACK's static table.
const STATUS_200: u8 = 0x88;

impl Opener {
    pub(crate) fn new(url: Url, tls: bool, is_http2: bool) -> Result<Self> {
        let tls =
            tls.then(|| client_config(aws_lc_rs::default_provider(), is_http2)).transpose()?;
        Ok(Self { url, tls, is_http2 })
    }

    /// For handshakes of one group, `x25519` or `x25519mlkem768`, and one cipher suite.
    pub(crate) fn of_group(url: Url, group: &str) -> Result<Self> {
        let group = match group {
            "x25519" => aws_lc_rs::kx_group::X25519,
            "x25519mlkem768" => aws_lc_rs::kx_group::X25519MLKEM768,
            other => anyhow::bail!("no group `{other}`"),
        };
        let provider = CryptoProvider {
            kx_groups: vec![group],
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        };
        let tls = Some(client_config(provider, false)?);
        Ok(Self { url, tls, is_http2: false })
    }

    /// Connects; the handshake, where there is one, comes with the first bytes.
    pub(crate) fn open(&self) -> Result<Idle> {
        let socket = TcpStream::connect(self.url.address)?;
        // The end of a handshake and the request are two small writes.
        socket.set_nodelay(true)?;
        let name = ServerName::from(self.url.address.ip());
        let tls = self.tls.as_ref().map(|config| ClientConnection::new(config.clone(), name));
        let mut idle = Idle { socket, tls: tls.transpose()?.map(Box::new), stream: None };
        if self.is_http2 {
            idle.write_all(PREFACE)?;
            idle.write_all(EMPTY_SETTINGS)?;
            idle.stream = Some(1);
        }
        Ok(idle)
    }

    /// Makes a request and reads the whole reply.
    pub(crate) fn ask(&self, idle: &mut Idle) -> Result<u16> {
        let Some(stream) = idle.stream else {
            return Ok(plain::exchange(idle, &plain::get(&self.url))?);
        };
        idle.stream = Some(stream + 2);
        idle.write_all(&get(&self.url, stream)?)?;
        while !read_frame(idle, stream)? {}
        Ok(200)
    }
}

impl Idle {
    /// Ends the handshake.
    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.is_handshaking() {
            tls.complete_io(&mut self.socket)?;
        }
        Ok(())
    }

    /// Whether the other side has neither closed the connection nor sent anything.
    pub(crate) fn is_idle(&self) -> bool {
        plain::is_idle(&self.socket)
    }
}

impl Read for Idle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.socket).read(into),
            None => self.socket.read(into),
        }
    }
}

impl Write for Idle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.socket).write(bytes),
            None => self.socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.socket).flush(),
            None => self.socket.flush(),
        }
    }
}

/// The HEADERS frame of a GET; its fields are of the static table, or literals without an index.
fn get(url: &Url, stream: u32) -> Result<Vec<u8>> {
    const METHOD_GET: u8 = 0x82;
    const SCHEME_HTTP: u8 = 0x86;
    const PATH: u8 = 4;
    const AUTHORITY: u8 = 1;
    let mut block = vec![METHOD_GET, SCHEME_HTTP];
    for (name, value) in [(PATH, &url.path), (AUTHORITY, &url.host)] {
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 127);
        block.extend([name, length.context("host and path have 126 bytes at most")?]);
        block.extend(value.bytes());
    }
    let [.., high, middle, low] = (block.len() as u32).to_be_bytes();
    let mut frame = vec![high, middle, low, HEADERS, END_STREAM | END_HEADERS];
    frame.extend(stream.to_be_bytes());
    frame.extend(block);
    Ok(frame)
}

/// Gives credit back to the connection; streams end long before theirs is used up.
fn window_update(bytes: u32) -> [u8; 13] {
    let mut frame = [0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[9..].copy_from_slice(&bytes.to_be_bytes());
    frame
}

/// Reads a frame, and says whether it was the last of the reply.
fn read_frame(idle: &mut Idle, stream: u32) -> Result<bool> {
    let mut head = [0; 9];
    idle.read_exact(&mut head)?;
    let [high, middle, low, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    idle.read_exact(&mut payload)?;
    if kind == SETTINGS && flags & ACK == 0 {
        idle.write_all(SETTINGS_ACK)?;
    }
    if kind == DATA && !payload.is_empty() {
        idle.write_all(&window_update(payload.len() as u32))?;
    }
    if u32::from_be_bytes(id) != stream || !matches!(kind, DATA | HEADERS) {
        return Ok(false);
    }
    // The encoder's first block may begin with a change of its table's size.
    let first = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
    anyhow::ensure!(kind == DATA || first == Some(&STATUS_200), "the reply has no status 200");
    Ok(flags & END_STREAM != 0)
}

fn client_config(provider: CryptoProvider, is_http2: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![if is_http2 { b"h2".into() } else { b"http/1.1".into() }];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! What TLS costs a record of 16 KiB, step by step: each copy that `src/tls` names, and the cipher.
//!
//! `cargo bench -p gateway --bench tls`. The steps are those of the data path, done here on their
//! own, because rustls does the cipher and its copy in one call.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::sync::Arc;

use engine::Buf;
use rustix::time::{ClockId, clock_gettime};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const RECORD_BYTES: usize = 16 * 1024;
const ROUNDS: usize = 20_000;
/// `cargo test --benches` only shows that it works.
const ROUNDS_OF_A_TEST: usize = 10;

/// CPU time of this thread in nanoseconds.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Prints the mean time of `step`.
fn time(name: &str, mut step: impl FnMut()) {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let rounds = if is_bench { ROUNDS } else { ROUNDS_OF_A_TEST };
    (0..rounds / 10).for_each(|_| step());
    let start = cpu_ns();
    (0..rounds).for_each(|_| step());
    println!("{name:<52} {:>8.0} ns", (cpu_ns() - start) / rounds as f64);
}

/// Takes one step; the words that are to be sent are added to `words`. False when blocked.
fn step<D>(
    UnbufferedStatus { state, .. }: UnbufferedStatus<'_, '_, D>,
    words: &mut Vec<u8>,
) -> bool {
    match state.expect("a handshake without faults") {
        ConnectionState::EncodeTlsData(mut data) => {
            let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
                return true;
            };
            let at = words.len();
            words.resize(at + size.required_size, 0);
            data.encode(&mut words[at..]).expect("it fits");
            true
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            true
        }
        _ => false,
    }
}

fn pair() -> (UnbufferedServerConnection, UnbufferedClientConnection) {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("a pair");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone());
    let server = server.with_safe_default_protocol_versions().expect("versions");
    let server = server.with_no_client_auth();
    let server = server.with_single_cert(vec![made.cert.der().clone()], key).expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("an authority");
    let client = ClientConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().expect("versions");
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("a.test").expect("a name");
    let mut server = UnbufferedServerConnection::new(Arc::new(server)).expect("a connection");
    let mut client = UnbufferedClientConnection::new(Arc::new(client), name).expect("a connection");
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    while server.is_handshaking() || client.is_handshaking() {
        loop {
            let status = client.process_tls_records(&mut to_client);
            let discard = status.discard;
            let more = step(status, &mut to_server);
            to_client.drain(..discard);
            if !more {
                break;
            }
        }
        loop {
            let status = server.process_tls_records(&mut to_server);
            let discard = status.discard;
            let more = step(status, &mut to_client);
            to_server.drain(..discard);
            if !more {
                break;
            }
        }
    }
    while step(client.process_tls_records(&mut to_client), &mut to_server) {}
    (server, client)
}

fn seal(client: &mut UnbufferedClientConnection, plain: &[u8], sealed: &mut [u8]) -> usize {
    match client.process_tls_records(&mut []).state.expect("an open connection") {
        ConnectionState::WriteTraffic(mut traffic) => {
            traffic.encrypt(plain, sealed).expect("it fits")
        }
        other => panic!("{other:?}"),
    }
}

fn main() {
    let plain = vec![7_u8; RECORD_BYTES];
    let mut scratch = Vec::with_capacity(2 * RECORD_BYTES);
    println!("a record of {RECORD_BYTES} bytes, TLS 1.3");
    time("received: receive buffer to record buffer", || {
        scratch.clear();
        scratch.extend_from_slice(black_box(&plain));
    });
    let (mut server, mut client) = pair();
    let mut sealed = vec![0; RECORD_BYTES + 64];
    time("both: cipher twice, rustls's copies, both directions", || {
        let len = seal(&mut client, &plain, &mut sealed);
        let status = server.process_tls_records(&mut sealed[..len]);
        let Ok(ConnectionState::ReadTraffic(mut traffic)) = status.state else {
            panic!("a record");
        };
        while let Some(record) = traffic.next_record() {
            black_box(record.expect("a record").payload.len());
        }
    });
    let (_, mut alone) = pair();
    time("sent: cipher and rustls's two copies", || {
        black_box(seal(&mut alone, &plain, &mut sealed));
    });
    time("sent: a zeroed buffer for the sealed record", || {
        black_box(vec![0_u8; RECORD_BYTES + 64]);
    });
    time("sent: pieces gathered into a record", || {
        scratch.clear();
        plain.chunks(2048).for_each(|piece| scratch.extend_from_slice(black_box(piece)));
    });
    time("received: rustls's vector to the chunk", || {
        black_box(Buf::copy_of(black_box(&plain)));
    });
}

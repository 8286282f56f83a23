//! gRPC calls of every kind through the gateway, judged here; client and server are tonic.
//!
//! Usage: `ringway-interop-tonic SERVER_PORT SERVER_TLS_PORT CERT KEY CA TARGET...`. A target is
//! `h2c=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway. It serves both ports, asks every
//! case of every target, and ends with `N passed, M failed`. A case fails by a panic.

#![forbid(unsafe_code)]

mod cases;
mod echo;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use cases::CASES;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};

/// Generous: it ends a run whose answer never comes.
const CASE_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [plain_port, tls_port, cert, key, ca, targets @ ..] = &words[..] else {
        eprintln!("usage: SERVER_PORT SERVER_TLS_PORT CERT KEY CA TARGET...");
        return ExitCode::from(2);
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    let identity = Identity::from_pem(read(cert), read(key));
    // Whoever asks from here on is heard.
    let [plain, tls] = {
        let _inside = runtime.enter();
        [plain_port, tls_port].map(|port| listen(local(port)))
    };
    runtime.spawn(serve(plain, None));
    runtime.spawn(serve(tls, Some(identity)));
    let failed = runtime.block_on(ask_all(targets, &read(ca)));
    ExitCode::from(u8::from(failed > 0))
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn local(port: &str) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")))
}

fn listen(address: SocketAddr) -> TcpIncoming {
    TcpIncoming::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"))
}

async fn serve(listener: TcpIncoming, identity: Option<Identity>) {
    let mut server = Server::builder();
    if let Some(identity) = identity {
        let tls = ServerTlsConfig::new().identity(identity);
        server = server.tls_config(tls).expect("a certificate and its key");
    }
    let listener = listener.with_nodelay(Some(true));
    let served = server.add_service(echo::Echo).serve_with_incoming(listener).await;
    served.unwrap_or_else(|error| panic!("{error:?}"));
}

async fn ask_all(targets: &[String], ca: &[u8]) -> u32 {
    let (mut passed, mut failed) = (0, 0);
    for target in targets {
        let channel = connect(target, ca);
        for case in CASES {
            let answer = (case.start)(channel.clone());
            let asked = tokio::spawn(tokio::time::timeout(CASE_LIMIT, answer));
            match asked.await {
                Ok(Ok(())) => passed += 1,
                late_or_panicked => {
                    failed += 1;
                    println!("{target} {}: {late_or_panicked:?}", case.name);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    failed
}

/// A channel that connects with its first call, and again when it must.
fn connect(target: &str, ca: &[u8]) -> Channel {
    let (kind, address) = target.split_once('=').expect("KIND=HOST:PORT");
    if kind == "h2c" {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        return endpoint.expect("an address").connect_lazy();
    }
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
    let endpoint = endpoint.tls_config(tls.domain_name("edge.test")).expect("a certificate");
    endpoint.connect_lazy()
}

//! `ringway-bench`: load for a gateway, its upstreams, and the numbers that come out.
//!
//! It is not part of the gateway and uses none of its code but the routing table, which `router`
//! measures by itself: monoio and std sockets only. One file a subcommand; `plan` says what load is
//! offered, `load` offers it, `report` says what happened.

#![forbid(unsafe_code)]

mod args;
mod calls;
mod changes;
mod client;
mod conns;
mod flood;
mod grpc;
mod handshakes;
mod hold;
mod http1;
mod http2;
mod idle;
mod load;
mod pace;
mod plain;
mod plan;
mod process;
mod report;
mod router;
mod shared;
mod slow;
mod streams;
mod tally;
mod thrift;
mod upstream;
mod url;

fn main() -> std::process::ExitCode {
    let matches = args::command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("http1", matches)) => http1::run(matches),
        Some(("http2", matches)) => http2::run(matches),
        Some(("grpc", matches)) => grpc::run(matches),
        Some(("thrift", matches)) => thrift::run(matches),
        Some(("handshakes", matches)) => handshakes::run(matches),
        Some(("conns", matches)) => conns::run(matches),
        Some(("slow", matches)) => slow::run(matches),
        Some(("flood", matches)) => flood::run(matches),
        Some(("upstream", matches)) => upstream::run(matches),
        Some(("router", matches)) => router::run(matches),
        Some(("changes", matches)) => changes::run(matches),
        _ => Err(anyhow::anyhow!("no subcommand; try --help")),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringway-bench: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}

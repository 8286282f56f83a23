//! `ringway demo`: mock upstreams and the gateway in one process, and real requests through it.
//!
//! It takes free ports, so it never collides, and needs no file and no privilege. What it prints
//! is what happened: each line is a request that a client of the standard library sent through
//! real sockets. It is not a benchmark: client, gateway and upstreams share the machine.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use ::mock::http1::{Options, Running};
use clap::{Arg, ArgAction, ArgMatches};
use control::Sources;
use engine::Address;
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};

use crate::args;
use crate::check;
use crate::client::{self, Client, Reply};
use crate::command::Command;
use crate::failure::Failure;
use crate::output;
use crate::run::{self, EVENTS_MAX, Event};
use crate::serve::Service;

mod pair;

use pair::Pair;

pub(crate) const COMMAND: Command = Command {
    name: "demo",
    about: "Start mock upstreams and the gateway, send requests through it, show what happened",
    define,
    run: demo,
};

/// Requests of the latency line.
const ROUNDS: usize = 500;
/// How long the demo's own connections may take to end.
const DRAIN: Duration = Duration::from_secs(5);

fn define(command: clap::Command) -> clap::Command {
    let once = Arg::new("once")
        .long("once")
        .action(ArgAction::SetTrue)
        .help("Exit after the requests instead of waiting for Ctrl-C");
    args::with_setting_flags(command.arg(once))
}

fn demo(matches: &ArgMatches) -> Result<(), Failure> {
    let (sender, events) = sync_channel(EVENTS_MAX);
    run::forward_signals(sender.clone())?;
    let upstreams = [start_mock()?, start_mock()?];
    let pair = Pair::make().map_err(|error| {
        Failure::Environment(format!("cannot keep a certificate in a temporary folder: {error}"))
    })?;
    let (snapshot, store) = check::load_store(&sources(matches, &pair, &upstreams))?;
    let mut service = Service::start(snapshot, store, sender)?;
    let [Address::Inet(edge), Address::Inet(secure)] = service.addresses()[..] else {
        return Err(Failure::Internal("the demo has not two addresses".into()));
    };
    service.announce();
    let told = tell(edge, (secure, &pair), &upstreams, &service);
    let told = told.map_err(|error| Failure::Internal(format!("the demo failed: {error}")))?;
    output::print(&told)?;
    if !matches.get_flag("once") {
        output::print(&what_to_try(edge, (secure, &pair), &service))?;
        wait_for_end(&mut service, &events);
    }
    service.drain(Some(Instant::now() + DRAIN));
    service.join();
    Ok(())
}

fn wait_for_end(service: &mut Service, events: &Receiver<Event>) {
    while let Ok(event) = events.recv() {
        match event {
            Event::Signal(SIGTERM | SIGINT | SIGQUIT) => return,
            Event::Signal(_) => {}
            Event::Changes(group) => service.change(vec![group], true),
        }
    }
}

fn start_mock() -> Result<Running, Failure> {
    ::mock::http1::start(Options::default())
        .map_err(|error| Failure::Environment(format!("cannot start a mock upstream: {error}")))
}

/// Flags of the demo lie under those that were typed.
fn sources(matches: &ArgMatches, pair: &Pair, upstreams: &[Running]) -> Sources {
    let mut flags = args::setting_values(matches);
    let shards = engine::cores().len().clamp(1, 2).to_string();
    for (name, value) in [("admin", "127.0.0.1:0"), ("shards", &shards), ("log-level", "warn")] {
        if !flags.iter().any(|(typed, _)| typed == name) {
            flags.push((name.to_owned(), value.to_owned()));
        }
    }
    Sources {
        file: Some(pair.config()),
        flags,
        upstream: upstreams.iter().map(|upstream| upstream.address.to_string()).collect(),
        ..Sources::default()
    }
}

/// Sends the requests and tells what came back.
fn tell(
    edge: SocketAddr,
    (secure, pair): (SocketAddr, &Pair),
    upstreams: &[Running],
    service: &Service,
) -> std::io::Result<String> {
    let places: Vec<String> = upstreams.iter().map(|up| up.address.to_string()).collect();
    let mut text = format!("client -> ringway {edge} -> upstreams {}\n\n", places.join(", "));
    let mut line = |what: &str, outcome: String| text.push_str(&format!("  {what:<38}{outcome}\n"));
    let mut client = Client::connect(edge)?;

    let (reply, took) = timed(&mut client, &get("/"))?;
    line("GET /", outcome(&reply, took));
    let (reply, took) = timed(&mut client, &get("/?bytes=1048576"))?;
    line("GET 1 MiB", outcome(&reply, took));
    let (reply, took) = timed(&mut client, &post("/echo", &[b'x'; 16 * 1024]))?;
    line("POST 16 KiB to /echo", outcome(&reply, took));
    let (reply, took) = timed(&mut client, &get("/?chunked=1&bytes=5000"))?;
    line("GET, chunked by the upstream", outcome(&reply, took));
    let (reply, took) = timed(&mut client, &get("/?status=404"))?;
    line("GET, 404 by the upstream", outcome(&reply, took));
    let (reply, took) = timed(&mut pair.connect(secure)?, &get("/"))?;
    line("GET / over TLS, with its handshake", outcome(&reply, took));
    let smuggled = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\
                     \r\n\r\n0\r\n\r\n";
    let (reply, took) = timed(&mut Client::connect(edge)?, smuggled)?;
    line("smuggling attempt (CL and TE)", outcome(&reply, took));
    line(&format!("GET / {ROUNDS} times, one after another"), latencies(&mut client)?);

    let shared: Vec<String> = upstreams.iter().map(|up| up.requests().to_string()).collect();
    text.push_str(&format!("\nupstreams answered {} requests\n", shared.join(" and ")));
    if let Some(admin) = service.admin() {
        text.push_str("and ringway counted:\n");
        let page = client::admin_page(admin, "/metrics")?.text();
        for row in page.lines().filter(|row| row.starts_with("ringway_requests_total")) {
            text.push_str(&format!("  {row}\n"));
        }
    }
    Ok(text)
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: demo\r\n\r\n").into_bytes()
}

fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: demo\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn timed<S: Read + Write>(
    client: &mut Client<S>,
    request: &[u8],
) -> std::io::Result<(Reply, Duration)> {
    let start = Instant::now();
    let reply = client.send(request)?;
    Ok((reply, start.elapsed()))
}

fn outcome(reply: &Reply, took: Duration) -> String {
    format!("{}  {:>8} bytes  {:>7} us", reply.status, reply.body.len(), took.as_micros())
}

fn latencies(client: &mut Client<std::net::TcpStream>) -> std::io::Result<String> {
    let request = get("/");
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (reply, took) = timed(client, &request)?;
        if reply.status != 200 {
            return Err(std::io::Error::other(format!("status {}", reply.status)));
        }
        times.push(took.as_micros());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Ok(format!("p50 {} us, p99 {} us, max {} us", at(50), at(99), at(100)))
}

fn what_to_try(edge: SocketAddr, (secure, pair): (SocketAddr, &Pair), service: &Service) -> String {
    let cert = pair.cert().display().to_string();
    let mut text = format!(
        "\nTry, while it runs (Ctrl-C ends it):\n\
         \x20 curl -i http://{edge}/\n\
         \x20 curl -i http://{edge}/echo -d 'hello'\n\
         \x20 curl -o /dev/null 'http://{edge}/?bytes=10000000'\n\
         \x20 curl -i 'http://{edge}/?delay_ms=300&status=503'\n\
         \x20 curl -i --cacert {cert} https://{secure}/\n"
    );
    if let Some(admin) = service.admin() {
        text.push_str(&format!("  curl http://{admin}/metrics\n  ringway conns --admin {admin}\n"));
    }
    text
}

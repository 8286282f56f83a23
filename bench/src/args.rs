//! What was typed: the subcommands, their flags, and how to read them.
//!
//! It validates and does nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::url::Url;

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("ringway-bench")
        .about("Load for an HTTP gateway, and the numbers that come out")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(http1())
        .subcommand(http2())
        .subcommand(grpc())
        .subcommand(thrift())
        .subcommand(handshakes())
        .subcommand(conns())
        .subcommand(slow())
        .subcommand(flood())
        .subcommand(upstream())
        .subcommand(router())
        .subcommand(changes())
}

fn handshakes() -> Command {
    Command::new("handshakes")
        .about("Full TLS 1.3 handshakes, one after the other on each thread")
        .arg(url())
        .arg(
            text("group", "x25519", "the one group that is offered")
                .value_parser(["x25519", "x25519mlkem768"]),
        )
        .arg(number("threads", "4", "clients side by side"))
        .arg(span("duration", "10s", "how long"))
        .arg(format())
}

fn changes() -> Command {
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("changes")
        .about("Single-route changes on ringway's admin socket, each on a connection of its own")
        .arg(path("admin", "the admin socket's path").required(true))
        .arg(number("rate", "1000", "changes a second in all"))
        .arg(span("seconds", "10s", "how long"))
        .arg(number("conns", "8", "changes that may be under way at a time"))
        .arg(text("cluster", "app", "where the routes lead"))
        .arg(text("host", "h{}.example.com", "the routes' host; {} is a number"))
        .arg(number("hosts", "50000", "the numbers begin at 0 and end before this"))
        .arg(path("log", "writes what each route must be now"))
        .arg(path("verify", "changes nothing: asks whether all that a --log holds is there"))
        .arg(format())
}

fn router() -> Command {
    Command::new("router")
        .about("What the routing table costs: to build, to keep, to ask, to change")
        .arg(number("rules", "1000000", "rules in the table"))
        .arg(
            text(
                "set",
                "hosts",
                "20 rules a host; all under one host; all on one path by a header",
            )
            .value_parser(["hosts", "one-host", "header"]),
        )
        .arg(number("threads", "2", "threads that build the table"))
        .arg(
            Arg::new("peers")
                .long("peers")
                .action(ArgAction::SetTrue)
                .help("also measures matchit, and how HAProxy and nginx load the rules"),
        )
        .arg(format())
}

fn http1() -> Command {
    let command = Command::new("http1")
        .about("Open-loop HTTP/1.1 load; latency counts from the intended start");
    offered(command, "64")
        .arg(text("method", "GET", "request method"))
        .arg(number("body-bytes", "0", "body of each request"))
        .arg(path_file())
        .arg(number("pipeline", "1", "requests sent in one write"))
}

fn http2() -> Command {
    let command =
        Command::new("http2").about("As http1, over HTTP/2 by prior knowledge: many streams each");
    offered(command, "8")
        .arg(number("streams", "8", "requests under way on each connection"))
        .arg(text("method", "GET", "request method"))
        .arg(number("body-bytes", "0", "body of each request"))
        .arg(path_file())
}

fn grpc() -> Command {
    let command = Command::new("grpc")
        .about("As http2, with unary calls of gRPC; or streams that are held open");
    offered(command, "8")
        .arg(number("streams", "8", "calls under way on each connection"))
        .arg(number("message-bytes", "100", "length of each message"))
        .arg(
            Arg::new("metadata")
                .long("metadata")
                .action(ArgAction::Append)
                .help("NAME=VALUE, sent with each call; the mock's orders, for one"),
        )
        .arg(Arg::new("hold").long("hold").action(ArgAction::SetTrue).conflicts_with("rate").help(
            "holds each stream open, with echoes, until standard input ends or for --duration; \
             prints `ready` once all are open, and at the end which broke",
        ))
        .arg(span("every", "1s", "hold: time between two messages of a stream"))
}

fn thrift() -> Command {
    let command = Command::new("thrift")
        .about("As http1, with calls of Thrift, several under way on each connection if asked to");
    let ttheader = "NAME=VALUE, in the TTHeader of each call; the mock's orders, for one";
    offered(command, "64")
        .mut_arg("url", |url| url.help("http://HOST:PORT/METHOD or /SERVICE/METHOD; / is /echo"))
        .arg(
            text("transport", "framed", "what delimits messages")
                .value_parser(["framed", "ttheader"]),
        )
        .arg(
            text("encoding", "binary", "how messages are written")
                .value_parser(["binary", "compact"]),
        )
        .arg(
            number("calls", "1", "calls under way on each connection")
                .value_parser(value_parser!(u64).range(1..)),
        )
        .arg(
            number("message-bytes", "100", "length of each call's argument")
                .value_parser(value_parser!(u64).range(..=8 << 20)),
        )
        .arg(Arg::new("metadata").long("metadata").action(ArgAction::Append).help(ttheader))
}

/// A command with the flags of every offered load.
fn offered(command: Command, connections: &'static str) -> Command {
    command
        .arg(url())
        .arg(number(
            "rate",
            "0",
            "requests a second in all; 0 = closed loop: as fast as replies come",
        ))
        .arg(number("connections", connections, "keep-alive connections"))
        .arg(span("duration", "10s", "how long requests are counted"))
        .arg(span("warmup", "0s", "load offered before counting starts"))
        .arg(number("requests", "0", "ends after this many requests; 0 = after the duration"))
        .arg(number("threads", "1", "load threads"))
        .arg(span("timeout", "10s", "a burst of replies later than this counts as an error"))
        .arg(pids())
        .arg(format())
}

fn path_file() -> Arg {
    Arg::new("path-file")
        .long("path-file")
        .value_parser(value_parser!(PathBuf))
        .help("a path a line; requests go through them in turn, each connection from its own place")
}

fn conns() -> Command {
    Command::new("conns")
        .about("Opens idle keep-alive connections and reports what each costs the process --pid")
        .arg(url())
        .arg(number("count", "9000", "connections, one request each"))
        .arg(number("baseline", "100", "connections at the first measurement"))
        .arg(number(
            "warm",
            "0",
            "requests on one connection before, so that fixed buffers are touched",
        ))
        .arg(text("protocol", "http1", "what is spoken").value_parser(["http1", "http2"]))
        .arg(
            Arg::new("tls")
                .long("tls")
                .action(ArgAction::SetTrue)
                .help("over TLS, with any certificate"),
        )
        .arg(text("exclude", "", "mappings whose name contains this are not counted"))
        .arg(span("hold", "0s", "keeps the connections open this long at the end"))
        .arg(pids())
        .arg(format())
}

fn slow() -> Command {
    Command::new("slow")
        .about("Clients that are too slow; prints `ready` once all of them are at it")
        .arg(url())
        .arg(
            text(
                "kind",
                "zero-window",
                "ask and never read; send a head byte by byte; read slowly",
            )
            .value_parser(["zero-window", "drip", "reader"]),
        )
        .arg(number("count", "1", "connections"))
        .arg(span("hold", "10s", "how long"))
        .arg(span("every", "1s", "drip: time between two bytes of a connection"))
        .arg(number("bytes-per-second", "1048576", "reader: speed of each connection"))
        .arg(format())
}

fn flood() -> Command {
    Command::new("flood")
        .about("Clients that mean harm by their number; prints `ready` once all of them are at it")
        .arg(url())
        .arg(
            text(
                "kind",
                "resets",
                "reset after a request or half of one; keep half a head open; read slowly",
            )
            .value_parser(["resets", "half-heads", "slow-readers"]),
        )
        .arg(number("count", "1000", "connections; resets: in all, else at a time"))
        .arg(number("batch", "1000", "resets: connections that are open at a time"))
        .arg(span("hold", "10s", "how long; resets are spread over it"))
        .arg(span("every", "1s", "half-heads, slow-readers: time between two looks at each"))
        .arg(number("bytes-per-second", "4096", "slow-readers: speed of each connection"))
        .arg(number("receive-bytes", "4096", "slow-readers: SO_RCVBUF; the kernel doubles it"))
        .arg(format())
}

fn upstream() -> Command {
    Command::new("upstream")
        .about("A mock upstream; prints its address, serves until killed")
        .arg(text("listen", "127.0.0.1:0", "address; port 0 = a free one"))
        .arg(number("threads", "1", "threads"))
        .arg(
            text(
                "protocol",
                "http1",
                "http2 is h2c, and a gRPC echo server: ringway.mock.Echo; thrift echoes as well",
            )
            .value_parser(["http1", "http2", "thrift"]),
        )
        .arg(number("body-bytes", "100", "length of the fixed body"))
        .arg(number("delay-ms", "0", "pause before each reply"))
        .arg(number("cpu", "", "pins the threads, from this core on"))
}

fn url() -> Arg {
    Arg::new("url").long("url").required(true).help("http://HOST:PORT/PATH")
}

fn pids() -> Arg {
    Arg::new("pid")
        .long("pid")
        .action(ArgAction::Append)
        .value_delimiter(',')
        .value_parser(value_parser!(u32))
        .help("process to measure; several are added up")
}

fn format() -> Arg {
    text("format", "text", "text or json").value_parser(["text", "json"])
}

fn text(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).default_value(default).help(help)
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_parser(value_parser!(u64)).help(help);
    if default.is_empty() { arg } else { arg.default_value(default) }
}

fn span(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_parser(duration).default_value(default).help(help)
}

/// Reads `10s`, `500ms`, `2m` or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("unknown unit {unit:?}; use ms, s or m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no duration"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

/// A number flag; 0 when it has neither value nor default.
pub(crate) fn number_of(matches: &ArgMatches, name: &str) -> u64 {
    matches.get_one(name).copied().unwrap_or(0)
}

/// A duration flag.
pub(crate) fn span_of(matches: &ArgMatches, name: &str) -> Duration {
    matches.get_one(name).copied().unwrap_or(Duration::ZERO)
}

/// A text flag.
pub(crate) fn text_of<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// A path flag.
pub(crate) fn path_of(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one(name).cloned()
}

/// The `--url` flag, resolved.
pub(crate) fn url_of(matches: &ArgMatches) -> anyhow::Result<Url> {
    Url::parse(text_of(matches, "url"))
}

/// The `--pid` flags.
pub(crate) fn pids_of(matches: &ArgMatches) -> Vec<u32> {
    matches.get_many("pid").map(|pids| pids.copied().collect()).unwrap_or_default()
}

/// Whether `--format json` was asked for.
pub(crate) fn wants_json(matches: &ArgMatches) -> bool {
    text_of(matches, "format") == "json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert!(duration("3h").is_err() && duration("").is_err() && duration("-1s").is_err());
    }
}

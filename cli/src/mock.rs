//! `ringway mock`: an upstream of HTTP/1.1 or Thrift to try things against.

use std::net::SocketAddr;
use std::time::Duration;

use ::mock::http1::Kind;
use ::mock::{http1, thrift};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, value_parser};

use crate::args;
use crate::command::Command;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command = Command {
    name: "mock",
    about: "Answer as an upstream of HTTP/1.1 or Thrift, for trying things out",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("IP:PORT")
                .value_parser(value_parser!(SocketAddr))
                .default_value("127.0.0.1:0")
                .help("Where to listen; port 0 takes a free one"),
        )
        .arg(
            Arg::new("protocol")
                .long("protocol")
                .value_name("PROTOCOL")
                .value_parser(["http1", "thrift"])
                .default_value("http1")
                .help("What is spoken; thrift echoes each call's first argument in any dialect"),
        )
        .arg(
            Arg::new("body-bytes")
                .long("body-bytes")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .default_value("100")
                .help("Bytes of each answer's body; of HTTP alone"),
        )
        .arg(
            Arg::new("delay")
                .long("delay")
                .value_name("TIME")
                .value_parser(args::parse_duration)
                .default_value("0ms")
                .help("Pause before each answer, such as 5ms or 1s"),
        )
        .arg(
            Arg::new("threads")
                .long("threads")
                .value_name("N")
                .value_parser(value_parser!(u16).range(1..=1024))
                .default_value("1")
                .help("Threads, each with its own listener"),
        )
        .arg(
            Arg::new("kind")
                .long("kind")
                .value_name("KIND")
                .value_parser(["fixed", "echo", "raw"])
                .default_value("fixed")
                .help("Answer with fixed bytes, the request as JSON, or its body; of HTTP alone"),
        )
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let base = base(matches);
    let listen = base.listen;
    let is_thrift = matches.get_one::<String>("protocol").is_some_and(|name| name == "thrift");
    let running = if is_thrift { thrift::start(calls(base, matches)?) } else { http1::start(base) };
    let running =
        running.map_err(|error| Failure::Bind(format!("cannot listen on {listen}: {error}")))?;
    output::note(&format!("mock listening on {}", running.address));
    running.join();
    Ok(())
}

fn base(matches: &ArgMatches) -> http1::Options {
    let mut options = http1::Options::default();
    if let Some(&listen) = matches.get_one::<SocketAddr>("listen") {
        options.listen = listen;
    }
    if let Some(&body_bytes) = matches.get_one::<u64>("body-bytes") {
        options.body_bytes = body_bytes;
    }
    if let Some(&delay) = matches.get_one::<Duration>("delay") {
        options.delay = delay;
    }
    if let Some(&threads) = matches.get_one::<u16>("threads") {
        options.threads = usize::from(threads);
    }
    options.kind = match matches.get_one::<String>("kind").map(String::as_str) {
        Some("echo") => Kind::Echo,
        Some("raw") => Kind::Raw,
        _ => Kind::Fixed,
    };
    options
}

/// The options of a Thrift mock; flags that it does not have are refused.
fn calls(base: http1::Options, matches: &ArgMatches) -> Result<thrift::Options, Failure> {
    for flag in ["body-bytes", "kind"] {
        if matches.value_source(flag) == Some(ValueSource::CommandLine) {
            let message = format!("--{flag} is for --protocol http1: a Thrift mock echoes");
            return Err(Failure::Usage(message));
        }
    }
    let http1::Options { listen, threads, delay, cpus, .. } = base;
    Ok(thrift::Options { listen, threads, delay, cpus })
}

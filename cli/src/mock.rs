//! `ringway mock`: an HTTP/1.1 upstream to try things against.

use std::net::SocketAddr;
use std::time::Duration;

use ::mock::http1::{Kind, Options};
use clap::{Arg, ArgMatches, value_parser};

use crate::args;
use crate::command::Command;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command = Command {
    name: "mock",
    about: "Answer as an HTTP/1.1 upstream, for trying things out",
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
            Arg::new("body-bytes")
                .long("body-bytes")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .default_value("100")
                .help("Bytes of each answer's body"),
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
                .help("Answer with fixed bytes, the request as JSON, or its body"),
        )
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let options = options(matches);
    let listen = options.listen;
    let running = ::mock::http1::start(options)
        .map_err(|error| Failure::Bind(format!("cannot listen on {listen}: {error}")))?;
    output::note(&format!("mock listening on {}", running.address));
    running.join();
    Ok(())
}

fn options(matches: &ArgMatches) -> Options {
    let mut options = Options::default();
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

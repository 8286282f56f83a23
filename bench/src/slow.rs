//! `ringway-bench slow`: clients that take their time, so that their cost for others can be seen.
//!
//! zero-window: asks for the URL and never reads, until the window of the connection is shut.
//! drip: sends a request's head one byte every `--every`; a connection that the server closes is
//! opened again, as an attacker would. reader: reads a reply at a fixed speed.
//! All of them run on one thread with plain sockets. `ready` is printed once they are at it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ArgMatches;
use serde_json::json;

use crate::args::{number_of, span_of, text_of, url_of, wants_json};
use crate::plain;
use crate::url::Url;

/// What the slow clients saw.
#[derive(Default)]
struct Seen {
    opened: u64,
    /// Connections that the other side ended.
    ended: u64,
    bytes_out: u64,
    bytes_in: u64,
}

/// Exits 0 after `--hold`.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let url = url_of(matches)?;
    let count = number_of(matches, "count");
    let end = Instant::now() + span_of(matches, "hold");
    let seen = match text_of(matches, "kind") {
        "zero-window" => zero_window(&url, count, end)?,
        "drip" => drip(&url, count, end, span_of(matches, "every"))?,
        _ => read_slowly(&url, count, end, number_of(matches, "bytes-per-second"))?,
    };
    let Seen { opened, ended, bytes_out, bytes_in } = seen;
    if wants_json(matches) {
        let seen = json!({ "opened": opened, "ended": ended, "bytes_out": bytes_out,
            "bytes_in": bytes_in });
        println!("{seen}");
    } else {
        println!(
            "{opened} opened, {ended} ended by the server, {bytes_out} bytes out, {bytes_in} in"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the line that a script waits for.
pub(crate) fn say_ready() {
    println!("ready");
    // A script waits for this line; without a reader there is nobody to tell.
    drop(std::io::stdout().flush());
}

fn open(url: &Url, seen: &mut Seen) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(url.address).context("cannot connect; is nofile high enough?")?;
    stream.set_nodelay(true)?;
    seen.opened += 1;
    Ok(stream)
}

fn ask(url: &Url, count: u64, seen: &mut Seen) -> Result<Vec<TcpStream>> {
    let request = plain::get(url);
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = open(url, seen)?;
        stream.write_all(&request)?;
        seen.bytes_out += request.len() as u64;
        streams.push(stream);
    }
    Ok(streams)
}

fn zero_window(url: &Url, count: u64, end: Instant) -> Result<Seen> {
    let mut seen = Seen::default();
    let streams = ask(url, count, &mut seen)?;
    say_ready();
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    drop(streams);
    Ok(seen)
}

fn drip(url: &Url, count: u64, end: Instant, every: Duration) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push((open(url, &mut seen)?, 0));
    }
    say_ready();
    let start = Instant::now();
    // Each client has its own place in the interval, so that the bytes come evenly.
    for turn in 0.. {
        let (round, index) = (turn / count.max(1), turn % count.max(1));
        let at = start + every.mul_f64(round as f64 + index as f64 / count.max(1) as f64);
        if at >= end || count == 0 {
            break;
        }
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let (stream, place) = &mut clients[index as usize];
        if drip_one(stream, *place).is_ok() {
            *place += 1;
            seen.bytes_out += 1;
        } else {
            seen.ended += 1;
            (*stream, *place) = (open(url, &mut seen)?, 0);
        }
    }
    Ok(seen)
}

/// Sends the byte at `place` of an endless head; an error when the server has ended the connection.
fn drip_one(stream: &mut TcpStream, place: u64) -> std::io::Result<()> {
    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: drip\r\n";
    const FIELD: &[u8] = b"X-Drip: 0123456789\r\n";
    let place = place as usize;
    let byte = match HEAD.get(place) {
        Some(byte) => *byte,
        None => FIELD[(place - HEAD.len()) % FIELD.len()],
    };
    if !plain::is_idle(stream) {
        return Err(ErrorKind::ConnectionReset.into());
    }
    stream.write_all(&[byte])
}

fn read_slowly(url: &Url, count: u64, end: Instant, bytes_per_second: u64) -> Result<Seen> {
    const STEP: Duration = Duration::from_millis(20);
    let mut seen = Seen::default();
    let mut streams = ask(url, count, &mut seen)?;
    for stream in &streams {
        stream.set_nonblocking(true)?;
    }
    say_ready();
    let share = (bytes_per_second as f64 * STEP.as_secs_f64()).max(1.0) as usize;
    let mut buf = vec![0; share];
    let mut at = Instant::now();
    while at < end && !streams.is_empty() {
        streams.retain_mut(|stream| match stream.read(&mut buf) {
            Ok(0) => {
                seen.ended += 1;
                false
            }
            Ok(bytes) => {
                seen.bytes_in += bytes as u64;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(_) => {
                seen.ended += 1;
                false
            }
        });
        at += STEP;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    }
    Ok(seen)
}

//! `ringway-bench flood`: clients that mean harm by their number, so that their cost for others can
//! be seen.
//!
//! resets: connects in batches, sends a request or half of one, and resets (SO_LINGER 0); the
//! batches are spread evenly over `--hold`. half-heads: sends a head without its end and keeps the
//! connection. slow-readers: asks, with a small receive buffer, and takes the reply piece by piece.
//! A connection of the last two that the server ends is opened again, as an attacker would.
//!
//! It is not `slow`, whose clients are few and each of them slow: here opening and closing are part
//! of what is measured. All of them run on one thread with plain sockets; a sweep looks at each
//! connection once every `--every`. Towards 127.0.0.0/8 they come from 16 source addresses, since
//! one has 28 232 ports. Cost of a sweep: one read a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ArgMatches;
use rustix::net::{AddressFamily, SocketType, sockopt};
use serde_json::json;

use crate::args::{number_of, span_of, text_of, url_of, wants_json};
use crate::plain;
use crate::slow::say_ready;
use crate::url::Url;

/// Sources of connections to this machine.
const SOURCES: u64 = 16;
/// Parts of a sweep at most: so many times in `--every` some connections are looked at.
const SLICES: usize = 50;

/// What the flood did and saw.
#[derive(Default)]
struct Seen {
    opened: u64,
    /// Connections that could not be had.
    refused: u64,
    /// Connections that the other side ended.
    ended: u64,
    bytes_out: u64,
    bytes_in: u64,
}

/// What each connection does.
struct Shape {
    /// What it says first; connections take turns.
    says: [Vec<u8>; 2],
    /// SO_RCVBUF; `None` leaves the kernel's default.
    receive_bytes: Option<usize>,
    /// Bytes it takes at each look.
    take_bytes: usize,
}

struct Flood {
    url: Url,
    count: u64,
    start: Instant,
    hold: Duration,
    seen: Seen,
}

/// Exits 0 after `--hold`; what the server did with the connections is reported, not judged.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let (count, batch) = (number_of(matches, "count"), number_of(matches, "batch"));
    ensure!(count > 0 && batch > 0, "--count and --batch must be more than 0");
    let every = span_of(matches, "every");
    let hold = span_of(matches, "hold");
    let mut flood =
        Flood { url: url_of(matches)?, count, start: Instant::now(), hold, seen: Seen::default() };
    let (whole, half) = (plain::get(&flood.url), half_head(&flood.url));
    match text_of(matches, "kind") {
        "resets" => {
            flood.resets(batch, &Shape { says: [whole, half], receive_bytes: None, take_bytes: 0 })
        }
        "half-heads" => {
            let shape = Shape { says: [half.clone(), half], receive_bytes: None, take_bytes: 4096 };
            flood.stay(&shape, every)
        }
        _ => {
            let share = number_of(matches, "bytes-per-second") as f64 * every.as_secs_f64();
            let receive_bytes = Some(number_of(matches, "receive-bytes") as usize);
            let take_bytes = share.max(1.0) as usize;
            flood.stay(&Shape { says: [whole.clone(), whole], receive_bytes, take_bytes }, every)
        }
    }?;
    report(&flood.seen, wants_json(matches));
    Ok(ExitCode::SUCCESS)
}

/// A head that lacks its end.
fn half_head(url: &Url) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\nX-Half: ", url.path, url.host).into_bytes()
}

fn report(seen: &Seen, as_json: bool) {
    let Seen { opened, refused, ended, bytes_out, bytes_in } = seen;
    if as_json {
        println!(
            "{}",
            json!({ "opened": opened, "refused": refused, "ended": ended,
                "bytes_out": bytes_out, "bytes_in": bytes_in })
        );
    } else {
        println!(
            "{opened} opened, {refused} refused, {ended} ended by the server, \
             {bytes_out} bytes out, {bytes_in} in"
        );
    }
}

impl Flood {
    fn resets(&mut self, batch: u64, shape: &Shape) -> Result<()> {
        let mut streams = Vec::new();
        let mut done = 0;
        while done < self.count {
            self.wait_for(done as f64 / self.count as f64);
            let next = self.count.min(done + batch);
            streams.extend((done..next).filter_map(|index| self.open(index, shape)));
            ensure!(done > 0 || !streams.is_empty(), "no connection can be had");
            if done == 0 {
                say_ready();
            }
            for stream in streams.drain(..) {
                // A connection that the other side has ended needs no reset.
                let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            }
            done = next;
        }
        Ok(())
    }

    /// Waits until this share of `--hold` has passed.
    fn wait_for(&self, share: f64) {
        let at = self.start + self.hold.mul_f64(share);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    }

    /// Opens all connections at once and keeps them.
    fn stay(&mut self, shape: &Shape, every: Duration) -> Result<()> {
        let end = self.start + self.hold;
        let mut clients: Vec<_> = (0..self.count).map(|index| self.open(index, shape)).collect();
        ensure!(clients.iter().any(Option::is_some), "no connection can be had");
        say_ready();
        let slice = clients.len().div_ceil(SLICES);
        let pause = every / clients.len().div_ceil(slice) as u32;
        let mut buf = vec![0; shape.take_bytes];
        let mut at = Instant::now();
        while at < end {
            for (number, clients) in clients.chunks_mut(slice).enumerate() {
                at += pause;
                std::thread::sleep(at.min(end).saturating_duration_since(Instant::now()));
                if Instant::now() >= end {
                    return Ok(());
                }
                for (place, client) in clients.iter_mut().enumerate() {
                    if !client.as_mut().is_some_and(|stream| self.look(stream, &mut buf)) {
                        *client = self.open((number * slice + place) as u64, shape);
                    }
                }
            }
            // A sweep that took longer than it may does not make the next ones faster.
            at = at.max(Instant::now() - every);
        }
        Ok(())
    }

    /// Takes what there is, up to the buffer's size; false when the connection is over.
    fn look(&mut self, stream: &mut TcpStream, buf: &mut [u8]) -> bool {
        match stream.read(buf) {
            Ok(bytes) if bytes > 0 => {
                self.seen.bytes_in += bytes as u64;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            _ => {
                self.seen.ended += 1;
                false
            }
        }
    }

    /// Connection `index`, which has said its part; `None` counts as refused.
    fn open(&mut self, index: u64, shape: &Shape) -> Option<TcpStream> {
        let says = &shape.says[(index % 2) as usize];
        let opened = connect(self.url.address, source(self.url.address, index), shape);
        let said = opened.and_then(|mut stream| {
            stream.write_all(says)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match said {
            Ok(stream) => {
                self.seen.opened += 1;
                self.seen.bytes_out += says.len() as u64;
                Some(stream)
            }
            Err(_) => {
                self.seen.refused += 1;
                None
            }
        }
    }
}

/// The address that connection `index` to `target` comes from; `None` = the kernel's choice.
fn source(target: SocketAddr, index: u64) -> Option<SocketAddr> {
    match target.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let last = 1 + (index % SOURCES) as u8;
            Some(SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)))
        }
        _ => None,
    }
}

fn connect(
    target: SocketAddr,
    source: Option<SocketAddr>,
    shape: &Shape,
) -> std::io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    if let Some(bytes) = shape.receive_bytes {
        // Before the connect: the window of the handshake comes from it.
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    if let Some(source) = source {
        rustix::net::bind(&socket, &source)?;
    }
    rustix::net::connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

#[cfg(test)]
mod tests {
    use mock::http1::{Options, start};

    use super::*;

    fn flood(address: SocketAddr, path: &str, hold_ms: u64) -> Flood {
        Flood {
            url: Url { address, host: "test".into(), path: path.into() },
            count: 40,
            start: Instant::now(),
            hold: Duration::from_millis(hold_ms),
            seen: Seen::default(),
        }
    }

    fn shape(says: Vec<u8>, take_bytes: usize) -> Shape {
        Shape { says: [says.clone(), says], receive_bytes: Some(4096), take_bytes }
    }

    #[test]
    fn resets_are_as_many_as_asked_for() {
        let mock = start(Options::default()).expect("a mock");
        let mut flood = flood(mock.address, "/", 50);
        let says = [plain::get(&flood.url), half_head(&flood.url)];
        let shape = Shape { says, receive_bytes: None, take_bytes: 0 };
        flood.resets(7, &shape).expect("a flood");
        assert_eq!((flood.seen.opened, flood.seen.refused), (40, 0));
        assert!(flood.start.elapsed() >= flood.hold.mul_f64(0.875), "the last batch has its time");
    }

    /// Floods until it has seen what it is to see, since nobody knows how fast the machine is.
    fn stay_until(flood: &mut Flood, shape: &Shape, done: fn(&Seen) -> bool) -> u64 {
        for times in 1.. {
            flood.start = Instant::now();
            flood.stay(shape, Duration::from_millis(20)).expect("a flood");
            if done(&flood.seen) {
                return times;
            }
        }
        unreachable!("it goes on until then")
    }

    #[test]
    fn a_slow_reader_takes_no_more_than_its_share() {
        let mock = start(Options::default()).expect("a mock");
        let mut flood = flood(mock.address, "/?bytes=1000000", 200);
        let shape = shape(plain::get(&flood.url), 10);
        let times = stay_until(&mut flood, &shape, |seen| seen.bytes_in > 0);
        assert_eq!((flood.seen.opened, flood.seen.ended), (40 * times, 0));
        let looks = 40 * times * 200 / 20;
        assert!(flood.seen.bytes_in <= looks * 10, "{} bytes", flood.seen.bytes_in);
    }

    #[test]
    fn a_connection_that_the_server_ends_is_opened_again() {
        let mock = start(Options::default()).expect("a mock");
        let mut flood = flood(mock.address, "/?close=1", 200);
        let shape = shape(plain::get(&flood.url), 4096);
        let times = stay_until(&mut flood, &shape, |seen| seen.ended > 0);
        assert_eq!(flood.seen.opened, 40 * times + flood.seen.ended);
    }

    #[test]
    fn a_half_head_lacks_its_end() {
        let url = Url { address: ([127, 0, 0, 1], 80).into(), host: "h".into(), path: "/".into() };
        let half = half_head(&url);
        assert!(!half.windows(4).any(|window| window == b"\r\n\r\n"));
        assert!(half.starts_with(b"GET / HTTP/1.1\r\nHost: h\r\n"));
    }

    #[test]
    fn sources_take_turns_on_this_machine_only() {
        let here = SocketAddr::from(([127, 0, 0, 1], 80));
        let all: std::collections::BTreeSet<_> =
            (0..100).filter_map(|index| source(here, index)).collect();
        assert_eq!(all.len(), SOURCES as usize);
        assert_eq!(source(SocketAddr::from(([192, 0, 2, 1], 80)), 0), None);
    }
}

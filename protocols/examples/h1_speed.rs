//! Nanoseconds per decode and encode of the HTTP/1 wire, on one thread, best of ten rounds.
//!
//! `cargo run --release -p protocols --example h1_speed`
//!
//! A proxied request costs the shard: decode of the request (server role), encode of it (client
//! role), decode of the reply, encode of the reply. Each is measured alone, on heads that are
//! recycled, as the gateway does; `pieces` is the request delivered in pieces of 16 bytes.

#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::vec_box,
    reason = "a measurement reads the clock, and its input is its own"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use protocols::{AnyWire, Cx, Event, Head, Length, Role, StreamId, Wire, WireSpec};

const ROUNDS: usize = 10;
const CALLS: u32 = 200_000;
const STREAM: StreamId = StreamId(0);

/// 100 bytes, as wrk and ab send.
const SMALL: &[u8] = b"GET /api/v1/users/12345?q=1 HTTP/1.1\r\nHost: localhost:8080\r\n\
    User-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";

/// A browser's request: 15 fields, about 800 bytes.
const BROWSER: &[u8] = b"GET /static/app/main.8f3a1c.js?version=20260101 HTTP/1.1\r\n\
    Host: www.example.com\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
    sec-ch-ua: \"Chromium\";v=\"126\", \"Not.A/Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;\
    q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\nReferer: https://www.example.com/index.html\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; tracking=none\r\n\r\n";

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";

/// Runs `call` and prints the best round.
fn measure(name: &str, mut call: impl FnMut()) {
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    let best = (0..ROUNDS).map(|_| round(&mut call)).fold(f64::MAX, f64::min);
    println!("{name:<28} {best:>7.0} ns");
}

/// Buffers and free list that calls share.
struct Bench {
    out: Vec<u8>,
    heads: Vec<Box<Head>>,
    now: Instant,
}

impl Bench {
    fn cx(&mut self) -> Cx<'_> {
        self.out.clear();
        Cx { now: self.now, out: &mut self.out, heads: &mut self.heads }
    }
}

/// Decodes `input` until no event comes; the head goes back to the free list.
fn decode(wire: &mut AnyWire, input: &[u8], bench: &mut Bench) {
    let mut at = 0;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let decoded = wire.decode(black_box(rest), &mut bench.cx()).unwrap();
        at += decoded.used;
        match decoded.event {
            Some(Event::Head { head, .. }) => bench.heads.push(head),
            Some(_) => {}
            None => return,
        }
    }
}

/// A server's turn: decode the request, answer 204, release.
fn serve(wire: &mut AnyWire, pieces: &[&[u8]], reply: &Head, bench: &mut Bench) {
    pieces.iter().for_each(|piece| decode(wire, piece, bench));
    wire.head(STREAM, reply, true, &mut bench.cx()).unwrap();
    wire.release(STREAM);
}

fn received(input: &[u8], spec: &Arc<WireSpec>, bench: &mut Bench) -> Box<Head> {
    let decoded = AnyWire::h1(Role::Server, spec).decode(input, &mut bench.cx()).unwrap();
    let Some(Event::Head { mut head, .. }) = decoded.event else { return Box::default() };
    head.remove_hop_by_hop();
    head
}

fn main() {
    let spec = Arc::new(WireSpec::default());
    let mut bench = Bench { out: Vec::new(), heads: Vec::new(), now: Instant::now() };
    let bench = &mut bench;
    let mut none = Head::new();
    none.set_status(204, b"No Content");
    for (name, input) in [("small", SMALL), ("browser", BROWSER)] {
        let mut wire = AnyWire::h1(Role::Server, &spec);
        let label = format!("serve {name} ({} B)", input.len());
        measure(&label, || serve(&mut wire, &[input], &none, bench));
        let pieces: Vec<_> = input.chunks(16).collect();
        measure(&format!("serve {name} in pieces"), || serve(&mut wire, &pieces, &none, bench));
        let head = received(input, &spec, bench);
        measure(&format!("ask {name}"), || {
            let mut wire = AnyWire::h1(Role::Client, &spec);
            let stream = wire.open().unwrap();
            wire.head(stream, black_box(&head), true, &mut bench.cx()).unwrap();
        });
        let mut copy = Head::new();
        measure(&format!("copy, strip, edit {name}"), || {
            copy.copy_from(black_box(&head));
            copy.remove_hop_by_hop();
            copy.set(b"x-forwarded-for", b"203.0.113.9");
            copy.set(b"x-request-id", b"0123456789abcdef");
        });
    }
    let small = received(SMALL, &spec, bench);
    let mut wire = AnyWire::h1(Role::Client, &spec);
    measure("ask and read a reply", || {
        let stream = wire.open().unwrap();
        wire.head(stream, &small, true, &mut bench.cx()).unwrap();
        decode(&mut wire, REPLY, bench);
        wire.release(stream);
    });
    let mut reply = Head::new();
    reply.set_status(200, b"OK");
    reply.set_length(Length::Unknown);
    reply.push(b"content-type", b"text/plain");
    let chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    let mut wire = AnyWire::h1(Role::Server, &spec);
    measure("chunked both ways", || {
        decode(&mut wire, chunked, bench);
        wire.head(STREAM, &reply, false, &mut bench.cx()).unwrap();
        wire.data(STREAM, 16, true, &mut bench.cx()).unwrap();
        wire.release(STREAM);
    });
    println!("wire {} B, event {} B", size_of::<AnyWire>(), size_of::<Event>());
}

//! Nanoseconds per decode and encode of a header block, on one thread, best of 300 short rounds:
//! a round of a millisecond is seldom disturbed.
//!
//! `cargo run --release -p protocols --example hpack_speed`
//!
//! `first` is a connection's first request, whose fields enter the tables; `next` is one like it on
//! the same connection, with another path. Beside ours stands `loona-hpack`, the peer of the tests.
//! The last lines are what a hostile block costs.

#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measurement reads the clock, and its input is its own"
)]

use std::hint::black_box;
use std::time::Instant;

use protocols::hpack::{Decoder, Encoder};

const ROUNDS: usize = 300;
const CALLS: u32 = 1_000;

type Fields = [(&'static [u8], &'static [u8])];

/// 10 fields, as a client of an API sends.
const API: &Fields = &[
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"api.example.com"),
    (b":path", b"/v1/users/12345?fields=name"),
    (b"user-agent", b"client/1.4.2 (linux; x86_64)"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"x-request-id", b"0b9f2c6d4e8a4c53"),
    (b"authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
    (b"x-tenant", b"north"),
];

/// What gRPC clients send.
const GRPC: &Fields = &[
    (b":scheme", b"http"),
    (b":method", b"POST"),
    (b":authority", b"127.0.0.1:50051"),
    (b":path", b"/helloworld.Greeter/SayHello"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-python/1.60.0 grpc-c/37.0.0 (linux; chttp2)"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    (b"grpc-timeout", b"1500m"),
];

const REPLY: &Fields = &[
    (b":status", b"200"),
    (b"server", b"nginx"),
    (b"date", b"Mon, 01 Jan 2026 00:00:00 GMT"),
    (b"content-type", b"application/json"),
    (b"content-length", b"1234"),
    (b"cache-control", b"no-cache"),
    (b"vary", b"accept-encoding"),
];

/// Runs `call` and prints the best round.
fn measure(name: &str, mut call: impl FnMut()) {
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    let best = (0..ROUNDS).map(|_| round(&mut call)).fold(f64::MAX, f64::min);
    println!("{name:<36} {best:>7.0} ns");
}

fn encode(encoder: &mut Encoder, fields: &Fields, out: &mut Vec<u8>) {
    out.clear();
    fields.iter().for_each(|(name, value)| encoder.encode(name, value, false, out));
}

/// Decodes a block; how many bytes its fields have.
fn decode(decoder: &mut Decoder, block: &[u8]) -> usize {
    let mut bytes_len = 0;
    let field = |field: protocols::hpack::Field<'_>| {
        bytes_len += field.name.len() + field.value.len();
        true
    };
    decoder.decode(black_box(block), field).unwrap();
    bytes_len
}

fn ours(name: &str, fields: &Fields) {
    let (mut first, mut next) = (Vec::new(), Vec::new());
    let mut encoder = Encoder::new();
    encode(&mut encoder, fields, &mut first);
    encode(&mut encoder, fields, &mut next);
    let (first_len, next_len) = (first.len(), next.len());
    measure(&format!("{name}: encode first ({first_len} B)"), || {
        encode(&mut Encoder::new(), black_box(fields), &mut first);
    });
    measure(&format!("{name}: encode next ({next_len} B)"), || {
        encode(&mut encoder, black_box(fields), &mut next);
    });
    measure(&format!("{name}: decode first"), || {
        black_box(decode(&mut Decoder::new(4096), &first));
    });
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &first);
    measure(&format!("{name}: decode next"), || {
        black_box(decode(&mut decoder, &next));
    });
    println!("{name}: held {} B, {} B", encoder.held_bytes(), decoder.held_bytes());
}

fn peer(name: &str, fields: &Fields) {
    let mut encoder = loona_hpack::Encoder::new();
    let first = encoder.encode(fields.iter().copied());
    let next = encoder.encode(fields.iter().copied());
    measure(&format!("{name}: peer encodes next ({} B)", next.len()), || {
        black_box(encoder.encode(black_box(fields).iter().copied()));
    });
    let mut decoder = loona_hpack::Decoder::new();
    decoder.decode(&first).unwrap();
    measure(&format!("{name}: peer decodes next"), || {
        decoder
            .decode_with_cb(black_box(&next), |name, value| {
                black_box((name.len(), value.len()));
            })
            .unwrap();
    });
}

fn main() {
    for (name, fields) in [("api", API), ("grpc", GRPC), ("reply", REPLY)] {
        ours(name, fields);
        peer(name, fields);
    }
    let bomb = [b"\x40\x01a\x7f\x9c\x1d".to_vec(), vec![b'x'; 3_867], vec![0xbe; 12_000]].concat();
    measure("bomb of 12 000 references", || {
        let _ = black_box(Decoder::new(4096).decode(&bomb, |_| true));
    });
    let names = [b"\x40\x7f\xd1\x0e".to_vec(), vec![b'n'; 2_000], b"\0".to_vec()].concat();
    let names = [names, b"\x7e\0".repeat(20_000)].concat();
    measure("20 000 copies of a long name", || {
        let _ = black_box(Decoder::new(4096).decode(&names, |_| false));
    });
}

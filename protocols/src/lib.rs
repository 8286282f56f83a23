//! What bytes mean: one wire a connection, without sockets, clocks, threads, chance or `async`.
//!
//! Sans-I/O means that a wire is a state machine over values. Received bytes and the time are
//! arguments, bytes to send are appended to a `Vec`, and what was said comes out as [`Event`]s;
//! payload is a range of the caller's input and is never copied here. So every wire runs the same
//! under the ring, in the simulator and in a fuzzer, and a test can cut its input at every byte.
//!
//! The contract is [`Wire`] with rules W1 to W6 in `wire.rs`; a protocol implements it and becomes
//! a variant of [`AnyWire`]. A received [`Head`] is copied once into an arena, which removes all
//! lifetimes above this crate. [`WireSpec`] holds every limit, [`Error`] says who did what wrong.
//!
//! Two wires talking:
//!
//! ```
//! use protocols::{AnyWire, Cx, Event, Head, Length, Role, Wire, WireSpec};
//! use std::{sync::Arc, time::Instant};
//!
//! let (spec, mut heads) = (Arc::new(WireSpec::default()), Vec::new());
//! let (mut client, mut sent) = (AnyWire::h1(Role::Client, &spec), Vec::new());
//! let (mut server, mut answer) = (AnyWire::h1(Role::Server, &spec), Vec::new());
//! let now = Instant::now();
//!
//! let mut request = Head::new();
//! request.set_request(b"GET", b"/hello");
//! request.set_authority(b"example.com");
//! let stream = client.open().unwrap();
//! let mut cx = Cx { now, out: &mut sent, heads: &mut heads };
//! client.head(stream, &request, true, &mut cx).unwrap();
//!
//! let mut cx = Cx { now, out: &mut answer, heads: &mut heads };
//! let decoded = server.decode(&sent, &mut cx).unwrap();
//! let Some(Event::Head { stream, head, end: true }) = decoded.event else { panic!() };
//! assert_eq!((head.path(), head.host()), (&b"/hello"[..], &b"example.com"[..]));
//!
//! let mut reply = Head::new();
//! reply.set_status(200, b"OK");
//! reply.set_length(Length::Exact(2));
//! server.head(stream, &reply, false, &mut cx).unwrap();
//! let framing = server.data(stream, 2, true, &mut cx).unwrap();
//! answer.extend_from_slice(b"hi");
//! answer.extend_from_slice(framing.suffix);
//! assert_eq!(answer, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
//! server.release(stream);
//! ```
//!
//! Not here: routing, policies, retries, and any decision what to answer; of errors only the last
//! words of a connection are written here.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod detect;
mod error;
pub mod forwarded;
pub mod grpc;
pub mod h1;
pub mod h2;
mod head;
pub mod hello;
pub mod hpack;
pub mod metadata;
mod name;
#[cfg(any(test, feature = "fuzz"))]
mod pair;
pub mod path;
pub mod proxy_header;
mod raw;
mod spec;
pub mod thrift;
pub mod trace;
mod transform;
mod wire;

pub use error::{Error, Fault, Scope};
pub use forwarded::ForwardedElement;
pub use head::{Head, Length, Version, is_protected};
pub use name::Name;
pub use path::PathRule;
pub use raw::Raw;
pub use spec::WireSpec;
pub use transform::{Changed, Transform};
pub use wire::{
    AnyWire, Cx, Decoded, Event, Framing, Gone, Mux, ReadSide, Role, Sides, Sniff, StreamId,
    Traits, Wire, WriteSide,
};

//! An HTTP/2 upstream without TLS, by prior knowledge: fixed bodies, and an echo server for gRPC.
//!
//! A request whose content type begins with `application/grpc` is a call of [`grpc`]; any other is
//! answered with a fixed body, of which a query may ask for `status=`, `bytes=` and `delay_ms=`, as
//! in [`crate::http1`]. Frames, flow control and field compression are the `h2` crate's; [`Socket`]
//! lies between it and monoio.
//!
//! A connection has one task, each of its streams another. Payload is copied twice: out of the
//! socket's buffer, and by `h2`.

pub mod grpc;
mod messages;
mod plain;
mod serve;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub use messages::{Broken, Messages, framed, send};
use serve::Shared;
pub use socket::Socket;

pub use crate::threads::Running;
use crate::threads::{self, Site};

/// What a mock does for a request that asks for nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one, see [`Running::address`].
    pub listen: SocketAddr,
    /// Threads, each with a listener and a runtime of its own (SO_REUSEPORT when more than one).
    pub threads: usize,
    /// Length of the fixed body; gRPC calls are not concerned.
    pub body_bytes: u64,
    /// Pause between the end of a request and its reply; for a call unless it names one.
    pub delay: Duration,
    /// Streams that a connection may have at a time: SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams_max: u32,
    /// Pins thread `i` to `cpus[i % cpus.len()]`; empty pins nothing.
    pub cpus: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            body_bytes: 100,
            delay: Duration::ZERO,
            streams_max: 1000,
            cpus: Vec::new(),
        }
    }
}

/// Starts a mock on its own threads; returns when all of them listen.
///
/// # Errors
/// The address cannot be bound, or neither io_uring nor epoll can be set up.
pub fn start(options: Options) -> io::Result<Running> {
    let site =
        Site { listen: options.listen, threads: options.threads, cpus: options.cpus.clone() };
    threads::start(&site, move |thread| {
        let shared = Rc::new(Shared::new(&options, thread));
        move |stream| {
            let conn = serve::connection(stream, Rc::clone(&shared));
            // A client that leaves is no error of the mock's.
            async { drop(conn.await) }
        }
    })
}

//! An HTTP/1.1 upstream: fixed bodies, echoes, and the misbehaviour that tests ask for by query.
//!
//! Paths: `/echo` answers with the request as JSON, `/raw` with the request's body, `/duplex` with
//! the request's body piece by piece while it arrives; every other path with a fixed body of
//! `Options::body_bytes` bytes whose content is [`body_byte`]. What a query may ask for is listed
//! at [`ask::Ask`].
//!
//! It is not strict: a request that httparse takes is answered, whatever the RFC thinks of it.
//! Cost of a plain request: one read, one write, no allocation; large fixed bodies are sent from
//! memory shared by all connections of a thread.

mod ask;
mod body;
mod parse;
mod reply;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub use ask::{Ask, Kind};
pub use body::{Body, Malformed, Step};
pub use reply::body_byte;
use serve::{Conn, Shared};

pub use crate::threads::Running;
use crate::threads::{self, Site};

/// What a mock does for a request whose query asks for nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one, see [`Running::address`].
    pub listen: SocketAddr,
    /// Threads, each with a listener and a runtime of its own (SO_REUSEPORT when more than one).
    pub threads: usize,
    /// Length of the fixed body.
    pub body_bytes: u64,
    /// Pause between the end of a request and its reply.
    pub delay: Duration,
    /// What an ordinary path is answered with.
    pub kind: Kind,
    /// Closes a connection, unannounced, once it answered this many requests: how an upstream's
    /// keep-alive limit looks to a pool.
    pub requests_per_connection_max: Option<u64>,
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
            kind: Kind::Fixed,
            requests_per_connection_max: None,
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
        let shared = Rc::new(Shared::new(&options, thread.counts));
        move |stream| {
            let conn = Conn::new(stream, Rc::clone(&shared));
            // A client that leaves is no error of the mock's.
            async { drop(conn.serve().await) }
        }
    })
}

//! A Thrift upstream that echoes: each call is answered with its first argument, in the caller's
//! own dialect.
//!
//! Messages may come unframed, framed, in a THeader or in a TTHeader (with a frame inside or
//! without), in Binary or Compact, and each is told by itself. A call without arguments has a reply
//! without a result, a oneway has none. The method `fail` is answered with a TApplicationException
//! of type 6. THeader and TTHeader have keys by which a call asks for more: `mock-delay-ms`, the
//! pause before its reply, and `mock-exception`, the type of the exception that it is answered
//! with; a value that is no number is answered with one of type 6.
//!
//! Replies are in the order of their calls, each begun when the one before was sent; to a TTHeader,
//! and to a THeader that allows it, in the order in which they are due. What is no call, or has
//! transforms, ends the connection once the replies before it are sent, with nothing said: so do
//! the servers of Apache.
//!
//! What reads and writes packets has no sockets and serves clients too. It shares nothing with the
//! gateway's.

mod answer;
mod cursor;
mod message;
mod packet;
mod pairs;
mod replies;
mod serve;
mod walk;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub use cursor::Broken;
pub use message::{Encoding, Head, Kind};
pub use packet::{Envelope, OUT_OF_ORDER, Outcome, PACKET_BYTES_MAX, Packet, Reader, write};
pub use pairs::{theader_blocks, ttheader_blocks};
use serve::Shared;

pub use crate::threads::Running;
use crate::threads::{self, Site};

/// What a mock does for a call that asks for nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one, see [`Running::address`].
    pub listen: SocketAddr,
    /// Threads, each with a listener and a runtime of its own (SO_REUSEPORT when more than one).
    pub threads: usize,
    /// Pause between a call and its reply.
    pub delay: Duration,
    /// Pins thread `i` to `cpus[i % cpus.len()]`; empty pins nothing.
    pub cpus: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            delay: Duration::ZERO,
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
        let shared = Rc::new(Shared { delay: options.delay, thread });
        move |stream| serve::connection(stream, Rc::clone(&shared))
    })
}

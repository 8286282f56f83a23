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

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use ask::{Ask, Kind};
pub use body::{Body, Malformed, Step};
pub use reply::body_byte;

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

/// A mock that is answering. Dropping it stops it.
pub struct Running {
    /// The address it listens on, with the port the kernel chose.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    doorbells: Vec<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Requests whose head was read so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Closes the listeners and every connection, and waits for the threads to end.
    pub fn stop(mut self) {
        self.end();
    }

    /// Answers until the process ends.
    pub fn join(mut self) {
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }

    fn end(&mut self) {
        for mut doorbell in self.doorbells.drain(..) {
            // The thread may have ended by itself; then nobody is left to hear it.
            drop(doorbell.write_all(b"."));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
}

/// Starts a mock on its own threads; returns when all of them listen.
///
/// # Errors
/// The address cannot be bound, or neither io_uring nor epoll can be set up.
pub fn start(options: Options) -> io::Result<Running> {
    let counts = Arc::new(Counts::default());
    let mut running =
        Running { address: options.listen, counts, doorbells: Vec::new(), threads: Vec::new() };
    for index in 0..options.threads.max(1) {
        // The first thread resolves port 0 for the others.
        let options = Options { listen: running.address, ..options.clone() };
        running.address = start_thread(index, options, &mut running)?;
    }
    Ok(running)
}

fn start_thread(index: usize, options: Options, running: &mut Running) -> io::Result<SocketAddr> {
    let (doorbell, ear) = UnixStream::pair()?;
    ear.set_nonblocking(true)?;
    let (report, bound) = mpsc::sync_channel(1);
    let counts = Arc::clone(&running.counts);
    let thread = std::thread::Builder::new()
        .name(format!("mock-{index}"))
        .spawn(move || serve::run(index, &options, counts, ear, &report))?;
    running.doorbells.push(doorbell);
    running.threads.push(thread);
    bound.recv().unwrap_or_else(|_| Err(io::Error::other("the mock's thread ended at start")))
}

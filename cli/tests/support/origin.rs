//! Upstreams that a test makes up: each accepted connection runs a given function on its own
//! thread.
//!
//! For behaviour that the mock does not have, and to prove what was *not* forwarded: every byte
//! that arrives is kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Ports of [`Origin::absent`].
const ABSENT: Range<usize> = 20_000..32_000;

/// A listening origin; its threads end with the process.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
}

/// One accepted connection; what is read through it is recorded.
pub(crate) struct Accepted {
    stream: TcpStream,
    seen: Arc<Seen>,
}

impl Origin {
    /// Runs `serve` for each connection.
    pub(crate) fn start(serve: impl Fn(Accepted) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let seen = Arc::new(Seen::default());
        let origin = Self { address, seen: Arc::clone(&seen) };
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let accepted = Accepted { stream, seen: Arc::clone(&seen) };
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(accepted));
            }
        });
        origin
    }

    /// Answers every request head with an empty 200 and keeps all that arrives.
    pub(crate) fn recording() -> Self {
        Self::start(|mut accepted| {
            while accepted.read_head().is_some() {
                accepted.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        })
    }

    /// An address where nobody listens. It lies below the ports that the kernel gives to
    /// connections by itself, so that none of a test beside this one comes to have it.
    pub(crate) fn absent() -> SocketAddr {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let first = std::process::id() as usize;
        let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
        let next = || {
            let at = (first + TAKEN.fetch_add(1, Ordering::SeqCst)) % ABSENT.len();
            SocketAddr::from(([127, 0, 0, 1], (ABSENT.start + at) as u16))
        };
        std::iter::repeat_with(next).take(ABSENT.len()).find(is_free).expect("a free port")
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Everything received so far, on all connections.
    pub(crate) fn received(&self) -> String {
        let bytes = self.seen.bytes.lock().expect("no origin thread panicked");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Accepted {
    /// Reads up to the end of a head and gives it; None once the gateway has closed.
    pub(crate) fn read_head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1)?);
        }
        String::from_utf8(head).ok()
    }

    /// At most `length` bytes; None once the gateway has closed.
    pub(crate) fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut piece = vec![0; length];
        let length = self.stream.read(&mut piece).ok().filter(|length| *length > 0)?;
        piece.truncate(length);
        self.seen.bytes.lock().ok()?.extend_from_slice(&piece);
        Some(piece)
    }

    /// Exactly `length` bytes; None if the gateway closes before.
    pub(crate) fn read_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(self.read(length - bytes.len())?);
        }
        Some(bytes)
    }

    /// Reads until the gateway closes.
    pub(crate) fn drain(&mut self) {
        while self.read(64 * 1024).is_some() {}
    }

    /// A second handle of the socket, for another thread.
    pub(crate) fn writer(&self) -> impl Write + Send + use<> {
        self.stream.try_clone().expect("a second handle of the socket")
    }

    /// Sends; false once the gateway has closed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }
}

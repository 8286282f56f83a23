//! What comes before the wire: the PROXY header of a connection, where its listener asks for one.
//!
//! A header says on whose behalf the peer connects. It is looked for only where configured, and
//! believed only from the sources that the listener names: anybody can send one. Until it is
//! there no byte reaches the wire; what came behind it is put back.
//!
//! Cost: once a connection, one copy of its first bytes.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use control::ProxyHeaders;
use engine::{Address, Buf};
use protocols::Fault;
use protocols::proxy_header::{self, Parsed};

use crate::conn::Conn;

/// A connection whose PROXY header is awaited.
pub(crate) struct Greeting {
    bytes: Vec<u8>,
    required: bool,
    deadline: Instant,
}

/// Why a connection is refused before its wire begins.
pub(crate) enum Refused {
    /// The peer left or its socket failed.
    Gone,
    /// The header is wrong, missing or late.
    Header(Fault),
    /// A header is required, and this peer may not send one.
    Untrusted,
    /// The client that it names has as many connections as it may; the cap's word.
    Capped(&'static str),
}

impl Refused {
    /// The reason word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Refused::Gone => "client_gone",
            Refused::Header(fault) => fault.reason(),
            Refused::Untrusted => "proxy_untrusted",
            Refused::Capped(word) => word,
        }
    }
}

impl Greeting {
    /// What a connection from `peer` has to say first: `None` where that is nothing.
    pub(crate) fn new(
        headers: &ProxyHeaders,
        peer: &Address,
        now: Instant,
    ) -> Result<Option<Box<Greeting>>, Refused> {
        let trusted = match peer {
            Address::Inet(peer) => headers.from.contains(peer.ip()),
            // Who may connect to a Unix socket is for its file's mode to say.
            Address::Unix(_) => true,
        };
        match (trusted, headers.required) {
            (false, true) => Err(Refused::Untrusted),
            (false, false) => Ok(None),
            (true, required) => {
                let deadline = now + HEADER_TIMEOUT;
                Ok(Some(Box::new(Greeting { bytes: Vec::new(), required, deadline })))
            }
        }
    }

    /// Ready when the header was read, or found absent where it may be.
    pub(crate) fn poll(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        loop {
            match conn.stream.poll_recv(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(buf))) => self.bytes.extend_from_slice(&buf),
                Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(Err(Refused::Gone)),
            }
            match proxy_header::parse(&self.bytes) {
                Ok(Parsed::More) => debug_assert!(self.bytes.len() < proxy_header::BYTES_MAX),
                Ok(Parsed::Absent) if self.required => {
                    return Poll::Ready(Err(Refused::Header(Fault::ProxyHeaderMissing)));
                }
                Ok(Parsed::Absent) => {
                    self.put_back(conn, 0);
                    return Poll::Ready(conn.state.admit_source(conn).map_err(Refused::Capped));
                }
                Ok(Parsed::Done { used, source, .. }) => {
                    if let Some(source) = source {
                        conn.stream.set_peer(&Address::Inet(source));
                    }
                    self.put_back(conn, used);
                    return Poll::Ready(conn.state.admit_source(conn).map_err(Refused::Capped));
                }
                Err(fault) => return Poll::Ready(Err(Refused::Header(fault))),
            }
        }
        conn.arm(Some(self.deadline));
        if conn.timer.poll_expired(cx).is_ready() && conn.state.shard.now() >= self.deadline {
            return Poll::Ready(Err(Refused::Header(Fault::ProxyHeaderTimeout)));
        }
        Poll::Pending
    }

    fn put_back(&self, conn: &Conn, used: usize) {
        let rest = self.bytes.get(used..).unwrap_or_default();
        if !rest.is_empty() {
            conn.stream.put_back(Buf::copy_of(rest));
        }
    }
}

/// From the accept to the header's last byte: a proxy sends it at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

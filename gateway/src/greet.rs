//! What comes before the wire: the PROXY header of a connection, where its listener asks for one;
//! then the TLS handshake, where it has certificates, or the look at a ClientHello, where it passes
//! TLS on by the server that is asked for; then the look at the first bytes (`sniff.rs`), where
//! these may be of Thrift.
//!
//! A header says on whose behalf the peer connects. It is looked for only where configured, and
//! believed only from the sources that the listener names: anybody can send one. Until it is
//! there no byte goes further; what came behind it is put back. Each stage has its deadline, which
//! a peer that sends a byte now and then does not move.
//!
//! Cost: with a header, one copy of a connection's first bytes.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use control::ProxyHeaders;
use engine::{Address, Buf};
use observe::WordFamily;
use protocols::Fault;
use protocols::hello::{Hello, HelloReader};
use protocols::proxy_header::{self, Parsed};

use crate::conn::Conn;
use crate::sniff::Sniffer;
use crate::tls::{Tls, TlsFault};

/// A connection whose wire cannot begin yet.
#[derive(Default)]
pub(crate) struct Greeting {
    header: Option<Header>,
    hello: Option<Box<PassedHello>>,
    /// When the TLS handshake must be done; known once it may begin.
    handshake_until: Option<Instant>,
    is_shaken: bool,
    sniffer: Option<Box<Sniffer>>,
}

/// A PROXY header on its way.
struct Header {
    bytes: Vec<u8>,
    required: bool,
    deadline: Instant,
}

/// The ClientHello of a connection that is passed on as it is, on its way.
#[derive(Default)]
struct PassedHello {
    reader: HelloReader,
    /// All of it as it came, for whom it is meant.
    bytes: Vec<u8>,
    until: Option<Instant>,
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
    /// The ClientHello is wrong, late, or for a server that there is no way to.
    Hello(Fault),
    /// There is no TLS with this peer.
    Tls(TlsFault),
    /// The first bytes are of no protocol that is taken here.
    Protocol(Fault),
    /// They do not tell, and no more of them came in time.
    Undecided,
    /// Not one byte came until the listener's idle time was over, or it drained.
    Silent,
}

impl Refused {
    /// The reason word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Refused::Gone => "client_gone",
            Refused::Header(fault) | Refused::Hello(fault) => fault.reason(),
            Refused::Protocol(fault) => fault.reason(),
            Refused::Undecided => "protocol_timeout",
            Refused::Silent => "idle",
            Refused::Untrusted => "proxy_untrusted",
            Refused::Capped(word) => word,
            Refused::Tls(fault) => fault.word(),
        }
    }

    /// Counts the refusal and ends the connection: at once, but with TLS the alert goes out first,
    /// and the log says why.
    pub(crate) fn conclude(&self, conn: &Conn) {
        let state = &conn.state;
        state.metrics.word(WordFamily::ConnectionCloses, self.word());
        if let Refused::Hello(_) | Refused::Protocol(_) | Refused::Undecided = self {
            state.log_refusal(conn, self.word());
        }
        let fault = match self {
            Refused::Tls(fault) => fault,
            // Nothing was received that a reset could be about.
            Refused::Silent => return conn.stream.finish(state.shard.now() + ALERT_TIMEOUT),
            _ => return conn.stream.reset(),
        };
        state.metrics.word(WordFamily::TlsHandshakes, fault.word());
        if *fault != TlsFault::Gone {
            state.log_refusal(conn, fault.word());
        }
        conn.stream.finish(state.shard.now() + ALERT_TIMEOUT);
    }
}

impl Greeting {
    /// What a connection from `peer` has to say first: `None` where that is nothing.
    pub(crate) fn new(
        headers: Option<&ProxyHeaders>,
        peer: &Address,
        now: Instant,
    ) -> Result<Greeting, Refused> {
        let mut greeting = Greeting::default();
        let Some(headers) = headers else { return Ok(greeting) };
        let trusted = match peer {
            Address::Inet(peer) => headers.from.contains(peer.ip()),
            // Who may connect to a Unix socket is for its file's mode to say.
            Address::Unix(_) => true,
        };
        match (trusted, headers.required) {
            (false, true) => Err(Refused::Untrusted),
            (false, false) => Ok(greeting),
            (true, required) => {
                let deadline = now + HEADER_TIMEOUT;
                greeting.header = Some(Header { bytes: Vec::new(), required, deadline });
                Ok(greeting)
            }
        }
    }

    /// The same with a ClientHello that says where the connection goes.
    pub(crate) fn with_hello(mut self) -> Greeting {
        self.hello = Some(Box::default());
        self
    }

    /// The same where the first bytes tell the protocol.
    pub(crate) fn with_sniffer(mut self, sniffer: Sniffer) -> Greeting {
        self.sniffer = Some(Box::new(sniffer));
        self
    }

    /// Whether there is anything to wait for before the wire, TLS aside.
    pub(crate) fn is_needed(&self) -> bool {
        self.has_header() || self.hello.is_some() || self.sniffer.is_some()
    }

    /// Whether the peer may be another than the one that is connected.
    pub(crate) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    /// Ready when the wire may begin.
    pub(crate) fn poll(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        if let Some(header) = &mut self.header {
            ready!(header.poll(conn, cx))?;
            self.header = None;
            conn.state.admit_source(conn).map_err(Refused::Capped)?;
        }
        if let Some(hello) = &mut self.hello {
            ready!(hello.poll(conn, cx))?;
            self.hello = None;
        }
        if let Some(tls) = conn.stream.tls().filter(|_| !self.is_shaken) {
            ready!(self.poll_handshake(conn, tls, cx)).map_err(Refused::Tls)?;
            self.is_shaken = true;
            if tls.is_alpn(b"h2") || tls.is_alpn(b"http/1.1") {
                self.sniffer = None;
            }
        }
        match &mut self.sniffer {
            None => Poll::Ready(Ok(())),
            Some(sniffer) => sniffer.poll(conn, cx),
        }
    }

    fn poll_handshake(
        &mut self,
        conn: &Conn,
        tls: &Tls,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), TlsFault>> {
        let state = &conn.state;
        let now = state.shard.now();
        let until = *self
            .handshake_until
            .get_or_insert_with(|| now + state.options().tls_handshake_timeout);
        if let Poll::Ready(done) = tls.poll_handshake(cx) {
            let word = if tls.is_resumed() == Some(true) { "resumed" } else { "full" };
            return Poll::Ready(done.map(|()| {
                state.metrics.word(WordFamily::TlsHandshakes, word);
                conn.agreed(tls);
            }));
        }
        if now >= until {
            return Poll::Ready(Err(TlsFault::Timeout));
        }
        wake_at(conn, until, cx);
        Poll::Pending
    }
}

impl PassedHello {
    /// Ready when the hello was read and has a way to go.
    fn poll(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        let state = &conn.state;
        let now = state.shard.now();
        let until = *self.until.get_or_insert_with(|| now + state.options().tls_handshake_timeout);
        while let Poll::Ready(received) = conn.stream.poll_recv(cx) {
            let Ok(Some(buf)) = received else { return Poll::Ready(Err(Refused::Gone)) };
            self.bytes.extend_from_slice(&buf);
            match self.reader.read(&buf) {
                Ok(None) => {}
                Ok(Some(hello)) => return Poll::Ready(self.choose(conn, &hello)),
                Err(fault) => return Poll::Ready(Err(Refused::Hello(fault))),
            }
        }
        if now >= until {
            return Poll::Ready(Err(Refused::Hello(Fault::ClientHelloTimeout)));
        }
        wake_at(conn, until, cx);
        Poll::Pending
    }

    fn choose(&mut self, conn: &Conn, hello: &Hello) -> Result<(), Refused> {
        let live = conn.state.live();
        let plan = live.listener(conn.listener());
        let routes = plan.and_then(|plan| plan.sni_routes.as_ref());
        let named = routes.zip(hello.server_name.as_deref());
        let named = named.and_then(|(routes, name)| routes.find(name));
        let route = named.or(plan.and_then(|plan| plan.tcp_route));
        conn.choose(route.ok_or(Refused::Hello(Fault::ServerNameUnknown))?);
        conn.stream.socket().put_back(Buf::copy_of(&self.bytes));
        Ok(())
    }
}

/// Sees that the pump is polled at `until`, whatever its timer was set to before.
pub(crate) fn wake_at(conn: &Conn, until: Instant, cx: &mut Context<'_>) {
    conn.arm(Some(until));
    if conn.timer.poll_expired(cx).is_ready() {
        conn.timer.set(Some(until));
        let _ = conn.timer.poll_expired(cx);
    }
}

impl Header {
    /// Ready when the header was read, or found absent where it may be.
    fn poll(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        loop {
            match conn.stream.socket().poll_recv(cx) {
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
                    return Poll::Ready(Ok(()));
                }
                Ok(Parsed::Done { used, source, .. }) => {
                    if let Some(source) = source {
                        conn.stream.socket().set_peer(&Address::Inet(source));
                    }
                    self.put_back(conn, used);
                    return Poll::Ready(Ok(()));
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
            conn.stream.socket().put_back(Buf::copy_of(rest));
        }
    }
}

/// From the accept to the header's last byte: a proxy sends it at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// What a peer has to take the alert that says why there is no TLS.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);

//! Which protocol a connection speaks, told from its first bytes.
//!
//! A [`Sniffer`] does so on listeners that take Thrift, which no ALPN announces. Part of the
//! greeting: behind a PROXY header and inside of TLS. The bytes are held until they
//! tell (`protocols::detect`), which the first received page nearly always does, and are then the
//! wire's. Silence before the first byte is idle time; after it there is a deadline that no
//! further byte moves. Listeners of HTTP alone need no such step: a connection begins as one of
//! HTTP/1.1, and becomes one of HTTP/2 by ALPN or by a preface (`Conn::take_in`).

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use control::{ListenerPlan, Speaks};
use engine::Buf;
use observe::WordFamily;
use protocols::detect::{Detected, Families, Family, Options, detect};
use protocols::{AnyWire, Fault, Mux, Role, Sniff, Wire as _, h2};
use router::ThriftTransport;

use crate::conn::Conn;
use crate::greet::{Refused, wake_at};
use crate::thrift;
use crate::tls::Tls;

/// A connection whose protocol is to be told.
pub(crate) struct Sniffer {
    options: Options,
    /// What came and does not tell yet.
    held: Option<Buf>,
    until: Option<Instant>,
}

impl Sniffer {
    /// `None` where the listener does not take Thrift.
    pub(crate) fn new(plan: &ListenerPlan) -> Option<Sniffer> {
        let Speaks::Thrift { http1, http2 } = plan.speaks else { return None };
        let thrift = [
            (Family::Framed, ThriftTransport::Framed),
            (Family::Unframed, ThriftTransport::Buffered),
            (Family::THeader, ThriftTransport::THeader),
            (Family::TtHeader, ThriftTransport::TtHeader),
        ];
        let only = plan.thrift_transport;
        let thrift =
            thrift.into_iter().filter(|(_, transport)| only.is_none_or(|it| it == *transport));
        let thrift = thrift.map(|(family, _)| family);
        let http = [(Family::Http1, http1), (Family::Http2, http2)];
        let http = http.into_iter().filter(|(_, takes)| *takes).map(|(family, _)| family);
        let allowed: Vec<Family> = thrift.chain(http).collect();
        let options = Options {
            proxy: false,
            lax: plan.wire.thrift_lax,
            frame_bytes_max: plan.wire.thrift_frame_bytes_max,
            allowed: Families::of(&allowed),
        };
        Some(Sniffer { options, held: None, until: None })
    }

    /// Ready when the connection has its wire.
    pub(crate) fn poll(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        let now = conn.state.shard.now();
        while let Poll::Ready(received) = conn.stream.poll_recv(cx) {
            let Ok(Some(buf)) = received else { return Poll::Ready(Err(Refused::Gone)) };
            let buf = match self.held.take() {
                Some(held) => Buf::copy_of(&[&held[..], &buf[..]].concat()),
                None => {
                    self.until = Some(now + SNIFF_TIMEOUT);
                    buf
                }
            };
            match self.find(&buf) {
                Detected::More => self.held = Some(Buf::copy_of(&buf)),
                found => return Poll::Ready(begin(conn, found, buf)),
            }
        }
        self.wait(conn, cx)
    }

    /// Text that begins no protocol is answered as bad HTTP where that is spoken.
    fn find(&self, bytes: &[u8]) -> Detected {
        let is_text = bytes.first().is_some_and(u8::is_ascii_alphabetic);
        match detect(bytes, &self.options) {
            Detected::Refused(Fault::UnknownProtocol)
                if is_text && self.options.allowed.has(Family::Http1) =>
            {
                Detected::Http1
            }
            found => found,
        }
    }

    fn wait(&mut self, conn: &Conn, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        let now = conn.state.shard.now();
        if self.held.is_none() && !conn.is_reusable() {
            return Poll::Ready(Err(Refused::Silent));
        }
        let live = conn.state.live();
        let idle = live.listener(conn.listener()).map_or(SNIFF_TIMEOUT, |l| l.wire.idle_timeout);
        let until = *self.until.get_or_insert_with(|| now + idle);
        if now >= until {
            let is_begun = self.held.is_some();
            return Poll::Ready(Err(if is_begun { Refused::Undecided } else { Refused::Silent }));
        }
        wake_at(conn, until, cx);
        Poll::Pending
    }
}

fn begin(conn: &Conn, found: Detected, first: Buf) -> Result<(), Refused> {
    let live = conn.state.live();
    let plan = live.listener(conn.listener()).ok_or(Refused::Gone)?;
    let (word, wire) = match found {
        Detected::Http1 => ("http1", AnyWire::h1(Role::Server, &plan.wire)),
        Detected::Http2 => ("http2", AnyWire::h2(Role::Server, &plan.wire)),
        Detected::Thrift(transport, _) => {
            (thrift::protocol(transport).as_str(), AnyWire::thrift(Role::Server, None, &plan.wire))
        }
        Detected::Refused(fault) => return Err(Refused::Protocol(fault)),
        // Neither is among what the listener takes.
        Detected::More | Detected::Proxy | Detected::Tls => {
            return Err(Refused::Protocol(Fault::ProtocolNotAllowed));
        }
    };
    conn.state.metrics.word(WordFamily::ConnectionProtocols, word);
    conn.speak(wire, first);
    Ok(())
}

impl Conn {
    pub(crate) fn set_sniffs(&self, sniffs: bool) {
        self.sniffs.set(sniffs);
    }

    /// A handshake is over: what was agreed on is spoken; where nothing was, the first bytes tell.
    pub(crate) fn agreed(&self, tls: &Tls) {
        if tls.is_alpn(b"h2") {
            self.speak_h2();
        } else if tls.is_alpn(b"http/1.1") {
            self.set_sniffs(false);
        }
    }

    /// The greeting has found out what the peer speaks, and taken in what it began with.
    pub(crate) fn speak(&self, wire: AnyWire, first: Buf) {
        let mut core = self.core.borrow_mut();
        core.wire = wire;
        core.rest = Some(first);
        core.poke = true;
        drop(core);
        if self.state.stop.is_set() {
            self.drain(false);
        }
    }

    fn speak_h2(&self) {
        let wire = self.listener().and_then(|listener| self.state.h2_wire(listener));
        let mut core = self.core.borrow_mut();
        self.sniffs.set(false);
        if let Some(wire) = wire
            && core.wire.traits().mux == Mux::One
        {
            core.wire = wire;
            core.poke = true;
        }
    }

    /// Takes received bytes. The first ones of a connection that may speak either version are held
    /// until they tell: at most the 24 of a preface (RFC 9113 section 3.4).
    pub(crate) fn take_in(&self, buf: Buf) {
        if !self.sniffs.get() {
            self.core.borrow_mut().rest = Some(buf);
            return;
        }
        let held = self.core.borrow_mut().rest.take();
        let buf = match held {
            Some(held) => Buf::copy_of(&[&held[..], &buf[..]].concat()),
            None => buf,
        };
        match h2::sniff(&buf) {
            Sniff::Yes => self.speak_h2(),
            Sniff::No => self.set_sniffs(false),
            Sniff::More => {
                self.core.borrow_mut().rest = Some(Buf::copy_of(&buf));
                return;
            }
        }
        self.core.borrow_mut().rest = Some(buf);
    }
}

/// From the first byte to the one that tells: a caller sends its first message at once.
const SNIFF_TIMEOUT: Duration = Duration::from_secs(3);

//! What a connection's bytes go through: the socket itself, or TLS on it.
//!
//! The same calls as [`Stream`]'s, so that the pump and exchanges know of neither. A plain
//! connection pays for it with one compare a call.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use engine::{Address, Buf, Full, Piece, Stream};

use crate::tls::Tls;

/// A socket, or TLS on one.
pub(crate) enum Transport {
    Plain(Stream),
    Tls(Box<Tls>),
}

impl Transport {
    /// The socket below: for what is said before TLS begins, and for what is about sockets.
    pub(crate) fn socket(&self) -> &Stream {
        match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(tls) => tls.socket(),
        }
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => Some(tls),
        }
    }

    pub(crate) fn peer(&self) -> Address {
        self.socket().peer()
    }

    pub(crate) fn local(&self) -> io::Result<Address> {
        self.socket().local()
    }

    pub(crate) fn annotate(&self, protocol: u8, state: u8, route: u32) {
        self.socket().annotate(protocol, state, route);
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Buf>>> {
        match self {
            Transport::Plain(stream) => stream.poll_recv(cx),
            Transport::Tls(tls) => tls.poll_recv(cx),
        }
    }

    pub(crate) fn heads(&self) {
        self.socket().heads();
    }

    pub(crate) fn bulk(&self) {
        self.socket().bulk();
    }

    pub(crate) fn pause(&self) {
        self.socket().pause();
    }

    pub(crate) fn poll_hangup(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket().poll_hangup(cx)
    }

    pub(crate) fn push(&self, piece: Piece) -> Result<(), Full> {
        match self {
            Transport::Plain(stream) => stream.push(piece),
            Transport::Tls(tls) => tls.push(piece),
        }
    }

    pub(crate) fn scratch<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        match self {
            Transport::Plain(stream) => stream.scratch(write),
            Transport::Tls(tls) => tls.scratch(write),
        }
    }

    pub(crate) fn room(&self) -> usize {
        match self {
            Transport::Plain(stream) => stream.room(),
            Transport::Tls(tls) => tls.room(),
        }
    }

    pub(crate) fn queued(&self) -> usize {
        match self {
            Transport::Plain(stream) => stream.queued(),
            Transport::Tls(tls) => tls.queued(),
        }
    }

    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(stream) => stream.poll_room(cx),
            Transport::Tls(tls) => tls.poll_room(cx),
        }
    }

    /// The pump runs: what is written now is sealed when it goes to sleep.
    pub(crate) fn awake(&self) {
        if let Transport::Tls(tls) = self {
            tls.awake();
        }
    }

    /// The pump goes to sleep: seals what there is room for.
    pub(crate) fn settle(&self, cx: &mut Context<'_>) {
        if let Transport::Tls(tls) = self {
            tls.settle(cx);
        }
    }

    pub(crate) fn send_stalled_since(&self) -> Option<Instant> {
        self.socket().send_stalled_since()
    }

    pub(crate) fn is_shed(&self) -> bool {
        self.socket().is_shed()
    }

    pub(crate) fn shut_write(&self) {
        match self {
            Transport::Plain(stream) => stream.shut_write(),
            Transport::Tls(tls) => tls.shut_write(),
        }
    }

    pub(crate) fn finish(&self, deadline: Instant) {
        match self {
            Transport::Plain(stream) => stream.finish(deadline),
            Transport::Tls(tls) => tls.finish(deadline),
        }
    }

    /// Closes a connection that nobody waits for anything on any more. With TLS the peer is told
    /// so, until `deadline`: without a close_notify the end would look like a cut.
    pub(crate) fn leave(&self, deadline: Instant) {
        match self {
            Transport::Plain(stream) => stream.abort(),
            Transport::Tls(tls) => tls.finish(deadline),
        }
    }

    pub(crate) fn abort(&self) {
        self.socket().abort();
    }

    pub(crate) fn reset(&self) {
        self.socket().reset();
    }
}

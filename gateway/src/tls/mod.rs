//! TLS between a socket and a wire: rustls's unbuffered connections, which do no I/O.
//!
//! The seam is two functions: [`Tls::open`] turns ciphertext that was received into plaintext, and
//! [`Tls::seal`] turns plaintext that was queued into ciphertext; an own record layer or the
//! kernel's would go behind them. Nothing here knows what the plaintext means.
//!
//! Copies of a received byte, each of which is measured by `benches/tls.rs`: from the receive
//! buffer to the record buffer (rustls decrypts in place, and a receive buffer may be shared); by
//! rustls, to a vector of its own for each record; from there to the chunk that the wire decodes.
//! Of a sent byte: into a record of up to 16 KiB, where the pieces are smaller than that; by
//! rustls, which encrypts into a vector of its own; from there to the send queue.
//!
//! T1 Plaintext is sealed only while the send queue has room, and counts against that room before:
//!    a slow reader is as visible through TLS as without.
//! T2 A close_notify is a clean end, a FIN without one an error: an end that anybody can forge
//!    must not end a body.
//! T3 Between messages a connection holds no buffer: they go back to the shard when empty.
//! T4 What is queued is sealed when the pump goes to sleep, so that a head and the body behind it
//!    are one record.

mod fault;
mod handshakes;
mod outbox;
mod session;
mod shared;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use control::certs::{ClientIdentity, ClientTls, ServerTls, identity};
use engine::{Buf, Full, Piece, Stream};
use rustls::{ClientConfig, HandshakeKind};

pub(crate) use fault::TlsFault;
use handshakes::Place;
use outbox::Outbox;
use session::{Job, Next, Session};
pub(crate) use shared::Shared;

/// One TLS connection on its socket.
pub(crate) struct Tls {
    stream: Stream,
    shared: Rc<Shared>,
    core: RefCell<Core>,
    /// The pump runs and will seal (T4).
    is_awake: Cell<bool>,
}

struct Core {
    session: Session,
    /// Records received and not yet opened.
    records: Vec<u8>,
    /// The part of them that was found to be whole records, or no records at all.
    whole: usize,
    /// Opened and not yet taken.
    opened: VecDeque<Buf>,
    outbox: Outbox,
    /// The handshake's first step is done, or is the peer's.
    begun: bool,
    /// The handshake's next step waits for its turn.
    is_due: bool,
    established: bool,
    /// Nothing more comes, for this reason.
    end: Option<End>,
    said_close: bool,
    /// The session must not be asked for anything more.
    broken: bool,
    pump: Option<Waker>,
    /// Where it stands in line for a step of its handshake.
    place: Option<Place>,
    identity: Option<Box<ClientIdentity>>,
}

#[derive(Clone, Copy)]
enum End {
    /// The peer said so.
    Clean,
    /// The connection ended without a word, or broke.
    Cut(io::ErrorKind),
}

impl Tls {
    /// The server's side of a connection that was accepted.
    pub(crate) fn server(
        stream: Stream,
        shared: &Rc<Shared>,
        tls: &ServerTls,
    ) -> Result<Box<Tls>, TlsFault> {
        let session = Session::server(&tls.config)?;
        Ok(Tls::new(stream, shared, session))
    }

    /// The client's side of a connection that was made.
    pub(crate) fn client(
        stream: Stream,
        shared: &Rc<Shared>,
        config: &Arc<ClientConfig>,
        tls: &ClientTls,
    ) -> Result<Box<Tls>, TlsFault> {
        let session = Session::client(config, &tls.name)?;
        Ok(Tls::new(stream, shared, session))
    }

    fn new(stream: Stream, shared: &Rc<Shared>, session: Session) -> Box<Tls> {
        let is_client = session.is_client();
        let core = Core {
            session,
            records: Vec::new(),
            whole: 0,
            opened: VecDeque::new(),
            outbox: Outbox::default(),
            begun: !is_client,
            is_due: false,
            established: false,
            end: None,
            said_close: false,
            broken: false,
            pump: None,
            place: None,
            identity: None,
        };
        let core = RefCell::new(core);
        Box::new(Tls { stream, shared: shared.clone(), core, is_awake: Cell::new(false) })
    }

    pub(crate) fn socket(&self) -> &Stream {
        &self.stream
    }

    /// Whether the session was resumed; `None` before the handshake's end.
    pub(crate) fn is_resumed(&self) -> Option<bool> {
        let kind = self.core.borrow().session.state().handshake_kind()?;
        Some(kind == HandshakeKind::Resumed)
    }

    /// What both ends agreed on by ALPN, once the handshake is over.
    pub(crate) fn is_alpn(&self, protocol: &[u8]) -> bool {
        self.core.borrow().session.state().alpn_protocol() == Some(protocol)
    }

    /// Calls `tell` with who the client is, where it has shown a certificate.
    pub(crate) fn with_identity(&self, tell: impl FnOnce(&ClientIdentity)) {
        if let Some(identity) = &self.core.borrow().identity {
            tell(identity);
        }
    }

    /// Ready when application data may flow. What the peer must be told is in the send queue.
    pub(crate) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<Result<(), TlsFault>> {
        if !self.core.borrow().begun {
            // A client speaks first.
            ready!(self.poll_place(cx));
            self.core.borrow_mut().begun = true;
            self.step()?;
        }
        loop {
            if self.core.borrow().established {
                return Poll::Ready(self.identify());
            }
            if self.core.borrow_mut().is_due() {
                ready!(self.poll_place(cx));
                self.step()?;
                self.core.borrow_mut().is_due = false;
                continue;
            }
            if self.core.borrow().records.len() > HELLO_BYTES_MAX {
                return Poll::Ready(Err(TlsFault::HelloTooLarge));
            }
            match ready!(self.stream.poll_recv(cx)) {
                Ok(Some(buf)) => self.receive(&buf),
                Ok(None) | Err(_) => return Poll::Ready(Err(TlsFault::Gone)),
            }
        }
    }

    /// Stands in line for the handshakes of this turn.
    fn poll_place(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.handshakes.poll(&mut self.core.borrow_mut().place, cx)
    }

    /// One step of the handshake; after a fault the alert for it is in the send queue.
    fn step(&self) -> Result<(), TlsFault> {
        let is_client = self.core.borrow().session.is_client();
        self.open().map_err(|error| TlsFault::of(&error, is_client))
    }

    /// Reads who the client is, once.
    fn identify(&self) -> Result<(), TlsFault> {
        let mut core = self.core.borrow_mut();
        if core.session.is_client() || core.identity.is_some() {
            return Ok(());
        }
        let Some(certificate) = core.session.state().peer_certificates().and_then(<[_]>::first)
        else {
            return Ok(());
        };
        let known = identity(certificate).map_err(|_| TlsFault::CertificateInvalid)?;
        core.identity = Some(Box::new(known));
        Ok(())
    }

    fn receive(&self, buf: &Buf) {
        let mut core = self.core.borrow_mut();
        if core.records.capacity() == 0 {
            core.records = self.shared.take();
        }
        core.records.extend_from_slice(buf);
    }

    /// The next plaintext; Ok(None) = the peer has said that nothing follows.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Buf>>> {
        loop {
            let mut core = self.core.borrow_mut();
            core.attach(cx);
            if let Some(buf) = core.opened.pop_front() {
                return Poll::Ready(Ok(Some(buf)));
            }
            match core.end {
                Some(End::Clean) => return Poll::Ready(Ok(None)),
                Some(End::Cut(kind)) => return Poll::Ready(Err(kind.into())),
                None => {}
            }
            let has_record = core.has_whole_record();
            drop(core);
            if has_record {
                if self.open().is_err() {
                    self.core.borrow_mut().cut(io::ErrorKind::InvalidData);
                }
                continue;
            }
            match ready!(self.stream.poll_recv(cx)) {
                Ok(Some(buf)) => self.receive(&buf),
                Ok(None) => self.core.borrow_mut().cut(io::ErrorKind::UnexpectedEof),
                Err(error) => self.core.borrow_mut().cut(error.kind()),
            }
        }
    }

    /// Opens every whole record that is there: plaintext is left in `opened`, what the protocol
    /// itself has to say goes into the send queue.
    fn open(&self) -> Result<(), rustls::Error> {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let (mut at, mut words) = (0, Vec::new());
        let result = loop {
            let input = core.records.get_mut(at..).unwrap_or_default();
            let mut job = Job::Open(&mut core.opened);
            let (discard, next) = core.session.step(input, &mut job, &mut words);
            at += discard;
            match next {
                Next::More => {}
                Next::PeerClosed => core.end = Some(End::Clean),
                Next::Ready => {
                    core.established = true;
                    break Ok(());
                }
                Next::Blocked => break Ok(()),
                Next::Failed(error) => {
                    core.session.last_words(&mut words);
                    core.broken = true;
                    break Err(error);
                }
            }
        };
        core.consumed(at, &self.shared);
        if !words.is_empty() {
            self.stream.scratch(|out| out.append(&mut words));
        }
        result
    }

    pub(crate) fn push(&self, piece: Piece) -> Result<(), Full> {
        if self.room() == 0 {
            return Err(Full(piece));
        }
        self.core.borrow_mut().outbox.push(piece);
        self.wake();
        Ok(())
    }

    pub(crate) fn scratch<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        // Lent out, because `write` is foreign code.
        let mut block = self.core.borrow_mut().outbox.lend(&self.shared);
        let before = block.len();
        let result = write(&mut block);
        let has_written = block.len() > before;
        self.core.borrow_mut().outbox.give_back(block, before, &self.shared);
        if has_written {
            self.wake();
        }
        result
    }

    /// Wakes the pump to seal, unless it runs.
    fn wake(&self) {
        if !self.is_awake.get()
            && let Some(pump) = &self.core.borrow().pump
        {
            pump.wake_by_ref();
        }
    }

    pub(crate) fn room(&self) -> usize {
        self.stream.room().saturating_sub(self.core.borrow().outbox.len())
    }

    pub(crate) fn queued(&self) -> usize {
        self.stream.queued() + self.core.borrow().outbox.len()
    }

    /// Ready below half of the cap, once what was queued before is sealed.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.seal(Room::Kept);
            let is_clear = self.core.borrow().is_settled();
            match self.stream.poll_room(cx) {
                Poll::Ready(Ok(())) if !is_clear => {}
                polled => return polled,
            }
        }
    }

    pub(crate) fn awake(&self) {
        self.is_awake.set(true);
    }

    pub(crate) fn settle(&self, cx: &mut Context<'_>) {
        self.is_awake.set(false);
        self.core.borrow_mut().attach(cx);
        loop {
            self.seal(Room::Kept);
            if self.core.borrow().is_settled() {
                return;
            }
            match self.stream.poll_room(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.core.borrow_mut().outbox.clear(&self.shared),
            }
        }
    }

    /// Seals what is queued, a record of up to 16 KiB at a time, while there is room (T1).
    fn seal(&self, room: Room) {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        if !core.established || core.outbox.is_empty() {
            return;
        }
        if core.said_close || core.broken {
            return core.outbox.clear(&self.shared);
        }
        let mut gathered = self.shared.take();
        while !core.outbox.is_empty() && (room == Room::Ignored || self.stream.room() > 0) {
            let record = core.outbox.record(&mut gathered);
            let (len, mut sealed, mut words) = (record.len(), Vec::new(), Vec::new());
            let job = Job::Seal(record, &mut sealed);
            if core.session.act(&mut core.records, job, &mut words).is_err() {
                // The sequence numbers are used up, or the session broke: nothing goes out any
                // more, and the peer sees an end without a close_notify.
                core.broken = true;
                core.cut(io::ErrorKind::InvalidData);
                core.outbox.clear(&self.shared);
                break;
            }
            core.outbox.advance(len, &self.shared);
            self.send(words);
            self.send(sealed);
        }
        self.shared.give(gathered);
    }

    /// Queues ciphertext: long records as they are, short ones behind one another.
    fn send(&self, sealed: Vec<u8>) {
        if sealed.is_empty() {
            return;
        }
        if sealed.len() < COPIED_BYTES_MAX {
            return self.stream.scratch(|out| out.extend_from_slice(&sealed));
        }
        if let Err(Full(Piece::Bytes(bytes))) = self.stream.push(Piece::Bytes(sealed.into())) {
            self.stream.scratch(|out| out.extend_from_slice(&bytes));
        }
    }

    /// Seals all that is queued, and says that nothing follows.
    fn say_close(&self) {
        self.seal(Room::Ignored);
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        if core.said_close || core.broken || !core.established {
            return;
        }
        core.said_close = true;
        let (mut sealed, mut words) = (Vec::new(), Vec::new());
        let job = Job::Close(&mut sealed);
        if core.session.act(&mut core.records, job, &mut words).is_ok() {
            self.send(words);
            self.send(sealed);
        }
    }

    pub(crate) fn shut_write(&self) {
        self.say_close();
        self.stream.shut_write();
    }

    pub(crate) fn finish(&self, deadline: Instant) {
        self.say_close();
        self.stream.finish(deadline);
    }
}

/// Whether a send queue that is full stops the sealing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Kept,
    /// The connection ends: what is queued is bounded, and goes out now or never.
    Ignored,
}

impl Core {
    fn attach(&mut self, cx: &Context<'_>) {
        match &mut self.pump {
            Some(pump) => pump.clone_from(cx.waker()),
            None => self.pump = Some(cx.waker().clone()),
        }
    }

    /// Whether nothing waits to be sealed that can be.
    fn is_settled(&self) -> bool {
        !self.established || self.outbox.is_empty()
    }

    /// Whether the handshake has something to work on; it stays so until a step is done.
    fn is_due(&mut self) -> bool {
        self.is_due = self.is_due || self.has_whole_record();
        self.is_due
    }

    fn cut(&mut self, kind: io::ErrorKind) {
        self.end.get_or_insert(End::Cut(kind));
    }

    /// `count` bytes of the records are done with.
    fn consumed(&mut self, count: usize, shared: &Shared) {
        self.whole = self.whole.saturating_sub(count);
        self.records.drain(..count.min(self.records.len()));
        if self.records.is_empty() {
            shared.give(std::mem::take(&mut self.records));
        }
    }

    /// Whether there is a record that was not there at the last look, or something that is none:
    /// rustls is called for these only, so that a byte at a time costs a compare each.
    fn has_whole_record(&mut self) -> bool {
        let before = self.whole;
        while let Some(header) = self.records.get(self.whole..self.whole + RECORD_HEADER_BYTES) {
            let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let is_record = matches!(header[0], 20..=24) && header[1] == 3;
            if !is_record || len > RECORD_BYTES_MAX {
                return true;
            }
            let end = self.whole + RECORD_HEADER_BYTES + len;
            if end > self.records.len() {
                break;
            }
            self.whole = end;
        }
        self.whole > before
    }
}

/// Content type, version, length (RFC 8446 section 5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// Longest record of TLS 1.2 (RFC 5246 section 6.2.3), which may be longer than one of TLS 1.3.
const RECORD_BYTES_MAX: usize = 16 * 1024 + 2048;
/// What may wait to become a whole message of the handshake, its record headers included.
const HELLO_BYTES_MAX: usize = 64 * 1024;
/// Ciphertext below this is copied behind what is queued: an own piece costs a segment to send.
const COPIED_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests;

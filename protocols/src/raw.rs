//! `Raw`: a wire without framing, for TCP and TLS pass-through, in both roles.
//!
//! The whole connection is one tunnel: bytes are `Data`, a FIN is the message's end. So that the
//! gateway's exchange needs no second kind of connection, the wire says a head that nobody sent:
//! the server role an empty request at the first `decode`, before any byte, since in many
//! protocols it is the server that speaks first; the client role a reply of status 200 once its
//! own head was given. Nothing that is given to `head` is ever written. It is *not* a place for
//! looking into the bytes, and it has no deadlines: idle times belong to the gateway.
//!
//! ```text
//! read   Before -> Tunnel -> Done        (client: Hold while Before, until head())
//! ```
//!
//! R1 One connection is one exchange; `release` ends it. R2 The directions end apart: after a FIN
//!    the other one lives on. R3 Here a FIN means "complete". So whatever ends a connection before
//!    its sending side was ended sets `must_reset`: a broken message must not look whole. That
//!    holds for local replies too: there is no way to say them. R4 Only heads with
//!    `Length::Tunnel` are taken: any other is of a protocol whose framing would be lost.
//!
//! Cost: a wire is 16 bytes and allocates nothing; payload is a range of the caller's input.

use std::time::Instant;

use crate::error::{Error, Fault};
use crate::head::{Head, Length};
use crate::wire::{
    Cx, Decoded, Event, Framing, Gone, Mux, ReadSide, Role, Sides, StreamId, Traits, Wire,
    WriteSide,
};

/// The one stream of a connection.
const STREAM: StreamId = StreamId(0);

/// Where the receiving side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// The head is still to be said.
    Before,
    /// Bytes are payload.
    Tunnel,
    /// Nothing will be read.
    Done,
}

/// A connection of bytes in one role.
#[derive(Debug)]
pub struct Raw {
    role: Role,
    read: Read,
    /// The transport's end: whether it was clean.
    eof: Option<bool>,
    /// An exchange holds the stream.
    stream: bool,
    /// This side's head was given: payload may follow.
    begun: bool,
    /// The sending side was ended.
    shut: bool,
    /// The sending side ends once flushed, and with it the connection.
    closing: bool,
    /// No exchange may begin.
    draining: bool,
    must_reset: bool,
}

const _: () = assert!(size_of::<Raw>() <= 16);

impl Raw {
    /// A connection that has just been made.
    pub fn new(role: Role) -> Raw {
        Raw {
            role,
            read: Read::Before,
            eof: None,
            stream: false,
            begun: false,
            shut: false,
            closing: false,
            draining: false,
            must_reset: false,
        }
    }

    /// See [`crate::AnyWire::must_reset`].
    pub fn must_reset(&self) -> bool {
        self.must_reset
    }

    /// See [`crate::AnyWire::is_tunnel`].
    pub fn is_tunnel(&self) -> bool {
        !self.closing
    }

    /// See [`crate::AnyWire::has_shut`].
    pub fn has_shut(&self) -> bool {
        self.shut
    }

    fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// The stream may be written to.
    fn check(&self, stream: StreamId) -> Result<(), Gone> {
        if stream == STREAM && self.stream && !self.closing { Ok(()) } else { Err(Gone) }
    }

    /// Ends the connection (R3).
    fn close(&mut self) {
        self.must_reset |= self.stream && !self.shut;
        self.closing = true;
        self.read = Read::Done;
    }

    /// Breaks the connection off.
    fn abort(&mut self) -> Gone {
        self.close();
        Gone
    }

    /// Says the head that stands for the connection.
    fn begin(&mut self, cx: &mut Cx<'_>) -> Event {
        self.read = Read::Tunnel;
        self.stream = true;
        let mut head = cx.take_head();
        match self.role {
            Role::Server => head.set_request(b"", b""),
            Role::Client => head.set_status(200, b""),
        }
        head.set_length(Length::Tunnel);
        Event::Head { stream: STREAM, head, end: false }
    }

    /// All input is passed on and none will follow.
    fn at_eof(&mut self, clean: bool) -> Event {
        self.read = Read::Done;
        if clean {
            return Event::Data { stream: STREAM, at: 0..0, charge: 0, end: true };
        }
        if !self.is_server() {
            self.close();
        }
        Event::Reset { stream: STREAM, fault: Fault::BodyTruncated, unprocessed: false }
    }
}

impl Wire for Raw {
    fn decode(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        let (used, event) = match (self.read, self.eof) {
            (Read::Before, _) if self.is_server() || self.begun => (0, Some(self.begin(cx))),
            (Read::Before, _) => (0, None),
            (Read::Tunnel, _) if !input.is_empty() => {
                let (at, charge) = (0..input.len(), u32::try_from(input.len()));
                let charge = charge.unwrap_or(u32::MAX);
                (input.len(), Some(Event::Data { stream: STREAM, at, charge, end: false }))
            }
            (Read::Tunnel, Some(clean)) => (0, Some(self.at_eof(clean))),
            (Read::Tunnel, None) => (0, None),
            (Read::Done, _) => (input.len(), None),
        };
        Ok(Decoded { used, event })
    }

    fn eof(&mut self, clean: bool, _cx: &mut Cx<'_>) -> Result<(), Error> {
        self.eof = Some(clean);
        if !self.is_server() && !self.stream {
            // Nobody will ask anything of it, and while it Holds nobody decodes.
            self.close();
        }
        Ok(())
    }

    fn sides(&self) -> Sides {
        let read = match self.read {
            Read::Done => ReadSide::Done,
            Read::Before if !self.is_server() && !self.begun => ReadSide::Hold,
            Read::Before | Read::Tunnel => ReadSide::Open,
        };
        let write = match (self.closing, self.shut) {
            (true, _) => WriteSide::CloseAfterFlush,
            (false, true) if self.read == Read::Done => WriteSide::CloseAfterFlush,
            (false, true) => WriteSide::ShutAfterFlush,
            (false, false) => WriteSide::Open,
        };
        Sides { read, write }
    }

    fn traits(&self) -> Traits {
        Traits { mux: Mux::One, stream_credit: false, needs_length: false }
    }

    fn open(&mut self) -> Option<StreamId> {
        let fresh = self.read == Read::Before && !self.stream && self.eof.is_none();
        if self.is_server() || !fresh || self.draining {
            return None;
        }
        self.stream = true;
        Some(STREAM)
    }

    fn ready(&self, stream: StreamId) -> bool {
        self.check(stream).is_ok()
    }

    fn release(&mut self, stream: StreamId) {
        if stream == STREAM && self.stream {
            self.close();
            self.stream = false;
        }
    }

    fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        _cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.check(stream)?;
        if self.begun || head.length() != Length::Tunnel {
            return Err(self.abort());
        }
        self.begun = true;
        self.shut = end;
        Ok(())
    }

    fn data(
        &mut self,
        stream: StreamId,
        len: usize,
        end: bool,
        _cx: &mut Cx<'_>,
    ) -> Result<Framing, Gone> {
        self.check(stream)?;
        // An end after the end says nothing new.
        if !self.begun || (self.shut && len > 0) {
            return Err(self.abort());
        }
        self.shut |= end;
        Ok(Framing { take: len, suffix: b"" })
    }

    fn end(
        &mut self,
        stream: StreamId,
        _trailers: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.data(stream, 0, true, cx).map(drop)
    }

    fn reset(&mut self, stream: StreamId, _fault: Fault, _cx: &mut Cx<'_>) {
        if self.check(stream).is_ok() {
            self.close();
        }
    }

    fn credit(&mut self, _stream: StreamId, _n: u32, _cx: &mut Cx<'_>) {}

    fn fail(&mut self, _error: Error, _date: Option<&[u8]>, _cx: &mut Cx<'_>) {
        if !self.closing {
            self.close();
        }
    }

    fn drain(&mut self, last: bool, _cx: &mut Cx<'_>) {
        // A connection that was only just accepted is still served, unless this is the last call.
        self.draining = true;
        if (last || !self.is_server()) && !self.stream {
            self.close();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn tick(&mut self, _cx: &mut Cx<'_>) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pair::{Pair, Peer, every_cut, request, status};

    /// What a server says of a new connection.
    const BEGIN: &str = "  @ Tunnel";

    fn server() -> Peer {
        Peer::raw(Role::Server)
    }

    /// A server whose reply has begun.
    fn serving() -> Peer {
        let mut peer = server();
        let head = status(200, Length::Tunnel);
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        peer
    }

    fn begin_client(peer: &mut Peer) {
        let mut head = request("", "");
        head.set_length(Length::Tunnel);
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
    }

    /// A client with its exchange.
    fn client() -> Peer {
        let mut peer = Peer::raw(Role::Client);
        assert_eq!(peer.wire.open(), Some(STREAM));
        begin_client(&mut peer);
        peer
    }

    fn end(peer: &mut Peer) {
        peer.with(|wire, cx| wire.end(STREAM, None, cx)).unwrap();
    }

    #[test]
    fn a_server_speaks_first() {
        let mut peer = server();
        assert_eq!(peer.said(), BEGIN);
        assert!(peer.messages[0].head.is_request());
        assert_eq!(peer.sides(), Sides { read: ReadSide::Open, write: WriteSide::Open });
        let head = status(200, Length::Tunnel);
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        assert_eq!(peer.wrote(), "", "heads are not written");
        peer.push(b"220 ready\r\n", false).unwrap();
        assert_eq!(peer.wrote(), "220 ready\n");
    }

    #[test]
    fn bytes_before_the_reply_are_passed_on() {
        let said = every_cut(b"EHLO\r\n\0\xff", |pieces| {
            let mut peer = server();
            pieces.iter().for_each(|piece| peer.feed(piece));
            peer.eof(true);
            assert_eq!(peer.sides(), Sides { read: ReadSide::Done, write: WriteSide::Open });
            peer.said()
        });
        assert_eq!(said, format!("{BEGIN}\ndata EHLO\\r\\n\\x00\\xff\nend"));
    }

    #[test]
    fn a_client_holds_what_comes_before_its_head() {
        let said = every_cut(b"220 ready", |pieces| {
            let mut peer = Peer::raw(Role::Client);
            let (early, late) = pieces.split_at(pieces.len() / 2);
            assert_eq!(peer.wire.open(), Some(STREAM));
            assert_eq!(peer.wire.open(), None);
            early.iter().for_each(|piece| peer.feed(piece));
            assert_eq!((peer.said().as_str(), peer.sides().read), ("", ReadSide::Hold));
            begin_client(&mut peer);
            assert_eq!(peer.sides().read, ReadSide::Open, "its head is to be said");
            peer.feed(b"");
            late.iter().for_each(|piece| peer.feed(piece));
            peer.eof(true);
            assert_eq!(peer.wrote(), "");
            peer.said()
        });
        assert_eq!(said, "200  Tunnel\ndata 220 ready\nend");
    }

    /// Both peers talk, the first one to end is chosen; the log must not depend on the step.
    fn talk(client_ends_first: bool) -> String {
        let run = |step| {
            let mut pair = Pair { client: client(), server: serving() };
            pair.client.feed(b"");
            pair.client.push(b"from the client", false).unwrap();
            pair.server.push(b"from the server", false).unwrap();
            pair.carry(step);
            let (first, second) = if client_ends_first {
                (&mut pair.client, &mut pair.server)
            } else {
                (&mut pair.server, &mut pair.client)
            };
            first.push(b", done", true).unwrap();
            assert_eq!(first.sides().write, WriteSide::ShutAfterFlush);
            assert_eq!((first.sides().read, first.wire.is_tunnel()), (ReadSide::Open, true));
            assert!(second.wire.is_tunnel());
            pair.carry(step);
            let (first, second) = if client_ends_first {
                (&mut pair.client, &mut pair.server)
            } else {
                (&mut pair.server, &mut pair.client)
            };
            assert_eq!(second.sides(), Sides { read: ReadSide::Done, write: WriteSide::Open });
            assert!(!first.is_closing(), "one direction lives on");
            second.push(b", last words", false).unwrap();
            end(second);
            assert!(second.is_closing());
            pair.carry(step);
            assert!(pair.client.is_closing() && pair.server.is_closing());
            assert!(!pair.client.wire.must_reset() && !pair.server.wire.must_reset());
            for peer in [&mut pair.client, &mut pair.server] {
                peer.wire.release(STREAM);
                assert!(!peer.wire.must_reset(), "both directions ended");
            }
            format!("{}\n--\n{}", pair.server.said(), pair.client.said())
        };
        let said = run(usize::MAX);
        for step in 1..30 {
            assert_eq!(run(step), said, "pieces of {step}");
        }
        said
    }

    #[test]
    fn the_client_ends_first() {
        let to_server = format!("{BEGIN}\ndata from the client, done\nend");
        let to_client = "200  Tunnel\ndata from the server, last words\nend";
        assert_eq!(talk(true), format!("{to_server}\n--\n{to_client}"));
    }

    #[test]
    fn the_server_ends_first() {
        let to_server = format!("{BEGIN}\ndata from the client, last words\nend");
        let to_client = "200  Tunnel\ndata from the server, done\nend";
        assert_eq!(talk(false), format!("{to_server}\n--\n{to_client}"));
    }

    #[test]
    fn a_cut_is_not_an_end() {
        let mut peer = serving();
        peer.feed(b"half");
        peer.eof(false);
        assert_eq!(peer.said(), format!("{BEGIN}\ndata half\nreset body_truncated"));
        assert_eq!(peer.sides(), Sides { read: ReadSide::Done, write: WriteSide::Open });
        peer.with(|wire, cx| wire.reset(STREAM, Fault::Cancelled, cx));
        assert!(peer.is_closing() && peer.wire.must_reset());

        let mut peer = client();
        peer.feed(b"half");
        peer.eof(false);
        assert_eq!(peer.said(), "200  Tunnel\ndata half\nreset body_truncated");
        assert!(peer.is_closing() && peer.wire.must_reset());
    }

    #[test]
    fn a_broken_exchange_never_looks_whole() {
        let mut pair = Pair { client: client(), server: serving() };
        pair.server.push(b"half", false).unwrap();
        pair.server.with(|wire, cx| wire.reset(STREAM, Fault::Cancelled, cx));
        assert!(!pair.server.wire.is_tunnel());
        pair.carry(3);
        assert_eq!(pair.client.said(), "200  Tunnel\ndata half\nreset body_truncated");

        // Given back before its end was sent.
        let mut peer = serving();
        peer.wire.release(STREAM);
        assert!(peer.is_closing() && peer.wire.must_reset());
    }

    #[test]
    fn a_local_reply_cannot_be_said() {
        for head in [
            status(502, Length::Exact(3)),
            status(200, Length::Unknown),
            status(103, Length::Empty),
        ] {
            let mut peer = server();
            assert!(peer.send(&head, b"bad").is_err());
            assert!(peer.is_closing() && peer.wire.must_reset());
            assert_eq!(peer.wrote(), "");
        }
        // Nor can a request that has a framing of its own.
        let mut peer = Peer::raw(Role::Client);
        peer.wire.open().unwrap();
        assert!(peer.send(&request("GET", "/"), b"").is_err());
        assert!(peer.is_closing() && peer.wire.must_reset());
    }

    #[test]
    fn payload_comes_between_head_and_end() {
        let mut peer = server();
        assert!(peer.push(b"early", false).is_err());
        assert!(peer.wire.must_reset());
        let mut peer = serving();
        peer.push(b"whole", true).unwrap();
        peer.push(b"", true).unwrap();
        end(&mut peer);
        assert_eq!(peer.sides().write, WriteSide::ShutAfterFlush);
        assert!(peer.wire.has_shut());
        assert!(peer.push(b"late", false).is_err());
        assert_eq!(peer.wrote(), "whole");
        let mut peer = serving();
        let head = status(200, Length::Tunnel);
        assert!(peer.send(&head, b"").is_err(), "a second head");
    }

    #[test]
    fn an_unused_link_ends_without_words() {
        let mut peer = Peer::raw(Role::Client);
        peer.eof(true);
        assert!(peer.is_closing() && !peer.wire.must_reset());
        assert_eq!((peer.wire.open(), peer.said().as_str()), (None, ""));
        let mut peer = Peer::raw(Role::Client);
        peer.with(|wire, cx| wire.drain(false, cx));
        assert!(peer.is_closing() && !peer.wire.must_reset());
        // One in use goes on.
        let mut peer = client();
        peer.with(|wire, cx| wire.drain(true, cx));
        peer.feed(b"x");
        assert_eq!(peer.said(), "200  Tunnel\ndata x");
        assert_eq!((peer.wire.deadline(), peer.is_closing()), (None, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Two wires under a script: what arrives is what was sent so far, and ends if that did.
        #[test]
        fn scripts(steps in prop::collection::vec((0u8..8, any::<u8>()), 0..60)) {
            let mut pair = Pair { client: client(), server: serving() };
            let mut sent = [(Vec::new(), false), (Vec::new(), false)];
            for (action, arg) in steps {
                let (from, to, sent) = match action & 1 {
                    0 => (&mut pair.client, &mut pair.server, &mut sent[0]),
                    _ => (&mut pair.server, &mut pair.client, &mut sent[1]),
                };
                match action >> 1 {
                    0 => {
                        let bytes = vec![arg; usize::from(arg & 31)];
                        let end = arg & 64 != 0;
                        match from.push(&bytes, end) {
                            Ok(()) => {
                                sent.0.extend_from_slice(&bytes);
                                sent.1 |= end;
                            }
                            Err(Gone) => prop_assert!(sent.1 || from.is_closing()),
                        }
                    }
                    1 => Pair::deliver(from, to, usize::from(arg)),
                    2 if from.out.is_empty() && to.sides().read == ReadSide::Open => {
                        match from.sides().write {
                            WriteSide::Open => {}
                            _ => to.eof(!from.wire.must_reset()),
                        }
                    }
                    2 => {}
                    _ => to.feed(b""),
                }
            }
            for (peer, (bytes, ended)) in [(&pair.server, &sent[0]), (&pair.client, &sent[1])] {
                for message in &peer.messages {
                    prop_assert!(bytes.starts_with(&message.body));
                    prop_assert!(!message.whole || (*ended && message.body == *bytes));
                }
            }
        }
    }
}

//! Fuzz functions of the Thrift family: any bytes in, invariants asserted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz function is meant to panic"
)]

use std::time::Duration;

use super::dialect::{Dialect, Encoding, Transport};
use super::header::{self, Limits};
use super::message::{self, Step};
use super::testing::{Peer, carry, deliver, hi, local, request, status};
use super::walk::Walk;
use super::{exception, theader, ttheader};
use crate::error::Fault;
use crate::{Role, StreamId, Wire, WireSpec};

/// A message in an encoding that the first byte chooses, cut as its second byte says.
pub fn fuzz_messages(data: &[u8]) {
    let [mode, step, bytes @ ..] = data else { return };
    let encoding = match mode % 3 {
        0 => Encoding::Binary,
        1 => Encoding::LaxBinary,
        _ => Encoding::Compact,
    };
    check_beginning(encoding, bytes);
    let whole = walk(encoding, &[bytes]);
    let pieces: Vec<_> = bytes.chunks(1 + usize::from(*step)).collect();
    assert_eq!(walk(encoding, &pieces), whole, "pieces of {}", 1 + usize::from(*step));
    if let Some(found) = exception::read(encoding, bytes) {
        let mut written = Vec::new();
        exception::write(encoding, found.code, found.text, &mut written);
        assert_eq!(exception::read(encoding, &written), Some(found));
    }
}

fn check_beginning(encoding: Encoding, bytes: &[u8]) {
    let mut need = 0;
    for len in 0..=bytes.len().min(message::NAME_BYTES_MAX + 20) {
        match message::read(encoding, &bytes[..len]) {
            Ok(Step::Need(more)) => {
                assert!(more > len && more >= need, "{more} at {len}");
                need = more;
            }
            Ok(Step::Done(head)) => {
                assert_eq!(head.len, len.max(need), "more than was asked for");
                let mut written = Vec::new();
                message::write(encoding, head.kind, &bytes[head.name], head.seqid, &mut written);
                let again = message::read(encoding, &written).unwrap();
                assert!(matches!(again, Step::Done(again) if again.seqid == head.seqid));
                return;
            }
            Err(_) => return,
        }
    }
}

fn walk(encoding: Encoding, pieces: &[&[u8]]) -> Result<Option<usize>, Fault> {
    let mut walk = Walk::new(16);
    walk.begin(encoding, 4096, Fault::ThriftFrameTooLarge);
    let mut used = 0;
    for piece in pieces {
        let walked = walk.feed(piece)?;
        used += walked.used;
        assert!(walked.used <= piece.len() && used as u64 + walk.left() == 4096);
        assert!(walk.held_bytes() <= 64 * 16 * 2);
        if walked.done {
            return Ok(Some(used));
        }
        assert_eq!(walked.used, piece.len(), "nothing is left over");
    }
    Ok(None)
}

/// A THeader or a TTHeader; what was read of it can be written again and then reads the same.
pub fn fuzz_headers(data: &[u8]) {
    let [mode, bytes @ ..] = data else { return };
    let limits = Limits { frame_bytes_max: 4096, header_bytes_max: 2048, keys_max: 20 };
    if mode & 1 == 0 {
        let Ok(header::Step::Done(head)) = theader::read(bytes, &limits) else { return };
        let mut out = Vec::new();
        let mut writer = theader::Writer::new(head.flags, head.seqid, 0, head.is_zlib, &mut out);
        theader::pairs(&bytes[head.blocks]).for_each(|pair| writer.push(pair.unwrap()));
        assert!(writer.finish(head.payload_len));
        let payload = bytes.get(head.len..).unwrap_or_default();
        if let Ok(plain) = theader::inflate(payload, 10_000) {
            assert!(plain.len() <= 10_000);
        }
    } else {
        let Ok(header::Step::Done(head)) = ttheader::read(bytes, &limits) else { return };
        let mut out = Vec::new();
        let mut writer = ttheader::Writer::new(head.flags, head.seqid, head.protocol, &mut out);
        ttheader::pairs(&bytes[head.blocks]).for_each(|pair| writer.push(pair.unwrap()));
        assert!(writer.finish(head.payload_len));
        let header::Step::Done(again) = ttheader::read(&out, &limits).unwrap() else { panic!() };
        assert_eq!((again.seqid, again.payload_len), (head.seqid, head.payload_len));
    }
}

/// What a wire may hold with the limits of [`fuzz_pair`]: 256 calls that were given up take half.
const HELD_BYTES_MAX: usize = 80 * 1024;

fn dialect(mode: u8) -> Dialect {
    let transports =
        [Transport::Framed, Transport::Unframed, Transport::THeader, Transport::TtHeader];
    let encoding = if mode & 4 == 0 { Encoding::Binary } else { Encoding::Compact };
    let transport = transports[usize::from(mode & 3)];
    let is_framed_inside = transport == Transport::TtHeader && mode & 8 != 0;
    Dialect { is_framed_inside, ..Dialect::new(transport, encoding) }
}

/// Two wires under a script of two bytes a step: an action and its argument; the first byte is the
/// dialect. Or, from 128 on, any bytes to one of them.
pub fn fuzz_pair(data: &[u8]) {
    let Some((&mode, script)) = data.split_first() else { return };
    let spec = WireSpec {
        thrift_frame_bytes_max: 4096,
        thrift_header_bytes_max: 1024,
        thrift_keys_max: 10,
        thrift_depth_max: 8,
        thrift_calls_max: 4,
        thrift_link_calls_max: 1 + 2 * u16::from(mode >> 4 & 3),
        thrift_lax: mode & 64 != 0,
        ..WireSpec::default()
    };
    if mode >= 128 {
        return fuzz_bytes(mode, script, &spec);
    }
    let client = Peer::new(Role::Client, Some(dialect(mode)), spec.clone());
    let mut pair =
        Pair { client, server: Peer::server(spec), asked: Vec::new(), tag: 0, half: None };
    for step in script.chunks_exact(2) {
        pair.play(step[0], step[1]);
        pair.check();
    }
    carry(&mut pair.client, &mut pair.server, usize::MAX);
    pair.check();
}

/// A client and a server, each call with a payload of its own that its reply brings back.
struct Pair {
    client: Peer,
    server: Peer,
    /// By the client's key: the tag of its last call.
    asked: Vec<u8>,
    tag: u8,
    /// The call whose message was begun, and what of its payload is still to be sent.
    half: Option<(u32, Vec<u8>)>,
}

/// Bytes from a peer, in several cuts; all must agree.
fn fuzz_bytes(mode: u8, bytes: &[u8], spec: &WireSpec) {
    let run = |step: usize| {
        let mut peer = match mode & 32 {
            0 => Peer::server(spec.clone()),
            _ => Peer::new(Role::Client, Some(dialect(mode)), spec.clone()),
        };
        if mode & 32 == 0 {
            peer.echoes = mode & 1 == 0;
        } else {
            for _ in 0..spec.thrift_link_calls_max.min(3) {
                peer.ask("CALL", "/-/a");
            }
            // The second one has been given up: its reply is dropped.
            peer.release(1);
        }
        for piece in bytes.chunks(step) {
            peer.feed(piece);
            assert!(peer.wire.held_bytes() <= HELD_BYTES_MAX, "{}", peer.wire.held_bytes());
        }
        let said = (peer.said(), peer.wrote(), peer.sides());
        peer.eof();
        (said, peer.said(), peer.sides())
    };
    let whole = run(bytes.len().max(1));
    for step in [1, 2, 3 + bytes.len() % 11] {
        assert_eq!(run(step), whole, "pieces of {step}");
    }
}

impl Pair {
    fn play(&mut self, action: u8, arg: u8) {
        let key = u32::from(arg & 7);
        match action % 12 {
            0 | 1 => self.begin(arg),
            2 => deliver(&mut self.client, &mut self.server, usize::from(arg)),
            3 => deliver(&mut self.server, &mut self.client, usize::from(arg)),
            4 => answer(key, arg, &mut self.server),
            5 => self.let_go(key),
            6 => self.fail(key, arg),
            7 => self.reset(key),
            8 => self.client.sleep(Duration::from_secs(arg.into())),
            9 => self.push(usize::from(arg & 7)),
            10 => self.push(usize::MAX),
            _ => carry(&mut self.client, &mut self.server, 1 + usize::from(arg)),
        }
    }

    /// Nobody did wrong, nobody holds much, and each reply is that of its call.
    fn check(&mut self) {
        assert_eq!((self.client.failed, self.server.failed), (None, None));
        for peer in [&self.client, &self.server] {
            assert!(peer.wire.held_bytes() <= HELD_BYTES_MAX, "{}", peer.wire.held_bytes());
        }
        let encoding = self.client.wire.dialect().unwrap().encoding;
        for (place, &tag) in self.client.messages.iter_mut().zip(&self.asked) {
            let Some(message) = place.take_if(|message| message.is_whole) else { continue };
            let is_reply = message.head.status() == 200 && !message.body.is_empty();
            assert!(!is_reply || message.body == tagged(encoding, tag), "another call's reply");
        }
    }

    /// Begins a call; its payload may have to follow later.
    fn begin(&mut self, arg: u8) {
        let Some(key) = self.client.wire.open() else { return };
        if !self.client.wire.ready(key) {
            return self.client.release(key.0);
        }
        let encoding = self.client.wire.dialect().unwrap().encoding;
        let method = if arg & 1 == 0 { "CALL" } else { "ONEWAY" };
        let mut head = request(method, "/Echo/echo", encoding);
        if arg & 2 != 0 {
            head.push(b"traceparent", b"00-1");
            head.push(b"%k%01", b"%00");
        }
        self.tag = self.tag.wrapping_add(1);
        let index = key.0 as usize;
        self.asked.resize(self.asked.len().max(index + 1), 0);
        self.asked[index] = self.tag;
        self.client.head(key.0, &head, false).unwrap();
        self.half = Some((key.0, tagged(encoding, self.tag)));
        if arg & 4 == 0 {
            self.push(usize::MAX);
        }
    }

    /// Sends so much of the payload that is due.
    fn push(&mut self, len: usize) {
        let Some((key, rest)) = &mut self.half else { return };
        let piece: Vec<u8> = rest.drain(..len.min(rest.len())).collect();
        let is_last = rest.is_empty();
        let pushed = self.client.push(*key, &piece, is_last);
        if is_last || pushed.is_err() {
            self.half = None;
        }
    }

    /// The server ends a call that it has heard to its end without a reply of its own.
    fn fail(&mut self, key: u32, arg: u8) {
        let place = self.server.messages.get_mut(key as usize);
        let whole = place.and_then(|place| place.take_if(|message| message.is_whole));
        if whole.is_some() && arg & 8 != 0 {
            self.server.with(|wire, cx| wire.reset(StreamId(key), Fault::Cancelled, cx));
        }
        if whole.is_some() {
            self.server.release(key);
        }
    }

    fn reset(&mut self, key: u32) {
        self.half.take_if(|(half, _)| *half == key);
        self.client.with(|wire, cx| wire.reset(StreamId(key), Fault::Cancelled, cx));
        self.client.feed(b"");
    }

    fn let_go(&mut self, key: u32) {
        self.half.take_if(|(half, _)| *half == key);
        self.client.release(key);
    }
}

/// `HI` with a text that stands for a call.
fn tagged(encoding: Encoding, tag: u8) -> Vec<u8> {
    let mut body = hi(encoding).to_vec();
    let at = body.len() - 3;
    body[at..at + 2].copy_from_slice(&[b'A' + (tag >> 4), b'A' + (tag & 15)]);
    body
}

fn answer(key: u32, arg: u8, server: &mut Peer) {
    let Some(dialect) = server.wire.dialect() else { return };
    let place = server.messages.get_mut(key as usize);
    let Some(message) = place.and_then(|place| place.take_if(|one| one.is_whole)) else { return };
    if !server.wire.ready(StreamId(key)) || arg & 16 != 0 {
        let _ = server.head(key, &local(503, "word"), true);
        server.release(key);
        return;
    }
    let body = message.body;
    if server.head(key, &status(200, dialect.encoding, body.len()), false).is_ok() {
        let split = usize::from(arg >> 5).min(body.len());
        server.push(key, &body[..split], false).unwrap();
        if split < body.len() {
            server.push(key, &body[split..], true).unwrap();
        }
    }
    server.release(key);
}

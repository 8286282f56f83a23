//! Thrift as tests write and read it: strict Binary, framed or behind a TTHeader, byte by byte.
//!
//! A [`Servant`] is an upstream whose calls come to the test, which answers them when and in which
//! order it likes.

use std::io::Write;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use super::{Client, Origin};
use crate::support::origin::Accepted;

pub(crate) const CALL: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const EXCEPTION: u8 = 3;
pub(crate) const ONEWAY: u8 = 4;
/// A struct without fields.
pub(crate) const EMPTY: &[u8] = &[0];

/// A message of strict Binary, without a frame.
pub(crate) fn message(kind: u8, name: &str, seqid: u32, payload: &[u8]) -> Vec<u8> {
    let len = (name.len() as u32).to_be_bytes();
    [&[0x80, 1, 0, kind], &len[..], name.as_bytes(), &seqid.to_be_bytes(), payload].concat()
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

/// Behind a TTHeader without keys, with a frame inside.
pub(crate) fn ttheader(kind: u8, name: &str, seqid: u32, payload: &[u8]) -> Vec<u8> {
    // No flags, the number, one word of header: Binary, no transforms, padding.
    let header = [&[0x10, 0, 0, 0], &seqid.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0]].concat();
    framed(&[header, framed(&message(kind, name, seqid, payload))].concat())
}

pub(crate) fn call(name: &str, seqid: u32, payload: &[u8]) -> Vec<u8> {
    framed(&message(CALL, name, seqid, payload))
}

/// A struct with one field, a text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&[11, 0, 1], &(text.len() as u32).to_be_bytes()[..], text.as_bytes(), &[0]].concat()
}

/// The struct of a TApplicationException.
pub(crate) fn exception(text: &str, kind: u32) -> Vec<u8> {
    let len = (text.len() as u32).to_be_bytes();
    let text = [&[11, 0, 1], &len[..], text.as_bytes()].concat();
    [&text[..], &[8, 0, 2], &kind.to_be_bytes(), &[0]].concat()
}

/// The next frame that a client reads.
pub(crate) fn frame(client: &mut Client) -> Vec<u8> {
    let len = client.exactly(4).expect("a length");
    let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
    client.exactly(len as usize).expect("a whole frame")
}

/// More calls than any test has at a time.
const CALLS_MAX: usize = 1024;

/// An upstream whose calls wait for the test.
pub(crate) struct Servant {
    pub(crate) origin: Origin,
    calls: Receiver<Waiting>,
}

/// A call that was read and not yet answered.
pub(crate) struct Waiting {
    pub(crate) kind: u8,
    pub(crate) name: String,
    pub(crate) seqid: u32,
    /// The struct.
    pub(crate) payload: Vec<u8>,
    has_header: bool,
    link: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Servant {
    pub(crate) fn start() -> Self {
        let (sender, calls) = sync_channel(CALLS_MAX);
        let sender = Mutex::new(sender);
        let origin = Origin::start(move |mut accepted| {
            let sender = sender.lock().expect("no thread panicked").clone();
            let writer: Box<dyn Write + Send> = Box::new(accepted.writer());
            let link = Arc::new(Mutex::new(writer));
            while let Some(waiting) = read(&mut accepted, &link) {
                if sender.send(waiting).is_err() {
                    return;
                }
            }
        });
        Self { origin, calls }
    }

    pub(crate) fn next(&self) -> Waiting {
        self.calls.recv().expect("a call")
    }

    /// So many calls in the order of their names.
    pub(crate) fn gather(&self, count: usize) -> Vec<Waiting> {
        let mut calls: Vec<Waiting> = (0..count).map(|_| self.next()).collect();
        calls.sort_by(|one, other| one.name.cmp(&other.name));
        calls
    }
}

impl Waiting {
    /// Bytes as they are.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut link = self.link.lock().expect("no test panicked");
        let _ = link.write_all(bytes);
    }

    pub(crate) fn answer(&self, payload: &[u8]) {
        self.write(&self.reply(self.seqid, payload));
    }

    /// A reply with another number.
    pub(crate) fn reply(&self, seqid: u32, payload: &[u8]) -> Vec<u8> {
        match self.has_header {
            true => ttheader(REPLY, &self.name, seqid, payload),
            false => framed(&message(REPLY, &self.name, seqid, payload)),
        }
    }
}

/// The next call of a connection.
fn read(accepted: &mut Accepted, link: &Arc<Mutex<Box<dyn Write + Send>>>) -> Option<Waiting> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let len = number(&accepted.read_exactly(4)?);
    let frame = accepted.read_exactly(len as usize)?;
    let has_header = frame[..2] == [0x10, 0];
    let words = usize::from(u16::from_be_bytes([frame[8], frame[9]]));
    let message = if has_header { &frame[10 + 4 * words + 4..] } else { &frame[..] };
    assert_eq!(message[..3], [0x80, 1, 0], "strict Binary");
    let name_end = 8 + number(&message[4..8]) as usize;
    let seqid = number(&message[name_end..name_end + 4]);
    assert!(!has_header || seqid == number(&frame[4..8]), "one number in both places");
    Some(Waiting {
        kind: message[3],
        name: String::from_utf8(message[8..name_end].to_vec()).expect("a name"),
        seqid,
        payload: message[name_end + 4..].to_vec(),
        has_header,
        link: Arc::clone(link),
    })
}

//! Streams: one side's state of each exchange, and the slab that keeps them (RFC 9113 §5.1).
//!
//! Both directions of a stream are tracked apart; RFC 9113's states are pairs of them:
//!
//! ```text
//!              read     write    closed
//! idle         -        -        -        an id above the last one: no entry
//! open         Head|Body Head|Body no
//! half-closed (remote)  Ended    Head|Body no
//! half-closed (local)   Head|Body Ended  no
//! closed       Ended    Ended    -        also `gone`: RST_STREAM went out or came in
//!
//! server       read: (head) -> Body -> Ended      write: Head -> Body -> Ended
//! client       write: Head -> Body -> Ended       read:  Head -> Body -> Ended
//! ```
//!
//! An entry lives from the head (server) or `open` (client) until `release`, however early the
//! stream was closed: that is what makes a reset stream go on counting while its upstream work
//! lasts. After that its id is merely "not above the last one"; what may still arrive for it is
//! told apart by `H2::spared`. An entry released before the stream was closed stays until its
//! RST_STREAM is written, at the next call that can write.
//!
//! S1 A key is free or holds exactly one stream; `held` counts those that hold one.
//! S2 A closed stream's windows are never touched again.
//!
//! Cost: 72 bytes a stream and 4 for its id; ids are searched linearly, 128 of them in 16 compares
//! of 32 bytes, after one look at the last one found. The slab is freed with its last stream if it
//! had grown beyond 8.

use super::flow::{ReceiveWindow, SendWindow};
use super::frame::Code;
use crate::error::Fault;
use crate::wire::StreamId;

/// What of a message is due in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// A head: interim ones, then the final one.
    Head,
    /// Content, then perhaps trailers.
    Body,
    /// Nothing.
    Ended,
}

/// What is to be told of a stream, at the next `decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tale {
    pub(super) fault: Fault,
    pub(super) unprocessed: bool,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// The protocol's identifier; 0 until a client sent its head.
    pub(super) id: u32,
    pub(super) send: SendWindow,
    pub(super) receive: ReceiveWindow,
    /// Bytes of content still to come as Content-Length says; `u64::MAX` if it does not.
    pub(super) read_left: u64,
    /// Bytes of content that may come at all.
    pub(super) read_max: u64,
    /// Bytes of content still to be sent; `u64::MAX` if that is not known.
    pub(super) write_left: u64,
    pub(super) read: Half,
    pub(super) write: Half,
    /// No frame goes out any more, and none that comes in means anything.
    pub(super) gone: bool,
    /// Given back; the entry stays until `owes` is written.
    released: bool,
    /// The request is HEAD: its reply has no content.
    pub(super) is_head: bool,
    /// 1xx replies before the final one.
    pub(super) interim: u8,
    /// RST_STREAM with this code is due.
    owes: Option<Code>,
    tale: Option<Tale>,
}

impl Stream {
    pub(super) fn new(id: u32, send: SendWindow, receive: ReceiveWindow) -> Stream {
        Stream {
            id,
            send,
            receive,
            read_left: u64::MAX,
            read_max: u64::MAX,
            write_left: u64::MAX,
            read: Half::Head,
            write: Half::Head,
            gone: false,
            released: false,
            is_head: false,
            interim: 0,
            owes: None,
            tale: None,
        }
    }

    /// Nothing more may be sent, and what comes is late.
    pub(super) fn is_closed(&self) -> bool {
        self.gone || (self.read == Half::Ended && self.write == Half::Ended)
    }

    /// The caller may send more.
    pub(super) fn is_writable(&self) -> bool {
        !self.gone && self.write != Half::Ended
    }
}

#[derive(Debug)]
enum Entry {
    /// The next free one.
    Free(u32),
    Held(Stream),
}

/// The end of the list of free entries.
const NONE: u32 = u32::MAX;

/// Entries that are kept although no stream is open: 600 bytes.
const ENTRIES_KEPT: usize = 8;

/// The streams of a connection by key.
#[derive(Debug)]
pub(super) struct Streams {
    entries: Vec<Entry>,
    /// Protocol identifiers by key; 0 for none.
    ids: Vec<u32>,
    free: u32,
    held: u32,
    /// The key found last.
    recent: u32,
    /// Entries with `owes`.
    owing: u32,
    /// Entries with a tale, all of them at or behind `cursor`.
    tales: u32,
    cursor: u32,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams {
            entries: Vec::new(),
            ids: Vec::new(),
            free: NONE,
            held: 0,
            recent: 0,
            owing: 0,
            tales: 0,
            cursor: 0,
        }
    }

    /// Streams that were not released.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.ids.capacity() * size_of::<u32>()
    }

    pub(super) fn insert(&mut self, stream: Stream) -> StreamId {
        self.held += 1;
        let (id, key) = (stream.id, self.free);
        if let Some(entry) = self.entries.get_mut(key as usize) {
            if let Entry::Free(next) = *entry {
                self.free = next;
            }
            *entry = Entry::Held(stream);
            self.identify(StreamId(key), id);
            return StreamId(key);
        }
        self.entries.push(Entry::Held(stream));
        self.ids.push(id);
        StreamId(self.entries.len() as u32 - 1)
    }

    /// The stream has its protocol identifier now.
    pub(super) fn identify(&mut self, key: StreamId, id: u32) {
        if let Some(place) = self.ids.get_mut(key.0 as usize) {
            *place = id;
        }
        if let Some(stream) = self.get(key) {
            stream.id = id;
        }
    }

    pub(super) fn get(&mut self, key: StreamId) -> Option<&mut Stream> {
        match self.entries.get_mut(key.0 as usize)? {
            Entry::Held(stream) => Some(stream),
            Entry::Free(_) => None,
        }
    }

    pub(super) fn peek(&self, key: StreamId) -> Option<&Stream> {
        match self.entries.get(key.0 as usize)? {
            Entry::Held(stream) => Some(stream),
            Entry::Free(_) => None,
        }
    }

    /// The key of a protocol identifier.
    pub(super) fn find(&mut self, id: u32) -> Option<StreamId> {
        if id == 0 {
            return None;
        }
        if self.ids.get(self.recent as usize) != Some(&id) {
            self.recent = self.ids.iter().position(|&other| other == id)? as u32;
        }
        Some(StreamId(self.recent))
    }

    pub(super) fn iter(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Held(stream) => Some(stream),
            Entry::Free(_) => None,
        })
    }

    /// RST_STREAM is due for this stream, which is over with it.
    pub(super) fn owe(&mut self, key: StreamId, code: Code) {
        let Some(stream) = self.get(key) else { return };
        if stream.owes.replace(code).is_none() {
            self.owing += 1;
        }
    }

    /// The key may be used again: at once, or once the stream's RST_STREAM is written.
    pub(super) fn release(&mut self, key: StreamId) {
        let Some(stream) = self.get(key) else { return };
        if core::mem::replace(&mut stream.released, true) {
            return;
        }
        let open = !stream.is_closed() && stream.id != 0;
        let told = stream.tale.take().is_some();
        if open && stream.owes.is_none() {
            self.owe(key, Code::Cancel);
        }
        self.tales -= u32::from(told);
        if self.peek(key).is_some_and(|stream| stream.owes.is_none()) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: StreamId) {
        let Some(entry) = self.entries.get_mut(key.0 as usize) else { return };
        debug_assert!(matches!(entry, Entry::Held(_)), "S1");
        *entry = Entry::Free(self.free);
        self.free = key.0;
        self.held -= 1;
        if let Some(place) = self.ids.get_mut(key.0 as usize) {
            *place = 0;
        }
        if self.held == 0 && self.entries.len() > ENTRIES_KEPT {
            *self = Streams::new();
        }
    }

    /// The next RST_STREAM that is due: its stream's identifier and code. The stream is gone.
    pub(super) fn pay(&mut self) -> Option<(u32, Code)> {
        if self.owing == 0 {
            return None;
        }
        let index = self
            .entries
            .iter()
            .position(|entry| matches!(entry, Entry::Held(stream) if stream.owes.is_some()))?;
        let key = StreamId(index as u32);
        let stream = self.get(key)?;
        let code = stream.owes.take()?;
        // A stream that was over before is not reset: nothing may follow its end.
        let due = !stream.is_closed();
        stream.gone = true;
        let (id, released) = (stream.id, stream.released);
        self.owing -= 1;
        if released {
            self.remove(key);
        }
        if due { Some((id, code)) } else { self.pay() }
    }

    /// Something happened to a stream that its exchange is to be told at the next `decode`.
    pub(super) fn tell(&mut self, key: StreamId, tale: Tale) {
        let Some(stream) = self.get(key) else { return };
        if stream.released {
            return;
        }
        let first = stream.tale.replace(tale).is_none();
        self.tales += u32::from(first);
        self.cursor = self.cursor.min(key.0);
    }

    /// As [`Streams::tell`], of all streams for which `tale` says so; they are gone.
    pub(super) fn tell_all(&mut self, tale: impl Fn(&Stream) -> Option<Tale>) {
        for stream in self.iter().filter(|stream| !stream.released && !stream.gone) {
            if let Some(tale) = tale(stream) {
                stream.gone = true;
                stream.tale = Some(tale);
            }
        }
        self.tales = self.iter().filter(|stream| stream.tale.is_some()).count() as u32;
        self.cursor = 0;
    }

    pub(super) fn has_tales(&self) -> bool {
        self.tales > 0
    }

    /// The next tale, from the cursor on.
    pub(super) fn next_tale(&mut self) -> Option<(StreamId, Tale)> {
        if self.tales == 0 {
            return None;
        }
        while let Some(entry) = self.entries.get_mut(self.cursor as usize) {
            let key = StreamId(self.cursor);
            if let Entry::Held(stream) = entry
                && let Some(tale) = stream.tale.take()
            {
                self.tales -= 1;
                return Some((key, tale));
            }
            self.cursor += 1;
        }
        debug_assert!(false, "a tale before the cursor");
        self.tales = 0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: u32) -> Stream {
        Stream::new(id, SendWindow::new(10), ReceiveWindow::new(10))
    }

    fn closed(id: u32) -> Stream {
        Stream { read: Half::Ended, write: Half::Ended, ..stream(id) }
    }

    #[test]
    fn keys_are_reused_after_release_only() {
        let mut streams = Streams::new();
        let keys: Vec<_> = (0..3).map(|n| streams.insert(closed(2 * n + 1))).collect();
        assert_eq!(keys, [StreamId(0), StreamId(1), StreamId(2)]);
        streams.release(StreamId(1));
        streams.release(StreamId(1));
        assert_eq!((streams.held(), streams.find(3)), (2, None));
        assert_eq!((streams.find(1), streams.find(5)), (Some(StreamId(0)), Some(StreamId(2))));
        assert_eq!(streams.insert(stream(7)), StreamId(1));
        assert_eq!((streams.find(7), streams.find(0)), (Some(StreamId(1)), None));
    }

    #[test]
    fn a_stream_released_early_is_reset_first() {
        let mut streams = Streams::new();
        let early = streams.insert(stream(1));
        streams.release(early);
        assert_eq!(streams.held(), 1, "it counts until its reset is written");
        assert_eq!(streams.insert(stream(3)), StreamId(1));
        assert_eq!(streams.pay(), Some((1, Code::Cancel)));
        assert_eq!((streams.pay(), streams.held()), (None, 1));
        assert_eq!(streams.insert(stream(5)), early);
    }

    #[test]
    fn a_stream_that_ended_is_not_reset() {
        let mut streams = Streams::new();
        let key = streams.insert(stream(1));
        streams.owe(key, Code::NoError);
        streams.get(key).unwrap().gone = true;
        assert_eq!(streams.pay(), None);
        streams.release(key);
        assert_eq!(streams.held(), 0);
    }

    #[test]
    fn tales_are_told_once_each() {
        let mut streams = Streams::new();
        (0..5).for_each(|n| {
            streams.insert(stream(2 * n + 1));
        });
        let tale = Tale { fault: Fault::GoneAway, unprocessed: true };
        streams.tell_all(|stream| (stream.id > 4).then_some(tale));
        streams.release(StreamId(3));
        assert_eq!(streams.next_tale(), Some((StreamId(2), tale)));
        let late = Tale { fault: Fault::Cancelled, unprocessed: false };
        streams.tell(StreamId(0), late);
        assert_eq!(streams.next_tale(), Some((StreamId(0), late)));
        assert_eq!(streams.next_tale(), Some((StreamId(4), tale)));
        assert_eq!(streams.next_tale(), None);
    }

    #[test]
    fn a_large_slab_is_given_back() {
        let mut streams = Streams::new();
        let keys: Vec<_> = (0..100).map(|n| streams.insert(closed(2 * n + 1))).collect();
        assert!(streams.held_bytes() >= 7600);
        keys.into_iter().for_each(|key| streams.release(key));
        assert_eq!((streams.held(), streams.held_bytes()), (0, 0));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 72, "{}", size_of::<Entry>());
    }
}

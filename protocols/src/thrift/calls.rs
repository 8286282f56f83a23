//! The calls of a connection by key.
//!
//! An entry lives from a request's head (server) or `open` (client) until it was released and owes
//! nothing: a server's call still its answer, a client's the reply that nobody waits for any more,
//! which has to be known to be dropped (a tombstone).
//!
//! Cost: searched linearly, once or twice a message; entries and their names are used again.

use std::time::Instant;

use super::exception::Code;
use crate::error::Fault;
use crate::wire::StreamId;

/// What of a message is due in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Half {
    /// Its beginning.
    #[default]
    Head,
    /// Its struct.
    Body,
    /// Nothing.
    Ended,
}

/// One call.
#[derive(Debug, Default)]
pub(super) struct Call {
    held: bool,
    /// Server: the client's number. Client: ours; 0 until it was sent.
    pub(super) seqid: i32,
    /// Server: the number in the client's header.
    pub(super) outer: u32,
    /// Server: the method. Client: the name that was sent.
    pub(super) name: Vec<u8>,
    pub(super) is_oneway: bool,
    /// Server: its reply need not wait for older ones.
    pub(super) may_overtake: bool,
    /// Which call of the connection it is.
    pub(super) number: u64,
    pub(super) read: Half,
    pub(super) write: Half,
    /// Bytes of the struct still to be sent; `None` where its end says so.
    pub(super) write_left: Option<u64>,
    /// Nobody asks for it any more.
    pub(super) is_released: bool,
    /// Client: when it was given up.
    pub(super) given_up: Option<Instant>,
    /// Server: an exception is due.
    pub(super) owes: Option<(Code, Fault)>,
    /// Its exchange is to be told.
    pub(super) tale: Option<Fault>,
    /// It was told so.
    pub(super) is_gone: bool,
    /// Client: the reply of a oneway call is to be said.
    pub(super) is_answered: bool,
}

/// See the module doc.
#[derive(Debug, Default)]
pub(super) struct Calls {
    entries: Vec<Call>,
    held: u32,
    /// Those that were not released.
    asked: u32,
    next_number: u64,
}

/// Entries, and bytes of each name, that are kept although no call is open.
const ENTRIES_KEPT: usize = 4;

impl Calls {
    /// Calls that hold a key, tombstones among them.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    pub(super) fn held_bytes(&self) -> usize {
        let names = self.entries.iter().map(|call| call.name.capacity());
        self.entries.capacity() * size_of::<Call>() + names.sum::<usize>()
    }

    /// A key for a call of which nothing is known yet.
    pub(super) fn insert(&mut self) -> StreamId {
        self.held += 1;
        self.asked += 1;
        self.next_number += 1;
        let index = self.entries.iter().position(|call| !call.held).unwrap_or(self.entries.len());
        if index == self.entries.len() {
            self.entries.push(Call::default());
        }
        if let Some(call) = self.entries.get_mut(index) {
            let mut name = core::mem::take(&mut call.name);
            name.clear();
            *call = Call { held: true, number: self.next_number, name, ..Call::default() };
        }
        StreamId(index as u32)
    }

    pub(super) fn get(&mut self, key: StreamId) -> Option<&mut Call> {
        self.entries.get_mut(key.0 as usize).filter(|call| call.held)
    }

    pub(super) fn peek(&self, key: StreamId) -> Option<&Call> {
        self.entries.get(key.0 as usize).filter(|call| call.held)
    }

    pub(super) fn remove(&mut self, key: StreamId) {
        let Some(call) = self.get(key) else { return };
        call.held = false;
        let was_asked = !call.is_released;
        self.held -= 1;
        self.asked -= u32::from(was_asked);
        if self.held == 0 && self.entries.len() > ENTRIES_KEPT {
            self.entries.truncate(ENTRIES_KEPT);
            self.entries.shrink_to_fit();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Call)> {
        let entries = self.entries.iter().enumerate().filter(|(_, call)| call.held);
        entries.map(|(index, call)| (StreamId(index as u32), call))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Call)> {
        let entries = self.entries.iter_mut().enumerate().filter(|(_, call)| call.held);
        entries.map(|(index, call)| (StreamId(index as u32), call))
    }

    /// Client: the call with this number that was sent and has no reply yet.
    pub(super) fn find(&self, seqid: i32) -> Option<StreamId> {
        let waits = |call: &Call| call.seqid == seqid && call.read == Half::Head && seqid != 0;
        self.iter().find(|(_, call)| waits(call) && !call.is_oneway).map(|(key, _)| key)
    }

    /// Client: the only call that waits for a reply, if it is the only one.
    pub(super) fn only(&self) -> Option<StreamId> {
        let mut waiting =
            self.iter().filter(|(_, call)| call.read == Half::Head && !call.is_oneway);
        let first = waiting.next()?;
        waiting.next().is_none().then_some(first.0)
    }

    /// Calls that somebody still asks for.
    pub(super) fn asked(&self) -> u32 {
        self.asked
    }

    /// Nobody asks for a call any more.
    pub(super) fn release(&mut self, key: StreamId) {
        let Some(call) = self.get(key).filter(|call| !call.is_released) else { return };
        call.is_released = true;
        call.is_answered = false;
        self.asked -= 1;
    }

    /// Client: calls that were given up.
    pub(super) fn tombstones(&self) -> impl Iterator<Item = Instant> {
        let looked_at = if self.held > self.asked { usize::MAX } else { 0 };
        self.iter().take(looked_at).filter_map(|(_, call)| call.given_up)
    }

    /// Server: whether a call's reply may be written, as far as other calls are concerned.
    pub(super) fn has_turn(&self, key: StreamId) -> bool {
        let Some(call) = self.peek(key) else { return false };
        let before = |other: &Call| {
            other.number < call.number && other.write != Half::Ended && !other.is_oneway
        };
        call.may_overtake || !self.iter().any(|(_, other)| before(other))
    }
}

//! Calls that end before their time, and what that means for the others of the connection.
//!
//! A client's call that is given up once it was sent stays as a tombstone, so that its reply is
//! known and dropped when it comes late. One that is given up in the middle of its message takes
//! the connection with it: half a message cannot be taken back, and what would follow could not be
//! told from its rest. Every other call that still waits for something is then told.

use super::Thrift;
use super::calls::{Call, Half};
use super::read::Read;
use crate::error::Fault;
use crate::wire::{Gone, Role, StreamId};

impl Thrift {
    /// Frees a key that nobody asks for and that owes nothing.
    pub(super) fn let_go(&mut self, key: StreamId) {
        let is_server = self.is_server();
        let Some(call) = self.calls.get(key) else { return };
        let is_over = match is_server {
            true => call.is_oneway || call.write == Half::Ended,
            false => call.read == Half::Ended || call.write == Half::Head,
        };
        if call.is_released && is_over {
            self.calls.remove(key);
        }
    }

    /// What comes of this call's message is not wanted any more.
    fn swallow(&mut self, key: StreamId) {
        match &mut self.read {
            Read::Struct(reading) | Read::Unpacked(reading, _) if *reading == Some(key) => {
                *reading = None;
                self.swallowed = (self.role == Role::Client).then_some(key);
            }
            _ => {}
        }
    }

    /// Gives a call up: what it still needs to be over, or the end of the connection.
    pub(super) fn give_up(&mut self, stream: StreamId, fault: Fault) {
        let is_server = self.is_server();
        let one_at_a_time = self.calls_max() == 1;
        self.swallow(stream);
        let Some(call) = self.calls.get(stream) else { return };
        call.is_gone = true;
        call.tale = None;
        match (call.write, call.read) {
            (Half::Body, _) => {
                self.abort();
            }
            (Half::Head, _) if is_server && call.owes.is_none() => self.owe(stream, fault),
            (Half::Ended, Half::Head | Half::Body) if !is_server && one_at_a_time => self.close(),
            _ => {}
        }
    }

    /// No byte is read or written any more.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.read = Read::Done;
        self.scratch = Vec::new();
    }

    /// Breaks the message off that is being written.
    pub(super) fn abort(&mut self) -> Gone {
        if !self.is_closing {
            self.close();
            self.end_calls();
        }
        Gone
    }

    /// Nothing will come any more: each call that waits for something is to be told. A server's
    /// oneways that are whole go on.
    pub(super) fn end_calls(&mut self) {
        let is_server = self.is_server();
        self.has_news = true;
        for (_, call) in self.calls.iter_mut().filter(|(_, call)| !call.is_gone) {
            call.tale = match (is_server, call.read) {
                (true, Half::Ended) if call.is_oneway || call.write == Half::Ended => None,
                (true, Half::Ended) => Some(Fault::Cancelled),
                (false, Half::Ended) => None,
                (false, Half::Head) => Some(Fault::ClosedBeforeReply),
                _ => Some(Fault::BodyTruncated),
            };
            call.is_gone = call.tale.is_some();
        }
    }

    /// Everything was said and heard, or nobody is there any more. A client that leaves behind a
    /// ONEWAY wants it done.
    pub(super) fn is_done(&self) -> bool {
        let oneway = |(_, call): (StreamId, &Call)| call.is_oneway && !call.is_gone;
        let left = self.eof && (!self.is_server() || !self.calls.iter().any(oneway));
        let is_idle = match self.role {
            Role::Server => self.calls.held() == 0 && self.scratch.is_empty(),
            Role::Client => self.calls.asked() == 0,
        };
        self.is_closing || left || (self.is_going && is_idle)
    }

    /// Something is still to be said, whatever becomes of the connection.
    pub(super) fn has_tales(&self) -> bool {
        let waits = |call: &Call| call.tale.is_some() || call.is_answered;
        let has_news = self.has_news && self.calls.iter().any(|(_, call)| waits(call));
        self.is_closing_due || has_news
    }
}

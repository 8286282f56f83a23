//! DATA frames, received (RFC 9113 §6.1).
//!
//! Whatever becomes of a frame, the connection's window takes note of it when its head came, and
//! gets it back at once: nothing is kept that only the connection's window bounds. The stream's
//! window gets back what its exchange credits. Payload that comes late is skipped, not copied.

use super::frame::{self, FrameHead};
use super::read::{Stage, Step, fatal};
use super::stream::Half;
use super::{H2, Whose, settings};
use crate::error::{Error, Fault};
use crate::wire::{Cx, Event, StreamId};

/// Whose payload a frame holds.
enum Payload {
    /// Nobody's any more.
    Late,
    Of(StreamId),
    /// It breaks this stream.
    Wrong(StreamId, Fault),
}

impl H2 {
    /// RFC 9113 §6.1. Whatever becomes of the frame, the connection's window takes note of it, and
    /// gets it back: nothing is kept that only the connection's window bounds.
    pub(super) fn begin_data(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let FrameHead { stream: id, len, .. } = self.input.head;
        let padded = self.input.head.has(frame::PADDED);
        if id == 0 {
            return fatal(Fault::BadStreamId);
        }
        if padded && len == 0 {
            return fatal(Fault::BadFrameSize);
        }
        self.take_connection_window(len, cx)?;
        self.input.stream = None;
        let mut event = None;
        match self.payload_of(id, len)? {
            Payload::Late => {}
            Payload::Of(key) => self.input.stream = Some(key),
            Payload::Wrong(key, fault) => event = self.stream_error(key, fault, cx)?,
        }
        if padded {
            self.input.stage = Stage::Prefix(1);
            return Ok(event);
        }
        let begun = self.begin_payload(0, 0, cx)?;
        Ok(event.or(begun))
    }

    fn take_connection_window(&mut self, len: u32, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.receive.receive(len).map_err(|_| Error::connection(Fault::FlowControl))?;
        let limit = settings::connection_window(&self.spec);
        if let Some(increment) = self.receive.give_back(len, limit) {
            frame::window_update(0, increment, cx.out);
        }
        Ok(())
    }

    fn payload_of(&mut self, id: u32, len: u32) -> Result<Payload, Error> {
        let spared = self.is_spared(id);
        let key = match self.whose(id) {
            Whose::Idle => return fatal(Fault::BadStreamId),
            Whose::Over if spared => return Ok(Payload::Late),
            Whose::Over => return fatal(Fault::StreamClosed),
            Whose::Held(key) => key,
        };
        let Some(stream) = self.streams.get(key) else { return Ok(Payload::Late) };
        if stream.is_closed() {
            return if spared { Ok(Payload::Late) } else { fatal(Fault::StreamClosed) };
        }
        let wrong = |fault| Ok(Payload::Wrong(key, fault));
        match stream.read {
            Half::Head => wrong(Fault::UnexpectedContent),
            Half::Ended => wrong(Fault::StreamClosed),
            Half::Body if stream.receive.receive(len).is_err() => wrong(Fault::FlowControl),
            Half::Body => Ok(Payload::Of(key)),
        }
    }

    /// `left` bytes of payload follow, and the padding.
    pub(super) fn begin_content(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        let (left, pad) = (self.input.left, u32::from(self.input.pad));
        self.input.overhead = self.input.head.len - left;
        self.input.stage = Stage::Payload;
        let end = self.input.head.has(frame::END_STREAM);
        if (left == 0 && !end) || pad > left {
            self.floods.glitch(&self.spec, cx.now)?;
        }
        if let Some(key) = self.input.stream
            && let Err(fault) = self.count_content(key, left, end)
        {
            self.input.stream = None;
            self.input.skip(left + pad);
            return self.stream_error(key, fault, cx);
        }
        if left > 0 {
            return Ok(None);
        }
        if let (Some(key), false) = (self.input.stream, end) {
            // Nobody is told of it, so nobody would give it back.
            self.give_credit(key, self.input.overhead, cx);
        }
        Ok(self.end_payload(at..at))
    }

    /// RFC 9113 §8.1.1: content is as long as Content-Length says.
    fn count_content(&mut self, key: StreamId, len: u32, end: bool) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let len = u64::from(len);
        if stream.read_left != u64::MAX {
            stream.read_left =
                stream.read_left.checked_sub(len).ok_or(Fault::ContentLengthMismatch)?;
            if end && stream.read_left > 0 {
                return Err(Fault::ContentLengthMismatch);
            }
        }
        stream.read_max = stream.read_max.checked_sub(len).ok_or(Fault::BodyTooLarge)?;
        Ok(())
    }

    pub(super) fn read_payload(&mut self, rest: &[u8], at: usize) -> Step {
        let used = (self.input.left as usize).min(rest.len());
        self.input.left -= used as u32;
        (used, self.end_payload(at..at + used))
    }

    /// Payload at this range came. The stream may have gone since the frame began.
    fn end_payload(&mut self, at: core::ops::Range<usize>) -> Option<Event> {
        let whole = self.input.left == 0;
        let end = whole && self.input.head.has(frame::END_STREAM);
        if whole {
            self.input.skip(u32::from(self.input.pad));
        }
        let (key, id) = (self.input.stream?, self.input.head.stream);
        let stream = self.streams.get(key).filter(|stream| stream.id == id && !stream.gone)?;
        if end {
            stream.read = Half::Ended;
        } else if at.is_empty() {
            return None;
        }
        let charge = at.len() as u32 + core::mem::take(&mut self.input.overhead);
        Some(Event::Data { stream: key, at, charge, end })
    }
}

//! The receiving side of [`H2`]: bytes to frames, frames to events.
//!
//! A frame is a head of nine bytes and then one of: parts of at most nine bytes each (control
//! frames), fragments of a field block, payload, or bytes that nobody wants. Parts that come in
//! pieces are gathered in nine bytes of [`Input`], field blocks in a [`Block`] that lives no longer
//! than the block; a block that came whole is decoded where it lies. Nothing else is kept, so that
//! a frame of any type may be cut anywhere, at the cost of its head.

use super::frame::{self, FrameHead, HEAD_LEN, Kind, PREFACE};
use super::settings::PeerSettings;
use super::{H2, Whose};
use crate::error::{Error, Fault};
use crate::wire::{Cx, Decoded, Event, Role, StreamId};

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The preface, of which so many bytes came.
    Preface(u8),
    /// A frame's head.
    Head,
    /// Pad length, and what HEADERS may have of a priority.
    Prefix(u8),
    /// A part of a control frame, of this length.
    Part(u8),
    /// A fragment of a field block.
    Fragment,
    /// Payload.
    Payload,
    /// Padding, debug data, frames of unknown types.
    Skip,
    /// No byte is looked at again.
    Over,
}

/// A field block that comes in pieces.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// CONTINUATION frames so far.
    continuations: u8,
    stream: u32,
    end: bool,
}

/// Where the receiving side is.
#[derive(Debug)]
pub(super) struct Input {
    /// The frame being read.
    pub(super) head: FrameHead,
    pub(super) stage: Stage,
    part: [u8; HEAD_LEN],
    part_len: u8,
    /// Padding behind the payload.
    pub(super) pad: u8,
    /// Bytes of this stage that are still to come.
    pub(super) left: u32,
    /// Charge of the next payload beside its length.
    pub(super) overhead: u32,
    /// Whose payload it is; none if it is thrown away.
    pub(super) stream: Option<StreamId>,
    /// The SETTINGS being read: what they come to, and the smallest table they named.
    pub(super) settings: PeerSettings,
    pub(super) table_least: u32,
    /// The field block being read opens a stream.
    pub(super) opens: bool,
    block: Option<Box<Block>>,
}

impl Input {
    pub(super) fn new(role: Role) -> Input {
        let stage = if role == Role::Server { Stage::Preface(0) } else { Stage::Head };
        Input {
            head: FrameHead::read([0; HEAD_LEN]),
            stage,
            part: [0; HEAD_LEN],
            part_len: 0,
            pad: 0,
            left: 0,
            overhead: 0,
            stream: None,
            settings: PeerSettings::new(),
            table_least: u32::MAX,
            opens: false,
            block: None,
        }
    }

    /// Nothing is read any more.
    pub(super) fn over() -> Input {
        Input { stage: Stage::Over, ..Input::new(Role::Client) }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.bytes.capacity() + size_of::<Block>())
    }

    /// Gathers a part of `need` bytes. How many of the input were used, and the part once whole.
    fn gather(&mut self, input: &[u8], need: u8) -> (usize, Option<[u8; HEAD_LEN]>) {
        let have = usize::from(self.part_len);
        let used = usize::from(need).saturating_sub(have).min(input.len());
        for (to, from) in self.part.iter_mut().skip(have).zip(input.iter().take(used)) {
            *to = *from;
        }
        self.part_len += used as u8;
        if self.part_len < need {
            return (used, None);
        }
        self.part_len = 0;
        (used, Some(self.part))
    }

    /// The frame's payload is done with, but for `left` bytes that nobody wants.
    pub(super) fn skip(&mut self, left: u32) {
        self.left = left;
        self.stage = if left == 0 { Stage::Head } else { Stage::Skip };
    }
}

/// Bytes used and what they meant.
pub(super) type Step = (usize, Option<Event>);

pub(super) fn fatal<T>(fault: Fault) -> Result<T, Error> {
    Err(Error::connection(fault))
}

impl H2 {
    pub(super) fn read_input(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        self.settle(cx);
        if let Some(event) = self.untold() {
            return Ok(Decoded { used: 0, event: Some(event) });
        }
        if self.eof {
            return Ok(Decoded { used: input.len(), event: None });
        }
        if !input.is_empty() {
            self.clock.hear(cx.now);
            if !self.acknowledged {
                self.clock.expect_settings(cx.now, &self.spec);
            }
        }
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let (n, event) = self.step(rest, used, cx)?;
            used += n;
            if let Some(event) = event.or_else(|| self.untold()) {
                return Ok(Decoded { used, event: Some(event) });
            }
        }
        Ok(Decoded { used, event: None })
    }

    /// Reads on in the current stage; `at` is where `rest` lies in the input.
    fn step(&mut self, rest: &[u8], at: usize, cx: &mut Cx<'_>) -> Result<Step, Error> {
        match self.input.stage {
            Stage::Preface(seen) => self.read_preface(seen, rest),
            Stage::Head => {
                let (used, part) = self.input.gather(rest, HEAD_LEN as u8);
                let Some(part) = part else { return Ok((used, None)) };
                self.input.head = FrameHead::read(part);
                Ok((used, self.begin_frame(cx)?))
            }
            Stage::Prefix(need) => {
                let (used, part) = self.input.gather(rest, need);
                let Some([pad, ..]) = part else { return Ok((used, None)) };
                let padded = self.input.head.has(frame::PADDED);
                self.input.left -= u32::from(need);
                Ok((used, self.begin_payload(if padded { pad } else { 0 }, at + used, cx)?))
            }
            Stage::Part(need) => {
                let (used, part) = self.input.gather(rest, need);
                let Some(part) = part else { return Ok((used, None)) };
                Ok((used, self.end_part(part, cx)?))
            }
            Stage::Fragment => self.read_fragment(rest, cx),
            Stage::Payload => Ok(self.read_payload(rest, at)),
            Stage::Skip => {
                let used = (self.input.left as usize).min(rest.len());
                self.input.skip(self.input.left - used as u32);
                Ok((used, None))
            }
            Stage::Over => Ok((rest.len(), None)),
        }
    }

    fn read_preface(&mut self, seen: u8, rest: &[u8]) -> Result<Step, Error> {
        let wanted = PREFACE.get(usize::from(seen)..).unwrap_or_default();
        let len = wanted.len().min(rest.len());
        if wanted.get(..len) != rest.get(..len) {
            return fatal(Fault::BadPreface);
        }
        let whole = len == wanted.len();
        self.input.stage = if whole { Stage::Head } else { Stage::Preface(seen + len as u8) };
        Ok((len, None))
    }

    /// Judges a frame by its head, and a frame without payload altogether.
    fn begin_frame(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let head = self.input.head;
        if !self.introduced && (head.kind != Kind::Settings || head.has(frame::ACK)) {
            return fatal(Fault::BadPreface);
        }
        if head.len > frame::PAYLOAD_BYTES_MAX {
            return fatal(Fault::BadFrameSize);
        }
        // RFC 9113 §4.3: nothing may stand between the frames of a field block.
        let between = self.input.block.as_ref().map(|block| block.stream);
        if between.is_some_and(|id| head.kind != Kind::Continuation || head.stream != id) {
            return fatal(Fault::UnexpectedFrame);
        }
        self.input.left = head.len;
        match head.kind {
            Kind::Data => self.begin_data(cx),
            Kind::Headers => self.begin_headers(cx),
            Kind::Continuation => self.begin_continuation(cx),
            Kind::Priority => self.begin_priority(cx),
            Kind::RstStream => self.begin_part(head.stream != 0, head.len == 4, 4),
            Kind::WindowUpdate => self.begin_part(true, head.len == 4, 4),
            Kind::Ping => self.begin_part(head.stream == 0, head.len == 8, 8),
            Kind::GoAway => self.begin_part(head.stream == 0, head.len >= 8, 8),
            Kind::Settings => self.begin_settings(cx),
            // A client cannot push, and a server was told not to (RFC 9113 §8.4, §6.5.2).
            Kind::PushPromise => fatal(Fault::UnexpectedFrame),
            Kind::Unknown => {
                self.floods.manners(&self.spec, cx.now)?;
                self.input.skip(head.len);
                Ok(None)
            }
        }
    }

    /// Behind the pad length, if there is one: payload and padding, which begin at `at`.
    pub(super) fn begin_payload(
        &mut self,
        pad: u8,
        at: usize,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        let Some(left) = self.input.left.checked_sub(u32::from(pad)) else {
            return fatal(Fault::BadPadding);
        };
        (self.input.left, self.input.pad) = (left, pad);
        if self.input.head.kind == Kind::Data {
            return self.begin_content(at, cx);
        }
        self.input.stage = Stage::Fragment;
        if left == 0 { self.end_fragment(&[], cx) } else { Ok(None) }
    }

    fn begin_headers(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let head = self.input.head;
        // RFC 9113 §5.1.1: only clients open streams, with odd identifiers.
        if head.stream.is_multiple_of(2) {
            return fatal(Fault::BadStreamId);
        }
        if self.whose(head.stream) == Whose::Idle {
            if !self.is_server() {
                return fatal(Fault::BadStreamId);
            }
            self.last_id = head.stream;
            self.input.opens = true;
        } else {
            self.input.opens = false;
        }
        self.clock.block_by = Some(cx.now + self.spec.head_timeout);
        let prefix = u8::from(head.has(frame::PADDED)) + 5 * u8::from(head.has(frame::PRIORITY));
        if u32::from(prefix) > head.len {
            return fatal(Fault::BadFrameSize);
        }
        if prefix == 0 {
            return self.begin_payload(0, 0, cx);
        }
        self.input.stage = Stage::Prefix(prefix);
        Ok(None)
    }

    fn begin_continuation(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let bytes_max = self.spec.head_bytes_max as usize;
        let len = self.input.head.len as usize;
        let Some(block) = &mut self.input.block else { return fatal(Fault::UnexpectedFrame) };
        block.continuations += 1;
        let many = block.continuations > self.spec.h2_continuations_max;
        if many || block.bytes.len() + len > bytes_max {
            return fatal(Fault::ContinuationFlood);
        }
        // CONTINUATION has no other flag: what PADDED means elsewhere means nothing here.
        self.begin_payload(0, 0, cx)
    }

    fn read_fragment(&mut self, rest: &[u8], cx: &mut Cx<'_>) -> Result<Step, Error> {
        let used = (self.input.left as usize).min(rest.len());
        let piece = rest.get(..used).unwrap_or_default();
        self.input.left -= used as u32;
        if self.input.left == 0 {
            return Ok((used, self.end_fragment(piece, cx)?));
        }
        self.gather_block(piece);
        Ok((used, None))
    }

    fn gather_block(&mut self, piece: &[u8]) {
        let head = self.input.head;
        let block = self.input.block.get_or_insert_default();
        if head.kind == Kind::Headers {
            block.stream = head.stream;
            block.end = head.has(frame::END_STREAM);
        }
        block.bytes.extend_from_slice(piece);
    }

    /// The last piece of a frame's fragment came.
    fn end_fragment(&mut self, piece: &[u8], cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let head = self.input.head;
        self.input.skip(u32::from(self.input.pad));
        if !head.has(frame::END_HEADERS) {
            self.gather_block(piece);
            return Ok(None);
        }
        self.clock.block_by = None;
        let Some(mut block) = self.input.block.take() else {
            return self.end_block(head.stream, head.has(frame::END_STREAM), piece, cx);
        };
        block.bytes.extend_from_slice(piece);
        self.end_block(head.stream, block.end, &block.bytes, cx)
    }
}

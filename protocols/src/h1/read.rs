//! The receiving side of [`H1`]: bytes to events.

use core::ops::Range;
use std::time::Instant;

use super::body::{Chunked, Stop};
use super::encode::Outgoing;
use super::fields::{Body, Facts};
use super::parse::Asked;
use super::scan::{Rules, Scan};
use super::{Eof, H1, Read, STREAM, parse};
use crate::error::{Error, Fault};
use crate::wire::{Cx, Decoded, Event};

/// What is due of the message being read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    None,
    Exact(u64),
    Chunked(Chunked),
    /// The trailer section of a chunked body.
    Trailers,
    Close,
}

/// An event that needs no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    None,
    /// An empty `Data { end }`.
    End,
}

/// A section that comes in pieces. It lives no longer than that.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    scan: Scan,
}

impl Scratch {
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Scratch>()
    }
}

/// A whole section: in the input, or in the scratch that gathered it.
struct Section {
    used: usize,
    gathered: Option<Box<Scratch>>,
    start: usize,
    end: usize,
}

impl Section {
    fn block<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        let bytes = self.gathered.as_ref().map_or(input, |scratch| &scratch.bytes);
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// What reading on in a body gave: bytes used, and an event if there is one.
type Step = (usize, Option<Event>);

fn data(at: Range<usize>, end: bool) -> Event {
    // An input of 4 GiB is not made; a charge that saturates would only be given back short.
    let charge = u32::try_from(at.len()).unwrap_or(u32::MAX);
    Event::Data { stream: STREAM, at, charge, end }
}

impl H1 {
    pub(super) fn read_input(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        if self.deadline.is_none() && self.read == Read::Idle && !self.stream {
            self.deadline = Some(self.idle_deadline(cx.now));
        }
        let mut used = 0;
        loop {
            if self.pending == Pending::End {
                self.pending = Pending::None;
                self.settle();
                return Ok(Decoded { used, event: Some(data(used..used, true)) });
            }
            let rest = input.get(used..).unwrap_or_default();
            let before = self.read;
            let (n, event) = self.step(rest, cx).map_err(Error::connection)?;
            let event = event.map(|event| shift(event, used));
            used += n;
            if event.is_some() {
                return Ok(Decoded { used, event });
            }
            // A swallowed body is no event, but what follows it may be one.
            if before == self.read {
                break;
            }
        }
        let event = if used == input.len() && self.eof != Eof::No { self.at_eof(cx) } else { None };
        Ok(Decoded { used, event })
    }

    fn step(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Step, Fault> {
        match self.read {
            Read::Idle | Read::Head if self.is_server() => self.read_request(input, cx),
            Read::Idle if input.is_empty() => Ok((0, None)),
            Read::Idle => Err(Fault::UnsolicitedBytes),
            Read::Head => self.read_reply(input, cx),
            Read::Body => self.read_body(input, cx),
            Read::Swallow => self.swallow(input, cx),
            Read::Tunnel if input.is_empty() => Ok((0, None)),
            Read::Tunnel => Ok((input.len(), Some(data(0..input.len(), false)))),
            Read::Upgrade => Ok((0, None)),
            Read::Complete if self.is_server() => Ok((0, None)),
            // RFC 9112 §9.2: bytes beyond the reply poison the connection, not the reply.
            Read::Complete => {
                self.keep &= input.is_empty();
                Ok((input.len(), None))
            }
            Read::Done => Ok((input.len(), None)),
        }
    }

    /// Looks for the end of a section. `None`: all input is taken into the scratch.
    fn section(&mut self, input: &[u8], rules: Rules) -> Result<Option<Section>, Fault> {
        let Some(mut scratch) = self.scratch.take() else {
            let mut scan = Scan::default();
            if let Some(end) = scan.advance(input, rules)? {
                let start = scan.start();
                return Ok(Some(Section { used: end, gathered: None, start, end }));
            }
            if !input.is_empty() {
                self.scratch = Some(Box::new(Scratch { bytes: input.to_vec(), scan }));
            }
            return Ok(None);
        };
        let before = scratch.bytes.len();
        // The scan refuses what is over the limit, so at most one input too much is gathered.
        scratch.bytes.extend_from_slice(input);
        let Scratch { bytes, scan } = &mut *scratch;
        let Some(end) = scan.advance(bytes, rules)? else {
            self.scratch = Some(scratch);
            return Ok(None);
        };
        let (used, start) = (end.saturating_sub(before), scratch.scan.start());
        Ok(Some(Section { used, gathered: Some(scratch), start, end }))
    }

    fn read_request(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Step, Fault> {
        let rules = Rules::head(self.role, &self.spec);
        let Some(section) = self.section(input, rules)? else {
            self.wait_for_head(cx);
            return Ok((input.len(), None));
        };
        let mut head = cx.take_head();
        let facts = match parse::request(section.block(input), &self.spec, &mut head) {
            Ok(facts) => facts,
            Err(fault) => {
                cx.heads.push(head);
                return Err(fault);
            }
        };
        self.begin_request(facts, cx);
        let end = facts.body == Body::None;
        Ok((section.used, Some(Event::Head { stream: STREAM, head, end })))
    }

    /// Starts the head's deadline with its first byte; an empty line alone is no first byte.
    fn wait_for_head(&mut self, cx: &mut Cx<'_>) {
        let begun = self.scratch.as_ref().is_some_and(|s| s.bytes.len() > s.scan.start());
        match (self.read, begun) {
            (Read::Idle, true) => {
                self.read = Read::Head;
                self.deadline = Some(cx.now + self.spec.head_timeout);
            }
            (Read::Head, false) => {
                self.read = Read::Idle;
                self.deadline = Some(self.idle_deadline(cx.now));
            }
            _ => {}
        }
    }

    fn begin_request(&mut self, facts: Facts, cx: &mut Cx<'_>) {
        self.served = self.served.saturating_add(1);
        let last = self.spec.requests_per_connection_max.is_some_and(|max| self.served >= max);
        self.stream = true;
        self.keep = facts.keep && !last;
        self.http10 = facts.http10;
        self.expects = facts.expects;
        self.lists_fields = facts.lists_fields;
        self.asked = Asked { head: facts.is_head, tunnel: facts.body == Body::Tunnel };
        self.outgoing = Outgoing::Before;
        self.begin_body(facts.body);
        self.deadline = Some(cx.now + self.spec.body_grace);
    }

    fn begin_body(&mut self, body: Body) {
        (self.read, self.left) = match body {
            Body::None => (Read::Complete, Left::None),
            Body::Exact(len) => (Read::Body, Left::Exact(len)),
            Body::Chunked => (Read::Body, Left::Chunked(Chunked::new())),
            Body::Close => (Read::Body, Left::Close),
            Body::Tunnel if self.is_server() => (Read::Upgrade, Left::None),
            Body::Tunnel => (Read::Tunnel, Left::None),
        };
    }

    fn read_reply(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Step, Fault> {
        let rules = Rules::head(self.role, &self.spec);
        let Some(section) = self.section(input, rules)? else { return Ok((input.len(), None)) };
        let mut head = cx.take_head();
        let facts = match parse::reply(section.block(input), &self.spec, self.asked, &mut head) {
            Ok(facts) => facts,
            Err(fault) => {
                cx.heads.push(head);
                return Err(fault);
            }
        };
        let interim = head.status() < 200 && facts.body != Body::Tunnel;
        if interim {
            if self.interim >= self.spec.interim_max {
                cx.heads.push(head);
                return Err(Fault::TooManyInterim);
            }
            self.interim += 1;
        } else {
            self.begin_reply(facts, cx);
        }
        let end = facts.body == Body::None && !interim;
        Ok((section.used, Some(Event::Head { stream: STREAM, head, end })))
    }

    fn begin_reply(&mut self, facts: Facts, cx: &mut Cx<'_>) {
        self.keep &= facts.keep;
        if self.outgoing == Outgoing::Tunnel && facts.body != Body::Tunnel {
            // The upgrade was refused: its request had no body, so it is whole.
            self.outgoing = Outgoing::Ended;
        }
        self.timeout_secs = facts.timeout_secs;
        self.lists_fields = facts.lists_fields;
        self.begin_body(facts.body);
        if facts.body == Body::None {
            self.finish_read(cx.now);
        }
    }

    /// The message being read is whole.
    fn finish_read(&mut self, now: Instant) {
        self.read = Read::Complete;
        self.left = Left::None;
        if self.is_server() {
            if self.outgoing == Outgoing::Ended && !self.keep {
                self.close();
            }
        } else if self.outgoing != Outgoing::Ended {
            // The reply ended before its request: what is left of it would be read as the next.
            self.close();
        } else {
            self.deadline = Some(self.idle_deadline(now));
        }
    }

    fn read_body(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Step, Fault> {
        if input.is_empty() {
            return Ok((0, None));
        }
        let step = match self.left {
            Left::None => (0, None),
            Left::Exact(left) => self.read_exact(left, input, cx),
            Left::Chunked(chunked) => self.read_chunked(chunked, input, cx)?,
            Left::Trailers => self.read_trailers(input, cx)?,
            Left::Close => (input.len(), Some(data(0..input.len(), false))),
        };
        if self.is_server() && self.read != Read::Complete {
            self.earn(step.0, cx.now);
        }
        Ok(step)
    }

    fn read_exact(&mut self, left: u64, input: &[u8], cx: &Cx<'_>) -> Step {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - len as u64;
        self.left = Left::Exact(left);
        if left == 0 {
            self.finish_read(cx.now);
        }
        (len, Some(data(0..len, left == 0)))
    }

    fn read_chunked(
        &mut self,
        mut chunked: Chunked,
        input: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<Step, Fault> {
        let (start, stop) = chunked.frame(input, &self.spec)?;
        self.left = Left::Chunked(chunked);
        let rest = input.get(start..).unwrap_or_default();
        match stop {
            Stop::More => Ok((input.len(), None)),
            Stop::Payload { .. } if rest.is_empty() => Ok((start, None)),
            Stop::Payload { left } => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                chunked.take(len as u64);
                Ok(self.look_ahead(chunked, start..start + len, input, cx.now))
            }
            Stop::Last => {
                self.left = Left::Trailers;
                let (n, event) = self.read_trailers(rest, cx)?;
                Ok((start + n, event.map(|event| shift(event, start))))
            }
        }
    }

    /// Eats the framing behind a chunk's payload too, so that a body that is here ends with its
    /// last payload. A fault in it is left for the next call: the payload before it counts.
    fn look_ahead(
        &mut self,
        chunked: Chunked,
        at: Range<usize>,
        input: &[u8],
        now: Instant,
    ) -> Step {
        self.left = Left::Chunked(chunked);
        let rest = input.get(at.end..).unwrap_or_default();
        let mut ahead = chunked;
        let Ok((n, stop)) = ahead.frame(rest, &self.spec) else {
            return (at.end, Some(data(at, false)));
        };
        self.left = Left::Chunked(ahead);
        let used = at.end + n;
        if stop == Stop::Last && rest.get(n..n + 2) == Some(b"\r\n") {
            self.finish_read(now);
            return (used + 2, Some(data(at, true)));
        }
        (used, Some(data(at, false)))
    }

    fn read_trailers(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Step, Fault> {
        let rules = Rules::trailers(&self.spec);
        let Some(section) = self.section(input, rules)? else { return Ok((input.len(), None)) };
        let used = section.used;
        if section.end - section.start == 2 {
            self.finish_read(cx.now);
            return Ok((used, Some(data(used..used, true))));
        }
        let mut head = cx.take_head();
        let parsed = parse::trailers(section.block(input), &self.spec, &mut head);
        // RFC 9110 §7.6.1: what Connection lists is taken from the trailers too. Which those are is
        // not kept; a recipient may discard trailers (RFC 9112 §7.1.2), so all of them go.
        if parsed.is_err() || head.count() == 0 || self.lists_fields {
            cx.heads.push(head);
            parsed?;
            self.finish_read(cx.now);
            return Ok((used, Some(data(used..used, true))));
        }
        self.finish_read(cx.now);
        Ok((used, Some(Event::Trailers { stream: STREAM, head })))
    }

    /// Drops the rest of a request whose reply has ended.
    fn swallow(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Step, Fault> {
        let mut used = 0;
        while self.read == Read::Swallow {
            let rest = input.get(used..).unwrap_or_default();
            let (n, event) = self.read_body(rest, cx)?;
            used += n;
            if let Some(Event::Trailers { head, .. }) = event {
                cx.heads.push(head);
            }
            self.swallow = self.swallow.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
            if self.read == Read::Swallow && self.swallow == 0 {
                self.close();
            }
            if n == 0 {
                break;
            }
        }
        if self.read == Read::Complete {
            self.deadline = Some(self.idle_deadline(cx.now));
            self.settle();
        }
        Ok((used, None))
    }

    /// All input is understood and none will follow.
    fn at_eof(&mut self, cx: &Cx<'_>) -> Option<Event> {
        let reset = |fault| Some(Event::Reset { stream: STREAM, fault, unprocessed: false });
        match self.read {
            // A server owes nothing; half a head is not worth an answer nobody reads.
            Read::Idle | Read::Swallow => self.close(),
            Read::Head if self.is_server() => self.close(),
            Read::Head => {
                let begun = self.scratch.is_some() || self.interim > 0;
                self.close();
                return reset(if begun { Fault::HeadTruncated } else { Fault::ClosedBeforeReply });
            }
            Read::Body => return self.body_at_eof(cx.now),
            Read::Tunnel => {
                self.read = Read::Done;
                let clean = self.eof == Eof::Clean;
                return if clean { Some(data(0..0, true)) } else { reset(Fault::BodyTruncated) };
            }
            Read::Complete if !self.is_server() => self.keep = false,
            // Held: looked at again when the reply has ended.
            Read::Complete | Read::Upgrade | Read::Done => {}
        }
        None
    }

    fn body_at_eof(&mut self, now: Instant) -> Option<Event> {
        if matches!(self.left, Left::Close) && self.eof == Eof::Clean {
            self.keep = false;
            self.finish_read(now);
            return Some(data(0..0, true));
        }
        self.keep = false;
        self.scratch = None;
        self.left = Left::None;
        self.read = Read::Done;
        if !self.is_server() {
            self.close();
        }
        Some(Event::Reset { stream: STREAM, fault: Fault::BodyTruncated, unprocessed: false })
    }
}

/// Moves a range from a part of the input to the whole of it.
fn shift(event: Event, by: usize) -> Event {
    match event {
        Event::Data { stream, at, charge, end } => {
            Event::Data { stream, at: at.start + by..at.end + by, charge, end }
        }
        other => other,
    }
}

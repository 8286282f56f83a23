//! Whole field blocks: requests, replies, trailers, and those that are decoded for HPACK's sake.
//!
//! A block is always decoded, whatever becomes of it: the next one depends on its table
//! (RFC 9113 §4.3).

use super::encode::{self, Target};
use super::fields::{self, Builder, CONTENT_TYPE, Facts, Section};
use super::frame::Code;
use super::stream::{Half, Stream};
use super::{H2, Whose};
use crate::error::{Error, Fault};
use crate::grpc;
use crate::head::Head;
use crate::hpack::Field;
use crate::wire::{Cx, Event, StreamId};

impl H2 {
    /// All of a field block came.
    pub(super) fn end_block(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        if self.input.opens {
            return self.open_request(id, end, block, cx);
        }
        let spared = self.is_spared(id);
        let key = match self.whose(id) {
            Whose::Held(key) => key,
            Whose::Over | Whose::Idle => return self.late_block(spared, block, cx),
        };
        match self.streams.get(key) {
            Some(stream) if stream.is_closed() => self.late_block(spared, block, cx),
            Some(Stream { read: Half::Ended, .. }) => {
                self.pass_block(block)?;
                self.stream_error(key, Fault::StreamClosed, cx)
            }
            Some(Stream { read: Half::Head, is_head, .. }) => {
                let section = Section::Reply { is_head: *is_head };
                self.read_reply(key, section, end, block, cx)
            }
            _ => self.read_trailers(key, end, block, cx),
        }
    }

    /// A block that no stream wants: innocent if it was sent before the peer could know.
    fn late_block(
        &mut self,
        spared: bool,
        block: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        if !spared {
            return Err(Error::connection(Fault::StreamClosed));
        }
        self.pass_block(block)?;
        self.floods.manners(&self.spec, cx.now)?;
        Ok(None)
    }

    fn pass_block(&mut self, block: &[u8]) -> Result<(), Error> {
        self.decoder.decode(block, |_| false).map_err(Error::connection)
    }

    /// Decodes a block into a head. The outer error ends the connection, the inner one says what
    /// is wrong with the message.
    fn read_head(
        &mut self,
        section: Section,
        end: bool,
        block: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(Box<Head>, Result<Facts, Fault>), Error> {
        let mut head = cx.take_head();
        let mut crumbs = core::mem::take(&mut self.crumbs);
        let mut builder = Builder::new(section, &self.spec, &mut head, &mut crumbs);
        let decoded = self
            .decoder
            .decode(block, |field| builder.field(field.name, field.value, field.sensitive));
        let facts = builder.finish(end);
        self.crumbs = fields::recycle(crumbs);
        match decoded {
            Ok(()) => Ok((head, facts)),
            Err(fault) => {
                cx.heads.push(head);
                Err(Error::connection(fault))
            }
        }
    }

    fn open_request(
        &mut self,
        id: u32,
        end: bool,
        block: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        if self.announced.is_some_and(|last| id > last) {
            return self.late_block(true, block, cx);
        }
        if self.streams.held() >= self.spec.h2_streams_max {
            return self.refuse_stream(id, block, cx).map(Some);
        }
        let (head, facts) = self.read_head(Section::Request, end, block, cx)?;
        let facts = match facts {
            Ok(facts) => facts,
            Err(fault) => {
                let is_call = grpc::is_call(&head);
                cx.heads.push(head);
                self.refuse_head(id, end, fault, cx)?;
                return Ok(Some(Event::Refused { fault, is_call }));
            }
        };
        let mut stream = self.new_stream(id);
        stream.read = if end { Half::Ended } else { Half::Body };
        stream.read_left = facts.content;
        stream.is_head = facts.is_head;
        let stream = self.streams.insert(stream);
        self.clock.note_streams(self.streams.held(), cx.now);
        self.floods.stream_opened();
        self.count_request(cx);
        Ok(Some(Event::Head { stream, head, end }))
    }

    /// M6, of a stream beyond the limit. Of its block only the content type is looked at.
    fn refuse_stream(&mut self, id: u32, block: &[u8], cx: &mut Cx<'_>) -> Result<Event, Error> {
        let mut is_call = false;
        let look = |field: Field<'_>| {
            is_call = field.name == CONTENT_TYPE && grpc::is_content_type(field.value);
            field.name != CONTENT_TYPE
        };
        self.decoder.decode(block, look).map_err(Error::connection)?;
        self.write_reset(id, Code::RefusedStream, cx);
        self.floods.glitch(&self.spec, cx.now)?;
        Ok(Event::Refused { fault: Fault::StreamRefused, is_call })
    }

    /// M6.
    fn refuse_head(
        &mut self,
        id: u32,
        end: bool,
        fault: Fault,
        cx: &mut Cx<'_>,
    ) -> Result<(), Error> {
        match fault.status() {
            0 | 400 => self.write_reset(id, Code::for_fault(fault), cx),
            status => {
                let to = Target { stream: id, end: true };
                encode::bare_reply(status, to, &mut self.encoder, cx.out);
                if !end {
                    self.write_reset(id, Code::NoError, cx);
                }
            }
        }
        self.floods.own_reset(&self.spec, cx.now)
    }

    fn read_reply(
        &mut self,
        key: StreamId,
        section: Section,
        end: bool,
        block: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        let (head, facts) = self.read_head(section, end, block, cx)?;
        let verdict = facts.and_then(|facts| self.begin_reply(key, facts, end));
        if let Err(fault) = verdict {
            cx.heads.push(head);
            return self.stream_error(key, fault, cx);
        }
        Ok(Some(Event::Head { stream: key, head, end }))
    }

    fn begin_reply(&mut self, key: StreamId, facts: Facts, end: bool) -> Result<(), Fault> {
        let interim_max = self.spec.interim_max;
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        if facts.is_interim {
            stream.interim = stream.interim.saturating_add(1);
            let many = stream.interim > interim_max;
            return if many { Err(Fault::TooManyInterim) } else { Ok(()) };
        }
        stream.read = if end { Half::Ended } else { Half::Body };
        stream.read_left = facts.content;
        Ok(())
    }

    /// RFC 9113 §8.1: trailers end the stream, and come when all content came.
    fn read_trailers(
        &mut self,
        key: StreamId,
        end: bool,
        block: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        let (head, facts) = self.read_head(Section::Trailers, end, block, cx)?;
        let verdict = facts.and_then(|_| self.end_by_trailers(key, end));
        if let Err(fault) = verdict {
            cx.heads.push(head);
            return self.stream_error(key, fault, cx);
        }
        if head.count() > 0 {
            return Ok(Some(Event::Trailers { stream: key, head }));
        }
        cx.heads.push(head);
        Ok(Some(Event::Data { stream: key, at: 0..0, charge: 0, end: true }))
    }

    fn end_by_trailers(&mut self, key: StreamId, end: bool) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        if !end {
            return Err(Fault::UnexpectedFrame);
        }
        if !matches!(stream.read_left, 0 | u64::MAX) {
            return Err(Fault::ContentLengthMismatch);
        }
        stream.read = Half::Ended;
        Ok(())
    }
}

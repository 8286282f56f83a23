//! Reading: envelopes, structs and what they come to.

use core::mem;

use super::calls::Half;
use super::dialect::{Dialect, Transport};
use super::envelope::{self, Envelope, Parsed};
use super::fields::{self, Said};
use super::message::{self, Kind};
use super::{Persistent, Thrift, theader, ttheader};
use crate::error::{Error, Fault};
use crate::head::{Head, Length, Version};
use crate::wire::{Cx, Decoded, Event, StreamId};

/// Where the receiving side is.
#[derive(Debug)]
pub(super) enum Read {
    /// Before a struct.
    Envelope,
    /// In the struct of this call; of none, if nobody wants it.
    Struct(Option<StreamId>),
    /// A struct that was unpacked is still to be said.
    Unpacked(Option<StreamId>, Vec<u8>),
    /// Nothing will be read.
    Done,
}

/// Bytes of the scratch that are kept between messages.
const SCRATCH_BYTES_KEPT: usize = 4 * 1024;

/// What a control frame calls its message.
const CONTROL_NAME: &[u8] = b"none";

impl Thrift {
    pub(super) fn read_input(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        self.settle(cx);
        if let Some(event) = self.untold(cx) {
            return Ok(Decoded { used: 0, event: Some(event) });
        }
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let (taken, event) = self.read_some(rest, cx).map_err(Error::connection)?;
            let mut event = event.map(|event| moved(event, used));
            used += taken;
            if event.is_none() && self.is_closing_due {
                event = self.untold(cx);
            }
            if event.is_some() || taken == 0 {
                return Ok(Decoded { used, event });
            }
        }
    }

    fn read_some(&mut self, rest: &[u8], cx: &mut Cx<'_>) -> Result<(usize, Option<Event>), Fault> {
        match self.read {
            Read::Done => Ok((rest.len(), None)),
            Read::Envelope if self.is_full() => Ok((0, None)),
            Read::Envelope => self.read_envelope(rest, cx),
            Read::Struct(_) => self.read_struct(rest, cx),
            Read::Unpacked(..) => Ok((0, self.say_unpacked(cx))),
        }
    }

    fn say_unpacked(&mut self, cx: &mut Cx<'_>) -> Option<Event> {
        let Read::Unpacked(key, bytes) = mem::replace(&mut self.read, Read::Envelope) else {
            return None;
        };
        self.finish_read(key, cx);
        let charge = bytes.len() as u32;
        key.map(|stream| Event::Copied { stream, bytes, charge, end: true })
    }

    fn read_envelope(
        &mut self,
        rest: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(usize, Option<Event>), Fault> {
        let mut used = 0;
        loop {
            let is_direct = self.scratch.is_empty();
            let bytes = if is_direct { rest } else { self.scratch.as_slice() };
            if bytes.len() >= self.need {
                match envelope::parse(bytes, self.dialect, self.is_server(), &self.spec)? {
                    Parsed::Need(need) => self.need = need,
                    parsed => {
                        let scratch = mem::take(&mut self.scratch);
                        let bytes = if is_direct { rest } else { scratch.as_slice() };
                        self.need = 1;
                        self.clock.head_by = None;
                        let (len, event) = self.begin_message(parsed, bytes, cx)?;
                        self.keep(scratch);
                        return Ok((if is_direct { len } else { used }, event));
                    }
                }
            }
            let wanted = self.need.saturating_sub(self.scratch.len());
            let left = rest.get(used..).unwrap_or_default();
            let piece = left.get(..wanted).unwrap_or(left);
            if piece.is_empty() {
                return Ok((used, None));
            }
            self.scratch.extend_from_slice(piece);
            used += piece.len();
            self.clock.begin_head(cx.now, &self.spec);
        }
    }

    fn keep(&mut self, mut scratch: Vec<u8>) {
        if scratch.capacity() <= SCRATCH_BYTES_KEPT {
            scratch.clear();
            self.scratch = scratch;
        }
    }

    /// An envelope is whole: its length in `bytes`, and what it says.
    fn begin_message(
        &mut self,
        parsed: Parsed,
        bytes: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(usize, Option<Event>), Fault> {
        match parsed {
            Parsed::Need(_) => Ok((0, None)),
            Parsed::Message(envelope) => {
                let name = bytes.get(envelope.message.name.clone()).unwrap_or_default();
                let (key, event) = self.begin_call(&envelope, name, bytes, cx)?;
                let (room, over) = match envelope.struct_len {
                    Some(len) => (len, Fault::ThriftStructTruncated),
                    None => {
                        let limits = envelope::limits(&self.spec);
                        (limits.frame_bytes_max.into(), Fault::ThriftFrameTooLarge)
                    }
                };
                self.walk.begin(envelope.dialect.encoding, room, over);
                self.read = Read::Struct(key);
                self.clock.begin_struct(cx.now, &self.spec);
                Ok((envelope.len, event))
            }
            Parsed::Packed(header, encoding) => {
                let len = header.len + header.payload_len as usize;
                let packed = bytes.get(header.len..len).unwrap_or_default();
                let bytes_max = envelope::limits(&self.spec).frame_bytes_max as usize;
                let mut plain = theader::inflate(packed, bytes_max)?;
                let envelope = Envelope::unpacked(&header, encoding, &plain)?;
                self.check_dialect(envelope.dialect)?;
                self.check_unpacked(&envelope, &plain)?;
                let name = plain.get(envelope.message.name.clone()).unwrap_or_default();
                let (key, event) = self.begin_call(&envelope, name, bytes, cx)?;
                plain.drain(..envelope.len);
                self.read = Read::Unpacked(key, plain);
                Ok((len, event))
            }
        }
    }

    fn check_dialect(&self, dialect: Dialect) -> Result<(), Fault> {
        let same = envelope::is_same(self.dialect, dialect, self.is_server());
        if same { Ok(()) } else { Err(Fault::DialectChanged) }
    }

    /// All of an unpacked struct is there, and nothing behind it.
    fn check_unpacked(&mut self, envelope: &Envelope, plain: &[u8]) -> Result<(), Fault> {
        let bytes = plain.get(envelope.len..).unwrap_or_default();
        let over = Fault::ThriftStructTruncated;
        self.walk.begin(envelope.dialect.encoding, bytes.len() as u64, over);
        let walked = self.walk.feed(bytes)?;
        if walked.used < bytes.len() { Err(Fault::ThriftFrameGarbage) } else { Ok(()) }
    }

    fn read_struct(
        &mut self,
        rest: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(usize, Option<Event>), Fault> {
        let Read::Struct(key) = self.read else { return Ok((0, None)) };
        let walked = self.walk.feed(rest)?;
        let framed = self.dialect.is_some_and(Dialect::has_length);
        if walked.done && framed && self.walk.left() > 0 {
            return Err(Fault::ThriftFrameGarbage);
        }
        self.clock.note_struct(walked.used, cx.now, &self.spec);
        if walked.done {
            self.finish_read(key, cx);
        }
        let (at, charge) = (0..walked.used, walked.used as u32);
        let said = |stream| Event::Data { stream, at, charge, end: walked.done };
        Ok((walked.used, key.filter(|_| walked.used > 0).map(said)))
    }

    /// A message is whole.
    fn finish_read(&mut self, key: Option<StreamId>, cx: &mut Cx<'_>) {
        self.read = Read::Envelope;
        self.clock.end_struct();
        let late = self.swallowed.take();
        self.late = self.late.saturating_add(late.is_some().into());
        if let Some(key) = key.or(late) {
            if let Some(call) = self.calls.get(key) {
                call.read = Half::Ended;
            }
            self.let_go(key);
        }
        self.clock.note_calls(self.is_busy(), cx.now);
    }

    /// A message's call: its key, or none if nobody wants it, and what is said of it.
    fn begin_call(
        &mut self,
        envelope: &Envelope,
        name: &[u8],
        bytes: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(Option<StreamId>, Option<Event>), Fault> {
        if envelope.message.kind.is_request() != self.is_server() {
            return Err(Fault::UnexpectedThriftMessage);
        }
        self.dialect.get_or_insert(envelope.dialect);
        let mut head = cx.take_head();
        head.set_version(Version::Thrift);
        let blocks = bytes.get(envelope.blocks.clone()).unwrap_or_default();
        let said = self.load_fields(envelope, blocks, &mut head)?;
        if said.is_closing {
            self.close_to_new();
        }
        let key = if self.is_server() {
            Some(self.begin_request(envelope, name, said, &mut head)?)
        } else {
            self.begin_reply(envelope, name, said, &mut head)?
        };
        head.push(b"content-type", envelope.dialect.encoding.content_type());
        head.set_length(envelope.struct_len.map_or(Length::Unknown, Length::Exact));
        self.clock.note_calls(self.is_busy(), cx.now);
        match key {
            Some(stream) => Ok((key, Some(Event::Head { stream, head, end: false }))),
            None => {
                cx.heads.push(head);
                Ok((None, None))
            }
        }
    }

    fn load_fields<'a>(
        &mut self,
        envelope: &Envelope,
        blocks: &'a [u8],
        head: &mut Head,
    ) -> Result<Said<'a>, Fault> {
        let pair_bytes_max = self.spec.line_bytes_max;
        match envelope.dialect.transport {
            Transport::TtHeader => fields::load_ttheader(blocks, pair_bytes_max, head),
            Transport::THeader => {
                self.keep_persistent(blocks)?;
                let mut said = Said::default();
                for Persistent { key, value } in &self.persistent {
                    fields::load_theader(key, value, pair_bytes_max, head)?;
                }
                for pair in theader::pairs(blocks) {
                    let pair = pair?;
                    if pair.key == b"service_name" {
                        said.to_service = Some(pair.value);
                    }
                    fields::load_theader(pair.key, pair.value, pair_bytes_max, head)?;
                }
                Ok(said)
            }
            Transport::Framed | Transport::Unframed => Ok(Said::default()),
        }
    }

    /// Pairs that hold for later messages as well, as many as one header may have.
    fn keep_persistent(&mut self, blocks: &[u8]) -> Result<(), Fault> {
        for pair in theader::pairs(blocks) {
            let pair = pair?;
            if !pair.is_persistent {
                continue;
            }
            self.persistent.retain(|kept| *kept.key != *pair.key);
            self.persistent.push(Persistent { key: pair.key.into(), value: pair.value.into() });
        }
        let bytes: usize = self.persistent.iter().map(Persistent::len).sum();
        match () {
            () if self.persistent.len() > usize::from(self.spec.thrift_keys_max) => {
                Err(Fault::TooManyFields)
            }
            () if bytes > self.spec.thrift_header_bytes_max as usize => Err(Fault::HeadTooLarge),
            () => Ok(()),
        }
    }

    fn begin_request(
        &mut self,
        envelope: &Envelope,
        name: &[u8],
        said: Said<'_>,
        head: &mut Head,
    ) -> Result<StreamId, Fault> {
        let (prefix, method) = message::split_name(name);
        let service = prefix.or(said.idl_service).or(said.to_service).unwrap_or(b"-");
        if service != b"-" && !message::is_identifier(service) {
            return Err(Fault::BadThriftName);
        }
        let is_oneway = envelope.message.kind == Kind::Oneway;
        self.text.clear();
        for part in [b"/", service, b"/", method] {
            self.text.extend_from_slice(part);
        }
        head.set_request(if is_oneway { b"ONEWAY" } else { b"CALL" }, &self.text);
        let host = said.to_service.or(prefix).or(said.idl_service);
        if let Some(host) = host.filter(|host| message::is_identifier(host)) {
            head.set_authority(host);
        }
        if let Some(prefix) = prefix {
            head.set(fields::MULTIPLEXED, prefix);
        }
        let may_overtake = self.may_overtake(envelope);
        let key = self.calls.insert();
        if let Some(call) = self.calls.get(key) {
            call.seqid = envelope.message.seqid;
            call.outer = envelope.outer;
            call.name.extend_from_slice(method);
            call.is_oneway = is_oneway;
            call.may_overtake = may_overtake;
            call.read = Half::Body;
        }
        self.served = self.served.saturating_add(1);
        if self.spec.requests_per_connection_max.is_some_and(|max| self.served >= max) {
            self.is_going = true;
        }
        Ok(key)
    }

    /// A client of TTHeader that has several calls under way matches replies by their numbers: one
    /// that did not would wait for each. THeader's clients say so.
    fn may_overtake(&self, envelope: &Envelope) -> bool {
        let same = |outer| self.calls.iter().any(|(_, call)| call.outer == outer);
        match envelope.dialect.transport {
            Transport::TtHeader => !same(envelope.outer),
            Transport::THeader => envelope.flags & theader::FLAG_OUT_OF_ORDER != 0,
            Transport::Framed | Transport::Unframed => false,
        }
    }

    fn begin_reply(
        &mut self,
        envelope: &Envelope,
        name: &[u8],
        said: Said<'_>,
        head: &mut Head,
    ) -> Result<Option<StreamId>, Fault> {
        let numbers = (envelope.message.seqid, envelope.outer);
        if said.is_closing && numbers == (0, 0) && name == CONTROL_NAME {
            return Ok(None);
        }
        let kind = envelope.message.kind;
        let key = self.find_call(envelope)?;
        let Some(call) = self.calls.get(key) else { return Err(Fault::UnknownSeqid) };
        let (_, method) = message::split_name(&call.name);
        let nameless = kind == Kind::Exception && name.is_empty();
        if !nameless && name != method && name != call.name.as_slice() {
            return Err(Fault::ReplyNameMismatch);
        }
        let is_early = match call.write {
            Half::Head => return Err(Fault::UnknownSeqid),
            Half::Body => true,
            Half::Ended => false,
        };
        call.read = Half::Body;
        let wanted = !call.is_released && !call.is_gone;
        if is_early {
            self.close_to_new();
        }
        head.set_status(if kind == Kind::Reply { 200 } else { 500 }, b"");
        if !wanted {
            self.swallowed = Some(key);
        }
        Ok(wanted.then_some(key))
    }

    /// Whose reply it is: by the message's number, by the header's where the message has none, and
    /// for an exception that has neither, the only call that there is.
    fn find_call(&self, envelope: &Envelope) -> Result<StreamId, Fault> {
        let (inner, outer) = (envelope.message.seqid, envelope.outer as i32);
        if inner != 0 && outer != 0 && inner != outer {
            return Err(Fault::SeqidMismatch);
        }
        let seqid = if inner != 0 { inner } else { outer };
        if seqid == 0 && envelope.message.kind == Kind::Exception {
            return self.calls.only().ok_or(Fault::UnknownSeqid);
        }
        match self.calls.find(seqid) {
            Some(key) => Ok(key),
            None if seqid != 0 && seqid == self.last_oneway => Err(Fault::ReplyToOneway),
            None => Err(Fault::UnknownSeqid),
        }
    }
}

/// An event of input that begins `by` bytes later.
fn moved(event: Event, by: usize) -> Event {
    match event {
        Event::Data { stream, at, charge, end } => {
            Event::Data { stream, at: at.start + by..at.end + by, charge, end }
        }
        event => event,
    }
}

/// The flag that asks for, and allows, replies out of order.
pub(super) const OUT_OF_ORDER: u16 = ttheader::FLAG_OUT_OF_ORDER;
const _: () = assert!(OUT_OF_ORDER == theader::FLAG_OUT_OF_ORDER);

//! Writing: requests, replies, and exceptions that this side makes.

use super::calls::{Call, Half};
use super::dialect::{Dialect, Encoding, Transport};
use super::exception::{self, Code};
use super::fields;
use super::message::{self, Kind};
use super::read::OUT_OF_ORDER;
use super::ttheader::{Pair, key};
use super::{Drain, Thrift, framed, theader, ttheader};
use crate::error::Fault;
use crate::head::{Head, Length};
use crate::wire::{Cx, Gone, Role, StreamId};

/// Fields of keys that are written from the path and the authority where they are missing.
const TO_SERVICE: &[u8] = b"tt-int-6";
const TO_METHOD: &[u8] = b"tt-int-9";

/// What stands before a struct that is written.
struct Outgoing<'a> {
    kind: Kind,
    name: &'a [u8],
    seqid: i32,
    outer: u32,
    flags: u16,
    /// Bytes of the struct; 0 where only its end says it.
    struct_len: u64,
    head: Option<&'a Head>,
    /// A request's path, for the keys that say it again.
    service: Option<&'a [u8]>,
    is_last: bool,
}

impl Thrift {
    /// Whether a call may be written to now.
    pub(super) fn may_write(&self, stream: StreamId) -> bool {
        let free = self.writing.is_none_or(|writing| writing == stream);
        free && (!self.is_server() || self.calls.has_turn(stream))
    }

    pub(super) fn write_head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.settle(cx);
        let is_open = |call: &&mut Call| {
            !call.is_gone && !call.is_released && call.write == Half::Head && call.owes.is_none()
        };
        let Some(call) = self.calls.get(stream).filter(is_open) else { return Err(Gone) };
        let is_oneway = call.is_oneway;
        match self.role {
            Role::Server if is_oneway => {
                self.finish_write(stream);
                if end { Ok(()) } else { Err(Gone) }
            }
            _ if self.is_closing => Err(Gone),
            Role::Client => self.write_request(stream, head, end, cx),
            Role::Server => self.write_reply(stream, head, end, cx),
        }
    }

    /// Bytes of the struct that a head announces; `None` for one that cannot be framed. A head of
    /// another protocol has no struct.
    fn struct_len(&self, dialect: Dialect, head: &Head) -> Option<u64> {
        let same = head.field(b"content-type") == Some(dialect.encoding.content_type());
        match head.length() {
            Length::Exact(len @ 1..) if same => Some(len),
            Length::Unknown if same && !dialect.has_length() => Some(0),
            _ => None,
        }
    }

    fn write_request(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        let Some(dialect) = self.dialect.filter(|_| self.may_write(stream)) else {
            return Err(Gone);
        };
        let (service, method) = fields::split_path(head.path()).ok_or(Gone)?;
        let struct_len = self.struct_len(dialect, head).filter(|_| !end).ok_or(Gone)?;
        let is_oneway = head.method() == b"ONEWAY";
        let prefix = match self.spec.thrift_multiplexed {
            None => head.field(fields::MULTIPLEXED).filter(|name| message::is_identifier(name)),
            Some(true) => service,
            Some(false) => None,
        };
        let mut name = core::mem::take(&mut self.text);
        name.clear();
        if let Some(prefix) = prefix {
            name.extend_from_slice(prefix);
            name.push(b':');
        }
        name.extend_from_slice(method);
        let seqid = self.take_seqid();
        let kind = if is_oneway { Kind::Oneway } else { Kind::Call };
        let asks = self.spec.thrift_link_calls_max > 1 && dialect.transport == Transport::THeader;
        let flags = if asks { OUT_OF_ORDER } else { 0 };
        let outgoing = Outgoing {
            kind,
            name: &name,
            seqid,
            outer: seqid as u32,
            flags,
            struct_len,
            head: Some(head),
            service,
            is_last: false,
        };
        let written = self.write_envelope(dialect, &outgoing, cx.out);
        if written && let Some(call) = self.calls.get(stream) {
            call.seqid = seqid;
            call.is_oneway = is_oneway;
            call.name.clone_from(&name);
        }
        self.text = name;
        if !written {
            return Err(Gone);
        }
        if is_oneway {
            self.last_oneway = seqid;
        }
        self.begin_write(stream, dialect, struct_len);
        Ok(())
    }

    /// The number of the next call: never 0, which means none, and never one that is waited for.
    fn take_seqid(&mut self) -> i32 {
        loop {
            self.next_seqid = self.next_seqid.checked_add(1).unwrap_or(1);
            if self.calls.find(self.next_seqid).is_none() {
                return self.next_seqid;
            }
        }
    }

    fn write_reply(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        let Some(dialect) = self.dialect else { return Err(Gone) };
        if end {
            let code = match head.status() {
                404 => Code::UNKNOWN_METHOD,
                400 => Code::PROTOCOL_ERROR,
                _ => Code::INTERNAL_ERROR,
            };
            let text = head.reason();
            let text = if text.is_empty() { Fault::Cancelled.reason().as_bytes() } else { text };
            if !self.may_write(stream) {
                self.owe(stream, Fault::Cancelled);
                return Err(Gone);
            }
            self.write_exception(stream, code, text, cx);
            return Ok(());
        }
        let fits = self.struct_len(dialect, head).filter(|_| self.may_write(stream));
        let Some(struct_len) = fits else {
            self.owe(stream, Fault::Cancelled);
            return Err(Gone);
        };
        let kind = if head.status() == 200 { Kind::Reply } else { Kind::Exception };
        if !self.write_answer(stream, kind, struct_len, Some(head), cx) {
            self.owe(stream, Fault::HeadTooLarge);
            return Err(Gone);
        }
        self.begin_write(stream, dialect, struct_len);
        Ok(())
    }

    fn write_answer(
        &mut self,
        stream: StreamId,
        kind: Kind,
        struct_len: u64,
        head: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> bool {
        let (Some(dialect), Some(call)) = (self.dialect, self.calls.get(stream)) else {
            return false;
        };
        let name = core::mem::take(&mut call.name);
        let flags = if call.may_overtake { OUT_OF_ORDER } else { 0 };
        let flags = if dialect.transport == Transport::THeader { flags } else { 0 };
        let outgoing = Outgoing {
            kind,
            name: &name,
            seqid: call.seqid,
            outer: call.outer,
            flags,
            struct_len,
            head,
            service: None,
            is_last: self.is_going || self.drain != Drain::No,
        };
        let written = self.write_envelope(dialect, &outgoing, cx.out);
        if let Some(call) = self.calls.get(stream) {
            call.name = name;
        }
        written
    }

    /// Everything before the struct; nothing is written if a length does not fit.
    fn write_envelope(
        &mut self,
        dialect: Dialect,
        outgoing: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let encoding = dialect.written(self.is_server());
        let Outgoing { kind, name, seqid, .. } = *outgoing;
        let len = message::written_len(encoding, name, seqid) as u64 + outgoing.struct_len;
        let inside = if dialect.is_framed_inside { framed::LENGTH_BYTES as u64 } else { 0 };
        let Ok(len) = u32::try_from(len + inside) else { return false };
        let fits = match dialect.transport {
            Transport::Unframed => true,
            Transport::Framed => {
                framed::write(len, out);
                true
            }
            Transport::THeader => write_theader(encoding, outgoing, len, out),
            Transport::TtHeader => self.write_ttheader(dialect, outgoing, len, out),
        };
        if fits {
            if dialect.is_framed_inside {
                framed::write(len - framed::LENGTH_BYTES as u32, out);
            }
            message::write(encoding, kind, name, seqid, out);
        }
        fits
    }

    fn write_ttheader(
        &mut self,
        dialect: Dialect,
        outgoing: &Outgoing<'_>,
        len: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut writer = ttheader::Writer::new(outgoing.flags, outgoing.outer, 0, out);
        // The path's service is the IDL's unless it is the one that discovery knows.
        let is_new = |head: &Head, service| {
            head.field(b"isn").is_none() && head.field(TO_SERVICE) != Some(service)
        };
        if let (Some(service), Some(head)) = (outgoing.service, outgoing.head)
            && is_new(head, service)
        {
            writer.push(Pair::Text(b"isn", service));
        }
        if outgoing.is_last {
            writer.push(Pair::Text(fields::CRRST, b"1"));
        }
        if let Some(head) = outgoing.head {
            self.dropped = self.dropped.saturating_add(fields::store_ttheader(head, &mut writer));
        }
        if outgoing.kind.is_request() {
            let transport: &[u8] = if dialect.is_framed_inside { b"framed" } else { b"unframed" };
            writer.push(Pair::Number(key::TRANSPORT_TYPE, transport));
            let (_, method) = message::split_name(outgoing.name);
            let head = outgoing.head;
            if head.is_some_and(|head| head.field(TO_METHOD).is_none()) {
                writer.push(Pair::Number(key::TO_METHOD, method));
            }
            // The host is in lower case; the names of services are not.
            let service = head.map(Head::authority).filter(|name| message::is_identifier(name));
            if let Some(service) = service
                && head.is_some_and(|head| head.field(TO_SERVICE).is_none())
            {
                writer.push(Pair::Number(key::TO_SERVICE, service));
            }
        }
        writer.finish(len)
    }

    fn begin_write(&mut self, stream: StreamId, dialect: Dialect, struct_len: u64) {
        self.writing = Some(stream);
        if let Some(call) = self.calls.get(stream) {
            call.write = Half::Body;
            let is_known = dialect.has_length() || struct_len > 0;
            call.write_left = is_known.then_some(struct_len);
        }
    }

    /// How much of `len` bytes of payload may be pushed.
    pub(super) fn write_data(
        &mut self,
        stream: StreamId,
        len: usize,
        end: bool,
    ) -> Result<usize, Gone> {
        let closing = self.is_closing;
        let Some(call) = self.calls.get(stream).filter(|call| !closing && !call.is_gone) else {
            return Err(Gone);
        };
        if call.write != Half::Body {
            // An end after the end says nothing new.
            return if call.write == Half::Ended && len == 0 { Ok(0) } else { Err(Gone) };
        }
        let left = call.write_left.unwrap_or(u64::MAX);
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        call.write_left = call.write_left.map(|left| left - take as u64);
        match call.write_left {
            Some(0) => self.finish_write(stream),
            Some(_) if end && take == len => return Err(self.abort()),
            None if end => self.finish_write(stream),
            _ => {}
        }
        Ok(take)
    }

    /// A message was written to its end.
    fn finish_write(&mut self, stream: StreamId) {
        self.writing = self.writing.filter(|writing| *writing != stream);
        self.is_writable_due = self.calls.held() > 1;
        let is_server = self.is_server();
        self.is_going |= is_server && self.drain == Drain::Asked;
        if let Some(call) = self.calls.get(stream) {
            call.write = Half::Ended;
            if !is_server && call.is_oneway {
                call.read = Half::Ended;
                call.is_answered = true;
                self.has_news = true;
            }
        }
        self.let_go(stream);
    }

    /// Writes a whole exception for a call whose turn it is.
    pub(super) fn write_exception(
        &mut self,
        stream: StreamId,
        code: Code,
        text: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let Some(dialect) = self.dialect else { return };
        let encoding = dialect.written(true);
        let len = exception::written_len(encoding, code, text) as u64;
        if self.write_answer(stream, Kind::Exception, len, None, cx) {
            exception::write(encoding, code, text, cx.out);
        }
        self.finish_write(stream);
    }

    /// A call's answer will be an exception.
    pub(super) fn owe(&mut self, stream: StreamId, fault: Fault) {
        let Some(call) = self.calls.get(stream) else { return };
        if call.write == Half::Head && !call.is_oneway {
            call.owes = Some((Code::INTERNAL_ERROR, fault));
            self.has_news = true;
        }
    }

    /// Writes the exceptions whose turn it is.
    pub(super) fn pay(&mut self, cx: &mut Cx<'_>) {
        while self.writing.is_none() && !self.is_closing {
            let is_due =
                |(key, call): &(StreamId, &Call)| call.owes.is_some() && self.calls.has_turn(*key);
            let Some((key, _)) = self.calls.iter().find(is_due) else { return };
            let owes = self.calls.get(key).and_then(|call| call.owes.take());
            let Some((code, fault)) = owes else { return };
            self.write_exception(key, code, fault.reason().as_bytes(), cx);
        }
    }
}

fn write_theader(encoding: Encoding, outgoing: &Outgoing<'_>, len: u32, out: &mut Vec<u8>) -> bool {
    let protocol = match encoding {
        Encoding::Compact => theader::PROTOCOL_COMPACT,
        Encoding::Binary | Encoding::LaxBinary => theader::PROTOCOL_BINARY,
    };
    let (flags, outer) = (outgoing.flags, outgoing.outer);
    let mut writer = theader::Writer::new(flags, outer, protocol, false, out);
    if let Some(head) = outgoing.head {
        fields::store_theader(head, &mut writer);
    }
    writer.finish(len)
}

//! Control frames, received: what each does to the connection or to a stream (RFC 9113 §6.3 to
//! §6.9).

use super::frame::{self, Code, FrameHead, HEAD_LEN, Kind};
use super::read::{Stage, fatal};
use super::stream::{Half, Tale};
use super::{H2, Whose};
use crate::error::{Error, Fault};
use crate::wire::{Cx, Event};

impl H2 {
    pub(super) fn begin_part(
        &mut self,
        stream_fits: bool,
        len_fits: bool,
        need: u8,
    ) -> Result<Option<Event>, Error> {
        if !stream_fits {
            return fatal(Fault::BadStreamId);
        }
        if !len_fits {
            return fatal(Fault::BadFrameSize);
        }
        self.input.stage = Stage::Part(need);
        Ok(None)
    }

    /// RFC 9113 §6.3: said of a stream, and without a meaning since. One of a wrong length is an
    /// error of its stream, which can be reset only if it is open.
    pub(super) fn begin_priority(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let FrameHead { stream: id, len, .. } = self.input.head;
        if id == 0 {
            return fatal(Fault::BadStreamId);
        }
        self.floods.manners(&self.spec, cx.now)?;
        self.input.skip(len);
        if len == 5 {
            return Ok(None);
        }
        match self.whose(id) {
            Whose::Held(key) => self.stream_error(key, Fault::BadFrameSize, cx),
            Whose::Over | Whose::Idle => fatal(Fault::BadFrameSize),
        }
    }

    pub(super) fn begin_settings(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let FrameHead { stream: id, len, .. } = self.input.head;
        let ack = self.input.head.has(frame::ACK);
        if id != 0 {
            return fatal(Fault::BadStreamId);
        }
        if len % 6 != 0 || (ack && len > 0) {
            return fatal(Fault::BadFrameSize);
        }
        if ack {
            self.input.skip(0);
            return self.settings_acknowledged(cx).map(|()| None);
        }
        self.input.settings = self.peer;
        self.input.table_least = u32::MAX;
        if len == 0 {
            return self.end_settings(cx);
        }
        self.input.stage = Stage::Part(6);
        Ok(None)
    }

    fn settings_acknowledged(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.acknowledged {
            return self.floods.glitch(&self.spec, cx.now);
        }
        let before = self.stream_limit();
        self.acknowledged = true;
        self.clock.settings_came();
        self.decoder.set_table_max(self.spec.h2_header_table_bytes);
        let shrunk = before - self.stream_limit();
        self.streams.iter().for_each(|stream| stream.receive.shrink(shrunk));
        Ok(())
    }

    /// A part of a control frame is whole.
    pub(super) fn end_part(
        &mut self,
        part: [u8; HEAD_LEN],
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        let [a, b, c, d, e, f, g, h, _] = part;
        let first = u32::from_be_bytes([a, b, c, d]);
        if self.input.head.kind == Kind::Settings {
            let id = u16::from_be_bytes([a, b]);
            return self.end_setting(id, u32::from_be_bytes([c, d, e, f]), cx);
        }
        let taken = if matches!(self.input.head.kind, Kind::Ping | Kind::GoAway) { 8 } else { 4 };
        self.input.skip(self.input.head.len - taken);
        match self.input.head.kind {
            Kind::RstStream => self.peer_reset(first, cx),
            Kind::WindowUpdate => self.window_update(first & frame::STREAM_MAX, cx),
            Kind::Ping => self.ping([a, b, c, d, e, f, g, h], cx),
            _ => self.peer_goes(first & frame::STREAM_MAX, cx),
        }
    }

    fn end_setting(
        &mut self,
        id: u16,
        value: u32,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        self.input.settings.set(id, value, self.role).map_err(Error::connection)?;
        let table = self.input.settings.header_table_bytes;
        self.input.table_least = self.input.table_least.min(table);
        self.input.left -= 6;
        if self.input.left > 0 { Ok(None) } else { self.end_settings(cx) }
    }

    /// All values of a SETTINGS frame came: they take effect and are acknowledged.
    fn end_settings(&mut self, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        self.input.skip(0);
        if self.introduced {
            self.floods.glitch(&self.spec, cx.now)?;
        }
        self.introduced = true;
        let (old, new) = (self.peer, self.input.settings);
        self.peer = new;
        self.encoder.set_peer_max(self.input.table_least.min(new.header_table_bytes));
        self.encoder.set_peer_max(new.header_table_bytes);
        let by = i64::from(new.stream_window_bytes) - i64::from(old.stream_window_bytes);
        let mut opened = new.streams_max > old.streams_max;
        for stream in self.streams.iter().filter(|stream| !stream.is_closed()) {
            // RFC 9113 §6.9.2.
            let shifted = stream.send.shift(by);
            opened |= shifted.map_err(|_| Error::connection(Fault::FlowControl))?;
        }
        frame::settings_ack(cx.out);
        self.answers += 1;
        Ok(opened.then_some(Event::Writable { stream: None }))
    }

    fn ping(&mut self, opaque: [u8; 8], cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        if !self.input.head.has(frame::ACK) {
            self.floods.manners(&self.spec, cx.now)?;
            frame::ping(opaque, true, cx.out);
            self.answers += 1;
        } else if !self.pong(opaque, cx) {
            self.floods.glitch(&self.spec, cx.now)?;
        }
        Ok(None)
    }

    fn window_update(&mut self, increment: u32, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let id = self.input.head.stream;
        self.floods.manners(&self.spec, cx.now)?;
        if id == 0 {
            return self.connection_window_update(increment);
        }
        let key = match self.whose(id) {
            Whose::Idle => return fatal(Fault::BadStreamId),
            Whose::Over => return Ok(None),
            Whose::Held(key) => key,
        };
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.is_closed()) else {
            return Ok(None);
        };
        if increment == 0 {
            return self.stream_error(key, Fault::ZeroIncrement, cx);
        }
        let writable = stream.is_writable();
        match stream.send.shift(i64::from(increment)) {
            Err(_) => self.stream_error(key, Fault::FlowControl, cx),
            Ok(opened) => {
                let tell = opened && writable && self.send.available() > 0;
                Ok(tell.then_some(Event::Writable { stream: Some(key) }))
            }
        }
    }

    fn connection_window_update(&mut self, increment: u32) -> Result<Option<Event>, Error> {
        if increment == 0 {
            return fatal(Fault::ZeroIncrement);
        }
        match self.send.shift(i64::from(increment)) {
            Err(_) => fatal(Fault::FlowControl),
            Ok(opened) => Ok(opened.then_some(Event::Writable { stream: None })),
        }
    }

    fn peer_reset(&mut self, code: u32, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        let key = match self.whose(self.input.head.stream) {
            Whose::Idle => return fatal(Fault::BadStreamId),
            Whose::Over => return self.floods.manners(&self.spec, cx.now).map(|()| None),
            Whose::Held(key) => key,
        };
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.is_closed()) else {
            return self.floods.manners(&self.spec, cx.now).map(|()| None);
        };
        stream.gone = true;
        let answered = stream.read == Half::Ended;
        if self.is_server() {
            self.floods.reset(&self.spec, cx.now)?;
        } else if answered && code == Code::NoError as u32 {
            // RFC 9113 §8.1: the reply is whole, the rest of the request is not wanted.
            return Ok(Some(Event::Writable { stream: Some(key) }));
        }
        let unprocessed = !self.is_server() && code == Code::RefusedStream as u32;
        Ok(Some(Event::Reset { stream: key, fault: frame::fault_of(code), unprocessed }))
    }

    /// RFC 9113 §6.8. A later GOAWAY may name an earlier stream, never a later one.
    fn peer_goes(&mut self, last: u32, cx: &mut Cx<'_>) -> Result<Option<Event>, Error> {
        if self.peer_last.is_some() {
            self.floods.glitch(&self.spec, cx.now)?;
        }
        let last = self.peer_last.map_or(last, |before| before.min(last));
        let first = self.peer_last.replace(last).is_none();
        if !self.is_server() {
            let tale = Tale { fault: Fault::GoneAway, unprocessed: true };
            self.streams.tell_all(|stream| {
                let beyond = stream.id == 0 || stream.id > last;
                (beyond && !stream.is_closed()).then_some(tale)
            });
        }
        Ok(first.then_some(Event::Closing))
    }
}

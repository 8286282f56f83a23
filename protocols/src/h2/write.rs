//! What an exchange says: heads, payload, ends, credit.
//!
//! A message that would come out other than its head announced (more or less content, content
//! where none may be) is broken off with INTERNAL_ERROR: the caller's mistake must not look whole.

use super::encode::{self, Target};
use super::frame::{self, Code};
use super::stream::{Half, Stream, Tale};
use super::{Drain, H2};
use crate::error::Fault;
use crate::head::{Head, Length};
use crate::wire::{Cx, Gone, StreamId};

impl H2 {
    /// The stream, if it may be written to.
    fn writable(&mut self, key: StreamId) -> Result<&mut Stream, Gone> {
        if self.closing || self.eof {
            return Err(Gone);
        }
        self.streams.get(key).filter(|stream| !stream.gone).ok_or(Gone)
    }

    fn break_off(&mut self, key: StreamId, cx: &mut Cx<'_>) -> Gone {
        self.cut(key, Code::InternalError, cx);
        Gone
    }

    pub(super) fn write_head(
        &mut self,
        key: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.settle(cx);
        if self.writable(key)?.write != Half::Head {
            return Err(self.break_off(key, cx));
        }
        if head.length() == Length::Tunnel || head.status() == 101 {
            return Err(self.refuse_tunnel(key, cx));
        }
        if self.is_server() {
            self.write_reply(key, head, end, cx)
        } else {
            self.write_request(key, head, end, cx)
        }
    }

    /// M7.
    fn refuse_tunnel(&mut self, key: StreamId, cx: &mut Cx<'_>) -> Gone {
        let tale = Tale { fault: Fault::TunnelImpossible, unprocessed: !self.is_server() };
        self.streams.tell(key, tale);
        self.break_off(key, cx)
    }

    fn write_request(
        &mut self,
        key: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        let Some(content) = content_of(head, end) else { return Err(self.break_off(key, cx)) };
        let id = self.next_id;
        self.next_id += 2;
        self.streams.identify(key, id);
        let stream = self.writable(key)?;
        stream.is_head = head.method() == b"HEAD";
        stream.write_left = content;
        stream.write = if end { Half::Ended } else { Half::Body };
        encode::request(head, Target { stream: id, end }, &mut self.encoder, cx.out);
        self.floods.stream_opened();
        if self.next_id > frame::STREAM_MAX {
            // RFC 9113 §5.1.1: a new connection is needed for more.
            self.drain_now(cx);
            self.closing_due = true;
        }
        Ok(())
    }

    fn write_reply(
        &mut self,
        key: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        let stream = self.writable(key)?;
        let (id, status) = (stream.id, head.status());
        if status < 200 {
            encode::reply(head, Target { stream: id, end: false }, &mut self.encoder, cx.out);
            return Ok(());
        }
        let content = match content_of(head, end) {
            // Here Content-Length tells what a GET would have had.
            _ if stream.is_head || matches!(status, 204 | 304) => 0,
            Some(content) => content,
            None => return Err(self.break_off(key, cx)),
        };
        stream.write_left = content;
        stream.write = Half::Body;
        encode::reply(head, Target { stream: id, end }, &mut self.encoder, cx.out);
        if end {
            self.finish_write(key, cx);
        }
        Ok(())
    }

    /// Everything was written of a message, its last byte included.
    fn finish_write(&mut self, key: StreamId, cx: &mut Cx<'_>) {
        let server = self.is_server();
        let Some(stream) = self.streams.get(key) else { return };
        stream.write = Half::Ended;
        if server && stream.read != Half::Ended {
            self.cut(key, Code::NoError, cx);
        }
    }

    /// Writes the head of one DATA frame. How much of the payload it takes.
    pub(super) fn write_data(
        &mut self,
        key: StreamId,
        len: usize,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<usize, Gone> {
        self.settle(cx);
        let stream = self.writable(key)?;
        let (left, wanted) = (stream.write_left, len as u64);
        let short = end && left != u64::MAX && wanted < left;
        match stream.write {
            // An end after the end says nothing new.
            Half::Ended if len == 0 => return Ok(0),
            Half::Body if wanted <= left && !short => {}
            _ => return Err(self.break_off(key, cx)),
        }
        if len == 0 {
            return self.write_nothing(key, end, cx).map(|()| 0);
        }
        let take = self.room(key, len);
        if take == 0 {
            return Ok(0);
        }
        let ends = end && take as usize == len;
        self.take_window(key, take, ends, cx);
        Ok(take as usize)
    }

    /// Payload bytes of one frame now.
    fn room(&self, key: StreamId, len: usize) -> u32 {
        let Some(stream) = self.streams.peek(key) else { return 0 };
        let window = stream.send.available().min(self.send.available());
        u32::try_from(len).unwrap_or(u32::MAX).min(window).min(frame::PAYLOAD_BYTES_MAX)
    }

    fn take_window(&mut self, key: StreamId, take: u32, end: bool, cx: &mut Cx<'_>) {
        let server = self.is_server();
        let Some(stream) = self.streams.get(key) else { return };
        stream.send.take(take);
        self.send.take(take);
        if stream.write_left != u64::MAX {
            stream.write_left -= u64::from(take);
        }
        frame::data(stream.id, take, end, cx.out);
        self.floods.data_sent();
        if end {
            stream.write = Half::Ended;
            if server && stream.read != Half::Ended {
                // M5: behind the payload.
                self.streams.owe(key, Code::NoError);
            }
        }
    }

    /// An empty DATA frame, if it ends the message: it needs no window (RFC 9113 §6.9.1).
    fn write_nothing(&mut self, key: StreamId, end: bool, cx: &mut Cx<'_>) -> Result<(), Gone> {
        if end {
            let id = self.writable(key)?.id;
            frame::data(id, 0, true, cx.out);
            self.floods.data_sent();
            self.finish_write(key, cx);
        }
        Ok(())
    }

    pub(super) fn write_end(
        &mut self,
        key: StreamId,
        trailers: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.settle(cx);
        let stream = self.writable(key)?;
        let (id, whole) = (stream.id, matches!(stream.write_left, 0 | u64::MAX));
        match stream.write {
            Half::Ended => return Ok(()),
            Half::Body if whole => {}
            // Less content than was announced, or no head.
            Half::Body | Half::Head => return Err(self.break_off(key, cx)),
        }
        match trailers.filter(|trailers| encode::has_fields(trailers)) {
            Some(trailers) => encode::trailers(id, trailers, &mut self.encoder, cx.out),
            None => return self.write_nothing(key, true, cx),
        }
        self.finish_write(key, cx);
        Ok(())
    }

    /// RFC 9113 §6.9: nothing more is asked of a sender that has ended.
    pub(super) fn give_credit(&mut self, key: StreamId, n: u32, cx: &mut Cx<'_>) {
        let limit = self.stream_limit();
        let (closing, Some(stream)) = (self.closing, self.streams.get(key)) else { return };
        if closing || stream.is_closed() || stream.read == Half::Ended {
            return;
        }
        if let Some(increment) = stream.receive.give_back(n, limit) {
            frame::window_update(stream.id, increment, cx.out);
        }
    }

    /// A server that has served as many requests as one connection may have.
    pub(super) fn count_request(&mut self, cx: &mut Cx<'_>) {
        self.served = self.served.saturating_add(1);
        let last = self.spec.requests_per_connection_max.is_some_and(|max| self.served >= max);
        if last && self.drain == Drain::No {
            self.ask_to_drain(cx);
        }
    }
}

/// Bytes of content that a head announces; `u64::MAX` if it leaves that open, `None` if it
/// announces some and ends the message.
fn content_of(head: &Head, end: bool) -> Option<u64> {
    match head.length() {
        Length::Exact(len) if end && len > 0 => None,
        Length::Exact(len) => Some(len),
        Length::Unknown | Length::Tunnel if !end => Some(u64::MAX),
        Length::Empty | Length::Unknown | Length::Tunnel => Some(0),
    }
}

//! One admin connection: one request, one answer, close.
//!
//! The wire judges the bytes; this file only moves them with blocking calls under a deadline. A
//! request that the wire refuses gets the wire's own last words (400, 431, 408 ...). The answer
//! says `connection: close`: a keep-alive would let sixteen idle scrapers lock everybody out.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use protocols::{
    AnyWire, Cx, Error, Event, Head, Length, ReadSide, Role, StreamId, Wire, WireSpec,
};

use super::address::Peer;
use super::pages::{self, AdminState, Page};
use super::routes::{self, Asked};

/// For the request, and again for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A head that a monitoring tool sends is far below this.
const HEAD_BYTES_MAX: u32 = 8 * 1024;
/// The longest body that any page takes.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// Serves one connection to its end; errors end it silently, the peer knows best why.
pub(super) fn serve(mut peer: Peer, state: &AdminState) {
    let mut connection = Connection::new();
    if connection.answer(&mut peer, state).is_ok() {
        // The peer may still be sending: half-close and read a little, so that the answer is
        // not lost to a reset.
        let _ = peer.shut_write();
        let _ = io::copy(&mut peer.take(64 * 1024), &mut io::sink());
    }
}

struct Connection {
    wire: AnyWire,
    out: Vec<u8>,
    #[expect(clippy::vec_box, reason = "the wire's free list takes and gives boxes")]
    heads: Vec<Box<Head>>,
    request: Option<(StreamId, Box<Head>)>,
    body: Vec<u8>,
}

/// How far a request has come.
#[derive(PartialEq, Eq)]
enum Progress {
    /// More bytes are needed.
    Reading,
    /// All of it is there.
    Whole,
    /// Its page takes no body of that length.
    TooLong,
}

impl Connection {
    fn new() -> Connection {
        let spec = WireSpec {
            head_bytes_max: HEAD_BYTES_MAX,
            line_bytes_max: HEAD_BYTES_MAX / 2,
            target_bytes_max: 1024,
            body_bytes_max: Some(BODY_BYTES_MAX),
            head_timeout: TIMEOUT,
            idle_timeout: TIMEOUT,
            ..WireSpec::default()
        };
        let wire = AnyWire::h1(Role::Server, &Arc::new(spec));
        let (out, heads, body) = (Vec::new(), Vec::new(), Vec::new());
        Connection { wire, out, heads, request: None, body }
    }

    fn answer(&mut self, peer: &mut Peer, state: &AdminState) -> io::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        let mut input = [0u8; 16 * 1024];
        let mut len = 0;
        loop {
            match self.take(&input[..len]) {
                Ok(Progress::Reading) if self.wire.sides().read == ReadSide::Done => return Ok(()),
                Ok(Progress::Reading) => self.flush(peer)?,
                Ok(progress) => {
                    self.reply(progress == Progress::Whole, peer.is_local(), state);
                    return self.flush(peer);
                }
                Err(error) => {
                    self.fail(error);
                    return self.flush(peer);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            peer.set_timeouts(left)?;
            len = peer.read(&mut input)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads up to the end of the first request; what comes behind it is dropped.
    fn take(&mut self, mut input: &[u8]) -> Result<Progress, Error> {
        loop {
            let mut cx = Cx { now: Instant::now(), out: &mut self.out, heads: &mut self.heads };
            let decoded = self.wire.decode(input, &mut cx)?;
            let ended = match decoded.event {
                Some(Event::Head { stream, head, end }) => self.begin(stream, head, end),
                Some(Event::Data { at, end, .. }) => {
                    self.body.extend_from_slice(&input[at]);
                    end
                }
                Some(Event::Copied { bytes, end, .. }) => {
                    self.body.extend(bytes);
                    end
                }
                Some(Event::Trailers { .. }) => true,
                _ => false,
            };
            if self.body.len() > self.body_bytes_max() {
                return Ok(Progress::TooLong);
            }
            if ended {
                return Ok(Progress::Whole);
            }
            input = &input[decoded.used..];
            if input.is_empty() {
                return Ok(Progress::Reading);
            }
        }
    }

    /// Keeps the head. True when nothing follows; else a client that asks is told to go on.
    fn begin(&mut self, stream: StreamId, head: Box<Head>, end: bool) -> bool {
        let waits = head.all(b"expect").next().is_some();
        self.request = Some((stream, head));
        if waits && !end {
            let mut go_on = Head::new();
            go_on.set_status(100, b"Continue");
            let mut cx = Cx { now: Instant::now(), out: &mut self.out, heads: &mut self.heads };
            // A stream that is gone is noticed where its body is read.
            let _ = self.wire.head(stream, &go_on, false, &mut cx);
        }
        end
    }

    fn body_bytes_max(&self) -> usize {
        let request = self.request.as_ref();
        request.map_or(0, |(_, head)| routes::body_bytes_max(head.method(), head.path()))
    }

    fn reply(&mut self, whole: bool, local: bool, state: &AdminState) {
        let Some((stream, request)) = self.request.take() else { return };
        let (method, path) = (request.method(), request.path());
        let query = request.query().unwrap_or_default();
        let asked = Asked { method, path, query, body: &self.body, local };
        let page = if whole { pages::answer(state, &asked) } else { pages::too_long() };
        let mut cx = Cx { now: Instant::now(), out: &mut self.out, heads: &mut self.heads };
        self.wire.drain(true, &mut cx);
        let head = reply_head(&page);
        let is_head = request.method() == b"HEAD";
        let body = if is_head { &[] } else { page.text.as_bytes() };
        if self.wire.head(stream, &head, body.is_empty(), &mut cx).is_err() || body.is_empty() {
            return;
        }
        if let Ok(framing) = self.wire.data(stream, body.len(), true, &mut cx) {
            self.out.extend_from_slice(&body[..framing.take]);
            self.out.extend_from_slice(framing.suffix);
        }
    }

    fn fail(&mut self, error: Error) {
        let mut cx = Cx { now: Instant::now(), out: &mut self.out, heads: &mut self.heads };
        self.wire.fail(error, Some(date().as_bytes()), &mut cx);
    }

    fn flush(&mut self, peer: &mut Peer) -> io::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            peer.set_timeouts(left)?;
            let sent = peer.write(rest)?;
            rest = &rest[sent..];
        }
        self.out.clear();
        peer.set_timeouts(Duration::from_secs(1))
    }
}

/// The present time for a Date field; a clock beyond the four-digit years is shown at their end.
fn date() -> String {
    let from = SystemTime::UNIX_EPOCH;
    let last = from + Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(SystemTime::now().clamp(from, last))
}

fn reply_head(page: &Page) -> Head {
    let mut head = Head::new();
    head.set_status(page.status, pages::reason(page.status));
    head.set_length(Length::Exact(page.text.len() as u64));
    head.push(b"date", date().as_bytes());
    head.push(b"content-type", page.media_type.as_bytes());
    head.push(b"cache-control", b"no-store");
    if page.status == 405 {
        head.push(b"allow", page.allow.as_bytes());
    }
    head
}

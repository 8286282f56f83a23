//! One connection: answers its requests in order.
//!
//! It is not where bytes are understood (`parse`, `body`) or written (`reply`). A connection is one
//! task with one input and one output buffer; replies to pipelined requests leave in one write.
//! Cost of a plain request: one read, one write, no allocation once the buffers have grown.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use super::Options;
use super::ask::{Ask, Kind};
use super::body::Step;
use super::parse::{self, Request};
use super::reply::{self, Length};
use crate::threads::Counts;

/// Repetitions of the body pattern kept for slicing: 61 * 1024 bytes.
const BLOCK_PERIODS: usize = 1024;
/// The longest slice that fits whatever its start.
const PIECE_BYTES_MAX: u64 = 61 * (BLOCK_PERIODS as u64 - 1);
/// A fixed body up to this length is kept ready with its head.
const PREPARED_BYTES_MAX: u64 = 4 << 20;
/// Below this a reply is copied into the output buffer, so that pipelined replies share a write.
const COPY_BYTES_MAX: usize = 16 << 10;
const OUT_BYTES_MAX: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 64 << 10;
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// A body that `/echo` and `/raw` keep.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What all connections of a thread share.
pub(super) struct Shared {
    base: Ask,
    prepared: Option<Rc<Vec<u8>>>,
    block: Rc<Vec<u8>>,
    requests_max: u64,
    counts: Arc<Counts>,
}

impl Shared {
    pub(super) fn new(options: &Options, counts: Arc<Counts>) -> Self {
        let base = Ask::of(options);
        let ready = base.kind == Kind::Fixed
            && base.bytes <= PREPARED_BYTES_MAX
            && base.delay == Duration::ZERO;
        Self {
            base,
            prepared: ready.then(|| Rc::new(prepare(&base))),
            block: Rc::new(reply::block(BLOCK_PERIODS)),
            requests_max: options.requests_per_connection_max.unwrap_or(u64::MAX),
            counts,
        }
    }
}

fn prepare(base: &Ask) -> Vec<u8> {
    let mut out = Vec::new();
    reply::head(&mut out, 200, b"text/plain", Length::Exact(base.bytes), b"");
    out.extend((0..base.bytes).map(reply::body_byte));
    out
}

/// Where the bytes of a body come from.
enum Source {
    Pattern(u64),
    Bytes(Vec<u8>),
}

impl Source {
    fn bytes(&self) -> u64 {
        match self {
            Self::Pattern(bytes) => *bytes,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

pub(super) struct Conn {
    stream: TcpStream,
    shared: Rc<Shared>,
    input: Vec<u8>,
    /// `input[..at]` is used.
    at: usize,
    out: Vec<u8>,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, shared: Rc<Shared>) -> Self {
        Self { stream, shared, input: Vec::new(), at: 0, out: Vec::new() }
    }

    pub(super) async fn serve(mut self) -> io::Result<()> {
        for _ in 0..self.shared.requests_max {
            let Some(request) = self.head().await? else { break };
            self.shared.counts.requests.fetch_add(1, Ordering::Relaxed);
            if !self.answer(request).await? {
                break;
            }
        }
        self.close().await
    }

    /// The next request; `None` when there will be none.
    async fn head(&mut self) -> io::Result<Option<Request>> {
        loop {
            let rest = &self.input[self.at..];
            let status = match parse::request(rest, self.shared.base) {
                Ok(Some(request)) => {
                    self.at += request.head_len;
                    return Ok(Some(request));
                }
                Ok(None) if rest.len() > HEAD_BYTES_MAX => 431,
                Ok(None) if self.fill(READ_BYTES_MIN).await? => continue,
                Ok(None) => return Ok(None),
                Err(status) => status,
            };
            self.refuse(status);
            return Ok(None);
        }
    }

    fn refuse(&mut self, status: u16) {
        reply::head(&mut self.out, status, b"text/plain", Length::Exact(0), b"close");
    }

    /// Answers one request; `false` when the connection is to be closed.
    async fn answer(&mut self, mut request: Request) -> io::Result<bool> {
        let ask = request.ask;
        let usual = request.keep_alive && !request.is_head && !request.http10;
        if let Some(prepared) = self.shared.prepared.clone()
            && usual
            && ask == self.shared.base
        {
            self.read_body(&mut request, None).await?;
            self.send_prepared(prepared).await?;
            return Ok(true);
        }
        if ask.silent {
            return self.say_nothing().await;
        }
        if ask.kind == Kind::Duplex {
            return self.duplex(request).await;
        }
        let mut kept = Vec::new();
        if !ask.early {
            let keep = (ask.kind != Kind::Fixed).then_some(&mut kept);
            self.read_body(&mut request, keep).await?;
        }
        if ask.delay > Duration::ZERO {
            self.flush().await?;
            monoio::time::sleep(ask.delay).await;
        }
        let go_on = self.reply(&mut request, kept).await?;
        self.read_body(&mut request, None).await?;
        Ok(go_on)
    }

    async fn send_prepared(&mut self, prepared: Rc<Vec<u8>>) -> io::Result<()> {
        if prepared.len() <= COPY_BYTES_MAX {
            self.out.extend_from_slice(&prepared);
            return if self.out.len() < OUT_BYTES_MAX { Ok(()) } else { self.flush().await };
        }
        self.flush().await?;
        self.stream.write_all(prepared).await.0.map(drop)
    }

    async fn say_nothing(&mut self) -> io::Result<bool> {
        while self.fill(READ_BYTES_MIN).await? {
            self.at = self.input.len();
        }
        Ok(false)
    }

    async fn reply(&mut self, request: &mut Request, kept: Vec<u8>) -> io::Result<bool> {
        let ask = request.ask;
        let (source, kind) = source_of(request, kept);
        let length = Length::of(&ask, source.bytes());
        let close = ask.close || !request.keep_alive || length == Length::UntilClose;
        if ask.hints {
            self.out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: </mock.css>\r\n\r\n");
        }
        let connection: &[u8] = match (close, request.http10) {
            (true, _) => b"close",
            (false, true) => b"keep-alive",
            (false, false) => b"",
        };
        reply::head(&mut self.out, ask.status, &kind, length, connection);
        if request.is_head || length == Length::Without {
            return Ok(!close);
        }
        Ok(self.send(&source, &ask, length).await? && !close)
    }

    /// Sends a body; `false` when it was cut short on demand.
    async fn send(&mut self, source: &Source, ask: &Ask, length: Length) -> io::Result<bool> {
        let cut = ask.abort_after.filter(|&after| after <= source.bytes());
        let end = cut.unwrap_or(source.bytes());
        let mut piece_max = PIECE_BYTES_MAX;
        for limit in [ask.drip_bytes, ask.chunk_bytes] {
            piece_max = if limit > 0 { piece_max.min(limit) } else { piece_max };
        }
        let mut offset = 0;
        while offset < end {
            let bytes = piece_max.min(end - offset);
            self.piece(source, offset, bytes as usize, length).await?;
            offset += bytes;
            if ask.drip_bytes > 0 {
                self.flush().await?;
                monoio::time::sleep(ask.drip_pause).await;
            }
        }
        if cut.is_some() {
            self.flush().await?;
            return Ok(false);
        }
        if length == Length::Chunked {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(true)
    }

    async fn piece(
        &mut self,
        source: &Source,
        offset: u64,
        bytes: usize,
        length: Length,
    ) -> io::Result<()> {
        let block = Rc::clone(&self.shared.block);
        let (all, start) = match source {
            Source::Pattern(_) => (&block[..], reply::block_start(offset)),
            Source::Bytes(all) => (&all[..], offset as usize),
        };
        let whole = matches!(source, Source::Pattern(_)) && length != Length::Chunked;
        if whole && bytes > COPY_BYTES_MAX {
            self.flush().await?;
            let slice = block.slice(start..start + bytes);
            return self.stream.write_all(slice).await.0.map(drop);
        }
        match length {
            Length::Chunked => reply::chunk(&mut self.out, &all[start..start + bytes]),
            _ => self.out.extend_from_slice(&all[start..start + bytes]),
        }
        if self.out.len() < OUT_BYTES_MAX { Ok(()) } else { self.flush().await }
    }

    /// Sends each piece of the request's body back as a chunk as soon as it is here.
    async fn duplex(&mut self, mut request: Request) -> io::Result<bool> {
        reply::head(&mut self.out, request.ask.status, &request.echo, Length::Chunked, b"");
        loop {
            match request.body.step(&self.input, &mut self.at) {
                Ok(Step::Payload(range)) => reply::chunk(&mut self.out, &self.input[range]),
                Ok(Step::More) => self.more(&mut request).await?,
                Ok(Step::End) => break,
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        self.out.extend_from_slice(b"0\r\n\r\n");
        Ok(request.keep_alive)
    }

    /// Reads the request's body to its end; into `kept` when somebody wants it.
    async fn read_body(
        &mut self,
        request: &mut Request,
        mut kept: Option<&mut Vec<u8>>,
    ) -> io::Result<()> {
        loop {
            match request.body.step(&self.input, &mut self.at) {
                Ok(Step::End) => return Ok(()),
                Ok(Step::More) => self.more(request).await?,
                Ok(Step::Payload(range)) => {
                    let Some(kept) = kept.as_deref_mut() else { continue };
                    if kept.len() + range.len() > KEPT_BYTES_MAX {
                        return self.give_up(413).await;
                    }
                    kept.extend_from_slice(&self.input[range]);
                }
                Err(_) => return self.give_up(400).await,
            }
        }
    }

    async fn give_up(&mut self, status: u16) -> io::Result<()> {
        self.refuse(status);
        self.close().await?;
        Err(io::ErrorKind::InvalidData.into())
    }

    async fn more(&mut self, request: &mut Request) -> io::Result<()> {
        if mem::take(&mut request.expects_continue) {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let known = usize::try_from(request.body.known_bytes()).unwrap_or(usize::MAX);
        match self.fill(known.clamp(READ_BYTES_MIN, READ_BYTES_MAX)).await? {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends what is queued, then reads once into at least `want` bytes; `false` at the end.
    async fn fill(&mut self, want: usize) -> io::Result<bool> {
        self.flush().await?;
        self.input.drain(..self.at);
        self.at = 0;
        self.input.reserve(want);
        let input = mem::take(&mut self.input);
        let (start, end) = (input.len(), input.capacity());
        let (read, slice) = self.stream.read(input.slice_mut(start..end)).await;
        self.input = slice.into_inner();
        Ok(read? > 0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let (sent, out) = self.stream.write_all(mem::take(&mut self.out)).await;
        self.out = out;
        self.out.clear();
        sent.map(drop)
    }

    /// Ends a connection without a reset: what is sent arrives, what still comes is read away.
    async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await?;
        let drain = async {
            let mut left = READ_BYTES_MAX;
            while left > 0 && self.fill(READ_BYTES_MIN).await? {
                left = left.saturating_sub(self.input.len());
                self.at = self.input.len();
            }
            Ok(())
        };
        monoio::time::timeout(Duration::from_secs(1), drain).await.unwrap_or(Ok(()))
    }
}

/// The body of a reply and its content type.
fn source_of(request: &mut Request, kept: Vec<u8>) -> (Source, Vec<u8>) {
    let mut echo = mem::take(&mut request.echo);
    match request.ask.kind {
        Kind::Fixed => (Source::Pattern(request.ask.bytes), b"text/plain".to_vec()),
        Kind::Raw | Kind::Duplex => (Source::Bytes(kept), echo),
        Kind::Echo => {
            reply::echo_end(&mut echo, &kept);
            (Source::Bytes(echo), b"application/json".to_vec())
        }
    }
}

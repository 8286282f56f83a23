//! One load connection of HTTP/1.1 on monoio: sends prepared bytes, reads replies, counts their
//! bytes.
//!
//! It keeps no reply and checks no content; what it understands is where a reply ends. Cost of a
//! small reply: one read, no allocation once the buffer has grown.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;

use mock::http1::{Body, Step};
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 128;

/// Why a request got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection could be had.
    Connect,
    /// The connection failed: reset, broken pipe; or the stream was reset.
    Reset,
    /// The connection ended before the reply did.
    Closed,
    /// It took longer than the limit.
    Timeout,
    /// What came was no reply.
    Malformed,
}

impl Fault {
    /// All kinds, in the order of the report.
    pub(crate) const ALL: [(Fault, &str); 5] = [
        (Fault::Connect, "connect"),
        (Fault::Reset, "reset"),
        (Fault::Closed, "closed"),
        (Fault::Timeout, "timeout"),
        (Fault::Malformed, "malformed"),
    ];

    fn of(_: io::Error) -> Self {
        Self::Reset
    }
}

/// A reply that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its status, 0 without HTTP; interim replies are skipped.
    pub(crate) status: u16,
    /// Of a call: gRPC's status, 0 being success.
    pub(crate) grpc_status: Option<u8>,
    /// Of a call of Thrift that was answered with an exception: its type.
    pub(crate) exception: Option<usize>,
    /// Bytes of heads, framing and body.
    pub(crate) bytes: u64,
    /// Whether the connection takes another request.
    pub(crate) keep_alive: bool,
}

impl Reply {
    /// One that leaves its connection as it was, and says nothing.
    pub(crate) fn of_call() -> Self {
        Self { status: 0, grpc_status: None, exception: None, bytes: 0, keep_alive: true }
    }
}

/// A connection.
pub(crate) struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    at: usize,
}

impl Link {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let stream = TcpStream::connect_addr(address).await.map_err(|_| Fault::Connect)?;
        stream.set_nodelay(true).map_err(|_| Fault::Connect)?;
        Ok(Self { stream, input: Vec::new(), at: 0 })
    }

    /// Sends all of `bytes`.
    pub(crate) async fn send(&mut self, bytes: Rc<Vec<u8>>) -> Result<(), Fault> {
        self.stream.write_all(bytes).await.0.map(drop).map_err(Fault::of)
    }

    /// Reads the next reply; `bodiless` when it answers a HEAD.
    pub(crate) async fn reply(&mut self, bodiless: bool) -> Result<Reply, Fault> {
        let mut bytes = 0;
        loop {
            let (head_len, mut reply, mut body) = self.head(bodiless).await?;
            self.at += head_len;
            bytes += head_len as u64;
            if reply.status < 200 {
                continue;
            }
            bytes += self.body(&mut body, &mut reply).await?;
            return Ok(Reply { bytes, ..reply });
        }
    }

    async fn head(&mut self, bodiless: bool) -> Result<(usize, Reply, Body), Fault> {
        loop {
            let rest = &self.input[self.at..];
            if let Some(head) = parse(rest, bodiless)? {
                return Ok(head);
            }
            if rest.len() > HEAD_BYTES_MAX {
                return Err(Fault::Malformed);
            }
            if !self.fill(READ_BYTES_MIN).await? {
                return Err(Fault::Closed);
            }
        }
    }

    async fn body(&mut self, body: &mut Body, reply: &mut Reply) -> Result<u64, Fault> {
        let mut bytes = 0;
        loop {
            let before = self.at;
            let step = body.step(&self.input, &mut self.at).map_err(|_| Fault::Malformed)?;
            bytes += (self.at - before) as u64;
            match step {
                Step::Payload(_) => {}
                Step::End => return Ok(bytes),
                Step::More => {
                    let known = usize::try_from(body.known_bytes()).unwrap_or(usize::MAX);
                    if self.fill(known.clamp(READ_BYTES_MIN, READ_BYTES_MAX)).await? {
                        continue;
                    }
                    if !body.ends_with_connection() {
                        return Err(Fault::Closed);
                    }
                    reply.keep_alive = false;
                    return Ok(bytes);
                }
            }
        }
    }

    async fn fill(&mut self, want: usize) -> Result<bool, Fault> {
        self.input.drain(..self.at);
        self.at = 0;
        self.input.reserve(want);
        let input = mem::take(&mut self.input);
        let (start, end) = (input.len(), input.capacity());
        let (read, slice) = self.stream.read(input.slice_mut(start..end)).await;
        self.input = slice.into_inner();
        Ok(read.map_err(Fault::of)? > 0)
    }
}

/// A reply's head at the start of `input`, and how its body is framed.
fn parse(input: &[u8], bodiless: bool) -> Result<Option<(usize, Reply, Body)>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let head_len = match parsed.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Fault::Malformed),
    };
    let status = parsed.code.unwrap_or(0);
    let keep_alive = parsed.version == Some(1);
    let mut reply = Reply { status, keep_alive, ..Reply::of_call() };
    let mut body = Body::until_close();
    for field in parsed.headers.iter() {
        match field.name.len() {
            10 if field.name.eq_ignore_ascii_case("connection") => {
                reply.keep_alive = !field.value.eq_ignore_ascii_case(b"close")
                    && (reply.keep_alive || field.value.eq_ignore_ascii_case(b"keep-alive"));
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let text = std::str::from_utf8(field.value).map_err(|_| Fault::Malformed)?;
                body = Body::length(text.trim().parse().map_err(|_| Fault::Malformed)?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => body = Body::chunked(),
            _ => {}
        }
    }
    if bodiless || status < 200 || status == 204 || status == 304 {
        body = Body::none();
    }
    Ok(Some((head_len, reply, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Option<(usize, Reply, Body)> {
        parse(text.as_bytes(), false).expect("a reply")
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        assert!(head("HTTP/1.1 200 OK\r\nContent-Le").is_none());
        let (_, reply, body) = head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        assert!(reply.keep_alive && body.known_bytes() == 5);
        let (_, reply, body) = head("HTTP/1.0 200 OK\r\n\r\n").unwrap();
        assert!(!reply.keep_alive && body.ends_with_connection() && !body.is_done());
        let (_, _, body) = head("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n").unwrap();
        assert!(body.is_done());
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        assert_eq!(parse(b"SSH-2.0-x\r\n", false).err(), Some(Fault::Malformed));
        let bad = b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n";
        assert_eq!(parse(bad, false).err(), Some(Fault::Malformed));
    }
}

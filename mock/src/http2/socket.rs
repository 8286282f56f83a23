//! A monoio socket as `h2` wants it: tokio's two traits, which lend buffers, over operations that
//! own theirs.
//!
//! It is no runtime: tokio's traits come without one. Each side has one buffer and at most one
//! operation on its way; a write is taken once it is copied, and a failure of it is told to the
//! next one or to the flush. Cost: one copy and one allocation an operation.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use monoio::io::{
    AsyncReadRent as _, AsyncWriteRent as _, AsyncWriteRentExt as _, OwnedReadHalf, OwnedWriteHalf,
    Splitable as _,
};
use monoio::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const BUFFER_BYTES: usize = 32 << 10;

/// A connected socket.
pub struct Socket {
    input: Side<OwnedReadHalf<TcpStream>>,
    /// `input.buffer[at..end]` is read and not yet taken.
    at: usize,
    end: usize,
    output: Side<OwnedWriteHalf<TcpStream>>,
}

/// One direction: idle, or with an operation that has its half and its buffer.
enum Side<H> {
    Idle(H, Vec<u8>),
    Busy(Pin<Box<dyn Future<Output = Done<H>>>>),
    /// Only while one becomes the other.
    Taken,
}

/// What an operation gives back.
struct Done<H> {
    half: H,
    buffer: Vec<u8>,
    result: io::Result<usize>,
}

impl<H> Side<H> {
    fn take(&mut self) -> Option<(H, Vec<u8>)> {
        match mem::replace(self, Self::Taken) {
            Self::Idle(half, buffer) => Some((half, buffer)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Waits until no operation is on its way; the result of the one that was.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self::Busy(operation) = self else { return Poll::Ready(Ok(0)) };
        let Done { half, buffer, result } = ready!(operation.as_mut().poll(cx));
        *self = Self::Idle(half, buffer);
        Poll::Ready(result)
    }
}

impl Socket {
    /// Nothing is read or written yet.
    pub fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        let buffer = || Vec::with_capacity(BUFFER_BYTES);
        Self {
            input: Side::Idle(read, buffer()),
            at: 0,
            end: 0,
            output: Side::Idle(write, buffer()),
        }
    }

    fn start_read(&mut self) {
        let Some((mut half, buffer)) = self.input.take() else { return };
        self.input = Side::Busy(Box::pin(async move {
            let (result, buffer) = half.read(buffer).await;
            Done { half, buffer, result }
        }));
    }

    /// Gives out what is read.
    fn drain(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let Side::Idle(_, buffer) = &self.input else { return false };
        let bytes = (self.end - self.at).min(into.remaining());
        into.put_slice(&buffer[self.at..self.at + bytes]);
        self.at += bytes;
        bytes > 0
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 || self.drain(into) {
            return Poll::Ready(Ok(()));
        }
        self.start_read();
        (self.at, self.end) = (0, ready!(self.input.poll(cx))?);
        // Nothing at all is the end of the connection.
        self.drain(into);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.output.poll(cx))?;
        let Some((mut half, mut buffer)) = self.output.take() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let taken = &bytes[..bytes.len().min(BUFFER_BYTES)];
        buffer.clear();
        buffer.extend_from_slice(taken);
        self.output = Side::Busy(Box::pin(async move {
            let (result, buffer) = half.write_all(buffer).await;
            Done { half, buffer, result }
        }));
        // An operation begins when it is first asked about.
        match self.output.poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll(cx).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.output.poll(cx))?;
        if let Some((mut half, buffer)) = self.output.take() {
            self.output = Side::Busy(Box::pin(async move {
                let result = half.shutdown().await.map(|()| 0);
                Done { half, buffer, result }
            }));
        }
        self.output.poll(cx).map_ok(drop)
    }
}

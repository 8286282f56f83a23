//! gRPC's framing of messages in a body, and sending no more than the peer has room for.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

/// A longer message is not taken.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
/// A flag and a length of 32 bits.
const PREFIX_BYTES: usize = 5;

/// Why there is no next message.
#[derive(Debug)]
pub enum Broken {
    /// The stream or its connection failed.
    Stream(h2::Error),
    /// A flag that is not 0: compressed, or none of gRPC's.
    Flag(u8),
    /// Longer than 16 MiB.
    TooLong(u32),
    /// The body ended within a message.
    CutShort,
}

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        Self::Stream(error)
    }
}

/// The messages of a body, one at a time. A message is complete before it is given out.
pub struct Messages {
    body: RecvStream,
    held: BytesMut,
    bytes: u64,
}

impl Messages {
    /// Nothing of `body` is read yet.
    pub fn new(body: RecvStream) -> Self {
        Self { body, held: BytesMut::new(), bytes: 0 }
    }

    /// The next message; `None` behind the last one.
    ///
    /// # Errors
    /// What came is no message, or will not be one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(message) = self.complete()? {
                return Ok(Some(message));
            }
            match poll_fn(|cx| self.body.poll_data(cx)).await.transpose()? {
                Some(data) => self.take(data)?,
                None if self.held.is_empty() => return Ok(None),
                None => return Err(Broken::CutShort),
            }
        }
    }

    /// The trailers, once the last message has been read.
    ///
    /// # Errors
    /// The stream or its connection failed.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, h2::Error> {
        poll_fn(|cx| self.body.poll_trailers(cx)).await
    }

    /// Bytes of DATA read so far, framing of messages included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn take(&mut self, data: Bytes) -> Result<(), h2::Error> {
        self.bytes += data.len() as u64;
        self.held.extend_from_slice(&data);
        // What is held is bounded by the longest message, not by the window.
        self.body.flow_control().release_capacity(data.len())
    }

    fn complete(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some((prefix, rest)) = self.held.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length);
        match flag {
            0 if length > MESSAGE_BYTES_MAX => Err(Broken::TooLong(length)),
            0 if rest.len() < length as usize => Ok(None),
            0 => {
                self.held.advance(PREFIX_BYTES);
                Ok(Some(self.held.split_to(length as usize).freeze()))
            }
            flag => Err(Broken::Flag(flag)),
        }
    }
}

/// A message behind its prefix, uncompressed. It must be shorter than 4 GiB.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    bytes.extend_from_slice(&[0]);
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes.freeze()
}

/// Sends `bytes` as the peer's windows open; `end` ends the stream with the last of them.
///
/// # Errors
/// The stream was reset, or its connection failed.
pub async fn send(
    out: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    if bytes.is_empty() {
        return out.send_data(bytes, end);
    }
    while !bytes.is_empty() {
        out.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| out.poll_capacity(cx)).await;
        let room = room.unwrap_or(Err(Reason::CANCEL.into()))?;
        let part = bytes.split_to(room.min(bytes.len()));
        out.send_data(part, end && bytes.is_empty())?;
    }
    Ok(())
}

/// Waits for `delay`, or for the reset of a stream that `reset` asks about: an error then.
pub(super) async fn pause(
    delay: Duration,
    mut reset: impl FnMut(&mut Context<'_>) -> Poll<Result<Reason, h2::Error>>,
) -> Result<(), h2::Error> {
    if delay.is_zero() {
        return Ok(());
    }
    let mut sleep = pin!(monoio::time::sleep(delay));
    poll_fn(|cx| match reset(cx) {
        Poll::Ready(reason) => Poll::Ready(Err(reason.map_or_else(|error| error, Into::into))),
        Poll::Pending => sleep.as_mut().poll(cx).map(Ok),
    })
    .await
}

//! An echo server for gRPC: the service [`SERVICE`], whose messages are any bytes.
//!
//! | method | what it answers |
//! |---|---|
//! | `Unary` | the request's message |
//! | `ServerStream` | the request's message, `mock-count` times |
//! | `ClientStream` | how many messages came and how many bytes, as text: `3 30` |
//! | `Bidi` | each message when it arrives |
//!
//! Metadata of a call may ask for more, see [`Orders`]. What begins with `echo-` comes back in the
//! trailers. Calls are uncompressed: a compressed message is answered with status 12, a body that
//! is no row of messages with 13, a message over 16 MiB with 8, orders that cannot be read with 3.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::messages::{self, Broken, Messages, framed, pause};
use crate::http1::body_byte;

/// The service's name in a call's path.
pub const SERVICE: &str = "ringway.mock.Echo";

/// gRPC's status codes that the mock says by itself.
const OK: u8 = 0;
const INVALID_ARGUMENT: u8 = 3;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const STATUS_MAX: u8 = 16;

/// A longer reply is not made.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// 0-16, 0 being success.
    pub code: u8,
    /// For people; not yet percent-encoded.
    pub message: String,
}

impl Status {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a call's metadata asks for. The doc of each field names its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// `mock-status` (0-16) and `mock-message`: how the call ends. A unary reply is left out when
    /// it is not 0; a stream's messages come before it.
    pub status: Status,
    /// `mock-delay-ms`: pause before each message of a reply, or before the status without one.
    pub delay: Duration,
    /// `mock-count` (default 10): messages of `ServerStream`.
    pub count: u64,
    /// `mock-bytes`: the length of each message of `Unary` and `ServerStream`, instead of an echo;
    /// 16 MiB at most.
    pub bytes: Option<u64>,
}

impl Orders {
    /// The orders of a call, over a default `delay`.
    ///
    /// # Errors
    /// A value is out of its range: the status that the call ends with.
    pub fn parse(fields: &HeaderMap, delay: Duration) -> Result<Self, Status> {
        let message = fields.get("mock-message").map(HeaderValue::as_bytes).unwrap_or_default();
        let message = String::from_utf8_lossy(message).into_owned();
        let code = number(fields, "mock-status", STATUS_MAX.into())?.unwrap_or(0);
        let delay_ms = number(fields, "mock-delay-ms", 3_600_000)?;
        Ok(Self {
            status: Status::new(code as u8, message),
            delay: delay_ms.map_or(delay, Duration::from_millis),
            count: number(fields, "mock-count", u64::MAX)?.unwrap_or(10),
            bytes: number(fields, "mock-bytes", REPLY_BYTES_MAX)?,
        })
    }
}

fn number(fields: &HeaderMap, name: &str, max: u64) -> Result<Option<u64>, Status> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let Some(number) = number.filter(|number| *number <= max) else {
        return Err(Status::new(INVALID_ARGUMENT, format!("{name} is a number up to {max}")));
    };
    Ok(Some(number))
}

/// Whether the request is a gRPC call by its content type.
pub(super) fn is_call(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers one call.
pub(super) async fn answer(
    head: &Parts,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    delay: Duration,
) -> Result<(), h2::Error> {
    if head.method != Method::POST {
        let mut reply = Response::new(());
        *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return respond.send_response(reply, true).map(drop);
    }
    let mut replies = Replies { respond, out: None };
    let status = match Orders::parse(&head.headers, delay) {
        Ok(orders) => serve(head, &orders, Messages::new(body), &mut replies).await,
        Err(status) => Ok(status),
    };
    let status = match status {
        Err(Broken::Stream(error)) => return Err(error),
        Err(broken) => refusal(&broken),
        Ok(status) => status,
    };
    replies.end(&status, &head.headers)
}

fn refusal(broken: &Broken) -> Status {
    match broken {
        Broken::Flag(1) => Status::new(UNIMPLEMENTED, "messages are taken uncompressed"),
        Broken::TooLong(bytes) => Status::new(RESOURCE_EXHAUSTED, format!("{bytes} bytes")),
        other => Status::new(INTERNAL, format!("no row of messages: {other:?}")),
    }
}

async fn serve(
    head: &Parts,
    orders: &Orders,
    mut messages: Messages,
    replies: &mut Replies,
) -> Result<Status, Broken> {
    let path = head.uri.path();
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((SERVICE, "Unary")) => unary(orders, &mut messages, replies).await,
        Some((SERVICE, "ServerStream")) => server_stream(orders, &mut messages, replies).await,
        Some((SERVICE, "ClientStream")) => client_stream(orders, &mut messages, replies).await,
        Some((SERVICE, "Bidi")) => bidi(orders, &mut messages, replies).await,
        _ => Ok(Status::new(UNIMPLEMENTED, format!("there is no method {path}"))),
    }
}

async fn unary(
    orders: &Orders,
    messages: &mut Messages,
    replies: &mut Replies,
) -> Result<Status, Broken> {
    let Some(message) = only(messages).await? else { return Ok(not_one()) };
    replies.pause(orders.delay).await?;
    if orders.status.code == OK {
        replies.send(&reply(orders, message)).await?;
    }
    Ok(orders.status.clone())
}

async fn server_stream(
    orders: &Orders,
    messages: &mut Messages,
    replies: &mut Replies,
) -> Result<Status, Broken> {
    replies.begin()?;
    let Some(message) = only(messages).await? else { return Ok(not_one()) };
    let message = reply(orders, message);
    for _ in 0..orders.count {
        replies.pause(orders.delay).await?;
        replies.send(&message).await?;
    }
    Ok(orders.status.clone())
}

async fn client_stream(
    orders: &Orders,
    messages: &mut Messages,
    replies: &mut Replies,
) -> Result<Status, Broken> {
    let (mut count, mut bytes) = (0, 0);
    while let Some(message) = messages.next().await? {
        count += 1;
        bytes += message.len();
    }
    replies.pause(orders.delay).await?;
    if orders.status.code == OK {
        replies.send(format!("{count} {bytes}").as_bytes()).await?;
    }
    Ok(orders.status.clone())
}

async fn bidi(
    orders: &Orders,
    messages: &mut Messages,
    replies: &mut Replies,
) -> Result<Status, Broken> {
    replies.begin()?;
    while let Some(message) = messages.next().await? {
        replies.pause(orders.delay).await?;
        replies.send(&message).await?;
    }
    Ok(orders.status.clone())
}

/// The one message of a request; `None` when there are more or none.
async fn only(messages: &mut Messages) -> Result<Option<Bytes>, Broken> {
    let first = messages.next().await?;
    let second = messages.next().await?;
    Ok(first.filter(|_| second.is_none()))
}

fn not_one() -> Status {
    Status::new(INTERNAL, "the method takes one message")
}

fn reply(orders: &Orders, message: Bytes) -> Bytes {
    orders.bytes.map_or(message, |bytes| (0..bytes).map(body_byte).collect())
}

/// The reply's side of a call: its head goes out with the first message, or with the status.
struct Replies {
    respond: SendResponse<Bytes>,
    out: Option<SendStream<Bytes>>,
}

impl Replies {
    fn begin(&mut self) -> Result<(), h2::Error> {
        if self.out.is_none() {
            self.out = Some(self.respond.send_response(head(), false)?);
        }
        Ok(())
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), h2::Error> {
        self.begin()?;
        let Some(out) = &mut self.out else { return Ok(()) };
        messages::send(out, framed(message), false).await
    }

    async fn pause(&mut self, delay: Duration) -> Result<(), h2::Error> {
        match &mut self.out {
            Some(out) => pause(delay, |cx| out.poll_reset(cx)).await,
            None => pause(delay, |cx| self.respond.poll_reset(cx)).await,
        }
    }

    /// Ends the call: with trailers, or with a head alone where nothing was sent.
    fn end(mut self, status: &Status, request: &HeaderMap) -> Result<(), h2::Error> {
        let mut trailers = trailers(status);
        let echoed = request.iter().filter(|(name, _)| name.as_str().starts_with("echo-"));
        trailers.extend(echoed.map(|(name, value)| (Some(name.clone()), value.clone())));
        if let Some(mut out) = self.out {
            return out.send_trailers(trailers);
        }
        let mut reply = head();
        reply.headers_mut().extend(trailers);
        self.respond.send_response(reply, true).map(drop)
    }
}

fn head() -> Response<()> {
    let mut reply = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let code = HeaderValue::from(u16::from(status.code));
    trailers.insert(HeaderName::from_static("grpc-status"), code);
    // INVARIANT: what is left after encoding is visible ASCII and blanks.
    let message = HeaderValue::from_str(&encoded(&status.message)).expect("visible ASCII");
    if !message.is_empty() {
        trailers.insert(HeaderName::from_static("grpc-message"), message);
    }
    trailers
}

/// Bytes outside of 0x20-0x7E, and `%`, as `%XX`.
fn encoded(message: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..0x20 | 0x7f.. => drop(write!(out, "%{byte:02X}")),
            _ => out.push(byte.into()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(fields: &[(&'static str, &'static str)]) -> Result<Orders, Status> {
        let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Orders::parse(&fields.iter().copied().map(pair).collect(), Duration::from_millis(7))
    }

    #[test]
    fn a_call_that_asks_for_nothing_gets_the_defaults() {
        let found = orders(&[("other", "1")]).unwrap();
        assert_eq!((found.status.code, found.count, found.bytes), (0, 10, None));
        assert_eq!(found.delay, Duration::from_millis(7));
    }

    #[test]
    fn every_order_is_read() {
        let keys = ["mock-status", "mock-message", "mock-delay-ms", "mock-count", "mock-bytes"];
        let values = ["5", "not here", "0", "3", "9"];
        let fields: Vec<_> = keys.into_iter().zip(values).collect();
        let found = orders(&fields).unwrap();
        assert_eq!(found.status, Status::new(5, "not here"));
        assert_eq!((found.delay, found.count, found.bytes), (Duration::ZERO, 3, Some(9)));
    }

    #[test]
    fn an_order_out_of_its_range_is_refused() {
        for (name, value) in [("mock-status", "17"), ("mock-count", "x"), ("mock-bytes", "-1")] {
            let status = orders(&[(name, value)]).unwrap_err();
            assert!(status.code == INVALID_ARGUMENT && status.message.starts_with(name));
        }
    }

    #[test]
    fn messages_of_a_status_are_percent_encoded() {
        assert_eq!(encoded("n\u{e3}o 100%\n"), "n%C3%A3o 100%25%0A");
    }
}

//! Requests that are no gRPC calls: a fixed body, once the request's own has been read.

use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};

use super::messages::{self, pause};
use super::serve::Shared;
use crate::http1::{Ask, body_byte};

/// A longer body is refused with 400.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// The fixed body of a length.
pub(super) fn body(bytes: u64) -> Bytes {
    (0..bytes.min(BODY_BYTES_MAX)).map(body_byte).collect()
}

/// Answers one request.
pub(super) async fn answer(
    head: &Parts,
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
) -> Result<(), h2::Error> {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let ask = Ask::parse(shared.base, target.as_bytes());
    read_away(&mut body).await?;
    pause(ask.delay, |cx| respond.poll_reset(cx)).await?;
    let status = StatusCode::from_u16(ask.status).unwrap_or(StatusCode::BAD_REQUEST);
    let (status, payload) = match ask.bytes {
        _ if status.is_informational() => (StatusCode::BAD_REQUEST, Bytes::new()),
        bytes if bytes > BODY_BYTES_MAX => (StatusCode::BAD_REQUEST, Bytes::new()),
        bytes if bytes == shared.base.bytes => (status, shared.body.clone()),
        bytes => (status, self::body(bytes)),
    };
    let reply = Response::builder().status(status);
    let reply = reply.header(header::CONTENT_TYPE, "text/plain");
    let reply = reply.header(header::CONTENT_LENGTH, payload.len());
    // INVARIANT: the status and the three fields are sound.
    let reply = reply.body(()).expect("a sound head");
    let is_bodiless = head.method == Method::HEAD || payload.is_empty();
    let mut out = respond.send_response(reply, is_bodiless)?;
    if is_bodiless {
        return Ok(());
    }
    messages::send(&mut out, payload, true).await
}

/// Reads a body to its end and keeps nothing of it.
async fn read_away(body: &mut RecvStream) -> Result<(), h2::Error> {
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
        let bytes = data?.len();
        body.flow_control().release_capacity(bytes)?;
    }
    Ok(())
}

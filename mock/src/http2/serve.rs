//! One connection: takes requests, each of which becomes a task.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::Request;
use monoio::net::TcpStream;

use super::{Options, Socket, grpc, plain};
use crate::http1::Ask;
use crate::threads::Thread;

/// What a peer may send on a stream, and on all of a connection's, before it is read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// What all connections of a thread share.
pub(super) struct Shared {
    pub(super) base: Ask,
    /// The fixed body of `base`.
    pub(super) body: Bytes,
    thread: Thread,
    builder: Builder,
}

impl Shared {
    pub(super) fn new(options: &Options, thread: Thread) -> Self {
        let Options { body_bytes, delay, .. } = *options;
        let base = crate::http1::Options { body_bytes, delay, ..Default::default() };
        let mut builder = Builder::new();
        builder.max_concurrent_streams(options.streams_max);
        builder.initial_window_size(STREAM_WINDOW_BYTES);
        builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Self { base: Ask::of(&base), body: plain::body(body_bytes), thread, builder }
    }
}

/// Serves one connection to its end.
pub(super) async fn connection(stream: TcpStream, shared: Rc<Shared>) -> Result<(), h2::Error> {
    let mut connection = shared.builder.handshake(Socket::new(stream)).await?;
    while let Some(next) = connection.accept().await {
        let (request, respond) = next?;
        shared.thread.counts.requests.fetch_add(1, Ordering::Relaxed);
        shared.thread.spawn(answer(request, respond, Rc::clone(&shared)));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, respond: SendResponse<Bytes>, shared: Rc<Shared>) {
    let (head, body) = request.into_parts();
    // A stream that its client resets is no error of the mock's.
    if grpc::is_call(&head.headers) {
        drop(grpc::answer(&head, body, respond, shared.base.delay).await);
    } else {
        drop(plain::answer(&head, body, respond, &shared).await);
    }
}

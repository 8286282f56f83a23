//! The server: a service by hand, with messages derived, so that no compiler of `.proto` is needed.

use std::convert::Infallible;
use std::future::{self, Future, Ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;

use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// Messages of up to 64 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 26;

/// A permit for each call that the server began to wait in, and for each that was given up then.
pub(crate) static WAITING: Semaphore = Semaphore::const_new(0);
pub(crate) static GIVEN_UP: Semaphore = Semaphore::const_new(0);

/// The one message of all methods.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    /// What a method is told, or tells.
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(crate) count: u64,
}

impl Note {
    pub(crate) fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    pub(crate) fn count(count: u64) -> Self {
        Self { count, ..Self::default() }
    }
}

pub(crate) fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

/// The service `ringway.interop.Echo`.
#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "ringway.interop.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(answer(request).await) })
    }
}

async fn answer(request: http::Request<Body>) -> http::Response<Body> {
    let mut grpc = Grpc::new(codec()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let path = request.uri().path().to_owned();
    match path.rsplit('/').next() {
        Some("Unary") => grpc.unary(service_fn(unary), request).await,
        Some("ServerStream") => grpc.server_streaming(service_fn(serve_many), request).await,
        Some("ClientStream") => grpc.client_streaming(service_fn(take_many), request).await,
        Some("Both") => grpc.streaming(service_fn(both_ways), request).await,
        _ => Status::unimplemented("no such method").into_http(),
    }
}

async fn unary(request: Request<Note>) -> Result<Response<Note>, Status> {
    let metadata = request.metadata().clone();
    let timeout = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    let note = match request.get_ref().text.as_str() {
        "fail" => {
            let details = Bytes::from_static(b"\x08\x09\x00\xff");
            let code = Code::FailedPrecondition;
            return Err(Status::with_details(code, "n\u{e3}o 100%", details));
        }
        "timeout" => Note::text(timeout.unwrap_or("none")),
        "wait" => wait().await,
        _ => request.into_inner(),
    };
    let mut reply = Response::new(note);
    if let Some(sent) = metadata.get("x-sent") {
        reply.metadata_mut().insert("x-seen", sent.clone());
    }
    if let Some(raw) = metadata.get_bin("raw-bin") {
        reply.metadata_mut().insert_bin("raw-bin", raw.clone());
    }
    Ok(reply)
}

/// Never answers; says when it was given up.
async fn wait() -> Note {
    struct Waiting;
    impl Drop for Waiting {
        fn drop(&mut self) {
            GIVEN_UP.add_permits(1);
        }
    }
    let _waiting = Waiting;
    WAITING.add_permits(1);
    future::pending().await
}

fn serve_many(
    request: Request<Note>,
) -> Ready<Result<Response<impl Stream<Item = Result<Note, Status>> + use<>>, Status>> {
    let notes = (0..request.get_ref().count).map(|index| Ok(Note::count(index)));
    future::ready(Ok(Response::new(tokio_stream::iter(notes))))
}

async fn take_many(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let mut notes = request.into_inner();
    let mut bytes = 0;
    while let Some(note) = notes.next().await {
        bytes += note?.data.len() as u64;
    }
    Ok(Response::new(Note::count(bytes)))
}

async fn both_ways(
    request: Request<Streaming<Note>>,
) -> Result<Response<ReceiverStream<Result<Note, Status>>>, Status> {
    let mut notes = request.into_inner();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(note) = notes.next().await {
            // A client that left takes no more.
            if sender.send(note).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

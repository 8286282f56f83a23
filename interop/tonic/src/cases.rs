//! The cases, each a call or a few over a channel.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::echo::{GIVEN_UP, MESSAGE_BYTES_MAX, Note, WAITING, codec};

/// What is asked over a channel; it fails by a panic.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) start: fn(Channel) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub(crate) const CASES: &[Case] = &[
    Case { name: "unary", start: |channel| Box::pin(unary(channel)) },
    Case { name: "large", start: |channel| Box::pin(large(channel)) },
    Case { name: "error", start: |channel| Box::pin(error(channel)) },
    Case { name: "unknown_method", start: |channel| Box::pin(unknown_method(channel)) },
    Case { name: "server_stream", start: |channel| Box::pin(server_stream(channel)) },
    Case { name: "client_stream", start: |channel| Box::pin(client_stream(channel)) },
    Case { name: "both_in_turn", start: |channel| Box::pin(both_in_turn(channel)) },
    Case { name: "many_at_once", start: |channel| Box::pin(many_at_once(channel)) },
    Case { name: "cancel", start: |channel| Box::pin(cancel(channel)) },
    Case { name: "deadline", start: |channel| Box::pin(deadline(channel)) },
    Case { name: "timeout_forwarded", start: |channel| Box::pin(timeout_forwarded(channel)) },
];

async fn ready(channel: Channel) -> Grpc<Channel> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.expect("a channel");
    grpc
}

fn path(method: &str) -> PathAndQuery {
    format!("/ringway.interop.Echo/{method}").parse().expect("a path")
}

async fn call(channel: Channel, request: Request<Note>) -> Result<Response<Note>, Status> {
    ready(channel).await.unary(request, path("Unary"), codec()).await
}

async fn unary(channel: Channel) {
    let mut request = Request::new(Note::text("hello"));
    request.metadata_mut().insert("x-sent", MetadataValue::from_static("a"));
    request.metadata_mut().insert_bin("raw-bin", MetadataValue::from_bytes(b"\x00\xff"));
    let reply = call(channel, request).await.expect("a reply");
    assert_eq!(reply.get_ref().text, "hello");
    assert_eq!(reply.metadata().get("x-seen").expect("x-seen"), "a");
    let raw = reply.metadata().get_bin("raw-bin").expect("raw-bin").to_bytes();
    assert_eq!(&raw.expect("base64")[..], b"\x00\xff");
}

async fn large(channel: Channel) {
    let data: Vec<u8> = (0..3_000_000u32).map(|index| index as u8).collect();
    let note = Note { data, ..Note::default() };
    let reply = call(channel, Request::new(note.clone())).await.expect("a reply");
    assert!(reply.into_inner() == note, "the echo differs");
}

async fn error(channel: Channel) {
    let status = call(channel, Request::new(Note::text("fail"))).await.expect_err("an error");
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "n\u{e3}o 100%"));
    assert_eq!(status.details(), b"\x08\x09\x00\xff");
}

async fn unknown_method(channel: Channel) {
    let mut grpc = ready(channel).await;
    let request = Request::new(Note::default());
    let reply: Result<Response<Note>, _> = grpc.unary(request, path("Nothing"), codec()).await;
    assert_eq!(reply.expect_err("an error").code(), Code::Unimplemented);
}

async fn server_stream(channel: Channel) {
    let mut grpc = ready(channel).await;
    let request = Request::new(Note::count(500));
    let reply = grpc.server_streaming(request, path("ServerStream"), codec()).await;
    let mut notes = reply.expect("a stream").into_inner();
    for index in 0..500 {
        let note: Note = notes.next().await.expect("a note").expect("no error");
        assert_eq!(note.count, index);
    }
    assert!(notes.next().await.is_none());
}

async fn client_stream(channel: Channel) {
    let mut grpc = ready(channel).await;
    let note = Note { data: vec![b'x'; 1000], ..Note::default() };
    let notes = Request::new(tokio_stream::iter(vec![note; 300]));
    let reply: Result<Response<Note>, _> =
        grpc.client_streaming(notes, path("ClientStream"), codec()).await;
    assert_eq!(reply.expect("a reply").get_ref().count, 300_000);
}

/// Each note is sent when the echo of the one before is here.
async fn both_in_turn(channel: Channel) {
    let (sender, receiver) = mpsc::channel(1);
    let mut echoes = both(channel, ReceiverStream::new(receiver)).await;
    for index in 0..50 {
        sender.send(Note::count(index)).await.expect("the stream is open");
        let echo = echoes.next().await.expect("an echo").expect("no error");
        assert_eq!(echo.count, index);
    }
    drop(sender);
    assert!(echoes.next().await.is_none());
}

async fn both(
    channel: Channel,
    notes: impl Stream<Item = Note> + Send + 'static,
) -> impl Stream<Item = Result<Note, Status>> {
    let mut grpc = ready(channel).await;
    let reply = grpc.streaming(Request::new(notes), path("Both"), codec()).await;
    reply.expect("a stream").into_inner()
}

async fn many_at_once(channel: Channel) {
    let calls: Vec<_> = (0..200)
        .map(|index| tokio::spawn(call(channel.clone(), Request::new(Note::count(index)))))
        .collect();
    for (index, call) in calls.into_iter().enumerate() {
        let reply = call.await.expect("no panic").expect("a reply");
        assert_eq!(reply.get_ref().count, index as u64);
    }
}

/// A call that its client drops is given up by the server too.
async fn cancel(channel: Channel) {
    let waiting = tokio::spawn(call(channel, Request::new(Note::text("wait"))));
    WAITING.acquire().await.expect("a permit").forget();
    waiting.abort();
    GIVEN_UP.acquire().await.expect("a permit").forget();
}

async fn deadline(channel: Channel) {
    let mut request = Request::new(Note::text("wait"));
    request.set_timeout(Duration::from_millis(200));
    let status = call(channel, request).await.expect_err("an error");
    // tonic's own limit says Cancelled, the gateway's DeadlineExceeded; whichever is first.
    let code = status.code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    WAITING.acquire().await.expect("a permit").forget();
    GIVEN_UP.acquire().await.expect("a permit").forget();
}

/// The server is told what is left of a deadline.
async fn timeout_forwarded(channel: Channel) {
    let mut request = Request::new(Note::text("timeout"));
    request.set_timeout(Duration::from_secs(25));
    let reply = call(channel, request).await.expect("a reply");
    let text = &reply.get_ref().text;
    let (number, unit) = text.split_at(text.len() - 1);
    let per_second = match unit {
        "S" => 1,
        "m" => 1_000,
        "u" => 1_000_000,
        "n" => 1_000_000_000,
        _ => panic!("{text:?} is no timeout below a minute"),
    };
    let number: u64 = number.parse().expect("a number");
    assert!(number > 0 && number <= 25 * per_second, "{text}");
}

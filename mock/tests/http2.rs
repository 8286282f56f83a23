//! The HTTP/2 mock against the h2 crate's client: every method, every order, and broken requests.
//!
//! It runs twice, on io_uring and, in a process of its own, on epoll.

use std::future::poll_fn;
use std::process::Command;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, StatusCode};
use mock::driver::block_on;
use mock::http2::{Messages, Options, Running, Socket, framed, send, start};
use monoio::net::TcpStream;

fn mock() -> Running {
    start(Options::default()).expect("a mock on a free port")
}

struct Client(SendRequest<Bytes>);

/// A reply that was read to its end.
struct Reply {
    status: StatusCode,
    head: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Reply {
    fn messages(&self) -> Vec<&[u8]> {
        let (mut rest, mut found) = (&self.body[..], Vec::new());
        while let [0, a, b, c, d, after @ ..] = rest {
            let (message, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            found.push(message);
            rest = next;
        }
        assert!(rest.is_empty());
        found
    }

    fn code(&self) -> &str {
        let field = self.trailers.get("grpc-status").or(self.head.get("grpc-status"));
        field.and_then(|value| value.to_str().ok()).expect("a grpc-status")
    }
}

impl Client {
    async fn new(mock: &Running) -> Self {
        let stream = TcpStream::connect_addr(mock.address).await.expect("a connection");
        let (requests, connection) = client::handshake(Socket::new(stream)).await.expect("HTTP/2");
        monoio::spawn(async { drop(connection.await) });
        Self(requests)
    }

    async fn begin(&mut self, request: Request<()>) -> (client::ResponseFuture, SendStream<Bytes>) {
        poll_fn(|cx| self.0.poll_ready(cx)).await.expect("room for a stream");
        self.0.send_request(request, false).expect("a stream")
    }

    async fn ask(&mut self, request: Request<()>, body: Bytes) -> Result<Reply, h2::Error> {
        let (reply, mut out) = self.begin(request).await;
        send(&mut out, body, true).await?;
        let (head, mut body) = reply.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let trailers = poll_fn(|cx| body.poll_trailers(cx)).await?.unwrap_or_default();
        Ok(Reply { status: head.status, head: head.headers, body: bytes, trailers })
    }

    async fn call(&mut self, method: &str, orders: &[(&str, &str)], messages: &[&[u8]]) -> Reply {
        let body: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        self.ask(call(method, orders), body.into()).await.expect("a reply")
    }
}

fn call(method: &str, orders: &[(&str, &str)]) -> Request<()> {
    let uri = format!("http://mock/ringway.mock.Echo/{method}");
    let mut request = Request::post(uri).header("content-type", "application/grpc");
    for (name, value) in orders {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

fn get(target: &str) -> Request<()> {
    Request::get(format!("http://mock{target}")).body(()).expect("a request")
}

#[test]
fn each_method_answers_as_its_kind() {
    let mock = mock();
    block_on(|| async {
        let mut client = Client::new(&mock).await;
        let reply = client.call("Unary", &[("echo-a", "b")], &[b"hello"]).await;
        assert_eq!((reply.messages(), reply.code()), (vec![&b"hello"[..]], "0"));
        assert_eq!(reply.trailers["echo-a"], "b");
        let reply = client.call("ServerStream", &[("mock-count", "3")], &[b"x"]).await;
        assert_eq!((reply.messages(), reply.code()), (vec![&b"x"[..]; 3], "0"));
        let reply = client.call("ClientStream", &[], &[b"abc", b"", b"de"]).await;
        assert_eq!((reply.messages(), reply.code()), (vec![&b"3 5"[..]], "0"));
        let reply = client.call("Bidi", &[], &[b"one", b"two"]).await;
        assert_eq!((reply.messages(), reply.code()), (vec![&b"one"[..], b"two"], "0"));
        let reply = client.call("Unary", &[("mock-bytes", "3000000")], &[b""]).await;
        assert_eq!(reply.messages()[0].len(), 3_000_000);
    })
    .unwrap();
    assert_eq!((mock.connections(), mock.requests()), (1, 5));
}

#[test]
fn an_echo_comes_while_the_request_goes_on() {
    let mock = mock();
    block_on(|| async {
        let mut client = Client::new(&mock).await;
        let (reply, mut out) = client.begin(call("Bidi", &[])).await;
        let mut messages = Messages::new(reply.await.expect("a head").into_body());
        for index in 0..20u8 {
            let message = vec![index; 100_000];
            send(&mut out, framed(&message), false).await.expect("a stream");
            assert_eq!(messages.next().await.expect("a message").expect("an echo"), message);
        }
        send(&mut out, Bytes::new(), true).await.expect("a stream");
        assert!(messages.next().await.expect("the end").is_none());
        assert_eq!(messages.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    })
    .unwrap();
}

#[test]
fn statuses_are_sent_as_they_were_asked_for() {
    let mock = mock();
    block_on(|| async {
        let mut client = Client::new(&mock).await;
        let orders = [("mock-status", "9"), ("mock-message", "100% no"), ("mock-delay-ms", "5")];
        let reply = client.call("Unary", &orders, &[b"x"]).await;
        assert_eq!((reply.code(), reply.body.len()), ("9", 0));
        assert_eq!(reply.head["grpc-message"], "100%25 no");
        let reply = client.call("Bidi", &orders, &[b"x"]).await;
        assert_eq!((reply.messages(), reply.code()), (vec![&b"x"[..]], "9"));
        assert!(reply.head.get("grpc-status").is_none());
    })
    .unwrap();
}

#[test]
fn what_is_no_call_is_refused() {
    let mock = mock();
    block_on(|| async {
        let mut client = Client::new(&mock).await;
        for (method, orders, message, code) in [
            ("Nothing", ("a", "b"), &b"\0\0\0\0\0"[..], "12"),
            ("Unary", ("mock-status", "17"), b"\0\0\0\0\0", "3"),
            ("Unary", ("a", "b"), b"\x01\0\0\0\0", "12"),
            ("Unary", ("a", "b"), b"\x02\0\0\0\0", "13"),
            ("Unary", ("a", "b"), b"\0\0\0\0\x05abc", "13"),
            ("Bidi", ("a", "b"), b"\0\xff\0\0\0", "8"),
            ("Unary", ("a", "b"), b"", "13"),
            ("Unary", ("a", "b"), b"\0\0\0\0\0\0\0\0\0\0", "13"),
        ] {
            let body = Bytes::from_static(message);
            let reply = client.ask(call(method, &[orders]), body).await.expect("a reply");
            assert_eq!(reply.code(), code, "{method} {message:?}");
        }
        let mut wrong = get("/ringway.mock.Echo/Unary");
        wrong.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let reply = client.ask(wrong, Bytes::new()).await.expect("a reply");
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    })
    .unwrap();
}

#[test]
fn other_requests_get_a_fixed_body() {
    let mock = mock();
    block_on(|| async {
        let mut client = Client::new(&mock).await;
        for (target, status, bytes) in [
            ("/", 200, 100),
            ("/?bytes=200000&delay_ms=3", 200, 200_000),
            ("/?status=503", 503, 100),
            ("/?bytes=0", 200, 0),
            ("/?bytes=99999999999", 400, 0),
            ("/?status=103", 400, 0),
        ] {
            let reply = client.ask(get(target), Bytes::new()).await.expect("a reply");
            assert_eq!((reply.status.as_u16(), reply.body.len()), (status, bytes), "{target}");
            assert_eq!(reply.head["content-length"], bytes.to_string());
        }
        let upload = Request::put("http://mock/").body(()).expect("a request");
        let reply = client.ask(upload, vec![b'x'; 5_000_000].into()).await.expect("a reply");
        assert_eq!(reply.body.len(), 100);
        let head = Request::head("http://mock/").body(()).expect("a request");
        let reply = client.ask(head, Bytes::new()).await.expect("a reply");
        assert_eq!((&reply.head["content-length"], reply.body.len()), (&"100".parse().unwrap(), 0));
    })
    .unwrap();
}

#[test]
fn a_stop_ends_waiting_calls_and_streams() {
    let mock = mock();
    block_on(|| async move {
        let mut client = Client::new(&mock).await;
        let waiting = [("mock-delay-ms", "3000000")];
        let (late, mut out) = client.begin(call("Unary", &waiting)).await;
        send(&mut out, framed(b"x"), true).await.expect("a stream");
        let (open, out) = client.begin(call("Bidi", &[])).await;
        let mut body = open.await.expect("a head").into_body();
        mock.stop();
        assert!(late.await.is_err());
        let end = poll_fn(|cx| body.poll_data(cx)).await;
        assert!(end.is_none_or(|data| data.is_err()));
        drop(out);
    })
    .unwrap();
}

#[test]
fn a_reset_ends_a_call_that_waits() {
    let mock = mock();
    block_on(|| async {
        let mut client = Client::new(&mock).await;
        let (late, mut out) = client.begin(call("Unary", &[("mock-delay-ms", "3000000")])).await;
        send(&mut out, framed(b"x"), true).await.expect("a stream");
        out.send_reset(Reason::CANCEL);
        assert!(late.await.is_err());
        let reply = client.call("Unary", &[], &[b"after"]).await;
        assert_eq!(reply.code(), "0");
    })
    .unwrap();
}

#[test]
fn all_of_this_again_on_epoll() {
    const SWITCH: &str = "MONOIO_FORCE_LEGACY_DRIVER";
    if std::env::var_os(SWITCH).is_some() {
        return;
    }
    let this = std::env::current_exe().expect("the path of this test");
    let output = Command::new(this).env(SWITCH, "1").output().expect("a second run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

//! One load connection of HTTP/2 by prior knowledge, and the streams that share it.
//!
//! It keeps no reply; what it understands is where a reply ends, and of a call that there is one
//! message and a status.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Uri};
use mock::http1::body_byte;
use mock::http2::{Broken, Messages, Socket, framed, send};
use monoio::net::TcpStream;

use crate::client::{Fault, Reply};
use crate::plan::{Plan, Wire};
use crate::shared::{Closed, Shared};

/// What the server may send before it is read: on a stream, and on a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A request that is sent again and again.
#[derive(Clone)]
pub(crate) struct Ask {
    head: Request<()>,
    body: Bytes,
    is_call: bool,
}

impl Ask {
    /// One for each path of a plan.
    ///
    /// # Errors
    /// A path, a method or a field is none.
    pub(crate) fn all(plan: &Plan) -> Result<Vec<Self>> {
        plan.paths.iter().map(|path| Self::of(plan, path)).collect()
    }

    fn of(plan: &Plan, path: &str) -> Result<Self> {
        let payload: Vec<u8> = (0..plan.body_bytes).map(body_byte).collect();
        let is_call = plan.wire == Wire::Grpc;
        let body = if is_call { framed(&payload) } else { payload.into() };
        Ok(Self { head: head(plan, path)?, body, is_call })
    }

    /// The head, for a stream that is held open.
    pub(crate) fn head(&self) -> Request<()> {
        self.head.clone()
    }
}

fn head(plan: &Plan, path: &str) -> Result<Request<()>> {
    let uri = format!("http://{}{path}", plan.url.host);
    let uri: Uri = uri.parse().with_context(|| format!("{uri:?} is no URL"))?;
    let mut request = Request::builder().uri(uri);
    if plan.wire == Wire::Grpc {
        let request = request.method(Method::POST).header("te", "trailers");
        return with_fields(request.header("content-type", "application/grpc"), plan);
    }
    if plan.body_bytes > 0 {
        request = request.header("content-length", plan.body_bytes);
    }
    with_fields(request.method(plan.method.as_str()), plan)
}

fn with_fields(mut request: http::request::Builder, plan: &Plan) -> Result<Request<()>> {
    for (name, value) in &plan.fields {
        request = request.header(name, value);
    }
    request.body(()).context("a method or a field that HTTP does not know")
}

/// A connection, opened when it is needed.
pub(crate) struct Streams {
    address: SocketAddr,
    requests: Rc<Shared<SendRequest<Bytes>>>,
}

impl Streams {
    /// Nothing is opened yet.
    pub(crate) fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self { address, requests: Shared::new() })
    }

    /// How often it was opened.
    pub(crate) fn opened(&self) -> u64 {
        self.requests.opened()
    }

    /// Sends a request and reads its reply to the end.
    pub(crate) async fn ask(self: &Rc<Self>, ask: &Ask) -> Result<Reply, Fault> {
        let (reply, mut out) = self.begin(ask.head(), ask.body.is_empty()).await?;
        if !ask.body.is_empty()
            && let Err(error) = send(&mut out, ask.body.clone(), true).await
            && error.reason() != Some(Reason::NO_ERROR)
        {
            return Err(fault_of(&error));
        }
        let (head, body) = reply.await.map_err(|error| fault_of(&error))?.into_parts();
        let reply = Reply { status: head.status.as_u16(), ..Reply::of_call() };
        if ask.is_call && reply.status == 200 {
            return call(reply, &head.headers, body).await;
        }
        let bytes = read_away(body).await.map_err(|error| fault_of(&error))?;
        Ok(Reply { bytes, ..reply })
    }

    /// Opens a stream; waits until the server's limit of them allows it.
    pub(crate) async fn begin(
        self: &Rc<Self>,
        head: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Fault> {
        let mut requests = self.connected().await?;
        let ready = poll_fn(|cx| requests.poll_ready(cx)).await;
        let stream = ready.and_then(|()| requests.send_request(head, end));
        stream.map_err(|error| fault_of(&error))
    }

    /// The connection, opened if need be.
    pub(crate) async fn connected(&self) -> Result<SendRequest<Bytes>, Fault> {
        self.requests.connected(async |closed| open(self.address, closed).await).await
    }
}

async fn open(
    address: SocketAddr,
    closed: Closed<SendRequest<Bytes>>,
) -> Result<SendRequest<Bytes>, Fault> {
    let (requests, connection) = connect(address).await?;
    monoio::spawn(async move {
        // Each stream learns by itself what the connection ended with.
        drop(connection.await);
        drop(closed);
    });
    Ok(requests)
}

async fn connect(
    address: SocketAddr,
) -> Result<(SendRequest<Bytes>, Connection<Socket, Bytes>), Fault> {
    let stream = TcpStream::connect_addr(address).await.map_err(|_| Fault::Connect)?;
    stream.set_nodelay(true).map_err(|_| Fault::Connect)?;
    let mut builder = Builder::new();
    builder.enable_push(false);
    builder.initial_window_size(STREAM_WINDOW_BYTES);
    builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder.handshake(Socket::new(stream)).await.map_err(|_| Fault::Connect)
}

/// What a failure of `h2` counts as.
pub(crate) fn fault_of(error: &h2::Error) -> Fault {
    match error {
        _ if error.is_go_away() => Fault::Closed,
        _ if error.is_reset() || error.is_io() => Fault::Reset,
        // The connection had ended before the stream began.
        _ if error.reason().is_none() => Fault::Closed,
        _ => Fault::Malformed,
    }
}

/// What a failure of a message counts as.
pub(crate) fn fault_of_message(broken: &Broken) -> Fault {
    match broken {
        Broken::Stream(error) => fault_of(error),
        _ => Fault::Malformed,
    }
}

async fn read_away(mut body: RecvStream) -> Result<u64, h2::Error> {
    let mut bytes = 0;
    while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
        let len = data?.len();
        bytes += len as u64;
        body.flow_control().release_capacity(len)?;
    }
    Ok(bytes)
}

/// A unary reply: one message and status 0, or another status.
async fn call(reply: Reply, head: &HeaderMap, body: RecvStream) -> Result<Reply, Fault> {
    let mut messages = Messages::new(body);
    let mut count = 0;
    while messages.next().await.map_err(|broken| fault_of_message(&broken))?.is_some() {
        count += 1;
    }
    let trailers = messages.trailers().await.map_err(|error| fault_of(&error))?;
    let status = grpc_status(trailers.as_ref().unwrap_or(head));
    if status == 0 && count != 1 {
        return Err(Fault::Malformed);
    }
    Ok(Reply { grpc_status: Some(status), bytes: messages.bytes(), ..reply })
}

/// A call's status; 2, unknown, when it has none that can be read.
pub(crate) fn grpc_status(fields: &HeaderMap) -> u8 {
    let field = fields.get("grpc-status").and_then(|value| value.to_str().ok());
    field.and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mock::http2::{Options, Running, start};

    use super::*;
    use crate::load;
    use crate::plan::example;
    use crate::tally::Tally;

    fn mock() -> Running {
        start(Options::default()).expect("a mock on a free port")
    }

    fn plan(mock: &Running, wire: Wire, path: &str) -> Plan {
        let plan = Plan { wire, streams: 5, connections: 3, ..example(mock.address) };
        Plan { paths: vec![path.into()], requests_max: 300, ..plan }
    }

    fn calls(mock: &Running, metadata: &[(&str, &str)]) -> Plan {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let fields = metadata.iter().map(pair).collect();
        Plan { fields, body_bytes: 50, ..plan(mock, Wire::Grpc, "/ringway.mock.Echo/Unary") }
    }

    fn offer(plan: Plan) -> Tally {
        load::run(plan, &[]).expect("a run").tally
    }

    #[test]
    fn requests_share_the_connections_and_are_counted_once() {
        let mock = mock();
        for (threads, wire) in [(1, Wire::Http2), (2, Wire::Http2), (2, Wire::Grpc)] {
            let before = (mock.requests(), mock.connections());
            let plan = if wire == Wire::Grpc { calls(&mock, &[]) } else { plan(&mock, wire, "/") };
            let tally = offer(Plan { threads, ..plan });
            assert_eq!((tally.completed, tally.errors(), tally.connects), (300, 0, 3));
            assert_eq!((mock.requests() - before.0, mock.connections() - before.1), (300, 3));
        }
    }

    #[test]
    fn an_open_loop_counts_from_the_intended_start() {
        let mock = mock();
        let calls = calls(&mock, &[("mock-delay-ms", "20")]);
        let tally =
            offer(Plan { rate: 1000, streams: 1, connections: 1, requests_max: 10, ..calls });
        // The tenth was meant to start after 9 ms and could not before 9 replies of 20 ms.
        assert!(tally.latency.max_us() >= 190_000.0);
        assert_eq!((tally.latency.count(), tally.completed), (10, 10));
    }

    #[test]
    fn failed_calls_are_told_apart() {
        let mock = mock();
        let tally = offer(calls(&mock, &[("mock-status", "14")]));
        assert_eq!((tally.errors(), tally.grpc_statuses[14]), (300, 300));
        let tally = offer(plan(&mock, Wire::Http2, "/?status=503&bytes=70000"));
        assert_eq!((tally.errors(), tally.statuses[5]), (300, 300));
        assert!(tally.bytes_in >= 300 * 70_000);
        let late = Plan { requests_max: 4, ..calls(&mock, &[("mock-delay-ms", "3000000")]) };
        let tally = offer(Plan { timeout: Duration::from_millis(50), ..late });
        assert_eq!((tally.faults, tally.connects), ([0, 0, 0, 4, 0], 3));
        let other = plan(&mock, Wire::Grpc, "/ringway.mock.Echo/ServerStream");
        let tally = offer(Plan { body_bytes: 10, ..other });
        assert_eq!(tally.faults, [0, 0, 0, 0, 300]);
        let plan = Plan { requests_max: 4, ..calls(&mock, &[]) };
        mock.stop();
        assert_eq!(offer(plan).faults, [4, 0, 0, 0, 0]);
    }

    #[test]
    fn nonsense_is_refused_before_the_load() {
        let mock = mock();
        for (name, value) in [("a b", "c"), ("a", "b\nc")] {
            assert!(load::run(calls(&mock, &[(name, value)]), &[]).is_err(), "{name}: {value}");
        }
        let plan = Plan { method: "G T".into(), ..plan(&mock, Wire::Http2, "/") };
        assert!(load::run(plan, &[]).is_err());
    }
}

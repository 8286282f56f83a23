//! The HTTP/1.1 mock against raw std sockets: what a client that knows nothing of it sees.
//!
//! It runs twice, on io_uring and, in a process of its own, on epoll.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use mock::http1::{Kind, Options, Running, body_byte, start};

fn mock() -> Running {
    start(Options::default()).expect("a mock on a free port")
}

struct Client(BufReader<TcpStream>);

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn new(mock: &Running) -> Self {
        Self(BufReader::new(TcpStream::connect(mock.address).expect("a connection")))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("a send");
    }

    fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).expect("a head line") > 0, "ended in {head:?}");
        }
        (head[9..12].parse().expect("a status"), head)
    }

    fn reply(&mut self) -> Reply {
        let (status, head) = self.head();
        let mut body = Vec::new();
        if head.contains("transfer-encoding: chunked") {
            while let part @ [_, ..] = &self.chunk()[..] {
                body.extend_from_slice(part);
            }
        } else if let Some((_, rest)) = head.split_once("content-length: ") {
            body.resize(rest.lines().next().unwrap().parse().unwrap(), 0);
            self.0.read_exact(&mut body).expect("a body");
        }
        Reply { status, head, body }
    }

    fn chunk(&mut self) -> Vec<u8> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a chunk line");
        let mut part = vec![0; usize::from_str_radix(line.trim(), 16).expect("a size") + 2];
        self.0.read_exact(&mut part).expect("a chunk");
        assert!(part.ends_with(b"\r\n"));
        part.truncate(part.len() - 2);
        part
    }

    fn get(&mut self, target: &str) -> Reply {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.reply()
    }

    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("a proper end");
        rest
    }
}

fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes).map(body_byte).collect()
}

#[test]
fn a_plain_path_is_answered_with_the_fixed_body_on_one_connection() {
    let mock = mock();
    let mut client = Client::new(&mock);
    for _ in 0..3 {
        let reply = client.get("/any");
        assert_eq!((reply.status, reply.body), (200, pattern(100)));
    }
    assert_eq!((mock.connections(), mock.requests()), (1, 3));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mock = mock();
    let mut client = Client::new(&mock);
    let requests: String =
        (0..50).map(|n| format!("GET /?bytes={n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    for part in requests.as_bytes().chunks(97) {
        client.send(part);
    }
    for n in 0..50 {
        assert_eq!(client.reply().body, pattern(n));
    }
}

#[test]
fn an_echo_tells_everything_of_the_request() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("PUT /echo?a=1 HTTP/1.1\r\nHost: x\r\nX-A: \"q\"\r\nContent-Length: 2\r\n\r\nhi");
    let reply = client.reply();
    assert!(reply.head.contains("content-type: application/json"));
    let head = r#"{"method":"PUT","target":"/echo?a=1","version":"1.1","fields":["#;
    let fields = r#"["Host","x"],["X-A","\"q\""],["Content-Length","2"]]"#;
    let body = ",\"body_bytes\":2,\"body\":\"hi\"}\n";
    assert_eq!(String::from_utf8(reply.body).unwrap(), [head, fields, body].concat());
}

#[test]
fn a_raw_echo_returns_a_chunked_body_of_many_reads() {
    let mock = mock();
    let mut client = Client::new(&mock);
    let body = pattern(300_000);
    client.send("POST /raw HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in body.chunks(7001) {
        client.send(format!("{:x}\r\n", part.len()));
        client.send(part);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().body, body);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_duplex_echo_answers_before_the_request_has_ended() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("POST /duplex HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.chunk(), b"abc");
    client.send("def");
    assert_eq!(client.chunk(), b"def");
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn large_bodies_come_whole_with_a_length_or_in_chunks() {
    let mock = mock();
    let mut client = Client::new(&mock);
    let body = pattern(5_000_000);
    assert_eq!(client.get("/?bytes=5000000").body, body);
    let chunked = client.get("/?bytes=5000000&chunked=1");
    assert!(!chunked.head.contains("content-length"));
    assert_eq!(chunked.body, body);
    assert_eq!(client.get("/?bytes=20&chunk_bytes=3").body, body[..20]);
}

#[test]
fn a_large_fixed_body_is_sent_as_prepared() {
    let mock = start(Options { body_bytes: 1 << 20, ..Options::default() }).unwrap();
    let mut client = Client::new(&mock);
    client.send("GET / HTTP/1.1\r\n\r\nGET /?bytes=1 HTTP/1.1\r\n\r\n");
    assert_eq!(client.reply().body, pattern(1 << 20));
    assert_eq!(client.reply().body, pattern(1));
}

#[test]
fn head_and_bodiless_statuses_send_no_body() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    assert!(client.head().1.contains("content-length: 100"));
    for status in [204, 304] {
        assert_eq!(client.get(&format!("/?status={status}")).status, status);
    }
    assert_eq!(client.get("/?status=503").status, 503);
}

#[test]
fn a_client_that_expects_continue_gets_it() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("POST /raw HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.head().0, 100);
    client.send("ok");
    assert_eq!(client.reply().body, b"ok");
}

#[test]
fn hints_come_before_the_reply_and_drips_add_up() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("GET /?hints=1&drip_ms=1&drip_bytes=30&delay_ms=1 HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().0, 103);
    assert_eq!(client.reply().body, pattern(100));
}

#[test]
fn close_until_close_and_abort_end_the_connection() {
    let mock = mock();
    let mut client = Client::new(&mock);
    assert!(client.get("/?close=1").head.contains("connection: close"));
    assert_eq!(client.rest(), b"");

    let mut client = Client::new(&mock);
    client.send("GET /?until_close=1 HTTP/1.1\r\n\r\n");
    assert!(!client.head().1.contains("content-length"));
    assert_eq!(client.rest(), pattern(100));

    let mut client = Client::new(&mock);
    client.send("GET /?abort_after=10 HTTP/1.1\r\n\r\n");
    assert!(client.head().1.contains("content-length: 100"));
    assert_eq!(client.rest(), pattern(10));

    let mut client = Client::new(&mock);
    client.send("GET /?abort_after=100&chunked=1 HTTP/1.1\r\n\r\n");
    client.head();
    assert_eq!(client.chunk(), pattern(100));
    assert_eq!(client.rest(), b"");
}

#[test]
fn http10_closes_unless_asked_to_stay() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(client.reply().head.contains("connection: keep-alive"));
    client.send("GET /?chunked=1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(client.head().1.contains("connection: close"));
    assert_eq!(client.rest(), pattern(100));
}

#[test]
fn an_early_reply_does_not_wait_for_the_body() {
    let mock = mock();
    let mut client = Client::new(&mock);
    client.send("POST /?early=1&status=413 HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.reply().status, 413);
    client.send("abc");
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn what_is_no_request_is_refused_and_closed() {
    let mock = mock();
    for (input, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)), 431),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".to_owned(), 400),
    ] {
        let mut client = Client::new(&mock);
        client.send(&input[..input.len().min(66_000)]);
        assert_eq!(client.reply().status, status);
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_connection_ends_unannounced_after_its_requests() {
    let options = Options { requests_per_connection_max: Some(2), ..Options::default() };
    let mock = start(options).unwrap();
    let mut client = Client::new(&mock);
    for _ in 0..2 {
        assert!(!client.get("/").head.contains("connection:"));
    }
    assert_eq!(client.rest(), b"");
}

#[test]
fn options_choose_what_an_ordinary_path_does() {
    let options = Options { kind: Kind::Echo, threads: 3, ..Options::default() };
    let mock = start(options).unwrap();
    for _ in 0..20 {
        let reply = Client::new(&mock).get("/here");
        assert!(reply.body.starts_with(b"{\"method\":\"GET\",\"target\":\"/here\""));
    }
    assert_eq!(mock.connections(), 20);
}

#[test]
fn a_stop_closes_idle_busy_and_silent_connections() {
    let mock = mock();
    let mut idle = Client::new(&mock);
    idle.get("/");
    let mut silent = Client::new(&mock);
    silent.send("GET /?silent=1 HTTP/1.1\r\n\r\n");
    let mut busy = Client::new(&mock);
    busy.send("GET /?bytes=1000000000 HTTP/1.1\r\n\r\n");
    busy.head();
    mock.stop();
    assert_eq!(idle.rest(), b"");
    // It may have been stopped before it was accepted, which resets it.
    drop(silent.0.read(&mut [0]));
    drop(std::io::copy(&mut busy.0, &mut std::io::sink()));
}

#[test]
fn a_busy_port_is_an_error() {
    let first = mock();
    assert!(start(Options { listen: first.address, ..Options::default() }).is_err());
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

//! Properties of the HTTP/1 wire over random messages: what is sent arrives, cuts change nothing,
//! mutated bytes never panic. The invariants themselves are in `fuzz.rs`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzz::{fuzz_chunked, fuzz_pair, fuzz_reply, fuzz_request};
use crate::head::{Head, Length};
use crate::pair::{Message, Peer, STREAM, answer_ok, status};
use crate::spec::WireSpec;
use crate::wire::{Role, Wire};

/// A request to be sent: head, body in chunks, trailers.
#[derive(Debug)]
struct Sent {
    head: Head,
    chunks: Vec<Vec<u8>>,
    trailers: Option<Head>,
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    // Names that no rule speaks of; values without surrounding space, bytes of all legal kinds.
    let value = "([!-~\u{a0}-\u{ff}]([ \t-~\u{a0}-\u{ff}]{0,20}[!-~])?)?"
        .prop_map(|v| v.replace('\u{7f}', ""));
    let value = value.prop_map(|v| v.chars().filter(|c| *c == '\t' || *c >= ' ').collect());
    vec(("x-[a-zA-Z0-9!#$%&'*+.^_`|~-]{0,12}", value), 0..12)
}

fn sent() -> impl Strategy<Value = Sent> {
    let chunks = vec(vec(any::<u8>(), 1..200), 0..5);
    let target = "/[a-zA-Z0-9/._~!$&'()*+,;=:@|-]{0,30}(\\?[ -\"$-~]{0,20})?";
    let target = target.prop_map(|t: String| t.replace(' ', "+"));
    ("[A-Z]{1,8}", target, fields(), chunks, any::<bool>(), fields()).prop_map(
        |(method, target, fields, chunks, exact, trailers)| {
            let mut head = Head::new();
            head.set_request(method.replace("CONNECT", "GET").as_bytes(), target.as_bytes());
            head.set_authority(b"Example.com:8080");
            fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
            let len = chunks.iter().map(Vec::len).sum::<usize>() as u64;
            let exact = exact || chunks.is_empty();
            head.set_length(if exact { Length::Exact(len) } else { Length::Unknown });
            let mut tail = Head::new();
            trailers.iter().for_each(|(name, value)| tail.push(name.as_bytes(), value.as_bytes()));
            let trailers = (!exact && tail.count() > 0).then_some(tail);
            Sent { head, chunks, trailers }
        },
    )
}

impl Sent {
    fn encode(&self) -> Vec<u8> {
        let mut client = Peer::new(Role::Client, WireSpec::default());
        client.wire.open().unwrap();
        let end = self.chunks.is_empty();
        client.with(|wire, cx| wire.head(STREAM, &self.head, end, cx)).unwrap();
        for chunk in &self.chunks {
            client.push(chunk, false).unwrap();
        }
        client.with(|wire, cx| wire.end(STREAM, self.trailers.as_ref(), cx)).unwrap();
        client.out
    }

    fn meaning(&self) -> String {
        let (mut head, mut tail) = (Head::new(), None);
        head.copy_from(&self.head);
        if let Some(trailers) = &self.trailers {
            let mut copy = Head::new();
            copy.copy_from(trailers);
            tail = Some(copy);
        }
        Message { head, body: self.chunks.concat(), trailers: tail, whole: true }.meaning()
    }
}

/// Pieces of messages that, put together at random, come close to what a parser must refuse.
fn snippets() -> impl Strategy<Value = Vec<u8>> {
    let snippet = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 103 x\r\n",
        "HTTP/1.0 200 OK\r\n",
        "Host: h\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: ws\r\n",
        "TE: trailers\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        "X : y\r\n",
        "hello",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "A: b\r\n",
        "5;x\r\n",
        ":",
        "\0",
        "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
    ]);
    vec(snippet, 0..14).prop_map(|snippets| snippets.concat().into_bytes())
}

/// Bytes with a few of them changed, removed or doubled.
fn mutate(mut bytes: Vec<u8>, changes: &[(u16, u8, u8)]) -> Vec<u8> {
    for &(at, kind, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(at) % bytes.len();
        match kind % 3 {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}

proptest! {
    // A found case becomes a test of its own, not a seed that the next strategy cannot read.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives(messages in vec(sent(), 1..4), steps in vec(1usize..400, 1..20)) {
        let bytes: Vec<u8> = messages.iter().flat_map(Sent::encode).collect();
        let mut server = Peer::server(WireSpec::default(), answer_ok);
        let (mut rest, mut steps) = (bytes.as_slice(), steps.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(*steps.next().unwrap()));
            server.feed(piece);
            rest = more;
        }
        prop_assert_eq!(server.failed, None);
        let got: Vec<_> = server.messages.iter().map(Message::meaning).collect();
        let want: Vec<_> = messages.iter().map(Sent::meaning).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn replies_arrive(
        body in vec(any::<u8>(), 0..300),
        exact: bool,
        http10: bool,
        step in 1usize..50,
    ) {
        let mut server = Peer::new(Role::Server, WireSpec::default());
        let version = if http10 { "1.0" } else { "1.1" };
        server.feed(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n").as_bytes());
        let length = if exact { Length::Exact(body.len() as u64) } else { Length::Unknown };
        server.reply(&status(200, length), &body);
        let mut client = Peer::asked("GET", WireSpec::default());
        client.feed_by(&server.out, step);
        client.eof(true);
        prop_assert_eq!(client.failed, None);
        prop_assert_eq!((&client.messages[0].body, client.messages[0].whole), (&body, true));
    }

    #[test]
    fn snippets_hold_the_invariants(bytes in snippets()) {
        fuzz_request(&bytes);
        fuzz_reply(&bytes);
        fuzz_reply(&[b"\x01", bytes.as_slice()].concat());
        fuzz_chunked(&bytes);
    }

    #[test]
    fn mutated_messages_hold_the_invariants(
        message in sent(),
        changes in vec((any::<u16>(), any::<u8>(), any::<u8>()), 1..6),
    ) {
        fuzz_request(&mutate(message.encode(), &changes));
        let chunks: Vec<u8> = message.chunks.iter().flat_map(|chunk| {
            [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
        }).chain(*b"0\r\n\r\n").collect();
        fuzz_chunked(&chunks);
        let chunks = mutate(chunks, &changes);
        fuzz_chunked(&chunks);
        let head = b"\x01HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        fuzz_reply(&[head, chunks.as_slice()].concat());
    }

    #[test]
    fn any_bytes_hold_the_invariants(bytes in vec(any::<u8>(), 0..200)) {
        fuzz_request(&bytes);
        fuzz_reply(&bytes);
        fuzz_chunked(&bytes);
    }

    #[test]
    fn scripts_hold_the_invariants(script in vec(any::<u8>(), 0..300)) {
        fuzz_pair(&script);
    }
}

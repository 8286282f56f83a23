//! The Thrift mock as its callers see it, in every dialect, and its packets against what other
//! implementations wrote.
//!
//! It runs twice, on io_uring and, in a process of its own, on epoll.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mock::thrift::{
    Encoding, Envelope, Head, Kind, OUT_OF_ORDER, Options, Outcome, Packet, Reader, Running, start,
    theader_blocks, ttheader_blocks, write,
};

/// Every dialect; of the headers with and without what they may have.
fn dialects() -> Vec<(Envelope, Encoding)> {
    let envelopes = [
        Envelope::Unframed,
        Envelope::Framed,
        Envelope::Theader { number: 7, flags: 0 },
        Envelope::Theader { number: 7, flags: OUT_OF_ORDER },
        Envelope::Ttheader { number: 7, protocol: 0, is_framed: false },
        Envelope::Ttheader { number: 7, protocol: 0, is_framed: true },
    ];
    let both = [Encoding::Binary, Encoding::Compact];
    envelopes.iter().flat_map(|&envelope| both.map(|encoding| (envelope, encoding))).collect()
}

/// One connection that speaks one dialect.
struct Caller {
    stream: TcpStream,
    reader: Reader,
    input: Vec<u8>,
    envelope: Envelope,
    encoding: Encoding,
}

/// A reply, with what of it must fit its call.
#[derive(Debug, PartialEq)]
struct Reply {
    envelope: Envelope,
    encoding: Encoding,
    name: Vec<u8>,
    number: i32,
    outcome: Outcome,
    body: Vec<u8>,
}

impl Caller {
    fn new(mock: &Running, (envelope, encoding): (Envelope, Encoding)) -> Self {
        let stream = TcpStream::connect(mock.address).expect("a connection");
        Self { stream, reader: Reader::default(), input: Vec::new(), envelope, encoding }
    }

    /// The bytes of a call whose argument is a string, as all of its headers have the number.
    fn call(
        &self,
        kind: Kind,
        name: &str,
        number: i32,
        text: &str,
        orders: &[(&str, &str)],
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let head = Head { encoding: self.encoding, kind, name: name.as_bytes(), number };
        let blocks = match self.envelope {
            Envelope::Ttheader { .. } => ttheader_blocks(&[(9, name)], orders),
            _ => theader_blocks(orders),
        };
        let body = string(self.encoding, 1, text);
        write(&mut out, numbered(self.envelope, number), &blocks, &head, &[&body]);
        out
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(packet) = self.reader.next(&self.input).expect("a packet") {
                let (reply, len) = (Reply::of(&packet), packet.len);
                self.input.drain(..len);
                return Some(reply);
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece).expect("bytes") {
                0 => return None,
                len => self.input.extend_from_slice(&piece[..len]),
            }
        }
    }

    fn wanted(&self, name: &str, number: i32, text: &str) -> Reply {
        Reply {
            envelope: numbered(self.envelope, number),
            encoding: self.encoding,
            name: name.into(),
            number,
            outcome: Outcome::Success,
            body: string(self.encoding, 0, text),
        }
    }
}

impl Reply {
    fn of(packet: &Packet<'_>) -> Self {
        Self {
            envelope: packet.envelope,
            encoding: packet.head.encoding,
            name: packet.head.name.into(),
            number: packet.head.number,
            outcome: packet.outcome().expect("an answer"),
            body: packet.body.into(),
        }
    }
}

fn numbered(envelope: Envelope, all: i32) -> Envelope {
    let number = all as u32;
    match envelope {
        Envelope::Theader { flags, .. } => Envelope::Theader { number, flags },
        Envelope::Ttheader { protocol, is_framed, .. } => {
            Envelope::Ttheader { number, protocol, is_framed }
        }
        other => other,
    }
}

/// A struct with one string.
fn string(encoding: Encoding, id: u8, text: &str) -> Vec<u8> {
    let len = text.len() as u8;
    let begin = match (encoding, id) {
        (Encoding::Binary, id) => vec![11, 0, id, 0, 0, 0, len],
        (Encoding::Compact, 0) => vec![8, 0, len],
        (Encoding::Compact, id) => vec![id << 4 | 8, len],
    };
    [&begin[..], text.as_bytes(), &[0]].concat()
}

fn mock() -> Running {
    start(Options::default()).expect("a mock on a free port")
}

#[test]
fn every_dialect_is_answered_in_itself() {
    let mock = mock();
    for dialect in dialects() {
        let mut caller = Caller::new(&mock, dialect);
        let calls = [
            caller.call(Kind::Call, "echo", 1, "one", &[]),
            caller.call(Kind::Oneway, "tell", 2, "two", &[]),
            caller.call(Kind::Call, "Echo:echo", -3, "three", &[]),
        ];
        // All at once, and the last one byte by byte.
        caller.send(&calls[..2].concat());
        calls[2].iter().for_each(|&byte| caller.send(&[byte]));
        assert_eq!(caller.reply(), Some(caller.wanted("echo", 1, "one")));
        assert_eq!(caller.reply(), Some(caller.wanted("echo", -3, "three")), "{dialect:?}");
        let fail = caller.call(Kind::Call, "fail", 4, "", &[]);
        caller.send(&fail);
        let reply = caller.reply().expect("a reply");
        assert_eq!((reply.outcome, reply.number), (Outcome::Exception(6), 4));
    }
    assert_eq!(mock.requests(), 4 * dialects().len() as u64);
}

#[test]
fn a_call_without_arguments_has_no_result() {
    let mock = mock();
    for (envelope, encoding) in dialects() {
        let mut caller = Caller::new(&mock, (envelope, encoding));
        let head = Head { encoding, kind: Kind::Call, name: b"ping", number: 9 };
        let mut call = Vec::new();
        write(&mut call, envelope, &[], &head, &[&[0]]);
        caller.send(&call);
        let reply = caller.reply().expect("a reply");
        assert_eq!((reply.outcome, &reply.body[..]), (Outcome::Success, &[0][..]));
    }
}

#[test]
fn headers_ask_for_an_exception_and_nonsense_is_one() {
    let mock = mock();
    for dialect in dialects().split_off(4) {
        let mut caller = Caller::new(&mock, dialect);
        for (orders, kind) in [
            (("mock-exception", "1"), 1),
            (("mock-exception", "x"), 6),
            (("mock-delay-ms", "-1"), 6),
        ] {
            let call = caller.call(Kind::Call, "echo", 1, "one", &[orders]);
            caller.send(&call);
            let reply = caller.reply().expect("a reply");
            assert_eq!(reply.outcome, Outcome::Exception(kind), "{orders:?}");
        }
    }
}

#[test]
fn replies_overtake_each_other_only_where_they_may() {
    let mock = mock();
    let mut callers = Vec::new();
    for dialect in dialects().split_off(4) {
        let mut caller = Caller::new(&mock, dialect);
        let slow = caller.call(Kind::Call, "echo", 1, "slow", &[("mock-delay-ms", "500")]);
        let fast = caller.call(Kind::Call, "echo", 2, "fast", &[]);
        caller.send(&[slow, fast].concat());
        callers.push(caller);
    }
    for mut caller in callers {
        let numbers = [(); 2].map(|()| caller.reply().expect("a reply").number);
        let wanted = if caller.envelope.is_out_of_order() { [2, 1] } else { [1, 2] };
        assert_eq!(numbers, wanted, "{:?} {:?}", caller.envelope, caller.encoding);
    }
}

#[test]
fn a_delay_is_for_each_call_of_an_ordered_connection() {
    let delay = Duration::from_millis(20);
    let mock = start(Options { delay, ..Options::default() }).expect("a mock");
    let mut caller = Caller::new(&mock, (Envelope::Framed, Encoding::Binary));
    let calls: Vec<u8> =
        (0..3).flat_map(|number| caller.call(Kind::Call, "echo", number, "", &[])).collect();
    let begin = Instant::now();
    caller.send(&calls);
    for number in 0..3 {
        assert_eq!(caller.reply().expect("a reply").number, number);
    }
    assert!(begin.elapsed() >= 3 * delay);
}

#[test]
fn what_is_no_call_ends_the_connection_behind_its_replies() {
    let mock = mock();
    let framed = (Envelope::Framed, Encoding::Binary);
    let reply = Caller::new(&mock, framed).call(Kind::Reply, "echo", 1, "", &[]);
    let broken: [&[u8]; 6] = [
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x08GET / HT",
        b"\0\0\0\x0c\x80\x01\0\x01\xff\xff\xff\xffecho",
        b"\0\0\0\x10\x0f\xff\0\0\0\0\0\0\0\x01\0\x01\x01\0\0\0",
        &reply,
    ];
    for bytes in broken {
        let mut caller = Caller::new(&mock, framed);
        let call = caller.call(Kind::Call, "echo", 1, "one", &[]);
        caller.send(&[&call, bytes].concat());
        assert_eq!(caller.reply(), Some(caller.wanted("echo", 1, "one")));
        assert_eq!(caller.reply(), None, "{bytes:x?}");
    }
}

#[test]
fn packets_of_others_are_written_as_they_were_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocols/testdata/thrift");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of recorded messages") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = hex(&std::fs::read_to_string(&path).expect("hex"));
        // Binary without a version, zlib and frames of streams are not the mock's.
        if ["lax_call", "zlib", "streaming", "mesh", "bigf", "big_frame"]
            .iter()
            .any(|word| name.contains(word))
        {
            continue;
        }
        count += again(&name, &bytes);
    }
    assert!(count > 100, "only {count} packets");
}

/// How many packets there are, once each was read and written.
fn again(name: &str, bytes: &[u8]) -> usize {
    let (mut reader, mut at, mut count) = (Reader::default(), 0, 0);
    while at < bytes.len() {
        let packet =
            reader.next(&bytes[at..]).unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
        let packet = packet.unwrap_or_else(|| panic!("{name}: cut short"));
        let mut out = Vec::new();
        let Packet { envelope, blocks, head, body, len } = packet;
        write(&mut out, envelope, blocks, &head, &[body]);
        assert_eq!(out, bytes[at..at + len], "{name}");
        at += len;
        count += 1;
    }
    count
}

fn hex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u32> = lines.flat_map(str::chars).filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
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

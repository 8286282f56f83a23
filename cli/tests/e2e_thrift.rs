//! End to end: broken callers and broken servers of Thrift. Each gets a definite exception or a
//! close and one line in the log, and no link is used again that may be in the middle of something.
#![forbid(unsafe_code)]

mod support;

use support::thrift::{
    CALL, EMPTY, EXCEPTION, ONEWAY, REPLY, call, exception, frame, framed, message,
};
use support::{Client, Folder, Gateway, Origin, Setup};

/// Where a method leads is what its server does to its calls: sequence id in, bytes out.
type Answer = fn(u32) -> Vec<u8>;

const SERVERS: &[(&str, Answer, &str)] = &[
    ("wrong_seqid", |seqid| answer("wrong_seqid", seqid + 1), "upstream_protocol_error"),
    ("wrong_name", |seqid| answer("another", seqid), "upstream_protocol_error"),
    ("garbage", |_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "upstream_protocol_error"),
    ("huge", |_| b"\x7f\xff\xff\xff\x80\x01\0\x02".to_vec(), "upstream_protocol_error"),
    ("no_frame", |_| message(EXCEPTION, "", 0, EMPTY), "upstream_protocol_error"),
    ("closes", |_| Vec::new(), "upstream_reset_before_head"),
];

fn answer(name: &str, seqid: u32) -> Vec<u8> {
    framed(&message(REPLY, name, seqid, EMPTY))
}

/// A server that reads calls and closes the connection after an answer that is nothing.
fn server(answer: Answer) -> Origin {
    Origin::start(move |mut accepted| {
        while let Some(len) = accepted.read_exactly(4) {
            let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
            let Some(call) = accepted.read_exactly(len as usize) else { return };
            let name_len = usize::from(call[7]);
            let seqid = call[8 + name_len..12 + name_len].try_into().expect("four bytes");
            let said = answer(u32::from_be_bytes(seqid));
            if said.is_empty() || !accepted.write(&said) {
                return;
            }
        }
    })
}

/// A listener for all, one for Thrift alone, and a cluster for each method.
fn start(folder: &Folder, methods: &[(&str, &Origin)]) -> Gateway {
    let mut config = "version: 1\n\
        listeners:\n\
        - {name: all, address: '127.0.0.1:0', protocols: [http1, http2, thrift]}\n\
        - {name: calls, address: '127.0.0.2:0', protocols: [thrift]}\n\
        clusters:\n"
        .to_owned();
    for (name, origin) in methods {
        let endpoint = origin.address;
        config += &format!("  {name}: {{protocol: thrift, endpoints: ['{endpoint}']}}\n");
    }
    config += "routes:\n";
    for (name, _) in methods {
        config += &format!("- {{id: {name}, cluster: {name}, match: {{path: '/*/{name}'}}}}\n")
            .replace("/*/", "/{service}/");
    }
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

fn echo() -> Origin {
    server(|seqid| answer("echo", seqid))
}

fn is_answered(client: &mut Client, seqid: u32) -> bool {
    client.send(call("echo", seqid, EMPTY));
    frame(client) == message(REPLY, "echo", seqid, EMPTY)
}

#[test]
fn first_bytes_of_nothing_that_is_taken_close_with_a_word() {
    let (folder, origin) = (Folder::new(), echo());
    let gateway = start(&folder, &[("echo", &origin)]);
    let [all, calls] = gateway.addresses()[..] else { panic!("two listeners") };
    let cases: &[(_, &[u8], &str)] = &[
        (all, b"\x7f\xff\xff\xff\x80\x01\0\x01", "unknown_protocol"),
        (all, b"\x3f\xff\xff\xff\x80\x01\0\x01", "thrift_frame_too_large"),
        (all, b"\0\0\0\0", "bad_thrift_frame"),
        (all, b"\0\0\0\x20\x90\x01\0\x01", "kitex_protobuf"),
        (all, b"\xff\xaf\0\x10", "mesh_header"),
        (all, b"SSH-2.0-x\r\n", "ssh_banner"),
        (all, b"\x16\x03\x01\x02\0\x01", "protocol_not_allowed"),
        (calls, b"GET / HTTP/1.1\r\n\r\n", "protocol_not_allowed"),
        (calls, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "protocol_not_allowed"),
        // Nothing more comes: what a connection may be is not waited for without end.
        (calls, b"\0\0", "protocol_timeout"),
    ];
    for (count, (address, bytes, word)) in (1..).zip(cases) {
        let mut client = Client::connect(*address);
        client.send(bytes);
        assert!(client.is_closed(), "{word}");
        let log = gateway.log(count);
        assert_eq!(log.len(), count, "{word}: one line each");
        let line = &log[count - 1];
        assert_eq!((&line["reason"], &line["status"]), (&(*word).into(), &0.into()));
        assert!(gateway.metric_of("ringway_connection_closes_total", word) >= 1.0, "{word}");
    }
    let mut client = Client::connect(all);
    client.send("G@T / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.reply().map(|reply| reply.status).ok(), Some(400), "bad HTTP is HTTP");
    assert!(is_answered(&mut Client::connect(calls), 1));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn broken_calls_are_answered_and_end_their_connection() {
    let (folder, origin) = (Folder::new(), echo());
    let gateway = start(&folder, &[("echo", &origin)]);
    let deep = [12, 0, 1].repeat(10_000);
    let cases: &[(&[u8], &str)] = &[
        (b"\x0b\0\x01\xff\xff\xff\xff\0", "bad_thrift_struct"),
        (b"\x0b\0\x01\x7f\xff\xff\xff\0", "thrift_struct_truncated"),
        (b"\x0f\0\x01\x0b\x7f\xff\xff\xff\0", "thrift_struct_truncated"),
        (b"\0garbage", "thrift_frame_garbage"),
        (&deep, "thrift_too_deep"),
    ];
    for (count, (payload, word)) in (1..).zip(cases) {
        let mut client = Client::connect(gateway.address);
        client.send(call("echo", 7, payload));
        let expected = message(EXCEPTION, "echo", 7, &exception(word, 7));
        assert_eq!(frame(&mut client).escape_ascii().to_string(), {
            expected.escape_ascii().to_string()
        });
        assert!(client.is_closed(), "{word}");
        let log = gateway.log(count);
        assert_eq!((log.len(), &log[count - 1]["reason"]), (count, &(*word).into()));
    }
    assert!(is_answered(&mut Client::connect(gateway.address), 1));
    gateway.until_idle();
}

#[test]
fn broken_servers_are_an_exception_and_their_links_are_not_used_again() {
    let folder = Folder::new();
    let origins: Vec<Origin> = SERVERS.iter().map(|(_, answer, _)| server(*answer)).collect();
    let methods: Vec<_> = SERVERS.iter().map(|server| server.0).zip(&origins).collect();
    let gateway = start(&folder, &methods);
    let mut client = Client::connect(gateway.address);
    for ((name, _, word), origin) in SERVERS.iter().zip(&origins) {
        for times in 1..=2 {
            client.send(call(name, 9, EMPTY));
            let expected = message(EXCEPTION, name, 9, &exception(word, 6));
            assert_eq!(frame(&mut client), expected, "{name}");
            assert_eq!(origin.connections(), times, "{name}: a link each");
        }
    }
    let log = gateway.log(2 * SERVERS.len());
    for (line, (_, _, word)) in log.chunks(2).zip(SERVERS) {
        let words = [&line[0]["reason"], &line[1]["reason"]];
        assert_eq!(words, [&serde_json::Value::from(*word); 2]);
    }
}

/// A server that answers what nobody may answer, however late: its link takes no further call.
#[test]
fn an_answered_oneway_ends_its_link() {
    let (folder, origin) = (Folder::new(), echo());
    let gateway = start(&folder, &[("echo", &origin)]);
    let mut client = Client::connect(gateway.address);
    client.send(framed(&message(ONEWAY, "echo", 3, EMPTY)));
    let evicted = || gateway.metric_of("ringway_upstream_pool_evicted_total", "reply_to_oneway");
    support::until("the link is dropped", || evicted() == 1.0);
    assert!(is_answered(&mut client, 4));
    assert_eq!(origin.connections(), 2);
}

#[test]
fn http_is_not_translated() {
    let (folder, origin) = (Folder::new(), echo());
    let gateway = start(&folder, &[("echo", &origin)]);
    let reply = gateway.client().get("/Echo/echo");
    assert_eq!((reply.status, reply.text().as_str()), (501, "501 protocol_mismatch\n"));
    assert_eq!(origin.connections(), 0);
}

/// Neither a caller between its calls nor one that has said nothing yet holds a drain up.
/// Its methods are no call's, whatever they are called.
#[test]
fn http_matches_no_route_of_calls() {
    let (folder, calls, web) = (Folder::new(), echo(), Origin::recording());
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', protocols: [http1, thrift]}}]\n\
         clusters:\n\
         \x20 calls: {{protocol: thrift, endpoints: ['{}']}}\n\
         \x20 web: {{endpoints: ['{}']}}\n\
         routes:\n\
         - {{id: calls, cluster: calls, match: {{thrift: {{}}}}}}\n\
         - {{id: named, cluster: calls, match: {{path: /web/only, methods: [CALL]}}}}\n\
         - {{id: web, cluster: web, match: {{path: '/web/*'}}}}\n",
        calls.address, web.address
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    assert!(is_answered(&mut Client::connect(gateway.address), 1));
    let mut client = gateway.client();
    for method in ["CALL", "ONEWAY"] {
        for (path, status) in [("/-/echo", 404), ("/web/echo", 200), ("/web/only", 200)] {
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.reply().expect("a reply").status, status, "{method} {path}");
        }
    }
    assert!(web.received().contains("ONEWAY /web/echo HTTP/1.1\r\n"), "{}", web.received());
}

#[test]
fn a_drain_ends_idle_connections_and_answers_calls() {
    let folder = Folder::new();
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = std::sync::Mutex::new(held);
    let slow = Origin::start(move |mut accepted| {
        let call = accepted.read_exactly(4 + message(CALL, "slow", 0, EMPTY).len());
        let seqid = call.as_deref().and_then(|call| call[16..20].try_into().ok());
        held.lock().expect("one connection").recv().expect("the test lives");
        accepted.write(&answer("slow", u32::from_be_bytes(seqid.expect("a call"))));
        accepted.drain();
    });
    let origin = echo();
    let mut gateway = start(&folder, &[("echo", &origin), ("slow", &slow)]);
    let silent = Client::connect(gateway.address);
    let mut idle = Client::connect(gateway.address);
    assert!(is_answered(&mut idle, 1));
    let mut busy = Client::connect(gateway.address);
    busy.send(call("slow", 2, EMPTY));
    support::until("the call is on its way", || slow.connections() == 1);
    gateway.signal("TERM");
    for mut client in [silent, idle] {
        assert!(client.is_closed());
    }
    release.send(()).expect("the server waits");
    assert_eq!(frame(&mut busy), message(REPLY, "slow", 2, EMPTY));
    assert!(busy.is_closed());
    assert_eq!(gateway.wait(), support::Exit(Some(0)));
}

/// A TTHeader with these pairs, around what follows it. No flags; Binary, no transforms.
fn ttheader(seqid: u32, pairs: &[(&[u8], &[u8])], inside: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| [&(text.len() as u16).to_be_bytes(), text].concat();
    let mut header = vec![0, 0];
    if !pairs.is_empty() {
        header.push(1);
        header.extend((pairs.len() as u16).to_be_bytes());
        pairs.iter().for_each(|(key, value)| header.extend([text(key), text(value)].concat()));
    }
    header.resize(header.len().next_multiple_of(4), 0);
    let words = ((header.len() / 4) as u16).to_be_bytes();
    framed(&[&[0x10, 0, 0, 0], &seqid.to_be_bytes()[..], &words, &header, inside].concat())
}

/// A server of TTHeader with a frame inside that looks at each call.
fn server_of_ttheader(look: fn(&[u8])) -> Origin {
    Origin::start(move |mut accepted| {
        while let Some(len) = accepted.read_exactly(4) {
            let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
            let Some(call) = accepted.read_exactly(len as usize) else { return };
            assert_eq!(call[..2], [0x10, 0], "the magic number");
            let seqid = u32::from_be_bytes(call[4..8].try_into().expect("four bytes"));
            let inside = framed(&message(CALL, "echo", seqid, EMPTY));
            assert!(call.ends_with(&inside), "{}", call.escape_ascii());
            look(&call);
            accepted.write(&ttheader(seqid, &[], &answer("echo", seqid)));
        }
    })
}

fn before_ttheader(folder: &Folder, origin: &Origin) -> Gateway {
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', protocols: [thrift]}}]\n\
         clusters: {{c: {{protocol: thrift, thrift: {{transport: ttheader}}, \
         endpoints: ['{}']}}}}\n\
         routes: [{{id: r, cluster: c, match: {{thrift: {{method: echo}}}}}}]\n",
        origin.address
    );
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

/// A framed caller of a cluster that speaks TTHeader: the server sees a header with a frame inside
/// and answers with one, and a second call shares the link.
#[test]
fn a_framed_caller_reaches_a_server_of_ttheader() {
    let folder = Folder::new();
    let origin = server_of_ttheader(|_| {});
    let gateway = before_ttheader(&folder, &origin);
    let mut client = Client::connect(gateway.address);
    assert!(is_answered(&mut client, 70));
    assert!(is_answered(&mut client, 71));
    assert_eq!(origin.connections(), 1);
    assert_eq!(gateway.log(2)[0]["protocol"], "thrift_framed");
}

/// What readers of a TTHeader could not take for UTF-8 is left out of it, and counted.
#[test]
fn pairs_that_cannot_be_written_are_counted() {
    let folder = Folder::new();
    let origin = server_of_ttheader(|call| {
        let has = |text: &[u8]| call.windows(text.len()).any(|window| window == text);
        assert!(has(b"x-plain") && has(b"Thrift/1 ringway"), "{}", call.escape_ascii());
        assert!(!has(b"x-broken"), "{}", call.escape_ascii());
    });
    let gateway = before_ttheader(&folder, &origin);
    let mut client = Client::connect(gateway.address);
    let pairs: &[(&[u8], &[u8])] = &[(b"x-broken", b"\xff"), (b"x-plain", b"yes")];
    client.send(ttheader(5, pairs, &message(CALL, "echo", 5, EMPTY)));
    assert!(frame(&mut client).ends_with(&message(REPLY, "echo", 5, EMPTY)));
    assert_eq!(gateway.log(1)[0]["protocol"], "thrift_ttheader");
    assert_eq!(gateway.metric_of("ringway_metadata_dropped_total", "not_utf8"), 1.0);
}

/// A framed caller has to be told how long the reply of an unframed server is, so that the whole
/// reply is collected: up to the same limit that each of both connections has.
#[test]
fn the_longest_frame_is_a_setting() {
    const CALL_BYTES: usize = 17;
    let text = [&[11, 0, 0][..], &(17_u32 << 20).to_be_bytes(), &vec![b'x'; 17 << 20], &[0]];
    let text = text.concat();
    let reply = message(REPLY, "echo", 1, &text);
    let expected = reply.clone();
    let origin = Origin::start(move |mut accepted| {
        while accepted.read_exactly(CALL_BYTES).is_some() && accepted.write(&reply) {}
    });
    let folder = Folder::new();
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', protocols: [thrift]}}]\n\
         clusters: {{c: {{protocol: thrift, thrift: {{transport: buffered}}, \
         endpoints: ['{}']}}}}\n\
         routes: [{{id: r, cluster: c}}]\n",
        origin.address
    );
    let file = folder.write("ringway.yaml", config);
    let ask = |max: &str| {
        let gateway = Setup::config(&file).flag("--thrift-frame-bytes-max", max).start();
        let mut client = Client::connect(gateway.address);
        client.send(call("echo", 1, EMPTY));
        frame(&mut client)
    };
    assert!(ask("18MiB") == expected, "it is whole");
    let refused = message(EXCEPTION, "echo", 1, &exception("upstream_protocol_error", 6));
    assert_eq!(ask("16MiB"), refused);
}

//! End to end: bytes passed through, PROXY headers in and out.
#![forbid(unsafe_code)]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;

use support::{Client, Folder, Gateway, Origin, Setup, until};

/// A `tcp` listener in front of an origin; `listener` and `cluster` are added to them.
fn passing(folder: &Folder, upstream: SocketAddr, listener: &str, cluster: &str) -> Gateway {
    let config = format!(
        "version: 1\n\
         listeners:\n\
         - {{name: db, address: '127.0.0.1:0', protocols: [tcp], cluster: c{listener}}}\n\
         clusters: {{c: {{protocol: tcp, endpoints: ['{upstream}']{cluster}}}}}\n"
    );
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

/// An HTTP listener that wants PROXY headers.
fn behind_a_proxy(folder: &Folder, upstream: SocketAddr, proxy: &str, cluster: &str) -> Gateway {
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', proxy_protocol: {proxy}}}]\n\
         clusters: {{c: {{endpoints: ['{upstream}']{cluster}}}}}\n\
         routes: [{{id: r, cluster: c}}]\n"
    );
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

/// Says `220` first, echoes, and says `bye` after the other side's end.
fn talker() -> Origin {
    Origin::start(|mut accepted| {
        accepted.write(b"220 ready\r\n");
        while let Some(piece) = accepted.read(64 * 1024) {
            accepted.write(&piece);
        }
        accepted.write(b"bye");
    })
}

#[test]
fn a_server_that_speaks_first_is_heard_and_both_ends_pass() {
    let (folder, origin) = (Folder::new(), talker());
    let gateway = passing(&folder, origin.address, "", "");
    let mut client = gateway.client();
    assert_eq!(client.exactly(11).unwrap(), b"220 ready\r\n");
    let payload: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    let (mut writer, sent) = (client.writer(), payload.clone());
    let sending = std::thread::spawn(move || writer.write_all(&sent));
    assert!(client.exactly(payload.len()).unwrap() == payload, "the echo differs");
    sending.join().unwrap().unwrap();
    client.shut_write();
    assert_eq!(client.rest().unwrap(), b"bye");
    let line = &gateway.log(1)[0];
    assert_eq!((&line["protocol"], &line["route"]), (&"tcp".into(), &"db".into()));
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes_in"], payload.len());
    assert_eq!(line["bytes_out"], payload.len() + 14);
    gateway.until_idle();
}

#[test]
fn a_connection_that_cannot_be_passed_on_is_reset_and_logged() {
    let folder = Folder::new();
    let gateway = passing(&folder, Origin::absent(), "", "");
    let mut client = gateway.client();
    assert!(client.rest().is_err(), "a FIN would be an answer");
    let line = &gateway.log(1)[0];
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&502.into(), &"upstream_connect_failed".into())
    );
}

#[test]
fn a_reset_upstream_resets_the_client() {
    let origin = Origin::start(|mut accepted| {
        // Closing with unread bytes resets.
        accepted.read(1);
    });
    let folder = Folder::new();
    let gateway = passing(&folder, origin.address, "", "");
    let mut client = gateway.client();
    client.send(vec![b'x'; 100_000]);
    assert!(client.rest().is_err(), "half of a stream must not look whole");
    gateway.until_idle();
}

#[test]
fn a_stream_behind_a_dead_endpoint_goes_to_the_next() {
    let (folder, origin) = (Folder::new(), talker());
    let config = format!(
        "version: 1\n\
         listeners: [{{name: db, address: '127.0.0.1:0', protocols: [tcp], cluster: c}}]\n\
         clusters: {{c: {{protocol: tcp, endpoints: ['{}', '{}'], retries: 1}}}}\n",
        Origin::absent(),
        origin.address
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    for _ in 0..4 {
        assert_eq!(gateway.client().exactly(11).unwrap(), b"220 ready\r\n");
    }
}

#[test]
fn a_proxy_header_names_the_client() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let proxy = "{from: [127.0.0.0/8]}";
    let gateway = behind_a_proxy(&folder, origin.address, proxy, "");
    let v1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let v2: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00\x02\x08\xc6\x33\x64\x01\x10\0\x01\xbb";
    for (header, address) in [(v1, "192.0.2.7"), (v2, "192.0.2.8")] {
        let mut client = gateway.client();
        // A byte at a time: the header may come in any pieces.
        for byte in header {
            client.send([*byte]);
        }
        for _ in 0..2 {
            assert_eq!(client.get("/").status, 200);
        }
        let told = format!("\r\nx-forwarded-for: {address}\r\n");
        assert_eq!(origin.received().matches(&told).count(), 2, "{}", origin.received());
    }
    assert!(gateway.log(4)[0]["peer"].as_str().unwrap().starts_with("192.0.2.7"));
}

#[test]
fn a_header_that_is_wrong_missing_or_untrusted_ends_the_connection() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let trusting = behind_a_proxy(&folder, origin.address, "{from: [127.0.0.0/8]}", "");
    for bytes in ["PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = trusting.client();
        client.send(bytes);
        assert!(client.is_closed(), "{bytes}");
    }
    let metrics = trusting.admin("/metrics").1;
    for word in ["bad_proxy_header", "proxy_header_missing"] {
        assert!(metrics.contains(&format!("\"{word}\"")), "{word}: {metrics}");
    }
    let other = Folder::new();
    let distrusting = behind_a_proxy(&other, origin.address, "{from: [10.0.0.0/8]}", "");
    assert!(distrusting.client().is_closed());
    assert!(distrusting.admin("/metrics").1.contains("\"proxy_untrusted\""));
    assert_eq!(origin.received(), "", "nothing was forwarded");
}

#[test]
fn an_optional_header_may_be_absent_and_is_not_believed_from_strangers() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let proxy = "{from: [127.0.0.0/8], required: false}";
    let gateway = behind_a_proxy(&folder, origin.address, proxy, "");
    assert_eq!(gateway.client().get("/").status, 200);
    let other = Folder::new();
    let proxy = "{from: [10.0.0.0/8], required: false}";
    let gateway = behind_a_proxy(&other, origin.address, proxy, "");
    let mut client = gateway.client();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 400, "the header is no request");
    assert!(!origin.received().contains("192.0.2.7"));
}

#[test]
fn upstreams_are_told_by_a_header_of_their_own() {
    let (folder, origin) = (Folder::new(), talker());
    let gateway = passing(&folder, origin.address, "", ", proxy_protocol: v1");
    let mut client = gateway.client();
    client.exactly(11).unwrap();
    let local = client.local();
    let expected =
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", local.port(), gateway.address.port());
    until("the header is there", || origin.received() == expected);
    client.send("hello");
    until("the bytes follow it", || origin.received() == format!("{expected}hello"));
}

#[test]
fn links_with_a_header_serve_one_client_only() {
    let origin = Origin::start(|mut accepted| {
        // Signature, command and family, length, 12 bytes of addresses.
        let header = accepted.read_exactly(28).unwrap_or_default();
        assert_eq!(&header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        while accepted.read_head().is_some() {
            accepted.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let folder = Folder::new();
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{}'], proxy_protocol: v2}}}}\n\
         routes: [{{id: r, cluster: c}}]\n",
        origin.address
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    let (mut one, mut two) = (gateway.client(), gateway.client());
    for client in [&mut one, &mut two] {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(origin.connections(), 2);
}

/// The PROXY header of one hop is what the next one reads.
#[test]
fn two_gateways_in_a_row_agree_on_the_client() {
    let (folder, inner_folder, origin) = (Folder::new(), Folder::new(), Origin::recording());
    let inner = behind_a_proxy(&inner_folder, origin.address, "{from: [127.0.0.1]}", "");
    let outer = passing(&folder, inner.address, "", ", proxy_protocol: v2");
    let mut client: Client = outer.client();
    assert_eq!(client.get("/").status, 200);
    let port = client.local().port();
    assert_eq!(inner.log(1)[0]["peer"], format!("127.0.0.1:{port}"));
}

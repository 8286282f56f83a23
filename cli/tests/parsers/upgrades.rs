//! Upgrade in replies: where none was asked for, and framing fields in a 101.

use crate::support::{Folder, Origin, Setup, Talk};

/// Upgrade in another reply than 101 tells what the origin could speak on its own connection: it
/// goes no further, and the content is framed as ever (RFC 9110 §7.8).
#[test]
fn upgrade_in_a_200() {
    let mut talk = Talk::start();
    let upgrade = "Connection: upgrade\r\nUpgrade: h2c\r\n";
    for framing in [
        "content-length: 4\r\n\r\nbody",
        "transfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    ] {
        talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\n{upgrade}{framing}"));
        talk.reply(format!("HTTP/1.1 200 OK\r\n{framing}")).goes_on();
    }
    talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\n{upgrade}\r\nbody"));
    talk.reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n");
    talk.origin_finishes().reply("0\r\n\r\n").link_closed().goes_on();
}

/// A 101 has no content: framing fields in it are not passed on, and what follows belongs to the
/// new protocol, byte for byte (RFC 9110 §8.6, §15.2.2, RFC 9112 §6.1).
#[test]
fn framing_fields_in_a_101() {
    for (framing, tunnelled) in [
        ("Content-Length: 4\r\n", "bodyproto"),
        ("Transfer-Encoding: chunked\r\n", "2\r\nbo\r\n0\r\n\r\nproto"),
    ] {
        let origin = Origin::start(move |mut accepted| {
            accepted.read_head();
            let start = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: ws\r\n";
            accepted.write(format!("{start}{framing}\r\n{tunnelled}").as_bytes());
            accepted.drain();
        });
        let folder = Folder::new();
        let config = format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
             clusters: {{c: {{endpoints: ['{}']}}}}\n\
             routes: [{{id: r, cluster: c, upgrade: [ws]}}]\n",
            origin.address
        );
        let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: ws\r\n\r\n");
        let head = client.head().expect("a reply");
        assert_eq!((head.status, head.field("upgrade")), (101, Some("ws")));
        assert_eq!((head.field("content-length"), head.field("transfer-encoding")), (None, None));
        let bytes = client.exactly(tunnelled.len()).expect("what follows");
        assert_eq!(String::from_utf8_lossy(&bytes), tunnelled);
    }
}

//! Clients that claim to be somebody else: what the origin is told of the client is the gateway's
//! word alone.

use crate::support::{Origin, Setup, Talk};

/// What the origin got, in lower case, for a request with these lines.
fn told(lines: &str) -> Vec<String> {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).start();
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
    assert_eq!(client.reply().expect("a reply").status, 200);
    origin.received().to_lowercase().lines().map(|line| line.trim_end().to_owned()).collect()
}

fn values(lines: &[String], name: &str) -> Vec<String> {
    let start = format!("{name}:");
    let values = lines.iter().filter_map(|line| line.strip_prefix(&start));
    values.map(|value| value.trim().to_owned()).collect()
}

#[test]
fn claims_of_an_untrusted_client_are_replaced() {
    let lines = told(
        "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n",
    );
    assert_eq!(values(&lines, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&lines, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&lines, "x-forwarded-host"), ["test"]);
    let text = lines.join("\n");
    assert!(!text.contains("6.6.6.6") && !text.contains("evil"), "{text}");
}

/// Neither Connection nor an underscore nor a trailer gets around that.
#[test]
fn claims_do_not_come_in_disguise() {
    let mut talk = Talk::start();
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP"] {
        talk.get(&format!("Connection: {name}\r\n")).refused(400, "bad_connection");
        let other = name.replace('-', "_");
        if other != name {
            let line = format!("{other}: 6.6.6.6\r\n");
            talk.get(&line).refused(400, "bad_field_name");
            talk.get(&line.to_lowercase()).refused(400, "bad_field_name");
        }
        let chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n";
        talk.client(format!("GET / HTTP/1.1\r\nHost: test\r\n{chunked}{name}: 6.6.6.6\r\n\r\n"));
        talk.forwarded_get("transfer-encoding: chunked\r\n").forwarded("0\r\n\r\n").answered();
    }
    talk.goes_on();
}

/// A request id that is none is replaced; it would be written into logs.
#[test]
fn a_request_id_that_is_none_is_replaced() {
    for id in ["a b", "\"\"", "a;b", "\u{e4}", &"a".repeat(129)] {
        let lines = told(&format!("X-Request-Id: {id}\r\n"));
        let ids = values(&lines, "x-request-id");
        assert!(ids.len() == 1 && ids[0] != id && ids[0].len() == 32, "{id:?}: {ids:?}");
    }
}

/// A PROXY head where none is asked for is no request.
#[test]
fn a_proxy_head_is_refused() {
    let mut talk = Talk::start();
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    talk.client(format!("PROXY TCP4 6.6.6.6 7.7.7.7 1 2\r\n{request}"));
    talk.refused(400, "bad_request_line");
    let second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x07\x07\x07\x07\0\x01\0\x02";
    talk.client([second, request.as_bytes()].concat()).refused(400, "bad_request_line");
}

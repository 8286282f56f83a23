//! RFC 9110 section 7: what an intermediary takes off, keeps and adds.

use crate::support::{Folder, Origin, Setup, Talk};

/// Fields of one hop go no further, listed in Connection or not, in both directions (§7.6).
#[test]
fn fields_of_one_hop_are_removed() {
    let mut talk = Talk::start();
    let hop = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nHTTP2-Settings: AAMA\r\n\
               TE: gzip\r\nConnection: keep-alive\r\n";
    talk.get(&format!("{hop}X: kept\r\n")).forwarded_get("X: kept\r\n");
    talk.origin(format!("HTTP/1.1 204 No Content\r\n{hop}X: kept\r\n\r\n"));
    talk.reply("HTTP/1.1 204 No Content\r\nX: kept\r\n\r\n").goes_on();
}

/// What Connection lists is removed with it, in any case, several lines and elements, and in both
/// directions (§7.6.1).
#[test]
fn fields_that_connection_lists_are_removed() {
    let mut talk = Talk::start();
    let lines = "A: 1\r\nConnection: a, B\r\nb: 2\r\nC: 3\r\nconnection: c\r\nD: 4\r\nA: 5\r\n";
    talk.get(lines).forwarded_get("D: 4\r\n");
    talk.origin(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"));
    talk.reply("HTTP/1.1 204 No Content\r\nD: 4\r\n\r\n").goes_on();
}

/// A 1xx has options of its own hop as well (§7.6.1).
#[test]
fn fields_that_connection_lists_are_removed_from_a_1xx() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    talk.origin("HTTP/1.1 103 E\r\nConnection: x\r\nX: 1\r\nLink: <a>\r\n\r\n");
    talk.reply("HTTP/1.1 103 E\r\nLink: <a>\r\n\r\n").answered().goes_on();
}

/// Trailers that Connection lists are removed too, in both directions (§7.6.1).
#[test]
fn trailers_that_connection_lists_are_removed() {
    let mut talk = Talk::start();
    let chunked = "Transfer-Encoding: chunked\r\nConnection: x-sum\r\n\r\n";
    let chunks = "2\r\nok\r\n0\r\n";
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\n{chunked}{chunks}X-Sum: 1\r\n\r\n"));
    let sent = format!("transfer-encoding: chunked\r\n\r\n{chunks}\r\n");
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\n{sent}"));
    talk.origin(format!("HTTP/1.1 200 OK\r\n{chunked}{chunks}X-Sum: 1\r\n\r\n"));
    talk.reply(format!("HTTP/1.1 200 OK\r\n{sent}")).goes_on();
}

/// Connection must not name fields that are meant for the recipient of the content; naming one
/// that framing, access or the client's identity hang on is refused (§7.6.1).
#[test]
fn connection_does_not_remove_end_to_end_fields() {
    let mut talk = Talk::start();
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Authorization", "Cookie"] {
        talk.get(&format!("Connection: {name}\r\n")).refused(400, "bad_connection");
    }
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"] {
        talk.get(&format!("Connection: close, {name}\r\n")).refused(400, "bad_connection");
    }
}

/// An origin's Connection cannot take the framing of its reply away either (§7.6.1).
#[test]
fn an_origins_connection_does_not_remove_its_framing() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    talk.origin("HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").goes_on();
}

/// Host is sent, once and first (§7.2).
#[test]
fn host_is_sent_first() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.1\r\nX: y\r\nHOST: Test:81\r\n\r\n");
    talk.forwarded("GET / HTTP/1.1\r\nhost: Test:81\r\nX: y\r\n\r\n").answered().goes_on();
}

/// A target with an empty host is refused (§4.2.1).
#[test]
fn a_target_without_a_host_is_refused() {
    let mut talk = Talk::start();
    for target in ["http:///a", "http://:80/", "http://", "https://?a"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        talk.client(head).refused(400, "bad_host");
    }
}

/// Path and query are forwarded as they came, but for an empty path (§7.7).
#[test]
fn path_and_query_are_not_changed() {
    let mut talk = Talk::start();
    let target = "/a/b;c=1,2/@d~e!$&'()*+?f=/../g&h=%zz&i=%41|[]\"";
    talk.client(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    talk.forwarded(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n")).answered().goes_on();
}

/// Content is not transformed, whether it may be or not (§7.7).
#[test]
fn content_is_not_transformed() {
    let mut talk = Talk::start();
    talk.get("Accept-Encoding: identity\r\n").forwarded_get("Accept-Encoding: identity\r\n");
    let lines = "Content-Encoding: gzip\r\nCache-Control: no-transform\r\ncontent-length: 4\r\n";
    talk.origin(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\0\r\n\n"));
    talk.reply(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\0\r\n\n")).goes_on();
}

/// Upgrade in an HTTP/1.0 request is ignored (§7.8).
#[test]
fn an_upgrade_in_http_10_is_ignored() {
    let mut talk = Talk::start();
    let lines = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    talk.client(format!("GET / HTTP/1.0\r\nHost: test\r\n{lines}\r\n")).forwarded_get("");
    talk.origin("HTTP/1.1 204 No Content\r\n\r\n");
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").closed();
}

/// Upgrade concerns one hop: without its connection option, or to `h2c`, it is not sent on (§7.8).
#[test]
fn an_upgrade_is_not_forwarded_blindly() {
    let mut talk = Talk::start();
    talk.get("Upgrade: websocket\r\n").forwarded_get("").answered();
    talk.get("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n");
    talk.forwarded_get("").answered().goes_on();
}

/// An origin that switches to what nobody asked for is not believed (§7.8).
#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    talk.origin("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    talk.reply_refused();
}

/// A request is forwarded with the hop that it made, by the version that it came in and behind the
/// hops before; a reply says nothing of it (§7.6.3).
#[test]
fn via_is_added_to_requests() {
    let mut talk = Talk::keeping("--via", &[]);
    talk.get("").forwarded_get("via: 1.1 ringway\r\n").answered();
    let before = "Via: 1.1 a, 1.0 b (x)\r\nX: y\r\nvia: 2.0 c\r\n";
    talk.get(before).forwarded_get(&format!("{before}via: 1.1 ringway\r\n")).answered();
    talk.client("GET / HTTP/1.0\r\nHost: test\r\n\r\n").forwarded_get("via: 1.0 ringway\r\n");
    talk.origin("HTTP/1.1 204 No Content\r\n\r\n");
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
}

/// Replies have it too where that is asked for, but for 1xx (§7.6.3).
#[test]
fn via_is_added_to_replies_where_asked_for() {
    let mut talk = Talk::keeping("--via", &[("--via", "edge-1"), ("--via-replies", "true")]);
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    talk.get("").forwarded_get("via: 1.1 edge-1\r\n").origin(early).reply(early);
    talk.origin("HTTP/1.1 204 No Content\r\nVia: 1.1 a\r\n\r\n");
    talk.reply("HTTP/1.1 204 No Content\r\nVia: 1.1 a\r\nvia: 1.1 edge-1\r\n\r\n");
    talk.get("").forwarded_get("via: 1.1 edge-1\r\n").origin("HTTP/1.0 204 No Content\r\n\r\n");
    talk.reply("HTTP/1.1 204 No Content\r\nvia: 1.0 edge-1\r\n\r\n");
}

/// A request that was here more often than a chain of gateways is long is in a loop (§7.6).
#[test]
fn a_request_in_a_loop_is_508() {
    let mut talk = Talk::keeping("--via", &[]);
    let eight = "Via: 1.1 ringway, 1.0 RINGWAY (a, b),1.1 ringway,, 1.1 other\r\n".repeat(2)
        + "Via: HTTP/1.1 ringway\r\nVia: 1.1\tringway\r\n";
    talk.get(&eight).forwarded_get(&format!("{eight}via: 1.1 ringway\r\n")).answered();
    talk.get(&format!("{eight}Via: 1.1 ringway\r\n")).local_reply(508, "loop_detected");
    talk.get("Via: 1.1 ringways\r\n");
    talk.forwarded_get("Via: 1.1 ringways\r\nvia: 1.1 ringway\r\n").answered();
}

/// OPTIONS and TRACE go as far as Max-Forwards says, and each hop takes one off; other methods
/// carry it as it is (§7.6.2).
#[test]
fn max_forwards_counts_down() {
    let mut talk = Talk::start();
    for (came, left) in [("1", "0"), ("010", "9"), ("99999999999", "4294967294")] {
        for method in ["OPTIONS", "TRACE"] {
            let line = format!("{method} / HTTP/1.1\r\n");
            talk.client(format!("{line}Host: test\r\nMax-Forwards: {came}\r\nX: y\r\n\r\n"));
            let fields = format!("max-forwards: {left}\r\nX: y\r\n");
            talk.forwarded(format!("{line}host: test\r\n{fields}\r\n")).answered();
        }
    }
    for lines in ["Max-Forwards: 0\r\n", "Max-Forwards: x\r\nMax-Forwards: 1\r\n"] {
        talk.get(lines).forwarded_get(lines).answered();
    }
    talk.goes_on();
}

/// At 0 the gateway answers as the final recipient: OPTIONS with the methods that it routes, TRACE
/// with a refusal, since what it would reflect may be credentials (§7.6.2, §9.3.8).
#[test]
fn max_forwards_0_is_answered_here() {
    let mut talk = Talk::start();
    let allow = "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";
    for target in ["/a", "*"] {
        let head = format!("OPTIONS {target} HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\n\r\n");
        talk.client(head).reply(format!("HTTP/1.1 204 No Content\r\n{allow}\r\n")).goes_on();
    }
    talk.client("TRACE / HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\nCookie: a\r\n\r\n");
    let head = "HTTP/1.1 405 Method Not Allowed\r\ncontent-type: text/plain; charset=utf-8\r\n";
    talk.reply(format!("{head}{allow}content-length: 18\r\n\r\n405 trace_refused\n")).goes_on();
}

/// Allow names what there is a route for (§7.6.2, §10.2.1).
#[test]
fn allow_follows_the_routes() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{}']}}}}\n\
         routes: [{{id: r, cluster: c, match: {{path: '/a', methods: [POST, GET, BREW]}}}}]\n",
        origin.address
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    let mut client = gateway.client();
    for (method, target, status, allow) in [
        ("OPTIONS", "/a", 204, Some("GET, POST")),
        ("TRACE", "/a", 405, Some("GET, POST")),
        ("OPTIONS", "/b", 404, None),
        ("TRACE", "/b", 404, None),
    ] {
        let lines = "Host: test\r\nMax-Forwards: 0\r\nX-Request-Id: 7";
        client.send(format!("{method} {target} HTTP/1.1\r\n{lines}\r\n\r\n"));
        let reply = client.reply().expect("a reply");
        assert_eq!((reply.status, reply.field("allow")), (status, allow), "{method} {target}");
        assert_eq!(reply.field("x-request-id"), Some("7"));
    }
    assert_eq!(origin.received(), "");
    let reasons: Vec<_> = gateway.log(4).iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["max_forwards_reached", "trace_refused", "no_route", "no_route"]);
}

/// A Max-Forwards that could be read in two ways goes nowhere (§7.6.2).
#[test]
fn a_max_forwards_that_is_no_number_is_400() {
    let mut talk = Talk::start();
    for lines in [
        "Max-Forwards:\r\n",
        "Max-Forwards: -1\r\n",
        "Max-Forwards: 1, 2\r\n",
        "Max-Forwards: 0x1\r\n",
        "Max-Forwards: 1\r\nMax-Forwards: 1\r\n",
    ] {
        for method in ["OPTIONS", "TRACE"] {
            talk.client(format!("{method} / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
            talk.local_reply(400, "bad_max_forwards");
        }
    }
    talk.goes_on();
}

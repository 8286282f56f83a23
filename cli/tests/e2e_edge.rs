//! End to end: paths in one form, and who the client is behind trusted proxies.
#![forbid(unsafe_code)]

mod support;

use support::{Folder, Gateway, Origin, Setup};

/// Routes `/public/*` to `open` and `/admin/*` nowhere, under a rule.
fn with_rule(folder: &Folder, origin: &Origin, rule: &str) -> Gateway {
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0', path_rule: {rule}}}]\n\
         clusters: {{open: {{endpoints: ['{}']}}}}\n\
         routes: [{{id: open, match: {{path: '/public/*'}}, cluster: open}}]\n",
        origin.address
    );
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

/// Sends each target; the gateway's answer, and what the origin was asked for.
fn asked(gateway: &Gateway, target: &str) -> (u16, String) {
    let mut client = gateway.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let reply = client.reply().unwrap();
    (reply.status, reply.text())
}

#[test]
fn what_is_matched_is_what_is_forwarded() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let gateway = with_rule(&folder, &origin, "safe");
    for (target, forwarded) in [
        ("/public/a", "/public/a"),
        ("/public//a/./b?x=//../%2e", "/public/a/b?x=//../%2e"),
        ("/%70ublic/%7euser%c3%a9", "/public/~user%C3%A9"),
        ("/admin/../public/x/%2E%2e/y", "/public/y"),
    ] {
        assert_eq!(asked(&gateway, target).0, 200, "{target}");
        let line = format!("GET {forwarded} HTTP/1.1\r\n");
        assert!(origin.received().contains(&line), "{target}: {}", origin.received());
    }
    for target in ["/public/../admin/x", "/public/%2e%2e/admin/", "//admin/x"] {
        assert_eq!(asked(&gateway, target), (404, "404 no_route\n".to_owned()), "{target}");
    }
    for (target, word) in [
        ("/public/..%2fadmin", "encoded_slash"),
        ("/public/..%5cadmin", "encoded_slash"),
        ("/../public/x", "path_above_root"),
        ("/public/%00", "bad_escape"),
    ] {
        assert_eq!(asked(&gateway, target), (400, format!("400 {word}\n")), "{target}");
    }
    assert!(!origin.received().contains("admin"));
}

#[test]
fn rules_differ_in_what_they_refuse() {
    let origin = Origin::recording();
    for (rule, target, status) in [
        ("strict", "/public/..;/admin", 400),
        ("strict", "/public/%252e%252e/admin", 400),
        ("safe", "/public/..;/admin", 200),
        ("minimal", "/public//a%2Fb", 200),
        ("off", "/public/../b", 200),
    ] {
        let folder = Folder::new();
        let gateway = with_rule(&folder, &origin, rule);
        assert_eq!(asked(&gateway, target).0, status, "{rule}: {target}");
    }
    assert!(origin.received().contains("GET /public//a%2Fb HTTP/1.1"));
    assert!(origin.received().contains("GET /public/../b HTTP/1.1"));
}

/// What the origin saw of one request with these fields.
fn forwarded(flags: &[(&str, &str)], fields: &str) -> (String, String) {
    let origin = Origin::recording();
    let setup = flags
        .iter()
        .fold(Setup::upstream(origin.address), |setup, (name, value)| setup.flag(name, value));
    let gateway = setup.start();
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"));
    assert_eq!(client.reply().unwrap().status, 200);
    let peer = gateway.log(1)[0]["peer"].as_str().unwrap_or_default().to_owned();
    (origin.received(), peer)
}

const CLAIMS: &str = "X-Forwarded-For: 192.0.2.9, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: public.example\r\nForwarded: for=192.0.2.9\r\n\
                      X-Real-IP: 192.0.2.9\r\n";

#[test]
fn an_untrusted_peers_claims_are_replaced() {
    let (seen, peer) = forwarded(&[("--trusted-proxies", "10.0.0.0/8")], CLAIMS);
    assert!(seen.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-proto: http\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-host: shop.example\r\n"), "{seen}");
    assert!(!seen.contains("192.0.2.9") && !seen.contains("public.example"), "{seen}");
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
}

#[test]
fn a_trusted_peers_claims_are_kept_and_added_to() {
    let trusted = ("--trusted-proxies", "127.0.0.1,10.0.0.0/8");
    let (seen, peer) = forwarded(&[trusted], CLAIMS);
    let seen = seen.to_lowercase();
    assert!(seen.contains("\r\nx-forwarded-for: 192.0.2.9, 10.0.0.1, 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-proto: https\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-host: public.example\r\n"), "{seen}");
    assert!(seen.contains("\r\nforwarded: for=192.0.2.9\r\n"), "{seen}");
    assert_eq!(peer, "192.0.2.9:0", "the log names the client");
    let hops = ("--trusted-hops", "1");
    let (_, peer) = forwarded(&[trusted, hops], "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3\r\n");
    assert_eq!(peer, "2.2.2.2:0", "one element is skipped");
}

#[test]
fn connection_cannot_remove_what_names_the_client() {
    let fields = "Connection: close, X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.9\r\n";
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).start();
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    assert_eq!(client.reply().unwrap().status, 400);
    assert_eq!(origin.received(), "");
}

#[test]
fn forwarded_of_rfc_7239_is_written_where_asked_for() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).switch("--forwarded-standard", true).start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.example:8080\r\nForwarded: for=1.1.1.1\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 200);
    let port = client.local().port();
    let expected = format!(
        "\r\nforwarded: for=\"127.0.0.1:{port}\";host=\"shop.example:8080\";proto=http\r\n"
    );
    assert!(origin.received().contains(&expected), "{}", origin.received());
}

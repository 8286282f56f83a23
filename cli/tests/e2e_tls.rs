//! End to end: TLS with curl, OpenSSL and nginx at the other end.
#![forbid(unsafe_code)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use support::{Authority, Client, Folder, Gateway, OpenSsl, Origin, Setup, until};

/// A folder with an authority `ca`, a second one, and certificates of both.
fn folder() -> (Folder, Authority) {
    let folder = Folder::new();
    let (ca, other) = (Authority::new(&folder, "ca"), Authority::new(&folder, "other"));
    ca.issue(&folder, "edge", &["edge.test", "localhost"]);
    ca.issue(&folder, "wild", &["*.wild.test"]);
    ca.issue(&folder, "client", &["client.test"]);
    ca.issue_expired(&folder, "expired");
    other.issue(&folder, "stranger", &["stranger.test"]);
    (folder, ca)
}

/// One TLS listener; `tls` is added to its certificates, `cluster` to the cluster.
fn start(folder: &Folder, upstream: &str, tls: &str, flags: &[(&str, &str)]) -> Gateway {
    let config = format!(
        "version: 1\n\
         listeners:\n\
         - {{name: edge, address: '127.0.0.1:0', tls: {{certificates: [{{cert: edge.pem, \
         key: edge.key}}, {{cert: wild.pem, key: wild.key}}]{tls}}}}}\n\
         clusters: {{c: {{endpoints: ['{upstream}']}}}}\n\
         routes: [{{id: r, cluster: c}}]\n"
    );
    let setup = Setup::config(&folder.write("ringway.yaml", config));
    flags.iter().fold(setup, |setup, (name, value)| setup.flag(name, value)).start()
}

/// Answers each request with its own body.
fn echo() -> Origin {
    Origin::start(|mut accepted| {
        while let Some(head) = accepted.read_head() {
            let field = |name: &str| {
                let lines = head.lines().map(str::to_ascii_lowercase);
                lines.filter_map(|line| line.strip_prefix(name).map(str::to_owned)).next()
            };
            let length = field("content-length: ").and_then(|text| text.parse().ok()).unwrap_or(0);
            let Some(body) = accepted.read_exactly(length) else { return };
            accepted
                .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            accepted.write(&body);
        }
    })
}

fn curl(folder: &Folder, gateway: SocketAddr, args: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "--cacert"]).arg(folder.file("ca.pem"));
    command.args(["--resolve", &format!("edge.test:{}:127.0.0.1", gateway.port())]);
    command.arg(format!("https://edge.test:{}/", gateway.port()));
    command.current_dir(folder.path()).args(args);
    command.output().expect("curl runs")
}

fn s_client(folder: &Folder, to: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &to.to_string(), "-CAfile", "ca.pem", "-ign_eof"]);
    command.args(args);
    command.current_dir(folder.path()).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl runs");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // Tickets come with the answer; one that was refused before is no matter here.
    let _ = stdin.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    drop(stdin);
    let output = child.wait_with_output().expect("openssl ends");
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The reason of the last line of the log, once there are so many.
fn reason(gateway: &Gateway, lines: usize) -> String {
    gateway.log(lines)[lines - 1]["reason"].as_str().unwrap_or("none").to_owned()
}

fn handshakes(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric_of("ringway_tls_handshakes_total", &format!("result=\"{result}\""))
}

#[test]
fn bodies_pass_unchanged_in_both_versions() {
    let (folder, _) = folder();
    let origin = echo();
    let gateway = start(&folder, &origin.address.to_string(), "", &[]);
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| ((n * 31) >> 7) as u8).collect();
    folder.write("body", &body);
    for version in ["1.2", "1.3"] {
        let args = ["--tls-max", version, "--data-binary", "@body", "-H", "expect:"];
        let output = curl(&folder, gateway.address, &args);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout == body, "{version}: {} bytes", output.stdout.len());
    }
    assert_eq!(handshakes(&gateway, "full"), 2.0);
    assert!(origin.received().contains("x-forwarded-proto: https"));
}

#[test]
fn a_slow_reader_gets_all_of_a_large_reply() {
    let (folder, _) = folder();
    let gateway = start(&folder, &echo().address.to_string(), "", &[]);
    folder.write("body", vec![b'x'; 2_000_000]);
    let args = ["--limit-rate", "1M", "--data-binary", "@body", "-H", "expect:"];
    let output = curl(&folder, gateway.address, &args);
    assert_eq!(output.stdout.len(), 2_000_000);
    gateway.until_idle();
}

#[test]
fn each_name_has_its_certificate() {
    let (folder, _) = folder();
    let gateway = start(&folder, &Origin::absent().to_string(), "", &[]);
    for (name, subject) in [
        ("edge.test", "CN = edge"),
        ("a.wild.test", "CN = wild"),
        ("A.WILD.test", "CN = wild"),
        ("a.b.wild.test", "CN = edge"),
        ("unknown.test", "CN = edge"),
    ] {
        let said = s_client(&folder, gateway.address, &["-servername", name]);
        assert!(said.contains(&format!("subject={subject}")), "{name}: {said}");
    }
    let said = s_client(&folder, gateway.address, &["-noservername"]);
    assert!(said.contains("subject=CN = edge"), "{said}");
}

#[test]
fn clients_are_known_by_their_certificates() {
    let (folder, _) = folder();
    let origin = Origin::recording();
    let gateway = start(&folder, &origin.address.to_string(), ", client_ca: ca.pem", &[]);
    let ask = |who: &str| {
        let (cert, key) = (format!("{who}.pem"), format!("{who}.key"));
        let spoof = "X-Client-Cert-Subject: CN=admin";
        let args =
            ["--cert", &cert, "--key", &key, "-H", spoof, "-H", "X-Forwarded-Client-Cert: a"];
        curl(&folder, gateway.address, &args)
    };
    assert!(ask("client").status.success());
    let heads = origin.received().to_ascii_lowercase();
    assert!(heads.contains("x-client-cert-subject: cn=client\r\n"), "{heads}");
    assert!(heads.contains("x-client-cert-san: dns:client.test\r\n"), "{heads}");
    assert!(!heads.contains("admin") && !heads.contains("x-forwarded-client-cert"), "{heads}");
    for (lines, who, word) in
        [(2, "expired", "tls_client_cert_expired"), (3, "stranger", "tls_client_cert_unknown")]
    {
        assert!(!ask(who).status.success());
        assert_eq!(reason(&gateway, lines), word);
        assert_eq!(handshakes(&gateway, word), 1.0);
    }
    assert!(!curl(&folder, gateway.address, &[]).status.success());
    assert_eq!(reason(&gateway, 4), "tls_client_cert_missing");
    assert_eq!(origin.connections(), 1, "nobody else reached the upstream");
}

#[test]
fn nobody_can_claim_a_certificate_without_tls() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-San: DNS:admin\r\n\r\n");
    assert_eq!(client.reply().expect("a reply").status, 200);
    assert!(!origin.received().contains("admin"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX_Client_Cert_San: DNS:admin\r\n\r\n");
    assert_eq!(client.reply().expect("a reply").status, 400);
}

#[test]
fn sessions_are_resumed_by_any_shard() {
    let (folder, _) = folder();
    let upstream = Origin::absent().to_string();
    let gateway = start(&folder, &upstream, "", &[("--shards", "2")]);
    for version in ["-tls1_2", "-tls1_3"] {
        let out = [version, "-servername", "edge.test", "-sess_out", "session"];
        let said = s_client(&folder, gateway.address, &out);
        assert!(said.contains("New, TLSv1."), "{said}");
        for _ in 0..6 {
            let again = [version, "-servername", "edge.test", "-sess_in", "session"];
            let said = s_client(&folder, gateway.address, &again);
            assert!(said.contains("Reused, TLSv1."), "{version}: {said}");
        }
    }
    assert_eq!(handshakes(&gateway, "resumed"), 12.0);
    let other = ["-tls1_3", "-servername", "a.wild.test", "-sess_in", "session"];
    let said = s_client(&folder, gateway.address, &other);
    assert!(said.contains("New, TLSv1.3"), "a ticket is for one name: {said}");
}

#[test]
fn what_cannot_be_agreed_on_is_refused_with_a_word() {
    let (folder, _) = folder();
    let tls = ", min_version: 1.3";
    let gateway = start(&folder, &Origin::absent().to_string(), tls, &[]);
    for (lines, args, alert, word) in [
        (1, &["-alpn", "h9"][..], "no application protocol", "tls_no_application_protocol"),
        (2, &["-tls1_2"], "protocol version", "tls_incompatible"),
    ] {
        let said = s_client(&folder, gateway.address, args);
        assert!(said.contains(alert), "{said}");
        assert_eq!(reason(&gateway, lines), word);
        assert_eq!(handshakes(&gateway, word), 1.0);
    }
    let said = s_client(&folder, gateway.address, &["-alpn", "h9,http/1.1"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
}

#[test]
fn what_is_no_hello_or_comes_too_slowly_is_cut() {
    let (folder, _) = folder();
    let upstream = Origin::absent().to_string();
    let gateway = start(&folder, &upstream, "", &[("--tls-handshake-timeout", "500ms")]);
    let mut plain = TcpStream::connect(gateway.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    assert_eq!(reason(&gateway, 1), "tls_bad_message");
    let mut slow = TcpStream::connect(gateway.address).unwrap();
    slow.write_all(&[22, 3, 1]).unwrap();
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer);
    assert_eq!(reason(&gateway, 2), "tls_handshake_timeout");
    let mut early = TcpStream::connect(gateway.address).unwrap();
    early.write_all(&[22, 3]).unwrap();
    drop(early);
    until("it is counted", || handshakes(&gateway, "tls_client_gone") == 1.0);
}

#[test]
fn changed_certificates_take_effect_and_bad_ones_do_not() {
    let (folder, ca) = folder();
    let gateway = start(&folder, &Origin::absent().to_string(), "", &[]);
    let serial = |gateway: &Gateway| {
        let said = s_client(&folder, gateway.address, &["-servername", "edge.test"]);
        let pem = said.split("-----BEGIN CERTIFICATE-----").nth(1).map(str::to_owned);
        pem.and_then(|pem| pem.split("-----END").next().map(str::to_owned)).expect("a certificate")
    };
    let first = serial(&gateway);
    let renewed = || gateway.metric_of("ringway_certificate_reloads_total", "success");
    let refused = || gateway.metric_of("ringway_certificate_reloads_total", "failure");
    ca.issue(&folder, "edge", &["edge.test", "localhost"]);
    until("the new pair is taken", || renewed() == 1.0);
    let second = serial(&gateway);
    assert_ne!(first, second);
    folder.write("edge.pem", "no certificate");
    until("the bad file is refused", || refused() == 1.0);
    let says = |words: &str| gateway.said().iter().any(|line| line.contains(words));
    until("it is said", || says("keeps its old certificates"));
    assert_eq!(serial(&gateway), second);
    let (_, page) = gateway.admin("/metrics");
    assert!(page.contains("ringway_certificate_expiry_timestamp_seconds{file="), "{page}");
}

/// nginx on a socket of its own; killed when dropped.
struct Nginx(Child);

impl Nginx {
    /// `server` is added to its one server with the certificate `cert`.
    fn start(folder: &Folder, cert: &str, server: &str) -> Nginx {
        let path = |name: &str| folder.file(name).display().to_string();
        let socket = path(&format!("{cert}.sock"));
        let config = format!(
            "daemon off; master_process off; pid {pid}; error_log {log};\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {tmp}; proxy_temp_path {tmp};\n\
             fastcgi_temp_path {tmp}; uwsgi_temp_path {tmp}; scgi_temp_path {tmp};\n\
             server {{ listen unix:{socket} ssl;\n\
             ssl_certificate {pem}; ssl_certificate_key {key};\n\
             {server}\n\
             location / {{ return 200 \"{said}\"; }} }} }}\n",
            said = "$ssl_server_name $ssl_client_s_dn $ssl_session_reused",
            pid = path(&format!("{cert}.pid")),
            log = path("nginx.log"),
            tmp = path("tmp"),
            pem = path(&format!("{cert}.pem")),
            key = path(&format!("{cert}.key")),
        );
        let config = folder.write(&format!("{cert}.conf"), config);
        let mut permissions = std::fs::metadata(folder.path()).unwrap().permissions();
        permissions.set_mode(0o755);
        std::fs::set_permissions(folder.path(), permissions).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-e").arg(folder.file("nginx.log")).arg("-c").arg(config);
        let child = command.stderr(Stdio::null()).spawn().expect("nginx starts");
        until("nginx listens", || folder.file(&format!("{cert}.sock")).exists());
        Nginx(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A plain listener and a cluster with TLS.
fn towards(folder: &Folder, endpoint: &str, tls: &str, flags: &[(&str, &str)]) -> Gateway {
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{endpoint}'], retries: 0, tls: {{{tls}}}}}}}\n\
         routes: [{{id: r, cluster: c}}]\n"
    );
    let setup = Setup::config(&folder.write("ringway.yaml", config));
    flags.iter().fold(setup, |setup, (name, value)| setup.flag(name, value)).start()
}

fn get(client: &mut Client) -> (u16, String) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = client.reply().expect("a reply");
    (reply.status, reply.text())
}

#[test]
fn upstreams_are_verified_and_told_who_we_are() {
    let (folder, _) = folder();
    let trust = format!("ssl_client_certificate {};", folder.file("ca.pem").display());
    let _nginx = Nginx::start(&folder, "edge", &format!("{trust} ssl_verify_client on;"));
    let endpoint = format!("unix:{}", folder.file("edge.sock").display());
    let tls = "sni: edge.test, ca: ca.pem, cert: client.pem, key: client.key";
    let gateway = towards(&folder, &endpoint, tls, &[("--upstream-idle-timeout", "20ms")]);
    let mut client = gateway.client();
    assert_eq!(get(&mut client), (200, "edge.test CN=client .".to_owned()));
    // Once that link has ended, the next one resumes its session.
    until("a session is resumed", || get(&mut client).1 == "edge.test CN=client r");
    for (tls, word) in [
        ("sni: edge.test, ca: other.pem", "upstream_tls_cert_unknown"),
        ("sni: wrong.test, ca: ca.pem", "upstream_tls_cert_wrong_name"),
    ] {
        let gateway = towards(&folder, &endpoint, tls, &[]);
        assert_eq!(get(&mut gateway.client()), (502, format!("502 {word}\n")));
        assert_eq!(reason(&gateway, 1), word);
        let counted =
            gateway.metric_of("ringway_upstream_tls_handshakes_total", &format!("\"{word}\""));
        assert_eq!(counted, 1.0);
    }
    // nginx answers by itself where it wants a certificate and gets none.
    let gateway = towards(&folder, &endpoint, "sni: edge.test, ca: ca.pem", &[]);
    assert_eq!(get(&mut gateway.client()).0, 400);
    let unverified = towards(&folder, &endpoint, "sni: wrong.test, verify: false", &[]);
    assert_eq!(get(&mut unverified.client()).0, 400);
}

#[test]
fn an_upstream_without_tls_is_502_and_a_silent_one_504() {
    let (folder, _) = folder();
    let plain = Origin::start(|mut accepted| {
        accepted.read(1);
        accepted.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        accepted.drain();
    });
    let tls = "sni: edge.test, ca: ca.pem";
    let gateway = towards(&folder, &plain.address.to_string(), tls, &[]);
    let (status, text) = get(&mut gateway.client());
    assert_eq!((status, text.as_str()), (502, "502 upstream_tls_bad_message\n"));
    let silent = Origin::start(|mut accepted| accepted.drain());
    let flags = [("--connect-timeout", "200ms")];
    let gateway = towards(&folder, &silent.address.to_string(), tls, &flags);
    let (status, text) = get(&mut gateway.client());
    assert_eq!((status, text.as_str()), (504, "504 upstream_tls_timeout\n"));
}

/// A FIN can be forged by anybody on the way: without a close_notify it ends no body.
#[test]
fn a_reply_without_a_length_cannot_be_cut_unnoticed() {
    let (folder, _) = folder();
    let mut server = OpenSsl::start(&folder, &[]);
    let tls = "sni: edge.test, ca: ca.pem";
    let gateway = towards(&folder, &server.address.to_string(), tls, &[]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.wait_for("GET / HTTP/1.1");
    server.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of it\n");
    assert_eq!(client.head().expect("the reply's head").status, 200);
    server.end();
    let rest = client.rest();
    let is_whole = rest.as_ref().is_ok_and(|rest| rest.ends_with(b"0\r\n\r\n"));
    assert!(!is_whole, "{rest:?}");
    assert_eq!(reason(&gateway, 1), "upstream_reset_in_reply");
}

#[test]
fn tls_is_passed_on_by_the_name_that_is_asked_for() {
    let (folder, _) = folder();
    let (_edge, _wild) = (Nginx::start(&folder, "edge", ""), Nginx::start(&folder, "wild", ""));
    let endpoint = |name: &str| format!("unix:{}", folder.file(name).display());
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', protocols: [tcp], \
         sni: {{edge.test: e, '*.wild.test': w}}}}]\n\
         clusters:\n\
         \x20 e: {{protocol: tcp, endpoints: ['{}']}}\n\
         \x20 w: {{protocol: tcp, endpoints: ['{}']}}\n",
        endpoint("edge.sock"),
        endpoint("wild.sock"),
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    for (name, subject) in [("edge.test", "CN = edge"), ("a.b.wild.test", "CN = wild")] {
        let said = s_client(&folder, gateway.address, &["-servername", name]);
        assert!(said.contains(&format!("subject={subject}")), "{name}: {said}");
    }
    assert!(curl(&folder, gateway.address, &[]).status.success());
    let before = gateway.log(3).len();
    for (lines, args, word) in [
        (1, &["-servername", "other.test"][..], "server_name_unknown"),
        (2, &["-noservername"], "server_name_unknown"),
    ] {
        let said = s_client(&folder, gateway.address, args);
        assert!(!said.contains("subject="), "{said}");
        assert_eq!(reason(&gateway, before + lines), word);
    }
    let mut plain = gateway.client();
    plain.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(reason(&gateway, before + 3), "not_tls");
}

#[test]
fn certs_check_says_what_clients_would_refuse() {
    let (folder, _) = folder();
    let check = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["certs", "check"]).args(args).current_dir(folder.path());
        let output = command.output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = check(&["edge.pem", "edge.key"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("edge.pem: ok: names: edge.test, localhost\n"), "{said}");
    for (args, words) in [
        (&["edge.pem", "wild.key"][..], "error: key: key `wild.key` is not that of"),
        (&["expired.pem"], "error: expiry: certificate 1 (CN=expired) expired"),
        (&["edge.key"], "error: file: file `edge.key` has no certificate"),
        (&["missing.pem"], "error: file: file `missing.pem` cannot be read"),
    ] {
        let (code, said) = check(args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(check(&["a", "b", "c"]).0, Some(2));
    let config = "version: 1\n\
         listeners: [{address: '127.0.0.1:1', tls: {client_ca: ca.pem, certificates: \
         [{cert: edge.pem, key: edge.key}]}}]\n\
         clusters: {c: {endpoints: ['127.0.0.1:2']}}\nroutes: [{id: r, cluster: c}]\n";
    folder.write("ringway.yaml", config);
    let (code, said) = check(&["--config", "ringway.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ca.pem: ok: expiry"), "{said}");
}

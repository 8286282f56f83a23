//! End to end: what of a client's metadata reaches a server of HTTP, by whom it comes and over
//! which version. Clients are curl; `e2e_thrift_metadata.rs` has callers of Thrift.
#![forbid(unsafe_code)]

mod support;

use std::process::{Command, Stdio};

use support::{Folder, Gateway, Origin, Setup};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_BIN: &str = "AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE";
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];
/// Of an upstream that speaks HTTP/1.1, and of one that is reached over HTTP/2.
const PATHS: [&str; 2] = ["/one", "/two"];

/// Answers each request with its head.
fn mirror() -> Origin {
    Origin::start(|mut accepted| {
        while let Some(head) = accepted.read_head() {
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len());
            if !accepted.write(&[reply.as_bytes(), head.as_bytes()].concat()) {
                return;
            }
        }
    })
}

/// A gateway before a mirror, which it also reaches over HTTP/2 through a gateway that believes
/// it and changes nothing. Of its listeners the second one believes its clients.
struct Edge {
    gateway: Gateway,
    behind: Gateway,
    _mirror: Origin,
    _folder: Folder,
}

impl Edge {
    fn start() -> Self {
        let (folder, mirror) = (Folder::new(), mirror());
        let behind = format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:0', trust_metadata: true}}]\n\
             clusters: {{mirror: {{endpoints: ['{}']}}}}\n\
             routes: [{{id: all, cluster: mirror}}]\n",
            mirror.address
        );
        let behind = Setup::config(&folder.write("behind.yaml", behind));
        let behind = behind.flag("--forwarded", "false").flag("--request-id", "false").start();
        let config = format!(
            "version: 1\nlisteners:\n\
             - {{name: all, address: '127.0.0.1:0'}}\n\
             - {{name: own, address: '127.0.0.2:0', trust_metadata: true}}\n\
             clusters:\n\
             \x20 one: {{endpoints: ['{}']}}\n\
             \x20 two: {{endpoints: ['{}'], protocol: http2}}\n\
             routes:\n\
             - {{id: claims, match: {{path: '/*', headers: {{x-auth-subject: admin}}}}, \
             cluster: one}}\n\
             - {{id: two, match: {{path: /two}}, cluster: two}}\n\
             - {{id: one, match: {{path: '/*'}}, cluster: one}}\n",
            mirror.address, behind.address
        );
        let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
        Self { gateway, behind, _mirror: mirror, _folder: folder }
    }

    /// The fields, `name: value` in lower case and in order, that a server read of those, without
    /// what each request has.
    fn ask(&self, listener: usize, version: &str, path: &str, fields: &[&str]) -> Vec<String> {
        let url = format!("http://{}{path}", self.gateway.addresses()[listener]);
        let mut args = vec![version, "--silent", "--show-error", "--max-time", "60", &url];
        args.extend(fields.iter().flat_map(|field| ["--header", field]));
        let output = Command::new("curl").args(args).stdin(Stdio::null()).output();
        let output = output.expect("curl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let head = String::from_utf8(output.stdout).expect("a head");
        let usual = ["host", "user-agent", "accept", "via"];
        let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
        let lines = head.lines().skip(1).filter(|line| !line.is_empty());
        let lines = lines.filter_map(|line| Some((line.split_once(": ")?, line)));
        let lines = lines.filter_map(|((name, value), line)| {
            let (name, line) = (name.to_lowercase(), line.to_lowercase());
            let is_new = name == "x-request-id" && value.len() == 32;
            let own = told.contains(&&*name) && !line.contains("evil");
            (!usual.contains(&&*name) && !own && !is_new).then(|| format!("{name}: {value}"))
        });
        lines.collect()
    }

    fn dropped(&self, reason: &str) -> f64 {
        self.gateway.metric_of("ringway_metadata_dropped_total", reason)
    }
}

/// Each version of HTTP to an upstream of each.
fn ways() -> impl Iterator<Item = (&'static str, &'static str)> {
    VERSIONS.into_iter().flat_map(|version| PATHS.map(|path| (version, path)))
}

#[test]
fn values_that_mean_nothing_go_no_further() {
    let edge = Edge::start();
    let broken = [
        "x-request-id: two words",
        "traceparent: 00-1",
        "tracestate: a=1",
        "baggage: a=1,b",
        "baggage: c=3",
        "grpc-trace-bin: AAAA",
        "b3: ?",
        "x-b3-traceid: 1",
        "x-b3-spanid: e457b5a2e4d86bd1",
        "x-b3-sampled: true",
    ];
    for (version, path) in ways() {
        let read = edge.ask(0, version, path, &broken);
        assert_eq!(read, ["baggage: a=1,c=3", "x-b3-sampled: 1"], "{version} {path}");
    }
    for (word, each) in [
        ("bad_request_id", 1.0),
        ("bad_traceparent", 1.0),
        ("bad_tracestate", 1.0),
        ("bad_grpc_trace_bin", 1.0),
        ("bad_b3", 3.0),
    ] {
        assert_eq!(edge.dropped(word), 4.0 * each, "{word}");
    }
    let left = edge.behind.admin("/metrics").1;
    assert!(!left.contains("ringway_metadata_dropped_total{reason=\"bad"), "{left}");
}

#[test]
fn sound_values_go_on_for_calls_as_well() {
    let edge = Edge::start();
    let bin = format!("grpc-trace-bin: {TRACE_BIN}");
    let (parent, padded) = (format!("traceparent: {PARENT}"), format!("{bin}="));
    let sound = ["x-request-id: mine", &parent, "tracestate: a=1", &bin, "b3: 0", "rpc-x: 1"];
    for (version, path) in ways() {
        assert_eq!(edge.ask(0, version, path, &sound), sound, "{version} {path}");
        let call = ["content-type: application/grpc", &padded];
        let read = edge.ask(0, version, path, &call);
        assert!(read.contains(&bin), "{version} {path}: {read:?}");
    }
    let page = edge.gateway.admin("/metrics").1;
    assert!(!page.contains("ringway_metadata_dropped_total{reason"), "{page}");
}

#[test]
fn claims_are_of_believed_clients_alone() {
    let edge = Edge::start();
    let claims = [
        "rpc-persist-user: 7",
        "rpc_transit_user: 8",
        "x-envoy-expected-rq-timeout-ms: 5",
        "source-service: evil",
    ];
    let places = ["x-forwarded-prefix: /evil", "x-client-cert-subject: CN=evil", "rip: evil"];
    let fields = [&claims[..], &places].concat();
    for (version, path) in ways() {
        let strangers = edge.ask(0, version, path, &fields);
        assert!(strangers.is_empty(), "{version} {path}: {strangers:?}");
        let own = edge.ask(1, version, path, &fields);
        assert_eq!(own, claims, "{version} {path}");
    }
    assert_eq!(edge.dropped("untrusted"), 4.0 * (7.0 + 3.0));
    // Routes do not see them either.
    let read = edge.ask(0, VERSIONS[0], PATHS[0], &["x-auth-subject: admin"]);
    assert!(read.is_empty(), "{read:?}");
    assert_eq!(edge.gateway.log(9)[8]["route"], "one");
}

#[test]
fn trailers_do_not_say_what_heads_may_not() {
    let folder = Folder::new();
    // Answers each request with what follows its head.
    let origin = Origin::start(|mut accepted| {
        while accepted.read_head().is_some() {
            let Some(rest) = accepted.read_head() else { return };
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", rest.len());
            accepted.write(&[reply.as_bytes(), rest.as_bytes()].concat());
        }
    });
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0', trust_metadata: true}}]\n\
         clusters: {{one: {{endpoints: ['{}']}}}}\n\
         routes:\n\
         - {{id: kept, match: {{path: /kept}}, cluster: one, buffer: {{request: 4KiB}}}}\n\
         - {{id: one, cluster: one}}\n",
        origin.address
    );
    let gateway = Setup::config(&folder.write("r.yaml", config)).start();
    let mut client = gateway.client();
    let mut ask = |path: &str, trailers: &str| {
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n{trailers}\r\n"
        ));
        client.reply().expect("a reply").text().to_lowercase()
    };
    for path in ["/", "/kept"] {
        let claim = "X-Auth-Subject: evil\r\n";
        assert_eq!(ask(path, &format!("{claim}X-Sum: 1\r\n")), "0\r\nx-sum: 1\r\n\r\n");
        assert_eq!(ask(path, claim), "0\r\n\r\n", "{path}");
    }
    assert_eq!(gateway.metric_of("ringway_metadata_dropped_total", "in_trailers"), 4.0);
}

//! `protocols` at the top level, and what flags say of the listeners that it makes.

use std::time::Duration;

use router::{ClusterProtocol, Query, ThriftTransport};

use super::{Scratch, addresses, load, messages, strings};
use crate::certs::testing::{Authority, Folder};
use crate::snapshot::{Snapshot, Speaks};
use crate::source::{Sources, reload};

const SHORT: &str = include_str!("../../../../docs/examples/gateway-config.yaml");

/// The pair of the flags.
fn with_pair(sources: Sources) -> (Sources, Folder) {
    let (folder, authority) = (Folder::new(), Authority::new("root"));
    folder.write_pair("edge", &authority.issue(&["edge.test"]));
    let (cert, key) = (folder.file("edge.pem"), folder.file("edge.key"));
    (Sources { tls_cert: Some(cert), tls_key: Some(key), ..sources }, folder)
}

const UPSTREAM: &str = "http=127.0.0.1:1,grpc=127.0.0.1:2,thrift=127.0.0.1:3,http=127.0.0.1:4";

fn upstream(sources: Sources) -> Sources {
    Sources { upstream: strings(&[UPSTREAM]), ..sources }
}

/// The cluster of what asks so, by name.
fn cluster_of(snapshot: &Snapshot, method: &str, path: &str, content_type: &str) -> String {
    let content_type = content_type.as_bytes();
    let field = |name: &[u8]| {
        let is_there = name == b"content-type" && !content_type.is_empty();
        router::Field::of(is_there.then_some(content_type).into_iter())
    };
    let query = Query {
        method: method.as_bytes(),
        host: b"any",
        path: path.as_bytes(),
        query: b"",
        peer: None,
        field: &field,
    };
    let found = snapshot.routes.find(&query).expect("a route");
    let plan = snapshot.routes.plan(found.plan).expect("its plan");
    snapshot.clusters[plan.cluster.0 as usize].name.clone()
}

#[test]
fn the_short_form_is_a_listener_a_protocol() {
    let file = Scratch::new("short", SHORT);
    let (sources, _folder) = with_pair(upstream(file.sources()));
    let snapshot = load(&sources).unwrap();
    assert_eq!(addresses(&snapshot), ["0.0.0.0:8080", "0.0.0.0:9090", "0.0.0.0:7070"]);
    let [http, grpc, thrift] = &snapshot.listeners[..] else { panic!("three listeners") };
    assert_eq!((http.name.as_str(), http.speaks), ("http", Speaks::Http));
    assert_eq!((grpc.name.as_str(), grpc.speaks), ("grpc", Speaks::Http2));
    let only_thrift = Speaks::Thrift { http1: false, http2: false };
    assert_eq!((thrift.name.as_str(), thrift.speaks), ("thrift", only_thrift));
    assert!(http.tls.is_none() && grpc.tls.is_some() && thrift.tls.is_none());
    assert_eq!(grpc.tls.as_ref().unwrap().config.alpn_protocols, [b"h2"]);
    let limits = snapshot.listeners.iter().map(|plan| plan.body_bytes_max);
    assert_eq!(limits.collect::<Vec<_>>(), [Some(10_000_000), None, None]);
    let only = snapshot.listeners.iter().map(|plan| plan.thrift_transport);
    assert_eq!(only.collect::<Vec<_>>(), [None, None, Some(ThriftTransport::Framed)]);
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
}

#[test]
fn each_upstream_takes_what_it_speaks() {
    let file = Scratch::new("upstreams", SHORT);
    let (sources, _folder) = with_pair(upstream(file.sources()));
    let snapshot = load(&sources).unwrap();
    let spoken =
        snapshot.clusters.iter().map(|cluster| (cluster.protocol, cluster.endpoints.len()));
    let (http1, http2) = (ClusterProtocol::Http1, ClusterProtocol::Http2);
    let expected = [(http1, 2), (http2, 1), (ClusterProtocol::Thrift, 1)];
    assert_eq!(spoken.collect::<Vec<_>>(), expected);
    for (method, path, content_type, cluster) in [
        ("GET", "/", "", "http"),
        ("POST", "/Orders/get", "text/plain", "http"),
        ("POST", "/Orders/Get", "application/grpc", "grpc"),
        ("POST", "/Orders/Get", "Application/gRPC+proto", "grpc"),
        ("POST", "/Orders/Get", "application/grpc-web", "http"),
        ("CALL", "/-/get", "application/vnd.apache.thrift.binary", "thrift"),
        ("ONEWAY", "/Orders/get", "application/vnd.apache.thrift.compact", "thrift"),
    ] {
        assert_eq!(cluster_of(&snapshot, method, path, content_type), cluster, "{method} {path}");
    }
}

#[test]
fn flags_alone_take_all_on_one_port() {
    let snapshot = load(&upstream(Sources::default())).unwrap();
    assert_eq!(addresses(&snapshot), ["127.0.0.1:8080"]);
    assert_eq!(snapshot.listeners[0].speaks, Speaks::Thrift { http1: true, http2: true });
    assert_eq!(snapshot.clusters[2].thrift.transport, ThriftTransport::Framed);
}

#[test]
fn servers_are_spoken_to_as_callers_speak() {
    let file = Scratch::new("buffered", "protocols: {thrift: {transport: buffered}}\n");
    let sources = Sources { upstream: strings(&["thrift=127.0.0.1:3"]), ..file.sources() };
    let snapshot = load(&sources).unwrap();
    assert_eq!(snapshot.clusters[0].thrift.transport, ThriftTransport::Buffered);
}

#[test]
fn a_second_file_has_clusters_and_routes() {
    let file = Scratch::new("first", SHORT);
    let rest = "version: 1\nclusters: {app: {endpoints: ['127.0.0.1:1']}}\n\
                routes: [{id: all, cluster: app, body_bytes_max: 1MiB, timeout: 2s}]\n";
    let second = Scratch::new("second", rest);
    let (sources, _folder) = with_pair(file.sources());
    let both = Sources { further: vec![second.0.clone()], ..sources };
    let snapshot = load(&both).unwrap();
    assert_eq!((snapshot.listeners.len(), snapshot.clusters.len()), (3, 1));
    let plan = snapshot.routes.plan(router::PlanId(0)).unwrap();
    let limits = (plan.timeout, plan.body_bytes_max);
    assert_eq!(limits, (Some(Duration::from_secs(2)), Some(1 << 20)));
    second.write(rest.replace("cluster: app", "cluster: ap"));
    let found = messages(reload(&snapshot, &both));
    assert!(found[0].starts_with("second.yaml:3:29: unknown cluster `ap`"), "{found:?}");
    std::fs::copy(&second.0, file.0.with_file_name("second.yaml")).unwrap();
    let folder = file.0.parent().unwrap().to_path_buf();
    let twice = Sources { file: Some(folder), ..both };
    let errors = load(&twice).unwrap_err();
    assert!(errors.iter().any(|error| error.message.contains("is already declared at")));
}

#[test]
fn tls_needs_a_pair() {
    let file = Scratch::new("tls", SHORT);
    let expected = "tls.yaml:7:10: `tls: true` of `grpc` needs a certificate and its key (give \
                    --tls-cert FILE and --tls-key FILE, or their variables RINGWAY_TLS_CERT and \
                    RINGWAY_TLS_KEY)";
    assert_eq!(messages(load(&upstream(file.sources()))), [expected]);
    file.write(SHORT.replace("tls: true", "tls: false"));
    let (sources, _folder) = with_pair(upstream(file.sources()));
    let expected = "flag --tls-cert: no listener has TLS: give a protocol `tls: true`";
    assert_eq!(messages(load(&sources)), [expected]);
    file.write(SHORT);
    let sources = Sources { tls_key: None, ..sources };
    assert_eq!(messages(load(&sources)), ["flag --tls-cert: needs --tls-key as well"]);
}

#[test]
fn what_is_wrong_has_its_place() {
    let file = Scratch::new("wrong", "");
    let found = |text: &str| {
        file.write(text);
        messages(load(&Sources { upstream: strings(&["127.0.0.1:1"]), ..file.sources() }))
    };
    for (text, expected) in [
        ("protocols: [http]\n", "1:12: expected a mapping, found a list"),
        ("protocols: {htp: {}}\n", "1:13: unknown key `htp` (did you mean `http`?)"),
        (
            "protocols: {http: {enabled: true}}\n",
            "1:20: unknown key `enabled` (did you mean `enable`?)",
        ),
        ("protocols: {http: {enable: \"true\"}}\n", "1:28: expected true or false, found `true`"),
        ("protocols: {http: on}\n", "1:19: expected a mapping, found `on`"),
        (
            "protocols: {http: {max_body_size: 10 MX}}\n",
            "1:35: `10 MX` is not a size: write a whole number and B, KiB, MiB, GiB, KB, MB or GB, \
             like 64KiB",
        ),
        (
            "protocols: {http: {max_body_size: 2000GiB}}\n",
            "1:35: max_body_size: `2000GiB` is out of range: 0B to 1024GiB",
        ),
        (
            "protocols: {http: {transport: framed}}\n",
            "1:31: `transport` is for `thrift`, not for `http`",
        ),
        (
            "protocols: {thrift: {transport: frame}}\n",
            "1:33: unknown thrift transport `frame` (did you mean `framed`?)",
        ),
        (
            "protocols: {http: {enable: false}}\n\
             listeners: [{address: '127.0.0.1:1', thrift: {transport: framed}}]\n",
            "2:46: `thrift` is for listeners whose `protocols` name it",
        ),
    ] {
        let found = found(text);
        let at = found.iter().filter_map(|text| text.strip_prefix("wrong.yaml:"));
        assert!(at.clone().any(|text| text == expected), "{text}: {found:?}");
    }
}

#[test]
fn nothing_to_serve_says_how_to_go_on() {
    let file = Scratch::new("alone", &SHORT.replace("tls: true", "tls: false"));
    let hint = "(give them in one more --config FILE, or as \
                --upstream http=ADDR,grpc=ADDR,thrift=ADDR)";
    let missing = |name| {
        format!("alone.yaml:1:1: `{name}` is missing or empty: nothing can be served {hint}")
    };
    assert_eq!(messages(load(&file.sources())), [missing("clusters"), missing("routes")]);
}

#[test]
fn listeners_are_moved_by_name() {
    let file = Scratch::new("moved", &SHORT.replace("tls: true", "tls: false"));
    let at = |listen: &[&str]| Sources { listen: strings(listen), ..upstream(file.sources()) };
    let all = "http=127.0.0.1:0,grpc=127.0.0.1:0,thrift=unix:/tmp/a=b";
    let snapshot = load(&at(&[all])).unwrap();
    assert_eq!(addresses(&snapshot), ["127.0.0.1:0", "127.0.0.1:0", "unix:/tmp/a=b"]);
    assert_eq!(addresses(&load(&at(&["grpc=[::1]:1"])).unwrap())[1], "[::1]:1");
    for (listen, expected) in [
        (
            &["http=localhost:1"][..],
            "address `localhost:1` is a name: listen on an IP address, like \
          0.0.0.0:1 or 127.0.0.1:1",
        ),
        (&["htp=127.0.0.1:1"], "no listener is called `htp` (did you mean `http`?)"),
        (&["http=127.0.0.1:1", "http=127.0.0.1:2"], "`http` is named twice"),
        (
            &["http=127.0.0.1:1", "127.0.0.1:2"],
            "either every address has its listener before it \
          or none has",
        ),
        (&["127.0.0.1:1"], "moved.yaml has 3 listeners: say which, as NAME=ADDRESS"),
    ] {
        let found = messages(load(&at(listen)));
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let [one] = found[..] else { panic!("{listen:?}: {found:?}") };
        assert!(one.ends_with(expected), "{one}");
    }
}

#[test]
fn upstreams_have_names_or_have_none() {
    let named =
        |text: &str| messages(load(&Sources { upstream: strings(&[text]), ..Sources::default() }));
    let unknown = "flag --upstream: unknown protocol `grcp` (did you mean `grpc`?)";
    assert_eq!(named("grcp=127.0.0.1:1"), [unknown]);
    let mixed = "flag --upstream: either every address has its protocol before it or none has";
    assert!(named("grpc=127.0.0.1:1,127.0.0.1:2").contains(&mixed.to_owned()));
}

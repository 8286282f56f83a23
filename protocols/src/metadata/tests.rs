//! The table, row by row.

use proptest::prelude::*;

use super::*;

/// What is left of these fields, and the words of those that were refused.
fn admitted(
    version: Version,
    is_trusted: bool,
    fields: &[(&str, &str)],
) -> (String, Vec<&'static str>) {
    let mut head = Head::new();
    head.set_version(version);
    head.set_authority(b"echo-svc");
    fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
    let mut words = Vec::new();
    let trust = Trust { claims: is_trusted, addresses: is_trusted };
    admit(&mut head, || trust, |word| words.push(word));
    let text = |text: &[u8]| text.escape_ascii().to_string();
    let left = head.fields().map(|(name, value)| format!("{}={}", text(name), text(value)));
    (left.collect::<Vec<_>>().join(" "), words)
}

/// Holds in these protocols for whoever says it.
fn all_of(versions: &[Version], fields: &[(&str, &str)], left: &str, words: &[&'static str]) {
    for &version in versions {
        for is_trusted in [false, true] {
            let want = (left.to_owned(), words.to_vec());
            let got = admitted(version, is_trusted, fields);
            assert_eq!(got, want, "{fields:?}, {version:?}, trusted: {is_trusted}");
        }
    }
}

/// Holds in every protocol.
fn all(fields: &[(&str, &str)], left: &str, words: &[&'static str]) {
    all_of(&[Version::Thrift, Version::Http11, Version::Http2], fields, left, words);
}

fn thrift(fields: &[(&str, &str)], left: &str, words: &[&'static str]) {
    all_of(&[Version::Thrift], fields, left, words);
}

fn http(fields: &[(&str, &str)], left: &str, words: &[&'static str]) {
    all_of(&[Version::Http11, Version::Http2], fields, left, words);
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn request_ids() {
    all(&[("x-request-id", "a-1")], "x-request-id=a-1", &[]);
    all(&[("x-request-id", "a b")], "", &["bad_request_id"]);
    let twice = [("x-request-id", "a"), ("X-Request-Id", "a")];
    http(&twice, "", &["bad_request_id", "bad_request_id"]);
    thrift(&[("%x-request-id", "a%0A")], "", &["bad_request_id"]);
    let log_id = ("tt-int-2", "2026abc");
    thrift(&[log_id], "tt-int-2=2026abc x-request-id=2026abc", &[]);
    http(&[log_id], "tt-int-2=2026abc", &[]);
    thrift(&[log_id, ("x-request-id", "a")], "tt-int-2=2026abc x-request-id=a", &[]);
    all(&[("tt-int-2", "free text")], "tt-int-2=free text", &[]);
}

#[test]
fn trace_contexts() {
    let parent = ("traceparent", PARENT);
    let state = ("tracestate", "a=1");
    let both = format!("traceparent={PARENT} tracestate=a=1");
    all(&[parent, state], &both, &[]);
    all(&[("traceparent", "00-1"), state], "", &["bad_traceparent", "bad_tracestate"]);
    all(&[state], "", &["bad_tracestate"]);
    all(&[parent, ("tracestate", "=")], &both[..67], &["bad_tracestate"]);
    let later = format!("cc{}-more", &PARENT[2..]);
    all(&[("traceparent", &later)], &both[..67], &[]);
    thrift(&[("%Traceparent", "%00")], "", &["bad_traceparent"]);
    http(
        &[parent, ("Traceparent", PARENT), state],
        "",
        &["bad_traceparent", "bad_traceparent", "bad_tracestate"],
    );
    let split = [parent, ("tracestate", "a=1,b=2"), ("x", "y"), ("Tracestate", "c=3")];
    http(&split, &format!("traceparent={PARENT} tracestate=a=1,b=2,c=3 x=y"), &[]);
    let split = [parent, state, ("tracestate", "?")];
    http(&split, &both[..67], &["bad_tracestate"]);
}

#[test]
fn trace_contexts_of_grpc() {
    let value = "AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE";
    let left = format!("grpc-trace-bin={value}");
    all(&[("grpc-trace-bin", value)], &left, &[]);
    all(&[("grpc-trace-bin", &format!("{value}="))], &left, &[]);
    all(&[("grpc-trace-bin", &value[1..])], "", &["bad_grpc_trace_bin"]);
    all(&[("GRPC_TRACE_BIN", "AAAA")], "", &["bad_grpc_trace_bin"]);
    thrift(&[("%grpc-trace-bin", "%00")], "", &["bad_grpc_trace_bin"]);
    let twice = [("grpc-trace-bin", value), ("grpc-trace-bin", value)];
    http(&twice, "", &["bad_grpc_trace_bin", "bad_grpc_trace_bin"]);
}

#[test]
fn baggage() {
    all(&[("baggage", "a=1,b")], "baggage=a=1", &[]);
    all(&[("baggage", "b")], "", &["bad_baggage"]);
    http(&[("baggage", "a=1"), ("baggage", "b"), ("baggage", "c=3")], "baggage=a=1,c=3", &[]);
}

#[test]
fn b3_in_both_forms() {
    let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
    all(&[("b3", "1")], "b3=1", &[]);
    all(&[("b3", "x")], "", &["bad_b3"]);
    let ids = [("x-b3-traceid", trace), ("x-b3-spanid", span), ("x-b3-sampled", "true")];
    all(&ids, &format!("x-b3-traceid={trace} x-b3-spanid={span} x-b3-sampled=1"), &[]);
    let ids = [("x-b3-traceid", "1"), ("x-b3-spanid", span), ("x-b3-sampled", "1")];
    all(&ids, "x-b3-sampled=1", &["bad_b3", "bad_b3"]);
    let ids = [("X_B3_TraceId", trace), ("x-b3-spanid", span), ("x-b3-parentspanid", "0")];
    all(&ids, "", &["bad_b3", "bad_b3", "bad_b3"]);
    http(&[("b3", "1"), ("b3", "0")], "", &["bad_b3", "bad_b3"]);
    let disguised = [("x-b3-traceid", trace), ("X-B3_TraceId", trace), ("x-b3-flags", "1")];
    http(&disguised, "x-b3-flags=1", &["bad_b3", "bad_b3"]);
}

#[test]
fn nobody_says_whose_certificate_was_shown() {
    for name in ["x-client-cert-subject", "X_CLIENT_CERT_SAN", "X-Forwarded-Client-Cert"] {
        all(&[(name, "CN=root")], "", &["untrusted"]);
    }
    thrift(&[("%x-client-cert-subject", "CN=root")], "", &["untrusted"]);
}

#[test]
fn times_of_a_hop() {
    thrift(&[("grpc-timeout", "5S"), ("tt-int-12", "-1")], "grpc-timeout=5S", &["bad_timeout"]);
    thrift(&[("tt-raw-12", "%00")], "", &["bad_timeout"]);
    thrift(&[("tt-int-13", "50"), ("tt-int-17", "50")], "", &[]);
}

#[test]
fn what_only_callers_that_are_trusted_may_say() {
    for name in CLAIMS {
        claim(&[Version::Thrift, Version::Http11, Version::Http2], name);
    }
    for name in CLAIMS_OF_THRIFT {
        claim(&[Version::Thrift], name);
        http(&[(name, "1")], &format!("{name}=1"), &[]);
    }
}

fn claim(versions: &[Version], name: &str) {
    let field = [(name, "1"), ("other", "2")];
    for &version in versions {
        let stranger = ("other=2".to_owned(), vec!["untrusted"]);
        assert_eq!(admitted(version, false, &field), stranger, "{name} in {version:?}");
        let trusted = (format!("{name}=1 other=2"), vec![]);
        assert_eq!(admitted(version, true, &field), trusted, "{name} in {version:?}");
    }
}

const CLAIMS: [&str; 21] = [
    "RPC_PERSIST_USER",
    "RPC_TRANSIT_USER",
    "RPC_TRANSIT_UPSTREAM_USER",
    "RPC_BACKWARD_USER",
    "rpc-persist-user",
    "rpc-transit-user",
    "rpc-backward-user",
    "rpc-persist-",
    "Rpc_Transit-User",
    "rip",
    "RIP",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "X-Forwarded-Prefix",
    "x-real-ip",
    "x-auth-subject",
    "X-Auth_Subject",
    "x-envoy-upstream-rq-timeout-ms",
    "source-service",
    "destination-method",
];

const CLAIMS_OF_THRIFT: [&str; 16] = [
    "%rpc-persist-user",
    "%RPC%5FPERSIST%5Fa%20b",
    "%rip",
    "%x_forwarded_for",
    "%x-auth-subject",
    "tt-int-3",
    "tt-raw-3",
    "tt-int-4",
    "tt-int-5",
    "tt-int-6",
    "tt-int-7",
    "tt-int-8",
    "tt-int-9",
    "tt-int-10",
    "tt-int-11",
    "tt-int-20",
];

#[test]
fn addresses_need_a_trust_of_their_own() {
    let of = |claims, addresses| {
        let mut head = Head::new();
        for name in ["rip", "X-Forwarded-For", "forwarded", "x-real-ip", "RPC_PERSIST_A"] {
            head.push(name.as_bytes(), b"1");
        }
        admit(&mut head, || Trust { claims, addresses }, |_| {});
        head.fields().map(|(name, _)| name.len()).collect::<Vec<_>>()
    };
    assert_eq!(of(true, false), [13]);
    assert_eq!(of(false, true), [3, 15, 9, 9]);
}

#[test]
fn what_anybody_may_say() {
    for name in ["isn", "tt-int-0", "tt-int-14", "tt-int-token", "biz-status", "rpc-persistent"] {
        all(&[(name, "1")], &format!("{name}=1"), &[]);
    }
    all(&[("tt-int-6", "echo-svc")], "tt-int-6=echo-svc", &[]);
}

#[test]
fn who_is_trusted_is_not_asked_for_nothing() {
    let mut head = Head::new();
    for name in ["accept", "cookie", "x-custom", "sec-fetch-mode", "rpc", "b", "via", ""] {
        head.push(name.as_bytes(), b"1");
    }
    admit(&mut head, || panic!("no field is of the table"), |word| panic!("{word}"));
    assert_eq!(head.count(), 7);
}

#[test]
fn trailers_say_nothing_of_the_table() {
    let mut trailers = Head::new();
    for name in ["x-checksum", "x-auth-subject", "baggage", "Rpc_Persist_A", "grpc-status"] {
        trailers.push(name.as_bytes(), b"a=1");
    }
    let mut words = Vec::new();
    strip(&mut trailers, |word| words.push(word));
    let left: Vec<_> = trailers.fields().map(|(name, _)| name).collect();
    assert_eq!(left, [&b"x-checksum"[..], b"grpc-status"]);
    assert_eq!(words, ["in_trailers"; 3]);
}

/// A field's name, and values that are sound, nearly so, or anything.
fn field() -> impl Strategy<Value = (&'static str, String)> {
    let names = [
        "x-request-id",
        "traceparent",
        "tracestate",
        "grpc-trace-bin",
        "baggage",
        "b3",
        "x-b3-traceid",
        "X_B3_SpanId",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "rpc-persist-a",
        "x-forwarded-for",
        "tt-int-2",
        "other",
    ];
    let value = prop_oneof![
        prop::sample::select(vec![
            PARENT.to_owned(),
            PARENT.replacen("00", "cc", 1),
            PARENT[3..51].to_uppercase(),
            "AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3Av8=".to_owned(),
            "e457b5a2e4d86bd1".to_owned(),
            (0..80).map(|index| format!("k{index}=v,")).collect(),
        ]),
        "[a-z]{1,3}=[a-z;,= ]{0,9}",
        "[ -~]{0,60}",
    ];
    (prop::sample::select(names.to_vec()), value)
}

proptest! {
    /// What goes on means something: the next hop that looks at it in the same way keeps all of it.
    #[test]
    fn what_was_admitted_is_admitted_again(
        fields in prop::collection::vec(field(), 0..8),
        is_thrift: bool,
        claims: bool,
    ) {
        let mut head = Head::new();
        head.set_version(if is_thrift { Version::Thrift } else { Version::Http2 });
        fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
        fuzz::check(&mut head, Trust { claims, addresses: claims });
    }

    #[test]
    fn any_bytes_are_admitted_once(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_metadata(&bytes);
    }
}

//! Whole connections as other implementations spoke them: grpc-core, grpc-js, tonic, python-h2.
//!
//! Each file of `testdata/h2` is all bytes of one direction. What clients sent is read by a server,
//! what servers sent by a client that had asked as much, both in every cut.

use super::testing::*;
use crate::head::Length;
use crate::pair::{every_cut, request};
use crate::{Role, WireSpec};

/// The bytes of a file.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../testdata/h2/", $name, ".hex"))
    };
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::bytes)
        .filter(u8::is_ascii_hexdigit)
        .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn server_says(hex: &str) -> String {
    every_cut(&bytes(hex), |pieces| {
        let mut peer = Peer::new(Role::Server, WireSpec::default());
        pieces.iter().for_each(|piece| peer.feed(piece));
        assert_eq!(peer.failed, None);
        peer.said()
    })
}

fn client_says(hex: &str) -> String {
    every_cut(&bytes(hex), |pieces| {
        let mut peer = Peer::new(Role::Client, WireSpec::default());
        let mut post = request("POST", "/");
        post.set_length(Length::Unknown);
        for _ in 0..3 {
            peer.ask(&post, false);
        }
        pieces.iter().for_each(|piece| peer.feed(piece));
        assert_eq!(peer.failed, None);
        peer.said()
    })
}

/// The lines that a log must have, in this order, each as the beginning of one.
fn assert_lines(said: &str, want: &[&str]) {
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), want.len(), "{said}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "{line} does not begin with {want}");
    }
}

#[test]
fn grpc_core_clients() {
    const ECHO: &str = "0 POST /ringway.test.Echo/Echo @127.0.0.1:";
    const CHECK: &str = "0 POST /grpc.health.v1.Health/Check @127.0.0.1:";
    const STREAM: &str = "0 POST /ringway.test.Echo/Stream @127.0.0.1:";
    const NOPE: &str = "0 POST /ringway.test.Echo/Nope @127.0.0.1:";
    for (hex, head, data) in [
        (vector!("grpc_unary_c2s"), ECHO, r"0 data \x00\x00\x00\x00\x06\n\x02hi\x10)"),
        (vector!("grpc_error_c2s"), ECHO, r"0 data \x00\x00\x00\x00\x05\n\x03err"),
        (vector!("grpc_error_details_c2s"), ECHO, r"0 data \x00\x00\x00\x00\x08\n\x06detail"),
        (vector!("grpc_gzip_c2s"), ECHO, r"0 data \x01\x00\x00\x00\x19\x1f\x8b\x08"),
        (vector!("grpc_health_c2s"), CHECK, r"0 data \x00\x00\x00\x00\x13\n\x11ringway"),
        (vector!("grpc_health_unknown_c2s"), CHECK, r"0 data \x00\x00\x00\x00\x06\n\x04nope"),
        (vector!("grpc_server_stream_c2s"), STREAM, r"0 data \x00\x00\x00\x00\x03\n\x01s"),
        (vector!("grpc_unimplemented_c2s"), NOPE, r"0 data \x00\x00\x00\x00\x00"),
    ] {
        let said = server_says(hex);
        assert_lines(&said, &[head, data, "0 end"]);
        assert!(
            said.contains(" | te: trailers | ") && said.contains(" | user-agent: grpc-python/")
        );
    }
    let said = server_says(vector!("grpc_deadline_c2s"));
    let data = r"0 data \x00\x00\x00\x00\x06\n\x04slow";
    assert_lines(&said, &[ECHO, data, "0 end", "0 reset peer_cancel"]);
    assert!(said.contains(" | grpc-timeout: 200m | "));
}

#[test]
fn grpc_core_servers() {
    const OPEN: &str = "0 200  Unknown | content-type: application/grpc | grpc-accept-encoding: ";
    const ENDED: &str = "0 200  | content-type: application/grpc | grpc-status: ";
    for (hex, data, trailers) in [
        (vector!("grpc_unary_s2c"), r"0 data \x00\x00\x00\x00\x06\n\x02hi\x10*", "0"),
        (vector!("grpc_gzip_s2c"), r"0 data \x00\x00\x00\x00h\ndzz", "0"),
        (vector!("grpc_health_s2c"), r"0 data \x00\x00\x00\x00\x02\x08\x01", "0"),
        (vector!("grpc_health_unknown_s2c"), r"0 data \x00\x00\x00\x00\x00", "5"),
        (vector!("grpc_server_stream_s2c"), r"0 data \x00\x00\x00\x00\x03\n\x01s\x00\x00", "0"),
    ] {
        let trailers = format!("0 trailers | grpc-status: {trailers} | grpc-message: ");
        assert_lines(&client_says(hex), &[OPEN, data, &trailers]);
    }
    // The request was not ended and is not wanted any more: RST_STREAM NO_ERROR.
    let said = client_says(vector!("grpc_deadline_s2c"));
    assert_lines(
        &said,
        &[&format!("{ENDED}4 | grpc-message: Deadline Exceeded end"), "0 writable"],
    );
    let said = client_says(vector!("grpc_error_s2c"));
    assert_lines(&said, &[&format!("{ENDED}5 | grpc-message: n%C3%A3o 100%25 found%0A end")]);
    let said = client_says(vector!("grpc_unimplemented_s2c"));
    assert_lines(&said, &[&format!("{ENDED}12 | grpc-message: Method not found! end")]);
}

#[test]
fn grpc_core_sends_raw_binary_to_whom_asks_for_it() {
    // Both sides had said 0xfe03, which this wire never does: a NUL in a value is malformed.
    assert_lines(
        &server_says(vector!("grpc_unary_timeout_md_c2s")),
        &["- refused bad_field_value call"],
    );
    let said = client_says(vector!("grpc_unary_timeout_md_s2c"));
    assert_lines(&said, &["0 200  Unknown", "0 data ", "0 reset bad_field_value"]);
    assert_lines(&client_says(vector!("grpc_error_details_s2c")), &["0 reset bad_field_value"]);
}

#[test]
fn grpc_js_tonic_and_python_h2() {
    let said = server_says(vector!("grpcjs_unary_c2s"));
    let echo = ["0 POST /ringway.test.Echo/Echo @", "0 data ", "0 end"];
    let again = ["1 POST /ringway.test.Echo/Echo @", "1 data ", "1 end"];
    assert_lines(&said, &[echo, again].concat());
    assert!(said.contains(" | k-bin: AP8= | ") && said.contains(" | grpc-timeout: 1479m | "));
    let said = client_says(vector!("grpcjs_unary_s2c"));
    let ok = "0 trailers | grpc-status: 0 | grpc-message: OK";
    let ended = "1 200  | grpc-status: 5 | grpc-message: nf | content-type: application/grpc+proto";
    assert_lines(&said, &["0 200  Unknown", "0 data ", ok, ended]);
    assert_lines(&server_says(vector!("tonic_grpc_c2s")), &[echo, again].concat());
    let said = client_says(vector!("tonic_grpc_s2c"));
    let ended =
        "1 200  | content-type: application/grpc | grpc-status: 5 | grpc-message: n%C3%A3o%20";
    assert_lines(&said, &["0 200  Unknown", "0 data ", "0 trailers | grpc-status: 0", ended]);
    let said = server_says(vector!("http2_prior_knowledge_c2s"));
    assert_lines(
        &said,
        &["0 POST /x @127.0.0.1:38381 Exact(2) | accept: */*", "0 data hi", "0 end"],
    );
    let said = client_says(vector!("http2_prior_knowledge_s2c"));
    let head = "0 200  Unknown | content-type: text/plain";
    assert_lines(&said, &[head, "0 data echo:hi", "0 end"]);
}

//! Request smuggling: messages that two parsers could cut at different places. The shapes are the
//! public ones; behind each stands a request that the origin must never see as one.

use crate::support::Talk;

/// What is hidden behind the first request's end, or inside of its body.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";

/// A POST whose field lines after Host are given.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}

#[track_caller]
fn all_refused(cases: &[(&str, &str)]) {
    let mut talk = Talk::start();
    for (lines, reason) in cases {
        let status = if *reason == "unknown_coding" { 501 } else { 400 };
        for body in ["0\r\n\r\n", "6\r\n=hello\r\n0\r\n\r\n", ""] {
            talk.client(format!("{}{body}{HIDDEN}", post(lines))).refused(status, reason);
        }
    }
}

/// One side by length, the other by chunks: CL.TE and TE.CL.
#[test]
fn length_and_chunks_together() {
    all_refused(&[
        ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "length_conflict"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "length_conflict"),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "length_conflict"),
        ("content-length: 4\r\nX: y\r\ntransfer-encoding: CHUNKED\r\n", "length_conflict"),
        ("Content-Length: 4\r\nTransfer-Encoding:\tchunked\r\n", "length_conflict"),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked \t\r\n", "length_conflict"),
        ("Content-Length: 4\r\nTransfer-Encoding: identity\r\n", "length_conflict"),
        ("Content-Length: 4\r\nTransfer-Encoding: cow, chunked\r\n", "length_conflict"),
    ]);
}

/// Both sides know chunks, one of them can be made to overlook the word: TE.TE.
#[test]
fn transfer_encoding_in_disguise() {
    all_refused(&[
        ("Transfer-Encoding: xchunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunkedx\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: 'chunked'\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked;q=1\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, identity\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: ,chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked,\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", "unknown_coding"),
        ("Transfer-Encoding: identity, chunked\r\n", "unknown_coding"),
        ("Transfer-Encoding : chunked\r\n", "bad_field_name"),
        ("Transfer-Encoding\t: chunked\r\n", "bad_field_name"),
        ("Transfer-Encoding\0: chunked\r\n", "bad_field_name"),
        ("Transfer-Encoding chunked\r\n", "bad_field_name"),
        ("Transfer_Encoding: chunked\r\n", "bad_field_name"),
        (" Transfer-Encoding: chunked\r\n", "obs_fold"),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", "obs_fold"),
        ("Transfer-Encoding:\r\n chunked\r\n", "obs_fold"),
        ("Transfer-Encoding\r\n : chunked\r\n", "bad_field_name"),
        ("X: y\rTransfer-Encoding: chunked\r\n", "bare_cr"),
        ("X: y\nTransfer-Encoding: chunked\r\n", "bare_lf"),
        ("X: y\r\n\rTransfer-Encoding: chunked\r\n", "bare_cr"),
        ("Transfer-Encoding: chunked\rX: y\r\n", "bare_cr"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "bad_field_value"),
        ("Transfer-Encoding: \u{c}chunked\r\n", "bad_field_value"),
        ("Transfer-Encoding: \0chunked\r\n", "bad_field_value"),
        ("Transfer-Encoding: \u{a0}chunked\r\n", "bad_transfer_encoding"),
    ]);
}

/// Two lengths, or one that is read in two ways.
#[test]
fn lengths_that_can_be_read_twice() {
    all_refused(&[
        ("Content-Length: 5\r\nContent-Length: 0\r\n", "duplicate_content_length"),
        ("Content-Length: 0\r\nContent-Length: 5\r\n", "duplicate_content_length"),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", "duplicate_content_length"),
        ("Content-Length: 5, 0\r\n", "duplicate_content_length"),
        ("Content-Length: 5,\r\n", "duplicate_content_length"),
        ("Content-Length: +5\r\n", "bad_content_length"),
        ("Content-Length: -5\r\n", "bad_content_length"),
        ("Content-Length: 0x5\r\n", "bad_content_length"),
        ("Content-Length: 5 0\r\n", "bad_content_length"),
        ("Content-Length: 5_0\r\n", "bad_content_length"),
        ("Content-Length: 5.0\r\n", "bad_content_length"),
        ("Content-Length: 18446744073709551621\r\n", "bad_content_length"),
        ("Content-Length: \u{665}\r\n", "bad_content_length"),
        ("Content-Length : 5\r\n", "bad_field_name"),
        ("Content_Length: 5\r\n", "bad_field_name"),
        (" Content-Length: 5\r\n", "obs_fold"),
        ("Content-Length: 5\r\n 0\r\n", "obs_fold"),
        ("Content-Length: 5\rX: y\r\n", "bare_cr"),
        ("Connection: Content-Length\r\nContent-Length: 5\r\n", "bad_connection"),
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "bad_connection"),
    ]);
}

/// A method that has no body by custom has one when a length says so, on both sides: CL.0.
#[test]
fn bodies_of_methods_that_have_none_by_custom() {
    let mut talk = Talk::start();
    let framing = format!("ontent-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    for method in ["GET", "DELETE", "OPTIONS", "TRACE", "HEAD"] {
        talk.client(format!("{method} / HTTP/1.1\r\nHost: test\r\nC{framing}"));
        talk.forwarded(format!("{method} / HTTP/1.1\r\nhost: test\r\nc{framing}")).answered();
        talk.goes_on();
    }
}

/// A body that was waited for with an expectation is not left for the next request: 0.CL and its
/// kin.
#[test]
fn expectations_that_shift_a_body() {
    let mut talk = Talk::start();
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    talk.client(post(&format!("Expect: 100-continue\r\n{length}")));
    talk.forwarded(format!(
        "POST / HTTP/1.1\r\nhost: test\r\nExpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        HIDDEN.len()
    ));
    talk.origin("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    talk.client(HIDDEN).link_closed().closed();
    for value in ["y 100-continue", "100-continue\t, x", "\"100-continue\"", "100-continue;"] {
        talk.client(post(&format!("Expect: {value}\r\n{length}")));
        talk.refused(417, "bad_expectation");
    }
}

/// Requests without their last line, of a version without fields, or behind white space.
#[test]
fn request_lines_that_hide_a_request() {
    let mut talk = Talk::start();
    talk.client(format!("GET /\r\n{HIDDEN}")).refused(400, "bad_request_line");
    talk.client(format!("GET / HTTP/0.9\r\n\r\n{HIDDEN}")).refused(505, "bad_version");
    talk.client(format!("GET /{HIDDEN}")).refused(400, "bad_request_line");
    talk.client(format!("\r\n\r\n{HIDDEN}")).refused(400, "bad_request_line");
    talk.client(format!(" {HIDDEN}")).refused(400, "bad_request_line");
    talk.client(format!("\u{feff}{HIDDEN}")).refused(400, "bad_request_line");
}

/// A line break in an escaped form stays escaped.
#[test]
fn escaped_line_breaks_are_not_decoded() {
    let mut talk = Talk::with(&[("--path-rule", "off")]);
    let target = "/a%0d%0aX:%20y%0D%0A?b=%0d%0a%00";
    talk.client(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    talk.forwarded(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n")).answered().goes_on();
}

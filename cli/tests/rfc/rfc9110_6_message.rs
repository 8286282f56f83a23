//! RFC 9110 sections 2 and 6: versions, trailers and Date.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Reply, Talk};

/// The gateway speaks no version that it does not conform to: others are refused, with 505 from a
/// client and 502 from an origin (§6.2).
#[test]
fn other_versions_are_refused() {
    let mut talk = Talk::start();
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        let head = format!("GET / {version}\r\nHost: test\r\n\r\n");
        talk.client(head).refused(505, "bad_version");
        let reply = format!("{version} 200 OK\r\nContent-Length: 0\r\n\r\n");
        talk.get("").forwarded_get("").origin(reply).reply_refused();
    }
    for version in ["http/1.1", "HTTP/1.1x", "HTTP/11", "HTTP/1", "HTTPS/1.1", "HTTP/+1.1"] {
        let head = format!("GET / {version}\r\nHost: test\r\n\r\n");
        talk.client(head).refused(400, "bad_request_line");
    }
}

/// A trailer is not merged into a head, even where the head is still unsent (§6.5.1).
#[test]
fn a_trailer_is_not_merged() {
    let mut talk = Talk::start();
    let chunks = "ransfer-encoding: chunked\r\n\r\n0\r\nX-End: 1\r\n\r\n";
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\nX-End: 0\r\nT{chunks}"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\nX-End: 0\r\nt{chunks}")).answered();
    talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\nT{chunks}"));
    talk.reply(format!("HTTP/1.1 200 OK\r\nt{chunks}")).goes_on();
}

/// A reply is read by what was asked: the same bytes are whole after HEAD and not after GET (§6).
#[test]
fn a_reply_is_read_by_its_request() {
    let mut talk = Talk::start();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    talk.client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n").origin(head).reply(head).goes_on();
    talk.get("").forwarded_get("").origin(head).reply(head).origin("ok").reply("ok").goes_on();
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// A second in the form that a Date has, as the system's own tool writes it.
fn imf_fixdate(seconds: u64) -> String {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-d", &format!("@{seconds}")]);
    let output = date.arg("+%a, %d %b %Y %H:%M:%S GMT").output().expect("date runs");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// A reply that has one Date, of a second since `before`.
#[track_caller]
fn is_dated(reply: &Reply, before: u64) {
    let dates: Vec<&str> = reply.values("date");
    let seconds: Vec<String> = (before..=seconds()).map(imf_fixdate).collect();
    assert!(dates.len() == 1 && seconds.iter().any(|second| second == dates[0]), "{dates:?}");
}

/// A reply that comes without Date is forwarded with the time at which it was received (§6.6.1).
#[test]
fn a_reply_without_date_gets_one() {
    let mut talk = Talk::keeping("--date", &[]);
    for reply in ["200 OK\r\nContent-Length: 0", "304 Not Modified", "500 X\r\nX-Date: y"] {
        let before = seconds();
        talk.get("").forwarded_get("").origin(format!("HTTP/1.1 {reply}\r\n\r\n"));
        if reply.starts_with("500") {
            talk.origin_finishes();
        }
        is_dated(&talk.any_reply(), before);
    }
}

/// A Date that is there is forwarded as it is, even one that no clock shows (§6.6.1).
#[test]
fn a_reply_keeps_its_date() {
    let mut talk = Talk::keeping("--date", &[]);
    for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "yesterday"] {
        let head = format!("HTTP/1.1 204 No Content\r\nDATE: {date}\r\n\r\n");
        talk.get("").forwarded_get("").origin(&head).reply(head);
    }
}

/// A 1xx gets none: it says nothing that could be dated (§6.6.1).
#[test]
fn a_1xx_gets_no_date() {
    let mut talk = Talk::keeping("--date", &[]);
    talk.get("").forwarded_get("").origin("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    talk.reply("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    talk.origin("HTTP/1.1 204 No Content\r\n\r\n").any_reply();
}

/// What the gateway says itself has a Date, whether the wire refuses a request or its exchange
/// fails (§6.6.1).
#[test]
fn the_gateways_own_replies_have_a_date() {
    let mut talk = Talk::keeping("--date", &[]);
    let before = seconds();
    talk.get("").forwarded_get("").origin("nonsense");
    let reply = talk.any_reply();
    assert_eq!(reply.status, 502);
    is_dated(&reply, before);
    let before = seconds();
    talk.client("GET / HTTP/9.9\r\n\r\n");
    let reply = talk.any_reply();
    assert_eq!(reply.status, 505);
    is_dated(&reply, before);
}

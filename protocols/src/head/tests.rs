//! Tests of heads: fields, edits, hop-by-hop removal.

use super::*;

fn head(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    head.set_request(b"GET", b"/a/b?c=d");
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes());
    }
    head
}

fn names(head: &Head) -> String {
    let names: Vec<_> = head.fields().map(|(n, _)| String::from_utf8_lossy(n)).collect();
    names.join(" ")
}

fn text(head: &Head) -> String {
    let mut out = Vec::new();
    head.write_fields(&mut out, |_, _| true);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_parts_of_a_target() {
    let mut head = head(&[]);
    assert_eq!((head.path(), head.query()), (&b"/a/b"[..], Some(&b"c=d"[..])));
    head.set_target(b"/x");
    assert_eq!((head.path(), head.query()), (&b"/x"[..], None));
    head.set_target(b"/x?");
    assert_eq!((head.path(), head.query()), (&b"/x"[..], Some(&b""[..])));
}

#[test]
fn the_host_of_an_authority() {
    for (authority, host) in [
        ("a.example", "a.example"),
        ("A.Example.:8080", "a.example"),
        ("[2001:DB8::1]:80", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
        ("", ""),
    ] {
        let mut head = Head::new();
        head.set_authority(authority.as_bytes());
        assert_eq!(head.authority(), authority.as_bytes());
        assert_eq!(head.host(), host.as_bytes());
    }
}

#[test]
fn a_known_name_is_set_as_its_text_is() {
    for there in [&[][..], &[("Via", "1")], &[("via", "1"), ("x", "2"), ("VIA", "3"), ("y", "")]] {
        let (mut known, mut spelled) = (head(there), head(there));
        for value in [&b"1.1 a"[..], b"", b"a\r\nb\0\xff\t"] {
            known.set_known(Name::Via, value);
            spelled.set(b"via", value);
            assert_eq!(known.fields().collect::<Vec<_>>(), spelled.fields().collect::<Vec<_>>());
            let out = |head: &Head| {
                let mut out = Vec::new();
                head.write_fields(&mut out, |_, _| true);
                out
            };
            assert_eq!(out(&known), out(&spelled));
        }
        known.push_known(Name::Via, b"2");
        spelled.push(b"via", b"2");
        known.push_known(Name::Other, b"2");
        assert_eq!(known.values(Name::Via).count(), 2);
        assert_eq!(known.count(), spelled.count());
    }
}

#[test]
fn look_up_set_remove() {
    let mut head = head(&[("Accept", "1"), ("x-a", "2"), ("X-A", "3"), ("accept", "4")]);
    assert_eq!(head.field(b"ACCEPT"), Some(&b"1"[..]));
    assert_eq!(head.field(b"X-a"), Some(&b"2"[..]));
    assert_eq!(head.field(b"x-b"), None);
    head.set(b"x-a", b"5");
    assert_eq!(text(&head), "Accept: 1\r\nx-a: 5\r\naccept: 4\r\n");
    head.set(b"x-b", b"6");
    assert_eq!(head.remove(b"accept"), 2);
    assert_eq!(head.remove(b"accept"), 0);
    assert_eq!(text(&head), "x-a: 5\r\nx-b: 6\r\n");
    assert_eq!(head.count(), 2);
}

#[test]
fn nothing_pushed_can_end_a_line() {
    let mut head = head(&[("a\r\nb", "c\r\nd: e"), ("", "x")]);
    assert_eq!(text(&head), "a__b: c  d: e\r\n");
    head.set_request(b"G T", b"/a b\r\n\xff#");
    assert_eq!((head.method(), head.target()), (&b"G_T"[..], &b"/a%20b%0D%0A%FF%23"[..]));
    head.set_status(7, b"a\nb");
    assert_eq!((head.status(), head.reason()), (100, &b"a b"[..]));
    head.set_authority(b"a b\r\n");
    assert_eq!(head.authority(), b"ab");
}

#[test]
fn hop_by_hop_fields_go() {
    let mut head = head(&[
        ("connection", "close, X-Hop"),
        ("Connection", "x-forwarded-for, authorization, host"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "x"),
        ("x-hop", "1"),
        ("X-Forwarded-For", "1"),
        ("Authorization", "1"),
        ("te", "trailers;q=0, Trailers"),
        ("trailer", "x"),
        ("upgrade", "websocket"),
        ("http2-settings", "x"),
        ("proxy-authorization", "x"),
        ("x-end", "1"),
    ]);
    head.remove_hop_by_hop();
    assert_eq!(names(&head), "X-Forwarded-For Authorization trailer x-end te");
    assert_eq!(head.field(b"te"), Some(&b"trailers"[..]));
}

#[test]
fn te_is_a_request_field() {
    let mut head = head(&[("te", "trailers")]);
    head.set_status(200, b"");
    head.remove_hop_by_hop();
    assert_eq!(head.count(), 0);
}

#[test]
fn an_upgrade_survives_in_a_tunnel() {
    let mut head = head(&[("connection", "upgrade, x"), ("upgrade", "websocket"), ("x", "1")]);
    head.set_length(Length::Tunnel);
    head.remove_hop_by_hop();
    assert_eq!(names(&head), "upgrade");
}

#[test]
fn runs_are_written_as_they_lie() {
    let block = b"X / Y\r\na: 1\r\nb:2\r\nc: 3  \r\nd: 4\r\ne: 5\r\n\r\n";
    let mut head = Head::new();
    head.load(block);
    for (at, value_at) in [(7, 10), (13, 15), (18, 21), (26, 29), (32, 35)] {
        head.load_field(at, 1, Span::new(value_at, 1));
    }
    head.push(b"f", b"6");
    assert_eq!(text(&head), "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: 6\r\n");
    let mut out = Vec::new();
    head.write_fields(&mut out, |_, value| value != b"4");
    assert_eq!(out, b"a: 1\r\nb: 2\r\nc: 3\r\ne: 5\r\nf: 6\r\n");
}

#[test]
fn clear_keeps_small_arenas_and_drops_large_ones() {
    let mut head = head(&[("a", "b")]);
    let held = head.held_bytes();
    head.clear();
    assert_eq!((head.held_bytes(), head.count(), head.target()), (held, 0, &b""[..]));
    head.push(b"a", &[b'x'; 100_000]);
    head.clear();
    assert_eq!(head.held_bytes(), held);
}

#[test]
fn a_copy_is_equal() {
    let mut one = head(&[("a", "b"), ("c", "d")]);
    one.set_authority(b"H");
    let mut two = head(&[("z", "z")]);
    two.copy_from(&one);
    two.set(b"a", b"x");
    assert_eq!((one.field(b"a"), two.field(b"a")), (Some(&b"b"[..]), Some(&b"x"[..])));
    assert_eq!((two.host(), two.target()), (&b"h"[..], one.target()));
    assert_eq!(one.bytes_len(), two.bytes_len());
}

#[test]
fn what_must_never_be_indexed_is_not_once_it_was_set() {
    let mut head = head(&[("a", "b")]);
    head.load_pair(Name::Other, b"c", b"d", true);
    head.set(b"a", b"x");
    head.set(b"c", b"y");
    let secrets: Vec<_> = head.secrets().map(|(_, text, value, is)| (text, value, is)).collect();
    assert_eq!(secrets, [(&b"a"[..], &b"x"[..], false), (b"c", b"y", true)]);
}

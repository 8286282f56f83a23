//! Paths that two parsers could take for different ones: what is routed is what is forwarded.

use crate::support::Talk;

/// What each rule refuses, with its word; a rule refuses what the ones before it do.
const REFUSED: &[(&str, &[(&str, &str)])] = &[
    ("off", &[("/a%", "bad_escape"), ("/a%2", "bad_escape"), ("/%zz", "bad_escape")]),
    ("off", &[("/a%00", "bad_escape"), ("/%00/../a", "bad_escape")]),
    ("minimal", &[("/..", "path_above_root"), ("/a/../../b", "path_above_root")]),
    ("minimal", &[("/%2e%2E/b", "path_above_root"), ("/.%2e/b", "path_above_root")]),
    ("safe", &[("/a%2fb", "encoded_slash"), ("/a%5Cb", "encoded_slash")]),
    ("safe", &[("/..%2f..%2fa", "encoded_slash"), ("/a\\..\\b", "raw_backslash")]),
    ("strict", &[("/a;/../b", "path_parameter"), ("/..;/b", "path_parameter")]),
    ("strict", &[("/%252e%252e/b", "double_encoding"), ("/a%0ab", "encoded_control")]),
    ("strict", &[("/%c0%ae%c0%ae/b", "path_not_utf8"), ("/%ed%a0%80", "path_not_utf8")]),
];

/// Each path is refused by its rule and by the stricter ones, and nothing of it reaches the origin.
#[test]
fn paths_that_can_be_read_twice() {
    let rules = ["off", "minimal", "safe", "strict"];
    for (at, rule) in rules.iter().enumerate() {
        let mut talk = Talk::with(&[("--path-rule", rule)]);
        let held = |(of, _): &&(&str, &[(&str, &str)])| rules[..=at].contains(of);
        for (path, word) in REFUSED.iter().filter(held).flat_map(|(_, paths)| *paths) {
            talk.client(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
            // Escapes are the wire's to judge, which closes; the rules are the route's.
            match *word {
                "bad_escape" => talk.refused(400, word),
                _ => talk.local_reply(400, word).goes_on(),
            };
        }
    }
}

/// What is not refused arrives in one form, by the default rule; the query is never touched.
#[test]
fn paths_arrive_in_one_form() {
    let mut talk = Talk::start();
    for (path, form) in [
        ("/a/./b/../c", "/a/c"),
        ("/a//b///c", "/a/b/c"),
        ("/%61%2D%7e", "/a-~"),
        ("/%c3%a4", "/%C3%A4"),
        ("/a/..", "/"),
        ("/a?b=/../c//d&e=%2f", "/a?b=/../c//d&e=%2f"),
    ] {
        talk.client(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        talk.forwarded(format!("GET {form} HTTP/1.1\r\nhost: test\r\n\r\n")).answered();
    }
}

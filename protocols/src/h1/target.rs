//! Request targets and authorities: which bytes and forms are let in (RFC 9112 §3.2).
//!
//! Nothing is normalised here: a target is forwarded as it came, in origin form. What is refused
//! is refused because two parsers could read it differently. Routing's own path normalisation is
//! another step, above this crate's wires.

use core::net::Ipv6Addr;

use crate::error::Fault;
use crate::head::is_target_byte;

/// The form of a target, as parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// `/path?query`, or `*` for OPTIONS.
    Origin(&'a [u8]),
    /// `http://authority/path?query`; the rest begins with `/`, `?` or is empty.
    Absolute { authority: &'a [u8], rest: &'a [u8], https: bool },
}

/// Reads a target of a method other than CONNECT.
pub(crate) fn parse<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Fault> {
    // No early exit: this way the loop is done in vectors.
    let legal = target.iter().fold(true, |legal, &b| legal & is_target_byte(b));
    if !legal {
        return Err(Fault::BadTarget);
    }
    if target.first() == Some(&b'/') {
        check_path(target)?;
        return Ok(Target::Origin(target));
    }
    if target == b"*" {
        let options = method == b"OPTIONS";
        return if options { Ok(Target::Origin(target)) } else { Err(Fault::BadTarget) };
    }
    let (https, rest) = strip_scheme(target).ok_or(Fault::BadTarget)?;
    let end = rest.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).ok_or(Fault::BadTarget)?;
    if !is_authority(authority) {
        return Err(Fault::BadHost);
    }
    check_path(rest)?;
    Ok(Target::Absolute { authority, rest, https })
}

fn strip_scheme(target: &[u8]) -> Option<(bool, &[u8])> {
    let strip = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    match strip(b"http://") {
        Some(rest) => Some((false, rest)),
        None => strip(b"https://").map(|rest| (true, rest)),
    }
}

/// Every `%` of the path begins an escape that is not `%00`. A query may hold anything: it is
/// data, and `?discount=50%` is common.
fn check_path(target: &[u8]) -> Result<(), Fault> {
    let mut path = target.split(|&b| b == b'?').next().unwrap_or_default();
    while let Some(at) = path.iter().position(|&b| b == b'%') {
        match path.get(at + 1..at + 3) {
            Some([b'0', b'0']) => return Err(Fault::BadEscape),
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
            _ => return Err(Fault::BadEscape),
        }
        path = path.get(at + 3..).unwrap_or_default();
    }
    Ok(())
}

/// Whether this is `host[:port]` with a host of letters, digits, `-._~`, or an IPv6 literal, and
/// a port from 1 to 65535. Narrower than RFC 3986 §3.2.2: no sub-delims, no `%`, no user info,
/// no empty label: nobody's host needs them and every one of them has split parsers.
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    if let Some(literal) = authority.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|&b| b == b']') else { return false };
        let (Some(address), Some(after)) = (literal.get(..end), literal.get(end + 1..)) else {
            return false;
        };
        let address = core::str::from_utf8(address).ok().and_then(|a| a.parse::<Ipv6Addr>().ok());
        return address.is_some() && (after.is_empty() || is_port(after));
    }
    let colon = authority.iter().position(|&b| b == b':').unwrap_or(authority.len());
    let Some((host, after)) = authority.split_at_checked(colon) else { return false };
    is_name(host) && (after.is_empty() || is_port(after))
}

fn is_name(host: &[u8]) -> bool {
    let (mut last, mut ok) = (b'.', true);
    for &byte in host {
        ok &= byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.');
        ok &= !(byte == b'.' && last == b'.');
        last = byte;
    }
    ok && !host.is_empty()
}

/// `:` and a number from 1 to 65535 in at most five digits.
fn is_port(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(b":") else { return false };
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let port = digits.iter().fold(0u32, |port, &d| port * 10 + u32::from(d - b'0'));
    (1..=65_535).contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in [
            "a",
            "a.b.",
            "A-1_~.example:80",
            "127.0.0.1:65535",
            "[::1]",
            "[2001:db8::1]:1",
            "[::ffff:1.2.3.4]:80",
            "a:1",
            "localhost:8080",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a:",
            "a:0",
            "a:65536",
            "a:99999",
            "a:123456",
            "a:+1",
            "a:1:2",
            "a,b",
            "a@b",
            "u:p@a",
            "a b",
            "a/b",
            "a?b",
            "a\\b",
            "a%41",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1%eth0]",
            "[1.2.3.4]",
            "[v1.a]",
            "::1",
            "a]",
            "\u{e4}",
            "a\0",
            "a;b",
            "a'b",
            "*.a",
            ":80",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn forms() {
        let origin = |text: &'static str| Ok(Target::Origin(text.as_bytes()));
        assert_eq!(parse(b"GET", b"/"), origin("/"));
        assert_eq!(parse(b"GET", b"//a/../b;c?d=|%"), origin("//a/../b;c?d=|%"));
        assert_eq!(parse(b"GET", b"/%41%2f"), origin("/%41%2f"));
        assert_eq!(parse(b"OPTIONS", b"*"), origin("*"));
        let absolute = parse(b"GET", b"HTTP://a:1/b?c");
        let whole = Target::Absolute { authority: b"a:1", rest: b"/b?c", https: false };
        assert_eq!(absolute, Ok(whole));
        let bare = Target::Absolute { authority: b"a", rest: b"?x", https: true };
        assert_eq!(parse(b"GET", b"https://a?x"), Ok(bare));
    }

    #[test]
    fn refusals() {
        for (target, fault) in [
            ("*", Fault::BadTarget),
            ("a.example:80", Fault::BadTarget),
            ("a/b", Fault::BadTarget),
            ("?x", Fault::BadTarget),
            ("/a#b", Fault::BadTarget),
            ("/a\u{e9}", Fault::BadTarget),
            ("/a\x7f", Fault::BadTarget),
            ("/a\tb", Fault::BadTarget),
            ("ftp://a/", Fault::BadTarget),
            ("http:/a", Fault::BadTarget),
            ("http:///a", Fault::BadHost),
            ("http://u@a/", Fault::BadHost),
            ("http://a,b/", Fault::BadHost),
            ("/%", Fault::BadEscape),
            ("/%4", Fault::BadEscape),
            ("/%zz", Fault::BadEscape),
            ("/%00", Fault::BadEscape),
            ("/a%2?x=41", Fault::BadEscape),
            ("http://a/%00", Fault::BadEscape),
        ] {
            assert_eq!(parse(b"GET", target.as_bytes()), Err(fault), "{target}");
        }
    }
}

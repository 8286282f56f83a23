//! Who the client is, told by the proxies in front of us: X-Forwarded-For, and Forwarded of
//! RFC 7239, which is also written here.
//!
//! Each proxy appends the address that it was called from, so such a list is true from its right
//! end up to the first proxy that is not ours; everything to the left of that is what somebody
//! says. So the walk goes from the right and stops at the first address that is not trusted, and
//! at the first element that it cannot read. Which addresses are trusted is the caller's to say,
//! as is what becomes of the fields of a peer that is not.
//!
//! F1 The result is the peer or one of the addresses listed; for a peer that is not trusted, it is
//!    the peer. F2 What lies to the left of the element where the walk stops has no influence on
//!    it, open quotes included. F3 At most [`ELEMENTS_MAX`] elements are looked at. F4 IPv4
//!    addresses in IPv6 clothes (`::ffff:0:0/96`) are asked about, returned and written as IPv4,
//!    whatever socket they came from.
//!
//! Cost: one pass over the part of the list that is walked; no allocation but the caller's buffer.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::head::{is_tchar, is_value_byte};

/// The most elements that a walk looks at, empty ones included: one more than `hops` can skip.
/// Only a list of trusted addresses gets that far.
pub const ELEMENTS_MAX: usize = 256;

/// The client's address by X-Forwarded-For: `values` are those of all such fields in the order
/// received. Elements are `ip`, `ip:port`, `[v6]:port`, each maybe in double quotes; empty ones
/// do not count.
///
/// With `hops` 0 the trusted addresses at the right end are skipped; the result is the first that
/// is not trusted, or the leftmost if all are. With `hops` above 0 exactly so many *elements* are
/// skipped, whatever they are (the peer is no element: behind one proxy of one's own there is
/// nothing to skip, behind two there is one), or all but the leftmost if there are fewer. An
/// element that cannot be read ends the walk at the address before it.
pub fn client_address<'a>(
    peer: IpAddr,
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: impl Fn(IpAddr) -> bool,
    hops: u8,
) -> IpAddr {
    let elements = values.rev().flat_map(|value| value.rsplit(|&b| b == b','));
    walk(peer, elements, address, (trusted, hops))
}

/// As [`client_address`], by the `for=` nodes of Forwarded (RFC 7239 §4). An element without one,
/// with two, or with anything malformed cannot be read; neither can `unknown` and `_names`.
pub fn client_address_forwarded<'a>(
    peer: IpAddr,
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: impl Fn(IpAddr) -> bool,
    hops: u8,
) -> IpAddr {
    let elements = values.rev().flat_map(elements_from_right);
    walk(peer, elements, |element| address(node(element)?), (trusted, hops))
}

fn walk<'a>(
    peer: IpAddr,
    elements: impl Iterator<Item = &'a [u8]>,
    read: impl Fn(&'a [u8]) -> Option<IpAddr>,
    (trusted, hops): (impl Fn(IpAddr) -> bool, u8),
) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted(client) {
        return client;
    }
    let elements = elements.take(ELEMENTS_MAX).map(<[u8]>::trim_ascii);
    for (index, element) in elements.filter(|element| !element.is_empty()).enumerate() {
        let Some(address) = read(element) else { break };
        client = address;
        let passed = if hops > 0 { index < usize::from(hops) } else { trusted(address) };
        if !passed {
            break;
        }
    }
    client
}

/// The address of a node: `ip`, `ip:port` or `[v6]:port`, maybe in double quotes.
pub fn address(node: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(node).ok()?;
    let text = match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => text,
    };
    if let Some(literal) = text.strip_prefix('[') {
        let (address, after) = literal.split_once(']')?;
        let port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        let address = address.parse::<Ipv6Addr>().ok()?;
        return port.then(|| IpAddr::V6(address).to_canonical());
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => {
            let address = address.parse::<Ipv4Addr>().ok()?;
            is_port(port).then_some(IpAddr::V4(address))
        }
        _ => text.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
    }
}

/// A number below 65536 in at most five digits, or an obfuscated port (RFC 7239 §6.2).
fn is_port(text: &str) -> bool {
    let hidden = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let digits = text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits && text.parse::<u16>().is_ok()) || text.strip_prefix('_').is_some_and(hidden)
}

/// The elements of a list from its right end, quoted strings kept whole. Quotes are paired from
/// the right as well, so that an open one to the left cannot swallow what came later (F2).
fn elements_from_right(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    core::iter::from_fn(move || {
        let text = rest?;
        let comma = last_comma(text);
        rest = comma.and_then(|at| text.get(..at));
        text.get(comma.map_or(0, |at| at + 1)..)
    })
}

/// The last comma outside of quoted strings.
fn last_comma(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    text.iter().enumerate().rev().find_map(|(at, byte)| match byte {
        b'"' => {
            let before = text.get(..at).unwrap_or_default();
            let escapes = before.iter().rev().take_while(|&&b| b == b'\\').count();
            quoted ^= escapes % 2 == 0;
            None
        }
        b',' if !quoted => Some(at),
        _ => None,
    })
}

/// The one `for=` of a well-formed element (RFC 7239 §4).
fn node(element: &[u8]) -> Option<&[u8]> {
    let (mut node, mut rest) = (None, Some(element));
    while let Some(text) = rest {
        let end = first_semicolon(text);
        rest = end.and_then(|at| text.get(at + 1..));
        let pair = text.get(..end.unwrap_or(text.len()))?.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_at_checked(pair.iter().position(|&b| b == b'=')?)?;
        let value = value.get(1..)?;
        let sound = !name.is_empty() && name.iter().all(|&b| is_tchar(b)) && is_value(value);
        if !sound || (name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some()) {
            return None;
        }
    }
    node
}

/// The first semicolon outside of quoted strings.
fn first_semicolon(text: &[u8]) -> Option<usize> {
    let mut quotes = Quotes::default();
    text.iter().position(|&byte| quotes.is_outside(byte) && byte == b';')
}

/// A quoted string, or a token; as such IP literals and ports pass too, which many send unquoted.
fn is_value(value: &[u8]) -> bool {
    if value.first() != Some(&b'"') {
        let legal = |&b: &u8| is_tchar(b) || matches!(b, b':' | b'[' | b']');
        return !value.is_empty() && value.iter().all(legal);
    }
    let mut quotes = Quotes::default();
    let inside = value.len() - 1;
    let open = value.iter().take(inside).all(|&byte| !quotes.is_outside(byte));
    open && inside > 0 && quotes.is_outside(b'"') && !quotes.open
}

/// Where quoted strings begin and end, read from the left (RFC 9110 §5.6.4).
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Takes the next byte; whether it is outside of quoted strings. A closing quote is.
    fn is_outside(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open => self.escaped = true,
            b'"' => self.open = !self.open,
            _ => {}
        }
        !self.open
    }
}

/// What this hop says about the request it passes on (RFC 7239 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedElement<'a> {
    /// Who sent it; `None` is written as `unknown`.
    pub client: Option<IpAddr>,
    /// The sender's port, if it is to be told.
    pub port: Option<u16>,
    /// The authority that was asked for; nothing is said if it is empty.
    pub host: &'a [u8],
    /// The scheme it came by; nothing is said if it is empty.
    pub proto: &'a str,
}

/// Appends an element to a Forwarded value, which may be empty. A value with an open quoted
/// string is dropped first: the next reader would take what is appended for a part of it.
pub fn append_forwarded(value: &mut Vec<u8>, element: &ForwardedElement<'_>) {
    let mut quotes = Quotes::default();
    if !value.iter().fold(true, |_, &byte| quotes.is_outside(byte)) {
        value.clear();
    }
    if !value.is_empty() {
        value.extend_from_slice(b", ");
    }
    // Writing to a Vec cannot fail.
    let _ = match (element.client.map(|client| client.to_canonical()), element.port) {
        (None, _) => write!(value, "for=unknown"),
        (Some(IpAddr::V4(client)), None) => write!(value, "for={client}"),
        (Some(IpAddr::V4(client)), Some(port)) => write!(value, "for=\"{client}:{port}\""),
        (Some(IpAddr::V6(client)), None) => write!(value, "for=\"[{client}]\""),
        (Some(IpAddr::V6(client)), Some(port)) => write!(value, "for=\"[{client}]:{port}\""),
    };
    append_pair(value, b";host=", element.host);
    append_pair(value, b";proto=", element.proto.as_bytes());
}

/// Appends a pair, its text as a token where it is one. Bytes that no field may hold are left out.
fn append_pair(value: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    if text.is_empty() {
        return;
    }
    value.extend_from_slice(name);
    if text.iter().all(|&b| is_tchar(b)) {
        value.extend_from_slice(text);
        return;
    }
    value.push(b'"');
    for &byte in text.iter().filter(|&&b| is_value_byte(b)) {
        if matches!(byte, b'"' | b'\\') {
            value.push(b'\\');
        }
        value.push(byte);
    }
    value.push(b'"');
}

/// Fields of any bytes, one a line, behind a byte that chooses whom to trust: F1 holds, and what is
/// appended is what is then read.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_forwarded(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let (hops, modulus) = (choice & 7, usize::from(choice >> 3));
    let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let trusted = |address: IpAddr| {
        address == peer || address.to_string().len().checked_rem(modulus).is_some_and(|n| n > 0)
    };
    let fields = || data.split(|&b| b == b'\n');
    let listed = listed(data);
    for client in [
        client_address(peer, fields(), trusted, hops),
        client_address_forwarded(peer, fields(), trusted, hops),
    ] {
        assert!(client == peer || listed.contains(&client), "F1: {client}");
    }
    assert_eq!(client_address(peer, fields(), |_| false, hops), peer, "F1: not trusted");
    let client = listed.iter().copied().find(|&address| address != peer);
    let port = client.is_some_and(|client| client.is_ipv4()).then_some(u16::from(choice));
    let proto = if choice & 1 == 0 { "https" } else { "" };
    let host = fields().next_back().unwrap_or_default();
    let mut value = fields().next().unwrap_or_default().to_vec();
    append_forwarded(&mut value, &ForwardedElement { client, port, host, proto });
    let read = client_address_forwarded(peer, [value.as_slice()].into_iter(), |a| a == peer, 0);
    assert_eq!(read, client.unwrap_or(peer), "{}", value.escape_ascii());
}

/// Every address that stands in the bytes, found without regard to what is around it.
#[cfg(any(test, feature = "fuzz"))]
fn listed(data: &[u8]) -> Vec<IpAddr> {
    let words = data.split(|b| b",;=\"[]\n".contains(b) || b.is_ascii_whitespace());
    let words = words.filter_map(|word| core::str::from_utf8(word).ok());
    words
        .flat_map(|word| {
            let before = word.split(':').next().and_then(|word| word.parse::<Ipv4Addr>().ok());
            [word.parse().ok(), before.map(IpAddr::V4)]
        })
        .flatten()
        .map(|address| address.to_canonical())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::head::Head;
    use crate::name::Name;

    const PEER: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// 10.0.0.0/8 and fd00::/8 are ours.
    fn ours(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        }
    }

    fn by_list(fields: &[&str], hops: u8) -> String {
        let values = fields.iter().map(|field| field.as_bytes());
        client_address(ip(PEER), values, ours, hops).to_string()
    }

    fn by_forwarded(fields: &[&str], hops: u8) -> String {
        let values = fields.iter().map(|field| field.as_bytes());
        client_address_forwarded(ip(PEER), values, ours, hops).to_string()
    }

    #[test]
    fn the_first_untrusted_address_from_the_right() {
        for (fields, client) in [
            (&[][..], PEER),
            (&[""], PEER),
            (&["1.2.3.4"], "1.2.3.4"),
            (&["1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            (&["1.2.3.4,10.0.0.2,\t10.0.0.3 "], "1.2.3.4"),
            (&["1.2.3.4", "10.0.0.2"], "1.2.3.4"),
            (&["5.6.7.8, 1.2.3.4", "10.0.0.3, 10.0.0.2"], "1.2.3.4"),
            (&["1.2.3.4,, 10.0.0.2,", ""], "1.2.3.4"),
            // All are ours: the leftmost is where it came from.
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (&["2001:db8::1, fd00::2"], "2001:db8::1"),
            (&["::ffff:1.2.3.4, ::ffff:10.0.0.2"], "1.2.3.4"),
        ] {
            assert_eq!(by_list(fields, 0), client, "{fields:?}");
        }
    }

    #[test]
    fn spoofed_lists() {
        for (fields, client) in [
            // The client sent the left part itself.
            (&["127.0.0.1, 1.2.3.4"][..], "1.2.3.4"),
            (&["10.0.0.7, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            (&["10.0.0.7", "1.2.3.4"], "1.2.3.4"),
            (&["\"10.0.0.7, 1.2.3.4"], "1.2.3.4"),
            // What cannot be read is not stepped over.
            (&["6.6.6.6, garbage, 10.0.0.2"], "10.0.0.2"),
            (&["6.6.6.6, unknown"], PEER),
            (&["6.6.6.6, \"10.0.0.2, 10.0.0.3\""], PEER),
            (&["6.6.6.6, 10.0.0.2 10.0.0.3"], PEER),
        ] {
            assert_eq!(by_list(fields, 0), client, "{fields:?}");
        }
        let stranger = client_address(ip("9.9.9.9"), [&b"1.2.3.4"[..]].into_iter(), ours, 0);
        assert_eq!(stranger, ip("9.9.9.9"));
        let stranger = client_address(ip("9.9.9.9"), [&b"1.2.3.4"[..]].into_iter(), ours, 1);
        assert_eq!(stranger, ip("9.9.9.9"));
        let mapped = client_address(ip("::ffff:10.0.0.1"), [&b"1.2.3.4"[..]].into_iter(), ours, 0);
        assert_eq!(mapped, ip("1.2.3.4"));
    }

    #[test]
    fn hops_are_elements_skipped() {
        let fields = ["1.1.1.1, 2.2.2.2", "3.3.3.3, 4.4.4.4"];
        for (hops, client) in
            [(1, "3.3.3.3"), (2, "2.2.2.2"), (3, "1.1.1.1"), (4, "1.1.1.1"), (255, "1.1.1.1")]
        {
            assert_eq!(by_list(&fields, hops), client, "{hops} hops");
        }
        assert_eq!(by_list(&["1.1.1.1, ?, 3.3.3.3"], 2), "3.3.3.3");
        assert_eq!(by_list(&["1.1.1.1, , 3.3.3.3,"], 1), "1.1.1.1", "empty ones do not count");
        assert_eq!(by_list(&[], 3), PEER);
    }

    #[test]
    fn nodes() {
        for (node, want) in [
            ("1.2.3.4", Some("1.2.3.4")),
            ("1.2.3.4:80", Some("1.2.3.4")),
            ("1.2.3.4:_hidden", Some("1.2.3.4")),
            ("\"1.2.3.4\"", Some("1.2.3.4")),
            ("\"1.2.3.4:65535\"", Some("1.2.3.4")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            ("[::ffff:1.2.3.4]:80", Some("1.2.3.4")),
            ("::1", Some("::1")),
            ("", None),
            ("\"", None),
            ("\"\"", None),
            ("\"1.2.3.4", None),
            ("1.2.3.4\"", None),
            ("\"\\1.2.3.4\"", None),
            ("1.2.3.4:", None),
            ("1.2.3.4:65536", None),
            ("1.2.3.4:+80", None),
            ("1.2.3.4:000080", None),
            ("1.2.3.4:_", None),
            ("1.2.3.04", None),
            ("1.2.3", None),
            ("0x7f.1", None),
            ("[1.2.3.4]", None),
            ("[::1", None),
            ("[::1]80", None),
            ("[::1]:", None),
            ("fe80::1%eth0", None),
            ("unknown", None),
            ("_hidden", None),
            ("a.example", None),
            ("1.2.3.4 5.6.7.8", None),
            ("\u{661}.2.3.4", None),
        ] {
            assert_eq!(address(node.as_bytes()), want.map(ip), "{node}");
        }
    }

    #[test]
    fn rfc7239_elements() {
        for (fields, client) in [
            (&["for=1.2.3.4"][..], "1.2.3.4"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["proto=https; host=\"a, b;c\\\"d\" ;for=1.2.3.4 , for=10.0.0.2"], "1.2.3.4"),
            (&["for=1.2.3.4", "for=10.0.0.2;;"], "1.2.3.4"),
            (&["for=[2001:db8::1]:80"], "2001:db8::1"),
            (&["for=1.2.3.4, for=unknown"], PEER),
            (&["for=1.2.3.4, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=1.2.3.4, proto=http"], PEER),
            (&["for=1.2.3.4, for=10.0.0.2;for=10.0.0.3"], PEER),
            (&["for=1.2.3.4, 10.0.0.2"], PEER),
            (&["for =1.2.3.4"], PEER),
            (&["for=\"1.2.3.4"], PEER),
            (&["for=\"1.2.3.4\\\""], PEER),
            (&["for="], PEER),
        ] {
            assert_eq!(by_forwarded(fields, 0), client, "{fields:?}");
        }
        assert_eq!(by_forwarded(&["for=1.1.1.1, for=2.2.2.2, for=3.3.3.3"], 1), "2.2.2.2");
    }

    #[test]
    fn spoofed_elements() {
        for (fields, client) in [
            // An open quote on the left does not swallow what our proxy appended.
            (&["for=\", for=1.2.3.4"][..], "1.2.3.4"),
            (&["for=\"x, for=\"[2001:db8::1]\""], "2001:db8::1"),
            (&["for=6.6.6.6\\, for=1.2.3.4"], "1.2.3.4"),
            // A host that our proxy quoted is no element, whatever it says.
            (&["for=1.2.3.4;host=\"h, for=6.6.6.6\""], "1.2.3.4"),
            (&["for=1.2.3.4;host=\"h, for=6.6.6.6;x=\\\"\""], "1.2.3.4"),
            (&["for=1.2.3.4;host=\"h\\\\\", for=10.0.0.2"], "1.2.3.4"),
        ] {
            assert_eq!(by_forwarded(fields, 0), client, "{fields:?}");
        }
    }

    #[test]
    fn a_walk_is_bounded() {
        let list = "10.0.0.2,".repeat(5000);
        let asked = core::cell::Cell::new(0);
        let ask = |address| {
            asked.set(asked.get() + 1);
            ours(address)
        };
        let client = client_address(ip(PEER), [list.as_bytes()].into_iter(), ask, 0);
        assert_eq!(client, ip("10.0.0.2"));
        assert!(asked.get() <= ELEMENTS_MAX + 1, "{} asked", asked.get());
        let list = format!("1.2.3.4,{}9.9.9.9", "10.0.0.2,".repeat(254));
        assert_eq!(by_list(&[&list], 255), "1.2.3.4");
    }

    #[test]
    fn the_fields_of_a_head() {
        let mut head = Head::new();
        head.push(b"X-Forwarded-For", b"1.2.3.4");
        head.push(b"other", b"6.6.6.6");
        head.push(b"x-forwarded-for", b"10.0.0.2");
        let values = head.values(Name::XForwardedFor);
        assert_eq!(client_address(ip(PEER), values, ours, 0), ip("1.2.3.4"));
    }

    fn appended(before: &str, element: ForwardedElement<'_>) -> String {
        let mut value = before.as_bytes().to_vec();
        append_forwarded(&mut value, &element);
        String::from_utf8(value).unwrap()
    }

    #[test]
    fn what_is_written() {
        let element = |client: &str, port, host: &'static str, proto| {
            let client = (!client.is_empty()).then(|| ip(client));
            ForwardedElement { client, port, host: host.as_bytes(), proto }
        };
        for (element, want) in [
            (element("192.0.2.1", None, "", ""), "for=192.0.2.1"),
            (element("192.0.2.1", Some(80), "a.example", "http"), {
                "for=\"192.0.2.1:80\";host=a.example;proto=http"
            }),
            (element("2001:db8::1", None, "a:8080", "https"), {
                "for=\"[2001:db8::1]\";host=\"a:8080\";proto=https"
            }),
            (element("2001:db8::1", Some(4711), "[::1]:80", ""), {
                "for=\"[2001:db8::1]:4711\";host=\"[::1]:80\""
            }),
            (element("::ffff:192.0.2.1", None, "", "http"), "for=192.0.2.1;proto=http"),
            (element("", Some(1), "a\"b\\c\r\n", "h\""), {
                "for=unknown;host=\"a\\\"b\\\\c\";proto=\"h\\\"\""
            }),
        ] {
            assert_eq!(appended("", element), want);
        }
        let one = element("192.0.2.1", None, "", "");
        assert_eq!(appended("for=\"a,\\\"b\"", one), "for=\"a,\\\"b\", for=192.0.2.1");
        assert_eq!(appended("for=\"a", one), "for=192.0.2.1");
        assert_eq!(appended("for=\"a\\\"", one), "for=192.0.2.1");
    }

    /// Everything forward, then back from the end.
    fn naive(fields: &[String], hops: u8) -> IpAddr {
        let elements = fields.iter().flat_map(|field| field.split(','));
        let elements: Vec<&str> = elements.map(str::trim).filter(|text| !text.is_empty()).collect();
        let mut chain = vec![ip(PEER)];
        for element in elements.iter().rev() {
            let Some(address) = address(element.as_bytes()) else { break };
            chain.push(address);
        }
        let stop = match hops {
            0 => chain.iter().position(|&address| !ours(address)),
            hops => Some(usize::from(hops) + 1),
        };
        let last = chain.len() - 1;
        chain[stop.unwrap_or(last).min(last)]
    }

    fn fields(prefix: &'static str) -> impl Strategy<Value = Vec<String>> {
        let piece = prop::sample::select(vec![
            "1.2.3.4",
            "10.0.0.2",
            "10.0.0.3:80",
            "\"10.0.0.4\"",
            "[fd00::1]:2",
            "fd00::2",
            "::1",
            "\"[fd00::3]:4\"",
            "x",
            "",
            "\"",
            "\\",
            "for=",
            ";",
            "host=\"",
            " ",
            "10.0.0.5 ",
        ]);
        let element = prop_oneof![
            4 => piece.clone().prop_map(move |piece| format!("{prefix}{piece}")),
            1 => prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat()),
        ];
        let field = prop::collection::vec(element, 0..4).prop_map(|elements| elements.join(","));
        prop::collection::vec(field, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn it_agrees_with_the_naive_model(fields in fields(""), hops in 0u8..4) {
            let values = fields.iter().map(|field| field.as_bytes());
            prop_assert_eq!(client_address(ip(PEER), values, ours, hops), naive(&fields, hops));
        }

        #[test]
        fn what_an_attacker_sends_is_not_seen(fields in fields("for="), hops in 0u8..2) {
            // Two of our proxies appended; the client wrote the rest.
            let mut value = fields.concat();
            value += if hops == 0 { ", for=1.2.3.4" } else { ", for=1.2.3.4, for=8.8.8.8" };
            prop_assert_eq!(by_forwarded(&[&value], hops), "1.2.3.4");
        }

        #[test]
        fn the_invariants_hold(choice: u8, one in fields("for="), two in fields("")) {
            let lines = [one, two].concat().join("\n");
            fuzz_forwarded(&[&[choice], lines.as_bytes()].concat());
        }

        #[test]
        fn any_bytes_hold_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            fuzz_forwarded(&bytes);
        }
    }
}

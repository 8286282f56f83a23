//! Which protocol a connection begins in, from its first bytes.
//!
//! Text comes first: HTTP, TLS and PROXY begin with bytes that, read as the length of a Thrift
//! frame, mean 160 MB and more. So no frame within its limit looks like one of them, and what is
//! left is told by the four bytes behind the length. Nothing is guessed: a beginning that no rule
//! here names is refused, each kind with a word of its own. What a protocol's wire will say to
//! the rest is not its business.
//!
//! D1 A verdict never changes with more bytes. D2 `More` is said only while several verdicts are
//! possible; 35 bytes settle everything (an empty line, the longest method and what is behind it)
//! but lax Thrift, whose method name has to be seen whole.
//! D3 A PROXY header is looked for only where the caller says so; behind it, and inside TLS, the
//! caller asks anew without. D4 Nothing is consumed.
//!
//! Cost: a few compares; the prefix is read again at each call, 35 bytes of it at most, or 270.

use crate::error::Fault;
use crate::h2;
use crate::head::is_tchar;
use crate::thrift::{Encoding, Transport};
use crate::wire::Sniff;

/// What the bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// Not to be told yet.
    More,
    /// A PROXY header, text or binary: [`crate::proxy_header::parse`] reads it.
    Proxy,
    /// A TLS handshake.
    Tls,
    /// HTTP/1.x. One empty line may come first.
    Http1,
    /// HTTP/2, with its whole preface.
    Http2,
    /// A message of the Thrift family. Behind a header the encoding shows only later.
    Thrift(Transport, Option<Encoding>),
    /// Nothing that can be served; the connection is closed without a word.
    Refused(Fault),
}

/// One entry of the list of protocols that a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// TLS.
    Tls,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2.
    Http2,
    /// Thrift, framed.
    Framed,
    /// Thrift, unframed.
    Unframed,
    /// Thrift behind a THeader.
    THeader,
    /// Thrift behind a TTHeader.
    TtHeader,
}

/// A set of families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    /// All that there are.
    pub const ALL: Families = Families(0x7f);

    /// These.
    pub fn of(families: &[Family]) -> Families {
        Families(families.iter().fold(0, |set, family| set | family.bit()))
    }

    /// Whether it is one of them.
    pub fn has(self, family: Family) -> bool {
        self.0 & family.bit() != 0
    }
}

impl Family {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A PROXY header may come first.
    pub proxy: bool,
    /// Thrift messages without a version are taken.
    pub lax: bool,
    /// Bytes of a Thrift frame. From 160 MiB on frames begin to look like text, which wins.
    pub frame_bytes_max: u32,
    /// What the listener takes.
    pub allowed: Families,
}

/// The longest method of HTTP/1 that is waited for; the longest registered one has 17 letters.
const METHOD_BYTES_MAX: usize = 32;
/// The longest method name of a lax message, the only thing that tells it from chance.
const LAX_NAME_BYTES_MAX: usize = 256;
const PROXY_LINE: &[u8] = b"PROXY ";
const PROXY_BLOCK: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What begins with `prefix`.
pub fn detect(prefix: &[u8], options: &Options) -> Detected {
    let found = match prefix {
        [] => Detected::More,
        [0x16, ..] => tls(prefix),
        [0x80, ..] => unframed_binary(prefix),
        [0x82, ..] => unframed_compact(prefix),
        [0xff, ..] => mesh_or_telnet(prefix),
        [b'\r', ..] => line_break(prefix, options),
        [b'A'..=b'Z', ..] => text(prefix, options),
        [0..=0x3f, ..] => framed(prefix, options),
        _ => Detected::Refused(Fault::UnknownProtocol),
    };
    allow(found, options.allowed)
}

fn allow(found: Detected, allowed: Families) -> Detected {
    let family = match found {
        Detected::More | Detected::Proxy | Detected::Refused(_) => return found,
        Detected::Tls => Family::Tls,
        Detected::Http1 => Family::Http1,
        Detected::Http2 => Family::Http2,
        Detected::Thrift(Transport::Framed, _) => Family::Framed,
        Detected::Thrift(Transport::Unframed, _) => Family::Unframed,
        Detected::Thrift(Transport::THeader, _) => Family::THeader,
        Detected::Thrift(Transport::TtHeader, _) => Family::TtHeader,
    };
    if allowed.has(family) { found } else { Detected::Refused(Fault::ProtocolNotAllowed) }
}

/// Whether `prefix` begins with `mark`, or may come to.
fn begins(prefix: &[u8], mark: &[u8]) -> Sniff {
    let len = prefix.len().min(mark.len());
    match (prefix.get(..len) == mark.get(..len), len == mark.len()) {
        (false, _) => Sniff::No,
        (true, false) => Sniff::More,
        (true, true) => Sniff::Yes,
    }
}

/// A record of a handshake, of SSL 3.0 to TLS 1.3 as the record says (RFC 8446 §5.1).
fn tls(prefix: &[u8]) -> Detected {
    match prefix {
        [_, 3, 0..=4, ..] => Detected::Tls,
        [_] | [_, 3] => Detected::More,
        _ => Detected::Refused(Fault::UnknownProtocol),
    }
}

fn unframed_binary(prefix: &[u8]) -> Detected {
    match prefix {
        [_, 1, _, 1 | 4, ..] => Detected::Thrift(Transport::Unframed, Some(Encoding::Binary)),
        [_] | [_, 1] | [_, 1, _] => Detected::More,
        [_, 1, ..] => Detected::Refused(Fault::UnknownProtocol),
        // The length of a record of SSL 2.0; a real hello is longer than one byte.
        [_, _] => Detected::More,
        [_, _, 1, ..] => Detected::Refused(Fault::Sslv2Hello),
        _ => Detected::Refused(Fault::UnknownProtocol),
    }
}

fn unframed_compact(prefix: &[u8]) -> Detected {
    match prefix {
        [_] => Detected::More,
        [_, 0x21 | 0x81, ..] => Detected::Thrift(Transport::Unframed, Some(Encoding::Compact)),
        _ => Detected::Refused(Fault::UnknownProtocol),
    }
}

fn mesh_or_telnet(prefix: &[u8]) -> Detected {
    match prefix {
        [_] => Detected::More,
        [_, 0xaf, ..] => Detected::Refused(Fault::MeshHeader),
        [_, 0xf0..=0xfe, ..] => Detected::Refused(Fault::TelnetOptions),
        _ => Detected::Refused(Fault::UnknownProtocol),
    }
}

/// A PROXY block, or the one empty line that may stand before a request (RFC 9112 §2.2).
fn line_break(prefix: &[u8], options: &Options) -> Detected {
    if options.proxy {
        match begins(prefix, PROXY_BLOCK) {
            Sniff::Yes => return Detected::Proxy,
            Sniff::More => return Detected::More,
            Sniff::No => {}
        }
    }
    match prefix {
        [_] | [_, b'\n'] => Detected::More,
        [_, b'\n', line @ ..] if line.first().is_some_and(u8::is_ascii_uppercase) => method(line),
        _ => Detected::Refused(Fault::UnknownProtocol),
    }
}

/// Letters: a PROXY line, HTTP, or one of those that look like it at first.
fn text(prefix: &[u8], options: &Options) -> Detected {
    if options.proxy {
        match begins(prefix, PROXY_LINE) {
            Sniff::Yes => return Detected::Proxy,
            Sniff::More => return Detected::More,
            Sniff::No => {}
        }
    }
    for (mark, fault) in [(b"BIGF", Fault::ThriftBigFrame), (b"SSH-", Fault::SshBanner)] {
        match begins(prefix, mark) {
            Sniff::Yes => return Detected::Refused(fault),
            Sniff::More => return Detected::More,
            Sniff::No => {}
        }
    }
    match (h2::sniff(prefix), begins(prefix, b"PRI ")) {
        (Sniff::Yes, _) => Detected::Http2,
        (Sniff::More, _) => Detected::More,
        (Sniff::No, Sniff::Yes) => Detected::Refused(Fault::BadPreface),
        (Sniff::No, _) => method(prefix),
    }
}

/// A method and the space behind it.
fn method(line: &[u8]) -> Detected {
    let len = line.iter().take(METHOD_BYTES_MAX).take_while(|&&byte| is_tchar(byte)).count();
    match line.get(len) {
        Some(b' ') => Detected::Http1,
        None => Detected::More,
        Some(_) => Detected::Refused(Fault::UnknownProtocol),
    }
}

/// A length, and what it is the length of.
fn framed(prefix: &[u8], options: &Options) -> Detected {
    let Some((length, payload)) = prefix.split_first_chunk() else { return Detected::More };
    let length = u32::from_be_bytes(*length);
    if length == 0 {
        return Detected::Refused(Fault::BadThriftFrame);
    }
    if length > options.frame_bytes_max {
        return Detected::Refused(Fault::ThriftFrameTooLarge);
    }
    let [first, second, rest @ ..] = payload else { return Detected::More };
    match (first, second) {
        (0x80, 1) => Detected::Thrift(Transport::Framed, Some(Encoding::Binary)),
        (0x82, second) if second & 0x1f == 1 => {
            Detected::Thrift(Transport::Framed, Some(Encoding::Compact))
        }
        (0x0f, 0xff) => Detected::Thrift(Transport::THeader, None),
        (0x10, 0) => ttheader(rest),
        (0x90, 1) => Detected::Refused(Fault::KitexProtobuf),
        _ => lax(prefix, options),
    }
}

/// Flags of two bytes; the second one says whether it is a frame of a stream.
fn ttheader(flags: &[u8]) -> Detected {
    match flags {
        [_, low, ..] if low & 2 != 0 => Detected::Refused(Fault::TtheaderStreaming),
        [_, _, ..] => Detected::Thrift(Transport::TtHeader, None),
        _ => Detected::More,
    }
}

/// The old form of Binary, framed or not: a name that is one, and a type that asks for something.
fn lax(prefix: &[u8], options: &Options) -> Detected {
    let Some((word, rest)) = prefix.split_first_chunk() else { return Detected::More };
    let unframed = rest.first().is_some_and(|&byte| byte != 0);
    let (transport, len, name) = match (unframed, rest) {
        (true, _) => (Transport::Unframed, u32::from_be_bytes(*word), rest),
        // A name of 64 KiB and more.
        (false, [_, 1..=255, ..]) => return Detected::Refused(Fault::UnknownProtocol),
        (false, _) => match rest.split_first_chunk() {
            Some((len, name)) => (Transport::Framed, u32::from_be_bytes(*len), name),
            None => return Detected::More,
        },
    };
    let room = u64::from(u32::from_be_bytes(*word));
    if transport == Transport::Framed && u64::from(len) + 9 > room {
        return Detected::Refused(Fault::UnknownProtocol);
    }
    // The first letter is enough for a refusal; the rest of the name is not waited for.
    let name = if options.lax { name } else { name.get(..1).unwrap_or_default() };
    match lax_name(name, len as usize) {
        Sniff::No => Detected::Refused(unknown(prefix)),
        _ if !options.lax && !name.is_empty() => Detected::Refused(Fault::LaxBinaryOff),
        Sniff::More => Detected::More,
        Sniff::Yes => Detected::Thrift(transport, Some(Encoding::LaxBinary)),
    }
}

/// SETUP of RSocket is told from the rest: stream 0, type 1; its length has three bytes only.
fn unknown(prefix: &[u8]) -> Fault {
    match prefix.get(3..9) {
        Some([0, 0, 0, 0, 4, _]) => Fault::RocketSetup,
        _ => Fault::UnknownProtocol,
    }
}

/// `len` bytes of an identifier, then CALL or ONEWAY.
fn lax_name(bytes: &[u8], len: usize) -> Sniff {
    if !(1..=LAX_NAME_BYTES_MAX).contains(&len) {
        return Sniff::No;
    }
    let name = bytes.get(..len.min(bytes.len())).unwrap_or_default();
    let start = name.first().is_none_or(|&byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = |&byte: &u8| byte.is_ascii_alphanumeric() || b"_.:".contains(&byte);
    match bytes.get(len) {
        _ if !start || !name.iter().all(rest) => Sniff::No,
        None => Sniff::More,
        Some(1 | 4) => Sniff::Yes,
        Some(_) => Sniff::No,
    }
}

/// No verdict needs as many bytes.
#[cfg(any(test, feature = "fuzz"))]
const DUE_BYTES_MAX: usize = 270;

/// For fuzzers: a verdict never changes, and is there in time.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_detect(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let options = Options {
        proxy: mode & 1 != 0,
        lax: mode & 2 != 0,
        frame_bytes_max: 16 << 20,
        allowed: Families(if mode & 4 != 0 { mode >> 3 } else { 0x7f }),
    };
    let due_bytes = if options.lax { DUE_BYTES_MAX } else { 35 };
    let mut settled = None;
    // Each length while a verdict may be due, and then the whole.
    let lengths = (0..=bytes.len().min(DUE_BYTES_MAX)).chain([bytes.len()]);
    for len in lengths {
        let found = detect(bytes.get(..len).unwrap_or_default(), &options);
        match settled {
            None if found != Detected::More => settled = Some(found),
            None => assert!(len < due_bytes, "undecided at {len}"),
            Some(before) => assert_eq!(found, before, "at {len}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy_header::{Parsed, parse};

    const PLAIN: Options =
        Options { proxy: false, lax: false, frame_bytes_max: 16 << 20, allowed: Families::ALL };
    const LAX: Options = Options { lax: true, ..PLAIN };
    const PROXY: Options = Options { proxy: true, ..PLAIN };

    struct Case {
        bytes: Vec<u8>,
        expected: &'static str,
        need: usize,
    }

    fn cases() -> Vec<Case> {
        let lines = include_str!("../testdata/detect_cases.tsv").lines();
        let case = |line: &'static str| {
            let columns: Vec<_> = line.split('\t').collect();
            let bytes = (0..columns[0].len()).step_by(2);
            let bytes = bytes.map(|at| u8::from_str_radix(&columns[0][at..at + 2], 16).unwrap());
            let need = columns[2].parse().unwrap_or(0);
            Case { bytes: bytes.collect(), expected: columns[1], need }
        };
        lines.filter(|line| !line.starts_with('#')).map(case).collect()
    }

    /// The verdict as the table words it. Behind a PROXY header the rest is asked about anew.
    fn word(bytes: &[u8], options: &Options) -> String {
        match detect(bytes, options) {
            Detected::More => "more".into(),
            Detected::Proxy => match parse(bytes) {
                Ok(Parsed::Done { used, .. }) if used < bytes.len() => {
                    let rest = &bytes[used..];
                    format!("proxy then {}", word(rest, &Options { proxy: false, ..*options }))
                }
                Ok(Parsed::Absent) | Err(_) => "reject".into(),
                Ok(_) => "proxy".into(),
            },
            Detected::Tls => "tls".into(),
            Detected::Http1 => "http1".into(),
            Detected::Http2 => "h2".into(),
            Detected::Thrift(Transport::THeader, _) => "theader".into(),
            Detected::Thrift(Transport::TtHeader, _) => "ttheader".into(),
            Detected::Thrift(transport, encoding) => {
                let encoding = match encoding.unwrap() {
                    Encoding::Binary => "binary",
                    Encoding::LaxBinary => "lax",
                    Encoding::Compact => "compact",
                };
                format!("thrift:{transport:?}:{encoding}").replace('F', "f").replace('U', "u")
            }
            Detected::Refused(_) => "reject".into(),
        }
    }

    /// What the table's words come to.
    fn expected(case: &Case, options: &Options) -> String {
        let first = |text: &'static str| text.split([' ', '(']).next().unwrap();
        let word = match case.expected {
            "reject (lax off) | thrift:framed:lax (lax on)" if options.lax => "thrift:framed:lax",
            "reject (lax off) | thrift:unframed:lax (lax on)" if options.lax => {
                "thrift:unframed:lax"
            }
            // The line is refused once it is whole.
            "reject in proxy mode; http1 otherwise" if options.proxy => "proxy",
            "reject in proxy mode; http1 otherwise" => "http1",
            "proxy then py_framed_call_min" => "proxy then thrift:framed:binary",
            "proxy then http1_post_c2s" => "proxy then http1",
            "proxy then tls_clienthello_alpn_h2_http11" => "proxy then tls",
            "http1 method parse then reject" | "mesh-or-reject" | "need more / reject" => "reject",
            text if text.starts_with("reject:") => "reject",
            text if text.starts_with("proxy") => "proxy",
            text => first(text),
        };
        word.into()
    }

    fn wants_proxy(case: &Case) -> bool {
        case.expected.starts_with("proxy")
    }

    #[test]
    fn every_case_of_the_table() {
        let cases = cases();
        assert_eq!(cases.len(), 50);
        for case in &cases {
            for options in [PLAIN, LAX, PROXY] {
                if !wants_proxy(case) || options.proxy {
                    let found = word(&case.bytes, &options);
                    assert_eq!(found, expected(case, &options), "{}", case.bytes.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn no_cut_changes_a_verdict_and_none_comes_before_its_time() {
        for case in cases() {
            for options in [PLAIN, LAX, PROXY] {
                let whole = detect(&case.bytes, &options);
                let decided = (0..=case.bytes.len()).find(|&len| {
                    let found = detect(&case.bytes[..len], &options);
                    assert!(found == Detected::More || found == whole, "{len} of {whole:?}");
                    found == whole
                });
                // The table waits for the sequence id of a lax message.
                let lax = case.expected.contains("lax on");
                let proxy = wants_proxy(&case) && !options.proxy;
                assert!(lax || proxy || decided.unwrap() >= case.need, "{}", case.expected);
            }
        }
    }

    #[test]
    fn each_refused_kind_has_its_word() {
        let refused = |bytes: &[u8]| match detect(bytes, &PLAIN) {
            Detected::Refused(fault) => fault.reason(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"SSH-2.0-OpenSSH_9.6"), "ssh_banner");
        assert_eq!(refused(b"\xff\xf4\xff\xfd\x06"), "telnet_options");
        assert_eq!(refused(b"\xff\xaf\x00\x13"), "mesh_header");
        assert_eq!(refused(b"BIGF\0\0\0\0"), "thrift_big_frame");
        assert_eq!(refused(b"\0\0\x32\0\0\0\0\x04\0"), "rocket_setup");
        assert_eq!(refused(b"\0\0\0\x04\x90\x01"), "kitex_protobuf");
        assert_eq!(refused(b"\0\0\0\x2a\x10\0\0\x02"), "ttheader_streaming");
        assert_eq!(refused(b"\x80\x2e\x01\x03\x01"), "sslv2_hello");
        assert_eq!(refused(b"\0\0\0\x26\0\0\0\x04e"), "lax_binary_off");
        assert_eq!(refused(b"\0\0\0\x04ec"), "lax_binary_off");
        assert_eq!(refused(b"\0\0\0\0"), "bad_thrift_frame");
        assert_eq!(refused(b"\x01\0\0\x01"), "thrift_frame_too_large");
        assert_eq!(refused(b"PRI * HTTP/1.1"), "bad_preface");
        assert_eq!(refused(b"\x05\x01\0\x01"), "thrift_frame_too_large");
        assert_eq!(refused(b"{"), "unknown_protocol");
    }

    #[test]
    fn a_method_is_not_waited_for_without_end() {
        let line = |len: usize| [b"\r\n", "M".repeat(len).as_bytes()].concat();
        assert_eq!(detect(&line(32), &PLAIN), Detected::More);
        assert_eq!(detect(&[&line(32)[..], b" "].concat(), &PLAIN), Detected::Http1);
        assert_eq!(detect(&line(33), &PLAIN), Detected::Refused(Fault::UnknownProtocol));
    }

    #[test]
    fn the_list_narrows_what_is_taken() {
        let http = Options { allowed: Families::of(&[Family::Http1, Family::Http2]), ..PLAIN };
        let thrift = Options { allowed: Families::of(&[Family::Framed]), ..PLAIN };
        let not_allowed = Detected::Refused(Fault::ProtocolNotAllowed);
        assert_eq!(detect(b"GET / HTTP/1.1", &http), Detected::Http1);
        assert_eq!(detect(b"GET / HTTP/1.1", &thrift), not_allowed);
        assert_eq!(detect(b"\0\0\0\x29\x80\x01", &http), not_allowed);
        let framed = Detected::Thrift(Transport::Framed, Some(Encoding::Binary));
        assert_eq!(detect(b"\0\0\0\x29\x80\x01", &thrift), framed);
        assert_eq!(detect(b"\x80\x01\0\x01", &thrift), not_allowed);
        assert_eq!(detect(b"PROXY ", &Options { proxy: true, ..thrift }), Detected::Proxy);
    }

    #[test]
    fn a_lax_name_may_be_long_but_not_endless() {
        let framed = |len: u32| {
            let name = vec![b'a'; len as usize];
            [&(len + 10).to_be_bytes()[..], &len.to_be_bytes(), &name, b"\x01\0\0\0\0\0"].concat()
        };
        let lax = Detected::Thrift(Transport::Framed, Some(Encoding::LaxBinary));
        assert_eq!(detect(&framed(256), &LAX), lax);
        assert_eq!(detect(&framed(256)[..264], &LAX), Detected::More);
        assert_eq!(detect(&framed(257)[..9], &LAX), Detected::Refused(Fault::UnknownProtocol));
        let mut answer = framed(4);
        answer[12] = 2;
        assert_eq!(detect(&answer, &LAX), Detected::Refused(Fault::UnknownProtocol));
    }

    proptest! {
        #[test]
        fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_detect(&data);
        }

        #[test]
        fn what_begins_like_something(
            index in 0..50usize,
            tail in prop::collection::vec(any::<u8>(), 0..40),
            keep in 0..32usize,
            mode: u8,
        ) {
            let case = &cases()[index];
            let keep = keep.min(case.bytes.len());
            fuzz_detect(&[&[mode], &case.bytes[..keep], &tail].concat());
        }
    }
}

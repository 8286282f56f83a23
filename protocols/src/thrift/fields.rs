//! Metadata: pairs of a THeader or TTHeader as fields of a head, and fields as pairs.
//!
//! | field | TTHeader | THeader |
//! |---|---|---|
//! | `traceparent`, `tracestate`, `baggage` | `RPC_TRANSIT_` and the name | the name |
//! | `b3`, `x-b3-*` | the same | the same |
//! | `x-request-id` | `RPC_PERSIST_X_REQUEST_ID` | the name |
//! | `x-auth-subject` | `RPC_TRANSIT_X_AUTH_SUBJECT` | the name |
//! | `grpc-timeout` | number 12, milliseconds | `client_timeout`, milliseconds |
//! | `rip` | the name | not written |
//! | `x-forwarded-for` | not written | the name |
//! | `rpc-persist-k`, `rpc-transit-k` | `RPC_PERSIST_K`, `RPC_TRANSIT_K` | the name |
//! | `tt-int-N`, and `tt-raw-N` with its value escaped | the number N | not written |
//! | `tt-int-token`, `tt-raw-token` likewise | the token | not written |
//! | `%k` | the key and value that were escaped | the same |
//! | any other | the name | the name |
//!
//! A key stays as it is, in its case, where it is a field's name that means nothing else here, and
//! its value where it is a field's value. Every other pair is escaped and so comes out as it went
//! in: `%`, then the key, and the value, each with `%XX` for what a field cannot hold. These names
//! are tokens of HTTP, but no HTTP peer means anything by them.
//!
//! Left out: what describes the payload, which is written anew (numbers 1 and 22), checksums of it
//! (`crc32c`, `PV_`), since its sequence id changes, and `crrst`, which is this connection's.
//! A key that comes twice counts as it came last, as in its sender's map. TTHeader peers read text
//! as UTF-8 without a look, so a pair that is not UTF-8 is not written there, and none without a
//! value, which Go drops.

use core::time::Duration;
use std::borrow::Cow;

use super::ttheader::{self, key};
use super::{message, theader};
use crate::error::Fault;
use crate::grpc;
use crate::h1::is_disguised;
use crate::head::{Head, is_tchar, is_value_byte};
use crate::name::Name;

/// Fields that have a key of their own in TTHeader, and that key.
const KNOWN: [(&[u8], &[u8]); 11] = [
    (b"traceparent", b"RPC_TRANSIT_traceparent"),
    (b"tracestate", b"RPC_TRANSIT_tracestate"),
    (b"baggage", b"RPC_TRANSIT_baggage"),
    (b"b3", b"RPC_TRANSIT_b3"),
    (b"x-b3-traceid", b"RPC_TRANSIT_x-b3-traceid"),
    (b"x-b3-spanid", b"RPC_TRANSIT_x-b3-spanid"),
    (b"x-b3-parentspanid", b"RPC_TRANSIT_x-b3-parentspanid"),
    (b"x-b3-sampled", b"RPC_TRANSIT_x-b3-sampled"),
    (b"x-b3-flags", b"RPC_TRANSIT_x-b3-flags"),
    (b"x-request-id", b"RPC_PERSIST_X_REQUEST_ID"),
    (b"x-auth-subject", b"RPC_TRANSIT_X_AUTH_SUBJECT"),
];
/// Prefixes of keys, and as HTTP says them.
const PREFIXES: [(&[u8], &[u8]); 3] = [
    (b"RPC_PERSIST_", b"rpc-persist-"),
    (b"RPC_TRANSIT_", b"rpc-transit-"),
    (b"RPC_BACKWARD_", b"rpc-backward-"),
];
const TIMEOUT: &[u8] = b"grpc-timeout";
const CLIENT_TIMEOUT: &[u8] = b"client_timeout";
const NUMBER: &[u8] = b"tt-int-";
const NUMBER_RAW: &[u8] = b"tt-raw-";
/// In the place of a number: what allows the call.
const TOKEN: &str = "token";
/// The service of a multiplexed call's name: it is written before the method again.
pub(super) const MULTIPLEXED: &[u8] = b"tt-multiplexed";
/// The caller's address.
const RIP: &[u8] = b"rip";
/// The connection is not to be used for more calls.
pub(super) const CRRST: &[u8] = b"crrst";

/// What a header says beside metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// The service as the IDL calls it.
    pub(super) idl_service: Option<&'a [u8]>,
    /// The service as discovery calls it.
    pub(super) to_service: Option<&'a [u8]>,
    /// The peer takes no more calls.
    pub(super) is_closing: bool,
}

/// Sets the fields of a TTHeader. `pair_bytes_max` is the longest pair that is taken.
pub(super) fn load_ttheader<'a>(
    blocks: &'a [u8],
    pair_bytes_max: u32,
    head: &mut Head,
) -> Result<Said<'a>, Fault> {
    let mut said = Said::default();
    for pair in ttheader::pairs(blocks) {
        match pair? {
            ttheader::Pair::Number(key::TRANSPORT_TYPE | key::MSG_TYPE, _) => {}
            ttheader::Pair::Number(key::RPC_TIMEOUT, value) => set_timeout(value, head),
            ttheader::Pair::Number(number, value) => {
                if number == key::TO_SERVICE {
                    said.to_service = Some(value);
                }
                set_number(&number.to_string(), value, head);
            }
            ttheader::Pair::Token(value) => set_number(TOKEN, value, head),
            ttheader::Pair::Text(key, value) => {
                check_len(key, value, pair_bytes_max)?;
                match key {
                    b"isn" => said.idl_service = Some(value),
                    CRRST => said.is_closing = !value.is_empty(),
                    _ => {}
                }
                load_text(key, value, head);
            }
        }
    }
    Ok(said)
}

/// Sets the field of one pair of a THeader.
pub(super) fn load_theader(
    key: &[u8],
    value: &[u8],
    pair_bytes_max: u32,
    head: &mut Head,
) -> Result<(), Fault> {
    check_len(key, value, pair_bytes_max)?;
    if key == CLIENT_TIMEOUT {
        set_timeout(value, head);
    } else if !key.is_empty() {
        load_text(key, value, head);
    }
    Ok(())
}

fn check_len(key: &[u8], value: &[u8], pair_bytes_max: u32) -> Result<(), Fault> {
    let fits = key.len() + value.len() <= pair_bytes_max as usize;
    if fits { Ok(()) } else { Err(Fault::FieldTooLong) }
}

fn load_text(key: &[u8], value: &[u8], head: &mut Head) {
    if key.is_empty() || key == CRRST || key == b"crc32c" || key.starts_with(b"PV_") {
        return;
    }
    match known(key) {
        Some(name) => set(name, value, head),
        None if is_plain(key) => set(key, value, head),
        None => set_escaped(key, value, head),
    }
}

/// The field of a well-known key, in whichever case and under whichever prefix it comes.
fn known(key: &[u8]) -> Option<&'static [u8]> {
    let stems = PREFIXES.iter().map(|(prefix, _)| *prefix);
    let stem = stems.into_iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key);
    let same = |name: &[u8]| {
        name.len() == stem.len()
            && name
                .iter()
                .zip(stem)
                .all(|(&a, &b)| a == if b == b'_' { b'-' } else { b.to_ascii_lowercase() })
    };
    KNOWN.iter().map(|(name, _)| *name).find(|name| same(name))
}

/// Whether a key can be a field's name and comes out as it went in.
fn is_plain(key: &[u8]) -> bool {
    let lower = key.to_ascii_lowercase();
    let name = Name::find(&lower);
    let meant = name.is_framing() || name.is_connection_level() || name == Name::Upgrade;
    let ours = lower.starts_with(b"tt-") || lower == b"content-type" || lower == TIMEOUT;
    let prefixed = PREFIXES.iter().any(|(_, prefix)| lower.starts_with(prefix));
    key.first() != Some(&b'%')
        && key.iter().all(|&byte| is_tchar(byte))
        && !(meant || ours || prefixed || is_disguised(&lower))
}

/// Sets a field; a value that no field can hold makes it an escaped one.
fn set(name: &[u8], value: &[u8], head: &mut Head) {
    if is_value(value) {
        head.set(name, value);
    } else {
        set_escaped(name, value, head);
    }
}

fn set_number(number: &str, value: &[u8], head: &mut Head) {
    if is_value(value) {
        head.set(&[NUMBER, number.as_bytes()].concat(), value);
    } else {
        let mut text = Vec::with_capacity(value.len());
        escape(value, is_value_byte, &mut text);
        head.set(&[NUMBER_RAW, number.as_bytes()].concat(), &text);
    }
}

fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| is_value_byte(byte))
}

fn set_escaped(key: &[u8], value: &[u8], head: &mut Head) {
    let mut name = vec![b'%'];
    escape(key, is_tchar, &mut name);
    let mut text = Vec::with_capacity(value.len());
    escape(value, is_value_byte, &mut text);
    head.set(&name, &text);
}

fn escape(bytes: &[u8], is_fine: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if is_fine(byte) && byte != b'%' {
            out.push(byte);
        } else {
            let digit = |four: u8| HEX.get(usize::from(four)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// What was escaped; `None` for what [`escape`] never makes.
fn unescape(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (two, rest) = text.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        out.push(digit(two[0])? << 4 | digit(two[1])?);
        text = rest;
    }
    Some(out)
}

/// Milliseconds; 0 says nothing, as Kitex takes it. What is no number stays as it came, a field of
/// which nothing is written.
fn set_timeout(value: &[u8], head: &mut Head) {
    let digits = !value.is_empty() && value.len() < 20 && value.iter().all(u8::is_ascii_digit);
    let text = core::str::from_utf8(value).ok().filter(|_| digits);
    let ms = match text.and_then(|text| text.parse::<u64>().ok()) {
        Some(0) => return,
        Some(ms) => ms,
        None => return set_number(&key::RPC_TIMEOUT.to_string(), value, head),
    };
    let mut field = Vec::with_capacity(16);
    grpc::write_timeout(Duration::from_millis(ms), &mut field);
    head.set(TIMEOUT, &field);
}

fn timeout_ms(value: &[u8]) -> Option<String> {
    let timeout = grpc::parse_timeout(value).ok()?;
    Some(timeout.as_millis().max(1).to_string())
}

/// What becomes of a field in a header.
enum Stored<'a> {
    Text(Cow<'a, [u8]>, Cow<'a, [u8]>),
    Number(u16, Cow<'a, [u8]>),
    Token(Cow<'a, [u8]>),
    Timeout(String),
    Nothing,
}

fn stored<'a>(name: &'a [u8], value: &'a [u8]) -> Stored<'a> {
    let known = Name::find(name);
    if let [b'%', key @ ..] = name {
        return match (unescape(key), unescape(value)) {
            (Some(key), Some(value)) => Stored::Text(key.into(), value.into()),
            _ => Stored::Nothing,
        };
    }
    if let Some(number) = name.strip_prefix(NUMBER) {
        return stored_number(number, value.into());
    }
    if let Some(number) = name.strip_prefix(NUMBER_RAW) {
        return unescape(value)
            .map_or(Stored::Nothing, |value| stored_number(number, value.into()));
    }
    match name {
        _ if known.is_framing() || known.is_connection_level() => Stored::Nothing,
        TIMEOUT => timeout_ms(value).map_or(Stored::Nothing, Stored::Timeout),
        MULTIPLEXED | b"content-type" => Stored::Nothing,
        _ => Stored::Text(name.into(), value.into()),
    }
}

fn stored_number<'a>(number: &[u8], value: Cow<'a, [u8]>) -> Stored<'a> {
    match core::str::from_utf8(number) {
        Ok(TOKEN) => Stored::Token(value),
        Ok(number) => match number.parse() {
            Ok(key::TRANSPORT_TYPE | key::RPC_TIMEOUT | key::MSG_TYPE) | Err(_) => Stored::Nothing,
            Ok(number) => Stored::Number(number, value),
        },
        Err(_) => Stored::Nothing,
    }
}

/// The number that a field stands for.
pub(crate) fn number_of(name: &[u8]) -> Option<u16> {
    let number = name.strip_prefix(NUMBER).or_else(|| name.strip_prefix(NUMBER_RAW))?;
    core::str::from_utf8(number).ok()?.parse().ok()
}

/// The key that a field of an escaped one comes out as.
pub(crate) fn escaped_key(name: &[u8]) -> Option<Vec<u8>> {
    name.strip_prefix(b"%").and_then(unescape)
}

/// Writes the fields of a head into a TTHeader: text, then all else. How many pairs could not be
/// written.
pub(super) fn store_ttheader(head: &Head, writer: &mut ttheader::Writer<'_>) -> u32 {
    let mut dropped = 0;
    for (name, value) in head.fields() {
        let Stored::Text(name, value) = stored(name, value) else { continue };
        if name.eq_ignore_ascii_case(b"x-forwarded-for") {
            continue;
        }
        let key = match name {
            Cow::Borrowed(name) => ttheader_key(name).map_or(name.into(), Cow::Owned),
            // A key that was escaped is none of those that are fields here.
            Cow::Owned(key) => key.into(),
        };
        if core::str::from_utf8(&key).is_err() || core::str::from_utf8(&value).is_err() {
            dropped += 1;
        } else if !value.is_empty() {
            writer.push(ttheader::Pair::Text(&key, &value));
        }
    }
    for (name, value) in head.fields() {
        match stored(name, value) {
            Stored::Number(number, value) => writer.push(ttheader::Pair::Number(number, &value)),
            Stored::Timeout(ms) => {
                writer.push(ttheader::Pair::Number(key::RPC_TIMEOUT, ms.as_bytes()));
            }
            Stored::Token(value) => writer.push(ttheader::Pair::Token(&value)),
            Stored::Text(..) | Stored::Nothing => {}
        }
    }
    dropped
}

/// The key that a field has in TTHeader, where it is not its name.
fn ttheader_key(name: &[u8]) -> Option<Vec<u8>> {
    if let Some((_, key)) = KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Some(key.to_vec());
    }
    let (prefix, stem) = PREFIXES.iter().find_map(|(prefix, said)| {
        let (start, stem) = name.split_at_checked(said.len())?;
        start.eq_ignore_ascii_case(said).then_some((*prefix, stem))
    })?;
    let upper = |&byte: &u8| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
    Some(prefix.iter().copied().chain(stem.iter().map(upper)).collect())
}

/// Writes the fields of a head into a THeader.
pub(super) fn store_theader(head: &Head, writer: &mut theader::Writer<'_>) {
    let mut push = |key: &[u8], value: &[u8]| {
        writer.push(theader::Pair { key, value, is_persistent: false });
    };
    for (name, value) in head.fields() {
        match stored(name, value) {
            Stored::Text(key, _) if key.eq_ignore_ascii_case(RIP) => {}
            Stored::Text(key, value) => push(&key, &value),
            Stored::Timeout(ms) => push(CLIENT_TIMEOUT, ms.as_bytes()),
            Stored::Number(..) | Stored::Token(_) | Stored::Nothing => {}
        }
    }
}

/// The service and the method that a path names: `/Service/Method`, `-` for no service.
pub(super) fn split_path(path: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let rest = path.strip_prefix(b"/")?;
    let at = rest.iter().position(|&byte| byte == b'/')?;
    let (service, method) = (rest.get(..at)?, rest.get(at + 1..)?);
    let service = (service != b"-").then_some(service);
    let fits = service.is_none_or(message::is_identifier) && message::is_identifier(method);
    fits.then_some((service, method))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loaded(pairs: &[ttheader::Pair<'_>]) -> Head {
        let mut out = Vec::new();
        let mut writer = ttheader::Writer::new(0, 0, 0, &mut out);
        pairs.iter().for_each(|pair| writer.push(*pair));
        assert!(writer.finish(1));
        let mut head = Head::new();
        load_ttheader(&out[16..], 1 << 16, &mut head).unwrap();
        head
    }

    #[expect(clippy::type_complexity, reason = "pairs, and how many were dropped")]
    fn stored_again(head: &Head) -> (Vec<(Vec<u8>, Vec<u8>)>, u32) {
        let mut out = Vec::new();
        let mut writer = ttheader::Writer::new(0, 0, 0, &mut out);
        let dropped = store_ttheader(head, &mut writer);
        assert!(writer.finish(1));
        let pairs = ttheader::pairs(&out[16..]).map(|pair| match pair.unwrap() {
            ttheader::Pair::Text(key, value) => (key.to_vec(), value.to_vec()),
            ttheader::Pair::Number(key, value) => (key.to_string().into_bytes(), value.to_vec()),
            ttheader::Pair::Token(value) => (b"token".to_vec(), value.to_vec()),
        });
        (pairs.collect(), dropped)
    }

    fn fields(head: &Head) -> String {
        let text = |text: &[u8]| text.escape_ascii().to_string();
        let fields = head.fields().map(|(name, value)| format!("{}={}", text(name), text(value)));
        fields.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn well_known_keys_in_every_form() {
        for key in [
            "RPC_TRANSIT_traceparent",
            "RPC_TRANSIT_TRACEPARENT",
            "RPC_PERSIST_TRACEPARENT",
            "traceparent",
        ] {
            let head = loaded(&[ttheader::Pair::Text(key.as_bytes(), b"00-1")]);
            assert_eq!(fields(&head), "traceparent=00-1");
            let want = vec![(b"RPC_TRANSIT_traceparent".to_vec(), b"00-1".to_vec())];
            assert_eq!(stored_again(&head), (want, 0));
        }
        let head = loaded(&[
            ttheader::Pair::Text(b"RPC_PERSIST_X_REQUEST_ID", b"id"),
            ttheader::Pair::Text(b"RPC_TRANSIT_X_AUTH_SUBJECT", b"me"),
        ]);
        assert_eq!(fields(&head), "x-request-id=id x-auth-subject=me");
    }

    #[test]
    fn timeouts_are_milliseconds_on_both_sides() {
        for (value, field) in [(&b"1500"[..], "grpc-timeout=1500000u"), (b"0", "")] {
            let head = loaded(&[ttheader::Pair::Number(12, value)]);
            assert_eq!(fields(&head), field);
            let again = stored_again(&head).0;
            let want = vec![(b"12".to_vec(), value.to_vec())];
            assert_eq!(again, if field.is_empty() { Vec::new() } else { want });
        }
        let mut head = Head::new();
        head.push(TIMEOUT, b"10n");
        assert_eq!(stored_again(&head).0, [(b"12".to_vec(), b"1".to_vec())], "one at least");
        head.set(TIMEOUT, b"soon");
        assert_eq!(stored_again(&head).0, []);
    }

    #[test]
    fn what_describes_this_payload_or_connection_is_left_out() {
        let head = loaded(&[
            ttheader::Pair::Text(b"crc32c", b"0000"),
            ttheader::Pair::Text(b"PV_mine", b"1"),
            ttheader::Pair::Text(b"crrst", b"1"),
            ttheader::Pair::Text(b"", b"1"),
            ttheader::Pair::Number(1, b"framed"),
            ttheader::Pair::Number(22, b"\x01"),
        ]);
        assert_eq!(fields(&head), "");
    }

    #[test]
    fn keys_with_a_meaning_in_http_are_escaped() {
        for key in [
            "connection",
            "Host",
            "content-length",
            "Transfer-Encoding",
            "TE",
            "upgrade",
            "content-type",
            "grpc-timeout",
            "tt-int-3",
            "X_Forwarded_For",
            "rpc-persist-a",
            "%a",
            "a b",
            "a:b",
            "\u{e4}",
        ] {
            let pair = ttheader::Pair::Text(key.as_bytes(), b"value%");
            let head = loaded(&[pair]);
            let (name, value) = head.fields().next().unwrap();
            assert!(name[0] == b'%' && value == b"value%25", "{key}");
            let want = vec![(key.as_bytes().to_vec(), b"value%".to_vec())];
            assert_eq!(stored_again(&head).0, want);
        }
    }

    #[test]
    fn numbers_and_the_token_keep_any_value() {
        let pairs = [
            ttheader::Pair::Number(3, b"caller"),
            ttheader::Pair::Number(300, "\u{1}%".as_bytes()),
            ttheader::Pair::Token(b"a\nb"),
        ];
        let head = loaded(&pairs);
        assert_eq!(fields(&head), "tt-int-3=caller tt-raw-300=%01%25 tt-raw-token=a%0Ab");
        let want = [("3", "caller"), ("300", "\u{1}%"), ("token", "a\nb")];
        let want: Vec<_> = want.map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).into();
        assert_eq!(stored_again(&head).0, want);
    }

    #[test]
    fn addresses_of_callers_have_a_key_for_each_header() {
        let mut head = Head::new();
        head.push(b"rip", b"192.0.2.1:80");
        head.push(b"X-Forwarded-For", b"192.0.2.1");
        assert_eq!(stored_again(&head).0, [(b"rip".to_vec(), b"192.0.2.1:80".to_vec())]);
        let mut out = Vec::new();
        let mut writer = theader::Writer::new(0, 0, 0, false, &mut out);
        store_theader(&head, &mut writer);
        assert!(writer.finish(1));
        let keys: Vec<_> = theader::pairs(&out[16..]).map(|pair| pair.unwrap().key).collect();
        assert_eq!(keys, [b"X-Forwarded-For"]);
    }

    #[test]
    fn a_timeout_that_is_no_number_stays_and_is_not_written() {
        let of = |value| loaded(&[ttheader::Pair::Number(key::RPC_TIMEOUT, value)]);
        for bad in [&b"-5"[..], b"+5", b"1e3", b"", b"99999999999999999999"] {
            let head = of(bad);
            assert_eq!(fields(&head), format!("tt-int-12={}", bad.escape_ascii()));
            assert_eq!(stored_again(&head).0, []);
        }
    }

    #[test]
    fn the_last_of_a_key_counts() {
        let head = loaded(&[ttheader::Pair::Text(b"a", b"1"), ttheader::Pair::Text(b"a", b"2")]);
        assert_eq!(fields(&head), "a=2");
    }

    #[test]
    fn fields_of_http_become_keys() {
        let mut head = Head::new();
        head.push(b"rpc-persist-user-id", b"7");
        head.push(b"Rpc-Transit-a", b"8");
        head.push(b"host", b"h");
        head.push(b"empty", b"");
        let want = [("RPC_PERSIST_USER_ID", "7"), ("RPC_TRANSIT_A", "8")];
        let want: Vec<_> = want.map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).into();
        assert_eq!(stored_again(&head), (want, 0));
    }

    #[test]
    fn pairs_that_a_peer_could_not_read_are_counted() {
        let mut head = Head::new();
        load_theader(b"bin", b"\xff\0", 100, &mut head).unwrap();
        load_theader(b"fine", b"1", 100, &mut head).unwrap();
        assert_eq!(fields(&head), "%bin=\\xff%00 fine=1");
        assert_eq!(stored_again(&head).1, 1);
        assert_eq!(load_theader(b"long", &[b'a'; 97], 100, &mut head), Err(Fault::FieldTooLong));
    }

    #[test]
    fn paths_name_service_and_method() {
        assert_eq!(split_path(b"/S/m"), Some((Some(&b"S"[..]), &b"m"[..])));
        assert_eq!(split_path(b"/-/m"), Some((None, &b"m"[..])));
        for path in [&b"/m"[..], b"", b"m", b"/S/", b"//m", b"/S/m/n", b"/S/m?a", b"/S%20/m"] {
            assert_eq!(split_path(path), None, "{}", path.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn pairs_come_out_as_they_went_in(
            key in "[ -~]{1,12}|[a-zA-Z_-]{1,12}",
            value in prop::collection::vec(any::<u8>(), 1..30),
        ) {
            let key = key.as_bytes();
            prop_assume!(known(key).is_none() && key != CLIENT_TIMEOUT && key != CRRST);
            prop_assume!(key != b"crc32c" && !key.starts_with(b"PV_"));
            let mut head = Head::new();
            load_theader(key, &value, 1000, &mut head).unwrap();
            let mut out = Vec::new();
            let mut writer = theader::Writer::new(0, 0, 0, false, &mut out);
            store_theader(&head, &mut writer);
            prop_assert!(writer.finish(1));
            let pairs: Vec<_> = theader::pairs(&out[16..]).map(Result::unwrap).collect();
            prop_assert_eq!(pairs.len(), 1);
            prop_assert_eq!((pairs[0].key, pairs[0].value), (key, &value[..]));
        }
    }
}

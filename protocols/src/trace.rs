//! What travels with a request from hop to hop: request ids, trace contexts, baggage and B3. Each
//! value is checked and, where others may read it in two ways, brought into one form.
//!
//! Sources: W3C Trace Context, Level 2 (§3.2 `traceparent`, §3.3 `tracestate`), W3C Baggage (§3.3),
//! B3 Propagation of Zipkin, and OpenCensus' BinaryEncoding.md.
//!
//! Not here: where a value stands in a protocol, and what becomes of a bad one. Cost: one pass over
//! a value, and a copy of B3's ids and of what has to change.

use crate::grpc::base64::{Decoder, Encoder};
use crate::head::is_tchar;

/// What a value comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It may go on as it is.
    Fine,
    /// It goes on in this form.
    Changed(Vec<u8>),
    /// It means nothing.
    Bad,
}

impl Checked {
    /// Of a form that was made of `value`.
    fn of(value: &[u8], form: Option<impl AsRef<[u8]> + Into<Vec<u8>>>) -> Checked {
        match form {
            Some(form) if form.as_ref() == value => Checked::Fine,
            Some(form) => Checked::Changed(form.into()),
            None => Checked::Bad,
        }
    }
}

/// Whether a value can be a request's id: 1 to 128 bytes of letters, digits and `-_.:/+=@`.
pub fn is_request_id(value: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(sane)
}

/// A `traceparent`. Later versions go on as version 00, the only one whose flags are known; of
/// those, `sampled` and `random-trace-id` are kept, the latter from version 00 alone.
pub fn traceparent(value: &[u8]) -> Checked {
    Checked::of(value, read_traceparent(value))
}

fn read_traceparent(value: &[u8]) -> Option<[u8; TRACEPARENT_BYTES]> {
    let (first, rest) = value.split_first_chunk::<TRACEPARENT_BYTES>()?;
    let mut parts = first.split(|&byte| byte == b'-');
    let mut part = |len: usize| parts.next().filter(|part| is_lower_hex(part, len));
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_first = version == b"00";
    let ends = rest.is_empty() || (!is_first && rest.first() == Some(&b'-'));
    if version == b"ff" || is_zero(trace) || is_zero(span) || !ends {
        return None;
    }
    let known = if is_first { 0b11 } else { 0b01 };
    let low = flags.last().and_then(|&digit| char::from(digit).to_digit(16))?;
    // A call of a traced client brings one: what is sound is not copied.
    let mut form = *first;
    let [v0, v1, .., f0, f1] = &mut form;
    [*v0, *v1, *f0, *f1] = [b'0', b'0', b'0', b'0' + (low & known) as u8];
    Some(form)
}

/// A `grpc-trace-bin`: a trace context in the binary form of OpenCensus, in base64 that may leave
/// its padding out, and does so when it goes on. What is known of its options is `sampled`.
pub fn grpc_trace_bin(value: &[u8]) -> Checked {
    Checked::of(value, read_trace_bin(value))
}

fn read_trace_bin(value: &[u8]) -> Option<Vec<u8>> {
    let digits = value.strip_suffix(b"=").unwrap_or(value);
    if digits.len() != TRACE_BIN_DIGITS {
        return None;
    }
    let (mut decoder, mut bytes) = (Decoder::default(), Vec::new());
    decoder.decode(digits, &mut bytes)?;
    decoder.decode(b"=", &mut bytes)?;
    // Version 0, then the numbers 0 to 2, each before its value: trace, span, options.
    let (trace, rest) = bytes.strip_prefix(&[0, 0])?.split_first_chunk::<16>()?;
    let (span, rest) = rest.strip_prefix(&[1])?.split_first_chunk::<8>()?;
    let [2, options] = *rest else { return None };
    if trace == &[0; 16] || span == &[0; 8] {
        return None;
    }
    if options <= 1 {
        return Some(digits.to_vec());
    }
    *bytes.last_mut()? = options & 1;
    let mut form = Vec::new();
    let mut encoder = Encoder::default();
    encoder.encode(&bytes, &mut form);
    encoder.pad(&mut form);
    form.truncate(TRACE_BIN_DIGITS);
    Some(form)
}

/// A `tracestate`: members of a vendor each. Beyond 32 of them, or 8 KiB, the long ones go first
/// and then those at the right end, which were added first.
pub fn tracestate(value: &[u8]) -> Checked {
    let members: Vec<&[u8]> = members(value).collect();
    if members.is_empty() || !members.iter().all(|member| is_state_member(member)) {
        return Checked::Bad;
    }
    if fits(&members, STATE_MEMBERS_MAX) {
        return Checked::Fine;
    }
    let mut kept = members;
    kept.retain(|member| member.len() <= STATE_MEMBER_BYTES_KEPT);
    Checked::of(value, shorten(kept, STATE_MEMBERS_MAX))
}

/// A `baggage`: members that are broken go, and those at the right end beyond 64 or 8 KiB; never a
/// part of one.
pub fn baggage(value: &[u8]) -> Checked {
    let all = members(value).count();
    let kept: Vec<&[u8]> = members(value).filter(|member| is_baggage_member(member)).collect();
    if kept.len() == all && fits(&kept, BAGGAGE_MEMBERS_MAX) && !kept.is_empty() {
        return Checked::Fine;
    }
    Checked::of(value, shorten(kept, BAGGAGE_MEMBERS_MAX))
}

/// `b3`, the one value: a sampling state, or `trace-span`, both followed by a state and a parent if
/// there are any. Ids come out in lower case, and traces in 32 digits.
pub fn b3(value: &[u8]) -> Checked {
    let form = match value {
        b"0" | b"1" | b"d" => Some(value.to_vec()),
        _ => read_b3(value),
    };
    Checked::of(value, form)
}

fn read_b3(value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = value.split(|&byte| byte == b'-');
    let mut form = trace_id(parts.next()?)?;
    form.push(b'-');
    form.extend_from_slice(&span_id(parts.next()?)?);
    if let Some(state) = parts.next() {
        if !matches!(state, b"0" | b"1" | b"d") {
            return None;
        }
        form.push(b'-');
        form.extend_from_slice(state);
    }
    if let Some(parent) = parts.next() {
        form.push(b'-');
        form.extend_from_slice(&span_id(parent)?);
    }
    parts.next().is_none().then_some(form)
}

/// One of the fields that say together what `b3` says alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum B3Part {
    /// `x-b3-traceid`: 16 or 32 digits.
    Trace,
    /// `x-b3-spanid`: 16 digits.
    Span,
    /// `x-b3-parentspanid`: 16 digits.
    Parent,
    /// `x-b3-sampled`: 0 or 1, which some write `false` and `true`.
    Sampled,
    /// `x-b3-flags`: 1 for debug, 0 for nothing.
    Flags,
}

/// A part of B3.
pub fn b3_part(part: B3Part, value: &[u8]) -> Checked {
    let form = match (part, value) {
        (B3Part::Trace, id) => trace_id(id),
        (B3Part::Span | B3Part::Parent, id) => span_id(id),
        (B3Part::Sampled, b"true") => Some(b"1".to_vec()),
        (B3Part::Sampled, b"false") => Some(b"0".to_vec()),
        (B3Part::Sampled | B3Part::Flags, b"0" | b"1") => Some(value.to_vec()),
        _ => None,
    };
    Checked::of(value, form)
}

fn trace_id(id: &[u8]) -> Option<Vec<u8>> {
    let pad: &[u8] = if id.len() == 16 { b"0000000000000000" } else { b"" };
    let form = [pad, &id.to_ascii_lowercase()].concat();
    (is_lower_hex(&form, 32) && !is_zero(&form)).then_some(form)
}

fn span_id(id: &[u8]) -> Option<Vec<u8>> {
    let form = id.to_ascii_lowercase();
    (is_lower_hex(&form, 16) && !is_zero(&form)).then_some(form)
}

fn is_lower_hex(digits: &[u8], len: usize) -> bool {
    digits.len() == len && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(digits: &[u8]) -> bool {
    digits.iter().all(|&digit| digit == b'0')
}

/// The members of a list, without the space around them; empty ones do not count.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trimmed).filter(|member| !member.is_empty())
}

/// Without optional white space, which is spaces and tabs alone.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether members, with a comma between them, need no shortening.
fn fits(members: &[&[u8]], count_max: usize) -> bool {
    let bytes: usize = members.iter().map(|member| member.len() + 1).sum();
    members.len() <= count_max && bytes <= LIST_BYTES_MAX + 1
}

/// The members that fit, from the left; none if there is none.
fn shorten(mut members: Vec<&[u8]>, count_max: usize) -> Option<Vec<u8>> {
    members.truncate(count_max);
    while !fits(&members, count_max) {
        members.pop();
    }
    (!members.is_empty()).then(|| members.join(&b","[..]))
}

/// `key=value`, as two.
fn halves(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, value) = member.split_at_checked(member.iter().position(|&byte| byte == b'=')?)?;
    Some((key, value.get(1..)?))
}

fn is_state_member(member: &[u8]) -> bool {
    let Some((key, value)) = halves(member) else { return false };
    let first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let later = |byte: &u8| first(byte) || b"_*/@-".contains(byte);
    let key_fits = key.first().is_some_and(first) && key.len() <= 256 && key.iter().all(later);
    let value_byte = |byte: &u8| matches!(byte, 0x20..=0x7e) && *byte != b'=';
    key_fits && (1..=256).contains(&value.len()) && value.iter().all(value_byte)
}

fn is_baggage_member(member: &[u8]) -> bool {
    let mut parts = member.split(|&byte| byte == b';').map(trimmed);
    let pair = parts.next().and_then(halves);
    let property = |part: &[u8]| halves(part).map_or_else(|| is_token(part), is_baggage_pair);
    pair.is_some_and(is_baggage_pair) && parts.all(property)
}

fn is_baggage_pair((key, value): (&[u8], &[u8])) -> bool {
    is_token(trimmed(key)) && is_baggage_value(trimmed(value))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_tchar(byte))
}

fn is_baggage_value(value: &[u8]) -> bool {
    let octet =
        |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    value.iter().all(octet)
}

const TRACEPARENT_BYTES: usize = 55;
/// Of 29 bytes, without padding.
const TRACE_BIN_DIGITS: usize = 39;
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Trace Context §3.3.1.1, and what it says to drop first.
const STATE_MEMBERS_MAX: usize = 32;
const STATE_MEMBER_BYTES_KEPT: usize = 128;
/// Baggage §3.3.2.
const BAGGAGE_MEMBERS_MAX: usize = 64;
const LIST_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(checked: Checked, value: &[u8]) -> String {
        match checked {
            Checked::Fine => String::from_utf8_lossy(value).into_owned(),
            Checked::Changed(form) => String::from_utf8_lossy(&form).into_owned(),
            Checked::Bad => "bad".to_owned(),
        }
    }

    #[test]
    fn trace_parents() {
        let mut count = 0;
        for line in include_str!("../testdata/traceparent_cases.tsv").lines() {
            let Some((value, want)) = line.split_once('\t').filter(|_| !line.starts_with('#'))
            else {
                continue;
            };
            let checked = traceparent(value.as_bytes());
            let ids = value.get(2..53).unwrap_or_default();
            let form = match want {
                "absent" => "bad".to_owned(),
                "ok not sampled" => format!("00{ids}00"),
                "ok, bits 0 and 1 kept, others emitted 0" => format!("00{ids}03"),
                _ => format!("00{ids}01"),
            };
            assert_eq!(said(checked, value.as_bytes()), form, "{line}");
            count += 1;
        }
        assert_eq!(count, 17);
    }

    #[test]
    fn trace_contexts_in_binary() {
        let of = |value: &str| said(grpc_trace_bin(value.as_bytes()), value.as_bytes());
        let sampled = "AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE";
        assert_eq!(of(sampled), sampled);
        assert_eq!(of(&format!("{sampled}=")), sampled, "padding is not sent on");
        let not_sampled = &sampled.replace("AgE", "AgA");
        assert_eq!(of(not_sampled), *not_sampled);
        assert_eq!(of(&sampled.replace("AgE", "Av8")), sampled, "unknown options are cleared");
        for (bad, why) in [
            ("", "nothing"),
            ("AQBL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE", "a later version"),
            ("AAFL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE", "the trace has another number"),
            ("AABL+S81d7NNpqPOkp0ADkc2AjTwZ6oLqQK3AgE", "the span has another number"),
            ("AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AwE", "the options have another number"),
            ("AAAAAAAAAAAAAAAAAAAAAAAAATTwZ6oLqQK3AgE", "no trace"),
            ("AABL+S81d7NNpqPOkp0ADkc2AQAAAAAAAAAAAgE", "no span"),
            ("AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgF", "bits left over"),
            ("AABL-S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE", "another alphabet"),
            ("AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE==", "too much padding"),
            ("AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgEA", "30 bytes"),
            ("AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3Ag", "28 bytes"),
            ("AABL+S81d7NNpqPOkp0ADkc2ATTwZ6oLqQK3AgE,AABL", "two values"),
        ] {
            assert_eq!(of(bad), "bad", "{why}");
        }
    }

    #[test]
    fn trace_states() {
        let of = |value: &str| said(tracestate(value.as_bytes()), value.as_bytes());
        for fine in ["a=1", "a=1, b=2 ,,\tc=3", "1@v=x y", "a=1,a=2", "a*_/-@=!\"~"] {
            assert_eq!(of(fine), fine);
        }
        for bad in ["", ",", "a", "a=", "=1", "A=1", "a=1=2", "_a=1", "a=1,b", "a=\u{e9}", "a =1"] {
            assert_eq!(of(bad), "bad", "{bad}");
        }
        let long = format!("a={}", "x".repeat(200));
        let many: Vec<String> = (0..32).map(|index| format!("k{index}=v")).collect();
        assert_eq!(of(&format!("{},{long}", many.join(","))), many.join(","), "the long ones go");
        assert_eq!(of(&format!("{},last=1", many.join(","))), many.join(","), "then the last ones");
    }

    #[test]
    fn baggages() {
        let of = |value: &str| said(baggage(value.as_bytes()), value.as_bytes());
        for fine in ["a=1", "a = 1 ; p ; q=2 , b=%20", "a=", "a=b=c"] {
            assert_eq!(of(fine), fine);
        }
        assert_eq!(of("a=1,b,c=\"3\",d=4;,e=5"), "a=1,e=5", "broken members go");
        for bad in ["", "a", "=1", "a b=1", "a=\\", "a=1;p q"] {
            assert_eq!(of(bad), "bad", "{bad}");
        }
        let many: Vec<String> = (0..65).map(|index| format!("k{index}=v")).collect();
        assert_eq!(of(&many.join(",")), many[..64].join(","));
        let long: Vec<String> = (0..9).map(|n| format!("k{n}={}", "v".repeat(1000))).collect();
        assert_eq!(of(&long.join(",")), long[..8].join(","), "whole members within 8 KiB");
    }

    #[test]
    fn b3_in_one_field_and_in_many() {
        let of = |value: &str| said(b3(value.as_bytes()), value.as_bytes());
        let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
        let whole = format!("{trace}-{span}-1-05e3ac9a4f6e3b90");
        for fine in ["0", "1", "d", &whole, &whole[..51], &whole[..49]] {
            assert_eq!(of(fine), fine);
        }
        let short = format!("{}-{}", &trace[..16].to_uppercase(), span.to_uppercase());
        assert_eq!(of(&short), format!("0000000000000000{}-{span}", &trace[..16]));
        for bad in ["", "2", "x", trace, &format!("{whole}-1"), &whole[..52], &whole[1..]] {
            assert_eq!(of(bad), "bad", "{bad}");
        }
        assert_eq!(of(&format!("{}-{span}", "0".repeat(32))), "bad");
        let part = |part, value: &str| said(b3_part(part, value.as_bytes()), value.as_bytes());
        assert_eq!(part(B3Part::Trace, trace), trace);
        assert_eq!(part(B3Part::Span, &span.to_uppercase()), span);
        assert_eq!(part(B3Part::Sampled, "true"), "1");
        assert_eq!(part(B3Part::Flags, "1"), "1");
        for (kind, bad) in [
            (B3Part::Trace, "80f1"),
            (B3Part::Span, trace),
            (B3Part::Parent, ""),
            (B3Part::Sampled, "d"),
            (B3Part::Flags, "true"),
        ] {
            assert_eq!(part(kind, bad), "bad", "{kind:?}");
        }
    }

    #[test]
    fn request_ids() {
        assert!(is_request_id(b"a-Z_0.:/+=@") && is_request_id(&[b'a'; 128]));
        for bad in [&b""[..], &[b'a'; 129], b"a b", b"a\n", "\u{e9}".as_bytes(), b"a,b"] {
            assert!(!is_request_id(bad), "{}", bad.escape_ascii());
        }
    }
}

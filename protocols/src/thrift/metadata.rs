//! What a caller's metadata may say, as fields of a head: claims of callers that are not believed
//! go, values that others would read are checked, and what concerns one hop ends there.
//!
//! | field | from everybody | from callers that are not believed |
//! |---|---|---|
//! | `x-request-id` | removed where it is no id; `tt-int-2` stands in for none | as well |
//! | `traceparent`, `tracestate`, `baggage` | into one form; what is broken goes | as well |
//! | `b3`, `x-b3-*` | the same | as well |
//! | `tt-int-12` | a timeout that could not be read: removed | as well |
//! | `tt-int-13`, `tt-int-17` | removed: timeouts of the hop before | as well |
//! | `rpc-persist-k`, `rpc-transit-k`, `rpc-backward-k` | stay | removed |
//! | `tt-int-3` to `-11`, and `-20` | stay | removed, but a ToService that routes see |
//! | `rip`, `forwarded`, `x-forwarded-*`, `x-real-ip` | stay | removed |
//! | `x-auth-subject`, `x-envoy-*` | stay | removed |
//! | `x-client-cert-*` | removed: the gateway's own to say | as well |
//!
//! Names are compared in any case, with `_` for `-`, and escaped ones by what they come out as: how
//! a name is written opens no way around a rule.
//!
//! Cost: a look at each field, and a copy of each value that changes.

use super::fields;
use super::ttheader::key;
use crate::head::Head;
use crate::trace::{self, B3Part, Checked};

/// What a caller is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Who it is, and what it passes on.
    pub claims: bool,
    /// Where its client is.
    pub addresses: bool,
}

/// What becomes of a field.
enum Verdict {
    Keep,
    Change(Vec<u8>),
    /// Nobody did anything wrong.
    Drop,
    /// It is counted by this word.
    Refuse(&'static str),
}

/// A rule for fields of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Any,
    /// Who is asking, and on whose behalf.
    Claim,
    /// Where the client is.
    Address,
    /// Whose certificate it has shown: nobody else may say so.
    Certificate,
    /// The service as discovery knows it.
    ToService,
    /// It concerns one hop.
    Hop,
    BadTimeout,
    RequestId,
    Traceparent,
    Tracestate,
    Baggage,
    B3,
    B3Part(B3Part),
}

/// Rules by name, in lower case and with `-`.
const RULES: [(&[u8], Rule); 14] = [
    (b"x-request-id", Rule::RequestId),
    (b"traceparent", Rule::Traceparent),
    (b"tracestate", Rule::Tracestate),
    (b"baggage", Rule::Baggage),
    (b"b3", Rule::B3),
    (b"x-b3-traceid", Rule::B3Part(B3Part::Trace)),
    (b"x-b3-spanid", Rule::B3Part(B3Part::Span)),
    (b"x-b3-parentspanid", Rule::B3Part(B3Part::Span)),
    (b"x-b3-sampled", Rule::B3Part(B3Part::Sampled)),
    (b"x-b3-flags", Rule::B3Part(B3Part::Flags)),
    (b"rip", Rule::Address),
    (b"forwarded", Rule::Address),
    (b"x-real-ip", Rule::Address),
    (b"x-auth-subject", Rule::Claim),
];
/// Rules by what a name starts with.
const STARTS: [(&[u8], Rule); 6] = [
    (b"x-client-cert-", Rule::Certificate),
    (b"rpc-persist-", Rule::Claim),
    (b"rpc-transit-", Rule::Claim),
    (b"rpc-backward-", Rule::Claim),
    (b"x-envoy-", Rule::Claim),
    (b"x-forwarded-", Rule::Address),
];
/// Who asks, by number; who is asked is written from the route.
const CLAIMED: [u16; 9] = [3, 4, 5, 7, 8, key::TO_METHOD, 10, 11, 20];
const LOG_ID: &[u8] = b"tt-int-2";
const REQUEST_ID: &[u8] = b"x-request-id";
/// Without one of these the others mean nothing.
const B3_IDS: [&[u8]; 3] = [b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid"];

/// Brings the fields of a request into what may go on. `refused` is told the reason word of each
/// that is removed because of what it says, or of who says it.
pub fn admit(head: &mut Head, trust: Trust, mut refused: impl FnMut(&'static str)) {
    let mut changed: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut has_bad_b3_id = false;
    let routes_see = head.field(b"tt-int-6") == Some(head.authority());
    head.retain(|name, value| {
        let rule = rule(name);
        let verdict = match rule {
            Rule::Claim if !trust.claims => Verdict::Refuse("untrusted"),
            Rule::ToService if !trust.claims && !routes_see => Verdict::Refuse("untrusted"),
            Rule::Address if !trust.addresses => Verdict::Refuse("untrusted"),
            Rule::Certificate => Verdict::Refuse("untrusted"),
            Rule::Claim | Rule::Address | Rule::ToService | Rule::Any => Verdict::Keep,
            Rule::Hop => Verdict::Drop,
            Rule::BadTimeout => Verdict::Refuse("bad_timeout"),
            // No field can hold it, so that it is no value of this name either.
            _ if name.first() == Some(&b'%') => Verdict::Refuse(word(rule)),
            checked => check(checked, value),
        };
        match verdict {
            Verdict::Keep => return true,
            Verdict::Change(form) => changed.push((name.to_vec(), form)),
            Verdict::Drop => return false,
            Verdict::Refuse(word) => {
                refused(word);
                has_bad_b3_id |= matches!(rule, Rule::B3Part(B3Part::Trace | B3Part::Span));
                return false;
            }
        }
        true
    });
    for (name, form) in &changed {
        head.set(name, form);
    }
    settle(head, has_bad_b3_id, refused);
}

/// What depends on other fields.
fn settle(head: &mut Head, has_bad_b3_id: bool, mut refused: impl FnMut(&'static str)) {
    if head.field(b"traceparent").is_none() && head.remove(b"tracestate") > 0 {
        refused("bad_tracestate");
    }
    if has_bad_b3_id {
        for name in B3_IDS {
            if head.remove(name) > 0 {
                refused("bad_b3");
            }
        }
    }
    if head.field(REQUEST_ID).is_none()
        && let Some(id) = head.field(LOG_ID).filter(|id| trace::is_request_id(id))
    {
        let id = id.to_vec();
        head.push(REQUEST_ID, &id);
    }
}

fn check(rule: Rule, value: &[u8]) -> Verdict {
    let checked = match rule {
        Rule::RequestId if trace::is_request_id(value) => Checked::Fine,
        Rule::Traceparent => trace::traceparent(value),
        Rule::Tracestate => trace::tracestate(value),
        Rule::Baggage => trace::baggage(value),
        Rule::B3 => trace::b3(value),
        Rule::B3Part(part) => trace::b3_part(part, value),
        _ => Checked::Bad,
    };
    match checked {
        Checked::Fine => Verdict::Keep,
        Checked::Changed(form) => Verdict::Change(form),
        Checked::Bad => Verdict::Refuse(word(rule)),
    }
}

/// What a bad value is counted by.
fn word(rule: Rule) -> &'static str {
    match rule {
        Rule::RequestId => "bad_request_id",
        Rule::Traceparent => "bad_traceparent",
        Rule::Tracestate => "bad_tracestate",
        Rule::Baggage => "bad_baggage",
        _ => "bad_b3",
    }
}

fn rule(name: &[u8]) -> Rule {
    if let Some(number) = fields::number_of(name) {
        return match number {
            key::TO_SERVICE => Rule::ToService,
            key::RPC_TIMEOUT => Rule::BadTimeout,
            key::READ_TIMEOUT | key::CONNECT_TIMEOUT => Rule::Hop,
            number if CLAIMED.contains(&number) => Rule::Claim,
            _ => Rule::Any,
        };
    }
    let escaped = fields::escaped_key(name);
    let name = escaped.as_deref().unwrap_or(name);
    let same = |(known, rule): &(&[u8], Rule)| is_same(name, known).then_some(*rule);
    let starts = |(start, rule): &(&[u8], Rule)| {
        name.get(..start.len()).is_some_and(|name| is_same(name, start)).then_some(*rule)
    };
    RULES.iter().find_map(same).or_else(|| STARTS.iter().find_map(starts)).unwrap_or(Rule::Any)
}

/// Whether a name is this one, which is in lower case and has `-`.
fn is_same(name: &[u8], known: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == known.len() && name.iter().zip(known).all(|(&a, &b)| plain(a) == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of these fields, and the words of those that were refused.
    fn admitted(is_trusted: bool, fields: &[(&str, &str)]) -> (String, Vec<&'static str>) {
        let mut head = Head::new();
        head.set_authority(b"echo-svc");
        fields.iter().for_each(|(name, value)| head.push(name.as_bytes(), value.as_bytes()));
        let mut words = Vec::new();
        let trust = Trust { claims: is_trusted, addresses: is_trusted };
        admit(&mut head, trust, |word| words.push(word));
        let text = |text: &[u8]| text.escape_ascii().to_string();
        let left = head.fields().map(|(name, value)| format!("{}={}", text(name), text(value)));
        (left.collect::<Vec<_>>().join(" "), words)
    }

    /// Holds for whoever says it.
    fn all(fields: &[(&str, &str)], left: &str, words: &[&'static str]) {
        for is_trusted in [false, true] {
            let want = (left.to_owned(), words.to_vec());
            assert_eq!(admitted(is_trusted, fields), want, "{fields:?}, trusted: {is_trusted}");
        }
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn request_ids() {
        all(&[("x-request-id", "a-1")], "x-request-id=a-1", &[]);
        all(&[("x-request-id", "a b")], "", &["bad_request_id"]);
        all(&[("%x-request-id", "a%0A")], "", &["bad_request_id"]);
        let log_id = ("tt-int-2", "2026abc");
        all(&[log_id], "tt-int-2=2026abc x-request-id=2026abc", &[]);
        all(&[log_id, ("x-request-id", "a")], "tt-int-2=2026abc x-request-id=a", &[]);
        all(&[("tt-int-2", "free text")], "tt-int-2=free text", &[]);
    }

    #[test]
    fn trace_contexts() {
        let parent = ("traceparent", PARENT);
        let state = ("tracestate", "a=1");
        let both = format!("traceparent={PARENT} tracestate=a=1");
        all(&[parent, state], &both, &[]);
        all(&[("traceparent", "00-1"), state], "", &["bad_traceparent", "bad_tracestate"]);
        all(&[state], "", &["bad_tracestate"]);
        all(&[parent, ("tracestate", "=")], &both[..67], &["bad_tracestate"]);
        let later = format!("cc{}-more", &PARENT[2..]);
        all(&[("traceparent", &later)], &both[..67], &[]);
        all(&[("%Traceparent", "%00")], "", &["bad_traceparent"]);
    }

    #[test]
    fn baggage() {
        all(&[("baggage", "a=1,b")], "baggage=a=1", &[]);
        all(&[("baggage", "b")], "", &["bad_baggage"]);
    }

    #[test]
    fn b3_in_both_forms() {
        let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
        all(&[("b3", "1")], "b3=1", &[]);
        all(&[("b3", "x")], "", &["bad_b3"]);
        let ids = [("x-b3-traceid", trace), ("x-b3-spanid", span), ("x-b3-sampled", "true")];
        all(&ids, &format!("x-b3-traceid={trace} x-b3-spanid={span} x-b3-sampled=1"), &[]);
        let ids = [("x-b3-traceid", "1"), ("x-b3-spanid", span), ("x-b3-sampled", "1")];
        all(&ids, "x-b3-sampled=1", &["bad_b3", "bad_b3"]);
    }

    #[test]
    fn nobody_says_whose_certificate_was_shown() {
        for name in ["x-client-cert-subject", "X_CLIENT_CERT_SAN", "%x-client-cert-subject"] {
            all(&[(name, "CN=root")], "", &["untrusted"]);
        }
    }

    #[test]
    fn times_of_a_hop() {
        all(&[("grpc-timeout", "5S"), ("tt-int-12", "-1")], "grpc-timeout=5S", &["bad_timeout"]);
        all(&[("tt-raw-12", "%00")], "", &["bad_timeout"]);
        all(&[("tt-int-13", "50"), ("tt-int-17", "50")], "", &[]);
    }

    #[test]
    fn what_only_callers_that_are_trusted_may_say() {
        for name in [
            "RPC_PERSIST_USER",
            "RPC_TRANSIT_USER",
            "RPC_TRANSIT_UPSTREAM_USER",
            "RPC_BACKWARD_USER",
            "rpc-persist-user",
            "Rpc_Transit-User",
            "%rpc-persist-user",
            "%RPC%5FPERSIST%5Fa%20b",
            "rip",
            "%rip",
            "RIP",
            "forwarded",
            "x-forwarded-for",
            "%x_forwarded_for",
            "x-forwarded-proto",
            "x-real-ip",
            "x-auth-subject",
            "%x-auth-subject",
            "x-envoy-upstream-rq-timeout-ms",
            "tt-int-3",
            "tt-raw-3",
            "tt-int-4",
            "tt-int-5",
            "tt-int-6",
            "tt-int-7",
            "tt-int-8",
            "tt-int-9",
            "tt-int-10",
            "tt-int-11",
            "tt-int-20",
        ] {
            let field = [(name, "1"), ("other", "2")];
            assert_eq!(
                admitted(false, &field),
                ("other=2".to_owned(), vec!["untrusted"]),
                "{name}"
            );
            assert_eq!(admitted(true, &field), (format!("{name}=1 other=2"), vec![]), "{name}");
        }
    }

    #[test]
    fn addresses_need_a_trust_of_their_own() {
        let of = |claims, addresses| {
            let mut head = Head::new();
            for name in ["rip", "X-Forwarded-For", "forwarded", "x-real-ip", "RPC_PERSIST_A"] {
                head.push(name.as_bytes(), b"1");
            }
            admit(&mut head, Trust { claims, addresses }, |_| {});
            head.fields().map(|(name, _)| name.len()).collect::<Vec<_>>()
        };
        assert_eq!(of(true, false), [13]);
        assert_eq!(of(false, true), [3, 15, 9, 9]);
    }

    #[test]
    fn what_anybody_may_say() {
        for name in ["isn", "tt-int-0", "tt-int-14", "tt-int-token", "biz-status", "rpc-persistent"]
        {
            all(&[(name, "1")], &format!("{name}=1"), &[]);
        }
        all(&[("tt-int-6", "echo-svc")], "tt-int-6=echo-svc", &[]);
    }
}

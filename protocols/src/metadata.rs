//! What a caller's metadata may say, as fields of a request's head: claims of callers that are not
//! believed go, values that others would read are checked, and what concerns one hop ends there.
//!
//! | field | from everybody | from callers that are not believed |
//! |---|---|---|
//! | `x-request-id` | removed where it is no id; `tt-int-2` stands in for none | as well |
//! | `traceparent`, `grpc-trace-bin`, `b3`, `x-b3-*` | into one form; broken ones go | as well |
//! | `tracestate`, `baggage` | the same, several fields as one | as well |
//! | `tt-int-12` | a timeout that could not be read: removed | as well |
//! | `tt-int-13`, `tt-int-17` | removed: timeouts of the hop before | as well |
//! | `rpc-persist-k`, `rpc-transit-k`, `rpc-backward-k` | stay | removed |
//! | `source-service`, `-method`, `destination-service`, `-method` | stay | removed |
//! | `tt-int-3` to `-11`, and `-20` | stay | removed, but a ToService that routes see |
//! | `rip`, `forwarded`, `x-forwarded-*`, `x-real-ip` | stay | removed |
//! | `x-auth-subject`, `x-envoy-*` | stay | removed |
//! | `x-client-cert-*`, `x-forwarded-client-cert` | removed: the gateway's own to say | as well |
//!
//! `tt-` and escaped names count in requests of Thrift alone. A value that may be there once and
//! is there twice could be read in two ways, and goes. In trailers none of the table means
//! anything.
//!
//! Cost: a look at each field's name; where one of them is of the table a second one, and a copy of
//! each value that changes.

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod rules;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_metadata;

use rules::Rule;

use crate::head::{Head, Version};
use crate::name::Name;
use crate::trace::{self, Checked};

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

/// Which rules the fields of a head fall under.
#[derive(Default)]
struct Seen {
    some: bool,
    once: u16,
    again: u16,
}

impl Seen {
    fn note(&mut self, rule: Rule) {
        self.some |= rule != Rule::Any;
        self.again |= self.once & rule.bit();
        self.once |= rule.bit();
    }

    fn repeats(&self, rule: Rule) -> bool {
        self.again & rule.bit() != 0
    }
}

/// Brings the fields of a request into what may go on. `trust` is asked for where a field is of the
/// table; `refused` is told the reason word of each that is removed because of what it says, or of
/// who says it.
pub fn admit(
    head: &mut Head,
    trust: impl FnOnce() -> Trust,
    mut refused: impl FnMut(&'static str),
) {
    let is_thrift = head.version() == Version::Thrift;
    let mut seen = Seen::default();
    for (name, text, _) in head.named() {
        seen.note(Rule::of(is_thrift, name, text));
    }
    if !seen.some && !is_thrift {
        return;
    }
    join_lists(head, &seen);
    let has_bad_b3_id = judge(head, trust(), &seen, &mut refused);
    settle(head, has_bad_b3_id, refused);
}

/// Removes what stands in the table from a request's trailers, whoever sent them: a recipient that
/// makes fields of them must not read there what the head was not let to say.
pub fn strip(trailers: &mut Head, mut refused: impl FnMut(&'static str)) {
    trailers.retain(|name, text, _| {
        let is_any = Rule::of(false, name, text) == Rule::Any;
        if !is_any {
            refused("in_trailers");
        }
        is_any
    });
}

/// Makes one field of several where their values are lists (Trace Context §3.3.1, Baggage §3.3).
fn join_lists(head: &mut Head, seen: &Seen) {
    for (rule, name) in [(Rule::Tracestate, &b"tracestate"[..]), (Rule::Baggage, b"baggage")] {
        if seen.repeats(rule) {
            let joined = head.all(name).collect::<Vec<_>>().join(&b","[..]);
            head.set(name, &joined);
        }
    }
}

/// Keeps, changes or removes each field by itself. True if an id of B3 was removed.
fn judge(
    head: &mut Head,
    trust: Trust,
    seen: &Seen,
    mut refused: impl FnMut(&'static str),
) -> bool {
    let is_thrift = head.version() == Version::Thrift;
    let mut changed: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut has_bad_b3_id = false;
    let routes_see = head.field(b"tt-int-6") == Some(head.authority());
    head.retain(|name, text, value| {
        let rule = Rule::of(is_thrift, name, text);
        let verdict = match rule {
            Rule::ToService if routes_see => Verdict::Keep,
            // No field can hold it, so that it is no value of this name either.
            _ if rule.bit() != 0 && text.first() == Some(&b'%') => Verdict::Refuse(rule.word()),
            _ if rule.bit() != 0 => check(rule, value, seen),
            _ => believe(rule, trust),
        };
        match verdict {
            Verdict::Keep => return true,
            Verdict::Change(form) => changed.push((text.to_vec(), form)),
            Verdict::Drop => return false,
            Verdict::Refuse(word) => {
                refused(word);
                has_bad_b3_id |= rule.is_b3_id();
                return false;
            }
        }
        true
    });
    for (name, form) in &changed {
        head.set(name, form);
    }
    has_bad_b3_id
}

/// What depends on who says it.
fn believe(rule: Rule, trust: Trust) -> Verdict {
    match rule {
        Rule::Claim | Rule::ToService if !trust.claims => Verdict::Refuse("untrusted"),
        Rule::Address if !trust.addresses => Verdict::Refuse("untrusted"),
        Rule::Certificate => Verdict::Refuse("untrusted"),
        Rule::Hop => Verdict::Drop,
        Rule::BadTimeout => Verdict::Refuse("bad_timeout"),
        _ => Verdict::Keep,
    }
}

/// What depends on the value.
fn check(rule: Rule, value: &[u8], seen: &Seen) -> Verdict {
    let checked = match rule {
        Rule::Tracestate => trace::tracestate(value),
        Rule::Baggage => trace::baggage(value),
        _ if seen.repeats(rule) => Checked::Bad,
        Rule::RequestId if trace::is_request_id(value) => Checked::Fine,
        Rule::Traceparent => trace::traceparent(value),
        Rule::TraceBin => trace::grpc_trace_bin(value),
        Rule::B3 => trace::b3(value),
        Rule::B3Part(part) => trace::b3_part(part, value),
        _ => Checked::Bad,
    };
    match checked {
        Checked::Fine => Verdict::Keep,
        Checked::Changed(form) => Verdict::Change(form),
        Checked::Bad => Verdict::Refuse(rule.word()),
    }
}

/// What depends on other fields.
fn settle(head: &mut Head, has_bad_b3_id: bool, mut refused: impl FnMut(&'static str)) {
    let is_thrift = head.version() == Version::Thrift;
    if head.known(Name::Traceparent).is_none() && head.remove(b"tracestate") > 0 {
        refused("bad_tracestate");
    }
    if has_bad_b3_id {
        head.retain(|name, text, _| {
            let is_id = Rule::of(is_thrift, name, text).is_b3_id();
            if is_id {
                refused("bad_b3");
            }
            !is_id
        });
    }
    if is_thrift
        && head.known(Name::XRequestId).is_none()
        && let Some(id) = head.field(LOG_ID).filter(|id| trace::is_request_id(id))
    {
        let id = id.to_vec();
        head.push_known(Name::XRequestId, &id);
    }
}

const LOG_ID: &[u8] = b"tt-int-2";

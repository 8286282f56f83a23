//! Which rule a field of a request falls under, by its name.
//!
//! Names are compared in any case, with `_` for `-`, and escaped ones of Thrift by what they come
//! out as: how a name is written opens no way around a rule. Cost: a byte compared for a well-known
//! name without a rule, for any other name the rules that share its first letter.

use crate::name::Name;
use crate::thrift::{escaped_key, number_of, ttheader::key};
use crate::trace::B3Part;

/// A rule for fields of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
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
    TraceBin,
    Baggage,
    B3,
    B3Part(B3Part),
}

impl Rule {
    /// Of a field of a request, of Thrift or of HTTP.
    #[inline]
    pub(super) fn of(is_thrift: bool, name: Name, text: &[u8]) -> Rule {
        if is_thrift {
            return of_pair(text);
        }
        match name {
            Name::Other | Name::XRequestId | Name::Traceparent | Name::Tracestate => of_name(text),
            Name::Forwarded | Name::XRealIp | Name::XForwardedFor => Rule::Address,
            Name::XForwardedHost | Name::XForwardedProto | Name::XForwardedPort => Rule::Address,
            _ => Rule::Any,
        }
    }

    /// What a bad value is counted by.
    pub(super) fn word(self) -> &'static str {
        match self {
            Rule::RequestId => "bad_request_id",
            Rule::Traceparent => "bad_traceparent",
            Rule::Tracestate => "bad_tracestate",
            Rule::TraceBin => "bad_grpc_trace_bin",
            Rule::Baggage => "bad_baggage",
            _ => "bad_b3",
        }
    }

    /// Without one of these the others mean nothing.
    pub(super) fn is_b3_id(self) -> bool {
        matches!(self, Rule::B3Part(B3Part::Trace | B3Part::Span | B3Part::Parent))
    }

    /// A bit of its own for each rule of one value; none for the others.
    pub(super) fn bit(self) -> u16 {
        let index = match self {
            Rule::RequestId => 0,
            Rule::Traceparent => 1,
            Rule::Tracestate => 2,
            Rule::TraceBin => 3,
            Rule::Baggage => 4,
            Rule::B3 => 5,
            Rule::B3Part(part) => 6 + part as u16,
            _ => return 0,
        };
        1 << index
    }
}

/// Of a pair of a header of Thrift.
fn of_pair(name: &[u8]) -> Rule {
    if let Some(number) = number_of(name) {
        return match number {
            key::TO_SERVICE => Rule::ToService,
            key::RPC_TIMEOUT => Rule::BadTimeout,
            key::READ_TIMEOUT | key::CONNECT_TIMEOUT => Rule::Hop,
            number if CLAIMED.contains(&number) => Rule::Claim,
            _ => Rule::Any,
        };
    }
    let escaped = escaped_key(name);
    of_name(escaped.as_deref().unwrap_or(name))
}

/// Who asks, by number; who is asked is written from the route.
const CLAIMED: [u16; 9] = [3, 4, 5, 7, 8, key::TO_METHOD, 10, 11, 20];

fn of_name(name: &[u8]) -> Rule {
    let [first, second, ..] = name else { return Rule::Any };
    let second = plain(*second);
    let fits = |known: &[u8]| match known {
        [_, letter, ..] if *letter != second => false,
        [start @ .., b'*'] => name.get(..start.len()).is_some_and(|name| is_same(name, start)),
        known => is_same(name, known),
    };
    let found = starting_with(plain(*first)).iter().find(|(known, _)| fits(known));
    found.map_or(Rule::Any, |&(_, rule)| rule)
}

/// Rules by name, in lower case and with `-`; `*` stands for the rest of one. The first that fits
/// holds.
fn starting_with(letter: u8) -> &'static [(&'static [u8], Rule)] {
    match letter {
        b'b' => &[(b"b3", Rule::B3), (b"baggage", Rule::Baggage)],
        b'd' => &[(b"destination-service", Rule::Claim), (b"destination-method", Rule::Claim)],
        b'f' => &[(b"forwarded", Rule::Address)],
        b'g' => &[(b"grpc-trace-bin", Rule::TraceBin)],
        b'r' => &[
            (b"rip", Rule::Address),
            (b"rpc-persist-*", Rule::Claim),
            (b"rpc-transit-*", Rule::Claim),
            (b"rpc-backward-*", Rule::Claim),
        ],
        b's' => &[(b"source-service", Rule::Claim), (b"source-method", Rule::Claim)],
        b't' => &[(b"traceparent", Rule::Traceparent), (b"tracestate", Rule::Tracestate)],
        b'x' => &[
            (b"x-request-id", Rule::RequestId),
            (b"x-b3-traceid", Rule::B3Part(B3Part::Trace)),
            (b"x-b3-spanid", Rule::B3Part(B3Part::Span)),
            (b"x-b3-parentspanid", Rule::B3Part(B3Part::Parent)),
            (b"x-b3-sampled", Rule::B3Part(B3Part::Sampled)),
            (b"x-b3-flags", Rule::B3Part(B3Part::Flags)),
            (b"x-real-ip", Rule::Address),
            (b"x-auth-subject", Rule::Claim),
            (b"x-client-cert-*", Rule::Certificate),
            (b"x-forwarded-client-cert*", Rule::Certificate),
            (b"x-envoy-*", Rule::Claim),
            (b"x-forwarded-*", Rule::Address),
        ],
        _ => &[],
    }
}

/// Whether a name is this one, which is in lower case and has `-`.
fn is_same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && name.iter().zip(known).all(|(&a, &b)| plain(a) == b)
}

fn plain(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

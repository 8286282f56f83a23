//! The static table (RFC 7541 Appendix A), and how the encoder treats the names it knows.
//!
//! Known are the names of the static table and those whose values differ with nearly every message
//! or are secret. Finding one costs a multiplication, a table load and one comparison; the table
//! is built, and checked to be free of collisions, when the crate is compiled.

/// The representation that a field gets if neither table holds it (RFC 7541 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexing {
    /// Literal with incremental indexing: the value will probably come again.
    With,
    /// Literal without indexing: it will not, and would push out what does.
    Without,
    /// Literal never indexed, on this hop and all others: a guess must not show in a length (§7.1).
    Never,
}

/// A name that the encoder knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    name: &'static [u8],
    /// The first entry of the static table with this name; 0 where there is none.
    pub(super) first: u8,
    /// How many entries have it, one behind the other.
    count: u8,
    indexing: Indexing,
}

impl Known {
    /// The known name that equals these bytes.
    #[inline]
    pub(super) fn find(name: &[u8]) -> Option<&'static Known> {
        let (&first, &last) = (name.first()?, name.last()?);
        let slot = slot_of(name.len(), first, *name.get(name.len() * 3 / 4)?, last);
        let number = SLOTS.get(slot).copied().unwrap_or(0);
        KNOWN.get(usize::from(number).wrapping_sub(1)).filter(|known| known.name == name)
    }

    /// The static entry that holds this name with this value.
    #[inline]
    pub(super) fn entry_with(&self, value: &[u8]) -> Option<u32> {
        let first = u32::from(self.first);
        let mut entries = first..first + u32::from(self.count);
        entries.find(|&index| entry(index).is_some_and(|(_, known)| known == value))
    }

    /// How a field of this name is to be represented.
    #[inline]
    pub(super) fn indexing(&self, value: &[u8]) -> Indexing {
        match self.first {
            // A query is seldom asked twice.
            PATH if value.contains(&b'?') => Indexing::Without,
            COOKIE if value.len() < COOKIE_BYTES_GUESSED_MAX => Indexing::Never,
            _ => self.indexing,
        }
    }
}

/// Entries of the static table: their indexes are 1 to 61.
pub(super) const ENTRIES_COUNT: u32 = STATIC.len() as u32;

/// A static entry's name and value.
#[inline]
pub(super) fn entry(index: u32) -> Option<(&'static [u8], &'static [u8])> {
    let (name, value) = STATIC.get((index as usize).wrapping_sub(1))?;
    Some((name.as_bytes(), value.as_bytes()))
}

const PATH: u8 = 4;
const COOKIE: u8 = 32;

/// A shorter cookie is not indexed: it could be guessed value by value (§7.1.3). 20 characters of a
/// session's token hold 80 bits or more.
const COOKIE_BYTES_GUESSED_MAX: usize = 20;

/// Credentials. The short cookie is among them by [`Known::indexing`].
const NEVER: &[&str] =
    &["api-key", "authorization", "proxy-authorization", "set-cookie", "x-api-key", "x-auth-token"];

/// Names whose values differ from message to message, or with each client behind the gateway.
const WITHOUT: &[&str] = &[
    "age",
    "b3",
    "baggage",
    "cf-ray",
    "content-length",
    "content-location",
    "content-range",
    "date",
    "etag",
    "expires",
    "forwarded",
    "grpc-message",
    "grpc-timeout",
    "grpc-trace-bin",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "proxy-authenticate",
    "range",
    "retry-after",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "www-authenticate",
    "x-amzn-trace-id",
    "x-b3-parentspanid",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-forwarded-for",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-real-ip",
    "x-request-id",
    "x-runtime",
];

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The names of `STATIC`, each once, and those of the two lists that are not among them.
const KNOWN_COUNT: usize = 78;

static KNOWN: [Known; KNOWN_COUNT] = known();

const SLOTS_COUNT: usize = 512;

/// Slot to index in `KNOWN` plus one; 0 is empty.
static SLOTS: [u8; SLOTS_COUNT] = slots();

/// Found by trying random odd numbers until no two names shared a slot; `slots` refuses to compile
/// when a new name breaks that.
const MULTIPLIER: u32 = 0x2795_c271;

/// A name's slot: its length and three of its bytes, mixed; the top 9 bits of the product.
#[inline]
const fn slot_of(len: usize, first: u8, inner: u8, last: u8) -> usize {
    let key = u32::from_le_bytes([len as u8, first, inner, last]);
    (key.wrapping_mul(MULTIPLIER) >> 23) as usize
}

/// Names that are several times in `STATIC` stand there one behind the other.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn known() -> [Known; KNOWN_COUNT] {
    let empty = Known { name: b"", first: 0, count: 0, indexing: Indexing::With };
    let (mut known, mut count, mut at) = ([empty; KNOWN_COUNT], 0, 0);
    while at < STATIC.len() {
        let name = STATIC[at].0;
        if at > 0 && equal(STATIC[at - 1].0, name) {
            known[count - 1].count += 1;
        } else {
            let indexing = indexing_of(name);
            known[count] = Known { name: name.as_bytes(), first: at as u8 + 1, count: 1, indexing };
            count += 1;
        }
        at += 1;
    }
    let (in_static, mut at) = (count, 0);
    while at < NEVER.len() + WITHOUT.len() {
        let name = if at < NEVER.len() { NEVER[at] } else { WITHOUT[at - NEVER.len()] };
        if !holds(&known, in_static, name) {
            let indexing = indexing_of(name);
            known[count] = Known { name: name.as_bytes(), first: 0, count: 0, indexing };
            count += 1;
        }
        at += 1;
    }
    assert!(count == KNOWN_COUNT, "KNOWN_COUNT is not the number of names");
    known
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn slots() -> [u8; SLOTS_COUNT] {
    let (mut slots, mut index) = ([0; SLOTS_COUNT], 0);
    while index < KNOWN_COUNT {
        let name = KNOWN[index].name;
        let len = name.len();
        let slot = slot_of(len, name[0], name[len * 3 / 4], name[len - 1]);
        assert!(slots[slot] == 0, "two names share a slot: choose another multiplier");
        index += 1;
        slots[slot] = index as u8;
    }
    slots
}

const fn indexing_of(name: &str) -> Indexing {
    if lists(NEVER, name) {
        Indexing::Never
    } else if lists(WITHOUT, name) {
        Indexing::Without
    } else {
        Indexing::With
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn lists(list: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < list.len() && !equal(list[at], name) {
        at += 1;
    }
    at < list.len()
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn holds(known: &[Known; KNOWN_COUNT], count: usize, name: &str) -> bool {
    let mut at = 0;
    while at < count && !equal_bytes(known[at].name, name.as_bytes()) {
        at += 1;
    }
    at < count
}

const fn equal(a: &str, b: &str) -> bool {
    equal_bytes(a.as_bytes(), b.as_bytes())
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn equal_bytes(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_static_entry_is_found_by_name_and_value() {
        for index in 1..=ENTRIES_COUNT {
            let (name, value) = entry(index).unwrap();
            let known = Known::find(name).unwrap();
            assert_eq!(known.entry_with(value), Some(index));
            assert_eq!(entry(u32::from(known.first)).unwrap().0, name);
            assert_eq!(known.entry_with(b"no such value"), None);
        }
        assert_eq!((entry(0), entry(ENTRIES_COUNT + 1)), (None, None));
    }

    #[test]
    fn every_listed_name_is_treated_as_listed() {
        for (list, indexing) in [(NEVER, Indexing::Never), (WITHOUT, Indexing::Without)] {
            for name in list {
                let known = Known::find(name.as_bytes()).unwrap();
                assert_eq!(known.indexing(b"v"), indexing, "{name}");
            }
        }
        let other = Known::find(b"user-agent").unwrap();
        assert_eq!(other.indexing(b"v"), Indexing::With);
    }

    #[test]
    fn some_values_decide() {
        let path = Known::find(b":path").unwrap();
        assert_eq!(path.indexing(b"/pkg.Service/Method"), Indexing::With);
        assert_eq!(path.indexing(b"/search?q=1"), Indexing::Without);
        let cookie = Known::find(b"cookie").unwrap();
        assert_eq!(cookie.indexing(&[b'x'; 19]), Indexing::Never);
        assert_eq!(cookie.indexing(&[b'x'; 20]), Indexing::With);
    }

    #[test]
    fn near_misses_are_unknown() {
        for name in [&b""[..], b"x", b"Cookie", b"cookies", b":statu", b"x-forwarded_for", b"\0"] {
            assert!(Known::find(name).is_none(), "{name:?}");
        }
        assert!(Known::find(&[b'a'; 70_000]).is_none());
    }
}

//! `Name`: well-known field names as one byte, so that hot look-ups compare integers.
//!
//! The list holds the names that the wires, the gateway or common policies ask for by name; any
//! other name is `Other` and is compared by its bytes. Finding a name costs one multiplication,
//! one table load and one comparison of at most 19 bytes; the table is built and checked to be
//! free of collisions when the crate is compiled.

/// Declares the names: variant and lower-case text.
macro_rules! names {
    ($($variant:ident = $text:literal;)+) => {
        /// An interned field name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            /// No well-known name.
            Other,
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        /// The names with their texts, by number less one.
        const NAMES: &[(Name, &[u8])] = &[$((Name::$variant, $text.as_bytes()),)+];
    };
}

names! {
    Host = "host";
    ContentLength = "content-length";
    TransferEncoding = "transfer-encoding";
    Connection = "connection";
    KeepAlive = "keep-alive";
    ProxyConnection = "proxy-connection";
    Te = "te";
    Trailer = "trailer";
    Upgrade = "upgrade";
    Http2Settings = "http2-settings";
    ProxyAuthenticate = "proxy-authenticate";
    ProxyAuthorization = "proxy-authorization";
    Expect = "expect";
    Authorization = "authorization";
    Cookie = "cookie";
    SetCookie = "set-cookie";
    Forwarded = "forwarded";
    XForwardedFor = "x-forwarded-for";
    XForwardedHost = "x-forwarded-host";
    XForwardedProto = "x-forwarded-proto";
    XForwardedPort = "x-forwarded-port";
    XRealIp = "x-real-ip";
    XRequestId = "x-request-id";
    Via = "via";
    Date = "date";
    Server = "server";
    ContentType = "content-type";
    ContentEncoding = "content-encoding";
    ContentRange = "content-range";
    ContentLanguage = "content-language";
    ContentDisposition = "content-disposition";
    Accept = "accept";
    AcceptEncoding = "accept-encoding";
    AcceptLanguage = "accept-language";
    UserAgent = "user-agent";
    CacheControl = "cache-control";
    Location = "location";
    Etag = "etag";
    LastModified = "last-modified";
    Age = "age";
    Vary = "vary";
    WwwAuthenticate = "www-authenticate";
    Origin = "origin";
    Referer = "referer";
    IfNoneMatch = "if-none-match";
    IfModifiedSince = "if-modified-since";
    Range = "range";
    AcceptRanges = "accept-ranges";
    Traceparent = "traceparent";
    Tracestate = "tracestate";
    MaxForwards = "max-forwards";
    Allow = "allow";
    RetryAfter = "retry-after";
    CdnLoop = "cdn-loop";
}

impl Name {
    /// The well-known name with this text in any case, else `Other`.
    #[inline]
    pub fn find(text: &[u8]) -> Name {
        let (Some(&first), Some(&last)) = (text.first(), text.last()) else { return Name::Other };
        let Some(&inner) = text.get(text.len() * 3 / 4) else { return Name::Other };
        let slot = SLOTS.get(slot_of(text.len(), first, inner, last)).copied().unwrap_or(0);
        match NAMES.get(usize::from(slot).wrapping_sub(1)) {
            Some((name, known)) if known.eq_ignore_ascii_case(text) => *name,
            _ => Name::Other,
        }
    }

    /// The lower-case text; empty for `Other`.
    pub fn text(self) -> &'static [u8] {
        NAMES.get((self as usize).wrapping_sub(1)).map_or(&[], |(_, text)| text)
    }

    /// Whether the field concerns this connection only, whatever Connection lists
    /// (RFC 9110 §7.6.1), Upgrade excepted: it lives on in a tunnel's head.
    pub(crate) fn is_connection_level(self) -> bool {
        use Name::*;
        matches!(
            self,
            Connection | KeepAlive | ProxyConnection | Te | TransferEncoding | Http2Settings
        )
    }

    /// Whether the wire writes this field itself, from authority and length.
    pub(crate) fn is_framing(self) -> bool {
        matches!(self, Name::Host | Name::ContentLength | Name::TransferEncoding)
    }
}

const SLOTS_COUNT: usize = 512;

/// Found by trying random odd numbers until no two names shared a slot; `build_slots` refuses to
/// compile when a new name breaks that.
const MULTIPLIER: u32 = 0x2d20_6adb;

/// A name's slot: its length and three of its bytes, mixed; the top 9 bits of the product.
#[inline]
const fn slot_of(len: usize, first: u8, inner: u8, last: u8) -> usize {
    let low = (len as u8) as u32 | (((first | 0x20) as u32) << 8);
    let key = low | (((inner | 0x20) as u32) << 16) | (((last | 0x20) as u32) << 24);
    (key.wrapping_mul(MULTIPLIER) >> 23) as usize
}

/// Slot to index in `NAMES` plus one; 0 is empty.
static SLOTS: [u8; SLOTS_COUNT] = build_slots();

// Runs in the compiler only: an index out of bounds or a collision is a compile error.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn build_slots() -> [u8; SLOTS_COUNT] {
    let mut slots = [0; SLOTS_COUNT];
    let mut index = 0;
    while index < NAMES.len() {
        let text = NAMES[index].1;
        let len = text.len();
        let slot = slot_of(len, text[0], text[len * 3 / 4], text[len - 1]);
        assert!(slots[slot] == 0, "two names share a slot: choose another multiplier");
        assert!(NAMES[index].0 as usize == index + 1);
        slots[slot] = index as u8 + 1;
        index += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in NAMES {
            assert_eq!(Name::find(text), *name);
            assert_eq!(Name::find(&text.to_ascii_uppercase()), *name);
            assert_eq!(name.text(), *text);
        }
    }

    #[test]
    fn near_misses_are_other() {
        for text in [&b""[..], b"x", b"hosts", b"hoss", b"content_length", b"content-lengt", b"\0"]
        {
            assert_eq!(Name::find(text), Name::Other, "{text:?}");
        }
        assert_eq!(Name::find(&[b'a'; 70_000]), Name::Other);
        assert_eq!(Name::Other.text(), b"");
    }
}

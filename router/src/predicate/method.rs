//! `methods: [GET, POST]`: case-sensitive (RFC 9110 §9.1).
//!
//! The nine registered methods are one bit each; others are compared as bytes.

/// Methods with a bit of their own, in bit order (RFC 9110 §9.3 and RFC 5789).
const KNOWN: [&[u8]; 9] =
    [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"];

/// A method, looked up once a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method<'a> {
    Known(u16),
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    #[inline]
    pub(crate) fn of(name: &'a [u8]) -> Method<'a> {
        match KNOWN.iter().position(|known| *known == name) {
            Some(bit) => Method::Known(1 << bit),
            None => Method::Other(name),
        }
    }
}

/// The methods that a rule takes. Both parts empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MethodSet<'a> {
    pub(crate) known: u16,
    /// Sorted, without repeats.
    pub(crate) other: Vec<&'a [u8]>,
}

impl<'a> MethodSet<'a> {
    pub(crate) fn new(names: impl Iterator<Item = &'a [u8]>) -> MethodSet<'a> {
        let mut set = MethodSet::default();
        for name in names {
            match Method::of(name) {
                Method::Known(bit) => set.known |= bit,
                Method::Other(name) => set.other.push(name),
            }
        }
        set.other.sort_unstable();
        set.other.dedup();
        set
    }

    pub(crate) fn is_any(&self) -> bool {
        self.known == 0 && self.other.is_empty()
    }

    /// Whether `self` takes at least everything `of` takes.
    pub(crate) fn covers(&self, of: &MethodSet<'_>) -> bool {
        let all_other = || of.other.iter().all(|name| self.other.contains(name));
        self.is_any() || (!of.is_any() && of.known & !self.known == 0 && all_other())
    }

    pub(crate) fn overlaps(&self, with: &MethodSet<'_>) -> bool {
        let in_other = || self.other.iter().any(|name| with.other.contains(name));
        self.is_any() || with.is_any() || self.known & with.known != 0 || in_other()
    }

    pub(crate) fn add(&mut self, with: &MethodSet<'a>) {
        self.known |= with.known;
        self.other.extend(&with.other);
        self.other.sort_unstable();
        self.other.dedup();
    }

    /// The names, for people.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        let known = KNOWN.iter().enumerate().filter(|(bit, _)| self.known & 1 << bit != 0);
        known.map(|(_, name)| *name).chain(self.other.iter().copied())
    }
}

/// A token of RFC 9110 §5.6.2; the error follows the method in a message. Lower-case forms are
/// refused because methods are case-sensitive and such a rule would silently never match.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("is not a method name");
    }
    if name.len() > 32 {
        return Err("is longer than 32 bytes");
    }
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("has lower-case letters: methods are case-sensitive, write them as GET, POST");
    }
    Ok(())
}

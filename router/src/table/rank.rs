//! Routes that share host and path: methods, and who is first.
//!
//! Methods are a residual predicate: they are looked at after host and path have chosen the
//! candidates. The nine registered methods are one bit each; others are compared as bytes.

use crate::RouteId;

/// Methods with a bit of their own, in bit order (RFC 9110 §9.3 and RFC 5789).
const KNOWN: [&[u8]; 9] =
    [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"];

/// A request's method, looked up once a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method<'a> {
    Known(u16),
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    pub(super) fn of(name: &'a [u8]) -> Method<'a> {
        match KNOWN.iter().position(|known| *known == name) {
            Some(bit) => Method::Known(1 << bit),
            None => Method::Other(name),
        }
    }
}

/// The methods a route takes. Both parts empty: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MethodSet {
    known: u16,
    other: Box<[Box<[u8]>]>,
}

impl MethodSet {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> MethodSet {
        let (mut known, mut other) = (0, Vec::<Box<[u8]>>::new());
        for name in names {
            match Method::of(name) {
                Method::Known(bit) => known |= bit,
                Method::Other(name) => other.push(name.into()),
            }
        }
        other.sort();
        other.dedup();
        MethodSet { known, other: other.into() }
    }

    pub(super) fn is_any(&self) -> bool {
        self.known == 0 && self.other.is_empty()
    }

    pub(super) fn takes(&self, method: Method<'_>) -> bool {
        self.is_any()
            || match method {
                Method::Known(bit) => self.known & bit != 0,
                Method::Other(name) => self.other.iter().any(|other| **other == *name),
            }
    }

    /// Whether `self` takes at least everything `of` takes.
    fn covers(&self, of: &MethodSet) -> bool {
        let all_other = || of.other.iter().all(|name| self.other.contains(name));
        self.is_any() || (!of.is_any() && of.known & !self.known == 0 && all_other())
    }

    fn overlaps(&self, with: &MethodSet) -> bool {
        self.is_any()
            || with.is_any()
            || self.known & with.known != 0
            || self.other.iter().any(|name| with.other.contains(name))
    }

    fn union(&self, with: &MethodSet) -> MethodSet {
        let mut other: Vec<Box<[u8]>> = self.other.iter().chain(&with.other).cloned().collect();
        other.sort();
        other.dedup();
        MethodSet { known: self.known | with.known, other: other.into() }
    }
}

/// Routes with the same host and path, in the order they are tried.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    routes: Vec<(MethodSet, RouteId)>,
}

impl Candidates {
    /// Adds a route declared after all those added before. A route that could never win is not
    /// added; the answer is the earlier route that takes its place.
    pub(super) fn add(&mut self, methods: MethodSet, route: RouteId) -> Result<(), RouteId> {
        if let Some(earlier) = self.shadow(&methods) {
            return Err(earlier);
        }
        let specific = self.routes.partition_point(|(methods, _)| !methods.is_any());
        let place = if methods.is_any() { self.routes.len() } else { specific };
        self.routes.insert(place, (methods, route));
        Ok(())
    }

    /// The first route that takes a part of `methods` when the earlier ones of the same rank
    /// together take all of it.
    fn shadow(&self, methods: &MethodSet) -> Option<RouteId> {
        let rivals = || self.routes.iter().filter(|(rival, _)| rival.is_any() == methods.is_any());
        let all = rivals().map(|(rival, _)| rival.clone()).reduce(|a, b| a.union(&b))?;
        let mut overlapping = rivals().filter(|(rival, _)| rival.overlaps(methods));
        all.covers(methods).then(|| overlapping.next().map(|(_, route)| *route))?
    }

    pub(super) fn first(&self, method: Method<'_>) -> Option<RouteId> {
        self.routes.iter().find(|(methods, _)| methods.takes(method)).map(|(_, route)| *route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> MethodSet {
        MethodSet::new(names.iter().map(|name| name.as_bytes()))
    }

    #[test]
    fn a_named_method_goes_before_any() {
        let mut routes = Candidates::default();
        routes.add(set(&[]), RouteId(0)).unwrap();
        routes.add(set(&["GET"]), RouteId(1)).unwrap();
        assert_eq!(routes.first(Method::of(b"GET")), Some(RouteId(1)));
        assert_eq!(routes.first(Method::of(b"PURGE")), Some(RouteId(0)));
        assert_eq!(routes.first(Method::of(b"get")), Some(RouteId(0)), "case-sensitive");
    }

    #[test]
    fn a_route_that_can_never_win_is_refused() {
        let mut routes = Candidates::default();
        routes.add(set(&["GET", "PURGE"]), RouteId(0)).unwrap();
        assert_eq!(routes.add(set(&["PURGE"]), RouteId(1)), Err(RouteId(0)));
        routes.add(set(&["POST", "PURGE"]), RouteId(2)).unwrap();
        assert_eq!(routes.add(set(&["POST", "GET"]), RouteId(3)), Err(RouteId(0)), "by both");
        routes.add(set(&[]), RouteId(4)).unwrap();
        assert_eq!(routes.add(set(&[]), RouteId(5)), Err(RouteId(4)));
        routes.add(set(&["PUT"]), RouteId(6)).unwrap();
        assert_eq!(routes.first(Method::of(b"PUT")), Some(RouteId(6)));
    }
}

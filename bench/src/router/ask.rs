//! Requests for a set of rules, side by side in one string, so that asking them costs no more
//! cache misses than requests that a shard has just received.

use router::{Field, Query};

use super::sets::{Set, host_name};

/// Requests, and the rules that are to win.
pub(super) struct Asks {
    text: String,
    asks: Vec<Ask>,
}

#[derive(Clone, Copy)]
struct Ask {
    at: u32,
    host: u16,
    path: u16,
    tenant: u16,
    expected: u32,
}

/// A step that visits every number below a count that it has no factor in common with.
const STRIDE: usize = 7_368_787;

impl Asks {
    /// For rules drawn from the first `rules` of the set.
    pub(super) fn hits(set: &Set, rules: usize, count: usize) -> Asks {
        let rules = rules.min(set.len());
        Asks::of((0..count).map(|n| {
            let index = n * STRIDE % rules;
            let (host, path, tenant) = set.request(index);
            (host, path, tenant, index)
        }))
    }

    /// For hosts that have rules, and paths that none of them takes.
    pub(super) fn misses(set: &Set, count: usize) -> Asks {
        Asks::of((0..count).map(|n| {
            let (host, _, _) = set.request(n * STRIDE % set.len());
            (host, format!("/nowhere/{}/to/be/found/{n}", n % 97), String::new(), 0)
        }))
    }

    pub(super) fn unknown_hosts(count: usize) -> Asks {
        let host = |n: usize| format!("un{}", host_name(n));
        Asks::of((0..count).map(|n| (host(n), "/v1/a/b".to_owned(), String::new(), 0)))
    }

    fn of(requests: impl Iterator<Item = (String, String, String, usize)>) -> Asks {
        let mut asks = Asks { text: String::new(), asks: Vec::new() };
        for (host, path, tenant, expected) in requests {
            asks.asks.push(Ask {
                at: asks.text.len() as u32,
                host: host.len() as u16,
                path: path.len() as u16,
                tenant: tenant.len() as u16,
                expected: expected as u32,
            });
            asks.text.push_str(&host);
            asks.text.push_str(&path);
            asks.text.push_str(&tenant);
        }
        asks
    }

    pub(super) fn len(&self) -> usize {
        self.asks.len()
    }

    /// The rule that is to win.
    pub(super) fn expected(&self, index: usize) -> u32 {
        self.asks[index].expected
    }

    /// Host and path.
    pub(super) fn target(&self, index: usize) -> (&str, &str) {
        let ask = self.asks[index];
        let (host, rest) = self.text[ask.at as usize..].split_at(usize::from(ask.host));
        (host, &rest[..usize::from(ask.path)])
    }

    #[inline]
    pub(super) fn with<R>(&self, index: usize, find: impl FnOnce(&Query<'_>) -> R) -> R {
        let ask = self.asks[index];
        let (host, rest) = self.text.as_bytes()[ask.at as usize..].split_at(usize::from(ask.host));
        let (path, rest) = rest.split_at(usize::from(ask.path));
        let tenant = &rest[..usize::from(ask.tenant)];
        let field = |name: &[u8]| match name {
            b"x-tenant" if !tenant.is_empty() => Field::One(tenant),
            _ => Field::Absent,
        };
        find(&Query { method: b"GET", host, path, query: b"", peer: None, field: &field })
    }
}

//! A request as it is typed to ask where it would go: `GET http://host/path -H 'Name: value'`.
//!
//! It is brought into the form in which a shard routes one: the host without its port and in lower
//! case, the path by the first listener's rule.

use std::net::IpAddr;

use control::Snapshot;
use protocols::Head;
use router::{Field, Query};

use crate::failure::Failure;

/// A request that was typed.
pub(crate) struct TypedRequest {
    head: Head,
    source: Option<IpAddr>,
}

impl TypedRequest {
    /// From a method, a URL (`http://host/path`, `host/path` or `/path`), fields and a client.
    pub(crate) fn new(
        (method, url): (&str, &str),
        fields: &[&str],
        source: Option<IpAddr>,
        snapshot: &Snapshot,
    ) -> Result<TypedRequest, Failure> {
        let (host, target) = split(url);
        let mut head = Head::new();
        head.set_request(method.as_bytes(), target.as_bytes());
        head.set_authority(host.as_bytes());
        for field in fields {
            let (name, value) = field.split_once(':').ok_or_else(|| {
                Failure::Usage(format!("`{field}` is no field: write it as 'Name: value'"))
            })?;
            head.push(name.trim().as_bytes(), value.trim().as_bytes());
        }
        let rule = snapshot.listeners.first().map(|plan| plan.path_rule).unwrap_or_default();
        head.normalise_path(rule)
            .map_err(|fault| Failure::Refused(format!("{url}: refused as {}", fault.reason())))?;
        Ok(TypedRequest { head, source })
    }

    /// Hands the request to `ask` as the table sees it.
    pub(crate) fn with<R>(&self, ask: impl FnOnce(&Query<'_>) -> R) -> R {
        let head = &self.head;
        let field = |name: &[u8]| Field::of(head.all(name));
        ask(&Query {
            method: head.method(),
            host: head.host(),
            path: head.path(),
            query: head.query().unwrap_or_default(),
            peer: self.source,
            field: &field,
        })
    }

    /// Method, host and target, for people.
    pub(crate) fn line(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (method, host) = (text(self.head.method()), text(self.head.host()));
        format!("{method} {host}{}", text(self.head.target()))
    }

    /// A part of the path that a pattern captured.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> String {
        String::from_utf8_lossy(self.head.path().get(range).unwrap_or_default()).into_owned()
    }
}

/// Host and target of a URL.
fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_their_parts() {
        assert_eq!(split("http://a.b:80/x?y"), ("a.b:80", "/x?y"));
        assert_eq!(split("a.b/x"), ("a.b", "/x"));
        assert_eq!(split("/x"), ("", "/x"));
        assert_eq!(split("https://a.b"), ("a.b", "/"));
    }
}

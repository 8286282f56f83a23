//! Hosts: `api.example.com`, `*.example.com`, or any.
//!
//! A suffix keeps its dot: `*.example.com` takes `a.example.com` and `a.b.example.com`, not
//! `example.com`.

/// A host pattern, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostPattern {
    Exact(Vec<u8>),
    /// The bytes from the dot on.
    Suffix(Vec<u8>),
    Any,
}

/// Longest name that DNS has, and longest pattern.
pub(crate) const HOST_BYTES_MAX: usize = 253;

impl HostPattern {
    /// From what was typed; the error follows the host in a message.
    pub(crate) fn read(text: Option<&str>) -> Result<HostPattern, &'static str> {
        let Some(text) = text else { return Ok(HostPattern::Any) };
        let lower = text.to_ascii_lowercase();
        let (is_suffix, name) = match lower.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, lower.as_str()),
        };
        let labels = if is_suffix { name.strip_prefix('.').unwrap_or("") } else { name };
        if let Some(why) = fault(labels, is_suffix) {
            return Err(why);
        }
        let name = name.as_bytes().to_vec();
        Ok(if is_suffix { HostPattern::Suffix(name) } else { HostPattern::Exact(name) })
    }

    /// The bytes that are hashed and compared.
    pub(crate) fn text(&self) -> &[u8] {
        match self {
            HostPattern::Exact(text) | HostPattern::Suffix(text) => text,
            HostPattern::Any => b"",
        }
    }
}

/// Names as DNS has them, plus `_` and, for exact hosts, `[` IPv6 `]`.
fn fault(name: &str, is_suffix: bool) -> Option<&'static str> {
    if !is_suffix && name.starts_with('[') && name.ends_with(']') {
        let inner = name.trim_start_matches('[').trim_end_matches(']');
        let is_valid = inner.parse::<std::net::Ipv6Addr>().is_ok();
        return (!is_valid).then_some("is not an IPv6 address");
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() {
        Some("names nothing: leave it out to take any host, or write *.example.com")
    } else if name.len() >= HOST_BYTES_MAX + usize::from(!is_suffix) {
        Some("is longer than 253 bytes")
    } else if name.contains('*') {
        Some("has a `*` inside: only a leading `*.` is possible")
    } else if name.contains(':') {
        Some("has a port: routes match the name only, leave the port out")
    } else if !name.bytes().all(known) {
        Some("has a byte that no host name has")
    } else if name.split('.').any(str::is_empty) {
        Some("has an empty label: leave the outer dots out")
    } else {
        None
    }
}

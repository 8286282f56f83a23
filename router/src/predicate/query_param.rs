//! `query: {version: "2"}`: parameters of the query string, compared as they stand there.
//!
//! `a=1&b&c=` has three; what stands before the first `=` is the name, and `b` has an empty value.
//! Nothing is decoded: `%61=1` is no parameter `a`, here or in most caches.

use crate::query::{Field, Query};

/// The error follows the name in a message.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let is_fault = name.is_empty() || name.bytes().any(|byte| b"&=#".contains(&byte));
    if is_fault { Err("is no name of a query parameter") } else { Ok(()) }
}

pub(crate) fn value<'q>(name: &[u8], query: &Query<'q>) -> Field<'q> {
    let pairs = query.query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    Field::of(pairs.filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (pair[..end] == *name).then(|| pair.get(end + 1..).unwrap_or_default())
    }))
}

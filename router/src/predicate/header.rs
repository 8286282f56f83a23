//! `headers: {x-tenant: acme}`: header fields, by their lower-case names.

use crate::query::{Field, Query};

/// A field name of RFC 9110 §5.1; the error follows the name in a message.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(known) { Err("is no name of a field") } else { Ok(()) }
}

#[inline]
pub(crate) fn value<'q>(name: &[u8], query: &Query<'q>) -> Field<'q> {
    (query.field)(name)
}

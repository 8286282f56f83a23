//! `cookies: {session: {present: true}}`: pairs of the Cookie field (RFC 6265 §4.2.1).

use crate::query::{Field, Query};

/// A token of RFC 6265 §4.1.1; the error follows the name in a message.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    super::header::check_name(name).map_err(|_| "is no name of a cookie")
}

pub(crate) fn value<'q>(name: &[u8], query: &Query<'q>) -> Field<'q> {
    let line = match (query.field)(b"cookie") {
        Field::One(line) => line,
        repeated => return repeated,
    };
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    Field::of(pairs.filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..end] == *name).then(|| &pair[end + 1..])
    }))
}

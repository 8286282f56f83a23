//! What a rule says about host and path: read from text once, and matched against bytes.

pub(crate) mod host;
pub(crate) mod path;
pub(crate) mod regex;

//! What the benches share: rules in great number, and a shard to ask them of.

pub(crate) mod rules;
pub(crate) mod stage;

//! The Prometheus text format.
use crate::counter::Registry;
pub(crate) fn render(_registry: &Registry, _out: &mut String) {}

//! What callers pass on: volo's metainfo, a task's own while it calls or serves.

use std::cell::RefCell;
use std::future::Future;

use metainfo::{Forward, METAINFO, MetaInfo};

/// Runs a future with nothing to pass on but this, persistent and for one hop.
pub(crate) async fn with<T>(
    persistent: &[(&'static str, &'static str)],
    transient: &[(&'static str, &'static str)],
    work: impl Future<Output = T>,
) -> T {
    let mut info = MetaInfo::default();
    persistent.iter().for_each(|(key, value)| info.set_persistent(*key, *value));
    transient.iter().for_each(|(key, value)| info.set_transient(*key, *value));
    METAINFO.scope(RefCell::new(info), work).await
}

/// What the caller of this call passed on, in order of its keys.
pub(crate) fn received() -> String {
    METAINFO.with(|info| {
        let info = info.borrow();
        let persistent = info.get_all_persistents().into_iter().flatten();
        let persistent = persistent.map(|(key, value)| format!("persistent {key}={value}"));
        let transient = info.get_all_upstreams().into_iter().flatten();
        let transient = transient.map(|(key, value)| format!("transient {key}={value}"));
        let mut lines: Vec<String> = persistent.chain(transient).collect();
        lines.sort_unstable();
        lines.join("\n")
    })
}

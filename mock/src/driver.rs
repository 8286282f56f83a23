//! A monoio runtime on whatever this machine allows: io_uring, else epoll.
//!
//! It is not a choice for the user: monoio probes for io_uring, and where the probe succeeds but
//! the real ring does not (the locked-memory limit is used up), epoll is taken as well.

use std::future::Future;
use std::io;

use monoio::{FusionDriver, LegacyDriver, RuntimeBuilder};

/// Runs the future that `make` returns to its end on this thread, timers included.
///
/// # Errors
/// Neither io_uring nor epoll could be set up; `make` was not called then.
pub fn block_on<F: Future>(make: impl FnOnce() -> F) -> io::Result<F::Output> {
    if let Ok(mut runtime) = RuntimeBuilder::<FusionDriver>::new().enable_timer().build() {
        return Ok(runtime.block_on(make()));
    }
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    Ok(runtime.block_on(make()))
}

//! The admin server: pages about this process and changes of its routes, on plain threads.
//!
//! `pages.rs` has what can be read, `routes.rs` the one thing that can be changed. Contents come
//! from closures ([`AdminState`]), so this module knows neither gateway nor engine.
//!
//! D1 A unix socket has mode 0600 and replaces a stale one only if nobody answers there; TCP is
//! bound to loopback only, and changes nothing. D2 At most [`CONNECTIONS_MAX`] connections at a
//! time, each with one request whose head has at most 8 KiB and whose body at most what its page
//! takes, and 5 s to ask and 5 s to take the answer. D3 The bytes are read by
//! the same strict HTTP/1.1 wire that guards the data path. To add a page: a line in
//! `PAGES` of `pages.rs` and its closure in [`AdminState`].

mod address;
mod connection;
mod pages;
mod routes;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use address::AdminAddress;
use address::{Socket, Wake};
pub use pages::{AdminState, Ask, Content, Readiness};
pub(crate) use routes::changes as batch_changes;
pub use routes::{ExplainQuery, RouteFilter};

/// Connections served at a time; one more is closed when no place comes free in [`SLOT_WAIT`].
const CONNECTIONS_MAX: usize = 16;
/// A connection that was answered keeps its place until its thread has run: a client that sends one
/// request after the other, few at a time, would else be refused on a busy machine.
const SLOT_WAIT: Duration = Duration::from_millis(100);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running admin server. Dropping it stops it and removes its unix socket.
pub struct Admin {
    address: AdminAddress,
    stop: Arc<AtomicBool>,
    wake: Wake,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Binds `listen` and serves `state` until the value is dropped.
    ///
    /// # Errors
    /// The address is in use or not allowed (D1), or no thread can be had.
    pub fn serve(listen: &AdminAddress, state: Arc<AdminState>) -> io::Result<Admin> {
        let (socket, address) = Socket::bind(listen)?;
        let wake = Wake::new(&address);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("admin".into())
            .spawn(move || accept_all(&socket, &state, &stopped))?;
        Ok(Admin { address, stop, wake, thread: Some(thread) })
    }

    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let woken = self.wake.ring();
        let thread = self.thread.take();
        if woken && let Some(thread) = thread {
            // A panic there has been printed already.
            let _ = thread.join();
        }
        self.address.remove_socket();
    }
}

fn accept_all(socket: &Socket, state: &Arc<AdminState>, stop: &AtomicBool) {
    let slots = Arc::new(Slots::default());
    loop {
        let peer = socket.accept();
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(peer) = peer else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let Some(slot) = slots.take(SLOT_WAIT) else { continue };
        let state = Arc::clone(state);
        let served = thread::Builder::new().name("admin-connection".into()).spawn(move || {
            let _slot = slot;
            connection::serve(peer, &state);
        });
        // Without a thread the closure, and with it connection and slot, has been dropped.
        drop(served);
    }
}

/// The connections that are open.
#[derive(Default)]
struct Slots {
    open: Mutex<usize>,
    given_back: Condvar,
}

impl Slots {
    /// A place, as soon as there is one; none when all are taken for so long.
    fn take(self: &Arc<Slots>, wait: Duration) -> Option<Slot> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |open: &mut usize| *open >= CONNECTIONS_MAX;
        let waited = self.given_back.wait_timeout_while(open, wait, is_full);
        let (mut open, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return None;
        }
        *open += 1;
        Some(Slot(Arc::clone(self)))
    }
}

/// One of the connections that may be open; given back when dropped, also by a panic.
struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests;

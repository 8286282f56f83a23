//! The seam to everything that is kernel or chance: submissions, completions, the buffer ring's
//! tail, calls on descriptors, the clocks and randomness.
//!
//! It is *not* an abstraction over runtimes: it is exactly what a shard needs, so that the real
//! ring (`uring.rs`) and the simulated one (`sim`) can stand behind the same two-variant enum.
//! The feature `sim` *adds* a variant and never replaces the real one.
//!
//! Invariants: memory named by a request stays with its op slot until the final completion (I2),
//! so only `op.rs` calls [`Ring::push`]. In debug builds every push and completion of either
//! backend passes through `rules.rs`. Cost: one predictable branch a call.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use crate::buf::out::SendBlock;
use crate::buf::pool::Pool;
use crate::config::{Features, Liveness, SetupError, ShardConfig};
use crate::net::address::{Address, RawAddress};

#[cfg(any(debug_assertions, feature = "sim"))]
pub(crate) mod rules;
#[cfg(feature = "sim")]
pub mod sim;
pub(crate) mod uring;

/// A provided-buffer group. The number is the kernel's group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Small pages: request heads.
    Head = 0,
    /// Large pages: bodies, upstream bytes, TLS records.
    Bulk = 1,
}

impl Group {
    pub(crate) const ALL: [Group; 2] = [Group::Head, Group::Bulk];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// One submission. References are valid until the op's final completion.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    /// Multishot accept; each completion carries a new descriptor (non-blocking, close-on-exec).
    Accept { fd: RawFd },
    /// Multishot receive into the group's buffers.
    RecvMulti { fd: RawFd, group: Group },
    /// One receive into one buffer of the group; `poll_first` skips the attempt that would fail.
    Recv { fd: RawFd, group: Group, poll_first: bool },
    /// Send the block's current window (at most 64 segments); short sends are normal.
    Send { fd: RawFd, block: &'a SendBlock },
    /// Connect a socket.
    Connect { fd: RawFd, address: &'a RawAddress },
    /// One-shot poll for RDHUP, HUP and ERR.
    PollHup { fd: RawFd },
    /// Multishot poll for readability: the shard's eventfd.
    PollIn { fd: RawFd },
    /// Cancel the op with this user data.
    Cancel { target: u64 },
    /// Close the descriptor. Neither cancels nor sends FIN while other ops hold the file.
    Close { fd: RawFd },
}

/// One completion, copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cqe {
    /// The op's key.
    pub(crate) user_data: u64,
    /// Result, or a negative errno.
    pub(crate) result: i32,
    /// More completions of this op will follow; false = final.
    pub(crate) more: bool,
    /// The provided buffer that was consumed, whose group the op knows.
    pub(crate) buffer: Option<u16>,
}

/// The submission queue has no room: enter, then push again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SqFull;

/// How long [`Ring::enter`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Submit, run what is due, return.
    No,
    /// Wait for one completion, at most until the instant; None = without limit.
    Until(Option<Instant>),
}

/// What kind of socket to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Inet4,
    Inet6,
    Unix,
}

/// A ring and the calls that go with it.
pub(crate) struct Ring {
    backend: Backend,
    #[cfg(any(debug_assertions, feature = "sim"))]
    rules: rules::Rules,
}

/// The closed set of backends.
pub(crate) enum Backend {
    /// io_uring.
    Uring(Box<uring::Uring>),
    /// In-memory sockets, virtual clock, seeded faults.
    #[cfg(feature = "sim")]
    Sim(Box<sim::SimRing>),
}

/// Calls the same method on whichever backend is there.
macro_rules! on_backend {
    ($ring:expr, $backend:ident => $call:expr) => {
        match &mut $ring.backend {
            Backend::Uring($backend) => $call,
            #[cfg(feature = "sim")]
            Backend::Sim($backend) => $call,
        }
    };
}

impl Ring {
    /// Sets up a real ring on the calling thread and registers the pool's groups with it.
    pub(crate) fn uring(
        config: &ShardConfig,
        pool: &Rc<Pool>,
    ) -> Result<(Ring, Features), SetupError> {
        let (ring, features) = uring::Uring::new(config, pool)?;
        Ok((Ring::over(Backend::Uring(Box::new(ring))), features))
    }

    pub(crate) fn over(backend: Backend) -> Ring {
        Ring {
            backend,
            #[cfg(any(debug_assertions, feature = "sim"))]
            rules: rules::Rules::new(),
        }
    }

    /// Stages one submission.
    pub(crate) fn push(&mut self, user_data: u64, request: Request<'_>) -> Result<(), SqFull> {
        #[cfg(any(debug_assertions, feature = "sim"))]
        let seen = rules::Seen::of(user_data, &request);
        on_backend!(self, ring => ring.push(user_data, request))?;
        #[cfg(any(debug_assertions, feature = "sim"))]
        self.rules.pushed(seen);
        Ok(())
    }

    /// Submits what is staged, waits as told, and makes the kernel post what is due. EINTR, ETIME
    /// and EAGAIN with nothing submitted are not errors to the caller: they return Ok.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        on_backend!(self, ring => ring.enter(wait))
    }

    /// Moves all posted completions to `into`. Returns false when more are known to be waiting.
    pub(crate) fn reap(&mut self, into: &mut Vec<Cqe>) -> bool {
        #[cfg(any(debug_assertions, feature = "sim"))]
        let first = into.len();
        let all = on_backend!(self, ring => ring.reap(into));
        #[cfg(any(debug_assertions, feature = "sim"))]
        for cqe in into.iter().skip(first) {
            self.rules.completed(cqe);
        }
        all
    }

    /// Stages a buffer for the group's ring; visible to the kernel after [`Ring::publish`].
    pub(crate) fn provide(&mut self, group: Group, bid: u16) {
        #[cfg(any(debug_assertions, feature = "sim"))]
        self.rules.provided(group, bid);
        on_backend!(self, ring => ring.provide(group, bid));
    }

    /// One tail store a group with staged buffers.
    pub(crate) fn publish(&mut self) {
        on_backend!(self, ring => ring.publish());
    }

    /// Monotonic time, read from the source (the shard caches it once a turn).
    pub(crate) fn now(&mut self) -> Instant {
        on_backend!(self, ring => ring.now())
    }

    /// Wall time, read from the source.
    pub(crate) fn wall(&mut self) -> SystemTime {
        on_backend!(self, ring => ring.wall())
    }

    /// Seeded randomness; not for secrets.
    pub(crate) fn random(&mut self) -> u64 {
        on_backend!(self, ring => ring.random())
    }

    /// Creates a non-blocking, close-on-exec stream socket.
    pub(crate) fn socket(&mut self, family: Family) -> io::Result<RawFd> {
        let fd = on_backend!(self, ring => ring.socket(family))?;
        #[cfg(any(debug_assertions, feature = "sim"))]
        self.rules.opened(fd);
        Ok(fd)
    }

    /// TCP_NODELAY on.
    pub(crate) fn set_nodelay(&mut self, fd: RawFd) -> io::Result<()> {
        on_backend!(self, ring => ring.set_nodelay(fd))
    }

    /// Keepalive and user timeout of a TCP socket.
    pub(crate) fn set_liveness(&mut self, fd: RawFd, liveness: &Liveness) -> io::Result<()> {
        on_backend!(self, ring => ring.set_liveness(fd, liveness))
    }

    pub(crate) fn peer_address(&mut self, fd: RawFd) -> io::Result<Address> {
        on_backend!(self, ring => ring.peer_address(fd))
    }

    pub(crate) fn local_address(&mut self, fd: RawFd) -> io::Result<Address> {
        on_backend!(self, ring => ring.local_address(fd))
    }

    /// shutdown(2) with SHUT_WR: FIN after what the kernel has queued.
    pub(crate) fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        on_backend!(self, ring => ring.shutdown_write(fd))
    }

    /// SO_LINGER with 0 seconds: the close sends RST.
    pub(crate) fn linger_zero(&mut self, fd: RawFd) -> io::Result<()> {
        on_backend!(self, ring => ring.linger_zero(fd))
    }

    /// close(2) at once; only for a descriptor that no op was ever pushed for.
    pub(crate) fn close_now(&mut self, fd: RawFd) {
        #[cfg(any(debug_assertions, feature = "sim"))]
        self.rules.closed_now(fd);
        on_backend!(self, ring => ring.close_now(fd));
    }

    /// accept4(2) without waiting; None = nothing queued.
    pub(crate) fn accept_now(&mut self, fd: RawFd) -> io::Result<Option<RawFd>> {
        let accepted = on_backend!(self, ring => ring.accept_now(fd))?;
        #[cfg(any(debug_assertions, feature = "sim"))]
        if let Some(fd) = accepted {
            self.rules.opened(fd);
        }
        Ok(accepted)
    }

    /// A descriptor held back for the day the table is full.
    pub(crate) fn open_reserve(&mut self) -> io::Result<RawFd> {
        on_backend!(self, ring => ring.open_reserve())
    }

    /// Hands the descriptor to the caller; None where descriptors are not real.
    pub(crate) fn hand_over(&mut self, fd: RawFd) -> Option<OwnedFd> {
        #[cfg(any(debug_assertions, feature = "sim"))]
        self.rules.closed_now(fd);
        on_backend!(self, ring => ring.hand_over(fd))
    }

    /// False when more completions were lost or delayed by a full completion queue than fit.
    pub(crate) fn overflowed(&mut self) -> bool {
        on_backend!(self, ring => ring.overflowed())
    }

    /// The trace checker's state, for the tests' end-of-step checks.
    #[cfg(any(debug_assertions, feature = "sim"))]
    pub(crate) fn rules(&mut self) -> &mut rules::Rules {
        &mut self.rules
    }

    /// True for the backend whose descriptors and clock are made up.
    pub(crate) fn is_simulated(&self) -> bool {
        !matches!(self.backend, Backend::Uring(_))
    }
}

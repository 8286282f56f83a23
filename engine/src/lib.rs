//! How bytes move: one shard is one thread and one ring.
//!
//! A [`Runtime`] owns a ring, an executor and a fixed region of receive buffers; its tasks use
//! the [`Shard`] handle to listen, connect, wait and spawn, and [`Stream`]s to move [`Buf`]s.
//! The engine knows no protocol. Nothing here is shared between shards but the [`fn@mailbox`].
//!
//! Invariants:
//! - I1 `Ring`, `Buf`, `Stream` and tasks are `!Send`.
//! - I2 Memory given to the kernel belongs to the op slot until its *final* completion.
//! - I3 Dropping a future orphans the op and submits a cancel; it frees no kernel-visible memory.
//! - I4 `user_data` is slot index + generation; a stale completion is counted, never followed.
//! - I5 The end drops tasks, cancels everything and reaps to zero before the ring is dropped;
//!   memory is unmapped only with no op in flight and no `Buf` alive, else leaked and counted.
//! - I6 Receive buffers are fixed at start and never parked; ENOBUFS pauses readers.
//! - I7 A turn is: run at most N tasks, one submit-and-wait, reap what is there, fire timers.
//! - I8 Both directions of a socket are queues owned by its slot; futures only wait.
//!
//! `unsafe` is fenced into `ring/uring.rs`, `op.rs`, `buf/pool.rs`, `buf/slice.rs`, `task/raw.rs`
//! and `sys.rs`. Cost of an exchange leg: one send and one receive completion, no allocation.

mod buf;
mod config;
mod core;
mod io;
mod mailbox;
mod memory;
mod net;
mod op;
pub mod probe;
mod progress;
mod ring;
mod runtime;
mod shard;
mod slab;
mod stats;
mod sys;
mod task;
mod time;
mod timer;

pub use buf::out::{Full, Piece};
pub use buf::{Buf, Fill};
pub use config::{Features, Liveness, SetupError, ShardConfig};
pub use mailbox::{MailReceiver, MailSender, mailbox};
pub use memory::{MemoryPlan, plan_memory, plan_memory_for};
pub use net::address::{Address, AddressError};
pub use net::bind::{BindError, BoundListener, bind, bind_with};
pub use net::connect::Connect;
pub use net::listener::Listener;
pub use net::stream::Stream;
pub use progress::{Progress, ProgressSnapshot, TurnPhase};
#[cfg(feature = "sim")]
pub use ring::sim;
pub use runtime::{Runtime, Turn};
pub use shard::{Shard, ShardThread, cores, start_shard};
pub use stats::{ConnectionInfo, ExitReport, Stats};
pub use sys::huge_pages_where_advised_only;
pub use task::on_task_panic;
pub use timer::Timer;

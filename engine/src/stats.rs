//! Plain numbers of one shard, and its connection table, for whoever asks between turns.

use std::time::Instant;

use crate::net::address::Address;

/// Counters since the shard's start, and gauges of now. Bytes and counts as named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Turns taken.
    pub turns: u64,
    /// Calls of io_uring_enter.
    pub enters: u64,
    /// Submissions.
    pub sqes: u64,
    /// Completions handled.
    pub cqes: u64,
    /// Completions that belonged to nothing and were not followed.
    pub stale_cqes: u64,
    /// Turns that found the completion queue overflowed.
    pub cq_overflows: u64,
    /// Receives that found no buffer.
    pub enobufs: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Free or visible pages: head group, bulk group.
    pub bufs_free: [u64; 2],
    /// Completions owed by the kernel.
    pub ops_in_flight: u64,
    /// Tasks alive.
    pub tasks: u64,
    /// Sockets, closing ones included.
    pub sockets: u64,
    /// Heap that stalled sends were copied to, in bytes.
    pub stalled_bytes: u64,
    /// The most that one socket's queues have kept alive, in bytes.
    pub held_bytes_max: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: u64,
    /// Sockets closed because buffers stayed short.
    pub buffer_pressure_closes: u64,
    /// Task polls.
    pub polls: u64,
    /// The longest turn, in microseconds: what everybody else waited. Time in an enter counts
    /// where that had nothing to wait for.
    pub turn_us_max: u64,
}

/// One row of the connection table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The far end.
    pub peer: Address,
    /// As annotated.
    pub protocol: u8,
    /// As annotated.
    pub state: u8,
    /// As annotated; `u32::MAX` = never.
    pub route: u32,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the kernel took.
    pub bytes_out: u64,
    /// When the socket was made, to the millisecond.
    pub opened: Instant,
    /// We connected it.
    pub outbound: bool,
    /// What its queues keep alive now, in bytes.
    pub held_bytes: usize,
}

/// What was left when a runtime ended. Both are 0 after an orderly end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// Buffer regions given up because an op or a view still referred to them.
    pub leaked_regions: u64,
    /// Ops whose final completion never came.
    pub leaked_ops: u64,
}

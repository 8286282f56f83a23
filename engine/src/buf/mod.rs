//! Buffers: the fixed receive region (`pool`), counted views into it (`slice`), and the send
//! queue's blocks (`out`).
//!
//! Receive buffers are fixed at start and never parked (I6); memory the kernel may touch belongs
//! to the op slot (I2). No allocation per event: blocks and views are recycled.

pub(crate) mod out;
pub(crate) mod pool;
pub(crate) mod slice;

pub use slice::{Buf, Fill};

//! B4: what happens when receive buffers stay short.
//!
//! Readers queue up (`recv.rs`). If that lasts 100 ms, sends that have not moved are what keeps
//! the pages: the longest-stalled are cancelled and their rest is copied to the heap, at most
//! 64 KiB a socket and `stalled_bytes_max` a shard. When the heap share is used up, or a rest is
//! larger, the longest-stalled socket is failed with ENOBUFS (reason `buffer_pressure`).

use std::collections::VecDeque;
use std::time::Duration;

use super::slot::{Flag, Phase};
use crate::buf::out::SendBlock;
use crate::io::Io;
use crate::op::NO_OP;
use crate::ring::Group;
use crate::slab::Key;

/// Most of one socket's queue that is copied out, in bytes.
const COPY_OUT_MAX: usize = 64 * 1024;
/// Sockets relieved in one go; the timer comes back while buffers stay short.
const RELIEVED_MAX: usize = 64;
/// Until the next look, and how long a send must have been stuck.
const STALLED_FOR: Duration = Duration::from_millis(100);

impl Io {
    /// Buffers have been short for 100 ms.
    pub(crate) fn relieve_pressure(&mut self) {
        self.pressed = false;
        if self.starved.iter().all(VecDeque::is_empty) {
            return;
        }
        // Sockets over their own share (B3) also queue up; only a real shortage hurts others.
        let short =
            |group: &Group| !self.starved[group.index()].is_empty() && self.is_short(*group);
        if Group::ALL.iter().any(short) {
            for key in self.longest_stalled() {
                self.relieve(key);
            }
        }
        self.pressed = true;
        self.wheel.set(self.pressure, Some(self.now + STALLED_FOR));
    }

    /// Sockets whose send is stuck and pins pages, the longest first.
    fn longest_stalled(&self) -> Vec<Key> {
        let stuck = |key: Key| {
            let socket = self.sockets.get(key)?;
            let active = socket.active.as_ref()?;
            let since = active.send_since?;
            let open = matches!(socket.phase, Phase::Open | Phase::Flushing);
            let still = self.now.saturating_duration_since(since) >= STALLED_FOR;
            // The charge of the block in flight is in pages while it pins any.
            let pins = active.queued() > active.stalled && !socket.is(Flag::COPY_OUT);
            (open && still && pins && active.send != NO_OP).then_some((since, key))
        };
        let mut found: Vec<_> = self.sockets.keys().into_iter().filter_map(stuck).collect();
        found.sort_by_key(|(since, key)| (*since, key.index));
        found.truncate(RELIEVED_MAX);
        found.into_iter().map(|(_, key)| key).collect()
    }

    fn relieve(&mut self, key: Key) {
        let spent = self.stats.stalled_bytes as usize;
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let Some(active) = &mut socket.active else {
            return;
        };
        let send = active.send;
        let len = self.ops.block_len(send) + active.building.as_ref().map_or(0, |b| b.len());
        if len > COPY_OUT_MAX || spent + len > self.limits.stalled_bytes {
            self.stats.buffer_pressure_closes += 1;
            self.cancel(send);
            if self.sockets.get(key).is_some_and(|socket| socket.phase == Phase::Flushing) {
                return self.begin_close(key);
            }
            if let Some(socket) = self.sockets.get_mut(key) {
                socket.set(Flag::RECV_FAILED, true);
            }
            return self.fail(key, libc::ENOBUFS);
        }
        if let Some(mut block) = active.building.take() {
            self.copy_out(key, &mut block);
            if let Some(active) = self.active(key) {
                active.building = Some(block);
            }
        }
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.set(Flag::COPY_OUT, true);
        }
        self.cancel(send);
    }

    /// Replaces a block's pages by a heap copy and accounts for it.
    pub(crate) fn copy_out(&mut self, key: Key, block: &mut SendBlock) {
        if block.pinned_bytes() == 0 {
            return;
        }
        block.copy_out(&mut self.trash);
        let len = block.len();
        self.stats.stalled_bytes += len as u64;
        if let Some(active) = self.active(key) {
            active.stalled += len;
        }
    }
}

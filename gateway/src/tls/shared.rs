//! What the TLS connections of a shard share: spare buffers, and whose turn a handshake is.

use std::cell::RefCell;
use std::rc::Rc;

use engine::Shard;

use super::handshakes::Handshakes;

/// One a shard.
pub(crate) struct Shared {
    spare: RefCell<Vec<Vec<u8>>>,
    pub(super) handshakes: Handshakes,
}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared { spare: RefCell::new(Vec::new()), handshakes: Handshakes::default() }
    }

    /// For a shard, with so many steps of handshakes a turn.
    pub(crate) fn of(shard: &Shard, steps_per_turn: u32) -> Rc<Shared> {
        let shared = Rc::new(Shared::new());
        shared.handshakes.run_on(shard, &shared);
        shared.set_steps(steps_per_turn);
        shared
    }

    /// How many steps of handshakes fit a turn from now on.
    pub(crate) fn set_steps(&self, steps_per_turn: u32) {
        self.handshakes.set_steps(steps_per_turn);
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back; one that grew large, or one too many, is freed.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        let worth = buffer.capacity() > 0 && buffer.capacity() <= BUFFER_BYTES_KEPT;
        if worth && spare.len() < BUFFERS_KEPT {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Spare buffers of a shard: with their largest size 2 MiB.
const BUFFERS_KEPT: usize = 16;
/// Two pages of the bulk group fit.
const BUFFER_BYTES_KEPT: usize = 128 * 1024;

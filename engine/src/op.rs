//! Operations in flight: one slab slot per submission, named by its `user_data`.
//!
//! A slot owns whatever the kernel may read until the *final* completion (I2): the send block or
//! the address moves in before the push and moves out only in [`Ops::complete`]. Dropping a future
//! or closing a socket never touches a slot; it submits a cancel, and the slot becomes an orphan
//! that ends by itself (I3). A stale completion finds no slot and is not followed (I4).
//! Cancels and closes have slots too, so slots in use = completions owed.
//! Cost: one slab insert and one remove an operation; no allocation in steady state.

use crate::buf::out::SendBlock;
use crate::net::address::RawAddress;
use crate::ring::{Cqe, Group, Request, Ring, SqFull, Wait};
use crate::slab::{Key, Slab};
use std::os::fd::RawFd;

/// What an op does. Accept and the eventfd poll are multishot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accept,
    RecvMulti,
    Recv { group: Group, poll_first: bool },
    Send,
    Connect,
    PollHup,
    PollIn,
    Cancel,
    Close,
}

/// What the kernel may read during the op.
#[derive(Debug, Default)]
pub(crate) enum Payload {
    #[default]
    None,
    Block(Box<SendBlock>),
    Address(Box<RawAddress>),
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    /// The socket or listener slot; it outlives the op.
    pub(crate) owner: Key,
    pub(crate) payload: Payload,
}

const _: () = assert!(size_of::<Op>() <= 32, "op slots are part of the idle budget");

/// All operations of a shard.
pub(crate) struct Ops {
    slots: Slab<Op>,
    /// Submissions and enters that a full queue forced, for the counters.
    pub(crate) sqes: u64,
    pub(crate) forced_enters: u64,
}

/// Names no op.
pub(crate) const NO_OP: u64 = 0;

impl Ops {
    pub(crate) fn new() -> Ops {
        Ops { slots: Slab::new(), sqes: 0, forced_enters: 0 }
    }

    /// Completions owed.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Submits one op. A full queue is handled here and nowhere else: enter without waiting, keep
    /// what completes in `early`, push again.
    pub(crate) fn submit(
        &mut self,
        ring: &mut Ring,
        early: &mut Vec<Cqe>,
        fd: RawFd,
        op: Op,
    ) -> u64 {
        let key = self.slots.insert(op);
        let user_data = key.pack();
        self.sqes += 1;
        // INVARIANT: the slot was filled two lines above.
        let op = self.slots.get(key).expect("a new op is in its slot");
        while ring.push(user_data, request(fd, op)) == Err(SqFull) {
            self.forced_enters += 1;
            make_room(ring, early);
        }
        user_data
    }

    /// Submits the cancellation of an op.
    pub(crate) fn cancel(&mut self, ring: &mut Ring, early: &mut Vec<Cqe>, target: u64) {
        let key = self.slots.insert(Op {
            kind: Kind::Cancel,
            owner: Key::unpack(NO_OP),
            payload: Payload::None,
        });
        self.sqes += 1;
        while ring.push(key.pack(), Request::Cancel { target }) == Err(SqFull) {
            self.forced_enters += 1;
            make_room(ring, early);
        }
    }

    /// The op a completion belongs to. A final completion takes it out of its slot, payload and
    /// all; None = stale.
    pub(crate) fn complete(&mut self, cqe: &Cqe) -> Option<Op> {
        let key = Key::unpack(cqe.user_data);
        if !cqe.more {
            return self.slots.remove(key);
        }
        let op = self.slots.get(key)?;
        // Only multishot ops have more completions, and they carry no payload.
        debug_assert!(matches!(op.payload, Payload::None));
        Some(Op { kind: op.kind, owner: op.owner, payload: Payload::None })
    }

    /// What a send in flight had left when it was submitted; None for anything else.
    pub(crate) fn block(&self, user_data: u64) -> Option<&SendBlock> {
        match self.slots.get(Key::unpack(user_data)).map(|op| &op.payload) {
            Some(Payload::Block(block)) => Some(block),
            _ => None,
        }
    }

    /// The group that an op receives into, for the simulator's audit.
    #[cfg(feature = "sim")]
    pub(crate) fn receives_into(&self, user_data: u64) -> Option<Group> {
        match self.slots.get(Key::unpack(user_data))?.kind {
            Kind::RecvMulti => Some(Group::Head),
            Kind::Recv { group, .. } => Some(group),
            _ => None,
        }
    }

    /// User data of the ops that belong to no socket and no listener.
    pub(crate) fn polls(&self) -> Vec<u64> {
        let own = |op: &Op| op.kind == Kind::PollIn;
        self.slots.iter().filter(|(_, op)| own(op)).map(|(key, _)| key.pack()).collect()
    }
}

/// Submits a full queue; completions that arrive meanwhile are kept for the turn.
fn make_room(ring: &mut Ring, early: &mut Vec<Cqe>) {
    if let Err(error) = ring.enter(Wait::No) {
        // Only programmer faults get here (EBADF, EFAULT, EINVAL): the shard cannot go on.
        panic!("io_uring_enter: {error}");
    }
    ring.reap(early);
}

fn request(fd: RawFd, op: &Op) -> Request<'_> {
    match (op.kind, &op.payload) {
        (Kind::Accept, _) => Request::Accept { fd },
        (Kind::RecvMulti, _) => Request::RecvMulti { fd, group: Group::Head },
        (Kind::Recv { group, poll_first }, _) => Request::Recv { fd, group, poll_first },
        (Kind::Send, Payload::Block(block)) => Request::Send { fd, block },
        (Kind::Connect, Payload::Address(address)) => Request::Connect { fd, address },
        (Kind::PollHup, _) => Request::PollHup { fd },
        (Kind::PollIn, _) => Request::PollIn { fd },
        (Kind::Close, _) => Request::Close { fd },
        (Kind::Cancel | Kind::Send | Kind::Connect, _) => {
            unreachable!("cancels have their own path; sends and connects carry a payload")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cqe(user_data: u64, more: bool) -> Cqe {
        Cqe { user_data, result: 0, more, buffer: None }
    }

    #[test]
    fn a_slot_lives_until_the_final_completion_and_a_stale_one_finds_nothing() {
        let mut ops = Ops::new();
        let op = Op { kind: Kind::RecvMulti, owner: Key::unpack(7), payload: Payload::None };
        let user_data = ops.slots.insert(op).pack();
        assert!(ops.complete(&cqe(user_data, true)).is_some());
        assert_eq!(ops.in_flight(), 1);
        assert!(ops.complete(&cqe(user_data, false)).is_some());
        assert_eq!(ops.in_flight(), 0);
        assert!(ops.complete(&cqe(user_data, false)).is_none());
    }
}

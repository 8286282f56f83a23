//! A socket's slot: the small part every socket has, and the boxed part of an active one.
//!
//! An idle keep-alive connection costs one [`Socket`]; inbox, send queue, waiters and close state
//! live in [`Active`], which comes from a free list and goes back when the socket is idle again.
//! Data only: the transitions are in `recv`, `send`, `close` and `connect`.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::RawFd;
use std::time::Instant;

use super::address::Address;
use crate::buf::out::SendBlock;
use crate::buf::slice::Buf;
use crate::op::NO_OP;
use crate::slab::Key;
use crate::task::raw::TaskId;

/// Where a socket is in its life.
///
/// ```text
/// Connecting -> Open -> Flushing -> Draining -> Closed
///      |          |         |           |          ^
///      +----------+---------+-----------+----------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The connect op is in flight.
    Connecting,
    /// Both queues work.
    Open,
    /// `finish`: the send queue empties; then SHUT_WR.
    Flushing,
    /// After SHUT_WR: received bytes are dropped until FIN, 256 KiB or the deadline.
    Draining,
    /// Cancels and CLOSE are submitted; the slot goes with the last final completion.
    Closed,
}

/// One bit each of [`Socket::flags`].
#[derive(Clone, Copy)]
pub(crate) struct Flag(u32);

impl Flag {
    /// The peer's FIN was received.
    pub(crate) const EOF: Flag = Flag(1);
    /// The poll said that the peer is gone.
    pub(crate) const HUNG_UP: Flag = Flag(1 << 1);
    /// Receives are single-shot into bulk pages; else multishot into head pages.
    pub(crate) const BULK: Flag = Flag(1 << 2);
    /// A task waits for bytes: a receive is to be armed.
    pub(crate) const WANT: Flag = Flag(1 << 3);
    /// `pause`: what the armed receive still delivers is kept, nothing is armed again.
    pub(crate) const PAUSED: Flag = Flag(1 << 4);
    /// The receive op in flight is a multishot.
    pub(crate) const MULTI: Flag = Flag(1 << 5);
    /// The receive op in flight was cancelled.
    pub(crate) const CANCELLING: Flag = Flag(1 << 6);
    /// In the dirty list of this turn.
    pub(crate) const DIRTY: Flag = Flag(1 << 7);
    /// In a group's queue of sockets that found no buffer.
    pub(crate) const STARVED: Flag = Flag(1 << 8);
    /// In a list of sockets whose inbox must be empty soon (B1).
    pub(crate) const AGING: Flag = Flag(1 << 9);
    /// SHUT_WR is to follow the queue.
    pub(crate) const SHUT: Flag = Flag(1 << 10);
    /// SHUT_WR was done.
    pub(crate) const SHUT_DONE: Flag = Flag(1 << 11);
    /// We connected it.
    pub(crate) const OUTBOUND: Flag = Flag(1 << 12);
    /// No handle any more, or an inert one.
    pub(crate) const DETACHED: Flag = Flag(1 << 13);
    /// Bytes are known to wait in the kernel: no POLL_FIRST.
    pub(crate) const READY: Flag = Flag(1 << 14);
    /// The send in flight was cancelled to copy its rest out (B4).
    pub(crate) const COPY_OUT: Flag = Flag(1 << 15);
    /// `into_fd` waits for the last op to end.
    pub(crate) const LEAVING: Flag = Flag(1 << 16);
    /// Receiving failed. A failed send alone does not: the peer's last words may still be there.
    pub(crate) const RECV_FAILED: Flag = Flag(1 << 17);
    /// An end of stream that may be a reset: the send in flight will tell.
    pub(crate) const FIN_HELD: Flag = Flag(1 << 18);
    /// Something was sent since the last bytes came: what comes next begins an answer.
    pub(crate) const ASKED: Flag = Flag(1 << 19);
}

/// The small part.
pub(crate) struct Socket {
    pub(crate) fd: RawFd,
    pub(crate) phase: Phase,
    /// Ops in flight that name this slot: receive, send, poll, connect, close.
    pub(crate) ops: u8,
    flags: u32,
    /// The receive op in flight.
    pub(crate) recv: u64,
    /// Who waits for bytes, for the connect, or for the ops to end.
    pub(crate) reader: TaskId,
    pub(crate) peer: Peer,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) active: Option<Box<Active>>,
    pub(crate) route: u32,
    /// Milliseconds after the shard's start.
    pub(crate) opened_ms: u32,
    /// Why the socket failed; 0 = it has not.
    pub(crate) errno: i32,
    pub(crate) protocol: u8,
    pub(crate) state: u8,
}

const _: () = assert!(size_of::<Socket>() <= 96, "the idle budget allows a slot of 128 bytes");

impl Socket {
    pub(crate) fn new(fd: RawFd, phase: Phase, peer: Peer, opened_ms: u32) -> Socket {
        Socket {
            fd,
            phase,
            ops: 0,
            flags: 0,
            recv: NO_OP,
            reader: TaskId::NONE,
            peer,
            bytes_in: 0,
            bytes_out: 0,
            active: None,
            route: u32::MAX,
            opened_ms,
            errno: 0,
            protocol: 0,
            state: 0,
        }
    }

    pub(crate) fn is(&self, flag: Flag) -> bool {
        self.flags & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Flag, on: bool) {
        if on {
            self.flags |= flag.0;
        } else {
            self.flags &= !flag.0;
        }
    }

    /// Bytes charged to the send queue.
    pub(crate) fn queued(&self) -> usize {
        self.active.as_ref().map_or(0, |active| active.queued())
    }

    /// Pages and heap that both queues keep alive, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.active.as_ref().map_or(0, |active| active.queued() + active.inbox_bytes)
    }

    /// Nothing waits to be sent and nothing is being sent.
    pub(crate) fn flushed(&self) -> bool {
        self.active.as_ref().is_none_or(|active| active.flushed())
    }
}

/// The part of a socket that does something.
pub(crate) struct Active {
    pub(crate) inbox: VecDeque<Buf>,
    /// Capacity that the inbox keeps alive, in bytes.
    pub(crate) inbox_bytes: usize,
    pub(crate) building: Option<Box<SendBlock>>,
    /// The send op in flight.
    pub(crate) send: u64,
    /// Charge of the block in flight.
    pub(crate) in_flight: usize,
    /// Since when the send in flight has made no progress.
    pub(crate) send_since: Option<Instant>,
    /// The hang-up poll in flight.
    pub(crate) poll: u64,
    pub(crate) room_waiter: TaskId,
    pub(crate) flush_waiter: TaskId,
    pub(crate) hangup_waiter: TaskId,
    /// Of the block in flight: bytes that were copied to the heap under pressure, and bytes that
    /// will be once it is cancelled.
    pub(crate) copied: usize,
    pub(crate) copying: usize,
    /// `finish`: the timer, and what the drain has dropped.
    pub(crate) timer: Option<Key>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) drained: usize,
}

impl Active {
    pub(crate) fn new() -> Active {
        Active {
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            building: None,
            send: NO_OP,
            in_flight: 0,
            send_since: None,
            poll: NO_OP,
            room_waiter: TaskId::NONE,
            flush_waiter: TaskId::NONE,
            hangup_waiter: TaskId::NONE,
            copied: 0,
            copying: 0,
            timer: None,
            deadline: None,
            drained: 0,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.in_flight + self.building.as_ref().map_or(0, |block| block.charge())
    }

    /// Heap that the queue was copied to under pressure, in bytes.
    pub(crate) fn stalled(&self) -> usize {
        self.copied + self.building.as_ref().map_or(0, |block| block.copied())
    }

    pub(crate) fn flushed(&self) -> bool {
        self.send == NO_OP && self.building.as_ref().is_none_or(|block| block.is_empty())
    }

    pub(crate) fn push_back(&mut self, buf: Buf) {
        self.inbox_bytes += buf.capacity();
        self.inbox.push_back(buf);
    }

    pub(crate) fn push_front(&mut self, buf: Buf) {
        self.inbox_bytes += buf.capacity();
        self.inbox.push_front(buf);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Buf> {
        let buf = self.inbox.pop_front()?;
        self.inbox_bytes -= buf.capacity();
        Some(buf)
    }

    /// Nothing here that an idle socket could not do without. The hang-up waiter counts only if
    /// it is not the reader, whom FIN wakes anyway.
    pub(crate) fn is_idle(&self, reader: TaskId) -> bool {
        self.inbox.is_empty()
            && self.flushed()
            && self.poll == NO_OP
            && self.timer.is_none()
            && self.room_waiter == TaskId::NONE
            && self.flush_waiter == TaskId::NONE
            && (self.hangup_waiter == TaskId::NONE || self.hangup_waiter == reader)
    }
}

/// A peer in 16 bytes; the rare forms are boxed.
#[derive(Clone)]
pub(crate) enum Peer {
    V4(SocketAddrV4),
    Other(Box<Address>),
}

impl Peer {
    pub(crate) fn new(address: Address) -> Peer {
        match address {
            Address::Inet(std::net::SocketAddr::V4(v4)) => Peer::V4(v4),
            other => Peer::Other(Box::new(other)),
        }
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Peer::V4(v4) => Address::Inet((*v4).into()),
            Peer::Other(address) => Address::clone(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_inside_the_idle_budget() {
        assert!(size_of::<Socket>() <= 96, "{}", size_of::<Socket>());
        assert!(size_of::<Peer>() <= 16);
        assert!(size_of::<Active>() <= 192, "{}", size_of::<Active>());
    }

    #[test]
    fn a_peer_comes_back_as_it_was() {
        for text in ["1.2.3.4:5", "[::1]:5", "unix:/x"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(Peer::new(address.clone()).address(), address);
        }
    }
}

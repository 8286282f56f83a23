//! The driver's side of the simulated network: far ends, the clock, and what has happened so far.
//!
//! `Net` is a handle that the shard's ring and the test share. A `Peer` is a far end played by the
//! test: everything it does takes effect at once at its own end and reaches the shard after the
//! network's delay. Nothing here blocks; a driver alternates `Runtime::turn` with its own steps.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::faults::{Faults, Fired};
use super::world::{Node, Owner, Readable, World};
use crate::net::address::Address;
use crate::net::bind::BoundListener;

/// A simulated network with a virtual clock; clones are handles to the same one.
#[derive(Clone)]
pub struct Net {
    world: Rc<RefCell<World>>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world.borrow();
        f.debug_struct("Net").field("nanos", &world.nanos).field("ends", &world.ends.len()).finish()
    }
}

impl Net {
    /// An empty network at virtual time zero, with its own stream of chance.
    #[allow(clippy::disallowed_methods)] // The virtual clock needs one real instant to count from.
    pub fn new(seed: u64, faults: Faults) -> Net {
        Net { world: Rc::new(RefCell::new(World::new(Instant::now(), seed, faults))) }
    }

    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    /// Virtual time as an instant.
    pub fn now(&self) -> Instant {
        let world = self.world.borrow();
        world.base + Duration::from_nanos(world.nanos)
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.world.borrow().nanos)
    }

    /// Asks the clock not to jump over `after` from now: a waiting shard returns there.
    pub fn alarm(&self, after: Duration) {
        let mut world = self.world();
        let at = world.nanos + after.as_nanos() as u64;
        world.set_alarm(at);
    }

    /// True when an event is still to happen on the network.
    pub fn pending(&self) -> bool {
        self.world.borrow().next_event().is_some()
    }

    /// Replaces the faults from here on, for instance by none to let a run end quietly.
    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// How often each fault has fired.
    pub fn fired(&self) -> Fired {
        self.world.borrow().fired
    }

    /// A hash of everything that has happened; equal for equal seeds.
    pub fn trace_hash(&self) -> u64 {
        self.world.borrow().trace
    }

    /// Folds a word of the driver's own into the trace hash.
    pub fn note(&self, word: u64) {
        self.world().note(&[word]);
    }

    /// Simulated descriptors that are open.
    pub fn descriptors(&self) -> usize {
        self.world.borrow().files_open()
    }

    /// A far end that starts connecting to `address`.
    pub fn connect(&self, address: &Address) -> Peer {
        let mut world = self.world();
        let end = world.new_end(Owner::Driver);
        world.retain(Node::End(end));
        world.start_connect(end, address.clone());
        Peer { net: self.clone(), end }
    }

    /// A far listener, for connections that the shard opens.
    pub fn listen(&self, address: &Address) -> PeerListener {
        let mut world = self.world();
        let listener = world.new_listener(Owner::Driver, address);
        world.retain(Node::Listener(listener));
        PeerListener { net: self.clone(), listener }
    }

    /// A listening socket for the shard, as the main thread would have bound it.
    pub fn bind(&self, address: &Address) -> BoundListener {
        BoundListener::simulated(self.listen_fd(address), address.clone())
    }

    /// A listening descriptor for the shard.
    pub(super) fn listen_fd(&self, address: &Address) -> i32 {
        let mut world = self.world();
        let listener = world.new_listener(Owner::Shard, address);
        world.open_file(Node::Listener(listener))
    }
}

/// What one read of a far end found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes appended by this read.
    pub bytes: usize,
    /// The shard's end has sent FIN and everything before it has been read.
    pub eof: bool,
    /// The connection was reset.
    pub reset: bool,
}

/// A connection's far end. Dropping it closes it.
pub struct Peer {
    net: Net,
    end: usize,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.end)
    }
}

impl Peer {
    /// None while connecting, then whether it succeeded.
    pub fn connected(&self) -> Option<bool> {
        self.net.world.borrow().ends[self.end].connected.map(|errno| errno == 0)
    }

    /// A number for this connection, unique in its network.
    pub fn id(&self) -> usize {
        self.end
    }

    /// The shard's address, once connected.
    pub fn remote(&self) -> Option<Address> {
        self.net.world.borrow().ends[self.end].remote.clone()
    }

    /// Sends what fits into the socket buffer and returns how much that was, bytes. Zero when the
    /// connection is not open, full, shut or reset.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut world = self.net.world();
        let end = &world.ends[self.end];
        if end.connected != Some(0) || end.dead || end.write_shut {
            return 0;
        }
        let mut left = &bytes[..bytes.len().min(world.space(self.end))];
        let sent = left.len();
        // Several segments, so that a shard sees a message in pieces.
        while !left.is_empty() {
            let cut = if world.rng.chance(700_000) {
                left.len()
            } else {
                let length = left.len();
                world.rng.size(length)
            };
            let (segment, rest) = left.split_at(cut);
            world.transmit(self.end, segment);
            left = rest;
        }
        sent
    }

    /// Appends everything received to `into`, at most `max` bytes, and says what state the
    /// connection is in.
    pub fn read_up_to(&self, into: &mut Vec<u8>, max: usize) -> Seen {
        let mut world = self.net.world();
        if max == 0 {
            return Seen::default();
        }
        let found = world.readable(self.end);
        let mut seen = Seen { reset: world.ends[self.end].was_reset, ..Seen::default() };
        match found {
            Readable::Bytes(_) => {
                let bytes = world.take(self.end, max);
                seen.bytes = bytes.len();
                // The reset shows only after what was queued before it.
                seen.reset = false;
                into.extend(bytes);
            }
            Readable::Eof => seen.eof = !seen.reset || world.ends[self.end].fin,
            Readable::Error(_) | Readable::Nothing => {}
        }
        seen
    }

    /// `read_up_to` without a limit.
    pub fn read(&self, into: &mut Vec<u8>) -> Seen {
        self.read_up_to(into, usize::MAX)
    }

    /// The connection was reset, whatever lies unread.
    pub fn was_reset(&self) -> bool {
        self.net.world.borrow().ends[self.end].was_reset
    }

    /// Bytes that have arrived and were not read.
    pub fn unread(&self) -> usize {
        self.net.world.borrow().ends[self.end].received.len()
    }

    /// Sets how many bytes may be outstanding towards this end beyond the sender's buffer.
    pub fn set_window(&self, bytes: usize) {
        let mut world = self.net.world();
        world.ends[self.end].window = bytes;
        if let Some(peer) = world.ends[self.end].peer {
            world.dirty.insert(Node::End(peer));
        }
    }

    /// Sends FIN and keeps reading.
    pub fn shut_write(&self) {
        // A connection that is not open has nothing to shut.
        let _ = self.net.world().shut_write(self.end);
    }

    /// Closes as close(2) does: RST when unread bytes lie here, else FIN.
    pub fn close(self) {}

    /// Closes with RST.
    pub fn reset(self) {
        self.net.world().ends[self.end].linger_zero = true;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.net.world().release(Node::End(self.end));
    }
}

/// A far listener. Dropping it refuses further connects.
pub struct PeerListener {
    net: Net,
    listener: usize,
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerListener({})", self.listener)
    }
}

impl PeerListener {
    /// The next connection that the shard opened, if one has arrived.
    pub fn accept(&self) -> Option<Peer> {
        // The reference that the backlog held moves to the handle.
        let end = self.net.world().listeners[self.listener].backlog.pop_front()?;
        Some(Peer { net: self.net.clone(), end })
    }
}

impl Drop for PeerListener {
    fn drop(&mut self) {
        self.net.world().release(Node::Listener(self.listener));
    }
}

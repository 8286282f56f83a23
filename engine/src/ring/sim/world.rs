//! The simulated network and clock: connections, listeners, descriptors and everything under way.
//!
//! It knows nothing of SQEs and buffers (`ops.rs` does) nor of who drives a far end (`net.rs`).
//! Invariants: bytes of one direction arrive in order and once; data queued at an end is read
//! before the reset that followed it; a pending socket error is reported once, to whichever call
//! asks first, as Linux does; an end is closed when its last reference (descriptor, op in flight,
//! driver handle) is gone, not when its descriptor is. Time is virtual and only `advance` moves it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::faults::{Fault, Faults, Fired, Rng};
use crate::net::address::Address;

/// First simulated descriptor number: high, so that a stray system call on one fails.
pub(super) const FD_FIRST: i32 = 100_000;

/// What a descriptor, an op or a wake-up refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    /// One end of a connection, perhaps not connected yet.
    End(usize),
    /// A listening socket.
    Listener(usize),
    /// An eventfd: of the real kernel's, never readable here.
    Event,
}

/// Who reads and writes an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Shard,
    Driver,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) owner: Owner,
    pub(super) local: Option<Address>,
    pub(super) remote: Option<Address>,
    /// The other end, once there is one.
    pub(super) peer: Option<usize>,
    /// The outcome of connecting: errno or zero, once known.
    pub(super) connected: Option<i32>,
    pub(super) received: VecDeque<u8>,
    /// The other side's FIN has arrived.
    pub(super) fin: bool,
    /// A pending error, reported once.
    error: Option<i32>,
    /// Reset: nothing is sent or received any more.
    pub(super) dead: bool,
    /// For the driver, who may ask more than once.
    pub(super) was_reset: bool,
    pub(super) write_shut: bool,
    pub(super) closed: bool,
    pub(super) linger_zero: bool,
    /// Sent from here and not yet read over there, bytes.
    in_flight: usize,
    /// Bytes the other side may have outstanding beyond its own send buffer.
    pub(super) window: usize,
    send_buffer: usize,
    /// Nothing sent from here arrives any more.
    hole: bool,
    latency_ns: u64,
    /// When the last segment from here arrives; later ones never overtake it.
    last_arrival: u64,
    refs: u32,
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) owner: Owner,
    pub(super) address: Address,
    pub(super) backlog: VecDeque<usize>,
    pub(super) open: bool,
    refs: u32,
}

#[derive(Debug)]
enum Event {
    Data { to: usize, bytes: Vec<u8> },
    Fin { to: usize },
    Reset { to: usize },
    Connect { end: usize, to: Address },
    Refuse { end: usize, errno: i32 },
    Established { end: usize },
}

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readable {
    Bytes(usize),
    Eof,
    Error(i32),
    Nothing,
}

/// Everything shared by a simulated shard and its driver.
#[derive(Debug)]
pub(super) struct World {
    pub(super) base: Instant,
    pub(super) nanos: u64,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) fired: Fired,
    pub(super) trace: u64,
    events: BTreeMap<(u64, u64), Event>,
    event_seq: u64,
    /// Times at which the driver wants to act.
    alarms: BTreeSet<u64>,
    pub(super) ends: Vec<End>,
    pub(super) listeners: Vec<Listener>,
    files: Vec<Option<Node>>,
    /// Nodes on which a waiting op may now get on.
    pub(super) dirty: BTreeSet<Node>,
    next_port: u32,
}

impl World {
    pub(super) fn new(base: Instant, seed: u64, faults: Faults) -> World {
        World {
            base,
            nanos: 0,
            rng: Rng::new(seed),
            faults,
            fired: Fired::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            events: BTreeMap::new(),
            event_seq: 0,
            alarms: BTreeSet::new(),
            ends: Vec::new(),
            listeners: Vec::new(),
            files: Vec::new(),
            dirty: BTreeSet::new(),
            next_port: 20_000,
        }
    }

    /// Folds words into the hash of everything that happened.
    pub(super) fn note(&mut self, words: &[u64]) {
        for word in words {
            self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Decides whether a fault happens now, and counts it if so.
    pub(super) fn roll(&mut self, kind: Fault) -> bool {
        let rate = self.faults.rate(kind);
        let happens = self.rng.chance(rate);
        if happens {
            self.fired.add(kind);
        }
        happens
    }

    // Descriptors: the lowest free number is reused, as in a process.

    pub(super) fn open_file(&mut self, node: Node) -> i32 {
        self.retain(node);
        let free = self.files.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.files.push(None);
            self.files.len() - 1
        });
        self.files[index] = Some(node);
        FD_FIRST + index as i32
    }

    pub(super) fn file(&self, fd: i32) -> Option<Node> {
        let index = usize::try_from(fd.checked_sub(FD_FIRST)?).ok()?;
        self.files.get(index).copied().flatten()
    }

    /// Closes a descriptor; false when it was not open.
    pub(super) fn close_file(&mut self, fd: i32) -> bool {
        let Some(node) = self.file(fd) else { return false };
        self.files[(fd - FD_FIRST) as usize] = None;
        self.release(node);
        true
    }

    pub(super) fn files_open(&self) -> usize {
        self.files.iter().flatten().count()
    }

    pub(super) fn retain(&mut self, node: Node) {
        match node {
            Node::End(end) => self.ends[end].refs += 1,
            Node::Listener(listener) => self.listeners[listener].refs += 1,
            Node::Event => {}
        }
    }

    /// Gives a reference back; the last one closes the socket.
    pub(super) fn release(&mut self, node: Node) {
        match node {
            Node::End(end) => {
                self.ends[end].refs -= 1;
                if self.ends[end].refs == 0 {
                    self.close_end(end);
                }
            }
            Node::Listener(listener) => {
                self.listeners[listener].refs -= 1;
                if self.listeners[listener].refs == 0 {
                    self.close_listener(listener);
                }
            }
            Node::Event => {}
        }
    }

    // Making sockets.

    pub(super) fn new_end(&mut self, owner: Owner) -> usize {
        let send_buffer = self.faults.send_buffer_bytes;
        let latency_ns = 1_000 << self.rng.below(12);
        self.ends.push(End {
            owner,
            local: None,
            remote: None,
            peer: None,
            connected: None,
            received: VecDeque::new(),
            fin: false,
            error: None,
            dead: false,
            was_reset: false,
            write_shut: false,
            closed: false,
            linger_zero: false,
            in_flight: 0,
            window: send_buffer,
            send_buffer,
            hole: false,
            latency_ns,
            last_arrival: 0,
            refs: 0,
        });
        self.ends.len() - 1
    }

    pub(super) fn new_listener(&mut self, owner: Owner, address: &Address) -> usize {
        self.listeners.push(Listener {
            owner,
            address: address.clone(),
            backlog: VecDeque::new(),
            open: true,
            refs: 0,
        });
        self.listeners.len() - 1
    }

    fn close_listener(&mut self, listener: usize) {
        self.listeners[listener].open = false;
        while let Some(end) = self.listeners[listener].backlog.pop_front() {
            self.ends[end].linger_zero = true;
            self.release(Node::End(end));
        }
    }

    // Connecting.

    /// Starts connecting; the outcome is stored in `connected` and the node becomes dirty.
    pub(super) fn start_connect(&mut self, end: usize, to: Address) {
        let delay = self.latency(end);
        if self.ends[end].owner == Owner::Shard {
            if self.roll(Fault::ConnectSilent) {
                return;
            }
            if self.roll(Fault::ConnectRefused) {
                self.schedule(delay, Event::Refuse { end, errno: libc::ECONNREFUSED });
                return;
            }
        }
        self.schedule(delay, Event::Connect { end, to });
    }

    fn arrive_at_listener(&mut self, end: usize, to: Address) {
        let delay = self.latency(end);
        let listener = self.listeners.iter().position(|l| l.open && l.address == to);
        let Some(listener) = listener else {
            self.schedule(delay, Event::Refuse { end, errno: libc::ECONNREFUSED });
            return;
        };
        if self.ends[end].closed {
            return;
        }
        let accepted = self.new_end(self.listeners[listener].owner);
        let port = self.next_port;
        self.next_port += 1;
        let from: Option<Address> = format!("127.0.0.1:{}", port % 65_536).parse().ok();
        self.ends[end].local = from.clone();
        self.ends[end].remote = Some(to.clone());
        self.ends[end].peer = Some(accepted);
        self.ends[accepted].local = Some(to);
        self.ends[accepted].remote = from;
        self.ends[accepted].peer = Some(end);
        self.ends[accepted].connected = Some(0);
        self.ends[accepted].latency_ns = self.ends[end].latency_ns;
        // The backlog holds it until somebody accepts.
        self.retain(Node::End(accepted));
        self.listeners[listener].backlog.push_back(accepted);
        self.dirty.insert(Node::Listener(listener));
        self.schedule(delay, Event::Established { end });
    }

    // Sending and receiving.

    fn latency(&mut self, end: usize) -> u64 {
        let jitter = self.rng.below(self.faults.delay_max_ns.max(1));
        self.ends[end].latency_ns + jitter
    }

    fn schedule(&mut self, delay_ns: u64, event: Event) {
        self.event_seq += 1;
        self.events.insert((self.nanos + delay_ns, self.event_seq), event);
    }

    /// Schedules behind everything already sent from `from`.
    fn schedule_in_order(&mut self, from: usize, event: Event) {
        if self.ends[from].hole {
            return;
        }
        let at = (self.nanos + self.latency(from)).max(self.ends[from].last_arrival);
        self.ends[from].last_arrival = at;
        self.schedule(at - self.nanos, event);
    }

    /// Bytes that this end may send now.
    pub(super) fn space(&self, end: usize) -> usize {
        let sender = &self.ends[end];
        let Some(peer) = sender.peer else { return 0 };
        let limit = sender.send_buffer + self.ends[peer].window;
        limit.saturating_sub(sender.in_flight)
    }

    /// What stops this end from sending, as an errno. A pending error is consumed, unless `partly`:
    /// a call that has sent something reports that, and the error waits for the next.
    pub(super) fn send_error(&mut self, end: usize, partly: bool) -> Option<i32> {
        let socket = &mut self.ends[end];
        if let Some(errno) = if partly { socket.error } else { socket.error.take() } {
            return Some(errno);
        }
        if socket.peer.is_none() {
            return Some(libc::ENOTCONN);
        }
        (socket.dead || socket.write_shut).then_some(libc::EPIPE)
    }

    /// Puts bytes on the wire. The caller has checked `space`.
    pub(super) fn transmit(&mut self, end: usize, bytes: &[u8]) {
        let Some(to) = self.ends[end].peer else { return };
        self.note(&[1, end as u64, bytes.len() as u64, checksum(bytes)]);
        self.ends[end].in_flight += bytes.len();
        if self.ends[end].owner == Owner::Shard || self.ends[to].owner == Owner::Shard {
            if self.roll(Fault::Blackhole) {
                self.ends[end].hole = true;
                self.ends[to].hole = true;
            }
            if self.roll(Fault::Reset) {
                self.schedule_in_order(end, Event::Reset { to });
                self.schedule_in_order(to, Event::Reset { to: end });
                return;
            }
        }
        self.schedule_in_order(end, Event::Data { to, bytes: bytes.to_vec() });
    }

    /// What a read at this end would find; a pending error is consumed.
    pub(super) fn readable(&mut self, end: usize) -> Readable {
        let socket = &mut self.ends[end];
        if !socket.received.is_empty() {
            return Readable::Bytes(socket.received.len());
        }
        if socket.fin {
            return Readable::Eof;
        }
        if let Some(errno) = socket.error.take() {
            return Readable::Error(errno);
        }
        if socket.dead {
            return Readable::Eof;
        }
        Readable::Nothing
    }

    /// Removes up to `max` received bytes, which opens the other side's window.
    pub(super) fn take(&mut self, end: usize, max: usize) -> Vec<u8> {
        let count = max.min(self.ends[end].received.len());
        let bytes: Vec<u8> = self.ends[end].received.drain(..count).collect();
        self.note(&[2, end as u64, count as u64, checksum(&bytes)]);
        if let Some(peer) = self.ends[end].peer {
            self.ends[peer].in_flight -= count;
            self.dirty.insert(Node::End(peer));
        }
        bytes
    }

    /// What poll(2) for RDHUP reports, zero for nothing.
    pub(super) fn hangup_mask(&self, end: usize) -> i32 {
        let socket = &self.ends[end];
        let mut mask = 0;
        if socket.fin || socket.dead {
            mask |= i32::from(libc::POLLRDHUP);
        }
        if socket.dead || (socket.fin && socket.write_shut) {
            mask |= i32::from(libc::POLLHUP);
        }
        if socket.error.is_some() {
            mask |= i32::from(libc::POLLERR);
        }
        mask
    }

    /// SHUT_WR: a FIN behind what was sent. An errno when the socket is not connected.
    pub(super) fn shut_write(&mut self, end: usize) -> Result<(), i32> {
        let Some(to) = self.ends[end].peer else { return Err(libc::ENOTCONN) };
        if self.ends[end].dead {
            return Err(libc::ENOTCONN);
        }
        if !self.ends[end].write_shut {
            self.ends[end].write_shut = true;
            self.schedule_in_order(end, Event::Fin { to });
            self.dirty.insert(Node::End(end));
        }
        Ok(())
    }

    /// The last reference is gone: FIN, or RST when bytes lie unread or lingering is off.
    fn close_end(&mut self, end: usize) {
        self.note(&[3, end as u64]);
        let rude = self.ends[end].linger_zero || !self.ends[end].received.is_empty();
        self.ends[end].closed = true;
        self.ends[end].received = VecDeque::new();
        let Some(to) = self.ends[end].peer else { return };
        if self.ends[end].dead {
            return;
        }
        if rude {
            self.ends[end].dead = true;
            self.schedule_in_order(end, Event::Reset { to });
        } else if !self.ends[end].write_shut {
            self.ends[end].write_shut = true;
            self.schedule_in_order(end, Event::Fin { to });
        }
    }

    // Time.

    pub(super) fn set_alarm(&mut self, at_ns: u64) {
        self.alarms.insert(at_ns);
    }

    /// When the next event is due, virtual nanoseconds.
    pub(super) fn next_event(&self) -> Option<u64> {
        let event = self.events.keys().next().map(|key| key.0);
        event.into_iter().chain(self.alarms.first().copied()).min()
    }

    /// Moves the clock, never back.
    pub(super) fn advance(&mut self, to_ns: u64) {
        self.nanos = self.nanos.max(to_ns);
    }

    /// Lets everything happen that is due.
    pub(super) fn run_due(&mut self) {
        while self.alarms.first().is_some_and(|at| *at <= self.nanos) {
            self.alarms.pop_first();
        }
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.nanos {
                return;
            }
            let event = entry.remove();
            self.happen(event);
        }
    }

    /// Lets the next arrival at this node happen now, ahead of its time. False when none is under
    /// way.
    pub(super) fn hurry(&mut self, node: Node) -> bool {
        let concerns = |event: &Event| match (event, node) {
            (Event::Data { to, .. } | Event::Fin { to } | Event::Reset { to }, Node::End(end)) => {
                *to == end
            }
            (Event::Connect { to, .. }, Node::Listener(at)) => self.listeners[at].address == *to,
            _ => false,
        };
        // Only what is next in its direction: a reset stands for bytes that were lost.
        let found = self.events.iter().find(|(_, event)| concerns(event));
        let found = found.filter(|(_, e)| matches!(e, Event::Data { .. } | Event::Connect { .. }));
        let Some((&key, _)) = found else { return false };
        if let Some(event) = self.events.remove(&key) {
            self.happen(event);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Data { to, bytes } => self.data_arrives(to, bytes),
            Event::Fin { to } => {
                if !self.ends[to].dead && !self.ends[to].closed {
                    self.ends[to].fin = true;
                    self.dirty.insert(Node::End(to));
                }
            }
            Event::Reset { to } => self.reset_arrives(to),
            Event::Connect { end, to } => self.arrive_at_listener(end, to),
            Event::Refuse { end, errno } => self.settle_connect(end, errno),
            Event::Established { end } => self.settle_connect(end, 0),
        }
    }

    fn settle_connect(&mut self, end: usize, errno: i32) {
        if self.ends[end].connected.is_none() {
            self.ends[end].connected = Some(errno);
            self.dirty.insert(Node::End(end));
        }
    }

    fn data_arrives(&mut self, to: usize, bytes: Vec<u8>) {
        let socket = &mut self.ends[to];
        if socket.dead {
            return;
        }
        if socket.closed {
            // Nobody will read this: the kernel answers with a reset.
            socket.dead = true;
            if let Some(from) = self.ends[to].peer {
                self.schedule_in_order(to, Event::Reset { to: from });
            }
            return;
        }
        socket.received.extend(bytes);
        self.dirty.insert(Node::End(to));
    }

    fn reset_arrives(&mut self, to: usize) {
        let socket = &mut self.ends[to];
        if socket.dead {
            return;
        }
        socket.dead = true;
        socket.was_reset = true;
        // After a FIN, Linux reports EPIPE where it would have said ECONNRESET.
        socket.error = Some(if socket.fin { libc::EPIPE } else { libc::ECONNRESET });
        self.dirty.insert(Node::End(to));
    }
}

/// A checksum for the trace hash, not for safety.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0x9e37_79b9, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

//! Caps on client connections that hold for the whole process, whatever shard accepted them.
//!
//! One value, shared by all shards and the control threads: connections of the process, of each
//! listener and of each source, and whether memory is short. It is touched at accept and at close,
//! never by a request. A refusal is a reason word of the family `connection_closes`.
//!
//! Counts are exact: each is raised by compare-and-swap below its limit. Sources have the error
//! bounds of `sources.rs`. A source is asked for apart from the rest ([`Caps::admit`]), because it
//! may become known only after the accept, as with an address from a PROXY head.
//! Cost: two compare-and-swaps at accept, two subtractions at close, and those of the source.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::sources::{Admission, LazySources, Place};

/// What all shards share about client connections.
pub struct Caps {
    open: AtomicU32,
    /// Connections that the descriptors of the process allow.
    descriptors_max: AtomicU32,
    listeners: Box<[AtomicU32]>,
    sources: LazySources,
    shedding: AtomicBool,
}

/// The limits that a new connection meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) conns_max: u32,
    pub(crate) listener_max: Option<u32>,
    pub(crate) source_max: Option<u32>,
}

/// What one connection is counted in. To be given back by [`Caps::leave`].
#[derive(Debug)]
#[must_use = "a connection that is counted must leave"]
pub(crate) struct Ticket {
    listener: u32,
    source: Option<Place>,
}

impl Caps {
    /// For a process with so many listeners. `key` hides where a source is counted; it must be
    /// random.
    pub fn new(listeners: usize, key: [u64; 2]) -> Caps {
        Caps {
            open: AtomicU32::new(0),
            descriptors_max: AtomicU32::new(u32::MAX),
            listeners: (0..listeners).map(|_| AtomicU32::new(0)).collect(),
            sources: LazySources::new(key),
            shedding: AtomicBool::new(false),
        }
    }

    /// Says how many client connections the descriptors of the process allow.
    pub fn set_descriptors_max(&self, conns_max: u32) {
        self.descriptors_max.store(conns_max, Relaxed);
    }

    /// Counts sources from the next connection on. Allocates: for control threads.
    pub fn count_sources(&self, conns_max: u32) {
        self.sources.enable(conns_max as usize);
    }

    /// Says whether memory is short: idle connections are closed and new ones refused while it is.
    pub fn set_shedding(&self, shedding: bool) {
        self.shedding.store(shedding, Relaxed);
    }

    /// Whether memory is short.
    pub fn is_shedding(&self) -> bool {
        self.shedding.load(Relaxed)
    }

    /// Client connections of the process.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Counts a connection that a listener has accepted.
    ///
    /// # Errors
    /// The reason word of the cap that is reached; nothing is counted then.
    pub(crate) fn enter(&self, listener: u32, limits: &Limits) -> Result<Ticket, &'static str> {
        if self.is_shedding() {
            return Err("mem_limit");
        }
        let by_descriptors = self.descriptors_max.load(Relaxed);
        if !raise(&self.open, limits.conns_max.min(by_descriptors)) {
            let configured = limits.conns_max <= by_descriptors;
            return Err(if configured { "conns_max" } else { "fd_reserve" });
        }
        let of_listener = self.listeners.get(listener as usize);
        let limit = limits.listener_max.unwrap_or(u32::MAX);
        if of_listener.is_some_and(|count| !raise(count, limit)) {
            self.open.fetch_sub(1, Relaxed);
            return Err("conns_max_listener");
        }
        Ok(Ticket { listener, source: None })
    }

    /// Counts a connection for its source, once that is known.
    ///
    /// # Errors
    /// The reason word; the ticket still has to leave.
    pub(crate) fn admit(
        &self,
        ticket: &mut Ticket,
        source: IpAddr,
        limit: Option<u32>,
    ) -> Result<(), &'static str> {
        let Some(sources) = self.sources.table() else { return Ok(()) };
        // Without a limit they are counted all the same, so that a reload that sets one is exact.
        match sources.admit(source, limit.unwrap_or(u32::MAX)) {
            Admission::Counted(place) => ticket.source = Some(place),
            Admission::Uncounted => {}
            Admission::Full => return Err("conns_max_per_source"),
        }
        Ok(())
    }

    /// The connection is gone.
    pub(crate) fn leave(&self, ticket: Ticket) {
        self.open.fetch_sub(1, Relaxed);
        if let Some(count) = self.listeners.get(ticket.listener as usize) {
            count.fetch_sub(1, Relaxed);
        }
        if let (Some(place), Some(sources)) = (ticket.source, self.sources.table()) {
            sources.leave(place);
        }
    }
}

/// Adds one unless the count has reached `limit`. False = it has.
fn raise(count: &AtomicU32, limit: u32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |now| (now < limit).then_some(now + 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Limits = Limits { conns_max: 100, listener_max: None, source_max: None };

    #[test]
    fn each_cap_has_its_word_and_counts_nothing_when_it_refuses() {
        let caps = Caps::new(2, [1, 2]);
        let one = Limits { listener_max: Some(1), ..ANY };
        let ticket = caps.enter(0, &one).unwrap();
        assert_eq!(caps.enter(0, &one).unwrap_err(), "conns_max_listener");
        let other = caps.enter(1, &one).unwrap();
        assert_eq!(caps.enter(1, &Limits { conns_max: 2, ..ANY }).unwrap_err(), "conns_max");
        caps.set_descriptors_max(2);
        assert_eq!(caps.enter(1, &ANY).unwrap_err(), "fd_reserve");
        caps.set_shedding(true);
        assert_eq!(caps.enter(1, &ANY).unwrap_err(), "mem_limit");
        caps.set_shedding(false);
        assert_eq!(caps.open(), 2);
        caps.leave(ticket);
        caps.leave(other);
        assert_eq!(caps.open(), 0);
        assert!(caps.listeners.iter().all(|count| count.load(Relaxed) == 0));
    }

    #[test]
    fn sources_are_counted_from_when_a_cap_was_first_set() {
        let caps = Caps::new(1, [1, 2]);
        let source = IpAddr::from([192, 0, 2, 1]);
        let enter = |limit| {
            let mut ticket = caps.enter(0, &ANY).unwrap();
            let admitted = caps.admit(&mut ticket, source, limit);
            (ticket, admitted)
        };
        let (before, admitted) = enter(Some(1));
        assert!(admitted.is_ok() && before.source.is_none());
        caps.count_sources(100);
        let (first, admitted) = enter(None);
        assert!(admitted.is_ok() && first.source.is_some());
        let (second, admitted) = enter(Some(1));
        assert_eq!(admitted, Err("conns_max_per_source"));
        for ticket in [before, first, second] {
            caps.leave(ticket);
        }
        let (again, admitted) = enter(Some(1));
        assert!(admitted.is_ok());
        caps.leave(again);
    }
}

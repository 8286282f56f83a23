//! Listeners on a shard: accept, the caps on connections, and a pump for each connection.
//!
//! A connection above a cap (`caps.rs`) is reset at once, before any byte is read: under a flood
//! that costs one accept and one close. While memory is short idle connections are closed. When the
//! shard stops, the listener's queue is served to its last connection before the socket closes, so
//! that nobody who completed a handshake is turned away.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use engine::{Listener, Stream};
use observe::{Metric, WordFamily};
use protocols::{AnyWire, Role};

use crate::caps::{Limits, Ticket};
use crate::conn::{Conn, Pump, Site};
use crate::exchange;
use crate::shard::State;

/// Accepts until the shard stops.
pub(crate) async fn run(state: Rc<State>, listener: Listener, index: u32) {
    loop {
        let accepted = poll_fn(|cx| {
            if state.stop.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        })
        .await;
        match accepted {
            None => break,
            Some(Ok(stream)) => greet(&state, stream, index),
            // The engine pauses by itself where descriptors run out; one failed accept is one
            // client that left early.
            Some(Err(_)) => state.metrics.add(Metric::ConnectionsRefused, 1),
        }
    }
    for stream in listener.close().await {
        greet(&state, stream, index);
    }
}

/// Makes a connection of an accepted socket.
fn greet(state: &Rc<State>, stream: Stream, index: u32) {
    let (Some(spec), Some(limits)) = (state.listener_wire(index), state.limits(index)) else {
        // A reload cannot remove a listener; one that did anyway takes no more connections.
        stream.reset();
        return;
    };
    let ticket = match admit(state, &stream, index, &limits) {
        Ok(ticket) => ticket,
        Err(word) => {
            state.metrics.add(Metric::ConnectionsRefused, 1);
            state.metrics.word(WordFamily::ConnectionCloses, word);
            stream.reset();
            return;
        }
    };
    let wire = AnyWire::h1(Role::Server, &spec);
    let conn = Conn::new(state, stream, wire, Site::Listener);
    state.register(&conn, ticket);
    if state.stop.is_set() {
        conn.drain(false);
    }
    state.shard.spawn(Pump::new(conn, exchange::start));
}

/// Counts a connection in every cap it falls under. A Unix peer has no source.
fn admit(
    state: &State,
    stream: &Stream,
    listener: u32,
    limits: &Limits,
) -> Result<Ticket, &'static str> {
    let mut ticket = state.caps.enter(listener, limits)?;
    let Some(source) = stream.peer().ip() else { return Ok(ticket) };
    match state.caps.admit(&mut ticket, source, limits.source_max) {
        Ok(()) => Ok(ticket),
        Err(word) => {
            state.caps.leave(ticket);
            Err(word)
        }
    }
}

/// Closes connections that wait for their next request while memory is short. One that is in the
/// middle of a head says `close` in its reply instead.
pub(crate) fn shed_idle(state: &State) {
    if !state.caps.is_shedding() {
        return;
    }
    for conn in state.all_conns() {
        if conn.is_idle() && conn.is_reusable() {
            conn.drain(true);
            if !conn.is_reusable() {
                state.metrics.word(WordFamily::ConnectionCloses, "mem_limit_idle");
            }
        }
    }
}

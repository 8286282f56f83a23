//! Listeners on a shard: accept, the caps on connections, and a pump for each connection.
//!
//! A connection above a cap (`caps.rs`) is reset at once, before any byte is read: under a flood
//! that costs one accept and one close. While memory is short idle connections are closed. When the
//! shard stops, the listener's queue is served to its last connection before the socket closes, so
//! that nobody who completed a handshake is turned away.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use engine::{Listener, Stream};
use observe::{Metric, WordFamily};

use crate::caps::{Limits, Ticket};
use crate::conn::{Conn, Pump, Site};
use crate::shard::{State, Welcome};
use crate::tls::Tls;
use crate::transport::Transport;

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
    let (Some(Welcome { wire, sniffs, tls, greeting }), Some(limits)) =
        (state.welcome(index, &stream.peer()), state.limits(index))
    else {
        // A reload cannot remove a listener; one that did anyway takes no more connections.
        stream.reset();
        return;
    };
    let admitted = greeting.map_err(|refused| refused.word()).and_then(|greeting| {
        let known = !greeting.has_header();
        let ticket = admit(state, &stream, known, (index, &limits))?;
        Ok((greeting, ticket))
    });
    let (greeting, ticket) = match admitted {
        Ok(admitted) => admitted,
        Err(word) => {
            state.metrics.add(Metric::ConnectionsRefused, 1);
            state.metrics.word(WordFamily::ConnectionCloses, word);
            stream.reset();
            return;
        }
    };
    let needed = greeting.is_needed() || tls.is_some();
    let stream = match tls {
        None => Transport::Plain(stream),
        Some(tls) => match Tls::server(stream, &state.tls, &tls) {
            Ok(tls) => Transport::Tls(tls),
            Err(fault) => {
                state.metrics.word(WordFamily::TlsHandshakes, fault.word());
                return state.caps.leave(ticket);
            }
        },
    };
    let conn = Conn::new(state, stream, wire, Site::Listener(index, Cell::new(None)));
    conn.set_sniffs(sniffs);
    state.register(&conn, ticket);
    if state.stop.is_set() {
        conn.drain(false);
    }
    state.shard.spawn(Pump::new(conn, needed.then(|| Box::new(greeting))));
}

/// Counts a connection in every cap it falls under. A Unix peer has no source, and that of a
/// connection whose PROXY header is still to come is not `known`.
fn admit(
    state: &State,
    stream: &Stream,
    known: bool,
    (listener, limits): (u32, &Limits),
) -> Result<Ticket, &'static str> {
    let mut ticket = state.caps.enter(listener, limits)?;
    let Some(source) = stream.peer().ip().filter(|_| known) else { return Ok(ticket) };
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

//! Listeners on a shard: accept, the connection cap, and a pump for each connection.
//!
//! A connection above the cap is reset at once, before any byte is read: under a flood that costs
//! one accept and one close. When the shard stops, the listener's queue is served to its last
//! connection before the socket closes, so that nobody who completed a handshake is turned away.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use engine::{Listener, Stream};
use observe::{Metric, WordFamily};

use crate::conn::{Conn, Pump, Site};
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
    if state.is_full() {
        state.metrics.add(Metric::ConnectionsRefused, 1);
        state.metrics.word(WordFamily::ConnectionCloses, "conns_max");
        stream.reset();
        return;
    }
    let Some((wire, greeting)) = state.welcome(index, &stream.peer()) else {
        // A reload cannot remove a listener; one that did anyway takes no more connections.
        stream.reset();
        return;
    };
    let greeting = match greeting {
        Ok(greeting) => greeting,
        Err(refused) => {
            state.metrics.add(Metric::ConnectionsRefused, 1);
            state.metrics.word(WordFamily::ConnectionCloses, refused.word());
            stream.reset();
            return;
        }
    };
    let conn = Conn::new(state, stream, wire, Site::Listener(index));
    state.register(&conn);
    if state.stop.is_set() {
        conn.drain(false);
    }
    state.shard.spawn(Pump::new(conn, greeting));
}

//! Metadata of requests: what a caller may say of itself, and what a Thrift upstream is told of it.
//!
//! The rules are `protocols::metadata`'s; this says who is trusted and what is true. A caller is
//! trusted where `trusted_proxies` names it, or where its listener says `trust_metadata`. Who the
//! client is, only a trusted proxy may say: in X-Forwarded-For, or in a TTHeader's `rip` where
//! there is none. With `forwarded: false` nobody writes what an HTTP upstream reads of that, and
//! claims pass.
//!
//! Cost: a look at each field's name; framed and buffered callers have one.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use engine::Address;
use observe::WordFamily;
use protocols::metadata::{self, Trust};
use protocols::{Head, Name};

use crate::conn::Conn;
use crate::forwarded;
use crate::shard::State;

/// A TTHeader's key for the client's address and port.
const RIP: &[u8] = b"rip";
/// The number of a TTHeader's key for who asks.
const FROM_SERVICE: &[u8] = b"tt-int-3";

/// Takes out of a request what its caller may not say, before anything is made of it.
pub(crate) fn admit(state: &State, conn: &Conn, request: &mut Head) {
    let dropped = |word| state.metrics.word(WordFamily::MetadataDropped, word);
    let passes = !conn.is_thrift() && !state.options().forwarded;
    let trust =
        || Trust { claims: is_trusted(state, conn), addresses: is_proxy(state, conn) || passes };
    metadata::admit(request, trust, dropped);
    if conn.is_thrift() {
        admit_rip(request, dropped);
    }
}

/// Takes out of a request's trailers what belongs into its head.
pub(crate) fn admit_trailers(state: &State, trailers: &mut Head) {
    metadata::strip(trailers, |word| state.metrics.word(WordFamily::MetadataDropped, word));
}

/// Reads a TTHeader's address of the client, where a trusted proxy says one.
fn admit_rip(request: &mut Head, dropped: impl Fn(&'static str)) {
    let Some(rip) = request.field(RIP) else { return };
    let said = protocols::forwarded::address(rip);
    if said.is_none() {
        dropped("bad_client_address");
    }
    match said {
        None => _ = request.remove(RIP),
        Some(client) if request.known(Name::XForwardedFor).is_none() => {
            request.push_known(Name::XForwardedFor, client.to_string().as_bytes());
        }
        Some(_) => {}
    }
}

/// Tells the upstream who asks.
pub(crate) fn tell(state: &State, conn: &Conn, request: &mut Head) {
    if state.options().forwarded {
        let client = forwarded::client(state, conn, request);
        forwarded::append_peer(state, forwarded::peer(conn), is_proxy(state, conn), request);
        tell_client(state, conn, client, request);
    }
    if let Some(via) = &state.options().via
        && !is_trusted(state, conn)
    {
        request.set(FROM_SERVICE, via.name().as_bytes());
    }
}

/// Pairs that the upstream or the caller could not have read.
pub(crate) fn count_dropped(state: &State, pairs: u32) {
    for _ in 0..pairs {
        state.metrics.word(WordFamily::MetadataDropped, "not_utf8");
    }
}

/// Sets `rip`. A trusted proxy that names the same client knows its port; of any other client
/// behind a proxy it is not known.
fn tell_client(state: &State, conn: &Conn, client: Option<IpAddr>, request: &mut Head) {
    let Some(client) = client else {
        request.remove(RIP);
        return;
    };
    if request.field(RIP).and_then(protocols::forwarded::address) == Some(client) {
        return;
    }
    let port = match conn.stream.peer() {
        Address::Inet(peer) if peer.ip().to_canonical() == client => peer.port(),
        _ => 0,
    };
    let mut text = state.text.borrow_mut();
    text.clear();
    // Writing to a String cannot fail.
    let _ = write!(text, "{}", SocketAddr::new(client, port));
    request.set(RIP, text.as_bytes());
}

fn is_trusted(state: &State, conn: &Conn) -> bool {
    let live = state.live();
    let listener = || live.listener(conn.listener()).is_some_and(|plan| plan.trusts_metadata);
    is_proxy(state, conn) || listener()
}

fn is_proxy(state: &State, conn: &Conn) -> bool {
    forwarded::peer(conn).is_some_and(|peer| state.live().trusts(peer))
}

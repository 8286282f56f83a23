//! Who the client is, and what the upstream is told of it.
//!
//! A peer's own claims count only where `trusted-proxies` names it: then they are kept and added
//! to. Anybody else's were removed (`metadata.rs`) and are replaced, so that what an upstream reads
//! is true from its right end up to the first proxy that the operator has named. The walk itself is
//! `protocols::forwarded`.
//!
//! Cost: without trusted proxies, one look at an empty list a request.

use std::fmt::Write as _;
use std::net::IpAddr;

use engine::Address;
use protocols::forwarded::{ForwardedElement, append_forwarded, client_address};
use protocols::{Head, Name};

use crate::conn::Conn;
use crate::shard::State;

/// The client's address: the peer's, or what trusted proxies say. `None` for a Unix peer.
pub(crate) fn client(state: &State, conn: &Conn, request: &Head) -> Option<IpAddr> {
    let peer = peer(conn)?;
    let live = state.live();
    if !live.trusts(peer) {
        return Some(peer);
    }
    let values = request.values(Name::XForwardedFor);
    let hops = live.options().trusted_hops;
    Some(client_address(peer, values, |address| live.trusts(address), hops))
}

/// The other end of a connection; `None` for a Unix peer.
pub(crate) fn peer(conn: &Conn) -> Option<IpAddr> {
    match conn.stream.peer() {
        Address::Inet(peer) => Some(peer.ip().to_canonical()),
        Address::Unix(_) => None,
    }
}

fn scheme(conn: &Conn) -> &'static str {
    if conn.stream.tls().is_some() { "https" } else { "http" }
}

/// Tells the upstream who asks, and for what.
pub(crate) fn write(state: &State, conn: &Conn, request: &mut Head) {
    let peer = peer(conn);
    let live = state.live();
    let trusted = peer.is_some_and(|peer| live.trusts(peer));
    if live.options().forwarded_standard {
        write_rfc7239(conn, trusted, request);
    }
    append_peer(state, peer, trusted, request);
    let says = |name| request.known(name).is_some();
    let (proto, host) = (says(Name::XForwardedProto), says(Name::XForwardedHost));
    if !proto {
        request.set_known(Name::XForwardedProto, scheme(conn).as_bytes());
    }
    if !host {
        let mut text = state.text.borrow_mut();
        text.clear();
        text.push_str(std::str::from_utf8(request.authority()).unwrap_or_default());
        request.set_known(Name::XForwardedHost, text.as_bytes());
    }
}

/// Adds the peer to the addresses of a trusted one's X-Forwarded-For; anybody else's are replaced.
pub(crate) fn append_peer(state: &State, peer: Option<IpAddr>, trusted: bool, request: &mut Head) {
    let mut text = state.text.borrow_mut();
    text.clear();
    if trusted {
        for value in request.values(Name::XForwardedFor) {
            text.push_str(std::str::from_utf8(value).unwrap_or_default());
            text.push_str(", ");
        }
    }
    match peer {
        Some(peer) => {
            write_address(&mut text, peer);
            request.set_known(Name::XForwardedFor, text.as_bytes());
        }
        None => _ = request.remove(b"x-forwarded-for"),
    }
}

/// `Display` can pad and align, and takes ten times as long for an IPv4 address.
fn write_address(text: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Writing to a String cannot fail.
        let _ = write!(text, "{address}");
        return;
    };
    for (octet, at) in address.octets().into_iter().zip(0..) {
        if at > 0 {
            text.push('.');
        }
        for (unit, least) in [(100, 100), (10, 10), (1, 0)] {
            if octet >= least {
                text.push(char::from(b'0' + octet / unit % 10));
            }
        }
    }
}

/// Adds this hop's element to what a trusted peer said, or says it alone.
fn write_rfc7239(conn: &Conn, trusted: bool, request: &mut Head) {
    let mut value = Vec::new();
    if trusted {
        let said: Vec<&[u8]> = request.values(Name::Forwarded).collect();
        value = said.join(&b", "[..]);
    }
    let (client, port) = match conn.stream.peer() {
        Address::Inet(peer) => (Some(peer.ip()), Some(peer.port())),
        Address::Unix(_) => (None, None),
    };
    let host = request.authority();
    append_forwarded(&mut value, &ForwardedElement { client, port, host, proto: scheme(conn) });
    request.set(b"forwarded", &value);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn addresses_read_as_display_writes_them() {
        let octets = (0..=255).map(|octet| IpAddr::from(Ipv4Addr::new(octet, 0, 255 - octet, 10)));
        for address in octets.chain(["::1".parse().unwrap(), "2001:db8::5:6".parse().unwrap()]) {
            let mut text = String::new();
            write_address(&mut text, address);
            assert_eq!(text, address.to_string());
        }
    }
}

//! Hostile clients and broken upstreams, against the real binary.
//!
//! Each test shows four things: nothing ambiguous reaches the origin, the status and the reason
//! word are right, the connection is closed where it must be, and the next client is served.
//! `docs/security.md` is the table of attacks with these tests; what a requirement of the RFCs
//! covers already is tested in `rfc.rs`.
#![forbid(unsafe_code)]

mod support;

mod abuse {
    mod bombs;
    mod chunks;
    mod every_byte;
    mod identity;
    mod loops;
    mod paths;
    mod slow;
    mod smuggling;
    mod upstreams;
}

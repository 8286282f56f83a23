//! HPACK, the compression of header fields in HTTP/2 (RFC 7541), with bounded tables.
//!
//! A connection has a [`Decoder`] for what comes and an [`Encoder`] for what goes; they know
//! nothing of each other. Both are pure functions of what they were given: bytes and fields in,
//! fields and bytes out, without frames, heads or limits of a message, which are the wire's.
//!
//! P1 What a peer sends costs at most memory for its table (what we allowed, at most 64 KiB; 4 KiB
//!    by default) and for one string of 8/5 of the block; time in proportion to the block and to
//!    what it may decode to, which is bounded too.
//! P2 A fault ends the connection. Nothing is repaired, for the tables at both ends must be equal.
//! P3 Credentials, and what the peer marked, go out as literals that nobody may index (§7.1).
//! P4 A connection that was not used yet holds no heap.
//!
//! Cost: a field that a table holds takes 5 ns to decode and 20 ns to encode, a compressed string
//! about 2 ns a byte (`examples/hpack_speed.rs`). No allocation, once table and scratch have grown
//! to what the connection needs.
//!
//! `table.rs` is the dynamic table of both, `statics.rs` the static one and what the encoder knows
//! of names, `lookup.rs` how the encoder finds entries, `huffman.rs` the code of strings.

mod decode;
#[cfg(test)]
mod differential;
mod encode;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod huffman;
mod lookup;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rfc7541;
mod statics;
mod table;

pub use decode::Decoder;
pub use encode::Encoder;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_hpack;

/// A decoded field, lent for the time of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name: any bytes, whose case and syntax are the wire's to check.
    pub name: &'a [u8],
    /// The value: any bytes.
    pub value: &'a [u8],
    /// It came as a literal that is never to be indexed, and must be forwarded as one (§6.2.3).
    pub sensitive: bool,
}

impl core::fmt::Debug for Field<'_> {
    /// The name. The value is left out: it may be a credential.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.name.escape_ascii())
    }
}

//! What bytes mean: wires without I/O, clock or threads.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod error;
pub mod h1;
mod head;
mod name;
#[cfg(any(test, feature = "fuzz"))]
mod pair;
mod spec;
mod wire;

pub use error::{Error, Fault, Scope};
pub use head::{Head, Length, Version, is_protected};
pub use name::Name;
pub use spec::WireSpec;
pub use wire::{
    AnyWire, Cx, Decoded, Event, Framing, Gone, Mux, ReadSide, Role, Sides, StreamId, Traits, Wire,
    WriteSide,
};

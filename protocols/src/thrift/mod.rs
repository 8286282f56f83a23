//! The Thrift family: framed and unframed messages, THeader and TTHeader.
//!
//! A message is its beginning (type, method, sequence id) and a struct. `message.rs` reads and
//! writes beginnings, over `binary.rs` and `compact.rs`; `walk.rs` finds where a struct ends and
//! looks at nothing else of it; `exception.rs` is the one struct that is written here. Around a
//! message stand a length (`framed.rs`), or a header with keys (`theader.rs`, `ttheader.rs`).

mod binary;
mod compact;
mod dialect;
pub mod exception;
pub mod framed;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
pub mod header;
#[cfg(test)]
mod headers;
pub mod message;
#[cfg(test)]
mod messages;
pub mod theader;
pub mod ttheader;
#[cfg(test)]
mod vectors;
mod walk;

#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::{fuzz_headers, fuzz_messages};

pub use dialect::{Encoding, Transport};
pub use walk::{Walk, Walked};

//! The Thrift family: framed and unframed messages, THeader and TTHeader.

mod dialect;

pub use dialect::{Encoding, Transport};

//! What the compiler does not do by itself: wide compares, prefetch, memory on huge pages.
//!
//! A leaf that knows nothing of routes or protocols. Every function is safe to call with any
//! arguments; what the processor can do is found out at run time, and each wide form has a portable
//! twin that gives the same answer ([`tags::portable`]).
//!
//! With `engine` the only crate that has `unsafe`.

mod prefetch;
mod region;
pub mod tags;

pub use prefetch::{prefetch, prefetch_line};
pub use region::Region;

//! Who answers: upstream servers for `ringway mock`, `ringway demo`, the load scripts and the
//! tests.
//!
//! It is not a general web server and not a part of the gateway: it runs on monoio and has a parser
//! of its own around httparse, so that what judges the gateway shares no code with it.
//!
//! M1 Nothing here depends on `engine` or `protocols`. M2 Where io_uring is refused, monoio's epoll
//! driver takes over, so a mock starts wherever a socket can be bound. M3 The `http2` feature is
//! for the load generator alone: the gateway's binary gets no `h2`, and so no traits of tokio's.

#![forbid(unsafe_code)]

pub mod driver;
pub mod http1;
#[cfg(feature = "http2")]
pub mod http2;
mod stop;
mod threads;
pub mod thrift;

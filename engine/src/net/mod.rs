//! Sockets: slots that own both directions (I8), and the handles that tasks hold.
//!
//! `slot` is the data, `recv`, `send` and `close` are its transitions, all on [`crate::io::Io`];
//! `stream` and `listener` are the handles; `bind` makes listening sockets before shards start.
//! Futures here only wait: dropping or forgetting one loses, frees and truncates nothing.

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod bind;
pub(crate) mod close;
pub(crate) mod connect;
pub(crate) mod listener;
pub(crate) mod pressure;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod slot;
pub(crate) mod stream;

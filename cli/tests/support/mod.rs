//! What the end-to-end tests share: the real binary, a plain-socket client, made-up origins,
//! metrics.
//!
//! Nothing here uses a crate of the gateway: the client and the origins are written on std sockets,
//! so that a mistake in our wires cannot hide itself. Waiting is done by polling a condition
//! (`poll`), never by a fixed pause; the read limits only end a test that would hang.
#![allow(dead_code, unused_imports, reason = "every test target uses a part of it")]

mod client;
mod folder;
mod gateway;
mod origin;
mod poll;

pub use client::{Client, Reply};
pub use folder::Folder;
pub use gateway::{Exit, Gateway, Setup};
pub use origin::Origin;
pub use poll::until;

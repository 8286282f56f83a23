//! What the end-to-end tests share: the real binary, a plain-socket client, made-up origins,
//! metrics.
//!
//! Nothing here uses a crate of the gateway: the client and the origins are written on std sockets,
//! so that a mistake in our wires cannot hide itself. Waiting is done by polling a condition
//! (`poll`), never by a fixed pause; the read limits only end a test that would hang.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test target uses a part of it"
)]

mod client;
mod folder;
mod gateway;
mod openssl;
mod origin;
mod pki;
mod poll;
mod recorder;
mod talk;
pub(crate) mod thrift;

pub(crate) use client::{Client, Reply};
pub(crate) use folder::Folder;
pub(crate) use gateway::{Exit, Gateway, Setup};
pub(crate) use openssl::OpenSsl;
pub(crate) use origin::Origin;
pub(crate) use pki::Authority;
pub(crate) use poll::until;
pub(crate) use recorder::Recorder;
pub(crate) use talk::Talk;

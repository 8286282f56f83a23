//! One connection: a task that takes calls, and one that sends replies when they are due.
//!
//! Cost of a call that is answered at once: none of its own; calls that came together are answered
//! in one write.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use monoio::buf::IoBufMut as _;
use monoio::io::{
    AsyncReadRent as _, AsyncWriteRent as _, AsyncWriteRentExt as _, OwnedReadHalf, OwnedWriteHalf,
    Splitable as _,
};
use monoio::net::TcpStream;

use super::answer::{Orders, answer};
use super::cursor::Broken;
use super::message::Kind;
use super::packet::{Packet, Reader};
use super::replies::Replies;
use crate::threads::Thread;

const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

/// What all connections of a thread share.
pub(super) struct Shared {
    pub(super) delay: Duration,
    pub(super) thread: Thread,
}

/// Serves one connection; it ends with its client, or with the first bytes that are no call.
pub(super) async fn connection(stream: TcpStream, shared: Rc<Shared>) {
    let (read, write) = stream.into_split();
    let replies = Rc::new(Replies::default());
    shared.thread.spawn(send(write, Rc::clone(&replies)));
    // A client that leaves, or speaks something else, is no error of the mock's.
    drop(receive(read, &replies, &shared).await);
    replies.end();
}

async fn send(mut half: OwnedWriteHalf<TcpStream>, replies: Rc<Replies>) {
    let mut buffer = Vec::new();
    while let Some(bytes) = replies.due(mem::take(&mut buffer)).await {
        let sent;
        (sent, buffer) = half.write_all(bytes).await;
        if sent.is_err() {
            break;
        }
    }
    replies.end();
    drop(half.shutdown().await);
}

async fn receive(
    mut half: OwnedReadHalf<TcpStream>,
    replies: &Replies,
    shared: &Shared,
) -> io::Result<()> {
    let (mut reader, mut input) = (Reader::default(), Vec::new());
    loop {
        let mut at = 0;
        while let Some(packet) = reader.next(&input[at..]).map_err(invalid)? {
            take(&packet, replies, shared).map_err(invalid)?;
            at += packet.len;
            if !replies.room().await {
                return Ok(());
            }
        }
        input.drain(..at);
        input.reserve(input.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX));
        let (start, end) = (input.len(), input.capacity());
        let (read, slice) = half.read(input.slice_mut(start..end)).await;
        input = slice.into_inner();
        if read? == 0 {
            return Ok(());
        }
    }
}

fn take(packet: &Packet<'_>, replies: &Replies, shared: &Shared) -> Result<(), Broken> {
    if !matches!(packet.head.kind, Kind::Call | Kind::Oneway) {
        return Err(Broken("a reply where a call is due"));
    }
    shared.thread.counts.requests.fetch_add(1, Ordering::Relaxed);
    if packet.head.kind == Kind::Oneway {
        return Ok(());
    }
    let orders = Orders::of(packet, shared.delay)?;
    let keeps_order = !packet.envelope.is_out_of_order();
    replies.push(orders.delay, keeps_order, |out| answer(out, packet, &orders))
}

fn invalid(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, broken.0)
}

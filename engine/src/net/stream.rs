//! The handle of a connected socket.
//!
//! Both queues live in the socket's slot (I8); the handle only asks and waits, so futures made
//! from it may be dropped or forgotten at any await. Dropping the handle aborts the connection.
//! After `finish`, `abort` or `reset` the handle is inert: receiving fails, pushing discards.
//! Cost of a call: one borrow and one slot look-up.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::address::Address;
use super::recv::gone;
use super::send::Pushed;
use super::slot::{Flag, Peer, Phase, Socket};
use crate::buf::out::{Full, Piece};
use crate::buf::slice::Buf;
use crate::core::Core;
use crate::io::Io;
use crate::op::NO_OP;
use crate::slab::Key;
use crate::task::raw::TaskId;

/// A connected socket. Dropping it aborts the connection.
pub struct Stream {
    core: Rc<Core>,
    key: Key,
}

impl Stream {
    pub(crate) fn new(core: Rc<Core>, key: Key) -> Stream {
        Stream { core, key }
    }

    fn socket<R>(&self, look: impl FnOnce(&Socket) -> R) -> Option<R> {
        self.core.io(|io| io.sockets.get(self.key).map(look)).flatten()
    }

    /// The far end; an unnamed Unix peer has an empty path.
    pub fn peer(&self) -> Address {
        self.socket(|socket| socket.peer.address())
            .unwrap_or_else(|| Address::Unix(std::path::PathBuf::new()))
    }

    /// Gives the far end another name: whom it connects for. Only what is shown changes.
    pub fn set_peer(&self, address: &Address) {
        self.core.io(|io| {
            if let Some(socket) = io.sockets.get_mut(self.key) {
                socket.peer = Peer::new(address.clone());
            }
        });
    }

    /// The near end.
    pub fn local(&self) -> io::Result<Address> {
        let local = |io: &mut Io| {
            let fd = io.sockets.get(self.key).ok_or_else(gone)?.fd;
            io.ring.local_address(fd)
        };
        self.core.io(local).unwrap_or_else(|| Err(gone()))
    }

    /// The next bytes; Ok(None) = FIN. With nothing to give it arms a receive and waits.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Buf>>> {
        let task = TaskId::of(cx.waker());
        let polled = self.core.io(|io| io.poll_recv(self.key, task));
        polled.unwrap_or_else(|| Poll::Ready(Err(gone())))
    }

    /// As [`Stream::poll_recv`], to await.
    pub async fn recv(&self) -> io::Result<Option<Buf>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Re-queues bytes in front of all that wait.
    pub fn put_back(&self, buf: Buf) {
        self.core.io(|io| io.put_back(self.key, buf));
    }

    /// Receive by a multishot into head pages; the start state of accepted streams. It stays
    /// armed between requests, which then cost no submission.
    pub fn heads(&self) {
        self.core.io(|io| io.heads(self.key));
    }

    /// Receive one bulk page an arm; the start state of connected streams. Legal at any time:
    /// what a cancelled multishot still delivers comes first, in order.
    pub fn bulk(&self) {
        self.core.io(|io| io.bulk(self.key));
    }

    /// Arm no receive until the next poll for bytes; the peer's end is still noticed.
    pub fn pause(&self) {
        self.core.io(|io| io.pause(self.key));
    }

    /// Ready when the peer is gone: FIN, RST, or a failed send.
    pub fn poll_hangup(&self, cx: &mut Context<'_>) -> Poll<()> {
        let task = TaskId::of(cx.waker());
        self.core.io(|io| io.poll_hangup(self.key, task)).unwrap_or(Poll::Ready(()))
    }

    /// Queues a piece. Full only when the queue had reached its cap before, so that one piece may
    /// overshoot. A failed socket takes and discards everything.
    pub fn push(&self, piece: Piece) -> Result<(), Full> {
        match self.core.io(|io| io.push(self.key, piece)) {
            Some(Pushed::Full(piece)) => Err(Full(piece)),
            // A piece that was copied or discarded is dropped here, without a borrow held.
            Some(Pushed::Kept | Pushed::Done { .. }) | None => Ok(()),
        }
    }

    /// Appends bytes to the send queue, for a wire's framing; never refused. Panics if `write`
    /// removes bytes that were there before, or uses this stream.
    pub fn scratch<R>(&self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        match self.core.io(|io| io.lend_block(self.key)) {
            Some(mut block) => {
                let result = block.scratch(write);
                self.core.io(|io| io.return_block(self.key, block));
                result
            }
            None => write(&mut Vec::new()),
        }
    }

    /// Bytes that the cap still allows; 0 when over it, or when pages are short and this queue is
    /// stuck. More than the room may be pushed, up to the cap.
    pub fn room(&self) -> usize {
        self.core.io(|io| io.room(self.key)).unwrap_or(0)
    }

    /// Bytes charged to the send queue, building and in flight.
    pub fn queued(&self) -> usize {
        self.core.io(|io| queued(io, self.key)).unwrap_or(0)
    }

    /// Ready below half of the cap, if there is room at all; an error when the socket failed.
    ///
    /// Whoever passes pages on asks for room before it receives: a page in the hand of a task that
    /// waits for room is freed by nobody, and when all are, no socket gets one.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let task = TaskId::of(cx.waker());
        let polled = self.core.io(|io| io.poll_room(self.key, task));
        polled.unwrap_or_else(|| Poll::Ready(Err(gone())))
    }

    /// Ready when nothing is queued and nothing is in flight; an error when the socket failed.
    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let task = TaskId::of(cx.waker());
        let polled = self.core.io(|io| io.poll_flushed(self.key, task));
        polled.unwrap_or_else(|| Poll::Ready(Err(gone())))
    }

    /// As [`Stream::poll_flushed`], to await.
    pub async fn flushed(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flushed(cx)).await
    }

    /// Since when the send in flight has made no progress; None = no send is in flight.
    pub fn send_stalled_since(&self) -> Option<Instant> {
        self.core.io(|io| io.send_stalled_since(self.key)).flatten()
    }

    /// True when the engine closed this connection because its send was stuck while buffers were
    /// short: calls fail with ENOBUFS.
    pub fn is_shed(&self) -> bool {
        self.core.io(|io| io.is_shed(self.key)).unwrap_or(false)
    }

    /// Sends FIN once everything queued is out. What is pushed afterwards is discarded.
    pub fn shut_write(&self) {
        self.core.io(|io| io.shut_write(self.key));
    }

    /// Lets go: what is queued goes out until `deadline`, then FIN, then what still comes is
    /// dropped (at most 256 KiB or 1 s), then the socket is closed. The slot does all of it.
    pub fn finish(&self, deadline: Instant) {
        self.core.io(|io| io.finish(self.key, deadline));
    }

    /// Closes now; what is queued is lost.
    pub fn abort(&self) {
        self.core.io(|io| io.begin_close(self.key));
    }

    /// Closes now, with RST.
    pub fn reset(&self) {
        self.core.io(|io| io.reset(self.key));
    }

    /// Gives the descriptor away. Refused (the stream comes back) if anything is queued in either
    /// direction, or the peer has closed, or descriptors are simulated.
    pub async fn into_fd(self) -> Result<OwnedFd, Stream> {
        let started = self.core.io(|io| io.begin_leave(self.key)).unwrap_or(false);
        if !started {
            return Err(self);
        }
        poll_fn(|cx| {
            let task = TaskId::of(cx.waker());
            self.core.io(|io| io.poll_left(self.key, task)).unwrap_or(Poll::Ready(()))
        })
        .await;
        match self.core.io(|io| io.leave(self.key)).flatten() {
            Some(fd) => Ok(fd),
            None => Err(self),
        }
    }

    /// Labels for the connection table; the numbers mean what the caller says.
    pub fn annotate(&self, protocol: u8, state: u8, route: u32) {
        self.core.io(|io| {
            if let Some(socket) = io.sockets.get_mut(self.key) {
                (socket.protocol, socket.state, socket.route) = (protocol, state, route);
            }
        });
    }

    /// Bytes received so far.
    pub fn bytes_in(&self) -> u64 {
        self.socket(|socket| socket.bytes_in).unwrap_or(0)
    }

    /// Bytes that the kernel took so far.
    pub fn bytes_out(&self) -> u64 {
        self.socket(|socket| socket.bytes_out).unwrap_or(0)
    }

    /// Pages and heap that the socket's two queues keep alive now, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.socket(Socket::held_bytes).unwrap_or(0)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.core.io(|io| {
            if io.sockets.get(self.key).is_some_and(|socket| !socket.is(Flag::DETACHED)) {
                io.begin_close(self.key);
            }
        });
    }
}

fn queued(io: &Io, key: Key) -> usize {
    io.sockets.get(key).map_or(0, Socket::queued)
}

impl Io {
    /// The socket can be given away as far as can be seen now: cancels its ops.
    fn begin_leave(&mut self, key: Key) -> bool {
        if !self.may_leave(key) || self.ring.is_simulated() {
            return false;
        }
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.set(Flag::LEAVING, true);
            socket.set(Flag::WANT, false);
            let poll = socket.active.as_ref().map_or(NO_OP, |active| active.poll);
            self.stop_recv(key);
            self.cancel(poll);
        }
        true
    }

    fn may_leave(&self, key: Key) -> bool {
        self.sockets.get(key).is_some_and(|socket| {
            let unread = socket.active.as_ref().is_some_and(|active| !active.inbox.is_empty());
            let sound = socket.errno == 0 && !socket.is(Flag::EOF) && !socket.is(Flag::DETACHED);
            socket.phase == Phase::Open && sound && socket.flushed() && !unread
        })
    }

    fn poll_left(&mut self, key: Key, task: TaskId) -> Poll<()> {
        match self.sockets.get_mut(key) {
            Some(socket) if socket.ops > 0 => {
                socket.reader = task;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// All ops are over: frees the slot, unless bytes or FIN came meanwhile.
    fn leave(&mut self, key: Key) -> Option<OwnedFd> {
        let leaving = self.may_leave(key);
        let socket = self.sockets.get_mut(key)?;
        socket.set(Flag::LEAVING, false);
        if !leaving || socket.ops > 0 {
            return None;
        }
        let fd = socket.fd;
        let owned = self.ring.hand_over(fd)?;
        self.free(key);
        Some(owned)
    }
}

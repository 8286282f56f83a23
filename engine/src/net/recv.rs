//! The receive side of a socket: when a receive is armed, and where its completions go.
//!
//! At most one receive op a socket; a new one is armed only after the old one's *final*
//! completion, which may carry data, may follow its cancel's, may come unasked. Heads are received
//! by a multishot that stays armed between requests; bodies by single shots, one page an arm, armed
//! when somebody polls. B1: what is unread at the end of the turn after its delivery is copied to
//! the heap and its page is back. B3: a socket holds at most max(1, free/8) pages of a group.
//! B4: under low water only sockets that hold nothing may arm; who may not, queues up. While bulk
//! pages are short the first bytes of an answer come into a head page, so that small answers do not
//! stand in line behind thousands of large ones.

use std::io;
use std::task::Poll;

use super::close::DRAIN_BYTES_MAX;
use super::slot::{Flag, Phase};
use crate::buf::slice::Buf;
use crate::io::Io;
use crate::op::{Kind, NO_OP, Payload};
use crate::ring::{Cqe, Group};
use crate::slab::Key;
use crate::task::current::wake;
use crate::task::raw::TaskId;

/// Below 1/16 of a group's pages buffers are short.
const LOW_WATER: usize = 16;

/// Unread bytes that are copied to the heap are joined up to this: a multishot may have delivered
/// a whole ring at once, and one piece of all that would overshoot a send queue by as much.
const HEAP_BUF_BYTES: usize = 32 * 1024;

/// The error of every call on a handle whose socket is gone.
pub(crate) fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Io {
    /// The next bytes; None = FIN. With nothing to give, a receive is armed and `task` waits.
    pub(crate) fn poll_recv(&mut self, key: Key, task: TaskId) -> Poll<io::Result<Option<Buf>>> {
        let Some(socket) = self.sockets.get_mut(key) else {
            return Poll::Ready(Err(gone()));
        };
        if socket.is(Flag::DETACHED) {
            return Poll::Ready(Err(gone()));
        }
        if let Some(buf) = socket.active.as_mut().and_then(|active| active.pop_front()) {
            self.touch(key);
            return Poll::Ready(Ok(Some(buf)));
        }
        if socket.is(Flag::RECV_FAILED) {
            return Poll::Ready(Err(io::Error::from_raw_os_error(socket.errno)));
        }
        if socket.is(Flag::EOF) {
            return Poll::Ready(Ok(None));
        }
        socket.reader = task;
        socket.set(Flag::WANT, true);
        socket.set(Flag::PAUSED, false);
        self.want_recv(key);
        Poll::Pending
    }

    /// Arms a receive if none is in flight and the rules allow one; else queues the socket.
    pub(crate) fn want_recv(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let receiving = matches!(socket.phase, Phase::Open | Phase::Draining);
        let ended = socket.is(Flag::EOF) || socket.is(Flag::FIN_HELD);
        let over = ended || socket.is(Flag::RECV_FAILED) || self.leaving;
        if socket.recv != NO_OP || !receiving || over {
            return;
        }
        let (bulk, starved) = (socket.is(Flag::BULK), socket.is(Flag::STARVED));
        if bulk && self.answers_in_head(key) {
            // Whoever stands in line keeps the place, for what comes behind.
            return self.arm(key, Group::Head);
        }
        let group = if bulk { Group::Bulk } else { Group::Head };
        if starved {
            return;
        }
        if self.may_arm(key, group) {
            self.arm(key, group);
        } else {
            self.starve(key, group);
        }
    }

    /// Something was pushed: the next bytes begin an answer.
    pub(crate) fn asked(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::ASKED, true);
        if socket.is(Flag::STARVED) && socket.is(Flag::WANT) {
            self.want_recv(key);
        }
    }

    /// Whether the next bytes begin an answer, bulk pages are short and head pages are not.
    fn answers_in_head(&self, key: Key) -> bool {
        let asked = self.sockets.get(key).is_some_and(|socket| socket.is(Flag::ASKED));
        let line = &self.starved[Group::Bulk.index()];
        asked
            && (self.is_short(Group::Bulk) || !line.is_empty())
            && self.pool.held_by(key.index)[Group::Head.index()] == 0
            && !self.is_short(Group::Head)
    }

    /// B3 and B4.
    fn may_arm(&self, key: Key, group: Group) -> bool {
        let held = usize::from(self.pool.held_by(key.index)[group.index()]);
        let available = self.pool.available(group);
        if available == 0 {
            return false;
        }
        held == 0 || (!self.is_short(group) && held < (available / 8).max(1))
    }

    pub(crate) fn is_short(&self, group: Group) -> bool {
        self.pool.available(group) * LOW_WATER < self.pool.count(group)
    }

    fn arm(&mut self, key: Key, group: Group) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let multi = group == Group::Head && !socket.is(Flag::BULK);
        let poll_first = !socket.is(Flag::READY);
        socket.set(Flag::MULTI, multi);
        socket.set(Flag::READY, false);
        socket.set(Flag::CANCELLING, false);
        let kind = if multi { Kind::RecvMulti } else { Kind::Recv { group, poll_first } };
        let op = self.submit(key, kind, Payload::None);
        self.pool.armed(group, 1);
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.recv = op;
        }
    }

    /// Cancels the receive in flight, once.
    pub(crate) fn stop_recv(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.recv != NO_OP && !socket.is(Flag::CANCELLING) {
            socket.set(Flag::CANCELLING, true);
            let op = socket.recv;
            self.cancel(op);
        }
    }

    /// One page an arm from now on; a multishot in flight is cancelled, what it delivers is kept.
    pub(crate) fn bulk(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::BULK, true);
        if socket.is(Flag::MULTI) {
            self.stop_recv(key);
        }
    }

    /// Multishot from the next arm on. A single shot in flight stays: it delivers once.
    pub(crate) fn heads(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.set(Flag::BULK, false);
        }
    }

    /// Nothing is armed until the next poll. An armed multishot stays: it reports FIN like the
    /// hang-up poll would, costs nothing, and is cancelled when it delivers.
    pub(crate) fn pause(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::PAUSED, true);
        socket.set(Flag::WANT, false);
        self.watch_hangup(key);
    }

    /// Arms the hang-up poll unless a receive or a poll is in flight already.
    fn watch_hangup(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else {
            return;
        };
        let polling = socket.active.as_ref().is_some_and(|active| active.poll != NO_OP);
        let over = socket.is(Flag::EOF) || socket.is(Flag::HUNG_UP) || socket.errno != 0;
        if socket.recv != NO_OP || polling || over || socket.phase != Phase::Open || self.leaving {
            return;
        }
        let op = self.submit(key, Kind::PollHup, Payload::None);
        if let Some(active) = self.active(key) {
            active.poll = op;
        }
    }

    /// Ready when the peer has closed or reset, or a send failed.
    pub(crate) fn poll_hangup(&mut self, key: Key, task: TaskId) -> Poll<()> {
        let Some(socket) = self.sockets.get(key) else {
            return Poll::Ready(());
        };
        let over = socket.is(Flag::EOF) || socket.is(Flag::HUNG_UP) || socket.errno != 0;
        if over || socket.is(Flag::DETACHED) {
            return Poll::Ready(());
        }
        if let Some(active) = self.active(key) {
            active.hangup_waiter = task;
        }
        self.watch_hangup(key);
        Poll::Pending
    }

    pub(crate) fn on_hangup(&mut self, key: Key, result: i32) {
        let Some(active) = self.active(key) else {
            return;
        };
        active.poll = NO_OP;
        if result >= 0 {
            let waiter = std::mem::replace(&mut active.hangup_waiter, TaskId::NONE);
            wake(waiter);
            if let Some(socket) = self.sockets.get_mut(key) {
                socket.set(Flag::HUNG_UP, true);
                wake(socket.reader);
            }
        }
        self.touch(key);
    }

    /// Re-queues bytes in front of all that wait.
    pub(crate) fn put_back(&mut self, key: Key, buf: Buf) {
        let usable = |socket: &super::slot::Socket| !socket.is(Flag::DETACHED);
        if buf.is_empty() || !self.sockets.get(key).is_some_and(usable) {
            return;
        }
        if let Some(active) = self.active(key) {
            active.push_front(buf);
        }
        self.grow_old(key);
    }

    /// The socket's unread bytes have until the end of the next turn (B1).
    fn grow_old(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.is(Flag::AGING)
        {
            socket.set(Flag::AGING, true);
            self.fresh.push(key);
        }
    }

    /// B1: inboxes that were not empty at the end of the last turn either are copied to the heap.
    pub(crate) fn empty_aged(&mut self) {
        let mut aged = std::mem::take(&mut self.aged);
        for key in aged.drain(..) {
            self.move_to_heap(key);
        }
        self.aged = std::mem::replace(&mut self.fresh, aged);
    }

    fn move_to_heap(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::AGING, false);
        let Some(active) = &mut socket.active else {
            return;
        };
        if !active.inbox.iter().any(Buf::is_pooled) {
            return;
        }
        let mut bytes = Vec::new();
        let mut bufs = std::mem::take(&mut active.inbox);
        active.inbox_bytes = 0;
        for buf in bufs.drain(..) {
            if !bytes.is_empty() && bytes.len() + buf.len() > HEAP_BUF_BYTES {
                active.push_back(Buf::heap(&bytes));
                bytes.clear();
            }
            bytes.extend_from_slice(&buf);
        }
        active.push_back(Buf::heap(&bytes));
    }

    /// A completion of a receive.
    pub(crate) fn on_recv(&mut self, key: Key, group: Group, cqe: Cqe) {
        if !cqe.more {
            self.pool.armed(group, -1);
        }
        let buf = self.received(key, group, cqe);
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if !cqe.more {
            socket.recv = NO_OP;
            socket.set(Flag::CANCELLING, false);
            socket.set(Flag::MULTI, false);
        }
        match cqe.result {
            0 => self.on_fin(key),
            count if count > 0 => self.on_bytes(key, group, buf, cqe.more),
            error if -error == libc::ENOBUFS => self.on_no_buffer(key, group),
            error if -error == libc::ECANCELED || -error == libc::EINTR => {}
            error => {
                socket.set(Flag::HUNG_UP, true);
                socket.set(Flag::RECV_FAILED, true);
                self.fail(key, -error);
            }
        }
        if !cqe.more {
            self.after_final(key);
        }
    }

    /// The bytes of a completion; the page comes back by itself if nobody wants them.
    fn received(&mut self, key: Key, group: Group, cqe: Cqe) -> Option<Buf> {
        let bid = cqe.buffer?;
        if !self.pool.take_visible(group, bid, key.index) {
            self.stats.stale_cqes += 1;
            return None;
        }
        let buf = Buf::received(&self.pool, group, bid, cqe.result.max(0) as u32);
        if buf.is_empty() { None } else { Some(buf) }
    }

    /// The end of the stream, or what looks like it: a reset is reported once, and when a send was
    /// told, receives only see an end. Passing that on would present a part as the whole.
    pub(crate) fn on_fin(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let (fd, errno) = (socket.fd, socket.errno);
        let sending = socket.active.as_ref().is_some_and(|active| active.send != NO_OP);
        // EPIPE alone is what a send gets after a FIN that was real.
        if errno != 0 && errno != libc::EPIPE {
            socket.set(Flag::RECV_FAILED, true);
            return self.fail(key, errno);
        }
        // No longer connected, and a send is about to say why: its word decides.
        if sending && self.ring.peer_address(fd).is_err() {
            if let Some(socket) = self.sockets.get_mut(key) {
                socket.set(Flag::FIN_HELD, true);
            }
            return;
        }
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::EOF, true);
        wake(socket.reader);
        if let Some(active) = &mut socket.active {
            wake(std::mem::replace(&mut active.hangup_waiter, TaskId::NONE));
        }
        self.touch(key);
        if socket_phase(self, key) == Some(Phase::Draining) {
            self.begin_close(key);
        }
    }

    fn on_bytes(&mut self, key: Key, group: Group, buf: Option<Buf>, more: bool) {
        let (Some(socket), Some(buf)) = (self.sockets.get_mut(key), buf) else {
            return;
        };
        socket.bytes_in += buf.len() as u64;
        socket.set(Flag::ASKED, false);
        // A full page: more is waiting, so the next receive need not poll first.
        socket.set(Flag::READY, buf.len() == buf.capacity());
        if socket.phase == Phase::Draining {
            return self.drop_drained(key, buf.len());
        }
        if socket.phase != Phase::Open || socket.is(Flag::DETACHED) {
            return;
        }
        socket.set(Flag::WANT, false);
        let (reader, paused) = (socket.reader, socket.is(Flag::PAUSED));
        let limit = self.limits.inbox_bytes;
        let Some(active) = self.active(key) else {
            return;
        };
        active.push_back(buf);
        let full = active.inbox_bytes >= limit;
        let own = active.inbox_bytes + active.queued();
        wake(reader);
        let held_bytes = own.max(self.received_bytes(key)) as u64;
        self.stats.held_bytes_max = self.stats.held_bytes_max.max(held_bytes);
        self.grow_old(key);
        let index = group.index();
        let held = usize::from(self.pool.held_by(key.index)[index]);
        let over = held > (self.pool.available(group) / 8).max(1);
        if more && (paused || full || over) {
            self.stop_recv(key);
        }
    }

    /// Pages with what the socket received, wherever they wait now, in bytes.
    fn received_bytes(&self, key: Key) -> usize {
        let held = self.pool.held_by(key.index);
        let bytes =
            |group: Group| usize::from(held[group.index()]) * self.pool.page_bytes(group) as usize;
        Group::ALL.into_iter().map(bytes).sum()
    }

    fn drop_drained(&mut self, key: Key, count: usize) {
        let Some(active) = self.active(key) else {
            return;
        };
        active.drained += count;
        if active.drained > DRAIN_BYTES_MAX {
            self.begin_close(key);
        }
    }

    fn on_no_buffer(&mut self, key: Key, group: Group) {
        self.stats.enobufs += 1;
        // A multishot that took a whole inbox at once is no sign that too few are shown.
        if self.received_bytes(key) < self.limits.inbox_bytes {
            self.pool.starved(group);
            self.doubled();
        }
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.set(Flag::READY, true);
        let wants = socket.is(Flag::WANT) && socket.phase != Phase::Closed;
        // `after_final` arms again for the first bytes of an answer.
        if wants && !(group == Group::Bulk && self.answers_in_head(key)) {
            self.starve(key, group);
        }
    }

    /// After a final completion: arm again if somebody waits, else watch for the hang-up.
    fn after_final(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else {
            return;
        };
        if socket.is(Flag::LEAVING) || socket.phase == Phase::Closed {
            return;
        }
        if socket.is(Flag::WANT) || socket.phase == Phase::Draining {
            self.want_recv(key);
        } else if socket.active.as_ref().is_some_and(|a| a.hangup_waiter != TaskId::NONE)
            || socket.is(Flag::PAUSED)
        {
            self.watch_hangup(key);
        }
    }

    /// No buffer for this socket now: it waits its turn.
    fn starve(&mut self, key: Key, group: Group) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.is(Flag::STARVED)
        {
            socket.set(Flag::STARVED, true);
            self.starved[group.index()].push_back(key);
        }
        self.press(group);
    }

    /// Arms queued sockets, oldest first: at most as many as there are visible buffers, looking at
    /// a bounded number, so that a queue of thousands costs a turn little.
    pub(crate) fn serve_starved(&mut self) {
        for group in Group::ALL {
            let mut room = self.pool.visible(group) as usize;
            let mut tries = self.starved[group.index()].len().min(2 * room + 16);
            while room > 0 && tries > 0 {
                tries -= 1;
                let Some(key) = self.starved[group.index()].pop_front() else {
                    break;
                };
                let Some(socket) = self.sockets.get_mut(key) else {
                    continue;
                };
                socket.set(Flag::STARVED, false);
                let wants = socket.is(Flag::WANT) || socket.phase == Phase::Draining;
                if !wants || socket.recv != NO_OP {
                    continue;
                }
                self.want_recv(key);
                room -= usize::from(self.sockets.get(key).is_some_and(|s| s.recv != NO_OP));
            }
        }
    }
}

fn socket_phase(io: &Io, key: Key) -> Option<Phase> {
    io.sockets.get(key).map(|socket| socket.phase)
}

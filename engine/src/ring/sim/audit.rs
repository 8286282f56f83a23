//! The engine's invariants, checked between turns: what must hold whatever the ring did.
//!
//! It reads the shard's I/O state and the trace checker's and panics on the first contradiction.
//! It changes nothing. Cost: a pass over all pages and sockets; tests only.

use super::super::Group;
use crate::io::Io;
use crate::net::slot::{Active, Flag, Phase, Socket};
use crate::op::NO_OP;
use crate::ring::Cqe;
use crate::task::raw::TaskId;

/// Names of the checks, with how often each was made in one audit.
pub type Audit = [(&'static str, u64); 7];

/// Beyond the cap: one piece may overshoot it, and one head and control bytes were never refused.
const OVERSHOOT_BYTES: usize = (64 << 10) + (64 << 10) + (16 << 10);

/// Checks everything; panics with what is wrong.
pub(crate) fn audit(io: &mut Io) -> Audit {
    let mut sockets = 0;
    let limit = io.limits.out_bytes + OVERSHOOT_BYTES;
    for (key, socket) in io.sockets.iter() {
        sockets += 1;
        assert!(socket.queued() <= limit, "{key:?} has {} bytes queued", socket.queued());
        if !io.leaving && !socket.is(Flag::DIRTY) {
            not_forgotten(socket);
            writers_told(socket, io.limits.out_bytes / 2);
        }
    }
    for group in Group::ALL {
        pages(io, group);
    }
    ops(io);
    let starved = starved(io);
    let served = Group::ALL.into_iter().map(|group| served(io, group)).sum();
    [
        ("ops in slab = completions owed", 1),
        ("buffers in pool + in flight = total", 2),
        ("visible buffers = the kernel's", 2),
        ("send queue <= cap + overshoot", sockets),
        ("no socket open and forgotten", sockets),
        ("who found no buffer stands in line", starved),
        ("the line moves while buffers are there", served),
    ]
}

fn pages(io: &mut Io, group: Group) {
    let [free, visible, held] = io.pool.census(group);
    let total = io.pool.count(group);
    assert_eq!(
        free + visible + held,
        total,
        "{group:?}: {free} free, {visible} shown, {held} held"
    );
    // Completions that were reaped early still name pages that the pool believes visible.
    let early = io.cqes.iter().filter(|cqe| names_page_of(io, cqe, group)).count();
    let (kernels, _) = io.ring.rules().buffers(group);
    assert_eq!(visible, kernels + early, "{group:?}: pages shown and pages of the kernel");
}

fn names_page_of(io: &Io, cqe: &Cqe, group: Group) -> bool {
    cqe.buffer.is_some() && io.ops.receives_into(cqe.user_data) == Some(group)
}

fn ops(io: &mut Io) {
    let early = io.cqes.iter().filter(|cqe| !cqe.more).count();
    let owed = io.ring.rules().ops_in_flight() + early;
    assert_eq!(io.ops.in_flight(), owed, "ops in the slab and completions owed");
}

/// A socket that is marked as waiting for a buffer is in the queue that hands them out.
fn starved(io: &Io) -> u64 {
    let marked = io.sockets.iter().filter(|(_, socket)| socket.is(Flag::STARVED));
    let mut checked = 0;
    for (key, socket) in marked {
        let stands = io.starved.iter().any(|queue| queue.contains(&key));
        assert!(stands, "waits for a buffer and is in no queue: {}", show(socket));
        checked += 1;
    }
    checked
}

/// After a turn without completions: nobody stands in line while every page is back and no receive
/// of the group is in flight. Gives how often a line was looked at.
fn served(io: &Io, group: Group) -> u64 {
    if io.leaving || io.last_completed > 0 || io.starved[group.index()].is_empty() {
        return 0;
    }
    let all_back = io.pool.available(group) == io.pool.count(group);
    let receives = |socket: &Socket| io.ops.receives_into(socket.recv) == Some(group);
    let receiving = io.sockets.iter().any(|(_, socket)| receives(socket));
    for key in &io.starved[group.index()] {
        if let Some(socket) = io.sockets.get(*key) {
            let waits = socket.is(Flag::STARVED) && socket.is(Flag::WANT);
            assert!(!waits || receiving || !all_back, "not served: {}", show(socket));
        }
    }
    1
}

/// With no send in flight, whose end would tell them: whoever waits for room has none, and whoever
/// waits for the queue to be empty has something in it.
fn writers_told(socket: &Socket, half: usize) {
    let Some(active) = socket.active.as_ref().filter(|active| active.send == NO_OP) else {
        return;
    };
    let waits_for_room = active.room_waiter != TaskId::NONE;
    assert!(!waits_for_room || active.queued() >= half, "not told of room: {}", show(socket));
    let waits_for_end = active.flush_waiter != TaskId::NONE;
    assert!(!waits_for_end || !active.flushed(), "not told of the end: {}", show(socket));
}

/// Every socket that waits has something under way that will wake it.
fn not_forgotten(socket: &Socket) {
    let no_recv = socket.recv == NO_OP && !socket.is(Flag::STARVED);
    let sending = socket.active.as_ref().is_some_and(|active| active.send != NO_OP);
    assert!(sending || !socket.is(Flag::FIN_HELD), "waits for no send: {}", show(socket));
    let ended = socket.is(Flag::EOF) || socket.is(Flag::FIN_HELD);
    let over = ended || socket.is(Flag::RECV_FAILED);
    let reading = match socket.phase {
        Phase::Open => socket.is(Flag::WANT),
        Phase::Draining => true,
        _ => false,
    };
    assert!(!(reading && no_recv && !over), "reads and nothing is armed: {}", show(socket));
    let building =
        |active: &Active| active.building.as_ref().is_some_and(|block| !block.is_empty());
    let stuck = |active: &Active| active.send == NO_OP && building(active);
    let writing = matches!(socket.phase, Phase::Open | Phase::Flushing) && socket.errno == 0;
    let stuck = writing && socket.active.as_deref().is_some_and(stuck);
    assert!(!stuck, "has bytes queued and no send: {}", show(socket));
    if socket.phase == Phase::Closed {
        assert!(socket.ops > 0, "closed, without ops and not freed: {}", show(socket));
    }
}

fn show(socket: &Socket) -> String {
    format!("fd {} {:?} {} ops errno {}", socket.fd, socket.phase, socket.ops, socket.errno)
}

//! The kernel's contract as a checker over submissions and completions, for both backends.
//!
//! On in debug builds and wherever the simulator is compiled in; it panics at the first broken
//! rule, because after that no later observation means anything. It is *not* part of the engine's
//! logic: nothing reads it. Each rule counts how often it was checked, so that a test can see that
//! a rule was really put to the test. Cost: a few ordered-map operations a submission.
//!
//! The rules, by name in [`Rule`]: two thirds hold the engine to what the kernel demands (one
//! receive a socket, nothing after CLOSE), one third holds the backend to what the kernel does.

#![cfg_attr(
    not(feature = "sim"),
    allow(dead_code, unreachable_pub, reason = "only the simulator's tests read the counts")
)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Cqe, Group, Request};

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Rule {
    /// User data is not pushed again while its op is in flight.
    FreshUserData,
    /// At most one receive op per socket; re-armed only after its final completion.
    OneReceive,
    /// Sends of one socket never overlap.
    OneSend,
    /// At most one accept op per listener, one connect and one hang-up poll per socket.
    OneOfAKind,
    /// No submission for a descriptor after its CLOSE.
    NothingAfterClose,
    /// A descriptor is closed by `close_now` only while no op holds it.
    QuietCloseNow,
    /// A cancel names an op that was pushed, and never itself.
    CancelNamesAnOp,
    /// Every completion belongs to an op in flight: none after the final one.
    CompletionIsOwed,
    /// Only multishot ops say that more will follow.
    MoreOnlyFromMultishot,
    /// A receive's buffer was the kernel's, and its data fits.
    BufferWasKernels,
    /// Bytes and buffer come together: never one without the other.
    BytesWithBuffer,
    /// A buffer is provided only by who owns it.
    ProvideOwned,
    /// A send reports at most the bytes of its block.
    SendWithinBlock,
    /// A cancel's answer is 0, ENOENT or EALREADY.
    CancelAnswer,
    /// ECANCELED comes only to an op that a cancel was pushed for.
    CancelledWhenAsked,
    /// An accepted descriptor is not one that is still open.
    AcceptedIsNew,
    /// At the end every op has had its final completion.
    AllSettled,
}

impl Rule {
    /// Number of rules.
    pub const COUNT: usize = Rule::AllSettled as usize + 1;

    /// Every rule, in order of declaration.
    pub const ALL: [Rule; Rule::COUNT] = [
        Rule::FreshUserData,
        Rule::OneReceive,
        Rule::OneSend,
        Rule::OneOfAKind,
        Rule::NothingAfterClose,
        Rule::QuietCloseNow,
        Rule::CancelNamesAnOp,
        Rule::CompletionIsOwed,
        Rule::MoreOnlyFromMultishot,
        Rule::BufferWasKernels,
        Rule::BytesWithBuffer,
        Rule::ProvideOwned,
        Rule::SendWithinBlock,
        Rule::CancelAnswer,
        Rule::CancelledWhenAsked,
        Rule::AcceptedIsNew,
        Rule::AllSettled,
    ];
}

/// How often each rule was checked.
pub type Checked = [u64; Rule::COUNT];

/// What a completion looked like: op kind, result (an errno, or 0, or 1 for anything above),
/// whether more followed, whether it carried a buffer. Two backends are alike when their shapes
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Name of the op's kind.
    pub kind: &'static str,
    /// 1 for any positive result, 0, or a negative errno.
    pub result: i32,
    /// More completions followed.
    pub more: bool,
    /// A provided buffer came with it.
    pub buffer: bool,
}

/// The kind of an op, without what it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Accept,
    Receive(Group),
    Send,
    Connect,
    PollHup,
    PollIn,
    Cancel,
    Close,
}

impl Kind {
    fn name(self, multishot: bool) -> &'static str {
        match self {
            Kind::Accept => "accept",
            Kind::Receive(_) if multishot => "receive_multi",
            Kind::Receive(_) => "receive",
            Kind::Send => "send",
            Kind::Connect => "connect",
            Kind::PollHup => "poll_hup",
            Kind::PollIn => "poll_in",
            Kind::Cancel => "cancel",
            Kind::Close => "close",
        }
    }
}

/// What a submission said, kept while it is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    user_data: u64,
    kind: Kind,
    fd: RawFd,
    /// Which use of the descriptor's number this is: numbers return as soon as CLOSE has run, while
    /// ops on the old socket are still in flight.
    life: u32,
    multishot: bool,
    /// Bytes of a send's block, or a cancel's target.
    operand: u64,
}

impl Seen {
    /// Reads a submission.
    pub(crate) fn of(user_data: u64, request: &Request<'_>) -> Seen {
        let (kind, fd, multishot, operand) = match request {
            Request::Accept { fd } => (Kind::Accept, *fd, true, 0),
            Request::RecvMulti { fd, group } => (Kind::Receive(*group), *fd, true, 0),
            Request::Recv { fd, group, .. } => (Kind::Receive(*group), *fd, false, 0),
            Request::Send { fd, block } => {
                let bytes: usize = block.slices().map(<[u8]>::len).sum();
                (Kind::Send, *fd, false, bytes as u64)
            }
            Request::Connect { fd, .. } => (Kind::Connect, *fd, false, 0),
            Request::PollHup { fd } => (Kind::PollHup, *fd, false, 0),
            Request::PollIn { fd } => (Kind::PollIn, *fd, true, 0),
            Request::Cancel { target } => (Kind::Cancel, -1, false, *target),
            Request::Close { fd } => (Kind::Close, *fd, false, 0),
        };
        Seen { user_data, kind, fd, life: 0, multishot, operand }
    }
}

/// The state that the rules need.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    in_flight: BTreeMap<u64, Seen>,
    /// Ops in flight by descriptor, its life and kind; receives of both groups count as one kind.
    busy: BTreeSet<Lane>,
    /// How often each descriptor number was handed out.
    lives: BTreeMap<RawFd, u32>,
    /// Descriptors whose CLOSE was pushed and that were not handed out again.
    closed: BTreeSet<RawFd>,
    /// Descriptors handed out by accept or socket and not closed.
    open: BTreeSet<RawFd>,
    cancelled: BTreeSet<u64>,
    kernel_owned: BTreeSet<(Group, u16)>,
    known: BTreeSet<(Group, u16)>,
    shapes: BTreeSet<Shape>,
    checked: Checked,
}

/// The slot that ops of a kind share on a socket.
type Lane = (RawFd, u32, Kind);

/// Checks made by all rings of this process that are gone.
static TOTAL: [AtomicU64; Rule::COUNT] = [const { AtomicU64::new(0) }; Rule::COUNT];

/// How often each rule was checked in this process, by rings that are gone by now.
pub fn checked() -> Checked {
    let mut counts = [0; Rule::COUNT];
    for (count, total) in counts.iter_mut().zip(&TOTAL) {
        *count = total.load(Ordering::Relaxed);
    }
    counts
}

impl Rules {
    pub(crate) fn new() -> Rules {
        Rules::default()
    }

    fn check(&mut self, rule: Rule, holds: bool, what: &dyn std::fmt::Debug) {
        self.checked[rule as usize] += 1;
        assert!(holds, "ring rule {rule:?} is broken by {what:?}");
    }

    fn lane(seen: &Seen) -> Lane {
        let kind = match seen.kind {
            Kind::Receive(_) => Kind::Receive(Group::Head),
            kind => kind,
        };
        (seen.fd, seen.life, kind)
    }

    fn life(&self, fd: RawFd) -> u32 {
        self.lives.get(&fd).copied().unwrap_or(0)
    }

    /// A submission was staged.
    pub(crate) fn pushed(&mut self, mut seen: Seen) {
        let fresh = !self.in_flight.contains_key(&seen.user_data);
        self.check(Rule::FreshUserData, fresh, &seen);
        match seen.kind {
            Kind::Cancel => {
                let sane = seen.operand != seen.user_data;
                self.check(Rule::CancelNamesAnOp, sane, &seen);
                self.cancelled.insert(seen.operand);
            }
            // Listeners and eventfds come from elsewhere, so their first op is how we hear of them.
            Kind::Accept | Kind::PollIn if self.closed.remove(&seen.fd) => {
                *self.lives.entry(seen.fd).or_default() += 1;
            }
            _ => {}
        }
        if seen.kind != Kind::Cancel {
            seen.life = self.life(seen.fd);
            self.pushed_for_descriptor(&seen);
        }
        self.in_flight.insert(seen.user_data, seen);
    }

    fn pushed_for_descriptor(&mut self, seen: &Seen) {
        let open = !self.closed.contains(&seen.fd);
        self.check(Rule::NothingAfterClose, open, seen);
        if seen.kind == Kind::Close {
            self.closed.insert(seen.fd);
            self.open.remove(&seen.fd);
            return;
        }
        let rule = match seen.kind {
            Kind::Receive(_) => Rule::OneReceive,
            Kind::Send => Rule::OneSend,
            _ => Rule::OneOfAKind,
        };
        let alone = self.busy.insert(Rules::lane(seen));
        self.check(rule, alone, seen);
    }

    /// A completion was reaped.
    pub(crate) fn completed(&mut self, cqe: &Cqe) {
        let op = self.in_flight.get(&cqe.user_data).copied();
        self.check(Rule::CompletionIsOwed, op.is_some(), cqe);
        let Some(op) = op else { return };
        self.shapes.insert(Shape {
            kind: op.kind.name(op.multishot),
            result: cqe.result.min(1),
            more: cqe.more,
            buffer: cqe.buffer.is_some(),
        });
        if cqe.more {
            self.check(Rule::MoreOnlyFromMultishot, op.multishot, &(op, cqe));
        } else {
            self.in_flight.remove(&cqe.user_data);
            self.busy.remove(&Rules::lane(&op));
        }
        if cqe.result == -libc::ECANCELED {
            let asked = self.cancelled.contains(&cqe.user_data);
            self.check(Rule::CancelledWhenAsked, asked, &(op, cqe));
        }
        if !cqe.more {
            self.cancelled.remove(&cqe.user_data);
        }
        self.completed_as(&op, cqe);
    }

    fn completed_as(&mut self, op: &Seen, cqe: &Cqe) {
        match op.kind {
            Kind::Receive(group) => self.received(group, op, cqe),
            Kind::Send => {
                let within = cqe.result < 0 || cqe.result as u64 <= op.operand;
                self.check(Rule::SendWithinBlock, within, &(op, cqe));
            }
            Kind::Cancel => {
                let known = [0, -libc::ENOENT, -libc::EALREADY].contains(&cqe.result);
                self.check(Rule::CancelAnswer, known, &(op, cqe));
                // Its target is over or will say so; the number may serve again after that.
                if !self.in_flight.contains_key(&op.operand) {
                    self.cancelled.remove(&op.operand);
                }
            }
            Kind::Accept if cqe.result >= 0 => self.opened(cqe.result),
            _ => {}
        }
    }

    fn received(&mut self, group: Group, op: &Seen, cqe: &Cqe) {
        // The kernel may hand a buffer back unused with an end of stream, but never data without.
        let together = if cqe.result > 0 { cqe.buffer.is_some() } else { true };
        self.check(Rule::BytesWithBuffer, together, &(op, cqe));
        if let Some(bid) = cqe.buffer {
            let kernels = self.kernel_owned.remove(&(group, bid));
            self.check(Rule::BufferWasKernels, kernels, &(op, cqe));
        }
    }

    /// A buffer was staged for the kernel.
    pub(crate) fn provided(&mut self, group: Group, bid: u16) {
        let owned = self.kernel_owned.insert((group, bid));
        self.check(Rule::ProvideOwned, owned, &(group, bid));
        self.known.insert((group, bid));
    }

    /// A descriptor was handed out: by accept, or by socket(2).
    pub(crate) fn opened(&mut self, fd: RawFd) {
        let new = self.open.insert(fd);
        self.check(Rule::AcceptedIsNew, new, &fd);
        self.closed.remove(&fd);
        *self.lives.entry(fd).or_default() += 1;
    }

    /// A descriptor is closed by a plain call, or given away.
    pub(crate) fn closed_now(&mut self, fd: RawFd) {
        let life = self.life(fd);
        let quiet = !self.busy.iter().any(|lane| (lane.0, lane.1) == (fd, life));
        self.check(Rule::QuietCloseNow, quiet, &fd);
        self.open.remove(&fd);
    }

    /// Ops in flight, as the trace has it.
    pub(crate) fn ops_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Buffers that are the kernel's, and all that were ever provided, of this group.
    pub(crate) fn buffers(&self, group: Group) -> (usize, usize) {
        let count = |set: &BTreeSet<(Group, u16)>| set.iter().filter(|(g, _)| *g == group).count();
        (count(&self.kernel_owned), count(&self.known))
    }

    /// The shapes of all completions so far.
    pub(crate) fn shapes(&self) -> &BTreeSet<Shape> {
        &self.shapes
    }

    /// The ring goes away in good order.
    pub(crate) fn finish(&mut self) {
        let settled = self.in_flight.is_empty();
        let left: Vec<Seen> = self.in_flight.values().copied().collect();
        self.check(Rule::AllSettled, settled, &left);
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        for (total, count) in TOTAL.iter().zip(self.checked) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECV: Request<'static> = Request::RecvMulti { fd: 9, group: Group::Head };

    fn cqe(user_data: u64, result: i32, more: bool, buffer: Option<u16>) -> Cqe {
        Cqe { user_data, result, more, buffer }
    }

    #[test]
    fn a_multishot_receive_in_good_order_passes() {
        let mut rules = Rules::new();
        rules.provided(Group::Head, 3);
        rules.pushed(Seen::of(1, &RECV));
        rules.completed(&cqe(1, 10, true, Some(3)));
        rules.provided(Group::Head, 3);
        rules.pushed(Seen::of(2, &Request::Cancel { target: 1 }));
        rules.completed(&cqe(2, 0, false, None));
        rules.completed(&cqe(1, -libc::ECANCELED, false, None));
        rules.pushed(Seen::of(1, &RECV));
        rules.completed(&cqe(1, 0, false, None));
        rules.pushed(Seen::of(3, &Request::Close { fd: 9 }));
        rules.completed(&cqe(3, 0, false, None));
        rules.finish();
        assert_eq!(rules.buffers(Group::Head), (1, 1));
        assert_eq!(rules.ops_in_flight(), 0);
    }

    #[test]
    fn a_number_that_returns_is_another_socket() {
        let mut rules = Rules::new();
        rules.opened(9);
        rules.pushed(Seen::of(1, &RECV));
        rules.pushed(Seen::of(2, &Request::Cancel { target: 1 }));
        rules.pushed(Seen::of(3, &Request::Close { fd: 9 }));
        // CLOSE has run and the number is out again before the old receive has ended.
        rules.opened(9);
        rules.pushed(Seen::of(4, &RECV));
        rules.completed(&cqe(1, -libc::ECANCELED, false, None));
        assert_eq!(rules.ops_in_flight(), 3);
    }

    #[test]
    #[should_panic(expected = "OneReceive")]
    fn a_second_receive_on_a_socket_is_refused() {
        let mut rules = Rules::new();
        rules.pushed(Seen::of(1, &RECV));
        let other = Request::Recv { fd: 9, group: Group::Bulk, poll_first: true };
        rules.pushed(Seen::of(2, &other));
    }

    #[test]
    #[should_panic(expected = "NothingAfterClose")]
    fn a_submission_after_close_is_refused() {
        let mut rules = Rules::new();
        rules.pushed(Seen::of(1, &Request::Close { fd: 9 }));
        rules.pushed(Seen::of(2, &RECV));
    }

    #[test]
    #[should_panic(expected = "CompletionIsOwed")]
    fn a_completion_after_the_final_one_is_refused() {
        let mut rules = Rules::new();
        rules.pushed(Seen::of(1, &RECV));
        rules.completed(&cqe(1, 0, false, None));
        rules.completed(&cqe(1, 0, false, None));
    }

    #[test]
    #[should_panic(expected = "BufferWasKernels")]
    fn data_in_a_buffer_that_was_not_provided_is_refused() {
        let mut rules = Rules::new();
        rules.pushed(Seen::of(1, &RECV));
        rules.completed(&cqe(1, 5, true, Some(0)));
    }

    #[test]
    #[should_panic(expected = "ProvideOwned")]
    fn providing_a_buffer_twice_is_refused() {
        let mut rules = Rules::new();
        rules.provided(Group::Bulk, 0);
        rules.provided(Group::Bulk, 0);
    }

    #[test]
    #[should_panic(expected = "AllSettled")]
    fn an_op_without_its_final_completion_is_seen_at_the_end() {
        let mut rules = Rules::new();
        rules.pushed(Seen::of(1, &RECV));
        rules.finish();
    }
}

//! The real ring: set-up flags, submissions, one `io_uring_enter` a turn, completions, and the
//! memory of the provided-buffer rings. The only user of the `io-uring` crate.
//!
//! Set up on the shard's own thread: SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL, CLAMP, and
//! NO_SQARRAY where the kernel has it; a flag that the kernel refuses is dropped and named in the
//! start line. No SQPOLL, no IOPOLL, no mlock. DEFER_TASKRUN posts completions only inside an
//! enter that carries GETEVENTS, so every enter does, also one that does not wait.
//! Cost: one system call a turn; a push is 64 bytes written and two loads.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode};

use super::{Cqe, Family, Group, Request, SqFull, Wait};
use crate::buf::out::SendBlock;
use crate::buf::pool::Pool;
use crate::config::{Features, Liveness, SetupError, ShardConfig};
use crate::net::address::Address;
use crate::probe;
use crate::sys;

/// An io_uring and the buffer rings registered with it.
pub(crate) struct Uring {
    ring: IoUring,
    /// Index of the registered ring descriptor; None = the plain descriptor is used.
    registered: Option<u32>,
    groups: [BufferRing; 2],
    /// Completions that one enter delivers at most; the next enter must not wait after so many.
    batch: usize,
    random: u64,
    /// Keeps the region mapped as long as the kernel may write to it.
    pool: Rc<Pool>,
}

/// A provided-buffer ring: entries shared with the kernel, and our tail.
struct BufferRing {
    memory: sys::Mapping,
    mask: u16,
    tail: u16,
    published: u16,
}

impl Uring {
    pub(crate) fn new(
        config: &ShardConfig,
        pool: &Rc<Pool>,
    ) -> Result<(Uring, Features), SetupError> {
        let (ring, mut features) = build(config.ring_entries, config.cq_entries)?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(SetupError::Refused { errno: libc::ENOSYS, cause: probe::TOO_OLD });
        }
        let groups = [register(&ring, pool, Group::Head)?, register(&ring, pool, Group::Bulk)?];
        features.fixed_buffers = config.fixed_buffers && pin(&ring, pool).is_ok();
        features.huge_pages = config.huge_pages;
        let registered = register_ring_fd(ring.as_raw_fd()).ok();
        features.ring_fd = registered.is_some();
        let batch = if features.batched { BATCH } else { usize::MAX };
        let random = mix(config.seed ^ (u64::from(config.id) << 48));
        let pool = Rc::clone(pool);
        Ok((Uring { ring, registered, groups, batch, random, pool }, features))
    }

    pub(crate) fn push(&mut self, user_data: u64, request: Request<'_>) -> Result<(), SqFull> {
        let entry = entry(request).user_data(user_data);
        // SAFETY: I2: whatever the entry points at (a send block, an address) is owned by the op
        // slot that `op.rs` filled before this push, and is kept until the final completion.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| SqFull)
    }

    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let submit = self.ring.submission().len() as u32;
        let entered = match wait {
            Wait::No => self.enter_once(submit, 0, None),
            Wait::Until(None) => self.enter_once(submit, 1, None),
            Wait::Until(Some(at)) => {
                let left = at.saturating_duration_since(self.now());
                let limit = Timespec::from(left.min(Duration::from_secs(3600)));
                self.enter_once(submit, 1, Some(&limit))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal, the time limit, memory for a part of the batch, a full completion
                // queue: what was not submitted stays in the queue for the next enter.
                Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn enter_once(&self, submit: u32, wait: u32, limit: Option<&Timespec>) -> io::Result<()> {
        let mut flags = EnterFlags::GETEVENTS;
        let mut args = SubmitArgs::new();
        if let Some(limit) = limit {
            flags |= EnterFlags::EXT_ARG;
            args = args.timespec(limit);
        }
        let (argument, size) = match limit {
            Some(_) => (std::ptr::from_ref(&args).cast::<libc::c_void>(), size_of_val(&args)),
            None => (std::ptr::null(), 0),
        };
        let fd = match self.registered {
            Some(index) => {
                flags |= EnterFlags::REGISTERED_RING;
                index as RawFd
            }
            None => self.ring.as_raw_fd(),
        };
        let number = libc::SYS_io_uring_enter;
        // SAFETY: the argument is null or points at `args`, whose timespec outlives the call;
        // submitted entries obey I2 (see `push`).
        let result =
            unsafe { libc::syscall(number, fd, submit, wait, flags.bits(), argument, size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(crate) fn reap(&mut self, into: &mut Vec<Cqe>) -> bool {
        let first = into.len();
        // The guard reads the tail once and stores the head once, when it is dropped.
        into.extend(self.ring.completion().map(|cqe| Cqe {
            user_data: cqe.user_data(),
            result: cqe.result(),
            more: cqueue::more(cqe.flags()),
            buffer: cqueue::buffer_select(cqe.flags()),
        }));
        into.len() - first < self.batch
    }

    pub(crate) fn provide(&mut self, group: Group, bid: u16) {
        let address = self.pool.address(group, bid).as_ptr() as u64;
        let len = self.pool.page_bytes(group);
        self.groups[group.index()].stage(address, len, bid);
    }

    pub(crate) fn publish(&mut self) {
        for ring in &mut self.groups {
            ring.publish();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub(crate) fn now(&mut self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub(crate) fn wall(&mut self) -> SystemTime {
        SystemTime::now()
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.random)
    }

    pub(crate) fn socket(&mut self, family: Family) -> io::Result<RawFd> {
        sys::socket(family).map(IntoRawFd::into_raw_fd)
    }

    pub(crate) fn set_nodelay(&mut self, fd: RawFd) -> io::Result<()> {
        sys::set_nodelay(fd)
    }

    pub(crate) fn set_liveness(&mut self, fd: RawFd, liveness: &Liveness) -> io::Result<()> {
        sys::set_liveness(fd, liveness)
    }

    pub(crate) fn peer_address(&mut self, fd: RawFd) -> io::Result<Address> {
        sys::peer_name(fd)?.address().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn local_address(&mut self, fd: RawFd) -> io::Result<Address> {
        sys::socket_name(fd)?.address().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        sys::shutdown_write(fd)
    }

    pub(crate) fn linger_zero(&mut self, fd: RawFd) -> io::Result<()> {
        sys::linger_zero(fd)
    }

    pub(crate) fn close_now(&mut self, fd: RawFd) {
        sys::close(fd);
    }

    pub(crate) fn accept_now(&mut self, fd: RawFd) -> io::Result<Option<RawFd>> {
        sys::accept(fd)
    }

    pub(crate) fn open_reserve(&mut self) -> io::Result<RawFd> {
        sys::open_null().map(IntoRawFd::into_raw_fd)
    }

    pub(crate) fn hand_over(&mut self, fd: RawFd) -> Option<OwnedFd> {
        Some(sys::own(fd))
    }

    pub(crate) fn overflowed(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if let Some(index) = self.registered {
            unregister_ring_fd(self.ring.as_raw_fd(), index);
        }
    }
}

impl BufferRing {
    fn entries(&self) -> *mut BufRingEntry {
        self.memory.start().as_ptr().cast()
    }

    fn stage(&mut self, address: u64, len: u32, bid: u16) {
        let at = usize::from(self.tail & self.mask);
        // SAFETY: `at` is masked by the entry count, for which `memory` was sized.
        let entry = unsafe { self.entries().add(at) };
        // SAFETY: entries past the published tail are ours alone; the kernel reads them only
        // after `publish`. All bit patterns are valid (plain integers, zeroed memory).
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(bid);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: `memory` holds at least one entry; the tail lies in the first one's spare field.
        let tail = unsafe { BufRingEntry::tail(self.entries()) };
        // SAFETY: the address is aligned for u16, mapped as long as `memory` lives, and only ever
        // accessed atomically by us (the kernel only reads it).
        let shared = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        shared.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }
}

/// Completions an enter with a wait delivers at most since 6.13 (the kernel's task-work limit).
const BATCH: usize = 20;
/// POLL_FIRST: wait for readiness instead of trying a receive that will fail.
const POLL_FIRST: u16 = 1;
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;

fn entry(request: Request<'_>) -> Entry {
    match request {
        Request::Accept { fd } => {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            opcode::AcceptMulti::new(Fd(fd)).flags(flags).build()
        }
        Request::RecvMulti { fd, group } => opcode::RecvMulti::new(Fd(fd), group as u16).build(),
        Request::Recv { fd, group, poll_first } => {
            let ioprio = if poll_first { POLL_FIRST } else { 0 };
            opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0)
                .ioprio(ioprio)
                .buf_group(group as u16)
                .build()
                .flags(Flags::BUFFER_SELECT)
        }
        Request::Send { fd, block } => send_entry(fd, block),
        Request::Connect { fd, address } => {
            opcode::Connect::new(Fd(fd), address.as_ptr(), address.len()).build()
        }
        Request::PollHup { fd } => {
            let events = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
            opcode::PollAdd::new(Fd(fd), events as u32).build()
        }
        Request::PollIn { fd } => {
            opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true).build()
        }
        Request::Cancel { target } => opcode::AsyncCancel::new(target).build(),
        Request::Close { fd } => opcode::Close::new(Fd(fd)).build(),
    }
}

fn send_entry(fd: RawFd, block: &SendBlock) -> Entry {
    match block.single() {
        Some(bytes) => {
            let len = bytes.len().min(1 << 30) as u32;
            opcode::Send::new(Fd(fd), bytes.as_ptr(), len).flags(SEND_FLAGS).build()
        }
        None => opcode::SendMsg::new(Fd(fd), block.header()).flags(SEND_FLAGS as u32).build(),
    }
}

/// Set-up flags in the order in which they are given up.
const FLAGS: [&str; 5] = ["no_sqarray", "defer_taskrun", "single_issuer", "submit_all", "clamp"];

fn build(sq_entries: u32, cq_entries: u32) -> Result<(IoUring, Features), SetupError> {
    let mut dropped = 0;
    let mut waits = 0;
    let ring = loop {
        match build_with(&FLAGS[dropped..], sq_entries, cq_entries) {
            Ok(ring) => break ring,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL) if dropped < FLAGS.len() => dropped += 1,
                // A ring that has just been closed is uncounted a little later.
                Some(libc::ENOMEM) if waits < 40 => {
                    waits += 1;
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                errno => return Err(refused(errno)),
            },
        }
    };
    let version = probe::kernel_version();
    let features = Features {
        flags: FLAGS[dropped..].iter().rev().copied().collect(),
        refused: FLAGS[..dropped].to_vec(),
        sq_entries: ring.params().sq_entries(),
        cq_entries: ring.params().cq_entries(),
        batched: version >= (6, 13),
        incremental: version >= (6, 12),
        min_wait: ring.params().is_feature_min_timeout(),
        ..Features::default()
    };
    Ok((ring, features))
}

fn build_with(flags: &[&str], sq_entries: u32, cq_entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize(cq_entries);
    for flag in flags {
        match *flag {
            "no_sqarray" => builder.setup_no_sqarray(),
            "defer_taskrun" => builder.setup_defer_taskrun(),
            "single_issuer" => builder.setup_single_issuer(),
            "submit_all" => builder.setup_submit_all(),
            _ => builder.setup_clamp(),
        };
    }
    builder.build(sq_entries)
}

fn refused(errno: Option<i32>) -> SetupError {
    let errno = errno.unwrap_or(0);
    SetupError::Refused { errno, cause: probe::cause(errno) }
}

/// Whether a ring can be made at all here; for `doctor`.
pub(crate) fn try_ring() -> Result<Features, SetupError> {
    build(8, 16).map(|(_, features)| features)
}

fn register(ring: &IoUring, pool: &Pool, group: Group) -> Result<BufferRing, SetupError> {
    let entries = pool.count(group).next_power_of_two() as u16;
    let memory = sys::Mapping::new(usize::from(entries) * size_of::<BufRingEntry>())
        .map_err(SetupError::io("mapping a buffer ring"))?;
    let address = memory.start().as_ptr() as u64;
    let submitter = ring.submitter();
    // SAFETY: `memory` is as long as `entries` says and lives in the `BufferRing`, which is
    // dropped with or after the ring (field order), or leaked with it (I5).
    unsafe { submitter.register_buf_ring_with_flags(address, entries, group as u16, 0) }
        .map_err(SetupError::io("registering a buffer ring"))?;
    Ok(BufferRing { memory, mask: entries - 1, tail: 0, published: 0 })
}

/// Pins the region as registered buffers: a source for zero-copy sends, where memlock allows.
fn pin(ring: &IoUring, pool: &Pool) -> io::Result<()> {
    let (start, len) = pool.region();
    let iovec = libc::iovec { iov_base: start.as_ptr().cast(), iov_len: len };
    // SAFETY: the region stays mapped as long as the ring lives: `Uring` holds the pool.
    unsafe { ring.submitter().register_buffers(&[iovec]) }
}

/// The kernel's `io_uring_rsrc_update`, as REGISTER_RING_FDS takes it.
#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

fn register_ring_fd(fd: RawFd) -> io::Result<u32> {
    let mut update = RingFdUpdate { offset: u32::MAX, reserved: 0, data: fd as u64 };
    ring_fds(fd, REGISTER_RING_FDS, &mut update)?;
    Ok(update.offset)
}

fn unregister_ring_fd(fd: RawFd, index: u32) {
    let mut update = RingFdUpdate { offset: index, reserved: 0, data: 0 };
    // A failure leaves the registration to the thread's end.
    let _ = ring_fds(fd, UNREGISTER_RING_FDS, &mut update);
}

fn ring_fds(fd: RawFd, opcode: libc::c_uint, update: &mut RingFdUpdate) -> io::Result<()> {
    let pointer = std::ptr::from_mut(update);
    // SAFETY: the pointer is to one update record, as the count of 1 says, and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, pointer, 1) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// SplitMix64's finaliser: good enough for jitter, ids and table seeds.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_sets_up_and_returns_at_once_when_not_waiting() {
        let config = ShardConfig { ring_entries: 8, cq_entries: 64, ..ShardConfig::default() };
        let pool = Pool::new(&config, 64).unwrap();
        let (mut ring, features) = Uring::new(&config, &pool).unwrap();
        assert!(features.flags.contains(&"defer_taskrun"), "{features}");
        assert_eq!(features.sq_entries, 8);
        ring.enter(Wait::No).unwrap();
        let mut cqes = Vec::new();
        assert!(ring.reap(&mut cqes));
        assert!(cqes.is_empty());
    }

    #[test]
    fn a_full_queue_says_so_and_takes_more_after_an_enter() {
        let config = ShardConfig { ring_entries: 4, cq_entries: 16, ..ShardConfig::default() };
        let pool = Pool::new(&config, 64).unwrap();
        let (mut ring, _) = Uring::new(&config, &pool).unwrap();
        for index in 0..4 {
            assert_eq!(ring.push(index, Request::Cancel { target: 99 }), Ok(()));
        }
        assert_eq!(ring.push(4, Request::Cancel { target: 99 }), Err(SqFull));
        ring.enter(Wait::Until(None)).unwrap();
        assert_eq!(ring.push(4, Request::Cancel { target: 99 }), Ok(()));
        ring.enter(Wait::No).unwrap();
        let mut cqes = Vec::new();
        ring.reap(&mut cqes);
        assert_eq!(cqes.len(), 5);
        assert!(cqes.iter().all(|cqe| cqe.result == -libc::ENOENT && !cqe.more));
    }
}

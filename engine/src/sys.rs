//! System calls that std does not offer: mappings, socket options, descriptors, limits, affinity.
//!
//! Every function is safe to call and turns -1 into `io::Error` at this edge. Descriptors are
//! plain numbers here; who owns one is said by the caller.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use crate::config::Liveness;
use crate::net::address::RawAddress;
use crate::ring::Family;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An anonymous private mapping, zeroed, unmapped on drop.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps at least `len` bytes, starting at a multiple of `align` (a power of two).
    pub(crate) fn aligned(len: usize, align: usize) -> io::Result<Mapping> {
        assert!(align.is_power_of_two() && align >= PAGE_BYTES);
        let len = len.next_multiple_of(PAGE_BYTES);
        let whole = Mapping::new(len + align)?;
        let slack = whole.start.as_ptr().align_offset(align);
        let mut whole = std::mem::ManuallyDrop::new(whole);
        whole.trim_front(slack);
        whole.trim_back(len);
        Ok(Mapping { start: whole.start, len: whole.len })
    }

    /// Maps `len` bytes, rounded up to whole pages.
    pub(crate) fn new(len: usize) -> io::Result<Mapping> {
        let len = len.next_multiple_of(PAGE_BYTES);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len })
    }

    fn trim_front(&mut self, bytes: usize) {
        if bytes > 0 {
            // SAFETY: `bytes` is less than the mapping's length (at most the alignment).
            let start = unsafe { self.start.add(bytes) };
            unmap(self.start, bytes);
            (self.start, self.len) = (start, self.len - bytes);
        }
    }

    fn trim_back(&mut self, keep: usize) {
        if self.len > keep {
            // SAFETY: `keep` is less than the mapping's length.
            let end = unsafe { self.start.add(keep) };
            unmap(end, self.len - keep);
            self.len = keep;
        }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// MADV_HUGEPAGE: a wish, refused by kernels without transparent huge pages.
    pub(crate) fn advise_huge(&self) -> io::Result<()> {
        let start = self.start.as_ptr().cast();
        // SAFETY: the range is this mapping's own; the advice does not change its contents.
        check(unsafe { libc::madvise(start, self.len, libc::MADV_HUGEPAGE) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.start, self.len);
    }
}

fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: only `Mapping` calls this, with a range of its own that nobody refers to any more:
    // views hold the pool alive, and the pool is leaked when ops are in flight (I5).
    let result = unsafe { libc::munmap(start.as_ptr().cast(), len) };
    debug_assert_eq!(result, 0);
}

/// From now on this process gets transparent huge pages only for memory that was advised to have
/// them; none at all on kernels before 6.18, which know all or nothing. Call it while there is one
/// thread: it is the whole process's.
///
/// # Errors
/// A kernel without transparent huge pages.
pub fn huge_pages_where_advised_only() -> io::Result<()> {
    // PR_THP_DISABLE_EXCEPT_ADVISED, which libc lacks.
    const EXCEPT_ADVISED: libc::c_ulong = 1 << 1;
    let disable = |flags: libc::c_ulong| {
        let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
        // SAFETY: only numbers are passed.
        let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, flags, unused, unused) };
        check(result).map(drop)
    };
    disable(EXCEPT_ADVISED).or_else(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => disable(0),
        _ => Err(error),
    })
}

/// x86-64 and the kernels we support elsewhere use 4 KiB or multiples that mmap rounds up to.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A non-blocking, close-on-exec stream socket.
pub(crate) fn socket(family: Family) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::Inet4 => libc::AF_INET,
        Family::Inet6 => libc::AF_INET6,
        Family::Unix => libc::AF_UNIX,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(domain, kind, 0) })?;
    Ok(own(fd))
}

/// Takes ownership of a descriptor that a call of this crate has just returned.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass a descriptor they got from the kernel and that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn set_option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let pointer = std::ptr::from_ref(value).cast();
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, level, name, pointer, len) }).map(drop)
}

/// Sets an integer socket option.
pub(crate) fn set_flag(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_option(fd, level, name, &value)
}

pub(crate) fn set_nodelay(fd: RawFd) -> io::Result<()> {
    set_flag(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// Sets keepalive and user timeout of a TCP socket. An accepted socket inherits both from its
/// listener, so that accepting needs no call.
pub(crate) fn set_liveness(fd: RawFd, liveness: &Liveness) -> io::Result<()> {
    if let Some((idle_s, interval_s)) = liveness.keepalive_s() {
        set_flag(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_s)?;
        set_flag(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, interval_s)?;
        set_flag(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, Liveness::PROBES)?;
        set_flag(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    }
    if let Some(timeout_ms) = liveness.user_timeout_ms() {
        set_flag(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, timeout_ms)?;
    }
    Ok(())
}

/// What [`set_liveness`] sets, as the kernel has it: on, idle, interval, probes, user timeout.
#[cfg(test)]
pub(crate) fn liveness(fd: RawFd) -> [i32; 5] {
    let tcp = libc::IPPROTO_TCP;
    [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (tcp, libc::TCP_KEEPIDLE),
        (tcp, libc::TCP_KEEPINTVL),
        (tcp, libc::TCP_KEEPCNT),
        (tcp, libc::TCP_USER_TIMEOUT),
    ]
    .map(|(level, name)| {
        let (mut value, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
        let pointer = std::ptr::from_mut(&mut value).cast();
        // SAFETY: pointer and length describe `value`, which outlives the call.
        check(unsafe { libc::getsockopt(fd, level, name, pointer, &mut len) }).unwrap();
        value
    })
}

pub(crate) fn linger_zero(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

pub(crate) fn bind(fd: RawFd, address: &RawAddress) -> io::Result<()> {
    // SAFETY: pointer and length describe `address`, which outlives the call.
    check(unsafe { libc::bind(fd, address.as_ptr(), address.len()) }).map(drop)
}

pub(crate) fn connect(fd: RawFd, address: &RawAddress) -> io::Result<()> {
    // SAFETY: pointer and length describe `address`, which outlives the call.
    check(unsafe { libc::connect(fd, address.as_ptr(), address.len()) }).map(drop)
}

pub(crate) fn listen(fd: RawFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(fd, backlog) }).map(drop)
}

pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

/// Closes a descriptor that the caller owns and no op refers to.
pub(crate) fn close(fd: RawFd) {
    drop(own(fd));
}

/// accept4(2) with NONBLOCK and CLOEXEC; None when nothing is queued.
pub(crate) fn accept(fd: RawFd) -> io::Result<Option<RawFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null address pointers are allowed and mean "not wanted".
    let result = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    match check(result) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn peer_name(fd: RawFd) -> io::Result<RawAddress> {
    let mut raw = RawAddress::empty();
    let mut len = RawAddress::CAPACITY;
    // SAFETY: pointer and length describe `raw`, which outlives the call.
    check(unsafe { libc::getpeername(fd, raw.as_mut_ptr(), &mut len) })?;
    raw.set_len(len);
    Ok(raw)
}

pub(crate) fn socket_name(fd: RawFd) -> io::Result<RawAddress> {
    let mut raw = RawAddress::empty();
    let mut len = RawAddress::CAPACITY;
    // SAFETY: pointer and length describe `raw`, which outlives the call.
    check(unsafe { libc::getsockname(fd, raw.as_mut_ptr(), &mut len) })?;
    raw.set_len(len);
    Ok(raw)
}

/// A descriptor that costs nothing and can be closed when one is needed.
pub(crate) fn open_null() -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a constant, NUL-terminated string.
    let fd = check(unsafe { libc::open(c"/dev/null".as_ptr(), flags) })?;
    Ok(own(fd))
}

/// A non-blocking eventfd.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
    Ok(own(fd))
}

/// Adds 1 to an eventfd. Failure means the counter is at its maximum: it is readable then.
pub(crate) fn eventfd_signal(fd: RawFd) {
    let one = 1_u64;
    // SAFETY: pointer and length describe `one`, which outlives the call.
    let _ = unsafe { libc::write(fd, (&raw const one).cast(), 8) };
}

/// Resets an eventfd to 0.
pub(crate) fn eventfd_drain(fd: RawFd) {
    let mut count = 0_u64;
    // SAFETY: pointer and length describe `count`, which outlives the call.
    let _ = unsafe { libc::read(fd, (&raw mut count).cast(), 8) };
}

/// Soft and hard limit of a resource.
pub(crate) fn limit(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that outlives the call.
    check(unsafe { libc::getrlimit(resource, &mut limits) })?;
    Ok((limits.rlim_cur, limits.rlim_max))
}

/// Raises the soft limit of a resource to its hard limit.
pub(crate) fn raise_limit(resource: libc::__rlimit_resource_t) -> io::Result<()> {
    let (_, hard) = limit(resource)?;
    let limits = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the pointer is to a local that outlives the call.
    check(unsafe { libc::setrlimit(resource, &limits) }).map(drop)
}

/// True when the process may lock any amount of memory: the kernel does not count for it.
pub(crate) fn may_lock_all() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    bits & (1 << CAP_IPC_LOCK) != 0
}

const CAP_IPC_LOCK: u32 = 14;

/// Blocks all signals on the calling thread: they belong to the control thread.
pub(crate) fn block_signals() -> io::Result<()> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a local; the call initialises it.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: `set` was initialised above; a null old set is allowed.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

#[cfg(feature = "asan")]
unsafe extern "C" {
    fn __asan_poison_memory_region(address: *const u8, len: usize);
    fn __asan_unpoison_memory_region(address: *const u8, len: usize);
}

/// Marks bytes as (not) to be touched by instrumented code.
#[cfg(feature = "asan")]
pub(crate) fn asan_poison(start: NonNull<u8>, len: usize, poisoned: bool) {
    if poisoned {
        // SAFETY: only shadow memory is written; the range is the pool's own.
        unsafe { __asan_poison_memory_region(start.as_ptr(), len) }
    } else {
        // SAFETY: as above.
        unsafe { __asan_unpoison_memory_region(start.as_ptr(), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_aligned_and_zeroed() {
        let mapping = Mapping::aligned(3 << 20, 2 << 20).unwrap();
        assert_eq!(mapping.start().as_ptr() as usize % (2 << 20), 0);
        assert_eq!(mapping.len(), 3 << 20);
        // SAFETY: the first byte lies in the mapping, which is zeroed and ours.
        assert_eq!(unsafe { mapping.start().read() }, 0);
    }

    #[test]
    fn an_eventfd_signals_and_drains() {
        use std::os::fd::AsRawFd;
        let fd = eventfd().unwrap();
        eventfd_signal(fd.as_raw_fd());
        eventfd_drain(fd.as_raw_fd());
        eventfd_drain(fd.as_raw_fd());
    }

    #[test]
    fn limits_are_read() {
        let (soft, hard) = limit(libc::RLIMIT_NOFILE).unwrap();
        assert!(soft <= hard);
    }
}

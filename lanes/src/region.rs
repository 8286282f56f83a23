//! Memory that is written once and then only read, on huge pages where it is large.
//!
//! A random read of a large table misses the TLB as well as the cache; one huge page of 2 MiB takes
//! one TLB entry instead of 512. The kernel is only asked (`MADV_HUGEPAGE`): without huge pages
//! everything works, slower.
//!
//! Invariant G1: `address` is the start of `len` initialised bytes that this value alone owns, from
//! a mapping of `mapped_len` bytes (`is_mapped`) or from a boxed slice, until it is dropped.

use std::ops::{Deref, DerefMut};
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// The size of a huge page. From this size on memory is mapped, and huge pages are asked for.
const MAPPED_MIN: usize = 1 << 21;

/// Owned bytes. Zero at first.
#[derive(Debug)]
pub struct Region {
    /// An exposed address, so that the value can be shared like the bytes it stands for.
    address: usize,
    len: usize,
    is_mapped: bool,
}

impl Region {
    /// `len` zero bytes.
    ///
    /// # Panics
    /// When there is no memory.
    pub fn zeroed(len: usize) -> Region {
        if len < MAPPED_MIN {
            return Region::from(vec![0; len].into_boxed_slice());
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // Only mappings of whole huge pages begin with one (Linux 6.7).
        let size = mapped_len(len);
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), size, protection, flags) };
        let start = mapped.unwrap_or_else(|error| panic!("cannot map {size} bytes: {error}"));
        // A huge page for the last few bytes would be memory in vain.
        // SAFETY: the mapping is ours; this advice changes no content.
        let _ = unsafe { madvise(start, len - len % MAPPED_MIN, Advice::LinuxHugepage) };
        Region { address: start.expose_provenance(), len, is_mapped: true }
    }
}

fn mapped_len(len: usize) -> usize {
    len.next_multiple_of(MAPPED_MIN)
}

impl From<Box<[u8]>> for Region {
    fn from(bytes: Box<[u8]>) -> Region {
        let len = bytes.len();
        let start = Box::into_raw(bytes).cast::<u8>();
        Region { address: start.expose_provenance(), len, is_mapped: false }
    }
}

impl Deref for Region {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = ptr::with_exposed_provenance(self.address);
        // SAFETY: G1; the borrow of `self` keeps the bytes alive and unwritten.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: G1; the unique borrow of `self` is a unique borrow of the bytes.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let start = ptr::with_exposed_provenance_mut::<u8>(self.address);
        if self.is_mapped {
            // SAFETY: G1: the whole mapping is ours, and nobody borrows it any more.
            let _ = unsafe { munmap(start.cast(), mapped_len(self.len)) };
        } else {
            // SAFETY: G1: the pointer and length came from a box.
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(start, self.len)) });
        }
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Region>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_ones_hold_what_is_written() {
        for len in [0, 1, 4096, MAPPED_MIN - 1, MAPPED_MIN, MAPPED_MIN + 5] {
            let mut region = Region::zeroed(len);
            assert_eq!((region.len(), region.is_mapped), (len, len >= MAPPED_MIN));
            assert!(region.iter().all(|byte| *byte == 0));
            if let Some(last) = region.last_mut() {
                *last = 7;
                assert_eq!(region[len - 1], 7);
            }
        }
    }

    #[test]
    fn a_box_becomes_one() {
        let region = Region::from(vec![1, 2, 3].into_boxed_slice());
        assert_eq!(*region, [1, 2, 3]);
        let other = std::thread::spawn(move || region[1]);
        assert_eq!(other.join().unwrap(), 2);
    }
}

//! `Buf`: a counted, read-only view of received bytes. `Fill`: the unique writer of a page that
//! the shard fills itself.
//!
//! A view is {page, offset, length}; clones and slices share the page through a non-atomic count
//! (`Rc` for the rare view of heap bytes). References cover exactly one part: a `Fill` hands out
//! `&mut` only past what it has split off, so views and writer never overlap.
//! Cost: clone and drop are an increment and a decrement; no allocation, no copy.

use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::buf::pool::Pool;
use crate::ring::Group;

/// A view into one page of received bytes.
pub struct Buf {
    page: Page,
    offset: u32,
    len: u32,
}

/// Who keeps the bytes alive.
enum Page {
    Pool(PoolPage),
    /// The connection's heap tail (B1) or bytes handed in by tests.
    Heap(Rc<[u8]>),
}

/// One counted reference to a pool page.
struct PoolPage {
    pool: Rc<Pool>,
    group: Group,
    bid: u16,
    #[cfg(debug_assertions)]
    generation: u32,
}

impl PoolPage {
    /// Adopts a reference that the pool has already counted.
    fn adopt(pool: Rc<Pool>, group: Group, bid: u16) -> PoolPage {
        #[cfg(debug_assertions)]
        let generation = pool.generation(group, bid);
        PoolPage {
            pool,
            group,
            bid,
            #[cfg(debug_assertions)]
            generation,
        }
    }

    fn start(&self) -> NonNull<u8> {
        #[cfg(debug_assertions)]
        assert_eq!(self.generation, self.pool.generation(self.group, self.bid), "recycled page");
        self.pool.address(self.group, self.bid)
    }
}

impl Clone for PoolPage {
    fn clone(&self) -> PoolPage {
        self.pool.retain(self.group, self.bid);
        PoolPage::adopt(Rc::clone(&self.pool), self.group, self.bid)
    }
}

impl Drop for PoolPage {
    fn drop(&mut self) {
        self.pool.release(self.group, self.bid);
    }
}

impl Buf {
    /// The first `len` bytes of a page just taken from the kernel.
    pub(crate) fn received(pool: &Rc<Pool>, group: Group, bid: u16, len: u32) -> Buf {
        let len = len.min(pool.page_bytes(group));
        let page = Page::Pool(PoolPage::adopt(Rc::clone(pool), group, bid));
        Buf { page, offset: 0, len }
    }

    /// Bytes on the heap, at most 4 GiB.
    pub(crate) fn heap(bytes: &[u8]) -> Buf {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Buf { page: Page::Heap(bytes.into()), offset: 0, len }
    }

    /// A copy of `bytes` that lives on the heap: for tests and for callers that must put back
    /// bytes that no page holds any more.
    pub fn copy_of(bytes: &[u8]) -> Buf {
        Buf::heap(bytes)
    }

    /// A narrower view of the same page. Panics if the range is not inside this view.
    pub fn slice(&self, range: Range<usize>) -> Buf {
        assert!(range.start <= range.end && range.end <= self.len as usize, "slice out of range");
        let page = match &self.page {
            Page::Pool(page) => Page::Pool(page.clone()),
            Page::Heap(bytes) => Page::Heap(Rc::clone(bytes)),
        };
        let offset = self.offset + range.start as u32;
        Buf { page, offset, len: (range.end - range.start) as u32 }
    }

    /// Drops the first `count` bytes from the view. Panics if there are not so many.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len as usize, "advance out of range");
        self.offset += count as u32;
        self.len -= count as u32;
    }

    /// Bytes of the page that this view keeps alive.
    pub fn capacity(&self) -> usize {
        match &self.page {
            Page::Pool(page) => page.pool.page_bytes(page.group) as usize,
            Page::Heap(bytes) => bytes.len(),
        }
    }

    /// True for a view of a receive page, false for heap bytes.
    pub fn is_pooled(&self) -> bool {
        matches!(self.page, Page::Pool(_))
    }

    /// True when both views keep the same page alive.
    pub(crate) fn same_page(&self, other: &Buf) -> bool {
        match (&self.page, &other.page) {
            (Page::Pool(a), Page::Pool(b)) => (a.group, a.bid) == (b.group, b.bid),
            (Page::Heap(a), Page::Heap(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Clone for Buf {
    fn clone(&self) -> Buf {
        self.slice(0..self.len as usize)
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let at = self.offset as usize..self.offset as usize + self.len as usize;
        match &self.page {
            Page::Heap(bytes) => &bytes[at],
            Page::Pool(page) => {
                // SAFETY: `received` bounds offset + len by the page, so this stays inside it.
                let start = unsafe { page.start().add(at.start) };
                // SAFETY: the page is held (counted by `page`), the kernel does not write a held
                // page (I2), a `Fill` of it hands out `&mut` only past what it has split off, and
                // the bytes are initialised: the region is zeroed at start.
                unsafe { std::slice::from_raw_parts(start.as_ptr(), at.len()) }
            }
        }
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} of {} bytes)", self.len, self.capacity())
    }
}

/// The unique writer of one page: fill the spare part, cut filled bytes off as views.
pub struct Fill {
    page: PoolPage,
    /// Everything before this belongs to views.
    split: u32,
    filled: u32,
}

impl Fill {
    /// Takes a free page of the group; None when the group has none.
    pub(crate) fn take(pool: &Rc<Pool>, group: Group) -> Option<Fill> {
        let bid = pool.take_free(group)?;
        let page = PoolPage::adopt(Rc::clone(pool), group, bid);
        Some(Fill { page, split: 0, filled: 0 })
    }

    fn capacity(&self) -> u32 {
        self.page.pool.page_bytes(self.page.group)
    }

    /// Bytes written and not yet split off.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        let (at, len) = (self.split, self.filled - self.split);
        self.part(at, len)
    }

    /// The part not written yet.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let (at, len) = (self.filled, self.capacity() - self.filled);
        self.part(at, len)
    }

    fn part(&mut self, at: u32, len: u32) -> &mut [u8] {
        debug_assert!(at >= self.split && at + len <= self.capacity());
        // SAFETY: `at` is at most the capacity: all callers keep split <= filled <= capacity.
        let start = unsafe { self.page.start().add(at as usize) };
        // SAFETY: the page is held, so the kernel does not touch it; views cover only bytes
        // before `split` <= `at`; and `&mut self` makes this the only reference to the part.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len as usize) }
    }

    /// `count` bytes of the spare part were written. Panics if it is not so long.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= (self.capacity() - self.filled) as usize, "advance out of range");
        self.filled += count as u32;
    }

    /// Cuts the first `count` filled bytes off as a view. Panics if there are not so many.
    pub fn split_to(&mut self, count: usize) -> Buf {
        assert!(count <= (self.filled - self.split) as usize, "split out of range");
        let buf =
            Buf { page: Page::Pool(self.page.clone()), offset: self.split, len: count as u32 };
        self.split += count as u32;
        buf
    }

    /// Starts over when no view of the page is left; false (and no change) while one is.
    pub fn reset(&mut self) -> bool {
        let alone = self.page.pool.references(self.page.group, self.page.bid) == 1;
        if alone {
            (self.split, self.filled) = (0, 0);
        }
        alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::pool::tests::small;

    fn delivered(pool: &Rc<Pool>, bytes: &[u8]) -> Buf {
        let bid = pool.next_visible(Group::Head).unwrap();
        pool.kernel_write(Group::Head, bid, bytes);
        assert!(pool.take_visible(Group::Head, bid, 0));
        Buf::received(pool, Group::Head, bid, bytes.len() as u32)
    }

    #[test]
    fn the_last_view_gives_the_page_back() {
        let pool = small();
        let buf = delivered(&pool, b"hello world");
        let word = buf.slice(6..11);
        let copy = word.clone();
        drop(buf);
        drop(word);
        assert_eq!(&copy[..], b"world");
        assert_eq!(copy.capacity(), 4096);
        assert_eq!(pool.census(Group::Head)[2], 1);
        drop(copy);
        assert_eq!(pool.census(Group::Head)[2], 0);
    }

    #[test]
    fn a_view_keeps_the_region_mapped() {
        let pool = small();
        let buf = delivered(&pool, b"still here");
        drop(pool);
        assert_eq!(&buf[..], b"still here");
    }

    #[test]
    fn heap_views_behave_alike() {
        let mut buf = Buf::copy_of(b"abcdef");
        buf.advance(2);
        assert_eq!(&buf.slice(1..3)[..], b"de");
        assert!(!buf.is_pooled());
    }

    #[test]
    fn a_fill_splits_views_off_and_starts_over_when_alone() {
        let pool = small();
        let mut fill = Fill::take(&pool, Group::Bulk).unwrap();
        fill.spare_mut()[..6].copy_from_slice(b"onetwo");
        fill.advance(6);
        let one = fill.split_to(3);
        fill.filled_mut().make_ascii_uppercase();
        let two = fill.split_to(3);
        assert_eq!((&one[..], &two[..]), (&b"one"[..], &b"TWO"[..]));
        assert!(!fill.reset());
        drop((one, two));
        assert!(fill.reset());
        assert_eq!(fill.spare_mut().len(), 65536);
        drop(fill);
        assert_eq!(pool.census(Group::Bulk)[2], 0);
    }

    #[test]
    #[should_panic(expected = "slice out of range")]
    fn a_slice_beyond_the_view_panics() {
        let _ = Buf::copy_of(b"abc").slice(1..4);
    }
}

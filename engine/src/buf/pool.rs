//! The shard's receive region: one 2 MiB-aligned mapping, two groups of equal pages, registered
//! with the kernel as provided-buffer rings.
//!
//! A page is in exactly one place: free (LIFO stack), visible (in the kernel's ring), or held by
//! views. The ring is registered at its maximum, but only a *shallow part* is visible: buffer
//! rings are FIFO, so a deep one walks through cold memory (engine.md). The visible target is the
//! number of armed receives up to a mark, doubled by ENOBUFS and decayed while idle.
//!
//! Not here: which socket may arm (`net/slot.rs`) and the ring's own memory (`ring/uring.rs`).
//! In debug builds a page that comes back is filled with 0xDD and its generation moves on, which
//! every later dereference checks. Cost: a few stores a page; no allocation after start.

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::config::ShardConfig;
use crate::ring::Group;
use crate::sys;

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Free,
    Visible,
    Held,
}

/// One page's bookkeeping.
struct Page {
    references: Cell<u32>,
    generation: Cell<u32>,
    /// Socket slot that received it; counts against that socket's cap (B3).
    owner: Cell<u32>,
    place: Cell<Place>,
}

/// One group of equal pages.
struct Pages {
    base: usize,
    page_bytes: u32,
    pages: Box<[Page]>,
    free: RefCell<Vec<u16>>,
    visible: Cell<u32>,
    target: Cell<u32>,
    boost: Cell<u32>,
    armed: Cell<u32>,
    /// What the target is at most without ENOBUFS.
    mark: u32,
}

/// The region and both groups. Shared by the shard and every view, so the mapping outlives all.
pub(crate) struct Pool {
    region: sys::Mapping,
    groups: [Pages; 2],
    /// Pages held, by owner's socket index and group.
    held: RefCell<Vec<[u16; 2]>>,
}

/// Nobody's page: taken by the shard's own code.
pub(crate) const NO_OWNER: u32 = u32::MAX;

impl Pool {
    /// Maps the region. `visible_mark` is the most head pages shown without ENOBUFS.
    pub(crate) fn new(config: &ShardConfig, visible_mark: u32) -> io::Result<Rc<Pool>> {
        let bytes = config.region_bytes();
        let region = sys::Mapping::aligned(bytes, 2 << 20)?;
        if config.huge_pages {
            region.advise_huge()?;
        }
        let heads = usize::from(config.head_bufs) * config.head_buf_bytes as usize;
        let bulk_mark = visible_mark.min(BULK_MARK);
        Ok(Rc::new(Pool {
            region,
            groups: [
                Pages::new(0, config.head_buf_bytes, config.head_bufs, visible_mark),
                Pages::new(heads, config.bulk_buf_bytes, config.bulk_bufs, bulk_mark),
            ],
            held: RefCell::new(Vec::new()),
        }))
    }

    /// Pages of a group.
    pub(crate) fn count(&self, group: Group) -> usize {
        self.groups[group.index()].pages.len()
    }

    /// Bytes of one page of a group.
    pub(crate) fn page_bytes(&self, group: Group) -> u32 {
        self.groups[group.index()].page_bytes
    }

    /// Pages that are free or visible: what receives can still use.
    pub(crate) fn available(&self, group: Group) -> usize {
        let pages = &self.groups[group.index()];
        pages.free.borrow().len() + pages.visible.get() as usize
    }

    pub(crate) fn visible(&self, group: Group) -> u32 {
        self.groups[group.index()].visible.get()
    }

    /// Start of the region and its length, for registration.
    pub(crate) fn region(&self) -> (NonNull<u8>, usize) {
        (self.region.start(), self.region.len())
    }

    /// First byte of a page. Panics for a page that does not exist.
    pub(crate) fn address(&self, group: Group, bid: u16) -> NonNull<u8> {
        let pages = &self.groups[group.index()];
        assert!(usize::from(bid) < pages.pages.len(), "no such page");
        let offset = pages.base + usize::from(bid) * pages.page_bytes as usize;
        // SAFETY: the assert above keeps the offset inside the region, which `new` sized as the
        // sum of both groups.
        unsafe { self.region.start().add(offset) }
    }

    /// A receive was armed (+1) or ended (-1): moves the visible target.
    pub(crate) fn armed(&self, group: Group, change: i32) {
        let pages = &self.groups[group.index()];
        let armed = pages.armed.get().saturating_add_signed(change);
        pages.armed.set(armed);
        let base = armed.clamp(VISIBLE_MIN, pages.mark);
        let most = pages.pages.len() as u32;
        pages.target.set(base.saturating_mul(1 << pages.boost.get()).min(most));
    }

    /// The kernel found no buffer: twice as many from now on.
    pub(crate) fn starved(&self, group: Group) {
        let pages = &self.groups[group.index()];
        if pages.target.get() < pages.pages.len() as u32 {
            pages.boost.set(pages.boost.get() + 1);
        }
        self.armed(group, 0);
    }

    /// Called now and then without ENOBUFS in between: halves what `starved` doubled. True while
    /// there is more to halve.
    pub(crate) fn decay(&self, group: Group) -> bool {
        let pages = &self.groups[group.index()];
        pages.boost.set(pages.boost.get().saturating_sub(1));
        self.armed(group, 0);
        pages.boost.get() > 0
    }

    /// The next page to make visible, most recently returned first; None when enough are.
    pub(crate) fn next_visible(&self, group: Group) -> Option<u16> {
        let pages = &self.groups[group.index()];
        if pages.visible.get() >= pages.target.get() {
            return None;
        }
        let bid = pages.free.borrow_mut().pop()?;
        let page = &pages.pages[usize::from(bid)];
        debug_assert_eq!(page.place.get(), Place::Free);
        page.place.set(Place::Visible);
        pages.visible.set(pages.visible.get() + 1);
        Some(bid)
    }

    /// A completion named this visible page: it is held, with one reference, by `owner`.
    /// False when the page was not visible (a completion that must not be followed, I4).
    pub(crate) fn take_visible(&self, group: Group, bid: u16, owner: u32) -> bool {
        let pages = &self.groups[group.index()];
        let Some(page) = pages.pages.get(usize::from(bid)) else {
            return false;
        };
        if page.place.get() != Place::Visible {
            return false;
        }
        pages.visible.set(pages.visible.get() - 1);
        self.hold(group, bid, owner);
        true
    }

    /// Takes a free page for the shard's own filling; None when the free stack is empty.
    pub(crate) fn take_free(&self, group: Group) -> Option<u16> {
        let bid = self.groups[group.index()].free.borrow_mut().pop()?;
        self.hold(group, bid, NO_OWNER);
        Some(bid)
    }

    fn hold(&self, group: Group, bid: u16, owner: u32) {
        let page = &self.groups[group.index()].pages[usize::from(bid)];
        page.place.set(Place::Held);
        page.references.set(1);
        page.owner.set(owner);
        self.count_held(owner, group, 1);
        self.poison(group, bid, false);
    }

    fn count_held(&self, owner: u32, group: Group, change: i16) {
        if owner == NO_OWNER {
            return;
        }
        let mut held = self.held.borrow_mut();
        let at = owner as usize;
        if at >= held.len() {
            held.resize((at | 255) + 1, [0; 2]);
        }
        let count = &mut held[at][group.index()];
        *count = count.wrapping_add_signed(change);
    }

    /// Pages that a socket's received bytes hold, by group.
    pub(crate) fn held_by(&self, owner: u32) -> [u16; 2] {
        self.held.borrow().get(owner as usize).copied().unwrap_or([0; 2])
    }

    /// One more view of a held page. Aborts on overflow: a count that wraps would free live bytes.
    pub(crate) fn retain(&self, group: Group, bid: u16) {
        let page = &self.groups[group.index()].pages[usize::from(bid)];
        debug_assert_eq!(page.place.get(), Place::Held);
        match page.references.get().checked_add(1) {
            Some(count) => page.references.set(count),
            None => std::process::abort(),
        }
    }

    /// One view less; the last one gives the page back.
    pub(crate) fn release(&self, group: Group, bid: u16) {
        let pages = &self.groups[group.index()];
        let page = &pages.pages[usize::from(bid)];
        debug_assert_eq!(page.place.get(), Place::Held);
        let count = page.references.get() - 1;
        page.references.set(count);
        if count > 0 {
            return;
        }
        page.place.set(Place::Free);
        page.generation.set(page.generation.get().wrapping_add(1));
        self.count_held(page.owner.get(), group, -1);
        if cfg!(debug_assertions) {
            self.fill_freed(group, bid);
        }
        self.poison(group, bid, true);
        pages.free.borrow_mut().push(bid);
    }

    pub(crate) fn references(&self, group: Group, bid: u16) -> u32 {
        self.groups[group.index()].pages[usize::from(bid)].references.get()
    }

    #[cfg(debug_assertions)]
    pub(crate) fn generation(&self, group: Group, bid: u16) -> u32 {
        self.groups[group.index()].pages[usize::from(bid)].generation.get()
    }

    fn fill_freed(&self, group: Group, bid: u16) {
        let start = self.address(group, bid);
        let bytes = self.page_bytes(group) as usize;
        // SAFETY: the page is in no view (count 0) and not in the kernel's ring (it was held), so
        // nobody else reads or writes these bytes (I2, I6).
        unsafe { start.write_bytes(0xDD, bytes) };
    }

    /// What the kernel does on a receive: fills a visible page. For the simulated ring.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn kernel_write(&self, group: Group, bid: u16, bytes: &[u8]) {
        let pages = &self.groups[group.index()];
        assert_eq!(pages.pages[usize::from(bid)].place.get(), Place::Visible, "not the kernel's");
        assert!(bytes.len() <= pages.page_bytes as usize, "longer than a page");
        self.poison(group, bid, false);
        let start = self.address(group, bid);
        // SAFETY: a visible page is in no view, the length was checked above, and `bytes` cannot
        // overlap it because no reference to a visible page exists.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Free pages, for the conservation check: free + visible + held = count.
    pub(crate) fn census(&self, group: Group) -> [usize; 3] {
        let pages = &self.groups[group.index()];
        let at = |place| pages.pages.iter().filter(|page| page.place.get() == place).count();
        [at(Place::Free), at(Place::Visible), at(Place::Held)]
    }

    #[cfg(feature = "asan")]
    fn poison(&self, group: Group, bid: u16, poisoned: bool) {
        sys::asan_poison(self.address(group, bid), self.page_bytes(group) as usize, poisoned);
    }

    #[cfg(not(feature = "asan"))]
    fn poison(&self, _group: Group, _bid: u16, _poisoned: bool) {}
}

impl Pages {
    fn new(base: usize, page_bytes: u32, count: u16, mark: u32) -> Pages {
        let page = |_| Page {
            references: Cell::new(0),
            generation: Cell::new(0),
            owner: Cell::new(NO_OWNER),
            place: Cell::new(Place::Free),
        };
        let most = u32::from(count);
        Pages {
            base,
            page_bytes,
            pages: (0..count).map(page).collect(),
            free: RefCell::new((0..count).rev().collect()),
            visible: Cell::new(0),
            target: Cell::new(VISIBLE_MIN.min(most)),
            boost: Cell::new(0),
            armed: Cell::new(0),
            mark: mark.max(VISIBLE_MIN),
        }
    }
}

#[cfg(feature = "asan")]
impl Drop for Pool {
    fn drop(&mut self) {
        let (start, len) = self.region();
        sys::asan_poison(start, len, false);
    }
}

/// Fewest pages shown: a lone connection's next receive never finds an empty ring.
const VISIBLE_MIN: u32 = 4;
/// 32 x 64 KiB = 2 MiB: about one core's L2 (deeper cost 4-13 % at 16-64 KiB, engine.md).
const BULK_MARK: u32 = 32;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small() -> Rc<Pool> {
        let config = ShardConfig { head_bufs: 16, bulk_bufs: 4, ..ShardConfig::default() };
        Pool::new(&config, 8).unwrap()
    }

    #[test]
    fn pages_are_conserved_and_recycled_last_in_first_out() {
        let pool = small();
        let first = pool.next_visible(Group::Head).unwrap();
        assert!(pool.take_visible(Group::Head, first, 3));
        assert_eq!(pool.held_by(3), [1, 0]);
        assert_eq!(pool.census(Group::Head), [15, 0, 1]);
        pool.release(Group::Head, first);
        assert_eq!(pool.next_visible(Group::Head), Some(first));
        assert_eq!(pool.held_by(3), [0, 0]);
        assert_eq!(pool.census(Group::Head), [15, 1, 0]);
    }

    #[test]
    fn the_visible_part_follows_armed_receives_enobufs_and_decay() {
        let pool = small();
        let show = || std::iter::from_fn(|| pool.next_visible(Group::Head)).count();
        assert_eq!(show(), 4);
        pool.armed(Group::Head, 100);
        assert_eq!(show(), 4, "the mark of 8 is the most");
        pool.starved(Group::Head);
        assert_eq!(show(), 8);
        pool.starved(Group::Head);
        assert_eq!(show(), 0, "16 pages exist");
        pool.decay(Group::Head);
        assert!(pool.take_visible(Group::Head, 0, 0));
        assert_eq!(show(), 0, "decay shows no more until below the target");
    }

    #[test]
    fn a_page_that_is_not_visible_is_not_taken() {
        let pool = small();
        assert!(!pool.take_visible(Group::Head, 0, 0));
        assert!(!pool.take_visible(Group::Head, 999, 0));
    }
}

//! Routes by name, in pages that generations share.
//!
//! The names themselves stay where they are, in [`Names`]: an entry is the id alone, five to nine
//! bytes with what a page keeps free. A change copies the page of its name, a thousandth of all
//! ids, and the pointers to 32 pages and to 32 branches. Looking a name up costs its hash and a
//! look into one page.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use router::RouteId;

use super::names::Names;

/// Branches of an index, and pages of a branch.
const FAN: usize = 32;

/// The id of each name. Whoever changes it gives the names that its ids stand for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    branches: [Arc<Branch>; FAN],
    keys: RandomState,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    pages: [Arc<HashTable<RouteId>>; FAN],
}

/// Branch and page of a hash: of bits that a page does not look at, since they are the same for
/// all that is in it.
fn place(hash: u64) -> (usize, usize) {
    let bits = (hash >> 32) as usize;
    (bits / FAN % FAN, bits % FAN)
}

impl Ids {
    pub(crate) fn with_capacity(routes: usize) -> Ids {
        // Some pages get more than their share: a quarter more is enough for nearly all.
        let share = routes / (FAN * FAN);
        let page = || Arc::new(HashTable::with_capacity(share + share / 4));
        let branch = || Arc::new(Branch { pages: std::array::from_fn(|_| page()) });
        Ids { branches: std::array::from_fn(|_| branch()), keys: RandomState::default() }
    }

    fn page(&self, hash: u64) -> &HashTable<RouteId> {
        let (branch, page) = place(hash);
        &self.branches[branch].pages[page]
    }

    /// A page of its own.
    fn page_mut(&mut self, hash: u64) -> &mut HashTable<RouteId> {
        let (branch, page) = place(hash);
        Arc::make_mut(&mut Arc::make_mut(&mut self.branches[branch]).pages[page])
    }

    /// The route of a name.
    pub(crate) fn get(&self, names: &Names, name: &str) -> Option<RouteId> {
        let hash = self.keys.hash_one(name);
        self.page(hash).find(hash, |route| names.get(*route) == Some(name)).copied()
    }

    /// Adds a route under its name. One that has that name already stays, and is returned.
    pub(crate) fn insert(&mut self, names: &Names, route: RouteId) -> Option<RouteId> {
        let keys = self.keys.clone();
        let name = |route: RouteId| names.get(route).unwrap_or_default();
        let hash_of = |other: &RouteId| keys.hash_one(name(*other));
        let hash = hash_of(&route);
        let is_it = |other: &RouteId| name(*other) == name(route);
        match self.page_mut(hash).entry(hash, is_it, hash_of) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(free) => {
                free.insert(route);
                None
            }
        }
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, names: &Names, name: &str) {
        let hash = self.keys.hash_one(name);
        let is_it = |route: &RouteId| names.get(*route) == Some(name);
        if let Ok(entry) = self.page_mut(hash).find_entry(hash, is_it) {
            entry.remove();
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let pages = self.branches.iter().flat_map(|branch| &branch.pages);
        size_of::<Ids>()
            + pages.map(|page| size_of_val(page) + page.allocation_size()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_until_they_are_removed() {
        let (mut names, mut ids) = (Names::default(), Ids::default());
        for id in 0..1000 {
            names.push(&format!("route-{id}"));
            assert_eq!(ids.insert(&names, RouteId(id)), None);
        }
        names.push("route-7");
        assert_eq!(ids.insert(&names, RouteId(1000)), Some(RouteId(7)));
        assert_eq!(ids.get(&names, "route-999"), Some(RouteId(999)));
        ids.remove(&names, "route-999");
        ids.remove(&names, "route-999");
        assert_eq!(ids.get(&names, "route-999"), None);
        assert_eq!(ids.get(&names, "nobody"), None);
    }

    #[test]
    fn an_older_copy_keeps_its_names() {
        let (mut names, mut ids) = (Names::default(), Ids::with_capacity(5000));
        for id in 0..5000 {
            names.push(&format!("route-{id}"));
            ids.insert(&names, RouteId(id));
        }
        let (before, names_before) = (ids.clone(), names.clone());
        ids.remove(&names, "route-7");
        names.set(RouteId(8), "eight");
        ids.insert(&names, RouteId(8));
        assert_eq!(ids.get(&names, "route-7"), None);
        assert_eq!(ids.get(&names, "eight"), Some(RouteId(8)));
        assert_eq!(before.get(&names_before, "route-7"), Some(RouteId(7)));
        assert_eq!(before.get(&names_before, "route-8"), Some(RouteId(8)));
        assert_eq!(before.get(&names_before, "eight"), None);
        assert!(ids.bytes() < 5000 * 30, "{} bytes", ids.bytes());
    }
}

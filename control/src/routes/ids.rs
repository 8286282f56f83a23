//! Routes by name.
//!
//! The names themselves stay where they are, in [`Names`]: an entry is the id alone, five to nine
//! bytes with what the table keeps free.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use router::RouteId;

use super::names::Names;

/// The id of each name. Whoever changes it gives the names that its ids stand for.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    table: HashTable<RouteId>,
    keys: RandomState,
}

impl Ids {
    pub(crate) fn with_capacity(routes: usize) -> Ids {
        Ids { table: HashTable::with_capacity(routes), keys: RandomState::default() }
    }

    /// The route of a name.
    pub(crate) fn get(&self, names: &Names, name: &str) -> Option<RouteId> {
        let is_it = |route: &RouteId| names.get(*route) == Some(name);
        self.table.find(self.keys.hash_one(name), is_it).copied()
    }

    /// Adds a route under its name. One that has that name already stays, and is returned.
    pub(crate) fn insert(&mut self, names: &Names, route: RouteId) -> Option<RouteId> {
        let name = |route: RouteId| names.get(route).unwrap_or_default();
        let hash = |route: RouteId| self.keys.hash_one(name(route));
        let entry = self.table.entry(
            hash(route),
            |other| name(*other) == name(route),
            |other| hash(*other),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(known) => Some(*known.get()),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(route);
                None
            }
        }
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, names: &Names, name: &str) {
        let is_it = |route: &RouteId| names.get(*route) == Some(name);
        if let Ok(entry) = self.table.find_entry(self.keys.hash_one(name), is_it) {
            entry.remove();
        }
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
}

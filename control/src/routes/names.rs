//! Names of routes by id, in pages that generations share.
//!
//! A name costs its bytes and four more. Setting one copies its page, of [`PAGE`] names, and the
//! list of pages: about 1 KiB of pointers for each 100 000 names.

use std::sync::Arc;

use router::RouteId;

/// Names in a page.
const PAGE: usize = 1024;

/// Names by route. What was never set is empty. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pages: Vec<Arc<Page>>,
}

#[derive(Clone, Debug, Default)]
struct Page {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Page {
    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        self.text.get(start..end)
    }

    fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len() as u32);
        if self.ends.len() == PAGE {
            self.text.shrink_to_fit();
        }
    }
}

impl Names {
    /// The name of a route.
    pub fn get(&self, route: RouteId) -> Option<&str> {
        let (page, at) = place(route);
        self.pages.get(page)?.get(at).filter(|name| !name.is_empty())
    }

    /// Names the id behind all that have been set.
    pub(crate) fn push(&mut self, name: &str) {
        match self.pages.last_mut() {
            Some(page) if page.ends.len() < PAGE => Arc::make_mut(page).push(name),
            _ => {
                let mut page = Page::default();
                page.push(name);
                self.pages.push(Arc::new(page));
            }
        }
    }

    /// Names a route.
    pub(crate) fn set(&mut self, route: RouteId, name: &str) {
        while self.len() < route.0 as usize {
            self.push("");
        }
        if self.len() == route.0 as usize {
            return self.push(name);
        }
        let (page, at) = place(route);
        let mut next = Page::default();
        for other in 0..self.pages[page].ends.len() {
            let known = self.pages[page].get(other).unwrap_or_default();
            next.push(if other == at { name } else { known });
        }
        self.pages[page] = Arc::new(next);
    }

    /// Every name in the order of ids, the empty ones too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let page = |page: &'_ Arc<Page>| page.ends.len();
        let all = self.pages.iter().flat_map(move |own| (0..page(own)).map(move |at| (own, at)));
        all.map(|(page, at)| page.get(at).unwrap_or_default())
    }

    /// Ids that have been set, or lie below one that was.
    pub(crate) fn len(&self) -> usize {
        self.pages.last().map_or(0, |page| (self.pages.len() - 1) * PAGE + page.ends.len())
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let page = |page: &Arc<Page>| {
            size_of::<Page>() + 16 + page.text.capacity() + 4 * page.ends.capacity()
        };
        self.pages.iter().map(page).sum::<usize>() + 8 * self.pages.capacity()
    }
}

fn place(route: RouteId) -> (usize, usize) {
    (route.0 as usize / PAGE, route.0 as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pushed_and_set_names_come_back_and_older_copies_keep_theirs() {
        let mut names = Names::default();
        for id in 0..3000 {
            names.push(&format!("route-{id}"));
        }
        assert_eq!(names.get(RouteId(2999)), Some("route-2999"));
        assert_eq!(names.get(RouteId(3000)), None);
        let before = names.clone();
        let mut model: BTreeMap<u32, String> = BTreeMap::new();
        for (id, name) in [(0, "a"), (1023, "much longer than before"), (1024, ""), (5000, "far")] {
            names.set(RouteId(id), name);
            model.insert(id, name.to_owned());
        }
        for id in 0..5001 {
            let was = (id < 3000).then(|| format!("route-{id}"));
            let now = model.get(&id).cloned().or_else(|| was.clone());
            let shown = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            assert_eq!(names.get(RouteId(id)).map(str::to_owned), shown(&now), "{id}");
            assert_eq!(before.get(RouteId(id)).map(str::to_owned), was, "{id}");
        }
        assert!(before.bytes() < 3000 * 20, "{} bytes", before.bytes());
    }
}

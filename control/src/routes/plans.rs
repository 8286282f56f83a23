//! What routes do, each kind once.
//!
//! [`Plans`] is what a snapshot has: plans by id, in pages that generations share. [`Interner`]
//! belongs to whoever makes routes: it gives equal plans one id and counts who uses them, so that a
//! plan that nobody uses leaves its id to the next new one.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use router::PlanId;

use crate::snapshot::RoutePlan;

/// Plans in a page.
const PAGE: usize = 256;

/// Plans by id. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    pages: Vec<Arc<Vec<Arc<RoutePlan>>>>,
}

impl Plans {
    /// The plan of an id.
    pub(crate) fn get(&self, id: PlanId) -> Option<&Arc<RoutePlan>> {
        let at = id.0 as usize;
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    fn len(&self) -> usize {
        self.pages.last().map_or(0, |page| (self.pages.len() - 1) * PAGE + page.len())
    }

    /// Sets the plan of an id that exists or is the next one.
    fn set(&mut self, id: PlanId, plan: &Arc<RoutePlan>) {
        let at = id.0 as usize;
        if at / PAGE == self.pages.len() {
            self.pages.push(Arc::default());
        }
        let page = Arc::make_mut(&mut self.pages[at / PAGE]);
        match page.get_mut(at % PAGE) {
            Some(place) => *place = Arc::clone(plan),
            None => page.push(Arc::clone(plan)),
        }
    }

    /// Bytes of memory, what the plans themselves point at aside.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * (size_of::<RoutePlan>() + 16 + 8) + self.pages.len() * 48
    }
}

/// Equal plans, one id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    plans: Plans,
    known: HashMap<Arc<RoutePlan>, PlanId, RandomState>,
    /// Routes that use each plan.
    uses: Vec<u32>,
    free: Vec<PlanId>,
}

impl Interner {
    /// The id of a plan that one more route uses.
    pub(crate) fn take(&mut self, plan: RoutePlan) -> PlanId {
        if let Some(id) = self.known.get(&plan) {
            self.uses[id.0 as usize] += 1;
            return *id;
        }
        let plan = Arc::new(plan);
        let id = self.free.pop().unwrap_or(PlanId(self.uses.len() as u32));
        match self.uses.get_mut(id.0 as usize) {
            Some(uses) => *uses = 1,
            None => self.uses.push(1),
        }
        self.plans.set(id, &plan);
        self.known.insert(plan, id);
        id
    }

    /// One route fewer uses a plan.
    pub(crate) fn give_back(&mut self, id: PlanId) {
        let Some(uses) = self.uses.get_mut(id.0 as usize) else { return };
        *uses = uses.saturating_sub(1);
        if *uses == 0
            && let Some(plan) = self.plans.get(id)
            && self.known.remove(plan).is_some()
        {
            self.free.push(id);
        }
    }

    /// Takes in the plans of another one; gives the new id of each of its ids.
    pub(crate) fn absorb(&mut self, other: &Interner) -> Vec<PlanId> {
        let ids = (0..other.uses.len()).map(|at| {
            let plan = other.plans.get(PlanId(at as u32));
            let uses = other.uses[at];
            plan.map_or(PlanId(u32::MAX), |plan| {
                let id = self.take(RoutePlan::clone(plan));
                self.uses[id.0 as usize] += uses.saturating_sub(1);
                id
            })
        });
        ids.collect()
    }

    /// Plans that some route uses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RoutePlan> {
        self.known.keys().map(|plan| &**plan)
    }

    /// The plans by id, as they are now.
    pub(crate) fn plans(&self) -> Plans {
        self.plans.clone()
    }
}

#[cfg(test)]
mod tests {
    use router::ClusterId;

    use super::*;

    fn plan(cluster: u32) -> RoutePlan {
        RoutePlan { cluster: ClusterId(cluster), ..RoutePlan::default() }
    }

    #[test]
    fn equal_plans_share_an_id_and_unused_ids_come_again() {
        let mut interner = Interner::default();
        let ids: Vec<u32> = (0..600).map(|at| interner.take(plan(at % 300)).0).collect();
        assert_eq!((ids[299], ids[300], ids[599]), (299, 0, 299));
        let before = interner.plans();
        interner.give_back(PlanId(7));
        interner.give_back(PlanId(7));
        assert_eq!(interner.take(plan(1000)), PlanId(7));
        assert_eq!(interner.plans().get(PlanId(7)).unwrap().cluster, ClusterId(1000));
        assert_eq!(before.get(PlanId(7)).unwrap().cluster, ClusterId(7));
        assert_eq!(interner.take(plan(7)), PlanId(300));
        interner.give_back(PlanId(9999));
    }

    #[test]
    fn one_takes_in_another() {
        let (mut all, mut part) = (Interner::default(), Interner::default());
        all.take(plan(5));
        for cluster in [6, 5, 6] {
            part.take(plan(cluster));
        }
        assert_eq!(all.absorb(&part), [PlanId(1), PlanId(0)]);
        assert_eq!(all.uses, [2, 2]);
    }
}

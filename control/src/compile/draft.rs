//! Routes on their way to a table: patterns, names, plans, and where each was written.
//!
//! A draft can be made in parts, by several threads, that are joined in order. An item with faults
//! takes up its id, so that the ids of parts and places agree, but is tried alone: half of a route
//! must not seem to take another's place. What a journal says of a route goes before what is
//! declared, so that the table is built once.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use router::{
    BuildError, BuildFault, Builder, PlanId, RouteId, RouteSpec, RuleOrder, Table, ValuePlace,
};

use super::facts::Facts;
use super::overlay::{self, Laid, Overlay, Said};
use crate::config::{Config, Item};
use crate::decode::Fault;
use crate::routes::{Ids, Interner, Names, Routes};
use crate::snapshot::RoutePlan;
use crate::tree::{Node, Place, shorten};

/// Faults of a part of the journal that are described before the rest of it is left for the next
/// run.
const FAULTS_MAX: usize = 100;

/// What all parts of a draft have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    pub(super) seed: u64,
    pub(super) order: RuleOrder,
}

/// On what terms a route is added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) facts: &'a Facts,
    pub(super) make: Make,
    pub(super) journal: Option<&'a Overlay<'a>>,
}

/// Routes in the order of their declaration.
pub(super) struct Draft {
    make: Make,
    builder: Builder,
    plans: Interner,
    names: Names,
    /// Where each route begins, and where its id stands.
    places: Vec<(Place, Place)>,
    /// Of what is declared.
    meaning: Meaning,
    /// Ids below this are declared ones.
    declared: u32,
    /// Declared routes that the journal has ended.
    ended: Vec<RouteId>,
    /// The journal's routes that stand where declared ones stood.
    placed: Vec<usize>,
}

/// What a draft comes to.
pub(super) struct Finished {
    pub(super) routes: Routes,
    pub(super) plans: Interner,
    pub(super) declared: u32,
}

impl Draft {
    pub(super) fn new(make: Make) -> Draft {
        Draft {
            make,
            builder: empty(make),
            plans: Interner::default(),
            names: Names::default(),
            places: Vec::new(),
            meaning: Meaning::default(),
            declared: 0,
            ended: Vec::new(),
            placed: Vec::new(),
        }
    }

    /// Adds a declared route behind all others, or what the journal says of it.
    pub(super) fn add(
        &mut self,
        terms: Terms<'_>,
        item: &Item<RouteSpec>,
        spec: &RouteSpec,
        faults: &mut Vec<Fault>,
    ) {
        let plan = terms.facts.plan(item, spec, faults);
        self.meaning.add(&(&item.name, &spec.r#match, spec.priority, &plan));
        let route = RouteId(self.places.len() as u32);
        let said = terms.journal.map_or(Ok(Said::Nothing), |journal| journal.said_of(&item.name));
        let said = said.unwrap_or_else(|error| {
            let message = format!("the journal's route `{}`: {error}", item.name);
            faults.push(Fault::new(item.place(&[]), message));
            Said::Nothing
        });
        if item.healed || said != Said::Nothing {
            faults.extend(pattern_faults(item, spec, self.make));
        }
        match said {
            Said::Put(index) if !item.healed => {
                self.placed.push(index);
                return self.lay_one(index, terms, faults);
            }
            Said::Ended => self.ended.push(route),
            _ => {}
        }
        self.push(&item.name, (item.place(&[]), item.place(&["id"])));
        match said {
            Said::Nothing if !item.healed => faults.extend(self.rule(item, spec, plan)),
            _ => self.builder.skip(),
        }
    }

    /// Ends what is declared; the journal's other routes come behind.
    pub(super) fn lay(&mut self, terms: Terms<'_>, threads: usize, faults: &mut Vec<Fault>) {
        self.declared = self.places.len() as u32;
        let Some(journal) = terms.journal else { return };
        let parts = journal.others(&self.placed);
        let read = |number: usize| {
            let (mut draft, mut faults) = (Draft::new(terms.make), Vec::new());
            for index in &parts[number] {
                draft.lay_one(*index, terms, &mut faults);
                if faults.len() >= FAULTS_MAX {
                    break;
                }
            }
            (draft, faults)
        };
        for (part, found) in overlay::in_parallel(threads, parts.len(), read) {
            self.append(part, faults);
            faults.extend(found);
        }
    }

    /// Adds a route of the journal behind all others.
    fn lay_one(&mut self, index: usize, terms: Terms<'_>, faults: &mut Vec<Fault>) {
        let read = terms.journal.map(|journal| journal.route(index, terms));
        match read {
            Some(Ok(Laid { item, plan, place })) => {
                self.push(&item.name, (place, place));
                let found = item.spec.as_ref().map(|spec| self.rule(&item, spec, plan));
                faults.extend(overlay::blame(place, &item.name, found.unwrap_or_default()));
            }
            other => {
                self.push("", (Place::default(), Place::default()));
                self.builder.skip();
                faults.extend(other.and_then(Result::err).into_iter().flatten());
            }
        }
    }

    fn push(&mut self, name: &str, places: (Place, Place)) {
        self.names.push(name);
        self.places.push(places);
    }

    fn rule(&mut self, item: &Item<RouteSpec>, spec: &RouteSpec, plan: RoutePlan) -> Vec<Fault> {
        let plan = self.plans.take(plan);
        let added = self.builder.add(&spec.r#match, spec.priority, plan);
        build_faults(item, added.err())
    }

    /// Adds the routes of another draft behind its own.
    pub(super) fn append(&mut self, other: Draft, faults: &mut Vec<Fault>) {
        let first = self.places.len() as u32;
        let plans = self.plans.absorb(&other.plans);
        let plan = |id: PlanId| plans.get(id.0 as usize).copied().unwrap_or(id);
        if let Err(fault) = self.builder.append(other.builder, plan) {
            faults.push(Fault::new(Place::default(), fault.to_string()));
        }
        other.names.iter().for_each(|name| self.names.push(name));
        self.places.extend(other.places);
        self.ended.extend(other.ended.iter().map(|route| RouteId(first + route.0)));
        self.placed.extend(other.placed);
        self.meaning.append(other.meaning);
    }

    /// An id that no rule has, behind those of the routes, with a name and a plan.
    pub(super) fn reserve(&mut self, name: &str, plan: RoutePlan) -> (RouteId, PlanId) {
        let id = RouteId(self.names.len() as u32);
        self.meaning.add(&(name, &plan));
        self.names.push(name);
        (id, self.plans.take(plan))
    }

    /// A hash of what the routes mean.
    pub(super) fn meaning(&self) -> u64 {
        self.meaning.hash
    }

    /// Makes the routes, and what is needed to change them.
    pub(super) fn finish(
        mut self,
        config: &Config,
        journal: Option<&Overlay<'_>>,
        faults: &mut Vec<Fault>,
    ) -> Finished {
        let ids = self.ids(config, faults);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let builder = std::mem::replace(&mut self.builder, empty(self.make));
        let table = builder.finish(threads).unwrap_or_else(|errors| {
            faults.extend(errors.iter().map(|error| self.taken_fault(error, config, journal)));
            Table::empty(self.make.seed, self.make.order)
        });
        let Draft { plans, names, declared, .. } = self;
        Finished { routes: Routes { table, plans: plans.plans(), names, ids }, plans, declared }
    }

    /// The routes by name; a name may stand for one only.
    fn ids(&self, config: &Config, faults: &mut Vec<Fault>) -> Ids {
        let (names, places) = (&self.names, &self.places);
        let mut ids = Ids::with_capacity(places.len());
        let (declared, laid) = places.split_at(self.declared as usize);
        for (place, id) in declared.iter().zip(0..) {
            let route = RouteId(id);
            // An empty name has been found fault with.
            let Some(name) = names.get(route) else { continue };
            if let Some(first) = ids.insert(names, route) {
                let first = places[first.0 as usize].1;
                let at = config.relative(first, place.1, "on line");
                let message = format!("route id `{}` is already used {at}", shorten(name));
                faults.push(Fault::new(place.1, message));
            }
        }
        for route in &self.ended {
            ids.remove(names, names.get(*route).unwrap_or_default());
        }
        for id in (self.declared..).take(laid.len()) {
            ids.insert(names, RouteId(id));
        }
        ids
    }

    /// A rule out of reach: said of the journal's route, if it is one of the two.
    fn taken_fault(
        &self,
        error: &BuildError,
        config: &Config,
        journal: Option<&Overlay<'_>>,
    ) -> Fault {
        let place = |route: RouteId| self.places.get(route.0 as usize).copied().unwrap_or_default();
        let name = |route: RouteId| self.names.get(route).unwrap_or_default();
        let is_laid = |route: &RouteId| journal.is_some_and(|of| of.has(place(*route).0));
        let blamed = [Some(error.route), error.other].into_iter().flatten().find(is_laid);
        let (whole, _) = place(blamed.unwrap_or(error.route));
        let taker = error.other.map_or(String::new(), |other| {
            let at = config.relative(place(other).1, whole, "line");
            format!(" by route `{}` ({at})", name(other))
        });
        let fault = Fault::new(whole, format!("route `{}`: {error}{taker}", name(error.route)));
        match blamed {
            Some(route) => overlay::blame(whole, name(route), vec![fault]).remove(0),
            None => fault,
        }
    }
}

fn empty(make: Make) -> Builder {
    Builder::new(make.seed, make.order)
}

/// All that is wrong with a route, whatever others there are.
pub(super) fn faults_of(
    item: &Item<RouteSpec>,
    spec: &RouteSpec,
    facts: &Facts,
    make: Make,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    facts.plan(item, spec, &mut faults);
    faults.extend(pattern_faults(item, spec, make));
    faults
}

/// What is wrong with a route's pattern.
fn pattern_faults(item: &Item<RouteSpec>, spec: &RouteSpec, make: Make) -> Vec<Fault> {
    build_faults(item, empty(make).add(&spec.r#match, spec.priority, PlanId(0)).err())
}

fn build_faults(item: &Item<RouteSpec>, faults: Option<Vec<BuildFault>>) -> Vec<Fault> {
    faults.iter().flatten().map(|fault| build_fault(item, fault)).collect()
}

/// The fault of a route that cannot be part of any table.
pub(crate) fn build_fault(item: &Item<RouteSpec>, fault: &BuildFault) -> Fault {
    Fault::new(build_place(item, fault), format!("route `{}`: {fault}", item.name))
}

fn build_place(item: &Item<RouteSpec>, fault: &BuildFault) -> Place {
    let in_list = |key: &str, text: &str| {
        let list = item.node.as_ref().and_then(|node| node.field("match")?.field(key));
        let typed = list.map_or(&[][..], Node::items);
        let found = typed.iter().find(|node| node.text() == Some(text));
        found.map_or(item.place(&["match", key]), |node| node.place)
    };
    match fault {
        BuildFault::Host(..) => item.place(&["match", "host"]),
        BuildFault::Path(..) => item.place(&["match", "path"]),
        BuildFault::Method(method, _) => in_list("methods", method),
        BuildFault::Source(network, _) => in_list("source", network),
        BuildFault::Value(ValuePlace::Header, name, _) => {
            let tests = item.node.as_ref().and_then(|node| node.field("match")?.field("headers"));
            let typed = tests.map_or(&[][..], Node::entries).iter();
            let mut typed = typed.filter(|(key, _)| key.text.eq_ignore_ascii_case(name));
            typed.next().map_or(item.place(&["match", "headers"]), |(_, node)| node.place)
        }
        BuildFault::Value(ValuePlace::QueryParam, name, _) => item.place(&["match", "query", name]),
        BuildFault::Value(ValuePlace::Cookie, name, _) => item.place(&["match", "cookies", name]),
        _ => item.place(&[]),
    }
}

/// A hash of a list whose parts can be hashed apart: a polynomial of the hashes of its items.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    hash: u64,
    /// `FACTOR` to the number of items.
    power: u64,
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Default for Meaning {
    fn default() -> Meaning {
        Meaning { hash: 0, power: 1 }
    }
}

impl Meaning {
    fn add(&mut self, item: &impl Hash) {
        // Its key is a constant: equal in every process.
        let hash = FixedState::with_seed(0).hash_one(item);
        self.append(Meaning { hash, power: FACTOR });
    }

    fn append(&mut self, other: Meaning) {
        self.hash = self.hash.wrapping_mul(other.power).wrapping_add(other.hash);
        self.power = self.power.wrapping_mul(other.power);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_means_the_same_however_it_is_cut() {
        let of = |items: &[u32]| {
            let mut meaning = Meaning::default();
            items.iter().for_each(|item| meaning.add(item));
            meaning
        };
        let whole = of(&[1, 2, 3, 4, 5]).hash;
        for at in 0..=5 {
            let mut parts = of(&[1, 2, 3, 4, 5][..at]);
            parts.append(of(&[1, 2, 3, 4, 5][at..]));
            assert_eq!(parts.hash, whole);
        }
        assert_ne!(of(&[2, 1, 3, 4, 5]).hash, whole);
    }
}

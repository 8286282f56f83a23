//! Routes on their way to a table: patterns, names, plans, and where each was written.
//!
//! A draft can be made in parts, by several threads, that are joined in order. An item with faults
//! takes up its id, so that the ids of parts and places agree, but is tried alone: half of a route
//! must not seem to take another's place.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use router::{
    BuildError, BuildFault, Builder, PlanId, RouteId, RouteSpec, RuleOrder, Table, ValuePlace,
};

use super::facts::Facts;
use crate::config::{Config, Item};
use crate::decode::Fault;
use crate::routes::{Ids, Interner, Names, Routes};
use crate::snapshot::RoutePlan;
use crate::tree::{Node, Place, shorten};

/// What all parts of a draft have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    pub(super) seed: u64,
    pub(super) order: RuleOrder,
}

/// Routes in the order of their declaration.
pub(super) struct Draft {
    make: Make,
    builder: Builder,
    plans: Interner,
    names: Names,
    /// Where each route begins, and where its id stands.
    places: Vec<(Place, Place)>,
    meaning: Meaning,
}

impl Draft {
    pub(super) fn new(make: Make) -> Draft {
        Draft {
            make,
            builder: Builder::new(make.seed, make.order),
            plans: Interner::default(),
            names: Names::default(),
            places: Vec::new(),
            meaning: Meaning::default(),
        }
    }

    /// Adds a route behind all others.
    pub(super) fn add(
        &mut self,
        facts: &Facts,
        item: &Item<RouteSpec>,
        spec: &RouteSpec,
        faults: &mut Vec<Fault>,
    ) {
        let plan = facts.plan(item, spec, faults);
        self.meaning.add(&(&item.name, &spec.r#match, spec.priority, &plan));
        let plan = self.plans.take(plan);
        self.names.push(&item.name);
        self.places.push((item.place(&[]), item.place(&["id"])));
        if item.healed {
            self.builder.skip();
            return faults.extend(pattern_faults(item, spec, self.make));
        }
        let added = self.builder.add(&spec.r#match, spec.priority, plan);
        faults.extend(added.err().into_iter().flatten().map(|fault| build_fault(item, &fault)));
    }

    pub(super) fn make(&self) -> Make {
        self.make
    }

    /// Adds the routes of another draft behind its own.
    pub(super) fn append(&mut self, other: Draft, faults: &mut Vec<Fault>) {
        let plans = self.plans.absorb(&other.plans);
        let plan = |id: PlanId| plans.get(id.0 as usize).copied().unwrap_or(id);
        if let Err(fault) = self.builder.append(other.builder, plan) {
            faults.push(Fault::new(Place::default(), fault.to_string()));
        }
        other.names.iter().for_each(|name| self.names.push(name));
        self.places.extend(other.places);
        self.meaning.append(other.meaning);
    }

    /// An id that no rule has, behind those of the routes, with a name and a plan.
    pub(super) fn reserve(&mut self, name: &str, plan: RoutePlan) -> (RouteId, PlanId) {
        let id = RouteId(self.names.len() as u32);
        self.names.push(name);
        (id, self.plans.take(plan))
    }

    /// A hash of what the routes mean.
    pub(super) fn meaning(&self) -> u64 {
        self.meaning.hash
    }

    /// Makes the routes, and what is needed to change them.
    pub(super) fn finish(
        self,
        config: &Config,
        faults: &mut Vec<Fault>,
    ) -> (Routes, Interner, Ids) {
        let Draft { make, builder, plans, names, places, .. } = self;
        let ids = ids(&names, &places, config, faults);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let table = builder.finish(threads).unwrap_or_else(|errors| {
            faults.extend(errors.iter().map(|error| taken_fault(error, &names, &places, config)));
            Table::empty(make.seed, make.order)
        });
        (Routes { table, plans: plans.plans(), names }, plans, ids)
    }
}

/// The routes by name; a name may stand for one only.
fn ids(names: &Names, places: &[(Place, Place)], config: &Config, faults: &mut Vec<Fault>) -> Ids {
    let mut ids = Ids::with_capacity(places.len());
    for (place, id) in places.iter().zip(0..) {
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
    ids
}

fn taken_fault(
    error: &BuildError,
    names: &Names,
    places: &[(Place, Place)],
    config: &Config,
) -> Fault {
    let place = |route: RouteId| places.get(route.0 as usize).copied().unwrap_or_default();
    let name = |route: RouteId| names.get(route).unwrap_or_default();
    let (whole, _) = place(error.route);
    let taker = error.other.map_or(String::new(), |other| {
        let at = config.relative(place(other).1, whole, "line");
        format!(" by route `{}` ({at})", name(other))
    });
    Fault::new(whole, format!("route `{}`: {error}{taker}", name(error.route)))
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
    let mut alone = Builder::new(make.seed, make.order);
    let faults = match alone.add(&spec.r#match, spec.priority, PlanId(0)) {
        Err(faults) => faults,
        Ok(_) => {
            let errors = alone.finish(1).err().into_iter().flatten();
            errors.map(|error| error.fault).collect()
        }
    };
    faults.iter().map(|fault| build_fault(item, fault)).collect()
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

//! Changes of routes that are in force: checked, applied together, or refused together.
//!
//! E1 A group of changes is judged by what it comes to: two routes may change places in one group.
//! E2 Of a group with one fault nothing is applied, and nothing that it took is kept.
//! E3 A route keeps its id as long as it has its name. The id of one that ended names it for
//! [`QUARANTINE`] more, so that records of its last requests find their name; an id that the
//! configuration declared is never given to another route.
//!
//! Cost: what a change of the table costs, a page of names, and one of ids by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use router::{BuildError, PlanId, RouteId, Table};

use super::{Ids, Interner, Names, Routes};
use crate::compile::{Compiled, Facts, Make, build_fault, explained, read_route};
use crate::decode::Fault;

/// How long the id of a route that ended goes on naming it.
const QUARANTINE: Duration = Duration::from_secs(60);

/// One change: a route that is put or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes this the route of the name, be it new or not.
    Put {
        /// The route's name.
        id: String,
        /// The route as a JSON object.
        route: String,
    },
    /// Ends the route of the name.
    Delete {
        /// The route's name.
        id: String,
    },
}

impl Change {
    /// The name of the route.
    pub fn id(&self) -> &str {
        match self {
            Change::Put { id, .. } | Change::Delete { id } => id,
        }
    }
}

/// What kind of fault a change has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeFaultKind {
    /// The route itself is wrong.
    Invalid,
    /// There is no such route.
    Unknown,
    /// Beside another route it can never match, or the other one beside it.
    Conflict,
}

/// What is wrong with one change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeFault {
    /// The position of the change in its group.
    pub at: usize,
    /// The name of the route.
    pub id: String,
    /// What kind of fault it is.
    pub kind: ChangeFaultKind,
    /// Line of the route's text, from 1; 0 when the fault has no place.
    pub line: u32,
    /// Column in characters, from 1; 0 when the fault has no place.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Whoever may change the routes of a load; one at a time.
#[derive(Debug)]
pub(crate) struct Editor {
    facts: Facts,
    make: Make,
    plans: Interner,
    routes: Arc<Routes>,
    /// Ids below this were declared by the configuration.
    declared: u32,
    next: u32,
    ended: VecDeque<(Instant, RouteId)>,
}

/// A group on its way: what it would come to, and what it took for that.
struct Trial {
    table: Table,
    names: Names,
    ids: Ids,
    /// Where each route was last put, by position in the group.
    put: BTreeMap<RouteId, usize>,
    ended: BTreeSet<RouteId>,
    taken: Vec<PlanId>,
    released: Vec<PlanId>,
    fresh: Vec<RouteId>,
}

impl Editor {
    /// The editor of what was just loaded.
    pub(crate) fn new(compiled: Compiled) -> Editor {
        let Compiled { snapshot, facts, make, plans, declared } = compiled;
        let (routes, ended) = (snapshot.routes, VecDeque::new());
        let next = routes.names.len() as u32;
        Editor { facts, make, plans, routes, declared, next, ended }
    }

    /// The routes after all that was applied.
    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Whether there is a route of this name.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.routes.id(id).is_some()
    }

    /// Whether the configuration itself declares a route of this name, which is in force.
    pub(crate) fn is_declared(&self, id: &str) -> bool {
        self.routes.id(id).is_some_and(|route| route.0 < self.declared)
    }

    /// Applies a group of changes, or none of it (E2).
    ///
    /// # Errors
    /// All faults of all changes.
    pub(crate) fn apply(&mut self, group: &[Change], now: Instant) -> Result<(), Vec<ChangeFault>> {
        let mut trial = Trial::of(&self.routes);
        let mut faults = Vec::new();
        for (change, at) in group.iter().zip(0..) {
            let done = match change {
                Change::Put { id, route } => self.put(&mut trial, at, id, route, now),
                Change::Delete { id } => trial.delete(at, id),
            };
            faults.extend(done.err().into_iter().flatten());
        }
        if faults.is_empty() {
            faults = conflicts(&trial);
        }
        if faults.is_empty() {
            self.settle(trial, now);
            Ok(())
        } else {
            self.undo(trial, now);
            Err(faults)
        }
    }

    fn put(
        &mut self,
        trial: &mut Trial,
        at: usize,
        id: &str,
        text: &str,
        now: Instant,
    ) -> Result<(), Vec<ChangeFault>> {
        let read = read_route(id, text, &self.facts, self.make);
        let (item, plan) = read.map_err(|faults| invalid(at, id, faults))?;
        let Some(spec) = &item.spec else { return Ok(()) };
        let plan = self.plans.take(plan);
        trial.taken.push(plan);
        let known = trial.route(id);
        let route = known.unwrap_or_else(|| self.fresh(trial, now));
        trial.released.extend(trial.table.plan(route));
        let put = trial.table.put(route, &spec.r#match, spec.priority, plan);
        trial.table = put.map_err(|faults| {
            let faults = faults.iter().map(|fault| build_fault(&item, fault)).collect();
            invalid(at, id, explained(text, faults, &self.facts, self.make))
        })?;
        if known.is_none() {
            trial.names.set(route, id);
            trial.ids.insert(&trial.names, route);
        }
        trial.put.insert(route, at);
        Ok(())
    }

    /// An id for a new route.
    fn fresh(&mut self, trial: &mut Trial, now: Instant) -> RouteId {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= QUARANTINE;
        let rested = self.ended.pop_front_if(|(since, _)| is_over(*since));
        let route = rested.map(|(_, route)| route).unwrap_or_else(|| {
            self.next += 1;
            RouteId(self.next - 1)
        });
        trial.fresh.push(route);
        route
    }

    fn settle(&mut self, trial: Trial, now: Instant) {
        trial.released.iter().for_each(|plan| self.plans.give_back(*plan));
        let ended = trial.ended.iter().filter(|route| route.0 >= self.declared);
        self.ended.extend(ended.map(|route| (now, *route)));
        let Trial { table, names, ids, .. } = trial;
        self.routes = Arc::new(Routes { table, plans: self.plans.plans(), names, ids });
    }

    fn undo(&mut self, trial: Trial, now: Instant) {
        trial.taken.iter().for_each(|plan| self.plans.give_back(*plan));
        let rested = now.checked_sub(QUARANTINE).unwrap_or(now);
        for route in trial.fresh.into_iter().rev() {
            self.ended.push_front((rested, route));
        }
    }
}

impl Trial {
    fn of(routes: &Routes) -> Trial {
        Trial {
            table: routes.table.clone(),
            names: routes.names.clone(),
            ids: routes.ids.clone(),
            put: BTreeMap::new(),
            ended: BTreeSet::new(),
            taken: Vec::new(),
            released: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// The route of a name, as the group has left it so far.
    fn route(&self, id: &str) -> Option<RouteId> {
        self.ids.get(&self.names, id)
    }

    fn delete(&mut self, at: usize, id: &str) -> Result<(), Vec<ChangeFault>> {
        let Some(route) = self.route(id) else {
            let message = "there is no route of this name".to_owned();
            return Err(vec![ChangeFault::new(at, id, ChangeFaultKind::Unknown, message)]);
        };
        self.released.extend(self.table.plan(route));
        self.table = self.table.without(route);
        self.ids.remove(&self.names, id);
        self.put.remove(&route);
        self.ended.insert(route);
        Ok(())
    }
}

/// Routes that can never match after the group, said of the change that brings it about.
fn conflicts(trial: &Trial) -> Vec<ChangeFault> {
    let name = |route: RouteId| trial.names.get(route).unwrap_or_default();
    let mut faults = Vec::new();
    for (route, at) in &trial.put {
        for BuildError { route: hidden, other, fault } in trial.table.check(*route) {
            let taker = other.map_or(String::new(), |other| format!(" by `{}`", name(other)));
            let message = format!("route `{}`: {fault}{taker}", name(hidden));
            faults.push(ChangeFault::new(*at, name(*route), ChangeFaultKind::Conflict, message));
        }
    }
    faults
}

impl ChangeFault {
    fn new(at: usize, id: &str, kind: ChangeFaultKind, message: String) -> ChangeFault {
        ChangeFault { at, id: id.to_owned(), kind, line: 0, column: 0, message, hint: None }
    }
}

fn invalid(at: usize, id: &str, faults: Vec<Fault>) -> Vec<ChangeFault> {
    let fault = |fault: Fault| ChangeFault {
        line: fault.place.line,
        column: fault.place.column,
        hint: fault.hint,
        ..ChangeFault::new(at, id, ChangeFaultKind::Invalid, fault.message)
    };
    faults.into_iter().map(fault).collect()
}

#[cfg(test)]
mod tests;

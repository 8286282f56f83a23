//! The routes of a snapshot: the table that finds one, what it does, and what it is called.
//!
//! All is persistent: the routes after a change share with those before it everything but one
//! block of the table, one page of names, one of ids by name and, where an action is new, one page
//! of actions.
//! Routes that do the same share one [`RoutePlan`], so that a million of them cost what their
//! patterns and names cost.

mod editor;
mod fuzz;
mod ids;
mod names;
mod plans;
mod store;

use std::sync::Arc;

use router::{Match, PlanId, Query, RouteId, Table};

use crate::snapshot::RoutePlan;

pub(crate) use editor::Editor;
pub use editor::{Change, ChangeFault, ChangeFaultKind};
pub use fuzz::{fuzz_route_changes, fuzz_route_lines};
pub(crate) use ids::Ids;
pub use names::Names;
pub(crate) use plans::{Interner, Plans};
pub use store::{Refusal, RouteStore};

/// Every route. Cheap to clone; `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Routes {
    /// The routes' patterns.
    pub table: Table,
    pub(crate) plans: Plans,
    pub(crate) names: Names,
    pub(crate) ids: Ids,
}

impl Routes {
    /// The winning route and what its pattern captured.
    pub fn find(&self, query: &Query<'_>) -> Option<Match> {
        self.table.find(query)
    }

    /// See [`Table::prefetch_host`].
    pub fn prefetch_host(&self, host: &[u8]) {
        self.table.prefetch_host(host);
    }

    /// See [`Table::prefetch_rules`].
    pub fn prefetch_rules(&self, host: &[u8]) {
        self.table.prefetch_rules(host);
    }

    /// What the routes of this plan do.
    pub fn plan(&self, id: PlanId) -> Option<&Arc<RoutePlan>> {
        self.plans.get(id)
    }

    /// What a route does.
    pub fn plan_of(&self, route: RouteId) -> Option<&Arc<RoutePlan>> {
        self.plan(self.table.plan(route)?)
    }

    /// A route's name, also for a while after its end; or that of a `tcp` listener.
    pub fn name(&self, route: RouteId) -> Option<&str> {
        self.names.get(route)
    }

    /// The route of a name.
    pub fn id(&self, name: &str) -> Option<RouteId> {
        self.ids.get(&self.names, name)
    }

    /// All names, for whoever needs them without the table.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Ids in the order of their first declaration.
    pub fn ids(&self) -> Vec<RouteId> {
        let mut ids: Vec<RouteId> = self.table.routes().collect();
        ids.sort_unstable();
        ids
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of memory of patterns, actions and names. O(hosts).
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.plans.bytes() + self.names.bytes() + self.ids.bytes()
    }
}

/// The route that a GET takes, for tests.
#[cfg(test)]
pub(crate) fn find_get(routes: &Routes, host: &str, path: &str) -> Option<Match> {
    routes.find(&Query {
        method: b"GET",
        host: host.as_bytes(),
        path: path.as_bytes(),
        query: b"",
        peer: None,
        field: &|_| router::Field::Absent,
    })
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Routes>();
};

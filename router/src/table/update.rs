//! One rule more, less, or another one: a table that shares the rest with the one before.
//!
//! Cost: the rules of one host are written anew (64 at most, or those of one path), one page of the
//! index and the branches above it are copied. What is replaced is freed with the last table that
//! has it.

use std::sync::Arc;

use super::index::scattered;
use super::node::Node;
use super::record::Record;
use super::regexes::Interned;
use super::{BuildError, BuildFault, HOMES, Table, host_hash, shadow};
use crate::pattern::host::HostPattern;
use crate::rule::{self, Read, Scratch};
use crate::spec::MatchSpec;
use crate::{PlanId, RouteId};

impl Table {
    /// The table in which `route` is this rule. One that is there keeps its place in the order of
    /// declaration, a new one comes last.
    ///
    /// # Errors
    /// All that is wrong with the rule; that it can never match, or that another one never could
    /// beside it.
    pub fn with(
        &self,
        route: RouteId,
        spec: &MatchSpec,
        priority: i32,
        plan: PlanId,
    ) -> Result<Table, Vec<BuildError>> {
        let fault = |fault| BuildError { route, other: None, fault };
        let next = self
            .put(route, spec, priority, plan)
            .map_err(|faults| faults.into_iter().map(fault).collect::<Vec<_>>())?;
        let errors = next.check(route);
        if errors.is_empty() { Ok(next) } else { Err(errors) }
    }

    /// Rules that can never match because of this one, or itself because of another. For tables
    /// that were made by [`Table::put`].
    pub fn check(&self, route: RouteId) -> Vec<BuildError> {
        let near =
            self.home(route).and_then(|home| Some(self.hosts.get(home)?.near(route, &self.make)));
        shadow::around(route, &near.unwrap_or_default(), self.make.order)
    }

    /// As [`Table::with`], but a rule may be out of reach: of several changes only what they come
    /// to together can be judged.
    ///
    /// # Errors
    /// All that is wrong with the rule.
    pub fn put(
        &self,
        route: RouteId,
        spec: &MatchSpec,
        priority: i32,
        plan: PlanId,
    ) -> Result<Table, Vec<BuildFault>> {
        let (mut scratch, mut fresh) = (Scratch::default(), Interned::beside(&self.regexes));
        let Read { host, rule } =
            rule::read(spec, priority, &mut scratch, (&mut fresh, &self.make.key))?;
        let old_order = self.record(route).map(|record| record.order());
        let order = old_order.unwrap_or(self.next_order);
        if order == u32::MAX {
            return Err(vec![BuildFault::TooMany]);
        }
        let mut record = Vec::new();
        rule.write((route, plan), order, &mut record);
        let is_elsewhere = self.home(route).is_some_and(|home| home != self.hash_of(&host));
        let mut next = if is_elsewhere { self.without(route) } else { self.clone() };
        next.next_order = self.next_order.max(order + 1);
        next.insert(&host, &record, &fresh)?;
        Ok(next)
    }

    fn hash_of(&self, host: &HostPattern) -> u64 {
        host_hash(host, &self.make.key)
    }

    /// The rule takes the place of the one of its id, which has the same host if it is there.
    fn insert(
        &mut self,
        host: &HostPattern,
        record: &[u8],
        fresh: &Interned,
    ) -> Result<(), Vec<BuildFault>> {
        let Some(rule) = Record::at(record) else {
            return Ok(());
        };
        let (hash, route) = (self.hash_of(host), rule.route());
        let node = match self.hosts.get(hash) {
            Some(place) if !place.is_of(host.text()) => return Err(vec![BuildFault::Collision]),
            Some(place) => place.with(record, &self.make),
            None => {
                self.suffixes.count(host, 1);
                Node::of_host(host, &[record], &self.make)
            }
        };
        if !matches!(host, HostPattern::Exact(_)) {
            self.wide_level = self.wide_level.max(rule.level(self.make.order));
        }
        let regexes = self.regexes.with(rule.regexes(), fresh);
        self.regexes = match self.record(route) {
            Some(old) => regexes.without(old.regexes()),
            None => regexes,
        };
        if self.home(route).is_none() {
            self.set_home(route, hash);
            self.len += 1;
        }
        self.hosts = self.hosts.changed(hash, Some(node));
        Ok(())
    }

    /// The table without a rule; the same one when there is none of that id.
    pub fn without(&self, route: RouteId) -> Table {
        let mut next = self.clone();
        let Some(hash) = self.home(route) else {
            return next;
        };
        let (Some(place), Some(record)) = (self.hosts.get(hash), self.record(route)) else {
            return next;
        };
        next.regexes = self.regexes.without(record.regexes());
        let left = place.without(route, &self.make);
        if left.is_none() {
            next.suffixes.count(&place.host(), -1);
        }
        next.hosts = self.hosts.changed(hash, left);
        next.set_home(route, 0);
        next.len -= 1;
        next
    }

    /// The hash of a rule's host.
    pub(super) fn home(&self, route: RouteId) -> Option<u64> {
        let page = self.homes.get(page_of(route))?;
        Some(page[route.0 as usize % HOMES]).filter(|hash| *hash != 0)
    }

    fn set_home(&mut self, route: RouteId, hash: u64) {
        let mut page = self.homes.get(page_of(route)).map_or([0; HOMES], |page| **page);
        page[route.0 as usize % HOMES] = hash;
        self.homes = self.homes.with(page_of(route), Arc::new(page));
    }

    /// What a rule does.
    pub fn plan(&self, route: RouteId) -> Option<PlanId> {
        self.record(route).map(|record| record.plan())
    }

    /// The record of a rule.
    pub(crate) fn record(&self, route: RouteId) -> Option<Record<'_>> {
        self.hosts.get(self.home(route)?)?.record(route)
    }
}

fn page_of(route: RouteId) -> u64 {
    scattered(RouteId(route.0 / HOMES as u32))
}

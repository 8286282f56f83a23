//! The rules of one hash as they are read, wherever they lie and in whatever form.

use super::Make;
use super::block::{Ask, Found, View};
use super::keyed::Keyed;
use super::large::Large;
use super::node::Node;
use super::record::Record;
use crate::RouteId;
use crate::pattern::host::HostPattern;

/// The rules of one host, or those of one path in a large host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// The only one of its path.
    Record(Record<'a>),
    Block(View<'a>),
    /// Of a host with many rules.
    Large(&'a Large),
    /// Of a path with many rules.
    Keyed(&'a Keyed),
}

impl<'a> Place<'a> {
    /// Whether its rules are for this very name.
    #[inline]
    pub(crate) fn is_of(&self, name: &[u8]) -> bool {
        match self {
            Place::Block(view) => view.is_of(name),
            Place::Large(large) => large.host().text() == name,
            Place::Record(_) | Place::Keyed(_) => false,
        }
    }

    /// Whom its rules are for; any for a path's.
    pub(crate) fn host(&self) -> HostPattern {
        match self {
            Place::Block(view) => view.host(),
            Place::Large(large) => large.host().clone(),
            Place::Record(_) | Place::Keyed(_) => HostPattern::Any,
        }
    }

    /// At least the level of its best rule. Only hosts are asked.
    #[inline]
    pub(crate) fn level_max(&self) -> i64 {
        match self {
            Place::Block(view) => view.level_max(),
            Place::Large(large) => large.level_max(),
            Place::Keyed(keyed) => keyed.level_max(),
            Place::Record(_) => i64::MAX,
        }
    }

    /// The best rule that takes the request.
    #[inline]
    pub(crate) fn find(&self, ask: &Ask<'_, '_>) -> Option<Found<'a>> {
        match self {
            Place::Record(record) => {
                let captures = record.check(ask.query, ask.method, ask.regexes).ok()?;
                Some(Found { record: *record, captures })
            }
            Place::Block(view) => view.find(ask),
            Place::Large(large) => large.find(ask),
            Place::Keyed(keyed) => keyed.find(ask),
        }
    }

    /// Calls `take` with each record, in no order.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Record<'a>)) {
        match self {
            Place::Record(record) => take(*record),
            Place::Block(view) => view.records().for_each(take),
            Place::Large(large) => large.places().for_each(|place| place.each(take)),
            Place::Keyed(keyed) => keyed.each(take),
        }
    }

    /// The record of a rule.
    pub(crate) fn record(&self, route: RouteId) -> Option<Record<'a>> {
        match self {
            Place::Record(record) => Some(*record).filter(|record| record.route() == route),
            Place::Block(view) => view.records().find(|record| record.route() == route),
            Place::Large(large) => large.place(route)?.record(route),
            Place::Keyed(keyed) => keyed.record(route),
        }
    }

    /// The rules that can be in a rule's way, itself included: those of its host; in a large one
    /// those of its pattern and of the patterns that take all its paths.
    pub(crate) fn near(&self, route: RouteId, make: &Make) -> Vec<Record<'a>> {
        match self {
            Place::Record(record) => vec![*record],
            Place::Block(view) => view.records().collect(),
            Place::Large(large) => large.near(route, make),
            Place::Keyed(keyed) => keyed.near(route, make),
        }
    }

    /// With one more rule, which takes the place of the one of its id. The path is that of the
    /// others, unless these are a host's rules.
    pub(crate) fn with(&self, record: &[u8], make: &Make) -> Node {
        match self {
            Place::Large(large) => Node::Large(large.with(record, make).into()),
            Place::Keyed(keyed) => Node::Keyed(keyed.with(record, make).into()),
            Place::Record(_) | Place::Block(_) => {
                let route = Record::at(record).map(|record| record.route());
                let mut records = self.written_but(route);
                records.push(record.to_vec());
                self.rebuilt(&records, make)
            }
        }
    }

    /// Without a rule; None when nothing is left.
    pub(crate) fn without(&self, route: RouteId, make: &Make) -> Option<Node> {
        match self {
            Place::Large(large) => Some(Node::Large(large.without(route, make)?.into())),
            Place::Keyed(keyed) => Some(Node::Keyed(keyed.without(route, make)?.into())),
            Place::Record(_) | Place::Block(_) => {
                let records = self.written_but(Some(route));
                (!records.is_empty()).then(|| self.rebuilt(&records, make))
            }
        }
    }

    /// All records but one, written out again.
    fn written_but(&self, route: Option<RouteId>) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        self.each(&mut |record| {
            if Some(record.route()) != route {
                records.push(record.written());
            }
        });
        records
    }

    /// The node of other records. The block of a path names no host.
    fn rebuilt(&self, records: &[Vec<u8>], make: &Make) -> Node {
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        match self {
            Place::Block(view) if !view.is_of_path() => Node::of_host(&view.host(), &records, make),
            _ => Node::of_path(&records, make),
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Place::Record(record) => record.bytes(),
            Place::Block(view) => view.bytes(),
            Place::Large(large) => large.bytes(),
            Place::Keyed(keyed) => keyed.bytes(),
        }
    }
}

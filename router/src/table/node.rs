//! The rules of one host, or of one path within a large host, in the form that suits their number.
//!
//! A draft is a node whose blocks are still being written; it becomes a node once they are a
//! region.

use std::sync::Arc;

use lanes::Region;

use super::Make;
use super::block::{self, Ask, Block, Found, Span};
use super::keyed::{self, Keyed};
use super::large::{self, Large};
use super::record::{Rank, Record};
use crate::RouteId;
use crate::pattern::host::HostPattern;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Block(Block),
    /// Of a host with many rules.
    Large(Arc<Large>),
    /// Of a path with many rules.
    Keyed(Arc<Keyed>),
}

/// A node in the making.
#[derive(Debug)]
pub(crate) enum Draft {
    Block(Span),
    Large(large::Draft),
    Keyed(keyed::Draft),
}

impl Draft {
    /// The node, once the blocks are a region.
    pub(crate) fn settle(self, home: &Arc<Region>) -> Node {
        match self {
            Draft::Block(span) => Node::Block(span.settle(home)),
            Draft::Large(draft) => Node::Large(Arc::new(draft.settle(home))),
            Draft::Keyed(draft) => Node::Keyed(Arc::new(draft.settle(home))),
        }
    }
}

impl Node {
    /// The node of one host's records, with its blocks in memory of its own.
    pub(crate) fn of_host(host: &HostPattern, records: &[&[u8]], make: &Make) -> Node {
        let mut bytes = Vec::new();
        let draft = host_draft(host, records, make, &mut bytes);
        draft.settle(&Arc::new(Region::from(bytes.into_boxed_slice())))
    }

    /// The node of one path's records, with its blocks in memory of its own.
    pub(crate) fn of_path(records: &[&[u8]], make: &Make) -> Node {
        let mut bytes = Vec::new();
        let draft = path_draft(records, make, &mut bytes);
        draft.settle(&Arc::new(Region::from(bytes.into_boxed_slice())))
    }

    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Node::Block(block) = self {
            block.prefetch();
        }
    }

    /// Whether its rules are for this very name.
    #[inline]
    pub(crate) fn is_of(&self, name: &[u8]) -> bool {
        match self {
            Node::Block(block) => block.view().is_of(name),
            Node::Large(large) => large.host().text() == name,
            Node::Keyed(_) => false,
        }
    }

    /// The record of a rule.
    pub(crate) fn record(&self, route: RouteId) -> Option<Record<'_>> {
        match self {
            Node::Block(block) => block.view().records().find(|record| record.route() == route),
            Node::Large(large) => large.place(route)?.record(route),
            Node::Keyed(keyed) => keyed.record(route),
        }
    }

    /// The rules that can be in a rule's way, itself included: those of its host, and of its path
    /// in a large host.
    pub(crate) fn near(&self, route: RouteId) -> Vec<Record<'_>> {
        match self {
            Node::Block(block) => block.view().records().collect(),
            Node::Large(large) => {
                large.place(route).map_or_else(Vec::new, |place| place.near(route))
            }
            Node::Keyed(keyed) => keyed.near(route),
        }
    }

    /// Whom its rules are for; any for a path's.
    pub(crate) fn host(&self) -> HostPattern {
        match self {
            Node::Block(block) => block.view().host(),
            Node::Large(large) => large.host().clone(),
            Node::Keyed(_) => HostPattern::Any,
        }
    }

    /// At least the level of its best rule.
    #[inline]
    pub(crate) fn level_max(&self) -> i64 {
        match self {
            Node::Block(block) => block.view().level_max(),
            Node::Large(large) => large.level_max(),
            Node::Keyed(keyed) => keyed.level_max(),
        }
    }

    /// The best rule that takes the request.
    #[inline]
    pub(crate) fn find(&self, ask: &Ask<'_, '_>) -> Option<Found<'_>> {
        match self {
            Node::Block(block) => block.view().find(ask),
            Node::Large(large) => large.find(ask),
            Node::Keyed(keyed) => keyed.find(ask),
        }
    }

    /// With one more rule; the path is that of the others, unless the node is a host's.
    pub(crate) fn with(&self, record: &[u8], make: &Make) -> Node {
        match self {
            Node::Large(large) => Node::Large(Arc::new(large.with(record, make))),
            Node::Keyed(keyed) => Node::Keyed(Arc::new(keyed.with(record, make))),
            Node::Block(block) => {
                let mut records = written(block);
                records.push(record.to_vec());
                self.rebuilt(&records, make)
            }
        }
    }

    /// Without a rule; None when nothing is left.
    pub(crate) fn without(&self, route: RouteId, make: &Make) -> Option<Node> {
        match self {
            Node::Large(large) => Some(Node::Large(Arc::new(large.without(route, make)?))),
            Node::Keyed(keyed) => Some(Node::Keyed(Arc::new(keyed.without(route, make)?))),
            Node::Block(block) => {
                let mut records = written(block);
                records.retain(|record| Record::at(record).is_some_and(|r| r.route() != route));
                (!records.is_empty()).then(|| self.rebuilt(&records, make))
            }
        }
    }

    /// A block's node of other records. The block of a path names no host.
    fn rebuilt(&self, records: &[Vec<u8>], make: &Make) -> Node {
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        match self {
            Node::Block(block) if block.view().is_of_path() => Node::of_path(&records, make),
            Node::Block(block) => Node::of_host(&block.view().host(), &records, make),
            Node::Large(large) => Node::of_host(large.host(), &records, make),
            Node::Keyed(_) => Node::of_path(&records, make),
        }
    }

    /// Calls `take` with each record, in no order.
    pub(crate) fn each<'a>(&'a self, take: &mut dyn FnMut(Record<'a>)) {
        match self {
            Node::Block(block) => block.view().records().for_each(take),
            Node::Large(large) => large.places().for_each(|place| place.each(take)),
            Node::Keyed(keyed) => keyed.each(take),
        }
    }

    /// Bytes of memory beside the node itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Node::Block(block) => block.bytes().len(),
            Node::Large(large) => large.bytes(),
            Node::Keyed(keyed) => keyed.bytes(),
        }
    }
}

/// A block's records, written out again.
pub(crate) fn written(block: &Block) -> Vec<Vec<u8>> {
    block.view().records().map(|record| record.written()).collect()
}

/// Writes the blocks of one host.
pub(crate) fn host_draft(
    host: &HostPattern,
    records: &[&[u8]],
    make: &Make,
    out: &mut Vec<u8>,
) -> Draft {
    match block::write(host, &ranked(records, make), make, out) {
        Some(span) => Draft::Block(span),
        None => Draft::Large(large::draft(host, records, make, out)),
    }
}

/// Writes the blocks of one path.
pub(crate) fn path_draft(records: &[&[u8]], make: &Make, out: &mut Vec<u8>) -> Draft {
    match block::write_path(&ranked(records, make), make, out) {
        Some(span) => Draft::Block(span),
        None => Draft::Keyed(keyed::draft(records, make, out)),
    }
}

/// The records in the order of their ranks, the best first.
pub(crate) fn ranked<'a>(records: &[&'a [u8]], make: &Make) -> Vec<&'a [u8]> {
    let rank = |record: &&'a [u8]| Some((Record::at(record)?.rank(make.order), *record));
    let mut ranked: Vec<(Rank, &[u8])> = records.iter().filter_map(rank).collect();
    ranked.sort_unstable_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    ranked.into_iter().map(|(_, record)| record).collect()
}

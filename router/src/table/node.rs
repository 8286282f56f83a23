//! The rules of one host, or of one path within a large host, in the form that suits their number.
//!
//! A draft is a node whose blocks are still being written; it becomes a node once they are a
//! region.

use std::sync::Arc;

use super::Make;
use super::block::{self, Base, Block, Span};
use super::keyed::{self, Keyed};
use super::large::{self, Large};
use super::place::Place;
use super::record::{Rank, Record};
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
    /// The node, once the blocks are in a region.
    pub(crate) fn settle(self, base: &Base) -> Node {
        match self {
            Draft::Block(span) => Node::Block(span.settle(base)),
            Draft::Large(draft) => Node::Large(Arc::new(draft.settle(base))),
            Draft::Keyed(draft) => Node::Keyed(Arc::new(draft.settle(base))),
        }
    }
}

impl Node {
    /// The node of one host's records, with its blocks in memory of its own.
    pub(crate) fn of_host(host: &HostPattern, records: &[&[u8]], make: &Make) -> Node {
        let mut bytes = Vec::new();
        let draft = host_draft(host, records, make, &mut bytes);
        draft.settle(&Base::own(bytes))
    }

    /// The node of one path's records, with its blocks in memory of its own.
    pub(crate) fn of_path(records: &[&[u8]], make: &Make) -> Node {
        let mut bytes = Vec::new();
        let draft = path_draft(records, make, &mut bytes);
        draft.settle(&Base::own(bytes))
    }

    #[inline]
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Node::Block(block) => Place::Block(block.view()),
            Node::Large(large) => Place::Large(large),
            Node::Keyed(keyed) => Place::Keyed(keyed),
        }
    }

    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Node::Block(block) = self {
            block.prefetch();
        }
    }
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

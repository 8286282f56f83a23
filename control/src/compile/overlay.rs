//! The journal's routes, laid over those that the files declare.
//!
//! All changes of the journal count as one group: only what they come to is read, and judged
//! together with what the files declare. A route that was changed stands where the file's stood,
//! one that was ended leaves its id without a rule, and the others come behind those of the files.
//! Routes are read from the journal's files at random, by several threads.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use router::RouteSpec;

use super::draft::Terms;
use super::single;
use crate::config::{Config, Item};
use crate::decode::Fault;
use crate::journal::{self, Net};
use crate::snapshot::RoutePlan;
use crate::tree::{Place, shorten};

/// Routes that a thread reads at a time.
const PART_ROUTES: usize = 4096;

/// A journal's net effect, and the numbers of its files.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    net: &'a Net,
    files: BTreeMap<PathBuf, u16>,
}

/// What is said of a route that the files declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// It is ended. One of its name that was put later comes behind all that are declared.
    Ended,
    /// This one is in its place.
    Put(usize),
}

/// A route of the journal, and where it stands there.
pub(super) struct Laid {
    pub(super) item: Item<RouteSpec>,
    pub(super) plan: RoutePlan,
    pub(super) place: Place,
}

impl Overlay<'_> {
    /// Gives each file of the journal a number.
    pub(super) fn new<'a>(net: &'a Net, config: &mut Config) -> Overlay<'a> {
        let number =
            |path: &Path| (path.to_owned(), config.add_unkept(&path.display().to_string()));
        Overlay { net, files: net.paths().map(number).collect() }
    }

    /// What the journal says of a declared route. Reads its file if it says anything.
    pub(super) fn said_of(&self, id: &str) -> io::Result<Said> {
        let Some(index) = self.net.find(id)? else { return Ok(Said::Nothing) };
        Ok(match (self.net.is_ended(index), self.net.is_live(index)) {
            (true, _) => Said::Ended,
            (false, true) => Said::Put(index),
            (false, false) => Said::Nothing,
        })
    }

    /// Reads and checks a route, its pattern aside.
    pub(super) fn route(&self, index: usize, terms: Terms<'_>) -> Result<Laid, Vec<Fault>> {
        let read = self.net.with(index, |change, origin| {
            let file = self.files.get(origin.file).copied().unwrap_or_default();
            let place = Place { file, line: origin.line, column: 1 };
            // INVARIANT: only what is live is asked for.
            let journal::Change::Put { id, route } = change else {
                unreachable!("a route that was put")
            };
            let (item, plan) = single::read(id, route, terms.facts, terms.make)
                .map_err(|faults| blame(place, id, faults))?;
            Ok(Laid { item, plan, place })
        });
        read.unwrap_or_else(|error| {
            let file = self.files.values().next().copied().unwrap_or_default();
            let message = format!("the journal cannot be read: {error}");
            Err(vec![Fault::new(Place { file, line: 0, column: 0 }, message)])
        })
    }

    /// The routes that are in no declared one's place, in parts of what is read at a time, in
    /// order; `is_placed` are the indexes of the others.
    pub(super) fn others(&self, placed: &[usize]) -> Vec<Vec<usize>> {
        let mut placed = placed.to_vec();
        placed.sort_unstable();
        let mut others = self.net.in_order();
        others.retain(|index| self.net.is_live(*index) && placed.binary_search(index).is_err());
        others.chunks(PART_ROUTES).map(<[usize]>::to_vec).collect()
    }

    /// Whether a place is in the journal.
    pub(super) fn has(&self, place: Place) -> bool {
        self.files.values().any(|file| *file == place.file)
    }
}

/// Faults of a journal's route, at its place there.
pub(super) fn blame(place: Place, id: &str, faults: Vec<Fault>) -> Vec<Fault> {
    let fault = |fault: Fault| {
        let message = format!("the journal's route `{}`: {}", shorten(id), fault.message);
        Fault { hint: fault.hint, ..Fault::new(place, message) }
    };
    faults.into_iter().map(fault).collect()
}

/// What `work` makes of each number below `count`, in order, by so many threads.
pub(super) fn in_parallel<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let job = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Relaxed));
        let numbers = numbers.take_while(|number| *number < count);
        numbers.map(|number| (number, work(number))).collect::<Vec<_>>()
    };
    let mut made = std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads.clamp(1, count.max(1))).map(|_| scope.spawn(job)).collect();
        let mut made = job();
        for other in others {
            // INVARIANT: a panic of a reader is a panic of the load.
            made.extend(other.join().expect("a reader of the journal"));
        }
        made
    });
    made.sort_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, made)| made).collect()
}

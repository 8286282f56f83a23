//! Any sequence of changes, commits, compactions and restarts, against a list that all changes are
//! applied to.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::super::compact;
use super::super::folder::Files;
use super::super::net::Net;
use super::*;

/// The configuration files declare the first two.
const IDS: [&str; 6] = ["a", "b", "", "d\n\"", "e", "f"];
const DECLARED: usize = 2;

/// Ids with their routes, in order.
type State = Vec<(String, String)>;

#[derive(Clone, Debug)]
enum Step {
    /// One entry of puts (`Some`) and deletes.
    Append(Vec<(usize, Option<u32>)>),
    Commit,
    /// Starts a compaction, if there is something to compact and none is in progress.
    Begin,
    /// Waits for it.
    Finish,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0..IDS.len(), prop::option::of(0..9u32));
    prop_oneof![
        5 => prop::collection::vec(change, 1..4).prop_map(Step::Append),
        4 => Just(Step::Commit),
        2 => Just(Step::Begin),
        2 => Just(Step::Finish),
        1 => Just(Step::Reopen),
    ]
}

fn declared() -> State {
    IDS[..DECLARED].iter().map(|id| ((*id).to_owned(), "declared".to_owned())).collect()
}

/// What the admin API's user sees.
fn apply(state: &mut State, change: Change<'_>) {
    match change {
        Change::Put { id, route } => match state.iter_mut().find(|(known, _)| known == id) {
            Some((_, known)) => route.clone_into(known),
            None => state.push((id.to_owned(), route.to_owned())),
        },
        Change::Delete { id, .. } => state.retain(|(known, _)| known != id),
    }
}

fn laid_over(journal: &Journal) -> State {
    let mut state = declared();
    journal.replay(&mut |change, _| apply(&mut state, change)).unwrap();
    state
}

/// Calls `with` with the changes as the journal takes them.
fn with_changes(entry: &[(usize, Option<u32>)], with: &mut dyn FnMut(&[Change<'_>])) {
    let routes: Vec<_> = entry.iter().map(|(_, n)| n.map(|n| format!("{{\"n\":{n}}}"))).collect();
    let change =
        |((id, _), route): (&(usize, Option<u32>), &'_ Option<String>)| (*id, route.clone());
    let owned: Vec<_> = entry.iter().zip(&routes).map(change).collect();
    let changes: Vec<_> = owned
        .iter()
        .map(|(id, route)| match route {
            Some(route) => Change::Put { id: IDS[*id], route },
            None => Change::Delete { id: IDS[*id], declared: *id < DECLARED },
        })
        .collect();
    with(&changes);
}

/// A journal beside its model.
struct Pair {
    scratch: Scratch,
    journal: Option<Journal>,
    committed: State,
    appended: State,
}

impl Pair {
    fn new() -> Pair {
        let scratch = Scratch::new();
        let journal = Some(scratch.open());
        Pair { scratch, journal, committed: declared(), appended: declared() }
    }

    fn take(&mut self, step: &Step) {
        let journal = self.journal.as_mut().unwrap();
        match step {
            Step::Append(entry) => with_changes(entry, &mut |changes| {
                journal.append(changes).unwrap();
                changes.iter().for_each(|change| apply(&mut self.appended, *change));
            }),
            Step::Commit => {
                journal.commit().unwrap();
                self.committed.clone_from(&self.appended);
            }
            Step::Begin if journal.running.is_none() && journal.segments_bytes() > 0 => {
                journal.begin().unwrap();
            }
            Step::Begin => {}
            Step::Finish => finish(journal),
            Step::Reopen => self.reopen(),
        }
        assert_eq!(laid_over(self.journal.as_ref().unwrap()), self.committed);
    }

    fn reopen(&mut self) {
        self.journal = None;
        self.journal = Some(self.scratch.open());
        self.appended.clone_from(&self.committed);
    }
}

/// Two hashes for all ids.
struct Narrow;

struct NarrowHasher(u8);

impl BuildHasher for Narrow {
    type Hasher = NarrowHasher;

    fn build_hasher(&self) -> NarrowHasher {
        NarrowHasher(0)
    }
}

impl Hasher for NarrowHasher {
    fn finish(&self) -> u64 {
        u64::from(self.0 & 1)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum ^ byte);
    }
}

fn base<S: BuildHasher>(files: &Files, hasher: S) -> Vec<u8> {
    let mut net = Net::new(hasher);
    files.parts().for_each(|part| net.read(&part, u64::MAX, &mut || Ok(())).unwrap());
    let mut out = Vec::new();
    compact::write_net(net, &mut out, &AtomicBool::new(false)).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_the_list_of_its_changes(steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.take(step));
        pair.take(&Step::Finish);
        pair.take(&Step::Reopen);
    }

    #[test]
    fn hashes_may_collide(
        entries in prop::collection::vec(
            prop::collection::vec((0..IDS.len(), prop::option::of(0..9u32)), 1..4), 1..20,
        ),
    ) {
        let scratch = Scratch::new();
        let mut journal = scratch.open();
        for entry in &entries {
            with_changes(entry, &mut |changes| journal.append(changes).unwrap());
        }
        journal.commit().unwrap();
        let narrow = base(&journal.files, Narrow);
        prop_assert_eq!(narrow, base(&journal.files, std::hash::RandomState::new()));
    }
}

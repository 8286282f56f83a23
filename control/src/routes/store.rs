//! The routes of a running gateway: what the files declare, and over it what was changed since.
//!
//! T1 A change is acknowledged once the journal has it on the disk; several that wait are brought
//! there together. T2 Without a journal nothing can be changed: what a restart would lose is not
//! taken. T3 When the journal fails, what it holds is unknown: nothing is published, and no change
//! is taken until a restart.

use std::sync::Arc;
use std::time::Instant;

use super::{Change, ChangeFault, Editor, Routes};
use crate::error::ConfigError;
use crate::journal::{self, Journal};
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::source::{self, Sources};

/// Why a group of changes was not taken. Nothing of it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no journal (T2).
    NoJournal,
    /// These changes are wrong.
    Faults(Vec<ChangeFault>),
    /// The journal failed (T3).
    Journal(String),
    /// The process is about to end.
    Stopping,
}

/// The routes of this process, and the right to change them. Owned by the control thread.
#[derive(Debug)]
pub struct RouteStore {
    editor: Editor,
    journal: Option<Journal>,
    /// Why no change is taken any more.
    failure: Option<String>,
}

impl RouteStore {
    /// Reads all sources and the journal. Blocks on files and on DNS.
    ///
    /// # Errors
    /// All faults of the sources; else those of the journal.
    pub fn load(sources: &Sources) -> Result<(Snapshot, RouteStore), Vec<ConfigError>> {
        let (mut journal, mut warnings) = (None, Vec::new());
        let mut open = |settings: &Settings| {
            let Some(folder) = settings.route_journal() else { return Ok(None) };
            journal.insert(Journal::open(folder, &mut warnings)?).net().map(Some)
        };
        let mut compiled = source::load_all(sources, &mut open)?;
        let known = compiled.snapshot.warnings.iter().cloned();
        compiled.snapshot.warnings = known.chain(warnings).collect();
        let snapshot = compiled.snapshot.clone();
        Ok((snapshot, RouteStore { editor: Editor::new(compiled), journal, failure: None }))
    }

    /// Reads all sources again, and lays the journal over them anew.
    ///
    /// # Errors
    /// As [`RouteStore::load`], and each change that needs a restart; nothing is different then.
    pub fn reload(
        &mut self,
        current: &Snapshot,
        sources: &Sources,
    ) -> Result<Snapshot, Vec<ConfigError>> {
        let mut net = |_: &Settings| self.journal.as_ref().map(Journal::net).transpose();
        let compiled = source::reload_all(current, sources, &mut net)?;
        let snapshot = compiled.snapshot.clone();
        self.editor = Editor::new(compiled);
        Ok(snapshot)
    }

    /// The routes with all changes that were taken.
    pub fn routes(&self) -> &Arc<Routes> {
        self.editor.routes()
    }

    /// Takes groups of changes, each as a whole or not at all; on the disk when this returns (T1).
    /// The answers are in the order of the groups.
    pub fn change(&mut self, groups: &[&[Change]], now: Instant) -> Vec<Result<(), Refusal>> {
        let mut answers: Vec<_> = groups.iter().map(|group| self.take(group, now)).collect();
        if let Err(why) = self.commit() {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(Refusal::Journal(why.clone()));
            }
        }
        answers
    }

    fn take(&mut self, group: &[Change], now: Instant) -> Result<(), Refusal> {
        let Some(journal) = &mut self.journal else {
            return Err(Refusal::NoJournal);
        };
        if let Some(why) = &self.failure {
            return Err(Refusal::Journal(why.clone()));
        }
        let changes: Vec<_> = group.iter().map(|change| recorded(change, &self.editor)).collect();
        self.editor.apply(group, now).map_err(Refusal::Faults)?;
        journal.append(&changes).map_err(|error| {
            let why = error.to_string();
            self.failure = Some(why.clone());
            Refusal::Journal(why)
        })
    }

    fn commit(&mut self) -> Result<(), String> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let committed = match &self.failure {
            Some(why) => Err(why.clone()),
            None => journal.commit().map_err(|error| error.to_string()),
        };
        committed.inspect_err(|why| self.failure = Some(why.clone()))
    }

    /// Sees to the journal's compaction; to be called on every control tick. What goes wrong there
    /// is added to `warnings`.
    pub fn tend(&mut self, warnings: &mut Vec<String>) {
        if let Some(journal) = &mut self.journal {
            journal.tend(warnings);
        }
    }
}

/// A change as the journal keeps it.
fn recorded<'a>(change: &'a Change, editor: &Editor) -> journal::Change<'a> {
    match change {
        Change::Put { id, route } => journal::Change::Put { id, route },
        Change::Delete { id } => journal::Change::Delete { id, declared: editor.is_declared(id) },
    }
}

#[cfg(test)]
mod tests;

//! Changes of routes on their way from admin connections to the control thread, and back.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use control::{Edit, Refusal};

use crate::run::Event;

/// A group of changes that somebody waits for.
pub(crate) struct Change {
    pub(crate) edits: Vec<Edit>,
    answer: SyncSender<Result<u64, Refusal>>,
}

impl Change {
    fn new(edits: Vec<Edit>) -> (Change, Receiver<Result<u64, Refusal>>) {
        let (answer, answers) = sync_channel(1);
        (Change { edits, answer }, answers)
    }

    /// Tells the generation that has the changes, or why there is none.
    pub(crate) fn answer(self, outcome: Result<u64, Refusal>) {
        // Whoever asked may have gone; what was done is done.
        let _ = self.answer.send(outcome);
    }
}

/// Hands changes to the control thread and waits for its answer.
pub(crate) fn ask(control: &SyncSender<Event>, edits: Vec<Edit>) -> Result<u64, Refusal> {
    let (change, answers) = Change::new(edits);
    // A control thread that is gone or going drops what it was sent.
    control.send(Event::Change(change)).map_err(|_| Refusal::Stopping)?;
    answers.recv().unwrap_or(Err(Refusal::Stopping))
}

//! Groups of changes on their way from admin connections to the control thread, and back.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use control::{Change, Refusal};

use crate::run::Event;

/// A group of changes that somebody waits for.
pub(crate) struct Group {
    pub(crate) changes: Vec<Change>,
    answer: SyncSender<Result<u64, Refusal>>,
}

impl Group {
    fn new(changes: Vec<Change>) -> (Group, Receiver<Result<u64, Refusal>>) {
        let (answer, answers) = sync_channel(1);
        (Group { changes, answer }, answers)
    }

    /// Tells the generation that has the changes, or why there is none.
    pub(crate) fn answer(self, outcome: Result<u64, Refusal>) {
        // Whoever asked may have gone; what was done is done.
        let _ = self.answer.send(outcome);
    }
}

/// Hands changes to the control thread as a group and waits for its answer.
pub(crate) fn ask(control: &SyncSender<Event>, changes: Vec<Change>) -> Result<u64, Refusal> {
    let (group, answers) = Group::new(changes);
    // A control thread that is gone or going drops what it was sent.
    control.send(Event::Changes(group)).map_err(|_| Refusal::Stopping)?;
    answers.recv().unwrap_or(Err(Refusal::Stopping))
}

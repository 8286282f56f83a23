//! What each changed route must be: as the last acknowledged change left it, or as one that was
//! sent and not answered may have.
//!
//! The file has one JSON object a route and line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What a change makes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Gone,
    Version(u64),
}

/// The path of a route's version; nothing else in the table has it. No path begins another.
pub(super) fn path(id: &str, version: u64) -> String {
    format!("/change/{id}/v{version}.")
}

/// What is known of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    acknowledged: Option<State>,
    /// Changes that may have taken effect.
    unanswered: Vec<State>,
}

impl Known {
    /// Whether the route may be what the gateway says of it; `None`: there is none.
    pub(super) fn allows(&self, id: &str, description: Option<&str>) -> bool {
        // Before the first change there was no route of this name.
        let acknowledged = self.acknowledged.unwrap_or(State::Gone);
        let is = |state: &State| match (state, description) {
            (State::Gone, None) => true,
            (State::Version(version), Some(text)) => text.contains(&path(id, *version)),
            _ => false,
        };
        is(&acknowledged) || self.unanswered.iter().any(is)
    }
}

/// All routes that were changed.
#[derive(Default)]
pub(super) struct Ledger(BTreeMap<String, Known>);

impl Ledger {
    /// Notes a change and the status of its answer, if one came.
    pub(super) fn note(&mut self, id: String, state: State, status: Option<u16>) {
        let known = self.0.entry(id).or_default();
        match status {
            Some(200) => known.acknowledged = Some(state),
            // A journal that failed has the change or has it not.
            None | Some(503) => known.unanswered.push(state),
            Some(_) => {}
        }
    }

    pub(super) fn add(&mut self, other: Ledger) {
        self.0.extend(other.0);
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.0.iter()
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let open = fs::File::create(file);
        let mut out = std::io::BufWriter::new(open.with_context(|| file.display().to_string())?);
        for (id, known) in &self.0 {
            let unanswered: Vec<Value> = known.unanswered.iter().map(to_json).collect();
            let acknowledged = known.acknowledged.as_ref().map(to_json);
            let line = json!({ "id": id, "acknowledged": acknowledged, "unanswered": unanswered });
            writeln!(out, "{line}")?;
        }
        Ok(out.flush()?)
    }

    pub(super) fn read(file: &Path) -> Result<Ledger> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let routes = text.lines().map(|line| {
            let value: Value = serde_json::from_str(line)?;
            let id = value["id"].as_str().context("no id")?.to_owned();
            let unanswered = value["unanswered"].as_array().context("no list")?;
            let unanswered = unanswered.iter().filter_map(from_json).collect();
            Ok((id, Known { acknowledged: from_json(&value["acknowledged"]), unanswered }))
        });
        Ok(Ledger(routes.collect::<Result<_>>()?))
    }
}

fn to_json(state: &State) -> Value {
    match state {
        State::Gone => json!("gone"),
        State::Version(version) => json!(version),
    }
}

/// `None` for null.
fn from_json(value: &Value) -> Option<State> {
    if value == "gone" { Some(State::Gone) } else { value.as_u64().map(State::Version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there_unless_a_later_change_may_have_come() {
        let mut ledger = Ledger::default();
        ledger.note("a".into(), State::Version(1), Some(200));
        ledger.note("a".into(), State::Version(12), Some(200));
        ledger.note("a".into(), State::Version(3), Some(409));
        let is = |ledger: &Ledger, text: Option<&str>| ledger.0["a"].allows("a", text);
        assert!(is(&ledger, Some("match path /change/a/v12.")));
        for lost in [None, Some("/change/a/v1."), Some("/change/a/v3."), Some("/change/b/v12.")] {
            assert!(!is(&ledger, lost), "{lost:?}");
        }
        ledger.note("a".into(), State::Gone, None);
        assert!(is(&ledger, None) && is(&ledger, Some("/change/a/v12.")));
        assert!(!is(&ledger, Some("/change/a/v1.")));
    }

    #[test]
    fn a_file_brings_everything_back() {
        let mut ledger = Ledger::default();
        ledger.note("a".into(), State::Version(1), Some(200));
        ledger.note("a".into(), State::Gone, None);
        ledger.note("b".into(), State::Version(2), None);
        let name = format!("ringway-ledger-{}.jsonl", std::process::id());
        let file = std::env::temp_dir().join(name);
        ledger.write(&file).unwrap();
        let read = Ledger::read(&file).unwrap();
        fs::remove_file(file).unwrap();
        assert_eq!(read.0, ledger.0);
    }
}

//! A route by itself, as one JSON object: of a change, of the journal, of a line.

use router::RouteSpec;

use super::draft::{self, Make};
use super::facts::Facts;
use crate::config::Item;
use crate::decode::Fault;
use crate::snapshot::RoutePlan;
use crate::tree::{self, Node, Place, shorten};

/// Reads and checks the route of a name, its pattern aside. Files that it names are looked for
/// beside the first file of the configuration.
///
/// # Errors
/// All its faults, with their places in the text where that can be had.
pub(crate) fn read(
    id: &str,
    text: &str,
    facts: &Facts,
    make: Make,
) -> Result<(Item<RouteSpec>, RoutePlan), Vec<Fault>> {
    let start = Place::start(0);
    let mut spec = serde_json::from_str::<RouteSpec>(text)
        .map_err(|error| explained(text, vec![json_fault(start, &error)], facts, make))?;
    if spec.id != id {
        let message = format!("its `id` is `{}`, not `{}`", shorten(&spec.id), shorten(id));
        return Err(vec![Fault::new(start, message)]);
    }
    let item = Item::plain(std::mem::take(&mut spec.id), start, spec);
    let mut faults = Vec::new();
    // INVARIANT: an item that was made of a spec has it.
    let spec = item.spec.as_ref().expect("the spec that was put in");
    let plan = facts.plan(&item, spec, &mut faults);
    if faults.is_empty() { Ok((item, plan)) } else { Err(explained(text, faults, facts, make)) }
}

/// The faults of a route that has some, with their places where its text can be taken apart; else
/// as they were found.
pub(crate) fn explained(text: &str, found: Vec<Fault>, facts: &Facts, make: Make) -> Vec<Fault> {
    let explained = explain(Place::start(0), text.as_bytes(), facts, make);
    if explained.is_empty() { found } else { explained }
}

/// A fault of JSON at its column.
pub(crate) fn json_fault(place: Place, error: &serde_json::Error) -> Fault {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    let line = place.line + number(error.line()) - 1;
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    Fault::new(
        Place { line, column: number(error.column()), ..place },
        format!("not a route: {message}"),
    )
}

/// All faults of a route that has some, each with its place: JSON of one line is YAML as well.
/// None where the text is not even that.
pub(crate) fn explain(place: Place, text: &[u8], facts: &Facts, make: Make) -> Vec<Fault> {
    let Ok(text) = std::str::from_utf8(text) else {
        return vec![Fault::new(place, "not UTF-8")];
    };
    let (mut yaml, mut faults) = (Vec::new(), Vec::new());
    let Some(node) = tree::parse(place, text, &mut yaml) else {
        return Vec::new();
    };
    faults.extend(yaml.into_iter().map(|(place, message)| Fault::new(place, message)));
    let name = node.field("id").and_then(Node::text).unwrap_or_default();
    let item = Item::<RouteSpec>::read(name, node.place, &node, &mut faults);
    if let Some(spec) = &item.spec {
        faults.extend(draft::faults_of(&item, spec, facts, make));
    }
    faults
}

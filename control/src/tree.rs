//! A YAML document as a tree in which every node knows its place.
//!
//! The tree keeps text as text: `on`, `yes` and `012` are never turned into something else here.
//! What a scalar means is decided by whoever reads it (`decode`), knowing what is expected.
//!
//! Taken from YAML: one document, block and flow style, anchors and aliases. Refused, each with
//! its place: tags, duplicate keys, keys that are not plain text, further documents, and files
//! beyond the budgets below. The parser is iterative and the tree is built on an explicit stack,
//! so nesting costs heap that the budget bounds, never stack.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// Deepest nesting; the deepest place of a real configuration is 6.
const DEPTH_MAX: usize = 32;

/// Nodes of a document, aliases counted each time they are used (the "billion laughs" bound).
const NODES_MAX: usize = 4_000_000;

/// A place in a file: its number among the files of a configuration; line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: u16,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a node holds. Lists and mappings are shared, so that an alias costs nothing to copy.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text; `plain` when it was not quoted.
    Scalar {
        text: Rc<str>,
        plain: bool,
    },
    List(Rc<Vec<Node>>),
    Map(Rc<Vec<(Key, Node)>>),
    /// Stands where a faulty or missing value was, see `decode`.
    Poison,
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: Rc<str>,
}

impl Node {
    /// Plain and empty, `~` or `null`: no value.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => *plain && matches!(&**text, "" | "~" | "null"),
            _ => false,
        }
    }

    /// The entries of a mapping; empty for everything else.
    pub(crate) fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for everything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value under `key` of a mapping.
    pub(crate) fn field(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| &*name.text == key).map(|(_, node)| node)
    }

    /// The node at the end of `path`, or as far towards it as there is one: the best place for a
    /// message about it.
    pub(crate) fn towards(&self, path: &[&str]) -> &Node {
        let mut node = self;
        for key in path {
            let Some(next) = node.field(key) else { break };
            node = next;
        }
        node
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Poison => "a fault".to_owned(),
        }
    }

    fn count(&self) -> usize {
        let inner: usize = match &self.value {
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| 1 + node.count()).sum(),
            _ => 0,
        };
        1 + inner
    }
}

/// A text for messages: at most 60 characters.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads a document that begins at `start`. `None` when it cannot be read to its end or is empty;
/// faults that leave a tree (duplicate keys, tags) are added to `errors` and the tree is still
/// returned.
pub(crate) fn parse(start: Place, text: &str, errors: &mut Vec<(Place, String)>) -> Option<Node> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.take(event, start.behind(span), errors),
            Err(error) => Err(start.syntax(&error)),
        };
        if let Err(fault) = step {
            errors.push(fault);
            return None;
        }
    }
    builder.root
}

impl Place {
    /// Where a file begins.
    pub(crate) fn start(file: u16) -> Place {
        Place { file, line: 1, column: 1 }
    }

    fn behind(self, span: Span) -> Place {
        self.plus(span.start.line(), span.start.col())
    }

    /// The parser counts lines from 1 and columns from 0.
    fn plus(self, line: usize, column: usize) -> Place {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let line = number(line).saturating_add(self.line).saturating_sub(1);
        Place { line, column: number(column + 1), ..self }
    }

    fn syntax(self, error: &ScanError) -> (Place, String) {
        let marker = error.marker();
        let place = self.plus(marker.line(), marker.col());
        (place, format!("not valid YAML: {}", error.info()))
    }
}

/// A list or mapping that is not yet closed.
struct Open {
    place: Place,
    anchor: usize,
    /// `None` for a list.
    entries: Option<Vec<(Key, Node)>>,
    items: Vec<Node>,
    /// A key that waits for its value.
    key: Option<Key>,
    /// Lines of the keys so far.
    seen: BTreeMap<Rc<str>, u32>,
    /// The key is a duplicate: its value is left out.
    skip: bool,
}

impl Open {
    /// Adds an item, a key or a value, whichever comes next.
    fn put(&mut self, node: Node, errors: &mut Vec<Fault>) -> Result<(), Fault> {
        let Some(entries) = &mut self.entries else {
            self.items.push(node);
            return Ok(());
        };
        match self.key.take() {
            None => self.key = Some(self.read_key(&node, errors)?),
            Some(_) if self.skip => self.skip = false,
            Some(key) => entries.push((key, node)),
        }
        Ok(())
    }

    fn read_key(&mut self, node: &Node, errors: &mut Vec<Fault>) -> Result<Key, Fault> {
        let Value::Scalar { text, .. } = &node.value else {
            return Err((node.place, format!("a key must be text, not {}", node.describe())));
        };
        if let Some(first) = self.seen.get(text) {
            self.skip = true;
            let message = format!("duplicate key `{}`, first on line {first}", shorten(text));
            errors.push((node.place, message));
        } else {
            self.seen.insert(Rc::clone(text), node.place.line);
        }
        Ok(Key { place: node.place, text: Rc::clone(text) })
    }

    fn new(place: Place, anchor: usize, entries: Option<Vec<(Key, Node)>>) -> Open {
        Open {
            place,
            anchor,
            entries,
            items: Vec::new(),
            key: None,
            seen: BTreeMap::new(),
            skip: false,
        }
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

type Fault = (Place, String);

impl Builder {
    fn take(
        &mut self,
        event: Event<'_>,
        place: Place,
        errors: &mut Vec<Fault>,
    ) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err((place, "a second document: one file is one configuration".to_owned()))
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), place, errors);
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text: Rc::from(&*text), plain };
                self.place(Node { place, value }, anchor, 1, errors)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.is_some(), place, errors);
                self.push(Open::new(place, anchor, None))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.is_some(), place, errors);
                self.push(Open::new(place, anchor, Some(Vec::new())))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(errors),
            Event::Alias(anchor) => self.alias(anchor, place, errors),
            _ => Ok(()),
        }
    }

    fn push(&mut self, open: Open) -> Result<(), Fault> {
        let place = open.place;
        if self.open.len() == DEPTH_MAX {
            return Err((place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(open);
        self.spend(1, place)
    }

    fn close(&mut self, errors: &mut Vec<Fault>) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.entries {
            Some(entries) => Value::Map(Rc::new(entries)),
            None => Value::List(Rc::new(open.items)),
        };
        self.place(Node { place: open.place, value }, open.anchor, 0, errors)
    }

    /// An alias keeps the places of what it stands for: a fault inside is fixed there.
    fn alias(&mut self, anchor: usize, place: Place, errors: &mut Vec<Fault>) -> Result<(), Fault> {
        let Some((node, count)) = self.anchors.get(&anchor).cloned() else {
            return Err((place, "an alias inside its own anchor".to_owned()));
        };
        self.place(node, 0, count, errors)
    }

    /// Puts a finished node where it belongs; `count` is what it adds to the budget.
    fn place(
        &mut self,
        node: Node,
        anchor: usize,
        count: usize,
        errors: &mut Vec<Fault>,
    ) -> Result<(), Fault> {
        self.spend(count, node.place)?;
        if anchor > 0 {
            // Counted once here, so that an alias is charged without another walk.
            let count = node.count();
            self.anchors.insert(anchor, (node.clone(), count));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) => open.put(node, errors)?,
        }
        Ok(())
    }

    fn spend(&mut self, count: usize, place: Place) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(count);
        if self.nodes > NODES_MAX {
            return Err((place, format!("more than {NODES_MAX} values, aliases included")));
        }
        Ok(())
    }
}

fn refuse_tag(tagged: bool, place: Place, errors: &mut Vec<Fault>) {
    if tagged {
        errors.push((place, "tags (`!name`) are not supported".to_owned()));
    }
}

//! What is wrong with a configuration, and where.
//!
//! Errors are collected, never thrown at the first: a person fixes a file once. Each carries its
//! place and a copy of the line, so that printing one needs neither the file nor the tree.

use std::fmt;

/// One fault of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// File as given, or the flag or variable the value came from (`flag --shards`).
    pub file: String,
    /// Line, from 1; 0 when there is no line (flags, unreadable files).
    pub line: u32,
    /// Column in characters, from 1; 0 when there is no line.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it, like "did you mean `address`?".
    pub hint: Option<String>,
    /// The line itself.
    pub snippet: Option<String>,
    /// The file's place among those of the configuration.
    pub(crate) order: u16,
}

impl ConfigError {
    /// An error without a line.
    pub fn new(file: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { file: file.into(), message: message.into(), ..ConfigError::default() }
    }

    /// The same with a hint, if there is one.
    pub(crate) fn hint(mut self, hint: Option<String>) -> ConfigError {
        self.hint = hint.or(self.hint);
        self
    }

    /// In the order of files and lines; errors without a line come first: they are about flags.
    pub(crate) fn sort(errors: &mut Vec<ConfigError>) {
        errors.sort_by_key(|error| (error.order, error.line, error.column));
        errors.dedup();
    }
}

impl std::error::Error for ConfigError {}

/// `file:line:column: message (hint)`, then the line with a mark below the column.
impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if self.line > 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        write!(out, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(out, " ({hint})")?;
        }
        match &self.snippet {
            Some(line) => write_snippet(out, line, self.line, self.column),
            None => Ok(()),
        }
    }
}

/// Longest part of a line that is shown, in characters.
const SNIPPET_MAX: usize = 90;

/// The line around `column`. Control characters are shown as `?`: a file must not be able to
/// write to the operator's terminal.
fn write_snippet(out: &mut fmt::Formatter<'_>, text: &str, line: u32, column: u32) -> fmt::Result {
    let column = (column as usize).saturating_sub(1);
    let start = column.saturating_sub(SNIPPET_MAX * 2 / 3);
    let shown = text.trim_end().chars().skip(start).take(SNIPPET_MAX);
    let shown: String = shown.map(|c| if c.is_control() { '?' } else { c }).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    write!(out, "\n {number} | {shown}\n {margin} | {}^", " ".repeat(column - start))
}

/// The name among `known` that was probably meant: at most a third of its letters differ.
pub(crate) fn near<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > 64 {
        return None;
    }
    let typed = typed.to_lowercase();
    let distance = |name: &'a str| (strsim::damerau_levenshtein(&typed, name), name);
    let (distance, name) = known.into_iter().map(distance).min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= name.len().max(3)).then_some(name)
}

/// The same as a question.
pub(crate) fn did_you_mean<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    near(typed, known).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_hint_and_line() {
        let error = ConfigError {
            file: "r.yaml".to_owned(),
            line: 12,
            column: 5,
            message: "unknown key `adress`".to_owned(),
            hint: did_you_mean("adress", ["name", "address"]),
            snippet: Some("    adress: \u{1b}[31mx".to_owned()),
            order: 0,
        };
        assert_eq!(
            error.to_string(),
            "r.yaml:12:5: unknown key `adress` (did you mean `address`?)\n \
             12 |     adress: ?[31mx\n    |     ^"
        );
        assert_eq!(ConfigError::new("flag --x", "bad").to_string(), "flag --x: bad");
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let error = ConfigError {
            line: 1,
            column: 500,
            snippet: Some("x".repeat(10_000)),
            ..ConfigError::new("f", "m")
        };
        assert!(error.to_string().lines().all(|line| line.len() < 110));
    }

    #[test]
    fn far_names_are_not_suggested() {
        assert_eq!(did_you_mean("zzz", ["name", "address"]), None);
        assert_eq!(did_you_mean("shard", ["shards"]), Some("did you mean `shards`?".to_owned()));
    }
}

//! Settings: every tunable with its value and where the value came from.
//!
//! Four layers, later ones win: default, file, environment, flag. All layers are read and checked,
//! also where a later one wins, because a wrong value in a file is a fault even while a flag
//! hides it. The table of tunables is [`REGISTRY`]; this file only lays the layers.

mod kind;
mod registry;

use std::fmt;

pub use kind::{Kind, Unit};
pub use registry::{Applies, REGISTRY, Setting};

pub(crate) use kind::Value;

use crate::error::{ConfigError, did_you_mean, near};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The registry.
    Default,
    /// A place in the configuration file.
    File {
        /// File as given.
        file: String,
        /// From 1.
        line: u32,
        /// From 1.
        column: u32,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A flag, without dashes.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => out.write_str("default"),
            Source::File { file, line, column } => write!(out, "{file}:{line}:{column}"),
            Source::Variable(name) => write!(out, "env {name}"),
            Source::Flag(name) => write!(out, "flag --{name}"),
        }
    }
}

/// Values of all tunables. Accessors are named like the settings, with underscores.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// By position in `REGISTRY`.
    values: Vec<(Value, Source)>,
}

impl Default for Settings {
    /// All defaults.
    fn default() -> Settings {
        let parse = |setting: &Setting| {
            // INVARIANT: the test `defaults_are_valid` parses every default of the registry.
            let value = setting.kind.parse(setting.default).expect("a valid default");
            (value, Source::Default)
        };
        Settings { values: REGISTRY.iter().map(parse).collect() }
    }
}

/// Position of a setting in the registry.
pub(crate) fn position(name: &str) -> Option<usize> {
    REGISTRY.iter().position(|setting| setting.name == name)
}

impl Settings {
    /// Sets one value; the error is a sentence that begins with the setting's name.
    pub(crate) fn set(&mut self, index: usize, text: &str, source: Source) -> Result<(), String> {
        let setting = &REGISTRY[index];
        let value = setting.kind.parse(text).map_err(|why| format!("{}: {why}", setting.name))?;
        self.values[index] = (value, source);
        Ok(())
    }

    /// Lays flags over the current values. Names with or without leading dashes.
    pub(crate) fn lay_flags(&mut self, flags: &[(String, String)], errors: &mut Vec<ConfigError>) {
        for (name, text) in flags {
            let name = name.trim_start_matches('-');
            let Some(index) = position(name) else {
                let known = REGISTRY.iter().map(|setting| setting.name);
                let error = ConfigError::new(format!("flag --{name}"), "no such flag");
                errors.push(error.hint(did_you_mean(name, known)));
                continue;
            };
            if let Err(why) = self.set(index, text, Source::Flag(name.to_owned())) {
                errors.push(ConfigError::new(format!("flag --{name}"), after_name(&why)));
            }
        }
    }

    /// Lays environment variables over the current values. Empty ones count as unset; unknown
    /// ones are left alone (other software sets `RINGWAY_SERVICE_HOST` and its like), but a
    /// near miss is worth a warning.
    pub(crate) fn lay_variables(
        &mut self,
        variables: &[(String, String)],
        errors: &mut Vec<ConfigError>,
        warnings: &mut Vec<String>,
    ) {
        let names: Vec<String> = REGISTRY.iter().map(Setting::variable).collect();
        for (name, text) in variables {
            if !name.starts_with("RINGWAY_") || text.is_empty() || OTHER.contains(&name.as_str()) {
                continue;
            }
            let Some(index) = names.iter().position(|known| known == name) else {
                // `near` ignores case on the typed side only.
                let plain = |setting: &Setting| setting.name.replace('-', "_");
                let typed = &name["RINGWAY_".len()..];
                let known: Vec<String> = REGISTRY.iter().map(plain).collect();
                let near = near(typed, known.iter().map(String::as_str)).map(str::to_uppercase);
                warnings.extend(near.map(|near| {
                    format!("env {name}: no such setting (did you mean `RINGWAY_{near}`?)")
                }));
                continue;
            };
            if let Err(why) = self.set(index, text, Source::Variable(name.clone())) {
                errors.push(ConfigError::new(format!("env {name}"), after_name(&why)));
            }
        }
    }

    /// Relations between values that each are in range. Each fault comes with the position of a
    /// setting it is about, one that was set by somebody where there is one.
    pub(crate) fn check(&self) -> Vec<(usize, String)> {
        let cores = self.cpus().map_or(usize::MAX, <[usize]>::len);
        let shards = self.shards().unwrap_or(1) as usize;
        let step = "a multiple of 512";
        let relations = [
            (self.cq_entries() >= self.ring_entries(), "cq-entries", "below", "ring-entries"),
            (self.buf_bytes().is_multiple_of(512), "buf-bytes", "not", step),
            (self.bulk_buf_bytes().is_multiple_of(512), "bulk-buf-bytes", "not", step),
            (
                self.line_bytes_max() <= self.head_bytes_max(),
                "line-bytes-max",
                "above",
                "head-bytes-max",
            ),
            (
                self.target_bytes_max() <= self.line_bytes_max(),
                "target-bytes-max",
                "above",
                "line-bytes-max",
            ),
            (
                self.h2_stream_window_bytes() <= self.h2_connection_window_bytes(),
                "h2-stream-window-bytes",
                "above",
                "h2-connection-window-bytes",
            ),
            (
                self.thrift_header_bytes_max() < self.thrift_frame_bytes_max(),
                "thrift-header-bytes-max",
                "not below",
                "thrift-frame-bytes-max",
            ),
            (shards <= cores, "shards", "above the number of cores in", "cpus"),
        ];
        let broken = relations.into_iter().filter(|(holds, ..)| !holds);
        broken
            .filter_map(|(_, name, relation, to)| self.relation_fault(name, relation, to))
            .collect()
    }

    fn relation_fault(&self, name: &str, relation: &str, to: &str) -> Option<(usize, String)> {
        let show = |name: &str| {
            let text = self.show(name).map(|(text, _)| format!("{name} ({text})"));
            text.unwrap_or_else(|| name.to_owned())
        };
        let was_set = |index: &usize| *self.source_at(*index) != Source::Default;
        let index = position(name)?;
        let other = position(to).filter(was_set);
        let place = Some(index).filter(was_set).or(other).unwrap_or(index);
        Some((place, format!("{} is {relation} {}", show(name), show(to))))
    }

    /// Source of the value at `index`.
    pub(crate) fn source_at(&self, index: usize) -> &Source {
        &self.values[index].1
    }

    /// Value as text and source of the setting called `name`.
    pub fn show(&self, name: &str) -> Option<(String, &Source)> {
        let index = position(name)?;
        let (value, source) = &self.values[index];
        Some((REGISTRY[index].kind.show(value), source))
    }

    /// Every setting with its value as text and its source, in registry order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Setting, String, &Source)> {
        REGISTRY
            .iter()
            .zip(&self.values)
            .map(|(setting, (value, source))| (setting, setting.kind.show(value), source))
    }

    /// Every setting as `name = value  # source`, one a line: the text of `--print-effective`.
    pub fn print_effective(&self) -> String {
        let lines: Vec<(String, &Source)> = self
            .iter()
            .map(|(setting, text, source)| (format!("{} = {text}", setting.name), source))
            .collect();
        let width = lines.iter().map(|(line, _)| line.len()).filter(|len| *len < 50).max();
        let width = width.unwrap_or_default();
        lines.iter().map(|(line, source)| format!("{line:width$}  # {source}\n")).collect()
    }

    /// Names of the settings that differ and need a restart, each with both values.
    pub(crate) fn restarts(&self, next: &Settings) -> Vec<(usize, String, String)> {
        let pairs = self.iter().zip(next.iter()).enumerate();
        let changed = pairs.filter(|(_, (old, new))| old.1 != new.1);
        let restart = changed.filter(|(_, (old, _))| old.0.applies == Applies::Restart);
        restart.map(|(index, (old, new))| (index, old.1, new.1)).collect()
    }

    /// The limits and times of connections.
    pub fn wire(&self) -> protocols::WireSpec {
        protocols::WireSpec {
            head_bytes_max: self.head_bytes_max(),
            line_bytes_max: self.line_bytes_max(),
            fields_max: self.fields_max(),
            target_bytes_max: self.target_bytes_max(),
            body_bytes_max: self.body_bytes_max(),
            chunk_ext_bytes_max: self.chunk_ext_bytes_max(),
            chunk_ext_body_bytes_max: self.chunk_ext_body_bytes_max(),
            trailer_bytes_max: self.trailer_bytes_max(),
            trailer_fields_max: self.trailer_fields_max(),
            interim_max: self.interim_max(),
            swallow_bytes_max: self.swallow_bytes_max(),
            head_timeout: self.head_timeout(),
            idle_timeout: self.idle_timeout(),
            link_idle_timeout: self.upstream_idle_timeout(),
            body_rate_min: self.body_rate_min(),
            body_grace: self.body_grace(),
            body_idle_timeout: self.body_idle_timeout(),
            requests_per_connection_max: self.requests_per_connection(),
            h2_stream_window_bytes: self.h2_stream_window_bytes(),
            h2_connection_window_bytes: self.h2_connection_window_bytes(),
            h2_streams_max: self.h2_streams_max(),
            h2_header_table_bytes: self.h2_header_table_bytes(),
            h2_resets_max: self.h2_resets_max(),
            h2_own_resets_max: self.h2_own_resets_max(),
            h2_glitches_max: self.h2_glitches_max(),
            h2_continuations_max: self.h2_continuations_max(),
            h2_ping_interval: self.h2_ping_interval(),
            h2_ping_timeout: self.h2_ping_timeout(),
            h2_settings_timeout: self.h2_settings_timeout(),
            thrift_frame_bytes_max: self.thrift_frame_bytes_max(),
            thrift_header_bytes_max: self.thrift_header_bytes_max(),
            thrift_keys_max: self.thrift_keys_max(),
            thrift_depth_max: self.thrift_depth_max(),
            thrift_calls_max: self.thrift_calls_max(),
            thrift_lax: self.thrift_lax(),
            ..protocols::WireSpec::default()
        }
    }

    fn number(&self, index: usize) -> Option<u64> {
        match &self.values[index].0 {
            Value::Number(number) => *number,
            _ => None,
        }
    }

    fn bool(&self, index: usize) -> bool {
        self.values[index].0 == Value::Bool(true)
    }

    fn cpu_list(&self, index: usize) -> Option<&[usize]> {
        match &self.values[index].0 {
            Value::Cpus(cpus) => cpus.as_deref(),
            _ => None,
        }
    }

    fn text(&self, index: usize) -> &str {
        match &self.values[index].0 {
            Value::Text(text) => text,
            _ => "",
        }
    }
}

/// Variables with this prefix that are not settings: they are read elsewhere.
const OTHER: &[&str] = &["RINGWAY_CONFIG", "RINGWAY_LISTEN", "RINGWAY_UPSTREAM", "RINGWAY_SEEDS"];

/// The sentence without the setting's name, where the place already names it.
fn after_name(why: &str) -> &str {
    why.split_once(": ").map_or(why, |(_, rest)| rest)
}

/// A number in the accessor's type. Every kind's range fits its accessor (tested), so that the
/// fallback is never taken.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! What a setting's value may be: reading, checking and showing it.
//!
//! One text form for flags, variables, YAML and `--print-effective`: what is shown can be typed.

use std::time::Duration;

use router::units::{format_bytes, format_duration, parse_bytes, parse_duration};

use crate::cidrs::Cidrs;

/// What is counted by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: a bare whole number.
    Count,
    /// Bytes: `4096`, `64KiB`, `10MB`.
    Bytes,
    /// Time, kept in whole milliseconds: `250ms`, `30s`.
    Time,
}

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number, both bounds included.
    Number {
        /// What it counts.
        unit: Unit,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
        /// A word that stands for "no number" (`auto`, `none`).
        word: Option<&'static str>,
    },
    /// `true` or `false`; nothing else.
    Bool,
    /// `auto`, or cores like `0-3,8`.
    Cpus,
    /// One of some words.
    Word(&'static [&'static str]),
    /// `auto`, `off`, `unix:/path`, `/path` or a loopback `ip:port`.
    Admin,
    /// `off`, `stdout` or a path.
    Target,
    /// `off`, or the path of a folder.
    Folder,
    /// `none`, or networks like `10.0.0.0/8,192.0.2.1`.
    Cidrs,
    /// `off`, or a token (RFC 9110 section 5.6.2) of at most 64 bytes.
    Token,
}

/// A value in its parsed form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// `None` = the kind's word.
    Number(Option<u64>),
    Bool(bool),
    /// `None` = `auto`.
    Cpus(Option<Vec<usize>>),
    Text(String),
}

/// The highest core number Linux is built for (CONFIG_NR_CPUS of large distributions).
const CPU_MAX: usize = 8191;

impl Kind {
    /// Reads a value; the error is a sentence without the setting's name.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::Number { unit, word, .. } => {
                if *word == Some(text) {
                    return Ok(Value::Number(None));
                }
                let number = parse_number(*unit, text).map_err(|why| match word {
                    Some(word) => format!("{why}, or `{word}`"),
                    None => why,
                })?;
                self.check(number).map(|()| Value::Number(Some(number)))
            }
            Kind::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(format!("`{text}` is neither true nor false")),
            },
            Kind::Cpus => parse_cpus(text).map(Value::Cpus),
            Kind::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Word(words) => Err(format!("`{text}` is not one of {}", words.join(", "))),
            Kind::Admin => parse_admin(text).map(Value::Text),
            Kind::Target if text.is_empty() => Err("is empty: write off, stdout or a path".into()),
            Kind::Target => Ok(Value::Text(text.to_owned())),
            Kind::Folder if text.is_empty() => Err("is empty: write off or a path".into()),
            Kind::Folder => Ok(Value::Text(text.to_owned())),
            Kind::Cidrs if text == "none" => Ok(Value::Text(text.to_owned())),
            Kind::Cidrs => Cidrs::parse(text.split(',')).map(|_| Value::Text(text.to_owned())),
            Kind::Token => parse_token(text).map(Value::Text),
        }
    }

    /// Whether a number is in range; the error names the range.
    pub(crate) fn check(&self, number: u64) -> Result<(), String> {
        let Kind::Number { unit, min, max, .. } = self else { return Ok(()) };
        if (*min..=*max).contains(&number) {
            return Ok(());
        }
        let show = |number| show_number(*unit, number);
        Err(format!("`{}` is out of range: {} to {}", show(number), show(*min), show(*max)))
    }

    /// The text [`Kind::parse`] reads back to the same value.
    pub(crate) fn show(&self, value: &Value) -> String {
        match (self, value) {
            (Kind::Number { unit, .. }, Value::Number(Some(number))) => show_number(*unit, *number),
            (Kind::Number { word, .. }, Value::Number(None)) => word.unwrap_or_default().to_owned(),
            (_, Value::Number(number)) => format!("{number:?}"),
            (_, Value::Bool(value)) => value.to_string(),
            (_, Value::Cpus(None)) => "auto".to_owned(),
            (_, Value::Cpus(Some(cpus))) => show_cpus(cpus),
            (_, Value::Text(text)) => text.clone(),
        }
    }

    /// What may be typed, for help and documents.
    pub fn describe(&self) -> String {
        match self {
            Kind::Number { unit, min, max, word } => {
                let show = |number| show_number(*unit, number);
                let word = word.map(|word| format!(", or {word}")).unwrap_or_default();
                format!("{} to {}{word}", show(*min), show(*max))
            }
            Kind::Bool => "true or false".to_owned(),
            Kind::Cpus => "auto, or cores like 0-3,8".to_owned(),
            Kind::Word(words) => words.join(", "),
            Kind::Admin => "auto, off, unix:/PATH, or a loopback IP:PORT".to_owned(),
            Kind::Target => "off, stdout, or a path".to_owned(),
            Kind::Folder => "off, or a path".to_owned(),
            Kind::Cidrs => "none, or networks like 10.0.0.0/8,192.0.2.1".to_owned(),
            Kind::Token => "off, or a name like edge-1".to_owned(),
        }
    }
}

fn parse_number(unit: Unit, text: &str) -> Result<u64, String> {
    let unit_fault = |error| format!("`{text}` {error}");
    match unit {
        Unit::Bytes => parse_bytes(text).map_err(unit_fault),
        Unit::Time => {
            let time = parse_duration(text).map_err(unit_fault)?;
            u64::try_from(time.as_millis()).map_err(|_| format!("`{text}` is too large"))
        }
        Unit::Count if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
            Err(format!("`{text}` is not a whole number"))
        }
        Unit::Count => text.parse().map_err(|_| format!("`{text}` is too large")),
    }
}

fn show_number(unit: Unit, number: u64) -> String {
    match unit {
        Unit::Count => number.to_string(),
        Unit::Bytes => format_bytes(number),
        Unit::Time => format_duration(Duration::from_millis(number)),
    }
}

/// Ranges are bounded before they are expanded, and a core named twice is a mistake.
fn parse_cpus(text: &str) -> Result<Option<Vec<usize>>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let mut cpus = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (parse_cpu(first, text)?, parse_cpu(last, text)?);
        if first > last {
            return Err(format!("`{}` runs backwards", part.trim()));
        }
        for cpu in first..=last {
            if !cpus.insert(cpu) {
                return Err(format!("core {cpu} is named twice"));
            }
        }
    }
    Ok(Some(cpus.into_iter().collect()))
}

fn parse_cpu(part: &str, text: &str) -> Result<usize, String> {
    let part = part.trim();
    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let cpu = digits.then(|| part.parse().ok()).flatten();
    let cpu =
        cpu.ok_or_else(|| format!("`{text}` is not a list of cores like 0-3,8, or `auto`"))?;
    if cpu > CPU_MAX { Err(format!("core {cpu} is out of range: 0 to {CPU_MAX}")) } else { Ok(cpu) }
}

fn show_cpus(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => runs.push((*cpu, *cpu)),
        }
    }
    let show = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(show).collect::<Vec<_>>().join(",")
}

/// A name that stands in a field without quotes.
fn parse_token(text: &str) -> Result<String, String> {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_tchar) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is neither off nor a name of 1 to 64 letters, digits and !#$%&'*+-.^_`|~"
    ))
}

/// Long enough for a host name of the usual kind.
const TOKEN_BYTES_MAX: usize = 64;

/// The admin socket never listens beyond this machine: its paths show addresses and routes.
fn parse_admin(text: &str) -> Result<String, String> {
    if matches!(text, "auto" | "off") {
        return Ok(text.to_owned());
    }
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('/') && path.len() > 1 {
        // sun_path holds 108 bytes with its final NUL.
        let fits = path.len() < 108;
        return fits.then(|| format!("unix:{path}")).ok_or(format!("`{path}` is over 107 bytes"));
    }
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address.to_string()),
        Ok(_) => Err(format!("`{text}` is not a loopback address: use 127.0.0.1 or a unix socket")),
        Err(_) => Err(format!("`{text}` is none of auto, off, unix:/PATH and IP:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::REGISTRY;

    #[test]
    fn cpu_lists() {
        let show = |text| Kind::Cpus.parse(text).map(|value| Kind::Cpus.show(&value));
        assert_eq!(show("0-3, 8"), Ok("0-3,8".to_owned()));
        assert_eq!(show("8,1,0"), Ok("0-1,8".to_owned()));
        assert_eq!(show("auto"), Ok("auto".to_owned()));
        assert_eq!(show("1,0-2"), Err("core 1 is named twice".to_owned()));
        assert_eq!(show("3-1"), Err("`3-1` runs backwards".to_owned()));
        assert_eq!(show("0-99999999"), Err("core 99999999 is out of range: 0 to 8191".to_owned()));
        for bad in ["", "a", "1-", "-1", "1,,2", "+1"] {
            assert!(show(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn admin_stays_on_this_machine() {
        let show = |text| Kind::Admin.parse(text).map(|value| Kind::Admin.show(&value));
        assert_eq!(show("/run/r.sock"), Ok("unix:/run/r.sock".to_owned()));
        assert_eq!(show("unix:/run/r.sock"), Ok("unix:/run/r.sock".to_owned()));
        assert_eq!(show("127.0.0.1:9901"), Ok("127.0.0.1:9901".to_owned()));
        assert_eq!(show("[::1]:9901"), Ok("[::1]:9901".to_owned()));
        assert!(show("0.0.0.0:9901").is_err_and(|why| why.contains("not a loopback address")));
        assert!(show("unix:relative").is_err());
        assert!(show(&format!("/{}", "x".repeat(200))).is_err());
    }

    #[test]
    fn tokens_need_no_quotes() {
        let show = |text| Kind::Token.parse(text).map(|value| Kind::Token.show(&value));
        let (longest, longer) = ("x".repeat(64), "x".repeat(65));
        for good in ["off", "ringway", "edge-1.example.com", &longest] {
            assert_eq!(show(good), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a,b", "a:80", "(a)", "\u{e9}", &longer] {
            assert!(show(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(
            index in 0..REGISTRY.len(),
            text in "[0-9]{1,6}(ms|s|m|h|B|KiB|MiB|MB|)|auto|none|off|true|false|\
                     [0-9]{1,2}-[0-9]{1,2}(,[0-9]{2})?|/[a-z]{1,9}",
        ) {
            let kind = &REGISTRY[index].kind;
            if let Ok(value) = kind.parse(&text) {
                prop_assert_eq!(kind.parse(&kind.show(&value)), Ok(value));
            }
        }

        #[test]
        fn no_text_panics(index in 0..REGISTRY.len(), text in "\\PC{0,24}|[0-9,-]{0,30}") {
            let _ = REGISTRY[index].kind.parse(&text);
        }
    }
}

//! Durations and sizes as people write them: `250ms`, `30s`, `64KiB`, `10MB`.
//!
//! Not a general expression language: one whole number and one unit, nothing else, so that what
//! is shown by `--print-effective` can be typed back. `KB`, `MB`, `GB` are powers of ten; `KiB`,
//! `MiB`, `GiB` are powers of two. A bare number is bytes for a size and an error for a duration
//! (except `0`), because its unit would be a guess.

use std::time::Duration;

/// Why a text is not a value. The message is written to follow "`text` ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number followed by a known unit.
    #[error("is not a duration: write a whole number and ms, s, m, h or d, like 250ms or 30s")]
    Duration,
    /// A number without a unit.
    #[error("has no unit: write {0}ms, {0}s or {0}m")]
    DurationUnit(u64),
    /// Not a number followed by a known unit.
    #[error("is not a size: write a whole number and B, KiB, MiB, GiB, KB, MB or GB, like 64KiB")]
    Bytes,
    /// Over 64 bits.
    #[error("is too large")]
    Overflow,
}

const DURATIONS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a duration of whole milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Duration)??;
    if unit.is_empty() {
        let zero = (number == 0).then_some(Duration::ZERO);
        return zero.ok_or(UnitError::DurationUnit(number));
    }
    let scale = scale(DURATIONS, unit).ok_or(UnitError::Duration)?;
    number.checked_mul(scale).map(Duration::from_millis).ok_or(UnitError::Overflow)
}

/// Reads a number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Bytes)??;
    let unit = if unit.is_empty() { "B" } else { unit };
    let scale = scale(SIZES, unit).ok_or(UnitError::Bytes)?;
    number.checked_mul(scale).ok_or(UnitError::Overflow)
}

/// The shortest text that [`parse_duration`] reads back to the same whole milliseconds.
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    format_scaled(ms, DURATIONS.iter().filter(|(unit, _)| *unit != "d"), "0s")
}

/// The shortest text that [`parse_bytes`] reads back to the same number; binary units only.
pub fn format_bytes(bytes: u64) -> String {
    format_scaled(bytes, SIZES.iter().filter(|(unit, _)| unit.contains('i') || *unit == "B"), "0B")
}

fn format_scaled<'a>(
    number: u64,
    mut units: impl Iterator<Item = &'a (&'a str, u64)>,
    zero: &str,
) -> String {
    match units.find(|(_, scale)| number >= *scale && number.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", number / scale),
        None => zero.to_owned(),
    }
}

/// Number and unit; `None` without leading digits, an error over 64 bits.
fn split(text: &str) -> Option<Result<(u64, &str), UnitError>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return None;
    }
    Some(number.parse().map(|number| (number, unit.trim_start())).map_err(|_| UnitError::Overflow))
}

fn scale(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("2 m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("30"), Err(UnitError::DurationUnit(30)));
        for bad in ["", "s", "-1s", "1.5s", "1 s s", "1sec", "1S", "\u{661}s"] {
            assert_eq!(parse_duration(bad), Err(UnitError::Duration), "{bad:?}");
        }
        assert_eq!(parse_duration("18446744073709551615d"), Err(UnitError::Overflow));
        assert_eq!(parse_duration("99999999999999999999s"), Err(UnitError::Overflow));
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("10MB"), Ok(10_000_000));
        assert_eq!(parse_bytes("10MiB"), Ok(10 << 20));
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        for bad in ["", "KiB", "1kib", "1K", "-1", "1.5MiB", "1M"] {
            assert_eq!(parse_bytes(bad), Err(UnitError::Bytes), "{bad:?}");
        }
        assert_eq!(parse_bytes("99999999999GiB"), Err(UnitError::Overflow));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(ms in 0u64..=u64::MAX / 86_400_000, bytes in any::<u64>()) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
        }
    }
}

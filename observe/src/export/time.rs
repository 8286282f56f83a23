//! RFC 3339 time stamps in UTC with milliseconds, from a wall clock value.
//!
//! Not a calendar library: no zones, no parsing. Days become dates by Howard Hinnant's
//! `civil_from_days`, which counts years from March so that the leap day comes last.

use std::time::{SystemTime, UNIX_EPOCH};

/// Appends `at` as `2026-11-23T03:27:41.123Z`; a time before 1970 is written as 1970.
pub(crate) fn push_rfc3339(out: &mut String, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let (second, ms) = (second % 60, since.subsec_millis());
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let ms = u64::from(ms);
    let parts = [(4, year), (7, month), (10, day), (13, hour), (16, minute), (19, second)];
    for (end, number) in parts {
        put_digits(&mut text[..end], number, if end == 4 { 4 } else { 2 });
    }
    put_digits(&mut text[..23], ms, 3);
    // Digits and marks are ASCII, so the text is never replaced by nothing.
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// Overwrites the last `count` bytes with the number's last digits.
fn put_digits(text: &mut [u8], number: u64, count: usize) {
    let mut rest = number;
    for digit in text.iter_mut().rev().take(count) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // 719 468 days lie between 0000-03-01 and 1970-01-01; an era is 400 years, 146 097 days.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_moments() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_795_404_461, "2026-11-23T03:27:41.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let mut out = String::new();
            push_rfc3339(&mut out, UNIX_EPOCH + Duration::from_millis(second * 1_000 + 7));
            assert_eq!(out, text);
        }
    }

    #[test]
    fn before_1970_is_1970() {
        let mut out = String::new();
        push_rfc3339(&mut out, UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(out, "1970-01-01T00:00:00.000Z");
    }
}

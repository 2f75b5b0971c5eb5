//! Points in time as addresses and signatures write them, in UTC.

/// Milliseconds since 1970 of an ISO 8601 time (`2024-05-01`, `2024-05-01T12:00`, `2024-05-01
/// 12:00:00.5+02:00`) or of a number of milliseconds. Without zone it is UTC.
pub(super) fn parse_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() != 4 {
        return text.parse().ok();
    }
    let date = text.get(..10)?;
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(parts.next()?, 2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    let midnight = days_since_1970(year, month, day) * 86_400_000;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(midnight);
    }
    let (clock, zone_minutes) = split_zone(rest.strip_prefix(['T', 't', ' '])?)?;
    let mut parts = clock.splitn(3, ':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, digits) = seconds.split_once('.').unwrap_or((seconds, "0"));
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let thousandths = format!("{digits:0<3}").get(..3)?.parse().ok()?;
            (number(whole, 2).filter(|second| *second < 60)?, thousandths)
        }
    };
    Some(midnight + ((hour * 60 + minute - zone_minutes) * 60 + second) * 1000 + fraction)
}

fn split_zone(clock: &str) -> Option<(&str, i64)> {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = clock.rfind(['+', '-']) else {
        return Some((clock, 0));
    };
    let zone = clock[at + 1..].replace(':', "");
    let minutes = match zone.len() {
        2 => number(&zone, 2)? * 60,
        4 => number(&zone[..2], 2)? * 60 + number(&zone[2..], 2)?,
        _ => return None,
    };
    let minutes = if clock.as_bytes()[at] == b'-' {
        -minutes
    } else {
        minutes
    };
    Some((&clock[..at], minutes))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Of the proleptic Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `20240501T120000Z`, as signatures of AWS want it.
pub(super) fn compact(seconds: u64) -> String {
    let clock = seconds % 86_400;
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_as_milliseconds() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1714564800000", 1_714_564_800_000),
            ("2024-05-01T12:00:00Z", 1_714_564_800_000),
            ("2024-05-01 12:00", 1_714_564_800_000),
            ("2024-05-01T14:00:00.25+02:00", 1_714_564_800_250),
            ("2024-05-01T07:00:00-0500", 1_714_564_800_000),
            ("2000-02-29", 951_782_400_000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "2024-05-01T25:00",
            "2024-05-01T1:00",
            "2024-05-01X12:00",
            "2024-05-01T12:00:00.",
            "2024-05-01T12:00+2",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    #[test]
    fn compact_times_are_the_inverse() {
        assert_eq!(compact(0), "19700101T000000Z");
        assert_eq!(compact(1_714_564_800), "20240501T120000Z");
        assert_eq!(compact(951_868_799), "20000229T235959Z");
        assert_eq!(compact(1_735_689_599), "20241231T235959Z");
    }
}

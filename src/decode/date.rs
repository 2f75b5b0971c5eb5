//! Dates and times as the producers of records write them.
//!
//! | form | as written by |
//! |---|---|
//! | `2020-08-28 03:52:47`, `2020-08-28T03:52:47` | `strftime`, `str`, `isoformat` |
//! | `2020:08:28 03:52:47` | one producer that has it so |
//! | `2020-08-28` | a date; as a timestamp its midnight |
//!
//! The seconds may have a fraction (digits beyond the microsecond are dropped) and a zone may
//! follow (`Z`, `+02:00`, `+0200`), in which case the result is that moment in UTC. Without zone
//! the time is taken as it stands. Blanks around do not matter.
//!
//! Dates with slashes (`03/02/2020`) are refused: a declaration does not say whether day or month
//! comes first. `parse_timestamp` is told.

use super::fault::Problem;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Microseconds since 1970-01-01 00:00:00, if the text has one of the forms and names a real date.
pub(super) fn timestamp(text: &str) -> Result<i64, Problem> {
    moment(text).ok_or_else(|| match text.trim().as_bytes() {
        [_, _, b'/', _, _, b'/', ..] => Problem::OrderOfDate,
        _ => Problem::NotADate,
    })
}

fn moment(text: &str) -> Option<i64> {
    let (day, rest) = day(text.trim().as_bytes())?;
    let midnight = i64::from(day) * MICROS_PER_DAY;
    if rest.is_empty() {
        return Some(midnight);
    }
    let rest = match rest {
        [b' ' | b'T' | b't', rest @ ..] => rest,
        _ => return None,
    };
    let (time, rest) = time_of_day(rest)?;
    Some(midnight + time - zone(rest)?)
}

/// Days since 1970-01-01 of a date, or of the date of a timestamp (in UTC, if it has a zone).
pub(super) fn date(text: &str) -> Result<i32, Problem> {
    let day = timestamp(text)?.div_euclid(MICROS_PER_DAY);
    i32::try_from(day).map_err(|_| Problem::NotADate)
}

/// The day at the beginning of the text, and the text after it.
fn day(text: &[u8]) -> Option<(i32, &[u8])> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    if !matches!((date[4], date[7]), (b'-', b'-') | (b':', b':')) {
        return None;
    }
    let (year, month, day) = (
        number(&date[..4])?,
        number(&date[5..7])?,
        number(&date[8..])?,
    );
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some((days_from_1970(year, month, day), rest))
}

/// Microseconds since midnight of the time at the beginning of the text, and the text after it.
fn time_of_day(text: &[u8]) -> Option<(i64, &[u8])> {
    let (time, mut rest) = text.split_first_chunk::<8>()?;
    if time[2] != b':' || time[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        number(&time[..2])?,
        number(&time[3..5])?,
        number(&time[6..])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = i64::from(hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND;
    if let [b'.', fraction @ ..] = rest {
        let places = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if places == 0 {
            return None;
        }
        let digits = fraction[..places]
            .iter()
            .map(|digit| i64::from(digit - b'0'))
            .chain(std::iter::repeat(0));
        micros += digits
            .take(6)
            .fold(0, |fraction, digit| fraction * 10 + digit);
        rest = &fraction[places..];
    }
    Some((micros, rest))
}

/// How many microseconds a zone is ahead of UTC; none at all is not ahead.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => {
            (sign, number(&[*h1, *h2])?, number(&[*m1, *m2])?)
        }
        _ => return None,
    };
    let ahead = i64::from(hours * 3600 + minutes * 60) * MICROS_PER_SECOND;
    match (sign, hours, minutes) {
        (b'+', ..24, ..60) => Some(ahead),
        (b'-', ..24, ..60) => Some(-ahead),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u32::from(digit - b'0'))
    })
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar, for years 1 to 9999.
fn days_from_1970(year: u32, month: u32, day: u32) -> i32 {
    // Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // Day 0 is 0000-03-01, which is 719,468 days before 1970-01-01.
    days as i32 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_the_same_moment() {
        let micros = Ok(1_598_586_767_000_000);
        for text in [
            "2020-08-28 03:52:47",
            "2020-08-28T03:52:47",
            "2020:08:28 03:52:47",
            " 2020-08-28 03:52:47.000 ",
            "2020-08-28T03:52:47Z",
            "2020-08-28T05:52:47+02:00",
            "2020-08-28T01:22:47-0230",
            "2020-08-28T03:52:47.0000009",
        ] {
            assert_eq!(timestamp(text), micros, "{text}");
            assert_eq!(date(text), Ok(18_502), "{text}");
        }
        assert_eq!(
            timestamp("2020-08-28 03:52:47.12"),
            micros.map(|micros| micros + 120_000)
        );
        assert_eq!(timestamp("2020-08-28"), Ok(18_502 * MICROS_PER_DAY));
    }

    #[test]
    fn the_calendar_is_right_at_its_corners() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("1900-03-01", -25_508),
            ("2015-10-21", 16_729),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(date(text), Ok(days), "{text}");
        }
        assert_eq!(date("1969-12-31 23:59:59.5"), Ok(-1));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "abc",
            "2020-13-01",
            "2020-00-01",
            "2021-02-29",
            "1900-02-29",
            "0000-01-01",
            "2020-08-28 24:00:00",
            "2020-08-28 03:52",
            "2020-08-28x",
            "2020-08-28 03:52:60",
            "2020-08-28 03:52:47.",
            "2020-08-28 03:52:47 UTC",
            "2020-08-28, 03:52:47",
            "20-08-28 03:52:47",
            "2020-8-28 03:52:47",
            "2020-08-28T03:52:47+25:00",
            "２０２０-08-28",
        ] {
            assert_eq!(timestamp(text), Err(Problem::NotADate), "{text}");
        }
        for text in ["03/02/2024", "28/08/2020", "08/28/2020, 03:52:47"] {
            assert_eq!(timestamp(text), Err(Problem::OrderOfDate), "{text}");
        }
    }
}

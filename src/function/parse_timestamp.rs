//! `parse_timestamp(text)` and `try_parse_timestamp(text)`: TIMESTAMP from every date form in use.
//!
//! ```text
//! 2020-08-28 03:52:47          the common form
//! 2020-08-28T03:52:47          ISO 8601
//! 2020:08:28 03:52:47
//! 2020-08-28                   midnight
//! ```
//!
//! Of `03/02/2020` nobody can tell whether it is in February or in March, and to guess by the day
//! that does not exist would read one half of a file and refuse the other. So dates with slashes
//! are read only if the call says which number comes first: `parse_timestamp(text, 'DMY')` or
//! `parse_timestamp(text, 'MDY')`.
//!
//! ```text
//! 28/08/2020                   DMY: midnight
//! 08/28/2020, 03:52:47         MDY; the comma may be missing
//! ```
//!
//! A time may end in a fraction (`.123456`; digits beyond the sixth are cut) and a zone (`Z`,
//! `+01:00`, `+0100`, `+01`), which is converted to UTC. Without a zone the text is UTC. Blanks
//! around it do not count. The result is in microseconds since 1970 and has no zone. Years are 0001
//! to 9999 of the Gregorian calendar; the day must exist (2021-02-29 does not), and hours end at
//! 23:59:59.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::Result;

use super::parse::{parse_each, refuse_each, try_parse_each};
use super::scalar::{Arguments, Function, Kind};

const NOT_A_TIMESTAMP: &str = "a timestamp is `2020-08-28 03:52:47`, with `T` between, a fraction and a zone if need be, \
     `2020:08:28 03:52:47`, or the date alone";
const NO_ORDER: &str = "the order of day and month is not said; write parse_timestamp(.., 'DMY') for 28/08/2020, \
     parse_timestamp(.., 'MDY') for 08/28/2020";
const USAGE: &str =
    "parse_timestamp(text), parse_timestamp(text, 'DMY') or parse_timestamp(text, 'MDY')";
const NO_SUCH_DAY: &str = "the calendar has no such day";
const NO_SUCH_TIME: &str = "the day has no such time";
const NO_SUCH_ZONE: &str = "a zone is `Z` or an offset from UTC of less than 16 hours, as `+01:00`";

const MICROS: i64 = 1_000_000;

pub(super) fn strict() -> Function {
    Function::new(
        "parse_timestamp",
        &[Kind::Text],
        DataType::Timestamp(TimeUnit::Microsecond, None),
        |arguments| {
            let order = order(arguments)?;
            let parse = |text: &str| parse(text, order);
            let (instants, nulls) = parse_each("parse_timestamp", &arguments.text(0)?, parse)?;
            Ok(timestamps(instants, nulls))
        },
        USAGE,
        "The instant, in UTC, that a text such as `2020-08-28 03:52:47` says; an error for other text.",
    )
    .with_refusals(|arguments, rows| {
        let order = order(arguments).ok()?;
        let parse = |text: &str| parse(text, order);
        refuse_each("parse_timestamp", &arguments.text(0).ok()?, rows, parse)
    })
    .with_word(&["DMY", "MDY"])
}

pub(super) fn lenient() -> Function {
    Function::new(
        "try_parse_timestamp",
        &[Kind::Text],
        DataType::Timestamp(TimeUnit::Microsecond, None),
        |arguments| {
            let order = order(arguments)?;
            let parse = |text: &str| parse(text, order);
            let (instants, nulls) = try_parse_each(&arguments.text(0)?, parse);
            Ok(timestamps(instants, nulls))
        },
        "try_parse_timestamp(text), try_parse_timestamp(text, 'DMY') or try_parse_timestamp(text, 'MDY')",
        "As `parse_timestamp`, but null for text that is not a timestamp.",
    )
    .with_word(&["DMY", "MDY"])
}

/// Which number of a date with slashes comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Dates with slashes are refused.
    Unsaid,
    Day,
    Month,
}

fn order(arguments: &Arguments) -> Result<Order> {
    Ok(match arguments.literals(1)?.first() {
        None => Order::Unsaid,
        Some(&"DMY") => Order::Day,
        Some(_) => Order::Month,
    })
}

fn timestamps(instants: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::new(instants.into(), nulls))
}

/// What `parse_timestamp(text)` gives for one text.
pub(super) fn micros(text: &str) -> Result<i64, &'static str> {
    parse(text, Order::Unsaid)
}

/// `YYYY-MM-DD HH:MM:SS` by position: almost every timestamp. All else goes to [`parse_any`].
#[inline]
fn parse(text: &str, order: Order) -> Result<i64, &'static str> {
    let Ok(b) = <&[u8; 19]>::try_from(text.as_bytes()) else {
        return parse_any(text, order);
    };
    let marks = (b[4] == b'-') & (b[7] == b'-') & (b[13] == b':') & (b[16] == b':');
    if !marks || (b[10] != b' ' && b[10] != b'T') {
        return parse_any(text, order);
    }
    let mut not_digits = 0;
    let mut two = |at: usize| {
        let (tens, ones) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
        not_digits |= u8::from(tens > 9) | u8::from(ones > 9);
        u32::from(tens) * 10 + u32::from(ones)
    };
    let date = Date {
        year: two(0) * 100 + two(2),
        month: two(5),
        day: two(8),
    };
    let seconds = (two(11), two(14), two(17));
    if not_digits != 0 {
        return parse_any(text, order);
    }
    Ok((date.days()? * 86_400 + second_of_day(seconds)?) * MICROS)
}

/// Every form.
#[inline(never)]
fn parse_any(text: &str, order: Order) -> Result<i64, &'static str> {
    let mut rest = Rest(text.trim().as_bytes());
    // Which mark follows the first number tells the form apart.
    let (date, mark) = match rest.0 {
        [_, _, b'/', ..] => {
            let first = rest.number(2)?;
            rest.expect(b'/')?;
            let second = rest.number(2)?;
            rest.expect(b'/')?;
            let year = rest.number(4)?;
            let (month, day) = match order {
                Order::Unsaid => return Err(NO_ORDER),
                Order::Day => (second, first),
                Order::Month => (first, second),
            };
            (Date { year, month, day }, b'/')
        }
        [_, _, _, _, mark @ (b'-' | b':'), ..] => {
            let mark = *mark;
            let year = rest.number(4)?;
            rest.expect(mark)?;
            let month = rest.number(2)?;
            rest.expect(mark)?;
            let day = rest.number(2)?;
            (Date { year, month, day }, mark)
        }
        _ => return Err(NOT_A_TIMESTAMP),
    };
    let midnight = date.days()? * 86_400;
    if rest.0.is_empty() && mark != b':' {
        return Ok(midnight * MICROS);
    }
    match mark {
        b'/' => {
            rest.take(|byte| byte == b',');
            rest.expect(b' ')?;
        }
        _ if rest
            .take(|byte| matches!(byte, b' ' | b'T' | b't'))
            .is_some() => {}
        _ => return Err(NOT_A_TIMESTAMP),
    }
    let hour = rest.number(2)?;
    rest.expect(b':')?;
    let minute = rest.number(2)?;
    rest.expect(b':')?;
    let second = rest.number(2)?;
    let micros = rest.fraction()?;
    let seconds = midnight + second_of_day((hour, minute, second))?;
    let ahead = rest.zone()?;
    if !rest.0.is_empty() {
        return Err(NOT_A_TIMESTAMP);
    }
    Ok((seconds - ahead) * MICROS + micros)
}

/// A date as written; [`Date::days`] checks it.
struct Date {
    year: u32,
    month: u32,
    day: u32,
}

impl Date {
    /// Days since 1970-01-01.
    #[inline]
    fn days(&self) -> Result<i64, &'static str> {
        const LENGTHS: [u8; 16] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0, 0, 0];
        let Self { year, month, day } = *self;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match LENGTHS.get(month as usize) {
            Some(length) => u32::from(*length) + u32::from(leap && month == 2),
            None => 0,
        };
        if year == 0 || day == 0 || day > length {
            return Err(NO_SUCH_DAY);
        }
        // Count years from March, so that the leap day is the last of its year; then months from
        // March have 153 days in every five, and centuries drop their leap day but for every
        // fourth.
        let (year, month) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let century = year / 100;
        let days = 365 * year + year / 4 - century + century / 4 + (153 * month + 2) / 5 + day - 1;
        // 0000-03-01 lies 719468 days before 1970-01-01.
        Ok(i64::from(days) - 719_468)
    }
}

#[inline]
fn second_of_day((hour, minute, second): (u32, u32, u32)) -> Result<i64, &'static str> {
    if hour > 23 || minute > 59 || second > 59 {
        return Err(NO_SUCH_TIME);
    }
    Ok(i64::from(hour * 3600 + minute * 60 + second))
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take(&mut self, accept: impl Fn(u8) -> bool) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        accept(*first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn expect(&mut self, byte: u8) -> Result<(), &'static str> {
        self.take(|next| next == byte)
            .map(|_| ())
            .ok_or(NOT_A_TIMESTAMP)
    }

    /// A number of exactly `digits` digits.
    fn number(&mut self, digits: usize) -> Result<u32, &'static str> {
        (0..digits).try_fold(0, |number, _| {
            let digit = self.take(|byte| byte.is_ascii_digit());
            digit
                .map(|digit| number * 10 + u32::from(digit - b'0'))
                .ok_or(NOT_A_TIMESTAMP)
        })
    }

    /// Microseconds of an optional `.` with digits.
    fn fraction(&mut self) -> Result<i64, &'static str> {
        if self.take(|byte| byte == b'.').is_none() {
            return Ok(0);
        }
        let mut micros = 0;
        let mut worth = 100_000;
        let mut digits = 0;
        while let Some(digit) = self.take(|byte| byte.is_ascii_digit()) {
            micros += i64::from(digit - b'0') * worth;
            worth /= 10;
            digits += 1;
        }
        if digits == 0 {
            return Err(NOT_A_TIMESTAMP);
        }
        Ok(micros)
    }

    /// Seconds by which an optional zone is ahead of UTC.
    fn zone(&mut self) -> Result<i64, &'static str> {
        self.take(|byte| byte == b' ');
        let Some(sign) = self.take(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-')) else {
            return Ok(0);
        };
        if matches!(sign, b'Z' | b'z') {
            return Ok(0);
        }
        let hours = self.number(2)?;
        let minutes = if self.take(|byte| byte == b':').is_some() || !self.0.is_empty() {
            self.number(2)?
        } else {
            0
        };
        if hours > 15 || minutes > 59 {
            return Err(NO_SUCH_ZONE);
        }
        let ahead = i64::from(hours * 3600 + minutes * 60);
        Ok(if sign == b'-' { -ahead } else { ahead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::testing::{call, text_columns, value_error};
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMicrosecondType;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    fn micros(text: &str) -> i64 {
        let naive = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f");
        naive
            .expect("a test writes it right")
            .and_utc()
            .timestamp_micros()
    }

    #[test]
    fn every_form_is_read() {
        for (text, instant) in [
            ("2020-08-28 03:52:47", "2020-08-28 03:52:47"),
            ("2020-08-28T03:52:47", "2020-08-28 03:52:47"),
            ("2020-08-28t03:52:47", "2020-08-28 03:52:47"),
            ("2020:08:28 03:52:47", "2020-08-28 03:52:47"),
            ("2020-08-28", "2020-08-28 00:00:00"),
            (" 2020-08-28 03:52:47\u{a0}", "2020-08-28 03:52:47"),
            ("2020-08-28 03:52:47.5", "2020-08-28 03:52:47.5"),
            ("2020-08-28T03:52:47.123456", "2020-08-28 03:52:47.123456"),
            ("2020-08-28T03:52:47.1234569", "2020-08-28 03:52:47.123456"),
            ("2020-08-28T03:52:47Z", "2020-08-28 03:52:47"),
            ("2020-08-28T03:52:47.000001z", "2020-08-28 03:52:47.000001"),
            ("2020-08-28T03:52:47+01:00", "2020-08-28 02:52:47"),
            ("2020-08-28 03:52:47 +0530", "2020-08-27 22:22:47"),
            ("2020-08-28 03:52:47-08", "2020-08-28 11:52:47"),
            ("2020-12-31T23:30:00.25-01:00", "2021-01-01 00:30:00.25"),
            ("2020-02-29 23:59:59", "2020-02-29 23:59:59"),
            ("2000-02-29", "2000-02-29 00:00:00"),
            ("1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"),
            ("0001-01-01 00:00:00", "0001-01-01 00:00:00"),
            ("9999-12-31 23:59:59", "9999-12-31 23:59:59"),
        ] {
            for order in [Order::Unsaid, Order::Day, Order::Month] {
                assert_eq!(parse(text, order), Ok(micros(instant)), "{text:?}");
                assert_eq!(
                    parse_any(text, order),
                    Ok(micros(instant)),
                    "{text:?} by the long way"
                );
            }
        }
    }

    #[test]
    fn a_date_with_slashes_is_read_in_the_order_that_is_said_and_never_guessed() {
        for (text, day_first, month_first) in [
            (
                "03/02/2024",
                Ok("2024-02-03 00:00:00"),
                Ok("2024-03-02 00:00:00"),
            ),
            ("28/08/2020", Ok("2020-08-28 00:00:00"), Err(NO_SUCH_DAY)),
            (
                "08/28/2020, 03:52:47",
                Err(NO_SUCH_DAY),
                Ok("2020-08-28 03:52:47"),
            ),
            (
                "08/09/2020 03:52:47.5+01:00",
                Ok("2020-09-08 02:52:47.5"),
                Ok("2020-08-09 02:52:47.5"),
            ),
            (
                "08/09/2020,03:52:47",
                Err(NOT_A_TIMESTAMP),
                Err(NOT_A_TIMESTAMP),
            ),
            ("8/9/2020", Err(NOT_A_TIMESTAMP), Err(NOT_A_TIMESTAMP)),
        ] {
            assert_eq!(parse(text, Order::Day), day_first.map(micros), "{text:?}");
            assert_eq!(
                parse(text, Order::Month),
                month_first.map(micros),
                "{text:?}"
            );
            let unsaid = match text {
                "8/9/2020" => NOT_A_TIMESTAMP,
                _ => NO_ORDER,
            };
            assert_eq!(parse(text, Order::Unsaid), Err(unsaid), "{text:?}");
        }
    }

    #[test]
    fn other_text_is_refused_with_the_reason() {
        for (text, why) in [
            ("", NOT_A_TIMESTAMP),
            ("yesterday", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52", NOT_A_TIMESTAMP),
            ("2020-08-28  03:52:47", NOT_A_TIMESTAMP),
            ("2020-8-28 03:52:47", NOT_A_TIMESTAMP),
            ("2020-08:28 03:52:47", NOT_A_TIMESTAMP),
            ("2020:08:28", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52:4x", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52:4é", NOT_A_TIMESTAMP),
            ("20x0-08-28 03:52:47", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52:47.", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52:47 UTC", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52:47+1", NOT_A_TIMESTAMP),
            ("2020-08-28 03:52:47+01:000", NOT_A_TIMESTAMP),
            ("1598586767", NOT_A_TIMESTAMP),
            ("2021-02-29 00:00:00", NO_SUCH_DAY),
            ("1900-02-29", NO_SUCH_DAY),
            ("2020-04-31 00:00:00", NO_SUCH_DAY),
            ("2020-00-10 00:00:00", NO_SUCH_DAY),
            ("2020-13-10 00:00:00", NO_SUCH_DAY),
            ("2020-99-10 00:00:00", NO_SUCH_DAY),
            ("2020-01-00 00:00:00", NO_SUCH_DAY),
            ("0000-01-01 00:00:00", NO_SUCH_DAY),
            ("2020-08-28 24:00:00", NO_SUCH_TIME),
            ("2020-08-28 03:60:47", NO_SUCH_TIME),
            ("2020-08-28 03:52:60", NO_SUCH_TIME),
            ("2020-08-28 03:52:47+16:00", NO_SUCH_ZONE),
            ("2020-08-28 03:52:47+01:60", NO_SUCH_ZONE),
        ] {
            assert_eq!(parse(text, Order::Unsaid), Err(why), "{text:?}");
            assert_eq!(
                parse_any(text, Order::Unsaid),
                Err(why),
                "{text:?} by the long way"
            );
        }
    }

    #[test]
    fn columns_keep_their_nulls_and_name_bad_values() {
        let good = [Some("2020-08-28 03:52:47"), None, Some("2020-08-28")];
        let expected = [
            Some(micros("2020-08-28 03:52:47")),
            None,
            Some(micros("2020-08-28 00:00:00")),
        ];
        for column in text_columns(&good) {
            for function in ["parse_timestamp", "try_parse_timestamp"] {
                let instants = call(function, column.clone(), &[]).unwrap();
                let instants = instants.as_primitive::<TimestampMicrosecondType>();
                assert_eq!(instants.iter().collect::<Vec<_>>(), expected);
            }
        }
        for column in text_columns(&[Some("2020-08-28"), None, Some("2021-02-29")]) {
            let error = value_error(call("parse_timestamp", column.clone(), &[]));
            assert_eq!(
                (error.value.as_str(), error.why),
                ("2021-02-29", NO_SUCH_DAY)
            );
            let instants = call("try_parse_timestamp", column, &[]).unwrap();
            let instants = instants.as_primitive::<TimestampMicrosecondType>();
            let expected = [Some(micros("2020-08-28 00:00:00")), None, None];
            assert_eq!(instants.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn every_day_of_the_calendar_has_its_number() {
        let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        let last = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap();
        for day in first.iter_days().take_while(|day| *day <= last) {
            let expected = day
                .and_time(Default::default())
                .and_utc()
                .timestamp_micros();
            assert_eq!(
                parse(&day.format("%Y-%m-%d").to_string(), Order::Unsaid),
                Ok(expected),
                "{day}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_instant_is_read_back_from_each_form(seconds in -62_135_596_800_i64..253_402_300_799, micros in 0..1_000_000_u32) {
            let instant = chrono::DateTime::from_timestamp(seconds, micros * 1000).unwrap();
            for (form, exact) in [
                ("%Y-%m-%d %H:%M:%S", false),
                ("%Y-%m-%dT%H:%M:%S", false),
                ("%Y:%m:%d %H:%M:%S", false),
                ("%m/%d/%Y, %H:%M:%S", false),
                ("%Y-%m-%dT%H:%M:%S%.6fZ", true),
                ("%Y-%m-%d %H:%M:%S%.9f+00:00", true),
            ] {
                let text = instant.format(form).to_string();
                let expected = if exact { instant.timestamp_micros() } else { seconds * MICROS };
                prop_assert_eq!(parse(&text, Order::Month), Ok(expected), "{}", text);
            }
        }

        #[test]
        fn both_ways_agree_on_near_misses(text in "[0-2][0-9]{3}[-:/][0-3][0-9][-:][0-3][0-9][ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9x]") {
            prop_assert_eq!(parse(&text, Order::Month), parse_any(&text, Order::Month));
        }
    }
}

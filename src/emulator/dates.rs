//! Moments between October 2015 and October 2022, written in every form that producers have used.

use std::sync::LazyLock;

/// Seconds since 2015-10-01 00:00:00; all moments of the emulation are below 2022-11-01.
pub(super) type Moment = u32;

const DAY: u32 = 86_400;

/// First and last moment a person can have joined: 2015-10-21 00:00:00 .. 2017-10-18 23:59:59.
pub(super) const JOINED: std::ops::Range<Moment> = 20 * DAY..749 * DAY;

/// First and last moment of a post: 2017-10-19 15:13:42 .. 2022-10-19 17:54:26. Later than anyone
/// joined.
pub(super) const POSTED: std::ops::Range<Moment> = 749 * DAY + 54_822..2575 * DAY + 64_467;

/// How a moment is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DateForm {
    /// `2020-08-28 03:52:47`
    Space,
    /// `2020-08-28T03:52:47`
    Iso,
    /// `2020:08:28 03:52:47`
    Colons,
    /// `08/28/2020, 03:52:47`
    Slashes,
}

const DAYS: usize = 2588;

/// `YYYY-MM-DD` of every day: a look-up is several times cheaper than calendar arithmetic.
static CALENDAR: LazyLock<Vec<[u8; 10]>> = LazyLock::new(|| {
    let (mut year, mut month, mut day) = (2015, 10, 1);
    let mut calendar = Vec::with_capacity(DAYS);
    while calendar.len() < DAYS {
        let text = format!("{year:04}-{month:02}-{day:02}");
        calendar.push(
            text.into_bytes()
                .try_into()
                .expect("a date has ten characters"),
        );
        let length = match month {
            2 if year % 4 == 0 => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        day += 1;
        if day > length {
            (day, month) = (1, month + 1);
        }
        if month > 12 {
            (month, year) = (1, year + 1);
        }
    }
    calendar
});

/// Appends `moment` in `form`.
#[inline]
pub(super) fn write_moment(moment: Moment, form: DateForm, out: &mut Vec<u8>) {
    let date = &CALENDAR[(moment / DAY) as usize];
    let time = moment % DAY;
    match form {
        DateForm::Space => {
            out.extend_from_slice(date);
            out.push(b' ');
        }
        DateForm::Iso => {
            out.extend_from_slice(date);
            out.push(b'T');
        }
        DateForm::Colons => {
            out.extend(date.iter().map(|&c| if c == b'-' { b':' } else { c }));
            out.push(b' ');
        }
        DateForm::Slashes => {
            out.extend_from_slice(&date[5..7]);
            out.push(b'/');
            out.extend_from_slice(&date[8..10]);
            out.push(b'/');
            out.extend_from_slice(&date[0..4]);
            out.extend_from_slice(b", ");
        }
    }
    let [h, m, s] = [time / 3600, time / 60 % 60, time % 60].map(two_digits);
    out.extend_from_slice(&[h[0], h[1], b':', m[0], m[1], b':', s[0], s[1]]);
}

/// Appends a moment that a database wrote as `2020-08-28 03:52:47` in `form`. Anything else is
/// appended as it is.
pub(super) fn write_moment_text(moment: &[u8], form: DateForm, out: &mut Vec<u8>) {
    let (date, time) = match moment {
        _ if moment.len() >= 19 && moment[10] == b' ' => (&moment[..10], &moment[11..]),
        _ => return out.extend_from_slice(moment),
    };
    match form {
        DateForm::Space => return out.extend_from_slice(moment),
        DateForm::Iso => {
            out.extend_from_slice(date);
            out.push(b'T');
        }
        DateForm::Colons => {
            out.extend(date.iter().map(|&c| if c == b'-' { b':' } else { c }));
            out.push(b' ');
        }
        DateForm::Slashes => {
            out.extend_from_slice(
                &[&date[5..7], b"/", &date[8..10], b"/", &date[..4], b", "].concat(),
            );
        }
    }
    out.extend_from_slice(time);
}

#[inline]
fn two_digits(n: u32) -> [u8; 2] {
    [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(moment: Moment, form: DateForm) -> String {
        let mut out = Vec::new();
        write_moment(moment, form, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_moment_out_of_a_database_is_spelled_as_a_made_up_one() {
        for form in [
            DateForm::Space,
            DateForm::Iso,
            DateForm::Colons,
            DateForm::Slashes,
        ] {
            let moment = POSTED.start + 86_399;
            let mut out = Vec::new();
            write_moment_text(text(moment, DateForm::Space).as_bytes(), form, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text(moment, form));
        }
        let mut out = Vec::new();
        write_moment_text(b"2020-08-28", DateForm::Iso, &mut out);
        assert_eq!(out, b"2020-08-28");
    }

    #[test]
    fn the_ranges_begin_and_end_where_the_real_ones_do() {
        assert_eq!(text(JOINED.start, DateForm::Space), "2015-10-21 00:00:00");
        assert_eq!(text(JOINED.end - 1, DateForm::Space), "2017-10-18 23:59:59");
        assert_eq!(text(POSTED.start, DateForm::Space), "2017-10-19 15:13:42");
        assert_eq!(text(POSTED.end - 1, DateForm::Space), "2022-10-19 17:54:26");
    }

    #[test]
    fn a_moment_has_four_spellings() {
        let moment = POSTED.start;
        assert_eq!(text(moment, DateForm::Iso), "2017-10-19T15:13:42");
        assert_eq!(text(moment, DateForm::Colons), "2017:10:19 15:13:42");
        assert_eq!(text(moment, DateForm::Slashes), "10/19/2017, 15:13:42");
    }

    #[test]
    fn leap_days_exist() {
        assert!(CALENDAR.contains(b"2016-02-29"));
        assert!(CALENDAR.contains(b"2020-02-29"));
        assert!(!CALENDAR.contains(b"2018-02-29"));
    }
}

//! Records that cannot become rows, so that dead letters have something to hold.
//!
//! Each is one line. What makes it broken is in its key, its dates, its coordinates or age, or in
//! the JSON itself: in places that no reader can pass over.

use crate::emulator::Stream;
use crate::emulator::random::{Chance, Random, Topic};

/// The numbers to break the record with, if it is one of the broken ones.
#[inline]
pub(super) fn drawn(seed: u64, broken: Chance, stream: Stream, index: u64) -> Option<Random> {
    let item = index.wrapping_mul(4).wrapping_add(stream as u64);
    let mut random = Random::new(seed, Topic::Broken, item);
    random.happens(broken).then_some(random)
}

/// Lines that are no JSON objects.
const NOT_A_ROW: [&[u8]; 4] = [
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    b"17",
    b"\"a record was here\"",
    b"{index: 12, 'title': 'not quite JSON'}",
];

/// Keys that are no whole numbers of 64 bits.
const BAD_KEYS: [&[u8]; 6] = [
    b"null",
    b"\"twelve\"",
    b"{\"id\":12}",
    b"true",
    b"99999999999999999999",
    b"",
];

const BAD_DATES: [&[u8]; 3] = [b"2021-02-30 25:61:00", b"yesterday", b"0000-00-00 00:00:00"];

/// Breaks `record`, which is canonical, in one of several ways.
pub(super) fn break_record(stream: Stream, random: &mut Random, record: &mut Vec<u8>) {
    match random.below(6) {
        0 => {
            let keep = 1 + random.below(record.len() as u32 - 1);
            record.truncate(keep as usize);
        }
        1 => {
            record.clear();
            record.extend_from_slice(NOT_A_ROW[random.below(4) as usize]);
        }
        2 | 3 => {
            let key: &[u8] = if random.one_in(2) {
                BAD_KEYS[0]
            } else {
                BAD_KEYS[random.below(6) as usize]
            };
            replace_value(record, 0, key);
        }
        _ => match stream {
            // A byte that is never UTF-8, in the middle of a text.
            Stream::Pin => {
                let at = find(record, b",\"title\":\"").map_or(1, |at| at + 10);
                record.insert(at, 0xff);
            }
            Stream::Geo => match random.below(3) {
                0 => break_member(record, b",\"latitude\":", b"\"north\""),
                1 => break_member(record, b",\"longitude\":", b"[1,2]"),
                _ => break_date(record, b",\"timestamp\":\"", random),
            },
            Stream::User => match random.below(3) {
                0 => break_member(record, b",\"age\":", b"\"young\""),
                _ => break_date(record, b",\"date_joined\":\"", random),
            },
        },
    }
}

fn find(record: &[u8], what: &[u8]) -> Option<usize> {
    record.windows(what.len()).position(|part| part == what)
}

/// Replaces the number that follows the first colon at or after `from`.
fn replace_value(record: &mut Vec<u8>, from: usize, value: &[u8]) {
    let is = |byte: u8| move |&(_, &other): &(usize, &u8)| other == byte;
    let tail = || record.iter().enumerate().skip(from);
    if let Some((colon, _)) = tail().find(is(b':'))
        && let Some((comma, _)) = tail().find(is(b','))
    {
        record.splice(colon + 1..comma, value.iter().copied());
    }
}

fn break_member(record: &mut Vec<u8>, member: &[u8], value: &[u8]) {
    if let Some(at) = find(record, member) {
        replace_value(record, at + 1, value);
    }
}

/// Replaces a date of nineteen characters.
fn break_date(record: &mut Vec<u8>, member: &[u8], random: &mut Random) {
    if let Some(at) = find(record, member) {
        let start = at + member.len();
        let date = BAD_DATES[random.below(3) as usize];
        record.splice(start..start + 19, date.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEO: &[u8] =
        br#"{"ind":7,"timestamp":"2020-01-01 00:00:00","latitude":1.5,"longitude":-2.5,"country":"Chad"}"#;

    fn broken(n: u64) -> Vec<u8> {
        let mut record = GEO.to_vec();
        break_record(
            Stream::Geo,
            &mut Random::new(1, Topic::Broken, n),
            &mut record,
        );
        record
    }

    #[test]
    fn every_way_of_breaking_occurs_and_changes_the_record() {
        let all: Vec<Vec<u8>> = (0..400).map(broken).collect();
        assert!(
            all.iter()
                .all(|record| record != GEO && !record.contains(&b'\n'))
        );
        for part in [
            b"\"ind\":null".as_slice(),
            b"\"ind\":\"twelve\"",
            b"\"ind\":,",
            b"\"north\"",
            b"[1,2]",
            b"yesterday",
            b"502",
        ] {
            assert!(all.iter().any(|record| find(record, part).is_some()));
        }
    }

    #[test]
    fn a_broken_member_leaves_the_others_as_they_were() {
        let mut record = GEO.to_vec();
        break_member(&mut record, b",\"latitude\":", b"\"north\"");
        assert_eq!(
            record,
            br#"{"ind":7,"timestamp":"2020-01-01 00:00:00","latitude":"north","longitude":-2.5,"country":"Chad"}"#
        );
    }
}

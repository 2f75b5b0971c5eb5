//! The same records go through as with `serde_json`, whatever they look like.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::decode::decoder::Width;

/// Small random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const ODD: &str = "text TEXT, big BIGINT, small INT, double DOUBLE, flag BOOLEAN, other TEXT";

/// The text of some JSON value, nearly always valid.
fn value(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth < 3 { 14 } else { 12 }) {
        0 => "null".into(),
        1 => dice.pick(&["true", "false"]).into(),
        2 | 3 => format!("{}", dice.below(1 << 30) as i64 - (1 << 29)),
        4 => format!("{}.{}", dice.below(200), dice.below(100_000)),
        5 => dice
            .pick(&[
                "0",
                "-0",
                "1e3",
                "12.0",
                "1E-2",
                "-1.5e+10",
                "12345678",
                "123456789012345678",
                "99999999999999999999",
                "0.1234567890123456789",
                "1e400",
                "01",
                "1.",
                ".5",
                "+1",
                "NaN",
            ])
            .into(),
        6 => dice
            .pick(&[
                r#""12""#,
                r#"" -7 ""#,
                r#""1.5""#,
                r#""true""#,
                r#""""#,
                r#""abc""#,
                r#""1e2""#,
            ])
            .into(),
        7..=11 => {
            let mut text = String::from("\"");
            for _ in 0..dice.below(8).pow(2) {
                text.push_str(dice.pick(&[
                    "a",
                    "b c",
                    "long words here ",
                    "é",
                    "日本",
                    "😀",
                    "\\n",
                    "\\\"",
                    "\\\\",
                    "\\/",
                    "\\u00e9",
                    "\\ud83d\\ude00",
                    "{",
                    "}",
                    "[",
                    ",",
                    ":",
                    "x",
                    "y",
                    "z",
                    "0",
                ]));
            }
            if dice.one_in(60) {
                text.push_str(dice.pick(&["\\ud83d", "\\q", "\\u12", "\t", "\\ude00x", "\u{1}"]));
            }
            text + "\""
        }
        12 => {
            let elements: Vec<String> =
                (0..dice.below(4)).map(|_| value(dice, depth + 1)).collect();
            format!("[{}]", elements.join(dice.pick(&[",", ", "])))
        }
        _ => object(dice, depth + 1),
    }
}

fn object(dice: &mut Dice, depth: usize) -> String {
    let (comma, colon) = (
        dice.pick(&[",", ", ", " ,\t"]),
        dice.pick(&[":", ": ", " : "]),
    );
    let mut names = vec!["text", "big", "small", "double", "flag", "other"];
    if dice.one_in(3) {
        for _ in 0..3 {
            let (one, two) = (dice.below(names.len()), dice.below(names.len()));
            names.swap(one, two);
        }
        names.insert(
            dice.below(names.len()),
            dice.pick(&[
                "text",
                "Big",
                "x",
                "a key that is far too long to be guessed",
                "t\\u0065xt",
                "é",
            ]),
        );
        names.truncate(dice.below(names.len() + 1));
    }
    let fields: Vec<String> = names
        .iter()
        .map(|name| {
            let value = match *name {
                // Mostly what fits, so that whole records go through.
                "big" | "small" if !dice.one_in(12) => dice.below(100_000_000).to_string(),
                "double" if !dice.one_in(12) => {
                    format!("-{}.{}", dice.below(180), dice.below(10_000))
                }
                "flag" if !dice.one_in(12) => dice.pick(&["true", "false", "null"]).into(),
                _ => value(dice, depth),
            };
            format!("\"{name}\"{colon}{value}")
        })
        .collect();
    format!("{{{}}}", fields.join(comma))
}

/// Lines of records, some of them damaged.
fn lines(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed | 1);
    let mut bytes = Vec::new();
    for _ in 0..dice.below(12) {
        let mut line = match dice.below(12) {
            0 => format!(
                "[{}]",
                (0..dice.below(4))
                    .map(|_| object(&mut dice, 0))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            1 => (0..dice.below(4))
                .map(|_| object(&mut dice, 0))
                .collect::<String>(),
            2 => serde_json::to_string(&object(&mut dice, 0)).unwrap(),
            3 => value(&mut dice, 0),
            _ => object(&mut dice, 0),
        }
        .into_bytes();
        if dice.one_in(4) {
            for _ in 0..=dice.below(2) {
                let at = dice.below(line.len() + 1);
                let byte = *dice
                    .pick(&[
                        "{", "}", "[", "]", "\"", "\\", ",", ":", "0", "9", "-", ".", "e", " ",
                        "\r", "x", "\u{1}", "\u{7f}",
                    ])
                    .as_bytes()
                    .first()
                    .unwrap();
                match dice.below(6) {
                    0 => line.truncate(at),
                    1 if at < line.len() => drop(line.remove(at)),
                    2 if at < line.len() => line[at] = byte,
                    3 if at < line.len() => line[at] ^= 1 << dice.below(8),
                    _ => line.insert(at, byte),
                }
            }
        }
        bytes.extend(line);
        bytes.extend(
            dice.pick(&["\n", "\n", "\n", "\r\n", " \n", "\n\n"])
                .as_bytes(),
        );
    }
    if dice.one_in(2) {
        bytes.pop();
    }
    bytes
}

/// What a line must become: rows in order (`None` where the oracle cannot tell the value), and how
/// many rejects.
type Expected = (Vec<Option<Vec<Option<String>>>>, usize);

/// Reads a line with `serde_json`; `None` for lines that are beyond this oracle.
fn oracle(line: &[u8]) -> Option<Expected> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Some((vec![], 1));
    };
    let blanks = [' ', '\t', '\r'];
    let mut rest = line.trim_matches(blanks);
    let (mut rows, mut rejects) = (vec![], 0);
    while !rest.is_empty() {
        if rest.starts_with('"') {
            return None;
        }
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let Some(Ok(raw)) = stream.next() else {
            return if rest.starts_with('[') {
                None
            } else {
                Some((rows, rejects + 1))
            };
        };
        let end = stream.byte_offset();
        let after = rest[end..].trim_start_matches(blanks);
        let may_follow = after.is_empty() || after.starts_with(['{', '[', '"']);
        let items = if rest.starts_with('[') {
            serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap()
        } else {
            vec![raw]
        };
        if items.is_empty() {
            rejects += 1;
        }
        let mut last_is_row = false;
        for item in items {
            last_is_row = match row(item.get()) {
                Ok(row) => {
                    rows.push(row);
                    true
                }
                Err(()) => {
                    rejects += 1;
                    false
                }
            };
        }
        if !may_follow {
            // The last item and all behind it are one reject.
            if last_is_row {
                rows.pop();
                rejects += 1;
            }
            return Some((rows, rejects));
        }
        rest = after;
    }
    Some((rows, rejects))
}

/// An object's keys and values in the order they came, repeated keys included.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Fields<'de>, A::Error> {
                let mut fields = vec![];
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The row of an object by the rules of the module; `Ok(None)` where only a finer oracle could
/// tell.
fn row(object: &str) -> Result<Option<Vec<Option<String>>>, ()> {
    let columns: Vec<(&str, &str)> = ODD
        .split(", ")
        .map(|column| column.split_once(' ').unwrap())
        .collect();
    let mut row = vec![None; columns.len()];
    let mut is_known = true;
    for (name, raw) in serde_json::from_str::<Fields<'_>>(object).map_err(drop)?.0 {
        if let Some(column) = columns.iter().position(|(column, _)| *column == name) {
            match fit(columns[column].1, raw.get())? {
                Some(value) => row[column] = value,
                None => is_known = false,
            }
        }
    }
    Ok(is_known.then_some(row))
}

/// What a value becomes in a column: `Err` if it does not fit, `Ok(None)` where only a finer oracle
/// could tell.
fn fit(sql: &str, raw: &str) -> Result<Option<Option<String>>, ()> {
    let text = serde_json::from_str::<String>(raw);
    if raw == "null" {
        return Ok(Some(None));
    }
    if raw.starts_with('"') && text.is_err() {
        return Err(());
    }
    let is_text = text.is_ok();
    let is_number = raw.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let trimmed = text.as_deref().map(str::trim).unwrap_or(raw);
    let value = match sql {
        "TEXT" => format!("{:?}", text.as_deref().unwrap_or(raw)),
        "BOOLEAN" if matches!(trimmed, "true" | "false") => trimmed.to_owned(),
        "BOOLEAN" => return Err(()),
        _ if !is_number && !is_text => return Err(()),
        "DOUBLE" => match trimmed.parse::<f64>() {
            Ok(_) if is_text => return Ok(None),
            Ok(double) if double.is_finite() => (double + 0.0).to_bits().to_string(),
            _ => return Err(()),
        },
        _ => match (trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
            (Ok(whole), _) if sql == "BIGINT" || i32::try_from(whole).is_ok() => whole.to_string(),
            (Ok(_), _) | (_, Err(_)) => return Err(()),
            (_, Ok(double)) if double.abs() < 1e15 && double.fract() != 0.0 => return Err(()),
            (_, Ok(double)) if double.abs() > 1e19 => return Err(()),
            (_, Ok(double)) if double.abs() < 2e9 && !is_text => (double as i64).to_string(),
            _ => return Ok(None),
        },
    };
    Ok(Some(Some(value)))
}

fn decoded_row(rows: &RecordBatch, row: usize) -> Vec<Option<String>> {
    (0..rows.num_columns())
        .map(|column| {
            let array = rows.column(column);
            (!array.is_null(row)).then(|| match array.data_type() {
                DataType::Float64 => format!(
                    "{:?}",
                    array.as_primitive::<Float64Type>().value(row).to_bits()
                ),
                DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
                _ => cell(rows, column, row),
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_same_records_go_through_as_with_serde_json(seed in any::<u64>()) {
        let bytes = lines(seed);
        let decoded = decode(&mut decoder(ODD), &bytes, 0);
        let offsets: Vec<u64> = decoded.offsets.iter().collect();
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        if lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        for (offset, line) in lines.iter().enumerate() {
            let rows: Vec<usize> = (0..offsets.len()).filter(|&row| offsets[row] == offset as u64).collect();
            let rejects = decoded.rejects.iter().filter(|reject| reject.offset == offset as u64).count();
            let is_blank = line.iter().all(|byte| b" \t\r".contains(byte));
            prop_assert_eq!(is_blank, rows.is_empty() && rejects == 0, "{:?}", String::from_utf8_lossy(line));
            if let Some((expected, expected_rejects)) = oracle(line) {
                let is_known = expected.iter().all(Option::is_some);
                if is_known {
                    prop_assert_eq!((rows.len(), rejects), (expected.len(), expected_rejects), "{:?}\n{}", String::from_utf8_lossy(line), show(&decoded));
                    for (&row, expected) in rows.iter().zip(expected) {
                        prop_assert_eq!(Some(decoded_row(&decoded.rows, row)), expected, "{:?}", String::from_utf8_lossy(line));
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_learned_never_changes_an_outcome(seeds in prop::collection::vec(any::<u64>(), 1..6)) {
        let mut seasoned = decoder(ODD);
        for seed in seeds {
            let bytes = lines(seed);
            prop_assert_eq!(show(&decode(&mut seasoned, &bytes, 3)), show(&decode(&mut decoder(ODD), &bytes, 3)));
        }
    }

    #[test]
    fn every_scanner_and_every_cut_gives_the_same(seed in any::<u64>(), limit in 1usize..400) {
        let bytes = Bytes::from(lines(seed));
        let whole = show(&decode(&mut decoder(ODD).with_width(Width::Baseline), &bytes, 0));
        for width in widths() {
            prop_assert_eq!(&show(&decode(&mut decoder(ODD).with_width(width), &bytes, 0)), &whole);
        }
        // A limit that every line fits into changes nothing.
        let longest = bytes.split(|&byte| byte == b'\n').map(|line| line.len() + 1).max().unwrap_or(1);
        prop_assert_eq!(&show(&decoder(ODD).decode_in_pieces(&bytes, 0, limit.max(longest))), &whole);
        // With any limit every record is accounted for.
        let pieces = decoder(ODD).decode_in_pieces(&bytes, 0, limit);
        prop_assert_eq!(pieces.records, count_records(&bytes));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ \n\r\tuabcdef0123456789.-+enltrsx\x00\x1f\x7f\xc3\xa9\xff".to_vec()), 0..300), columns in prop::sample::select(vec![ODD, "a TEXT, b DOUBLE[], c TEXT[], d TIMESTAMP, e DATE", "a BIGINT NOT NULL"])) {
        let decoded = decode(&mut decoder(columns), &bytes, 0);
        for reject in &decoded.rejects {
            prop_assert!(!reject.reason.is_empty());
        }
    }
}

fn widths() -> Vec<Width> {
    #[cfg(target_arch = "x86_64")]
    match Width::detect() {
        Width::Baseline => vec![],
        Width::Avx2 => vec![Width::Avx2],
        Width::Avx512 => vec![Width::Avx2, Width::Avx512],
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![]
}

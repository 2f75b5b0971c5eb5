//! `parse_count(text)` and `try_parse_count(text)`: BIGINT from a count as people write it.
//!
//! ```text
//! count  = number [blanks] [scale]        blanks around it do not count
//! number = digits or groups, [. digits]   12   5,237   1.2   1,234.5
//! scale  = k | m | b, either case         thousand, million, billion (10^9)
//! ```
//!
//! The arithmetic is in integers, so `1.1M` is 1100000 and not 1099999. A count is a whole number:
//! `1.2345k` is an error, since neither rounding nor cutting is what was written; `12.0` and
//! `1.50k` are whole. Commas part groups of three, so `1,5k` (which may mean 1.5k or 15k) is an
//! error. So is a sign.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::parse::{parse_each, refuse_each, try_parse_each};
use super::scalar::{Arguments, Function, Kind};

const NOT_A_COUNT: &str =
    "a count is digits, with a scale k, M or B if need be, such as `900k`, `1.2M` or `5,237`";
const NEGATIVE: &str = "a count has no sign";
const GROUPS: &str = "commas must part groups of three digits, as in `5,237`";
const NOT_WHOLE: &str =
    "a count is a whole number, and this has more decimals than its scale takes";
const TOO_LARGE: &str = "it is larger than the largest BIGINT, 9223372036854775807";

pub(super) fn strict() -> Function {
    Function::new(
        "parse_count",
        &[Kind::Text],
        DataType::Int64,
        |arguments| {
            let (counts, nulls) = parse_each("parse_count", &arguments.text(0)?, parse)?;
            Ok(counts_array(counts, nulls))
        },
        "parse_count(text)",
        "The count that a text such as `12`, `900k`, `1.2M`, `1b` or `5,237` says; an error for other text.",
    )
    .with_refusals(|arguments, rows| {
        refuse_each("parse_count", &arguments.text(0).ok()?, rows, parse)
    })
}

pub(super) fn lenient() -> Function {
    Function::new(
        "try_parse_count",
        &[Kind::Text],
        DataType::Int64,
        |arguments: &Arguments| {
            let (counts, nulls) = try_parse_each(&arguments.text(0)?, parse);
            Ok(counts_array(counts, nulls))
        },
        "try_parse_count(text)",
        "As `parse_count`, but null for text that is not a count.",
    )
}

fn counts_array(counts: Vec<i64>, nulls: Option<arrow::buffer::NullBuffer>) -> ArrayRef {
    Arc::new(Int64Array::new(counts.into(), nulls))
}

/// Digits that cannot overflow, and at most a scale: almost every count. All else goes to
/// [`parse_any`].
#[inline]
fn parse(text: &str) -> Result<i64, &'static str> {
    let bytes = text.as_bytes();
    let mut count = 0_i64;
    let mut digits = 0;
    // Nine digits times 10^9 still fit.
    while digits < bytes.len().min(9) {
        let digit = bytes[digits].wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        count = count * 10 + i64::from(digit);
        digits += 1;
    }
    match bytes.len() - digits {
        0 if digits > 0 => Ok(count),
        1 if digits > 0 => match exponent(bytes[digits]) {
            0 => parse_any(text),
            exponent => Ok(count * 10_i64.pow(exponent)),
        },
        _ => parse_any(text),
    }
}

/// The power of ten that a scale stands for; 0 if it is none.
#[inline]
fn exponent(scale: u8) -> u32 {
    match scale {
        b'k' | b'K' => 3,
        b'm' | b'M' => 6,
        b'b' | b'B' => 9,
        _ => 0,
    }
}

/// The whole grammar.
#[inline(never)]
fn parse_any(text: &str) -> Result<i64, &'static str> {
    let text = text.trim();
    if text.starts_with(['-', '+', '−']) {
        return Err(NEGATIVE);
    }
    let scale = text.bytes().last().map_or(0, exponent);
    let number = match scale {
        0 => text,
        _ => text[..text.len() - 1].trim_end(),
    };
    let (whole, decimals) = match number.split_once('.') {
        Some((_, "")) => return Err(NOT_A_COUNT),
        Some((whole, decimals)) => (whole, decimals.trim_end_matches('0')),
        None => (number, ""),
    };
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or("");
    let grouped = first.len() < whole.len();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if first.is_empty() || !digits(first) || !groups.clone().all(digits) || !digits(decimals) {
        return Err(NOT_A_COUNT);
    }
    if grouped && (first.len() > 3 || groups.any(|group| group.len() != 3)) {
        return Err(GROUPS);
    }
    if decimals.len() > scale as usize {
        return Err(NOT_WHOLE);
    }
    let zeros = std::iter::repeat_n(b'0', scale as usize - decimals.len());
    whole
        .bytes()
        .filter(|byte| *byte != b',')
        .chain(decimals.bytes())
        .chain(zeros)
        .try_fold(0_i64, |count, digit| {
            count.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
        })
        .ok_or(TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::ValueError;
    use crate::function::testing::{call, text_columns, value_error};
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    const COUNTS: [(&str, i64); 25] = [
        ("0", 0),
        ("12", 12),
        ("972", 972),
        ("900k", 900_000),
        ("3K", 3_000),
        ("2M", 2_000_000),
        ("15m", 15_000_000),
        ("1b", 1_000_000_000),
        ("7B", 7_000_000_000),
        ("1.2M", 1_200_000),
        ("1.1M", 1_100_000),
        ("0.5k", 500),
        ("1.234567m", 1_234_567),
        ("12.0", 12),
        ("1.50k", 1_500),
        ("5,237", 5_237),
        ("1,234,567", 1_234_567),
        ("1,234.5k", 1_234_500),
        ("  42\u{a0}", 42),
        ("1.2 M", 1_200_000),
        ("007", 7),
        ("999999999B", 999_999_999_000_000_000),
        ("1234567890123", 1_234_567_890_123),
        ("9223372036854775807", i64::MAX),
        ("0000000000000000000000000001", 1),
    ];

    const NOT_COUNTS: [(&str, &str); 22] = [
        ("", NOT_A_COUNT),
        ("  ", NOT_A_COUNT),
        ("k", NOT_A_COUNT),
        ("User Info Error", NOT_A_COUNT),
        ("12x", NOT_A_COUNT),
        ("12kk", NOT_A_COUNT),
        ("1.k", NOT_A_COUNT),
        (".5k", NOT_A_COUNT),
        ("1.2.3", NOT_A_COUNT),
        ("1 000", NOT_A_COUNT),
        ("1e3", NOT_A_COUNT),
        ("１２", NOT_A_COUNT),
        (",123", NOT_A_COUNT),
        ("-5", NEGATIVE),
        ("+5", NEGATIVE),
        ("1,5k", GROUPS),
        ("1234,567", GROUPS),
        ("1,,234", GROUPS),
        ("1.5", NOT_WHOLE),
        ("1.2345k", NOT_WHOLE),
        ("9223372036854775808", TOO_LARGE),
        ("9999999999B", TOO_LARGE),
    ];

    #[test]
    fn counts_are_read_exactly() {
        for (text, count) in COUNTS {
            assert_eq!(parse(text), Ok(count), "{text:?}");
            assert_eq!(parse_any(text), Ok(count), "{text:?} by the whole grammar");
        }
    }

    #[test]
    fn other_text_is_refused_with_the_reason() {
        for (text, why) in NOT_COUNTS {
            assert_eq!(parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn columns_keep_their_nulls() {
        let rows = [Some("900k"), None, Some("1,234,567,890,123"), Some("5")];
        let expected = [Some(900_000), None, Some(1_234_567_890_123), Some(5)];
        for column in text_columns(&rows) {
            for function in ["parse_count", "try_parse_count"] {
                let counts = call(function, column.clone(), &[]).unwrap();
                let counts: Vec<_> = counts.as_primitive::<Int64Type>().iter().collect();
                assert_eq!(counts, expected, "{function} of {:?}", column.data_type());
            }
        }
    }

    #[test]
    fn a_bad_value_is_named_or_null() {
        let rows = [None, Some("1"), Some("12x"), Some("y")];
        for column in text_columns(&rows) {
            let error = value_error(call("parse_count", column.clone(), &[]));
            let expected = ValueError {
                function: "parse_count",
                value: "12x".to_string(),
                why: NOT_A_COUNT,
            };
            assert_eq!(error, expected);
            assert_eq!(
                error.to_string(),
                "`parse_count` cannot read \"12x\": a count is digits, with a scale k, M or B if need be, \
                 such as `900k`, `1.2M` or `5,237`; `try_parse_count` would give null instead"
            );
            let counts = call("try_parse_count", column, &[]).unwrap();
            let counts: Vec<_> = counts.as_primitive::<Int64Type>().iter().collect();
            assert_eq!(counts, [None, Some(1), None, None]);
        }
    }

    #[test]
    fn a_long_bad_value_is_cut_in_the_error() {
        let long = "é".repeat(1000);
        let error = value_error(call(
            "parse_count",
            text_columns(&[Some(long.as_str())]).remove(0),
            &[],
        ));
        assert_eq!(error.value, format!("{}…", "é".repeat(80)));
    }

    proptest! {
        #[test]
        fn the_short_way_and_the_whole_grammar_agree(text in "[ ]?[0-9]{0,12}[.,]?[0-9]{0,4}[kKmMbBx ]{0,2}") {
            prop_assert_eq!(parse(&text), parse_any(&text));
        }

        #[test]
        fn a_written_count_is_read_back(count in 0..=i64::MAX / 1000) {
            prop_assert_eq!(parse(&count.to_string()), Ok(count));
            prop_assert_eq!(parse(&format!("{count}k")), Ok(count * 1000));
            prop_assert_eq!(parse(&format!("{}.{:03}K", count / 1000, count % 1000)), Ok(count));
        }
    }
}

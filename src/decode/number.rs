//! Numbers: quick paths for how they are nearly always written, exact ones for the rest.

use super::fault::{Fault, Problem, Why};
use super::scan::{block_at, not_digits};

/// Powers of ten that a double holds exactly.
const EXACT: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Powers of ten as integers.
const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// What eight digits and their values differ by.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
const ZEROS_TWICE: u128 = u128::from_ne_bytes([b'0'; 16]);

/// The number that the first `count` digits in a word are, 1 to 8 of them.
#[inline(always)]
fn eight(bytes: u64, count: usize) -> u64 {
    // Digits to the high end, zeros before them; then pairs, then fours, then eight.
    let digits = bytes << (64 - 8 * count as u32);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let low = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// The integer that begins at `at` and where it ends, when it has at most eight digits, nothing but
/// digits, and is not near the end of the text.
#[inline(always)]
pub(super) fn short_integer(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let block = block_at::<16>(text, at)?;
    let sign = usize::from(block[0] == b'-');
    let end = (not_digits(block) & !(sign as u32)).trailing_zeros() as usize;
    let count = end.wrapping_sub(sign);
    if count == 0 || count > 8 || matches!(block[end], b'.' | b'e' | b'E') {
        return None;
    }
    if block[sign] == b'0' && count > 1 {
        return None; // a leading zero
    }
    let digits = u64::from_le_bytes(*block[sign..].first_chunk::<8>()?) ^ ZEROS;
    let number = eight(digits, count) as i64;
    Some((if sign == 1 { -number } else { number }, at + end))
}

/// The number that begins at `at` and where it ends, when it is written without exponent in fewer
/// than sixteen bytes and is not near the end of the text.
///
/// The result is the double nearest to the number: both the digits as an integer and the power of
/// ten are exact, so the one division rounds once.
#[inline(always)]
pub(super) fn short_double(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let block = block_at::<16>(text, at)?;
    let sign = usize::from(block[0] == b'-');
    let stops = not_digits(block) & !(sign as u32);
    let whole_end = stops.trailing_zeros() as usize;
    let has_point = whole_end < 16 && block[whole_end] == b'.';
    let end = if has_point {
        (stops & (stops - 1)).trailing_zeros() as usize
    } else {
        whole_end
    };
    let (whole, count) = (
        whole_end.wrapping_sub(sign),
        end.wrapping_sub(sign).wrapping_sub(usize::from(has_point)),
    );
    if end > 15 || whole == 0 || (has_point && count == whole) || block[end] | 0x20 == b'e' {
        return None;
    }
    if block[sign] == b'0' && whole > 1 {
        return None; // a leading zero
    }
    let mantissa = if end - sign <= 8 {
        let mut digits = u64::from_le_bytes(*block[sign..].first_chunk::<8>()?) ^ ZEROS;
        if has_point {
            let before_point = !(u64::MAX << (8 * whole as u32));
            digits = digits & before_point | digits >> 8 & !before_point;
        }
        eight(digits, count)
    } else {
        // The same with twice the bytes.
        let mut digits = (u128::from_le_bytes(*block) >> (8 * sign as u32)) ^ ZEROS_TWICE;
        if has_point {
            let before_point = !(u128::MAX << (8 * whole as u32));
            digits = digits & before_point | digits >> 8 & !before_point;
        }
        let (first, rest) = (count.min(8), count.saturating_sub(8));
        let high = eight(digits as u64, first) * POWERS[rest & 7];
        high + if rest == 0 {
            0
        } else {
            eight((digits >> 64) as u64, rest)
        }
    };
    // The sign of the integer, not of the double: zero has none.
    let mantissa = mantissa as i64;
    let mantissa = if sign == 1 { -mantissa } else { mantissa };
    Some((mantissa as f64 / EXACT[(count - whole) & 15], at + end))
}

/// Where the number that begins at `start` ends, by JSON's grammar.
pub(super) fn end(text: &[u8], start: usize) -> Result<usize, Box<Fault>> {
    let digits = |from: usize| {
        text[from.min(text.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut at = start + usize::from(text.get(start) == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 {
        return Fault::err(at, Why::Expected("a digit"));
    }
    if whole > 1 && text.get(at) == Some(&b'0') {
        return Fault::err(at, Why::Expected("a number without leading zeros"));
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let places = digits(at + 1);
        if places == 0 {
            return Fault::err(at + 1, Why::Expected("a digit after the point"));
        }
        at += 1 + places;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return Fault::err(at, Why::Expected("a digit in the exponent"));
        }
        at += exponent;
    }
    Ok(at)
}

/// The number written in the text of a string: blanks around it, a plus sign and leading zeros do
/// not matter.
pub(super) fn in_text(text: &str) -> Option<&[u8]> {
    let text = text.trim();
    let number = text.strip_prefix('+').unwrap_or(text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut strict = unsigned.as_bytes();
    while let [b'0', b'0'..=b'9', ..] = strict {
        strict = &strict[1..];
    }
    let is_number =
        strict.first().is_some_and(u8::is_ascii_digit) && end(strict, 0) == Ok(strict.len());
    is_number.then_some(number.as_bytes())
}

/// The value of a number when it is whole, however it is written.
///
/// `literal` is a JSON number, perhaps with leading zeros.
pub(super) fn whole(literal: &[u8]) -> Result<i64, Problem> {
    let (negative, unsigned) = match literal.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, literal),
    };
    let e = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = unsigned.split_at(e.unwrap_or(unsigned.len()));
    let point = mantissa
        .iter()
        .position(|&byte| byte == b'.')
        .unwrap_or(mantissa.len());
    let is_zero = |byte: &u8| matches!(byte, b'0' | b'.');
    let Some(first) = mantissa.iter().position(|byte| !is_zero(byte)) else {
        return Ok(0);
    };
    let last = mantissa
        .iter()
        .rposition(|byte| !is_zero(byte))
        .unwrap_or(first);
    // The significant digits, times ten to the power of `scale`.
    let scale = place(point, last).saturating_add(saturating(exponent));
    if scale < 0 {
        return Err(Problem::Fraction);
    }
    let digits = mantissa[first..=last].iter().filter(|&&byte| byte != b'.');
    if digits.clone().count() as i64 > 19_i64.saturating_sub(scale) {
        return Err(Problem::OutOfRange);
    }
    let number = digits.fold(0i128, |number, &digit| {
        number * 10 + i128::from(digit - b'0')
    }) * 10i128.pow(scale as u32);
    i64::try_from(if negative { -number } else { number }).map_err(|_| Problem::OutOfRange)
}

/// The power of ten of the digit at `index` when the point is at `point`.
fn place(point: usize, index: usize) -> i64 {
    let distance = point as i64 - index as i64;
    if index < point {
        distance - 1
    } else {
        distance
    }
}

/// The exponent from its `e` on; nothing is zero.
fn saturating(exponent: &[u8]) -> i64 {
    let Some((_, signed)) = exponent.split_first() else {
        return 0;
    };
    let digits = signed.iter().filter(|byte| byte.is_ascii_digit());
    // Far from overflow even when the length of the mantissa is added.
    let size = digits.fold(0i64, |size, &digit| {
        (size * 10 + i64::from(digit - b'0')).min(i64::MAX / 100)
    });
    if signed.first() == Some(&b'-') {
        -size
    } else {
        size
    }
}

/// The double nearest to a number, unless it is beyond all of them.
pub(super) fn double(literal: &[u8]) -> Result<f64, Problem> {
    let text = std::str::from_utf8(literal).map_err(|_| Problem::NotANumber)?;
    match text.parse::<f64>() {
        // Zero has no sign.
        Ok(number) if number.is_finite() => Ok(number + 0.0),
        Ok(_) => Err(Problem::OutOfRange),
        Err(_) => Err(Problem::NotANumber),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_follow_the_grammar_of_json() {
        for literal in ["0", "-0", "10", "1.5", "0.5", "1e5", "1E+5", "-1.25e-5"] {
            assert_eq!(
                end(format!("{literal},").as_bytes(), 0),
                Ok(literal.len()),
                "{literal}"
            );
        }
        for literal in ["", "-", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "+1"] {
            assert!(end(literal.as_bytes(), 0).is_err(), "{literal}");
        }
    }

    #[test]
    fn whole_numbers_are_exact_however_they_are_written() {
        for (literal, number) in [
            ("0", 0),
            ("-0.000e5", 0),
            ("12.0", 12),
            ("1.2e1", 12),
            ("1200e-2", 12),
            ("0.0012E4", 12),
            ("-12.00", -12),
            ("0e99999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
            ("9.223372036854775807e18", i64::MAX),
            ("007", 7),
        ] {
            assert_eq!(whole(literal.as_bytes()), Ok(number), "{literal}");
        }
        for literal in ["0.5", "12.01", "1e-1", "1e-99999999999999999999", "123e-4"] {
            assert_eq!(
                whole(literal.as_bytes()),
                Err(Problem::Fraction),
                "{literal}"
            );
        }
        for literal in [
            "9223372036854775808",
            "-9223372036854775809",
            "1e19",
            "1e99999999999999999999",
            "1e400",
        ] {
            assert_eq!(
                whole(literal.as_bytes()),
                Err(Problem::OutOfRange),
                "{literal}"
            );
        }
    }

    #[test]
    fn text_may_hold_a_number_with_blanks_around_it() {
        for text in ["12", " 12 ", "\u{a0}12\t", "+12", "0012"] {
            assert_eq!(in_text(text).map(whole), Some(Ok(12)), "{text:?}");
        }
        for text in ["0", "00", "-0", "0.0", "00.0"] {
            assert_eq!(in_text(text).map(whole), Some(Ok(0)), "{text:?}");
        }
        for text in [
            "", " ", "a", "1 2", "1,000", "0x10", "+-1", "--1", "NaN", "inf", "Infinity", ".5",
            "1.", "-", "+", "٣",
        ] {
            assert_eq!(in_text(text), None, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn quick_paths_agree_with_the_standard_library(literal in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?", after in "[,} \\]x]") {
            let text = format!("{literal}{after}        ");
            if let Some((number, end)) = short_integer(text.as_bytes(), 0) {
                prop_assert_eq!((number, end), (literal.parse::<i64>().unwrap(), literal.len()));
            }
            if let Some((number, end)) = short_double(text.as_bytes(), 0) {
                let expected = literal.parse::<f64>().unwrap() + 0.0;
                prop_assert_eq!((number.to_bits(), end), (expected.to_bits(), literal.len()));
            }
        }

        #[test]
        fn quick_paths_are_taken_for_usual_numbers(integer in -9_999_999i64..=9_999_999, latitude in -90_000_000i64..90_000_000) {
            let text = format!("{integer},                ");
            prop_assert_eq!(short_integer(text.as_bytes(), 0), Some((integer, integer.to_string().len())));
            let double = latitude as f64 / 1e6;
            let text = format!("{double},                ");
            prop_assert_eq!(short_double(text.as_bytes(), 0).map(|(number, _)| number), Some(double));
        }

        #[test]
        fn whole_numbers_agree_with_shifting_the_point(number in any::<i64>(), places in 0u32..25) {
            let literal = format!("{number}{}e-{places}", "0".repeat(places as usize));
            prop_assert_eq!(whole(literal.as_bytes()), Ok(number));
        }
    }
}

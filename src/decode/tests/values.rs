//! Which values a column takes, type by type.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use expect_test::{Expect, expect};

use super::*;

/// One column of the type; each value in a record of its own.
fn check_values(sql: &str, values: &[&str], expected: Expect) {
    let input: Vec<String> = values
        .iter()
        .map(|value| format!("{{\"x\":{value}}}"))
        .collect();
    let decoded = decode(
        &mut decoder(&format!("x {sql}")),
        input.join("\n").as_bytes(),
        0,
    );
    let mut out = String::new();
    let mut rows = decoded.offsets.iter().zip(0..).collect::<BTreeMap<_, _>>();
    for (offset, value) in values.iter().enumerate() {
        match rows.remove(&(offset as u64)) {
            Some(row) => writeln!(out, "{value} -> {}", cell(&decoded.rows, 0, row)).unwrap(),
            None => {
                let reject = decoded
                    .rejects
                    .iter()
                    .find(|reject| reject.offset == offset as u64)
                    .unwrap();
                writeln!(out, "{value} -> {}", reject.reason).unwrap();
            }
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn text_takes_any_value_as_it_was_written() {
    check_values(
        "TEXT",
        &[
            r#""a""#,
            r#""""#,
            "null",
            "1.50",
            "-0",
            "1e400",
            "true",
            "false",
            r#"{ "a": [1,  2] }"#,
            "[]",
            "nan",
        ],
        expect![[r#"
            "a" -> "a"
            "" -> ""
            null -> null
            1.50 -> "1.50"
            -0 -> "-0"
            1e400 -> "1e400"
            true -> "true"
            false -> "false"
            { "a": [1,  2] } -> "{ \"a\": [1,  2] }"
            [] -> "[]"
            nan -> not JSON: at byte 5 should be a value, not `n`; send one JSON object a line
        "#]],
    );
}

#[test]
fn bigint_takes_whole_numbers_however_they_are_written() {
    check_values(
        "BIGINT",
        &[
            "0",
            "-0",
            "12345678",
            "123456789",
            "-9223372036854775808",
            "12.0",
            "1.2e1",
            "1200E-2",
            r#""12""#,
            r#"" 12 ""#,
            r#""\u00a012\t""#,
            r#""+12.0""#,
            r#""007""#,
            "9223372036854775808",
            "12.5",
            r#""12.5""#,
            r#""abc""#,
            r#""""#,
            "true",
            "[1]",
            "01",
            "+1",
            "-",
            "1.",
            "0x1",
        ],
        expect![[r#"
            0 -> 0
            -0 -> 0
            12345678 -> 12345678
            123456789 -> 123456789
            -9223372036854775808 -> -9223372036854775808
            12.0 -> 12
            1.2e1 -> 12
            1200E-2 -> 12
            "12" -> 12
            " 12 " -> 12
            "\u00a012\t" -> 12
            "+12.0" -> 12
            "007" -> 7
            9223372036854775808 -> column `x` is BIGINT and cannot hold 9223372036854775808 (byte 5): it is out of range; send a smaller number, or declare a wider type or TEXT
            12.5 -> column `x` is BIGINT and cannot hold 12.5 (byte 5): it is not a whole number; send one, or declare the column DOUBLE
            "12.5" -> column `x` is BIGINT and cannot hold "12.5" (byte 5): it is not a whole number; send one, or declare the column DOUBLE
            "abc" -> column `x` is BIGINT and cannot hold "abc" (byte 5): it is not a number; send a number, or declare the column TEXT
            "" -> column `x` is BIGINT and cannot hold "" (byte 5): it is not a number; send a number, or declare the column TEXT
            true -> column `x` is BIGINT and cannot hold true (byte 5): it is not a number; send a number, or declare the column TEXT
            [1] -> column `x` is BIGINT and cannot hold [1] (byte 5): it is not a number; send a number, or declare the column TEXT
            01 -> not JSON: at byte 5 should be a number without leading zeros, not `0`; send one JSON object a line
            +1 -> not JSON: at byte 5 should be a value, not `+`; send one JSON object a line
            - -> not JSON: at byte 6 should be a digit, not `}`; send one JSON object a line
            1. -> not JSON: at byte 7 should be a digit after the point, not `}`; send one JSON object a line
            0x1 -> not JSON: at byte 6 should be `,` or `}` after a value, not `x`; send one JSON object a line
        "#]],
    );
}

#[test]
fn int_is_bigint_with_less_range() {
    check_values(
        "INT",
        &[
            "2147483647",
            "-2147483648",
            "2147483648",
            r#""-2147483649""#,
            "99999999",
        ],
        expect![[r#"
            2147483647 -> 2147483647
            -2147483648 -> -2147483648
            2147483648 -> column `x` is INT and cannot hold 2147483648 (byte 5): it is out of range; send a smaller number, or declare a wider type or TEXT
            "-2147483649" -> column `x` is INT and cannot hold "-2147483649" (byte 5): it is out of range; send a smaller number, or declare a wider type or TEXT
            99999999 -> 99999999
        "#]],
    );
}

#[test]
fn double_takes_every_number_in_range() {
    check_values(
        "DOUBLE",
        &[
            "-89.9787",
            "8.65953",
            "0",
            "-0.0",
            "12",
            "1e3",
            "0.1",
            "123456789.123456789",
            "5e-324",
            "1e-400",
            "1.7976931348623157e308",
            r#""-89.9787 ""#,
            "1e400",
            r#""NaN""#,
            r#""inf""#,
            r#""1,5""#,
        ],
        expect![[r#"
            -89.9787 -> -89.9787
            8.65953 -> 8.65953
            0 -> 0.0
            -0.0 -> 0.0
            12 -> 12.0
            1e3 -> 1000.0
            0.1 -> 0.1
            123456789.123456789 -> 123456789.12345679
            5e-324 -> 5e-324
            1e-400 -> 0.0
            1.7976931348623157e308 -> 1.7976931348623157e308
            "-89.9787 " -> -89.9787
            1e400 -> column `x` is DOUBLE and cannot hold 1e400 (byte 5): it is out of range; send a smaller number, or declare a wider type or TEXT
            "NaN" -> column `x` is DOUBLE and cannot hold "NaN" (byte 5): it is not a number; send a number, or declare the column TEXT
            "inf" -> column `x` is DOUBLE and cannot hold "inf" (byte 5): it is not a number; send a number, or declare the column TEXT
            "1,5" -> column `x` is DOUBLE and cannot hold "1,5" (byte 5): it is not a number; send a number, or declare the column TEXT
        "#]],
    );
}

#[test]
fn boolean_takes_true_and_false() {
    check_values(
        "BOOLEAN",
        &[
            "true",
            "false",
            r#""true""#,
            r#"" false ""#,
            "null",
            "1",
            r#""True""#,
            "tru",
        ],
        expect![[r#"
            true -> true
            false -> false
            "true" -> true
            " false " -> false
            null -> null
            1 -> column `x` is BOOLEAN and cannot hold 1 (byte 5): it is neither true nor false; send one of them, or declare the column TEXT
            "True" -> column `x` is BOOLEAN and cannot hold "True" (byte 5): it is neither true nor false; send one of them, or declare the column TEXT
            tru -> not JSON: at byte 5 should be a value, not `t`; send one JSON object a line
        "#]],
    );
}

#[test]
fn timestamp_and_date_take_the_forms_in_use() {
    check_values(
        "TIMESTAMP",
        &[
            r#""2020-08-28 03:52:47""#,
            r#""2020-08-28T03:52:47.5+02:00""#,
            r#""2020-08-28 03:52:47\n""#,
            r#""yesterday""#,
            "1598586767",
        ],
        expect![[r#"
            "2020-08-28 03:52:47" -> 2020-08-28T03:52:47
            "2020-08-28T03:52:47.5+02:00" -> 2020-08-28T01:52:47.500
            "2020-08-28 03:52:47\n" -> 2020-08-28T03:52:47
            "yesterday" -> column `x` is TIMESTAMP and cannot hold "yesterday" (byte 5): it is not a date of the form 2020-08-28 03:52:47; send one, or declare the column TEXT
            1598586767 -> column `x` is TIMESTAMP and cannot hold 1598586767 (byte 5): it is not a date of the form 2020-08-28 03:52:47; send one, or declare the column TEXT
        "#]],
    );
    check_values(
        "DATE",
        &[r#""2020-08-28""#, r#""03/02/2024""#, r#""2020-02-30""#],
        expect![[r#"
            "2020-08-28" -> 2020-08-28
            "03/02/2024" -> column `x` is DATE and cannot hold "03/02/2024" (byte 5): whether its day or its month comes first is not declared; send 2020-08-28, or declare the column TEXT and read it in the table with parse_timestamp(column, 'DMY') or 'MDY', or to_date(column, '%d/%m/%Y')
            "2020-02-30" -> column `x` is DATE and cannot hold "2020-02-30" (byte 5): it is not a date of the form 2020-08-28 03:52:47; send one, or declare the column TEXT
        "#]],
    );
}

#[test]
fn lists_take_arrays_whose_elements_fit() {
    check_values(
        "DOUBLE[]",
        &[
            "[]",
            "[1]",
            "[ -89.9787 , \"8.65953\" ]",
            "[1,null]",
            "null",
            "[1,\"x\"]",
            "1",
            "\"[1]\"",
            "[1,]",
            "[1 2]",
            "[1",
        ],
        expect![[r#"
            [] -> []
            [1] -> [1.0]
            [ -89.9787 , "8.65953" ] -> [-89.9787, 8.65953]
            [1,null] -> [1.0, ]
            null -> null
            [1,"x"] -> column `x` is DOUBLE[] and cannot hold "x" in element 1 (byte 8): it is not a number; send a number, or declare the column TEXT
            1 -> column `x` is DOUBLE[] and cannot hold 1 (byte 5): it is not an array; send one, or declare the column TEXT
            "[1]" -> column `x` is DOUBLE[] and cannot hold "[1]" (byte 5): it is not an array; send one, or declare the column TEXT
            [1,] -> not JSON: at byte 8 should be a value, not `]`; send one JSON object a line
            [1 2] -> not JSON: at byte 8 should be `,` or `]` after a value, not `2`; send one JSON object a line
            [1 -> not JSON: at byte 7 should be `,` or `]` after a value, not `}`; send one JSON object a line
        "#]],
    );
    check_values(
        "TEXT[]",
        &[
            r#"["a","long enough to be pointed to","esc\u0061ped, and long enough"]"#,
            r#"[1,true,null,{"a":[]}]"#,
        ],
        expect![[r#"
            ["a","long enough to be pointed to","esc\u0061ped, and long enough"] -> [a, long enough to be pointed to, escaped, and long enough]
            [1,true,null,{"a":[]}] -> [1, true, , {"a":[]}]
        "#]],
    );
}

#[test]
fn escapes_are_resolved_in_short_and_long_text() {
    check_values(
        "TEXT",
        &[
            r#""\"\\\/\b\f\n\r\t""#,
            r#""caf\u00e9 \u2026\u00a0 \ud83d\ude00 and so on""#,
            r#""\u0000""#,
            r#""\ud83d""#,
            r#""\ude00\ud83d""#,
            r#""\x""#,
            r#""\u12G4""#,
            "\"a\tb\"",
            "\"\u{7f}é\u{2028}\"",
        ],
        expect![[r#"
            "\"\\\/\b\f\n\r\t" -> "\"\\/\u{8}\u{c}\n\r\t"
            "caf\u00e9 \u2026\u00a0 \ud83d\ude00 and so on" -> "café …\u{a0} 😀 and so on"
            "\u0000" -> "\0"
            "\ud83d" -> not Unicode: the escape at byte 6, `\ud83d`, is half of a surrogate pair; write both halves, or the character itself
            "\ude00\ud83d" -> not Unicode: the escape at byte 6, `\ude00`, is half of a surrogate pair; write both halves, or the character itself
            "\x" -> not JSON: no such escape at byte 6, `\x"}`; escapes are \" \\ \/ \b \f \n \r \t and \u with four hexadecimal digits
            "\u12G4" -> not JSON: no such escape at byte 6, `\u12G4`; escapes are \" \\ \/ \b \f \n \r \t and \u with four hexadecimal digits
            "a	b" -> not JSON: a raw control byte 0x09 at byte 7, within a string; write it as an escape
            "é " -> "\u{7f}é\u{2028}"
        "#]],
    );
}

#[test]
fn a_reason_shows_sixty_characters_of_a_value() {
    let record = format!("{{\"x\":\"{}\"}}", "é".repeat(1_000));
    let decoded = decode(&mut decoder("x INT"), record.as_bytes(), 0);
    let shown = format!("cannot hold \"{}… (byte 5)", "é".repeat(59));
    assert!(
        decoded.rejects[0].reason.contains(&shown),
        "{}",
        decoded.rejects[0].reason
    );
}

#[test]
fn text_without_escapes_is_not_copied() {
    let input = Bytes::from_static(b"{\"title\":\"this text stays where it is\"}\n[{\"title\":\"and this, in an array\"}]\n{\"title\":\"this one is m\\u006fved\"}");
    let decoded = decoder("title TEXT").decode(&input, 0);
    let titles = decoded.rows.column(0).as_string_view();
    let chunk = input.as_ptr_range();
    let is_in_chunk = |row: usize| chunk.contains(&titles.value(row).as_ptr());
    assert_eq!(
        [is_in_chunk(0), is_in_chunk(1), is_in_chunk(2)],
        [true, true, false]
    );
    assert_eq!(titles.value(2), "this one is moved");
}

#[test]
fn a_type_that_json_is_not_decoded_into_is_refused() {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]));
    expect!["column `x` is declared as Utf8, which JSON records are not decoded into; declare it as TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DOUBLE[] or TEXT[] and cast it in the table's SELECT"]
        .assert_eq(&Decoder::new(schema).err().unwrap().to_string());
}

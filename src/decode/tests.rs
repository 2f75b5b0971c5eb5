//! The module's rules, one test each; then the same against `serde_json` on records that nobody would write.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::decoder::{PIECE, Width};
use super::*;

/// `name TYPE [NOT NULL], ...`
fn schema(columns: &str) -> SchemaRef {
    let list = |element| DataType::List(Arc::new(Field::new_list_field(element, true)));
    let field = |column: &str| {
        let (name, sql) = column.trim().split_once(' ').unwrap();
        let data_type = match sql.trim_end_matches(" NOT NULL") {
            "TEXT" => DataType::Utf8View,
            "BIGINT" => DataType::Int64,
            "INT" => DataType::Int32,
            "DOUBLE" => DataType::Float64,
            "BOOLEAN" => DataType::Boolean,
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "DATE" => DataType::Date32,
            "DOUBLE[]" => list(DataType::Float64),
            "TEXT[]" => list(DataType::Utf8View),
            other => panic!("no type {other}"),
        };
        Field::new(name, data_type, !sql.ends_with("NOT NULL"))
    };
    Arc::new(Schema::new(columns.split(',').map(field).collect::<Vec<_>>()))
}

fn decoder(columns: &str) -> Decoder {
    Decoder::new(schema(columns)).unwrap()
}

/// Decodes and makes sure that Arrow finds nothing wrong with the rows.
fn decode(decoder: &mut Decoder, input: &[u8], first_offset: u64) -> Decoded {
    let decoded = decoder.decode(&Bytes::copy_from_slice(input), first_offset);
    for column in decoded.rows.columns() {
        column.to_data().validate_full().unwrap();
    }
    assert_eq!(decoded.offsets.len(), decoded.rows.num_rows());
    assert_eq!(decoded.records, count_records(input));
    decoded
}

fn cell(rows: &RecordBatch, column: usize, row: usize) -> String {
    let column = rows.column(column);
    if column.is_null(row) {
        "null".to_owned()
    } else {
        let value = array_value_to_string(column, row).unwrap();
        if *column.data_type() == DataType::Utf8View { format!("{value:?}") } else { value }
    }
}

/// Each row as `offset: values`, then each reject as `offset! bytes` with its reason below.
fn show(decoded: &Decoded) -> String {
    let mut out = String::new();
    for (row, offset) in decoded.offsets.iter().enumerate() {
        let values = (0..decoded.rows.num_columns()).map(|column| cell(&decoded.rows, column, row));
        writeln!(out, "{offset}: {}", values.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    for Reject { offset, record, reason } in &decoded.rejects {
        writeln!(out, "{offset}! {}\n   {reason}", String::from_utf8_lossy(record)).unwrap();
    }
    out
}

fn check(columns: &str, input: &str, expected: Expect) {
    expected.assert_eq(&show(&decode(&mut decoder(columns), input.as_bytes(), 0)));
}

const PIN: &str = "index BIGINT, title TEXT";

// Records

#[test]
fn a_line_is_a_record_and_an_object_is_a_row() {
    check(
        PIN,
        "{\"index\":7,\"title\":\"Meet the illustrator\"}\n{\"index\":8,\"title\":\"Art\"}\n",
        expect![[r#"
            0: 7 | "Meet the illustrator"
            1: 8 | "Art"
        "#]],
    );
}

#[test]
fn the_last_newline_may_be_missing_and_blanks_do_not_matter() {
    check(
        PIN,
        "  { \"index\" :\t7 , \"title\" : \"a\" } \r\n{\"title\": \"b\", \"index\": 8}\r\n{ }",
        expect![[r#"
            0: 7 | "a"
            1: 8 | "b"
            2: null | null
        "#]],
    );
}

#[test]
fn a_blank_line_is_no_record_but_has_an_offset() {
    check(
        PIN,
        "\n{\"index\":1}\n \t\r\n\r\n{\"index\":4}\n\n",
        expect![[r#"
            1: 1 | null
            4: 4 | null
        "#]],
    );
    assert_eq!(decode(&mut decoder(PIN), b"", 5).records, 0);
}

#[test]
fn offsets_count_from_the_first() {
    let decoded = decode(&mut decoder(PIN), b"{}\n[{},{}]\nx\n{}", 1 << 40);
    let first = 1 << 40;
    assert_eq!(decoded.offsets.iter().collect::<Vec<_>>(), [first, first + 1, first + 1, first + 3]);
    assert_eq!(decoded.rejects[0].offset, first + 2);
}

#[test]
fn several_objects_on_a_line_are_rows_of_one_record() {
    check(
        PIN,
        "{\"index\":1}{\"index\":2} {\"index\":3}\n[{\"index\":4}, {\"index\":5}]\n [ {\"index\":6} ] \n[{\"index\":7}][{\"index\":8}]{\"index\":9}",
        expect![[r#"
            0: 1 | null
            0: 2 | null
            0: 3 | null
            1: 4 | null
            1: 5 | null
            2: 6 | null
            3: 7 | null
            3: 8 | null
            3: 9 | null
        "#]],
    );
}

#[test]
fn one_object_that_does_not_fit_is_rejected_and_its_neighbours_go_through() {
    check(
        PIN,
        "{\"index\":1}{\"index\":\"x\"}{\"index\":3}\n[{\"index\":4},{\"index\":1.5},7,null,{\"index\":6}]",
        expect![[r#"
            0: 1 | null
            0: 3 | null
            1: 4 | null
            1: 6 | null
            0! {"index":"x"}
               column `index` is BIGINT and cannot hold "x" (byte 9): it is not a number; send a number, or declare the column TEXT
            1! {"index":1.5}
               column `index` is BIGINT and cannot hold 1.5 (byte 9): it is not a whole number; send one, or declare the column DOUBLE
            1! 7
               not an object: 7 at byte 0 names no columns; send a JSON object
            1! null
               not an object: null at byte 0 names no columns; send a JSON object
        "#]],
    );
}

#[test]
fn where_json_ends_the_rest_of_the_line_is_rejected() {
    check(
        PIN,
        "{\"index\":1}{\"index\":2,}{\"index\":3}\n[{\"index\":4},{\"index\":5}\n[{\"index\":6},{\"inde\n{\"index\":7}",
        expect![[r#"
            0: 1 | null
            1: 4 | null
            2: 6 | null
            3: 7 | null
            0! {"index":2,}{"index":3}
               not JSON: at byte 11 should be a key in double quotes, not `}`; send one JSON object a line
            1! {"index":5}
               not JSON: the record ends at byte 11 where `,` or `]` after an object of an array should be; send it whole, on one line
            2! {"inde
               not JSON: the string that begins at byte 1 never ends; send the record whole, on one line
        "#]],
    );
}

#[test]
fn an_object_with_garbage_behind_it_is_no_row() {
    check(
        PIN,
        "{\"index\":1}x\n{\"index\":2},{\"index\":3}\n{\"index\":4}{\"index\":5}]\n[{\"index\":6}]}\n{\"index\":7} 8",
        expect![[r#"
            2: 4 | null
            0! {"index":1}x
               not JSON: `x` at byte 11 follows a complete value; send one JSON object a line
            1! {"index":2},{"index":3}
               not JSON: `,{"index":3}` at byte 11 follows a complete value; send one JSON object a line
            2! {"index":5}]
               not JSON: `]` at byte 11 follows a complete value; send one JSON object a line
            3! [{"index":6}]}
               not JSON: `}` at byte 13 follows a complete value; send one JSON object a line
            4! {"index":7} 8
               not JSON: `8` at byte 12 follows a complete value; send one JSON object a line
        "#]],
    );
}

#[test]
fn a_record_that_holds_no_object_is_rejected() {
    check(
        PIN,
        "7\nnull\n[]\n\"text\"\nNaN\n[[{}]]\n\u{feff}{}",
        expect![[r#"
            0! 7
               not an object: 7 at byte 0 names no columns; send a JSON object
            1! null
               not an object: null at byte 0 names no columns; send a JSON object
            2! []
               an empty array at byte 0 holds no row; leave the record out, or put its objects in
            3! "text"
               not an object: the string "text" at byte 0 holds neither a JSON object nor the base64 of one; send the object itself
            4! NaN
               not JSON: at byte 0 should be a value, not `N`; send one JSON object a line
            5! [[{}]]
               not an object: [{}] at byte 1 names no columns; send a JSON object
            6! ﻿{}
               not JSON: at byte 0 should be a value, not `\u{feff}`; send one JSON object a line
        "#]],
    );
}

#[test]
fn a_truncated_record_is_rejected_wherever_it_ends() {
    let whole = r#"{"index": 12, "title": "a\"\u00e9 long enough", "x": [1, {"y": null}], "z": true}"#;
    let mut pin = decoder(PIN);
    for end in 1..whole.len() {
        let input = format!("{whole}\n{}\n{whole}\n", &whole[..end]);
        let decoded = decode(&mut pin, input.as_bytes(), 0);
        assert_eq!((decoded.rows.num_rows(), decoded.rejects.len()), (2, 1), "cut at {end}");
        assert_eq!(decoded.rejects[0].record, whole[..end]);
    }
}

#[test]
fn a_record_with_endless_faults_is_given_up() {
    let decoded = decode(&mut decoder(PIN), format!("[{}1]\n{{}}", "1,".repeat(5_000)).as_bytes(), 0);
    assert_eq!((decoded.rows.num_rows(), decoded.rejects.len()), (1, 1_001));
    expect!["the rest of the record, from byte 0, was not read because too many of its parts before it failed; send one JSON object a line"]
        .assert_eq(&decoded.rejects[1_000].reason);
    assert_eq!(decoded.rejects[1_000].record.len(), 8_002);
}

#[test]
fn bytes_that_are_not_utf8_reject_their_record_alone() {
    let mut input = b"{\"title\":\"before\"}\n{\"title\":\"a\xff\"}\n\n{\"title\":\"\xc3\"}\n[{\"title\":\"after, long enough\"},{}]".to_vec();
    let decoded = decode(&mut decoder(PIN), &input, 0);
    expect![[r#"
        0: null | "before"
        4: null | "after, long enough"
        4: null | null
        1! {"title":"a�"}
           not UTF-8: the byte 0xFF at byte 11 is no character; encode the record as UTF-8
        3! {"title":"�"}
           not UTF-8: the byte 0xC3 at byte 10 is no character; encode the record as UTF-8
    "#]]
    .assert_eq(&show(&decoded));

    input.truncate(34);
    assert_eq!(decode(&mut decoder("x TEXT"), &input, 0).rejects.len(), 1, "also in a key that no column wants");
}

// Strings that hold records

#[test]
fn a_record_in_a_string_is_unwrapped_once() {
    let twice = serde_json::to_string(&serde_json::to_string(r#"{"index":9}"#).unwrap()).unwrap();
    let input = [
        r#""{\"index\":1,\"title\":\"say \\\"hi\\\" to everyone\"}""#,
        r#" "[{\"index\":2,\"title\":\"no longer in the chunk\"}, {\"index\":3}]" "#,
        r#""\n{\n \"index\": 4\n}\n{\"index\":5}""#,
        r#""eyJpbmRleCI6NiwidGl0bGUiOiJhcyBiYXNlNjQgdGV4dCJ9""#,
        r#""{\"index\":7}""{\"index\":8}""#,
        &twice,
        r#""{\"index\":10} x""#,
        r#""{\"index\":\"x\"}{\"index\":11}""#,
        r#""{\"index\":12}" x"#,
        r#""{\"index\":13,\"title\":\"\\ud800\"}""#,
        r#""\ud800""#,
        r#""""#,
        r#"["{\"index\":14}"]"#,
    ];
    check(
        PIN,
        &input.join("\n"),
        expect![[r#"
            0: 1 | "say \"hi\" to everyone"
            1: 2 | "no longer in the chunk"
            1: 3 | null
            2: 4 | null
            2: 5 | null
            3: 6 | "as base64 text"
            4: 7 | null
            4: 8 | null
            7: 11 | null
            8: 12 | null
            5! "\"{\\\"index\\\":9}\""
               not an object: the string "\"{\\\"index\\\":9}\"" at byte 0 holds neither a JSON object nor the base64 of one; send the object itself
            6! "{\"index\":10} x"
               not JSON: `x` at byte 13 follows a complete value; send one JSON object a line (bytes are counted in the JSON text inside the string)
            7! "{\"index\":\"x\"}{\"index\":11}"
               column `index` is BIGINT and cannot hold "x" (byte 9): it is not a number; send a number, or declare the column TEXT (bytes are counted in the JSON text inside the string)
            8!  x
               not JSON: `x` at byte 1 follows a complete value; send one JSON object a line
            9! "{\"index\":13,\"title\":\"\\ud800\"}"
               not Unicode: the escape at byte 21, `\ud800`, is half of a surrogate pair; write both halves, or the character itself (bytes are counted in the JSON text inside the string)
            10! "\ud800"
               not Unicode: the escape at byte 1, `\ud800`, is half of a surrogate pair; write both halves, or the character itself
            11! ""
               not an object: the string "" at byte 0 holds neither a JSON object nor the base64 of one; send the object itself
            12! ["{\"index\":14}"]
               not an object: "{\"index\":14}" at byte 1 names no columns; send a JSON object
        "#]],
    );
}

// Keys

#[test]
fn keys_match_exactly_and_unknown_ones_are_ignored() {
    check(
        PIN,
        r#"{"Index":1,"img_src":null,"title ":"x","":0,"deep":{"index":[2,{"index":3}]},"title":"y"}"#,
        expect![[r#"
            0: null | "y"
        "#]],
    );
    check(
        PIN,
        r#"{"\u0069ndex":1,"t\u0069tle":"escapes in keys","\ud83d\ude00":1}"#,
        expect![[r#"
            0: 1 | "escapes in keys"
        "#]],
    );
}

#[test]
fn null_is_as_good_as_missing_and_the_last_of_equal_keys_counts() {
    check(
        "index BIGINT, title TEXT, tags TEXT[]",
        concat!(
            r#"{"index":null,"title":null,"tags":null}"#, "\n",
            r#"{"index":1,"title":"long enough to be pointed to","tags":["a","b"],"tags":["c"],"title":"b","index":2}"#, "\n",
            r#"{"index":1,"title":"a","tags":["a"],"tags":null,"title":null,"index":null}"#, "\n",
            r#"{"tags":["d"]}"#,
        ),
        expect![[r#"
            0: null | null | null
            1: 2 | "b" | [c]
            2: null | null | null
            3: null | null | [d]
        "#]],
    );
}

#[test]
fn a_column_that_must_not_be_null_rejects_records_without_it() {
    check(
        "index BIGINT NOT NULL, title TEXT",
        "{\"title\":\"a\"}\n{\"index\":1}\n{\"index\":null}",
        expect![[r#"
            1: 1 | null
            0! {"title":"a"}
               column `index` is BIGINT NOT NULL, and the record has no value for it; send one, or declare the column without NOT NULL
            2! {"index":null}
               column `index` is BIGINT NOT NULL, and the record has no value for it; send one, or declare the column without NOT NULL
        "#]],
    );
}

// Columns

/// One column of the type; each value in a record of its own.
fn check_values(sql: &str, values: &[&str], expected: Expect) {
    let input: Vec<String> = values.iter().map(|value| format!("{{\"x\":{value}}}")).collect();
    let decoded = decode(&mut decoder(&format!("x {sql}")), input.join("\n").as_bytes(), 0);
    let mut out = String::new();
    let mut rows = decoded.offsets.iter().zip(0..).collect::<BTreeMap<_, _>>();
    for (offset, value) in values.iter().enumerate() {
        match rows.remove(&(offset as u64)) {
            Some(row) => writeln!(out, "{value} -> {}", cell(&decoded.rows, 0, row)).unwrap(),
            None => {
                let reject = decoded.rejects.iter().find(|reject| reject.offset == offset as u64).unwrap();
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
        &[r#""a""#, r#""""#, "null", "1.50", "-0", "1e400", "true", "false", r#"{ "a": [1,  2] }"#, "[]", "nan"],
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
            "0", "-0", "12345678", "123456789", "-9223372036854775808", "12.0", "1.2e1", "1200E-2", r#""12""#, r#"" 12 ""#, r#""\u00a012\t""#, r#""+12.0""#,
            r#""007""#, "9223372036854775808", "12.5", r#""12.5""#, r#""abc""#, r#""""#, "true", "[1]", "01", "+1", "-", "1.", "0x1",
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
        &["2147483647", "-2147483648", "2147483648", r#""-2147483649""#, "99999999"],
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
            "-89.9787", "8.65953", "0", "-0.0", "12", "1e3", "0.1", "123456789.123456789", "5e-324", "1e-400", "1.7976931348623157e308", r#""-89.9787 ""#, "1e400", r#""NaN""#,
            r#""inf""#, r#""1,5""#,
        ],
        expect![[r#"
            -89.9787 -> -89.9787
            8.65953 -> 8.65953
            0 -> 0.0
            -0.0 -> -0.0
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
        &["true", "false", r#""true""#, r#"" false ""#, "null", "1", r#""True""#, "tru"],
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
        &[r#""2020-08-28 03:52:47""#, r#""2020-08-28T03:52:47.5+02:00""#, r#""2020-08-28 03:52:47\n""#, r#""yesterday""#, "1598586767"],
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
        &[r#""2020-08-28""#, r#""08/28/2020, 03:52:47""#, r#""2020-02-30""#],
        expect![[r#"
            "2020-08-28" -> 2020-08-28
            "08/28/2020, 03:52:47" -> 2020-08-28
            "2020-02-30" -> column `x` is DATE and cannot hold "2020-02-30" (byte 5): it is not a date of the form 2020-08-28 03:52:47; send one, or declare the column TEXT
        "#]],
    );
}

#[test]
fn lists_take_arrays_whose_elements_fit() {
    check_values(
        "DOUBLE[]",
        &["[]", "[1]", "[ -89.9787 , \"8.65953\" ]", "[1,null]", "null", "[1,\"x\"]", "1", "\"[1]\"", "[1,]", "[1 2]", "[1"],
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
        &[r#"["a","long enough to be pointed to","esc\u0061ped, and long enough"]"#, r#"[1,true,null,{"a":[]}]"#],
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
            r#""\"\\\/\b\f\n\r\t""#, r#""caf\u00e9 \u2026\u00a0 \ud83d\ude00 and so on""#, r#""\u0000""#, r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\x""#, r#""\u12G4""#, "\"a\tb\"",
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
            "é
" -> "\u{7f}é\u{2028}"
        "#]],
    );
}

#[test]
fn a_reason_shows_sixty_characters_of_a_value() {
    check_values(
        "INT",
        &[&format!("\"{}\"", "…".repeat(1_000))],
        expect![[""]],
    );
}

#[test]
fn text_without_escapes_is_not_copied() {
    let input = Bytes::from_static(b"{\"title\":\"this text stays where it is\"}\n[{\"title\":\"and this, in an array\"}]\n{\"title\":\"this one is m\\u006fved\"}");
    let decoded = decoder("title TEXT").decode(&input, 0);
    let titles = decoded.rows.column(0).as_string_view();
    let chunk = input.as_ptr_range();
    let is_in_chunk = |row: usize| chunk.contains(&titles.value(row).as_ptr());
    assert_eq!([is_in_chunk(0), is_in_chunk(1), is_in_chunk(2)], [true, true, false]);
    assert_eq!(titles.value(2), "this one is moved");
}

#[test]
fn nothing_of_a_failed_record_stays_behind() {
    check(
        "a TEXT, tags TEXT[], index BIGINT",
        concat!(
            r#"{"a":"escaped \n and long enough","tags":["x\n long enough for the side"],"index":"x"}"#, "\n",
            r#"{"index":1}"#, "\n",
            r#"{"a":"another \n, also long enough","tags":["y"],"index":2}{"a":"third \n, also long enough","tags":["z"],"index":3},"#, "\n",
            r#"{"index":4}"#,
        ),
        expect![[r#"
            1: null | null | 1
            2: "another \n, also long enough" | [y] | 2
            3: null | null | 4
            0! {"a":"escaped \n and long enough","tags":["x\n long enough for the side"],"index":"x"}
               column `index` is BIGINT and cannot hold "x" (byte 82): it is not a number; send a number, or declare the column TEXT
            2! {"a":"third \n, also long enough","tags":["z"],"index":3},
               not JSON: `,` at byte 56 follows a complete value; send one JSON object a line
        "#]],
    );
}

#[test]
fn a_type_that_json_is_not_decoded_into_is_refused() {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]));
    expect!["column `x` is declared as Utf8, which JSON records are not decoded into; declare it as TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DOUBLE[] or TEXT[] and cast it in the table's SELECT"]
        .assert_eq(&Decoder::new(schema).err().unwrap().to_string());
}

#[test]
fn no_columns_are_still_rows() {
    let mut decoder = Decoder::new(Arc::new(Schema::empty())).unwrap();
    let decoded = decode(&mut decoder, b"{}\n{\"a\":1}\nx", 0);
    assert_eq!((decoded.rows.num_rows(), decoded.rejects.len()), (2, 1));
}

#[test]
fn many_columns_and_many_unknown_keys_are_no_trouble() {
    let columns: Vec<String> = (0..200).map(|index| format!("c{index} BIGINT")).collect();
    let mut decoder = decoder(&columns.join(","));
    for turn in 0..3 {
        let fields: Vec<String> = (0..1_000).map(|index| format!("\"c{0}\":{0}", (index * 7 + turn) % 1_000)).collect();
        let decoded = decode(&mut decoder, format!("{{{}}}", fields.join(",")).as_bytes(), 0);
        for column in 0..200 {
            assert_eq!(decoded.rows.column(column).as_primitive::<Int64Type>().value(0), column as i64);
        }
    }
}

// Against an oracle

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
            .pick(&["0", "-0", "1e3", "12.0", "1E-2", "-1.5e+10", "12345678", "123456789012345678", "99999999999999999999", "0.1234567890123456789", "1e400", "01", "1.", ".5", "+1", "NaN"])
            .into(),
        6 => dice.pick(&[r#""12""#, r#"" -7 ""#, r#""1.5""#, r#""true""#, r#""""#, r#""abc""#, r#""1e2""#]).into(),
        7..=11 => {
            let mut text = String::from("\"");
            for _ in 0..dice.below(8).pow(2) {
                text.push_str(dice.pick(&[
                    "a", "b c", "long words here ", "é", "日本", "😀", "\\n", "\\\"", "\\\\", "\\/", "\\u00e9", "\\ud83d\\ude00", "{", "}", "[", ",", ":", "x", "y", "z", "0",
                ]));
            }
            if dice.one_in(60) {
                text.push_str(dice.pick(&["\\ud83d", "\\q", "\\u12", "\t", "\\ude00x", "\u{1}"]));
            }
            text + "\""
        }
        12 => {
            let elements: Vec<String> = (0..dice.below(4)).map(|_| value(dice, depth + 1)).collect();
            format!("[{}]", elements.join(dice.pick(&[",", ", "])))
        }
        _ => object(dice, depth + 1),
    }
}

fn object(dice: &mut Dice, depth: usize) -> String {
    let (comma, colon) = (dice.pick(&[",", ", ", " ,\t"]), dice.pick(&[":", ": ", " : "]));
    let mut names = vec!["text", "big", "small", "double", "flag", "other"];
    if dice.one_in(3) {
        for _ in 0..3 {
            let (one, two) = (dice.below(names.len()), dice.below(names.len()));
            names.swap(one, two);
        }
        names.insert(dice.below(names.len()), dice.pick(&["text", "Big", "x", "a key that is far too long to be guessed", "t\\u0065xt", "é"]));
        names.truncate(dice.below(names.len() + 1));
    }
    let fields: Vec<String> = names.iter().map(|name| {
        let value = match *name {
            // Mostly what fits, so that whole records go through.
            "big" | "small" if !dice.one_in(12) => dice.below(100_000_000).to_string(),
            "double" if !dice.one_in(12) => format!("-{}.{}", dice.below(180), dice.below(10_000)),
            "flag" if !dice.one_in(12) => dice.pick(&["true", "false", "null"]).into(),
            _ => value(dice, depth),
        };
        format!("\"{name}\"{colon}{value}")
    }).collect();
    format!("{{{}}}", fields.join(comma))
}

/// Lines of records, some of them damaged.
fn lines(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed | 1);
    let mut bytes = Vec::new();
    for _ in 0..dice.below(12) {
        let mut line = match dice.below(12) {
            0 => format!("[{}]", (0..dice.below(4)).map(|_| object(&mut dice, 0)).collect::<Vec<_>>().join(",")),
            1 => (0..dice.below(4)).map(|_| object(&mut dice, 0)).collect::<String>(),
            2 => serde_json::to_string(&object(&mut dice, 0)).unwrap(),
            3 => value(&mut dice, 0),
            _ => object(&mut dice, 0),
        }
        .into_bytes();
        if dice.one_in(4) {
            for _ in 0..=dice.below(2) {
                let at = dice.below(line.len() + 1);
                let byte = *dice.pick(&["{", "}", "[", "]", "\"", "\\", ",", ":", "0", "9", "-", ".", "e", " ", "\r", "x", "\u{1}", "\u{7f}"]).as_bytes().first().unwrap();
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
        bytes.extend(dice.pick(&["\n", "\n", "\n", "\r\n", " \n", "\n\n"]).as_bytes());
    }
    if dice.one_in(2) {
        bytes.pop();
    }
    bytes
}

/// What a line must become: rows in order (`None` where the oracle cannot tell the value), and how many rejects.
type Expected = (Vec<Option<Vec<Option<String>>>>, usize);

/// Reads a line with `serde_json`; `None` for lines that are beyond this oracle.
fn oracle(line: &[u8]) -> Option<Expected> {
    let Ok(line) = std::str::from_utf8(line) else { return Some((vec![], 1)) };
    let blanks = [' ', '\t', '\r'];
    let mut rest = line.trim_matches(blanks);
    let (mut rows, mut rejects) = (vec![], 0);
    while !rest.is_empty() {
        if rest.starts_with('"') {
            return None;
        }
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let Some(Ok(raw)) = stream.next() else { return if rest.starts_with('[') { None } else { Some((rows, rejects + 1)) } };
        let end = stream.byte_offset();
        let after = rest[end..].trim_start_matches(blanks);
        let may_follow = after.is_empty() || after.starts_with(['{', '[', '"']);
        let items = if rest.starts_with('[') { serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap() } else { vec![raw] };
        if items.is_empty() {
            rejects += 1;
        }
        let mut last_is_row = false;
        for item in items {
            match row(item.get()) {
                Ok(row) => rows.push(row),
                Err(()) => rejects += 1,
            }
            last_is_row = row(item.get()).is_ok();
        }
        if !may_follow {
            if last_is_row {
                rows.pop();
            }
            return Some((rows, rejects + 1));
        }
        rest = after;
    }
    Some((rows, rejects))
}

/// The row of an object by the rules of the module; `Ok(None)` where only a finer oracle could tell.
fn row(object: &str) -> Result<Option<Vec<Option<String>>>, ()> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object).map_err(drop)?;
    let mut is_known = true;
    let mut row = vec![];
    // A value that is overwritten by a later one of the same key is read too, and may fail.
    let repeats = object.matches("text").count() > 1 || object.matches("\\u0065").count() > 0;
    for (name, sql) in ODD.split(", ").map(|column| column.split_once(' ').unwrap()) {
        let Some(raw) = fields.get(name).map(|raw| raw.get()) else {
            row.push(None);
            continue;
        };
        let text = serde_json::from_str::<String>(raw);
        if raw.starts_with('"') && text.is_err() {
            return Err(());
        }
        let is_number = raw.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let number = text.as_deref().map(str::trim).unwrap_or(raw);
        row.push(match sql {
            _ if raw == "null" => None,
            "TEXT" => Some(format!("{:?}", text.as_deref().unwrap_or(raw))),
            "BOOLEAN" => match number {
                "true" | "false" => Some(number.to_owned()),
                _ => return Err(()),
            },
            _ if !is_number && text.is_err() => return Err(()),
            "DOUBLE" => match number.parse::<f64>() {
                Ok(double) if double.is_finite() && text.is_err() => Some(format!("{:?}", double.to_bits())),
                Ok(_) if text.is_ok() => {
                    is_known = false;
                    None
                }
                _ => return Err(()),
            },
            _ => match (number.parse::<i64>(), number.parse::<f64>()) {
                (Ok(whole), _) if sql == "BIGINT" || i32::try_from(whole).is_ok() => Some(whole.to_string()),
                (Ok(_), _) => return Err(()),
                (_, Ok(double)) if double.fract() == 0.0 && double.abs() < 2e9 && double.is_finite() => {
                    is_known = text.is_err() && is_known;
                    Some((double as i64).to_string())
                }
                (_, Ok(double)) if double.abs() < 1e15 && double.fract() != 0.0 => return Err(()),
                (_, Ok(double)) if double.abs() > 1e19 => return Err(()),
                (_, Ok(_)) => {
                    is_known = false;
                    None
                }
                _ => return Err(()),
            },
        });
    }
    let _ = repeats;
    Ok(is_known.then_some(row))
}

fn decoded_row(rows: &RecordBatch, row: usize) -> Vec<Option<String>> {
    (0..rows.num_columns())
        .map(|column| {
            let array = rows.column(column);
            (!array.is_null(row)).then(|| match array.data_type() {
                DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(row).to_bits()),
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
        prop_assert!(bytes.len() <= PIECE);
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

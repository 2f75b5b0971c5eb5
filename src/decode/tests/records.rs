//! What is a record, and what becomes of one that is broken: one rule a test.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use expect_test::{Expect, expect};

use super::*;

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
fn a_byte_order_mark_at_the_start_of_a_line_is_no_part_of_the_record() {
    check(
        PIN,
        "\u{feff}{\"index\":7}\n{\"index\":8}\n\u{feff}\n\u{feff}[{\"index\":9}]",
        expect![[r#"
            0: 7 | null
            1: 8 | null
            3: 9 | null
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
    assert_eq!(
        decoded.offsets.iter().collect::<Vec<_>>(),
        [first, first + 1, first + 1, first + 3]
    );
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
        "7\nnull\n[]\n\"text\"\nNaN\n[[{}]]",
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
            5! [{}]
               not an object: [{}] at byte 0 names no columns; send a JSON object
        "#]],
    );
}

#[test]
fn a_truncated_record_is_rejected_wherever_it_ends() {
    let whole =
        r#"{"index": 12, "title": "a\"\u00e9 long enough", "x": [1, {"y": null}], "z": true}"#;
    let mut pin = decoder(PIN);
    for end in 1..whole.len() {
        let input = format!("{whole}\n{}\n{whole}\n", &whole[..end]);
        let decoded = decode(&mut pin, input.as_bytes(), 0);
        assert_eq!(
            (decoded.rows.num_rows(), decoded.rejects.len()),
            (2, 1),
            "cut at {end}"
        );
        assert_eq!(decoded.rejects[0].record, whole[..end]);
    }
}

#[test]
fn a_record_with_endless_faults_is_given_up() {
    let decoded = decode(
        &mut decoder(PIN),
        format!("[{}1]\n{{}}", "1,".repeat(5_000)).as_bytes(),
        0,
    );
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
    assert_eq!(
        decode(&mut decoder("x TEXT"), &input, 0).rejects.len(),
        1,
        "also where no column wants the text"
    );
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
            5! "\"{\\\"index\\\":9}\""
               not an object: the string "\"{\\\"index\\\":9}\"" at byte 0 holds neither a JSON object nor the base64 of one; send the object itself
            6! "{\"index\":10} x"
               not JSON: `x` at byte 13 follows a complete value; send one JSON object a line (bytes are counted in the JSON text inside the string)
            7! "{\"index\":\"x\"}{\"index\":11}"
               column `index` is BIGINT and cannot hold "x" (byte 9): it is not a number; send a number, or declare the column TEXT (bytes are counted in the JSON text inside the string)
            8! "{\"index\":12}" x
               not JSON: `x` at byte 17 follows a complete value; send one JSON object a line
            9! "{\"index\":13,\"title\":\"\\ud800\"}"
               not Unicode: the escape at byte 21, `\ud800`, is half of a surrogate pair; write both halves, or the character itself (bytes are counted in the JSON text inside the string)
            10! "\ud800"
               not Unicode: the escape at byte 1, `\ud800`, is half of a surrogate pair; write both halves, or the character itself
            11! ""
               not an object: the string "" at byte 0 holds neither a JSON object nor the base64 of one; send the object itself
            12! "{\"index\":14}"
               not an object: "{\"index\":14}" at byte 0 names no columns; send a JSON object
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
            r#"{"index":null,"title":null,"tags":null}"#,
            "\n",
            r#"{"index":1,"title":"long enough to be pointed to","tags":["a","b"],"tags":["c"],"title":"b","index":2}"#,
            "\n",
            r#"{"index":1,"title":"a","tags":["a"],"tags":null,"title":null,"index":null}"#,
            "\n",
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

#[test]
fn nothing_of_a_failed_record_stays_behind() {
    check(
        "a TEXT, tags TEXT[], index BIGINT",
        concat!(
            r#"{"a":"escaped \n and long enough","tags":["x\n long enough for the side"],"index":"x"}"#,
            "\n",
            r#"{"index":1}"#,
            "\n",
            r#"{"a":"another \n, also long enough","tags":["y"],"index":2}{"a":"third \n, also long enough","tags":["z"],"index":3},"#,
            "\n",
            r#"{"index":4}"#,
        ),
        expect![[r#"
            1: null | null | 1
            2: "another \n, also long enough" | [y] | 2
            3: null | null | 4
            0! {"a":"escaped \n and long enough","tags":["x\n long enough for the side"],"index":"x"}
               column `index` is BIGINT and cannot hold "x" (byte 82): it is not a number; send a number, or declare the column TEXT
            2! {"a":"third \n, also long enough","tags":["z"],"index":3},
               not JSON: `,` at byte 57 follows a complete value; send one JSON object a line
        "#]],
    );
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
        let fields: Vec<String> = (0..1_000)
            .map(|index| format!("\"c{0}\":{0}", (index * 7 + turn) % 1_000))
            .collect();
        let decoded = decode(
            &mut decoder,
            format!("{{{}}}", fields.join(",")).as_bytes(),
            0,
        );
        for column in 0..200 {
            assert_eq!(
                decoded
                    .rows
                    .column(column)
                    .as_primitive::<Int64Type>()
                    .value(0),
                column as i64
            );
        }
    }
}

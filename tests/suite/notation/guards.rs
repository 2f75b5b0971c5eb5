//! Expressions that fail on some rows: what guards them, what becomes of the rows that are not
//! guarded, and of their neighbours.

use expect_test::{Expect, expect};
use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};

use super::check;

/// Zeros among the numbers, and texts that are no numbers; then some change.
const N: &str = r#"
    a 1, "5", 0
    a 2, "x", 2
    a 3, "", 10
    a 4, null, 3
    a 5, "12", null
    --
    a 1, "5", 4
    a 2, "7", 0
"#;

#[test]
fn a_condition_guards_the_next_one_row_by_row() {
    check(
        "SELECT k FROM a WHERE n <> 0 AND 10 / n > 1",
        N,
        expect![[r#"
            @1 + 2
            @1 + 4
            @2 + 1
            @2 - 2
        "#]],
    );
}

#[test]
fn what_cannot_fail_guards_what_can_wherever_it_is_written() {
    check(
        "SELECT k FROM (SELECT k, n FROM a WHERE 10 / n > 1) q WHERE n <> 0",
        N,
        expect![[r#"
            @1 + 2
            @1 + 4
            @2 + 1
            @2 - 2
        "#]],
    );
}

#[test]
fn a_call_guards_a_cast_though_a_cast_is_cheaper() {
    check(
        "SELECT k FROM a WHERE length(g) > 0 AND g <> 'x' AND CAST(g AS BIGINT) > 1",
        N,
        expect![[r#"
            @1 + 1
            @1 + 5
            @2 + 2
        "#]],
    );
}

#[test]
fn or_case_and_coalesce_stop_where_they_are_decided() {
    check(
        "SELECT k, n = 0 OR 10 / n > 4 AS o, CASE WHEN n = 0 THEN false WHEN 10 / n > 4 THEN true END AS c, \
         coalesce(nullif(n, 0), CAST(nullif(g, 'x') AS BIGINT)) AS l FROM a WHERE g <> ''",
        N,
        expect![[r#"
            @1 + 1 | true | false | 5
            @1 + 2 | true | true | 2
            @1 + 5 | NULL | NULL | 12
            @2 + 1 | false | NULL | 4
            @2 - 1 | true | false | 5
            @2 + 2 | true | false | 7
            @2 - 2 | true | true | 2
        "#]],
    );
}

#[test]
fn a_row_that_nothing_guards_is_left_out_when_it_comes_and_when_it_goes() {
    check(
        "SELECT k, 10 / n AS q FROM a",
        N,
        expect![[r#"
        @1 + 2 | 5
        @1 + 3 | 1
        @1 + 4 | 3
        @1 + 5 | NULL
        @2 + 1 | 2
        @2 - 2 | 5
        fault in v: Divide by zero error
        fault in v: Divide by zero error
    "#]],
    );
}

#[test]
fn a_filter_guards_the_argument_of_its_aggregate() {
    check(
        "SELECT count(*) AS c, sum(10 / n) FILTER (WHERE n <> 0) AS s, max(10 / n) FILTER (WHERE n <> 0) AS m FROM a",
        N,
        expect![[r#"
            @0 + 0 | NULL | NULL
            @1 - 0 | NULL | NULL
            @1 + 5 | 9 | 5
            @2 + 5 | 6 | 3
            @2 - 5 | 9 | 5
        "#]],
    );
}

#[test]
fn groups_guard_themselves_in_having() {
    check(
        "SELECT n IS NULL AS g, count(*) AS c FROM a GROUP BY n IS NULL HAVING count(*) > 1 AND 10 / (count(*) - 1) > 1",
        N,
        expect![[r#"
            @1 + false | 4
        "#]],
    );
}

/// Pairs by `g`, of which one is undecided.
const PAIRS: &str = r#"
    a 1, "x", 10
    a 2, "y", 20
    b 1, "x", 0, "none"
    b 2, "x", 2, "two"
    b 3, "y", 0, "none"
    --
    b 3, "y", 5, "five"
    --
    b 2, "x", 0, "none"
"#;

#[test]
fn a_pair_that_fails_is_no_match() {
    check(
        "SELECT a.k, b.k AS p FROM a JOIN b ON a.g = b.g AND a.n / b.m > 3",
        PAIRS,
        expect![[r#"
            @1 + 1 | 2
            @2 + 2 | 3
            @3 - 1 | 2
            fault in v: Divide by zero error
            fault in v: Divide by zero error
            fault in v: Divide by zero error
        "#]],
    );
}

#[test]
fn a_pair_that_never_was_there_at_the_end_of_an_epoch_is_no_fault() {
    // Both rows change at once; the new one of `a` and the old one of `b` have the same number.
    check(
        "SELECT a.k, 12 / (a.n - b.m) AS q FROM a JOIN b ON a.g = b.g AND 12 / (a.n - b.m) > 1",
        r#"
        a 1, "x", 10
        b 1, "x", 7, "seven"
        --
        a 1, "x", 7
        b 1, "x", 5, "five"
        --
        a 1, "x", 5
        "#,
        expect![[r#"
            @1 + 1 | 4
            @2 - 1 | 4
            @2 + 1 | 6
            @3 - 1 | 6
            fault in v: Divide by zero error
        "#]],
    );
}

#[test]
fn a_row_with_a_pair_that_fails_is_not_without_a_partner() {
    check(
        "SELECT a.k, b.k AS p FROM a LEFT JOIN b ON a.g = b.g AND a.n / b.m > 3",
        PAIRS,
        expect![[r#"
            @1 + 1 | 2
            @2 + 2 | 3
            @3 - 1 | 2
            fault in v: Divide by zero error
            fault in v: Divide by zero error
            fault in v: Divide by zero error
        "#]],
    );
    check(
        "SELECT k FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE a.g = b.g AND a.n / b.m > 3)",
        PAIRS,
        expect![[r#"
            fault in v: Divide by zero error
            fault in v: Divide by zero error
            fault in v: Divide by zero error
        "#]],
    );
}

#[test]
fn a_guard_decides_a_pair() {
    check(
        "SELECT a.k, b.k AS p FROM a LEFT JOIN b ON a.g = b.g AND b.m <> 0 AND a.n / b.m > 3",
        PAIRS,
        expect![[r#"
            @1 + 1 | 2
            @1 + 2 | NULL
            @2 + 2 | 3
            @2 - 2 | NULL
            @3 - 1 | 2
            @3 + 1 | NULL
        "#]],
    );
}

#[test]
fn a_condition_of_a_left_join_guards_its_key() {
    check(
        "SELECT l.k, r.k AS p FROM a l LEFT JOIN a r ON l.g <> '' AND l.g <> 'x' AND CAST(l.g AS BIGINT) = r.k",
        N,
        expect![[r#"
            @1 + 1 | 5
            @1 + 2 | NULL
            @1 + 3 | NULL
            @1 + 4 | NULL
            @1 + 5 | NULL
        "#]],
    );
}

/// The rows of a table `t` that is made of the stream `s` by `query`, and its dead letters.
fn check_table(query: &str, records: &[&str], expected: Expect) {
    let definition = Definition::parse(
        "test.sql",
        &format!(
            "CREATE EXTERNAL TABLE s_raw (k BIGINT, n BIGINT, t TEXT) STORED AS JSON LOCATION 's';
             CREATE TABLE t (PRIMARY KEY (k)) AS {query};
             CREATE MATERIALIZED VIEW v AS SELECT * FROM t;"
        ),
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let mut texts = Vec::new();
    for batch in [1, 2, 1000] {
        let mut input = Input::default();
        for record in records {
            input.add(1, "s", record);
        }
        let replay = replay(&definition, input, &Options { workers: 1, batch }).unwrap();
        let rows = replay.rows("v", 1).unwrap();
        let letters = replay.rows("dead_letters", 1).unwrap();
        let letters = letters.iter().map(|letter| {
            let parts: Vec<&str> = letter.split(" | ").collect();
            format!("{}! {}", parts[2], parts[4])
        });
        texts.push(
            rows.into_iter()
                .chain(letters)
                .collect::<Vec<_>>()
                .join("\n")
                + "\n",
        );
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
    expected.assert_eq(&texts[0]);
}

#[test]
fn a_table_guards_its_casts_row_by_row() {
    check_table(
        "SELECT k, t FROM s_raw WHERE t IS NOT NULL AND t <> '' AND CAST(t AS BIGINT) > 1",
        &[
            r#"{"k":1,"t":"5"}"#,
            r#"{"k":2,"t":""}"#,
            r#"{"k":3,"t":"7"}"#,
            r#"{"k":4}"#,
            r#"{"k":5,"t":"many"}"#,
        ],
        expect![[r#"
            1 | 5
            3 | 7
            4! the record cannot become a row of `t`: Cast error: Cannot cast string 'many' to value of Int64 type; correct the value and send the record again
        "#]],
    );
}

#[test]
fn a_record_that_asks_for_the_impossible_is_a_dead_letter() {
    check_table(
        "SELECT k, lpad(t, n) AS p, repeat(t, abs(n)) AS r FROM s_raw",
        &[
            r#"{"k":1,"n":3,"t":"a"}"#,
            r#"{"k":2,"n":-1,"t":"b"}"#,
            r#"{"k":3,"n":9000000000000000000,"t":"c"}"#,
            r#"{"k":4,"n":2,"t":"d"}"#,
        ],
        expect![[r#"
            1 |   a | aaa
            2 |  | b
            4 |  d | dd
            2! the record cannot become a row of `t`: `lpad` would give a value of about 9000000000000000000 bytes; a value may have 1048576, or as many as the arguments of the call; correct the value and send the record again
        "#]],
    );
}

#[test]
fn every_record_may_fail() {
    check_table(
        "SELECT k, CAST(t AS DATE) AS d, 10 / n AS q FROM s_raw",
        &[
            r#"{"k":1,"n":3,"t":"yesterday"}"#,
            r#"{"k":2,"n":0,"t":"2020-01-01"}"#,
            r#"{"k":3,"n":0,"t":"today"}"#,
        ],
        expect![[r#"
            0! the record cannot become a row of `t`: Cast error: Cannot cast string 'yesterday' to value of Date32 type; correct the value and send the record again
            1! the record cannot become a row of `t`: Divide by zero error; correct the value and send the record again
            2! the record cannot become a row of `t`: Cast error: Cannot cast string 'today' to value of Date32 type; correct the value and send the record again
        "#]],
    );
}

#[test]
fn tables_of_one_stream_delete_by_their_own_keys() {
    let definition = Definition::parse(
        "test.sql",
        "CREATE EXTERNAL TABLE s_raw (k BIGINT, g TEXT) STORED AS JSON LOCATION 's';
         CREATE TABLE a (PRIMARY KEY (k)) AS SELECT k, g FROM s_raw;
         CREATE TABLE b (PRIMARY KEY (g)) AS SELECT g, k FROM s_raw;
         CREATE MATERIALIZED VIEW va AS SELECT k FROM a;
         CREATE MATERIALIZED VIEW vb AS SELECT g FROM b;",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let mut input = Input::default();
    input.add(1, "s", r#"{"k":7,"g":"x"}"#);
    input.add(1, "s", r#"{"k":8,"g":"7"}"#);
    input.delete(2, "s", "7");
    input.delete(3, "s", r#"{"k":7}"#);
    input.delete(4, "s", r#"{"g":"7"}"#);
    let replay = replay(&definition, input, &Options::default()).unwrap();
    let at = |epoch| {
        (
            replay.rows("va", epoch).unwrap(),
            replay.rows("vb", epoch).unwrap(),
        )
    };
    let texts = |rows: &[&str]| rows.iter().map(|&row| row.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        at(2),
        (texts(&["7", "8"]), texts(&["7", "x"])),
        "it could be either"
    );
    assert_eq!(at(3), (texts(&["8"]), texts(&["7", "x"])));
    assert_eq!(at(4), (texts(&["8"]), texts(&["x"])));
    assert_eq!(replay.rows("dead_letters", 4).unwrap().len(), 1);
}

#[test]
fn a_number_that_is_cast_and_compared_fails_where_the_cast_does() {
    for condition in ["> 0", "BETWEEN 1 AND 32767", "NOT IN (1, 2)"] {
        check(
            &format!("SELECT k FROM a WHERE CAST(n + 32760 AS SMALLINT) {condition}"),
            N,
            expect![[r#"
                @1 + 1
                @1 + 2
                @1 + 4
                fault in v: Cast error: Can't cast value 32770 to type Int16
            "#]],
        );
    }
}

#[test]
fn what_is_in_no_list_with_null_stays_unknown_beside_another_list() {
    check(
        "SELECT k, k NOT IN (3, NULL) AND k IN (1, 2) AS one, k IN (1, NULL) AND k NOT IN (1, 4) AS other FROM a WHERE k < 4",
        "a 1, \"x\", 0\na 3, \"x\", 0",
        expect![[r#"
            @1 + 1 | NULL | false
            @1 + 3 | false | NULL
        "#]],
    );
    check(
        "SELECT k FROM a WHERE k NOT IN (3, NULL) AND k IN (1, 1)",
        N,
        expect![""],
    );
}

//! Views on views, keys of several columns, and records that a view cannot use.

use expect_test::expect;

use super::{A, C, check, check_views};

#[test]
fn a_common_table_expression() {
    check(
        "WITH t AS (SELECT g, sum(n) AS s FROM c GROUP BY g) SELECT max(s) AS most, count(*) AS groups FROM t",
        C,
        expect![[r#"
        @0 + NULL | 0
        @1 + 13 | 2
        @1 - NULL | 0
        @2 - 13 | 2
        @2 + 19 | 2
    "#]],
    );
}

#[test]
fn a_key_of_two_columns() {
    check(
        "SELECT k, l, n FROM c",
        C,
        expect![[r#"
        @1 + 1 | p | 5
        @1 + 1 | q | 5
        @1 + 2 | p | 3
        @1 + 3 | p | NULL
        @2 - 2 | p | 3
        @2 + 2 | p | 9
        @2 + 3 | q | 1
        @3 - 1 | p | 5
        @3 + 1 | p | 9
        @3 - 1 | q | 5
        @3 + 1 | q | 9
    "#]],
    );
}

#[test]
fn a_view_on_a_view_on_a_view() {
    check_views(
        "CREATE MATERIALIZED VIEW counts AS SELECT g, count(*) AS rows FROM a GROUP BY g;
         CREATE VIEW known AS SELECT g, rows FROM counts WHERE g IS NOT NULL;
         CREATE MATERIALIZED VIEW v AS SELECT g, rows FROM (SELECT g, rows, rank() OVER (ORDER BY rows DESC) AS place FROM known) t WHERE place = 1;",
        A,
        expect![[r#"
            @1 + x | 2
            @2 - x | 2
            @2 + y | 2
            @4 - y | 2
            @4 + y | 3
        "#]],
    );
}

#[test]
fn one_view_joined_with_itself() {
    check_views(
        "CREATE MATERIALIZED VIEW counts AS SELECT g, count(*) AS rows FROM a GROUP BY g;
         CREATE MATERIALIZED VIEW v AS SELECT x.g AS more, y.g AS fewer FROM counts x JOIN counts y ON x.rows > y.rows;",
        A,
        expect![[r#"
            @1 + x | y
            @2 - x | y
            @2 + y | NULL
            @2 + y | x
            @4 - y | x
        "#]],
    );
}

#[test]
fn a_record_that_cannot_be_cleaned_changes_no_view() {
    check(
        "SELECT k, t FROM a",
        r#"
        a 1, "x", 1, 1.0, true, "2020-01-01 00:00:00"
        --
        a 1, "y", 2, 1.0, true, "yesterday"
        a null, "y", 2, 1.0, true, "2020-01-02 00:00:00"
        a 2, "y", 2, 1.0, true, "2020-01-03 00:00:00"
    "#,
        expect![[r#"
            @1 + 1 | 2020-01-01T00:00:00
            @2 + 2 | 2020-01-03T00:00:00
        "#]],
    );
}

#[test]
fn a_row_that_a_view_cannot_use_is_a_fault_and_its_neighbours_go_on() {
    check(
        "SELECT k, 100 / n AS share FROM a",
        r#"
        a 1, "x", 5
        a 2, "x", 0
        --
        a 2, "x", 4
        a 3, "x", 10
    "#,
        expect![[r#"
            @1 + 1 | 20
            @2 + 2 | 25
            @2 + 3 | 10
            fault in v: Divide by zero error
        "#]],
    );
}

#[test]
fn a_value_that_moves_from_one_column_to_another_is_a_change() {
    check(
        "SELECT k, n, d, g FROM a",
        r#"
        a 1, "x", 5, null, null, null
        a 2, null, 0, 1.0, null, null
        --
        a 1, "x", null, 5, null, null
        a 2, "", null, 1.0, null, null
        --
        a 1, null, null, null, null, null
    "#,
        expect![[r#"
            @1 + 1 | 5 | NULL | x
            @1 + 2 | 0 | 1.0 | NULL
            @2 - 1 | 5 | NULL | x
            @2 + 1 | NULL | 5.0 | x
            @2 - 2 | 0 | 1.0 | NULL
            @2 + 2 | NULL | 1.0 | 
            @3 - 1 | NULL | 5.0 | x
            @3 + 1 | NULL | NULL | NULL
        "#]],
    );
}

/// Two tables of one stream: all records by `k`, and by `g` those with a count.
const TWO: &str = "
    CREATE EXTERNAL TABLE s_raw (k BIGINT, g TEXT, n TEXT) STORED AS JSON LOCATION 's';
    CREATE TABLE by_k (PRIMARY KEY (k)) AS SELECT k, g FROM s_raw;
    CREATE TABLE by_g (PRIMARY KEY (g)) AS SELECT k, g, parse_count(n) AS n FROM s_raw WHERE n IS NOT NULL;
";

const S: &str = r#"
    s 1, "x", "1k"
    s 2, "x", "2k"
    --
    s 3, "x", null
    s 1, "y", "many"
    --
    s 4, null, "5"
"#;

#[test]
fn a_stream_may_become_two_tables() {
    check_views(
        &format!("{TWO}CREATE MATERIALIZED VIEW v AS SELECT k, g FROM by_k;"),
        S,
        expect![[r#"
        @1 + 1 | x
        @1 + 2 | x
        @2 - 1 | x
        @2 + 1 | y
        @2 + 3 | x
        @3 + 4 | NULL
    "#]],
    );
    check_views(
        &format!("{TWO}CREATE MATERIALIZED VIEW v AS SELECT k, g, n FROM by_g;"),
        S,
        expect![[r#"
        @1 + 2 | x | 2000
    "#]],
    );
}

#[test]
fn a_record_that_cannot_become_a_row_of_one_table_still_becomes_one_of_the_other() {
    check_views(
        &format!(
            "{TWO}CREATE MATERIALIZED VIEW v AS SELECT x.k, x.g, y.n FROM by_k x LEFT JOIN by_g y ON x.g = y.g;"
        ),
        S,
        expect![[r#"
            @1 + 1 | x | 2000
            @1 + 2 | x | 2000
            @2 - 1 | x | 2000
            @2 + 1 | y | NULL
            @2 + 3 | x | 2000
            @3 + 4 | NULL | NULL
        "#]],
    );
}

#[test]
fn a_plain_view_keeps_its_limit() {
    check_views(
        "CREATE VIEW most AS SELECT k, n FROM a ORDER BY n DESC NULLS LAST LIMIT 1;
         CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS rows FROM most GROUP BY k;",
        A,
        expect![[r#"
            @1 + 2 | 1
            @2 - 2 | 1
            @2 + 4 | 1
        "#]],
    );
}

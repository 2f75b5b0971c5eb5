//! Tables, and views of one row a row: records that repeat, change and overtake each other.

use expect_test::expect;

use super::{A, check};

#[test]
fn a_filter_and_a_projection_follow_a_changing_row() {
    check(
        "SELECT k, upper(g) AS g, n * 2 AS m FROM a WHERE n >= 20",
        A,
        expect![[r#"
        @1 + 2 | X | 40
        @2 - 2 | X | 40
        @2 + 2 | Y | 40
        @2 + 4 | NULL | 80
        @3 + 3 | Y | 60
    "#]],
    );
}

#[test]
fn a_repeated_record_changes_nothing() {
    check(
        "SELECT k, n FROM a",
        r#"
        a 1, "x", 10
        a 1, "x", 10
        --
        a 1, "x", 10
        --
        a 1, "x", 11
        a 1, "x", 10
    "#,
        expect![[r#"
        @1 + 1 | 10
    "#]],
    );
}

#[test]
fn the_last_record_of_an_epoch_wins() {
    check(
        "SELECT k, n FROM a",
        r#"
        a 1, "x", 1
        a 1, "x", 2
        a 1, "x", 3
        --
        a 1, "x", 4
        a 1, "x", 3
    "#,
        expect![[r#"
        @1 + 1 | 3
    "#]],
    );
}

#[test]
fn a_column_that_no_view_reads_changes_nothing() {
    check(
        "SELECT k, g FROM a",
        r#"
        a 1, "x", 1
        --
        a 1, "x", 2
        --
        a 1, "y", 2
    "#,
        expect![[r#"
        @1 + 1 | x
        @3 - 1 | x
        @3 + 1 | y
    "#]],
    );
}

#[test]
fn times_before_1677_are_times() {
    check(
        "SELECT k, t, date_trunc('year', t) AS y, date_bin(INTERVAL '6 hours', t) AS h, extract(epoch FROM TIMESTAMP '2020-01-01 00:00:00.5' - t) AS s, t < TIMESTAMP '2000-01-01' AS old FROM a",
        r#"
            a 1, "x", 1, 1.0, true, "1500-06-15 12:34:56"
            a 2, "x", 1, 1.0, true, "2020-01-02 01:00:00"
        "#,
        expect![[r#"
            @1 + 1 | 1500-06-15T12:34:56 | 1500-01-01T00:00:00 | 1500-06-15T12:00:00 | 16395305104.5 | true
            @1 + 2 | 2020-01-02T01:00:00 | 2020-01-01T00:00:00 | 2020-01-02T00:00:00 | -89999.5 | false
        "#]],
    );
}

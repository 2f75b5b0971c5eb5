//! Numbers: one zero, one NaN, and no integer that wraps around.

use expect_test::expect;

use super::{check, check_file};

/// Both zeros, and numbers on both sides of them.
const ZEROS: &str = r#"
    a 1, "x", 1, -0.0
    a 2, "x", 2, 0.0
    a 3, "y", 3, -1.5
    --
    a 4, "y", 4, 2.5
    a 5, "y", 5, -0
    --
    a 1, "x", 1, 1.0
"#;

const GREATEST_SMALL: &str = r#"
    a 1, "x", 1
    a 2, "x", 1
    --
    a 3, "x", -4
    --
    a 3, "x", 9223372036854775807
    a 2, "x", 9223372036854775807
"#;

/// The greatest BIGINT, twice at first.
const GREATEST: &str = r#"
    a 1, "x", 9223372036854775807
    a 2, "x", 9223372036854775807
    a 3, "y", 5
    --
    a 2, "x", -7
"#;

#[test]
fn zeros_are_one_group() {
    check(
        "SELECT d, count(*) AS c FROM a GROUP BY d",
        ZEROS,
        expect![[r#"
            @1 + -1.5 | 1
            @1 + 0.0 | 2
            @2 - 0.0 | 2
            @2 + 0.0 | 3
            @2 + 2.5 | 1
            @3 + 0.0 | 2
            @3 - 0.0 | 3
            @3 + 1.0 | 1
        "#]],
    );
}

#[test]
fn zeros_tie() {
    check(
        "SELECT k, place FROM (SELECT k, rank() OVER (ORDER BY d) AS place FROM a) t WHERE place <= 3",
        ZEROS,
        expect![[r#"
            @1 + 1 | 2
            @1 + 2 | 2
            @1 + 3 | 1
            @2 + 5 | 2
            @3 - 1 | 2
        "#]],
    );
}

#[test]
fn zeros_that_are_computed_tie() {
    check(
        "SELECT k, place FROM (SELECT k, dense_rank() OVER (ORDER BY d * -1) AS place FROM a) t WHERE place <= 2",
        ZEROS,
        expect![[r#"
            @1 + 1 | 1
            @1 + 2 | 1
            @1 + 3 | 2
            @2 - 1 | 1
            @2 + 1 | 2
            @2 - 2 | 1
            @2 + 2 | 2
            @2 - 3 | 2
            @2 + 4 | 1
            @2 + 5 | 2
            @3 - 2 | 2
            @3 - 5 | 2
        "#]],
    );
}

#[test]
fn zeros_are_equal_in_every_expression() {
    check(
        "SELECT k, nullif(d, 0) AS x, CASE -d WHEN 0 THEN 'zero' END AS y, d IN (0) AS z FROM a",
        ZEROS,
        expect![[r#"
            @1 + 1 | NULL | zero | true
            @1 + 2 | NULL | zero | true
            @1 + 3 | -1.5 | NULL | false
            @2 + 4 | 2.5 | NULL | false
            @2 + 5 | NULL | zero | true
            @3 + 1 | 1.0 | NULL | false
            @3 - 1 | NULL | zero | true
        "#]],
    );
}

#[test]
fn zeros_meet_in_joins() {
    check(
        "SELECT x.k, y.k AS other FROM a x JOIN a y ON x.d = -y.d AND x.k < y.k",
        ZEROS,
        expect![[r#"
            @1 + 1 | 2
            @2 + 1 | 5
            @2 + 2 | 5
            @3 - 1 | 2
            @3 - 1 | 5
        "#]],
    );
}

#[test]
fn zeros_are_one_value_in_a_list() {
    check(
        "SELECT array_agg(DISTINCT -d) AS l, count(DISTINCT d) AS c FROM a",
        ZEROS,
        expect![[r#"
            @0 + NULL | 0
            @1 - NULL | 0
            @1 + [0.0, 1.5] | 2
            @2 + [-2.5, 0.0, 1.5] | 3
            @2 - [0.0, 1.5] | 2
            @3 + [-2.5, -1.0, 0.0, 1.5] | 4
            @3 - [-2.5, 0.0, 1.5] | 3
        "#]],
    );
}

#[test]
fn not_a_number_is_the_greatest_and_equals_itself() {
    check(
        "SELECT k, place FROM (SELECT k, rank() OVER (ORDER BY d / d DESC, k) AS place FROM a) t WHERE place <= 2",
        ZEROS,
        expect![[r#"
            @1 + 1 | 1
            @1 + 2 | 2
            @3 - 1 | 1
            @3 + 2 | 1
            @3 - 2 | 2
            @3 + 5 | 2
        "#]],
    );
}

#[test]
fn a_sum_that_is_too_large_is_a_fault_until_it_fits() {
    check(
        "SELECT g, sum(n) AS s FROM a GROUP BY g",
        GREATEST,
        expect![[r#"
            @1 + y | 5
            @2 + x | 9223372036854775800
            fault in v: Cast error: value of 18446744073709551614 is out of range Int64
        "#]],
    );
}

#[test]
fn an_integer_that_overflows_is_a_fault_of_its_row() {
    check(
        "SELECT k, n + 1 AS more FROM a",
        GREATEST,
        expect![[r#"
        @1 + 3 | 6
        @2 + 2 | -6
        fault in v: Arithmetic overflow: Overflow happened on: 9223372036854775807 + 1
        fault in v: Arithmetic overflow: Overflow happened on: 9223372036854775807 + 1
    "#]],
    );
}

#[test]
fn the_middle_of_large_integers() {
    check(
        "SELECT median(n) AS m FROM a",
        GREATEST,
        expect![[r#"
        @0 + NULL
        @1 + 9.223372036854776e18
        @1 - NULL
        @2 + 5.0
        @2 - 9.223372036854776e18
    "#]],
    );
}

#[test]
fn a_key_with_a_fraction_has_one_zero() {
    check_file(
        "CREATE EXTERNAL TABLE z_raw (d DOUBLE, n BIGINT) STORED AS JSON LOCATION 'z';
         CREATE TABLE z (PRIMARY KEY (d)) AS SELECT d, n FROM z_raw;
         CREATE TABLE y (PRIMARY KEY (e)) AS SELECT -d AS e, n FROM z_raw;
         CREATE MATERIALIZED VIEW v AS SELECT z.d, z.n, y.n AS m FROM z LEFT JOIN y ON z.d = y.e;",
        r#"
        z 0.0, 1
        --
        z -0.0, 2
        "#,
        expect![[r#"
            @1 + 0.0 | 1 | 1
            @2 - 0.0 | 1 | 1
            @2 + 0.0 | 2 | 2
        "#]],
    );
}

#[test]
fn decimals_are_added_and_divided_exactly() {
    check(
        "SELECT sum(CAST(n AS DECIMAL(12, 2))) AS s, avg(CAST(n AS DECIMAL(12, 2))) AS a, sum(CAST(n AS DECIMAL(38, 0)) * 10000000000000000000) AS large FROM a",
        GREATEST_SMALL,
        expect![[r#"
            @0 + NULL | NULL | NULL
            @1 + 2.00 | 1.000000 | 20000000000000000000
            @1 - NULL | NULL | NULL
            @2 + -2.00 | -0.666667 | -20000000000000000000
            @2 - 2.00 | 1.000000 | 20000000000000000000
            @3 - -2.00 | -0.666667 | -20000000000000000000
            @3 + 1.00 | 1.000000 | 10000000000000000000
            fault in v: Invalid argument error: 9223372036854775807.00 is too large to store in a Decimal128 of precision 12. Max is 9999999999.99
            fault in v: Invalid argument error: 9223372036854775807.00 is too large to store in a Decimal128 of precision 12. Max is 9999999999.99
        "#]],
    );
}

#[test]
fn the_middle_of_decimals() {
    check(
        "SELECT median(CAST(n AS DECIMAL(12, 1))) AS m, percentile_cont(0.25) WITHIN GROUP (ORDER BY CAST(n AS DECIMAL(12, 2))) AS q FROM a WHERE n < 100",
        GREATEST_SMALL,
        expect![[r#"
            @0 + NULL | NULL
            @1 + 1.0 | 1.0
            @1 - NULL | NULL
            @2 + 1.0 | -1.5
            @2 - 1.0 | 1.0
            @3 - 1.0 | -1.5
            @3 + 1.0 | 1.0
        "#]],
    );
}

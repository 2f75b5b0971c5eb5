//! Casts: what becomes an integer is rounded, and a condition is about what was rounded.

use expect_test::expect;

use super::check;

const NUMBERS: &str = r#"
    a 1, "x", 1, 0.5, true, "2020-01-31T10:00:00"
    a 2, "x", 2, 1.5, true, "2020-02-29T23:59:59.25"
    --
    a 3, "y", 3, -2.75, true, null
    --
    a 1, "x", 1, 2.25, true, "1969-12-31T00:00:00"
"#;

#[test]
fn a_number_becomes_the_nearest_integer() {
    check(
        "SELECT k, CAST(d AS BIGINT) AS of_double, CAST(CAST(d AS DECIMAL(12, 2)) AS INT) AS of_decimal FROM a",
        NUMBERS,
        expect![[r#"
            @1 + 1 | 0 | 1
            @1 + 2 | 2 | 2
            @2 + 3 | -3 | -3
            @3 - 1 | 0 | 1
            @3 + 1 | 2 | 2
        "#]],
    );
}

#[test]
fn a_condition_is_about_the_rounded_number() {
    check(
        "SELECT k FROM a WHERE CAST(CAST(d AS DECIMAL(12, 2)) AS DECIMAL(12, 1)) IN (CAST('2.3' AS DECIMAL(12, 1)), CAST('-2.8' AS DECIMAL(12, 1)))",
        NUMBERS,
        expect![[r#"
            @2 + 3
            @3 + 1
        "#]],
    );
}

#[test]
fn rounded_numbers_are_joined_and_counted() {
    check(
        "SELECT x.d::BIGINT AS n, count(*) FROM a x JOIN a y ON x.d::BIGINT = y.k GROUP BY x.d::BIGINT",
        NUMBERS,
        expect![[r#"
            @1 + 2 | 1
            @3 - 2 | 1
            @3 + 2 | 2
        "#]],
    );
}

#[test]
fn a_time_is_written_with_a_blank() {
    check(
        "SELECT k, t::TEXT, 'at ' || t AS said FROM a WHERE t::TEXT LIKE '% %'",
        NUMBERS,
        expect![[r#"
            @1 + 1 | 2020-01-31 10:00:00 | at 2020-01-31 10:00:00
            @1 + 2 | 2020-02-29 23:59:59.25 | at 2020-02-29 23:59:59.25
            @3 + 1 | 1969-12-31 00:00:00 | at 1969-12-31 00:00:00
            @3 - 1 | 2020-01-31 10:00:00 | at 2020-01-31 10:00:00
        "#]],
    );
}

#[test]
fn a_date_and_an_interval_are_a_time() {
    check(
        "SELECT k, t::DATE + INTERVAL '1 hour' AS later, t::DATE - INTERVAL '1 month' AS earlier FROM a
         WHERE t::DATE + INTERVAL '12 hours' > t
         UNION ALL SELECT 0, INTERVAL '1 day' + DATE '2020-02-28', NULL",
        NUMBERS,
        expect![[r#"
            @0 + 0 | 2020-02-29T00:00:00 | NULL
            @1 + 1 | 2020-01-31T01:00:00 | 2019-12-31T00:00:00
            @3 + 1 | 1969-12-31T01:00:00 | 1969-11-30T00:00:00
            @3 - 1 | 2020-01-31T01:00:00 | 2019-12-31T00:00:00
        "#]],
    );
}

/// Times that nanoseconds do not hold, among others.
const FOR_EVER: &str = r#"
    a 1, "2020-01-01", 1, 0.5, true, "9999-12-31T00:00:00"
    a 2, "x", 2, 1.5, true, "2020-01-01T00:00:00"
    --
    a 3, "y", 3, 2.5, true, "1500-01-01T12:00:00"
    a 2, "x", 2, 1.5, true, "9999-12-31T00:00:00"
"#;

#[test]
fn times_far_away_are_compared_with_what_is_written() {
    check(
        "SELECT k FROM a WHERE t = '9999-12-31' OR t BETWEEN '1400-01-01' AND '1600-01-01'
         UNION ALL SELECT 10 * k FROM a WHERE t IN ('9999-12-31', '2020-01-01')
         UNION ALL SELECT 100 * k FROM a WHERE t < '3000-01-01'",
        FOR_EVER,
        expect![[r#"
            @1 + 1
            @1 + 10
            @1 + 20
            @1 + 200
            @2 + 2
            @2 - 200
            @2 + 3
            @2 + 300
        "#]],
    );
}

#[test]
fn times_far_away_are_compared_with_dates() {
    check(
        "SELECT k FROM a WHERE t > t::DATE
         UNION ALL SELECT 10 * k FROM a WHERE t IN (SELECT t::DATE FROM a)
         UNION ALL SELECT 100 * x.k FROM a x JOIN a y ON x.t = y.t::DATE
         UNION ALL SELECT 1000 * k FROM a WHERE t >= ALL (SELECT t::DATE FROM a)",
        FOR_EVER,
        expect![[r#"
            @1 + 10
            @1 + 100
            @1 + 1000
            @1 + 20
            @1 + 200
            @2 + 100
            @2 + 200
            @2 + 2000
            @2 + 3
        "#]],
    );
}

#[test]
fn a_choice_of_times_far_away_is_a_time() {
    check(
        "SELECT k, coalesce(nullif(t, '9999-12-31'), DATE '1500-01-01') AS c, CASE WHEN k > 1 THEN t ELSE t::DATE END AS w FROM a
         UNION SELECT 0, DATE '9999-12-31', CASE DATE '2020-01-01' WHEN '2020-01-01' THEN NULL END",
        FOR_EVER,
        expect![[r#"
            @0 + 0 | 9999-12-31T00:00:00 | NULL
            @1 + 1 | 1500-01-01T00:00:00 | 9999-12-31T00:00:00
            @1 + 2 | 2020-01-01T00:00:00 | 2020-01-01T00:00:00
            @2 + 2 | 1500-01-01T00:00:00 | 9999-12-31T00:00:00
            @2 - 2 | 2020-01-01T00:00:00 | 2020-01-01T00:00:00
            @2 + 3 | 1500-01-01T12:00:00 | 1500-01-01T12:00:00
        "#]],
    );
}

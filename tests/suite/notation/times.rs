//! Times and intervals.

use expect_test::expect;

use super::{A, check};

#[test]
fn an_interval_as_often_as_a_number_says() {
    check(
        "SELECT k, t + k * INTERVAL '1 month 1 day' AS later, t - INTERVAL '90 minutes' * 2 AS earlier \
         FROM a WHERE t + 2 * INTERVAL '1 day' > TIMESTAMP '2020-01-03 12:00'",
        A,
        expect![[r#"
            @1 + 2 | 2020-03-04T00:00:00 | 2020-01-01T21:00:00
        "#]],
    );
}

#[test]
fn an_interval_beyond_all_bounds_fails_for_its_row() {
    check(
        "SELECT k, t + n * INTERVAL '20 years' * n * 100 AS later FROM a WHERE k < 3",
        A,
        expect![[r#"
            @1 + 1 | +202020-01-01T00:00:00
            fault in v: Compute error: Timestamp out of range
        "#]],
    );
}

#[test]
fn a_time_that_is_written_without_seconds() {
    check(
        "SELECT k, t = '2020-01-01 00:00' AS same, t BETWEEN '2020-01-01T00:00' AND '2020-01-01 23:59' AS that_day, \
         CAST('2020-01-01 10:30' AS TIMESTAMP) AS morning FROM a",
        A,
        expect![[r#"
            @1 + 1 | true | true | 2020-01-01T10:30:00
            @1 + 2 | false | false | 2020-01-01T10:30:00
            @1 + 3 | NULL | NULL | 2020-01-01T10:30:00
            @2 + 4 | NULL | NULL | 2020-01-01T10:30:00
            @3 - 3 | NULL | NULL | 2020-01-01T10:30:00
            @3 + 3 | true | true | 2020-01-01T10:30:00
        "#]],
    );
}

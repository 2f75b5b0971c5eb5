//! Aggregates over groups that grow, shrink and go.

use expect_test::expect;

use super::{A, check};

#[test]
fn count_counts_rows_or_values() {
    check(
        "SELECT g, count(*) AS rows, count(n) AS known, count(DISTINCT b) AS flags FROM a GROUP BY g",
        A,
        expect![[r#"
        @1 + x | 2 | 2 | 2
        @1 + y | 1 | 0 | 0
        @2 + NULL | 1 | 1 | 1
        @2 + x | 1 | 1 | 1
        @2 - x | 2 | 2 | 2
        @2 - y | 1 | 0 | 0
        @2 + y | 2 | 1 | 1
        @3 - y | 2 | 1 | 1
        @3 + y | 2 | 2 | 2
        @4 - x | 1 | 1 | 1
        @4 - y | 2 | 2 | 2
        @4 + y | 3 | 3 | 2
    "#]],
    );
}

#[test]
fn sums_and_averages() {
    check(
        "SELECT g, sum(n) AS s, sum(d) AS sd, avg(n) AS an, avg(d) AS ad FROM a GROUP BY g",
        A,
        expect![[r#"
        @1 + x | 30 | 4.0 | 15.0 | 2.0
        @1 + y | NULL | NULL | NULL | NULL
        @2 + NULL | 40 | -1.0 | 40.0 | -1.0
        @2 + x | 10 | 1.5 | 10.0 | 1.5
        @2 - x | 30 | 4.0 | 15.0 | 2.0
        @2 + y | 20 | 2.5 | 20.0 | 2.5
        @2 - y | NULL | NULL | NULL | NULL
        @3 - y | 20 | 2.5 | 20.0 | 2.5
        @3 + y | 50 | 2.75 | 25.0 | 1.375
        @4 - x | 10 | 1.5 | 10.0 | 1.5
        @4 - y | 50 | 2.75 | 25.0 | 1.375
        @4 + y | 60 | 4.25 | 20.0 | 1.4166666666666667
    "#]],
    );
}

#[test]
fn a_sum_of_doubles_does_not_drift() {
    check(
        "SELECT sum(d) AS s FROM a",
        r#"
        a 1, "x", 1, 1e300
        a 2, "x", 1, 0.1
        a 3, "x", 1, 0.2
        --
        a 1, "x", 1, 0.3
        --
        a 1, "x", 1, null
        a 2, "x", 1, null
    "#,
        expect![[r#"
        @0 + NULL
        @1 + 1e300
        @1 - NULL
        @2 + 0.6
        @2 - 1e300
        @3 + 0.2
        @3 - 0.6
    "#]],
    );
}

#[test]
fn least_and_greatest_are_found_again_when_they_go() {
    check(
        "SELECT g, min(n) AS low, max(t) AS late, max(g) AS text FROM a GROUP BY g",
        A,
        expect![[r#"
        @1 + x | 10 | 2020-01-02T00:00:00 | x
        @1 + y | NULL | NULL | y
        @2 + NULL | 40 | NULL | NULL
        @2 + x | 10 | 2020-01-01T00:00:00 | x
        @2 - x | 10 | 2020-01-02T00:00:00 | x
        @2 + y | 20 | 2020-01-02T00:00:00 | y
        @2 - y | NULL | NULL | y
        @4 - x | 10 | 2020-01-01T00:00:00 | x
        @4 + y | 10 | 2020-01-02T00:00:00 | y
        @4 - y | 20 | 2020-01-02T00:00:00 | y
    "#]],
    );
}

#[test]
fn medians_and_percentiles() {
    check(
        "SELECT median(n) AS m, percentile_disc(0.5) WITHIN GROUP (ORDER BY n) AS disc, percentile_cont(0.25) WITHIN GROUP (ORDER BY d) AS cont FROM a",
        A,
        expect![[r#"
        @0 + NULL | NULL | NULL
        @1 + 15.0 | 10 | 1.75
        @1 - NULL | NULL | NULL
        @2 - 15.0 | 10 | 1.75
        @2 + 20.0 | 20 | 0.25
        @3 - 20.0 | 20 | 0.25
        @3 + 25.0 | 20 | -0.0625
    "#]],
    );
}

#[test]
fn the_lower_median_of_text() {
    check(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY g) AS middle FROM a",
        A,
        expect![[r#"
        @0 + NULL
        @1 - NULL
        @1 + x
        @2 - x
        @2 + y
    "#]],
    );
}

#[test]
fn all_and_any() {
    check(
        "SELECT g, bool_and(b) AS every, bool_or(b) AS any FROM a GROUP BY g",
        A,
        expect![[r#"
        @1 + x | false | true
        @1 + y | NULL | NULL
        @2 + NULL | true | true
        @2 - x | false | true
        @2 + x | true | true
        @2 - y | NULL | NULL
        @2 + y | false | false
        @3 - y | false | false
        @3 + y | false | true
        @4 - x | true | true
    "#]],
    );
}

#[test]
fn lists_are_in_order() {
    check(
        "SELECT array_agg(n ORDER BY n DESC) AS list, string_agg(g, '+' ORDER BY g) AS text, string_agg(DISTINCT g, '+' ORDER BY g) AS different FROM a",
        A,
        expect![[r#"
        @0 + NULL | NULL | NULL
        @1 - NULL | NULL | NULL
        @1 + [NULL, 20, 10] | x+x+y | x+y
        @2 - [NULL, 20, 10] | x+x+y | x+y
        @2 + [NULL, 40, 20, 10] | x+y+y | x+y
        @3 + [40, 30, 20, 10] | x+y+y | x+y
        @3 - [NULL, 40, 20, 10] | x+y+y | x+y
        @4 - [40, 30, 20, 10] | x+y+y | x+y
        @4 + [40, 30, 20, 10] | y+y+y | y
    "#]],
    );
}

#[test]
fn a_filter_on_an_aggregate() {
    check(
        "SELECT g, count(*) FILTER (WHERE n > 10) AS big, sum(n) FILTER (WHERE b) AS flagged FROM a GROUP BY g",
        A,
        expect![[r#"
        @1 + x | 1 | 10
        @1 + y | 0 | NULL
        @2 + NULL | 1 | 40
        @2 + x | 0 | 10
        @2 - x | 1 | 10
        @2 - y | 0 | NULL
        @2 + y | 1 | NULL
        @3 - y | 1 | NULL
        @3 + y | 2 | 30
        @4 - x | 0 | 10
        @4 - y | 2 | 30
        @4 + y | 2 | 40
    "#]],
    );
}

#[test]
fn having() {
    check(
        "SELECT g, count(*) AS many FROM a GROUP BY g HAVING count(*) > 1",
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
fn no_group_by_is_one_row_also_over_nothing() {
    check(
        "SELECT count(*) AS rows, sum(n) AS s, max(g) AS g FROM b JOIN a USING (k, g) WHERE false OR n > 0",
        "a 1, \"x\", 10\n--\nb 1, \"x\", 1, \"s\"",
        expect![[r#"
        @0 + 0 | NULL | NULL
        @2 - 0 | NULL | NULL
        @2 + 1 | 10 | x
    "#]],
    );
}

#[test]
fn group_by_over_nothing_is_no_row() {
    check(
        "SELECT g, count(*) AS rows FROM a GROUP BY g",
        "",
        expect![[""]],
    );
}

#[test]
fn count_of_null_is_zero() {
    check(
        "SELECT count(NULL) AS c, count(CASE WHEN false THEN k END) AS d, count(DISTINCT NULL) AS e FROM a",
        A,
        expect![[r#"
            @0 + 0 | 0 | 0
        "#]],
    );
}

#[test]
fn places_and_lengths_can_be_added() {
    check(
        "SELECT sum(place) AS s, avg(place) AS v, max(place) AS m FROM (SELECT k, rank() OVER (ORDER BY k) AS place FROM a) t WHERE place <= 2",
        A,
        expect![[r#"
            @0 + NULL | NULL | NULL
            @1 + 3 | 1.5 | 2
            @1 - NULL | NULL | NULL
        "#]],
    );
}

#[test]
fn a_list_without_repeats_is_ordered_by_its_values() {
    check(
        "SELECT array_agg(DISTINCT g ORDER BY g DESC) AS l, string_agg(DISTINCT g, '+' ORDER BY g) AS t FROM a",
        A,
        expect![[r#"
            @0 + NULL | NULL
            @1 - NULL | NULL
            @1 + [y, x] | x+y
            @2 + [NULL, y, x] | x+y
            @2 - [y, x] | x+y
            @4 - [NULL, y, x] | x+y
            @4 + [NULL, y] | y
        "#]],
    );
}

#[test]
fn a_number_in_the_order_of_a_list_is_a_constant() {
    check(
        "SELECT string_agg(g, ',' ORDER BY 1 DESC, k) AS l FROM a",
        A,
        expect![[r#"
            @0 + NULL
            @1 - NULL
            @1 + x,x,y
            @2 - x,x,y
            @2 + x,y,y
            @4 - x,y,y
            @4 + y,y,y
        "#]],
    );
}

#[test]
fn the_fraction_is_told_from_a_constant_that_is_ordered() {
    check(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY 2) AS p FROM a",
        A,
        expect![[r#"
            @0 + NULL
            @1 + 2
            @1 - NULL
        "#]],
    );
}

#[test]
fn a_condition_that_is_never_true_is_above_an_aggregate_of_all_rows() {
    for query in [
        "SELECT q.n FROM (SELECT count(*) AS n FROM a) AS q WHERE q.n NOT IN (-1, NULL)",
        "SELECT count(*) AS n FROM a HAVING count(*) >= 0 AND NULL",
        "SELECT q.n FROM (SELECT count(*) AS n, min(k) AS m FROM a) AS q \
         WHERE q.n NOT IN (-1, NULL) AND NOT EXISTS (SELECT 1 FROM a AS r WHERE r.k = q.m + 100)",
        "SELECT q.n FROM (SELECT count(*) AS n FROM a) AS q JOIN a ON q.n > -1 AND q.n NOT IN (-1, NULL)",
    ] {
        check(query, A, expect![""]);
    }
}

//! The operators by example: which rows come (`+`) and go (`-`) at each epoch.
//!
//! The input names a table and its values, as JSON, one record a line; a line `--` ends an epoch. The tables are those of
//! [`super::query::TABLES`]. `@0` is what a view holds before anything has arrived.

use std::collections::BTreeMap;
use std::fmt::Write;

use expect_test::{Expect, expect};
use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};

use super::query::TABLES;

/// The changes of the view `v` that `sql` defines, for every number of workers.
fn check(sql: &str, records: &str, expected: Expect) {
    let sql = format!("CREATE MATERIALIZED VIEW v AS {sql};");
    check_views(&sql, records, expected);
}

fn check_views(views: &str, records: &str, expected: Expect) {
    let definition = Definition::parse("test.sql", &format!("{TABLES}{views}"))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut input = Input::default();
    let mut epoch = 1;
    for line in records
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        match line.split_once(' ') {
            Some((stream, values)) => {
                let known = definition
                    .streams
                    .iter()
                    .find(|s| s.name == stream)
                    .expect("a known stream");
                let values: Vec<serde_json::Value> =
                    serde_json::from_str(&format!("[{values}]")).expect("JSON values");
                let record: serde_json::Map<_, _> = known
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .zip(values)
                    .collect();
                input.add(epoch, stream, serde_json::Value::Object(record).to_string());
            }
            None => epoch += 1,
        }
    }
    let mut texts = Vec::new();
    for (workers, batch) in [(1, 1000), (2, 1), (3, 2)] {
        let replay = replay(&definition, input.clone(), &Options { workers, batch }).unwrap();
        let mut text = String::new();
        let mut before: BTreeMap<String, i64> = BTreeMap::new();
        for epoch in 0..=epoch {
            let mut now: BTreeMap<String, i64> = BTreeMap::new();
            for row in replay.rows("v", epoch).unwrap() {
                *now.entry(row).or_default() += 1;
            }
            let mut changes = now.clone();
            before
                .iter()
                .for_each(|(row, count)| *changes.entry(row.clone()).or_default() -= count);
            for (sign, diff) in changes.iter().flat_map(|(row, diff)| {
                std::iter::repeat_n(
                    (if *diff < 0 { '-' } else { '+' }, row),
                    diff.unsigned_abs() as usize,
                )
            }) {
                writeln!(text, "@{epoch} {sign} {diff}").unwrap();
            }
            before = now;
        }
        for fault in &replay.faults {
            writeln!(text, "fault in {}: {}", fault.relation, fault.reason).unwrap();
        }
        texts.push(text);
    }
    assert_eq!(texts[0], texts[1], "one worker and two");
    assert_eq!(texts[0], texts[2], "one worker and three");
    expected.assert_eq(&texts[0]);
}

const A: &str = r#"
    a 1, "x", 10, 1.5, true, "2020-01-01 00:00:00"
    a 2, "x", 20, 2.5, false, "2020-01-02 00:00:00"
    a 3, "y", null, null, null, null
    --
    a 2, "y", 20, 2.5, false, "2020-01-02 00:00:00"
    a 4, null, 40, -1.0, true, null
    --
    a 1, "x", 10, 1.5, true, "2020-01-01 00:00:00"
    a 3, "y", 30, 0.25, true, "2020-01-01 00:00:00"
    --
    a 1, "y", 10, 1.5, true, "2020-01-01 00:00:00"
"#;

/// A pin before its partners, one that has none, a partner that changes.
const AB: &str = r#"
    a 1, "x", 10
    a 2, "y", 20
    b 3, "x", 1, "three"
    --
    b 1, "x", 5, "one"
    a 3, null, 30
    --
    b 1, null, 15, "uno"
    --
    a 1, "z", 11
    b 2, "y", null, null
"#;

/// Ties, nulls and a key of two columns.
const C: &str = r#"
    c 1, "p", 5, "x"
    c 1, "q", 5, "x"
    c 2, "p", 3, "x"
    c 3, "p", null, "y"
    --
    c 2, "p", 9, "x"
    c 3, "q", 1, "y"
    --
    c 1, "p", 9, "y"
    c 1, "q", 9, "y"
"#;

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
fn distinct() {
    check(
        "SELECT DISTINCT g FROM a",
        A,
        expect![[r#"
        @1 + x
        @1 + y
        @2 + NULL
        @4 - x
    "#]],
    );
}

#[test]
fn union_all_keeps_repeats() {
    check(
        "SELECT g FROM a UNION ALL SELECT g FROM b",
        AB,
        expect![[r#"
        @1 + x
        @1 + x
        @1 + y
        @2 + NULL
        @2 + x
        @3 + NULL
        @3 - x
        @4 - x
        @4 + y
        @4 + z
    "#]],
    );
}

#[test]
fn union_does_not() {
    check(
        "SELECT g FROM a UNION SELECT g FROM b",
        AB,
        expect![[r#"
        @1 + x
        @1 + y
        @2 + NULL
        @4 + z
    "#]],
    );
}

#[test]
fn inner_join_on_the_key() {
    check(
        "SELECT a.k, a.n, b.s FROM a JOIN b ON a.k = b.k",
        AB,
        expect![[r#"
        @2 + 1 | 10 | one
        @2 + 3 | 30 | three
        @3 - 1 | 10 | one
        @3 + 1 | 10 | uno
        @4 - 1 | 10 | uno
        @4 + 1 | 11 | uno
        @4 + 2 | 20 | NULL
    "#]],
    );
}

#[test]
fn left_join_on_the_key() {
    check(
        "SELECT a.k, a.n, b.s FROM a LEFT JOIN b ON a.k = b.k",
        AB,
        expect![[r#"
        @1 + 1 | 10 | NULL
        @1 + 2 | 20 | NULL
        @2 - 1 | 10 | NULL
        @2 + 1 | 10 | one
        @2 + 3 | 30 | three
        @3 - 1 | 10 | one
        @3 + 1 | 10 | uno
        @4 - 1 | 10 | uno
        @4 + 1 | 11 | uno
    "#]],
    );
}

#[test]
fn right_join_on_the_key() {
    check(
        "SELECT b.k, a.n, b.s FROM a RIGHT JOIN b ON a.k = b.k",
        AB,
        expect![[r#"
        @1 + 3 | NULL | three
        @2 + 1 | 10 | one
        @2 + 3 | 30 | three
        @2 - 3 | NULL | three
        @3 - 1 | 10 | one
        @3 + 1 | 10 | uno
        @4 - 1 | 10 | uno
        @4 + 1 | 11 | uno
        @4 + 2 | 20 | NULL
    "#]],
    );
}

#[test]
fn full_join_on_the_key() {
    check(
        "SELECT a.k AS ak, b.k AS bk, a.n, b.s FROM a FULL JOIN b ON a.k = b.k",
        AB,
        expect![[r#"
        @1 + 1 | NULL | 10 | NULL
        @1 + 2 | NULL | 20 | NULL
        @1 + NULL | 3 | NULL | three
        @2 + 1 | 1 | 10 | one
        @2 - 1 | NULL | 10 | NULL
        @2 + 3 | 3 | 30 | three
        @2 - NULL | 3 | NULL | three
        @3 - 1 | 1 | 10 | one
        @3 + 1 | 1 | 10 | uno
        @4 - 1 | 1 | 10 | uno
        @4 + 1 | 1 | 11 | uno
        @4 + 2 | 2 | 20 | NULL
        @4 - 2 | NULL | 20 | NULL
    "#]],
    );
}

#[test]
fn inner_join_on_other_columns() {
    check(
        "SELECT a.k AS ak, b.k AS bk FROM a JOIN b ON a.g = b.g",
        AB,
        expect![[r#"
        @1 + 1 | 3
        @2 + 1 | 1
        @3 - 1 | 1
        @4 - 1 | 3
        @4 + 2 | 2
    "#]],
    );
}

#[test]
fn left_join_on_other_columns() {
    check(
        "SELECT a.k AS ak, b.k AS bk FROM a LEFT JOIN b ON a.g = b.g",
        AB,
        expect![[r#"
        @1 + 1 | 3
        @1 + 2 | NULL
        @2 + 1 | 1
        @2 + 3 | NULL
        @3 - 1 | 1
        @4 - 1 | 3
        @4 + 1 | NULL
        @4 + 2 | 2
        @4 - 2 | NULL
    "#]],
    );
}

#[test]
fn full_join_on_other_columns() {
    check(
        "SELECT a.k AS ak, b.k AS bk FROM a FULL JOIN b ON a.g = b.g",
        AB,
        expect![[r#"
        @1 + 1 | 3
        @1 + 2 | NULL
        @2 + 1 | 1
        @2 + 3 | NULL
        @3 - 1 | 1
        @3 + NULL | 1
        @4 - 1 | 3
        @4 + 1 | NULL
        @4 + 2 | 2
        @4 - 2 | NULL
        @4 + NULL | 3
    "#]],
    );
}

#[test]
fn left_join_with_a_condition() {
    check(
        "SELECT a.k, a.n, b.m FROM a LEFT JOIN b ON a.k = b.k AND b.m > 10",
        AB,
        expect![[r#"
        @1 + 1 | 10 | NULL
        @1 + 2 | 20 | NULL
        @2 + 3 | 30 | NULL
        @3 + 1 | 10 | 15
        @3 - 1 | 10 | NULL
        @4 - 1 | 10 | 15
        @4 + 1 | 11 | 15
    "#]],
    );
}

#[test]
fn full_join_with_a_condition() {
    check(
        "SELECT a.k AS ak, b.k AS bk FROM a FULL JOIN b ON a.k = b.k AND a.n < b.m",
        AB,
        expect![[r#"
        @1 + 1 | NULL
        @1 + 2 | NULL
        @1 + NULL | 3
        @2 + 3 | NULL
        @2 + NULL | 1
        @3 + 1 | 1
        @3 - 1 | NULL
        @3 - NULL | 1
        @4 + NULL | 2
    "#]],
    );
}

#[test]
fn join_on_an_inequality() {
    check(
        "SELECT a.k AS ak, b.k AS bk FROM a JOIN b ON a.n < b.m",
        AB,
        expect![[r#"
        @3 + 1 | 1
    "#]],
    );
}

#[test]
fn exists() {
    check(
        "SELECT k, n FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
        AB,
        expect![[r#"
        @2 + 1 | 10
        @2 + 3 | 30
        @4 - 1 | 10
        @4 + 1 | 11
        @4 + 2 | 20
    "#]],
    );
}

#[test]
fn not_exists() {
    check(
        "SELECT k, n FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.g = a.g)",
        AB,
        expect![[r#"
        @1 + 2 | 20
        @2 + 3 | 30
        @4 + 1 | 11
        @4 - 2 | 20
    "#]],
    );
}

#[test]
fn exists_with_a_condition() {
    check(
        "SELECT k, n FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.g = a.g AND b.m < a.n)",
        AB,
        expect![[r#"
        @1 + 1 | 10
        @4 - 1 | 10
    "#]],
    );
}

#[test]
fn in_a_subquery() {
    check(
        "SELECT k FROM a WHERE g IN (SELECT g FROM b)",
        AB,
        expect![[r#"
        @1 + 1
        @4 - 1
        @4 + 2
    "#]],
    );
}

#[test]
fn a_scalar_subquery_moves_a_threshold() {
    check(
        "SELECT k, n FROM a WHERE n > (SELECT max(m) FROM b)",
        AB,
        expect![[r#"
        @1 + 1 | 10
        @1 + 2 | 20
        @2 + 3 | 30
        @3 - 1 | 10
    "#]],
    );
}

#[test]
fn a_correlated_scalar_subquery() {
    check(
        "SELECT k, (SELECT count(*) FROM b WHERE b.g = a.g) AS partners FROM a",
        AB,
        expect![[r#"
        @1 + 1 | 1
        @1 + 2 | 0
        @2 - 1 | 1
        @2 + 1 | 2
        @2 + 3 | 0
        @3 + 1 | 1
        @3 - 1 | 2
        @4 + 1 | 0
        @4 - 1 | 1
        @4 - 2 | 0
        @4 + 2 | 1
    "#]],
    );
}

#[test]
fn rank_keeps_ties() {
    check(
        "SELECT g, k, place FROM (SELECT g, k, rank() OVER (PARTITION BY g ORDER BY n DESC) AS place FROM c) t WHERE place <= 2",
        C,
        expect![[r#"
        @1 + x | 1 | 1
        @1 + x | 1 | 1
        @1 + y | 3 | 1
        @2 - x | 1 | 1
        @2 - x | 1 | 1
        @2 + x | 1 | 2
        @2 + x | 1 | 2
        @2 + x | 2 | 1
        @2 + y | 3 | 2
        @3 - x | 1 | 2
        @3 - x | 1 | 2
        @3 + y | 1 | 2
        @3 + y | 1 | 2
        @3 - y | 3 | 2
    "#]],
    );
}

#[test]
fn rank_of_distinct_rows_counts_equal_rows_once() {
    check(
        "SELECT g, n, place FROM (SELECT g, n, rank() OVER (PARTITION BY g ORDER BY n DESC) AS place FROM (SELECT DISTINCT g, n FROM c) d) t WHERE place <= 2",
        C,
        expect![[r#"
            @1 + x | 3 | 2
            @1 + x | 5 | 1
            @1 + y | NULL | 1
            @2 - x | 3 | 2
            @2 - x | 5 | 1
            @2 + x | 5 | 2
            @2 + x | 9 | 1
            @2 + y | 1 | 2
            @3 - x | 5 | 2
            @3 - y | 1 | 2
            @3 + y | 9 | 2
        "#]],
    );
}

#[test]
fn dense_rank_counts_places() {
    check(
        "SELECT g, k, place FROM (SELECT g, k, dense_rank() OVER (PARTITION BY g ORDER BY n DESC) AS place FROM c) t WHERE place <= 2",
        C,
        expect![[r#"
        @1 + x | 1 | 1
        @1 + x | 1 | 1
        @1 + x | 2 | 2
        @1 + y | 3 | 1
        @2 - x | 1 | 1
        @2 - x | 1 | 1
        @2 + x | 1 | 2
        @2 + x | 1 | 2
        @2 + x | 2 | 1
        @2 - x | 2 | 2
        @2 + y | 3 | 2
        @3 - x | 1 | 2
        @3 - x | 1 | 2
        @3 + y | 1 | 2
        @3 + y | 1 | 2
        @3 - y | 3 | 2
    "#]],
    );
}

#[test]
fn row_number_picks() {
    check(
        "SELECT g, k, l FROM (SELECT g, k, l, row_number() OVER (PARTITION BY g ORDER BY n DESC, k, l) AS place FROM c) t WHERE place = 1",
        C,
        expect![[r#"
        @1 + x | 1 | p
        @1 + y | 3 | p
        @2 - x | 1 | p
        @2 + x | 2 | p
    "#]],
    );
}

#[test]
fn order_by_limit() {
    check(
        "SELECT k, l, n FROM c ORDER BY n DESC, k, l LIMIT 2",
        C,
        expect![[r#"
        @1 + 1 | p | 5
        @1 + 3 | p | NULL
        @2 - 1 | p | 5
        @2 + 2 | p | 9
        @3 + 1 | p | 9
        @3 - 2 | p | 9
    "#]],
    );
}

#[test]
fn order_by_limit_offset() {
    check(
        "SELECT k, l, n FROM c ORDER BY n DESC NULLS LAST, k, l LIMIT 2 OFFSET 1",
        C,
        expect![[r#"
        @1 + 1 | q | 5
        @1 + 2 | p | 3
        @2 + 1 | p | 5
        @2 - 2 | p | 3
        @3 - 1 | p | 5
        @3 - 1 | q | 5
        @3 + 1 | q | 9
        @3 + 2 | p | 9
    "#]],
    );
}

#[test]
fn order_by_alone_says_nothing() {
    check(
        "SELECT k, n FROM c ORDER BY n",
        C,
        expect![[r#"
        @1 + 1 | 5
        @1 + 1 | 5
        @1 + 2 | 3
        @1 + 3 | NULL
        @2 - 2 | 3
        @2 + 2 | 9
        @2 + 3 | 1
        @3 - 1 | 5
        @3 - 1 | 5
        @3 + 1 | 9
        @3 + 1 | 9
    "#]],
    );
}

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

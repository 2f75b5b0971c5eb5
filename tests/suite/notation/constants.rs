//! Rows that are written in the query: VALUES, and SELECT without FROM.

use expect_test::expect;

use super::{check, check_views};

/// A VALUES list of thirty rows, of which row `other` is unlike the others.
fn list(other: i64) -> String {
    let row = |number| match number == other {
        true => format!("({number}, 'other')"),
        false => format!("({number}, 'same')"),
    };
    let rows: Vec<String> = (0..30).map(row).collect();
    format!("(VALUES {})", rows.join(", "))
}

#[test]
fn long_lists_that_differ_in_the_middle_are_two_lists() {
    let (one, two) = (list(15), list(16));
    check(
        &format!(
            "SELECT x.k, x.s, y.s AS other FROM {one} AS x(k, s) JOIN {two} AS y(k, s) ON x.k = y.k WHERE x.s <> y.s"
        ),
        "",
        expect![[r#"
            @0 + 15 | other | same
            @0 + 16 | same | other
        "#]],
    );
    check_views(
        &format!(
            "CREATE MATERIALIZED VIEW w AS SELECT * FROM {one} AS x(k, s);
             CREATE MATERIALIZED VIEW v AS SELECT k FROM {two} AS y(k, s) WHERE s = 'other';"
        ),
        "",
        expect![[r#"
            @0 + 16
        "#]],
    );
}

#[test]
fn a_list_may_have_repeats_and_nulls() {
    check(
        "SELECT s, count(*) AS c, count(k) AS n FROM (VALUES (1, 'x'), (NULL, 'x'), (1, 'x'), (2, NULL)) AS l(k, s) GROUP BY s",
        "",
        expect![[r#"
            @0 + NULL | 1 | 1
            @0 + x | 3 | 2
        "#]],
    );
}

#[test]
fn a_query_without_from_is_one_row() {
    check(
        "SELECT 1 AS one, 'x' AS s UNION ALL SELECT 2, NULL",
        "",
        expect![[r#"
            @0 + 1 | x
            @0 + 2 | NULL
        "#]],
    );
}

//! Subqueries in conditions: every value that SQL gives them, over rows that come and go.

use expect_test::expect;

use super::{AB, check};

#[test]
fn not_in_a_subquery_that_may_have_nulls() {
    check(
        "SELECT k FROM a WHERE g NOT IN (SELECT g FROM b)",
        AB,
        expect![[r#"
            @1 + 2
            @3 - 2
        "#]],
    );
}

#[test]
fn not_in_a_subquery_without_nulls() {
    check(
        "SELECT k FROM a WHERE g NOT IN (SELECT g FROM b WHERE g IS NOT NULL)",
        AB,
        expect![[r#"
            @1 + 2
            @4 + 1
            @4 - 2
        "#]],
    );
}

#[test]
fn not_in_keys() {
    check(
        "SELECT k FROM a WHERE k NOT IN (SELECT k FROM b)",
        AB,
        expect![[r#"
            @1 + 1
            @1 + 2
            @2 - 1
            @4 - 2
        "#]],
    );
}

#[test]
fn not_in_an_empty_subquery_holds_for_nulls_too() {
    check(
        "SELECT k, g FROM a WHERE g NOT IN (SELECT g FROM b WHERE k > 100)",
        AB,
        expect![[r#"
            @1 + 1 | x
            @1 + 2 | y
            @2 + 3 | NULL
            @4 - 1 | x
            @4 + 1 | z
        "#]],
    );
}

#[test]
fn not_in_a_subquery_of_the_row() {
    check(
        "SELECT k FROM a WHERE n NOT IN (SELECT m FROM b WHERE b.g = a.g)",
        AB,
        expect![[r#"
            @1 + 1
            @1 + 2
            @2 + 3
            @4 - 2
        "#]],
    );
}

#[test]
fn not_in_a_subquery_over_the_same_table() {
    check(
        "SELECT k FROM a WHERE g NOT IN (SELECT g FROM a WHERE n > 15)",
        AB,
        expect![[r#"
            @1 + 1
            @2 - 1
        "#]],
    );
}

#[test]
fn a_subquery_beside_or() {
    check(
        "SELECT k FROM a WHERE g IN (SELECT g FROM b) OR n > 25",
        AB,
        expect![[r#"
            @1 + 1
            @2 + 3
            @4 - 1
            @4 + 2
        "#]],
    );
}

#[test]
fn a_negated_subquery_beside_or() {
    check(
        "SELECT k FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k) OR g NOT IN (SELECT g FROM b)",
        AB,
        expect![[r#"
            @1 + 1
            @1 + 2
            @2 - 1
            @4 - 2
        "#]],
    );
}

#[test]
fn the_value_of_in_is_null_where_it_is_unknown() {
    check(
        "SELECT k, g FROM a WHERE (g IN (SELECT g FROM b)) IS NULL",
        AB,
        expect![[r#"
            @2 + 3 | NULL
            @3 + 2 | y
            @4 + 1 | z
            @4 - 2 | y
        "#]],
    );
}

#[test]
fn greater_than_all() {
    check(
        "SELECT k, n FROM a WHERE n > ALL (SELECT m FROM b WHERE m IS NOT NULL)",
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
fn less_than_any() {
    check(
        "SELECT k, n FROM a WHERE n < ANY (SELECT m FROM b)",
        AB,
        expect![[r#"
            @3 + 1 | 10
            @4 - 1 | 10
            @4 + 1 | 11
        "#]],
    );
}

#[test]
fn exists_over_an_aggregate_always_has_its_row() {
    check(
        "SELECT k FROM a WHERE EXISTS (SELECT count(*) FROM b WHERE b.k = a.k)",
        AB,
        expect![[r#"
            @1 + 1
            @1 + 2
            @2 + 3
        "#]],
    );
}

#[test]
fn in_an_aggregate_compares_with_it() {
    check(
        "SELECT k FROM a WHERE 0 IN (SELECT count(*) FROM b WHERE b.k = a.k)",
        AB,
        expect![[r#"
            @1 + 1
            @1 + 2
            @2 - 1
            @4 - 2
        "#]],
    );
}

#[test]
fn a_value_by_the_whole_primary_key() {
    check(
        "SELECT k, (SELECT s FROM b WHERE b.k = a.k) AS s FROM a",
        AB,
        expect![[r#"
            @1 + 1 | NULL
            @1 + 2 | NULL
            @2 - 1 | NULL
            @2 + 1 | one
            @2 + 3 | three
            @3 - 1 | one
            @3 + 1 | uno
        "#]],
    );
}

#[test]
fn a_value_of_a_row_that_is_named() {
    check(
        "SELECT k, (SELECT m FROM b WHERE k = 1) AS m FROM a",
        AB,
        expect![[r#"
            @1 + 1 | NULL
            @1 + 2 | NULL
            @2 + 1 | 5
            @2 - 1 | NULL
            @2 + 2 | 5
            @2 - 2 | NULL
            @2 + 3 | 5
            @3 + 1 | 15
            @3 - 1 | 5
            @3 + 2 | 15
            @3 - 2 | 5
            @3 + 3 | 15
            @3 - 3 | 5
        "#]],
    );
}

#[test]
fn conditions_on_subqueries_are_columns_too() {
    check(
        "SELECT k, EXISTS (SELECT 1 FROM b WHERE b.k = a.k) AS e, g IN (SELECT g FROM b) AS i, n NOT IN (SELECT m FROM b WHERE b.g = a.g) AS x FROM a",
        AB,
        expect![[r#"
            @1 + 1 | false | true | true
            @1 + 2 | false | false | true
            @2 - 1 | false | true | true
            @2 + 1 | true | true | true
            @2 + 3 | true | NULL | true
            @3 + 2 | false | NULL | true
            @3 - 2 | false | false | true
            @4 + 1 | true | NULL | true
            @4 - 1 | true | true | true
            @4 - 2 | false | NULL | true
            @4 + 2 | true | true | NULL
        "#]],
    );
}

//! Joins, and subqueries that become joins.

use expect_test::expect;

use super::{AB, check};

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

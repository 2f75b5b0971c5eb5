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

#[test]
fn right_join_using_has_the_right_key() {
    check(
        "SELECT k, a.n, b.s FROM a RIGHT JOIN b USING (k)",
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
fn full_join_using_has_the_key_of_either_side() {
    check(
        "SELECT k, a.n, b.s FROM a FULL JOIN b USING (k)",
        AB,
        expect![[r#"
            @1 + 1 | 10 | NULL
            @1 + 2 | 20 | NULL
            @1 + 3 | NULL | three
            @2 - 1 | 10 | NULL
            @2 + 1 | 10 | one
            @2 + 3 | 30 | three
            @2 - 3 | NULL | three
            @3 - 1 | 10 | one
            @3 + 1 | 10 | uno
            @4 - 1 | 10 | uno
            @4 + 1 | 11 | uno
        "#]],
    );
}

#[test]
fn natural_full_join_merges_every_common_column() {
    check(
        "SELECT k, g, n, m FROM a NATURAL FULL JOIN b",
        AB,
        expect![[r#"
            @1 + 1 | x | 10 | NULL
            @1 + 2 | y | 20 | NULL
            @1 + 3 | x | NULL | 1
            @2 + 1 | x | 10 | 5
            @2 - 1 | x | 10 | NULL
            @2 + 3 | NULL | 30 | NULL
            @3 + 1 | NULL | NULL | 15
            @3 - 1 | x | 10 | 5
            @3 + 1 | x | 10 | NULL
            @4 - 1 | x | 10 | NULL
            @4 + 1 | z | 11 | NULL
        "#]],
    );
}

#[test]
fn a_group_by_the_merged_key_of_three() {
    check(
        "SELECT k, count(*) AS c FROM a FULL JOIN b USING (k) FULL JOIN f USING (k) WHERE k > 1 GROUP BY k",
        AB,
        expect![[r#"
            @1 + 2 | 1
            @1 + 3 | 1
        "#]],
    );
}

#[test]
fn left_join_using_with_all_columns_keeps_the_left_key() {
    check(
        "SELECT * FROM b LEFT JOIN (SELECT k, n FROM a) AS a USING (k)",
        AB,
        expect![[r#"
            @1 + x | 1 | three | 3 | NULL
            @2 + x | 1 | three | 3 | 30
            @2 - x | 1 | three | 3 | NULL
            @2 + x | 5 | one | 1 | 10
            @3 + NULL | 15 | uno | 1 | 10
            @3 - x | 5 | one | 1 | 10
            @4 - NULL | 15 | uno | 1 | 10
            @4 + NULL | 15 | uno | 1 | 11
            @4 + y | NULL | NULL | 2 | 20
        "#]],
    );
}

#[test]
fn an_outer_join_of_which_no_column_is_read() {
    check(
        "SELECT count(*) AS c FROM a LEFT JOIN b ON true",
        AB,
        expect![[r#"
            @0 + 0
            @1 - 0
            @1 + 2
            @2 - 2
            @2 + 6
            @4 - 6
            @4 + 9
        "#]],
    );
}

#[test]
fn a_full_join_of_which_no_column_is_read() {
    check(
        "SELECT count(*) AS c FROM a FULL JOIN b ON a.g = b.g",
        AB,
        expect![[r#"
            @0 + 0
            @1 - 0
            @1 + 2
            @2 - 2
            @2 + 4
            @4 - 4
            @4 + 5
        "#]],
    );
}

#[test]
fn an_outer_join_of_one_row() {
    check(
        "SELECT 1 AS one FROM a LEFT JOIN (SELECT max(m) AS m FROM b) AS x ON true",
        AB,
        expect![[r#"
            @1 + 1
            @1 + 1
            @2 + 1
        "#]],
    );
}

#[test]
fn existence_of_which_no_column_is_read() {
    check(
        "SELECT count(*) AS c FROM a WHERE EXISTS (SELECT 1 FROM b WHERE m > 10)",
        AB,
        expect![[r#"
            @0 + 0
            @3 - 0
            @3 + 3
        "#]],
    );
}

#[test]
fn a_merged_column_in_every_clause() {
    check(
        "SELECT k + 1 AS next, count(*) AS c FROM a RIGHT JOIN b USING (k) WHERE k < 3 AND k IN (SELECT k FROM b) GROUP BY k HAVING k > 1",
        AB,
        expect![[r#"
            @4 + 3 | 1
        "#]],
    );
}

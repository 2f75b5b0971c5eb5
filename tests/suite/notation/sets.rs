//! DISTINCT and UNION.

use expect_test::expect;

use super::{A, AB, check};

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
fn a_column_is_called_as_another_of_the_first_query() {
    check(
        "SELECT k, n FROM a UNION ALL SELECT b.m + 1, b.k FROM b",
        AB,
        expect![[r#"
            @1 + 1 | 10
            @1 + 2 | 20
            @1 + 2 | 3
            @2 + 3 | 30
            @2 + 6 | 1
            @3 + 16 | 1
            @3 - 6 | 1
            @4 - 1 | 10
            @4 + 1 | 11
            @4 + NULL | 2
        "#]],
    );
}

#[test]
fn a_column_twice_in_a_later_query() {
    check(
        "SELECT n, k FROM a UNION SELECT b.k, b.k FROM b",
        AB,
        expect![[r#"
            @1 + 10 | 1
            @1 + 20 | 2
            @1 + 3 | 3
            @2 + 1 | 1
            @2 + 30 | 3
            @4 - 10 | 1
            @4 + 11 | 1
            @4 + 2 | 2
        "#]],
    );
}

#[test]
fn columns_of_one_name_of_two_relations_in_a_later_query() {
    check(
        "SELECT a.k, b.k AS partner FROM a JOIN b ON a.g = b.g \
         EXCEPT SELECT a.k, b.k FROM a JOIN b ON a.g = b.g WHERE b.m > 4",
        AB,
        expect![[r#"
            @1 + 1 | 3
            @4 - 1 | 3
            @4 + 2 | 2
        "#]],
    );
}

#[test]
fn columns_of_joined_tables_meet_those_of_one() {
    check(
        "SELECT a.k, b.s FROM a JOIN b USING (k) UNION ALL SELECT k, g FROM a WHERE n > 15",
        AB,
        expect![[r#"
            @1 + 2 | y
            @2 + 1 | one
            @2 + 3 | NULL
            @2 + 3 | three
            @3 - 1 | one
            @3 + 1 | uno
            @4 + 2 | NULL
        "#]],
    );
}

#[test]
fn three_queries_without_names() {
    check(
        "SELECT a.n, a.k FROM a \
         INTERSECT SELECT 10, 1 FROM b \
         INTERSECT SELECT b.m * 2, b.k FROM b JOIN a ON a.k = b.k",
        AB,
        expect![[r#"
            @2 + 10 | 1
            @3 - 10 | 1
        "#]],
    );
}

#[test]
fn a_later_query_with_an_order_of_its_own() {
    check(
        "SELECT n, k FROM a UNION ALL \
         (SELECT DISTINCT b.k + 1, b.k FROM b ORDER BY b.k + 1 DESC, b.k LIMIT 1)",
        AB,
        expect![[r#"
            @1 + 10 | 1
            @1 + 20 | 2
            @1 + 4 | 3
            @2 + 30 | 3
            @4 - 10 | 1
            @4 + 11 | 1
        "#]],
    );
}

#[test]
fn a_later_query_grouped_by_what_it_returns() {
    check(
        "SELECT g, n AS c FROM a UNION ALL SELECT b.g, count(*) FROM b GROUP BY b.g",
        AB,
        expect![[r#"
            @1 + x | 1
            @1 + x | 10
            @1 + y | 20
            @2 + NULL | 30
            @2 - x | 1
            @2 + x | 2
            @3 + NULL | 1
            @3 + x | 1
            @3 - x | 2
            @4 - x | 10
            @4 + y | 1
            @4 + z | 11
        "#]],
    );
}

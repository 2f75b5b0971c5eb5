//! The first of an order: ranks, row numbers, limits.

use expect_test::expect;

use super::{C, check};

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
fn a_rank_among_the_first_of_another_rank() {
    check(
        "SELECT k, r, s FROM (SELECT k, r, row_number() OVER (ORDER BY k DESC) AS s FROM (SELECT k, row_number() OVER (ORDER BY k) AS r FROM a) t WHERE r <= 2) u WHERE s <= 1",
        super::A,
        expect![[r#"
            @1 + 2 | 2 | 1
        "#]],
    );
}

#[test]
fn a_rank_with_two_bounds_keeps_the_tighter_one() {
    check(
        "SELECT k, r FROM (SELECT k, r FROM (SELECT k, row_number() OVER (ORDER BY k) AS r FROM a) t WHERE 3 >= r) u WHERE r < 2.5 AND r <> 1",
        super::A,
        expect![[r#"
            @1 + 2 | 2
        "#]],
    );
}

#[test]
fn a_bound_below_every_number_keeps_no_row() {
    check(
        "SELECT k FROM (SELECT k, rank() OVER (ORDER BY k) AS r FROM a) t WHERE r <= -1",
        super::A,
        expect![[""]],
    );
}

#[test]
fn chosen_ranks() {
    check(
        "SELECT k, place FROM (SELECT k, rank() OVER (ORDER BY n DESC) AS place FROM c) t WHERE place IN (1, 3) OR place = 4",
        C,
        expect![[r#"
            @1 + 2 | 4
            @1 + 3 | 1
            @2 + 1 | 3
            @2 + 1 | 3
            @2 - 2 | 4
            @3 - 1 | 3
            @3 - 1 | 3
        "#]],
    );
}

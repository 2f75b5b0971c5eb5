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

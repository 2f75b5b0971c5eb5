//! Mistakes that everybody makes, and what is said about them.

use expect_test::expect;

use super::unread::told;

#[test]
fn mistakes_in_a_stream() {
    expect![[r#""#]].assert_eq(&told(&[
        "CREATE EXTERNAL TABLE s (id BIGINT, key TEXT, x TEXT) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON",
        "CREATE EXTERNAL TABLE s (k BIGINT) LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k SERIAL) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k DECIMAL(12,2)) STORED AS JSON LOCATION 's'",
    ]));
}

#[test]
fn mistakes_in_a_query() {
    expect![[r#""#]].assert_eq(&told(&[
        "CREATE VIEW v AS SELECT k FROM t a JOIN t b ON a.k = b.k",
        "CREATE VIEW v AS SELECT k, count(*) FROM t GROUP BY g",
        "CREATE VIEW v AS SELECT g, v FROM t HAVING v > 1",
        "CREATE VIEW v AS SELECT k FROM t WHERE count(*) > 1",
        "CREATE VIEW v AS SELECT sum(max(k)) AS x FROM t",
        "CREATE VIEW v AS SELECT k FROM t WHERE g = \u{201c}a\u{201d}",
        "CREATE VIEW v AS SELECT k FROM t UNION SELECT k, v FROM t",
        "CREATE VIEW v AS SELECT k v g FROM t",
        "CREATE VIEW v AS",
    ]));
}

//! Mistakes that everybody makes, and what is said about them.

use expect_test::expect;

use super::unread::told;

#[test]
fn mistakes_in_a_stream() {
    expect![[r#"
        CREATE EXTERNAL TABLE s (id BIGINT, key TEXT, x TEXT) STORED AS JSON LOCATION 's'
        Expected: a list of columns in parentheses, found: ,
           column 45
         help: `key` is a word of SQL: a column of that name is written "key", in double quotes

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON
        the stream has no LOCATION
           column 1
         help: write CREATE EXTERNAL TABLE name (..) STORED AS JSON LOCATION 'stream name'

        CREATE EXTERNAL TABLE s (k BIGINT) LOCATION 's'
        the stream has no format
           column 1
         help: write CREATE EXTERNAL TABLE name (..) STORED AS JSON LOCATION 'stream name'

        CREATE EXTERNAL TABLE s (k SERIAL) STORED AS JSON LOCATION 's'
        Unsupported SQL type SERIAL
           column 28
         help: there are TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DECIMAL(p, s), BYTEA and arrays of them; read other types as TEXT

        CREATE EXTERNAL TABLE s (k DECIMAL(12,2)) STORED AS JSON LOCATION 's'
        column `k` is declared as DECIMAL(12, 2), which JSON records are not decoded into; declare it as TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DOUBLE[] or TEXT[] and cast it in the table's SELECT
           column 26

    "#]].assert_eq(&told(&[
        "CREATE EXTERNAL TABLE s (id BIGINT, key TEXT, x TEXT) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON",
        "CREATE EXTERNAL TABLE s (k BIGINT) LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k SERIAL) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k DECIMAL(12,2)) STORED AS JSON LOCATION 's'",
    ]));
}

#[test]
fn mistakes_in_a_query() {
    expect![[r#"
        CREATE VIEW v AS SELECT k FROM t a JOIN t b ON a.k = b.k
        several relations here have a column `k`
           column 25
         help: say which one is meant: relation.k

        CREATE VIEW v AS SELECT k, count(*) FROM t GROUP BY g
        `t.k` is neither grouped by nor aggregated, so a group has many values of it
           column 25
         help: add it to GROUP BY, or take one value of each group: max(t.k)

        CREATE VIEW v AS SELECT g, v FROM t HAVING v > 1
        HAVING clause references: t.v > BIGINT(1) must appear in the GROUP BY clause or be used in an aggregate function
           column 37
         help: aggregate it, or put the condition into WHERE

        CREATE VIEW v AS SELECT k FROM t WHERE count(*) > 1
        WHERE is about single rows, and has no aggregates
           column 34
         help: put the condition into HAVING

        CREATE VIEW v AS SELECT sum(max(k)) AS x FROM t
        Aggregate function calls cannot be nested: 'max(t.k)' is nested inside 'sum(max(t.k))'
           column 33
         help: aggregate in a subquery first

        CREATE VIEW v AS SELECT k FROM t WHERE g = “a”
        Expected: an expression, found: “
           column 44
         help: texts stand in straight quotes: 'text'

        CREATE VIEW v AS SELECT k FROM t UNION SELECT k, v FROM t
        the queries of a UNION return different numbers of columns
           column 18
         help: let all of them return the same columns, in the same order

        CREATE VIEW v AS SELECT k v g FROM t
        the statement could end before `g`, which does not go on with it
           column 29
         help: is a semicolon or a comma missing?

        CREATE VIEW v AS
        Expected: SELECT, VALUES, or a subquery in the query body, found: EOF
           column 17

        CREATE VIEW v AS SELECT mod(k, 3) AS m FROM t
        there is no function `mod` here
           column 25
         help: write a % b

        CREATE VIEW v AS SELECT json_get(g, 'a') AS m FROM t
        there is no function `json_get` here
           column 25
         help: there are DataFusion's scalar functions, and pinflow's own such as parse_count; docs/sql.md has the aggregates and what is missing

        CREATE VIEW v AS SELECT uper(g) AS m FROM t
        there is no function `uper` here
           column 25
         help: did you mean `upper`?

    "#]].assert_eq(&told(&[
        "CREATE VIEW v AS SELECT k FROM t a JOIN t b ON a.k = b.k",
        "CREATE VIEW v AS SELECT k, count(*) FROM t GROUP BY g",
        "CREATE VIEW v AS SELECT g, v FROM t HAVING v > 1",
        "CREATE VIEW v AS SELECT k FROM t WHERE count(*) > 1",
        "CREATE VIEW v AS SELECT sum(max(k)) AS x FROM t",
        "CREATE VIEW v AS SELECT k FROM t WHERE g = \u{201c}a\u{201d}",
        "CREATE VIEW v AS SELECT k FROM t UNION SELECT k, v FROM t",
        "CREATE VIEW v AS SELECT k v g FROM t",
        "CREATE VIEW v AS",
        "CREATE VIEW v AS SELECT mod(k, 3) AS m FROM t",
        "CREATE VIEW v AS SELECT json_get(g, 'a') AS m FROM t",
        "CREATE VIEW v AS SELECT uper(g) AS m FROM t",
    ]));
}

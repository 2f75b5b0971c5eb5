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

#[test]
fn mistakes_in_the_name_of_a_stream() {
    expect![[r#"
        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION '../s'
        `../s` cannot be the name of a stream: a name begins with a letter or a digit, goes on with letters (a to z), digits, `_`, `-` and `.`, and has at most 100 of them
           column 51
         help: write LOCATION 'stream name'; where it is read from is said by --source

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION ''
        a stream has a name, by which sources are asked for it
           column 51
         help: write LOCATION 'stream name'; where it is read from is said by --source

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 't'
        `t_raw` is the stream 't' already
           column 51
         help: declare the columns of all its tables in one statement: a stream may have several tables

    "#]].assert_eq(&told(&[
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION '../s'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION ''",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 't'",
    ]));
}

#[test]
fn functions_of_other_systems() {
    expect![[r#"
        CREATE VIEW v AS SELECT year(g) AS x FROM t
        there is no function `year` here
           column 25
         help: write extract(year FROM t), and likewise for the others

        CREATE VIEW v AS SELECT every(k > 1) AS x FROM t
        there is no function `every` here
           column 25
         help: write bool_and(..)

        CREATE VIEW v AS SELECT max(v) AS a, max(v::TEXT) AS b FROM t
        two expressions here differ in a cast only, and the planner does not tell them apart
           column 25
         help: cast in a subquery, under a name: SELECT .. FROM (SELECT CAST(x AS ..) AS y, .. FROM t) AS q

    "#]].assert_eq(&told(&[
        "CREATE VIEW v AS SELECT year(g) AS x FROM t",
        "CREATE VIEW v AS SELECT every(k > 1) AS x FROM t",
        "CREATE VIEW v AS SELECT max(v) AS a, max(v::TEXT) AS b FROM t",
    ]));
}

#[test]
fn calls_that_fail_for_every_row() {
    expect![[r#"
        CREATE VIEW v AS SELECT to_char(g::TIMESTAMP, 'YYYY-MM') AS x FROM t
        the format 'YYYY-MM' has no letters behind %: it would stand for itself
           column 25
         help: write '%Y-%m'

        CREATE VIEW v AS SELECT to_date(g, 'fortnight') AS x FROM t
        the format 'fortnight' has no letters behind %: it would stand for itself
           column 25
         help: write %Y for the year, %m the month, %d the day, %H:%M:%S the time

        CREATE VIEW v AS SELECT to_char(g::TIMESTAMP, '%Y-%m') AS x FROM t
        accepted

        CREATE VIEW v AS SELECT EXTRACT(decade FROM g::TIMESTAMP) AS x FROM t
        `date_part` fails for every row: Date part 'DECADE' not supported
           column 25
         help: there are year, quarter, month, week, day, dow, doy, hour, minute, second and epoch

        CREATE VIEW v AS SELECT date_trunc('decade', g::TIMESTAMP) AS x FROM t
        `date_trunc` fails for every row: Unsupported date_trunc granularity: 'decade'. Supported values are: microsecond, millisecond, second, minute, hour, day, week, month, quarter, year
           column 25
         help: there are year, quarter, month, week, day, dow, doy, hour, minute, second and epoch

        CREATE VIEW v AS SELECT date_part('isodow', g::TIMESTAMP) AS x FROM t
        accepted

        CREATE VIEW v AS SELECT regexp_replace(g, '(', '') AS x FROM t
        `regexp_replace` fails for every row: unclosed group
           column 25
         help: patterns are regular expressions: a bracket as such is written \(

        CREATE VIEW v AS SELECT k FROM t WHERE g SIMILAR TO '(a|b)%'
        a query of a dataflow does not take SIMILAR TO
           column 42
         help: write LIKE, or a regular expression: text ~ '^(a|b).*$'

        CREATE VIEW v AS SELECT TIMESTAMP '2024-03-31 10h30' AS x FROM t
        Parser error: Error parsing timestamp from '2024-03-31 10h30': error parsing time
           column 25
         help: write it whole: '2024-03-31', or '2024-03-31 10:00:00'

        CREATE VIEW v AS SELECT g::TIMESTAMP + INTERVAL '1 day 02:00' AS x FROM t
        Parser error: Invalid input syntax for type interval: "1 day 02:00"
           column 1
         help: write a number before each word: INTERVAL '1 day 2 hours 30 minutes'

    "#]].assert_eq(&told(&[
        "CREATE VIEW v AS SELECT to_char(g::TIMESTAMP, 'YYYY-MM') AS x FROM t",
        "CREATE VIEW v AS SELECT to_date(g, 'fortnight') AS x FROM t",
        "CREATE VIEW v AS SELECT to_char(g::TIMESTAMP, '%Y-%m') AS x FROM t",
        "CREATE VIEW v AS SELECT EXTRACT(decade FROM g::TIMESTAMP) AS x FROM t",
        "CREATE VIEW v AS SELECT date_trunc('decade', g::TIMESTAMP) AS x FROM t",
        "CREATE VIEW v AS SELECT date_part('isodow', g::TIMESTAMP) AS x FROM t",
        "CREATE VIEW v AS SELECT regexp_replace(g, '(', '') AS x FROM t",
        "CREATE VIEW v AS SELECT k FROM t WHERE g SIMILAR TO '(a|b)%'",
        "CREATE VIEW v AS SELECT TIMESTAMP '2024-03-31 10h30' AS x FROM t",
        "CREATE VIEW v AS SELECT g::TIMESTAMP + INTERVAL '1 day 02:00' AS x FROM t",
    ]));
}

#[test]
fn functions_that_return_rows() {
    expect![[r#"
        CREATE VIEW v AS SELECT unnest(make_array(k, v)) AS x FROM t
        a query of a dataflow does not take UNNEST
           column 25
         help: ask whether a list holds a value, with array_has(list, value), or let the source send a record for each

        CREATE VIEW v AS SELECT k, x FROM t CROSS JOIN UNNEST(make_array(k, v)) AS u (x)
        a query does not take UNNEST, nor other functions that return rows
           column 48
         help: ask whether a list holds a value, with array_has(list, value), or let the source send a record for each

        CREATE VIEW v AS SELECT x FROM t, LATERAL unnest(make_array(k, v)) AS u (x)
        a query does not take UNNEST, nor other functions that return rows
           column 43
         help: ask whether a list holds a value, with array_has(list, value), or let the source send a record for each

        CREATE VIEW v AS SELECT * FROM generate_series(1, 3) AS s (x)
        functions that return rows are not maintained
           column 1
         help: write VALUES, or let the source send a record for each of them

        CREATE MATERIALIZED VIEW v (x, x) AS SELECT k, v FROM t
        two columns are called `x`
           column 29
         help: name the columns, and give one of them another name with AS

    "#]].assert_eq(&told(&[
        "CREATE VIEW v AS SELECT unnest(make_array(k, v)) AS x FROM t",
        "CREATE VIEW v AS SELECT k, x FROM t CROSS JOIN UNNEST(make_array(k, v)) AS u (x)",
        "CREATE VIEW v AS SELECT x FROM t, LATERAL unnest(make_array(k, v)) AS u (x)",
        "CREATE VIEW v AS SELECT * FROM generate_series(1, 3) AS s (x)",
        "CREATE MATERIALIZED VIEW v (x, x) AS SELECT k, v FROM t",
    ]));
}

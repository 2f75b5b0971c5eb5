//! Words of a statement that ask for something: they are honoured, or refused.

use expect_test::expect;
use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};
use std::fmt::Write;

const TABLES: &str =
    "CREATE EXTERNAL TABLE t_raw (k BIGINT, v BIGINT, g TEXT) STORED AS JSON LOCATION 't';
CREATE TABLE t (PRIMARY KEY (k)) AS SELECT k, v, g FROM t_raw;
";

/// Each statement, in line 3 of a file, with what is wrong with it.
pub fn told(statements: &[&str]) -> String {
    let mut text = String::new();
    for statement in statements {
        let file = format!("{TABLES}{statement};");
        let said = match Definition::parse("x.sql", &file) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        writeln!(
            text,
            "{statement}\n{}\n",
            said.replace("at: x.sql, line 3, ", "")
        )
        .unwrap();
    }
    text
}

#[test]
fn what_a_view_does_not_take() {
    expect![[r#"
        CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k FROM t
        a view does not take OR REPLACE
           column 8
         help: leave it out: a file says what there is, and a changed view is written again by itself

        CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT k FROM t
        a view does not take IF NOT EXISTS
           column 26
         help: leave it out

        CREATE TEMPORARY VIEW v AS SELECT k FROM t
        a view does not take TEMPORARY
           column 8
         help: leave it out

        CREATE MATERIALIZED VIEW v WITH (fillfactor = 70) AS SELECT k FROM t
        a view does not take WITH
           column 28
         help: leave it out; how a lake is written is said by the options of `pinflow run`

        CREATE MATERIALIZED VIEW v CLUSTER BY (k) AS SELECT k FROM t
        a view does not take CLUSTER BY
           column 28
         help: leave it out

        CREATE VIEW v (k COMMENT 'the key') AS SELECT k FROM t
        the list of a view's columns holds names, and `k` comes with more than that
           column 16
         help: write the name alone; a cast in the SELECT list gives a type

        CREATE VIEW v AS SELECT k FROM t WITH NO SCHEMA BINDING
        a view does not take WITH NO SCHEMA BINDING
           column 34
         help: leave it out

    "#]].assert_eq(&told(&[
        "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k FROM t",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT k FROM t",
        "CREATE TEMPORARY VIEW v AS SELECT k FROM t",
        "CREATE MATERIALIZED VIEW v WITH (fillfactor = 70) AS SELECT k FROM t",
        "CREATE MATERIALIZED VIEW v CLUSTER BY (k) AS SELECT k FROM t",
        "CREATE VIEW v (k COMMENT 'the key') AS SELECT k FROM t",
        "CREATE VIEW v AS SELECT k FROM t WITH NO SCHEMA BINDING",
    ]));
}

#[test]
fn what_a_table_does_not_take() {
    expect![[r#"
        CREATE OR REPLACE TABLE w (PRIMARY KEY (k)) AS SELECT k FROM t_raw
        a table does not take OR REPLACE
           column 8
         help: leave it out

        CREATE TABLE IF NOT EXISTS w (PRIMARY KEY (k)) AS SELECT k FROM t_raw
        a table does not take IF NOT EXISTS
           column 14
         help: leave it out

        CREATE TEMPORARY TABLE w (PRIMARY KEY (k)) AS SELECT k FROM t_raw
        a table does not take TEMPORARY
           column 8
         help: leave it out

        CREATE TABLE w (k BIGINT PRIMARY KEY) AS SELECT k FROM t_raw
        a table does not take a list of columns
           column 1
         help: write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. AS column, ..; the SELECT list names the columns and its casts give their types

        CREATE TABLE w (a BIGINT, PRIMARY KEY (a)) AS SELECT k FROM t_raw
        a table does not take a list of columns
           column 17
         help: write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. AS column, ..; the SELECT list names the columns and its casts give their types

        CREATE TABLE w (PRIMARY KEY (k), UNIQUE (k)) AS SELECT k FROM t_raw
        a table does not take UNIQUE
           column 34
         help: leave it out; a key is unique by itself, and conditions are the WHERE of the table's SELECT

        CREATE TABLE w (PRIMARY KEY (k), CHECK (k > 0)) AS SELECT k FROM t_raw
        a table does not take CHECK
           column 34
         help: leave it out; a key is unique by itself, and conditions are the WHERE of the table's SELECT

        CREATE TABLE w (PRIMARY KEY (k), PRIMARY KEY (k)) AS SELECT k FROM t_raw
        a table does not take PRIMARY KEY twice
           column 17
         help: write one PRIMARY KEY (..) with all its columns

        CREATE TABLE w (PRIMARY KEY (k, k)) AS SELECT k FROM t_raw
        the primary key of `w` names `k` twice
           column 25
         help: name each column once

        CREATE TABLE w (PRIMARY KEY (k)) WITH (fillfactor = 70) AS SELECT k FROM t_raw
        a table does not take WITH
           column 34
         help: leave it out; how a lake is written is said by the options of `pinflow run`

        CREATE TABLE w (PRIMARY KEY (k)) PARTITIONED BY (g STRING) AS SELECT k FROM t_raw
        a table does not take PARTITIONED BY
           column 34
         help: leave it out

        CREATE TABLE w (PRIMARY KEY (k)) COMMENT 'x' AS SELECT k FROM t_raw
        a table does not take options such as COMMENT or ENGINE
           column 1
         help: leave it out; how a lake is written is said by the options of `pinflow run`

        CREATE TABLE w (PRIMARY KEY (k DESC)) AS SELECT k FROM t_raw
        a table does not take PRIMARY KEY with more than names of columns
           column 17
         help: leave it out; a key is unique by itself, and conditions are the WHERE of the table's SELECT

    "#]].assert_eq(&told(&[
        "CREATE OR REPLACE TABLE w (PRIMARY KEY (k)) AS SELECT k FROM t_raw",
        "CREATE TABLE IF NOT EXISTS w (PRIMARY KEY (k)) AS SELECT k FROM t_raw",
        "CREATE TEMPORARY TABLE w (PRIMARY KEY (k)) AS SELECT k FROM t_raw",
        "CREATE TABLE w (k BIGINT PRIMARY KEY) AS SELECT k FROM t_raw",
        "CREATE TABLE w (a BIGINT, PRIMARY KEY (a)) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k), UNIQUE (k)) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k), CHECK (k > 0)) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k), PRIMARY KEY (k)) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k, k)) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k)) WITH (fillfactor = 70) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k)) PARTITIONED BY (g STRING) AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k)) COMMENT 'x' AS SELECT k FROM t_raw",
        "CREATE TABLE w (PRIMARY KEY (k DESC)) AS SELECT k FROM t_raw",
    ]));
}

#[test]
fn what_a_stream_does_not_take() {
    expect![[r#"
        CREATE EXTERNAL TABLE IF NOT EXISTS s (k BIGINT) STORED AS JSON LOCATION 's'
        a stream does not take IF NOT EXISTS
           column 23
         help: leave it out

        CREATE OR REPLACE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 's'
        a stream does not take OR REPLACE
           column 8
         help: leave it out

        CREATE UNBOUNDED EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 's'
        a stream does not take UNBOUNDED
           column 8
         help: leave it out; a run follows its streams unless it is told --bounded

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON PARTITIONED BY (k) LOCATION 's'
        a stream does not take PARTITIONED BY
           column 51
         help: leave it out

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON WITH ORDER (k) LOCATION 's'
        a stream does not take WITH ORDER
           column 51
         help: leave it out

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 's' OPTIONS ('a' 'b')
        a stream does not take OPTIONS
           column 64
         help: leave it out

        CREATE EXTERNAL TABLE s (k BIGINT, PRIMARY KEY (k)) STORED AS JSON LOCATION 's'
        a stream does not take PRIMARY KEY
           column 36
         help: a stream holds whatever comes; give the table over it a primary key, and clean in its SELECT

        CREATE EXTERNAL TABLE s (k BIGINT PRIMARY KEY) STORED AS JSON LOCATION 's'
        the column `k` does not take PRIMARY
           column 35
         help: leave it out, and clean in the SELECT of the table

        CREATE EXTERNAL TABLE s (k BIGINT, g TEXT DEFAULT 'none') STORED AS JSON LOCATION 's'
        the column `g` does not take DEFAULT
           column 43
         help: write COALESCE(column, value) in the SELECT of the table

        CREATE EXTERNAL TABLE s (k BIGINT CHECK (k > 0)) STORED AS JSON LOCATION 's'
        the column `k` does not take CHECK
           column 35
         help: leave it out, and clean in the SELECT of the table

        CREATE EXTERNAL TABLE s (k BIGINT UNIQUE) STORED AS JSON LOCATION 's'
        the column `k` does not take UNIQUE
           column 35
         help: leave it out, and clean in the SELECT of the table

        CREATE EXTERNAL TABLE s (k BIGINT, k TEXT) STORED AS JSON LOCATION 's'
        two columns are called `k`
           column 26
         help: name the columns, and give one of them another name with AS

        CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION ''
        a stream has a name, by which sources are asked for it
           column 51
         help: write LOCATION 'stream name'; where it is read from is said by --source

    "#]].assert_eq(&told(&[
        "CREATE EXTERNAL TABLE IF NOT EXISTS s (k BIGINT) STORED AS JSON LOCATION 's'",
        "CREATE OR REPLACE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 's'",
        "CREATE UNBOUNDED EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON PARTITIONED BY (k) LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON WITH ORDER (k) LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION 's' OPTIONS ('a' 'b')",
        "CREATE EXTERNAL TABLE s (k BIGINT, PRIMARY KEY (k)) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT PRIMARY KEY) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT, g TEXT DEFAULT 'none') STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT CHECK (k > 0)) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT UNIQUE) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT, k TEXT) STORED AS JSON LOCATION 's'",
        "CREATE EXTERNAL TABLE s (k BIGINT) STORED AS JSON LOCATION ''",
    ]));
}

#[test]
fn what_a_query_does_not_take() {
    let queries = [
        "SELECT k FROM t TABLESAMPLE BERNOULLI (1)",
        "SELECT k FROM (SELECT k FROM t) q TABLESAMPLE (10 PERCENT)",
        "SELECT k FROM t ORDER BY k FETCH FIRST 3 ROWS ONLY",
        "SELECT k FROM t FOR UPDATE",
        "SELECT TOP 3 k FROM t ORDER BY k",
        "SELECT k INTO other FROM t",
        "SELECT k FROM t PREWHERE k > 1",
        "SELECT k FROM t LIMIT 1 BY k",
        "SELECT k FROM t SETTINGS a = 1",
        "SELECT k FROM t FORMAT JSON",
        "SELECT k FROM t FOR SYSTEM_TIME AS OF '2020-01-01'",
        "SELECT k FROM t WITH (NOLOCK)",
        "SELECT k FROM t SORT BY k",
        "SELECT k FROM t LATERAL VIEW explode(g) x AS y",
        "SELECT a FROM t AS q (a INT, b INT, c TEXT)",
        "SELECT k FROM t WHERE k IN (SELECT k FROM t TABLESAMPLE (10 PERCENT))",
        "SELECT k FROM t CONNECT BY k = PRIOR v",
        "SELECT k FROM t GROUP BY k WITH ROLLUP",
        "SELECT g COLLATE \"C\" AS g FROM t",
    ];
    let statements: Vec<String> = queries
        .iter()
        .map(|query| format!("CREATE VIEW v AS {query}"))
        .collect();
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    expect![[r#"
        CREATE VIEW v AS SELECT k FROM t TABLESAMPLE BERNOULLI (1)
        a query of a dataflow does not take TABLESAMPLE
           column 34
         help: leave it out, or keep a part of the keys: WHERE id % 100 = 0

        CREATE VIEW v AS SELECT k FROM (SELECT k FROM t) q TABLESAMPLE (10 PERCENT)
        a query of a dataflow does not take TABLESAMPLE
           column 52
         help: leave it out, or keep a part of the keys: WHERE id % 100 = 0

        CREATE VIEW v AS SELECT k FROM t ORDER BY k FETCH FIRST 3 ROWS ONLY
        a query of a dataflow does not take FETCH
           column 45
         help: write LIMIT; for rows that tie with the last one, RANK() .. <= n in a subquery

        CREATE VIEW v AS SELECT k FROM t FOR UPDATE
        a query of a dataflow does not take FOR
           column 34
         help: leave it out: a view is read at one epoch

        CREATE VIEW v AS SELECT TOP 3 k FROM t ORDER BY k
        a query of a dataflow does not take TOP
           column 25
         help: write ORDER BY .. LIMIT

        CREATE VIEW v AS SELECT k INTO other FROM t
        a query of a dataflow does not take INTO
           column 27
         help: name the answer with CREATE MATERIALIZED VIEW name AS SELECT ..

        CREATE VIEW v AS SELECT k FROM t PREWHERE k > 1
        a query of a dataflow does not take PREWHERE
           column 34
         help: write WHERE

        CREATE VIEW v AS SELECT k FROM t LIMIT 1 BY k
        a query of a dataflow does not take LIMIT BY
           column 34
         help: number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep the first ones

        CREATE VIEW v AS SELECT k FROM t SETTINGS a = 1
        a query of a dataflow does not take SETTINGS
           column 34
         help: leave it out

        CREATE VIEW v AS SELECT k FROM t FORMAT JSON
        a query of a dataflow does not take FORMAT
           column 34
         help: leave it out; readers choose a format when they ask

        CREATE VIEW v AS SELECT k FROM t FOR SYSTEM_TIME AS OF '2020-01-01'
        Expected: one of UPDATE or SHARE, found: SYSTEM_TIME
           column 38

        CREATE VIEW v AS SELECT k FROM t WITH (NOLOCK)
        a query of a dataflow does not take WITH
           column 34
         help: leave it out

        CREATE VIEW v AS SELECT k FROM t SORT BY k
        a query of a dataflow does not take SORT BY
           column 34
         help: write ORDER BY .. LIMIT

        CREATE VIEW v AS SELECT k FROM t LATERAL VIEW explode(g) x AS y
        a query of a dataflow does not take LATERAL VIEW
           column 34
         help: leave it out

        CREATE VIEW v AS SELECT a FROM t AS q (a INT, b INT, c TEXT)
        a query of a dataflow does not take types in the list of an alias
           column 1
         help: cast the columns in a SELECT list

        CREATE VIEW v AS SELECT k FROM t WHERE k IN (SELECT k FROM t TABLESAMPLE (10 PERCENT))
        a query of a dataflow does not take TABLESAMPLE
           column 62
         help: leave it out, or keep a part of the keys: WHERE id % 100 = 0

        CREATE VIEW v AS SELECT k FROM t CONNECT BY k = PRIOR v
        a query of a dataflow does not take CONNECT BY
           column 34
         help: leave it out

        CREATE VIEW v AS SELECT k FROM t GROUP BY k WITH ROLLUP
        a query of a dataflow does not take GROUP BY .. WITH
           column 34
         help: write one GROUP BY view for each set and UNION ALL them

        CREATE VIEW v AS SELECT g COLLATE "C" AS g FROM t
        a query of a dataflow does not take COLLATE
           column 27
         help: leave it out: texts are compared byte by byte

    "#]].assert_eq(&told(&statements));
}

#[test]
fn a_record_without_a_value_that_is_not_null_is_a_dead_letter() {
    let file = "
        CREATE EXTERNAL TABLE s (k BIGINT NOT NULL, g TEXT NOT NULL, n BIGINT NULL) STORED AS JSON LOCATION 's';
        CREATE TABLE t (PRIMARY KEY (k)) AS SELECT k, g, n FROM s;
        CREATE MATERIALIZED VIEW v AS SELECT k, g, n FROM t WHERE g IS NOT NULL;";
    let definition = Definition::parse("x.sql", file).unwrap_or_else(|error| panic!("{error}"));
    let mut input = Input::default();
    for record in [
        r#"{"k":1,"g":"a","n":null}"#,
        r#"{"k":2,"g":null,"n":2}"#,
        r#"{"k":3,"n":3}"#,
        r#"{"g":"d"}"#,
    ] {
        input.add(1, "s", record);
    }
    let options = Options {
        workers: 1,
        batch: 10,
    };
    let replay = replay(&definition, input, &options).unwrap();
    assert_eq!(replay.rows("v", 1).unwrap(), ["1 | a | NULL"]);
    assert_eq!(replay.rows("dead_letters", 1).unwrap().len(), 3);
}

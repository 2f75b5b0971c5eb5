//! Every type that a column can have, everywhere a column can be: in tables and their keys, in
//! groups, joins, ranks, lists and aggregates, through a commit and a restart, and as a foreign
//! reader sees it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};
use tempfile::TempDir;

use super::program::{assert_same, finish, rows, run};
use super::refused::whole;
use crate::support::python::{ENGINES, complete, python_with};

/// Columns of every type that a table can hold, each made from the record.
const COLUMNS: [(&str, &str); 16] = [
    ("text", "t"),
    ("bigint", "n"),
    ("int", "CAST(n AS INT)"),
    ("smallint", "CAST(n AS SMALLINT)"),
    ("double", "d"),
    ("real", "CAST(d AS REAL)"),
    ("boolean", "b"),
    ("timestamp", "at"),
    ("date", "CAST(at AS DATE)"),
    ("bytea", "sha256(t)"),
    ("decimal", "CAST(d AS DECIMAL(12, 2))"),
    ("texts", "s"),
    ("doubles", "l"),
    ("duration", "at - TIMESTAMP '2020-01-01 00:00:00'"),
    ("nothing", "NULL"),
    ("unsigned", "array_length(s)"),
];

/// What can be a key: a value that tells rows apart, in types that an index can hold.
const KEYS: [&str; 9] = [
    "text",
    "bigint",
    "double",
    "boolean",
    "timestamp",
    "date",
    "bytea",
    "decimal",
    "texts",
];

/// A table of all columns, a table keyed by each type, and views of each type.
fn dataflow() -> String {
    let mut file = String::from(
        "CREATE EXTERNAL TABLE raw (id BIGINT, t TEXT, n BIGINT, d DOUBLE, b BOOLEAN, at TIMESTAMP, s TEXT[], l DOUBLE[])
         STORED AS JSON LOCATION 'raw';\n",
    );
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, expr)| format!("{expr} AS of_{name}"))
        .collect();
    let columns = columns.join(", ");
    writeln!(
        file,
        "CREATE TABLE every (PRIMARY KEY (id)) AS SELECT id, {columns} FROM raw;"
    )
    .unwrap();
    writeln!(
        file,
        "CREATE TABLE other (PRIMARY KEY (id)) AS SELECT id, {columns} FROM raw WHERE id % 3 > 0;"
    )
    .unwrap();
    for name in KEYS {
        let (_, expr) = COLUMNS.iter().find(|(known, _)| *known == name).unwrap();
        writeln!(
            file,
            "CREATE TABLE by_{name} (PRIMARY KEY (k)) AS SELECT {expr} AS k, id FROM raw WHERE {expr} IS NOT NULL;
             CREATE MATERIALIZED VIEW of_by_{name} AS SELECT k, id FROM by_{name};"
        )
        .unwrap();
    }
    writeln!(
        file,
        "CREATE MATERIALIZED VIEW all_columns AS SELECT * FROM every;"
    )
    .unwrap();
    for (name, _) in COLUMNS {
        let column = format!("of_{name}");
        for (view, query) in [
            (
                "groups",
                format!("SELECT {column}, count(*) AS n FROM every GROUP BY {column}"),
            ),
            ("distinct", format!("SELECT DISTINCT {column} FROM every")),
            (
                "joined",
                format!(
                    "SELECT a.id, b.id AS other, a.{column} FROM every a JOIN other b ON a.{column} = b.{column} WHERE a.id < 4"
                ),
            ),
            (
                "left",
                format!("SELECT a.id, b.{column} FROM every a LEFT JOIN other b ON a.id = b.id"),
            ),
            (
                "ranked",
                format!(
                    "SELECT id, {column} FROM (SELECT id, {column}, rank() OVER (PARTITION BY of_boolean ORDER BY {column}) AS place FROM every) t WHERE place <= 2"
                ),
            ),
            (
                "aggregates",
                format!(
                    "SELECT of_boolean, min({column}) AS low, max({column}) AS high, count(DISTINCT {column}) AS n, array_agg({column} ORDER BY id) AS all_of_them FROM every GROUP BY of_boolean"
                ),
            ),
            (
                "union",
                format!("SELECT {column} FROM every UNION ALL SELECT {column} FROM other"),
            ),
        ] {
            writeln!(file, "CREATE MATERIALIZED VIEW {view}_{name} AS {query};").unwrap();
        }
    }
    file
}

/// Records `from..to`, with nulls in them.
fn records(from: u32, to: u32) -> String {
    let mut text = String::new();
    for id in from..to {
        let word = ["one", "two words", "a text that is longer than a view", ""][id as usize % 4];
        let at = format!(
            "20{:02}-0{}-11 01:02:03.{:06}",
            10 + id % 20,
            1 + id % 9,
            id * 7
        );
        match id % 7 {
            6 => writeln!(text, r#"{{"id":{id}}}"#).unwrap(),
            rest => writeln!(
                text,
                r#"{{"id":{id},"t":"{word}","n":{},"d":{}.{},"b":{},"at":"{at}","s":["{word}","x"],"l":[{id}.5,-1]}}"#,
                rest as i64 - 3,
                id % 5,
                25 * (id % 3),
                id % 2 == 0
            )
            .unwrap(),
        }
    }
    text
}

/// A lake that was written in `parts`, each by a run with so many workers.
fn lake(folder: &Path, parts: &[(u32, u32, u32)]) -> BTreeMap<String, Vec<String>> {
    let source = folder.join("source");
    fs::create_dir_all(source.join("raw")).unwrap();
    let file = folder.join("dataflow.sql");
    fs::write(&file, dataflow()).unwrap();
    let lake = folder.join("lake");
    for (number, (from, to, workers)) in parts.iter().enumerate() {
        fs::write(
            source.join(format!("raw/{number}.jsonl")),
            records(*from, *to),
        )
        .unwrap();
        let options = format!("--bounded -w {workers} {}", file.display());
        finish(&run(&source, &lake, &options));
    }
    rows(&lake)
}

/// Reads every table of a lake; prints how many there are.
const READER: &str = r#"
import glob, os, sys
from datetime import datetime, timedelta, timezone
from deltalake import DeltaTable
tables = [path[:-len("/_delta_log")] for path in glob.glob(sys.argv[1] + "/*/*/_delta_log")]
for path in tables:
    DeltaTable(path).to_pyarrow_table().to_pylist()
every = DeltaTable(sys.argv[1] + "/tables/every").to_pyarrow_table().sort_by("id").to_pylist()
row = every[1]
assert row["of_text"] == "two words" and row["of_texts"] == ["two words", "x"], row
assert len(row["of_bytea"]) == 32, row
assert str(row["of_decimal"]) == "1.25", row
since = row["of_timestamp"] - datetime(2020, 1, 1, tzinfo=timezone.utc)
assert row["of_duration"] == since // timedelta(microseconds=1), row
assert row["of_nothing"] is None, row
print(len(tables), flush=True)
# Threads of the libraries may outlive the interpreter, which then aborts.
os._exit(0)
"#;

#[test]
fn every_type_goes_through_commits_and_restarts_with_other_workers() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let at_once = lake(folders[0].path(), &[(0, 60, 2)]);
    let in_parts = lake(folders[1].path(), &[(0, 30, 1), (30, 45, 3), (45, 60, 2)]);
    assert!(at_once.len() > 100 && at_once["views/groups_bytea"].len() == 5);
    assert_same(&in_parts, &at_once);
    // Rows that are there already come back as they are: nothing changes.
    let file = folders[1].path().join("dataflow.sql");
    let options = format!("--bounded -w 4 {}", file.display());
    let place = folders[1].path();
    finish(&run(&place.join("source"), &place.join("lake"), &options));
    assert_eq!(rows(&place.join("lake")), in_parts);

    match python_with(&ENGINES) {
        Ok(python) => {
            let lake = place.join("lake").display().to_string();
            let said = complete(Command::new(python).args(["-c", READER, &lake]));
            let tables = 2 + KEYS.len() * 2 + 1 + COLUMNS.len() * 7;
            assert_eq!(
                said.as_deref().map(str::trim),
                Ok(tables.to_string().as_str())
            );
        }
        Err(why) => eprintln!("NOT CHECKED by a foreign reader: {why}"),
    }
}

const TABLES: &str = "CREATE EXTERNAL TABLE raw (k BIGINT, t TIMESTAMP, d DOUBLE, g TEXT) STORED AS JSON LOCATION 'a';
CREATE TABLE a (PRIMARY KEY (k)) AS SELECT k, t, d, g FROM raw;
";

/// What is wrong with each view.
fn told(queries: &[&str], expected: Expect) {
    let mut text = String::new();
    for query in queries {
        let file = format!("{TABLES}CREATE MATERIALIZED VIEW v AS {query};");
        let said = super::refused::told(&file);
        let said = said.replace("at: x.sql, line 3, ", "");
        writeln!(text, "{query}\n{said}\n").unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn differences_of_timestamps_are_added_up_and_averaged() {
    let file = format!(
        "{TABLES}CREATE MATERIALIZED VIEW v AS
        SELECT sum(t - TIMESTAMP '2020-01-01') AS s, avg(t - TIMESTAMP '2020-01-01') AS a, max(t) - min(t) AS r FROM a;"
    );
    let definition = Definition::parse("x.sql", &file).unwrap_or_else(|error| panic!("{error}"));
    let mut input = Input::default();
    for (k, at) in [
        (1, "2020-01-01 00:00:01"),
        (2, "2020-01-02 00:00:00.000002"),
        (3, "2020-01-01 00:00:00"),
    ] {
        input.add(1, "a", format!(r#"{{"k":{k},"t":"{at}"}}"#));
    }
    input.add(1, "a", r#"{"k":4}"#);
    let options = Options {
        workers: 1,
        batch: 10,
    };
    let rows = replay(&definition, input, &options)
        .unwrap()
        .rows("v", 1)
        .unwrap();
    assert_eq!(rows, ["86401000002 | 28800333334 | 86400000002"]);
}

#[test]
fn a_type_that_nothing_can_hold_is_refused_with_its_place() {
    told(
        &[
            "SELECT k, named_struct('a', k, 'b', g) AS s FROM a",
            "SELECT k, array_agg(named_struct('a', k)) AS s FROM a GROUP BY k",
            "SELECT k, map(['a'], [k]) AS m FROM a",
            "SELECT k, CAST(t AS TIME) AS at FROM a",
            "SELECT k, INTERVAL '1 day' AS i FROM a",
            "SELECT avg(INTERVAL '1 day') AS i FROM a",
            "SELECT sum(g) AS s FROM a",
            "SELECT median(t) AS s FROM a",
        ],
        expect![[r#"
            SELECT k, named_struct('a', k, 'b', g) AS s FROM a
            the column `s` of `v` has the type STRUCT(a BIGINT, b TEXT), which tables in the lake cannot hold
               column 73
             help: return its fields as columns of their own: x['field'] AS field

            SELECT k, array_agg(named_struct('a', k)) AS s FROM a GROUP BY k
            the column `s` of `v` has the type STRUCT(a BIGINT)[], which tables in the lake cannot hold
               column 76
             help: return its fields as columns of their own: x['field'] AS field

            SELECT k, map(['a'], [k]) AS m FROM a
            the column `m` of `v` has the type MAP, which tables in the lake cannot hold
               column 60
             help: return its values as columns of their own: x['key'] AS key

            SELECT k, CAST(t AS TIME) AS at FROM a
            the column `at` of `v` has the type TIME, which tables in the lake cannot hold
               column 60
             help: make a text of it: CAST(.. AS TEXT)

            SELECT k, INTERVAL '1 day' AS i FROM a
            the column `i` of `v` has the type INTERVAL, which tables in the lake cannot hold
               column 61
             help: subtract timestamps instead: their difference is stored in microseconds

            SELECT avg(INTERVAL '1 day') AS i FROM a
            `avg` cannot be called with (INTERVAL)
               column 38
             help: it is called as avg(Decimal), avg(Duration), avg(DOUBLE); cast the arguments if need be

            SELECT sum(g) AS s FROM a
            `sum` cannot be called with (TEXT)
               column 38
             help: it is called as sum(Decimal), sum(BIGINT), sum(DOUBLE), sum(Duration), ..; cast the arguments if need be

            SELECT median(t) AS s FROM a
            `median` cannot be called with (TIMESTAMP)
               column 38
             help: it is called as median(Decimal), median(Float), median(DOUBLE); cast the arguments if need be

        "#]],
    );
    whole(
        "CREATE EXTERNAL TABLE raw (k BIGINT, t TIMESTAMP) STORED AS JSON LOCATION 'a';
CREATE TABLE a (PRIMARY KEY (k)) AS
SELECT k, named_struct('t', t) AS s FROM raw;",
        expect![[r#"
            the column `s` of `a` has the type STRUCT(t TIMESTAMP), which tables in the lake cannot hold
               at: x.sql, line 3, column 35
             help: return its fields as columns of their own: x['field'] AS field"#]],
    );
}

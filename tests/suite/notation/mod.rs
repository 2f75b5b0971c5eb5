//! The operators by example: which rows come (`+`) and go (`-`) at each epoch.
//!
//! The input names a table and its values, as JSON, one record a line; a line `--` ends an epoch.
//! The tables are those of [`TABLES`]. `@0` is what a view holds before anything has arrived.

use std::collections::BTreeMap;
use std::fmt::Write;

use expect_test::Expect;
use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};

mod aggregates;
mod casts;
mod constants;
mod guards;
mod joins;
mod numbers;
mod ranks;
mod sets;
mod subqueries;
mod tables;
mod times;
mod views;

/// The streams and tables of all examples: `a`, `b` and `f` share a primary key, and so do `c` and
/// `e`, theirs of two columns.
const TABLES: &str = "
CREATE EXTERNAL TABLE a_raw (k BIGINT, g TEXT, n BIGINT, d DOUBLE, b BOOLEAN, t TEXT) STORED AS JSON LOCATION 'a';
CREATE EXTERNAL TABLE b_raw (k BIGINT, g TEXT, m BIGINT, s TEXT) STORED AS JSON LOCATION 'b';
CREATE EXTERNAL TABLE c_raw (k BIGINT, l TEXT, n BIGINT, g TEXT) STORED AS JSON LOCATION 'c';
CREATE EXTERNAL TABLE e_raw (k BIGINT, l TEXT, d DOUBLE, g TEXT) STORED AS JSON LOCATION 'e';
CREATE EXTERNAL TABLE f_raw (k BIGINT, n BIGINT, g TEXT) STORED AS JSON LOCATION 'f';
CREATE TABLE a (PRIMARY KEY (k)) AS SELECT k, g, n, d, b, parse_timestamp(t) AS t FROM a_raw;
CREATE TABLE b (PRIMARY KEY (k)) AS SELECT k, g, m, s FROM b_raw;
CREATE TABLE c (PRIMARY KEY (k, l)) AS SELECT k, l, n, g FROM c_raw;
CREATE TABLE e (PRIMARY KEY (l, k)) AS SELECT g, l, d, k FROM e_raw;
CREATE TABLE f (PRIMARY KEY (k)) AS SELECT upper(g) AS g, k, n FROM f_raw;
";

/// The changes of the view `v` that `sql` defines, for every number of workers.
fn check(sql: &str, records: &str, expected: Expect) {
    let sql = format!("CREATE MATERIALIZED VIEW v AS {sql};");
    check_views(&sql, records, expected);
}

fn check_views(views: &str, records: &str, expected: Expect) {
    check_file(&format!("{TABLES}{views}"), records, expected);
}

fn check_file(file: &str, records: &str, expected: Expect) {
    let definition = Definition::parse("test.sql", file).unwrap_or_else(|error| panic!("{error}"));
    let mut input = Input::default();
    let mut epoch = 1;
    for line in records
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        match line.split_once(' ') {
            Some((stream, values)) => {
                let known = definition
                    .streams
                    .iter()
                    .find(|s| s.name == stream)
                    .expect("a known stream");
                let values: Vec<serde_json::Value> =
                    serde_json::from_str(&format!("[{values}]")).expect("JSON values");
                let record: serde_json::Map<_, _> = known
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .zip(values)
                    .collect();
                input.add(epoch, stream, serde_json::Value::Object(record).to_string());
            }
            None => epoch += 1,
        }
    }
    let mut texts = Vec::new();
    for (workers, batch) in [(1, 1000), (2, 1), (3, 2)] {
        let replay = replay(&definition, input.clone(), &Options { workers, batch }).unwrap();
        let mut text = String::new();
        let mut before: BTreeMap<String, i64> = BTreeMap::new();
        for epoch in 0..=epoch {
            let mut now: BTreeMap<String, i64> = BTreeMap::new();
            for row in replay.rows("v", epoch).unwrap() {
                *now.entry(row).or_default() += 1;
            }
            let mut changes = now.clone();
            before
                .iter()
                .for_each(|(row, count)| *changes.entry(row.clone()).or_default() -= count);
            for (sign, diff) in changes.iter().flat_map(|(row, diff)| {
                std::iter::repeat_n(
                    (if *diff < 0 { '-' } else { '+' }, row),
                    diff.unsigned_abs() as usize,
                )
            }) {
                writeln!(text, "@{epoch} {sign} {diff}").unwrap();
            }
            before = now;
        }
        for fault in &replay.faults {
            writeln!(text, "fault in {}: {}", fault.relation, fault.reason).unwrap();
        }
        texts.push(text);
    }
    assert_eq!(texts[0], texts[1], "one worker and two");
    assert_eq!(texts[0], texts[2], "one worker and three");
    expected.assert_eq(&texts[0]);
}

const A: &str = r#"
    a 1, "x", 10, 1.5, true, "2020-01-01 00:00:00"
    a 2, "x", 20, 2.5, false, "2020-01-02 00:00:00"
    a 3, "y", null, null, null, null
    --
    a 2, "y", 20, 2.5, false, "2020-01-02 00:00:00"
    a 4, null, 40, -1.0, true, null
    --
    a 1, "x", 10, 1.5, true, "2020-01-01 00:00:00"
    a 3, "y", 30, 0.25, true, "2020-01-01 00:00:00"
    --
    a 1, "y", 10, 1.5, true, "2020-01-01 00:00:00"
"#;

/// A pin before its partners, one that has none, a partner that changes.
const AB: &str = r#"
    a 1, "x", 10
    a 2, "y", 20
    b 3, "x", 1, "three"
    --
    b 1, "x", 5, "one"
    a 3, null, 30
    --
    b 1, null, 15, "uno"
    --
    a 1, "z", 11
    b 2, "y", null, null
"#;

/// Ties, nulls and a key of two columns.
const C: &str = r#"
    c 1, "p", 5, "x"
    c 1, "q", 5, "x"
    c 2, "p", 3, "x"
    c 3, "p", null, "y"
    --
    c 2, "p", 9, "x"
    c 3, "q", 1, "y"
    --
    c 1, "p", 9, "y"
    c 1, "q", 9, "y"
"#;

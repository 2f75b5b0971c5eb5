//! One text for two engines: how the SQL of the grammar is written for pinflow and for DuckDB.
//!
//! What is settled here or in `duckdb.py` hides a kind of mistake, so there is as little as can be,
//! and each has its reason:
//!
//! * what stands in `⟨ ⟩` is for DuckDB alone: names that pinflow gives by itself, and which rows
//!   are left out because an expression fails on them;
//! * `÷` is `/` for pinflow and `//` for DuckDB, where `/` makes doubles of whole numbers;
//! * CAST is TRY_CAST for DuckDB, which evaluates both sides of AND in the order it likes, and so
//!   fails behind guards. pinflow must not report a fault for these views, so a cast that it lost
//!   would still be seen.

use std::fmt::Write;

use serde_json::Value;

use super::history::{Fate, History};
use super::schema::{Table, ident};
use super::views::View;

/// SQL as pinflow is given it.
pub fn ours(sql: &str) -> String {
    let mut ours = String::new();
    let mut rest = sql;
    while let Some((before, behind)) = rest.split_once('⟨') {
        ours.push_str(before);
        rest = behind.split_once('⟩').map_or("", |(_, behind)| behind);
    }
    (ours + rest).replace('÷', "/")
}

/// SQL as DuckDB is given it.
pub fn theirs(sql: &str) -> String {
    sql.replace(['⟨', '⟩'], "")
        .replace('÷', "//")
        .replace("CAST(", "TRY_CAST(")
}

/// A dataflow file: a statement a line.
pub fn file(tables: &[Table], views: &[View]) -> String {
    let mut text = String::new();
    for table in tables.iter().filter(|table| table.twin.is_none()) {
        let fields = table.fields.iter();
        let fields = fields.map(|f| format!("{} {}", ident(&f.name), f.spelling.declared()));
        writeln!(
            text,
            "CREATE EXTERNAL TABLE {} ({}) STORED AS JSON LOCATION '{}';",
            ident(&table.stream),
            listed(fields),
            table.stream
        )
        .expect("a string takes all text");
    }
    for table in tables {
        let keys = table.items[..table.key]
            .iter()
            .map(|item| ident(&item.name));
        let condition = table.condition.as_ref();
        writeln!(
            text,
            "CREATE TABLE {} (PRIMARY KEY ({})) AS SELECT {} FROM {}{};",
            ident(&table.name),
            listed(keys),
            items(table),
            ident(&table.stream),
            condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"))
        )
        .expect("a string takes all text");
    }
    text.extend(views.iter().map(View::statement));
    ours(&text)
}

/// What DuckDB must do before it can make the tables of an epoch: it gets all records, and cleans
/// them.
pub fn sent(tables: &[Table], history: &History) -> Vec<String> {
    let mut statements = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let stream = ident(&table.stream);
        let fields = table.fields.iter();
        let fields = fields.map(|f| format!("{} {}", ident(&f.name), f.spelling.declared()));
        if table.twin.is_none() {
            statements.push(format!(
                "CREATE TABLE {stream} (sequence_number BIGINT, deleted BOOLEAN, {})",
                listed(fields)
            ));
        }
        let rows: Vec<String> = (0..)
            .zip(history.iter().flatten())
            .filter(|(_, record)| record.table == number && !record.is_bad())
            .map(|(place, record): (u64, _)| {
                let deleted = record.fate == Fate::Deleted;
                format!(
                    "({place}, {deleted}, {})",
                    listed(record.values.iter().map(constant))
                )
            })
            .collect();
        if !rows.is_empty() && table.twin.is_none() {
            statements.push(format!("INSERT INTO {stream} VALUES {}", rows.join(", ")));
        }
        let divides = table.divisor.map(|divisor| {
            let divisor = ident(&table.fields[divisor].name);
            format!("{divisor} IS NULL OR {divisor} <> 0")
        });
        let condition = table
            .condition
            .clone()
            .or(divides)
            .unwrap_or("true".to_owned());
        statements.push(theirs(&format!(
            "CREATE TABLE {} AS SELECT sequence_number, deleted, {} FROM {stream} WHERE deleted OR ({condition})",
            cleaned(table),
            items(table)
        )));
    }
    statements
}

/// How DuckDB makes a table of the first `records` records: the last one of each key counts.
pub fn table(table: &Table, records: usize) -> String {
    let names = listed(table.items.iter().map(|item| ident(&item.name)));
    let keys = listed(
        table.items[..table.key]
            .iter()
            .map(|item| ident(&item.name)),
    );
    format!(
        "CREATE OR REPLACE TABLE {} AS SELECT {names} FROM (SELECT * FROM {} WHERE sequence_number < {records} \
         QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY sequence_number DESC) = 1) WHERE NOT deleted",
        ident(&table.name),
        cleaned(table)
    )
}

/// How DuckDB makes a view.
pub fn view(view: &View) -> String {
    let kind = if view.materialized { "TABLE" } else { "VIEW" };
    theirs(&format!(
        "CREATE OR REPLACE {kind} {} AS {}",
        view.title(),
        view.sql
    ))
}

fn cleaned(table: &Table) -> String {
    ident(&format!("{}_cleaned", table.name))
}

fn items(table: &Table) -> String {
    let items = table.items.iter().map(|item| {
        let name = ident(&item.name);
        if item.sql == name {
            name
        } else {
            format!("{} AS {name}", item.sql)
        }
    });
    listed(items)
}

/// A value, quoted, so that no literal is read with a type of its own (`-0.0` would be a decimal
/// without a sign).
fn constant(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Array(values) => format!("[{}]", listed(values.iter().map(constant))),
        other => format!("'{other}'"),
    }
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

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

/// What DuckDB must do before it can make the rows of tables: it gets all records, and cleans them.
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

/// How DuckDB makes the rows of a table at all epochs, at each of which so many records have come:
/// the last one of each key counts.
pub fn rows(table: &Table, records: &[usize]) -> String {
    let names = names(table);
    let keys = listed(
        table.items[..table.key]
            .iter()
            .map(|item| ident(&item.name)),
    );
    let epochs = records.iter().enumerate();
    let epochs = listed(epochs.map(|(epoch, records)| format!("({epoch}, {records})")));
    format!(
        "CREATE TABLE {} AS SELECT {names}, {EPOCH} FROM \
         (SELECT * FROM {}, (VALUES {epochs}) AS epochs ({EPOCH}, \"of records\") \
         WHERE sequence_number < \"of records\" \
         QUALIFY row_number() OVER (PARTITION BY {EPOCH}, {keys} ORDER BY sequence_number DESC) = 1) \
         WHERE NOT deleted",
        all_rows(table),
        cleaned(table)
    )
}

/// How DuckDB makes a table at an epoch.
pub fn table(table: &Table, epoch: usize) -> String {
    format!(
        "CREATE OR REPLACE TABLE {} AS SELECT {} FROM {} WHERE {EPOCH} = {epoch}",
        ident(&table.name),
        names(table),
        all_rows(table)
    )
}

/// How DuckDB is asked about the rows of tables at all epochs, which have [`EPOCH`] beside their
/// columns.
pub fn over_all_epochs(tables: &[Table], query: &str) -> String {
    let all = tables.iter().map(|table| {
        let (name, rows) = (ident(&table.name), all_rows(table));
        format!("{name} AS (FROM {rows})")
    });
    format!("WITH {} {}", listed(all), theirs(query))
}

/// How DuckDB makes a view that others read, and returns its rows if they are kept.
pub fn view(view: &View) -> String {
    let (title, name) = (view.title(), ident(&view.name));
    theirs(&match view.materialized {
        true => format!(
            "DROP TABLE IF EXISTS {name}; CREATE TABLE {title} AS {}; FROM {name}",
            view.sql
        ),
        false => format!("CREATE OR REPLACE VIEW {title} AS {}", view.sql),
    })
}

/// How DuckDB returns the rows of a view that no other reads.
pub fn answer(view: &View) -> String {
    theirs(&match view.listed {
        true => format!("SELECT * FROM ({}) AS {}", view.sql, view.title()),
        false => view.sql.clone(),
    })
}

/// The last column of what [`rows`] makes.
pub const EPOCH: &str = "\"at epoch\"";

fn all_rows(table: &Table) -> String {
    ident(&format!("{}_at_all_epochs", table.name))
}

fn names(table: &Table) -> String {
    listed(table.items.iter().map(|item| ident(&item.name)))
}

fn cleaned(table: &Table) -> String {
    ident(&format!("{}_cleaned", table.name))
}

/// How DuckDB returns the rows of a table at all epochs: the last column is the epoch.
pub fn all(table: &Table) -> String {
    format!("FROM {}", all_rows(table))
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

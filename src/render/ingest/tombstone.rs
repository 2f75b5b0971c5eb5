//! Tombstones to rows: which key of a table a deleted message names.
//!
//! A log deletes a key by a message without value. Its key names the table's primary key in the
//! terms of the stream: `42`, `"42"` or `{"index": 42}` where the table's key is the stream's
//! column `index`. It is decoded and cleaned as a record with nothing but that column would be, so
//! that a key is understood exactly as in the records it deletes.
//!
//! # Invariants
//! 1. A tombstone becomes a row, whose key columns are valid and whose other columns mean nothing,
//!    or is a dead letter.
//! 2. A tombstone that could be a key of several tables, and means one of them, deletes from none.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion_physical_expr::expressions::{CastExpr, Column};
use serde_json::{Map as Object, Value};

use crate::decode::{Decoder, push_record};
use crate::delta::take_rows;
use crate::operator::map::reason;
use crate::operator::mapper::Mappers;
use crate::operator::route::key_columns;
use crate::plan::{Expr, Map, Table};
use crate::source::Delete;

/// Why no tombstone can be understood.
const COMPUTED: &str = "the table's primary key is computed from the record, so a message key does not name it; \
                        delete the row with a record, or make the key a column of the stream";

/// Which of the tables of a stream a tombstone deletes from, given the columns that are their keys
/// (`None` if computed); else why none.
///
/// Where all have one key, it is that key of all of them. Where they have not, a bare value could
/// be any of their keys, so that the tombstone must name the columns: it deletes from the tables
/// whose keys are exactly these.
pub(super) fn deletes_from(keys: &[Option<&[String]>], key: &[u8]) -> Result<Vec<usize>, String> {
    let mut named = keys.iter().flatten();
    let first = named.next();
    if first.is_none_or(|first| named.all(|key| key == first)) {
        return Ok((0..keys.len()).collect());
    }
    let names = |columns: &[String]| {
        let names: BTreeSet<String> = columns.iter().cloned().collect();
        names
    };
    let written = || {
        let all: BTreeSet<Vec<String>> = keys.iter().flatten().map(|key| key.to_vec()).collect();
        let all = all.iter().map(|key| key.join(", "));
        all.collect::<Vec<_>>().join("; ")
    };
    let Ok(Value::Object(fields)) = serde_json::from_slice(key) else {
        return Err(format!(
            "the tables of the stream have different keys ({}), and the message key does not name its columns",
            written()
        ));
    };
    let given: BTreeSet<String> = fields.keys().cloned().collect();
    let tables = 0..keys.len();
    let of_tables: Vec<usize> = tables
        .filter(|&table| keys[table].is_some_and(|key| names(key) == given))
        .collect();
    match of_tables.is_empty() {
        true => Err(format!(
            "the message key names other columns than the keys of the stream's tables ({})",
            written()
        )),
        false => Ok(of_tables),
    }
}

/// What is needed to understand the tombstones of one table.
pub(super) struct Tombstones {
    decoder: Decoder,
    /// The stream's columns that are the primary key; `None` if it is computed.
    columns: Option<Vec<String>>,
    /// The table's cleaning, without conditions: a key may be deleted whatever the record said.
    cleaning: Mappers,
    key: Vec<usize>,
}

impl Tombstones {
    pub(super) fn new(table: &Table, decoder: Decoder) -> Self {
        let columns = table.key.iter().map(|&key| source_of(table, key)).collect();
        let clean = table.clean.iter().map(|map| Map {
            filter: None,
            ..map.clone()
        });
        let cleaning = Mappers::new(&clean.collect::<Vec<_>>(), decoder.schema())
            .expect("expressions were made for these columns");
        Tombstones {
            decoder,
            columns,
            cleaning,
            key: table.key.clone(),
        }
    }

    /// The stream's columns that are the primary key; `None` if it is computed.
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Rows of the table that have the deleted keys, and the offset of each.
    pub(super) fn rows(
        &mut self,
        deletes: &[Delete],
        mut wrong: impl FnMut(&Delete, String),
    ) -> (Option<RecordBatch>, Vec<u64>) {
        let Some(columns) = &self.columns else {
            deletes
                .iter()
                .for_each(|delete| wrong(delete, COMPUTED.to_owned()));
            return (None, Vec::new());
        };
        let mut records = Vec::new();
        for delete in deletes {
            // A line for each, so that lines and deletes have the same numbers.
            push_record(&mut records, &record(columns, &delete.key));
        }
        let decoded = self.decoder.decode(&Bytes::from(records), 0);
        for reject in &decoded.rejects {
            wrong(&deletes[reject.offset as usize], reject.reason.clone());
        }
        let mut of: Vec<u64> = decoded.offsets.iter().collect();
        let mapped = self.cleaning.apply(&decoded.rows, &mut |row, error| {
            wrong(&deletes[of[row as usize] as usize], reason(error));
        });
        let mapped = mapped.expect("the rows have the columns that the maps were made for");
        if let Some(origin) = mapped.origin {
            of = origin.into_iter().map(|row| of[row as usize]).collect();
        }
        let rows = mapped.rows;
        let keys = key_columns(&rows, &self.key);
        let (valid, invalid): (Vec<u64>, Vec<u64>) = (0..rows.num_rows() as u64)
            .partition(|&row| keys.iter().all(|key| key.is_valid(row as usize)));
        for row in invalid {
            let delete = &deletes[of[row as usize] as usize];
            wrong(delete, "the message key does not name a key".to_owned());
        }
        let rows = take_rows(&rows, &valid).expect("row numbers come from the batch itself");
        let offsets = valid
            .iter()
            .map(|&row| deletes[of[row as usize] as usize].offset);
        (Some(rows), offsets.collect())
    }
}

/// A record that has nothing but the key.
fn record(columns: &[String], key: &[u8]) -> Vec<u8> {
    let value = match serde_json::from_slice(key) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        parsed => {
            let bare = || Value::String(String::from_utf8_lossy(key).into_owned());
            let value = parsed.unwrap_or_else(|_| bare());
            let fields = columns.first().map(|column| (column.clone(), value));
            Value::Object(fields.into_iter().collect::<Object<_, _>>())
        }
    };
    value.to_string().into_bytes()
}

/// The stream's column that a column of the table is.
fn source_of(table: &Table, column: usize) -> Option<String> {
    let mut index = column;
    let mut name = None;
    for map in table.clean.iter().rev() {
        if let Some(project) = &map.project {
            let (found, called) = plain_column(&project[index])?;
            (index, name) = (found, Some(called));
        }
    }
    Some(name.unwrap_or_else(|| table.schema.field(column).name().clone()))
}

fn plain_column(expr: &Expr) -> Option<(usize, String)> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some((column.index(), column.name().to_owned()));
    }
    plain_column(expr.downcast_ref::<CastExpr>()?.expr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_deletes_from_the_tables_whose_key_it_is() {
        let columns = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (k, g, both): (Vec<String>, Vec<String>, Vec<String>) =
            (columns(&["k"]), columns(&["g"]), columns(&["k", "g"]));
        let (k, g, both) = (Some(&k[..]), Some(&g[..]), Some(&both[..]));
        for (keys, key, expected) in [
            (vec![k], "7", Ok(vec![0])),
            (vec![k, k], "7", Ok(vec![0, 1])),
            (vec![k, None], "7", Ok(vec![0, 1])),
            (vec![k, g], r#"{"k":7}"#, Ok(vec![0])),
            (vec![k, g, k], r#"{"k":7}"#, Ok(vec![0, 2])),
            (vec![g, both], r#"{"k":7,"g":"a"}"#, Ok(vec![1])),
            (vec![k, g], "7", Err("does not name its columns")),
            (vec![k, g], "a", Err("does not name its columns")),
            (vec![k, g], r#"{"n":7}"#, Err("names other columns")),
        ] {
            let found = deletes_from(&keys, key.as_bytes());
            match (&found, &expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                _ => panic!("{key}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_key_is_a_number_a_text_or_an_object() {
        let columns = ["index".to_owned()];
        for (key, expected) in [
            ("42", r#"{"index":42}"#),
            ("\"42\"", r#"{"index":"42"}"#),
            (r#"{"index": 42}"#, r#"{"index":42}"#),
            ("pin 42", r#"{"index":"pin 42"}"#),
        ] {
            assert_eq!(record(&columns, key.as_bytes()), expected.as_bytes());
        }
    }
}

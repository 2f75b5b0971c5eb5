//! Random records by epoch: new rows, changed rows, exact copies, deletions, and records that
//! cannot be read.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::super::tape::Tape;
use super::schema::Table;

/// What must become of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It is cleaned, and its row replaces that of its key, unless the table's WHERE drops it.
    Row,
    /// A tombstone: the row of its key goes.
    Deleted,
    /// A dead letter: a value cannot be read.
    Broken,
    /// A dead letter: it ends in the middle.
    Torn,
}

/// A record of the stream of a table.
#[derive(Clone, Debug)]
pub struct Record {
    pub table: usize,
    /// In the order of the stream's fields.
    pub values: Vec<Value>,
    pub fate: Fate,
}

/// Records by epoch; the first list is epoch 1.
pub type History = Vec<Vec<Record>>;

/// A history over `tables`. There are few keys, so that rows change, repeat, go and meet.
pub fn history(tape: &mut Tape, tables: &[Table]) -> History {
    let (epochs, most) = match tape.below(6) {
        0..3 => (1 + tape.below(3), 14),
        3 => (1, 40),
        4 => (8, 5),
        _ => (4, 12),
    };
    let mut said: Vec<Record> = Vec::new();
    let epochs = (0..epochs).map(|_| {
        let count = tape.below(most + 1);
        let records = (0..count).map(|_| {
            let record = match said.len() {
                // The same again, or the same key with one value changed.
                n if n > 0 && tape.rarely(8) => said[tape.below(n)].clone(),
                n if n > 0 && tape.rarely(6) => {
                    let mut record = said[tape.below(n)].clone();
                    let fields = &tables[record.table].fields;
                    let at = tape.below(fields.len());
                    record.values[at] = fields[at].spelling.value(tape);
                    record.fate = Fate::Row;
                    record
                }
                _ => record(tape, tables),
            };
            if record.fate == Fate::Row {
                said.push(record.clone());
            }
            record
        });
        records.collect()
    });
    epochs.collect()
}

fn record(tape: &mut Tape, tables: &[Table]) -> Record {
    let table = tape.below(tables.len());
    let table = tables[table].twin.unwrap_or(table);
    let is_shared = tables.iter().any(|other| other.twin == Some(table));
    let fields = &tables[table].fields;
    let mut values: Vec<Value> = fields
        .iter()
        .map(|field| field.spelling.value(tape))
        .collect();
    let fate = match tape.below(24) {
        20 | 21 => Fate::Deleted,
        22 => {
            let at = tape.below(fields.len());
            let fits = fields[at].spelling.broken().map(|value| (at, value));
            let (at, value) = fits.unwrap_or((0, Value::Null));
            values[at] = value;
            // A record without a key may be dropped by the table's WHERE before its key is looked
            // at.
            let dropped = tables[table].condition.is_some() || is_shared;
            if at < tables[table].key && dropped {
                Fate::Torn
            } else {
                Fate::Broken
            }
        }
        23 => Fate::Torn,
        _ => Fate::Row,
    };
    Record {
        table,
        values,
        fate,
    }
}

impl Record {
    /// Whether no table can read it.
    pub fn is_bad(&self) -> bool {
        matches!(self.fate, Fate::Broken | Fate::Torn)
    }

    /// Whether an expression of this table, which can read it, fails on it.
    pub fn fails_in(&self, table: &Table) -> bool {
        let divisor = table.divisor.map(|divisor| &self.values[divisor]);
        self.fate == Fate::Row && divisor.is_some_and(|divisor| *divisor == json!(0))
    }

    /// How many dead letters it becomes.
    pub fn letters(&self, tables: &[Table]) -> usize {
        if self.is_bad() {
            return 1;
        }
        let reads = |(number, table): &(usize, &Table)| table.twin.unwrap_or(*number) == self.table;
        let readers = tables.iter().enumerate().filter(reads);
        readers.filter(|(_, table)| self.fails_in(table)).count()
    }

    /// The record as it is sent.
    pub fn json(&self, table: &Table) -> String {
        let text = object(table, &self.values).to_string();
        match self.fate {
            Fate::Torn => text[..text.len() - 1].to_owned(),
            _ => text,
        }
    }

    /// Its key as a message key has it: bare, if it is one field.
    pub fn key(&self, table: &Table) -> String {
        match table.key {
            1 => self.values[0].to_string(),
            width => object(table, &self.values[..width]).to_string(),
        }
    }

    /// The record as a line of a file.
    pub fn line(&self, table: &Table) -> String {
        match self.fate {
            Fate::Deleted => {
                let key = match (&self.values[0], table.key) {
                    (Value::String(text), 1) => text.clone(),
                    _ => self.key(table),
                };
                json!({ "__tombstone": key }).to_string()
            }
            _ => self.json(table),
        }
    }
}

fn object(table: &Table, values: &[Value]) -> Value {
    let fields = table.fields.iter().zip(values);
    let object: Map<String, Value> = fields
        .map(|(field, value)| (field.name.clone(), value.clone()))
        .collect();
    Value::Object(object)
}

/// A history as people read it: a line each record.
pub fn shown(tables: &[Table], history: &History) -> String {
    let mut text = String::new();
    for (epoch, records) in (1..).zip(history) {
        for record in records {
            let table = &tables[record.table];
            writeln!(text, "@{epoch} {} {}", table.stream, record.line(table))
                .expect("a string takes all text");
        }
    }
    text
}

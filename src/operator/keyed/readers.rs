//! What reads a group: which keys have a row for a reader, and what is in it.
//!
//! Many views join the same tables on the same key. They choose the same keys, so the keys are
//! chosen once (`Selection`), and a column that several of them read is gathered once (`Gathered`).
//!
//! # Invariants
//! 1. The rows of a moment are gathered before any column is written, or after all are: never in
//!    between.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::nullif;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;

use super::slots::Slots;
use super::table::TableState;
use crate::plan::Presence;

/// Which keys have a row for a reader. Readers of the same tables share it, and with it the columns
/// that they gather.
#[derive(PartialEq)]
pub(super) struct Selection {
    /// The members' tables, by their places in the group.
    pub(super) tables: Vec<usize>,
    pub(super) presence: Presence,
}

pub(super) struct Reader {
    pub(super) selection: usize,
    pub(super) members: Vec<ReaderMember>,
    pub(super) schema: SchemaRef,
}

pub(super) struct ReaderMember {
    pub(super) table: usize,
    pub(super) columns: Vec<Place>,
    /// Whether the reader has rows for keys without this member.
    pub(super) optional: bool,
}

/// Where a column's values are.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Key(usize),
    Kept(usize),
}

/// As of when rows are asked for.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    /// Before the epoch that is being applied.
    Before,
    /// As things are.
    Now,
}

impl Selection {
    /// Those of `touched` for which there is a row.
    pub(super) fn slots(&self, tables: &[TableState], touched: &[u32], moment: Moment) -> Vec<u32> {
        let has_row = |slot: u32| {
            let set = self.tables.iter().rev().fold(0u8, |set, &table| {
                set << 1 | u8::from(tables[table].has(slot, moment))
            });
            self.presence.holds(set)
        };
        let touched = touched.iter().copied();
        touched.filter(|&slot| has_row(slot)).collect()
    }
}

/// The columns of some slots, each gathered once however many readers want it.
pub(super) struct Gathered<'a> {
    keys: &'a Slots,
    tables: &'a mut [TableState],
    slots: &'a [u32],
    moment: Moment,
    key_columns: Option<Vec<ArrayRef>>,
    columns: FxHashMap<(usize, usize), ArrayRef>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(
        keys: &'a Slots,
        tables: &'a mut [TableState],
        slots: &'a [u32],
        moment: Moment,
    ) -> Self {
        Gathered {
            keys,
            tables,
            slots,
            moment,
            key_columns: None,
            columns: FxHashMap::default(),
        }
    }

    /// The rows that `reader` has for the slots.
    pub(super) fn rows(&mut self, reader: &Reader) -> Result<RecordBatch, ArrowError> {
        let mut columns = Vec::with_capacity(reader.schema.fields().len());
        for member in &reader.members {
            let absent = member.optional.then(|| {
                let table = &self.tables[member.table];
                let slots = self.slots.iter();
                BooleanArray::from_iter(slots.map(|&slot| Some(!table.has(slot, self.moment))))
            });
            for &place in &member.columns {
                let column = self.column(member.table, place)?;
                columns.push(match &absent {
                    Some(absent) if absent.true_count() > 0 => nullif(&column, absent)?,
                    _ => column,
                });
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.slots.len()));
        RecordBatch::try_new_with_options(Arc::clone(&reader.schema), columns, &options)
    }

    pub(super) fn column(&mut self, table: usize, place: Place) -> Result<ArrayRef, ArrowError> {
        match place {
            Place::Key(position) => {
                let columns = match &self.key_columns {
                    Some(columns) => columns,
                    None => self.key_columns.insert(self.keys.gather(self.slots)?),
                };
                Ok(Arc::clone(&columns[position]))
            }
            Place::Kept(kept) => {
                if let Some(column) = self.columns.get(&(table, kept)) {
                    return Ok(Arc::clone(column));
                }
                let column = self.tables[table].kept[kept].gather(self.slots)?;
                self.columns.insert((table, kept), Arc::clone(&column));
                Ok(column)
            }
        }
    }
}

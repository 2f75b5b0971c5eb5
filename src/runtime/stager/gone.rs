//! Rows of a file that were replaced: which ones a file must not hold, or must lose.
//!
//! A file holds the rows of a key in the order in which they came, and only the last of them can be
//! alive. So it is enough to know, for each key, how many of its rows are gone: they are the first
//! ones.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use rustc_hash::FxHashMap;

use crate::operator::route::key_columns;

/// The keys of a table's rows as bytes.
pub(super) struct KeyBytes {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyBytes {
    /// For a table with this schema and primary key.
    pub(super) fn new(schema: &SchemaRef, key: &[usize]) -> Self {
        let fields = key
            .iter()
            .map(|&column| SortField::new(schema.field(column).data_type().clone()))
            .collect();
        let converter =
            RowConverter::new(fields).expect("key columns have types that can be compared");
        KeyBytes {
            converter,
            columns: key.to_vec(),
        }
    }

    /// The keys of full rows.
    pub(super) fn of_rows(&self, batch: &RecordBatch) -> Rows {
        self.converter
            .convert_columns(&key_columns(batch, &self.columns))
            .expect("rows of a table have its key columns")
    }

    /// The keys in a batch of key columns alone.
    fn of_keys(&self, batch: &RecordBatch) -> Rows {
        self.converter
            .convert_columns(batch.columns())
            .expect("a batch of keys has the key columns")
    }
}

/// Rows of one file that are gone.
#[derive(Clone, Default)]
pub(super) struct Gone {
    keys: FxHashMap<Box<[u8]>, GoneRows>,
}

/// The rows of one key that are gone.
#[derive(Clone, Copy, Default)]
struct GoneRows {
    /// All that came before this position in the file.
    before: usize,
    /// How many there are.
    count: u32,
}

impl Gone {
    /// Whether no row is gone.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Notes that `keys` were replaced when the file had `position` rows.
    pub(super) fn note(&mut self, bytes: &KeyBytes, keys: &RecordBatch, position: usize) {
        for key in bytes.of_keys(keys).iter() {
            let rows = self.keys.entry(key.as_ref().into()).or_default();
            rows.before = position;
            rows.count += 1;
        }
    }

    /// For each row of `batch`, of which the first is at `position` in the file, whether it stays.
    /// Rows that do not are no longer looked for.
    pub(super) fn stays(
        &mut self,
        bytes: &KeyBytes,
        batch: &RecordBatch,
        position: usize,
    ) -> BooleanArray {
        let keys = bytes.of_rows(batch);
        let stays = keys.iter().enumerate().map(|(row, key)| {
            let Some(rows) = self.keys.get_mut(key.as_ref()) else {
                return Some(true);
            };
            let gone = rows.count > 0 && position + row < rows.before;
            rows.count -= u32::from(gone);
            Some(!gone)
        });
        stays.collect()
    }

    /// How many rows are gone.
    #[cfg(test)]
    pub(super) fn keys_count(&self) -> u32 {
        self.keys.values().map(|rows| rows.count).sum()
    }

    /// Those that were not found in the rows seen so far: they are in the part of the file that was
    /// written before.
    pub(super) fn not_found(self) -> Option<Gone> {
        let keys: FxHashMap<_, _> = self
            .keys
            .into_iter()
            .filter(|(_, rows)| rows.count > 0)
            .map(|(key, rows)| {
                let before = usize::MAX;
                (key, GoneRows { before, ..rows })
            })
            .collect();
        (!keys.is_empty()).then_some(Gone { keys })
    }
}

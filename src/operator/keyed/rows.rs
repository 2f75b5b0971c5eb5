//! Cleaned rows on their way to the worker that owns their keys.
//!
//! The rows of a chunk belong to several workers. Within a process each of them is handed the whole
//! batch and told which rows are its own: to copy wide rows only so that they stand alone would
//! cost as much as to look their keys up. Between processes the rows are cut out as they are
//! written.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::error::ArrowError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::group::FileId;
use super::retried::Retried;
use crate::delta::{WireBatch, take_rows};

/// In the place of a row's hash: the row has no more than a key, which is deleted.
pub const DELETED: u64 = 0;

/// Rows of one table that came together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyedRows {
    /// The table: its place in the group.
    pub table: usize,
    /// Rows of one table apply in the order of (partition, offset).
    pub partition: u64,
    /// The offset of the first record.
    pub offset: u64,
    /// The cleaned rows, all columns.
    pub rows: PickedRows,
    /// A hash of each full row, or [`DELETED`].
    pub hashes: Vec<u64>,
    /// The data file the rows were read from, when the state is restored; such rows are not staged
    /// again.
    pub file: Option<FileId>,
    /// What is known of records that were dead letters; such rows come alone.
    pub retried: Option<Retried>,
}

/// Rows of a batch, in its order.
#[derive(Clone, Debug)]
pub struct PickedRows {
    batch: RecordBatch,
    /// Which rows; all of them if this is missing.
    picked: Option<Vec<u64>>,
}

impl PickedRows {
    /// All rows of `batch`.
    pub fn all(batch: RecordBatch) -> Self {
        PickedRows {
            batch,
            picked: None,
        }
    }

    /// The rows of `batch` whose numbers are in `picked`, which ascends.
    pub fn some(batch: RecordBatch, picked: Vec<u64>) -> Self {
        PickedRows {
            batch,
            picked: Some(picked),
        }
    }

    /// The batch that they are rows of.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The number in the batch of the row that is picked as number `row`.
    pub fn place(&self, row: usize) -> u32 {
        self.picked
            .as_ref()
            .map_or(row, |picked| picked[row] as usize) as u32
    }

    /// One column of the rows that are picked.
    pub fn column(&self, column: usize) -> Result<ArrayRef, ArrowError> {
        let whole = self.batch.column(column);
        match &self.picked {
            None => Ok(Arc::clone(whole)),
            Some(picked) => take(whole, &UInt64Array::from(picked.clone()), None),
        }
    }

    fn cut(&self) -> Result<RecordBatch, ArrowError> {
        match &self.picked {
            None => Ok(self.batch.clone()),
            Some(picked) => take_rows(&self.batch, picked),
        }
    }
}

impl Serialize for PickedRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cut = self.cut().map_err(serde::ser::Error::custom)?;
        WireBatch(cut).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PickedRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireBatch::deserialize(deserializer).map(|WireBatch(batch)| PickedRows::all(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;

    #[test]
    fn rows_that_cross_processes_come_alone() {
        let keys = Int64Array::from_iter_values([10, 11, 12]);
        let texts = StringViewArray::from_iter_values(["a", "a text that is not inline", "c"]);
        let batch = RecordBatch::try_from_iter([
            ("key", Arc::new(keys) as ArrayRef),
            ("text", Arc::new(texts) as ArrayRef),
        ])
        .unwrap();
        let rows = PickedRows::some(batch.clone(), vec![0, 2]);
        assert_eq!(
            rows.column(0).unwrap().as_primitive::<Int64Type>().values(),
            &[10, 12]
        );
        assert_eq!((rows.place(0), rows.place(1)), (0, 2));

        let text = serde_json::to_vec(&rows).unwrap();
        let received: PickedRows = serde_json::from_slice(&text).unwrap();
        assert_eq!(received.batch(), &take_rows(&batch, &[0, 2]).unwrap());
        assert_eq!((received.place(0), received.place(1)), (0, 1));
    }
}

//! Changes on their way through the dataflow.
//!
//! A [`Delta`] is what every edge carries: an Arrow batch and, beside it, by how much each row's
//! count changes. Whole batches travel as single timely records, so timely's bookkeeping, the
//! choice of a worker and the evaluation of expressions are paid per batch, not per row.
//!
//! # Invariants
//! 1. `diffs.len() == rows.num_rows()`.
//! 2. All changes of one delta belong to one epoch: the timely timestamp it travels under.
//! 3. A delta is not consolidated: the same row may occur several times, and may cancel.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The logical time of the dataflow: a slice of all streams that becomes visible at once.
pub type Epoch = u64;

/// A change in a row's count.
pub type Diff = i64;

/// A batch of changes at one epoch: row `i` of `rows` changes its count by `diffs[i]`.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The rows that change.
    pub rows: RecordBatch,
    /// By how much the count of each row changes; never longer or shorter than `rows`.
    pub diffs: Vec<Diff>,
}

impl Delta {
    /// Every row of `rows`, added once.
    pub fn insert(rows: RecordBatch) -> Self {
        let diffs = vec![1; rows.num_rows()];
        Delta { rows, diffs }
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Whether there is no change in it.
    pub fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }

    /// The changes at `indices`, in that order.
    pub fn take(&self, indices: &[u64]) -> Result<Delta, ArrowError> {
        Ok(Delta {
            rows: take_rows(&self.rows, indices)?,
            diffs: indices.iter().map(|&i| self.diffs[i as usize]).collect(),
        })
    }

    /// One delta with the changes of all of `deltas`, which share `schema`.
    pub fn concat(schema: &SchemaRef, deltas: &[Delta]) -> Result<Delta, ArrowError> {
        if let [only] = deltas {
            return Ok(only.clone());
        }
        Ok(Delta {
            rows: concat_batches(schema, deltas.iter().map(|delta| &delta.rows))?,
            diffs: deltas
                .iter()
                .flat_map(|delta| delta.diffs.iter().copied())
                .collect(),
        })
    }
}

/// The rows of `batch` at `indices`, in that order.
pub fn take_rows(batch: &RecordBatch, indices: &[u64]) -> Result<RecordBatch, ArrowError> {
    let indices = UInt64Array::from(indices.to_vec());
    let columns = batch
        .columns()
        .iter()
        .map(|column| take(column, &indices, None))
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new_with_options(
        batch.schema(),
        columns,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(indices.len())),
    )
}

impl Serialize for Delta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (WireBatch(self.rows.clone()), &self.diffs).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Delta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (WireBatch(rows), diffs) = Deserialize::deserialize(deserializer)?;
        Ok(Delta { rows, diffs })
    }
}

/// A record batch that crosses processes as an Arrow IPC stream.
///
/// String views point into shared buffers of which the batch may use a small part; they are packed
/// before they are written, so that a message is as long as its rows.
#[derive(Clone, Debug)]
pub struct WireBatch(pub RecordBatch);

impl Serialize for WireBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let packed = pack_views(&self.0).map_err(S::Error::custom)?;
        let mut bytes = Vec::new();
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &packed.schema())
            .map_err(S::Error::custom)?;
        writer.write(&packed).map_err(S::Error::custom)?;
        writer.finish().map_err(S::Error::custom)?;
        drop(writer);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for WireBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        let mut reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None)
            .map_err(D::Error::custom)?;
        match reader.next() {
            Some(batch) => {
                let batch = batch.map_err(D::Error::custom)?;
                unpack_views(&batch)
                    .map(WireBatch)
                    .map_err(D::Error::custom)
            }
            None => Ok(WireBatch(RecordBatch::new_empty(reader.schema()))),
        }
    }
}

/// Marks a field whose values were packed for the wire.
const PACKED: &str = "pinflow.packed";

/// String views as plain strings, which hold their own bytes and no more.
fn pack_views(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    recast(batch, |field| {
        let packed = HashMap::from([(PACKED.to_owned(), String::new())]);
        (*field.data_type() == DataType::Utf8View).then(|| {
            field
                .clone()
                .with_data_type(DataType::Utf8)
                .with_metadata(packed)
        })
    })
}

/// Undoes [`pack_views`].
fn unpack_views(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    recast(batch, |field| {
        field.metadata().contains_key(PACKED).then(|| {
            field
                .clone()
                .with_data_type(DataType::Utf8View)
                .with_metadata(HashMap::new())
        })
    })
}

/// Casts the columns for whose field `change` gives another one.
fn recast(
    batch: &RecordBatch,
    change: impl Fn(&Field) -> Option<Field>,
) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match change(field) {
            Some(changed) => {
                columns.push(cast(column, changed.data_type())?);
                fields.push(changed);
            }
            None => {
                columns.push(Arc::clone(column));
                fields.push(field.as_ref().clone());
            }
        }
    }
    RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};

    #[test]
    fn a_delta_survives_the_wire() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("text", DataType::Utf8View, true),
            Field::new("plain", DataType::Utf8, true),
        ]));
        let rows = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
                Arc::new(StringViewArray::from(vec![
                    None,
                    Some("short"),
                    Some("longer than twelve bytes"),
                ])),
                Arc::new(arrow::array::StringArray::from(vec![
                    Some("a"),
                    None,
                    Some("c"),
                ])),
            ],
        )
        .unwrap();
        let delta = Delta {
            rows,
            diffs: vec![1, -1, 2],
        };
        let sent: Delta = {
            // Serde's own data model stands in for the wire: JSON keeps bytes as numbers.
            let text = serde_json::to_vec(&delta).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        assert_eq!(sent.rows, delta.rows);
        assert_eq!(sent.diffs, delta.diffs);
    }
}

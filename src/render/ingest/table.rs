//! From decoded records to the rows of a table: clean, look at the key, put deletions where they
//! belong, and address rows to the owners of their keys.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat_batches, filter_record_batch};

use super::tombstone::Tombstones;
use crate::decode::Decoder;
use crate::delta::take_rows;
use crate::operator::keyed::{DELETED, FileId, KeyedRows, PickedRows, Retried};
use crate::operator::map::Reason;
use crate::operator::mapper::Mappers;
use crate::operator::route::{Routed, hash_keys, key_columns, partition};
use crate::operator::row_hash::hash_rows;
use crate::plan::{Plan, Table};
use crate::source::Delete;

/// Cleaning of one table.
pub(super) struct TablePipeline {
    pub tombstones: Tombstones,
    cleaning: Mappers,
    pub plan: Arc<Plan>,
    pub table: usize,
    pub group: usize,
    pub place: usize,
    pub workers: usize,
}

impl TablePipeline {
    /// For the table at this place in the plan, whose stream `decoder` decodes.
    pub fn new(plan: &Arc<Plan>, table: usize, decoder: Decoder, workers: usize) -> Self {
        let group = plan
            .groups
            .iter()
            .position(|group| group.contains(&table))
            .expect("every table is in a group");
        let place = plan.groups[group]
            .iter()
            .position(|&t| t == table)
            .expect("the group holds the table");
        let cleaning = Mappers::new(&plan.tables[table].clean, decoder.schema())
            .expect("expressions were made for these columns");
        TablePipeline {
            cleaning,
            tombstones: Tombstones::new(&plan.tables[table], decoder),
            plan: Arc::clone(plan),
            table,
            group,
            place,
            workers,
        }
    }

    pub fn definition(&self) -> &Table {
        &self.plan.tables[self.table]
    }

    /// The cleaned rows, and for each its decoded row if that is not its own number. `failed` gets
    /// the rows that fail, and why.
    pub fn clean(
        &mut self,
        decoded: &RecordBatch,
        mut failed: impl FnMut(u64, Reason<'_>),
    ) -> (RecordBatch, Option<Vec<u64>>) {
        let mapped = self
            .cleaning
            .apply(decoded, &mut |row, error| failed(row, Reason(error)));
        let mapped = mapped.expect("the rows have the columns that the maps were made for");
        (mapped.rows, mapped.origin)
    }

    /// Takes the rows with a null in their key out; also returns for each that is left its decoded
    /// row if that is not its own number.
    pub fn with_keys(
        &self,
        rows: RecordBatch,
        origin: Option<Vec<u64>>,
        mut missing: impl FnMut(u64),
    ) -> (RecordBatch, Option<Vec<u64>>) {
        let keys = key_columns(&rows, &self.definition().key);
        if keys.iter().all(|key| key.null_count() == 0) {
            return (rows, origin);
        }
        let source = |row: u64| origin.as_ref().map_or(row, |origin| origin[row as usize]);
        let nulls = keys.iter().map(|key| key.nulls());
        let valid = nulls.fold(None, |all, of_key| NullBuffer::union(all.as_ref(), of_key));
        let valid = valid
            .expect("a key that has a null has a bitmap")
            .into_inner();
        for row in (!&valid).set_indices() {
            missing(source(row as u64));
        }
        let origin = valid.set_indices().map(|row| source(row as u64)).collect();
        let rows = filter_record_batch(&rows, &BooleanArray::new(valid, None));
        (rows.expect("there is one answer a row"), Some(origin))
    }

    /// The rows and the deleted keys in the order of their `offsets`, and which of them are deleted
    /// keys.
    pub fn with_deletes(
        &mut self,
        rows: RecordBatch,
        offsets: &mut Vec<u64>,
        deletes: &[Delete],
        wrong: impl FnMut(&Delete, String),
    ) -> (RecordBatch, Option<Vec<bool>>) {
        let (deleted, deleted_at) = self.tombstones.rows(deletes, wrong);
        let Some(deleted) = deleted else {
            return (rows, None);
        };
        let living = rows.num_rows();
        offsets.extend(deleted_at);
        let both = concat_batches(&self.definition().schema, [&rows, &deleted])
            .expect("both are rows of the table");
        let mut order: Vec<u64> = (0..both.num_rows() as u64).collect();
        order.sort_by_key(|&row| offsets[row as usize]);
        offsets.sort_unstable();
        let is_deleted = order.iter().map(|&row| row as usize >= living).collect();
        let rows = take_rows(&both, &order).expect("row numbers come from the batch itself");
        (rows, Some(is_deleted))
    }

    /// Tells each worker which of `rows` have keys that it owns.
    pub fn route(
        &self,
        rows: &RecordBatch,
        deleted: Option<&[bool]>,
        place: Place,
    ) -> Vec<Routed<KeyedRows>> {
        let mut hashes = hash_rows(rows).expect("columns of tables can be hashed");
        for (row, hash) in hashes.iter_mut().enumerate() {
            let deleted = deleted.is_some_and(|deleted| deleted[row]);
            *hash = if deleted {
                DELETED
            } else {
                (*hash).max(DELETED + 1)
            };
        }
        let Place {
            partition: partition_hash,
            offset,
            file,
            retried,
        } = place;
        let piece = |rows: PickedRows, hashes: Vec<u64>, retried: Option<Retried>| KeyedRows {
            table: self.place,
            partition: partition_hash,
            offset,
            rows,
            hashes,
            file,
            retried,
        };
        if self.workers == 1 {
            return vec![Routed {
                worker: 0,
                data: piece(PickedRows::all(rows.clone()), hashes, retried),
            }];
        }
        let keys = key_columns(rows, &self.definition().key);
        let owners = hash_keys(&keys, rows.num_rows()).expect("columns of tables can be hashed");
        partition(&owners, self.workers)
            .into_iter()
            .map(|(worker, picked)| {
                let hashes = picked.iter().map(|&row| hashes[row as usize]).collect();
                let retried = retried.as_ref().map(|retried| retried.take(&picked));
                let retried = retried.transpose().expect("there is a letter for each row");
                Routed {
                    worker,
                    data: piece(PickedRows::some(rows.clone(), picked), hashes, retried),
                }
            })
            .collect()
    }
}

/// Where rows come from.
pub(super) struct Place {
    /// The hash of their partition.
    pub partition: u64,
    /// The offset of the first record.
    pub offset: u64,
    /// The file that they were restored from.
    pub file: Option<FileId>,
    /// What is known of their records, if they were dead letters.
    pub retried: Option<Retried>,
}

impl Place {
    /// A data file of an earlier run.
    pub fn restored(file: FileId) -> Self {
        Place {
            partition: 0,
            offset: 0,
            file: Some(file),
            retried: None,
        }
    }
}

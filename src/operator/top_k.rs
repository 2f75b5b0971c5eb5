//! The first rows of each partition: `ROW_NUMBER`, `RANK`, `DENSE_RANK` with a bound, and `ORDER BY
//! .. LIMIT`.
//!
//! Each partition keeps its first rows in an ordered multiset (`partition`), so a change costs
//! O(log n) and the answer is read from the front: O(k) rows, and ties. The order is made total by
//! the row's other columns, so every choice between equals is always the same one.

mod backlog;
mod partition;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use self::partition::Partition;
use super::group_index::GroupIndex;
use super::route::key_columns;
use crate::bits::Bits;
use crate::delta::{Delta, Diff};
use crate::plan::{Rank, TopK};

/// How many rows of a partition are in order at least, if it has as many; few in tests, so that
/// they reach beyond.
const NEAR: usize = if cfg!(test) { 4 } else { 64 };

/// The state of one top-k on one worker.
pub struct TopKState {
    top: TopK,
    index: GroupIndex,
    partitions: Vec<Partition<NEAR>>,
    touched: Bits,
    /// The columns of a row in row format: the order columns, as they are ordered, then all others.
    /// Partition columns are in `index`.
    rows: RowConverter,
    row_columns: Vec<usize>,
    /// The order columns alone, to see where they end in a row.
    order: RowConverter,
    input: SchemaRef,
    schema: SchemaRef,
}

/// A row in row format: bytes that compare as the rows do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// The first nine bytes, which hold a whole number and whether it is null: most comparisons
    /// need no more, and so do not leave the node.
    mark: u8,
    prefix: u64,
    /// How many of the bytes are the order columns.
    order_length: u32,
    bytes: Box<[u8]>,
}

impl Entry {
    fn new(bytes: &[u8], order_length: usize) -> Self {
        let (mark, prefix) = prefix(bytes);
        Entry {
            mark,
            prefix,
            order_length: order_length as u32,
            bytes: bytes.into(),
        }
    }

    fn order(&self) -> &[u8] {
        &self.bytes[..self.order_length as usize]
    }

    /// Whether a row, of which these are the bytes and their prefix, comes behind this one.
    fn is_before(&self, prefix: (u8, u64), bytes: &[u8]) -> bool {
        (self.mark, self.prefix)
            .cmp(&prefix)
            .then_with(|| (*self.bytes).cmp(bytes))
            .is_lt()
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.mark, self.prefix)
            .cmp(&(other.mark, other.prefix))
            .then_with(|| self.bytes.cmp(&other.bytes))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first nine bytes, as numbers that compare like them.
fn prefix(bytes: &[u8]) -> (u8, u64) {
    let Some((&mark, rest)) = bytes.split_first() else {
        return (0, 0);
    };
    let mut first = [0; 8];
    let length = rest.len().min(8);
    first[..length].copy_from_slice(&rest[..length]);
    (mark, u64::from_be_bytes(first))
}

/// A change of a row that is still in the batch's encoding.
struct Change {
    partition: u32,
    prefix: (u8, u64),
    batch: u32,
    row: u32,
    diff: i64,
}

/// The rows of a batch in row format.
struct Encoded {
    /// `None` without columns beside the partition's.
    rows: Option<Rows>,
    order: Option<Rows>,
}

impl Encoded {
    fn bytes(&self, row: usize) -> &[u8] {
        let rows = self.rows.as_ref();
        rows.map_or(&[], |rows| rows.row(row).data())
    }

    fn order_length(&self, row: usize) -> usize {
        let order = self.order.as_ref();
        order.map_or(0, |order| order.row_len(row))
    }
}

/// Numbers rows that come in order, and tells `emit` those within the bound: the row, its number (0
/// if that is not shown), and how many times.
///
/// Returns how many rows it looked at until the first that is not within the bound; nothing if
/// there was none.
fn number<'a>(
    top: &TopK,
    rows: &mut dyn Iterator<Item = (&'a Entry, i64)>,
    mut emit: impl FnMut(&'a Entry, u64, i64),
) -> Option<usize> {
    let last = top.skip.saturating_add(top.limit);
    let most = if top.distinct { 1 } else { Diff::MAX };
    let shown = |place: u64| if top.emit_rank { place } else { 0 };
    let mut rows_before = 0u64;
    let mut dense = 0u64;
    let mut rank = 0u64;
    let mut previous: Option<&[u8]> = None;
    for (looked_at, (entry, count)) in rows.enumerate() {
        let count = count.clamp(0, most) as u64;
        if previous != Some(entry.order()) {
            dense += 1;
            rank = rows_before + 1;
            previous = Some(entry.order());
        }
        match top.rank {
            Rank::RowNumber => {
                // Equal rows are numbered one after the other.
                let first = (rows_before + 1).max(top.skip + 1);
                let until = (rows_before + count).min(last);
                if rows_before >= last {
                    return Some(looked_at);
                }
                if top.emit_rank {
                    (first..=until).for_each(|place| emit(entry, place, 1));
                } else if first <= until {
                    emit(entry, 0, (until - first + 1) as i64);
                }
            }
            Rank::Rank | Rank::DenseRank => {
                let place = if top.rank == Rank::Rank { rank } else { dense };
                if place > last {
                    return Some(looked_at);
                }
                if place > top.skip {
                    emit(entry, shown(place), count as i64);
                }
            }
        }
        rows_before += count;
    }
    None
}

impl TopKState {
    /// No rows yet. `input` and `schema` are the columns read and returned.
    pub fn new(input: &SchemaRef, top: TopK, schema: SchemaRef) -> Result<Self, ArrowError> {
        let data_type = |column: usize| input.field(column).data_type().clone();
        let types: Vec<DataType> = top
            .partition
            .iter()
            .map(|&column| data_type(column))
            .collect();
        let order: Vec<SortField> = top
            .order
            .iter()
            .map(|&(column, options)| SortField::new_with_options(data_type(column), options))
            .collect();
        let mut row_columns: Vec<usize> = top.order.iter().map(|&(column, _)| column).collect();
        let others: Vec<usize> = (0..input.fields().len())
            .filter(|column| !top.partition.contains(column) && !row_columns.contains(column))
            .collect();
        let mut fields = order.clone();
        fields.extend(
            others
                .iter()
                .map(|&column| SortField::new(data_type(column))),
        );
        row_columns.extend(others);
        Ok(TopKState {
            index: GroupIndex::new(&types)?,
            partitions: Vec::new(),
            touched: Bits::default(),
            rows: RowConverter::new(fields)?,
            row_columns,
            order: RowConverter::new(order)?,
            top,
            input: Arc::clone(input),
            schema,
        })
    }

    /// Folds the changes of one epoch in, and returns what changes in the output.
    pub fn apply(&mut self, deltas: &[Delta]) -> Result<Vec<Delta>, ArrowError> {
        let mut touched: Vec<u32> = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        let mut encoded: Vec<Encoded> = Vec::with_capacity(deltas.len());
        let mut numbers = Vec::new();
        for (batch, delta) in (0..).zip(deltas) {
            let partition = key_columns(&delta.rows, &self.top.partition);
            self.index.intern(&partition, delta.len(), &mut numbers)?;
            self.touched.resize(self.index.numbers());
            self.partitions
                .resize_with(self.index.numbers(), Partition::default);
            let rows = self.encode(&delta.rows)?;
            for (row, (&number, &diff)) in numbers.iter().zip(&delta.diffs).enumerate() {
                let (bytes, partition) = (rows.bytes(row), &mut self.partitions[number as usize]);
                let prefix = prefix(bytes);
                let fence = partition.fence();
                if fence.is_some_and(|fence| fence.is_before(prefix, bytes)) {
                    partition.defer(bytes, rows.order_length(row), diff);
                    continue;
                }
                if !self.touched.set(number as usize, true) {
                    touched.push(number);
                }
                changes.push(Change {
                    partition: number,
                    prefix,
                    batch,
                    row: row as u32,
                    diff,
                });
            }
            encoded.push(rows);
        }
        let bytes = |change: &Change| encoded[change.batch as usize].bytes(change.row as usize);
        changes.sort_unstable_by(|a, b| {
            (a.partition, a.prefix)
                .cmp(&(b.partition, b.prefix))
                .then_with(|| bytes(a).cmp(bytes(b)))
        });
        let mut edits: BTreeMap<(u32, Entry, u64), i64> = BTreeMap::new();
        for &number in &touched {
            self.first_rows(number, -1, &mut edits);
        }
        let equal = |a: &Change, b: &Change| {
            (a.partition, a.prefix) == (b.partition, b.prefix) && bytes(a) == bytes(b)
        };
        for same in changes.chunk_by(equal) {
            let diff: i64 = same.iter().map(|change| change.diff).sum();
            if diff != 0 {
                let first = &same[0];
                let order_length = encoded[first.batch as usize].order_length(first.row as usize);
                let entry = Entry::new(bytes(first), order_length);
                self.partitions[first.partition as usize].update(entry, diff);
            }
        }
        for &number in &touched {
            let top = &self.top;
            self.partitions[number as usize].settle(|rows| self::number(top, rows, |_, _, _| {}));
            self.first_rows(number, 1, &mut edits);
        }
        edits.retain(|_, diff| *diff != 0);
        let delta = if edits.is_empty() {
            Vec::new()
        } else {
            vec![self.decode(edits)?]
        };
        for &number in &touched {
            self.touched.set(number as usize, false);
            if self.partitions[number as usize].is_empty() {
                self.index.release(number);
            }
        }
        Ok(delta)
    }

    fn encode(&self, rows: &RecordBatch) -> Result<Encoded, ArrowError> {
        let columns = |picked: &[usize]| -> Vec<ArrayRef> {
            if self.top.distinct {
                return key_columns(rows, picked);
            }
            picked
                .iter()
                .map(|&column| Arc::clone(rows.column(column)))
                .collect()
        };
        let convert = |converter: &RowConverter, picked: &[usize]| {
            let some = !picked.is_empty();
            some.then(|| converter.convert_columns(&columns(picked)))
                .transpose()
        };
        let order = &self.row_columns[..self.top.order.len()];
        Ok(Encoded {
            rows: convert(&self.rows, &self.row_columns)?,
            order: convert(&self.order, order)?,
        })
    }

    /// How many partitions there are at most.
    pub fn partitions(&self) -> usize {
        self.index.numbers()
    }

    /// The number of bytes the state takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
            + self
                .partitions
                .iter()
                .map(Partition::heap_bytes)
                .sum::<usize>()
    }

    /// Adds `sign` times the rows of partition `number` that are within the bound, with their
    /// numbers.
    fn first_rows(&self, number: u32, sign: i64, edits: &mut BTreeMap<(u32, Entry, u64), i64>) {
        let first = &mut self.partitions[number as usize].first();
        self::number(&self.top, first, |entry, place, times| {
            *edits.entry((number, entry.clone(), place)).or_insert(0) += sign * times;
        });
    }

    fn decode(&self, edits: BTreeMap<(u32, Entry, u64), i64>) -> Result<Delta, ArrowError> {
        let mut numbers = Vec::with_capacity(edits.len());
        let mut ranks = Vec::with_capacity(edits.len());
        let mut diffs = Vec::with_capacity(edits.len());
        let mut entries = Vec::with_capacity(edits.len());
        for ((number, entry, rank), diff) in edits {
            numbers.push(number);
            ranks.push(rank);
            diffs.push(diff);
            entries.push(entry.bytes);
        }
        let others = if self.row_columns.is_empty() {
            Vec::new()
        } else {
            let parser = self.rows.parser();
            self.rows
                .convert_rows(entries.iter().map(|entry| parser.parse(entry)))?
        };
        let keys = self.index.keys(&numbers)?;
        let mut output: Vec<Option<ArrayRef>> = vec![None; self.input.fields().len()];
        let others = self.row_columns.iter().zip(others);
        for (&column, array) in others.chain(self.top.partition.iter().zip(keys)) {
            output[column] = Some(array);
        }
        let mut output: Vec<ArrayRef> = output.into_iter().flatten().collect();
        if self.top.emit_rank {
            output.push(Arc::new(UInt64Array::from(ranks)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(diffs.len()));
        Ok(Delta {
            rows: RecordBatch::try_new_with_options(Arc::clone(&self.schema), output, &options)?,
            diffs,
        })
    }
}

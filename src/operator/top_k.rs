//! The first rows of each partition: `ROW_NUMBER`, `RANK`, `DENSE_RANK` with a bound, and `ORDER BY .. LIMIT`.
//!
//! Each partition keeps its rows in an ordered multiset, so a change costs O(log n) and the answer is read from the front: O(k) rows, and ties.
//! The order is made total by the row's other columns, so every choice between equals is always the same one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::group_index::GroupIndex;
use super::ordered_multiset::OrderedMultiset;
use super::route::key_columns;
use crate::bits::Bits;
use crate::delta::Delta;
use crate::plan::Rank;

/// What is numbered, how, and which numbers are kept.
pub struct TopKShape {
    /// The partition columns.
    pub partition: Vec<usize>,
    /// The order within a partition.
    pub order: Vec<(usize, SortOptions)>,
    /// How rows are numbered.
    pub rank: Rank,
    /// The greatest number of rows kept beyond `skip`.
    pub limit: u64,
    /// Numbers up to this are dropped.
    pub skip: u64,
    /// Whether the number is a last column of the output.
    pub emit_rank: bool,
}

/// The state of one top-k on one worker.
pub struct TopKState {
    shape: TopKShape,
    index: GroupIndex,
    partitions: Vec<OrderedMultiset<Entry>>,
    touched: Bits,
    /// The order columns alone, to see ties.
    order: RowConverter,
    /// The remaining columns; partition columns are in `index`.
    rest: RowConverter,
    rest_columns: Vec<usize>,
    input: SchemaRef,
    schema: SchemaRef,
}

/// A row: its order columns, then the others, in row format; both parts compare as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    order: Box<[u8]>,
    rest: Box<[u8]>,
}

impl TopKState {
    /// No rows yet. `input` and `schema` are the columns read and returned.
    pub fn new(input: &SchemaRef, shape: TopKShape, schema: SchemaRef) -> Result<Self, ArrowError> {
        let data_type = |column: usize| input.field(column).data_type().clone();
        let types: Vec<DataType> = shape
            .partition
            .iter()
            .map(|&column| data_type(column))
            .collect();
        let order = shape
            .order
            .iter()
            .map(|&(column, options)| SortField::new_with_options(data_type(column), options))
            .collect();
        let rest_columns: Vec<usize> = (0..input.fields().len())
            .filter(|column| !shape.partition.contains(column))
            .collect();
        let rest = rest_columns
            .iter()
            .map(|&column| SortField::new(data_type(column)))
            .collect();
        Ok(TopKState {
            index: GroupIndex::new(&types)?,
            partitions: Vec::new(),
            touched: Bits::default(),
            order: RowConverter::new(order)?,
            rest: RowConverter::new(rest)?,
            rest_columns,
            shape,
            input: Arc::clone(input),
            schema,
        })
    }

    /// Folds the changes of one epoch in, and returns what changes in the output.
    pub fn apply(&mut self, deltas: &[Delta]) -> Result<Vec<Delta>, ArrowError> {
        let mut touched: Vec<u32> = Vec::new();
        let mut changes: Vec<(u32, Entry, i64)> = Vec::new();
        let mut numbers = Vec::new();
        for delta in deltas {
            let partition = key_columns(&delta.rows, &self.shape.partition);
            self.index.intern(&partition, delta.len(), &mut numbers)?;
            self.touched.resize(self.index.numbers());
            self.partitions
                .resize_with(self.index.numbers(), OrderedMultiset::default);
            let order = encode(
                &self.order,
                &delta.rows,
                self.shape.order.iter().map(|&(column, _)| column),
            )?;
            let rest = encode(&self.rest, &delta.rows, self.rest_columns.iter().copied())?;
            for (((&number, order), rest), &diff) in
                numbers.iter().zip(order).zip(rest).zip(&delta.diffs)
            {
                if !self.touched.set(number as usize, true) {
                    touched.push(number);
                }
                changes.push((number, Entry { order, rest }, diff));
            }
        }
        changes.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut edits: BTreeMap<(u32, Entry, u64), i64> = BTreeMap::new();
        for &number in &touched {
            self.first_rows(number, -1, &mut edits);
        }
        for same in changes.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
            let diff: i64 = same.iter().map(|change| change.2).sum();
            if diff != 0 {
                self.partitions[same[0].0 as usize].update(same[0].1.clone(), diff);
            }
        }
        for &number in &touched {
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

    /// The number of bytes the state takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
            + self
                .partitions
                .iter()
                .map(|set| {
                    set.heap_bytes()
                        + set
                            .iter()
                            .map(|(entry, _)| entry.order.len() + entry.rest.len() + 32)
                            .sum::<usize>()
                })
                .sum::<usize>()
    }

    /// Adds `sign` times the rows of partition `number` that are within the bound, with their numbers.
    fn first_rows(&self, number: u32, sign: i64, edits: &mut BTreeMap<(u32, Entry, u64), i64>) {
        let last = self.shape.skip.saturating_add(self.shape.limit);
        let mut rows_before = 0u64;
        let mut dense = 0u64;
        let mut rank = 0u64;
        let mut previous: Option<&[u8]> = None;
        for (entry, count) in self.partitions[number as usize].iter() {
            let count = count.max(0) as u64;
            if previous != Some(&entry.order) {
                dense += 1;
                rank = rows_before + 1;
                previous = Some(&entry.order);
            }
            let mut emit = |place: u64, times: i64| {
                let shown = if self.shape.emit_rank { place } else { 0 };
                *edits.entry((number, entry.clone(), shown)).or_insert(0) += sign * times;
            };
            match self.shape.rank {
                Rank::RowNumber => {
                    // Equal rows are numbered one after the other.
                    let first = (rows_before + 1).max(self.shape.skip + 1);
                    let until = (rows_before + count).min(last);
                    if rows_before >= last {
                        return;
                    }
                    if self.shape.emit_rank {
                        (first..=until).for_each(|place| emit(place, 1));
                    } else if first <= until {
                        emit(0, (until - first + 1) as i64);
                    }
                }
                Rank::Rank | Rank::DenseRank => {
                    let place = if self.shape.rank == Rank::Rank {
                        rank
                    } else {
                        dense
                    };
                    if place > last {
                        return;
                    }
                    if place > self.shape.skip {
                        emit(place, count as i64);
                    }
                }
            }
            rows_before += count;
        }
    }

    fn decode(&self, edits: BTreeMap<(u32, Entry, u64), i64>) -> Result<Delta, ArrowError> {
        let mut numbers = Vec::with_capacity(edits.len());
        let mut ranks = Vec::with_capacity(edits.len());
        let mut diffs = Vec::with_capacity(edits.len());
        let mut rests = Vec::with_capacity(edits.len());
        for ((number, entry, rank), diff) in edits {
            numbers.push(number);
            ranks.push(rank);
            diffs.push(diff);
            rests.push(entry.rest);
        }
        let parser = self.rest.parser();
        let rest = self
            .rest
            .convert_rows(rests.iter().map(|rest| parser.parse(rest)))?;
        let keys = self.index.keys(&numbers)?;
        let mut output: Vec<Option<ArrayRef>> = vec![None; self.input.fields().len()];
        for (&column, array) in self
            .shape
            .partition
            .iter()
            .zip(keys)
            .chain(self.rest_columns.iter().zip(rest))
        {
            output[column] = Some(array);
        }
        let mut output: Vec<ArrayRef> = output.into_iter().flatten().collect();
        if self.shape.emit_rank {
            output.push(Arc::new(UInt64Array::from(ranks)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(diffs.len()));
        Ok(Delta {
            rows: RecordBatch::try_new_with_options(Arc::clone(&self.schema), output, &options)?,
            diffs,
        })
    }
}

fn columns(rows: &RecordBatch, picked: impl Iterator<Item = usize>) -> Vec<ArrayRef> {
    picked
        .map(|column| Arc::clone(rows.column(column)))
        .collect()
}

/// The picked columns of each row, in row format.
fn encode(
    converter: &RowConverter,
    rows: &RecordBatch,
    picked: impl Iterator<Item = usize>,
) -> Result<Vec<Box<[u8]>>, ArrowError> {
    let arrays = columns(rows, picked);
    if arrays.is_empty() {
        return Ok(vec![Box::default(); rows.num_rows()]);
    }
    let encoded = converter.convert_columns(&arrays)?;
    Ok(encoded.iter().map(|row| row.as_ref().into()).collect())
}

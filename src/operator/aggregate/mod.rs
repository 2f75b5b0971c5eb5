//! GROUP BY: one row for each group, kept up to date.
//!
//! An epoch's changes are numbered by group, folded into each aggregate's state in batches, and the
//! rows of the touched groups are emitted as they were (-1) and as they are (+1); groups whose row
//! stays the same are not emitted.
//!
//! Aggregates differ in what their state can do:
//! * accumulable (`count`, `sum`, `avg`, `bool_and`, `bool_or`): a few numbers a group, O(1) a
//!   change; sums of floats are exact ([`ExactSum`](super::exact_sum::ExactSum)), so nothing drifts
//!   under retraction;
//! * order statistics (`min`, `max`, `median`, percentiles): the ordered multiset of a group's
//!   values, O(log n) a change and a question;
//! * lists (`array_agg`, `string_agg`): the ordered multiset of the values; the answer itself is as
//!   long as the group.

mod accumulator;
mod distinct;
mod list;
mod ordered;
mod sum;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
    UInt64Array,
};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use accumulator::{Accumulator, Input};

use super::group_index::GroupIndex;
use super::route::key_columns;
use crate::bits::Bits;
use crate::delta::{Delta, Diff};
use crate::plan::{Aggregate, Aggregation, Function};
use crate::segmented::Segmented;

/// The state of one aggregation on one worker.
pub struct AggregateState {
    group: Vec<usize>,
    /// With the state of each; `count(*)` has none, for it is in `counts`.
    aggregates: Vec<(Aggregate, Option<Box<dyn Accumulator>>)>,
    index: GroupIndex,
    /// Rows in each group; a group exists while it has any.
    counts: Segmented<Diff>,
    touched: Bits,
    schema: SchemaRef,
    /// Without group columns there is one group, and it exists before any row.
    only_group: bool,
}

impl AggregateState {
    /// No rows yet. `input` and `schema` are the columns read and returned.
    pub fn new(
        input: &SchemaRef,
        aggregation: &Aggregation,
        schema: SchemaRef,
    ) -> Result<Self, ArrowError> {
        let group = &aggregation.group;
        let types: Vec<DataType> = group
            .iter()
            .map(|&column| input.field(column).data_type().clone())
            .collect();
        let aggregates = aggregation
            .aggregates
            .iter()
            .map(|aggregate| {
                let needs_state = !counts_rows(aggregate);
                let accumulator = needs_state.then(|| accumulator_for(aggregate, input));
                Ok((aggregate.clone(), accumulator.transpose()?))
            })
            .collect::<Result<Vec<_>, ArrowError>>()?;
        Ok(AggregateState {
            group: group.clone(),
            aggregates,
            index: GroupIndex::new(&types)?,
            counts: Segmented::default(),
            touched: Bits::default(),
            schema,
            only_group: group.is_empty(),
        })
    }

    /// The row that an aggregation without group columns has before any input: counts of zero and
    /// nulls.
    pub fn initial(&mut self) -> Result<Option<Delta>, ArrowError> {
        if !self.only_group {
            return Ok(None);
        }
        self.index.intern(&[], 1, &mut Vec::new())?;
        self.resize();
        Ok(Some(Delta::insert(self.rows(&[0], &[], &[0])?)))
    }

    /// Folds the changes of one epoch in, and returns what changes in the output.
    pub fn apply(&mut self, deltas: &[Delta]) -> Result<Vec<Delta>, ArrowError> {
        let mut numbers = vec![Vec::new(); deltas.len()];
        let mut touched: Vec<u32> = Vec::new();
        // For each touched group a row of it: what came has the columns of the key, which to read
        // out of the index would cost more.
        let mut origins: Vec<(usize, usize)> = Vec::new();
        let mut keys: Vec<Vec<ArrayRef>> = Vec::with_capacity(deltas.len());
        for (batch, (delta, numbers)) in deltas.iter().zip(&mut numbers).enumerate() {
            let columns = key_columns(&delta.rows, &self.group);
            self.index.intern(&columns, delta.len(), numbers)?;
            self.touched.resize(self.index.numbers());
            for (row, &number) in numbers.iter().enumerate() {
                if !self.touched.set(number as usize, true) {
                    touched.push(number);
                    origins.push((batch, row));
                }
            }
            keys.push(columns);
        }
        let keys = pick(&keys, &origins)?;
        self.resize();
        let before = self.existing(&touched);
        let old = self.rows(&touched, &keys, &before)?;
        for (delta, numbers) in deltas.iter().zip(&numbers) {
            for (&number, diff) in numbers.iter().zip(&delta.diffs) {
                self.counts[number as usize] += diff;
            }
            for (aggregate, accumulator) in &mut self.aggregates {
                let Some(accumulator) = accumulator else {
                    continue;
                };
                let filter = aggregate
                    .filter
                    .map(|column| true_only(delta.rows.column(column).as_boolean()));
                accumulator.update(&Input {
                    groups: numbers,
                    diffs: &delta.diffs,
                    rows: &delta.rows,
                    argument: aggregate.argument.map(|column| delta.rows.column(column)),
                    filter: filter.as_ref(),
                })?;
            }
        }
        let after = self.existing(&touched);
        let new = self.rows(&touched, &keys, &after)?;
        for &number in &touched {
            self.touched.set(number as usize, false);
            if !self.exists(number) {
                for accumulator in self.aggregates.iter_mut().filter_map(|(_, a)| a.as_mut()) {
                    accumulator.clear(number as usize);
                }
                self.index.release(number);
            }
        }
        difference(&before, old, &after, new)
    }

    /// How many groups there are at most.
    pub fn groups(&self) -> usize {
        self.index.numbers()
    }

    /// The number of bytes the state takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
            + self.counts.bytes()
            + self
                .aggregates
                .iter()
                .filter_map(|(_, accumulator)| accumulator.as_ref())
                .map(|accumulator| accumulator.bytes())
                .sum::<usize>()
    }

    fn resize(&mut self) {
        let groups = self.index.numbers();
        self.counts.grow(groups, 0);
        self.touched.resize(groups);
        for accumulator in self.aggregates.iter_mut().filter_map(|(_, a)| a.as_mut()) {
            accumulator.resize(groups);
        }
    }

    fn exists(&self, number: u32) -> bool {
        self.only_group || self.counts[number as usize] != 0
    }

    /// Which of `touched` are groups that exist: their places in it.
    fn existing(&self, touched: &[u32]) -> Vec<u64> {
        let places = (0..).zip(touched);
        places
            .filter(|&(_, &number)| self.exists(number))
            .map(|(place, _)| place)
            .collect()
    }

    /// The output rows of those of `touched`, whose keys are in `keys`, that are at `places`.
    fn rows(
        &self,
        touched: &[u32],
        keys: &[ArrayRef],
        places: &[u64],
    ) -> Result<RecordBatch, ArrowError> {
        let all = places.len() == touched.len();
        let mut columns = Vec::with_capacity(keys.len() + self.aggregates.len());
        if all {
            columns.extend(keys.iter().map(Arc::clone));
        } else {
            let indices = UInt64Array::from(places.to_vec());
            for key in keys {
                columns.push(take(key, &indices, None)?);
            }
        }
        let groups: Vec<u32> = places
            .iter()
            .map(|&place| touched[place as usize])
            .collect();
        for (_, accumulator) in &self.aggregates {
            columns.push(match accumulator {
                Some(accumulator) => accumulator.output(&groups)?,
                None => {
                    let counts = groups.iter().map(|&group| self.counts[group as usize]);
                    Arc::new(Int64Array::from_iter_values(counts))
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// The rows at `origins` (batch, row) of batches with these columns.
fn pick(
    batches: &[Vec<ArrayRef>],
    origins: &[(usize, usize)],
) -> Result<Vec<ArrayRef>, ArrowError> {
    let Some(first) = batches.first() else {
        return Ok(Vec::new());
    };
    let column = |column: usize| {
        let parts: Vec<&dyn Array> = batches.iter().map(|batch| &*batch[column]).collect();
        interleave(&parts, origins)
    };
    (0..first.len()).map(column).collect()
}

/// What turns `old` (the rows of the groups at `before`) into `new` (at `after`): both are places
/// in the list of touched groups, in order.
fn difference(
    before: &[u64],
    old: RecordBatch,
    after: &[u64],
    new: RecordBatch,
) -> Result<Vec<Delta>, ArrowError> {
    let mut pairs: (Vec<u64>, Vec<u64>) = Default::default();
    let mut gone: Vec<u64> = Vec::new();
    let mut come: Vec<u64> = Vec::new();
    let mut partners = (0..).zip(after).peekable();
    for (row, place) in (0..).zip(before) {
        while let Some((new_row, _)) = partners.next_if(|(_, other)| *other < place) {
            come.push(new_row);
        }
        match partners.next_if(|(_, other)| *other == place) {
            Some((partner, _)) => {
                pairs.0.push(row);
                pairs.1.push(partner);
            }
            None => gone.push(row),
        }
    }
    come.extend(partners.map(|(row, _)| row));
    let changed = changed_rows(&old, &pairs.0, &new, &pairs.1)?;
    for (pair, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
        gone.push(pairs.0[pair]);
        come.push(pairs.1[pair]);
    }
    let mut deltas = Vec::new();
    for (rows, picked, diff) in [(old, gone, -1), (new, come, 1)] {
        if picked.is_empty() {
            continue;
        }
        let diffs = vec![diff; picked.len()];
        let all = picked.len() == rows.num_rows() && picked.iter().is_sorted();
        let rows = if all {
            rows
        } else {
            crate::delta::take_rows(&rows, &picked)?
        };
        deltas.push(Delta { rows, diffs });
    }
    Ok(deltas)
}

/// For each pair of rows whether they differ in any column.
fn changed_rows(
    old: &RecordBatch,
    old_rows: &[u64],
    new: &RecordBatch,
    new_rows: &[u64],
) -> Result<Vec<bool>, ArrowError> {
    let mut changed = vec![false; old_rows.len()];
    if old_rows.is_empty() {
        return Ok(changed);
    }
    let (old_rows, new_rows) = (
        UInt64Array::from(old_rows.to_vec()),
        UInt64Array::from(new_rows.to_vec()),
    );
    for (old, new) in old.columns().iter().zip(new.columns()) {
        if old.data_type().is_nested() {
            // There is no comparison kernel for lists: such rows are emitted again.
            return Ok(vec![true; changed.len()]);
        }
        let differs = distinct(&take(old, &old_rows, None)?, &take(new, &new_rows, None)?)?;
        for (changed, differs) in changed.iter_mut().zip(differs.values()) {
            *changed |= differs;
        }
    }
    Ok(changed)
}

fn true_only(filter: &BooleanArray) -> BooleanArray {
    if filter.null_count() > 0 {
        arrow::compute::prep_null_mask_filter(filter)
    } else {
        filter.clone()
    }
}

/// Whether it is the number of a group's rows, all of them.
fn counts_rows(aggregate: &Aggregate) -> bool {
    aggregate.function == Function::Count
        && aggregate.argument.is_none()
        && aggregate.filter.is_none()
}

/// The state for one aggregate.
fn accumulator_for(
    aggregate: &Aggregate,
    input: &SchemaRef,
) -> Result<Box<dyn Accumulator>, ArrowError> {
    let value_type = aggregate.argument.map_or(DataType::Null, |column| {
        input.field(column).data_type().clone()
    });
    let output = aggregate.output.data_type();
    let order: Vec<_> = aggregate
        .order
        .iter()
        .map(|(column, options)| (*column, input.field(*column).data_type().clone(), *options))
        .collect();
    let inner: Box<dyn Accumulator> = match &aggregate.function {
        Function::Count => Box::new(accumulator::Count::default()),
        Function::Sum => sum::sum(&value_type, output)?,
        Function::Avg => sum::average(&value_type, output)?,
        Function::BoolAnd => Box::new(accumulator::BoolCounts::new(true)),
        Function::BoolOr => Box::new(accumulator::BoolCounts::new(false)),
        Function::Min
        | Function::Max
        | Function::Median
        | Function::PercentileCont { .. }
        | Function::PercentileDisc { .. } => {
            // An order statistic of values without repeats needs the repeats to be gone; `distinct`
            // sees to it.
            ordered::ordered(&aggregate.function, &value_type, output)?
        }
        Function::ArrayAgg | Function::StringAgg(_) => {
            let between = match &aggregate.function {
                Function::StringAgg(between) => Some(between.clone()),
                _ => None,
            };
            // A list without repeats is one over the ordered multiset, read without its counts.
            return Ok(Box::new(list::List::new(
                &value_type,
                output,
                &order,
                between,
                aggregate.distinct,
            )?));
        }
    };
    let idempotent = matches!(
        aggregate.function,
        Function::Min | Function::Max | Function::BoolAnd | Function::BoolOr
    );
    if aggregate.distinct && !idempotent {
        return Ok(Box::new(distinct::Distinct::new(&value_type, inner)?));
    }
    Ok(inner)
}

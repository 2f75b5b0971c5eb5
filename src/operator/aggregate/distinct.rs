//! `count(DISTINCT x)` and its like: an aggregate over values without their repeats.
//!
//! For each group and value it keeps how often the value occurs; the aggregate inside sees a value
//! come when its count leaves zero and go when it is zero again.

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use rustc_hash::FxHashMap;

use super::accumulator::{Accumulator, Input};
use crate::operator::route::key_column;
use crate::segmented::Segmented;

/// Wraps `inner` so that it sees each value of a group once.
pub struct Distinct {
    converter: RowConverter,
    /// Per group, how often each value (in row format) occurs.
    groups: Segmented<FxHashMap<Box<[u8]>, i64>>,
    inner: Box<dyn Accumulator>,
}

impl Distinct {
    /// No values yet.
    pub fn new(value_type: &DataType, inner: Box<dyn Accumulator>) -> Result<Self, ArrowError> {
        let converter = RowConverter::new(vec![SortField::new(value_type.clone())])?;
        Ok(Distinct {
            converter,
            groups: Segmented::default(),
            inner,
        })
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, groups: usize) {
        self.groups.grow(groups, FxHashMap::default());
        self.inner.resize(groups);
    }

    fn clear(&mut self, group: usize) {
        self.groups[group] = FxHashMap::default();
        self.inner.clear(group);
    }

    fn update(&mut self, input: &Input) -> Result<(), ArrowError> {
        let Some(values) = input.argument else {
            return Ok(());
        };
        let keys = self
            .converter
            .convert_columns(std::slice::from_ref(&key_column(values)))?;
        let mut rows: Vec<u64> = Vec::new();
        let mut groups: Vec<u32> = Vec::new();
        let mut diffs: Vec<i64> = Vec::new();
        input.for_each(|row, group, diff| {
            let counts = &mut self.groups[group];
            let key = keys.row(row);
            let key: &[u8] = key.as_ref();
            let before = match counts.get_mut(key) {
                Some(count) => {
                    let before = *count;
                    *count += diff;
                    if *count == 0 {
                        counts.remove(key);
                    }
                    before
                }
                None => {
                    counts.insert(key.into(), diff);
                    0
                }
            };
            // Within a batch a retraction may come before the insert it belongs to: what counts is
            // whether the value is there.
            let step = i64::from(before + diff > 0) - i64::from(before > 0);
            if step != 0 {
                rows.push(row as u64);
                groups.push(group as u32);
                diffs.push(step);
            }
        });
        if rows.is_empty() {
            return Ok(());
        }
        let indices = UInt64Array::from(rows);
        let argument: ArrayRef = arrow::compute::take(values, &indices, None)?;
        let rows = take_record_batch(input.rows, &indices)?;
        self.inner.update(&Input {
            groups: &groups,
            diffs: &diffs,
            rows: &rows,
            argument: Some(&argument),
            filter: None,
        })
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.inner.output(groups)
    }

    fn bytes(&self) -> usize {
        let values = self.groups.iter().map(|counts| {
            counts.capacity() * 25 + counts.keys().map(|key| key.len()).sum::<usize>()
        });
        self.groups.bytes() + values.sum::<usize>() + self.inner.bytes()
    }
}

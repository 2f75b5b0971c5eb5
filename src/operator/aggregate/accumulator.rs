//! What an aggregate's state must be able to do, and the simplest of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::error::ArrowError;

use crate::delta::Diff;
use crate::segmented::Segmented;

/// A batch of changes, with each row's group.
pub struct Input<'a> {
    /// The group of each row.
    pub groups: &'a [u32],
    /// How each row's count changes.
    pub diffs: &'a [Diff],
    /// All columns.
    pub rows: &'a RecordBatch,
    /// The column that is aggregated, if there is one.
    pub argument: Option<&'a ArrayRef>,
    /// Rows where this is false are left out. It has no nulls.
    pub filter: Option<&'a BooleanArray>,
}

impl Input<'_> {
    /// Calls `f` with each row that counts (row, group, diff): its argument is not null and the
    /// filter holds.
    pub fn for_each(&self, mut f: impl FnMut(usize, usize, Diff)) {
        let nulls = self
            .argument
            .and_then(|argument| argument.logical_nulls())
            .filter(|nulls| nulls.null_count() > 0);
        for (row, (&group, &diff)) in self.groups.iter().zip(self.diffs).enumerate() {
            let counts = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
                && self.filter.is_none_or(|filter| filter.value(row));
            if counts {
                f(row, group as usize, diff);
            }
        }
    }
}

/// The state of one aggregate for all groups of a worker.
pub trait Accumulator {
    /// Makes room for `groups` groups; new ones are empty.
    fn resize(&mut self, groups: usize);
    /// Makes a group empty again: its number will be another group's.
    fn clear(&mut self, group: usize);
    /// Folds changes in.
    fn update(&mut self, input: &Input) -> Result<(), ArrowError>;
    /// The aggregate's value for each of `groups`.
    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError>;
    /// The number of bytes it takes in memory, about.
    fn bytes(&self) -> usize;
}

/// `count(column)`, and `count(*)` with a filter.
#[derive(Default)]
pub struct Count {
    counts: Segmented<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.grow(groups, 0);
    }

    fn clear(&mut self, group: usize) {
        self.counts[group] = 0;
    }

    fn update(&mut self, input: &Input) -> Result<(), ArrowError> {
        input.for_each(|_, group, diff| self.counts[group] += diff);
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(
            groups
                .iter()
                .map(|&group| self.counts[group as usize])
                .collect::<Vec<_>>()
                .into_iter()
                .collect::<Int64Array>(),
        ))
    }

    fn bytes(&self) -> usize {
        self.counts.bytes()
    }
}

/// `bool_and` and `bool_or`: how many values are true, how many false.
pub struct BoolCounts {
    all: bool,
    counts: Segmented<[i64; 2]>,
}

impl BoolCounts {
    /// `bool_and` if `all`, else `bool_or`.
    pub fn new(all: bool) -> Self {
        BoolCounts {
            all,
            counts: Segmented::default(),
        }
    }
}

impl Accumulator for BoolCounts {
    fn resize(&mut self, groups: usize) {
        self.counts.grow(groups, [0; 2]);
    }

    fn clear(&mut self, group: usize) {
        self.counts[group] = [0; 2];
    }

    fn update(&mut self, input: &Input) -> Result<(), ArrowError> {
        let Some(values) = input.argument.map(|argument| argument.as_boolean()) else {
            return Ok(());
        };
        input.for_each(|row, group, diff| {
            self.counts[group][usize::from(values.value(row))] += diff
        });
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let value = |&group: &u32| match self.counts[group as usize] {
            [0, 0] => None,
            [no, yes] => Some(if self.all { no == 0 } else { yes > 0 }),
        };
        Ok(Arc::new(groups.iter().map(value).collect::<BooleanArray>()))
    }

    fn bytes(&self) -> usize {
        self.counts.bytes()
    }
}

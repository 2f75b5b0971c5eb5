//! Equal rows of a batch made one, with the sum of their changes.
//!
//! What an aggregation reads is narrow and repeats: of twenty thousand posts in an epoch three
//! thousand differ in country and category. Made one before they are sent to the worker that owns
//! their group, they are sent, looked up and folded in once.
//!
//! Where rows hardly repeat it costs more than it saves; so it is left out for a while after a
//! batch that did not shrink. That changes how fast an answer comes, never the answer.
//!
//! # Invariants
//! 1. The sum of changes of every row is what it was. Rows are equal if all their columns are, not
//!    if only their hashes are.

use arrow::array::UInt64Array;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::take;
use arrow::error::ArrowError;
use hashbrown::HashTable;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::row_hash::hash_rows;
use crate::delta::{Delta, Epoch, take_rows};

/// Smaller batches go through as they are.
const ROWS_MIN: usize = 64;
/// After this many rows it shows whether a batch shrinks.
const SAMPLE: usize = 2048;
/// Batches that go through as they are after one that did not shrink.
const PAUSE: u32 = 31;

/// Consolidates batches, where that pays.
#[derive(Debug, Default)]
pub struct Consolidator {
    /// Batches that are still to go through as they are.
    pause: u32,
}

impl Consolidator {
    /// The same changes, in fewer rows if that is worth it.
    pub fn apply(&mut self, delta: Delta) -> Result<Delta, ArrowError> {
        if delta.len() < ROWS_MIN || has_lists(&delta) {
            return Ok(delta);
        }
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(delta);
        }
        match consolidated(&delta)? {
            Some(smaller) => Ok(smaller),
            None => {
                self.pause = PAUSE;
                Ok(delta)
            }
        }
    }
}

/// There is no kernel that compares lists.
fn has_lists(delta: &Delta) -> bool {
    let columns = delta.rows.columns();
    columns.iter().any(|column| column.data_type().is_nested())
}

/// `None` if rows hardly repeat.
fn consolidated(delta: &Delta) -> Result<Option<Delta>, ArrowError> {
    let hashes =
        hash_rows(&delta.rows).map_err(|error| ArrowError::ComputeError(error.to_string()))?;
    let mut index: HashTable<u32> = HashTable::with_capacity(SAMPLE);
    let mut firsts: Vec<u64> = Vec::new();
    let mut sums: Vec<i64> = Vec::new();
    // For each row the row that stands for it.
    let mut stands_for: Vec<u64> = Vec::with_capacity(delta.len());
    for (row, (&hash, &diff)) in hashes.iter().zip(&delta.diffs).enumerate() {
        if row == SAMPLE && firsts.len() > SAMPLE * 3 / 4 {
            return Ok(None);
        }
        let same = |&place: &u32| hashes[firsts[place as usize] as usize] == hash;
        let place = match index.find(hash, same) {
            Some(&place) => place as usize,
            None => {
                let place = firsts.len();
                index.insert_unique(hash, place as u32, |&place| {
                    hashes[firsts[place as usize] as usize]
                });
                firsts.push(row as u64);
                sums.push(0);
                place
            }
        };
        sums[place] += diff;
        stands_for.push(firsts[place]);
    }
    if firsts.len() * 4 > delta.len() * 3 || !are_equal(delta, stands_for)? {
        return Ok(None);
    }
    let mut diffs = sums;
    if diffs.contains(&0) {
        firsts = std::iter::zip(&firsts, &diffs)
            .filter(|(_, sum)| **sum != 0)
            .map(|(first, _)| *first)
            .collect();
        diffs.retain(|sum| *sum != 0);
    }
    let rows = take_rows(&delta.rows, &firsts)?;
    Ok(Some(Delta { rows, diffs }))
}

/// Whether every row equals the one that stands for it.
fn are_equal(delta: &Delta, stands_for: Vec<u64>) -> Result<bool, ArrowError> {
    let stands_for = UInt64Array::from(stands_for);
    for column in delta.rows.columns() {
        let other = take(column, &stands_for, None)?;
        if distinct(column, &other)?.has_true() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Consolidates each batch of a stream.
pub fn consolidate(stream: StreamVec<'_, Epoch, Delta>) -> StreamVec<'_, Epoch, Delta> {
    stream.unary(Pipeline, "Consolidate", |_capability, _info| {
        let mut consolidator = Consolidator::default();
        move |input, output| {
            input.for_each(|capability, deltas| {
                let mut session = output.session(&capability);
                for delta in deltas.drain(..) {
                    let delta = consolidator
                        .apply(delta)
                        .expect("columns without lists can be hashed and compared");
                    if !delta.is_empty() {
                        session.give(delta);
                    }
                }
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    type Change = (Option<i64>, Option<String>, i64);

    fn delta(changes: &[Change]) -> Delta {
        let numbers: Int64Array = changes.iter().map(|change| change.0).collect();
        let texts: StringViewArray = changes.iter().map(|change| change.1.as_deref()).collect();
        let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("t", Arc::new(texts))];
        let columns = columns.map(|(name, column)| (name, column, true));
        Delta {
            rows: RecordBatch::try_from_iter_with_nullable(columns).unwrap(),
            diffs: changes.iter().map(|change| change.2).collect(),
        }
    }

    fn sums(delta: &Delta) -> BTreeMap<(Option<i64>, Option<String>), i64> {
        let numbers = delta.rows.column(0).as_primitive::<Int64Type>();
        let texts = delta.rows.column(1).as_string_view();
        let mut sums = BTreeMap::new();
        for (row, diff) in delta.diffs.iter().enumerate() {
            let number = numbers.is_valid(row).then(|| numbers.value(row));
            let text = texts.is_valid(row).then(|| texts.value(row).to_owned());
            *sums.entry((number, text)).or_insert(0) += diff;
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    proptest! {
        #[test]
        fn the_sum_of_every_rows_changes_stays(
            changes in prop::collection::vec(
                (
                    prop::option::of(0..4_i64),
                    prop::option::of("[ab]{0,2}"),
                    prop::sample::select(vec![-1_i64, 1, 2]),
                ),
                0..300,
            ),
        ) {
            let before = delta(&changes);
            let after = Consolidator::default().apply(before.clone()).unwrap();
            prop_assert_eq!(sums(&after), sums(&before));
            if before.len() >= ROWS_MIN {
                // Five numbers and eight texts, with null.
                prop_assert!(after.len() <= 40);
            }
        }
    }

    #[test]
    fn rows_that_do_not_repeat_go_through_as_they_are() {
        let changes: Vec<Change> = (0..5000).map(|n| (Some(n), None, 1)).collect();
        let mut consolidator = Consolidator::default();
        let through = consolidator.apply(delta(&changes)).unwrap();
        assert_eq!((through.len(), consolidator.pause), (5000, PAUSE));
    }
}

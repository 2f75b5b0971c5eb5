//! The rows of one partition: the first of them in order, the others only when they are needed.
//!
//! What stands far behind mostly stays there, and nobody asks for its place. So rows are put in
//! order up to a *fence*, somewhat behind the last row that is asked for; changes of rows behind it
//! go to a backlog as they come. When so many of the first rows have gone that the answer could
//! reach beyond the fence, the backlog is put in order, and a new fence is chosen. A change costs
//! O(log n), amortised: the backlog is sorted when it has doubled, so that rows that come and go do
//! not pile up in it, and each change enters the order at most once.
//!
//! # Invariants
//! 1. The count of a row is the sum of what `sorted` and `backlog` have of it.
//! 2. No change in `backlog` is of a row up to the fence. Without a fence `backlog` is empty.

use super::Entry;
use super::backlog::Backlog;
use crate::operator::ordered_multiset::OrderedMultiset;

/// The rows of one partition. At least `NEAR` of them are up to the fence when it is chosen.
#[derive(Debug)]
pub(super) struct Partition<const NEAR: usize> {
    sorted: OrderedMultiset<Entry>,
    fence: Option<Entry>,
    backlog: Backlog,
    /// How long the backlog may become before equal rows in it are made one.
    most: usize,
    /// Changes up to the fence since it was chosen.
    changes: usize,
    /// Whether there was a retraction among the changes since it was last made sure that the fence
    /// is far enough.
    retracted: bool,
}

impl<const NEAR: usize> Default for Partition<NEAR> {
    fn default() -> Self {
        Partition {
            sorted: OrderedMultiset::default(),
            fence: None,
            backlog: Backlog::default(),
            most: 2 * NEAR,
            changes: 0,
            retracted: false,
        }
    }
}

impl<const NEAR: usize> Partition<NEAR> {
    /// The last row that is kept in order, if some are not.
    pub(super) fn fence(&self) -> Option<&Entry> {
        self.fence.as_ref()
    }

    /// Changes the count of a row up to the fence.
    pub(super) fn update(&mut self, row: Entry, diff: i64) {
        self.changes += 1;
        self.retracted |= diff < 0;
        self.sorted.update(row, diff);
    }

    /// Changes the count of a row behind the fence, given as bytes of which the first
    /// `order_length` are the order columns.
    pub(super) fn defer(&mut self, row: &[u8], order_length: usize, diff: i64) {
        self.backlog.push(row, order_length, diff);
        // Rows that come and go, or come again and again, must not pile up; where they hardly do,
        // it is looked at half as often.
        let before = self.backlog.len();
        if before > self.most {
            self.backlog.consolidate();
            let after = self.backlog.len();
            let hardly = after > before / 4 * 3;
            self.most = (after * if hardly { 4 } else { 2 }).max(2 * NEAR);
        }
    }

    /// The rows up to the fence in order, with their counts.
    pub(super) fn first(&self) -> impl Iterator<Item = (&Entry, i64)> {
        let fence = self.fence.as_ref();
        let near = move |(row, _): &(&Entry, i64)| fence.is_none_or(|fence| *row <= fence);
        self.sorted.iter().take_while(near)
    }

    /// Moves the fence, if the answer needs rows behind it or there are too many before it.
    ///
    /// `reach` is given rows in order and says how many of them it looked at before it knew that it
    /// needs no more, or that it would have needed more.
    pub(super) fn settle(
        &mut self,
        reach: impl Fn(&mut dyn Iterator<Item = (&Entry, i64)>) -> Option<usize>,
    ) {
        let many = self.changes > 2 * NEAR;
        if !many && (!self.retracted || self.fence.is_none()) {
            return;
        }
        self.retracted = false;
        let mut reached = reach(&mut self.first());
        if reached.is_none() && self.fence.take().is_some() {
            self.sorted.update_all(&mut self.backlog.take());
            self.most = 2 * NEAR;
            reached = reach(&mut self.first());
        } else if !many {
            return;
        }
        self.changes = 0;
        let Some(reached) = reached else { return };
        let candidate = self.sorted.iter().nth((2 * reached).max(NEAR));
        if let Some((row, _)) = candidate
            && self.fence.as_ref().is_none_or(|fence| row < fence)
        {
            self.fence = Some(row.clone());
        }
    }

    /// Whether there are no rows. It is not known of a partition that has not settled.
    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty() && self.backlog.len() == 0
    }

    /// The number of bytes it takes in memory, about.
    pub(super) fn heap_bytes(&self) -> usize {
        let rows = self.sorted.iter().map(|(row, _)| row.bytes.len());
        self.sorted.heap_bytes() + rows.sum::<usize>() + self.backlog.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Small = Partition<4>;

    fn entry(row: u16) -> Entry {
        Entry::new(&row.to_be_bytes(), 2)
    }

    /// Changes of an epoch, as whoever owns the partition makes them.
    fn apply(partition: &mut Small, changes: &[(u16, i64)], most: usize) {
        for &(row, diff) in changes {
            match partition.fence() {
                Some(fence) if *fence < entry(row) => {
                    partition.defer(&row.to_be_bytes(), 2, diff);
                }
                _ => partition.update(entry(row), diff),
            }
        }
        partition.settle(|rows| reach(rows, most));
    }

    /// The first `most` rows need one more to be known as such.
    fn reach(rows: &mut dyn Iterator<Item = (&Entry, i64)>, most: usize) -> Option<usize> {
        rows.nth(most).map(|_| most)
    }

    fn first(partition: &Small, most: usize) -> Vec<(Entry, i64)> {
        let rows = partition.first().take(most);
        rows.map(|(row, count)| (row.clone(), count)).collect()
    }

    proptest! {
        #[test]
        fn the_first_rows_are_those_of_a_sorted_map(
            epochs in prop::collection::vec(
                prop::collection::vec((0..60_u16, -2..3_i64), 0..40),
                0..40,
            ),
            most in 0..12_usize,
        ) {
            let mut partition = Small::default();
            let mut twin: BTreeMap<u16, i64> = BTreeMap::new();
            for changes in epochs {
                let mut possible = Vec::new();
                for (row, diff) in changes {
                    let count = twin.entry(row).or_default();
                    let diff = diff.max(-*count);
                    *count += diff;
                    if diff != 0 {
                        possible.push((row, diff));
                    }
                }
                twin.retain(|_, count| *count != 0);
                apply(&mut partition, &possible, most);
                let expected = twin.iter().take(most).map(|(row, count)| (entry(*row), *count));
                prop_assert_eq!(first(&partition, most), expected.collect::<Vec<_>>());
                if twin.is_empty() {
                    prop_assert!(partition.is_empty());
                }
            }
        }
    }

    #[test]
    fn rows_far_behind_are_not_put_in_order_until_the_first_are_gone() {
        let mut partition = Small::default();
        for row in 0..1000 {
            apply(&mut partition, &[(row, 1)], 1);
        }
        assert!(partition.sorted.distinct() < 20);
        let gone: Vec<_> = (0..999).map(|row| (row, -1)).collect();
        apply(&mut partition, &gone, 1);
        assert_eq!(first(&partition, 9), [(entry(999), 1)]);
    }

    #[test]
    fn rows_that_come_and_go_behind_the_fence_take_no_memory() {
        let mut partition = Small::default();
        let rows: Vec<_> = (0..20).map(|row| (row, 1)).collect();
        apply(&mut partition, &rows, 1);
        for row in 100..10_000 {
            apply(&mut partition, &[(row, 1), (row, -1)], 1);
        }
        assert!(partition.backlog.heap_bytes() < 500);
    }
}

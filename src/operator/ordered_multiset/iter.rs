//! Walking an ordered multiset entry by entry, from either end.
//!
//! The iterator keeps no stack of branches: when a leaf is used up it finds the next by its entry
//! number, from the root, through the numbers of distinct keys in the branches. That is O(log n)
//! once a leaf, so it vanishes among the leaf's entries, and it makes both ends and any start the
//! same code without allocating.

use std::iter::FusedIterator;
use std::ops::Range;
use std::slice;

use super::node::Node;

/// Distinct keys ascending, with their counts. Made by
/// [`OrderedMultiset::iter`](super::OrderedMultiset::iter) and its kin.
pub struct Iter<'a, K, const CAP: usize> {
    root: &'a Node<K, CAP>,
    /// An entry before all others of which only a part is wanted.
    partial: Option<(&'a K, i64)>,
    front: slice::Iter<'a, (K, i64)>,
    /// Entry numbers between `front` and `back`, in leaves not opened yet.
    unopened: Range<usize>,
    back: slice::Iter<'a, (K, i64)>,
}

impl<'a, K, const CAP: usize> Iter<'a, K, CAP> {
    /// `partial`, then the entries numbered `entries`.
    pub(super) fn new(
        root: &'a Node<K, CAP>,
        entries: Range<usize>,
        partial: Option<(&'a K, i64)>,
    ) -> Self {
        Iter {
            root,
            partial,
            front: [].iter(),
            unopened: entries,
            back: [].iter(),
        }
    }
}

impl<'a, K, const CAP: usize> Iterator for Iter<'a, K, CAP> {
    type Item = (&'a K, i64);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(partial) = self.partial.take() {
            return Some(partial);
        }
        if self.front.as_slice().is_empty() && !self.unopened.is_empty() {
            let (leaf, at) = self.root.leaf_of_entry(self.unopened.start);
            let end = leaf.len().min(at + self.unopened.len());
            self.front = leaf[at..end].iter();
            self.unopened.start += end - at;
        }
        let (key, count) = self.front.next().or_else(|| self.back.next())?;
        Some((key, *count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = usize::from(self.partial.is_some())
            + self.front.len()
            + self.unopened.len()
            + self.back.len();
        (len, Some(len))
    }
}

impl<K, const CAP: usize> DoubleEndedIterator for Iter<'_, K, CAP> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.as_slice().is_empty() && !self.unopened.is_empty() {
            let (leaf, at) = self.root.leaf_of_entry(self.unopened.end - 1);
            let start = (at + 1).saturating_sub(self.unopened.len());
            self.back = leaf[start..=at].iter();
            self.unopened.end -= at + 1 - start;
        }
        match self.back.next_back().or_else(|| self.front.next_back()) {
            Some((key, count)) => Some((key, *count)),
            None => self.partial.take(),
        }
    }
}

impl<K, const CAP: usize> ExactSizeIterator for Iter<'_, K, CAP> {}
impl<K, const CAP: usize> FusedIterator for Iter<'_, K, CAP> {}

//! A multiset kept in order, in which any rank is found in O(log n) under insertions and
//! retractions.
//!
//! This is the state of one group of an order statistic: `min`, `max`, `median`, `percentile_cont`,
//! `percentile_disc`, first/last and top-k all read the same structure, and a change costs the same
//! for each. A heap cannot retract, and a sorted vector moves half of itself for every change; so
//! the distinct keys with their counts sit in a B+tree whose branches also know how much lies below
//! each child:
//!
//! ```text
//!   branch    lows      |   -     |   40    |   71    |     first key that may be below the child
//!             totals    |   9     |   4     |  120    |     sum of counts below it: leads to a rank
//!             distincts |   3     |   4     |    2    |     entries below it: leads to the n-th entry
//!                          /          |          \
//!   leaf          7:6 12:1 33:2   40:1 55:1 ..   71:100 90:20
//! ```
//!
//! Most groups hold a handful of values, so a set starts as one leaf, which is one sorted vector
//! grown to measure (an empty set owns nothing), and becomes a tree only when it outgrows that
//! leaf.
//!
//! # Invariants
//! 1. Keys are strictly ascending from left to right; no entry has count zero.
//! 2. `totals[i]` and `distincts[i]` of a branch are those of `children[i]`.
//! 3. For `i > 0`, `lows[i]` is above every key of `children[..i]` and not above any key of
//!    `children[i..]`. It need not be a key of the set any more. `lows[0]` is what the branch above
//!    has for this branch; on the left edge of the tree it bounds nothing. It is not read before
//!    the branch is appended to its left neighbour.
//! 4. All leaves are at one depth. Every node but the root has at least a quarter of `CAP` entries,
//!    and every node fewer than `CAP`; the root, if a branch, has at least two children.
//!
//! By invariant 4 a set of n distinct keys is at most log(n)/log(CAP / 4) + 1 nodes deep.
//!
//! # Counts below zero
//! A batch of changes may retract a value before it brings it. Such an entry stays, with its count
//! below zero, until the missing insertion arrives, and all changes work as usual meanwhile.
//! Whoever asks for ranks must ask when none is left: with counts below zero `select`, `rank_of`,
//! `len` and `iter_from` answer nothing useful (they do not panic).

mod iter;
mod leaf;
mod node;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::fmt;

pub use iter::Iter;
use leaf::{Lent, Owned};
use node::Node;

/// An ordered multiset: distinct keys, each with the number of times it is in the set.
///
/// `CAP` is the size of a node; the default is right outside of tests.
#[derive(Clone)]
pub struct OrderedMultiset<K, const CAP: usize = 64> {
    root: Node<K, CAP>,
}

impl<K> OrderedMultiset<K> {
    /// The empty set. It owns no heap memory.
    pub const fn new() -> Self {
        OrderedMultiset {
            root: Node::Leaf(Vec::new()),
        }
    }
}

impl<K, const CAP: usize> Default for OrderedMultiset<K, CAP> {
    fn default() -> Self {
        OrderedMultiset {
            root: Node::Leaf(Vec::new()),
        }
    }
}

/// Changes.
impl<K: Ord + Clone, const CAP: usize> OrderedMultiset<K, CAP> {
    /// Changes the count of `key` by `diff` and returns its new count. O(log n).
    ///
    /// An entry whose count reaches zero is gone.
    pub fn update(&mut self, key: K, diff: i64) -> i64 {
        if diff == 0 {
            return self.count_of(&key);
        }
        let count = self.root.update(Owned(key), diff).count;
        self.root.fit_as_root();
        count
    }

    /// As [`update`](Self::update), by a borrowed form of the key; `own` makes the key itself and
    /// is only called when the set does not hold it yet.
    pub fn update_by<Q>(&mut self, key: &Q, diff: i64, own: impl FnOnce(&Q) -> K) -> i64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if diff == 0 {
            return self.count_of(key);
        }
        let count = self.root.update(Lent(key, own), diff).count;
        self.root.fit_as_root();
        count
    }

    /// Applies many changes at once and leaves `changes` empty (with its capacity, to be filled
    /// again).
    ///
    /// The changes may come in any order and may name a key more than once; when they are strictly
    /// ascending by key, nothing is sorted. If there are several for every leaf, all that fall into
    /// one leaf are merged into it in one pass, and a change costs a third of what
    /// [`update`](Self::update) does; if there are few, they are applied one by one. On an empty
    /// set this is the bulk load.
    pub fn update_all(&mut self, changes: &mut Vec<(K, i64)>) {
        let few = changes.len() < 4 || changes.len() < self.distinct() / 16;
        if few {
            for (key, diff) in changes.drain(..) {
                self.update(key, diff);
            }
            return;
        }
        if !changes.is_sorted_by(|(a, _), (b, _)| a < b) {
            changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            changes.dedup_by(|(later, diff), (kept, sum)| {
                let same = later == kept;
                if same {
                    *sum += *diff;
                }
                same
            });
        }
        self.root.apply(&mut changes.drain(..), None);
        self.root.fit_as_root();
    }
}

/// Questions.
impl<K, const CAP: usize> OrderedMultiset<K, CAP> {
    /// The number of values, repetitions included: the sum of all counts. O(1): one node is read.
    pub fn len(&self) -> u64 {
        u64::try_from(self.root.total()).unwrap_or(0)
    }

    /// Whether no key has a count, neither above nor below zero.
    pub fn is_empty(&self) -> bool {
        self.root.len() == 0
    }

    /// The number of distinct keys. O(1): one node is read.
    pub fn distinct(&self) -> usize {
        self.root.distinct()
    }

    /// The value at `rank`, counted from 0 among all values in ascending order with repetitions.
    /// O(log n).
    pub fn select(&self, rank: u64) -> Option<&K> {
        let found = self.root.seek(i64::try_from(rank).ok()?)?;
        Some(&found.leaf[found.at].0)
    }

    /// The smallest key. O(log n), without comparisons.
    pub fn first(&self) -> Option<&K> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return entries.first().map(|(key, _)| key),
                Node::Branch(branch) => node = branch.children.first()?,
            }
        }
    }

    /// The greatest key. O(log n), without comparisons.
    pub fn last(&self) -> Option<&K> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return entries.last().map(|(key, _)| key),
                Node::Branch(branch) => node = branch.children.last()?,
            }
        }
    }

    /// Distinct keys in ascending order with their counts, lazily from either end: k of them cost
    /// O(log n + k).
    pub fn iter(&self) -> Iter<'_, K, CAP> {
        Iter::new(&self.root, 0..self.distinct(), None)
    }

    /// As [`iter`](Self::iter), from the greatest key down.
    pub fn iter_rev(&self) -> std::iter::Rev<Iter<'_, K, CAP>> {
        self.iter().rev()
    }

    /// As [`iter`](Self::iter), but from the value at `rank` on: the first count is what is left of
    /// it from that rank on. Empty when `rank` is not below [`len`](Self::len).
    pub fn iter_from(&self, rank: u64) -> Iter<'_, K, CAP> {
        let found = i64::try_from(rank)
            .ok()
            .and_then(|rank| self.root.seek(rank));
        match found {
            None => Iter::new(&self.root, 0..0, None),
            Some(found) => {
                let (key, count) = &found.leaf[found.at];
                let rest = found.before + found.at + 1..self.distinct();
                Iter::new(&self.root, rest, Some((key, count - found.skipped)))
            }
        }
    }

    /// The number of values strictly below `key`, which need not be in the set. O(log n).
    pub fn rank_of<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        u64::try_from(self.root.total_below(key)).unwrap_or(0)
    }

    /// How many times `key` is in the set; 0 if it is not. O(log n).
    pub fn count_of<Q>(&self, key: &Q) -> i64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.root.count_of(key)
    }

    /// Bytes of heap memory the set owns: whole capacities, but not what keys own themselves.
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }
}

impl<K: fmt::Debug, const CAP: usize> fmt::Debug for OrderedMultiset<K, CAP> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a, K, const CAP: usize> IntoIterator for &'a OrderedMultiset<K, CAP> {
    type Item = (&'a K, i64);
    type IntoIter = Iter<'a, K, CAP>;

    fn into_iter(self) -> Iter<'a, K, CAP> {
        self.iter()
    }
}

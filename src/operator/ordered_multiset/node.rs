//! The nodes of the ordered multiset's B+tree. The picture and the invariants are in the parent
//! module.
//!
//! A node never looks upwards: a change is applied below, and the branch above then puts right the
//! one child that became too large (`split`) or too small (`join`). Only two moves exist, cutting a
//! node in two and appending a node to its left neighbour, and all balancing is made of them.

use std::borrow::Borrow;
use std::ops::SubAssign;
use std::vec::Drain;

use super::leaf::{Entries, Owned, Probe, Updated, find, merge, update};

/// A leaf is a sorted vector of keys and counts; a branch is boxed, so that a small set is no
/// larger than its vector.
#[derive(Clone)]
pub(super) enum Node<K, const CAP: usize> {
    Leaf(Vec<(K, i64)>),
    Branch(Box<Branch<K, CAP>>),
}

/// Children and what lies below each; the four vectors have one length.
#[derive(Clone)]
pub(super) struct Branch<K, const CAP: usize> {
    pub(super) lows: Vec<K>,
    pub(super) totals: Vec<i64>,
    pub(super) distincts: Vec<usize>,
    pub(super) children: Vec<Node<K, CAP>>,
}

/// Where a rank is.
pub(super) struct Found<'a, K> {
    pub(super) leaf: &'a [(K, i64)],
    /// The entry of `leaf` that covers the rank.
    pub(super) at: usize,
    /// Repetitions of that entry below the rank.
    pub(super) skipped: i64,
    /// Entries of the set before `leaf`.
    pub(super) before: usize,
}

/// Reading.
impl<K, const CAP: usize> Node<K, CAP> {
    /// Entries of a leaf, children of a branch.
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(branch) => branch.children.len(),
        }
    }

    pub(super) fn total(&self) -> i64 {
        match self {
            Node::Leaf(entries) => entries.iter().map(|(_, count)| count).sum(),
            Node::Branch(branch) => branch.totals.iter().sum(),
        }
    }

    pub(super) fn distinct(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(branch) => branch.distincts.iter().sum(),
        }
    }

    pub(super) fn seek(&self, mut rank: i64) -> Option<Found<'_, K>> {
        let mut before = 0;
        let mut node = self;
        loop {
            match node {
                Node::Branch(branch) => {
                    let child = take_until(&branch.totals, |total| *total, &mut rank)?;
                    before += branch.distincts[..child].iter().sum::<usize>();
                    node = &branch.children[child];
                }
                Node::Leaf(leaf) => {
                    let at = take_until(leaf, |(_, count)| *count, &mut rank)?;
                    let skipped = rank;
                    return Some(Found {
                        leaf,
                        at,
                        skipped,
                        before,
                    });
                }
            }
        }
    }

    /// The leaf with entry number `entry`, which must exist, and the entry's place in it.
    pub(super) fn leaf_of_entry(&self, mut entry: usize) -> (&[(K, i64)], usize) {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(entries) => return (entries, entry),
                Node::Branch(branch) => {
                    let child = take_until(&branch.distincts, |distinct| *distinct, &mut entry)
                        .expect("the entry exists, so some child has it (invariant 2)");
                    node = &branch.children[child];
                }
            }
        }
    }

    pub(super) fn total_below<Q>(&self, key: &Q) -> i64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let mut below = 0;
        let mut node = self;
        loop {
            match node {
                Node::Branch(branch) => {
                    let child = branch.child_of(key);
                    below += branch.totals[..child].iter().sum::<i64>();
                    node = &branch.children[child];
                }
                Node::Leaf(entries) => {
                    let (Ok(at) | Err(at)) = find(entries, key);
                    return below + entries[..at].iter().map(|(_, count)| count).sum::<i64>();
                }
            }
        }
    }

    pub(super) fn count_of<Q>(&self, key: &Q) -> i64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let mut node = self;
        loop {
            match node {
                Node::Branch(branch) => node = &branch.children[branch.child_of(key)],
                Node::Leaf(entries) => {
                    return find(entries, key).map_or(0, |at| entries[at].1);
                }
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.capacity() * size_of::<(K, i64)>(),
            Node::Branch(branch) => {
                size_of::<Branch<K, CAP>>()
                    + branch.lows.capacity() * size_of::<K>()
                    + branch.totals.capacity() * size_of::<i64>()
                    + branch.distincts.capacity() * size_of::<usize>()
                    + branch.children.capacity() * size_of::<Self>()
                    + branch.children.iter().map(Self::heap_bytes).sum::<usize>()
            }
        }
    }
}

/// Changing.
impl<K: Ord + Clone, const CAP: usize> Node<K, CAP> {
    /// The fewest entries of a node that is not the root. Two siblings, of which one has fewer and
    /// the other is of legal size, fit into one node or can be cut into two halves with room on
    /// both sides; so between two balancings of a node there are at least CAP / 4 changes of its
    /// size, and balancing is O(1) a change.
    pub(super) const MIN: usize = {
        assert!(
            CAP >= 8,
            "a branch that gives a child away must have another left"
        );
        CAP / 4
    };

    /// The size of nodes made in bulk: room for some insertions, without many nodes.
    const BULK: usize = CAP / 4 * 3;

    pub(super) fn update<P: Probe<K>>(&mut self, probe: P, diff: i64) -> Updated
    where
        K: Borrow<P::Form>,
    {
        match self {
            Node::Leaf(entries) => update(entries, probe, diff),
            Node::Branch(branch) => branch.update(probe, diff),
        }
    }

    /// Applies the first of `changes`, which are strictly ascending, up to the key `end`. The node
    /// may end up with any number of entries, even none; what is below it is balanced.
    pub(super) fn apply(&mut self, changes: &mut Drain<'_, (K, i64)>, end: Option<&K>) {
        match self {
            Node::Branch(branch) => branch.apply(changes, end),
            Node::Leaf(entries) => {
                let run = match end {
                    None => changes.len(),
                    Some(end) => changes.as_slice().partition_point(|(key, _)| key < end),
                };
                if run == 1 {
                    if let Some((key, diff)) = changes.next()
                        && diff != 0
                    {
                        update(entries, Owned(key), diff);
                    }
                } else {
                    merge(entries, changes.take(run), run);
                }
            }
        }
    }

    /// Makes invariant 4 true of a root: more levels when it is too large, fewer when a level has
    /// no choice.
    #[inline]
    pub(super) fn fit_as_root(&mut self) {
        loop {
            if self.len() >= CAP {
                let node = std::mem::replace(self, Node::Leaf(Vec::new()));
                let low = node.low().clone();
                let mut root = Branch::default();
                node.cut_to_size(low, |low, part| root.push(low, part));
                *self = Node::Branch(Box::new(root));
                continue;
            }
            let Node::Branch(branch) = self else { return };
            if branch.children.len() > 1 {
                return;
            }
            *self = (branch.children.pop()).expect("a branch never loses its last child");
        }
    }

    /// A key not above any of the node's, and above all left of it: the first of a node just cut
    /// off.
    fn low(&self) -> &K {
        match self {
            Node::Leaf(entries) => &entries[0].0,
            Node::Branch(branch) => &branch.lows[0],
        }
    }

    /// Cuts the entries from `at` on off into a node of their own.
    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Node::Leaf(entries) => Node::Leaf(entries.split_off(at)),
            Node::Branch(branch) => Node::Branch(Box::new(branch.split_off(at))),
        }
    }

    /// Gives back the room of what was cut off.
    fn shrink_to_fit(&mut self) {
        match self {
            Node::Leaf(entries) => entries.shrink_to_fit(),
            Node::Branch(branch) => branch.shrink_to_fit(),
        }
    }

    /// Appends the right neighbour.
    fn append(&mut self, right: Self) {
        match (self, right) {
            (Node::Leaf(entries), Node::Leaf(right)) => {
                entries.reserve_exact(right.len());
                entries.extend(right);
            }
            (Node::Branch(branch), Node::Branch(right)) => branch.append(*right),
            _ => unreachable!("neighbours are at one depth (invariant 4)"),
        }
    }

    /// Hands the node to `take` in as many parts as it needs to be of legal size.
    fn cut_to_size(mut self, low: K, mut take: impl FnMut(K, Self)) {
        if self.len() < CAP {
            return take(low, self);
        }
        // From the right end, so that each entry is moved once.
        let parts = self.len().div_ceil(Self::BULK);
        let mut cut = Vec::with_capacity(parts);
        for left in (1..parts).rev() {
            let at = self.len() * left / (left + 1);
            cut.push(self.split_off(at));
        }
        self.shrink_to_fit();
        take(low, self);
        for part in cut.into_iter().rev() {
            take(part.low().clone(), part);
        }
    }
}

impl<K, const CAP: usize> Default for Branch<K, CAP> {
    fn default() -> Self {
        Branch {
            lows: Vec::new(),
            totals: Vec::new(),
            distincts: Vec::new(),
            children: Vec::new(),
        }
    }
}

impl<K, const CAP: usize> Branch<K, CAP> {
    /// The child where `key` is or would be.
    fn child_of<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.lows[1..].partition_point(|low| low.borrow() <= key)
    }
}

impl<K: Ord + Clone, const CAP: usize> Branch<K, CAP> {
    fn update<P: Probe<K>>(&mut self, probe: P, diff: i64) -> Updated
    where
        K: Borrow<P::Form>,
    {
        let i = self.child_of(probe.form());
        let updated = self.children[i].update(probe, diff);
        self.totals[i] += diff;
        match updated.entries {
            Entries::Same => {}
            Entries::OneMore => {
                self.distincts[i] += 1;
                if self.children[i].len() >= CAP {
                    self.split(i);
                }
            }
            Entries::OneLess => {
                self.distincts[i] -= 1;
                if self.children[i].len() < Node::<K, CAP>::MIN {
                    self.join(i.saturating_sub(1));
                }
            }
        }
        updated
    }

    fn apply(&mut self, changes: &mut Drain<'_, (K, i64)>, end: Option<&K>) {
        let mut balanced = true;
        while let Some((key, _)) = changes.as_slice().first() {
            if end.is_some_and(|end| key >= end) {
                break;
            }
            let i = self.child_of(key);
            self.children[i].apply(changes, self.lows.get(i + 1).or(end));
            self.recount(i);
            balanced &= (Node::<K, CAP>::MIN..CAP).contains(&self.children[i].len());
        }
        if !balanced {
            self.balance();
        }
    }

    /// Gives every child a legal size, whatever sizes they have; but a branch may end up with a
    /// single child, of any size.
    fn balance(&mut self) {
        let old = std::mem::take(self);
        for (low, child) in old.lows.into_iter().zip(old.children) {
            child.cut_to_size(low, |low, part| {
                let small = part.len() < Node::<K, CAP>::MIN
                    || (self.children.last()).is_some_and(|last| last.len() < Node::<K, CAP>::MIN);
                self.push(low, part);
                if small && self.children.len() > 1 {
                    self.join(self.children.len() - 2);
                }
            });
        }
    }

    /// Cuts child `i` in two halves.
    fn split(&mut self, i: usize) {
        let child = &mut self.children[i];
        let right = child.split_off(child.len() / 2);
        child.shrink_to_fit();
        let (total, distinct) = (right.total(), right.distinct());
        self.totals[i] -= total;
        self.distincts[i] -= distinct;
        self.lows.insert(i + 1, right.low().clone());
        self.totals.insert(i + 1, total);
        self.distincts.insert(i + 1, distinct);
        self.children.insert(i + 1, right);
    }

    /// Makes one child of children `i` and `i + 1`, or two equal ones if that would be too large.
    fn join(&mut self, i: usize) {
        self.lows.remove(i + 1);
        let right = self.children.remove(i + 1);
        self.totals[i] += self.totals.remove(i + 1);
        self.distincts[i] += self.distincts.remove(i + 1);
        self.children[i].append(right);
        if self.children[i].len() >= CAP {
            self.split(i);
        }
    }

    fn push(&mut self, low: K, child: Node<K, CAP>) {
        self.lows.push(low);
        self.totals.push(child.total());
        self.distincts.push(child.distinct());
        self.children.push(child);
    }

    fn recount(&mut self, i: usize) {
        self.totals[i] = self.children[i].total();
        self.distincts[i] = self.children[i].distinct();
    }

    fn split_off(&mut self, at: usize) -> Self {
        Branch {
            lows: self.lows.split_off(at),
            totals: self.totals.split_off(at),
            distincts: self.distincts.split_off(at),
            children: self.children.split_off(at),
        }
    }

    fn shrink_to_fit(&mut self) {
        self.lows.shrink_to_fit();
        self.totals.shrink_to_fit();
        self.distincts.shrink_to_fit();
        self.children.shrink_to_fit();
    }

    fn append(&mut self, mut right: Self) {
        let seam = self.children.len();
        self.lows.append(&mut right.lows);
        self.totals.append(&mut right.totals);
        self.distincts.append(&mut right.distincts);
        self.children.append(&mut right.children);
        // After a bulk change either side may be a lone child below the legal size.
        let small = |child: &Node<K, CAP>| child.len() < Node::<K, CAP>::MIN;
        if small(&self.children[seam - 1]) || small(&self.children[seam]) {
            self.join(seam - 1);
        }
    }
}

/// The first place at which `rank` is below the sum of `parts` so far; what was before it is taken
/// off `rank`.
fn take_until<T, N>(parts: &[T], part: impl Fn(&T) -> N, rank: &mut N) -> Option<usize>
where
    N: Copy + PartialOrd + SubAssign,
{
    for (at, one) in parts.iter().enumerate() {
        let one = part(one);
        if *rank < one {
            return Some(at);
        }
        *rank -= one;
    }
    None
}

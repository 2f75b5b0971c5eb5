//! The set against its obvious twin, a sorted vector, and what it promises about cost and memory.

use std::cell::Cell;
use std::cmp::Ordering;

use proptest::prelude::*;

use super::node::Node;
use super::*;

/// Nodes as small as they may be, so that a few hundred keys make a deep tree.
type Deep<K> = OrderedMultiset<K, 8>;

/// The twin: all values with repetitions, sorted.
#[derive(Clone, Default)]
struct Twin<K>(Vec<K>);

impl<K: Ord + Clone> Twin<K> {
    fn update(&mut self, key: &K, diff: i64) {
        let at = self.0.partition_point(|k| k < key);
        for _ in 0..diff {
            self.0.insert(at, key.clone());
        }
        for _ in diff..0 {
            assert!(self.0.remove(at) == *key);
        }
    }

    /// `diff`, but never more retractions than there are values.
    fn bounded(&self, key: &K, diff: i64) -> i64 {
        diff.max(-(self.0.iter().filter(|k| *k == key).count() as i64))
    }

    fn entries(&self) -> Vec<(&K, i64)> {
        let runs = self.0.chunk_by(|a, b| a == b);
        runs.map(|run| (&run[0], run.len() as i64)).collect()
    }
}

impl<K: Ord + Clone + fmt::Debug, const CAP: usize> OrderedMultiset<K, CAP> {
    /// Asserts the module's invariants.
    fn check(&self) {
        fn walk<K: Ord + Clone + fmt::Debug, const CAP: usize>(
            node: &Node<K, CAP>,
            is_root: bool,
            low: Option<&K>,
            end: Option<&K>,
        ) -> usize {
            assert!(node.len() < CAP);
            if !is_root {
                assert!(node.len() >= CAP / 4);
            }
            match node {
                Node::Leaf(entries) => {
                    assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b));
                    for (key, count) in entries {
                        assert!(*count != 0);
                        assert!(low.is_none_or(|low| low <= key));
                        assert!(end.is_none_or(|end| key < end));
                    }
                    1
                }
                Node::Branch(branch) => {
                    let n = branch.children.len();
                    assert!(n >= 2);
                    assert_eq!(branch.lows.len(), n);
                    assert!(low.is_none_or(|low| *low == branch.lows[0]));
                    assert_eq!(branch.totals.len(), n);
                    assert_eq!(branch.distincts.len(), n);
                    let mut depths = Vec::new();
                    for (i, child) in branch.children.iter().enumerate() {
                        assert_eq!(branch.totals[i], child.total());
                        assert_eq!(branch.distincts[i], child.distinct());
                        let low = if i == 0 { low } else { Some(&branch.lows[i]) };
                        let end = branch.lows.get(i + 1).or(end);
                        assert!(low.is_none() || end.is_none() || low < end);
                        depths.push(walk(child, false, low, end));
                    }
                    assert!(depths.iter().all(|depth| *depth == depths[0]));
                    depths[0] + 1
                }
            }
        }
        walk(&self.root, true, None, None);
    }

    fn depth(&self) -> usize {
        let mut node = &self.root;
        let mut depth = 1;
        while let Node::Branch(branch) = node {
            node = &branch.children[0];
            depth += 1;
        }
        depth
    }
}

/// Asserts that every question has the twin's answer.
fn assert_same<K: Ord + Clone + fmt::Debug, const CAP: usize>(
    set: &OrderedMultiset<K, CAP>,
    twin: &Twin<K>,
) {
    set.check();
    let values = &twin.0;
    let entries = twin.entries();
    assert_eq!(set.len(), values.len() as u64);
    assert_eq!(set.is_empty(), values.is_empty());
    assert_eq!(set.distinct(), entries.len());
    assert_eq!(set.first(), values.first());
    assert_eq!(set.last(), values.last());
    assert_eq!(set.iter().collect::<Vec<_>>(), entries);
    assert!(set.iter_rev().eq(entries.iter().rev().copied()));
    for (rank, value) in values.iter().enumerate() {
        assert_eq!(set.select(rank as u64), Some(value));
    }
    for (key, count) in &entries {
        let below = values.partition_point(|value| value < key);
        assert_eq!(set.rank_of(*key), below as u64);
        assert_eq!(set.count_of(*key), *count);
    }
    for beyond in [values.len() as u64, i64::MAX as u64, u64::MAX] {
        assert_eq!(set.select(beyond), None);
        assert_eq!(set.iter_from(beyond).count(), 0);
    }
    for rank in (0..values.len()).step_by(values.len() / 10 + 1) {
        let rest = Twin(values[rank..].to_vec());
        let from = set.iter_from(rank as u64);
        assert_eq!(from.len(), rest.entries().len());
        assert!(from.eq(rest.entries()));
        assert!(
            set.iter_from(rank as u64)
                .rev()
                .eq(rest.entries().into_iter().rev())
        );
    }
}

/// A history of single changes: keys from a small range, so that they meet again, with more
/// retractions towards the end.
fn history(keys: u64, len: usize) -> impl Strategy<Value = Vec<(u64, i64)>> {
    (1..=len).prop_flat_map(move |len| {
        let change = move |i: usize| (0..keys, if i < len / 2 { -1..4i64 } else { -5..2i64 });
        (0..len).map(change).collect::<Vec<_>>()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn single_changes_answer_as_a_sorted_vector_does(history in history(300, 900)) {
        let (mut set, mut twin) = (Deep::default(), Twin::default());
        for (i, (key, diff)) in history.into_iter().enumerate() {
            let diff = twin.bounded(&key, diff);
            twin.update(&key, diff);
            let count = set.update(key, diff);
            assert_eq!(count, set.count_of(&key));
            if i % 100 == 0 {
                assert_same(&set, &twin);
            }
        }
        assert_same(&set, &twin);
        // Drain it in an order that is neither ascending nor descending.
        for (i, (key, count)) in twin.clone().entries().into_iter().rev().enumerate().step_by(2) {
            set.update(*key, -count);
            twin.update(key, -count);
            if i % 10 == 0 {
                assert_same(&set, &twin);
            }
        }
        for (key, count) in twin.clone().entries() {
            assert_eq!(set.update(*key, -count), 0);
            twin.update(key, -count);
        }
        assert_same(&set, &twin);
        assert_eq!(set.heap_bytes(), 0);
    }

    #[test]
    fn batches_answer_as_a_sorted_vector_does(
        batches in proptest::collection::vec((history(2_000, 700), 1..2_000u64, any::<bool>()), 1..8),
    ) {
        let (mut set, mut twin) = (Deep::default(), Twin::default());
        for (mut batch, spread, drain) in batches {
            // Batches of a narrow range of keys overfill few leaves; draining ones empty whole
            // subtrees.
            for (key, diff) in &mut batch {
                *key %= spread;
                *diff = twin.bounded(key, if drain { -100 } else { *diff });
                twin.update(key, *diff);
            }
            if drain {
                for (key, count) in twin.clone().entries() {
                    if *key < spread && (spread % 2 == 0 || *key % 7 != 0) {
                        twin.update(key, -count);
                        batch.push((*key, -count));
                    }
                }
            }
            set.update_all(&mut batch);
            assert!(batch.is_empty());
            assert_same(&set, &twin);
        }
        let mut rest: Vec<_> = twin.entries().into_iter().map(|(key, count)| (*key, -count)).collect();
        set.update_all(&mut rest);
        assert!(set.is_empty());
        assert_eq!(set.heap_bytes(), 0);
    }

    #[test]
    fn single_changes_and_batches_build_the_same_set(history in history(400, 600)) {
        let (mut singles, mut batch): (Deep<u64>, Deep<u64>) = Default::default();
        for (key, diff) in &history {
            singles.update(*key, *diff);
        }
        batch.update_all(&mut history.clone());
        // Counts below zero are kept by both.
        prop_assert!(singles.iter().eq(batch.iter()));
        singles.check();
        batch.check();
    }

    #[test]
    fn a_retraction_may_come_before_its_insertion(history in history(200, 600), seed in any::<u64>()) {
        let mut set = Deep::default();
        let mut order: Vec<_> = history.iter().map(|(key, diff)| (*key, *diff)).collect();
        order.extend(history.iter().map(|(key, diff)| (*key, 1 - diff)));
        order.sort_by_key(|change| (change.0 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ change.1 as u64);
        let mut twin = Twin::default();
        for (key, _) in &history {
            twin.update(key, 1);
        }
        for (key, diff) in order {
            set.update(key, diff);
            // Not useful while counts are below zero, but not a panic either.
            let _ = (set.len(), set.select(3), set.rank_of(&7), set.iter_from(5).count());
            set.check();
        }
        assert_same(&set, &twin);
    }

    #[test]
    fn byte_keys_are_probed_by_slices(words in proptest::collection::vec(("[a-c]{0,4}", -1..3i64), 0..300)) {
        let (mut vecs, mut boxes): (Deep<Vec<u8>>, Deep<Box<[u8]>>) = Default::default();
        let mut twin = Twin::default();
        for (word, diff) in &words {
            let word = word.as_bytes();
            let diff = twin.bounded(&word.to_vec(), *diff);
            twin.update(&word.to_vec(), diff);
            let held = vecs.count_of(word) != 0;
            let owned = Cell::new(false);
            let count = vecs.update_by(word, diff, |word| { owned.set(true); word.to_vec() });
            assert_eq!(owned.get(), !held && diff != 0);
            assert_eq!(boxes.update_by(word, diff, |word| word.into()), count);
        }
        assert_same(&vecs, &twin);
        assert_same(&boxes, &Twin(twin.0.iter().map(|word| word.clone().into_boxed_slice()).collect()));
        assert_eq!(vecs.rank_of(b"b".as_slice()), twin.0.partition_point(|word| word.as_slice() < b"b".as_slice()) as u64);
    }

    #[test]
    fn both_ends_of_an_iterator_meet(keys in 0..200u64, from in 0..250u64, ends in proptest::collection::vec(any::<bool>(), 450)) {
        let mut set = Deep::default();
        set.update_all(&mut (0..keys).map(|key| (key / 2 * 2, 1)).collect());
        let mut iter = set.iter_from(from);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for from_front in ends {
            let left = iter.len();
            let item = if from_front { iter.next() } else { iter.next_back() };
            match item {
                Some(item) => if from_front { front.push(item) } else { back.push(item) },
                None => assert_eq!(left, 0),
            }
        }
        front.extend(back.into_iter().rev());
        prop_assert!(front.into_iter().eq(set.iter_from(from)));
    }
}

#[test]
fn nodes_of_the_real_size_answer_as_a_sorted_vector_does() {
    let (mut set, mut twin) = (OrderedMultiset::new(), Twin::default());
    let mut keys = keys(5_000);
    for key in keys.by_ref().take(9_000) {
        set.update(key % 20_000, 1);
        twin.0.push(key % 20_000);
    }
    twin.0.sort();
    assert_same(&set, &twin);
    assert_eq!(set.depth(), 3);
    while twin.0.len() > 10 {
        for key in keys.by_ref().take(twin.0.len() / 2) {
            let victim = twin.0.remove(key as usize % twin.0.len());
            set.update(victim, -1);
        }
        assert_same(&set, &twin);
    }
}

#[test]
fn ascending_and_descending_keys_keep_the_tree_in_balance() {
    let (mut up, mut down): (Deep<u64>, Deep<u64>) = Default::default();
    for key in 0..5_000 {
        up.update(key, 1);
        down.update(5_000 - key, 1);
    }
    up.check();
    down.check();
    for key in 0..5_000 {
        up.update(key, -1);
        down.update(5_000 - key, -1);
        if key % 500 == 0 {
            up.check();
            down.check();
        }
    }
    assert!(up.is_empty() && down.is_empty());
}

#[test]
fn a_diff_of_zero_changes_nothing() {
    let mut set: OrderedMultiset<u64> = OrderedMultiset::new();
    assert_eq!(set.update(7, 0), 0);
    assert!(set.is_empty());
    set.update_all(&mut vec![(7, 0), (7, 0), (8, 1), (8, -1), (9, 2)]);
    assert_eq!(set.update(9, 0), 2);
    assert_eq!(set.iter().collect::<Vec<_>>(), [(&9, 2)]);
}

#[test]
fn counts_may_be_large() {
    let mut set: OrderedMultiset<u64> = OrderedMultiset::new();
    set.update(1, 4_000_000_000_000);
    set.update(2, 5_000_000_000_000);
    assert_eq!(set.len(), 9_000_000_000_000);
    assert_eq!(set.select(3_999_999_999_999), Some(&1));
    assert_eq!(set.select(4_000_000_000_000), Some(&2));
    assert_eq!(
        set.iter_from(8_999_999_999_999).collect::<Vec<_>>(),
        [(&2, 1)]
    );
}

#[test]
fn a_small_set_is_one_small_allocation_and_an_empty_one_is_none() {
    assert_eq!(size_of::<OrderedMultiset<u64>>(), 24);
    let mut set: OrderedMultiset<u64> = OrderedMultiset::new();
    assert_eq!(set.heap_bytes(), 0);
    for (key, bytes) in [(1, 16), (2, 32), (3, 64), (4, 64)] {
        set.update(key, 1);
        assert_eq!(set.heap_bytes(), bytes);
    }
    for key in 1..=4 {
        set.update(key, -1);
    }
    assert_eq!(set.heap_bytes(), 0);
}

#[test]
fn a_large_set_takes_at_most_24_bytes_a_distinct_value() {
    let mut random: OrderedMultiset<u64> = OrderedMultiset::new();
    let mut ascending: OrderedMultiset<u64> = OrderedMultiset::new();
    for (i, key) in (0..200_000).zip(keys(3)) {
        random.update(key, 1);
        ascending.update(i, 1);
    }
    let per_value = |set: &OrderedMultiset<u64>| set.heap_bytes() as f64 / set.distinct() as f64;
    assert!(per_value(&random) < 24.0, "{}", per_value(&random));
    assert!(per_value(&ascending) < 24.0, "{}", per_value(&ascending));

    let mut bulk: OrderedMultiset<u64> = OrderedMultiset::new();
    bulk.update_all(&mut (0..200_000).map(|key| (key, 1)).collect());
    assert!(per_value(&bulk) < 18.0, "{}", per_value(&bulk));

    // Nine tenths retracted: what is left must not hold on to what was there.
    for (i, key) in (0..200_000).zip(keys(3)) {
        if i % 10 != 0 {
            random.update(key, -1);
        }
    }
    assert!(per_value(&random) < 40.0, "{}", per_value(&random));
}

thread_local! {
    static COMPARISONS: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts how often it is compared.
#[derive(Clone, Debug)]
struct Counted(u64);

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0.cmp(&other.0)
    }
}
impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Counted {}

/// Comparisons for one retraction, one insertion and the median, at worst over many, in a set of
/// `n` values.
fn comparisons_of_a_change(n: usize) -> u64 {
    let mut set: OrderedMultiset<Counted> = OrderedMultiset::new();
    let mut live: Vec<u64> = keys(1).take(n).collect();
    for key in &live {
        set.update(Counted(*key), 1);
    }
    let mut worst = 0;
    for (i, key) in keys(2).take(2_000).enumerate() {
        let old = std::mem::replace(&mut live[i * (n / 2_000).max(1) % n], key);
        COMPARISONS.set(0);
        set.update(Counted(old), -1);
        set.update(Counted(key), 1);
        assert!(set.select(set.len() / 2).is_some());
        worst = worst.max(COMPARISONS.get());
    }
    worst
}

#[test]
fn a_change_and_the_median_of_a_million_values_cost_little_more_than_of_a_thousand() {
    let thousand = comparisons_of_a_change(1_000);
    let million = comparisons_of_a_change(1_000_000);
    // Two changes, each of which has log2(1,000) = 10 more comparisons to make, and unfilled nodes.
    assert!(
        million <= thousand + 2 * (10 + 4),
        "{thousand} at 1,000 and {million} at 1,000,000"
    );
}

#[test]
fn the_best_k_of_many_cost_no_comparisons_and_do_not_walk_the_rest() {
    let mut set: OrderedMultiset<Counted> = OrderedMultiset::new();
    set.update_all(&mut (0..100_000).map(|key| (Counted(key), 1)).collect());
    COMPARISONS.set(0);
    let best: Vec<u64> = set.iter_rev().take(3).map(|(key, _)| key.0).collect();
    assert_eq!(best, [99_999, 99_998, 99_997]);
    assert_eq!(COMPARISONS.get(), 0);
}

/// Endless keys without pattern (splitmix64), the same for the same seed.
fn keys(seed: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |i: u64| {
        let mut x = (seed ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(i);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    })
}

//! What the lake is told to write anew.

use super::{Change, delta, row, rows, spec};
use crate::delta::{Delta, Diff};
use crate::serve::store::{Digest, LakeBuckets, LiveStore};
use std::collections::BTreeMap;

fn numbers(range: std::ops::Range<i64>, diff: Diff) -> Delta {
    let changes: Vec<Change<'_>> = range.map(|number| (None, number, diff)).collect();
    delta(&changes)
}

#[test]
fn only_what_changed_is_dirty_and_only_once() {
    let store = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    let new = store.dirty_buckets("posts").unwrap();
    assert_eq!(
        (new.buckets_total, new.buckets.len()),
        (1, 1),
        "a new view is written, empty"
    );
    store.publish(1, vec![(0, numbers(0..200_000, 1))]);
    let all = store.dirty_buckets("posts").unwrap();
    assert_eq!((all.buckets_total, all.buckets.len()), (8, 8));
    let total: usize = all
        .buckets
        .iter()
        .map(|bucket| bucket.rows().num_rows())
        .sum();
    assert_eq!(total, 200_000);
    assert!(store.dirty_buckets("posts").unwrap().buckets.is_empty());

    store.publish(2, vec![(0, delta(&[(None, 77, -1), (Some("new"), 77, 1)]))]);
    let one = store.dirty().views.remove(0);
    assert_eq!(
        one.buckets.len(),
        1,
        "the key says the bucket, whatever else changes"
    );
    let old = &all.buckets[one.buckets[0].bucket as usize];
    assert_eq!(old.bucket, one.buckets[0].bucket);
    assert_eq!(old.row_count(), one.buckets[0].row_count());
    assert!(rows(&one.buckets[0].rows()).contains(&row("new", 77)));
    assert!(store.dirty().views[0].buckets.is_empty());
}

#[test]
fn a_bucket_that_lost_its_rows_is_dirty_and_empty() {
    let store = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    store.publish(1, vec![(0, numbers(0..5, 1))]);
    store.dirty();
    store.publish(2, vec![(0, numbers(0..5, -1))]);
    let dirty = store.dirty_buckets("posts").unwrap();
    assert_eq!(dirty.buckets[0].row_count(), 0);
    assert_eq!(dirty.buckets[0].rows().num_rows(), 0);
}

#[test]
fn after_a_restart_the_buckets_of_the_lake_are_clean_and_where_they_were() {
    let before = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    before.publish(1, vec![(0, numbers(0..100_000, 1))]);
    before.publish(2, vec![(0, numbers(10..100_000, -1))]);
    let lake = before.dirty_buckets("posts").unwrap();
    assert_eq!(lake.buckets_total, 4, "buckets do not get fewer");

    let after = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    after.publish(2, vec![(0, numbers(0..10, 1))]);
    let of_lake = LakeBuckets {
        total: lake.buckets_total,
        digests: BTreeMap::new(),
    };
    assert_eq!(after.restored("posts", &of_lake).unwrap(), Some(vec![]));
    assert!(after.dirty().views[0].buckets.is_empty());
    assert_eq!(after.view("posts").unwrap().row_count(), 10);
    after.publish(3, vec![(0, numbers(5..6, -1))]);
    let dirty = after.dirty_buckets("posts").unwrap();
    assert_eq!((dirty.buckets_total, dirty.buckets.len()), (4, 1));
    let of_lake = rows(&lake.buckets[dirty.buckets[0].bucket as usize].rows());
    let mut expected = of_lake;
    expected.retain(|(_, posts)| *posts != 5);
    assert_eq!(rows(&dirty.buckets[0].rows()), expected);
}

#[test]
fn a_number_of_buckets_that_cannot_be_leaves_all_dirty() {
    let store = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    store.publish(1, vec![(0, numbers(0..100_000, 1))]);
    for impossible in [0, 2, 7] {
        let of_lake = LakeBuckets {
            total: impossible,
            digests: BTreeMap::new(),
        };
        assert_eq!(store.restored("posts", &of_lake).unwrap(), None);
    }
    assert_eq!(store.dirty_buckets("posts").unwrap().buckets.len(), 4);
}

#[test]
fn a_bucket_of_the_lake_with_other_rows_is_dirty_after_a_restart() {
    let store = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    store.publish(1, vec![(0, numbers(0..100_000, 1)), (0, numbers(0..9, 2))]);
    let lake = store.dirty_buckets("posts").unwrap();
    let mut of_lake = LakeBuckets {
        total: lake.buckets_total,
        digests: BTreeMap::new(),
    };
    for bucket in &lake.buckets {
        let digest = bucket.digest();
        assert_eq!(digest.to_string().parse(), Ok(digest));
        of_lake.digests.insert(bucket.bucket, digest);
    }
    let again = LiveStore::new(vec![spec("posts", &[1])]).unwrap();
    again.publish(1, vec![(0, numbers(0..9, 1)), (0, numbers(0..9, 2))]);
    again.publish(2, vec![(0, numbers(9..100_000, 1))]);
    assert_eq!(again.restored("posts", &of_lake).unwrap(), Some(vec![]));
    assert!(again.dirty().views[0].buckets.is_empty());

    for digest in [
        Digest::default(),
        Digest {
            sum: 1,
            ..of_lake.digests[&2]
        },
    ] {
        of_lake.digests.insert(2, digest);
        assert_eq!(again.restored("posts", &of_lake).unwrap(), Some(vec![2]));
        let dirty = again.dirty().views.remove(0).buckets;
        let dirty: Vec<u32> = dirty.iter().map(|bucket| bucket.bucket).collect();
        assert_eq!(dirty, [2]);
    }
}

//! One view of the store: its buckets, and how changes get into them.
//!
//! A batch of changes is encoded and sorted by bucket before anything is changed, so that each
//! bucket's rows are changed together, while they are in the processor's cache.
//!
//! # Invariants
//! 1. A row's bucket depends on its key and the number of buckets only. The number is a power of
//!    two, grows so that a bucket has at most [`BUCKET_ROWS`] rows on average, and never shrinks.
//! 2. A bucket that changed since it was last taken by [`View::take_dirty`] is dirty.

use std::sync::Arc;

use super::bucket::Bucket;
use super::codec::{Codec, Encoded, Place};
use super::frozen::{DirtyBucket, FrozenRows, LakeBuckets};
use crate::delta::{Delta, Diff, Epoch};

/// A bucket has at most so many rows on average.
pub const BUCKET_ROWS: u64 = 32_768;
/// Nor more bytes than this on average: rows may be long (dead letters hold whole records).
const BUCKET_BYTES: u64 = 64 << 20;
/// More buckets would be more files than a table should have.
const BUCKETS_MAX: u32 = 1 << 16;

/// Rows whose memory is touched together before they are changed.
const ROWS_TOUCHED: usize = 32;

/// A view of the live store.
#[derive(Debug)]
pub(super) struct View {
    /// The last epoch that changed the view.
    changed: Epoch,
    /// As many as a power of two.
    buckets: Vec<Arc<Bucket>>,
    dirty: Vec<bool>,
}

impl View {
    /// A view without rows, which nothing has changed yet.
    pub(super) fn empty() -> View {
        View {
            changed: 0,
            buckets: vec![Arc::default()],
            // An empty view is written too: its table should be there.
            dirty: vec![true],
        }
    }

    /// The last epoch that changed it; 0 if none has.
    pub(super) fn changed(&self) -> Epoch {
        self.changed
    }

    /// How many buckets it has.
    pub(super) fn buckets_total(&self) -> u32 {
        self.buckets.len() as u32
    }

    /// Bytes of memory that its rows take.
    pub(super) fn memory(&self) -> u64 {
        let buckets = self.buckets.iter();
        buckets.map(|bucket| bucket.memory() as u64).sum()
    }

    /// Its rows as they are now; `codec` is the one that encoded them.
    pub(super) fn rows(&self, codec: &Arc<Codec>) -> FrozenRows {
        FrozenRows::new(codec, self.buckets.clone())
    }

    /// The buckets that changed since this was last called, as they are now.
    pub(super) fn take_dirty(&mut self, codec: &Arc<Codec>) -> Vec<DirtyBucket> {
        let buckets = std::iter::zip(0.., &self.buckets)
            .filter(|(bucket, _)| self.dirty[*bucket as usize])
            .map(|(bucket, rows)| DirtyBucket {
                bucket,
                rows: FrozenRows::new(codec, vec![Arc::clone(rows)]),
            })
            .collect();
        self.dirty.fill(false);
        buckets
    }

    /// Says how many buckets the lake has and what is in them; a bucket without a digest is
    /// trusted. Buckets with the same rows are clean, and the others are dirty and named. `None` if
    /// that number of buckets cannot be: then all stay as they are.
    pub(super) fn restored(&mut self, lake: &LakeBuckets) -> Option<Vec<u32>> {
        if !lake.total.is_power_of_two() || lake.total < self.buckets_needed(0) {
            return None;
        }
        self.rearrange(lake.total);
        self.dirty.fill(false);
        let mut others = Vec::new();
        for (number, digest) in &lake.digests {
            let Some(bucket) = self.buckets.get(*number as usize) else {
                continue;
            };
            if bucket.digest() != *digest {
                self.dirty[*number as usize] = true;
                others.push(*number);
            }
        }
        Some(others)
    }

    /// Applies the changes of an epoch bucket by bucket; returns the buckets in which a count was
    /// negative at some moment. They must be settled once all changes of the epoch are applied.
    pub(super) fn apply(&mut self, epoch: Epoch, changes: &Changes<'_>) -> Vec<u32> {
        self.changed = epoch;
        let total = self.buckets.len() as u32;
        // A counting sort of the rows by bucket.
        let mut ends = vec![0_u32; self.buckets.len()];
        for place in &changes.places {
            ends[place.bucket(total) as usize] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        let mut order = vec![0_u32; changes.places.len()];
        let mut places = changes.places.clone();
        let mut next = ends.clone();
        for (row, place) in changes.places.iter().enumerate().rev() {
            let slot = &mut next[place.bucket(total) as usize];
            *slot -= 1;
            order[*slot as usize] = row as u32;
            places[*slot as usize] = *place;
        }
        let mut negative = Vec::new();
        let mut start = 0;
        for (number, end) in std::iter::zip(0.., ends) {
            let rows = start..end as usize;
            start = end as usize;
            if rows.is_empty() {
                continue;
            }
            self.dirty[number as usize] = true;
            let bucket = Arc::make_mut(&mut self.buckets[number as usize]);
            let mut below_zero = false;
            let order = order[rows.clone()].chunks(ROWS_TOUCHED);
            for (rows, places) in order.zip(places[rows].chunks(ROWS_TOUCHED)) {
                bucket.touch(places);
                for (&row, &place) in rows.iter().zip(places) {
                    let (key, rest) = changes.rows.row(row as usize);
                    below_zero |= bucket.change(place, key, rest, changes.diffs[row as usize]);
                }
            }
            if below_zero {
                negative.push(number);
            }
        }
        negative
    }

    /// Drops counts that are negative still, and returns how many rows were retracted that were not
    /// there.
    pub(super) fn settle(&mut self, bucket: u32) -> u64 {
        Arc::make_mut(&mut self.buckets[bucket as usize]).settle()
    }

    /// How many buckets the rows, and so many more or less, need by invariant 1.
    fn buckets_needed(&self, rows_ahead: Diff) -> u32 {
        let rows: u64 = self.buckets.iter().map(|bucket| bucket.rows()).sum();
        let bytes: u64 = self
            .buckets
            .iter()
            .map(|bucket| bucket.row_bytes() as u64)
            .sum();
        let rows = rows.saturating_add_signed(rows_ahead);
        let buckets = rows.div_ceil(BUCKET_ROWS).max(bytes.div_ceil(BUCKET_BYTES));
        (buckets.clamp(1, u64::from(BUCKETS_MAX)) as u32).next_power_of_two()
    }

    /// Spreads the rows over more buckets if they, and so many more or less, need them.
    pub(super) fn grow(&mut self, rows_ahead: Diff) {
        let needed = self.buckets_needed(rows_ahead);
        if needed as usize > self.buckets.len() {
            self.rearrange(needed);
            self.dirty.fill(true);
        }
    }

    /// Spreads the rows over so many buckets, a power of two.
    fn rearrange(&mut self, buckets: u32) {
        if buckets as usize == self.buckets.len() {
            return;
        }
        let share = |total: usize| total.div_ceil(buckets as usize);
        let rows = share(
            self.buckets
                .iter()
                .map(|bucket| bucket.different_rows())
                .sum(),
        );
        let bytes = share(self.buckets.iter().map(|bucket| bucket.row_bytes()).sum());
        let mut spread: Vec<Bucket> = (0..buckets)
            .map(|_| Bucket::with_room(rows + rows / 8, bytes + bytes / 8))
            .collect();
        for bucket in self.buckets.drain(..) {
            // One at a time, so that only one bucket's rows are there twice.
            Arc::unwrap_or_clone(bucket).move_into(&mut spread, |place| place.bucket(buckets));
        }
        self.buckets = spread.into_iter().map(Arc::new).collect();
        self.dirty = vec![true; buckets as usize];
    }
}

/// Changes of one view, encoded and placed.
pub(super) struct Changes<'a> {
    /// The number of the view.
    pub(super) view: usize,
    rows: Encoded,
    places: Vec<Place>,
    pub(super) diffs: &'a [Diff],
}

impl Changes<'_> {
    pub(super) fn new<'a>(view: usize, codec: &Codec, delta: &'a Delta) -> Changes<'a> {
        assert_eq!(
            delta.rows.num_rows(),
            delta.diffs.len(),
            "every row has a diff"
        );
        let rows = codec
            .encode(&delta.rows)
            .expect("changes of a view have the columns of the view");
        let places = (0..delta.diffs.len())
            .map(|row| {
                let (key, rest) = rows.row(row);
                Place::of(key, rest)
            })
            .collect();
        Changes {
            view,
            rows,
            places,
            diffs: &delta.diffs,
        }
    }
}

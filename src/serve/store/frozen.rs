//! What the store hands out: rows that will not change any more.
//!
//! All of it shares its rows with the store, and is sorted and decoded when rows are asked for, by
//! whoever asks.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::bucket::Bucket;
use super::codec::{Codec, RowBytes};
use super::pile::Pile;
use crate::delta::{Diff, Epoch};

/// All views at one epoch.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The epoch of every view in it.
    pub epoch: Epoch,
    /// The views, in the order they were given to [`super::LiveStore::new`].
    pub views: Vec<FrozenView>,
}

impl Cut {
    /// The view of this name.
    pub fn view(&self, name: &str) -> Option<&FrozenView> {
        self.views.iter().find(|view| *view.name == *name)
    }
}

/// One view at one epoch. It shares its rows with the store until the store changes them.
#[derive(Clone, Debug)]
pub struct FrozenView {
    /// The view.
    pub name: Arc<str>,
    /// The epoch it is at.
    pub epoch: Epoch,
    /// The last epoch that changed it.
    pub changed: Epoch,
    pub(super) rows: Rows,
}

/// The rows of a view that is not changed any more.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    Encoded(FrozenRows),
    Pile(Pile),
}

impl FrozenView {
    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        match &self.rows {
            Rows::Encoded(rows) => rows.codec.schema(),
            Rows::Pile(pile) => pile.schema(),
        }
    }

    /// How many rows it has.
    pub fn row_count(&self) -> u64 {
        match &self.rows {
            Rows::Encoded(rows) => rows.count(),
            Rows::Pile(pile) => pile.rows(),
        }
    }

    /// Its rows, sorted by the key's columns and then the others (each in the order of the view;
    /// nulls first).
    pub fn rows(&self) -> RecordBatch {
        self.first_rows(usize::MAX)
    }

    /// The first so many of its rows in that order; much cheaper than all of a large view.
    pub fn first_rows(&self, limit: usize) -> RecordBatch {
        match &self.rows {
            Rows::Encoded(rows) => rows.sorted(limit),
            Rows::Pile(pile) => pile.sorted(limit),
        }
    }
}

/// The rows of one view at one epoch.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The epoch.
    pub epoch: Epoch,
    /// The rows, sorted by the key's columns and then the others.
    pub rows: RecordBatch,
}

/// What changed in all views since it was last asked.
#[derive(Debug)]
pub struct Dirty {
    /// The epoch that the buckets are at.
    pub epoch: Epoch,
    /// One entry a view, in the order they were given to [`super::LiveStore::new`]; many have no
    /// dirty bucket.
    pub views: Vec<DirtyBuckets>,
}

/// What changed in one view since it was last asked.
#[derive(Debug)]
pub struct DirtyBuckets {
    /// The view.
    pub view: Arc<str>,
    /// How many buckets the view has. When it changes, all are dirty.
    pub buckets_total: u32,
    /// Those that changed, by number.
    pub buckets: Vec<DirtyBucket>,
}

/// A bucket to write anew. Its rows are decoded when they are asked for, so that one bucket at a
/// time takes the memory of batches.
#[derive(Clone, Debug)]
pub struct DirtyBucket {
    /// Its number, less than [`DirtyBuckets::buckets_total`].
    pub bucket: u32,
    pub(super) rows: FrozenRows,
}

/// What a lake has of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LakeBuckets {
    /// How many buckets.
    pub total: u32,
    /// What is in each, where that is known.
    pub digests: BTreeMap<u32, Digest>,
}

/// A number of rows and the sum of their hashes, each as often as it is there: two buckets with
/// other rows have the same with a probability of 2⁻⁶⁴. The hash is that of a row's place, which no
/// build changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many rows.
    pub rows: u64,
    /// The sum of their hashes, modulo 2⁶⁴.
    pub sum: u64,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.rows, self.sum)
    }
}

impl FromStr for Digest {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Digest, ParseIntError> {
        let (rows, sum) = text.split_once(':').unwrap_or((text, ""));
        Ok(Digest {
            rows: rows.parse()?,
            sum: u64::from_str_radix(sum, 16)?,
        })
    }
}

impl DirtyBucket {
    /// What tells its rows from others.
    pub fn digest(&self) -> Digest {
        let buckets = self.rows.buckets.iter().map(|bucket| bucket.digest());
        buckets.fold(Digest::default(), |all, one| Digest {
            rows: all.rows + one.rows,
            sum: all.sum.wrapping_add(one.sum),
        })
    }

    /// How many rows it has: none, if all went.
    pub fn row_count(&self) -> u64 {
        self.rows.count()
    }

    /// Its rows, sorted as [`FrozenView::rows`].
    pub fn rows(&self) -> RecordBatch {
        self.rows.sorted(usize::MAX)
    }
}

/// Buckets that will not change any more.
#[derive(Clone, Debug)]
pub(super) struct FrozenRows {
    codec: Arc<Codec>,
    buckets: Vec<Arc<Bucket>>,
}

impl FrozenRows {
    /// Rows that `codec` encoded.
    pub(super) fn new(codec: &Arc<Codec>, buckets: Vec<Arc<Bucket>>) -> FrozenRows {
        FrozenRows {
            codec: Arc::clone(codec),
            buckets,
        }
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.rows()).sum()
    }

    fn sorted(&self, limit: usize) -> RecordBatch {
        type Entry<'a> = (u128, RowBytes<'a>, Diff);
        let by_row = |a: &Entry<'_>, b: &Entry<'_>| -> Ordering {
            a.0.cmp(&b.0).then_with(|| a.1.all().cmp(b.1.all()))
        };
        let mut entries: Vec<Entry<'_>> = self
            .buckets
            .iter()
            .flat_map(|bucket| bucket.iter())
            .map(|(row, count)| (row.prefix(), row, count))
            .collect();
        if limit < entries.len() {
            // Every entry stands for at least one row, so the first `limit` entries suffice.
            entries.select_nth_unstable_by(limit, by_row);
            entries.truncate(limit);
        }
        entries.sort_unstable_by(by_row);
        let rows: Vec<RowBytes<'_>> = entries
            .iter()
            .flat_map(|(_, row, count)| std::iter::repeat_n(*row, (*count).max(0) as usize))
            .take(limit)
            .collect();
        self.codec.decode(&rows)
    }
}

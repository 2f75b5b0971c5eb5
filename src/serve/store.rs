//! The live store: every materialised view at the last closed epoch.
//!
//! One writer publishes an epoch with all its changes; any number of readers take a [`Cut`], which is all views
//! at one epoch. A cut shares the views' buckets with the store: taking one copies no row, holding one does not
//! stop the writer (it copies a bucket that a reader still holds before it changes it), and sorting and
//! decoding happen in the reader's own time.
//!
//! ```text
//! changes of one epoch --encode--> publish --lock--> buckets of views --+--> cut: HTTP, inspect, ...
//!                                                                       '--> dirty buckets: the lake
//! ```
//!
//! # Invariants
//! 1. All views of a cut are at its epoch: [`LiveStore::publish`] shows all changes of an epoch or none.
//! 2. A view is a multiset: a row is there as often as the sum of its diffs says, and never less than zero
//!    times (a retraction of what is not there is dropped, counted in [`LiveStore::faults`]).
//! 3. A row's bucket depends on its key and the number of buckets only. The number is a power of two, grows so
//!    that a bucket has at most [`BUCKET_ROWS`] rows on average, and never shrinks.
//! 4. A bucket that changed since it was last taken by [`LiveStore::dirty`] is dirty.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::watch;

use super::bucket::Bucket;
pub use super::codec::PLACEMENT;
use super::codec::{Codec, Encoded, Place, RowBytes};
use super::nearest::nearest;
use crate::delta::{Delta, Diff, Epoch};

/// A bucket has at most so many rows on average.
pub const BUCKET_ROWS: u64 = 32_768;
/// Nor more bytes than this on average: rows may be long (dead letters hold whole records).
const BUCKET_BYTES: u64 = 64 << 20;
/// More buckets would be more files than a table should have.
const BUCKETS_MAX: u32 = 1 << 16;

/// Rows whose memory is touched together before they are changed.
const ROWS_TOUCHED: usize = 32;

/// A materialised view, as the store must know it.
#[derive(Clone, Debug)]
pub struct ViewSpec {
    /// Its name in SQL.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The columns that identify a row; they choose its bucket. All columns if nothing is known.
    pub key: Vec<usize>,
}

/// A view that the store cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("view `{view}` cannot be held by the live store: {reason}")]
pub struct UnsupportedView {
    /// The view.
    pub view: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A reader asked for a view that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no view `{view}`")]
pub struct NoSuchView {
    /// The name asked for.
    pub view: String,
    /// A view whose name is much like it.
    pub nearest: Option<String>,
}

/// Every materialised view at the last closed epoch. Shared between the writer and the readers as an [`Arc`].
#[derive(Debug)]
pub struct LiveStore {
    codecs: Vec<Arc<Codec>>,
    names: Vec<Arc<str>>,
    /// Held while an epoch is encoded and applied: epochs come one after the other.
    publishing: Mutex<()>,
    state: RwLock<State>,
    epochs: watch::Sender<Epoch>,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    views: Vec<View>,
    faults: u64,
}

#[derive(Debug)]
struct View {
    /// The last epoch that changed the view.
    changed: Epoch,
    /// As many as a power of two.
    buckets: Vec<Arc<Bucket>>,
    dirty: Vec<bool>,
}

impl LiveStore {
    /// A store of these views, all empty, at epoch 0.
    pub fn new(views: Vec<ViewSpec>) -> Result<LiveStore, UnsupportedView> {
        let mut codecs = Vec::with_capacity(views.len());
        for view in &views {
            let unsupported = |reason: String| UnsupportedView {
                view: view.name.clone(),
                reason,
            };
            if view.schema.fields().is_empty() {
                return Err(unsupported("it has no columns".to_owned()));
            }
            if let Some(column) = view
                .key
                .iter()
                .find(|key| **key >= view.schema.fields().len())
            {
                let reason = format!("its key names column {column}, which it does not have");
                return Err(unsupported(reason));
            }
            let codec = Codec::new(Arc::clone(&view.schema), &view.key)
                .map_err(|error| unsupported(error.to_string()))?;
            codecs.push(Arc::new(codec));
        }
        let state = State {
            epoch: 0,
            views: views.iter().map(|_| View::empty(1)).collect(),
            faults: 0,
        };
        Ok(LiveStore {
            codecs,
            names: views.iter().map(|view| view.name.as_str().into()).collect(),
            publishing: Mutex::new(()),
            state: RwLock::new(state),
            epochs: watch::Sender::new(0),
        })
    }

    /// The number by which [`LiveStore::publish`] knows a view: its position among the views given at the start.
    pub fn view_number(&self, view: &str) -> Result<usize, NoSuchView> {
        self.names
            .iter()
            .position(|name| **name == *view)
            .ok_or_else(|| NoSuchView {
                view: view.to_owned(),
                nearest: nearest(view, self.names.iter().map(|name| &**name)).map(str::to_owned),
            })
    }

    /// Makes an epoch visible: all its changes of all views at once, each with the number of its view. Changes
    /// of one view may come in several deltas and may cancel each other. Call it for epochs without changes too,
    /// so that readers see time pass.
    ///
    /// # Panics
    /// If a delta has other columns than its view: the plan that made the view makes its changes.
    pub fn publish(&self, epoch: Epoch, changes: Vec<(usize, Delta)>) {
        let _publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Encoding is the larger part of the work, and readers need not wait for it.
        let changes: Vec<Changes> = changes
            .iter()
            .filter(|(_, delta)| !delta.diffs.is_empty())
            .map(|(view, delta)| Changes::new(*view, &self.codecs[*view], delta))
            .collect();
        let mut state = self.write();
        debug_assert!(
            epoch > state.epoch || state.epoch == 0,
            "epoch {epoch} was published after epoch {}",
            state.epoch
        );
        state.epoch = epoch;
        let mut rows_ahead = vec![0; self.names.len()];
        for changes in &changes {
            rows_ahead[changes.view] += changes.diffs.iter().sum::<Diff>();
        }
        for (view, rows) in state.views.iter_mut().zip(rows_ahead) {
            view.grow(rows);
        }
        let mut unsettled: Vec<(usize, u32)> = Vec::new();
        for changes in &changes {
            let view = &mut state.views[changes.view];
            view.changed = epoch;
            let negative = view.apply(changes);
            unsettled.extend(negative.into_iter().map(|bucket| (changes.view, bucket)));
        }
        for (view, bucket) in unsettled {
            let bucket = &mut state.views[view].buckets[bucket as usize];
            let faults = Arc::make_mut(bucket).settle();
            debug_assert_eq!(
                faults, 0,
                "epoch {epoch} retracts rows that `{}` does not have",
                self.names[view]
            );
            state.faults += faults;
        }
        for changes in &changes {
            state.views[changes.view].grow(0);
        }
        drop(state);
        self.epochs.send_replace(epoch);
    }

    /// All views at the last closed epoch.
    pub fn cut(&self) -> Cut {
        let state = self.read();
        let views = (0..self.names.len())
            .map(|number| self.freeze(&state, number))
            .collect();
        Cut {
            epoch: state.epoch,
            views,
        }
    }

    /// One view at the last closed epoch.
    pub fn view(&self, view: &str) -> Result<FrozenView, NoSuchView> {
        let number = self.view_number(view)?;
        Ok(self.freeze(&self.read(), number))
    }

    /// The rows of one view at the last closed epoch, sorted.
    pub fn snapshot(&self, view: &str) -> Result<Snapshot, NoSuchView> {
        let view = self.view(view)?;
        Ok(Snapshot {
            epoch: view.epoch,
            rows: view.rows(),
        })
    }

    /// The last closed epoch; 0 before the first.
    pub fn epoch(&self) -> Epoch {
        *self.epochs.borrow()
    }

    /// The last epoch that changed a view (by its number); 0 if none has.
    pub fn changed(&self, view: usize) -> Epoch {
        self.read().views[view].changed
    }

    /// Follows the epochs: the receiver sees each new one (or a later one, if it is slow).
    pub fn subscribe(&self) -> watch::Receiver<Epoch> {
        self.epochs.subscribe()
    }

    /// How many retractions of rows that were not there have been dropped since the start. Not zero means a
    /// defect in an operator.
    pub fn faults(&self) -> u64 {
        self.read().faults
    }

    /// Bytes of memory that the rows take.
    pub fn memory(&self) -> u64 {
        let state = self.read();
        let buckets = state.views.iter().flat_map(|view| &view.buckets);
        buckets.map(|bucket| bucket.memory() as u64).sum()
    }

    /// What the lake must rewrite of each view to have it as it is at [`Dirty::epoch`]; all views at the same
    /// epoch. All buckets count as clean afterwards.
    pub fn dirty(&self) -> Dirty {
        let mut state = self.write();
        let views = (0..self.names.len())
            .map(|number| self.take_dirty(&mut state, number))
            .collect();
        Dirty {
            epoch: state.epoch,
            views,
        }
    }

    /// The same for one view.
    pub fn dirty_buckets(&self, view: &str) -> Result<DirtyBuckets, NoSuchView> {
        let number = self.view_number(view)?;
        Ok(self.take_dirty(&mut self.write(), number))
    }

    /// Tells the store, once the view's rows are loaded after a restart, that the lake has just these rows in so
    /// many buckets (placed under [`PLACEMENT`]): all are clean. If that number cannot be (not a power of two,
    /// or too few for the rows), they stay dirty and the view will be written anew. Returns whether it could be.
    pub fn restored(&self, view: &str, buckets_total: u32) -> Result<bool, NoSuchView> {
        let number = self.view_number(view)?;
        let mut state = self.write();
        let view = &mut state.views[number];
        if !buckets_total.is_power_of_two() || buckets_total < view.buckets_needed(0) {
            return Ok(false);
        }
        view.rearrange(buckets_total);
        view.dirty.fill(false);
        Ok(true)
    }

    fn take_dirty(&self, state: &mut State, number: usize) -> DirtyBuckets {
        let view = &mut state.views[number];
        let buckets = std::iter::zip(0.., &view.buckets)
            .filter(|(bucket, _)| view.dirty[*bucket as usize])
            .map(|(bucket, rows)| DirtyBucket {
                bucket,
                rows: FrozenRows {
                    codec: Arc::clone(&self.codecs[number]),
                    buckets: vec![Arc::clone(rows)],
                },
            })
            .collect();
        view.dirty.fill(false);
        DirtyBuckets {
            view: Arc::clone(&self.names[number]),
            buckets_total: view.buckets.len() as u32,
            buckets,
        }
    }

    fn freeze(&self, state: &State, number: usize) -> FrozenView {
        let view = &state.views[number];
        FrozenView {
            name: Arc::clone(&self.names[number]),
            epoch: state.epoch,
            changed: view.changed,
            rows: FrozenRows {
                codec: Arc::clone(&self.codecs[number]),
                buckets: view.buckets.clone(),
            },
        }
    }

    // A panic of the writer leaves an epoch half applied. That process ends; readers that still ask before it
    // does need not panic too.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes of one view, encoded and placed.
struct Changes<'a> {
    view: usize,
    rows: Encoded,
    places: Vec<Place>,
    diffs: &'a [Diff],
}

impl Changes<'_> {
    fn new<'a>(view: usize, codec: &Codec, delta: &'a Delta) -> Changes<'a> {
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

impl View {
    fn empty(buckets: u32) -> View {
        View {
            changed: 0,
            buckets: (0..buckets).map(|_| Arc::default()).collect(),
            // An empty view is written too: its table should be there.
            dirty: vec![true; buckets as usize],
        }
    }

    /// Applies changes bucket by bucket; returns the buckets in which a count was negative at some moment.
    fn apply(&mut self, changes: &Changes<'_>) -> Vec<u32> {
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

    /// How many buckets the rows, and so many more or less, need by invariant 3.
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

    fn grow(&mut self, rows_ahead: Diff) {
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

/// All views at one epoch.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The epoch of every view in it.
    pub epoch: Epoch,
    /// The views, in the order they were given to [`LiveStore::new`].
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
    rows: FrozenRows,
}

impl FrozenView {
    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        self.rows.codec.schema()
    }

    /// How many rows it has.
    pub fn row_count(&self) -> u64 {
        self.rows.count()
    }

    /// Its rows, sorted by the key's columns and then the others (each in the order of the view; nulls first).
    pub fn rows(&self) -> RecordBatch {
        self.rows.sorted(usize::MAX)
    }

    /// The first so many of its rows in that order; much cheaper than all of a large view.
    pub fn first_rows(&self, limit: usize) -> RecordBatch {
        self.rows.sorted(limit)
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
    /// One entry a view, in the order they were given to [`LiveStore::new`]; many have no dirty bucket.
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

/// A bucket to write anew. Its rows are decoded when they are asked for, so that one bucket at a time takes the
/// memory of batches.
#[derive(Clone, Debug)]
pub struct DirtyBucket {
    /// Its number, less than [`DirtyBuckets::buckets_total`].
    pub bucket: u32,
    rows: FrozenRows,
}

impl DirtyBucket {
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
struct FrozenRows {
    codec: Arc<Codec>,
    buckets: Vec<Arc<Bucket>>,
}

impl FrozenRows {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering as MemoryOrder};

    use arrow::array::{
        Array, ArrayRef, AsArray, Int64Array, StringViewArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;

    use super::*;

    /// `category` (nullable), `posts`.
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("category", DataType::Utf8View, true),
            Field::new("posts", DataType::Int64, false),
        ]))
    }

    fn spec(name: &str, key: &[usize]) -> ViewSpec {
        ViewSpec {
            name: name.to_owned(),
            schema: schema(),
            key: key.to_vec(),
        }
    }

    type Change<'a> = (Option<&'a str>, i64, Diff);

    fn delta(changes: &[Change<'_>]) -> Delta {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(
                changes
                    .iter()
                    .map(|change| change.0)
                    .collect::<StringViewArray>(),
            ),
            Arc::new(
                changes
                    .iter()
                    .map(|change| change.1)
                    .collect::<Int64Array>(),
            ),
        ];
        Delta {
            rows: RecordBatch::try_new(schema(), columns).unwrap(),
            diffs: changes.iter().map(|change| change.2).collect(),
        }
    }

    fn rows(batch: &RecordBatch) -> Vec<(Option<String>, i64)> {
        let categories = batch.column(0).as_string_view();
        let posts = batch.column(1).as_primitive::<Int64Type>();
        (0..batch.num_rows())
            .map(|row| {
                let category = categories
                    .is_valid(row)
                    .then(|| categories.value(row).to_owned());
                (category, posts.value(row))
            })
            .collect()
    }

    fn row(category: &str, posts: i64) -> (Option<String>, i64) {
        (Some(category.to_owned()), posts)
    }

    #[test]
    fn a_snapshot_is_sorted_and_holds_a_row_as_often_as_its_count() {
        let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
        let changes = delta(&[
            (Some("b"), 1, 2),
            (Some("a"), 10, 1),
            (None, 5, 1),
            (Some("a"), -1, 1),
        ]);
        store.publish(7, vec![(0, changes)]);
        let snapshot = store.snapshot("posts").unwrap();
        assert_eq!(snapshot.epoch, 7);
        assert_eq!(
            rows(&snapshot.rows),
            [
                (None, 5),
                row("a", -1),
                row("a", 10),
                row("b", 1),
                row("b", 1)
            ]
        );
        let view = store.view("posts").unwrap();
        assert_eq!(view.row_count(), 5);
        assert_eq!(rows(&view.first_rows(4)), rows(&snapshot.rows)[..4]);
        assert_eq!(view.first_rows(0).num_rows(), 0);
    }

    #[test]
    fn changes_of_one_epoch_cancel_in_whatever_order_and_delta_they_come() {
        let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
        store.publish(1, vec![(0, delta(&[(Some("a"), 1, 1)]))]);
        store.publish(
            2,
            vec![
                (0, delta(&[(Some("a"), 2, -1), (Some("a"), 1, -1)])),
                (0, delta(&[(Some("a"), 3, 1), (Some("a"), 2, 1)])),
            ],
        );
        assert_eq!(rows(&store.snapshot("posts").unwrap().rows), [row("a", 3)]);
        assert_eq!(store.faults(), 0);
    }

    #[test]
    #[cfg(not(debug_assertions))] // which make it a panic
    fn a_retraction_of_what_is_not_there_is_dropped_and_counted() {
        let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
        store.publish(
            1,
            vec![(0, delta(&[(Some("a"), 1, -1), (Some("b"), 2, 1)]))],
        );
        assert_eq!(rows(&store.snapshot("posts").unwrap().rows), [row("b", 2)]);
        assert_eq!(store.faults(), 1);
    }

    #[test]
    fn an_epoch_without_changes_is_seen_and_changes_no_view() {
        let store = LiveStore::new(vec![spec("posts", &[]), spec("others", &[])]).unwrap();
        let epochs = store.subscribe();
        store.publish(3, vec![(1, delta(&[(None, 0, 1)]))]);
        store.publish(4, vec![]);
        assert!(epochs.has_changed().unwrap());
        assert_eq!(*epochs.borrow(), 4);
        let cut = store.cut();
        let seen: Vec<_> = cut
            .views
            .iter()
            .map(|view| (view.epoch, view.changed))
            .collect();
        assert_eq!((cut.epoch, seen), (4, vec![(4, 0), (4, 3)]));
    }

    #[test]
    fn a_cut_does_not_move_when_the_store_does() {
        let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
        store.publish(1, vec![(0, delta(&[(Some("a"), 1, 1)]))]);
        let cut = store.cut();
        store.publish(
            2,
            vec![(0, delta(&[(Some("a"), 1, -1), (Some("a"), 2, 1)]))],
        );
        assert_eq!(rows(&cut.view("posts").unwrap().rows()), [row("a", 1)]);
        assert_eq!(rows(&store.snapshot("posts").unwrap().rows), [row("a", 2)]);
    }

    #[test]
    fn an_unknown_view_is_answered_with_the_nearest_name() {
        let store = LiveStore::new(vec![spec("users_joined_by_year", &[])]).unwrap();
        let error = store.snapshot("user_joined_by_year").unwrap_err();
        assert_eq!(error.nearest.as_deref(), Some("users_joined_by_year"));
        assert_eq!(error.to_string(), "there is no view `user_joined_by_year`");
    }

    #[test]
    fn a_key_that_is_not_a_column_is_refused() {
        let error = LiveStore::new(vec![spec("posts", &[2])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "view `posts` cannot be held by the live store: its key names column 2, which it does not have"
        );
    }

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
        assert!(after.restored("posts", lake.buckets_total).unwrap());
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
            assert!(!store.restored("posts", impossible).unwrap());
        }
        assert_eq!(store.dirty_buckets("posts").unwrap().buckets.len(), 4);
    }

    /// The slow, obvious twin of a view.
    #[derive(Default)]
    struct Twin(BTreeMap<(Option<String>, i64), Diff>);

    impl Twin {
        fn apply(&mut self, changes: &[(Option<String>, i64, Diff)]) {
            for (category, posts, diff) in changes {
                *self.0.entry((category.clone(), *posts)).or_default() += diff;
            }
            self.0.retain(|_, count| *count != 0);
        }

        fn rows(&self) -> Vec<(Option<String>, i64)> {
            let repeat = |(row, count): (&(Option<String>, i64), &Diff)| {
                std::iter::repeat_n(row.clone(), *count as usize)
            };
            self.0.iter().flat_map(repeat).collect()
        }
    }

    fn history() -> impl Strategy<Value = Vec<Vec<(Option<String>, i64, Diff)>>> {
        let category = prop_oneof![
            1 => Just(None),
            4 => "[a-c]{0,2}".prop_map(Some),
            1 => "[ -~é🧶]{0,40}".prop_map(Some),
        ];
        let change = (category, -2..3_i64, -3..4_i64);
        prop::collection::vec(prop::collection::vec(change, 0..40), 1..20)
    }

    /// Makes each epoch one that a view can have: no count is below zero at its end.
    fn made_possible(
        twin: &Twin,
        mut changes: Vec<(Option<String>, i64, Diff)>,
    ) -> Vec<(Option<String>, i64, Diff)> {
        let mut after = Twin(twin.0.clone());
        after.apply(&changes);
        for ((category, posts), count) in &after.0 {
            if *count < 0 {
                changes.push((category.clone(), *posts, -count));
            }
        }
        changes
    }

    proptest! {
        #[test]
        fn the_store_equals_its_twin_at_every_epoch(history in history(), limit in 0..50_usize) {
            let specs = vec![spec("all", &[]), spec("by_category", &[0]), spec("whole", &[0, 1])];
            let store = LiveStore::new(specs).unwrap();
            let mut twin = Twin::default();
            let mut frozen = Vec::new();
            for (epoch, changes) in std::iter::zip(1.., history) {
                let changes = made_possible(&twin, changes);
                twin.apply(&changes);
                let (first, second) = changes.split_at(changes.len() / 2);
                let deltas = [first, second].map(|half| {
                    let half: Vec<Change<'_>> =
                        half.iter().map(|(c, p, d)| (c.as_deref(), *p, *d)).collect();
                    delta(&half)
                });
                let of_views = (0..3).flat_map(|view| deltas.clone().map(|delta| (view, delta)));
                store.publish(epoch, of_views.collect());
                let cut = store.cut();
                for view in &cut.views {
                    prop_assert_eq!(view.row_count() as usize, twin.rows().len());
                    prop_assert_eq!(rows(&view.rows()), twin.rows());
                    let limit = limit.min(twin.rows().len());
                    prop_assert_eq!(rows(&view.first_rows(limit)), &twin.rows()[..limit]);
                }
                frozen.push((cut, twin.rows()));
            }
            for (cut, expected) in frozen {
                prop_assert_eq!(rows(&cut.views[1].rows()), expected);
            }
            prop_assert_eq!(store.faults(), 0);
        }
    }

    #[test]
    fn readers_never_see_two_views_at_different_epochs() {
        let store = LiveStore::new(vec![spec("one", &[0]), spec("other", &[1])]).unwrap();
        let done = AtomicBool::new(false);
        let sum = |view: &FrozenView| rows(&view.rows()).iter().map(|row| row.1).sum::<i64>();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut last = 0;
                        let mut seen = 0;
                        while !done.load(MemoryOrder::Acquire) || seen == 0 {
                            let cut = store.cut();
                            assert!(cut.epoch >= last, "epochs do not go back");
                            last = cut.epoch;
                            let sums = (sum(&cut.views[0]), sum(&cut.views[1]));
                            assert_eq!(sums.0, sums.1, "at epoch {}", cut.epoch);
                            assert_eq!(sums.0, cut.epoch as i64);
                            seen += 1;
                        }
                    })
                })
                .collect();
            for epoch in 1..=2_000_i64 {
                // One view counts in one row, the other has a row for each epoch.
                let one = delta(&[(Some("sum"), epoch - 1, -1), (Some("sum"), epoch, 1)]);
                let one = if epoch == 1 {
                    delta(&[(Some("sum"), 1, 1)])
                } else {
                    one
                };
                let name = format!("epoch {epoch}");
                let other = delta(&[(Some(&name), 1, 1)]);
                store.publish(epoch as Epoch, vec![(0, one), (1, other)]);
            }
            done.store(true, MemoryOrder::Release);
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }

    /// `posts_by_half_hour_category` as it is after a million posts: the figures in the docs come from here.
    #[test]
    #[ignore = "measures; run it alone with --release --nocapture"]
    fn measure_a_large_view() {
        let schema = Arc::new(Schema::new(vec![
            Field::new(
                "window_start",
                DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
                true,
            ),
            Field::new("category", DataType::Utf8View, true),
            Field::new("posts", DataType::Int64, false),
        ]));
        let categories = [
            "christmas",
            "art",
            "home-decor",
            "mens-fashion",
            "tattoos",
            "quotes",
            "finance",
        ];
        let batch = |windows: std::ops::Range<i64>, posts: i64, diff: Diff| {
            let cells = windows.flat_map(|window| categories.map(|category| (window, category)));
            let (windows, categories): (Vec<_>, Vec<_>) = cells
                .map(|(w, c)| (w * 1_800_000_000 + 1_500_000_000_000_000, c))
                .unzip();
            let count = windows.len();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(TimestampMicrosecondArray::from(windows)),
                Arc::new(StringViewArray::from(categories)),
                Arc::new(Int64Array::from(vec![posts; count])),
            ];
            let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            Delta {
                rows,
                diffs: vec![diff; count],
            }
        };
        let view = ViewSpec {
            name: "v".to_owned(),
            schema: Arc::clone(&schema),
            key: vec![0, 1],
        };
        let store = LiveStore::new(vec![view]).unwrap();
        // The thread's own time on a processor, so that other work on the machine does not count.
        let cpu_ns = || -> u64 {
            let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            times.split(' ').next().unwrap().parse().unwrap()
        };
        let time = |what: &str, count: u64, run: &mut dyn FnMut()| {
            let start = cpu_ns();
            run();
            let took = cpu_ns() - start;
            println!(
                "{what}: {:.2} ms, {} ns each",
                took as f64 / 1e6,
                took / count
            );
        };
        let inserts: Vec<Delta> = (0..100)
            .map(|i| batch(i * 1000..(i + 1) * 1000, 1, 1))
            .collect();
        time("700,000 inserts in epochs of 7,000", 700_000, &mut || {
            for (epoch, delta) in std::iter::zip(1.., &inserts) {
                store.publish(epoch, vec![(0, delta.clone())]);
            }
        });
        println!("{:.1} bytes a row", store.memory() as f64 / 700_000.0);
        let updates: Vec<_> = (0..100)
            .map(|i| {
                let windows = i * 1000..(i + 1) * 1000;
                vec![
                    (0, batch(windows.clone(), 2, 1)),
                    (0, batch(windows, 1, -1)),
                ]
            })
            .collect();
        time(
            "1,400,000 changes in epochs of 14,000",
            1_400_000,
            &mut || {
                for (epoch, deltas) in std::iter::zip(200.., &updates) {
                    store.publish(epoch, deltas.clone());
                }
            },
        );
        println!("{:.1} bytes a row", store.memory() as f64 / 700_000.0);
        time("cut", 1, &mut || drop(store.cut()));
        time("snapshot", 1, &mut || drop(store.snapshot("v").unwrap()));
        time("first 20 rows", 1, &mut || {
            drop(store.view("v").unwrap().first_rows(20))
        });
        let held = store.cut();
        time("one change while a reader holds the view", 1, &mut || {
            store.publish(1000, vec![(0, batch(5..6, 3, 1))]);
        });
        drop(held);
        time("dirty, all decoded", 1, &mut || {
            for bucket in store.dirty_buckets("v").unwrap().buckets {
                drop(bucket.rows());
            }
        });
        let fresh = LiveStore::new(vec![ViewSpec {
            name: "v".to_owned(),
            schema: Arc::clone(&schema),
            key: vec![0, 1],
        }])
        .unwrap();
        let all = batch(0..100_000, 1, 1);
        time("700,000 inserts at once", 700_000, &mut || {
            fresh.publish(1, vec![(0, all.clone())])
        });
        println!("{:.1} bytes a row", fresh.memory() as f64 / 700_000.0);
    }
}

//! The live store: every materialised view at the last closed epoch.
//!
//! One writer publishes an epoch with all its changes; any number of readers take a [`Cut`], which
//! is all views at one epoch. A cut shares the views' buckets with the store: taking one copies no
//! row, holding one does not stop the writer (it copies a bucket that a reader still holds before
//! it changes it), and sorting and decoding happen in the reader's own time.
//!
//! ```text
//! changes of one epoch --encode--> publish --lock--> buckets of views --+--> cut: HTTP, inspect, ...
//!        (codec)                                     (view, bucket)     '--> dirty buckets: the lake
//! ```
//!
//! A view whose rows only come, as the dead letters, is kept as it came (`pile`).
//!
//! # Invariants
//! 1. All views of a cut are at its epoch: [`LiveStore::publish`] shows all changes of an epoch or
//!    none.
//! 2. A view is a multiset: a row is there as often as the sum of its diffs says, and never less
//!    than zero times (a retraction of what is not there is dropped, counted in
//!    [`LiveStore::faults`]).

mod bucket;
mod codec;
mod frozen;
mod pile;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::watch;

use self::codec::Codec;
use self::frozen::Rows;
use self::pile::{Pile, packed};
use self::view::{Changes, View};
use crate::delta::{Delta, Diff, Epoch};
use crate::nearest::nearest;

pub use codec::PLACEMENT;
pub use frozen::{
    Cut, Digest, Dirty, DirtyBucket, DirtyBuckets, FrozenView, LakeBuckets, Snapshot,
};
pub use view::BUCKET_ROWS;

/// A materialised view, as the store must know it.
#[derive(Clone, Debug)]
pub struct ViewSpec {
    /// Its name in SQL.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The columns that identify a row; they choose its bucket. All columns if nothing is known.
    pub key: Vec<usize>,
    /// Whether its rows only come, and none is ever taken back.
    pub appended: bool,
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

/// Every materialised view at the last closed epoch. Shared between the writer and the readers as
/// an [`Arc`].
#[derive(Debug)]
pub struct LiveStore {
    /// `None` for views that are not encoded: rows only come.
    codecs: Vec<Option<Arc<Codec>>>,
    names: Vec<Arc<str>>,
    /// Held while an epoch is encoded and applied: epochs come one after the other.
    publishing: Mutex<()>,
    state: RwLock<State>,
    epochs: watch::Sender<Epoch>,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    views: Vec<Kept>,
    faults: u64,
}

/// The rows of a view.
#[derive(Debug)]
enum Kept {
    /// They come and go.
    Buckets(View),
    /// They only come.
    Pile(Pile),
}

impl Kept {
    fn changed(&self) -> Epoch {
        match self {
            Kept::Buckets(view) => view.changed(),
            Kept::Pile(pile) => pile.changed(),
        }
    }
}

impl State {
    /// A view of which rows are taken back.
    fn changing(&mut self, view: usize) -> &mut View {
        match &mut self.views[view] {
            Kept::Buckets(view) => view,
            Kept::Pile(_) => unreachable!("rows that only come are not encoded"),
        }
    }
}

impl LiveStore {
    /// A store of these views, all empty, at epoch 0.
    pub fn new(views: Vec<ViewSpec>) -> Result<LiveStore, UnsupportedView> {
        let mut codecs = Vec::with_capacity(views.len());
        let mut kept = Vec::with_capacity(views.len());
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
            if view.appended {
                codecs.push(None);
                kept.push(Kept::Pile(Pile::empty(&view.schema)));
                continue;
            }
            let codec = Codec::new(Arc::clone(&view.schema), &view.key)
                .map_err(|error| unsupported(error.to_string()))?;
            codecs.push(Some(Arc::new(codec)));
            kept.push(Kept::Buckets(View::empty()));
        }
        let state = State {
            epoch: 0,
            views: kept,
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

    /// The number by which [`LiveStore::publish`] knows a view: its position among the views given
    /// at the start.
    pub fn view_number(&self, view: &str) -> Result<usize, NoSuchView> {
        self.names
            .iter()
            .position(|name| **name == *view)
            .ok_or_else(|| NoSuchView {
                view: view.to_owned(),
                nearest: nearest(view, self.names.iter().map(|name| &**name)).map(str::to_owned),
            })
    }

    /// Makes an epoch visible: all its changes of all views at once, each with the number of its
    /// view. Changes of one view may come in several deltas and may cancel each other. Call it for
    /// epochs without changes too, so that readers see time pass.
    ///
    /// # Panics
    /// If a delta has other columns than its view: the plan that made the view makes its changes.
    pub fn publish(&self, epoch: Epoch, changes: Vec<(usize, Delta)>) {
        let _publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Encoding is the larger part of the work, and readers need not wait for it.
        let mut encoded: Vec<Changes<'_>> = Vec::new();
        let mut appended: Vec<(usize, RecordBatch)> = Vec::new();
        for (view, delta) in changes.iter().filter(|(_, delta)| !delta.is_empty()) {
            match &self.codecs[*view] {
                Some(codec) => encoded.push(Changes::new(*view, codec, delta)),
                None => appended.push((*view, packed(&delta.rows))),
            }
        }
        let mut state = self.write();
        debug_assert!(
            epoch > state.epoch || state.epoch == 0,
            "epoch {epoch} was published after epoch {}",
            state.epoch
        );
        state.epoch = epoch;
        for (view, rows) in appended {
            if let Kept::Pile(pile) = &mut state.views[view] {
                pile.append(epoch, rows);
            }
        }
        let mut rows_ahead = vec![0; self.names.len()];
        for changes in &encoded {
            rows_ahead[changes.view] += changes.diffs.iter().sum::<Diff>();
        }
        for (view, rows) in rows_ahead.into_iter().enumerate() {
            if let Kept::Buckets(view) = &mut state.views[view] {
                view.grow(rows);
            }
        }
        let mut unsettled: Vec<(usize, u32)> = Vec::new();
        for changes in &encoded {
            let negative = state.changing(changes.view).apply(epoch, changes);
            unsettled.extend(negative.into_iter().map(|bucket| (changes.view, bucket)));
        }
        for (view, bucket) in unsettled {
            let faults = state.changing(view).settle(bucket);
            debug_assert_eq!(
                faults, 0,
                "epoch {epoch} retracts rows that `{}` does not have",
                self.names[view]
            );
            state.faults += faults;
        }
        for changes in &encoded {
            state.changing(changes.view).grow(0);
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
        self.read().views[view].changed()
    }

    /// Follows the epochs: the receiver sees each new one (or a later one, if it is slow).
    pub fn subscribe(&self) -> watch::Receiver<Epoch> {
        self.epochs.subscribe()
    }

    /// How many retractions of rows that were not there have been dropped since the start. Not zero
    /// means a defect in an operator.
    pub fn faults(&self) -> u64 {
        self.read().faults
    }

    /// Bytes of memory that the rows take.
    pub fn memory(&self) -> u64 {
        let memory = |view: &Kept| match view {
            Kept::Buckets(view) => view.memory(),
            Kept::Pile(pile) => pile.memory() as u64,
        };
        self.read().views.iter().map(memory).sum()
    }

    /// What the lake must rewrite of each view to have it as it is at [`Dirty::epoch`]; all views
    /// at the same epoch. All buckets count as clean afterwards.
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

    /// Tells the store, once the view's rows are loaded after a restart, what the lake has of it
    /// (placed under [`PLACEMENT`]). Buckets with the same rows are clean; the others are dirty,
    /// and their numbers are returned. `None` if the number of buckets cannot be (not a power of
    /// two, or too few for the rows): then all stay dirty, and the view will be rewritten.
    pub fn restored(&self, view: &str, lake: &LakeBuckets) -> Result<Option<Vec<u32>>, NoSuchView> {
        let number = self.view_number(view)?;
        Ok(match &mut self.write().views[number] {
            Kept::Buckets(view) => view.restored(lake),
            Kept::Pile(_) => None,
        })
    }

    fn take_dirty(&self, state: &mut State, number: usize) -> DirtyBuckets {
        let name = Arc::clone(&self.names[number]);
        match (&mut state.views[number], &self.codecs[number]) {
            (Kept::Buckets(view), Some(codec)) => DirtyBuckets {
                view: name,
                buckets_total: view.buckets_total(),
                buckets: view.take_dirty(codec),
            },
            // What only comes is in the lake already.
            _ => DirtyBuckets {
                view: name,
                buckets_total: 0,
                buckets: Vec::new(),
            },
        }
    }

    fn freeze(&self, state: &State, number: usize) -> FrozenView {
        let rows = match (&state.views[number], &self.codecs[number]) {
            (Kept::Buckets(view), Some(codec)) => Rows::Encoded(view.rows(codec)),
            (Kept::Pile(pile), _) => Rows::Pile(pile.clone()),
            (Kept::Buckets(_), None) => unreachable!("what is in buckets is encoded"),
        };
        FrozenView {
            name: Arc::clone(&self.names[number]),
            epoch: state.epoch,
            changed: state.views[number].changed(),
            rows,
        }
    }

    // A panic of the writer leaves an epoch half applied. That process ends; readers that still ask
    // before it does need not panic too.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

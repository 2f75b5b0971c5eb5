//! The keeper of the live store: the only one that changes it.
//!
//! It gathers the changes of views that workers send and publishes them when their epochs are
//! closed, all views at once. At an epoch that ends a commit it stops for a moment to take what
//! changed since the last one, so that the lake gets exactly that epoch.
//!
//! # Invariants
//! 1. The records of an epoch count against the intake's budget until readers see them: changes
//!    that wait here are bounded by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::actor::Actor;
use crate::delta::{Delta, Epoch};
use crate::host::Host;
use crate::reclock::Intake;
use crate::render::{CommitPart, ViewEvent};
use crate::serve::status::Status;
use crate::serve::store::{LakeBuckets, LiveStore};

/// See the module.
pub(super) struct Keeper {
    store: Arc<LiveStore>,
    status: Arc<Status>,
    intake: Arc<Intake>,
    host: Arc<dyn Host>,
    /// Where the views' part of a commit goes.
    commit_parts: crossbeam_channel::Sender<CommitPart>,
    /// The epoch that was restored, and what the lake has of each view.
    restored: Option<(Epoch, BTreeMap<String, LakeBuckets>)>,
    /// Changes of epochs that are not closed.
    changes: BTreeMap<Epoch, Vec<(usize, Delta)>>,
    /// Epochs that end a commit and are not closed.
    boundaries: BTreeSet<Epoch>,
    shown: Option<Epoch>,
}

impl Keeper {
    pub(super) fn new(
        store: Arc<LiveStore>,
        status: Arc<Status>,
        intake: Arc<Intake>,
        host: Arc<dyn Host>,
        commit_parts: crossbeam_channel::Sender<CommitPart>,
        restored: Option<(Epoch, BTreeMap<String, LakeBuckets>)>,
    ) -> Self {
        let boundaries = restored.iter().map(|(epoch, _)| *epoch).collect();
        Keeper {
            store,
            status,
            intake,
            host,
            commit_parts,
            restored,
            changes: BTreeMap::new(),
            boundaries,
            shown: None,
        }
    }

    fn publish(&mut self, until: Epoch) {
        let later = self.changes.split_off(&(until + 1));
        let ready = std::mem::replace(&mut self.changes, later);
        if self.shown.is_none_or(|shown| shown < until) {
            let changes = ready.into_values().flatten().collect();
            self.store.publish(until, changes);
            self.shown = Some(until);
        }
    }

    /// The store is exactly at the end of a commit, or at the restored epoch.
    fn boundary(&mut self, epoch: Epoch) {
        match self.restored.take_if(|(restored, _)| *restored == epoch) {
            Some((_, buckets)) => {
                for (view, lake) in &buckets {
                    let others = self.store.restored(view, lake).ok().flatten();
                    if let Some(others) = others.filter(|others| !others.is_empty()) {
                        tracing::warn!(
                            "{} of {} files of the view `{view}` in the lake held other rows than its tables give, \
                             and are rewritten by the next commit; please report it",
                            others.len(),
                            lake.total
                        );
                    }
                }
            }
            None => {
                let part = CommitPart::Views(epoch, self.store.dirty());
                // The committer is gone when the run failed.
                let _ = self.commit_parts.send(part);
            }
        }
    }
}

/// The views have all epochs up to `closed`: their records leave the budget, and their age is
/// noted.
pub(super) fn acknowledge(intake: &Intake, status: &Status, closed: Epoch, now_ms: u64) {
    intake.visible(closed, |records, age| {
        status.visible(records, age.as_micros() as u64, now_ms);
    });
}

impl Actor for Keeper {
    type Message = ViewEvent;

    async fn take(&mut self, event: ViewEvent) -> Option<()> {
        match event {
            ViewEvent::Changed(epoch, view, delta) => {
                self.changes.entry(epoch).or_default().push((view, delta));
            }
            ViewEvent::Boundary(epoch) => {
                self.boundaries.insert(epoch);
            }
            ViewEvent::Closed(closed) => {
                while let Some(end) = self.boundaries.first().copied().filter(|e| *e <= closed) {
                    self.boundaries.pop_first();
                    self.publish(end);
                    self.boundary(end);
                }
                self.publish(closed);
                let now_ms = self.host.now_ms() as u64;
                acknowledge(&self.intake, &self.status, closed, now_ms);
                self.status.closed(closed, now_ms);
            }
        }
        Some(())
    }
}

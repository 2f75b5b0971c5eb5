//! The thread that keeps the live store: the only one that changes it.
//!
//! It gathers the changes of views that workers send and publishes them when their epochs are closed, all views at once. At an epoch that ends a commit it
//! stops for a moment to take what changed since the last one, so that the lake gets exactly that epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::delta::{Delta, Epoch};
use crate::render::ViewEvent;
use crate::serve::store::LiveStore;

/// Keeps `store` until all senders of `events` are gone. `boundary` is called when the store is exactly at the end of a commit (first at
/// `restored`, if a lake was restored), `published` at each new epoch.
pub fn keep(
    store: &Arc<LiveStore>,
    events: &crossbeam_channel::Receiver<ViewEvent>,
    restored: Option<Epoch>,
    mut boundary: impl FnMut(Epoch),
    mut published: impl FnMut(Epoch),
) {
    let mut changes: BTreeMap<Epoch, Vec<(usize, Delta)>> = BTreeMap::new();
    let mut boundaries: BTreeSet<Epoch> = restored.into_iter().collect();
    let mut shown: Option<Epoch> = None;
    for event in events {
        match event {
            ViewEvent::Changed(epoch, view, delta) => {
                changes.entry(epoch).or_default().push((view, delta))
            }
            ViewEvent::Boundary(epoch) => {
                boundaries.insert(epoch);
            }
            ViewEvent::Closed(closed) => {
                let mut publish =
                    |until: Epoch, changes: &mut BTreeMap<Epoch, Vec<(usize, Delta)>>| {
                        let later = changes.split_off(&(until + 1));
                        let ready = std::mem::replace(changes, later);
                        if shown.is_none_or(|shown| shown < until) {
                            store.publish(until, ready.into_values().flatten().collect());
                            shown = Some(until);
                        }
                    };
                while let Some(end) = boundaries.first().copied().filter(|end| *end <= closed) {
                    boundaries.pop_first();
                    publish(end, &mut changes);
                    boundary(end);
                }
                publish(closed, &mut changes);
                published(closed);
            }
        }
    }
}

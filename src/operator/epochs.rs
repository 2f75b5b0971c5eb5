//! Operators that see one whole epoch at a time.
//!
//! Changes are stashed until the input frontier has passed their epoch, then handed over together;
//! epochs come in order. This is what lets state be updated in place and rows be processed in bulk.

use std::collections::BTreeMap;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use crate::delta::{Delta, Epoch};

/// The changes of epochs that are not complete yet.
pub struct Stash<D> {
    waiting: BTreeMap<Epoch, (Capability<Epoch>, Vec<D>)>,
}

impl<D> Default for Stash<D> {
    fn default() -> Self {
        Stash {
            waiting: BTreeMap::new(),
        }
    }
}

impl<D> Stash<D> {
    /// Keeps `data` until its epoch is complete.
    pub fn push(&mut self, capability: Capability<Epoch>, data: &mut Vec<D>) {
        let entry = self
            .waiting
            .entry(*capability.time())
            .or_insert_with(|| (capability, Vec::new()));
        entry.1.append(data);
    }

    /// The first epoch that is complete, given that epochs below `frontier` are (`None`: all are).
    pub fn next(&mut self, frontier: Option<Epoch>) -> Option<(Capability<Epoch>, Vec<D>)> {
        let (&first, _) = self.waiting.first_key_value()?;
        if frontier.is_some_and(|frontier| first >= frontier) {
            return None;
        }
        self.waiting.pop_first().map(|(_, entry)| entry)
    }

    /// The epochs that have any changes.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.waiting.keys().copied()
    }

    /// The changes of `epoch`, which must be complete; none if there are none.
    pub fn take(&mut self, epoch: Epoch) -> Vec<D> {
        self.waiting
            .remove(&epoch)
            .map(|(_, data)| data)
            .unwrap_or_default()
    }
}

/// Calls `logic` with all changes of an epoch, once for each epoch that has any, in order; what it
/// pushes is sent at that epoch.
pub fn unary_epochs<'scope, P, L>(
    stream: StreamVec<'scope, Epoch, Delta>,
    pact: P,
    name: &str,
    mut logic: L,
) -> StreamVec<'scope, Epoch, Delta>
where
    P: ParallelizationContract<Epoch, Vec<Delta>>,
    L: FnMut(Epoch, Vec<Delta>, &mut Vec<Delta>) + 'static,
{
    stream.unary_frontier(pact, name, move |_capability, _info| {
        let mut stash = Stash::default();
        let mut changes = Vec::new();
        move |(input, frontier), output| {
            input.for_each(|capability, data| {
                stash.push(capability.retain(output.output_index()), data);
            });
            let frontier = frontier.frontier().first().copied();
            while let Some((capability, deltas)) = stash.next(frontier) {
                logic(*capability.time(), deltas, &mut changes);
                if !changes.is_empty() {
                    output.session(&capability).give_container(&mut changes);
                    changes.clear();
                }
            }
        }
    })
}

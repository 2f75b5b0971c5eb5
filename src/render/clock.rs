//! Which epochs there are, and which of them end a commit.
//!
//! Worker 0 decides: an epoch is closed when its tick is over, or earlier when it is full; once in
//! a commit interval (and when the sources are at their end) the closed epoch ends a commit. The
//! decision travels through the dataflow at the very epoch it is about, so every operator that has
//! seen an epoch complete knows whether it ended a commit.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::core::probe::Handle as ProbeHandle;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::{Scope, StreamVec};

use super::messages::ViewEvent;
use crate::delta::Epoch;

/// The end of an epoch, as told to one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// The worker.
    pub worker: u64,
    /// What ended.
    pub closed: Closed,
}

/// An epoch that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The epoch.
    pub epoch: Epoch,
    /// Whether it ends a commit.
    pub commit: bool,
    /// Whether the run is to stop: nothing more is taken in, in any process.
    pub stop: bool,
}

/// What decides about epochs.
pub trait EpochClock: Send + Sync {
    /// The open epoch, if it is over. Asked by worker 0, often.
    fn decide(&self) -> Option<Closed>;

    /// This epoch is over: chunks claimed from now on belong to a later one. Called on every
    /// worker.
    fn over(&self, closed: Closed);

    /// The open epoch: the last one, when the sources are at their end.
    fn open(&self) -> Epoch;
}

/// Builds the clock; returns, on every worker, the epochs that end a commit, each at its own time.
pub fn clock<'scope>(
    scope: Scope<'scope, Epoch>,
    clock: Option<Arc<dyn EpochClock>>,
    sources: ProbeHandle<Epoch>,
    events: crossbeam_channel::Sender<ViewEvent>,
) -> StreamVec<'scope, Epoch, Epoch> {
    let peers = scope.peers() as u64;
    let leader = scope.index() == 0;
    let mut builder = OperatorBuilder::new("Clock".to_owned(), scope);
    let (output, ticks) = builder.new_output::<Vec<Tick>>();
    let mut output = OutputBuilder::from(output);
    let activator = scope.activator_for(builder.operator_info().address);
    let decider = clock.clone();
    builder.build(move |capabilities| {
        let mut capability = capabilities
            .into_iter()
            .next()
            .filter(|_| leader && decider.is_some());
        move |_frontiers| {
            let (Some(held), Some(clock)) = (capability.as_mut(), decider.as_ref()) else {
                return;
            };
            let mut close = |closed: Closed| {
                if closed.commit {
                    let _ = events.send(ViewEvent::Boundary(closed.epoch));
                }
                held.downgrade(&closed.epoch);
                let mut active = output.activate();
                let mut session = active.session(&*held);
                session.give_iterator((0..peers).map(|worker| Tick { worker, closed }));
            };
            if sources.done() {
                close(Closed {
                    epoch: clock.open(),
                    commit: true,
                    stop: false,
                });
                capability = None;
                return;
            }
            if let Some(closed) = clock.decide() {
                close(closed);
                held.downgrade(&(closed.epoch + 1));
                activator.activate();
            } else {
                activator.activate_after(Duration::from_millis(1));
            }
        }
    });
    ticks.unary(
        Exchange::new(|tick: &Tick| tick.worker),
        "Ticks",
        move |_capability, _info| {
            move |input, output| {
                input.for_each(|capability, ticks| {
                    for Tick { closed, .. } in ticks.drain(..) {
                        if let Some(clock) = &clock {
                            clock.over(closed);
                        }
                        if closed.commit {
                            output.session(&capability).give(closed.epoch);
                        }
                    }
                });
            }
        },
    )
}

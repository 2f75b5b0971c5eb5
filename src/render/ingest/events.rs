//! What the intakes of all processes tell worker 0: what they read, and why they stopped.
//!
//! # Invariants
//! 1. The event of a chunk has the chunk's epoch, so worker 0 has seen all events of an epoch when
//!    its frontier has passed it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use crate::delta::Epoch;
use crate::operator::route::{Routed, unroute};
use crate::reclock::Bound;

/// Something that happened at the intake of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum IntakeEvent {
    /// A chunk was read.
    Read(Intaken),
    /// A worker takes nothing in any more, although there may be more.
    Stopped {
        /// The worker.
        worker: usize,
        /// Why its source failed; `None` if the run was asked to stop.
        why: Option<String>,
    },
}

/// A chunk that was read, in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intaken {
    /// The stream: an index into the definition's streams.
    pub stream: usize,
    /// Records in the chunk.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them became dead letters.
    pub dead_letters: u64,
    /// Where the partition is to be read on; `None` for dead letters that are sent in again.
    pub bound: Option<Bound>,
}

impl IntakeEvent {
    pub(super) fn into_leaders(self) -> Routed<IntakeEvent> {
        Routed {
            worker: 0,
            data: self,
        }
    }
}

/// Called on worker 0 with each event and its epoch.
pub type Heard = Arc<dyn Fn(Epoch, &IntakeEvent) + Send + Sync>;

/// Tells `heard` of every event; hands on where partitions are to be read on. Only worker 0 has
/// any.
pub fn bounds<'scope>(
    events: StreamVec<'scope, Epoch, Routed<IntakeEvent>>,
    heard: Heard,
) -> StreamVec<'scope, Epoch, Bound> {
    unroute(events).unary(Pipeline, "Bounds", move |_capability, _info| {
        move |input, output| {
            input.for_each(|capability, events| {
                let epoch = *capability.time();
                let mut session = output.session(&capability);
                for event in events.drain(..) {
                    heard(epoch, &event);
                    if let IntakeEvent::Read(read) = event {
                        session.give_iterator(read.bound.into_iter());
                    }
                }
            });
        }
    })
}

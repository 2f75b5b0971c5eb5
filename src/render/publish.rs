//! Changes of views on their way out of the dataflow.

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::messages::ViewEvent;
use crate::delta::{Delta, Epoch};
use crate::operator::route::{Routed, unroute};

/// Sends the changes of view number `view` to `events`, on the workers of the process that serves.
pub fn publish<'scope>(
    stream: StreamVec<'scope, Epoch, Delta>,
    view: usize,
    serving_workers: usize,
    events: crossbeam_channel::Sender<ViewEvent>,
) -> StreamVec<'scope, Epoch, ()> {
    let scope = stream.scope();
    let stream = if scope.peers() > serving_workers {
        let worker = (scope.index() % serving_workers) as u64;
        let addressed = stream.unary(Pipeline, "Address", move |_capability, _info| {
            move |input, output| {
                input.for_each(|capability, deltas| {
                    output
                        .session(&capability)
                        .give_iterator(deltas.drain(..).map(|data| Routed { worker, data }));
                });
            }
        });
        unroute(addressed)
    } else {
        stream
    };
    stream.unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Pipeline,
        "Publish",
        move |_capability, _info| {
            move |input, _output| {
                input.for_each(|capability, deltas| {
                    for delta in deltas.drain(..) {
                        // The receiver is gone only when the run is ending.
                        let _ = events.send(ViewEvent::Changed(*capability.time(), view, delta));
                    }
                });
            }
        },
    )
}

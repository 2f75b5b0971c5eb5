//! From bytes to keyed rows: decode, clean, hash, route.
//!
//! One operator on every worker claims chunks and does all stateless work on them while they are in
//! the cache. A chunk of many records is worked on in pieces, between which the worker does its
//! other work. What cannot become a row becomes a dead letter, with its bytes and its place; its
//! neighbours go through.
//!
//! ```text
//! chunk --> StreamPipeline   decode once                          stream.rs
//!       --> TablePipeline    clean, keys, deletions, owners       table.rs, tombstone.rs
//!       --> rows by group of tables, dead letters, what happened  here, dead.rs, events.rs
//! ```

mod dead;
mod events;
mod stream;
mod table;
mod tombstone;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use self::stream::{Pieces, StreamPipeline};
use self::table::Place;
use super::messages::RestoredRows;
use crate::delta::{Delta, Epoch};
use crate::operator::keyed::KeyedRows;
use crate::operator::route::Routed;
use crate::plan::Plan;
use crate::reclock::{Bound, Claim, Feed};
use crate::source::position_key;

pub use dead::{About, dead_letter_schema, restored_letters};
pub(super) use events::bounds;
pub use events::{Heard, IntakeEvent, Intaken};

/// What the ingest operator hands on.
pub struct Ingested<'scope> {
    /// Rows by the group of tables they belong to, addressed to their owners.
    pub rows: Vec<StreamVec<'scope, Epoch, Routed<KeyedRows>>>,
    /// What could not become a row.
    pub dead: StreamVec<'scope, Epoch, Delta>,
    /// What happened, for worker 0.
    pub events: StreamVec<'scope, Epoch, Routed<IntakeEvent>>,
}

/// Everything the operator needs.
pub struct IngestConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The streams: name and declared columns, in the definition's order.
    pub streams: Vec<(String, SchemaRef)>,
    /// Where chunks come from.
    pub feed: Arc<dyn Feed>,
    /// The epoch of restored rows; chunks have later ones.
    pub start: Epoch,
    /// Rows that were committed by an earlier run: they are loaded before anything else. `None`
    /// when there are none.
    pub restored: Option<Receiver<RestoredRows>>,
    /// The time in microseconds since 1970, for dead letters.
    pub now_us: Arc<dyn Fn() -> i64 + Send + Sync>,
}

/// Builds the operator.
pub fn ingest<'scope>(scope: Scope<'scope, Epoch>, config: IngestConfig) -> Ingested<'scope> {
    let IngestConfig {
        plan,
        streams,
        feed,
        start,
        restored,
        now_us,
    } = config;
    let (worker, workers) = (scope.index(), scope.peers());
    let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
    let mut outputs = Vec::new();
    let mut rows = Vec::new();
    for _ in &plan.groups {
        let (output, stream) = builder.new_output::<Vec<Routed<KeyedRows>>>();
        outputs.push(OutputBuilder::from(output));
        rows.push(stream);
    }
    let (dead_output, dead) = builder.new_output::<Vec<Delta>>();
    let (events_output, events) = builder.new_output::<Vec<Routed<IntakeEvent>>>();
    let mut dead_output = OutputBuilder::from(dead_output);
    let mut events_output = OutputBuilder::from(events_output);
    let activator = scope.activator_for(builder.operator_info().address);

    let mut pipelines: Vec<StreamPipeline> = streams
        .iter()
        .enumerate()
        .map(|(stream, (name, schema))| StreamPipeline::new(stream, name, schema, &plan, workers))
        .collect();
    let groups = plan.groups.len();
    builder.build(move |mut capabilities| {
        for capability in &mut capabilities {
            capability.downgrade(&start);
        }
        let mut restored = restored;
        let mut begun: Option<Pieces> = None;
        move |_frontiers| {
            if capabilities.is_empty() {
                return;
            }
            if let Some(files) = &mut restored {
                let file = match files.try_recv() {
                    Ok(file) => file,
                    Err(TryRecvError::Empty) => {
                        activator.activate_after(Duration::from_millis(1));
                        return;
                    }
                    Err(TryRecvError::Disconnected) => {
                        restored = None;
                        activator.activate();
                        return;
                    }
                };
                let pipeline = pipelines
                    .iter()
                    .find(|pipeline| pipeline.tables.iter().any(|t| t.table == file.table));
                if let Some(table) =
                    pipeline.and_then(|p| p.tables.iter().find(|t| t.table == file.table))
                {
                    let mut output = outputs[table.group].activate();
                    let mut session = output.session(&capabilities[table.group]);
                    for batch in file.rows {
                        session.give_iterator(
                            table
                                .route(&batch, None, Place::restored(file.file))
                                .into_iter(),
                        );
                    }
                }
                activator.activate();
                return;
            }
            if begun.is_none() {
                match feed.claim() {
                    Claim::Chunk(epoch, chunk) => {
                        for capability in &mut capabilities {
                            capability.downgrade(&epoch);
                        }
                        begun = Some(Pieces::of(chunk));
                    }
                    Claim::Idle(epoch) => {
                        for capability in &mut capabilities {
                            capability.downgrade(&epoch);
                        }
                        activator.activate_after(Duration::from_millis(1));
                    }
                    Claim::End => capabilities.clear(),
                    Claim::Stopped(why) => {
                        let event = IntakeEvent::Stopped { worker, why };
                        events_output
                            .activate()
                            .session(&capabilities[groups + 1])
                            .give(event.into_leaders());
                        capabilities.clear();
                    }
                }
            }
            if let Some(pieces) = &mut begun {
                let pipeline = &mut pipelines[pieces.chunk.stream];
                let result = pipeline.run(&pieces.next(), &*now_us);
                pieces.dead += result.dead_count();
                for (group, routed) in result.rows {
                    let mut output = outputs[group].activate();
                    output
                        .session(&capabilities[group])
                        .give_iterator(routed.into_iter());
                }
                if let Some(dead) = result.dead {
                    dead_output
                        .activate()
                        .session(&capabilities[groups])
                        .give(dead);
                }
                if pieces.is_done()
                    && let Some(Pieces { chunk, dead, .. }) = begun.take()
                {
                    let event = IntakeEvent::Read(Intaken {
                        stream: chunk.stream,
                        records: chunk.records,
                        bytes: chunk.bytes.len() as u64,
                        dead_letters: dead,
                        bound: chunk.retry.is_none().then(|| Bound {
                            partition: position_key(&pipeline.name, &chunk.partition),
                            position: chunk.end,
                        }),
                    });
                    events_output
                        .activate()
                        .session(&capabilities[groups + 1])
                        .give(event.into_leaders());
                }
                activator.activate();
            }
        }
    });
    Ingested { rows, dead, events }
}

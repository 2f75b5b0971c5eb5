//! The plan as a running dataflow: which operators there are, and how they are connected.
//!
//! ```text
//!  ingest --rows--> keyed (one a group of tables) --deltas--> views --deltas--> publish
//!    |                 |--full rows, replaced keys--> stage --files--> gather (worker 0)
//!    |--dead letters-------------------------------->|                   ^
//!    |--where partitions are to be read on-------------------------------|
//!  clock (worker 0) --epochs that end a commit--> keyed, stage, gather
//! ```

pub mod buildable;
mod clock;
mod ingest;
mod messages;
mod publish;
mod stage;
pub mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use timely::dataflow::operators::core::probe::{Handle as ProbeHandle, Probe};
use timely::dataflow::operators::core::{Concat, Concatenate};
use timely::dataflow::{Scope, StreamVec};

pub use clock::{Closed, EpochClock, Tick};
pub use ingest::{
    About, Heard, IngestConfig, IntakeEvent, Intaken, dead_letter_schema, restored_letters,
};
pub use messages::{
    CommitPart, Finished, Gathered, RestoredRows, StageTask, StagedChange, StagerHandle, ViewEvent,
};

use crate::checkpoint::Came;
use crate::delta::{Delta, Epoch};
use crate::operator::fault::Faults;
use crate::operator::keyed::{FileId, KeyedCounters, KeyedGroup, TableShape, keyed};
use crate::operator::route::unroute;
use crate::plan::{NodeId, Op, Plan};

/// The name of the view of dead letters.
pub const DEAD_LETTERS: &str = "dead_letters";

/// Rows in a data file, about: enough for good compression, little enough that a worker's open
/// files stay small.
pub const FILE_ROWS_MAX: usize = 128 * 1024;

/// What a worker's part of the dataflow is built from.
pub struct WorkerConfig {
    /// Streams, cleaning and the source.
    pub ingest: IngestConfig,
    /// For each table the data files that it had at the start: when their records came.
    pub restored_files: Vec<Vec<Came>>,
    /// Faults of views.
    pub faults: Faults,
    /// Counters of the keyed state.
    pub counters: Arc<KeyedCounters>,
    /// The clock; without one nothing ends a commit.
    pub clock: Option<Arc<dyn EpochClock>>,
    /// Called on worker 0 with what happens at the intakes of all processes.
    pub heard: Heard,
    /// Where changes of views go: on workers of the process that serves.
    pub events: crossbeam_channel::Sender<ViewEvent>,
    /// The number of workers in the process that serves.
    pub serving_workers: usize,
    /// The way to the lake, if there is one.
    pub stager: Option<StagerHandle>,
    /// Called on worker 0 with everything a commit is made of.
    pub complete: Arc<dyn Fn(Gathered) + Send + Sync>,
}

/// What the worker's loop watches.
pub struct WorkerProbes {
    /// Passes an epoch when all views have it.
    pub views: ProbeHandle<Epoch>,
    /// Passes an epoch when everything, commits included, is done with it.
    pub all: ProbeHandle<Epoch>,
}

/// The materialised views and their columns, the dead letters last.
pub fn served_views(plan: &Plan) -> Vec<(String, SchemaRef, Vec<usize>)> {
    let mut views: Vec<_> = plan
        .views
        .iter()
        .map(|view| {
            (
                view.name.clone(),
                Arc::clone(&view.schema),
                view.key.clone(),
            )
        })
        .collect();
    let schema = dead_letter_schema();
    views.push((
        DEAD_LETTERS.to_owned(),
        Arc::clone(&schema),
        (0..schema.fields().len()).collect(),
    ));
    views
}

/// The state of a group of tables, and the nodes that read it, in the order of its deltas.
pub fn keyed_group(
    plan: &Plan,
    tables: &[usize],
    restored_files: &[Vec<Came>],
) -> Result<(KeyedGroup, Vec<NodeId>), ArrowError> {
    let shape = |&index: &usize| {
        let table = &plan.tables[index];
        let kept = table.kept.iter().copied();
        TableShape {
            table: index,
            schema: Arc::clone(&table.schema),
            key: table.key.clone(),
            kept: kept.filter(|column| !table.key.contains(column)).collect(),
            restored: restored_files[index].clone(),
        }
    };
    let shapes = tables.iter().map(shape).collect();
    let mut group = KeyedGroup::new(shapes, FILE_ROWS_MAX)?;
    let mut readers = Vec::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        if let Op::Keyed { members, presence } = &node.op
            && tables.contains(&members[0].table)
        {
            group.read(members, *presence, Arc::clone(&node.schema));
            readers.push(id);
        }
    }
    Ok((group, readers))
}

/// Builds a worker's part of the dataflow.
pub fn build<'scope>(
    scope: Scope<'scope, Epoch>,
    config: WorkerConfig,
) -> Result<WorkerProbes, ArrowError> {
    let WorkerConfig {
        ingest: ingest_config,
        restored_files,
        faults,
        counters,
        clock,
        heard,
        events,
        serving_workers,
        stager,
        complete,
    } = config;
    let plan = Arc::clone(&ingest_config.plan);
    let start = ingest_config.start;
    let views_probe = ProbeHandle::new();
    let all_probe = ProbeHandle::new();
    let sources_probe = ProbeHandle::new();

    let ingested = ingest::ingest(scope, ingest_config);
    let bounds = ingest::bounds(ingested.events, heard);
    // Where this is done, everything that happened at the intakes has been heard.
    bounds.clone().probe_with(&sources_probe);
    let boundaries = clock::clock(scope, clock, sources_probe, events.clone());

    let mut keyed_streams: BTreeMap<NodeId, StreamVec<'scope, Epoch, Delta>> = BTreeMap::new();
    let mut appended = Vec::new();
    let mut superseded = Vec::new();
    let mut dead = vec![ingested.dead];
    let restored_counts: Vec<FileId> = restored_files.iter().map(|f| f.len() as FileId).collect();
    for (tables, rows) in plan.groups.iter().zip(ingested.rows) {
        let (group, readers) = keyed_group(&plan, tables, &restored_files)?;
        let streams = keyed(
            unroute(rows),
            boundaries.clone(),
            group,
            readers.len(),
            restored_counts.clone(),
            Arc::clone(&counters),
        );
        keyed_streams.extend(readers.into_iter().zip(streams.readers));
        appended.push(streams.appended);
        superseded.push(unroute(streams.superseded));
        dead.push(streams.undecided);
    }

    let nodes = views::render(
        scope,
        &plan,
        |id| keyed_streams[&id].clone(),
        start,
        &faults,
        &counters.state_bytes,
    )?;
    let mut views: Vec<StreamVec<'scope, Epoch, Delta>> = plan
        .views
        .iter()
        .map(|view| nodes[view.node].clone())
        .collect();
    let dead = scope.concatenate(dead);
    views.push(dead.clone());
    for (view, stream) in views.into_iter().enumerate() {
        let published = publish::publish(stream, view, serving_workers, events.clone());
        published.clone().probe_with(&views_probe);
        published.probe_with(&all_probe);
    }
    // Views may read nothing of a table; the probes still wait for its rows.
    if let Some(stager) = stager {
        let (staged, marks) = stage::stage(
            appended,
            superseded,
            dead,
            boundaries.clone(),
            plan.tables.len(),
            stager,
        );
        let done = stage::gather(
            unroute(staged),
            bounds.concat(unroute(marks)),
            boundaries,
            complete,
        );
        done.probe_with(&all_probe);
    } else {
        bounds.probe_with(&all_probe);
    }
    Ok(WorkerProbes {
        views: views_probe,
        all: all_probe,
    })
}

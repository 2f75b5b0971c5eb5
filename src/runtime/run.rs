//! What to run and how, and the way to a run: from options to everything that a run is made of.
//!
//! Nothing is read from a source before the dataflow is understood, the lake is open and judged, and the source says where it will read on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::archive::open_archive;
use super::committer::Committed;
use super::outcome::Outcome;
use super::parts::{Parts, STAGER_QUEUE};
use super::planned::planned;
use super::restore::{Found, found};
use super::threads;
use crate::definition::{Definition, DefinitionError};
use crate::delta::Epoch;
use crate::host::{Host, Machine};
use crate::lake::{Lake, LakeError};
use crate::plan::Plan;
use crate::reclock::{Intake, IntakeLimits};
use crate::render::served_views;
use crate::serve::status::{RunDescription, Status};
use crate::serve::store::{LiveStore, ViewSpec};
use crate::sink::{Codec, Committer};
use crate::source::{Opening, Source, SourceError, SourceSpec};

/// The processes of a cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// This process.
    pub process: usize,
    /// Where each process listens for the others, `host:port`.
    pub addresses: Vec<String>,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The dataflow file.
    pub dataflow: PathBuf,
    /// The lake: a folder or `s3://bucket/prefix`.
    pub lake: String,
    /// Put before the names of tables in the lake.
    pub prefix: String,
    /// Where records come from.
    pub source: SourceSpec,
    /// Where every record is kept as it came: a folder or `s3://bucket/prefix`.
    pub archive: Option<String>,
    /// Whether to end when the source has nothing more.
    pub bounded: bool,
    /// Worker threads of this process.
    pub workers: usize,
    /// The other processes, if there are any.
    pub cluster: Option<Cluster>,
    /// How long an epoch stays open.
    pub tick: Duration,
    /// The time between commits.
    pub commit_every: Duration,
    /// How data files are compressed; `None` for what suits the lake.
    pub codec: Option<Codec>,
    /// How much is taken in at once.
    pub limits: IntakeLimits,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct RunSummary {
    /// The last epoch.
    pub epoch: Epoch,
    /// The last commit; its number is 0 if there was none.
    pub committed: Committed,
    /// From the start of the workers to the last commit.
    pub elapsed: Duration,
}

/// Why a run could not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The dataflow file is wrong.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The lake cannot be used.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Failed(String),
}

/// Runs until the source ends, `outcome` is asked to stop, or something fails. `attach` is given the live store and the status as soon as they
/// exist, before anything is read.
pub fn run(
    options: RunOptions,
    outcome: &Outcome,
    runtime: &tokio::runtime::Handle,
    attach: impl FnOnce(&Arc<LiveStore>, &Arc<Status>) -> Result<(), RunError>,
) -> Result<RunSummary, RunError> {
    let host: Arc<dyn Host> = Arc::new(Machine(runtime.clone()));
    let definition = Arc::new(Definition::load(&options.dataflow)?);
    let plan = Arc::new(planned(&definition)?);
    let served = served_views(&plan);
    let store = Arc::new(live_store(&served)?);
    let streams: Vec<String> = definition
        .streams
        .iter()
        .map(|stream| stream.name.clone())
        .collect();
    let (process, processes) = options
        .cluster
        .as_ref()
        .map_or((0, 1), |cluster| (cluster.process, cluster.addresses.len()));
    let description = RunDescription {
        source: options.source.describe(),
        lake: options.lake.clone(),
        workers: options.workers * processes,
    };
    let stream_names: Vec<&str> = streams.iter().map(String::as_str).collect();
    let status = Arc::new(Status::new(
        description,
        &stream_names,
        host.now_ms() as u64,
    ));
    attach(&store, &status)?;

    let run_id = host.now_ms() as u64 ^ u64::from(std::process::id()) << 40;
    let lake = Lake::open(&options.lake)?;
    let writer = writer(run_id);
    let opening = open_lake(&lake, writer, &definition, &plan, &options.prefix, outcome);
    let (committer, found) = runtime.block_on(opening)?;
    for path in found.left.iter().filter(|_| process == 0) {
        tracing::warn!(
            "{path} of the lake is in {} no more: it stays as it is and grows old",
            definition.file
        );
    }

    let opening = Opening {
        streams: streams.clone(),
        bounded: options.bounded,
        positions: found.positions.clone(),
        process,
        processes,
        budget_bytes: (options.limits.budget_bytes / 4) as usize,
    };
    let source: Box<dyn Source> = options.source.open(opening.clone(), runtime)?;
    let mine = |stream: &str, partition: &str| options.source.reads(&opening, stream, partition);
    let archive = options
        .archive
        .as_deref()
        .map(|location| open_archive(location, &opening, mine, runtime))
        .transpose()?;
    let intake = Intake::new(
        source,
        found.epoch + 1,
        options.limits,
        archive.clone(),
        Arc::clone(&host),
    );
    let intake = Arc::new(intake);
    let started = Instant::now();
    let cluster = options.cluster.clone();
    let parts = Parts {
        options,
        definition,
        plan,
        served,
        store: Arc::clone(&store),
        status,
        lake,
        found,
        intake,
        archive,
        run_id,
        stager_queue: Some(STAGER_QUEUE),
        outcome: outcome.clone(),
        host,
    };
    let assembled = runtime.block_on(parts.assemble(committer));
    let commits = assembled.commits.clone();
    threads::run(assembled, cluster.as_ref(), outcome, runtime);
    match outcome.failure() {
        Some(why) => Err(RunError::Failed(why)),
        None => Ok(RunSummary {
            epoch: store.epoch(),
            committed: commits.last(),
            elapsed: started.elapsed(),
        }),
    }
}

/// A live store for these views, empty.
pub(super) fn live_store(
    served: &[(String, SchemaRef, Vec<usize>)],
) -> Result<LiveStore, RunError> {
    let specs = served.iter().map(|(name, schema, key)| ViewSpec {
        name: name.clone(),
        schema: Arc::clone(schema),
        key: key.clone(),
    });
    LiveStore::new(specs.collect()).map_err(|error| RunError::Failed(error.to_string()))
}

/// What a run calls itself in the lake.
pub(super) fn writer(run_id: u64) -> String {
    format!("pinflow-{run_id:016x}")
}

/// Opens the lake for writing and judges what it holds. A lake that cannot be reached now is waited
/// for, as it is later on.
pub(super) async fn open_lake(
    lake: &Lake,
    writer: String,
    definition: &Definition,
    plan: &Plan,
    prefix: &str,
    outcome: &Outcome,
) -> Result<(Committer, Found), RunError> {
    let opening = outcome.retrying("open the lake", async || {
        Committer::open(lake.clone(), writer.clone()).await
    });
    let Some((committer, recovered)) = opening.await else {
        return Err(RunError::Failed(outcome.failure().unwrap_or_default()));
    };
    let found = found(recovered, definition, plan, prefix, &lake.location());
    Ok((committer, found.map_err(RunError::Failed)?))
}

//! What to run and how, and the way to a run: from options to everything that a run is made of.
//!
//! Nothing is read from a source before the dataflow is understood, the lake is open and judged, and the source says where it will read on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::archive::open_archive;
use super::committer::Committed;
use super::now_ms;
use super::outcome::Outcome;
use super::planned::planned;
use super::restore::found;
use super::threads::Parts;
use crate::definition::{Definition, DefinitionError};
use crate::delta::Epoch;
use crate::lake::{Lake, LakeError};
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
    let definition = Definition::load(&options.dataflow)?;
    let plan = Arc::new(planned(&definition)?);
    let served = served_views(&plan);
    let specs = served
        .iter()
        .map(|(name, schema, key)| ViewSpec {
            name: name.clone(),
            schema: Arc::clone(schema),
            key: key.clone(),
        })
        .collect();
    let store =
        Arc::new(LiveStore::new(specs).map_err(|error| RunError::Failed(error.to_string()))?);
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
    let status = Arc::new(Status::new(description, &stream_names, now_ms() as u64));
    attach(&store, &status)?;

    let run_id = now_ms() as u64 ^ u64::from(std::process::id()) << 40;
    let lake = Lake::open(&options.lake)?;
    let writer = format!("pinflow-{run_id:016x}");
    // A lake that cannot be reached now is waited for, as it is later on.
    let opening = outcome.retrying("open the lake", async || {
        Committer::open(lake.clone(), writer.clone()).await
    });
    let Some((committer, recovered)) = runtime.block_on(opening) else {
        let why = outcome.failure().unwrap_or_default();
        return Err(RunError::Failed(why));
    };
    let found = found(
        recovered,
        &definition,
        &plan,
        &options.prefix,
        &lake.location(),
    )
    .map_err(RunError::Failed)?;
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
    let intake = Intake::new(source, found.epoch + 1, options.limits, archive.clone());
    let intake = Arc::new(intake);
    let parts = Parts {
        options,
        definition,
        plan,
        served,
        store,
        status,
        lake,
        found,
        intake,
        archive,
        run_id,
        outcome: outcome.clone(),
        runtime: runtime.clone(),
    };
    parts.run(committer)
}

//! What to run and how, and the way to a run: from options to everything that a run is made of.
//!
//! Nothing is read from a source before the dataflow is understood, the lake is open and judged,
//! and the source says where it will read on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use crossbeam_channel::RecvTimeoutError;

use super::archive::{open_archive, settle_archive};
use super::committer::Committed;
use super::origin;
use super::outcome::Outcome;
use super::parts::{Parts, STAGER_QUEUE};
use super::planned::planned;
use super::restore::{Found, found};
use super::retry::{self, Selection};
use super::stager::FileNumbers;
use super::threads;
use crate::archive::Archive;
use crate::definition::{Definition, DefinitionError};
use crate::delta::Epoch;
use crate::host::{Host, Machine};
use crate::lake::{Lake, LakeError};
use crate::plan::Plan;
use crate::reclock::{Intake, IntakeLimits};
use crate::render::{DEAD_LETTERS, served_views};
use crate::serve::status::{Complaint, RestoredLake, RunDescription, Status, UnreadSample};
use crate::serve::store::{LiveStore, ViewSpec};
use crate::sink::{Codec, Committer};
use crate::source::{
    OnBadFile, Opening, Position, Source, SourceError, SourceSpec, Unread, unread,
};

/// How often it is looked whether the run was asked to stop, while something is opened.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What is tried again for this long is a trouble that health tells of.
const TROUBLE_AFTER: Duration = Duration::from_secs(1);

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
    /// Whether the lake's positions are of this source, although they name another one.
    pub source_moved: bool,
    /// The dead letters to send in again, instead of reading the source.
    pub retry: Option<RetryOptions>,
    /// What to do about a file that cannot be read on.
    pub on_bad_file: OnBadFile,
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

/// Which dead letters are sent in again, and over which rows.
#[derive(Clone, Debug, Default)]
pub struct RetryOptions {
    /// Which ones.
    pub selection: Selection,
    /// Whether statements of tables may differ from those that made the lake's rows, because they
    /// give the same rows of the same records.
    pub same_rows: bool,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct RunSummary {
    /// What the lake held at the start; `None` if it was new.
    pub restored: Option<RestoredLake>,
    /// Whether the run was asked to stop before it had anything to finish.
    pub abandoned: bool,
    /// The last epoch.
    pub epoch: Epoch,
    /// The last commit; its number is 0 if there was none.
    pub committed: Committed,
    /// Dead letters that were sent in again.
    pub retried: u64,
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

/// A run that was asked to stop before it had read anything has nothing to do but end.
fn abandoned(restored: Option<RestoredLake>) -> RunSummary {
    RunSummary {
        restored,
        abandoned: true,
        ..RunSummary::default()
    }
}

/// Runs until the source ends, `outcome` is asked to stop, or something fails. `attach` is given
/// the live store and the status as soon as they exist, before anything is read.
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
        commit_every_ms: options.commit_every.as_millis() as u64,
    };
    let stream_names: Vec<&str> = streams.iter().map(String::as_str).collect();
    let status = Arc::new(Status::new(
        description,
        &stream_names,
        host.now_ms() as u64,
    ));
    watch(&status, outcome, &store);
    attach(&store, &status)?;

    let run_id = host.now_ms() as u64 ^ u64::from(std::process::id()) << 40;
    let lake = Lake::open(&options.lake)?;
    let writer = writer(run_id);
    let opening = open_lake(&lake, writer, &definition, &plan, &options, outcome);
    let Some((mut committer, mut found)) = runtime.block_on(opening)? else {
        return Ok(abandoned(None));
    };
    for path in found.left.iter().filter(|_| process == 0) {
        tracing::warn!(
            "{path} of the lake is in {} no more: it stays as it is and grows old",
            definition.file
        );
    }

    let restored = (committer.number() > 0).then(|| RestoredLake {
        checkpoint: committer.number(),
        rows: found.tables.iter().flatten().map(|file| file.rows).sum(),
    });
    if let Some(restored) = restored {
        status.set_restored(restored);
    }

    let opening = Opening {
        unread: Unread::of(&streams),
        troubles: outcome.noting(),
        on_bad_file: options.on_bad_file,
        streams: streams.clone(),
        bounded: options.bounded,
        positions: found.positions.clone(),
        process,
        processes,
        budget_bytes: (options.limits.budget_bytes / 4) as usize,
    };
    let unread = opening.unread.clone();
    status.set_unread(move || unread.list().into_iter().map(unread_sample).collect());
    let mut retried = None;
    let (asked, handle, place) = (options.clone(), runtime.clone(), lake.location());
    let opened = if let Some(retry) = &options.retry {
        let numbers = FileNumbers::new(run_id, u64::MAX - 1);
        let selection = &retry.selection;
        let letters = retry::retried(
            &lake,
            &mut found,
            selection,
            &streams,
            numbers,
            host.now_ms(),
        );
        let Some((letters, source)) = runtime.block_on(letters)? else {
            return Ok(abandoned(restored));
        };
        retried = Some(letters);
        let source: Box<dyn Source> = Box::new(source);
        Some(Ok((source, None, found.positions.clone())))
    } else {
        unless_stopped(outcome, move || {
            open_source(&asked, opening, &place, &handle)
        })
    };
    let Some(opened) = opened else {
        return Ok(abandoned(restored));
    };
    let (source, archive, positions) = opened?;
    found.positions = positions;
    let mut fence = 0;
    let archive = match archive {
        Some(mut archive) => {
            let now_ms = host.now_ms();
            let settling = settle_archive(&mut archive, &mut committer, outcome, now_ms);
            let Some(put) = runtime.block_on(settling)? else {
                return Ok(abandoned(restored));
            };
            fence = put;
            Some(Arc::new(Mutex::new(archive)))
        }
        None => None,
    };
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
    let letters = retried.as_ref().map_or(0, |retried| retried.letters);
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
        fence,
        retried,
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
            restored,
            abandoned: outcome.is_abandoned(),
            epoch: store.epoch(),
            committed: commits.last(),
            retried: letters,
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
        appended: name == DEAD_LETTERS,
    });
    LiveStore::new(specs.collect()).map_err(|error| RunError::Failed(error.to_string()))
}

/// What a run calls itself in the lake.
pub(super) fn writer(run_id: u64) -> String {
    format!("pinflow-{run_id:016x}")
}

/// Opens the lake for writing and judges what it holds. A lake that cannot be reached now is waited
/// for, as it is later on; `None` if the run was asked to stop meanwhile.
pub(super) async fn open_lake(
    lake: &Lake,
    writer: String,
    definition: &Definition,
    plan: &Plan,
    options: &RunOptions,
    outcome: &Outcome,
) -> Result<Option<(Committer, Found)>, RunError> {
    let opening = outcome.retrying_until_stopped("open the lake", async || {
        Committer::open(lake.clone(), writer.clone()).await
    });
    let Some((committer, recovered)) = opening.await else {
        let failure = outcome.failure().map(RunError::Failed);
        return failure.map_or(Ok(None), Err);
    };
    let found = found(
        recovered,
        definition,
        plan,
        &options.prefix,
        &lake.location(),
        options.retry.as_ref().is_some_and(|retry| retry.same_rows),
    );
    Ok(Some((committer, found.map_err(RunError::Failed)?)))
}

/// What is read from, what every record is kept in, and the positions with the name of the source.
type Opened = (Box<dyn Source>, Option<Archive>, BTreeMap<String, Position>);

/// Opens what is read from, and what every record is kept in, unless the positions are of another
/// source.
fn open_source(
    options: &RunOptions,
    opening: Opening,
    lake: &str,
    runtime: &tokio::runtime::Handle,
) -> Result<Opened, RunError> {
    let source = options.source.open(opening.clone(), runtime)?;
    let mut positions = opening.positions.clone();
    let identity = source.identity();
    origin::claim(&mut positions, identity, options.source_moved, lake)
        .map_err(RunError::Failed)?;
    let mine = |stream: &str, partition: &str| options.source.reads(&opening, stream, partition);
    let location = options.archive.as_deref();
    let archive = location.map(|location| open_archive(location, &opening, mine, runtime));
    Ok((source, archive.transpose()?, positions))
}

/// Does what may take long on a thread of its own, so that it is not waited for once the run was
/// asked to stop: `None` then.
fn unless_stopped<T: Send + 'static>(
    outcome: &Outcome,
    opening: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, opened) = crossbeam_channel::bounded(1);
    let watched = outcome.clone();
    std::thread::spawn(move || {
        let _watch = watched.watch_thread();
        let _ = done.send(opening());
    });
    loop {
        match opened.recv_timeout(LOOK_EVERY) {
            Ok(opened) => return Some(opened),
            Err(RecvTimeoutError::Timeout) if !outcome.is_stopping() => {}
            Err(_) => return None,
        }
    }
}

/// Lets the status ask those who know what is wrong.
fn watch(status: &Status, outcome: &Outcome, store: &Arc<LiveStore>) {
    let (outcome, store) = (outcome.clone(), Arc::clone(store));
    status.check(move || complaint(&outcome));
    status.check(move || {
        let faults = store.faults();
        (faults > 0).then(|| {
            Complaint::Ailing(format!(
                "views lost {faults} rows that they did not have, so they may be wrong until a restart: please report it"
            ))
        })
    });
}

/// What the outcome of a run has to complain about.
fn complaint(outcome: &Outcome) -> Option<Complaint> {
    if let Some(why) = outcome.failure() {
        return Some(Complaint::Ailing(format!("it is ending: {why}")));
    }
    let trouble = outcome.troubles().into_iter().next();
    if let Some(trouble) = trouble.filter(|trouble| trouble.lasts >= TROUBLE_AFTER) {
        return Some(Complaint::Ailing(format!(
            "could not {} for {} s, and goes on trying: {}",
            trouble.what,
            trouble.lasts.as_secs(),
            trouble.error
        )));
    }
    outcome.is_stopping().then_some(Complaint::Stopping)
}

/// Something that is not read, as the status shows it.
fn unread_sample(place: unread::Place) -> UnreadSample {
    UnreadSample {
        why: place.to_string(),
        place: place.place,
        count: place.count,
    }
}

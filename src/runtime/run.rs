//! Starts everything, waits, and ends well.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use timely::communication::Config as CommunicationConfig;
use timely::{Config, WorkerConfig as TimelyWorkerConfig};

use super::committer::{CommitPart, Committed, CommitterConfig, Target, commit_all};
use super::keeper::keep;
use super::outcome::Outcome;
use super::restore::{Found, fingerprints, found};
use super::stager::{FileNumbers, StagedTable, StagerConfig, start as start_stager};
use crate::archive::{Archive, ArchiveOptions};
use crate::definition::{Definition, DefinitionError};
use crate::delta::{Delta, Epoch};
use crate::lake::{Lake, LakeError, paths};
use crate::operator::fault::Faults;
use crate::operator::keyed::KeyedCounters;
use crate::plan::{Plan, lower};
use crate::reclock::{Intake, IntakeLimits, SharedArchive};
use crate::render::{
    ClockConfig, DEAD_LETTERS, Gathered, IngestConfig, Restored, ViewEvent, WorkerConfig, build,
    dead_letter_schema, served_views,
};
use crate::serve::status::{Commit, Health, LagSample, RunDescription, Status};
use crate::serve::store::{LiveStore, ViewSpec};
use crate::sink::{Codec, Committer, ParquetOptions};
use crate::source::{Opening, Source, SourceError, SourceSpec, Storage};

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

/// How often it is asked how far behind the source is.
const LAG_EVERY: Duration = Duration::from_secs(1);

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
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
    let plan = Arc::new(lower(&definition)?);
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
    let mut found = found(
        recovered,
        &definition,
        &plan,
        &options.prefix,
        &lake.location(),
    )
    .map_err(RunError::Failed)?;

    let opening = Opening {
        streams: streams.clone(),
        bounded: options.bounded,
        positions: found.positions.clone(),
        process,
        processes,
        budget_bytes: (options.limits.budget_bytes / 4) as usize,
    };
    let source: Box<dyn Source> = options.source.open(opening, runtime)?;
    let archive = options
        .archive
        .as_deref()
        .map(|location| open_archive(location, &streams, &found, processes, runtime))
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
        found: std::mem::take(&mut found),
        intake,
        archive,
        run_id,
    };
    parts.run(committer, outcome, runtime)
}

/// Everything a run is made of, once it may start.
struct Parts {
    options: RunOptions,
    definition: Definition,
    plan: Arc<Plan>,
    served: Vec<(String, arrow::datatypes::SchemaRef, Vec<usize>)>,
    store: Arc<LiveStore>,
    status: Arc<Status>,
    lake: Lake,
    found: Found,
    intake: Arc<Intake>,
    archive: Option<SharedArchive>,
    run_id: u64,
}

/// Opens the archive as it was at the lake's checkpoint.
fn open_archive(
    location: &str,
    streams: &[String],
    found: &Found,
    processes: usize,
    runtime: &tokio::runtime::Handle,
) -> Result<SharedArchive, RunError> {
    if processes > 1 {
        let why =
            "--archive is for one process; archive in a `run` of its own, or launch without it";
        return Err(RunError::Failed(why.to_owned()));
    }
    let storage = Storage::at(location)?;
    let (name, streams) = (location.to_owned(), streams.to_vec());
    let options = ArchiveOptions::default();
    let mut archive = Archive::open(storage, name, streams, runtime.clone(), options);
    runtime
        .block_on(archive.recover(&found.positions))
        .map_err(|error| RunError::Failed(error.to_string()))?;
    Ok(Arc::new(Mutex::new(archive)))
}

impl Parts {
    fn run(
        self,
        committer: Committer,
        outcome: &Outcome,
        runtime: &tokio::runtime::Handle,
    ) -> Result<RunSummary, RunError> {
        let started = Instant::now();
        let mut parquet = ParquetOptions::for_lake(&self.lake);
        parquet.codec = self.options.codec.unwrap_or(parquet.codec);
        let (events, event_inbox) = crossbeam_channel::unbounded();
        let (commit_parts, commit_inbox) = crossbeam_channel::unbounded();
        let committed_epoch = Arc::new(AtomicU64::new(self.found.epoch));
        let last_commit: Arc<Mutex<Committed>> = Arc::default();
        let tables = Arc::new(self.staged_tables());

        let committing = {
            let (committed_epoch, last, status) = (
                Arc::clone(&committed_epoch),
                Arc::clone(&last_commit),
                Arc::clone(&self.status),
            );
            let config = CommitterConfig {
                committer,
                tables: tables
                    .iter()
                    .map(|t| Target {
                        path: t.path.clone(),
                        schema: Arc::clone(&t.schema),
                    })
                    .collect(),
                views: self.view_targets(),
                found: self.found.clone(),
                archive: self.archive.clone(),
                definition: fingerprints(&self.definition),
                options: parquet.clone(),
                numbers: FileNumbers::new(self.run_id, u64::MAX),
                now_ms: Arc::new(now_ms),
                outcome: outcome.clone(),
                committed: Arc::new(move |committed| {
                    committed_epoch.store(committed.epoch, Ordering::SeqCst);
                    status.committed(Commit {
                        number: committed.number,
                        epoch: committed.epoch,
                        when_ms: now_ms() as u64,
                        duration_ms: committed.duration_ms,
                        files: committed.files,
                        bytes: committed.bytes,
                    });
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = committed.clone();
                }),
            };
            let runtime = runtime.clone();
            thread("committer", move || {
                commit_all(config, &commit_inbox, &runtime)
            })
        };
        let keeping = self.start_keeper(event_inbox, commit_parts.clone(), outcome, runtime);

        let worker_error = self.run_workers(
            outcome,
            runtime,
            &tables,
            parquet,
            events,
            commit_parts,
            &committed_epoch,
        );
        for handle in [keeping, committing] {
            if handle.join().is_err() {
                outcome.fail(
                    "a thread of pinflow panicked; the message above says where: please report it",
                );
            }
        }
        if let Err(error) = worker_error {
            outcome.fail(error);
        }
        if let Some(why) = self.intake.failure() {
            outcome.fail(why);
        }
        if let Some(why) = outcome.failure() {
            return Err(RunError::Failed(why));
        }
        let committed = last_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok(RunSummary {
            epoch: self.store.epoch(),
            committed,
            elapsed: started.elapsed(),
        })
    }

    fn staged_tables(&self) -> Vec<StagedTable> {
        let tables = self
            .plan
            .tables
            .iter()
            .zip(&self.found.tables)
            .map(|(table, files)| StagedTable {
                path: paths::table(&self.options.prefix, &table.name),
                schema: Arc::clone(&table.schema),
                key: table.key.clone(),
                restored: files.clone(),
            });
        let dead = StagedTable {
            path: paths::DEAD_LETTERS.to_owned(),
            schema: dead_letter_schema(),
            key: Vec::new(),
            restored: Vec::new(),
        };
        tables.chain([dead]).collect()
    }

    fn view_targets(&self) -> Vec<Target> {
        self.plan
            .views
            .iter()
            .map(|view| Target {
                path: paths::view(&view.name),
                schema: Arc::clone(&self.plan.nodes[view.node].schema),
            })
            .collect()
    }

    /// Starts the keeper; once the restored epoch is visible it tells the store which buckets the lake has.
    fn start_keeper(
        &self,
        events: crossbeam_channel::Receiver<ViewEvent>,
        commit_parts: crossbeam_channel::Sender<CommitPart>,
        outcome: &Outcome,
        runtime: &tokio::runtime::Handle,
    ) -> std::thread::JoinHandle<()> {
        let (store, status) = (Arc::clone(&self.store), Arc::clone(&self.status));
        let restored_epoch = self.found.epoch;
        let buckets: BTreeMap<String, u32> = self
            .plan
            .views
            .iter()
            .zip(&self.found.views)
            .filter(|(_, files)| files.total > 0)
            .map(|(view, files)| (view.name.clone(), files.total))
            .collect();
        let letters: Vec<Delta> = self
            .found
            .dead_letters
            .iter()
            .filter_map(|file| {
                let (lake, path) = (&self.lake, &file.path);
                runtime.block_on(outcome.retrying("read dead letters back", async || {
                    lake.read_file(paths::DEAD_LETTERS, path, None).await
                }))
            })
            .flatten()
            .map(|rows| Delta::insert(canonical_letters(&rows)))
            .collect();
        let letters_view = self
            .served
            .iter()
            .position(|(name, _, _)| name == DEAD_LETTERS)
            .unwrap_or_default();
        thread("keeper", move || {
            let restored = (restored_epoch > 0).then_some(restored_epoch);
            if let Some(epoch) = restored.filter(|_| !letters.is_empty()) {
                // They come before the first epoch of this run, as the tables' rows do.
                store.publish(
                    epoch.saturating_sub(1),
                    letters
                        .into_iter()
                        .map(|delta| (letters_view, delta))
                        .collect(),
                );
            }
            keep(
                &store,
                &events,
                restored,
                |epoch| {
                    if Some(epoch) == restored {
                        for (view, total) in &buckets {
                            let _ = store.restored(view, *total);
                        }
                    } else {
                        let _ = commit_parts.send(CommitPart::Views(epoch, store.dirty()));
                    }
                },
                |epoch| {
                    status.closed(epoch, now_ms() as u64);
                    status.set_health(Health::Healthy);
                },
            );
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn run_workers(
        &self,
        outcome: &Outcome,
        runtime: &tokio::runtime::Handle,
        tables: &Arc<Vec<StagedTable>>,
        parquet: ParquetOptions,
        events: crossbeam_channel::Sender<ViewEvent>,
        commit_parts: crossbeam_channel::Sender<CommitPart>,
        committed_epoch: &Arc<AtomicU64>,
    ) -> Result<(), String> {
        let workers = self.options.workers;
        let process = self
            .options
            .cluster
            .as_ref()
            .map_or(0, |cluster| cluster.process);
        let communication = match &self.options.cluster {
            Some(cluster) => CommunicationConfig::Cluster {
                threads: workers,
                process: cluster.process,
                addresses: cluster.addresses.clone(),
                report: false,
                zerocopy: false,
            },
            None if workers == 1 => CommunicationConfig::Thread,
            None => CommunicationConfig::Process(workers),
        };
        let shared = Arc::new(WorkerShared {
            plan: Arc::clone(&self.plan),
            streams: self
                .definition
                .streams
                .iter()
                .map(|stream| (stream.name.clone(), Arc::clone(&stream.schema)))
                .collect(),
            intake: Arc::clone(&self.intake),
            status: Arc::clone(&self.status),
            lake: self.lake.clone(),
            tables: Arc::clone(tables),
            start: self.found.epoch,
            parquet,
            events: Mutex::new(Some(events)),
            commit_parts: Mutex::new(Some(commit_parts)),
            outcome: outcome.clone(),
            runtime: runtime.clone(),
            faults: Faults::default(),
            counters: Arc::default(),
            clock: Clock {
                tick: self.options.tick,
                commit_every: self.options.commit_every,
                intake: Arc::clone(&self.intake),
                status: Arc::clone(&self.status),
                committed: Arc::clone(committed_epoch),
                state: Mutex::new(ClockState {
                    tick_started: Instant::now(),
                    commit_started: Instant::now(),
                    pending: None,
                    changed: false,
                }),
            },
            run_id: self.run_id.wrapping_add(process as u64),
            process,
            workers,
        });
        let config = Config {
            communication,
            worker: TimelyWorkerConfig::default(),
        };
        let in_worker = Arc::clone(&shared);
        let guards = timely::execute(config, move |worker| in_worker.work(worker))?;
        let mut failed = None;
        for result in guards.join() {
            if let Err(error) | Ok(Err(error)) = result {
                failed.get_or_insert(error);
            }
        }
        // The last senders go, so that the keeper and the committer see the end.
        drop(shared);
        failed.map_or(Ok(()), Err)
    }
}

/// Batches of dead letters as the live view has them.
fn canonical_letters(rows: &arrow::array::RecordBatch) -> arrow::array::RecordBatch {
    let schema = dead_letter_schema();
    let columns = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| {
            arrow::compute::cast(column, field.data_type()).unwrap_or_else(|_| Arc::clone(column))
        })
        .collect();
    arrow::array::RecordBatch::try_new(schema, columns).unwrap_or_else(|_| rows.clone())
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system can start a thread")
}

/// When epochs and commits end.
struct Clock {
    tick: Duration,
    commit_every: Duration,
    intake: Arc<Intake>,
    status: Arc<Status>,
    committed: Arc<AtomicU64>,
    state: Mutex<ClockState>,
}

struct ClockState {
    tick_started: Instant,
    commit_started: Instant,
    /// The commit that is under way.
    pending: Option<Epoch>,
    /// Whether anything was taken in since the last commit began.
    changed: bool,
}

impl Clock {
    /// Whether the open epoch is over, and if so whether it ends a commit.
    fn decide(&self) -> Option<(Epoch, bool)> {
        let (epoch, full, bytes) = self.intake.open();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = now.duration_since(state.tick_started) >= self.tick;
        if !(due || full) {
            return None;
        }
        state.tick_started = now;
        state.changed |= bytes > 0;
        if state
            .pending
            .is_some_and(|pending| self.committed.load(Ordering::SeqCst) >= pending)
        {
            state.pending = None;
        }
        let commit = state.changed
            && state.pending.is_none()
            && now.duration_since(state.commit_started) >= self.commit_every;
        if commit {
            state.commit_started = now;
            state.pending = Some(epoch);
            state.changed = false;
        }
        self.status.opened(epoch + 1);
        // Chunks that are claimed from here on belong to the next epoch, in this process; the others hear of it through the dataflow.
        self.intake.advance_to(epoch + 1);
        Some((epoch, commit))
    }
}

/// What the workers of a process share.
struct WorkerShared {
    plan: Arc<Plan>,
    streams: Vec<(String, arrow::datatypes::SchemaRef)>,
    intake: Arc<Intake>,
    status: Arc<Status>,
    lake: Lake,
    tables: Arc<Vec<StagedTable>>,
    start: Epoch,
    parquet: ParquetOptions,
    events: Mutex<Option<crossbeam_channel::Sender<ViewEvent>>>,
    commit_parts: Mutex<Option<crossbeam_channel::Sender<CommitPart>>>,
    outcome: Outcome,
    runtime: tokio::runtime::Handle,
    faults: Faults,
    counters: Arc<KeyedCounters>,
    clock: Clock,
    run_id: u64,
    process: usize,
    workers: usize,
}

fn take_sender<T>(
    slot: &Mutex<Option<crossbeam_channel::Sender<T>>>,
) -> crossbeam_channel::Sender<T> {
    slot.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
        .expect("senders are dropped after the workers only")
}

impl WorkerShared {
    fn work(self: &Arc<Self>, worker: &mut timely::worker::Worker) -> Result<(), String> {
        let index = worker.index();
        let events = take_sender(&self.events);
        let config = self.worker_config(index, worker.peers(), events.clone());
        let probes = worker
            .dataflow::<Epoch, _, _>(|scope| build(scope, config))
            .map_err(|error| format!("the dataflow cannot be built: {error}"))?;
        // One worker of the serving process tells the keeper how far all of them are.
        let tells = self.process == 0 && index == 0;
        let mut told: Option<Epoch> = None;
        let finished = AtomicBool::new(false);
        let mut looked = Instant::now();
        while !probes.all.done() {
            worker.step_or_park(Some(Duration::from_millis(1)));
            if tells && looked.elapsed() >= LAG_EVERY {
                looked = Instant::now();
                self.tell_lags();
            }
            if self.outcome.is_stopping() && !finished.swap(true, Ordering::Relaxed) {
                self.intake.stop();
            }
            if self.outcome.failure().is_some() {
                // Nothing that is under way can be finished: the dataflow goes as it is.
                for dataflow in worker.installed_dataflows() {
                    worker.drop_dataflow(dataflow);
                }
                return Ok(());
            }
            let frontier = probes
                .views
                .with_frontier(|frontier| frontier.first().copied());
            let closed = match frontier {
                Some(0) => continue,
                Some(frontier) => frontier - 1,
                None => self.intake.open().0,
            };
            if told.is_none_or(|told| told < closed) {
                told = Some(closed);
                self.intake.visible(closed, |records, since| {
                    self.status.visible(
                        records,
                        since.elapsed().as_micros() as u64,
                        now_ms() as u64,
                    );
                });
                if tells {
                    self.status
                        .set_state_bytes(self.counters.state_bytes.load(Ordering::Relaxed));
                    let _ = events.send(ViewEvent::Closed(closed));
                }
            }
        }
        if tells {
            let _ = events.send(ViewEvent::Closed(self.intake.open().0));
        }
        Ok(())
    }

    fn tell_lags(&self) {
        let lags = self.intake.lag().into_iter().map(|lag| LagSample {
            stream: self.streams[lag.stream].0.clone(),
            partition: lag.partition,
            records: lag.records,
            bytes: lag.bytes,
            seconds: lag.seconds,
        });
        self.status.set_lags(lags.collect());
    }

    fn worker_config(
        self: &Arc<Self>,
        index: usize,
        peers: usize,
        events: crossbeam_channel::Sender<ViewEvent>,
    ) -> WorkerConfig {
        let stager = start_stager(
            StagerConfig {
                lake: self.lake.clone(),
                tables: Arc::clone(&self.tables),
                options: self.parquet.clone(),
                numbers: FileNumbers::new(self.run_id, index as u64),
                now_ms: Arc::new(now_ms),
                outcome: self.outcome.clone(),
            },
            &self.runtime,
        );
        let commit_parts = take_sender(&self.commit_parts);
        let (clock, advance, open) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let status = Arc::clone(&self.status);
        WorkerConfig {
            ingest: IngestConfig {
                plan: Arc::clone(&self.plan),
                streams: self.streams.clone(),
                feed: Arc::clone(&self.intake) as _,
                start: self.start,
                restored: self.restored(index, peers),
                now_us: Arc::new(|| now_ms() * 1000),
                counted: Arc::new(move |stream, records, bytes, dead| {
                    status.read(stream, records, bytes);
                    status.dead(stream, dead);
                }),
            },
            restored_files: self.tables[..self.plan.tables.len()]
                .iter()
                .map(|table| table.restored.len() as u32)
                .collect(),
            faults: self.faults.clone(),
            counters: Arc::clone(&self.counters),
            clock: Some(ClockConfig {
                decide: Arc::new(move || clock.clock.decide()),
                advance: Arc::new(move |epoch| advance.intake.advance_to(epoch)),
                open: Arc::new(move || open.intake.open().0),
            }),
            events,
            serving_workers: self.workers,
            stager: Some(stager),
            complete: Arc::new(move |gathered: Gathered| {
                let _ = commit_parts.send(CommitPart::Tables(gathered));
            }),
        }
    }

    /// The files that this worker reads to restore the state: every `peers`th of them.
    fn restored(self: &Arc<Self>, index: usize, peers: usize) -> Vec<Restored> {
        let files = self.tables[..self.plan.tables.len()]
            .iter()
            .enumerate()
            .flat_map(|(table, staged)| (0..staged.restored.len()).map(move |file| (table, file)));
        files
            .enumerate()
            .filter(|(number, _)| number % peers == index)
            .map(|(_, (table, file))| {
                let shared = Arc::clone(self);
                let read = move || {
                    let staged = &shared.tables[table];
                    let path = &staged.restored[file].path;
                    let reading = shared
                        .outcome
                        .retrying("read a table's file back", async || {
                            shared.lake.read_file(&staged.path, path, None).await
                        });
                    shared.runtime.block_on(reading).unwrap_or_default()
                };
                Restored {
                    table,
                    file: file as u32,
                    read: Box::new(read),
                }
            })
            .collect()
    }
}

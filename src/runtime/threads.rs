//! The threads of a run: who starts them, what each is given, and how they end.
//!
//! The workers end first, when their dataflow is done or the run has failed. With them go the last senders to the keeper, and with the keeper the last
//! ones to the committer: each thread ends when nobody can tell it anything more.
//!
//! # Invariants
//! 1. When [`Parts::run`] returns, the workers, the keeper and the committer have ended, and if one of them failed it says why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;

use super::committer::{CommitPart, Committed, CommitterConfig, Target, commit_all};
use super::keeper::keep;
use super::now_ms;
use super::outcome::Outcome;
use super::pace::Pace;
use super::restore::{Found, made_by};
use super::run::{RunError, RunOptions, RunSummary};
use super::stager::{FileNumbers, StagedTable};
use super::worker::{WorkerShared, run_workers};
use crate::archive::SharedArchive;
use crate::definition::Definition;
use crate::delta::Delta;
use crate::lake::{Lake, paths};
use crate::operator::fault::Faults;
use crate::plan::Plan;
use crate::reclock::Intake;
use crate::render::{DEAD_LETTERS, ViewEvent, dead_letter_schema};
use crate::serve::status::{Commit, Health, Status};
use crate::serve::store::{LakeBuckets, LiveStore};
use crate::sink::{Committer, ParquetOptions};

/// Everything a run is made of, once it may start.
pub(super) struct Parts {
    pub(super) options: RunOptions,
    pub(super) definition: Definition,
    pub(super) plan: Arc<Plan>,
    /// The views that are served: name, columns, key.
    pub(super) served: Vec<(String, SchemaRef, Vec<usize>)>,
    pub(super) store: Arc<LiveStore>,
    pub(super) status: Arc<Status>,
    pub(super) lake: Lake,
    pub(super) found: Found,
    pub(super) intake: Arc<Intake>,
    pub(super) archive: Option<SharedArchive>,
    pub(super) run_id: u64,
    pub(super) outcome: Outcome,
    pub(super) runtime: Handle,
}

/// What is known of commits while the run goes on.
#[derive(Clone)]
struct Commits {
    /// The epoch of the last one; the restored epoch before the first.
    epoch: Arc<AtomicU64>,
    /// The last one of this run.
    last: Arc<Mutex<Committed>>,
}

impl Parts {
    /// Runs until all threads have ended. The summary is that of a run that went well.
    pub(super) fn run(self, committer: Committer) -> Result<RunSummary, RunError> {
        let started = Instant::now();
        let mut parquet = ParquetOptions::for_lake(&self.lake);
        parquet.codec = self.options.codec.unwrap_or(parquet.codec);
        let (events, event_inbox) = crossbeam_channel::unbounded();
        let (commit_parts, commit_inbox) = crossbeam_channel::unbounded();
        let commits = Commits {
            epoch: Arc::new(AtomicU64::new(self.found.epoch)),
            last: Arc::default(),
        };
        let tables = Arc::new(self.staged_tables());

        let config = self.committer_config(committer, &tables, &parquet, &commits);
        let (runtime, outcome) = (self.runtime.clone(), self.outcome.clone());
        let committing = thread("committer", move || {
            let _watch = outcome.watch_thread();
            commit_all(config, &commit_inbox, &runtime)
        });
        let keeping = self.start_keeper(event_inbox, commit_parts.clone());
        let shared = self.worker_shared(tables, parquet, events, commit_parts, &commits);
        let worked = run_workers(shared, self.options.cluster.as_ref());
        for handle in [keeping, committing] {
            // One that panicked has told the outcome.
            let _ = handle.join();
        }
        if let Err(error) = worked {
            self.outcome.fail(error);
        }
        if let Some(why) = self.intake.failure() {
            self.outcome.fail(why);
        }
        if let Some(why) = self.outcome.failure() {
            return Err(RunError::Failed(why));
        }
        let last = commits.last.lock();
        let committed = last.unwrap_or_else(PoisonError::into_inner).clone();
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
                schema: Arc::clone(&view.schema),
            })
            .collect()
    }

    fn committer_config(
        &self,
        committer: Committer,
        tables: &[StagedTable],
        options: &ParquetOptions,
        commits: &Commits,
    ) -> CommitterConfig {
        let (commits, status) = (commits.clone(), Arc::clone(&self.status));
        CommitterConfig {
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
            made_by: made_by(&self.definition, &self.plan),
            options: options.clone(),
            numbers: FileNumbers::new(self.run_id, u64::MAX),
            now_ms: Arc::new(now_ms),
            outcome: self.outcome.clone(),
            committed: Arc::new(move |committed| {
                commits.epoch.store(committed.epoch, Ordering::SeqCst);
                status.committed(Commit {
                    number: committed.number,
                    epoch: committed.epoch,
                    when_ms: now_ms() as u64,
                    duration_ms: committed.duration_ms,
                    files: committed.files,
                    bytes: committed.bytes,
                });
                let mut last = commits.last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = committed.clone();
            }),
        }
    }

    /// Starts the keeper; once the restored epoch is visible it tells the store which buckets the lake has.
    fn start_keeper(
        &self,
        events: Receiver<ViewEvent>,
        commit_parts: Sender<CommitPart>,
    ) -> JoinHandle<()> {
        let (store, status) = (Arc::clone(&self.store), Arc::clone(&self.status));
        let restored_epoch = self.found.epoch;
        let buckets: BTreeMap<String, LakeBuckets> = self
            .plan
            .views
            .iter()
            .zip(&self.found.views)
            .filter(|(_, files)| files.total > 0)
            .map(|(view, files)| (view.name.clone(), files.buckets()))
            .collect();
        let letters = self.dead_letters();
        let letters_view = self
            .served
            .iter()
            .position(|(name, _, _)| name == DEAD_LETTERS)
            .expect("dead letters are always served");
        let outcome = self.outcome.clone();
        thread("keeper", move || {
            let _watch = outcome.watch_thread();
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
                        for (view, lake) in &buckets {
                            let others = store.restored(view, lake).ok().flatten();
                            if let Some(others) = others.filter(|others| !others.is_empty()) {
                                tracing::warn!(
                                    "{} of {} files of the view `{view}` in the lake held other rows than its tables give, \
                                     and are rewritten by the next commit; please report it",
                                    others.len(),
                                    lake.total
                                );
                            }
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

    /// The dead letters that the lake holds.
    fn dead_letters(&self) -> Vec<Delta> {
        self.found
            .dead_letters
            .iter()
            .filter_map(|file| {
                let (lake, path) = (&self.lake, &file.path);
                let reading = self.outcome.retrying("read dead letters back", async || {
                    lake.read_file(paths::DEAD_LETTERS, path, None).await
                });
                self.runtime.block_on(reading)
            })
            .flatten()
            .filter_map(|rows| match canonical_letters(&rows) {
                Ok(rows) => Some(Delta::insert(rows)),
                Err(error) => {
                    let why = format!(
                        "{}/{} has other columns than this pinflow writes: {error}; move the table away, or use another lake",
                        self.lake.location(),
                        paths::DEAD_LETTERS
                    );
                    self.outcome.fail(why);
                    None
                }
            })
            .collect()
    }

    fn worker_shared(
        &self,
        tables: Arc<Vec<StagedTable>>,
        parquet: ParquetOptions,
        events: Sender<ViewEvent>,
        commit_parts: Sender<CommitPart>,
        commits: &Commits,
    ) -> WorkerShared {
        let options = &self.options;
        let cluster = options.cluster.as_ref();
        let process = cluster.map_or(0, |cluster| cluster.process);
        let streams = self.definition.streams.iter();
        WorkerShared {
            plan: Arc::clone(&self.plan),
            streams: streams
                .map(|stream| (stream.name.clone(), Arc::clone(&stream.schema)))
                .collect(),
            intake: Arc::clone(&self.intake),
            status: Arc::clone(&self.status),
            lake: self.lake.clone(),
            tables,
            archive: self.archive.clone(),
            start: self.found.epoch,
            parquet,
            events,
            commit_parts,
            outcome: self.outcome.clone(),
            runtime: self.runtime.clone(),
            faults: Faults::default(),
            counters: Arc::default(),
            pace: Pace::new(
                options.tick,
                options.commit_every,
                Arc::clone(&self.intake),
                Arc::clone(&self.status),
                Arc::clone(&commits.epoch),
            ),
            run_id: self.run_id.wrapping_add(process as u64),
            process,
            workers: options.workers,
        }
    }
}

/// Batches of dead letters as the live view has them.
fn canonical_letters(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = dead_letter_schema();
    let fields = schema.fields().iter().zip(rows.columns());
    let columns = fields.map(|(field, column)| arrow::compute::cast(column, field.data_type()));
    let columns = columns.collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system can start a thread")
}

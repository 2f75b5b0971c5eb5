//! What a run is made of, put together: everything is connected here, and nothing runs yet.
//!
//! ```text
//!  Parts --assemble--> Assembled: workers, stagers, keeper, committer, and the channels between them
//!                          |--> threads.rs: a thread each
//!                          '--> simulation: one scheduler for all of them
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::cluster::{Fences, Premise};
use super::committer::{Committed, CommitterConfig, Committing, Target};
use super::keeper::Keeper;
use super::outcome::Outcome;
use super::pace::Pace;
use super::restore::{Found, made_by};
use super::retry::Retried;
use super::run::RunOptions;
use super::stager::{FileNumbers, StagedTable, Stager, StagerConfig};
use super::worker::{LakeEnds, WorkerShared};
use crate::archive::SharedArchive;
use crate::checkpoint::{Came, EPOCHS_TAG, MadeBy, StagedFile};
use crate::definition::Definition;
use crate::delta::Delta;
use crate::host::Host;
use crate::lake::{Lake, paths};
use crate::operator::fault::Faults;
use crate::plan::Plan;
use crate::reclock::Intake;
use crate::render::{
    CommitPart, DEAD_LETTERS, StageTask, StagerHandle, ViewEvent, dead_letter_schema,
    restored_letters,
};
use crate::serve::status::{Commit, Status};
use crate::serve::store::{LakeBuckets, LiveStore};
use crate::sink::{Committer, ParquetOptions};

/// Tasks that may wait for a stager; one is at most the rows of a chunk.
pub(super) const STAGER_QUEUE: usize = 16;

/// Everything a run is made of, once it may start.
pub(super) struct Parts {
    pub(super) options: RunOptions,
    pub(super) definition: Arc<Definition>,
    pub(super) plan: Arc<Plan>,
    /// The views that are served: name, columns, key.
    pub(super) served: Vec<(String, SchemaRef, Vec<usize>)>,
    pub(super) store: Arc<LiveStore>,
    pub(super) status: Arc<Status>,
    pub(super) lake: Lake,
    pub(super) found: Found,
    pub(super) intake: Arc<Intake>,
    pub(super) archive: Option<SharedArchive>,
    /// The checkpoint with which this process fenced the lake; 0 if it did not.
    pub(super) fence: u64,
    /// The dead letters that are sent in again, if that is what the run is for.
    pub(super) retried: Option<Retried>,
    /// Unique to this run of this process.
    pub(super) run_id: u64,
    /// How many tasks may wait for a stager; a worker that has more waits too. `None`: any number.
    pub(super) stager_queue: Option<usize>,
    pub(super) outcome: Outcome,
    pub(super) host: Arc<dyn Host>,
}

/// The parts, connected. Dropping a part drops its ends of the channels.
pub(super) struct Assembled {
    pub(super) workers: WorkerShared,
    pub(super) stagers: Vec<(Stager, Receiver<StageTask>)>,
    pub(super) keeper: (Keeper, Receiver<ViewEvent>),
    pub(super) committer: (Committing, Receiver<CommitPart>),
    pub(super) commits: Commits,
    /// What the other processes of a cluster must have found too.
    pub(super) premise: Premise,
}

/// What is known of commits while the run goes on.
#[derive(Clone)]
pub(super) struct Commits {
    /// The epoch of the last one; the restored epoch before the first.
    epoch: Arc<AtomicU64>,
    /// The last one of this run.
    last: Arc<Mutex<Committed>>,
    /// What the processes of the cluster fenced the lake with, once they have met.
    pub(super) fences: Fences,
}

impl Commits {
    /// The last commit of this run; its number is 0 if there was none.
    pub(super) fn last(&self) -> Committed {
        let last = self.last.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, committed: &Committed) {
        self.epoch.store(committed.epoch, Ordering::SeqCst);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = committed.clone();
    }
}

impl Parts {
    /// Connects everything, and shows the dead letters that the lake holds.
    pub(super) async fn assemble(self, committer: Committer) -> Assembled {
        let mut parquet = ParquetOptions::for_lake(&self.lake);
        parquet.codec = self.options.codec.unwrap_or(parquet.codec);
        let (events, event_inbox) = unbounded();
        let (commit_parts, commit_inbox) = unbounded();
        let commits = Commits {
            epoch: Arc::new(AtomicU64::new(self.found.epoch)),
            last: Arc::default(),
            fences: Fences::default(),
        };
        let made_by = made_by(&self.definition, &self.plan);
        let premise = Premise::of(&self.found, &made_by, self.fence);
        let tables = Arc::new(self.staged_tables());
        let pace = Arc::new(self.pace(&commits));
        let config = self.committer_config(committer, made_by, &tables, &parquet, &commits, &pace);
        let keeper = self.keeper(commit_parts.clone()).await;
        let (stagers, lake_ends) = (0..self.options.workers)
            .map(|worker| self.lake_ends(worker, &tables, &parquet))
            .unzip();
        Assembled {
            workers: self.worker_shared(tables, events, commit_parts, pace, lake_ends),
            stagers,
            keeper: (keeper, event_inbox),
            committer: (Committing::new(config), commit_inbox),
            commits,
            premise,
        }
    }

    fn pace(&self, commits: &Commits) -> Pace {
        Pace::new(
            self.options.tick,
            self.options.commit_every,
            Arc::clone(&self.intake),
            Arc::clone(&self.status),
            self.outcome.clone(),
            Arc::clone(&self.host),
            Arc::clone(&commits.epoch),
        )
    }

    fn process(&self) -> usize {
        let cluster = self.options.cluster.as_ref();
        cluster.map_or(0, |cluster| cluster.process)
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
                restored: files.iter().cloned().map(|file| self.dated(file)).collect(),
            });
        let dead = StagedTable {
            path: paths::DEAD_LETTERS.to_owned(),
            schema: dead_letter_schema(),
            key: Vec::new(),
            restored: Vec::new(),
        };
        tables.chain([dead]).collect()
    }

    /// The file with a tag that says when its records came; at the latest when nothing is known.
    fn dated(&self, mut file: StagedFile) -> StagedFile {
        let came = || Came::until(self.found.epoch).to_string();
        file.tags.entry(EPOCHS_TAG.to_owned()).or_insert_with(came);
        file
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
        made_by: MadeBy,
        tables: &[StagedTable],
        options: &ParquetOptions,
        commits: &Commits,
        pace: &Arc<Pace>,
    ) -> CommitterConfig {
        let (commits, status) = (commits.clone(), Arc::clone(&self.status));
        let (outcome, pace) = (self.outcome.clone(), Arc::clone(pace));
        let host = Arc::clone(&self.host);
        CommitterConfig {
            committer,
            fences: commits.fences.clone(),
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
            retried: self.retried.as_ref().map(|retried| retried.change.clone()),
            made_by,
            options: options.clone(),
            numbers: FileNumbers::new(self.run_id, u64::MAX),
            host: Arc::clone(&self.host),
            outcome: self.outcome.clone(),
            may_begin: Arc::new(move || pace.has_read() || !outcome.is_stopping()),
            committed: Arc::new(move |committed| {
                commits.note(committed);
                status.committed(Commit {
                    number: committed.number,
                    epoch: committed.epoch,
                    when_ms: host.now_ms() as u64,
                    duration_ms: committed.duration_ms,
                    files: committed.files,
                    bytes: committed.bytes,
                });
            }),
        }
    }

    /// The keeper; once the restored epoch is visible it tells the store which buckets the lake
    /// has.
    async fn keeper(&self, commit_parts: Sender<CommitPart>) -> Keeper {
        let restored_epoch = (self.found.epoch > 0).then_some(self.found.epoch);
        let views = self.plan.views.iter().zip(&self.found.views);
        let buckets: BTreeMap<String, LakeBuckets> = views
            .filter(|(_, files)| files.total > 0)
            .map(|(view, files)| (view.name.clone(), files.buckets()))
            .collect();
        let letters = self.dead_letters().await;
        if let Some(epoch) = restored_epoch.filter(|_| !letters.is_empty()) {
            let served = &self.served;
            let view = served.iter().position(|(name, _, _)| name == DEAD_LETTERS);
            let view = view.expect("dead letters are always served");
            // They come before the first epoch of this run, as the tables' rows do.
            let letters = letters.into_iter().map(|delta| (view, delta)).collect();
            self.store.publish(epoch.saturating_sub(1), letters);
        }
        Keeper::new(
            Arc::clone(&self.store),
            Arc::clone(&self.status),
            Arc::clone(&self.intake),
            Arc::clone(&self.host),
            commit_parts,
            restored_epoch.map(|epoch| (epoch, buckets)),
        )
    }

    /// The dead letters that the lake holds.
    async fn dead_letters(&self) -> Vec<Delta> {
        let mut letters = Vec::new();
        for file in &self.found.dead_letters {
            let reading =
                self.outcome
                    .retrying_until_stopped("read dead letters back", async || {
                        self.lake
                            .read_file(paths::DEAD_LETTERS, &file.path, None)
                            .await
                    });
            for rows in reading.await.unwrap_or_default() {
                match restored_letters(&rows) {
                    Ok(rows) => letters.push(Delta::insert(rows)),
                    Err(error) => self.outcome.fail(format!(
                        "{}/{} has other columns than this pinflow writes: {error}; move the table away, or use another lake",
                        self.lake.location(),
                        paths::DEAD_LETTERS
                    )),
                }
            }
        }
        letters
    }

    /// The stager of this process's worker number `worker`, and what connects that worker with the
    /// lake.
    fn lake_ends(
        &self,
        worker: usize,
        tables: &Arc<Vec<StagedTable>>,
        parquet: &ParquetOptions,
    ) -> ((Stager, Receiver<StageTask>), LakeEnds) {
        let (workers, cluster) = (self.options.workers, self.options.cluster.as_ref());
        let processes = cluster.map_or(1, |cluster| cluster.addresses.len());
        let index = self.process() * workers + worker;
        let (tasks, inbox) = self.stager_queue.map_or_else(unbounded, bounded);
        let (answers, finished) = unbounded();
        let stager = StagerConfig {
            lake: self.lake.clone(),
            tables: Arc::clone(tables),
            options: parquet.clone(),
            // The first worker of each process looks after what the process archives.
            archive: self.archive.clone().filter(|_| worker == 0),
            restored: self.found.epoch,
            retried: self.retried.as_ref().map(|retried| retried.came),
            numbers: FileNumbers::new(
                self.run_id.wrapping_add(self.process() as u64),
                index as u64,
            ),
            host: Arc::clone(&self.host),
            outcome: self.outcome.clone(),
        };
        let files = super::reload::share(
            &tables[..self.plan.tables.len()],
            index,
            workers * processes,
        );
        let restored = super::reload::start(
            files,
            self.lake.clone(),
            &self.outcome,
            &self.status,
            &self.host,
        );
        let stager = Stager::new(stager, answers);
        let handle = StagerHandle { tasks, finished };
        (
            (stager, inbox),
            LakeEnds {
                restored,
                stager: handle,
            },
        )
    }

    fn worker_shared(
        self,
        tables: Arc<Vec<StagedTable>>,
        events: Sender<ViewEvent>,
        commit_parts: Sender<CommitPart>,
        pace: Arc<Pace>,
        lake_ends: Vec<LakeEnds>,
    ) -> WorkerShared {
        let process = self.process();
        let streams = self.definition.streams.iter();
        WorkerShared {
            streams: streams
                .map(|stream| (stream.name.clone(), Arc::clone(&stream.schema)))
                .collect(),
            pace,
            plan: self.plan,
            feed: Arc::clone(&self.intake) as _,
            intake: self.intake,
            status: self.status,
            tables,
            start: self.found.epoch,
            events,
            commit_parts,
            outcome: self.outcome,
            host: self.host,
            faults: Faults::default(),
            counters: Arc::default(),
            process,
            lake_ends: Mutex::new(lake_ends.into_iter().map(Some).collect()),
        }
    }
}

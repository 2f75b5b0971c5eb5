//! The committer: it joins what workers staged with what changed in the views, and writes the
//! checkpoint.
//!
//! A commit needs two things that are made in different places for the same epoch: the tables'
//! files and positions (`Gathered`, from worker 0), and the views' changed buckets (from the
//! keeper), which become files as soon as they come: mostly the workers' last files are being
//! written meanwhile.

mod views;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use arrow::datatypes::SchemaRef;

use self::views::Views;
use super::actor::Actor;
use super::cluster::Fences;
use super::outcome::Outcome;
use super::restore::Found;
use super::stager::FileNumbers;
use crate::archive::{MARK, SharedArchive};
use crate::checkpoint::{MadeBy, NewTable, Position, TableCommit};
use crate::delta::Epoch;
use crate::host::{Host, Task};
use crate::lake::paths;
use crate::render::{CommitPart, Gathered};
use crate::serve::store::Dirty;
use crate::sink::{Changes, Committer, ParquetOptions};

/// A Delta table that commits write.
#[derive(Clone)]
pub struct Target {
    /// Its path in the lake.
    pub path: String,
    /// Its columns.
    pub schema: SchemaRef,
}

/// What was committed.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The checkpoint's number.
    pub number: u64,
    /// The epoch that it ends with.
    pub epoch: Epoch,
    /// Data files that were added.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took from the first part to the last Delta commit, in milliseconds.
    pub duration_ms: u64,
}

/// What the committer works with.
pub struct CommitterConfig {
    /// The writer of the lake.
    pub committer: Committer,
    /// What the processes of the cluster fenced the lake with.
    pub(super) fences: Fences,
    /// The tables, in the plan's order; the dead letters last.
    pub tables: Vec<Target>,
    /// The views, in the plan's order.
    pub views: Vec<Target>,
    /// What the lake held at the start.
    pub found: Found,
    /// What every record is archived in as it came.
    pub archive: Option<SharedArchive>,
    /// What the table of dead letters gains and loses where letters are sent in again, all of them
    /// in one commit.
    pub retried: Option<TableCommit>,
    /// What makes the rows.
    pub made_by: MadeBy,
    /// How files are written.
    pub options: ParquetOptions,
    /// Names for files and tables.
    pub numbers: FileNumbers,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// Where a failure is told.
    pub outcome: Outcome,
    /// Whether a lake may be begun: something was read, or there was nothing to read. A run that
    /// ended before that leaves none behind.
    pub may_begin: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Called after each commit.
    pub committed: Arc<dyn Fn(&Committed) + Send + Sync>,
}

/// What there is of a commit.
struct Pending {
    /// When its first part came.
    started: Instant,
    tables: Option<Gathered>,
    /// What the views' tables gain and lose.
    views: Option<Vec<TableCommit>>,
}

/// See the module.
pub struct Committing {
    config: CommitterConfig,
    views: Views,
    pending: BTreeMap<Epoch, Pending>,
    positions: BTreeMap<String, Position>,
    existing: Vec<String>,
    tidying: Option<Task<()>>,
}

impl Actor for Committing {
    type Message = CommitPart;

    async fn take(&mut self, part: CommitPart) -> Option<()> {
        if self.config.committer.number() == 0 && !(self.config.may_begin)() {
            return Some(());
        }
        let epoch = match &part {
            CommitPart::Tables(gathered) => gathered.epoch,
            CommitPart::Views(epoch, _) => *epoch,
        };
        let started = self.config.host.instant();
        self.pending.entry(epoch).or_insert_with(|| Pending {
            started,
            tables: None,
            views: None,
        });
        let (tables, views) = match part {
            CommitPart::Tables(gathered) => (Some(gathered), None),
            CommitPart::Views(_, dirty) => (None, Some(self.stage_views(&dirty).await?)),
        };
        let Some(commit) = self.pending.get_mut(&epoch) else {
            return Some(());
        };
        commit.tables = tables.or(commit.tables.take());
        commit.views = views.or(commit.views.take());
        if commit.tables.is_some()
            && commit.views.is_some()
            && let Some(whole) = self.pending.remove(&epoch)
        {
            self.commit(whole).await?;
        }
        Some(())
    }

    async fn end(&mut self) {
        let Some(tidying) = self.tidying.take() else {
            return;
        };
        // What is left is removed after a later commit.
        tokio::select! {
            biased;
            _ = tidying => {}
            () = self.config.outcome.out_of_time() => {}
        }
    }
}

impl Committing {
    /// Goes on from what the lake held.
    pub fn new(config: CommitterConfig) -> Self {
        let views = Views {
            lake: config.committer.lake().clone(),
            host: Arc::clone(&config.host),
            outcome: config.outcome.clone(),
            options: config.options.clone(),
            targets: config.views.clone(),
            files: config.found.views.clone(),
        };
        Committing {
            positions: config.found.positions.clone(),
            existing: config.found.existing.clone(),
            views,
            config,
            pending: BTreeMap::new(),
            tidying: None,
        }
    }

    async fn stage_views(&mut self, dirty: &Dirty) -> Option<Vec<TableCommit>> {
        let now_ms = self.config.host.now_ms();
        let numbers = &mut self.config.numbers;
        self.views.stage(dirty, now_ms, numbers).await
    }

    async fn commit(&mut self, pending: Pending) -> Option<()> {
        let (gathered, views) = (pending.tables?, pending.views?);
        if self.config.retried.is_some() && self.config.outcome.is_stopping() {
            // Some letters were not sent in: then none were.
            return Some(());
        }
        let epoch = gathered.epoch;
        let now_ms = self.config.host.now_ms();
        let mut tables: BTreeMap<String, TableCommit> = BTreeMap::new();
        let targets = self
            .config
            .tables
            .iter()
            .chain(&self.config.views)
            .cloned()
            .collect::<Vec<_>>();
        for target in &targets {
            if self.existing.contains(&target.path) {
                continue;
            }
            let mut new = match NewTable::of(&target.schema, self.config.numbers.draw()) {
                Ok(new) => new,
                Err(error) => {
                    self.config.outcome.fail(error.to_string());
                    return None;
                }
            };
            // A table whose columns change stays the same table.
            if let Some(id) = self.config.found.altered.get(&target.path) {
                new.id.clone_from(id);
            }
            tables.entry(target.path.clone()).or_default().metadata = Some(new);
        }
        for change in gathered.changes {
            let commit = tables
                .entry(self.config.tables[change.table].path.clone())
                .or_default();
            commit.adds.extend(change.adds);
            commit.removes.extend(change.removes);
        }
        for (target, view) in self.config.views.iter().zip(views) {
            let commit = tables.entry(target.path.clone()).or_default();
            commit.adds.extend(view.adds);
            commit.removes.extend(view.removes);
        }
        let retried = self.config.retried.is_some();
        if let Some(change) = self.config.retried.as_mut().map(std::mem::take) {
            let letters = tables.entry(paths::DEAD_LETTERS.to_owned()).or_default();
            letters.adds.extend(change.adds);
            letters.removes.extend(change.removes);
        }
        let mut moved = false;
        for bound in gathered.bounds {
            let position = self.positions.entry(bound.partition).or_default();
            if bound.position.offset >= position.offset && bound.position != *position {
                *position = bound.position;
                moved = true;
            }
        }
        if self.config.archive.is_none() && !retried {
            self.positions
                .retain(|partition, _| !partition.starts_with(MARK));
        }
        tables.retain(|_, commit| {
            commit.metadata.is_some() || !commit.adds.is_empty() || !commit.removes.is_empty()
        });
        if !moved && tables.is_empty() {
            (self.config.committed)(&Committed {
                number: self.config.committer.number(),
                epoch,
                ..Committed::default()
            });
            return Some(());
        }
        let adds = tables.values().flat_map(|commit| &commit.adds);
        let (files, bytes) = adds.fold((0, 0), |(files, bytes), add| (files + 1, bytes + add.size));
        let created: Vec<String> = tables.keys().cloned().collect();
        let changes = Changes {
            epoch,
            time_ms: now_ms,
            made_by: self.config.made_by.clone(),
            positions: self.positions.clone(),
            tables,
        };
        let committer = &mut self.config.committer;
        committer.pass(self.config.fences.last());
        let number = self
            .config
            .outcome
            .retrying("commit to the lake", async || {
                committer.commit(changes.clone()).await
            })
            .await?;
        if let Some(archive) = &self.config.archive {
            archive
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .committed(&self.positions);
        }
        self.existing.extend(created);
        self.existing.sort_unstable();
        self.existing.dedup();
        self.tidy();
        let duration = self.config.host.instant() - pending.started;
        let duration_ms = duration.as_millis() as u64;
        (self.config.committed)(&Committed {
            number,
            epoch,
            files,
            bytes,
            duration_ms,
        });
        Some(())
    }

    /// Writes log checkpoints and removes what is old, beside the next commit's work.
    fn tidy(&mut self) {
        if self
            .tidying
            .as_mut()
            .is_some_and(|tidying| !tidying.is_finished())
        {
            return;
        }
        let tidy = self.config.committer.tidy();
        self.tidying = Some(self.config.host.task(async move {
            if let Err(error) = tidy.await {
                tracing::warn!(
                    "the lake could not be tidied; it will be tried again after a later commit: {error}"
                );
            }
        }));
    }
}

//! The thread that commits: it joins what workers staged with what changed in the views, and writes the checkpoint.
//!
//! A commit needs two things that are made by different threads for the same epoch: the tables' files and positions (`Gathered`, from worker 0), and
//! the views' changed buckets (from the keeper). Whichever comes first waits here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use futures::StreamExt;

use super::outcome::Outcome;
use super::restore::{BUCKET_TAG, BUCKETS_TAG, Found, ViewFiles};
use super::stager::FileNumbers;
use crate::archive::{MARK, SharedArchive};
use crate::checkpoint::{NewTable, Position, RemovedFile, StagedFile, TableCommit};
use crate::delta::Epoch;
use crate::lake::Lake;
use crate::render::Gathered;
use crate::serve::store::{Dirty, DirtyBucket};
use crate::sink::{Changes, Committer, FileFacts, ParquetOptions, encode};

/// A Delta table that commits write.
#[derive(Clone)]
pub struct Target {
    /// Its path in the lake.
    pub path: String,
    /// Its columns.
    pub schema: SchemaRef,
}

/// What the committer is told.
pub enum CommitPart {
    /// The tables' part of an epoch's commit.
    Tables(Gathered),
    /// The views' part.
    Views(Epoch, Dirty),
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
    /// The tables, in the plan's order; the dead letters last.
    pub tables: Vec<Target>,
    /// The views, in the plan's order.
    pub views: Vec<Target>,
    /// What the lake held at the start.
    pub found: Found,
    /// What every record is archived in as it came.
    pub archive: Option<SharedArchive>,
    /// The definition's fingerprints.
    pub definition: String,
    /// How files are written.
    pub options: ParquetOptions,
    /// Names for files and tables.
    pub numbers: FileNumbers,
    /// The time in milliseconds since 1970.
    pub now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Where a failure is told.
    pub outcome: Outcome,
    /// Called after each commit.
    pub committed: Arc<dyn Fn(&Committed) + Send + Sync>,
}

/// Buckets of a view that are written at the same time.
const BUCKETS_AT_ONCE: usize = 4;

/// Commits until all senders of `parts` are gone.
pub fn commit_all(
    config: CommitterConfig,
    parts: &crossbeam_channel::Receiver<CommitPart>,
    runtime: &tokio::runtime::Handle,
) {
    let lake = config.committer.lake().clone();
    let mut state = State {
        positions: config.found.positions.clone(),
        view_files: config.found.views.clone(),
        existing: config.found.existing.clone(),
        lake,
        config,
        tidying: None,
    };
    let mut tables: BTreeMap<Epoch, Gathered> = BTreeMap::new();
    let mut views: BTreeMap<Epoch, Dirty> = BTreeMap::new();
    for part in parts {
        match part {
            CommitPart::Tables(gathered) => {
                tables.insert(gathered.epoch, gathered);
            }
            CommitPart::Views(epoch, dirty) => {
                views.insert(epoch, dirty);
            }
        }
        while let Some(epoch) = tables
            .keys()
            .next()
            .copied()
            .filter(|epoch| views.contains_key(epoch))
        {
            let (Some(gathered), Some(dirty)) = (tables.remove(&epoch), views.remove(&epoch))
            else {
                break;
            };
            if runtime.block_on(state.commit(gathered, dirty)).is_none() {
                return;
            }
        }
    }
    if let Some(tidying) = state.tidying.take() {
        let _ = runtime.block_on(tidying);
    }
}

struct State {
    config: CommitterConfig,
    lake: Lake,
    positions: BTreeMap<String, Position>,
    view_files: Vec<ViewFiles>,
    existing: Vec<String>,
    tidying: Option<tokio::task::JoinHandle<()>>,
}

impl State {
    async fn commit(&mut self, gathered: Gathered, dirty: Dirty) -> Option<()> {
        let started = Instant::now();
        let epoch = gathered.epoch;
        let now_ms = (self.config.now_ms)();
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
            let id = self.config.numbers.draw();
            match NewTable::of(&target.schema, id) {
                Ok(new) => tables.entry(target.path.clone()).or_default().metadata = Some(new),
                Err(error) => {
                    self.config.outcome.fail(error.to_string());
                    return None;
                }
            }
        }
        for change in gathered.changes {
            let commit = tables
                .entry(self.config.tables[change.table].path.clone())
                .or_default();
            commit.adds.extend(change.adds);
            commit.removes.extend(change.removes);
        }
        for (view, buckets) in dirty.views.iter().enumerate().take(self.config.views.len()) {
            self.stage_view(view, buckets, now_ms, &mut tables).await?;
        }
        let mut moved = false;
        for bound in gathered.bounds {
            let position = self.positions.entry(bound.partition).or_default();
            if bound.position.offset >= position.offset && bound.position != *position {
                *position = bound.position;
                moved = true;
            }
        }
        if self.config.archive.is_none() {
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
            definition: self.config.definition.clone(),
            positions: self.positions.clone(),
            tables,
        };
        let committer = &mut self.config.committer;
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
        let duration_ms = started.elapsed().as_millis() as u64;
        (self.config.committed)(&Committed {
            number,
            epoch,
            files,
            bytes,
            duration_ms,
        });
        Some(())
    }

    /// Writes the buckets of a view that changed, and names what they replace.
    async fn stage_view(
        &mut self,
        view: usize,
        dirty: &crate::serve::store::DirtyBuckets,
        now_ms: i64,
        tables: &mut BTreeMap<String, TableCommit>,
    ) -> Option<()> {
        let target = self.config.views[view].clone();
        let known = &mut self.view_files[view];
        let mut removes: Vec<RemovedFile> = known
            .stray
            .drain(..)
            .map(|file| RemovedFile::from(&file))
            .collect();
        if known.total != dirty.buckets_total {
            removes.extend(
                std::mem::take(&mut known.files)
                    .values()
                    .map(RemovedFile::from),
            );
            known.total = dirty.buckets_total;
        }
        let mut writes = Vec::new();
        for bucket in &dirty.buckets {
            if let Some(old) = self.view_files[view].files.remove(&bucket.bucket) {
                removes.push(RemovedFile::from(&old));
            }
            if bucket.row_count() == 0 {
                continue;
            }
            let tags = BTreeMap::from([
                (BUCKET_TAG.to_owned(), bucket.bucket.to_string()),
                (BUCKETS_TAG.to_owned(), dirty.buckets_total.to_string()),
            ]);
            let facts = FileFacts {
                id: self.config.numbers.draw(),
                now_ms,
                tags,
            };
            let written = self.write_bucket(&target, bucket.clone(), facts);
            writes.push(async move { Some((bucket.bucket, written.await?)) });
        }
        // Encoding is the work; several buckets are at it at once.
        let written: Vec<Option<(u32, StagedFile)>> = futures::stream::iter(writes)
            .buffered(BUCKETS_AT_ONCE)
            .collect()
            .await;
        let mut adds = Vec::new();
        for written in written {
            let (bucket, staged) = written?;
            self.view_files[view].files.insert(bucket, staged.clone());
            adds.push(staged);
        }
        if !adds.is_empty() || !removes.is_empty() {
            let commit = tables.entry(target.path).or_default();
            commit.adds.extend(adds);
            commit.removes.extend(removes);
        }
        Some(())
    }

    /// Writes one bucket of a view as a file.
    fn write_bucket(
        &self,
        target: &Target,
        bucket: DirtyBucket,
        facts: FileFacts,
    ) -> impl Future<Output = Option<StagedFile>> + use<> {
        let (lake, outcome) = (self.lake.clone(), self.config.outcome.clone());
        let (target, options) = (target.clone(), self.config.options.clone());
        async move {
            let schema = Arc::clone(&target.schema);
            let encoding =
                tokio::task::spawn_blocking(move || encode(&schema, &[bucket.rows()], &options));
            let encoded = match encoding.await {
                Ok(Ok(encoded)) => encoded,
                Ok(Err(error)) => {
                    outcome.fail(error.to_string());
                    return None;
                }
                Err(panicked) => {
                    outcome.fail(format!("a view could not be encoded: {panicked}"));
                    return None;
                }
            };
            outcome
                .retrying("write a view's file", async || {
                    let (encoded, facts) = (encoded.clone(), facts.clone());
                    lake.stage(&target.path, encoded, facts).await
                })
                .await
        }
    }

    /// Writes log checkpoints and removes what is old, beside the next commit's work.
    fn tidy(&mut self) {
        if self
            .tidying
            .as_ref()
            .is_some_and(|tidying| !tidying.is_finished())
        {
            return;
        }
        let tidy = self.config.committer.tidy();
        self.tidying = Some(tokio::spawn(async move {
            if let Err(error) = tidy.await {
                tracing::warn!(
                    "the lake could not be tidied; it will be tried again after a later commit: {error}"
                );
            }
        }));
    }
}

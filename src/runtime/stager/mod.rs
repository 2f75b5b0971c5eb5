//! The one beside each worker that turns rows into data files.
//!
//! Encoding Parquet is a large share of the whole work; here it goes on while the dataflow does.
//! Rows wait in a [`Window`] until they are unlikely to be replaced, then are encoded at once and
//! let go; while a finished file is on its way into the lake the next is begun. The queue to the
//! stager is short: when it is full, the worker waits, and so in the end does the source.
//!
//! # Invariants
//! 1. When the end of a commit is answered, every file of rows that came before is in the lake and
//!    on disk, and no row in them is one that was replaced before.
//! 2. Then the archive, if it is this stager that looks after it, has every record that this
//!    process claimed before.

mod gone;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};

use arrow::datatypes::SchemaRef;
use futures::{FutureExt, StreamExt, stream};

use self::gone::{Gone, KeyBytes};
use self::window::{Step, Window};
use super::actor::Actor;
use super::outcome::Outcome;
use crate::archive::{Sealing, SharedArchive};
use crate::checkpoint::{Came, EPOCHS_TAG, RemovedFile, StagedFile};
use crate::delta::Epoch;
use crate::host::{Host, Task};
use crate::lake::{Lake, LakeError};
use crate::operator::keyed::FileId;
use crate::operator::route::mix;
use crate::reclock::Bound;
use crate::render::{Finished, StageTask, StagedChange};
use crate::sink::{FileFacts, ParquetFile, ParquetOptions};

/// Files that are on their way into the lake while the next ones are encoded, at most: each of them
/// is in memory.
const ON_THE_WAY: usize = 2;
/// Files that are rewritten at once, so that one is read or written while another is encoded: the
/// rows of each are in memory.
const REWRITES_AT_ONCE: usize = 2;

/// A table as the stager sees it.
#[derive(Clone)]
pub struct StagedTable {
    /// Its path in the lake.
    pub path: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its primary key; empty for tables that are only appended to.
    pub key: Vec<usize>,
    /// The files that it had at the start.
    pub restored: Vec<StagedFile>,
}

impl StagedTable {
    /// For each file that it had at the start, when its records came.
    pub fn restored_came(&self) -> Vec<Came> {
        let came = |file: &StagedFile| Came::of(&file.tags).unwrap_or(Came::until(Epoch::MAX));
        self.restored.iter().map(came).collect()
    }
}

/// Numbers for files that no other run draws.
#[derive(Clone, Debug)]
pub struct FileNumbers {
    high: u64,
    next: u64,
}

impl FileNumbers {
    /// Numbers that belong to `run` (unique to a run of a process) and to `stream` of numbers
    /// within it.
    pub fn new(run: u64, stream: u64) -> Self {
        FileNumbers {
            high: mix(run ^ mix(stream)),
            next: mix(run.wrapping_add(stream)),
        }
    }

    /// The next number.
    pub fn draw(&mut self) -> u128 {
        self.next = self.next.wrapping_add(1);
        u128::from(self.high) << 64 | u128::from(mix(self.next))
    }
}

/// What a stager works with.
pub struct StagerConfig {
    /// The lake.
    pub lake: Lake,
    /// The tables, in the plan's order; the dead letters last.
    pub tables: Arc<Vec<StagedTable>>,
    /// How files are written.
    pub options: ParquetOptions,
    /// What every record of this process is archived in as it came; one of its stagers looks after
    /// it.
    pub archive: Option<SharedArchive>,
    /// The epoch that the lake had at the start.
    pub restored: Epoch,
    /// When all records of this run came first, if they were dead letters.
    pub retried: Option<Came>,
    /// Names for files.
    pub numbers: FileNumbers,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// Where a failure is told.
    pub outcome: Outcome,
}

/// A file that is being put into the lake.
struct OnTheWay {
    table: usize,
    file: FileId,
    /// Answers with nothing when it failed for good; the outcome says why.
    put: Task<Option<StagedFile>>,
}

/// A file that is to lose rows.
struct Rewrite {
    table: usize,
    file: FileId,
    old: StagedFile,
    gone: Gone,
    facts: FileFacts,
}

/// See the module. It answers each [`StageTask::Finish`].
pub struct Stager {
    config: StagerConfig,
    answers: crossbeam_channel::Sender<Finished>,
    /// By table.
    windows: Vec<Window>,
    /// Files that get rows.
    open: BTreeMap<(usize, FileId), ParquetFile>,
    /// Files that are being put into the lake, the oldest first.
    on_the_way: VecDeque<OnTheWay>,
    /// What became of files that were written or rewritten by this run; `None` when no row was
    /// left.
    current: BTreeMap<(usize, FileId), Option<StagedFile>>,
    /// Rows that are to be taken out of files that were written.
    rewrites: BTreeMap<(usize, FileId), Gone>,
    changes: BTreeMap<usize, StagedChange>,
    /// The last epoch that ended a commit.
    committed: Epoch,
}

impl Actor for Stager {
    type Message = StageTask;

    async fn take(&mut self, task: StageTask) -> Option<()> {
        match task {
            StageTask::Append { table, file, rows } => {
                let mut steps = Vec::new();
                self.windows[table].append(file, rows, |step| steps.push(step));
                self.take_steps(table, steps).await
            }
            StageTask::Replace { table, file, keys } => {
                if !self.windows[table].replace(file, &keys) {
                    let bytes = self.windows[table].key_bytes();
                    let rewrite = self.rewrites.entry((table, file)).or_default();
                    rewrite.note(bytes, &keys, usize::MAX);
                }
                Some(())
            }
            StageTask::Finish { epoch } => {
                let finished = self.finish(epoch).await?;
                // The worker is gone when the run failed.
                let _ = self.answers.send(finished);
                Some(())
            }
        }
    }
}

impl Stager {
    /// A stager that sends its answers to `answers`.
    pub fn new(config: StagerConfig, answers: crossbeam_channel::Sender<Finished>) -> Self {
        let keys = |table: &StagedTable| {
            (!table.key.is_empty()).then(|| KeyBytes::new(&table.schema, &table.key))
        };
        Stager {
            windows: config.tables.iter().map(|t| Window::new(keys(t))).collect(),
            open: BTreeMap::new(),
            on_the_way: VecDeque::new(),
            current: BTreeMap::new(),
            rewrites: BTreeMap::new(),
            changes: BTreeMap::new(),
            committed: config.restored,
            config,
            answers,
        }
    }

    /// Brings everything into the lake.
    async fn finish(&mut self, epoch: Epoch) -> Option<Finished> {
        // The archive is written meanwhile.
        let sealing = self.seal(epoch);
        for table in 0..self.windows.len() {
            let mut steps = Vec::new();
            self.windows[table].end(|step| steps.push(step));
            self.take_steps(table, steps).await?;
        }
        while !self.on_the_way.is_empty() {
            self.arrive().await?;
        }
        self.rewrite_all().await?;
        self.settle().await?;
        self.tag(epoch);
        let marks = match sealing {
            Some(sealing) => self.marks(sealing).await?,
            None => Vec::new(),
        };
        let changes = std::mem::take(&mut self.changes).into_values().collect();
        Some(Finished {
            epoch,
            changes,
            marks,
        })
    }

    /// Notes in the files that are new when their records came.
    fn tag(&mut self, epoch: Epoch) {
        let came = self.config.retried.unwrap_or(Came {
            first: self.committed + 1,
            last: epoch,
        });
        self.committed = epoch;
        let tag = |file: &mut StagedFile| {
            let tags = &mut file.tags;
            tags.entry(EPOCHS_TAG.to_owned())
                .or_insert_with(|| came.to_string());
        };
        let adds = self
            .changes
            .values_mut()
            .flat_map(|change| &mut change.adds);
        adds.for_each(tag);
        self.current.values_mut().flatten().for_each(tag);
    }

    /// Begins to write what is still to be archived of epochs up to `epoch`.
    fn seal(&self, epoch: Epoch) -> Option<Sealing> {
        let archive = self.config.archive.as_ref()?;
        let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
        Some(archive.seal(epoch, self.config.host.now_ms()))
    }

    /// How far the archive is, once it is written.
    async fn marks(&self, sealing: Sealing) -> Option<Vec<Bound>> {
        let outcome = &self.config.outcome;
        let sealed = outcome.waiting("write the archive", sealing.written());
        let sealed = sealed
            .await?
            .map_err(|error| outcome.fail(error.to_string()));
        let marks = sealed.ok()?.positions.into_iter();
        let bound = |(partition, position)| Bound {
            partition,
            position,
        };
        Some(marks.map(bound).collect())
    }

    async fn take_steps(&mut self, table: usize, steps: Vec<Step>) -> Option<()> {
        for step in steps {
            match step {
                Step::Rows(file, rows) => {
                    let written = self.file(table, file).and_then(|open| open.write(&rows));
                    self.or_fail(written)?;
                }
                Step::Complete(file, gone) => {
                    self.complete(table, file).await?;
                    if let Some(gone) = gone {
                        self.rewrites.insert((table, file), gone);
                    }
                }
            }
        }
        Some(())
    }

    /// The file, made if this is the first of it.
    fn file(&mut self, table: usize, file: FileId) -> Result<&mut ParquetFile, LakeError> {
        use std::collections::btree_map::Entry;
        match self.open.entry((table, file)) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let schema = &self.config.tables[table].schema;
                Ok(place.insert(ParquetFile::new(schema, &self.config.options)?))
            }
        }
    }

    fn or_fail<T>(&self, result: Result<T, LakeError>) -> Option<T> {
        result
            .map_err(|error| self.config.outcome.fail(error.to_string()))
            .ok()
    }

    /// Sends a complete file on its way into the lake.
    async fn complete(&mut self, table: usize, file: FileId) -> Option<()> {
        let Some(open) = self.open.remove(&(table, file)) else {
            self.current.insert((table, file), None);
            return Some(());
        };
        let encoded = self.or_fail(open.finish())?;
        let facts = self.facts();
        if self.on_the_way.len() == ON_THE_WAY {
            self.arrive().await?;
        }
        let (lake, outcome) = (self.config.lake.clone(), self.config.outcome.clone());
        let path = self.config.tables[table].path.clone();
        let stage = move || {
            let (lake, path) = (lake.clone(), path.clone());
            let (encoded, facts) = (encoded.clone(), facts.clone());
            async move { lake.stage(&path, encoded, facts).await }.boxed()
        };
        let put = async move { outcome.retrying("write a data file", stage).await };
        let put = self.config.host.task(put);
        self.on_the_way.push_back(OnTheWay { table, file, put });
        Some(())
    }

    /// Waits for the file that has been on its way for longest.
    async fn arrive(&mut self) -> Option<()> {
        let OnTheWay { table, file, put } = self.on_the_way.pop_front()?;
        let put = put.await;
        let staged = put.unwrap_or_else(|panicked| {
            let outcome = &self.config.outcome;
            outcome.fail(format!("a data file could not be written: {panicked}"));
            None
        })?;
        self.change(table).adds.push(staged.clone());
        self.current.insert((table, file), Some(staged));
        Some(())
    }

    /// Takes rows out of the files that hold them.
    async fn rewrite_all(&mut self) -> Option<()> {
        let mut rewrites = Vec::new();
        for ((table, file), gone) in std::mem::take(&mut self.rewrites) {
            let restored = || self.config.tables[table].restored.get(file as usize);
            let current = self.current.get(&(table, file));
            if let Some(old) = current.map_or_else(|| restored().cloned(), Option::clone) {
                // Its rows are as old as they were.
                let facts = FileFacts {
                    tags: old.tags.clone(),
                    ..self.facts()
                };
                rewrites.push(Rewrite {
                    table,
                    file,
                    old,
                    gone,
                    facts,
                });
            }
        }
        let this = &*self;
        let rewritten: Vec<_> = stream::iter(rewrites)
            .map(async |rewrite| Some((this.rewrite(&rewrite).await?, rewrite)))
            .buffered(REWRITES_AT_ONCE)
            .collect()
            .await;
        for rewritten in rewritten {
            let (
                new,
                Rewrite {
                    table, file, old, ..
                },
            ) = rewritten?;
            let change = self.change(table);
            // A file that no commit has named yet just is not named; any other leaves its table.
            let before = change.adds.len();
            change.adds.retain(|add| add.path != old.path);
            if change.adds.len() == before {
                change.removes.push(RemovedFile::from(&old));
            }
            change.adds.extend(new.clone());
            self.current.insert((table, file), new);
        }
        Some(())
    }

    /// The file that takes the place of the old one, if it has a row.
    async fn rewrite(&self, rewrite: &Rewrite) -> Option<Option<StagedFile>> {
        let (lake, options) = (&self.config.lake, &self.config.options);
        let path = &self.config.tables[rewrite.table].path;
        let bytes = self.windows[rewrite.table].key_bytes();
        self.config
            .outcome
            .retrying("rewrite a data file", async || {
                let mut gone = rewrite.gone.clone();
                lake.rewrite(
                    path,
                    &rewrite.old.path,
                    |batch| gone.stays(bytes, batch, 0),
                    options,
                    rewrite.facts.clone(),
                )
                .await
            })
            .await
    }

    /// Waits until the files of this commit are on disk. The process that commits can only see that
    /// they are there.
    async fn settle(&self) -> Option<()> {
        let adds = self.changes.iter().flat_map(|(table, change)| {
            let table = &self.config.tables[*table].path;
            let adds = change.adds.iter();
            adds.map(move |add| format!("{table}/{}", add.path))
        });
        let adds: Vec<String> = adds.collect();
        self.or_fail(self.config.lake.settle(&adds).await)
    }

    fn change(&mut self, table: usize) -> &mut StagedChange {
        self.changes.entry(table).or_insert_with(|| StagedChange {
            table,
            ..StagedChange::default()
        })
    }

    fn facts(&mut self) -> FileFacts {
        FileFacts {
            id: self.config.numbers.draw(),
            now_ms: self.config.host.now_ms(),
            tags: BTreeMap::new(),
        }
    }
}

//! One thread beside each worker that turns rows into data files.
//!
//! Encoding Parquet is a large share of the whole work; here it goes on while the dataflow does. The queue to it is short: when it is full, the
//! worker waits, and so in the end does the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use rustc_hash::FxHashMap;

use super::outcome::Outcome;
use crate::checkpoint::{RemovedFile, StagedFile};
use crate::lake::Lake;
use crate::operator::keyed::FileId;
use crate::operator::route::{key_columns, mix};
use crate::render::{Finished, StageTask, StagedChange, StagerHandle};
use crate::sink::{FileFacts, ParquetOptions, encode};

/// How many tasks may wait; one is up to a whole file.
const QUEUE: usize = 2;

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

/// Numbers for files that no other run draws.
#[derive(Clone, Debug)]
pub struct FileNumbers {
    high: u64,
    next: u64,
}

impl FileNumbers {
    /// Numbers that belong to `run` (unique to a run of a process) and to `stream` of numbers within it.
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
    /// Names for files.
    pub numbers: FileNumbers,
    /// The time in milliseconds since 1970.
    pub now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Where a failure is told.
    pub outcome: Outcome,
}

/// Starts a stager; it ends when its handle is dropped.
pub fn start(config: StagerConfig, runtime: &tokio::runtime::Handle) -> StagerHandle {
    let (tasks, inbox) = crossbeam_channel::bounded(QUEUE);
    let (outbox, finished) = crossbeam_channel::unbounded();
    let runtime = runtime.clone();
    std::thread::Builder::new()
        .name("stager".to_owned())
        .spawn(move || {
            let outcome = config.outcome.clone();
            let mut stager = Stager {
                config,
                current: BTreeMap::new(),
                changes: BTreeMap::new(),
            };
            for task in inbox {
                match task {
                    StageTask::Finish { epoch } => {
                        let changes = std::mem::take(&mut stager.changes).into_values().collect();
                        let _ = outbox.send(Finished { epoch, changes });
                    }
                    task => {
                        if runtime.block_on(stager.perform(task)).is_none() {
                            outcome.stop();
                            return;
                        }
                    }
                }
            }
        })
        .expect("the system can start a thread");
    StagerHandle { tasks, finished }
}

struct Stager {
    config: StagerConfig,
    /// What became of files that were written or rewritten by this run; `None` when no row was left.
    current: BTreeMap<(usize, FileId), Option<StagedFile>>,
    changes: BTreeMap<usize, StagedChange>,
}

impl Stager {
    async fn perform(&mut self, task: StageTask) -> Option<()> {
        match task {
            StageTask::Write {
                table,
                file,
                batches,
                replaced,
            } => self.write(table, file, batches, &replaced).await,
            StageTask::Rewrite { table, file, keys } => self.rewrite(table, file, &keys).await,
            StageTask::Finish { .. } => Some(()),
        }
    }

    async fn write(
        &mut self,
        table: usize,
        file: FileId,
        mut batches: Vec<RecordBatch>,
        replaced: &[(usize, RecordBatch)],
    ) -> Option<()> {
        let target = &self.config.tables[table];
        if !replaced.is_empty() {
            batches = without_replaced(&target.schema, &target.key, &batches, replaced);
        }
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            self.current.insert((table, file), None);
            return Some(());
        }
        let encoded = match encode(&target.schema, &batches, &self.config.options) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.config.outcome.fail(error.to_string());
                return None;
            }
        };
        drop(batches);
        let facts = self.facts();
        let (lake, path) = (&self.config.lake, &self.config.tables[table].path);
        let staged = self
            .config
            .outcome
            .retrying("write a data file", async || {
                lake.stage(path, encoded.clone(), facts.clone()).await
            })
            .await?;
        self.change(table).adds.push(staged.clone());
        self.current.insert((table, file), Some(staged));
        Some(())
    }

    async fn rewrite(&mut self, table: usize, file: FileId, keys: &[RecordBatch]) -> Option<()> {
        let target = &self.config.tables[table];
        let old = match self.current.get(&(table, file)) {
            Some(current) => current.clone(),
            None => target.restored.get(file as usize).cloned(),
        };
        let Some(old) = old else { return Some(()) };
        let rows = KeySet::new(&target.schema, &target.key, keys);
        let facts = self.facts();
        let (lake, path, options) = (
            &self.config.lake,
            &self.config.tables[table].path,
            &self.config.options,
        );
        let new = self
            .config
            .outcome
            .retrying("rewrite a data file", async || {
                lake.rewrite(
                    path,
                    &old.path,
                    |batch| rows.absent(batch),
                    options,
                    facts.clone(),
                )
                .await
            })
            .await?;
        let change = self.change(table);
        // A file that no commit has named yet just is not named; any other leaves its table.
        let before = change.adds.len();
        change.adds.retain(|add| add.path != old.path);
        if change.adds.len() == before {
            change.removes.push(RemovedFile::from(&old));
        }
        change.adds.extend(new.clone());
        self.current.insert((table, file), new);
        Some(())
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
            now_ms: (self.config.now_ms)(),
            tags: BTreeMap::new(),
        }
    }
}

/// The keys of a table's rows as bytes.
struct KeyBytes {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyBytes {
    fn new(schema: &SchemaRef, key: &[usize]) -> Self {
        let fields = key
            .iter()
            .map(|&column| SortField::new(schema.field(column).data_type().clone()))
            .collect();
        let converter =
            RowConverter::new(fields).expect("key columns have types that can be compared");
        KeyBytes {
            converter,
            columns: key.to_vec(),
        }
    }

    /// The keys of full rows.
    fn of_rows(&self, batch: &RecordBatch) -> arrow::row::Rows {
        self.converter
            .convert_columns(&key_columns(batch, &self.columns))
            .expect("rows of a table have its key columns")
    }

    /// The keys in a batch of key columns alone.
    fn of_keys(&self, batch: &RecordBatch) -> arrow::row::Rows {
        self.converter
            .convert_columns(batch.columns())
            .expect("a batch of keys has the key columns")
    }
}

/// Keys whose rows are to go.
struct KeySet {
    bytes: KeyBytes,
    keys: rustc_hash::FxHashSet<Box<[u8]>>,
}

impl KeySet {
    fn new(schema: &SchemaRef, key: &[usize], batches: &[RecordBatch]) -> Self {
        let bytes = KeyBytes::new(schema, key);
        let mut keys = rustc_hash::FxHashSet::default();
        for batch in batches {
            keys.extend(
                bytes
                    .of_keys(batch)
                    .iter()
                    .map(|key| Box::<[u8]>::from(key.as_ref())),
            );
        }
        KeySet { bytes, keys }
    }

    /// For each row whether its key is not among them.
    fn absent(&self, batch: &RecordBatch) -> BooleanArray {
        self.bytes
            .of_rows(batch)
            .iter()
            .map(|key| Some(!self.keys.contains(key.as_ref())))
            .collect()
    }
}

/// Leaves rows out that were replaced while their file was being filled: those at positions before the replacement.
fn without_replaced(
    schema: &SchemaRef,
    key: &[usize],
    batches: &[RecordBatch],
    replaced: &[(usize, RecordBatch)],
) -> Vec<RecordBatch> {
    let bytes = KeyBytes::new(schema, key);
    let mut gone_before: FxHashMap<Box<[u8]>, usize> = FxHashMap::default();
    for (position, keys) in replaced {
        for key in bytes.of_keys(keys).iter() {
            let entry = gone_before.entry(key.as_ref().into()).or_insert(0);
            *entry = (*entry).max(*position);
        }
    }
    let mut position = 0;
    let mut kept = Vec::with_capacity(batches.len());
    for batch in batches {
        let keys = bytes.of_rows(batch);
        let keep: BooleanArray = keys
            .iter()
            .enumerate()
            .map(|(row, key)| {
                Some(
                    gone_before
                        .get(key.as_ref())
                        .is_none_or(|gone| position + row >= *gone),
                )
            })
            .collect();
        position += batch.num_rows();
        kept.push(arrow::compute::filter_record_batch(batch, &keep).expect("one answer a row"));
    }
    kept
}

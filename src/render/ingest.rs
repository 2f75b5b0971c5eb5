//! From bytes to keyed rows: decode, clean, hash, route.
//!
//! One operator on every worker claims chunks and does all stateless work on them while they are in the cache. What cannot become a row becomes a
//! dead letter, with its bytes and its place; its neighbours go through.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, BinaryViewBuilder, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

use super::tombstone::Tombstones;
use crate::decode::{self, Decoder};
use crate::delta::{Delta, Epoch, take_rows};
use crate::operator::keyed::{DELETED, FileId, KeyedRows, PickedRows};
use crate::operator::map::{apply_isolating, reason};
use crate::operator::route::{Routed, hash_keys, key_columns, partition};
use crate::operator::row_hash::hash_rows;
use crate::plan::{Plan, Table};
use crate::reclock::{Bound, Claim, Feed};
use crate::source::{Chunk, Delete, position_key};

/// The columns of dead letters, as a table and as a view.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("stream", DataType::Utf8View, true),
        Field::new("partition", DataType::Utf8View, true),
        Field::new("offset", DataType::Int64, true),
        Field::new(
            "time",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ),
        Field::new("reason", DataType::Utf8View, true),
        Field::new("record", DataType::BinaryView, true),
    ]))
}

/// What the ingest operator hands on.
pub struct Ingested<'scope> {
    /// Rows by the group of tables they belong to, addressed to their owners.
    pub rows: Vec<StreamVec<'scope, Epoch, Routed<KeyedRows>>>,
    /// What could not become a row.
    pub dead: StreamVec<'scope, Epoch, Delta>,
    /// Where partitions are to be read on, for worker 0.
    pub bounds: StreamVec<'scope, Epoch, Routed<Bound>>,
}

/// Rows that were committed by an earlier run, to be loaded before anything else.
pub struct Restored {
    /// The table: its place in the plan.
    pub table: usize,
    /// The data file they are from.
    pub file: FileId,
    /// Reads the file's rows, all columns.
    pub read: Box<dyn FnOnce() -> Vec<RecordBatch> + Send>,
}

/// Everything the operator needs.
pub struct IngestConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The streams: name and declared columns, in the definition's order.
    pub streams: Vec<(String, SchemaRef)>,
    /// Where chunks come from.
    pub feed: Arc<dyn Feed>,
    /// The epoch of restored rows; chunks have later ones.
    pub start: Epoch,
    /// The restored rows that this worker reads.
    pub restored: Vec<Restored>,
    /// The time in microseconds since 1970, for dead letters.
    pub now_us: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Called with the stream, records and bytes of each chunk.
    pub counted: Arc<dyn Fn(usize, u64, u64, u64) + Send + Sync>,
}

/// Builds the operator.
pub fn ingest<'scope>(scope: Scope<'scope, Epoch>, config: IngestConfig) -> Ingested<'scope> {
    let IngestConfig {
        plan,
        streams,
        feed,
        start,
        restored,
        now_us,
        counted,
    } = config;
    let workers = scope.peers();
    let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
    let mut outputs = Vec::new();
    let mut rows = Vec::new();
    for _ in &plan.groups {
        let (output, stream) = builder.new_output::<Vec<Routed<KeyedRows>>>();
        outputs.push(OutputBuilder::from(output));
        rows.push(stream);
    }
    let (dead_output, dead) = builder.new_output::<Vec<Delta>>();
    let (bounds_output, bounds) = builder.new_output::<Vec<Routed<Bound>>>();
    let mut dead_output = OutputBuilder::from(dead_output);
    let mut bounds_output = OutputBuilder::from(bounds_output);
    let activator = scope.activator_for(builder.operator_info().address);

    let mut pipelines: Vec<StreamPipeline> = streams
        .iter()
        .enumerate()
        .map(|(stream, (name, schema))| StreamPipeline::new(stream, name, schema, &plan, workers))
        .collect();
    let groups = plan.groups.len();
    builder.build(move |mut capabilities| {
        for capability in &mut capabilities {
            capability.downgrade(&start);
        }
        let mut restored = restored.into_iter();
        move |_frontiers| {
            if capabilities.is_empty() {
                return;
            }
            if let Some(file) = restored.next() {
                let pipeline = pipelines
                    .iter()
                    .find(|pipeline| pipeline.tables.iter().any(|t| t.table == file.table));
                if let Some(table) =
                    pipeline.and_then(|p| p.tables.iter().find(|t| t.table == file.table))
                {
                    let mut output = outputs[table.group].activate();
                    let mut session = output.session(&capabilities[table.group]);
                    for batch in (file.read)() {
                        session.give_iterator(
                            table.route(&batch, None, 0, 0, Some(file.file)).into_iter(),
                        );
                    }
                }
                activator.activate();
                return;
            }
            match feed.claim() {
                Claim::Chunk(epoch, chunk) => {
                    for capability in &mut capabilities {
                        capability.downgrade(&epoch);
                    }
                    let pipeline = &mut pipelines[chunk.stream];
                    let result = pipeline.run(&chunk, &now_us);
                    counted(
                        chunk.stream,
                        chunk.records,
                        chunk.bytes.len() as u64,
                        result.dead_count(),
                    );
                    for (group, routed) in result.rows {
                        let mut output = outputs[group].activate();
                        output
                            .session(&capabilities[group])
                            .give_iterator(routed.into_iter());
                    }
                    if let Some(dead) = result.dead {
                        dead_output
                            .activate()
                            .session(&capabilities[groups])
                            .give(dead);
                    }
                    let bound = Bound {
                        partition: position_key(&pipeline.name, &chunk.partition),
                        position: chunk.end,
                    };
                    bounds_output
                        .activate()
                        .session(&capabilities[groups + 1])
                        .give(Routed {
                            worker: 0,
                            data: bound,
                        });
                    activator.activate();
                }
                Claim::Idle(epoch) => {
                    for capability in &mut capabilities {
                        capability.downgrade(&epoch);
                    }
                    activator.activate_after(Duration::from_millis(1));
                }
                Claim::End => capabilities.clear(),
            }
        }
    });
    Ingested { rows, dead, bounds }
}

/// Decoding and cleaning of one stream.
struct StreamPipeline {
    name: String,
    decoder: Decoder,
    tables: Vec<TablePipeline>,
}

/// Cleaning of one table.
struct TablePipeline {
    tombstones: Tombstones,
    plan: Arc<Plan>,
    table: usize,
    group: usize,
    place: usize,
    workers: usize,
}

/// What a chunk became.
#[derive(Default)]
struct ChunkResult {
    rows: Vec<(usize, Vec<Routed<KeyedRows>>)>,
    dead: Option<Delta>,
}

impl ChunkResult {
    fn dead_count(&self) -> u64 {
        self.dead.as_ref().map_or(0, |dead| dead.len() as u64)
    }
}

/// A dead letter without its stream and partition.
struct Dead {
    offset: u64,
    reason: String,
    record: Bytes,
}

impl StreamPipeline {
    fn new(
        stream: usize,
        name: &str,
        schema: &SchemaRef,
        plan: &Arc<Plan>,
        workers: usize,
    ) -> Self {
        let tables = plan
            .tables
            .iter()
            .enumerate()
            .filter(|(_, table)| table.stream == stream)
            .map(|(index, _)| {
                let group = plan
                    .groups
                    .iter()
                    .position(|group| group.contains(&index))
                    .expect("every table is in a group");
                let place = plan.groups[group]
                    .iter()
                    .position(|&t| t == index)
                    .expect("the group holds the table");
                let decoder = Decoder::new(Arc::clone(schema))
                    .expect("declared columns were checked when the definition was loaded");
                TablePipeline {
                    tombstones: Tombstones::new(&plan.tables[index], decoder),
                    plan: Arc::clone(plan),
                    table: index,
                    group,
                    place,
                    workers,
                }
            })
            .collect();
        let decoder = Decoder::new(Arc::clone(schema))
            .expect("declared columns were checked when the definition was loaded");
        StreamPipeline {
            name: name.to_owned(),
            decoder,
            tables,
        }
    }

    fn run(&mut self, chunk: &Chunk, now_us: &Arc<dyn Fn() -> i64 + Send + Sync>) -> ChunkResult {
        let decoded = self.decoder.decode(&chunk.bytes, chunk.first_offset);
        let mut dead: Vec<Dead> = decoded
            .rejects
            .into_iter()
            .map(|reject| Dead {
                offset: reject.offset,
                reason: reject.reason,
                record: reject.record,
            })
            .collect();
        let mut result = ChunkResult::default();
        let partition = crate::operator::route::hash_bytes(chunk.partition.as_bytes());
        for table in &mut self.tables {
            let name = table.definition().name.clone();
            let mut failed: Vec<(u64, String)> = Vec::new();
            let (rows, origin) = table.clean(&decoded.rows, &mut failed);
            for (row, why) in failed {
                let offset = decoded.offsets.at(row as usize);
                let reason = format!(
                    "the record cannot become a row of `{name}`: {why}; correct the value and send the record again"
                );
                dead.push(Dead {
                    offset,
                    reason,
                    record: record_at(chunk, offset),
                });
            }
            let (valid, origin) = table.with_keys(rows, origin, |row| {
                let offset = decoded.offsets.at(row as usize);
                let reason = format!(
                    "the record has no key: a column of the primary key of `{name}` is null; send it again with the key"
                );
                dead.push(Dead { offset, reason, record: record_at(chunk, offset) });
            });
            let (rows, deleted) = if chunk.deletes.is_empty() {
                (valid, None)
            } else {
                let offset_of = |row: usize| {
                    let row = origin.as_ref().map_or(row as u64, |origin| origin[row]);
                    decoded.offsets.at(row as usize)
                };
                let offsets = (0..valid.num_rows()).map(offset_of).collect();
                table.with_deletes(valid, offsets, &chunk.deletes, |delete, why| {
                    let reason = format!(
                        "the tombstone deletes nothing from `{name}`: {why}; send it again with the key as message key"
                    );
                    dead.push(Dead {
                        offset: delete.offset,
                        reason,
                        record: delete.key.clone(),
                    });
                })
            };
            if rows.num_rows() > 0 {
                result.rows.push((
                    table.group,
                    table.route(
                        &rows,
                        deleted.as_deref(),
                        partition,
                        chunk.first_offset,
                        None,
                    ),
                ));
            }
        }
        if !dead.is_empty() {
            dead.sort_by_key(|letter| letter.offset);
            result.dead = Some(self.letters(&chunk.partition, dead, now_us()));
        }
        result
    }

    fn letters(&self, partition: &str, dead: Vec<Dead>, now_us: i64) -> Delta {
        let count = dead.len();
        let mut records = BinaryViewBuilder::new();
        for letter in &dead {
            records.append_value(&letter.record);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(
                self.name.as_str(),
                count,
            ))),
            Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(
                partition, count,
            ))),
            Arc::new(Int64Array::from_iter_values(
                dead.iter().map(|letter| letter.offset as i64),
            )),
            Arc::new(TimestampMicrosecondArray::from(vec![now_us; count])),
            Arc::new(StringViewArray::from_iter_values(
                dead.iter().map(|letter| letter.reason.as_str()),
            )),
            Arc::new(records.finish()),
        ];
        let rows = RecordBatch::try_new(dead_letter_schema(), columns)
            .expect("the columns are the schema's");
        Delta::insert(rows)
    }
}

/// The bytes of the record at `offset` of `chunk`.
fn record_at(chunk: &Chunk, offset: u64) -> Bytes {
    decode::record_at(&chunk.bytes, offset - chunk.first_offset).unwrap_or_default()
}

impl TablePipeline {
    fn definition(&self) -> &Table {
        &self.plan.tables[self.table]
    }

    /// The cleaned rows, and for each its decoded row if that is not its own number. Rows that fail go to `failed`.
    fn clean(
        &self,
        decoded: &RecordBatch,
        failed: &mut Vec<(u64, String)>,
    ) -> (RecordBatch, Option<Vec<u64>>) {
        let mut rows = decoded.clone();
        let mut origin: Option<Vec<u64>> = None;
        for map in &self.definition().clean {
            let before = origin.take();
            let source = |row: u64| before.as_ref().map_or(row, |before| before[row as usize]);
            let mapped = apply_isolating(map, &rows, &mut |row, error| {
                failed.push((source(row), reason(error)));
            })
            .expect("rows on which the expressions fail were taken out");
            origin = match mapped.origin {
                None => before,
                Some(picked) => Some(picked.into_iter().map(source).collect()),
            };
            rows = mapped.rows;
        }
        (rows, origin)
    }

    /// Takes the rows with a null in their key out; also returns for each that is left its decoded row if that is not its own number.
    fn with_keys(
        &self,
        rows: RecordBatch,
        origin: Option<Vec<u64>>,
        mut missing: impl FnMut(u64),
    ) -> (RecordBatch, Option<Vec<u64>>) {
        let keys = key_columns(&rows, &self.definition().key);
        if keys.iter().all(|key| key.null_count() == 0) {
            return (rows, origin);
        }
        let source = |row: u64| origin.as_ref().map_or(row, |origin| origin[row as usize]);
        let (good, bad): (Vec<u64>, Vec<u64>) = (0..rows.num_rows() as u64)
            .partition(|&row| keys.iter().all(|key| key.is_valid(row as usize)));
        for row in bad {
            missing(source(row));
        }
        let rows = take_rows(&rows, &good).expect("row numbers come from the batch itself");
        (rows, Some(good.into_iter().map(source).collect()))
    }

    /// The rows and the deleted keys in the order of their offsets, and which of them are deleted keys.
    fn with_deletes(
        &mut self,
        rows: RecordBatch,
        mut offsets: Vec<u64>,
        deletes: &[Delete],
        wrong: impl FnMut(&Delete, String),
    ) -> (RecordBatch, Option<Vec<bool>>) {
        let (deleted, deleted_at) = self.tombstones.rows(deletes, wrong);
        let Some(deleted) = deleted else {
            return (rows, None);
        };
        let living = rows.num_rows();
        offsets.extend(deleted_at);
        let both = concat_batches(&self.definition().schema, [&rows, &deleted])
            .expect("both are rows of the table");
        let mut order: Vec<u64> = (0..both.num_rows() as u64).collect();
        order.sort_by_key(|&row| offsets[row as usize]);
        let is_deleted = order.iter().map(|&row| row as usize >= living).collect();
        let rows = take_rows(&both, &order).expect("row numbers come from the batch itself");
        (rows, Some(is_deleted))
    }

    /// Tells each worker which of `rows` have keys that it owns.
    fn route(
        &self,
        rows: &RecordBatch,
        deleted: Option<&[bool]>,
        partition_hash: u64,
        offset: u64,
        file: Option<FileId>,
    ) -> Vec<Routed<KeyedRows>> {
        let mut hashes = hash_rows(rows).expect("columns of tables can be hashed");
        for (row, hash) in hashes.iter_mut().enumerate() {
            let deleted = deleted.is_some_and(|deleted| deleted[row]);
            *hash = if deleted {
                DELETED
            } else {
                (*hash).max(DELETED + 1)
            };
        }
        let piece = |rows: PickedRows, hashes: Vec<u64>| KeyedRows {
            table: self.place,
            partition: partition_hash,
            offset,
            rows,
            hashes,
            file,
        };
        if self.workers == 1 {
            return vec![Routed {
                worker: 0,
                data: piece(PickedRows::all(rows.clone()), hashes),
            }];
        }
        let keys = key_columns(rows, &self.definition().key);
        let owners = hash_keys(&keys, rows.num_rows()).expect("columns of tables can be hashed");
        partition(&owners, self.workers)
            .into_iter()
            .map(|(worker, picked)| {
                let hashes = picked.iter().map(|&row| hashes[row as usize]).collect();
                Routed {
                    worker,
                    data: piece(PickedRows::some(rows.clone(), picked), hashes),
                }
            })
            .collect()
    }
}

//! From the bytes of a chunk to the rows of all tables over its stream.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::dead::{Dead, letters};
use super::table::TablePipeline;
use crate::decode::{self, Decoder};
use crate::definition::canonical_schema;
use crate::delta::Delta;
use crate::operator::keyed::KeyedRows;
use crate::operator::route::{Routed, hash_bytes};
use crate::plan::Plan;
use crate::source::Chunk;

/// Decoding and cleaning of one stream.
pub(super) struct StreamPipeline {
    pub name: String,
    decoder: Decoder,
    pub tables: Vec<TablePipeline>,
}

/// What a chunk became.
#[derive(Default)]
pub(super) struct ChunkResult {
    pub rows: Vec<(usize, Vec<Routed<KeyedRows>>)>,
    pub dead: Option<Delta>,
}

impl ChunkResult {
    pub fn dead_count(&self) -> u64 {
        self.dead.as_ref().map_or(0, |dead| dead.len() as u64)
    }
}

impl StreamPipeline {
    /// For the stream at this place in the definition.
    pub fn new(
        stream: usize,
        name: &str,
        schema: &SchemaRef,
        plan: &Arc<Plan>,
        workers: usize,
    ) -> Self {
        let decoder = |schema: SchemaRef| {
            Decoder::new(schema)
                .expect("declared columns were checked when the definition was loaded")
        };
        // A tombstone has nothing but the key, whatever a record must have.
        let nullable = canonical_schema(schema.fields());
        let tables = plan
            .tables
            .iter()
            .enumerate()
            .filter(|(_, table)| table.stream == stream)
            .map(|(table, _)| {
                TablePipeline::new(plan, table, decoder(Arc::clone(&nullable)), workers)
            })
            .collect();
        StreamPipeline {
            name: name.to_owned(),
            decoder: decoder(Arc::clone(schema)),
            tables,
        }
    }

    /// Makes rows and dead letters of a chunk.
    pub fn run(&mut self, chunk: &Chunk, now_us: &dyn Fn() -> i64) -> ChunkResult {
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
        let partition = hash_bytes(chunk.partition.as_bytes());
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
            result.dead = Some(letters(&self.name, &chunk.partition, &dead, now_us()));
        }
        result
    }
}

/// The bytes of the record at `offset` of `chunk`.
fn record_at(chunk: &Chunk, offset: u64) -> Bytes {
    decode::record_at(&chunk.bytes, offset - chunk.first_offset).unwrap_or_default()
}

//! From the bytes of a chunk to the rows of all tables over its stream.

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::dead::{Letters, no_delete, no_key, no_rest, no_row};
use super::table::{Place, TablePipeline};
use super::tombstone::deletes_from;
use crate::decode::{Decoder, LineIndex};
use crate::definition::canonical_schema;
use crate::delta::{Delta, WireBatch};
use crate::operator::keyed::{KeyedRows, Retried};
use crate::operator::route::{Routed, hash_bytes};
use crate::plan::Plan;
use crate::source::{Chunk, Delete, Refused};

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
        let decoded = self
            .decoder
            .decode_or_reject(&chunk.bytes, chunk.first_offset);
        let mut dead = Letters::of(&chunk.bytes);
        for reject in &decoded.rejects {
            dead.push(reject.offset, &reject.record, &reject.reason);
        }
        for rest in &chunk.refused {
            dead.push(rest.offset, &rest.begun, no_rest(&rest.file, &rest.why));
        }
        let deletes = self.addressed(&chunk.deletes, &mut dead);
        let lines = LazyCell::new(|| LineIndex::new(&chunk.bytes));
        let record_at = |offset: u64| {
            let record = lines.record(offset - chunk.first_offset);
            record.unwrap_or_default()
        };
        let mut result = ChunkResult::default();
        let partition = hash_bytes(chunk.partition.as_bytes());
        for (table, deletes) in self.tables.iter_mut().zip(deletes) {
            if !is_for(chunk, &table.definition().name) {
                continue;
            }
            let name = table.definition().name.clone();
            let (rows, origin) = table.clean(&decoded.rows, |row, why| {
                let offset = decoded.offsets.at(row as usize);
                let why = format_args!("{why}; correct the value and send the record again");
                dead.push(offset, &record_at(offset), no_row(&name, why));
            });
            let (valid, origin) = table.with_keys(rows, origin, |row| {
                let offset = decoded.offsets.at(row as usize);
                dead.push(offset, &record_at(offset), no_key(&name));
            });
            let offset_of = |row: usize| {
                let row = origin.as_ref().map_or(row as u64, |origin| origin[row]);
                decoded.offsets.at(row as usize)
            };
            let mut offsets = Vec::new();
            if !deletes.is_empty() || chunk.retry.is_some() {
                offsets = (0..valid.num_rows()).map(offset_of).collect();
            }
            let (rows, deleted) = if deletes.is_empty() {
                (valid, None)
            } else {
                table.with_deletes(valid, &mut offsets, &deletes, |delete, why| {
                    undeleted(&mut dead, delete, Some(&name), &why);
                })
            };
            if rows.num_rows() == 0 {
                continue;
            }
            // What each record is again, should its row not be decided.
            let retried = chunk.retry.as_ref().map(|retry| {
                let mut again = Letters::of(&chunk.bytes);
                for &offset in &offsets {
                    match chunk.deletes.iter().find(|delete| delete.offset == offset) {
                        Some(delete) => {
                            again.push(offset, &delete.key, no_delete(Some(&name), UNDECIDED));
                        }
                        None => again.push(offset, &record_at(offset), no_row(&name, UNDECIDED)),
                    }
                }
                let letters = again.rows(&self.name, &chunk.partition, now_us());
                Retried {
                    came: retry.came,
                    letters: WireBatch(letters.rows),
                }
            });
            let place = Place {
                partition,
                offset: chunk.first_offset,
                file: None,
                retried,
            };
            let routed = table.route(&rows, deleted.as_deref(), place);
            result.rows.push((table.group, routed));
        }
        if dead.len() > 0 {
            result.dead = Some(dead.rows(&self.name, &chunk.partition, now_us()));
        }
        result
    }

    /// For each table the deletions that are meant for it; those that cannot be told apart are
    /// dead.
    fn addressed(&self, deletes: &[Delete], dead: &mut Letters<'_>) -> Vec<Vec<Delete>> {
        let mut addressed = vec![Vec::new(); self.tables.len()];
        if deletes.is_empty() {
            return addressed;
        }
        let keys: Vec<_> = self.tables.iter().map(|t| t.tombstones.columns()).collect();
        for delete in deletes {
            match deletes_from(&keys, &delete.key) {
                Ok(tables) => {
                    for table in tables {
                        addressed[table].push(delete.clone());
                    }
                }
                Err(why) => undeleted(dead, delete, None, &why),
            }
        }
        addressed
    }
}

/// Whether the chunk's records are to become rows of `table`: those that were dead letters of one
/// table are not, of another.
fn is_for(chunk: &Chunk, table: &str) -> bool {
    let only = chunk
        .retry
        .as_ref()
        .and_then(|retry| retry.table.as_deref());
    only.is_none_or(|only| only == table)
}

fn undeleted(dead: &mut Letters<'_>, delete: &Delete, of: Option<&str>, why: &str) {
    let why = format_args!("{why}; send it again with the key as message key");
    dead.push(delete.offset, &delete.key, no_delete(of, why));
}

/// Why a record that was sent in again is a dead letter again.
const UNDECIDED: &str = "a row with its key came in the same commit, or nobody knows when, so it may be the newer one; \
     send the record again, through the stream, if it is not";

/// The most records that are worked on at once: between two such pieces of a chunk the worker does
/// its other work.
const PIECE_RECORDS: u64 = 16 * 1024;

/// A chunk that is worked on piece by piece.
pub(super) struct Pieces {
    pub chunk: Chunk,
    /// The dead letters of the pieces that were handed out.
    pub dead: u64,
    left: Bytes,
    next_offset: u64,
    deletes: VecDeque<Delete>,
    refused: VecDeque<Refused>,
}

impl Pieces {
    /// All of `chunk`.
    pub fn of(chunk: Chunk) -> Self {
        Pieces {
            left: chunk.bytes.clone(),
            next_offset: chunk.first_offset,
            deletes: chunk.deletes.iter().cloned().collect(),
            refused: chunk.refused.iter().cloned().collect(),
            dead: 0,
            chunk,
        }
    }

    /// The next records, up to [`PIECE_RECORDS`].
    pub fn next(&mut self) -> Chunk {
        let cut = match self.chunk.records > PIECE_RECORDS {
            false => None,
            true => memchr::memchr_iter(b'\n', &self.left).nth(PIECE_RECORDS as usize - 1),
        };
        let end = cut.map_or(self.left.len(), |newline| newline + 1);
        let bytes = self.left.split_to(end);
        let first_offset = self.next_offset;
        let records = match cut {
            Some(_) => PIECE_RECORDS,
            None => (self.chunk.first_offset + self.chunk.records).saturating_sub(first_offset),
        };
        self.next_offset += records;
        let last = self.left.is_empty();
        let here = |offset: u64| last || offset < self.next_offset;
        let deletes = self.deletes.partition_point(|delete| here(delete.offset));
        let refused = self.refused.partition_point(|rest| here(rest.offset));
        Chunk {
            bytes,
            first_offset,
            records,
            deletes: self.deletes.drain(..deletes).collect(),
            refused: self.refused.drain(..refused).collect(),
            partition: self.chunk.partition.clone(),
            end: self.chunk.end.clone(),
            retry: self.chunk.retry.clone(),
            ..self.chunk
        }
    }

    /// Whether there is nothing left to hand out.
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::count_records;
    use crate::source::Position;

    #[test]
    fn a_chunk_of_many_records_is_cut_between_them() {
        let count = PIECE_RECORDS * 2 + 3;
        let text: String = (0..count).map(|record| format!("{record}\n")).collect();
        let delete = |offset| Delete {
            offset,
            key: Bytes::new(),
        };
        let refused = |offset| Refused {
            offset,
            file: String::new(),
            why: String::new(),
            begun: Bytes::new(),
        };
        let mut pieces = Pieces::of(Chunk {
            stream: 0,
            partition: "p".to_owned(),
            first_offset: 100,
            records: count,
            bytes: Bytes::from(text.clone()),
            deletes: vec![delete(100), delete(100 + PIECE_RECORDS), delete(99 + count)],
            refused: vec![refused(99 + PIECE_RECORDS), refused(99 + count)],
            end: Position {
                offset: 100 + count,
                token: String::new(),
            },
            retry: None,
        });
        let mut together = Vec::new();
        let mut starts = Vec::new();
        while !pieces.is_done() {
            let piece = pieces.next();
            assert_eq!(piece.records, count_records(&piece.bytes));
            let beside = (piece.deletes.len(), piece.refused.len());
            starts.push((piece.first_offset - 100, beside));
            together.extend_from_slice(&piece.bytes);
        }
        assert_eq!(together, text.as_bytes());
        assert_eq!(
            starts,
            [
                (0, (1, 1)),
                (PIECE_RECORDS, (1, 0)),
                (2 * PIECE_RECORDS, (1, 1))
            ]
        );
    }
}

//! One shard's way into chunks: which of its records each stream still needs, and where each is to
//! be read on.
//!
//! The records of a shared shard belong to several streams, each with a position of its own in this
//! shard. A commit may hold the chunks of some streams of an answer and not those of others, so
//! after a restart the shard is read from the earliest of the positions and every stream drops what
//! its own position is past.
//!
//! # Invariants
//! 1. A stream's records come in the order of their sequence numbers, each once, whatever the
//!    server repeats.
//! 2. All streams of a shard have a position before any has a record: one without position was not
//!    read at all.
//! 3. Offsets count lines. Blank lines (offsets without record) mark the shard's end and, rarely,
//!    that an idle shard was looked at: commits keep the position with the larger offset, so these
//!    marks are never overtaken by older ones.

use bytes::Bytes;

use super::aggregated::{HashRange, unpack};
use super::body::{push_data, push_unrouted};
use super::place::{Place, Sequence, Token};
use super::route::{Route, Routing};
use crate::source::{Chunk, Position};

/// A chunk is closed when it has so many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Streams without records in the answers are told where the shard is read on so often.
const ADVANCE_EVERY_MS: i64 = 1_000;

/// So often an idle shard gets a blank line, so that a commit notes until when it was looked at.
const MARK_EVERY_MS: i64 = 3_600_000;

/// Behind what was just read, retention is given so much before it counts as having overtaken us.
const RETENTION_SLACK_MS: i64 = 60_000;

/// A record as the server hands it over.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its sequence number.
    pub sequence: Sequence,
    /// Its partition key.
    pub partition_key: &'a str,
    /// When it arrived, in milliseconds since 1970; some servers tell seconds only.
    pub arrival_ms: Option<i64>,
    /// Its data.
    pub data: &'a [u8],
}

/// Where the reading of a shard stands.
#[derive(Debug)]
pub struct Cursor {
    partition: String,
    routing: Routing,
    range: Option<HashRange>,
    streams: Vec<Stream>,
    /// The last record that was taken in.
    last: Option<Sequence>,
    /// Until when all that arrived was read.
    seen_ms: Option<i64>,
    /// Whether nothing was taken in since a restart.
    resumed: bool,
}

/// One stream's share of the shard.
#[derive(Debug)]
struct Stream {
    index: usize,
    offset: u64,
    place: Place,
    /// Whether it has no position yet.
    new: bool,
    ended: bool,
    /// When its position was last told, and when by a chunk with bytes.
    told_ms: i64,
    marked_ms: i64,
    lines: Vec<u8>,
    records: u64,
}

impl Cursor {
    /// The shard `partition`, whose streams have these positions. A stream without one begins at
    /// `default`, or where the others are if that is `None`.
    pub fn new(
        partition: String,
        routing: Routing,
        range: Option<HashRange>,
        position: impl Fn(usize) -> Position,
        default: Option<Place>,
        now_ms: i64,
    ) -> Result<Self, String> {
        let mut streams = Vec::new();
        let mut seen_ms: Option<i64> = None;
        for index in routing.streams() {
            let position = position(index);
            let new = position.token.is_empty();
            let token = if new {
                Token {
                    place: Place::Beginning,
                    seen_ms: None,
                    ended: false,
                }
            } else {
                let refused =
                    |()| format!("the position `{}` is not one of Kinesis", position.token);
                position.token.parse().map_err(refused)?
            };
            if !token.ended
                && let Some(seen) = token.seen_ms
            {
                seen_ms = Some(seen_ms.map_or(seen, |other| other.min(seen)));
            }
            streams.push(Stream {
                index,
                offset: position.offset,
                place: token.place,
                new,
                ended: token.ended,
                told_ms: now_ms,
                marked_ms: token.seen_ms.unwrap_or(now_ms),
                lines: Vec::new(),
                records: 0,
            });
        }
        let others = streams
            .iter()
            .filter(|stream| !stream.new && !stream.ended)
            .map(|stream| &stream.place)
            .min();
        let default = default
            .or_else(|| others.cloned())
            .unwrap_or(Place::Beginning);
        for stream in streams.iter_mut().filter(|stream| stream.new) {
            stream.place = default.clone();
        }
        let resumed = seen_ms.is_some();
        Ok(Cursor {
            partition,
            routing,
            range,
            streams,
            last: None,
            seen_ms,
            resumed,
        })
    }

    /// Where the shard is to be read on: the earliest place that a stream needs.
    pub fn place(&self) -> Place {
        let needed = self
            .streams
            .iter()
            .filter(|stream| !stream.ended)
            .map(|stream| &stream.place);
        needed.min().cloned().unwrap_or(Place::Beginning)
    }

    /// Chunks without records that give a position to the streams that have none.
    pub fn begin(&mut self) -> Vec<Chunk> {
        let seen_ms = self.seen_ms;
        let new = self.streams.iter_mut().filter(|stream| stream.new);
        new.map(|stream| {
            stream.new = false;
            stream.chunk(&self.partition, seen_ms)
        })
        .collect()
    }

    /// Takes in an answer of the server: these records, and that it is `behind_ms` behind what
    /// arrives at `now_ms`.
    pub fn take(&mut self, records: &[Record<'_>], behind_ms: i64, now_ms: i64) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for record in records {
            if self
                .last
                .as_ref()
                .is_some_and(|last| record.sequence <= *last)
            {
                continue;
            }
            for stream in &mut self.streams {
                // From the first record that arrived late enough all are wanted, even where the
                // times go back a little. Some servers tell seconds only.
                if let Place::Time(ms) = stream.place
                    && record.arrival_ms.is_none_or(|arrival| arrival + 999 >= ms)
                {
                    stream.place = Place::Beginning;
                }
            }
            match unpack(record.data, self.range) {
                None => self.push(record, record.partition_key, record.data),
                Some(packed) => {
                    for packed in packed {
                        self.push(record, packed.partition_key, packed.data);
                    }
                }
            }
            // A record is never divided, so that a sequence number says what was read.
            let after = Place::After(record.sequence.clone());
            for stream in &mut self.streams {
                if stream.lines.len() >= CHUNK_BYTES {
                    stream.place = after.clone();
                    chunks.push(stream.chunk(&self.partition, self.seen_ms));
                }
            }
            self.last = Some(record.sequence.clone());
        }
        self.look(records, behind_ms, now_ms);
        for stream in self.streams.iter_mut().filter(|stream| !stream.ended) {
            if let (Some(last), false, false) = (
                &self.last,
                records.is_empty(),
                matches!(stream.place, Place::Time(_)),
            ) {
                let after = Place::After(last.clone());
                stream.place = stream.place.clone().max(after);
            }
            let mark = now_ms - stream.marked_ms >= MARK_EVERY_MS;
            if mark && stream.records == 0 {
                stream.blank();
            }
            let advance = !records.is_empty() && now_ms - stream.told_ms >= ADVANCE_EVERY_MS;
            if stream.records > 0 || advance {
                stream.told_ms = now_ms;
                if stream.records > 0 {
                    stream.marked_ms = now_ms;
                }
                chunks.push(stream.chunk(&self.partition, self.seen_ms));
            }
        }
        chunks
    }

    /// Chunks without records that say how far the shard was read.
    pub fn rest(&mut self) -> Vec<Chunk> {
        let open = self.streams.iter_mut().filter(|stream| !stream.ended);
        open.map(|stream| stream.chunk(&self.partition, self.seen_ms))
            .collect()
    }

    /// The chunks that say that the shard was read to its end.
    pub fn end(&mut self) -> Vec<Chunk> {
        let open = self.streams.iter_mut().filter(|stream| !stream.ended);
        open.map(|stream| {
            stream.ended = true;
            stream.blank();
            stream.chunk(&self.partition, self.seen_ms)
        })
        .collect()
    }

    /// Since when records may have been deleted unread, if retention has passed what was read last.
    pub fn lost_since(&self, now_ms: i64, retention_ms: i64) -> Option<i64> {
        let slack = if self.resumed { 0 } else { RETENTION_SLACK_MS };
        self.seen_ms
            .filter(|seen| now_ms - seen > retention_ms + slack)
    }

    /// Accepts that records were lost: the shard goes on with the oldest there is.
    pub fn accept_loss(&mut self, now_ms: i64) {
        self.seen_ms = Some(now_ms);
        self.resumed = false;
    }

    /// The partition's name.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The streams that get records of this shard.
    pub fn streams(&self) -> Vec<usize> {
        self.streams.iter().map(|stream| stream.index).collect()
    }

    fn push(&mut self, record: &Record<'_>, partition_key: &str, data: &[u8]) {
        let (index, dead) = match self.routing.route(partition_key) {
            Route::Stream(index) => (index, false),
            Route::DeadLetter(index) => (index, true),
            Route::Skip => return,
        };
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.index == index) else {
            return;
        };
        let wanted = match &stream.place {
            Place::Beginning => true,
            Place::Time(_) => false,
            Place::After(read) => record.sequence > *read,
        };
        if stream.ended || !wanted {
            return;
        }
        if dead {
            push_unrouted(&mut stream.lines, partition_key, &record.sequence, data);
        } else {
            push_data(&mut stream.lines, data);
        }
        stream.records += 1;
    }

    /// Notes until when all that arrived was read.
    fn look(&mut self, records: &[Record<'_>], behind_ms: i64, now_ms: i64) {
        let arrival = records.last().and_then(|record| record.arrival_ms);
        // Some servers always tell that nothing is behind; then the last record's time is what is
        // certain.
        let seen = match arrival {
            Some(arrival) if behind_ms == 0 => arrival,
            _ => now_ms - behind_ms.max(0),
        };
        let later = if self.resumed { None } else { self.seen_ms };
        self.seen_ms = Some(later.map_or(seen, |before| before.max(seen)));
        self.resumed = false;
    }
}

impl Stream {
    fn blank(&mut self) {
        self.lines.push(b'\n');
        self.records += 1;
    }

    /// What was gathered, as a chunk.
    fn chunk(&mut self, partition: &str, seen_ms: Option<i64>) -> Chunk {
        let first_offset = self.offset;
        let records = std::mem::take(&mut self.records);
        self.offset += records;
        let token = Token {
            place: self.place.clone(),
            seen_ms,
            ended: self.ended,
        };
        Chunk {
            stream: self.index,
            partition: partition.to_owned(),
            first_offset,
            records,
            bytes: Bytes::from(std::mem::take(&mut self.lines)),
            deletes: Vec::new(),
            refused: Vec::new(),
            end: Position {
                offset: self.offset,
                token: token.to_string(),
            },
            retry: None,
        }
    }
}

#[cfg(test)]
mod tests;

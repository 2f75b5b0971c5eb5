//! Streams of the embedded log, read shard by shard.

use std::sync::Arc;

use super::cursors::Cursors;
use super::{Embedded, blocking, no_stream};
use crate::gateway::backend::{Fault, ShardRecord, ShardRecords, ShardStart};
use crate::gateway::iterator::{Room, ShardIterator, no_shard};
use crate::gateway::log::{Log, LogError, Most, Topic};
use crate::gateway::shards::{sequence, shard_id, shard_number};

impl Embedded {
    /// The shards of a stream. A topic may be older than its stream and have more partitions, and
    /// its records are told with their numbers.
    pub(super) fn shard_count(&self, stream: &str) -> Result<u32, Fault> {
        let known = self.streams.get(stream).ok_or_else(|| no_stream(stream))?;
        let topics = self.naming.topics(stream);
        let partitions = topics
            .iter()
            .filter_map(|name| Some(self.log.topic(name)?.partitions()));
        Ok(partitions.fold(known.shards, u32::max))
    }

    /// An iterator that begins at `start`.
    pub(super) fn iterator(
        &self,
        stream: &str,
        shard: &str,
        start: ShardStart,
    ) -> Result<String, Fault> {
        let count = self.shard_count(stream)?;
        let number = shard_number(shard).filter(|number| *number < count);
        let number = number.ok_or_else(|| no_shard(stream, shard))?;
        let topics = self.naming.topics(stream);
        let iterator = match start {
            ShardStart::Oldest => ShardIterator::new(stream, number, Vec::new()),
            ShardStart::Latest => {
                let ends = topics.into_iter().filter_map(|name| {
                    let (_, end) = self.log.topic(&name)?.bounds(number)?;
                    Some((name, end))
                });
                ShardIterator::new(stream, number, ends.collect())
            }
            ShardStart::At(told) => ShardIterator::at_sequence(stream, number, &topics, &told, 0)?,
            ShardStart::After(told) => {
                ShardIterator::at_sequence(stream, number, &topics, &told, 1)?
            }
            ShardStart::Time(_) => {
                return Err(Fault::Argument(format!(
                    "the stream `{stream}` is kept in the embedded log, which does not know when each record came, so there is no iterator AT_TIMESTAMP; begin at TRIM_HORIZON, or at a sequence number"
                )));
            }
        };
        Ok(iterator.to_text())
    }

    /// Records from an iterator on.
    pub(super) async fn read(
        &self,
        stream: &str,
        iterator: &str,
        limit: Option<usize>,
    ) -> Result<ShardRecords, Fault> {
        let count = self.shard_count(stream)?;
        let iterator = ShardIterator::from_text(iterator, stream)?;
        let shard = iterator.shard;
        if shard >= count {
            return Err(no_shard(stream, &shard_id(shard)));
        }
        // Topics that are not there yet have nothing to read, and will be read from their
        // beginning.
        let names = self.naming.topics(stream);
        let topics = iterator.order(&names).into_iter().filter_map(|(name, at)| {
            let topic = self.log.topic(&name)?;
            let key = self.naming.key(stream, &name).to_owned();
            (shard < topic.partitions()).then_some((topic, key, at))
        });
        let topics: Vec<(Arc<Topic>, String, u64)> = topics.collect();
        let (log, cursors) = (Arc::clone(&self.log), Arc::clone(&self.cursors));
        let now_ms = (self.now_ms)();
        blocking(move || {
            let mut reading = Reading {
                log: &log,
                cursors: &cursors,
                shard,
                room: Room::of(limit),
                read: ShardRecords::default(),
            };
            let mut next = Vec::with_capacity(topics.len());
            let mut filled = None;
            for (number, (topic, key, at)) in topics.iter().enumerate() {
                let had_room = !reading.room.is_full();
                next.push((topic.name.clone(), reading.topic(topic, key, *at, now_ms)?));
                if had_room && reading.room.is_full() {
                    filled = Some(number);
                }
            }
            let mut read = reading.read;
            read.next = Some(iterator.go_on(next, filled).to_text());
            Ok(read)
        })
        .await
    }
}

/// An answer on its way.
struct Reading<'a> {
    log: &'a Log,
    cursors: &'a Cursors,
    shard: u32,
    room: Room,
    read: ShardRecords,
}

impl Reading<'_> {
    /// Reads a topic as far as there is room, and tells the offset to go on at. Blocks.
    fn topic(&mut self, topic: &Topic, key: &str, at: u64, now_ms: u64) -> Result<u64, LogError> {
        let bounds = |topic: &Topic| topic.bounds(self.shard).unwrap_or_default();
        let (first, _) = bounds(topic);
        let mut cursor = self.cursors.at(&topic.name, self.shard, at.max(first));
        if !self.room.is_full() {
            let most = Most {
                records: self.room.records,
                bytes: self.room.bytes,
            };
            let found = self.log.read(topic, self.shard, &mut cursor, most)?;
            if !found.is_empty() {
                self.cursors.keep(&topic.name, self.shard, cursor);
            }
            let mut written = (0, 0);
            for (offset, data) in found {
                if offset >= written.1 {
                    written = self.log.written(topic, self.shard, offset)?;
                }
                // With its newline, as the log counts.
                self.room.take(data.len() + 1);
                self.read.records.push(ShardRecord {
                    sequence: sequence(&topic.name, self.shard, offset),
                    key: key.to_owned(),
                    data,
                    arrived_ms: Some(written.0),
                });
            }
        }
        if cursor.offset < bounds(topic).1 {
            let (written_ms, _) = self.log.written(topic, self.shard, cursor.offset)?;
            // Whoever has something left to read is behind, if only a little.
            let behind_ms = now_ms.saturating_sub(written_ms).max(1);
            self.read.behind_ms = self.read.behind_ms.max(behind_ms);
        }
        Ok(cursor.offset)
    }
}

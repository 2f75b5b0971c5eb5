//! Streams that are kept in Kafka, read shard by shard.
//!
//! A record without key has an empty partition key, and one without value, a deletion, has empty
//! data: Kinesis knows neither.

use std::time::Duration;

use bytes::Bytes;

use super::Kafka;
use super::topics::{ASK_EVERY, KNOWN_FOR};
use crate::gateway::backend::{Fault, ShardRecord, ShardRecords, ShardStart};
use crate::gateway::iterator::{Room, ShardIterator, no_shard};
use crate::gateway::shards::{sequence, shard_id, shard_number};

impl Kafka {
    /// An iterator that begins at `start`.
    pub(super) async fn iterator(
        &self,
        stream: &str,
        shard: &str,
        start: ShardStart,
    ) -> Result<String, Fault> {
        // The stream must be there, whatever is said of the shard.
        self.topics_of(stream, KNOWN_FOR).await?;
        let number = shard_number(shard).ok_or_else(|| no_shard(stream, shard))?;
        // A topic that is not known yet would be read from its oldest record.
        let holding = self.holding(stream, number, ASK_EVERY).await?;
        let topics = self.naming.topics(stream);
        let iterator = match start {
            ShardStart::Oldest => ShardIterator::new(stream, number, Vec::new()),
            ShardStart::At(told) => ShardIterator::at_sequence(stream, number, &topics, &told, 0)?,
            ShardStart::After(told) => {
                ShardIterator::at_sequence(stream, number, &topics, &told, 1)?
            }
            ShardStart::Latest => {
                let next = self.offsets(&holding, number, None).await?;
                ShardIterator::new(stream, number, next)
            }
            ShardStart::Time(ms) => {
                let next = self.offsets(&holding, number, Some(ms)).await?;
                ShardIterator::new(stream, number, next)
            }
        };
        Ok(iterator.to_text())
    }

    /// The offsets of a time in topics, or their ends where there is no record that late.
    async fn offsets(
        &self,
        topics: &[String],
        shard: u32,
        ms: Option<u64>,
    ) -> Result<Vec<(String, u64)>, Fault> {
        let reader = self.readers.take().await?;
        let mut next = Vec::with_capacity(topics.len());
        for topic in topics {
            // The end first: records that come meanwhile are not passed over.
            let (_, end) = reader.bounds(topic, shard).await?;
            let at = match ms {
                Some(ms) => reader.offset_at(topic, shard, ms).await?,
                None => None,
            };
            next.push((topic.clone(), at.unwrap_or(end)));
        }
        self.readers.give_back(reader);
        Ok(next)
    }

    /// The topics of a stream that have a partition for the shard, known for at most so long.
    async fn holding(
        &self,
        stream: &str,
        shard: u32,
        at_most: Duration,
    ) -> Result<Vec<String>, Fault> {
        for at_most in [at_most, ASK_EVERY] {
            let topics = self.topics_of(stream, at_most).await?;
            let holding: Vec<String> = topics
                .into_iter()
                .filter(|topic| (shard as usize) < topic.partitions.len())
                .map(|topic| topic.name)
                .collect();
            if !holding.is_empty() {
                return Ok(holding);
            }
        }
        Err(no_shard(stream, &shard_id(shard)))
    }

    /// Records from an iterator on.
    pub(super) async fn read(
        &self,
        stream: &str,
        iterator: &str,
        limit: Option<usize>,
    ) -> Result<ShardRecords, Fault> {
        self.topics_of(stream, KNOWN_FOR).await?;
        let iterator = ShardIterator::from_text(iterator, stream)?;
        let shard = iterator.shard;
        let holding = self.holding(stream, shard, KNOWN_FOR).await?;
        let mut room = Room::of(limit);
        let mut next = iterator.order(&holding);
        let mut filled = None;
        let mut read = ShardRecords::default();
        let reader = self.readers.take().await?;
        for (number, (topic, at)) in next.iter_mut().enumerate() {
            let (first, end) = reader.bounds(topic, shard).await?;
            // Records that are gone are passed over.
            *at = (*at).max(first);
            let mut read_ms = None;
            if *at < end && !room.is_full() {
                let (records, behind) = reader.read(topic, shard, *at, end, &mut room).await?;
                *at = behind;
                read_ms = records.last().and_then(|last| last.ms);
                read.records
                    .extend(records.into_iter().map(|found| ShardRecord {
                        sequence: sequence(topic, shard, found.offset),
                        key: found.key.as_ref().map_or_else(String::new, text),
                        data: found.value.unwrap_or_default(),
                        arrived_ms: found.ms,
                    }));
                if room.is_full() {
                    filled = Some(number);
                }
            }
            if *at < end {
                // Whoever has something left to read is behind, if nobody knows how far.
                let behind_ms = read_ms.map_or(1, |ms| (self.now_ms)().saturating_sub(ms).max(1));
                read.behind_ms = read.behind_ms.max(behind_ms);
            }
        }
        self.readers.give_back(reader);
        read.next = Some(iterator.go_on(next, filled).to_text());
        Ok(read)
    }
}

fn text(key: &Bytes) -> String {
    String::from_utf8_lossy(key).into_owned()
}

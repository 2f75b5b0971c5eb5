//! Streams of Kinesis, read shard by shard, as Kinesis does it: iterators and their errors are its
//! own.
//!
//! An iterator of Kinesis does not say which stream it is for, and Kinesis does not ask; so nobody
//! checks here whether it is that of the path.

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ChildShard, Record, ShardIteratorType};
use bytes::Bytes;

use super::Kinesis;
use super::answer::fault;
use crate::gateway::backend::{Fault, ShardInfo, ShardRecord, ShardRecords, ShardStart};

impl Kinesis {
    /// An iterator that begins at `start`.
    pub(super) async fn iterator(
        &self,
        stream: &str,
        shard: &str,
        start: ShardStart,
    ) -> Result<String, Fault> {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(stream)
            .shard_id(shard);
        let request = match start {
            ShardStart::Oldest => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ShardStart::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            ShardStart::At(told) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(told),
            ShardStart::After(told) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(told),
            ShardStart::Time(ms) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))),
        };
        let answer = request.send().await;
        let answer = answer.map_err(|error| fault(&self.name, "GetShardIterator", &error))?;
        answer.shard_iterator.ok_or_else(|| Fault::Failed {
            retriable: true,
            why: format!(
                "{} answered GetShardIterator for the stream `{stream}` without an iterator",
                self.name
            ),
        })
    }

    /// Records from an iterator on.
    pub(super) async fn read(
        &self,
        iterator: &str,
        limit: Option<usize>,
    ) -> Result<ShardRecords, Fault> {
        let limit = limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
        let request = self.client.get_records().shard_iterator(iterator);
        let answer = request.set_limit(limit).send().await;
        let answer = answer.map_err(|error| fault(&self.name, "GetRecords", &error))?;
        let behind_ms = answer.millis_behind_latest.unwrap_or_default();
        let children = answer.child_shards.unwrap_or_default();
        Ok(ShardRecords {
            records: answer.records.into_iter().map(record).collect(),
            next: answer.next_shard_iterator,
            behind_ms: u64::try_from(behind_ms).unwrap_or_default(),
            children: children.into_iter().map(child).collect(),
        })
    }
}

fn record(record: Record) -> ShardRecord {
    let arrived = record.approximate_arrival_timestamp;
    let arrived_ms = arrived.and_then(|at| u64::try_from(at.to_millis().ok()?).ok());
    ShardRecord {
        sequence: record.sequence_number,
        key: record.partition_key.unwrap_or_default(),
        data: Bytes::from(record.data.into_inner()),
        arrived_ms,
    }
}

fn child(shard: ChildShard) -> ShardInfo {
    let mut parents = shard.parent_shards.into_iter();
    ShardInfo {
        id: shard.shard_id,
        parent: parents.next(),
        adjacent_parent: parents.next(),
        hashes: shard.hash_key_range.map_or_else(Default::default, |range| {
            (range.starting_hash_key, range.ending_hash_key)
        }),
        sequences: Default::default(),
    }
}

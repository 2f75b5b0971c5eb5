//! The embedded log as a backend: nothing else needs to be installed.
//!
//! * Topics and streams are made on first use.
//! * A key decides the partition and is then dropped, as the archive's layout holds values only.
//! * A record without value, a tombstone, cannot be a line that a reader of this layout takes for a
//!   deletion: it is refused, alone, and others of its request are kept.
//! * A newline inside a value becomes a carriage return; to JSON they are the same.
//! * A value of nothing but blanks is kept as `""`, so that it becomes a dead letter, and one that
//!   looks like a deletion gets a leading blank, so that it is a record to whoever reads the log.
//! * A shard is read with what is left of its records: of a partition key only what led to the
//!   topic, and as time of arrival when the file was last written.
//! * Deleting a stream forgets the stream and keeps its records: offsets that were handed out stay
//!   what they are.

mod consumer;
mod cursors;
mod groups;
mod read;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};

use super::backend::{
    Backend, Consumer, ConsumerSettings, Fault, PartitionInfo, Place, Record, Refusal, ShardInfo,
    ShardRecords, ShardStart, StreamInfo, StreamNames, TopicInfo, Written,
};
use super::log::{Log, LogError, Topic};
use super::naming::Naming;
use super::partitioner::{Partitioner, of_key};
use super::shards::{hash_range, sequence, shard_id};
use crate::source::tombstone;
use consumer::LogConsumer;
use cursors::Cursors;
use groups::Groups;
use streams::Streams;

/// The time, in milliseconds since 1970.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the embedded log's backend and its consumers share.
pub struct Embedded {
    log: Arc<Log>,
    naming: Naming,
    partitioner: Partitioner,
    streams: Arc<Streams>,
    groups: Arc<Groups>,
    cursors: Arc<Cursors>,
    now_ms: NowMs,
    /// Partitions of a stream that is made on first use.
    shards: u32,
}

impl Embedded {
    /// Serves an open log. Blocks for reading two small files.
    pub fn on(log: Arc<Log>, naming: Naming, shards: u32, now_ms: NowMs) -> Result<Self, LogError> {
        Ok(Embedded {
            streams: Arc::new(Streams::open(log.root())?),
            groups: Arc::new(Groups::open(log.root())?),
            cursors: Arc::default(),
            log,
            naming,
            partitioner: Partitioner::default(),
            now_ms,
            shards: shards.max(1),
        })
    }

    async fn topic_or_made(
        &self,
        name: &str,
        partitions: Option<u32>,
    ) -> Result<Arc<Topic>, Fault> {
        if let Some(topic) = self.log.topic(name) {
            return Ok(topic);
        }
        let (log, name) = (Arc::clone(&self.log), name.to_owned());
        blocking(move || log.make_topic(&name, partitions)).await
    }

    fn existing(&self, name: &str) -> Result<Arc<Topic>, Fault> {
        self.log.topic(name).ok_or_else(|| no_topic(name))
    }

    async fn append(&self, topic: &Arc<Topic>, records: Vec<Record>) -> Vec<Written> {
        let partitions = topic.partitions();
        let sticky = self.partitioner.sticky(partitions);
        let mut written: Vec<Option<Written>> = Vec::new();
        written.resize_with(records.len(), || None);
        let mut shares: BTreeMap<u32, (Vec<u8>, Vec<usize>)> = BTreeMap::new();
        for (number, record) in records.iter().enumerate() {
            match line(record, partitions) {
                Err(refusal) => written[number] = Some(Err(refusal)),
                Ok(value) => {
                    let by_key = || record.key.as_ref().map(|key| of_key(key, partitions));
                    let partition = record.partition.or_else(by_key).unwrap_or(sticky);
                    let (lines, numbers) = shares.entry(partition).or_default();
                    if numbers.is_empty() && record.key.is_none() {
                        lines.reserve(records.iter().map(size).sum());
                    }
                    tombstone::push_value(lines, value);
                    numbers.push(number);
                }
            }
        }
        let appends = shares
            .into_iter()
            .map(|(partition, (lines, numbers))| async move {
                let first = self.log.append(topic, partition, lines).await;
                (partition, numbers, first)
            });
        for (partition, numbers, first) in join_all(appends).await {
            for (place, number) in numbers.into_iter().enumerate() {
                written[number] = Some(match &first {
                    Ok(first) => Ok(at(topic, partition, first + place as u64)),
                    Err(error) => Err(Refusal::of_backend(retriable(error), error.to_string())),
                });
            }
        }
        let missing = || {
            Err(Refusal::of_backend(
                true,
                "the record was not handled; send it again",
            ))
        };
        written
            .into_iter()
            .map(|written| written.unwrap_or_else(missing))
            .collect()
    }

    /// The stream's shards, made if there is no such stream.
    async fn shards_of(&self, stream: &str) -> Result<u32, Fault> {
        if let Some(known) = self.streams.get(stream) {
            return Ok(known.shards);
        }
        let (streams, name) = (Arc::clone(&self.streams), stream.to_owned());
        let (shards, now) = (self.shards, (self.now_ms)());
        blocking(move || streams.make_if_absent(&name, shards, now)).await
    }
}

fn size(record: &Record) -> usize {
    record.value.as_ref().map_or(0, |value| value.len() + 1)
}

/// The value of a record that can be kept.
fn line(record: &Record, partitions: u32) -> Result<&[u8], Refusal> {
    if let Some(partition) = record
        .partition
        .filter(|&partition| partition >= partitions)
    {
        return Err(Refusal::of_record(format!(
            "there is no partition {partition}; the topic has {partitions}, numbered from 0"
        )));
    }
    record.value.as_deref().ok_or_else(|| {
        Refusal::of_record(
            "the record has no value: the embedded log keeps values only, so a deletion cannot be kept; send deletions through Kafka",
        )
    })
}

fn at(topic: &Topic, partition: u32, offset: u64) -> Place {
    Place {
        partition,
        offset: Some(offset),
        shard: shard_id(partition),
        sequence: sequence(&topic.name, partition, offset),
    }
}

fn retriable(error: &LogError) -> bool {
    matches!(error, LogError::Closed | LogError::Failed { .. })
}

fn no_topic(name: &str) -> Fault {
    Fault::NotFound(format!(
        "Topic not found. There is no topic `{name}`; it is made when the first record is sent to it."
    ))
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Fault::from),
        Err(_) => Err(Fault::Failed {
            retriable: true,
            why: "the gateway is ending; send the request again".to_owned(),
        }),
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Fault {
        let why = error.to_string();
        match error {
            LogError::Name { .. }
            | LogError::TooManyTopics { .. }
            | LogError::GroupName { .. }
            | LogError::TooManyGroups { .. }
            | LogError::TooManyStreams { .. } => Fault::Invalid(why),
            LogError::NoPartition { .. } => {
                Fault::NoPartition(format!("Partition not found. {why}"))
            }
            error => Fault::Failed {
                retriable: retriable(&error),
                why,
            },
        }
    }
}

impl Backend for Embedded {
    fn describe(&self) -> String {
        format!("the embedded log in {}", self.log.root().display())
    }

    fn health(&self) -> BoxFuture<'_, Result<(), Fault>> {
        let trouble = self.log.trouble().map(Fault::from);
        Box::pin(async move { trouble.map_or(Ok(()), Err) })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async { Ok(self.log.topics()) })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Fault>> {
        Box::pin(async move {
            let topic = self.existing(name)?;
            let partitions = (0..topic.partitions()).map(|partition| PartitionInfo {
                partition,
                leader: 0,
                replicas: vec![(0, true)],
            });
            Ok(TopicInfo {
                name: name.to_owned(),
                partitions: partitions.collect(),
            })
        })
    }

    fn bounds<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<(u64, u64), Fault>> {
        Box::pin(async move {
            let found = self.existing(topic)?;
            found.bounds(partition).ok_or_else(|| {
                Fault::from(LogError::NoPartition {
                    topic: topic.to_owned(),
                    partition,
                    partitions: found.partitions(),
                })
            })
        })
    }

    fn produce<'a>(
        &'a self,
        topic: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>> {
        Box::pin(async move {
            let topic = self.topic_or_made(topic, None).await?;
            Ok(self.append(&topic, records).await)
        })
    }

    fn consumer(
        &self,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Fault>> {
        Box::pin(async move {
            let (log, groups) = (Arc::clone(&self.log), Arc::clone(&self.groups));
            let consumer = blocking(move || LogConsumer::new(log, groups, settings)).await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }

    fn streams<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<StreamNames, Fault>> {
        Box::pin(async move { Ok(self.streams.page(after, limit)) })
    }

    fn stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StreamInfo, Fault>> {
        Box::pin(async move {
            let known = self.streams.get(name).ok_or_else(|| no_stream(name))?;
            let count = self.shard_count(name)?;
            let shards = (0..count).map(|shard| ShardInfo {
                id: shard_id(shard),
                hashes: hash_range(shard, count),
                sequences: (sequence(&self.naming.topic(name, ""), shard, 0), None),
                ..ShardInfo::default()
            });
            Ok(StreamInfo {
                name: name.to_owned(),
                arn: format!("arn:aws:kinesis:local:000000000000:stream/{name}"),
                status: "ACTIVE".to_owned(),
                shards: shards.collect(),
                more_shards: false,
                retention_hours: 8760,
                created: known.created_ms as f64 / 1000.0,
            })
        })
    }

    fn create_stream<'a>(&'a self, name: &'a str, shards: u32) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.streams.get(name).is_some() {
                return Err(Fault::Exists(format!("Stream {name} already exists.")));
            }
            let (streams, name) = (Arc::clone(&self.streams), name.to_owned());
            let now = (self.now_ms)();
            blocking(move || streams.make_if_absent(&name, shards, now)).await?;
            Ok(())
        })
    }

    fn delete_stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (streams, owned) = (Arc::clone(&self.streams), name.to_owned());
            let there = blocking(move || streams.forget(&owned)).await?;
            there.then_some(()).ok_or_else(|| no_stream(name))
        })
    }

    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>> {
        Box::pin(async move {
            let shards = self.shards_of(stream).await?;
            let mut by_topic: BTreeMap<String, (Vec<usize>, Vec<Record>)> = BTreeMap::new();
            let count = records.len();
            for (number, record) in records.into_iter().enumerate() {
                let key = record.key.as_deref().unwrap_or_default();
                let key = String::from_utf8_lossy(key);
                let topic = self.naming.topic(stream, &key).into_owned();
                let (numbers, share) = by_topic.entry(topic).or_default();
                numbers.push(number);
                share.push(record);
            }
            let mut written: Vec<(usize, Written)> = Vec::with_capacity(count);
            for (topic, (numbers, share)) in by_topic {
                let topic = self.topic_or_made(&topic, Some(shards)).await?;
                let answers = self.append(&topic, share).await;
                written.extend(numbers.into_iter().zip(answers));
            }
            written.sort_by_key(|(number, _)| *number);
            Ok(written.into_iter().map(|(_, written)| written).collect())
        })
    }

    fn shard_iterator<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        start: ShardStart,
    ) -> BoxFuture<'a, Result<String, Fault>> {
        Box::pin(async move { self.iterator(stream, shard, start) })
    }

    fn read_shard<'a>(
        &'a self,
        stream: &'a str,
        iterator: &'a str,
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<ShardRecords, Fault>> {
        Box::pin(self.read(stream, iterator, limit))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let log = Arc::clone(&self.log);
        Box::pin(async move {
            // The only failure is a runtime that is gone, and then dropping the log closes it.
            let _ = tokio::task::spawn_blocking(move || log.close()).await;
        })
    }
}

fn no_stream(name: &str) -> Fault {
    Fault::NotFound(format!(
        "Stream {name} under account 000000000000 not found."
    ))
}

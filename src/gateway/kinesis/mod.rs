//! Kinesis as a backend.
//!
//! Streams are streams. To the REST proxy's door a stream is a topic whose partitions are the
//! numbers of its shards; sequence numbers do not fit into offsets, so that offsets are null there,
//! and consumers are refused: Kinesis has no consumer groups to stand in for.

mod answer;
mod read;

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::backend::{
    Backend, Consumer, ConsumerSettings, Fault, PartitionInfo, Record, Refusal, ShardRecords,
    ShardStart, StreamInfo, StreamNames, TopicInfo, Written,
};
use super::shards::shard_number;
use answer::{fault, place, shard};

/// What one PutRecords may hold.
const RECORDS_MAX: usize = 500;
/// What one PutRecords may weigh, partition keys included.
const BYTES_MAX: usize = 5 << 20;
/// The longest partition key, in characters.
const KEY_MAX: usize = 256;

/// Kinesis behind the gateway.
pub struct Kinesis {
    client: Client,
    name: String,
    /// Numbers for partition keys of records without key.
    keyless: AtomicU64,
}

impl Kinesis {
    /// Serves what `client` reaches; `name` is what people call it.
    pub fn on(client: Client, name: String) -> Kinesis {
        Kinesis {
            client,
            name,
            keyless: AtomicU64::new(0),
        }
    }

    async fn describe_stream(&self, name: &str) -> Result<StreamInfo, Fault> {
        let answer = self.client.describe_stream().stream_name(name).send().await;
        let answer = answer.map_err(|error| fault(&self.name, "DescribeStream", &error))?;
        let described = answer.stream_description().ok_or_else(|| Fault::Failed {
            retriable: true,
            why: format!("{} described the stream `{name}` with nothing", self.name),
        })?;
        Ok(StreamInfo {
            name: described.stream_name().to_owned(),
            arn: described.stream_arn().to_owned(),
            status: described.stream_status().as_str().to_owned(),
            shards: described.shards().iter().map(shard).collect(),
            more_shards: described.has_more_shards(),
            retention_hours: described.retention_period_hours(),
            created: described.stream_creation_timestamp().as_secs_f64(),
        })
    }

    /// The key under which Kinesis gets a record.
    fn partition_key(&self, key: Option<&Bytes>) -> Result<String, Refusal> {
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            let number = self.keyless.fetch_add(1, Ordering::Relaxed);
            return Ok(format!("keyless-{number}"));
        };
        let text = std::str::from_utf8(key)
            .map_err(|_| Refusal::of_record("the key is not text, as Kinesis wants it"))?;
        // Keys come as JSON from the REST proxy's door.
        let text = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
        if text.chars().count() > KEY_MAX {
            return Err(Refusal::of_record(format!(
                "the partition key is longer than {KEY_MAX} characters"
            )));
        }
        Ok(text)
    }

    fn entry(
        &self,
        record: &Record,
        shards: Option<&StreamInfo>,
    ) -> Result<PutRecordsRequestEntry, Refusal> {
        let Some(value) = &record.value else {
            return Err(Refusal::of_record(
                "the record has no value, and Kinesis knows no deletions",
            ));
        };
        let hash = match (record.partition, shards) {
            (Some(partition), Some(shards)) => {
                let open = shards.shards.iter().find(|shard| {
                    shard_number(&shard.id) == Some(partition) && shard.sequences.1.is_none()
                });
                let open = open.ok_or_else(|| {
                    Refusal::of_record(format!("the stream has no open shard {partition}"))
                })?;
                Some(open.hashes.0.clone())
            }
            _ => None,
        };
        PutRecordsRequestEntry::builder()
            .data(Blob::new(value.as_ref()))
            .partition_key(self.partition_key(record.key.as_ref())?)
            .set_explicit_hash_key(hash)
            .build()
            .map_err(|error| Refusal::of_record(error.to_string()))
    }

    async fn put_one(&self, stream: &str, entry: PutRecordsRequestEntry) -> Result<Written, Fault> {
        let answer = self
            .client
            .put_record()
            .stream_name(stream)
            .data(entry.data)
            .set_partition_key(entry.partition_key)
            .set_explicit_hash_key(entry.explicit_hash_key)
            .send()
            .await
            .map_err(|error| fault(&self.name, "PutRecord", &error))?;
        Ok(Ok(place(answer.shard_id(), answer.sequence_number())))
    }

    async fn put_some(
        &self,
        stream: &str,
        entries: Vec<PutRecordsRequestEntry>,
    ) -> Result<Vec<Written>, Fault> {
        let count = entries.len();
        let answer = self
            .client
            .put_records()
            .stream_name(stream)
            .set_records(Some(entries))
            .send()
            .await
            .map_err(|error| fault(&self.name, "PutRecords", &error))?;
        let mut written: Vec<Written> = Vec::with_capacity(count);
        for result in answer.records() {
            written.push(match (result.shard_id(), result.sequence_number()) {
                (Some(shard), Some(sequence)) if result.error_code().is_none() => {
                    Ok(place(shard, sequence))
                }
                _ => Err(Refusal {
                    retriable: true,
                    code: result.error_code().unwrap_or("InternalFailure").to_owned(),
                    why: result
                        .error_message()
                        .unwrap_or("Kinesis did not say why")
                        .to_owned(),
                }),
            });
        }
        let unanswered = || {
            Err(Refusal::of_backend(
                true,
                "Kinesis did not answer for the record",
            ))
        };
        written.resize_with(count, unanswered);
        Ok(written)
    }

    async fn send(&self, stream: &str, records: Vec<Record>) -> Result<Vec<Written>, Fault> {
        let shards = if records.iter().any(|record| record.partition.is_some()) {
            Some(self.describe_stream(stream).await?)
        } else {
            None
        };
        let mut written: Vec<Written> = Vec::with_capacity(records.len());
        let mut waiting: Vec<(usize, PutRecordsRequestEntry)> = Vec::new();
        for (number, record) in records.iter().enumerate() {
            match self.entry(record, shards.as_ref()) {
                Ok(entry) => {
                    waiting.push((number, entry));
                    // Stands for the answer until it comes.
                    written.push(Err(Refusal::of_backend(true, "the record was not sent")));
                }
                Err(refusal) => written.push(Err(refusal)),
            }
        }
        if records.len() == 1 && waiting.len() == 1 {
            let (_, entry) = waiting.remove(0);
            return Ok(vec![self.put_one(stream, entry).await?]);
        }
        let mut any = false;
        while !waiting.is_empty() {
            let mut bytes = 0;
            let fitting = waiting.iter().take(RECORDS_MAX).take_while(|(_, entry)| {
                bytes += entry.data.as_ref().len();
                bytes += entry.partition_key.as_ref().map_or(0, String::len);
                bytes <= BYTES_MAX
            });
            let count = fitting.count().max(1);
            let (numbers, entries): (Vec<usize>, Vec<_>) = waiting.drain(..count).unzip();
            match self.put_some(stream, entries).await {
                Ok(answers) => {
                    any = true;
                    for (number, answer) in numbers.into_iter().zip(answers) {
                        written[number] = answer;
                    }
                }
                Err(fault) if !any => return Err(fault),
                Err(fault) => {
                    for number in numbers {
                        written[number] = Err(Refusal::of_backend(true, fault.to_string()));
                    }
                }
            }
        }
        Ok(written)
    }
}

impl Backend for Kinesis {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { self.streams(None, 1).await.map(|_| ()) })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            let mut names = Vec::new();
            loop {
                let after = names.last().cloned();
                let page = self.streams(after.as_deref(), 100).await?;
                if page.names.is_empty() {
                    return Ok(names);
                }
                names.extend(page.names);
                if !page.more {
                    return Ok(names);
                }
            }
        })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Fault>> {
        Box::pin(async move {
            let stream = self.describe_stream(name).await?;
            let open = stream
                .shards
                .iter()
                .filter(|shard| shard.sequences.1.is_none());
            let partitions = open.map(|shard| PartitionInfo {
                partition: shard_number(&shard.id).unwrap_or(0),
                leader: 0,
                replicas: vec![(0, true)],
            });
            Ok(TopicInfo {
                name: stream.name.clone(),
                partitions: partitions.collect(),
            })
        })
    }

    fn bounds<'a>(
        &'a self,
        _topic: &'a str,
        _partition: u32,
    ) -> BoxFuture<'a, Result<(u64, u64), Fault>> {
        Box::pin(async { Err(no_offsets()) })
    }

    fn produce<'a>(
        &'a self,
        topic: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>> {
        Box::pin(self.send(topic, records))
    }

    fn consumer(
        &self,
        _settings: ConsumerSettings,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Fault>> {
        Box::pin(async { Err(no_offsets()) })
    }

    fn streams<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<StreamNames, Fault>> {
        Box::pin(async move {
            let answer = self
                .client
                .list_streams()
                .set_exclusive_start_stream_name(after.map(str::to_owned))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(|error| fault(&self.name, "ListStreams", &error))?;
            Ok(StreamNames {
                names: answer.stream_names().to_vec(),
                more: answer.has_more_streams(),
            })
        })
    }

    fn stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StreamInfo, Fault>> {
        Box::pin(self.describe_stream(name))
    }

    fn create_stream<'a>(&'a self, name: &'a str, shards: u32) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.client
                .create_stream()
                .stream_name(name)
                .shard_count(i32::try_from(shards).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(|error| fault(&self.name, "CreateStream", &error))?;
            Ok(())
        })
    }

    fn delete_stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.client
                .delete_stream()
                .stream_name(name)
                .send()
                .await
                .map_err(|error| fault(&self.name, "DeleteStream", &error))?;
            Ok(())
        })
    }

    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>> {
        Box::pin(self.send(stream, records))
    }

    fn shard_iterator<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        start: ShardStart,
    ) -> BoxFuture<'a, Result<String, Fault>> {
        Box::pin(self.iterator(stream, shard, start))
    }

    fn read_shard<'a>(
        &'a self,
        _stream: &'a str,
        iterator: &'a str,
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<ShardRecords, Fault>> {
        Box::pin(self.read(iterator, limit))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn no_offsets() -> Fault {
    Fault::Unsupported(
        "behind this gateway is Kinesis, which has neither offsets nor consumer groups; read the stream with GetRecords".to_owned(),
    )
}

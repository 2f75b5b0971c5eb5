//! Kafka as a backend.
//!
//! One producer for all requests, idempotent, acknowledged by all replicas that are in sync, with
//! Kafka's own choice of partitions. What the brokers are and how to log in is `crate::kafka`'s
//! affair.

mod client;
mod consumer;
mod error;
mod read;
mod readers;
mod topics;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::admin::AdminClient;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};

use super::backend::{
    Backend, Consumer, ConsumerSettings, Fault, Place, Record, Refusal, ShardInfo, ShardRecords,
    ShardStart, StreamInfo, StreamNames, TopicInfo, Written,
};
use super::embedded::NowMs;
use super::naming::Naming;
use super::shards::{hash_range, sequence, shard_id};
use crate::kafka::{Context, KafkaAddress};
use consumer::KafkaConsumer;
use error::{ending, failed, refusal};
use readers::Readers;
use topics::{ASK_EVERY, KNOWN_FOR, Known, is_public};

/// How long brokers may take to answer what is not a record.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait when the producer's queue is full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// How topics are made that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTopics {
    /// Partitions of each.
    pub partitions: i32,
    /// Replicas of each; -1 for the brokers' default.
    pub replication: i32,
}

/// Kafka behind the gateway.
pub struct Kafka {
    address: KafkaAddress,
    producer: FutureProducer<Context>,
    admin: AdminClient<Context>,
    naming: Naming,
    new_topics: Option<NewTopics>,
    known: Mutex<Known>,
    readers: Readers,
    now_ms: NowMs,
}

impl Kafka {
    /// Makes the clients; the brokers are asked when the first request comes.
    pub fn at(
        address: KafkaAddress,
        naming: Naming,
        new_topics: Option<NewTopics>,
        now_ms: NowMs,
    ) -> Result<Kafka, Fault> {
        let mut config = address.client_config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "2")
            .set("compression.type", "zstd")
            .set("message.timeout.ms", "30000")
            .set("queue.buffering.max.kbytes", "65536");
        let failed = |error: KafkaError| failed("its clients cannot be made", &error);
        Ok(Kafka {
            producer: config
                .create_with_context(address.context())
                .map_err(failed)?,
            admin: address
                .client_config()
                .create_with_context(address.context())
                .map_err(failed)?,
            readers: Readers::of(address.clone()),
            address,
            naming,
            new_topics,
            known: Mutex::new(Known::default()),
            now_ms,
        })
    }

    async fn send(&self, topic: &TopicInfo, records: Vec<Record>) -> Vec<Written> {
        let partitions = topic.partitions.len() as u32;
        let mut sent: Vec<Result<DeliveryFuture, Refusal>> = Vec::with_capacity(records.len());
        for record in &records {
            sent.push(match record.partition.filter(|&asked| asked >= partitions) {
                Some(partition) => Err(Refusal::of_record(format!(
                    "there is no partition {partition}; the topic has {partitions}, numbered from 0"
                ))),
                None => self.enqueue(&topic.name, record).await,
            });
        }
        let mut written = Vec::with_capacity(sent.len());
        for sent in sent {
            written.push(match sent {
                Err(refusal) => Err(refusal),
                Ok(delivery) => match delivery.await {
                    Ok(Ok(delivered)) => {
                        let partition = delivered.partition.unsigned_abs();
                        let offset = delivered.offset.unsigned_abs();
                        Ok(Place {
                            partition,
                            offset: Some(offset),
                            shard: shard_id(partition),
                            sequence: sequence(&topic.name, partition, offset),
                        })
                    }
                    Ok(Err((error, _))) => {
                        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopic) {
                            self.forget();
                        }
                        Err(refusal(&error))
                    }
                    Err(_) => Err(Refusal::of_backend(
                        true,
                        "the gateway is ending; send the record again",
                    )),
                },
            });
        }
        written
    }

    async fn enqueue(&self, topic: &str, record: &Record) -> Result<DeliveryFuture, Refusal> {
        loop {
            let mut next: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic);
            next.key = record.key.as_deref();
            next.payload = record.value.as_deref();
            next.partition = record
                .partition
                .and_then(|number| i32::try_from(number).ok());
            match self.producer.send_result(next) {
                Ok(delivery) => return Ok(delivery),
                Err((error, _))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    tokio::time::sleep(QUEUE_FULL_WAIT).await;
                }
                Err((error, _)) => return Err(refusal(&error)),
            }
        }
    }
}

impl Backend for Kafka {
    fn describe(&self) -> String {
        self.address.describe()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.known(ASK_EVERY, |_| ()))
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(self.known(ASK_EVERY, |topics| {
            topics
                .keys()
                .filter(|name| is_public(name))
                .cloned()
                .collect()
        }))
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Fault>> {
        Box::pin(self.find(name))
    }

    fn bounds<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<(u64, u64), Fault>> {
        Box::pin(async move {
            let info = self.find(topic).await?;
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            if !info
                .partitions
                .iter()
                .any(|there| there.partition == partition)
            {
                return Err(Fault::NoPartition(format!(
                    "Partition not found. The topic `{topic}` has no partition {partition}."
                )));
            }
            let (producer, topic) = (self.producer.clone(), topic.to_owned());
            let asked = tokio::task::spawn_blocking(move || {
                producer
                    .client()
                    .fetch_watermarks(&topic, number, ANSWER_WITHIN)
            });
            let (first, next) = asked
                .await
                .map_err(|_| ending())?
                .map_err(|error| failed("offsets cannot be read", &error))?;
            Ok((first.unsigned_abs(), next.unsigned_abs()))
        })
    }

    fn produce<'a>(
        &'a self,
        topic: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>> {
        Box::pin(async move {
            let topic = self.find_or_make(topic).await?;
            Ok(self.send(&topic, records).await)
        })
    }

    fn consumer(
        &self,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Fault>> {
        Box::pin(async move {
            let consumer = KafkaConsumer::new(&self.address, &settings)?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }

    fn streams<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<StreamNames, Fault>> {
        Box::pin(self.known(ASK_EVERY, move |topics| {
            let mut names: Vec<String> = topics
                .keys()
                .filter(|topic| is_public(topic))
                .map(|topic| self.naming.stream(topic).to_owned())
                .filter(|name| after.is_none_or(|after| name.as_str() > after))
                .collect();
            names.sort();
            names.dedup();
            let more = names.len() > limit;
            names.truncate(limit);
            StreamNames { names, more }
        }))
    }

    fn stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StreamInfo, Fault>> {
        Box::pin(async move {
            let topics = self.topics_of(name, KNOWN_FOR).await?;
            let count = |topic: &TopicInfo| topic.partitions.len() as u32;
            // The topics of a shared stream may differ, and records are told with the numbers of
            // all their partitions.
            let shards = topics.iter().map(count).max().unwrap_or(0);
            let shard = |number: u32| {
                let holder = topics.iter().find(|topic| number < count(topic));
                let holder = holder.map_or(name, |topic| topic.name.as_str());
                ShardInfo {
                    id: shard_id(number),
                    hashes: hash_range(number, shards),
                    sequences: (sequence(holder, number, 0), None),
                    ..ShardInfo::default()
                }
            };
            Ok(StreamInfo {
                name: name.to_owned(),
                arn: format!("arn:aws:kinesis:kafka:000000000000:stream/{name}"),
                status: "ACTIVE".to_owned(),
                shards: (0..shards).map(shard).collect(),
                more_shards: false,
                retention_hours: 168,
                created: 0.0,
            })
        })
    }

    fn create_stream<'a>(&'a self, name: &'a str, shards: u32) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let topic = self.naming.topic(name, "").into_owned();
            if self.find(&topic).await.is_ok() {
                return Err(Fault::Exists(format!("Stream {name} already exists.")));
            }
            let replication = self.new_topics.map_or(-1, |new| new.replication);
            let partitions = i32::try_from(shards).unwrap_or(i32::MAX);
            let new = NewTopics {
                partitions,
                replication,
            };
            self.make(&topic, new).await
        })
    }

    fn delete_stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            Err(Fault::Unsupported(format!(
                "the stream `{name}` is kept in Kafka, and topics are not deleted through this door; delete them with Kafka's own tools"
            )))
        })
    }

    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>> {
        Box::pin(async move {
            let mut by_topic: BTreeMap<String, (Vec<usize>, Vec<Record>)> = BTreeMap::new();
            for (number, record) in records.into_iter().enumerate() {
                let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
                let topic = self.naming.topic(stream, &key).into_owned();
                let (numbers, share) = by_topic.entry(topic).or_default();
                numbers.push(number);
                share.push(record);
            }
            let mut written: Vec<(usize, Written)> = Vec::new();
            for (topic, (numbers, share)) in by_topic {
                let topic = self.find_or_make(&topic).await?;
                let answers = self.send(&topic, share).await;
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
        Box::pin(self.iterator(stream, shard, start))
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
        let producer = self.producer.clone();
        Box::pin(async move {
            let flushed = tokio::task::spawn_blocking(move || producer.flush(ANSWER_WITHIN));
            if let Ok(Err(error)) = flushed.await {
                tracing::warn!("records that Kafka has not acknowledged were given up: {error}");
            }
        })
    }
}

//! The source against librdkafka's own mock of a cluster: everywhere, without anything installed.

mod brokers;
mod offsets;

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::source::Chunk;

type Cluster = MockCluster<'static, DefaultProducerContext>;

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with topics and the number of their partitions.
fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).unwrap();
    }
    cluster
}

/// Sends records (key and value) to a partition.
fn send<'a>(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    records: impl IntoIterator<Item = (Option<&'a str>, Option<String>)>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "5")
        // Batches cannot be divided: as those of other clients, not as large as can be.
        .set("batch.size", "16000")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    for (key, value) in records {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = &value {
            record = record.payload(value.as_str());
        }
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn numbered(
    partition: i32,
    from: u64,
    to: u64,
) -> impl Iterator<Item = (Option<&'static str>, Option<String>)> {
    (from..to).map(move |n| (None, Some(format!("{{\"p\":{partition},\"n\":{n}}}"))))
}

fn address(cluster: &Cluster, options: &str) -> KafkaAddress {
    let text = format!(
        "kafka://{}?discover_ms=50&wait=30&{options}",
        cluster.bootstrap_servers()
    );
    KafkaAddress::parse(&text, &|_| None).unwrap()
}

fn pin(bounded: bool) -> Opening {
    Opening {
        bounded,
        ..Opening::whole(vec!["pin".to_owned()])
    }
}

/// Chunks until `enough` says so, or the end.
fn read_until(source: &mut KafkaSource, mut enough: impl FnMut(&Chunk) -> bool) -> Vec<Chunk> {
    let deadline = Instant::now() + PATIENCE;
    let mut chunks = Vec::new();
    loop {
        match source.read(1 << 20).unwrap() {
            Read::Chunk(chunk) => {
                let is_enough = enough(&chunk);
                chunks.push(chunk);
                if is_enough {
                    return chunks;
                }
            }
            Read::End => return chunks,
            Read::Idle => pause(deadline, &chunks),
        }
    }
}

fn read_all(source: &mut KafkaSource) -> Vec<Chunk> {
    read_until(source, |_| false)
}

fn failure(source: &mut KafkaSource) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match source.read(1 << 20) {
            Err(error) => return error.to_string(),
            Ok(Read::End) => panic!("it ended"),
            Ok(read) => pause(deadline, &read),
        }
    }
}

fn pause(deadline: Instant, so_far: &impl std::fmt::Debug) {
    assert!(
        Instant::now() < deadline,
        "nothing more came after {so_far:?}"
    );
    std::thread::park_timeout(Duration::from_millis(1));
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The records of a partition with their offsets, after checking that chunks follow each other.
fn records(chunks: &[Chunk], partition: &str) -> Vec<(u64, String)> {
    let mut next = None;
    let mut records = Vec::new();
    for chunk in chunks.iter().filter(|chunk| chunk.partition == partition) {
        assert!(next.is_none_or(|next| chunk.first_offset >= next));
        let text = String::from_utf8(chunk.bytes.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len() as u64, chunk.records);
        assert_eq!(chunk.end.offset, chunk.first_offset + chunk.records);
        next = Some(chunk.end.offset);
        for (line, offset) in lines.into_iter().zip(chunk.first_offset..) {
            if !line.is_empty() {
                records.push((offset, line.to_owned()));
            }
        }
    }
    records
}

fn expected(partition: i32, from: u64, to: u64) -> Vec<(u64, String)> {
    numbered(partition, from, to)
        .map(|(_, value)| value.unwrap())
        .zip(from..)
        .map(|(value, offset)| (offset, value))
        .collect()
}

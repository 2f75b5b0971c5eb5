//! The Kafka source against a real Apache Kafka (see `support/kafka_server.rs`), and with records
//! of a client that is not ours.

mod cluster;
mod pipeline;
mod records;
mod speed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use pinflow::kafka::{KafkaAddress, list_topics};
use pinflow::source::{Chunk, KafkaSource, Opening, Read, Source};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::kafka_server::KafkaServer;

const PATIENCE: Duration = Duration::from_secs(90);

fn server() -> Arc<KafkaServer> {
    KafkaServer::shared().unwrap_or_else(|why| panic!("no real Kafka for this test: {why}"))
}

fn admin(server: &KafkaServer) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.brokers());
    config.create().unwrap()
}

fn options() -> AdminOptions {
    let patience = Some(PATIENCE);
    AdminOptions::new()
        .request_timeout(patience)
        .operation_timeout(patience)
}

/// Makes a topic and waits until it is known.
fn topic(server: &KafkaServer, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    for answer in block_on(admin(server).create_topics(&[topic], &options())).unwrap() {
        answer.unwrap();
    }
    let address = address(server, "");
    wait_for("the topic is known", || {
        list_topics(&address).unwrap().contains_key(name)
    });
}

fn address(server: &KafkaServer, options: &str) -> KafkaAddress {
    parse(&format!(
        "kafka://{}?discover_ms=100&{options}",
        server.brokers()
    ))
}

fn parse(address: &str) -> KafkaAddress {
    KafkaAddress::parse(address, &|_| None).unwrap()
}

fn of(stream: &str, bounded: bool) -> Opening {
    Opening {
        bounded,
        ..Opening::whole(vec![stream.to_owned()])
    }
}

fn producer(server: &KafkaServer, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.brokers());
    config.set("linger.ms", "5");
    config.set("queue.buffering.max.messages", "2000000");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, values: impl Iterator<Item = u64>) {
    for value in values {
        let value = value.to_string();
        let record: BaseRecord<'_, str, str> = BaseRecord::to(topic)
            .partition(partition)
            .key(value.as_str())
            .payload(value.as_str());
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

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
            Read::Idle => {
                assert!(
                    Instant::now() < deadline,
                    "nothing more after {} chunks",
                    chunks.len()
                );
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
}

fn read_all(address: &KafkaAddress, opening: Opening) -> Vec<Chunk> {
    let mut source = KafkaSource::open(address, opening).unwrap();
    read_until(&mut source, |_| false)
}

fn failure(source: &mut KafkaSource) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match source.read(1 << 20) {
            Err(error) => return error.to_string(),
            Ok(Read::End) => panic!("it ended"),
            Ok(_) => assert!(Instant::now() < deadline, "it did not fail"),
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Offset and number of every record, after checking that offsets only grow.
fn numbers(chunks: &[Chunk]) -> Vec<(u64, u64)> {
    let mut next = BTreeMap::<&str, u64>::new();
    let mut numbers = Vec::new();
    for chunk in chunks {
        let next = next.entry(&chunk.partition).or_default();
        assert!(chunk.first_offset >= *next, "{chunk:?}");
        *next = chunk.end.offset;
        let text = std::str::from_utf8(&chunk.bytes).unwrap();
        assert_eq!(text.lines().count() as u64, chunk.records);
        for (line, offset) in text.lines().zip(chunk.first_offset..) {
            if !line.is_empty() {
                numbers.push((offset, line.parse().unwrap()));
            }
        }
    }
    numbers
}

fn values(chunks: &[Chunk]) -> Vec<u64> {
    numbers(chunks)
        .into_iter()
        .map(|(_, value)| value)
        .collect()
}

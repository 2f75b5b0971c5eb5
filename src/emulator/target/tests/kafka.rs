//! Kafka, by librdkafka's mock cluster.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const PARTITIONS: i32 = 3;

/// Reads `count` records out of the topics `0a.*`.
fn consumed(brokers: &str, count: u64) -> Vec<(String, Option<String>, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for stream in Stream::ALL {
        for partition in 0..PARTITIONS {
            let topic = format!("0a.{}", stream.name());
            partitions
                .add_partition_offset(&topic, partition, Offset::Beginning)
                .unwrap();
        }
    }
    consumer.assign(&partitions).unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut records = Vec::new();
    let mut idle = 0;
    // A little longer than needed, so that surplus records would be seen.
    while records.len() < count as usize || idle < 5 {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records came",
            records.len()
        );
        match consumer.poll(Duration::from_millis(100)) {
            Some(message) => {
                let message = message.unwrap();
                let key = message
                    .key()
                    .map(|key| String::from_utf8(key.to_vec()).unwrap());
                records.push((
                    message.topic().to_owned(),
                    key,
                    message.payload().unwrap().to_vec(),
                ));
            }
            None => idle += usize::from(records.len() >= count as usize),
        }
    }
    records
}

#[test]
fn topics_get_every_record_once_and_in_order_though_brokers_fail() {
    let cluster = MockCluster::new(3).unwrap();
    for stream in Stream::ALL {
        cluster
            .create_topic(&format!("0a.{}", stream.name()), PARTITIONS, 3)
            .unwrap();
    }
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    let brokers = cluster.bootstrap_servers();
    let world = "--posts 500 --duplicates 0.5 --updates 0.5";
    let posted = emulate(&format!(
        "--to kafka://{brokers}?topic_prefix=0a. --batch 50 {world}"
    ))
    .unwrap();
    let made = made(world);
    assert_eq!(posted.acknowledged().iter().sum::<u64>(), count(&made));
    let records = consumed(&brokers, count(&made));
    assert!(records.iter().all(|(_, key, body)| {
        *key == crate::emulator::outgoing::key_of(body).map(|key| key.to_string())
    }));
    assert_eq!(
        by_key(
            records
                .iter()
                .map(|(topic, _, body)| (topic.as_str(), body.as_slice()))
        ),
        made
    );
}

#[test]
fn a_cluster_that_is_not_there_is_given_up() {
    let to = "--to kafka://127.0.0.1:1?rdkafka.message.timeout.ms=300";
    let error = emulate(&format!("{to} --posts 3 --retries 1")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("tried 2 times"), "{text}");
}

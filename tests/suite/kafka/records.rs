//! What of a topic's records is read, and at which offsets.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use futures::executor::block_on;
use pinflow::source::{KafkaSource, Position};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::support::python::{complete, python_with};

fn at(stream: &str, topic: &str, offset: u64) -> (String, Position) {
    let position = Position {
        offset,
        token: String::new(),
    };
    (format!("{stream}/{topic}/partition=0"), position)
}

#[test]
fn records_of_aborted_transactions_are_not_seen() {
    let server = server();
    topic(&server, "t.txn", 1, &[]);
    let producer = producer(&server, &[("transactional.id", "t.txn")]);
    producer.init_transactions(PATIENCE).unwrap();
    let transaction = |values: std::ops::Range<u64>, commit: bool| {
        producer.begin_transaction().unwrap();
        send(&producer, "t.txn", 0, values);
        if commit {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    };
    transaction(0..10, true);
    transaction(100..110, false);
    transaction(10..20, true);
    transaction(110..1200, false);
    // 20 committed, 1100 aborted, 4 marks: the partition ends at 1124.
    let address = address(&server, "");
    let chunks = read_all(&address, of("txn", true));
    assert_eq!(values(&chunks), (0..20).collect::<Vec<_>>());
    assert_eq!(chunks.last().unwrap().end.offset, 1124);

    let all = read_all(
        &self::address(&server, "isolation=read_uncommitted"),
        of("txn", true),
    );
    assert_eq!(values(&all).len(), 1120);

    // A source without end gets behind the aborted records too, and knows that nothing is left.
    let mut source = KafkaSource::open(&address, of("txn", false)).unwrap();
    let chunks = read_until(&mut source, |chunk| chunk.end.offset == 1124);
    assert_eq!(values(&chunks), (0..20).collect::<Vec<_>>());
    wait_for("the lag is 0", || source.lag()[0].records == Some(0));

    // What is open is not there yet.
    producer.begin_transaction().unwrap();
    send(&producer, "t.txn", 0, 20..30);
    assert_eq!(values(&read_all(&address, of("txn", true))).len(), 20);
    producer.commit_transaction(PATIENCE).unwrap();
    let chunks = read_until(&mut source, |chunk| chunk.end.offset == 1135);
    assert_eq!(values(&chunks), (20..30).collect::<Vec<_>>());
}

#[test]
fn a_compacted_topic_keeps_its_offsets() {
    let server = server();
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
    ];
    topic(&server, "t.compacted", 1, &settings);
    let producer = producer(&server, &[]);
    let mut written = 0;
    let address = address(&server, "");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The same few keys again and again, each round in a segment of its own.
        for key in 0..5_u64 {
            let (key, value) = (key.to_string(), written.to_string());
            let record: BaseRecord<'_, str, str> = BaseRecord::to("t.compacted")
                .partition(0)
                .key(key.as_str())
                .payload(value.as_str());
            producer.send(record).unwrap();
            written += 1;
        }
        producer.flush(PATIENCE).unwrap();
        let numbers = numbers(&read_all(&address, of("compacted", true)));
        // Each value is its offset.
        assert!(numbers.iter().all(|(offset, value)| offset == value));
        let newest: Vec<u64> = numbers
            .iter()
            .rev()
            .take(5)
            .map(|(offset, _)| *offset)
            .collect();
        assert_eq!(newest, (written - 5..written).rev().collect::<Vec<_>>());
        if (numbers.len() as u64) < written {
            return;
        }
        assert!(Instant::now() < deadline, "the broker did not compact");
    }
}

#[test]
fn records_that_were_deleted_are_counted_and_the_answer_is_obeyed() {
    let server = server();
    topic(&server, "t.deleted", 1, &[]);
    send(&producer(&server, &[]), "t.deleted", 0, 0..1000);
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset("t.deleted", 0, Offset::Offset(400))
        .unwrap();
    block_on(admin(&server).delete_records(&cut, &options())).unwrap();
    let mut opening = of("deleted", true);
    opening.positions.extend([at("deleted", "t.deleted", 150)]);
    let mut source = KafkaSource::open(&address(&server, ""), opening.clone()).unwrap();
    let said = failure(&mut source);
    println!("{said}");
    assert!(
        said.contains("t.deleted/partition=0 at offset 150"),
        "{said}"
    );
    assert!(
        said.contains("250 records from offset 150 on are gone"),
        "{said}"
    );
    assert!(said.contains("--on-lost-offsets"), "{said}");
    let earliest = address(&server, "on_lost_offsets=earliest");
    let chunks = read_all(&earliest, opening.clone());
    assert_eq!(values(&chunks), (400..1000).collect::<Vec<_>>());
    let latest = address(&server, "on_lost_offsets=latest");
    let chunks = read_all(&latest, opening);
    assert_eq!(values(&chunks), Vec::<u64>::new());
    assert_eq!(chunks.last().unwrap().end.offset, 1000);
}

#[test]
fn reading_starts_at_a_time() {
    let server = server();
    // The server would soon delete what is dated long ago.
    topic(&server, "t.timed", 2, &[("retention.ms", "-1")]);
    let producer = producer(&server, &[]);
    let start = 1_714_564_800_000;
    for n in 0..100 {
        let value = n.to_string();
        let record: BaseRecord<'_, (), str> = BaseRecord::to("t.timed")
            .partition(0)
            .timestamp(start + n * 1000)
            .payload(value.as_str());
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let from = |start: &str| values(&read_all(&address(&server, start), of("timed", true)));
    assert_eq!(
        from("start=2024-05-01T12:01:00Z"),
        (60..100).collect::<Vec<_>>()
    );
    assert_eq!(
        from(&format!("start={}", start - 1)),
        (0..100).collect::<Vec<_>>()
    );
    assert_eq!(from("start=2025-01-01"), Vec::<u64>::new());
    assert_eq!(from("start=latest"), Vec::<u64>::new());
}

#[test]
fn a_topic_that_was_made_again_is_noticed() {
    let server = server();
    topic(&server, "t.again", 1, &[]);
    send(&producer(&server, &[]), "t.again", 0, 0..5);
    let mut opening = of("again", false);
    opening.positions.extend([at("again", "t.again", 500)]);
    let mut source = KafkaSource::open(&address(&server, ""), opening).unwrap();
    let said = failure(&mut source);
    assert!(
        said.contains("the partition ends at offset 5, before 500"),
        "{said}"
    );
}

/// `confluent-kafka` from PyPI in a virtual environment, with every compression it has.
#[test]
fn records_of_another_client_are_read() {
    let server = server();
    topic(&server, "py.pin", 4, &[]);
    let python = python_with(&["confluent-kafka==2.16.1"]).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/produce.py");
    for (round, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .arg(server.brokers())
            .args(["py.pin", codec]);
        command.args([(round * 200).to_string(), (round * 200 + 200).to_string()]);
        complete(&mut command).unwrap();
    }
    let chunks = read_all(&address(&server, "topic_prefix=py."), of("pin", true));
    let mut indexes = Vec::new();
    for chunk in &chunks {
        for line in std::str::from_utf8(&chunk.bytes).unwrap().lines() {
            assert!(
                line.ends_with("\"na\u{ef}ve \u{2026}\u{a0}\", \"category\": \"art\"}"),
                "{line}"
            );
            let number = line
                .strip_prefix("{\"index\": ")
                .unwrap()
                .split(',')
                .next()
                .unwrap();
            indexes.push(number.parse::<u32>().unwrap());
        }
    }
    indexes.sort_unstable();
    assert_eq!(indexes, (0..1000).collect::<Vec<_>>());
}

/// Deletes a topic and makes it again, with `records`.
fn make_again(server: &KafkaServer, name: &str, records: std::ops::Range<u64>) {
    for deleted in block_on(admin(server).delete_topics(&[name], &options())).unwrap() {
        deleted.unwrap();
    }
    let address = address(server, "");
    wait_for("the topic is gone", || {
        !list_topics(&address).unwrap().contains_key(name)
    });
    topic(server, name, 1, &[]);
    send(&producer(server, &[]), name, 0, records);
}

#[test]
fn a_topic_that_was_made_again_is_another_one_however_many_records_it_has() {
    let server = server();
    topic(&server, "t.remade", 1, &[]);
    send(&producer(&server, &[]), "t.remade", 0, 0..100);
    let chunks = read_all(&address(&server, ""), of("remade", true));
    let end = chunks.last().unwrap().end.clone();
    assert_eq!((end.offset, end.token.len()), (100, 22), "{end:?}");
    let mut opening = of("remade", true);
    let key = "remade/t.remade/partition=0".to_owned();
    opening.positions.insert(key, end);
    assert_eq!(read_all(&address(&server, ""), opening.clone()).len(), 0);

    make_again(&server, "t.remade", 1000..1300);
    let Err(refused) = KafkaSource::open(&address(&server, ""), opening.clone()) else {
        panic!("it goes on in another topic");
    };
    let told = refused.to_string();
    assert!(
        told.contains("deleted and made again: 100 records were read")
            && told.contains("ends at offset 300"),
        "{told}"
    );
    let anew = address(&server, "on_lost_offsets=earliest");
    assert_eq!(
        values(&read_all(&anew, opening)),
        (1000..1300).collect::<Vec<_>>()
    );

    let mut source = KafkaSource::open(&address(&server, ""), of("remade", false)).unwrap();
    read_until(&mut source, |chunk| chunk.end.offset == 300);
    make_again(&server, "t.remade", 2000..2900);
    let told = failure(&mut source);
    assert!(
        told.contains("deleted and made again") || told.contains("the topic was deleted"),
        "{told}"
    );
}

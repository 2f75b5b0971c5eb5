//! The whole program on real Kafka: the emulator posts, pinflow reads and is killed at random, and
//! every record is in the tables once.
//!
//! `PINFLOW_KAFKA_POSTS=333334` sends a million records instead of some ten thousand.

use std::collections::BTreeSet;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use pinflow::operator::route::mix;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::{PATIENCE, server, topic};
use crate::suite::program::{Running, assert_same, batches, finish, pinflow, rows, wait};

/// The keys of a table; none may be there twice.
fn keys(lake: &std::path::Path, table: &str) -> BTreeSet<i64> {
    let mut keys = BTreeSet::new();
    for batch in batches(lake)
        .remove(&format!("tables/{table}"))
        .unwrap_or_default()
    {
        for key in batch
            .column_by_name("ind")
            .unwrap()
            .as_primitive::<Int64Type>()
            .values()
        {
            assert!(keys.insert(*key), "`{table}` has the key {key} twice");
        }
    }
    keys
}

#[test]
fn every_record_is_there_once_however_often_the_program_is_killed() {
    let posts: u64 = std::env::var("PINFLOW_KAFKA_POSTS")
        .ok()
        .and_then(|posts| posts.parse().ok())
        .unwrap_or(4000);
    let server = server();
    for stream in ["pin", "geo", "user"] {
        topic(&server, &format!("killed.{stream}"), 3, &[]);
    }
    let folder = tempfile::TempDir::new().unwrap();
    let lake = folder.path().join("lake");
    let archive = folder.path().join("archive");
    let posting = {
        let to = format!("kafka://{}?topic_prefix=killed.", server.brokers());
        let arguments = format!(
            "emulate --to {to} --posts {posts} --late 0.05 --updates 0 --duplicates 0.1 --seed 61"
        );
        std::thread::spawn(move || finish(&arguments))
    };
    let run = |options: &str| {
        format!(
            "run --http 127.0.0.1:0 --source kafka://{}?topic_prefix=killed. --lake {} --tick 20 {options}",
            server.brokers(),
            lake.display()
        )
    };
    let archived = |options: &str| run(&format!("{options} --archive {}", archive.display()));
    let mut kills = 0;
    while !posting.is_finished() || kills < 5 {
        let process = Running(
            pinflow(&archived("-w 2 --commit-every 0.2"))
                .spawn()
                .unwrap(),
        );
        let lives = 300 + mix(kills) % 1500;
        let begin = Instant::now();
        while begin.elapsed().as_millis() < u128::from(lives) {
            std::thread::yield_now();
        }
        drop(process);
        kills += 1;
    }
    posting.join().unwrap();
    finish(&archived("--bounded -w 2"));
    for table in ["pin", "geo", "user"] {
        assert_eq!(keys(&lake, table), (0..posts as i64).collect(), "`{table}`");
    }
    // The same records in one go give the same lake.
    let whole = folder.path().join("whole");
    finish(
        &run("--bounded -w 1").replace(&lake.display().to_string(), &whole.display().to_string()),
    );
    assert_same(&rows(&lake), &rows(&whole));
    // So does a batch run over the archive that the stream wrote.
    let batch = folder.path().join("batch");
    finish(&super::super::program::run(
        &archive,
        &batch,
        "--bounded -w 2",
    ));
    assert_same(&rows(&batch), &rows(&lake));
}

#[test]
fn a_tombstone_deletes_its_row() {
    let server = server();
    for stream in ["pin", "geo", "user"] {
        topic(&server, &format!("deleted.{stream}"), 1, &[]);
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.brokers());
    let producer: BaseProducer = config.create().unwrap();
    let send = |key: &str, value: Option<&str>| {
        let record = BaseRecord::<str, str>::to("deleted.geo").key(key);
        let record = match value {
            Some(value) => record.payload(value),
            None => record,
        };
        producer.send(record).unwrap();
    };
    for ind in 0..3 {
        let geo =
            format!(r#"{{"ind": {ind}, "timestamp": "2020-01-01 00:00:00", "country": "Chad"}}"#);
        send(&ind.to_string(), Some(&geo));
    }
    send("1", None);
    producer.flush(PATIENCE).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let lake = folder.path().join("lake");
    let archive = folder.path().join("archive");
    let run = format!(
        "run --http 127.0.0.1:0 --bounded --source kafka://{}?topic_prefix=deleted. --lake {} --archive {}",
        server.brokers(),
        lake.display(),
        archive.display()
    );
    finish(&run);
    assert_eq!(keys(&lake, "geo"), BTreeSet::from([0, 2]));
    // It is deleted from a file that was committed before, and comes again.
    send("2", None);
    producer.flush(PATIENCE).unwrap();
    finish(&run);
    assert_eq!(keys(&lake, "geo"), BTreeSet::from([0]));
    send(
        "2",
        Some(r#"{"ind": 2, "timestamp": "2021-01-01 00:00:00"}"#),
    );
    producer.flush(PATIENCE).unwrap();
    finish(&run);
    assert_eq!(keys(&lake, "geo"), BTreeSet::from([0, 2]));
    wait("the lake is as it was read", || {
        keys(&lake, "geo").len() == 2
    });
    // The archive has the deletions, too.
    let batch = folder.path().join("batch");
    finish(&super::super::program::run(&archive, &batch, "--bounded"));
    assert_same(&rows(&batch), &rows(&lake));
}

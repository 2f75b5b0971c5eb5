//! How fast the source is by itself, and what it keeps in memory.

use std::time::{Duration, Instant};

use pinflow::source::{KafkaSource, Read, Source};
use rdkafka::producer::{BaseRecord, Producer};

use super::*;

/// How fast the source alone is, and what it keeps when nobody reads. Run with `--ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    const RECORDS: u64 = 1_000_000;
    let server = server();
    let filling = "x".repeat(270);
    for partitions in [1, 8] {
        let name = format!("speed{partitions}");
        topic(&server, &name, partitions, &[]);
        let producer = producer(
            &server,
            &[
                ("queue.buffering.max.kbytes", "1000000"),
                ("linger.ms", "50"),
            ],
        );
        for n in 0..RECORDS {
            let value = format!("{{\"index\":{n},\"title\":\"{filling}\"}}");
            let partition = (n % partitions as u64) as i32;
            let record: BaseRecord<'_, (), str> = BaseRecord::to(&name)
                .partition(partition)
                .payload(value.as_str());
            producer.send(record).unwrap();
            if n % 1000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(PATIENCE).unwrap();
        drop(producer);
        for budget_bytes in [16 << 20, 64 << 20, 256 << 20] {
            let before = resident();
            let started = Instant::now();
            let mut opening = of(&name, true);
            opening.budget_bytes = budget_bytes;
            let mut source = KafkaSource::open(&address(&server, ""), opening).unwrap();
            let opened = started.elapsed();
            let (mut records, mut bytes, mut chunks, mut most) = (0, 0, 0, 0);
            loop {
                match source.read(2 << 20).unwrap() {
                    Read::Chunk(chunk) => {
                        records += chunk.records;
                        bytes += chunk.bytes.len();
                        chunks += 1;
                        if chunks % 16 == 0 {
                            most = most.max(resident());
                        }
                    }
                    Read::Idle => std::thread::park_timeout(Duration::from_micros(200)),
                    Read::End => break,
                }
            }
            let took = started.elapsed() - opened;
            assert_eq!(records, RECORDS);
            println!(
                "{partitions} partitions, budget {} MB: {RECORDS} records ({} MB, {chunks} chunks) in {took:.2?} = {:.0} records/s; opened in {opened:.0?}; {} MB more memory; processor {}",
                budget_bytes >> 20,
                bytes >> 20,
                RECORDS as f64 / took.as_secs_f64(),
                most.saturating_sub(before) >> 20,
                processor_time(),
            );
        }
        let before = resident();
        let mut opening = of(&name, true);
        opening.budget_bytes = 32 << 20;
        let source = KafkaSource::open(&address(&server, ""), opening).unwrap();
        let (mut last, mut same) = (0, 0);
        wait_for("nothing more is fetched", || {
            let now = resident() >> 20;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same > 50
        });
        println!(
            "{partitions} partitions, budget 32 MB, nobody reads: {} MB more memory",
            resident().saturating_sub(before) >> 20
        );
        drop(source);
    }
}

/// How much processor time the threads that read had.
fn processor_time() -> String {
    let mut threads = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let Ok(stat) = std::fs::read_to_string(task.join("stat")) else {
            continue;
        };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let hundredths = [fields[11], fields[12]].map(|field| field.parse::<u64>().unwrap());
        let seconds = (hundredths[0] + hundredths[1]) as f64 / 100.0;
        if seconds >= 0.05 {
            threads.push(format!("{name} {seconds:.2} s"));
        }
    }
    threads.join(", ")
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// What `pinflow bench` says of files and of Kafka, side by side.
#[test]
#[ignore = "a measurement"]
fn files_and_kafka_side_by_side() {
    let server = server();
    let folder = tempfile::TempDir::new().unwrap();
    let said = crate::suite::program::finish(&format!(
        "bench --no-stages --rate 0 --dir {} --source kafka://{}",
        folder.path().display(),
        server.brokers()
    ));
    println!("{said}");
}

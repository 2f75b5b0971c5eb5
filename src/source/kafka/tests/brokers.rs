//! Topics that are missing, brokers that are gone, and how much is kept when nobody reads.

use super::*;

#[test]
fn missing_topics_are_named_with_what_there_is() {
    let cluster = cluster(&[("x.geo", 1)]);
    let Err(error) = KafkaSource::open(&address(&cluster, "topic_prefix=x."), pin(true)) else {
        panic!("it opened");
    };
    let said = error.to_string();
    for part in ["x.pin", "the cluster has x.geo", "--create-topics"] {
        assert!(said.contains(part), "{said}");
    }
    let twice = address(&cluster, "pin=x.geo&geo=x.geo");
    let streams = vec!["pin".to_owned(), "geo".to_owned()];
    let Err(error) = KafkaSource::open(&twice, Opening::whole(streams)) else {
        panic!("it opened");
    };
    let said = error.to_string();
    assert!(said.contains("both bound to this topic"), "{said}");
    let Err(error) = KafkaSource::open(&address(&cluster, "topic_prefx=x."), pin(true)) else {
        panic!("it opened");
    };
    let said = error.to_string();
    assert!(
        said.contains("`topic_prefx` is neither an option nor a stream"),
        "{said}"
    );
}

#[test]
fn what_waits_stays_within_the_budget() {
    let budget = 4 << 20;
    let cluster = cluster(&[("pin", 6)]);
    let value = "x".repeat(1000);
    for partition in 0..6 {
        send(
            &cluster,
            "pin",
            partition,
            (0..4000).map(|_| (None, Some(value.clone()))),
        );
    }
    let mut opening = pin(true);
    opening.budget_bytes = budget;
    let mut source = KafkaSource::open(&address(&cluster, ""), opening).unwrap();
    wait_for("our queue is full", || source.ready.bytes() >= budget / 4);
    let queued = |source: &KafkaSource| -> Option<(u64, u64)> {
        let (version, statistics) = source.health.statistics()?;
        let partitions = statistics.topics.get("pin")?.partitions.values();
        Some((
            version,
            partitions.map(|partition| partition.fetchq_size).sum(),
        ))
    };
    wait_for("two statistics were made since", || {
        queued(&source).is_some_and(|(version, bytes)| version >= 3 && bytes > 0)
    });
    let (_, fetched) = queued(&source).unwrap();
    assert!(source.ready.bytes() <= budget / 4 + budget / 16 + 10_000);
    assert!(fetched as usize <= budget * 5 / 8, "{fetched} of {budget}");
    let chunks = read_all(&mut source);
    let total: u64 = chunks.iter().map(|chunk| chunk.records).sum();
    assert_eq!(total, 24_000);
}

#[test]
fn a_broker_that_is_gone_is_waited_for() {
    let cluster = cluster(&[("pin", 1)]);
    send(&cluster, "pin", 0, numbered(0, 0, 10));
    let opening = pin(false);
    let troubles = opening.troubles.clone();
    let troubled = || !troubles.list(Instant::now()).is_empty();
    let mut source = KafkaSource::open(&address(&cluster, ""), opening).unwrap();
    read_until(&mut source, |chunk| chunk.end.offset == 10);
    wait_for("the lag is known", || source.lag()[0].records == Some(0));
    wait_for("all is well", || !troubled());
    cluster.broker_down(1).unwrap();
    wait_for("the trouble shows", || {
        let lag = source.lag().remove(0);
        lag.records.is_none() && lag.seconds.is_some() && troubled()
    });
    assert!(matches!(source.read(1), Ok(Read::Idle)));
    cluster.broker_up(1).unwrap();
    send(&cluster, "pin", 0, numbered(0, 10, 20));
    let chunks = read_until(&mut source, |chunk| chunk.end.offset == 20);
    assert_eq!(records(&chunks, "pin/partition=0"), expected(0, 10, 20));
    wait_for("all is well", || {
        source.lag()[0].records == Some(0) && !troubled()
    });
}

#[test]
fn lag_counts_what_was_not_read() {
    let cluster = cluster(&[("pin", 1)]);
    send(&cluster, "pin", 0, numbered(0, 0, 1000));
    let mut source = KafkaSource::open(&address(&cluster, ""), pin(false)).unwrap();
    wait_for("the end is known", || source.lag()[0].records == Some(1000));
    read_until(&mut source, |chunk| chunk.end.offset == 1000);
    let lag = source.lag().remove(0);
    assert_eq!(
        (lag.records, lag.bytes, lag.seconds),
        (Some(0), Some(0), Some(0.0))
    );
    assert_eq!(lag.partition, "pin/partition=0");
}

#[test]
fn brokers_that_do_not_answer_are_an_error_when_opened() {
    let address = KafkaAddress::parse("kafka://127.0.0.1:1?wait=1", &|_| None).unwrap();
    let Err(error) = KafkaSource::open(&address, pin(true)) else {
        panic!("it opened");
    };
    let said = error.to_string();
    assert!(said.contains("no broker answered"), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

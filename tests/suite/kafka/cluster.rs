//! Topics that come and grow, logins, and brokers that go.

use futures::executor::block_on;
use pinflow::kafka::{KafkaAddress, NewTopics, create_topics, list_topics};
use pinflow::source::{KafkaSource, Lag};
use rdkafka::admin::NewPartitions;

use super::*;
use crate::support::kafka_server::{KafkaServer, PASSWORD, USER};

#[test]
fn topics_are_created_and_new_partitions_found() {
    let server = server();
    let missing = address(&server, "topic_prefix=new.");
    assert!(KafkaSource::open(&missing, of("pin", true)).is_err());
    let create = address(&server, "topic_prefix=new.&create_topics=true&partitions=3");
    let mut source = KafkaSource::open(&create, of("pin", false)).unwrap();
    assert_eq!(list_topics(&create).unwrap().get("new.pin"), Some(&3));
    create_topics(&create, &["new.pin".to_owned()], NewTopics::default()).unwrap();
    let producer = producer(&server, &[("topic.metadata.refresh.interval.ms", "200")]);
    send(&producer, "new.pin", 2, 0..10);
    let chunks = read_until(&mut source, |chunk| chunk.end.offset == 10);
    assert_eq!(values(&chunks), (0..10).collect::<Vec<_>>());
    let more = [NewPartitions::new("new.pin", 5)];
    block_on(admin(&server).create_partitions(&more, &options())).unwrap();
    wait_for("the partitions are known", || {
        list_topics(&create).unwrap()["new.pin"] == 5
    });
    send(&self::producer(&server, &[]), "new.pin", 4, 10..30);
    let chunks = read_until(&mut source, |chunk| {
        chunk.partition == "new.pin/partition=4" && chunk.end.offset == 20
    });
    assert_eq!(values(&chunks), (10..30).collect::<Vec<_>>());
}

#[test]
fn logins_and_tls_work_and_wrong_ones_are_told() {
    let server = server();
    topic(&server, "t.secure", 1, &[]);
    send(&producer(&server, &[]), "t.secure", 0, 0..10);
    let ca = server.ca();
    let ca = ca.display();
    let environment = |name: &str| match name {
        "KAFKA_SASL_USERNAME" => Some(USER.to_owned()),
        "KAFKA_SASL_PASSWORD" => Some(PASSWORD.to_owned()),
        _ => None,
    };
    let (plain, tls) = (server.sasl_brokers(), server.tls_brokers());
    for text in [
        format!("kafka://{plain}?security=plaintext&sasl=plain"),
        format!("kafka://{plain}?security=plaintext&sasl=scram-sha-256"),
        format!("kafka://{tls}?sasl=scram-sha-512&ca={ca}"),
        format!("kafka://{tls}?security=sasl_ssl&sasl=plain&ca={ca}"),
    ] {
        let address = KafkaAddress::parse(&text, &environment).unwrap();
        let chunks = read_all(&address, of("secure", true));
        assert_eq!(values(&chunks), (0..10).collect::<Vec<_>>(), "{text}");
    }
    for (text, expected) in [
        (
            format!("kafka://{USER}:hunter2@{plain}?security=plaintext&sasl=scram-sha-512&wait=20"),
            "check the user, the password",
        ),
        // Our own authority is not known to the system.
        (
            format!("kafka://{USER}:hunter2@{tls}?sasl=plain&wait=20"),
            "check the user, the password and the certificates",
        ),
    ] {
        let Err(error) = KafkaSource::open(&parse(&text), of("secure", true)) else {
            panic!("{text} opened");
        };
        let said = error.to_string();
        println!("{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_broker_may_crash_and_come_back() {
    let mut server =
        KafkaServer::start().unwrap_or_else(|why| panic!("no real Kafka for this test: {why}"));
    topic(&server, "t.crash", 1, &[]);
    send(
        &producer(&server, &[("acks", "all")]),
        "t.crash",
        0,
        0..1000,
    );
    let mut source = KafkaSource::open(&address(&server, ""), of("crash", false)).unwrap();
    let mut chunks = read_until(&mut source, |chunk| chunk.end.offset == 1000);
    server.kill();
    wait_for("the trouble shows", || {
        let lag: Lag = source.lag().remove(0);
        lag.records.is_none() && lag.seconds.is_some()
    });
    server.restart().unwrap();
    send(&producer(&server, &[]), "t.crash", 0, 1000..2000);
    chunks.extend(read_until(&mut source, |chunk| chunk.end.offset == 2000));
    assert_eq!(values(&chunks), (0..2000).collect::<Vec<_>>());
}

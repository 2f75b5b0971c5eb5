//! Streams that are read shard by shard from Kafka: librdkafka's mock cluster.

use serde_json::json;

use super::JSON;
use super::kafka::Cluster;
use super::shards::refused;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_read_back_from_kafka_in_order() {
    let cluster = Cluster::start();
    for (topic, partitions) in [("0ec6.pin", 3), ("streaming-0ec6-pin.pin", 2)] {
        cluster.mock.create_topic(topic, partitions, 1).unwrap();
    }
    let gateway = cluster.gateway().await;
    gateway.tells_what_was_put("0ec6.pin", 3, "").await;
    gateway
        .tells_what_was_put("streaming-0ec6-pin", 2, "?Limit=3")
        .await;
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iterators_over_kafka_begin_where_they_are_asked_to_and_go_on() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("pin", 1, 1).unwrap();
    let gateway = cluster.gateway().await;
    let places = gateway
        .fill("pin", &[("a", "1"), ("b", "2"), ("c", "3")])
        .await;
    let first = "shardId-000000000000";
    let begin = gateway.iterator("pin", first, "").await;
    let two = gateway.page("pin", &begin, "?Limit=2").await;
    assert_eq!(
        (two.data(), two.all("PartitionKey")),
        (
            vec!["1".to_owned(), "2".to_owned()],
            vec!["a".to_owned(), "b".to_owned()]
        )
    );
    assert!(two.behind_ms > 0);
    let one = gateway.page("pin", &two.next, "").await;
    assert_eq!((one.data(), one.behind_ms), (vec!["3".to_owned()], 0));
    for (kind, data) in [("AT", vec!["2", "3"]), ("AFTER", vec!["3"])] {
        let at = format!(
            "&iterator-type={kind}_SEQUENCE_NUMBER&sequence-number={}",
            places[1].1
        );
        let iterator = gateway.iterator("pin", first, &at).await;
        assert_eq!(gateway.page("pin", &iterator, "").await.data(), data);
    }
    let latest = gateway
        .iterator("pin", first, "&iterator-type=LATEST")
        .await;
    // The mock cluster has no record at any time, so that it is the end.
    let at = "&iterator-type=AT_TIMESTAMP&timestamp=99999999999.5";
    let late = gateway.iterator("pin", first, at).await;
    let none = gateway.page("pin", &latest, "").await;
    assert_eq!((none.data(), none.behind_ms), (vec![], 0));
    let deletion = r#"{"records":[{"key":"k","value":null}]}"#;
    assert_eq!(
        gateway.post("/topics/pin", JSON, deletion).await.status,
        200
    );
    gateway.fill("pin", &[("d", "4")]).await;
    for iterator in [&latest, &none.next, &one.next, &late] {
        let later = gateway.page("pin", iterator, "").await;
        assert_eq!(later.data(), ["", "4"], "a deletion has no data");
    }
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_stream_is_read_from_all_its_topics_in_kafka() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("Shared.pin", 1, 1).unwrap();
    cluster.mock.create_topic("Shared.geo", 2, 1).unwrap();
    let gateway = cluster.gateway().await;
    let mut keys: Vec<String> = (0..8).map(|number| format!("{number}_geo")).collect();
    keys.push("x_pin".to_owned());
    let records: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "{}")).collect();
    gateway.fill("Shared", &records).await;
    let mut told = Vec::new();
    let described = gateway.get("/streams/Shared").await.json()["StreamDescription"].clone();
    for shard in described["Shards"].as_array().unwrap() {
        let begin = gateway
            .iterator("Shared", shard["ShardId"].as_str().unwrap(), "")
            .await;
        told.extend(
            gateway
                .rest("Shared", &begin, "?Limit=1")
                .await
                .all("PartitionKey"),
        );
    }
    told.sort();
    keys.sort();
    assert_eq!(told, keys);
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_kafka_has_dropped_are_passed_over() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("pin", 1, 1).unwrap();
    let gateway = cluster.gateway().await;
    let first = "shardId-000000000000";
    let begin = gateway.iterator("pin", first, "").await;
    let mut places = gateway.fill("pin", &[("k", "the first")]).await;
    // A partition of the mock cluster keeps 5 MiB. Numbers in a row that look random cannot be
    // compressed to less than half of their digits.
    for part in 0..12_u64 {
        let mut random = part;
        let mut digits = String::new();
        while digits.len() < 900_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            digits.push_str(&format!("{:08x}", random >> 32));
        }
        places.extend(gateway.fill("pin", &[("k", &digits)]).await);
    }
    let bounds = gateway.get("/topics/pin/partitions/0/offsets").await.json();
    let oldest = bounds["beginning_offset"].as_u64().unwrap() as usize;
    assert!((1..12).contains(&oldest), "{oldest}");
    let read = gateway.rest("pin", &begin, "").await;
    let kept: Vec<String> = places[oldest..]
        .iter()
        .map(|place| place.1.clone())
        .collect();
    assert_eq!(read.all("SequenceNumber"), kept);
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iterators_over_kafka_that_lead_nowhere_are_refused() {
    let cluster = Cluster::start();
    for topic in ["a", "b"] {
        cluster.mock.create_topic(topic, 1, 1).unwrap();
    }
    let gateway = cluster.gateway().await;
    let places = gateway.fill("a", &[("k", "1")]).await;
    let of_a = gateway.iterator("a", &places[0].0, "").await;
    let answer = gateway.ask("b", &of_a, "").await;
    refused(
        &answer,
        "InvalidArgumentException",
        "for the stream `a` and not for `b`",
    );
    refused(
        &gateway.ask("a", "x", "").await,
        "InvalidArgumentException",
        "Invalid ShardIterator.",
    );
    refused(
        &gateway.ask("c", &of_a, "").await,
        "ResourceNotFoundException",
        "Stream c",
    );
    let of_a = format!(
        "shard-id={}&iterator-type=AT_SEQUENCE_NUMBER&sequence-number={}",
        places[0].0, places[0].1
    );
    for (stream, query, kind, message) in [
        ("c", of_a.as_str(), "ResourceNotFoundException", "Stream c"),
        (
            "b",
            of_a.as_str(),
            "InvalidArgumentException",
            "none of this shard",
        ),
        (
            "a",
            "shard-id=shardId-000000000001",
            "ResourceNotFoundException",
            "Shard shardId-000000000001",
        ),
        (
            "__consumer_offsets",
            "shard-id=shardId-000000000000",
            "ResourceNotFoundException",
            "__consumer_offsets",
        ),
    ] {
        let answer = gateway
            .get(&format!("/streams/{stream}/sharditerator?{query}"))
            .await;
        refused(&answer, kind, message);
    }
    cluster.mock.broker_down(1).unwrap();
    let away = gateway
        .ask(
            "a",
            &gateway.iterator("a", "shardId-000000000000", "").await,
            "",
        )
        .await;
    assert_eq!(
        (away.status, &away.json()["__type"]),
        (503, &json!("ServiceUnavailable"))
    );
    gateway.server.stop().await;
}

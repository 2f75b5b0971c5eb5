//! Kafka behind the doors: librdkafka's mock cluster.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::{Value, json};

use super::{Gateway, JSON, V2};
use crate::gateway::BackendSpec;

pub(super) struct Cluster {
    // The cluster lives as long as this.
    pub mock: MockCluster<'static, DefaultProducerContext>,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster {
            mock: MockCluster::new(1).unwrap(),
        }
    }

    pub async fn gateway(&self) -> Gateway {
        let address = format!("kafka://{}", self.mock.bootstrap_servers());
        let spec: BackendSpec = address.parse().unwrap();
        Gateway::with(|config| {
            config.topics = spec.clone();
            config.streams = spec;
        })
        .await
    }
}

async fn read(gateway: &Gateway, topic: &str, wanted: usize) -> Vec<Value> {
    let made = gateway
        .post(
            "/consumers/students",
            V2,
            r#"{"name":"one","format":"json","auto.offset.reset":"earliest"}"#,
        )
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    let one = "/consumers/students/instances/one";
    let to = json!({"topics": [topic]}).to_string();
    assert_eq!(
        gateway
            .post(&format!("{one}/subscription"), V2, &to)
            .await
            .status,
        204
    );
    let mut records = Vec::new();
    let reading = async {
        while records.len() < wanted {
            let answer = gateway.get(&format!("{one}/records?timeout=500")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            records.extend(answer.json().as_array().unwrap().clone());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the records within a minute");
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_to_kafka_and_come_back_through_a_group() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("0ec6.pin", 2, 1).unwrap();
    let gateway = cluster.gateway().await;
    gateway.get("/topics").await.is(200, json!(["0ec6.pin"]));
    assert_eq!(gateway.get("/healthz").await.status, 200);
    let partitions = gateway.get("/topics/0ec6.pin").await.json()["partitions"].clone();
    assert_eq!(partitions.as_array().unwrap().len(), 2);
    let body = r#"{"records":[{"key":"a","value":{"n":1}},{"key":"a","value":null},{"value":3,"partition":9},{"value":4,"partition":1}]}"#;
    let answer = gateway.post("/topics/0ec6.pin", JSON, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let offsets = answer.json()["offsets"].clone();
    let keyed = u64::from(crate::gateway::partitioner::of_key(b"\"a\"", 2));
    assert_eq!(
        offsets[0],
        json!({"partition": keyed, "offset": 0, "error_code": null, "error": null})
    );
    assert_eq!(offsets[1]["offset"], 1, "Kafka keeps deletions");
    assert_eq!(offsets[2]["error_code"], 422);
    assert_eq!(offsets[3]["partition"], 1);
    let records = read(&gateway, "0ec6.pin", 3).await;
    let keyed: Vec<_> = records
        .iter()
        .filter(|record| record["key"] == "a")
        .map(|record| record["value"].clone())
        .collect();
    assert_eq!(keyed, [json!({"n": 1}), Value::Null]);
    let one = "/consumers/students/instances/one";
    assert_eq!(
        gateway.post(&format!("{one}/offsets"), V2, "").await.status,
        200
    );
    let of = json!({"partitions": [{"topic": "0ec6.pin", "partition": 0}, {"topic": "0ec6.pin", "partition": 1}]}).to_string();
    let committed = gateway
        .send("GET", &format!("{one}/offsets"), &[], &of)
        .await
        .json();
    let sum: u64 = committed["offsets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["offset"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 3);
    assert_eq!(
        gateway.get(&format!("{one}/assignments")).await.json()["partitions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(gateway.send("DELETE", one, &[], "").await.status, 204);
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_kafka_are_assigned_and_sought_in() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("pin", 1, 1).unwrap();
    let gateway = cluster.gateway().await;
    let sent = gateway
        .post(
            "/topics/pin",
            JSON,
            r#"{"records":[{"value":1},{"value":2},{"value":3}]}"#,
        )
        .await;
    assert_eq!(sent.status, 200);
    gateway
        .get("/topics/pin/partitions/0/offsets")
        .await
        .is(200, json!({"beginning_offset": 0, "end_offset": 3}));
    gateway
        .post("/consumers/g", V2, r#"{"name":"one","format":"json"}"#)
        .await;
    let one = "/consumers/g/instances/one";
    let to = r#"{"partitions":[{"topic":"pin","partition":0}]}"#;
    assert_eq!(
        gateway
            .post(&format!("{one}/assignments"), V2, to)
            .await
            .status,
        204
    );
    let seek = r#"{"offsets":[{"topic":"pin","partition":0,"offset":1}]}"#;
    assert_eq!(
        gateway
            .post(&format!("{one}/positions"), V2, seek)
            .await
            .status,
        204
    );
    let mut values = Vec::new();
    let reading = async {
        while values.len() < 2 {
            let answer = gateway
                .get(&format!("{one}/records?timeout=500"))
                .await
                .json();
            values.extend(
                answer
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|record| record["value"].clone()),
            );
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the records within a minute");
    assert_eq!(values, [2, 3]);
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_not_there_are_not_made_unasked() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("pin", 1, 1).unwrap();
    let gateway = cluster.gateway().await;
    let answer = gateway
        .post("/topics/geo", JSON, r#"{"records":[{"value":1}]}"#)
        .await;
    answer.is_error(404, 40401, "Topic not found.");
    gateway
        .get("/topics/geo")
        .await
        .is_error(404, 40401, "Topic not found.");
    gateway
        .post(
            "/topics/pin/partitions/4",
            JSON,
            r#"{"records":[{"value":1}]}"#,
        )
        .await
        .is_error(404, 40402, "Partition not found.");
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinesis_records_go_to_the_topics_that_feed_their_streams() {
    let cluster = Cluster::start();
    for topic in ["Kinesis-Prod-Stream.pin", "streaming-0ec6-geo.geo"] {
        cluster.mock.create_topic(topic, 1, 1).unwrap();
    }
    let gateway = cluster.gateway().await;
    let body = r#"{"records":[{"data":"{}","partition-key":"0ec6_pin"},{"data":"[]","partition-key":"pin"}]}"#;
    let answer = gateway
        .put("/streams/Kinesis-Prod-Stream/records", body)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["FailedRecordCount"]),
        (200, &json!(0))
    );
    let answer = gateway
        .put(
            "/streams/streaming-0ec6-geo/record",
            r#"{"Data":{"a": 1},"PartitionKey":"partition-1"}"#,
        )
        .await;
    assert_eq!(
        (answer.status, &answer.json()["ShardId"]),
        (200, &json!("shardId-000000000000"))
    );
    assert_eq!(
        gateway.get("/streams/streaming-0ec6-geo").await.json()["StreamDescription"]["StreamStatus"],
        "ACTIVE"
    );
    let answer = gateway
        .put(
            "/streams/nowhere/record",
            r#"{"Data":1,"PartitionKey":"k"}"#,
        )
        .await;
    assert_eq!(answer.json()["__type"], "ResourceNotFoundException");
    let records = read(&gateway, "Kinesis-Prod-Stream.pin", 2).await;
    assert_eq!(records[0]["value"], json!({}));
    gateway.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_said() {
    let spec: BackendSpec = "kafka://127.0.0.1:1".parse().unwrap();
    let gateway = Gateway::with(|config| config.topics = spec).await;
    let answer = gateway.get("/topics").await;
    answer.is_error(503, 50003, "Kafka error");
    assert_eq!(gateway.get("/healthz").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_stops_in_time_when_the_brokers_have_gone() {
    let cluster = Cluster::start();
    cluster.mock.create_topic("pin", 1, 1).unwrap();
    let gateway = cluster.gateway().await;
    gateway
        .post("/topics/pin", JSON, r#"{"records":[{"value":1}]}"#)
        .await;
    assert_eq!(read(&gateway, "pin", 1).await.len(), 1);
    cluster.mock.broker_down(1).unwrap();
    // A commit and a group to leave, neither of which anybody answers.
    tokio::time::timeout(Duration::from_secs(60), gateway.server.stop())
        .await
        .expect("an end within a minute");
}

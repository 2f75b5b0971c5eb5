//! Kinesis behind the doors: `ferrokinesis` in this process.

use std::time::Duration;

use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;
use serde_json::{Value, json};

use super::shards::refused;
use super::{BINARY, Gateway, JSON, send};
use crate::gateway::BackendSpec;

/// A gateway before a Kinesis that throttles shards as the real one does.
async fn gateway() -> (Gateway, std::net::SocketAddr) {
    let (app, _store) = create_app(StoreOptions {
        create_stream_ms: 0,
        delete_stream_ms: 0,
        enforce_limits: true,
        ..StoreOptions::default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kinesis = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let address = format!("kinesis://?region=us-east-1&endpoint=http://{kinesis}");
    let spec: BackendSpec = address.parse().unwrap();
    let gateway = Gateway::with(|config| {
        config.topics = spec.clone();
        config.streams = spec;
    })
    .await;
    (gateway, kinesis)
}

async fn create(gateway: &Gateway, stream: &str, shards: u32) {
    let body = json!({"ShardCount": shards}).to_string();
    let made = gateway
        .send("POST", &format!("/streams/{stream}"), &[], &body)
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    let active = async {
        while gateway.get(&format!("/streams/{stream}")).await.json()["StreamDescription"]["StreamStatus"]
            != "ACTIVE"
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), active)
        .await
        .expect("an active stream within two minutes");
}

/// The decoded records of a shard, asked of Kinesis itself.
async fn records(
    kinesis: std::net::SocketAddr,
    stream: &str,
    shard: &str,
) -> Vec<(String, String)> {
    let call = async |target: &str, body: Value| {
        let target = format!("Kinesis_20131202.{target}");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
            ("x-amz-date", "20240101T000000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=a/20240101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=b",
            ),
        ];
        let answer = send(kinesis, "POST", "/", &headers, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let asked =
        json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = call("GetShardIterator", asked).await["ShardIterator"].clone();
    let found = call("GetRecords", json!({"ShardIterator": iterator})).await;
    let decode = |text: &Value| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text.as_str().unwrap())
            .unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let records = found["Records"].as_array().unwrap().iter();
    records
        .map(|record| {
            (
                record["PartitionKey"].as_str().unwrap().to_owned(),
                decode(&record["Data"]),
            )
        })
        .collect()
}

#[tokio::test]
async fn streams_and_records_are_kinesis_own() {
    let (gateway, kinesis) = gateway().await;
    create(&gateway, "streaming-0ec6-pin", 1).await;
    gateway
        .get("/streams?ExclusiveStartStreamName=-&Limit=100")
        .await
        .is(
            200,
            json!({"HasMoreStreams": false, "StreamNames": ["streaming-0ec6-pin"]}),
        );
    let body = r#"{"StreamName": "other", "Data": {"index": 1, "title": "a b"}, "PartitionKey": "partition-1"}"#;
    let answer = gateway
        .put("/test/streams/streaming-0ec6-pin/record", body)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["ShardId"]),
        (200, &json!("shardId-000000000000")),
        "{answer:?}"
    );
    let body = r#"{"records": [{"data": "{\"index\": 2}", "partition-key": "k"}, {"partition-key": "k"}, {"data": "x", "partition-key": "k"}]}"#;
    let answer = gateway
        .put("/streams/streaming-0ec6-pin/records", body)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["FailedRecordCount"]),
        (200, &json!(1)),
        "{answer:?}"
    );
    let told = records(kinesis, "streaming-0ec6-pin", "shardId-000000000000").await;
    let told: Vec<(&str, &str)> = told
        .iter()
        .map(|(key, data)| (key.as_str(), data.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("partition-1", r#"{"index":1,"title":"a b"}"#),
            ("k", r#"{"index": 2}"#),
            ("k", "x")
        ]
    );
    let answer = gateway
        .put(
            "/streams/nowhere/record",
            body.replace("records", "x").as_str(),
        )
        .await;
    assert_eq!(answer.status, 400);
    let answer = gateway
        .put(
            "/streams/nowhere/record",
            r#"{"Data": 1, "PartitionKey": "k"}"#,
        )
        .await;
    assert_eq!(
        (answer.status, &answer.json()["__type"]),
        (400, &json!("ResourceNotFoundException"))
    );
    assert_eq!(
        gateway
            .send("DELETE", "/streams/streaming-0ec6-pin", &[], "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn what_a_shard_does_not_take_is_answered_for_that_record() {
    let (gateway, _) = gateway().await;
    create(&gateway, "narrow", 1).await;
    // A shard takes 1 MiB a second.
    let large = "y".repeat(300 << 10);
    let entries: Vec<Value> = (0..4)
        .map(|number| json!({"data": large, "partition-key": number.to_string()}))
        .collect();
    let answer = gateway
        .put(
            "/streams/narrow/records",
            &json!({"records": entries}).to_string(),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let failed = answer["FailedRecordCount"].as_u64().unwrap();
    assert!((1..4).contains(&failed), "{failed}");
    let refused: Vec<_> = answer["Records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one.get("ErrorCode").is_some())
        .collect();
    assert_eq!(refused.len() as u64, failed);
    assert_eq!(
        refused[0]["ErrorCode"],
        "ProvisionedThroughputExceededException"
    );
}

#[tokio::test]
async fn a_topic_is_a_stream_and_offsets_are_null() {
    let (gateway, kinesis) = gateway().await;
    create(&gateway, "0ec6.pin", 2).await;
    gateway.get("/topics").await.is(200, json!(["0ec6.pin"]));
    assert_eq!(
        gateway.get("/topics/0ec6.pin").await.json()["partitions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let body = r#"{"records":[{"value":"aQ==","partition":1},{"key":"aw==","value":"ag==","partition":1},{"value":null},{"value":"aw==","partition":5}]}"#;
    let answer = gateway.post("/topics/0ec6.pin", BINARY, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let offsets = answer.json()["offsets"].clone();
    assert_eq!(
        offsets[0],
        json!({"partition": 1, "offset": null, "error_code": null, "error": null})
    );
    assert_eq!(
        (&offsets[2]["error_code"], &offsets[3]["error_code"]),
        (&json!(422), &json!(422))
    );
    let told = records(kinesis, "0ec6.pin", "shardId-000000000001").await;
    assert_eq!(told[1], ("k".to_owned(), "j".to_owned()));
    gateway
        .post("/topics/geo", JSON, r#"{"records":[{"value":1}]}"#)
        .await
        .is_error(404, 40401, "not found");
    gateway
        .post("/consumers/g", super::V2, "{}")
        .await
        .is_error(501, 501, "neither offsets nor consumer groups");
}

#[tokio::test]
async fn shards_are_read_as_kinesis_tells_them() {
    let (gateway, _) = gateway().await;
    create(&gateway, "pin", 2).await;
    gateway.tells_what_was_put("pin", 2, "").await;
    let places = gateway
        .fill("pin", &[("k", "1"), ("k", "2"), ("k", "3")])
        .await;
    let shard = places[1].0.as_str();
    let at = format!(
        "&iterator-type=AT_SEQUENCE_NUMBER&sequence-number={}",
        places[1].1
    );
    let iterator = gateway.iterator("pin", shard, &at).await;
    let one = gateway.page("pin", &iterator, "?Limit=1").await;
    assert_eq!(
        (one.data(), one.all("PartitionKey")),
        (vec!["2".to_owned()], vec!["k".to_owned()])
    );
    assert_eq!(gateway.page("pin", &one.next, "").await.data(), ["3"]);
    let after = at.replace("=AT_", "=AFTER_");
    let iterator = gateway.iterator("pin", shard, &after).await;
    assert_eq!(gateway.page("pin", &iterator, "").await.data(), ["3"]);
    let long_ago = "&iterator-type=AT_TIMESTAMP&timestamp=1.5";
    let iterator = gateway.iterator("pin", shard, long_ago).await;
    assert_eq!(
        gateway
            .page("pin", &iterator, "")
            .await
            .data()
            .last()
            .unwrap(),
        "3"
    );
    let latest = gateway
        .iterator("pin", shard, "&iterator-type=LATEST")
        .await;
    let nothing = gateway.page("pin", &latest, "").await;
    assert!(nothing.records.is_empty());
    gateway.fill("pin", &[("k", "4")]).await;
    assert_eq!(gateway.page("pin", &nothing.next, "").await.data(), ["4"]);
}

#[tokio::test]
async fn what_kinesis_says_to_wrong_iterators_is_passed_on() {
    let (gateway, _) = gateway().await;
    create(&gateway, "pin", 1).await;
    let answer = gateway.ask("pin", "no iterator", "").await;
    refused(
        &answer,
        "InvalidArgumentException",
        "Invalid ShardIterator.",
    );
    for (stream, query, kind, message) in [
        ("nowhere", "", "ResourceNotFoundException", "nowhere"),
        (
            "pin",
            "&iterator-type=AT_TIMESTAMP&timestamp=99999999999",
            "InvalidArgumentException",
            "timestamp",
        ),
        (
            "pin",
            "&iterator-type=AT_SEQUENCE_NUMBER&sequence-number=7",
            "InvalidArgumentException",
            "StartingSequenceNumber",
        ),
    ] {
        let path = format!("/streams/{stream}/sharditerator?shard-id=shardId-000000000000{query}");
        refused(&gateway.get(&path).await, kind, message);
    }
    let path = "/streams/pin/sharditerator?shard-id=shardId-000000000009";
    refused(
        &gateway.get(path).await,
        "ResourceNotFoundException",
        "shardId-000000000009",
    );
}

//! The door of Kinesis through REST, over the embedded log: streams are made, described and
//! removed, and records are put into the topics that feed tables.

use serde_json::json;

use super::Gateway;

#[tokio::test]
async fn a_stream_a_table_feeds_its_table() {
    let gateway = Gateway::start().await;
    let body = r#"{"StreamName": "{self.stream_name}", "Data": {"index": 7528, "title": "two  blanks"}, "PartitionKey": "partition-1"}"#;
    let answer = gateway
        .put("/test/streams/streaming-0ec6-pin/record", body)
        .await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["ShardId"], "shardId-000000000000");
    assert!(
        answer["SequenceNumber"]
            .as_str()
            .unwrap()
            .bytes()
            .all(|digit| digit.is_ascii_digit())
    );
    assert_eq!(
        gateway.lines("streaming-0ec6-pin.pin", 0),
        "{\"index\":7528,\"title\":\"two  blanks\"}\n"
    );
    gateway.get("/streams").await.is(
        200,
        json!({"HasMoreStreams": false, "StreamNames": ["streaming-0ec6-pin"]}),
    );
}

#[tokio::test]
async fn a_shared_stream_is_told_apart_by_partition_keys() {
    let gateway = Gateway::start().await;
    for (key, data) in [
        ("0ec6_pin", "1"),
        ("geo", "2"),
        ("user", "3"),
        ("3f0e-4b", "4"),
    ] {
        let body = format!(r#"{{"StreamName": "x", "Data": {data}, "PartitionKey": "{key}"}}"#);
        assert_eq!(
            gateway
                .put("/streams/Kinesis-Prod-Stream/record", &body)
                .await
                .status,
            200
        );
    }
    for (topic, line) in [
        (".pin", "1\n"),
        (".geo", "2\n"),
        (".user", "3\n"),
        ("", "4\n"),
    ] {
        assert_eq!(
            gateway.lines(&format!("Kinesis-Prod-Stream{topic}"), 0),
            line
        );
    }
}

#[tokio::test]
async fn data_is_text_again_and_a_string_keeps_its_quotes() {
    let gateway = Gateway::start().await;
    for data in [r#""eyJhIjoxfQ==""#, "[ 1, 2 ]", "null"] {
        let body = format!(r#"{{"Data": {data}, "PartitionKey": 7}}"#);
        let answer = gateway.put("/streams/pin/record", &body).await;
        // JSON null is text as well, but it cannot be told from no data at all.
        let expected = if data == "null" { 400 } else { 200 };
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    assert_eq!(gateway.lines("pin", 0), "\"eyJhIjoxfQ==\"\n[1,2]\n");
}

#[tokio::test]
async fn put_records_takes_texts_and_answers_for_each() {
    let gateway = Gateway::start().await;
    let body = r#"{"records": [
        {"data": "{\"a\": 1}", "partition-key": "pin"}, {"data": {"a": 2}, "partition-key": "0ec6_pin"},
        {"data": "x"}, {"partition-key": "pin"}, 5, {"Data": "{}", "PartitionKey": "geo"}
    ]}"#;
    let answer = gateway.put("/streams/shared/records", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["FailedRecordCount"], 3);
    let records = answer["Records"].as_array().unwrap();
    let failed: Vec<bool> = records
        .iter()
        .map(|record| record["ErrorCode"] == "ValidationException")
        .collect();
    assert_eq!(failed, [false, false, true, true, true, false]);
    assert!(records[0]["SequenceNumber"].as_str() < records[1]["SequenceNumber"].as_str());
    assert_eq!(gateway.lines("shared.pin", 0), "{\"a\": 1}\n{\"a\":2}\n");
    assert_eq!(gateway.lines("shared.geo", 0), "{}\n");
    let answer = gateway
        .put("/streams/shared/records", r#"{"records":[{"data":"x"}]}"#)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["FailedRecordCount"]),
        (400, &json!(1))
    );
}

#[tokio::test]
async fn streams_are_made_described_listed_and_removed() {
    let gateway = Gateway::start().await;
    let made = gateway
        .send(
            "POST",
            "/streams/b",
            &[("content-type", "application/json")],
            r#"{"ShardCount": 2}"#,
        )
        .await;
    assert_eq!((made.status, made.body.as_str()), (200, ""));
    assert_eq!(
        gateway.send("POST", "/streams/a", &[], "").await.status,
        200
    );
    let again = gateway.send("POST", "/streams/b", &[], "").await;
    again.is(
        400,
        json!({"__type": "ResourceInUseException", "message": "Stream b already exists."}),
    );
    let described = gateway.get("/streams/b").await.json()["StreamDescription"].clone();
    assert_eq!(described["StreamStatus"], "ACTIVE");
    assert_eq!(described["Shards"].as_array().unwrap().len(), 2);
    assert_eq!(described["Shards"][1]["ShardId"], "shardId-000000000001");
    assert_eq!(
        described["Shards"][1]["HashKeyRange"]["EndingHashKey"],
        u128::MAX.to_string()
    );
    assert_eq!(described["StreamCreationTimestamp"], 1_700_000_000.0);
    let five = gateway.get("/streams/a").await.json();
    assert_eq!(
        five["StreamDescription"]["Shards"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    gateway
        .get("/streams?ExclusiveStartStreamName=-&Limit=1")
        .await
        .is(200, json!({"HasMoreStreams": true, "StreamNames": ["a"]}));
    gateway
        .get("/streams?ExclusiveStartStreamName=a&Limit=100")
        .await
        .is(200, json!({"HasMoreStreams": false, "StreamNames": ["b"]}));
    assert_eq!(
        gateway.send("DELETE", "/streams/b", &[], "").await.status,
        200
    );
    for method in ["GET", "DELETE"] {
        let gone = gateway.send(method, "/streams/b", &[], "").await;
        gone.is(400, json!({"__type": "ResourceNotFoundException", "message": "Stream b under account 000000000000 not found."}));
    }
}

#[tokio::test]
async fn what_kinesis_would_refuse_is_refused() {
    let gateway = Gateway::start().await;
    let long = format!(r#"{{"Data": 1, "PartitionKey": "{}"}}"#, "k".repeat(257));
    for (body, kind, message) in [
        (r#"{"Data": 1}"#, "ValidationException", "'partitionKey'"),
        (
            r#"{"Data": 1, "PartitionKey": ""}"#,
            "ValidationException",
            "'partitionKey'",
        ),
        (
            r#"{"PartitionKey": "pin"}"#,
            "ValidationException",
            "'data'",
        ),
        (long.as_str(), "ValidationException", "256"),
        ("{", "SerializationException", "not what is expected"),
    ] {
        let answer = gateway.put("/streams/s/record", body).await;
        assert_eq!(
            (answer.status, &answer.json()["__type"]),
            (400, &json!(kind))
        );
        assert!(
            answer.json()["message"].as_str().unwrap().contains(message),
            "{answer:?}"
        );
    }
    for body in ["{}", r#"{"records": []}"#, "[]"] {
        assert_eq!(gateway.put("/streams/s/records", body).await.status, 400);
    }
    assert_eq!(
        gateway
            .put("/streams/_s/record", r#"{"Data": 1, "PartitionKey": "k"}"#)
            .await
            .status,
        400
    );
    let shards = gateway
        .send("POST", "/streams/s", &[], r#"{"ShardCount": 0}"#)
        .await;
    assert_eq!(
        (shards.status, &shards.json()["__type"]),
        (400, &json!("ValidationException"))
    );
    assert_eq!(gateway.get("/streams?Limit=0").await.status, 400);
    assert_eq!(
        gateway.get("/streams/s/consumers").await.json()["__type"],
        "UnknownOperationException"
    );
    assert_eq!(
        gateway.send("PATCH", "/streams/s", &[], "").await.status,
        405
    );
}

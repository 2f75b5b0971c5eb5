//! Records that are sent to the Kafka REST proxy's door, over the embedded log: the formats, what
//! is answered for each record, and what is refused.

use serde_json::json;

use super::{BINARY, Gateway, JSON};

#[tokio::test]
async fn the_canonical_scripts_send_one_record_a_request() {
    let gateway = Gateway::start().await;
    gateway.get("/topics").await.is(200, json!([]));
    let row = r#"{"records": [{"value": {"index": 7528, "title": "a\nb", "save_location": "Local save in /data/art"}}]}"#;
    for (offset, path) in ["/test/topics/0ec6.pin", "/topics/0ec6.pin"]
        .iter()
        .enumerate()
    {
        let answer = gateway.post(path, JSON, row).await;
        answer.is(
            200,
            json!({
                "offsets": [{"partition": 0, "offset": offset, "error_code": null, "error": null}],
                "key_schema_id": null,
                "value_schema_id": null,
            }),
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/vnd.kafka.v2+json")
        );
    }
    gateway
        .get("/dev/topics")
        .await
        .is(200, json!(["0ec6.pin"]));
    let value = r#"{"index": 7528, "title": "a\nb", "save_location": "Local save in /data/art"}"#;
    assert_eq!(gateway.lines("0ec6.pin", 0), format!("{value}\n{value}\n"));
}

#[tokio::test]
async fn a_pretty_printed_body_is_one_line_a_record() {
    let gateway = Gateway::start().await;
    let body =
        "{\n \"records\": [\n  {\"value\": {\n   \"a\": 1\n  }},\n  {\"value\": [1,\n2]}\n ]\n}";
    assert_eq!(gateway.post("/topics/pin", JSON, body).await.status, 200);
    assert_eq!(gateway.lines("pin", 0), "{\r   \"a\": 1\r  }\n[1,\r2]\n");
}

#[tokio::test]
async fn a_value_is_a_record_whatever_it_looks_like() {
    let gateway = Gateway::start().await;
    let blanks = r#"{"records": [{"value": ""}, {"value": "ICA="}, {"value": "Cg=="}]}"#;
    let deletion = r#"{"records": [{"value": {"__tombstone":"75"}}]}"#;
    for (kind, body) in [(BINARY, blanks), (JSON, deletion)] {
        assert_eq!(gateway.post("/topics/pin", kind, body).await.status, 200);
    }
    let lines = gateway.lines("pin", 0);
    assert_eq!(lines, "\"\"\n\"\"\n\"\"\n {\"__tombstone\":\"75\"}\n");
    let (_, deletes) = crate::source::tombstone::read(lines.into(), 0);
    assert_eq!(deletes, []);
}

#[tokio::test]
async fn a_bad_record_is_answered_for_itself() {
    let gateway = Gateway::start().await;
    let body = r#"{"records": [
        {"value": {"a": 1}}, {"value": null}, {"key": "k"}, {"valeu": {}}, 7, {"value": 2, "partition": 9},
        {"value": 3, "partition": -1}, {"value": 4, "partition": 0, "key": {"k": 1}}, {"value": "five"}
    ]}"#;
    let answer = gateway.post("/topics/pin", JSON, body).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    let told: Vec<_> = answer["offsets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["offset"].as_u64(), one["error_code"].as_u64()))
        .collect();
    let bad = (None, Some(422));
    assert_eq!(
        told,
        [
            (Some(0), None),
            bad,
            bad,
            bad,
            bad,
            bad,
            bad,
            (Some(1), None),
            (Some(2), None)
        ]
    );
    for (number, why) in [
        (1, "no value"),
        (3, "unknown field `valeu`"),
        (4, "not understood"),
        (5, "no partition 9"),
        (6, "no partition -1"),
    ] {
        let error = answer["offsets"][number]["error"].as_str().unwrap();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(gateway.lines("pin", 0), "{\"a\": 1}\n4\n\"five\"\n");
}

#[tokio::test]
async fn a_request_of_which_nothing_was_kept_is_not_200() {
    let gateway = Gateway::start().await;
    let answer = gateway
        .post("/topics/pin", JSON, r#"{"records": [{"value": null}]}"#)
        .await;
    answer.is_error(422, 422, "the record has no value");
    assert_eq!(answer.json()["offsets"][0]["error_code"], 422);
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_as_the_proxy_does() {
    let gateway = Gateway::start().await;
    let post = async |kind, body| gateway.post("/topics/pin", kind, body).await;
    for (kind, body, status, message) in [
        (
            "application/json",
            r#"{"records":[{"value":1}]}"#,
            415,
            "HTTP 415 Unsupported Media Type",
        ),
        ("", r#"{"records":[{"value":1}]}"#, 415, "HTTP 415"),
        ("application/vnd.kafka.avro.v2+json", "{}", 415, "HTTP 415"),
        (JSON, r#"{"records":[]}"#, 422, "records may not be empty"),
        (JSON, "{}", 422, "records may not be empty"),
        (
            JSON,
            r#"{"recrods":[]}"#,
            422,
            "Unrecognized field: recrods",
        ),
        (JSON, r#"{"records":7}"#, 422, "invalid type"),
        (JSON, r#"{"records":[{"value":1}"#, 400, "not JSON"),
        (JSON, "", 400, "not JSON"),
        (
            JSON,
            "{\"records\":[{\"value\":\"\u{1}\"}]}",
            400,
            "not JSON",
        ),
    ] {
        post(kind, body)
            .await
            .is_error(status, u32::from(status), message);
    }
    let charset = format!("{JSON}; charset=utf-8");
    assert_eq!(
        post(
            charset.as_str(),
            r#"{"records":[{"value":1}],"value_schema_id":3}"#
        )
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn binary_records_are_base64() {
    let gateway = Gateway::start().await;
    let body = r#"{"records":[{"value":"eyJhIjogMX0="},{"value":"eyJhIjogMX0"},{"value":"%%"},{"value":7},{"key":"aw==","value":"\u0065w=="}]}"#;
    let answer = gateway.post("/topics/pin", BINARY, body).await;
    assert_eq!(answer.status, 200);
    let codes: Vec<_> = answer.json()["offsets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["error_code"].as_u64())
        .collect();
    assert_eq!(codes, [None, None, Some(422), Some(422), None]);
    assert_eq!(gateway.lines("pin", 0), "{\"a\": 1}\n{\"a\": 1}\n{\n");
}

#[tokio::test]
async fn keys_choose_partitions_as_kafka_does_and_keyless_requests_take_turns() {
    let gateway = Gateway::with(|config| config.log.partitions = 3).await;
    let partitions = async |body: &str| {
        let answer = gateway.post("/topics/pin", JSON, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let offsets = answer.json()["offsets"].clone();
        offsets
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["partition"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let keyed = partitions(
        r#"{"records":[{"key":"a","value":1},{"key":"b","value":1},{"key":"a","value":2}]}"#,
    )
    .await;
    assert_eq!(keyed[0], keyed[2]);
    assert_eq!(
        keyed[0],
        u64::from(crate::gateway::partitioner::of_key(b"\"a\"", 3))
    );
    let first = partitions(r#"{"records":[{"value":1},{"value":2}]}"#).await;
    let second = partitions(r#"{"records":[{"value":1},{"value":2}]}"#).await;
    assert_eq!(
        (first[0], second[0]),
        (first[1], second[1]),
        "a request stays together"
    );
    assert_ne!(first[0], second[0]);
}

#[tokio::test]
async fn records_go_to_a_partition_by_its_path() {
    let gateway = Gateway::with(|config| config.log.partitions = 2).await;
    let one = r#"{"records":[{"value":1}]}"#;
    let answer = gateway.post("/topics/pin/partitions/1", JSON, one).await;
    assert_eq!(
        (answer.status, &answer.json()["offsets"][0]["partition"]),
        (200, &json!(1))
    );
    gateway
        .post("/topics/pin/partitions/2", JSON, one)
        .await
        .is_error(404, 40402, "Partition not found.");
    gateway
        .post("/topics/pin/partitions/x", JSON, one)
        .await
        .is_error(404, 40402, "Partition not found.");
}

#[tokio::test]
async fn topics_and_partitions_are_told() {
    let gateway = Gateway::with(|config| config.log.partitions = 2).await;
    gateway
        .post(
            "/topics/pin",
            JSON,
            r#"{"records":[{"value":1},{"value":2}]}"#,
        )
        .await;
    let partition = |number: u32| json!({"partition": number, "leader": 0, "replicas": [{"broker": 0, "leader": true, "in_sync": true}]});
    gateway.get("/topics/pin").await.is(
        200,
        json!({"name": "pin", "configs": {}, "partitions": [partition(0), partition(1)]}),
    );
    gateway
        .get("/topics/pin/partitions")
        .await
        .is(200, json!([partition(0), partition(1)]));
    gateway
        .get("/topics/pin/partitions/1")
        .await
        .is(200, partition(1));
    gateway
        .get("/topics/pin/partitions/0/offsets")
        .await
        .is(200, json!({"beginning_offset": 0, "end_offset": 2}));
    for missing in [
        "/topics/geo",
        "/topics/geo/partitions",
        "/topics/geo/partitions/0",
        "/topics/geo/partitions/0/offsets",
    ] {
        gateway
            .get(missing)
            .await
            .is_error(404, 40401, "Topic not found.");
    }
    for missing in [
        "/topics/pin/partitions/7",
        "/topics/pin/partitions/x",
        "/topics/pin/partitions/7/offsets",
    ] {
        gateway
            .get(missing)
            .await
            .is_error(404, 40402, "Partition not found.");
    }
}

#[tokio::test]
async fn names_that_are_no_topics_are_refused() {
    let gateway = Gateway::start().await;
    for name in ["_x.pin", "..%2Fpin", "a%20b", ".pin"] {
        let answer = gateway
            .post(
                &format!("/topics/{name}"),
                JSON,
                r#"{"records":[{"value":1}]}"#,
            )
            .await;
        answer.is_error(422, 422, "cannot be a topic");
    }
    gateway.get("/topics").await.is(200, json!([]));
}

#[tokio::test]
async fn records_survive_a_restart_and_offsets_go_on() {
    let gateway = Gateway::start().await;
    let one = r#"{"records":[{"value":1}]}"#;
    gateway.post("/topics/pin", JSON, one).await;
    let Gateway { server, lake } = gateway;
    server.stop().await;
    let server = super::serve(super::config(lake.path()), super::loopback())
        .await
        .unwrap();
    let gateway = Gateway { server, lake };
    let answer = gateway.post("/topics/pin", JSON, one).await;
    assert_eq!(answer.json()["offsets"][0]["offset"], 1);
}

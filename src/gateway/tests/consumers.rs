//! Consumer instances of the Kafka REST proxy's door, over the embedded log: subscribed or
//! assigned, polled, committed, sought, and gone.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BINARY, Gateway, JSON, V2};

const ONE: &str = "/consumers/students/instances/one";

async fn with_records(values: &str) -> Gateway {
    let gateway = Gateway::start().await;
    let body = format!(r#"{{"records":[{values}]}}"#);
    assert_eq!(
        gateway.post("/topics/0ec6.pin", JSON, &body).await.status,
        200
    );
    gateway
}

async fn consumer(gateway: &Gateway, name: &str, settings: Value) {
    let mut body = json!({"name": name, "format": "json", "auto.offset.reset": "earliest"});
    for (key, value) in settings.as_object().unwrap() {
        body[key] = value.clone();
    }
    let made = gateway
        .post("/consumers/students", V2, &body.to_string())
        .await;
    assert_eq!(made.status, 200, "{made:?}");
}

async fn subscribe(gateway: &Gateway, name: &str, to: Value) {
    let path = format!("/consumers/students/instances/{name}/subscription");
    assert_eq!(gateway.post(&path, V2, &to.to_string()).await.status, 204);
}

async fn poll(gateway: &Gateway, name: &str, query: &str) -> Value {
    let path = format!("/consumers/students/instances/{name}/records{query}");
    let answer = gateway.send("GET", &path, &[("accept", JSON)], "").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some(JSON)),
        "{answer:?}"
    );
    answer.json()
}

fn values(records: &Value) -> Vec<Value> {
    records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["value"].clone())
        .collect()
}

#[tokio::test]
async fn delivery_is_checked_as_the_course_does() {
    let gateway = with_records(r#"{"value":{"index":1}},{"value":"x"}"#).await;
    let made = gateway
        .post(
            "/dev/consumers/students",
            V2,
            r#"{"name": "one", "format": "json", "auto.offset.reset": "earliest"}"#,
        )
        .await;
    made.is(200, json!({"instance_id": "one", "base_uri": "http://localhost/dev/consumers/students/instances/one"}));
    subscribe(&gateway, "one", json!({"topics": ["0ec6.pin", "0ec6.geo"]})).await;
    gateway
        .get(&format!("{ONE}/subscription"))
        .await
        .is(200, json!({"topics": ["0ec6.pin", "0ec6.geo"]}));
    assert_eq!(
        poll(&gateway, "one", "").await,
        json!([
            {"topic": "0ec6.pin", "key": null, "value": {"index": 1}, "partition": 0, "offset": 0},
            {"topic": "0ec6.pin", "key": null, "value": "x", "partition": 0, "offset": 1},
        ])
    );
    assert_eq!(poll(&gateway, "one", "?timeout=10").await, json!([]));
    gateway.get(&format!("{ONE}/assignments")).await.is(
        200,
        json!({"partitions": [{"topic": "0ec6.pin", "partition": 0}]}),
    );
    assert_eq!(gateway.send("DELETE", ONE, &[], "").await.status, 204);
    gateway
        .send("DELETE", ONE, &[], "")
        .await
        .is_error(404, 40403, "Consumer instance not found.");
    gateway.get(&format!("{ONE}/records")).await.is_error(
        404,
        40403,
        "Consumer instance not found.",
    );
}

#[tokio::test]
async fn a_poll_waits_for_records_that_come_and_what_it_returned_is_committed_by_the_next() {
    let gateway = with_records(r#"{"value":1}"#).await;
    consumer(&gateway, "one", json!({})).await;
    subscribe(&gateway, "one", json!({"topic_pattern": ".*pin"})).await;
    assert_eq!(values(&poll(&gateway, "one", "").await), [json!(1)]);
    let (records, sent) = tokio::join!(
        poll(&gateway, "one", "?timeout=20000"),
        gateway.post("/topics/pin", JSON, r#"{"records":[{"value":2}]}"#)
    );
    assert_eq!(sent.status, 200);
    assert_eq!(values(&records), [json!(2)]);
    let of = json!({"partitions": [{"topic": "0ec6.pin", "partition": 0}, {"topic": "pin", "partition": 0}]}).to_string();
    let committed = gateway
        .send(
            "GET",
            &format!("{ONE}/offsets"),
            &[("content-type", V2)],
            &of,
        )
        .await;
    committed.is(
        200,
        json!({"offsets": [{"topic": "0ec6.pin", "partition": 0, "offset": 1, "metadata": ""}]}),
    );
}

#[tokio::test]
async fn committed_offsets_outlive_the_instance_and_the_gateway() {
    let gateway = with_records(r#"{"value":1},{"value":2},{"value":3}"#).await;
    consumer(&gateway, "one", json!({"auto.commit.enable": "false"})).await;
    subscribe(&gateway, "one", json!({"topics": ["0ec6.pin"]})).await;
    assert_eq!(
        values(&poll(&gateway, "one", "?max_bytes=1").await),
        [json!(1)]
    );
    let handled =
        json!({"offsets": [{"topic": "0ec6.pin", "partition": 0, "offset": 0}]}).to_string();
    gateway
        .post(&format!("{ONE}/offsets"), V2, &handled)
        .await
        .is(200, json!([]));
    gateway.send("DELETE", ONE, &[], "").await;
    let Gateway { server, lake } = gateway;
    server.stop().await;
    let server = super::serve(super::config(lake.path()), super::loopback())
        .await
        .unwrap();
    let gateway = Gateway { server, lake };
    consumer(&gateway, "one", json!({"auto.commit.enable": false})).await;
    subscribe(&gateway, "one", json!({"topics": ["0ec6.pin"]})).await;
    assert_eq!(
        values(&poll(&gateway, "one", "").await),
        [json!(2), json!(3)]
    );
    assert_eq!(
        gateway.post(&format!("{ONE}/offsets"), V2, "").await.status,
        200
    );
    let of = json!({"partitions": [{"topic": "0ec6.pin", "partition": 0}]}).to_string();
    let committed = gateway
        .send("GET", &format!("{ONE}/offsets"), &[], &of)
        .await;
    assert_eq!(committed.json()["offsets"][0]["offset"], 3);
}

#[tokio::test]
async fn partitions_are_assigned_and_sought_in() {
    let gateway = with_records(r#"{"value":1},{"value":2},{"value":3}"#).await;
    consumer(&gateway, "one", json!({"format": "binary"})).await;
    let pin = json!({"topic": "0ec6.pin", "partition": 0});
    let to = json!({"partitions": [pin]}).to_string();
    assert_eq!(
        gateway
            .post(&format!("{ONE}/assignments"), V2, &to)
            .await
            .status,
        204
    );
    let poll = async || {
        let answer = gateway
            .send(
                "GET",
                &format!("{ONE}/records?timeout=10"),
                &[("accept", BINARY)],
                "",
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        values(&answer.json())
    };
    assert_eq!(poll().await, ["MQ==", "Mg==", "Mw=="]);
    for (positions, body, expected) in [
        (
            "positions/beginning",
            to.clone(),
            vec!["MQ==", "Mg==", "Mw=="],
        ),
        ("positions/end", to.clone(), vec![]),
        (
            "positions",
            json!({"offsets": [{"topic": "0ec6.pin", "partition": 0, "offset": 2}]}).to_string(),
            vec!["Mw=="],
        ),
    ] {
        assert_eq!(
            gateway
                .post(&format!("{ONE}/{positions}"), V2, &body)
                .await
                .status,
            204
        );
        assert_eq!(poll().await, expected, "{positions}");
    }
    let other = json!({"partitions": [{"topic": "0ec6.pin", "partition": 3}]}).to_string();
    gateway
        .post(&format!("{ONE}/positions/end"), V2, &other)
        .await
        .is_error(409, 40903, "No current assignment");
    gateway
        .post(&format!("{ONE}/assignments"), V2, &other)
        .await
        .is_error(404, 40402, "Partition not found.");
    let topics = json!({"topics": ["0ec6.pin"]}).to_string();
    gateway
        .post(&format!("{ONE}/subscription"), V2, &topics)
        .await
        .is_error(409, 40903, "mutually exclusive");
    assert_eq!(
        gateway
            .send("DELETE", &format!("{ONE}/subscription"), &[], "")
            .await
            .status,
        204
    );
    assert_eq!(
        gateway
            .post(&format!("{ONE}/subscription"), V2, &topics)
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn the_members_of_a_group_share_partitions() {
    let gateway = Gateway::with(|config| config.log.partitions = 2).await;
    for partition in 0..2 {
        let body = format!(r#"{{"records":[{{"value":{partition}}}]}}"#);
        gateway
            .post(&format!("/topics/pin/partitions/{partition}"), JSON, &body)
            .await;
    }
    for name in ["one", "two"] {
        consumer(&gateway, name, json!({})).await;
        subscribe(&gateway, name, json!({"topics": ["pin"]})).await;
    }
    assert_eq!(
        values(&poll(&gateway, "one", "?timeout=10").await),
        [json!(0)]
    );
    assert_eq!(
        values(&poll(&gateway, "two", "?timeout=10").await),
        [json!(1)]
    );
    gateway
        .send("DELETE", "/consumers/students/instances/one", &[], "")
        .await;
    let partitions = gateway
        .get("/consumers/students/instances/two/assignments")
        .await
        .json();
    assert_eq!(partitions["partitions"].as_array().unwrap().len(), 2);
    assert_eq!(
        poll(&gateway, "two", "?timeout=10").await,
        json!([]),
        "what the other has read was committed when it left"
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_proxys_codes() {
    let gateway = with_records(r#"{"value":1}"#).await;
    consumer(&gateway, "one", json!({})).await;
    let create = async |body: &str| gateway.post("/consumers/students", V2, body).await;
    create(r#"{"name":"one"}"#)
        .await
        .is_error(409, 40902, "already exists");
    create(r#"{"name":"two","format":"avro"}"#).await.is_error(
        422,
        42204,
        "Invalid consumer configuration",
    );
    create(r#"{"name":"two","auto.offset.reset":"middle"}"#)
        .await
        .is_error(422, 42204, "Invalid consumer configuration");
    create(r#"{"nmae":"two"}"#)
        .await
        .is_error(422, 422, "Unrecognized field: nmae");
    create("{").await.is_error(400, 400, "not JSON");
    let unnamed = create("").await.json()["instance_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(unnamed.starts_with("rest-consumer-"), "{unnamed}");
    gateway
        .get(&format!("{ONE}/records"))
        .await
        .is_error(409, 40903, "not subscribed");
    gateway
        .send("GET", &format!("{ONE}/records"), &[("accept", BINARY)], "")
        .await
        .is_error(406, 40601, "does not match");
    gateway
        .get(&format!("{ONE}/offsets"))
        .await
        .is_error(404, 40402, "Partition not found.");
    let subscribe = async |body: &str| gateway.post(&format!("{ONE}/subscription"), V2, body).await;
    subscribe("{}")
        .await
        .is_error(422, 422, "topics or topic_pattern");
    subscribe(r#"{"topics":["a\u0000"]}"#)
        .await
        .is_error(422, 422, "control characters");
    gateway
        .post("/consumers/stud%00ents", V2, "")
        .await
        .is_error(422, 422, "control characters");
    subscribe(r#"{"topic_pattern":"("}"#)
        .await
        .is_error(422, 422, "regular expression");
    subscribe(r#"{"topics":["a"],"topic_pattern":"b"}"#)
        .await
        .is_error(409, 40903, "mutually exclusive");
}

#[tokio::test]
async fn idle_instances_expire() {
    let gateway = Gateway::with(|config| config.limits.instance = Duration::from_millis(50)).await;
    consumer(&gateway, "one", json!({})).await;
    let path = "/consumers/students";
    let gone = async {
        // Making it again works as soon as the first one is gone.
        while gateway.post(path, V2, r#"{"name":"one"}"#).await.status == 409 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_an_instance_remembers_is_bounded() {
    let gateway = Gateway::start().await;
    consumer(&gateway, "one", json!({})).await;
    let long = "x".repeat(250);
    let place = json!({"topic": "pin", "partition": 0, "offset": 0});
    let many = vec![place; 1001];
    let topics = vec!["pin"; 1001];
    for (path, body, why) in [
        ("/consumers/students", json!({"name": long}), "249 bytes"),
        (
            &format!("{ONE}/subscription"),
            json!({"topics": topics}),
            "at most 1000 topics",
        ),
        (
            &format!("{ONE}/subscription"),
            json!({"topics": [long]}),
            "249 bytes",
        ),
        (
            &format!("{ONE}/subscription"),
            json!({"topic_pattern": "((x{50}){50}){50}"}),
            "size limit",
        ),
        (
            &format!("{ONE}/subscription"),
            json!({"topic_pattern": "a)|(?:b"}),
            "unopened group",
        ),
        (
            &format!("{ONE}/assignments"),
            json!({"partitions": many}),
            "at most 1000 partitions",
        ),
        (
            &format!("{ONE}/offsets"),
            json!({"offsets": many}),
            "at most 1000 partitions",
        ),
    ] {
        let answer = gateway.post(path, V2, &body.to_string()).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.body.contains(why), "{answer:?}");
    }
    let group = "ü".repeat(100);
    let group: String = group.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = gateway.post(&format!("/consumers/{group}"), V2, "{}").await;
    answer.is_error(422, 422, "too long for a file");
}

#[tokio::test]
async fn a_partition_that_is_named_twice_is_read_once() {
    let gateway = with_records(r#"{"value":1}"#).await;
    consumer(&gateway, "one", json!({})).await;
    let place = json!({"topic": "0ec6.pin", "partition": 0});
    let body = json!({"partitions": [place, place]}).to_string();
    assert_eq!(
        gateway
            .post(&format!("{ONE}/assignments"), V2, &body)
            .await
            .status,
        204
    );
    gateway
        .get(&format!("{ONE}/assignments"))
        .await
        .is(200, json!({"partitions": [place]}));
    assert_eq!(values(&poll(&gateway, "one", "").await), [json!(1)]);
}

//! Streams that are read shard by shard: GetShardIterator and GetRecords, over the embedded log.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Gateway, JSON};
use crate::gateway::BackendSpec;

const FIRST: &str = "shardId-000000000000";

/// What an answer to GetRecords holds.
pub(super) struct Page {
    pub records: Vec<Value>,
    pub next: String,
    pub behind_ms: u64,
}

impl Page {
    /// The data of the records, decoded.
    pub fn data(&self) -> Vec<String> {
        let decode = |record: &Value| {
            let data = STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
            String::from_utf8(data).unwrap()
        };
        self.records.iter().map(decode).collect()
    }

    /// A field of all records.
    pub fn all(&self, field: &str) -> Vec<String> {
        let text = |record: &Value| record[field].as_str().unwrap().to_owned();
        self.records.iter().map(text).collect()
    }
}

impl Gateway {
    /// An iterator; `more` is added to the query.
    pub(super) async fn iterator(&self, stream: &str, shard: &str, more: &str) -> String {
        let path = format!("/streams/{stream}/sharditerator?shard-id={shard}{more}");
        let answer = self.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["ShardIterator"].as_str().unwrap().to_owned()
    }

    /// The answer to GetRecords, whatever it is.
    pub(super) async fn ask(&self, stream: &str, iterator: &str, query: &str) -> Answer {
        let path = format!("/dev/streams/{stream}/records{query}");
        self.send("GET", &path, &[("Shard-Iterator", iterator)], "")
            .await
    }

    /// One answer with records.
    pub(super) async fn page(&self, stream: &str, iterator: &str, query: &str) -> Page {
        let answer = self.ask(stream, iterator, query).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        Page {
            records: answer["Records"].as_array().unwrap().clone(),
            next: answer["NextShardIterator"].as_str().unwrap().to_owned(),
            behind_ms: answer["MillisBehindLatest"].as_u64().unwrap(),
        }
    }

    /// Everything from an iterator to the end.
    pub(super) async fn rest(&self, stream: &str, iterator: &str, query: &str) -> Page {
        let mut all = self.page(stream, iterator, query).await;
        while all.behind_ms > 0 {
            let page = self.page(stream, &all.next, query).await;
            assert!(!page.records.is_empty(), "who is behind gets a record");
            all.records.extend(page.records);
            (all.next, all.behind_ms) = (page.next, page.behind_ms);
        }
        all
    }

    /// Puts records, each a key and a text, and tells where they are: shard, sequence number.
    pub(super) async fn fill(
        &self,
        stream: &str,
        records: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let records: Vec<Value> = records
            .iter()
            .map(|(key, data)| json!({"data": data, "partition-key": key}))
            .collect();
        let body = json!({"records": records}).to_string();
        let answer = self.put(&format!("/streams/{stream}/records"), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["FailedRecordCount"], 0, "{answer}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let places = answer["Records"].as_array().unwrap().iter();
        places
            .map(|place| (text(&place["ShardId"]), text(&place["SequenceNumber"])))
            .collect()
    }

    /// Puts records with many keys and asserts that every shard tells its own, in order, with the
    /// sequence numbers they were put with.
    pub(super) async fn tells_what_was_put(&self, stream: &str, shards: usize, query: &str) {
        let texts: Vec<(String, String)> = (0..40)
            .map(|number| (format!("k{number}"), format!("{{\"n\":{number}}}")))
            .collect();
        let mut expected: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for half in texts.chunks(20) {
            let records: Vec<(&str, &str)> = half
                .iter()
                .map(|(key, data)| (key.as_str(), data.as_str()))
                .collect();
            for ((shard, sequence), (_, data)) in self.fill(stream, &records).await.iter().zip(half)
            {
                let told = expected.entry(shard.clone()).or_default();
                told.push((sequence.clone(), data.clone()));
            }
        }
        let described = self.get(&format!("/streams/{stream}")).await.json();
        let described = described["StreamDescription"]["Shards"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(described.len(), shards);
        for shard in described {
            let id = shard["ShardId"].as_str().unwrap();
            let begin = self.iterator(stream, id, "").await;
            let read = self.rest(stream, &begin, query).await;
            let told: Vec<_> = read
                .all("SequenceNumber")
                .into_iter()
                .zip(read.data())
                .collect();
            assert_eq!(told, expected.remove(id).unwrap_or_default(), "{id}");
            for record in &read.records {
                assert!(
                    record["ApproximateArrivalTimestamp"].as_f64() > Some(1e9),
                    "{record}"
                );
            }
        }
        assert_eq!(expected, BTreeMap::new());
    }
}

/// The refusal of the Kinesis door, whose message holds a text.
#[track_caller]
pub(super) fn refused(answer: &Answer, kind: &str, message: &str) {
    let told = answer.json();
    assert_eq!(
        (answer.status, &told["__type"]),
        (400, &json!(kind)),
        "{told}"
    );
    assert!(
        told["message"].as_str().unwrap().contains(message),
        "{told}"
    );
}

async fn with_shards(stream: &str, shards: u32) -> Gateway {
    let gateway = Gateway::start().await;
    let body = json!({"ShardCount": shards}).to_string();
    let made = gateway
        .send("POST", &format!("/streams/{stream}"), &[], &body)
        .await;
    assert_eq!(made.status, 200);
    gateway
}

#[tokio::test]
async fn what_was_put_is_read_back_in_order_from_every_shard() {
    let gateway = with_shards("streaming-0ec6-pin", 3).await;
    gateway
        .tells_what_was_put("streaming-0ec6-pin", 3, "")
        .await;
    let counters = gateway.get("/metrics").await.body;
    for line in [
        r#"pinflow_gateway_records_total{method="GET",route="/streams/{stream}/records",outcome="read"} 40"#,
        r#"pinflow_gateway_requests_total{method="GET",route="/streams/{stream}/sharditerator",status="2xx"} 3"#,
    ] {
        assert!(counters.contains(line), "{line}\n{counters}");
    }
}

#[tokio::test]
async fn pieces_make_the_same_whole() {
    let gateway = with_shards("pin", 2).await;
    gateway.tells_what_was_put("pin", 2, "?Limit=3").await;
}

#[tokio::test]
async fn an_iterator_goes_on_where_it_was_and_waits_at_the_end() {
    let gateway = Gateway::start().await;
    gateway
        .fill("pin", &[("k", "1"), ("k", "2"), ("k", "3")])
        .await;
    let begin = gateway.iterator("pin", FIRST, "").await;
    let two = gateway.page("pin", &begin, "?Limit=2").await;
    assert_eq!(two.data(), ["1", "2"]);
    assert!(two.behind_ms > 0);
    let one = gateway.page("pin", &two.next, "?Limit=2").await;
    assert_eq!((one.data(), one.behind_ms), (vec!["3".to_owned()], 0));
    let none = gateway.page("pin", &one.next, "").await;
    assert_eq!((none.data(), none.behind_ms), (vec![], 0));
    gateway.fill("pin", &[("k", "4")]).await;
    for iterator in [&one.next, &none.next, &none.next] {
        assert_eq!(gateway.page("pin", iterator, "").await.data(), ["4"]);
    }
}

#[tokio::test]
async fn a_gateway_that_was_started_again_knows_its_iterators() {
    let lake = tempfile::tempdir().unwrap();
    let log = BackendSpec::Log(lake.path().join("_log"));
    let start = || {
        Gateway::with(|config| {
            config.topics = log.clone();
            config.streams = log.clone();
        })
    };
    let gateway = start().await;
    gateway.fill("pin", &[("k", "1"), ("k", "2")]).await;
    let begin = gateway.iterator("pin", FIRST, "").await;
    let next = gateway.page("pin", &begin, "?Limit=1").await.next;
    gateway.server.stop().await;
    let gateway = start().await;
    assert_eq!(gateway.page("pin", &next, "").await.data(), ["2"]);
}

#[tokio::test]
async fn latest_sees_only_what_comes_later() {
    let gateway = Gateway::start().await;
    gateway
        .fill("shared", &[("x_pin", "old"), ("none", "old")])
        .await;
    let latest = gateway
        .iterator("shared", FIRST, "&iterator-type=LATEST")
        .await;
    let nothing = gateway.page("shared", &latest, "").await;
    assert_eq!((nothing.data(), nothing.behind_ms), (vec![], 0));
    // The topic of `geo` is made by its first record.
    gateway
        .fill("shared", &[("x_pin", "a"), ("x_geo", "b")])
        .await;
    for iterator in [&latest, &nothing.next] {
        assert_eq!(
            gateway.page("shared", iterator, "").await.data(),
            ["a", "b"]
        );
    }
}

#[tokio::test]
async fn a_sequence_number_is_a_place_to_begin_at() {
    let gateway = Gateway::start().await;
    let places = gateway
        .fill("pin", &[("k", "1"), ("k", "2"), ("k", "3")])
        .await;
    for (kind, data) in [("AT", vec!["2", "3"]), ("AFTER", vec!["3"])] {
        let at = format!(
            "&iterator-type={kind}_SEQUENCE_NUMBER&sequence-number={}",
            places[1].1
        );
        let iterator = gateway.iterator("pin", FIRST, &at).await;
        assert_eq!(gateway.page("pin", &iterator, "").await.data(), data);
    }
    let described = gateway.get("/streams/pin").await.json()["StreamDescription"].clone();
    let first = &described["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"];
    let at = format!(
        "&iterator-type=AT_SEQUENCE_NUMBER&sequence-number={}",
        first.as_str().unwrap()
    );
    let iterator = gateway.iterator("pin", FIRST, &at).await;
    assert_eq!(
        gateway.page("pin", &iterator, "").await.data(),
        ["1", "2", "3"]
    );
}

#[tokio::test]
async fn a_shared_stream_is_read_whole_and_no_topic_keeps_others_waiting() {
    let gateway = Gateway::start().await;
    gateway
        .fill(
            "Shared",
            &[
                ("x_pin", "p1"),
                ("x_pin", "p2"),
                ("x_pin", "p3"),
                ("3f0e", "n1"),
                ("user", "u1"),
            ],
        )
        .await;
    let begin = gateway.iterator("Shared", FIRST, "").await;
    let one_by_one = gateway.rest("Shared", &begin, "?Limit=1").await;
    assert_eq!(one_by_one.data(), ["n1", "p1", "u1", "p2", "p3"]);
    assert_eq!(
        one_by_one.all("PartitionKey"),
        ["", "pin", "user", "pin", "pin"],
        "of a key there is left what led to the topic"
    );
    let two_by_two = gateway.rest("Shared", &begin, "?Limit=2").await;
    assert_eq!(two_by_two.data(), ["n1", "p1", "u1", "p2", "p3"]);
    let at_once = gateway.page("Shared", &begin, "").await;
    assert_eq!(at_once.data(), ["n1", "p1", "p2", "p3", "u1"]);
}

#[tokio::test]
async fn a_topic_that_is_older_than_its_stream_is_read_with_all_its_partitions() {
    let gateway = Gateway::with(|config| config.log.partitions = 2).await;
    let body = r#"{"records":[{"value":"a","partition":0},{"value":"b","partition":1}]}"#;
    assert_eq!(gateway.post("/topics/pin", JSON, body).await.status, 200);
    let unknown = gateway
        .get(&format!("/streams/pin/sharditerator?shard-id={FIRST}"))
        .await;
    refused(&unknown, "ResourceNotFoundException", "Stream pin");
    let made = gateway
        .send("POST", "/streams/pin", &[], r#"{"ShardCount": 1}"#)
        .await;
    assert_eq!(made.status, 200);
    let described = gateway.get("/streams/pin").await.json();
    let shards = &described["StreamDescription"]["Shards"];
    assert_eq!(shards.as_array().unwrap().len(), 2);
    for (shard, data) in [(0, "a"), (1, "b")] {
        let id = shards[shard]["ShardId"].as_str().unwrap();
        let begin = gateway.iterator("pin", id, "").await;
        let read = gateway.page("pin", &begin, "").await;
        assert_eq!(read.data(), [format!("\"{data}\"")]);
    }
}

#[tokio::test]
async fn an_answer_weighs_about_ten_megabytes_and_holds_a_record_at_least() {
    let gateway = Gateway::start().await;
    let large = format!("\"{}\"", "y".repeat(4 << 20));
    for _ in 0..4 {
        let body = format!(r#"{{"Data": {large}, "PartitionKey": "k"}}"#);
        assert_eq!(gateway.put("/streams/pin/record", &body).await.status, 200);
    }
    let begin = gateway.iterator("pin", FIRST, "").await;
    let three = gateway.page("pin", &begin, "").await;
    assert_eq!(three.data(), [large.as_str(); 3]);
    let one = gateway.page("pin", &three.next, "?Limit=1").await;
    assert_eq!((one.data(), one.behind_ms), (vec![large], 0));
}

#[tokio::test]
async fn records_that_are_gone_are_passed_over() {
    let lake = tempfile::tempdir().unwrap();
    let log = lake.path().join("_log");
    let start = || {
        Gateway::with(|config| {
            config.topics = BackendSpec::Log(log.clone());
            config.streams = BackendSpec::Log(log.clone());
            config.log.segment_bytes = 1;
        })
    };
    let gateway = start().await;
    for data in ["1", "2", "3"] {
        gateway.fill("pin", &[("k", data)]).await;
    }
    let begin = gateway.iterator("pin", FIRST, "").await;
    let two = gateway.page("pin", &begin, "?Limit=2").await;
    assert_eq!(two.data(), ["1", "2"]);
    gateway.server.stop().await;
    for start in 0..2 {
        let file = format!("topics/pin/partition=0/pin+0+{start:010}.json");
        std::fs::remove_file(log.join(file)).unwrap();
    }
    let gateway = start().await;
    for iterator in [&begin, &two.next] {
        assert_eq!(gateway.page("pin", iterator, "").await.data(), ["3"]);
    }
}

#[tokio::test]
async fn iterators_that_are_wrong_or_of_other_streams_are_refused() {
    let gateway = Gateway::start().await;
    gateway.fill("a", &[("k", "1")]).await;
    gateway.fill("b", &[("k", "2")]).await;
    let of_a = gateway.iterator("a", FIRST, "").await;
    let answer = gateway.ask("b", &of_a, "").await;
    refused(
        &answer,
        "InvalidArgumentException",
        "for the stream `a` and not for `b`",
    );
    for wrong in ["", "x", &of_a[1..], "AAAAAAAAAAHtest==", "\u{e4}"] {
        let answer = gateway.ask("a", wrong, "").await;
        refused(
            &answer,
            "InvalidArgumentException",
            "Invalid ShardIterator.",
        );
    }
    refused(
        &gateway.get("/streams/a/records").await,
        "ValidationException",
        "'shardIterator'",
    );
    for limit in ["0", "10001", "x"] {
        let answer = gateway.ask("a", &of_a, &format!("?Limit={limit}")).await;
        refused(&answer, "ValidationException", "Limit");
    }
    let unknown = gateway.ask("c", &of_a, "").await;
    refused(&unknown, "ResourceNotFoundException", "Stream c");
    assert_eq!(
        gateway.send("DELETE", "/streams/a", &[], "").await.status,
        200
    );
    let gone = gateway.ask("a", &of_a, "").await;
    refused(&gone, "ResourceNotFoundException", "Stream a");
}

#[tokio::test]
async fn places_that_are_not_there_are_refused() {
    let gateway = Gateway::start().await;
    let places = gateway.fill("a", &[("k", "1")]).await;
    gateway.fill("b", &[("k", "1")]).await;
    let of_a = format!("sequence-number={}", places[0].1);
    let shard = format!("shard-id={FIRST}");
    for (stream, query, kind, message) in [
        ("a", String::new(), "ValidationException", "'shardId'"),
        ("c", shard.clone(), "ResourceNotFoundException", "Stream c"),
        (
            "a",
            "shard-id=shardId-000000000001".to_owned(),
            "ResourceNotFoundException",
            "000000001 in stream a",
        ),
        (
            "a",
            "shard-id=first".to_owned(),
            "ResourceNotFoundException",
            "Shard first",
        ),
        (
            "a",
            format!("{shard}&iterator-type=OLDEST"),
            "ValidationException",
            "'OLDEST' at 'shardIteratorType'",
        ),
        (
            "a",
            format!("{shard}&iterator-type=AT_SEQUENCE_NUMBER"),
            "InvalidArgumentException",
            "sequence-number",
        ),
        (
            "a",
            format!("{shard}&{of_a}"),
            "InvalidArgumentException",
            "TRIM_HORIZON",
        ),
        (
            "b",
            format!("{shard}&iterator-type=AT_SEQUENCE_NUMBER&{of_a}"),
            "InvalidArgumentException",
            "none of this shard",
        ),
        (
            "a",
            format!("{shard}&iterator-type=AT_TIMESTAMP&timestamp=0"),
            "InvalidArgumentException",
            "does not know when",
        ),
        (
            "a",
            format!("{shard}&iterator-type=AT_TIMESTAMP&timestamp=x"),
            "InvalidArgumentException",
            "seconds since 1970",
        ),
    ] {
        let answer = gateway
            .get(&format!("/streams/{stream}/sharditerator?{query}"))
            .await;
        refused(&answer, kind, message);
    }
}

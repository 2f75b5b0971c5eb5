//! Kinesis as a source, against servers: every shape of streams, every way to begin, and restarts.

use std::process::Command;
use std::sync::atomic::Ordering;

use pinflow::source::{Read, Source};

use crate::support::ferro::Ferro;
use crate::support::kinesis::{
    Lake, STREAMS, Setting, numbered, sorted, texts, wait, with_each_server,
};
use crate::support::kinesis_local::KinesisLocal;
use crate::support::python::{complete, python_with};

#[test]
fn one_kinesis_stream_a_table_and_only_what_is_new_after_a_restart() {
    with_each_server(|setting| {
        for stream in STREAMS {
            setting.create(&format!("streaming-0a-{stream}"), 2);
            setting.put(
                &format!("streaming-0a-{stream}"),
                &numbered(&["partition-1", "b", "c"], 30),
            );
        }
        let mut lake = Lake::default();
        for (round, expected) in [(0, 90), (1, 90), (2, 91)] {
            if round == 2 {
                setting.put("streaming-0a-geo", &numbered(&["late"], 1));
            }
            let mut source = setting.open("streaming-0a-*", "", lake.opening(true));
            lake.read_to_end(&mut source).expect("it is read");
            assert_eq!(lake.count(), expected, "round {round}");
        }
        for stream in [0, 2] {
            let expected = sorted(texts(&numbered(&["partition-1", "b", "c"], 30)));
            assert_eq!(sorted(lake.lines[&stream].clone()), expected);
        }
    });
}

#[test]
fn a_shared_stream_is_routed_by_partition_key() {
    with_each_server(|setting| {
        setting.create("Kinesis-Prod-Stream", 2);
        let records = numbered(&["0a_pin", "0a_geo", "0a_user", "pin"], 400);
        setting.put("Kinesis-Prod-Stream", &records);
        setting.put(
            "Kinesis-Prod-Stream",
            &[("partition-1".to_owned(), b"{\"lost\":1}".to_vec())],
        );
        let mut lake = Lake::default();
        let mut source = setting.open("Kinesis-Prod-Stream", "", lake.opening(true));
        lake.read_to_end(&mut source).expect("it is read");
        let of = |suffix: &str| {
            let records = records
                .iter()
                .filter(|(key, _)| key.ends_with(suffix))
                .cloned();
            sorted(texts(&records.collect::<Vec<_>>()))
        };
        assert_eq!(sorted(lake.lines[&1].clone()), of("geo"));
        assert_eq!(sorted(lake.lines[&2].clone()), of("user"));
        let (dead, pins): (Vec<_>, Vec<_>) = lake.lines[&0]
            .iter()
            .cloned()
            .partition(|line| line.contains("lost"));
        assert_eq!(sorted(pins), of("pin"));
        assert_eq!(dead.len(), 1);
        assert!(
            dead[0]
                .starts_with("Kinesis record whose partition key \"partition-1\" names no stream"),
            "{}",
            dead[0]
        );
    });
}

#[test]
fn base64_inside_the_data_is_left_as_a_json_string() {
    let ferro = Ferro::start();
    let setting = Setting::new(&ferro.endpoint);
    setting.create("my-pin", 1);
    let records = [
        "{\"ind\":1}",
        "\"eyJpbmQiOjJ9\"",
        "eyJpbmQiOjN9",
        "{\n\"ind\":4}",
    ];
    let records: Vec<_> = records
        .iter()
        .map(|data| ("partition-1".to_owned(), data.as_bytes().to_vec()))
        .collect();
    setting.put("my-pin", &records);
    let mut lake = Lake::default();
    lake.read_to_end(&mut setting.open("my-pin", "", lake.opening(true)))
        .expect("it is read");
    assert_eq!(
        lake.lines[&0],
        [
            "{\"ind\":1}",
            "\"eyJpbmQiOjJ9\"",
            "\"eyJpbmQiOjN9\"",
            "{\r\"ind\":4}"
        ]
    );
}

#[test]
fn latest_and_times_leave_out_what_came_before() {
    let ferro = Ferro::start();
    let setting = Setting::new(&ferro.endpoint);
    setting.create("pin", 1);
    setting.put("pin", &numbered(&["old"], 2000));
    let mut lake = Lake::default();
    let mut source = setting.open("pin", "&start=latest", lake.opening(false));
    lake.read(&mut source, |lake| !lake.positions.is_empty())
        .expect("it begins");
    wait("the shard is looked at", || {
        assert!(matches!(source.read(1), Ok(Read::Idle)), "nothing is new");
        !source.lag().is_empty()
    });
    setting.put("pin", &numbered(&["new"], 3));
    lake.read(&mut source, |lake| lake.count() == 3)
        .expect("it is read");
    assert_eq!(lake.lines[&0], texts(&numbered(&["new"], 3)));
    drop(source);
    // All that is there came before.
    let mut none = Lake::default();
    let mut source = setting.open("pin", "&start=4102444800", none.opening(true));
    none.read_to_end(&mut source).expect("it is read");
    assert_eq!(none.count(), 0);
    let mut all = Lake::default();
    let mut source = setting.open("pin", "&start=2001-01-01T00:00:00Z", all.opening(true));
    all.read_to_end(&mut source).expect("it is read");
    assert_eq!(all.count(), 2003);
}

#[test]
fn a_bounded_source_reads_all_of_a_shard_that_was_just_made() {
    // ferrokinesis dates the first records of a new shard into the next second.
    with_each_server(|setting| {
        let stream = "streaming-0a-pin";
        setting.create(stream, 1);
        let halves = setting
            .client
            .split_shard()
            .stream_name(stream)
            .shard_to_split("shardId-000000000000")
            .new_starting_hash_key((1_u128 << 127).to_string());
        let split = setting.runtime.block_on(halves.send());
        split.expect("it is split");
        setting.wait_active(stream);
        let records = numbered(&["a", "b", "c", "d", "e"], 2000);
        setting.put(stream, &records);
        let mut lake = Lake::default();
        let mut source = setting.open(stream, "", lake.opening(true));
        lake.read_to_end(&mut source).expect("it is read");
        let lines = lake.lines.remove(&0).unwrap_or_default();
        assert_eq!(sorted(lines), sorted(texts(&records)));
    });
}

#[test]
fn processes_share_the_streams() {
    let ferro = Ferro::start();
    let setting = Setting::new(&ferro.endpoint);
    for stream in STREAMS {
        setting.create(&format!("a-{stream}"), 1);
        setting.put(&format!("a-{stream}"), &numbered(&["a"], 10));
    }
    let mut lake = Lake::default();
    for process in 0..3 {
        let mut opening = lake.opening(true);
        opening.positions.clear();
        (opening.process, opening.processes) = (process, 3);
        lake.read_to_end(&mut setting.open("a-*", "", opening))
            .expect("it is read");
    }
    assert_eq!(
        lake.lines.values().map(Vec::len).collect::<Vec<_>>(),
        [10, 10, 10]
    );
}

#[test]
fn fan_out_reads_what_polling_reads_and_subscribes_again() {
    // ferrokinesis begins every subscription with the shard's first record, whatever place is asked
    // for: what was read before comes again. kinesis-local keeps to the place, and refuses a
    // subscription while it thinks that the last one lives.
    let ferro = Ferro::with(|options| options.subscribe_to_shard_session_ms = 500);
    eprintln!("against ferrokinesis");
    fan_out(&Setting::new(&ferro.endpoint));
    let iterators = ferro.desk.iterators.load(Ordering::SeqCst);
    assert_eq!(iterators, 0, "nothing was polled");
    let local =
        KinesisLocal::start().unwrap_or_else(|why| panic!("kinesis-local cannot be used: {why}"));
    eprintln!("against kinesis-local");
    fan_out(&Setting::new(&local.endpoint));
}

fn fan_out(setting: &Setting) {
    setting.create("shared", 2);
    setting.put("shared", &numbered(&["a_pin", "b_pin", "a_geo"], 60));
    let mut lake = Lake::default();
    let mut source = setting.open("shared", "&consumer=fan-out", lake.opening(false));
    lake.read(&mut source, |lake| lake.count() == 60)
        .expect("it is read");
    setting.put("shared", &numbered(&["late_user"], 20));
    lake.read(&mut source, |lake| lake.count() == 80)
        .expect("it is read");
    assert!(source.lag().iter().all(|lag| lag.seconds.is_some()));
    drop(source);
    let mut source = setting.open("shared", "&consumer=fan-out", lake.opening(true));
    lake.read_to_end(&mut source).expect("it ends");
    assert_eq!(lake.count(), 80, "nothing comes twice");
    assert_eq!(lake.lines[&2], texts(&numbered(&["late_user"], 20)));
}

#[test]
fn records_that_boto3_put_are_read() {
    let python = python_with(&["boto3==1.44.5"]).unwrap();
    with_each_server(|setting| {
        setting.create("Kinesis-Prod-Stream", 3);
        let script = format!(
            r#"
import base64, boto3, json
client = boto3.client("kinesis", endpoint_url="{}", region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
tables = ["pin", "geo", "user"]
records = [{{"Data": json.dumps({{"ind": i}}).encode(), "PartitionKey": "0a_" + tables[i % 3]}} for i in range(300)]
answer = client.put_records(StreamName="Kinesis-Prod-Stream", Records=records)
assert answer["FailedRecordCount"] == 0, answer
twice = base64.b64encode(json.dumps({{"ind": 300}}).encode())
print(client.put_record(StreamName="Kinesis-Prod-Stream", Data=twice, PartitionKey="0a_pin")["SequenceNumber"])
"#,
            setting.endpoint
        );
        let sequence = complete(Command::new(&python).args(["-c", &script])).unwrap();
        let mut lake = Lake::default();
        lake.read_to_end(&mut setting.open("Kinesis-Prod-Stream", "", lake.opening(true)))
            .expect("it is read");
        for stream in 0..3 {
            let expected: Vec<_> = (stream..300)
                .step_by(3)
                .map(|i| format!("{{\"ind\": {i}}}"))
                .collect();
            let (plain, encoded): (Vec<_>, Vec<_>) = lake.lines[&stream]
                .iter()
                .cloned()
                .partition(|line| line.starts_with('{'));
            assert_eq!(plain, expected, "one partition key, so one order");
            assert_eq!(encoded.len(), usize::from(stream == 0));
        }
        assert_eq!(
            lake.lines[&0].last().map(String::as_str),
            Some("\"eyJpbmQiOiAzMDB9\"")
        );
        let last = lake
            .positions
            .values()
            .any(|position| position.token.starts_with(sequence.trim()));
        assert!(
            last,
            "{sequence} is where one shard is read on: {:?}",
            lake.positions
        );
    });
}

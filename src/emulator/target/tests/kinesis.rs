//! Kinesis: a server that fails at random, and ferrokinesis, which does not but is no work of ours.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::{ShardIteratorType, StreamStatus};

use super::server::Gateway;
use super::*;

#[test]
fn streams_get_every_record_once_and_in_order_though_requests_fail() {
    for batch in [1, 30] {
        let server = Gateway::start(21, 15);
        let world = "--posts 150 --duplicates 0.5";
        let posted = emulate(&format!(
            "--to kinesis://streaming-0a-*?endpoint=http://{} --batch {batch} {world}",
            server.address
        ))
        .unwrap();
        let kept = server.kept();
        assert_eq!(
            by_key(
                kept.iter()
                    .map(|kept| (kept.name.as_str(), kept.body.as_slice()))
            ),
            made(world)
        );
        assert_eq!(
            posted.acknowledged().iter().sum::<u64>() as usize,
            kept.len()
        );
        assert!(posted.repeated() > 0);
    }
}

#[test]
fn a_stream_that_is_shared_and_split_into_shards_holds_what_was_acknowledged() {
    let runtime = Runtime::new().unwrap();
    let options = ferrokinesis::store::StoreOptions {
        create_stream_ms: 0,
        // 1,000 records and 1 MB a second and shard, as the real one.
        enforce_limits: true,
        ..Default::default()
    };
    let (app, _store) = ferrokinesis::create_app(options);
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await });
    let address: crate::kinesis::KinesisAddress = format!("kinesis://Prod?endpoint={endpoint}")
        .parse()
        .unwrap();
    let client = runtime.block_on(address.client()).unwrap();
    runtime.block_on(async {
        client
            .create_stream()
            .stream_name("Prod")
            .shard_count(3)
            .send()
            .await
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let described = client
                .describe_stream_summary()
                .stream_name("Prod")
                .send()
                .await
                .unwrap();
            if described.stream_description_summary.unwrap().stream_status == StreamStatus::Active {
                break;
            }
            assert!(Instant::now() < deadline);
        }
    });
    let world = "--posts 300 --duplicates 0.5";
    let posted = emulate(&format!(
        "--to kinesis://Prod?endpoint={endpoint}&partition_key=0a_* --batch 40 {world}"
    ))
    .unwrap();
    let records = runtime.block_on(async {
        let mut records = Vec::new();
        let shards = client
            .list_shards()
            .stream_name("Prod")
            .send()
            .await
            .unwrap();
        for shard in shards.shards() {
            let start = client
                .get_shard_iterator()
                .stream_name("Prod")
                .shard_id(shard.shard_id())
                .shard_iterator_type(ShardIteratorType::TrimHorizon);
            let mut iterator = start.send().await.unwrap().shard_iterator;
            loop {
                let got = client
                    .get_records()
                    .set_shard_iterator(iterator)
                    .send()
                    .await
                    .unwrap();
                if got.records().is_empty() {
                    break;
                }
                for record in got.records() {
                    records.push((
                        record.partition_key().unwrap().to_owned(),
                        record.data().as_ref().to_vec(),
                    ));
                }
                iterator = got.next_shard_iterator;
            }
        }
        records
    });
    let made = made(world);
    assert_eq!(
        by_key(
            records
                .iter()
                .map(|(key, body)| (key.as_str(), body.as_slice()))
        ),
        made
    );
    assert_eq!(posted.acknowledged().iter().sum::<u64>(), count(&made));
}

#[test]
fn a_stream_that_is_not_there_ends_it_at_once() {
    let runtime = Runtime::new().unwrap();
    let (app, _store) = ferrokinesis::create_app(Default::default());
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await });
    let error = emulate(&format!(
        "--to kinesis://nowhere-*?endpoint={endpoint} --posts 3"
    ))
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("ResourceNotFound") && error.contains("nowhere-"),
        "{error}"
    );
}

//! Reading streams: GetShardIterator and GetRecords.
//!
//! The original mapping knows iterators of the type TRIM_HORIZON only. The other types have what
//! they need in the query:
//!
//! | `iterator-type` | needs |
//! |---|---|
//! | `TRIM_HORIZON`, `LATEST` | nothing |
//! | `AT_SEQUENCE_NUMBER`, `AFTER_SEQUENCE_NUMBER` | `sequence-number` |
//! | `AT_TIMESTAMP` | `timestamp`, in seconds since 1970; the embedded log refuses it |

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{Answered, json_answer, limit, missing};
use crate::gateway::answer::{STREAM_TYPE, StreamRefusal};
use crate::gateway::app::App;
use crate::gateway::backend::{ShardInfo, ShardRecord, ShardRecords, ShardStart};
use crate::gateway::metrics::Counted;
use crate::gateway::proxy::write_text;

/// Where a request carries its iterator.
const ITERATOR_HEADER: HeaderName = HeaderName::from_static("shard-iterator");

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Wanted {
    shard_id: Option<String>,
    iterator_type: Option<String>,
    sequence_number: Option<String>,
    timestamp: Option<String>,
}

pub(super) async fn iterator(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answered {
    let start = start(&wanted)?;
    let shard = wanted.shard_id.ok_or_else(|| missing("shardId"))?;
    let iterator = app.streams.shard_iterator(&stream, &shard, start).await?;
    Ok(json_answer(&json!({"ShardIterator": iterator})))
}

/// Where the iterator begins.
fn start(wanted: &Wanted) -> Result<ShardStart, StreamRefusal> {
    // Mappings send parameters empty that were not given to them.
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let kind = given(&wanted.iterator_type).unwrap_or_else(|| "TRIM_HORIZON".to_owned());
    let (sequence, time) = (given(&wanted.sequence_number), given(&wanted.timestamp));
    Ok(match (kind.as_str(), sequence, time) {
        ("TRIM_HORIZON", None, None) => ShardStart::Oldest,
        ("LATEST", None, None) => ShardStart::Latest,
        ("AT_SEQUENCE_NUMBER", Some(sequence), None) => ShardStart::At(sequence),
        ("AFTER_SEQUENCE_NUMBER", Some(sequence), None) => ShardStart::After(sequence),
        ("AT_TIMESTAMP", None, Some(time)) => ShardStart::Time(milliseconds(&time)?),
        (
            "TRIM_HORIZON"
            | "LATEST"
            | "AT_SEQUENCE_NUMBER"
            | "AFTER_SEQUENCE_NUMBER"
            | "AT_TIMESTAMP",
            ..,
        ) => {
            return Err(StreamRefusal::argument(format!(
                "an iterator of the type {kind} cannot be had with these parameters: TRIM_HORIZON and LATEST take neither sequence-number nor timestamp, AT_SEQUENCE_NUMBER and AFTER_SEQUENCE_NUMBER take sequence-number alone, AT_TIMESTAMP takes timestamp alone"
            )));
        }
        _ => {
            return Err(StreamRefusal::invalid(format!(
                "1 validation error detected: Value '{kind}' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"
            )));
        }
    })
}

/// Seconds with a fraction, as Kinesis writes times, in milliseconds.
fn milliseconds(seconds: &str) -> Result<u64, StreamRefusal> {
    let parsed = seconds.parse::<f64>().ok();
    let parsed = parsed.filter(|seconds| (0.0..1e12).contains(seconds));
    let parsed = parsed.ok_or_else(|| {
        StreamRefusal::argument(format!(
            "`{seconds}` is no timestamp: write seconds since 1970, such as 1700000000.5"
        ))
    })?;
    Ok((parsed * 1000.0).round() as u64)
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(rename = "Limit")]
    limit: Option<String>,
}

pub(super) async fn records(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Answered {
    let limit = limit(asked.limit.as_deref())?;
    let iterator = headers.get(ITERATOR_HEADER);
    let iterator = iterator.ok_or_else(|| missing("shardIterator"))?;
    let iterator = iterator.to_str().map_err(|_| {
        StreamRefusal::argument(format!(
            "Invalid ShardIterator. It has characters that no iterator has; ask for one at /streams/{stream}/sharditerator."
        ))
    })?;
    let read = app.streams.read_shard(&stream, iterator, limit).await?;
    let mut response = ([(CONTENT_TYPE, STREAM_TYPE)], body(&read)).into_response();
    response.extensions_mut().insert(Counted {
        read: read.records.len() as u64,
        ..Counted::default()
    });
    Ok(response)
}

/// `{"MillisBehindLatest": .., "NextShardIterator": .., "Records": [..]}`
fn body(read: &ShardRecords) -> Vec<u8> {
    let size = |record: &ShardRecord| 256 + record.key.len() + record.data.len() / 3 * 4;
    let mut body = Vec::with_capacity(512 + read.records.iter().map(size).sum::<usize>());
    body.push(b'{');
    if !read.children.is_empty() {
        let children: Vec<_> = read.children.iter().map(child).collect();
        body.extend_from_slice(format!("\"ChildShards\":{},", json!(children)).as_bytes());
    }
    body.extend_from_slice(format!("\"MillisBehindLatest\":{}", read.behind_ms).as_bytes());
    if let Some(next) = &read.next {
        body.extend_from_slice(b",\"NextShardIterator\":");
        write_text(&mut body, next);
    }
    body.extend_from_slice(b",\"Records\":[");
    for (number, record) in read.records.iter().enumerate() {
        body.extend_from_slice(if number == 0 { b"" } else { b"," });
        write_record(&mut body, record);
    }
    body.extend_from_slice(b"]}");
    body
}

fn write_record(to: &mut Vec<u8>, record: &ShardRecord) {
    to.push(b'{');
    if let Some(ms) = record.arrived_ms {
        let seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
        to.extend_from_slice(b"\"ApproximateArrivalTimestamp\":");
        to.extend_from_slice(seconds.as_bytes());
        to.push(b',');
    }
    to.extend_from_slice(b"\"Data\":\"");
    to.extend_from_slice(STANDARD.encode(&record.data).as_bytes());
    to.extend_from_slice(b"\",\"PartitionKey\":");
    write_text(to, &record.key);
    to.extend_from_slice(b",\"SequenceNumber\":");
    write_text(to, &record.sequence);
    to.push(b'}');
}

/// A shard that a closed one goes on in.
fn child(shard: &ShardInfo) -> serde_json::Value {
    let parents: Vec<_> = shard.parent.iter().chain(&shard.adjacent_parent).collect();
    json!({
        "HashKeyRange": {"EndingHashKey": shard.hashes.1, "StartingHashKey": shard.hashes.0},
        "ParentShards": parents,
        "ShardId": shard.id,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn records_are_written_as_kinesis_writes_them() {
        let record = ShardRecord {
            sequence: "49".to_owned(),
            key: "a\"b".to_owned(),
            data: Bytes::from_static(b"{}"),
            arrived_ms: Some(1_700_000_000_007),
        };
        let unknown = ShardRecord {
            arrived_ms: None,
            key: String::new(),
            ..record.clone()
        };
        let read = ShardRecords {
            records: vec![record, unknown],
            next: Some("next".to_owned()),
            behind_ms: 5,
            children: Vec::new(),
        };
        assert_eq!(
            String::from_utf8(body(&read)).unwrap(),
            r#"{"MillisBehindLatest":5,"NextShardIterator":"next","Records":[{"ApproximateArrivalTimestamp":1700000000.007,"Data":"e30=","PartitionKey":"a\"b","SequenceNumber":"49"},{"Data":"e30=","PartitionKey":"","SequenceNumber":"49"}]}"#
        );
    }

    #[test]
    fn a_closed_shard_that_was_read_tells_where_it_goes_on() {
        let read = ShardRecords {
            children: vec![ShardInfo {
                id: "shardId-000000000002".to_owned(),
                parent: Some("shardId-000000000000".to_owned()),
                hashes: ("0".to_owned(), "9".to_owned()),
                ..ShardInfo::default()
            }],
            ..ShardRecords::default()
        };
        assert_eq!(
            String::from_utf8(body(&read)).unwrap(),
            r#"{"ChildShards":[{"HashKeyRange":{"EndingHashKey":"9","StartingHashKey":"0"},"ParentShards":["shardId-000000000000"],"ShardId":"shardId-000000000002"}],"MillisBehindLatest":0,"Records":[]}"#
        );
    }

    #[test]
    fn times_are_seconds_with_a_fraction() {
        assert_eq!(milliseconds("1700000000.5").unwrap(), 1_700_000_000_500);
        assert_eq!(milliseconds("0").unwrap(), 0);
        for wrong in ["", "-1", "NaN", "inf", "2024-05-01"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }
}

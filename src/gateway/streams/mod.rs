//! The door of Kinesis through REST, as API Gateway maps it.
//!
//! | request | Kinesis |
//! |---|---|
//! | `GET /streams?ExclusiveStartStreamName=&Limit=` | ListStreams |
//! | `GET /streams/{s}` | DescribeStream |
//! | `POST /streams/{s}` | CreateStream; `ShardCount` from the body, else 5 |
//! | `DELETE /streams/{s}` | DeleteStream |
//! | `PUT /streams/{s}/record` | PutRecord: the body's `Data` as compact JSON text, `PartitionKey`; `StreamName` is ignored, the path counts |
//! | `PUT /streams/{s}/records` | PutRecords: `records`, each with `data`, a text, and `partition-key` |
//! | `GET /streams/{s}/sharditerator?shard-id=` | GetShardIterator; TRIM_HORIZON, unless `iterator-type` says otherwise |
//! | `GET /streams/{s}/records?Limit=` | GetRecords; the iterator is in the header `Shard-Iterator` |
//!
//! `Data` is text again: an object becomes its JSON, a string keeps its quotes. In PutRecords a
//! string is its content; an object, of which the original mapping makes nothing useful, becomes
//! its JSON. A request of which no record was kept is never 200.

mod read;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::answer::{STREAM_TYPE, StreamRefusal};
use super::app::App;
use super::backend::{Record, Refusal, ShardInfo, Written};
use super::body;
use super::metrics::Counted;
use super::proxy::write_text;
use text::{compact, partition_key, string};

/// Shards of a stream that is made without saying how many.
const SHARDS: u32 = 5;
/// Names of streams in a page that is asked for without limit.
const PAGE: usize = 100;

type Answered = Result<Response, StreamRefusal>;

/// The routes of this door.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/streams", get(list))
        .route(
            "/streams/{stream}",
            get(describe).post(create).delete(delete),
        )
        .route("/streams/{stream}/record", put(put_record))
        .route(
            "/streams/{stream}/records",
            get(read::records).put(put_records),
        )
        .route("/streams/{stream}/sharditerator", get(read::iterator))
}

fn json_answer(value: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, STREAM_TYPE)], value.to_string()).into_response()
}

fn empty_answer() -> Response {
    ([(CONTENT_TYPE, STREAM_TYPE)], "").into_response()
}

async fn whole(app: &App, request: Request<Body>) -> Result<Bytes, StreamRefusal> {
    let body = body::read(request, app.limits.body_bytes).await;
    body.map_err(|(status, message)| StreamRefusal {
        status,
        kind: "SerializationException",
        message,
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, StreamRefusal> {
    serde_json::from_slice(body).map_err(|error| StreamRefusal {
        status: StatusCode::BAD_REQUEST,
        kind: "SerializationException",
        message: format!("the body is not what is expected here: {error}"),
    })
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "ExclusiveStartStreamName")]
    after: Option<String>,
    #[serde(rename = "Limit")]
    limit: Option<String>,
}

async fn list(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Answered {
    let limit = limit(page.limit.as_deref())?.unwrap_or(PAGE);
    // `-` sorts before all names, and is what the course's mapping sends for "from the beginning".
    let after = page
        .after
        .as_deref()
        .filter(|after| !["", "-"].contains(after));
    let found = app.streams.streams(after, limit).await?;
    Ok(json_answer(
        &json!({"HasMoreStreams": found.more, "StreamNames": found.names}),
    ))
}

/// How many things are asked for, if that is said.
fn limit(given: Option<&str>) -> Result<Option<usize>, StreamRefusal> {
    let Some(given) = given else { return Ok(None) };
    let limit = given.parse().ok();
    let limit = limit.filter(|limit| (1..=10_000).contains(limit));
    limit
        .map(Some)
        .ok_or_else(|| StreamRefusal::invalid("Limit is a number from 1 to 10000"))
}

async fn describe(State(app): State<Arc<App>>, Path(stream): Path<String>) -> Answered {
    let info = app.streams.stream(&stream).await?;
    let shards: Vec<_> = info.shards.iter().map(shard).collect();
    Ok(json_answer(&json!({"StreamDescription": {
        "EncryptionType": "NONE",
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "HasMoreShards": info.more_shards,
        "RetentionPeriodHours": info.retention_hours,
        "Shards": shards,
        "StreamARN": info.arn,
        "StreamCreationTimestamp": info.created,
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "StreamName": info.name,
        "StreamStatus": info.status,
    }})))
}

fn shard(shard: &ShardInfo) -> serde_json::Value {
    let mut sequences = json!({"StartingSequenceNumber": shard.sequences.0});
    if let Some(last) = &shard.sequences.1 {
        sequences["EndingSequenceNumber"] = json!(last);
    }
    let mut told = json!({
        "HashKeyRange": {"EndingHashKey": shard.hashes.1, "StartingHashKey": shard.hashes.0},
        "SequenceNumberRange": sequences,
        "ShardId": shard.id,
    });
    if let Some(parent) = &shard.parent {
        told["ParentShardId"] = json!(parent);
    }
    if let Some(parent) = &shard.adjacent_parent {
        told["AdjacentParentShardId"] = json!(parent);
    }
    told
}

#[derive(Default, Deserialize)]
struct Create {
    #[serde(rename = "ShardCount")]
    shards: Option<u32>,
}

async fn create(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    request: Request<Body>,
) -> Answered {
    let body = whole(&app, request).await?;
    let wanted: Create = if body.is_empty() {
        Create::default()
    } else {
        parse(&body)?
    };
    let shards = wanted.shards.unwrap_or(SHARDS);
    app.streams.create_stream(&stream, shards).await?;
    Ok(empty_answer())
}

async fn delete(State(app): State<Arc<App>>, Path(stream): Path<String>) -> Answered {
    app.streams.delete_stream(&stream).await?;
    Ok(empty_answer())
}

#[derive(Deserialize)]
struct PutRecord<'a> {
    #[serde(rename = "Data", borrow)]
    data: Option<&'a RawValue>,
    #[serde(rename = "PartitionKey", borrow)]
    key: Option<&'a RawValue>,
}

async fn put_record(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    request: Request<Body>,
) -> Answered {
    let body = whole(&app, request).await?;
    let put: PutRecord<'_> = parse(&body)?;
    let data = put.data.ok_or_else(|| missing("data"))?;
    let record = Record {
        key: Some(partition_key(&body, put.key).map_err(StreamRefusal::invalid)?),
        value: Some(compact(&body, data.get())),
        partition: None,
    };
    let written = app.streams.put(&stream, vec![record]).await?;
    let mut answer = Vec::new();
    let mut response = match written.into_iter().next() {
        Some(Ok(place)) => {
            write_place(&mut answer, &place.sequence, &place.shard);
            ([(CONTENT_TYPE, STREAM_TYPE)], answer).into_response()
        }
        Some(Err(refusal)) => refused(&refusal, json!({})),
        None => refused(
            &Refusal::of_backend(true, "the record was not answered"),
            json!({}),
        ),
    };
    let kept = u64::from(response.status().is_success());
    response.extensions_mut().insert(Counted {
        kept,
        refused: 1 - kept,
        read: 0,
        bytes: body.len() as u64,
    });
    Ok(response)
}

fn missing(field: &str) -> StreamRefusal {
    StreamRefusal::invalid(format!(
        "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
    ))
}

#[derive(Deserialize)]
struct PutRecords<'a> {
    #[serde(borrow, default, alias = "Records", deserialize_with = "body::records")]
    records: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, alias = "Data")]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "partition-key", alias = "PartitionKey")]
    key: Option<&'a RawValue>,
}

fn entry(body: &Bytes, raw: &RawValue) -> Result<Record, Refusal> {
    let entry: Entry<'_> = serde_json::from_str(raw.get())
        .map_err(|error| Refusal::of_record(format!("the record is not understood: {error}")))?;
    let data = entry
        .data
        .ok_or_else(|| Refusal::of_record("the record has no data"))?;
    let value = match string(body, data) {
        Some(text) => text,
        None => compact(body, data.get()),
    };
    let key = partition_key(body, entry.key).map_err(Refusal::of_record)?;
    Ok(Record {
        key: Some(key),
        value: Some(value),
        partition: None,
    })
}

async fn put_records(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    request: Request<Body>,
) -> Answered {
    let body = whole(&app, request).await?;
    let put: PutRecords<'_> = parse(&body)?;
    let entries = put.records.ok_or_else(|| missing("records"))?;
    if entries.is_empty() {
        return Err(StreamRefusal::invalid("records may not be empty"));
    }
    let mut written: Vec<Option<Written>> = Vec::with_capacity(entries.len());
    let mut good = Vec::with_capacity(entries.len());
    for raw in entries {
        match entry(&body, raw) {
            Ok(record) => {
                good.push(record);
                written.push(None);
            }
            Err(refusal) => written.push(Some(Err(refusal))),
        }
    }
    if !good.is_empty() {
        let mut answers = app.streams.put(&stream, good).await?.into_iter();
        for slot in written.iter_mut().filter(|slot| slot.is_none()) {
            *slot = answers.next();
        }
    }
    Ok(answer(&written, body.len()))
}

/// `{"FailedRecordCount": .., "Records": [..]}`
fn answer(written: &[Option<Written>], bytes: usize) -> Response {
    let mut records = Vec::with_capacity(112 * written.len() + 64);
    let unanswered = Refusal::of_backend(true, "the record was not answered; send it again");
    let mut refused_records: Vec<&Refusal> = Vec::new();
    for (number, written) in written.iter().enumerate() {
        records.extend_from_slice(if number == 0 { b"" } else { b"," });
        let refusal = match written {
            Some(Ok(place)) => {
                write_place(&mut records, &place.sequence, &place.shard);
                continue;
            }
            Some(Err(refusal)) => refusal,
            None => &unanswered,
        };
        records.extend_from_slice(b"{\"ErrorCode\":");
        write_text(&mut records, &refusal.code);
        records.extend_from_slice(b",\"ErrorMessage\":");
        write_text(&mut records, &refusal.why);
        records.push(b'}');
        refused_records.push(refusal);
    }
    let failed = refused_records.len();
    let first = refused_records.iter().find(|refusal| refusal.retriable);
    let mut response = match first.or(refused_records.first()) {
        Some(refusal) if failed == written.len() => {
            let records = String::from_utf8_lossy(&records);
            let records: serde_json::Value =
                serde_json::from_str(&format!("[{records}]")).unwrap_or_default();
            refused(
                refusal,
                json!({"FailedRecordCount": failed, "Records": records}),
            )
        }
        _ => {
            let mut body = format!("{{\"FailedRecordCount\":{failed},\"Records\":[").into_bytes();
            body.extend_from_slice(&records);
            body.extend_from_slice(b"]}");
            ([(CONTENT_TYPE, STREAM_TYPE)], body).into_response()
        }
    };
    response.extensions_mut().insert(Counted {
        kept: (written.len() - failed) as u64,
        refused: failed as u64,
        read: 0,
        bytes: bytes as u64,
    });
    response
}

/// The answer to a request of which nothing was kept.
fn refused(refusal: &Refusal, mut body: serde_json::Value) -> Response {
    let status = if refusal.retriable && refusal.code == "InternalFailure" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_REQUEST
    };
    body["__type"] = json!(refusal.code);
    body["message"] = json!(refusal.why);
    (status, [(CONTENT_TYPE, STREAM_TYPE)], body.to_string()).into_response()
}

fn write_place(to: &mut Vec<u8>, sequence: &str, shard: &str) {
    to.extend_from_slice(b"{\"SequenceNumber\":");
    write_text(to, sequence);
    to.extend_from_slice(b",\"ShardId\":");
    write_text(to, shard);
    to.push(b'}');
}

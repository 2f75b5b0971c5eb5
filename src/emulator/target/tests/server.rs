//! A gateway for tests: it keeps what it acknowledges, and fails at random.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::emulator::random::{Random, Topic};

/// A record that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The topic or Kinesis stream.
    pub(super) name: String,
    /// The key or partition key.
    pub(super) key: Option<String>,
    pub(super) body: Vec<u8>,
}

#[derive(Default)]
struct Books {
    kept: Vec<Kept>,
    /// Method and path, and the number of records, of each request.
    requests: Vec<(String, usize)>,
    headers: Vec<HeaderMap>,
}

#[derive(Clone)]
pub(super) struct Gateway {
    books: Arc<Mutex<Books>>,
    chance: Arc<Mutex<Random>>,
    /// Of 100 requests, so many fail, and so many fail in part.
    faults: u32,
    pub(super) address: SocketAddr,
    _runtime: Arc<Runtime>,
}

enum Fate {
    Fine,
    /// Of 4 records, one fails.
    Partly,
    Response(Response),
}

impl Gateway {
    pub(super) fn start(seed: u64, faults: u32) -> Self {
        let runtime = Arc::new(Runtime::new().unwrap());
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let gateway = Self {
            books: Arc::default(),
            chance: Arc::new(Mutex::new(Random::new(seed, Topic::Broken, 0))),
            faults,
            address: listener.local_addr().unwrap(),
            _runtime: Arc::clone(&runtime),
        };
        let router = Router::new()
            .route("/dev/topics/{topic}", post(topics))
            .route("/dev/streams/{stream}/record", put(record))
            .route("/dev/streams/{stream}/records", put(records))
            .route("/", post(kinesis))
            .with_state(gateway.clone_for_server());
        runtime.spawn(async move { axum::serve(listener, router).await });
        gateway
    }

    /// The server must not keep the runtime that runs it.
    fn clone_for_server(&self) -> Server {
        Server {
            books: Arc::clone(&self.books),
            chance: Arc::clone(&self.chance),
            faults: self.faults,
        }
    }

    pub(super) fn kept(&self) -> Vec<Kept> {
        self.books.lock().unwrap().kept.clone()
    }

    pub(super) fn requests(&self) -> Vec<(String, usize)> {
        self.books.lock().unwrap().requests.clone()
    }

    pub(super) fn headers(&self, name: &str) -> Vec<String> {
        let books = self.books.lock().unwrap();
        let value = |headers: &HeaderMap| Some(headers.get(name)?.to_str().unwrap().to_owned());
        books.headers.iter().filter_map(value).collect()
    }
}

#[derive(Clone)]
struct Server {
    books: Arc<Mutex<Books>>,
    chance: Arc<Mutex<Random>>,
    faults: u32,
}

impl Server {
    fn note(&self, uri: &Uri, headers: &HeaderMap, records: usize) {
        let mut books = self.books.lock().unwrap();
        books.requests.push((uri.path().to_owned(), records));
        books.headers.push(headers.clone());
    }

    fn fate(&self) -> Fate {
        let mut chance = self.chance.lock().unwrap();
        let fault = chance.below(100);
        if fault >= 2 * self.faults {
            return Fate::Fine;
        }
        if fault >= self.faults {
            return Fate::Partly;
        }
        Fate::Response(match chance.below(4) {
            0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
            2 => (
                StatusCode::INTERNAL_SERVER_ERROR,
                r#"{"message":"it broke"}"#,
            )
                .into_response(),
            // The connection breaks within the answer.
            _ => Body::from_stream(futures::stream::iter([
                Ok(Bytes::from_static(b"{")),
                Err(std::io::Error::other("broken")),
            ]))
            .into_response(),
        })
    }

    /// Keeps records, but for those that fail; true for each that was kept.
    fn keep(&self, fate: &Fate, records: Vec<Kept>) -> Vec<bool> {
        let fails =
            |_: &Kept| matches!(fate, Fate::Partly) && self.chance.lock().unwrap().one_in(4);
        let fates: Vec<bool> = records.iter().map(|record| !fails(record)).collect();
        let kept = records.into_iter().zip(&fates).filter(|(_, fine)| **fine);
        self.books
            .lock()
            .unwrap()
            .kept
            .extend(kept.map(|(record, _)| record));
        fates
    }
}

#[derive(serde::Deserialize)]
struct Produce {
    records: Vec<Produced>,
}

#[derive(serde::Deserialize)]
struct Produced {
    key: Option<Value>,
    value: Box<RawValue>,
}

async fn topics(
    State(server): State<Server>,
    Path(topic): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(produce) = serde_json::from_slice::<Produce>(&body) else {
        return (
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"error_code":42201,"message":"no"}"#,
        )
            .into_response();
    };
    server.note(&uri, &headers, produce.records.len());
    if headers.get("x-api-key").is_some_and(|key| key == "wrong") {
        return (StatusCode::FORBIDDEN, r#"{"message":"Forbidden"}"#).into_response();
    }
    // As proxies do that cannot read one record of a request.
    if produce
        .records
        .iter()
        .any(|record| record.value.get().contains("\"index\":13,"))
        && topic.starts_with("strict")
    {
        return (
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"error_code":42203,"message":"thirteen"}"#,
        )
            .into_response();
    }
    let binary = headers["content-type"] == "application/vnd.kafka.binary.v2+json";
    let fate = server.fate();
    if let Fate::Response(response) = fate {
        return response;
    }
    let kept = produce.records.into_iter().map(|record| Kept {
        name: topic.clone(),
        key: record.key.map(|key| match (binary, key) {
            (true, key) => {
                String::from_utf8(STANDARD.decode(key.as_str().unwrap()).unwrap()).unwrap()
            }
            (false, key) => key.to_string(),
        }),
        body: if binary {
            STANDARD
                .decode(serde_json::from_str::<String>(record.value.get()).unwrap())
                .unwrap()
        } else {
            record.value.get().as_bytes().to_vec()
        },
    });
    let fates = server.keep(&fate, kept.collect());
    let place = |fine: &bool| match fine {
        true => json!({"partition": 0, "offset": 1, "error_code": null, "error": null}),
        false => json!({"error_code": 2, "error": "the leader is away"}),
    };
    let offsets: Vec<Value> = fates.iter().map(place).collect();
    axum::Json(json!({"offsets": offsets, "key_schema_id": null, "value_schema_id": null}))
        .into_response()
}

#[derive(serde::Deserialize)]
struct Put {
    #[serde(rename = "Data")]
    data: Box<RawValue>,
    #[serde(rename = "PartitionKey")]
    partition_key: String,
}

async fn record(
    State(server): State<Server>,
    Path(stream): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put: Put = serde_json::from_slice(&body).unwrap();
    server.note(&uri, &headers, 1);
    let kept = Kept {
        name: stream,
        key: Some(put.partition_key),
        body: put.data.get().as_bytes().to_vec(),
    };
    match server.fate() {
        Fate::Response(response) => response,
        // The gateway passes errors of Kinesis on with the status that it has for all.
        Fate::Partly => {
            axum::Json(json!({"__type": "ProvisionedThroughputExceededException"})).into_response()
        }
        Fate::Fine => {
            server.keep(&Fate::Fine, vec![kept]);
            axum::Json(json!({"SequenceNumber": "1", "ShardId": "shardId-0"})).into_response()
        }
    }
}

#[derive(serde::Deserialize)]
struct PutMany {
    records: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    data: String,
    #[serde(rename = "partition-key")]
    partition_key: String,
}

fn places(fates: &[bool]) -> Value {
    let place = |fine: &bool| match fine {
        true => json!({"SequenceNumber": "1", "ShardId": "shardId-0"}),
        false => {
            json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"})
        }
    };
    let failed = fates.iter().filter(|fine| !**fine).count();
    json!({"FailedRecordCount": failed, "Records": fates.iter().map(place).collect::<Vec<_>>()})
}

async fn records(
    State(server): State<Server>,
    Path(stream): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put: PutMany = serde_json::from_slice(&body).unwrap();
    server.note(&uri, &headers, put.records.len());
    let fate = server.fate();
    if let Fate::Response(response) = fate {
        return response;
    }
    let kept = put.records.into_iter().map(|entry| Kept {
        name: stream.clone(),
        key: Some(entry.partition_key),
        body: entry.data.into_bytes(),
    });
    axum::Json(places(&server.keep(&fate, kept.collect()))).into_response()
}

/// Kinesis itself, as far as putting goes.
async fn kinesis(
    State(server): State<Server>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name = text(&body["StreamName"]);
    let kept = |entry: &Value| Kept {
        name: name.clone(),
        key: Some(text(&entry["PartitionKey"])),
        body: STANDARD.decode(text(&entry["Data"])).unwrap(),
    };
    let answer = |value: Value| {
        (
            [("content-type", "application/x-amz-json-1.1")],
            value.to_string(),
        )
            .into_response()
    };
    let fate = server.fate();
    match headers["x-amz-target"].to_str().unwrap() {
        "Kinesis_20131202.PutRecord" => {
            server.note(&uri, &headers, 1);
            match fate {
                Fate::Response(response) => response,
                Fate::Partly => (StatusCode::BAD_REQUEST, answer(json!({"__type": "ProvisionedThroughputExceededException", "message": "slow down"}))).into_response(),
                Fate::Fine => {
                    server.keep(&fate, vec![kept(&body)]);
                    answer(json!({"SequenceNumber": "1", "ShardId": "shardId-0"}))
                }
            }
        }
        "Kinesis_20131202.PutRecords" => {
            let entries = body["Records"].as_array().unwrap();
            server.note(&uri, &headers, entries.len());
            match fate {
                Fate::Response(response) => response,
                fate => answer(places(
                    &server.keep(&fate, entries.iter().map(kept).collect()),
                )),
            }
        }
        other => panic!("{other}"),
    }
}

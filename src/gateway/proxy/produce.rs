//! Records in: `POST /topics/{topic}` and `POST /topics/{topic}/partitions/{partition}`.
//!
//! A record that is wrong in itself is answered for itself, and the others are kept. The status is
//! 200 if at least one record was kept; a request of which nothing was kept is 422 or 503, with the
//! same answers per record in it, because most clients look at the status alone, and a 200 means
//! durable.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::media::{Format, write_text};
use super::{unread, wrong_json};
use crate::gateway::answer::{PROXY_TYPE, ProxyRefusal};
use crate::gateway::app::App;
use crate::gateway::backend::{Fault, Record, Refusal, Written};
use crate::gateway::body;
use crate::gateway::metrics::Counted;

/// The body; schemas are for formats that need one, and ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "R: Deserialize<'de>"))]
struct Produce<R> {
    #[serde(default, deserialize_with = "body::records")]
    records: Option<Vec<R>>,
    #[serde(default, rename = "key_schema")]
    _key_schema: IgnoredAny,
    #[serde(default, rename = "key_schema_id")]
    _key_schema_id: IgnoredAny,
    #[serde(default, rename = "value_schema")]
    _value_schema: IgnoredAny,
    #[serde(default, rename = "value_schema_id")]
    _value_schema_id: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    partition: Option<i64>,
}

impl Entry<'_> {
    fn record(&self, body: &Bytes, format: Format) -> Result<Record, Refusal> {
        let read = |what: &str, raw: Option<&RawValue>| {
            raw.map(|raw| format.read(body, raw))
                .transpose()
                .map_err(|why| Refusal::of_record(format!("the record's {what} {why}")))
        };
        let partition = self.partition.map(|partition| {
            u32::try_from(partition)
                .map_err(|_| Refusal::of_record(format!("there is no partition {partition}")))
        });
        Ok(Record {
            key: read("key", self.key)?,
            value: read("value", self.value)?,
            partition: partition.transpose()?,
        })
    }
}

/// The records of a body, each of them or what is wrong with it.
fn records(body: &Bytes, format: Format) -> Result<Vec<Result<Record, Refusal>>, ProxyRefusal> {
    let records = match serde_json::from_slice::<Produce<Entry<'_>>>(body) {
        Ok(request) => request.records.map(|entries| {
            let entries = entries.iter();
            entries.map(|entry| entry.record(body, format)).collect()
        }),
        // Something in it is not as it should be: look at each record for itself.
        Err(error) if error.is_data() => {
            let request = serde_json::from_slice::<Produce<&RawValue>>(body);
            let request = request.map_err(|error| wrong_json(&error))?;
            request.records.map(|entries| {
                let entries = entries.into_iter();
                entries.map(|raw| one(body, raw, format)).collect()
            })
        }
        Err(error) => return Err(wrong_json(&error)),
    };
    let records: Vec<_> = records.unwrap_or_default();
    if records.is_empty() {
        return Err(ProxyRefusal::unprocessable("records may not be empty"));
    }
    Ok(records)
}

fn one(body: &Bytes, raw: &RawValue, format: Format) -> Result<Record, Refusal> {
    let entry: Entry<'_> = serde_json::from_str(raw.get())
        .map_err(|error| Refusal::of_record(format!("the record is not understood: {error}")))?;
    entry.record(body, format)
}

/// `POST /topics/{topic}`
pub async fn to_topic(
    State(app): State<Arc<App>>,
    Path(topic): Path<String>,
    request: Request<Body>,
) -> Result<Response, ProxyRefusal> {
    produce(&app, &topic, None, request).await
}

/// `POST /topics/{topic}/partitions/{partition}`
pub async fn to_partition(
    State(app): State<Arc<App>>,
    Path((topic, partition)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, ProxyRefusal> {
    let missing = || Fault::NoPartition(format!("Partition not found. `{partition}` is none."));
    let number: u32 = partition.parse().map_err(|_| missing())?;
    match app.topics.topic(&topic).await {
        Ok(info)
            if info
                .partitions
                .iter()
                .all(|there| there.partition != number) =>
        {
            return Err(missing().into());
        }
        // A topic that is made on first use is not there yet.
        Ok(_) | Err(Fault::NotFound(_)) => {}
        Err(fault) => return Err(fault.into()),
    }
    produce(&app, &topic, Some(number), request).await
}

async fn produce(
    app: &App,
    topic: &str,
    partition: Option<u32>,
    request: Request<Body>,
) -> Result<Response, ProxyRefusal> {
    let format = Format::of_request(request.headers())?;
    let body = body::read(request, app.limits.body_bytes)
        .await
        .map_err(unread)?;
    let read = records(&body, format)?;
    let mut written: Vec<Option<Written>> = Vec::with_capacity(read.len());
    let mut good: Vec<Record> = Vec::with_capacity(read.len());
    for record in read {
        match record {
            Ok(mut record) => {
                record.partition = partition.or(record.partition);
                good.push(record);
                written.push(None);
            }
            Err(refusal) => written.push(Some(Err(refusal))),
        }
    }
    if !good.is_empty() {
        let mut answers = app.topics.produce(topic, good).await?.into_iter();
        for slot in written.iter_mut().filter(|slot| slot.is_none()) {
            *slot = answers.next();
        }
    }
    Ok(answer(&written, body.len()))
}

/// `{"offsets": [..], "key_schema_id": null, "value_schema_id": null}`
fn answer(written: &[Option<Written>], bytes: usize) -> Response {
    let mut kept = 0;
    let mut refused: Option<&Refusal> = None;
    let mut offsets = Vec::with_capacity(64 * written.len() + 64);
    let unanswered = Refusal::of_backend(true, "the record was not answered; send it again");
    for (number, written) in written.iter().enumerate() {
        offsets.extend_from_slice(if number == 0 { b"" } else { b"," });
        match written.as_ref().unwrap_or(&Err(unanswered.clone())) {
            Ok(place) => {
                kept += 1;
                let offset = place
                    .offset
                    .map_or("null".to_owned(), |offset| offset.to_string());
                let text = format!(
                    "{{\"partition\":{},\"offset\":{offset},\"error_code\":null,\"error\":null}}",
                    place.partition
                );
                offsets.extend_from_slice(text.as_bytes());
            }
            Err(refusal) => {
                let code = code(refusal);
                let text = format!(
                    "{{\"partition\":null,\"offset\":null,\"error_code\":{code},\"error\":"
                );
                offsets.extend_from_slice(text.as_bytes());
                write_text(&mut offsets, &refusal.why);
                offsets.push(b'}');
            }
        }
        if let Some(Err(refusal)) = written
            && refused.is_none_or(|first| !first.retriable && refusal.retriable)
        {
            refused = Some(refusal);
        }
    }
    let mut body = Vec::with_capacity(offsets.len() + 128);
    body.push(b'{');
    let status = match refused {
        Some(refusal) if kept == 0 => {
            body.extend_from_slice(
                format!("\"error_code\":{},\"message\":", code(refusal)).as_bytes(),
            );
            write_text(&mut body, &refusal.why);
            body.push(b',');
            if refusal.retriable {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        }
        _ => StatusCode::OK,
    };
    body.extend_from_slice(b"\"offsets\":[");
    body.extend_from_slice(&offsets);
    body.extend_from_slice(b"],\"key_schema_id\":null,\"value_schema_id\":null}");
    let mut response = (status, [(CONTENT_TYPE, PROXY_TYPE)], body).into_response();
    response.extensions_mut().insert(Counted {
        kept,
        refused: written.len() as u64 - kept,
        read: 0,
        bytes: bytes as u64,
    });
    response
}

/// The proxy's codes for a record: 50003 may be sent again as it is, 50002 and 422 may not.
fn code(refusal: &Refusal) -> u32 {
    if refusal.code == "ValidationException" {
        422
    } else if refusal.retriable {
        50003
    } else {
        50002
    }
}

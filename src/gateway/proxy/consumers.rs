//! The consumer API of the REST proxy.
//!
//! | request, below `/consumers/{group}` | does |
//! |---|---|
//! | `POST ` | makes an instance: name, format, `auto.offset.reset`, `auto.commit.enable` |
//! | `POST\|GET\|DELETE instances/{i}/subscription` | topics, or a pattern of them |
//! | `POST\|GET instances/{i}/assignments` | partitions by name |
//! | `GET instances/{i}/records?timeout=&max_bytes=` | records; the first poll of a subscription may well return none |
//! | `POST\|GET instances/{i}/offsets` | commit; read what is committed |
//! | `POST instances/{i}/positions[/beginning\|/end]` | seek |
//! | `DELETE instances/{i}` | closes it |
//!
//! As in the proxy, the offset in a commit is that of the last record that was *handled*, and the
//! one that is read back is the *next* one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;

use super::instances::{Instance, Reads};
use super::media::{Format, write_text};
use super::{json as answer, parse, unread};
use crate::gateway::answer::ProxyRefusal;
use crate::gateway::app::App;
use crate::gateway::backend::{Consumed, Consumer, Fault, Seek, Subscription, TopicPartition};
use crate::gateway::body;
use crate::gateway::metrics::Counted;
use crate::gateway::pattern::Pattern;

/// What a poll returns at most.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// The routes of an instance.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", delete(close))
        .route(
            "/subscription",
            get(subscription).post(subscribe).delete(unsubscribe),
        )
        .route("/assignments", get(assignment).post(assign))
        .route("/records", get(records))
        .route("/offsets", get(committed).post(commit))
        .route("/positions", post(seek))
        .route("/positions/beginning", post(seek_to_beginning))
        .route("/positions/end", post(seek_to_end))
}

type Answered = Result<Response, ProxyRefusal>;
type Place = Path<(String, String)>;

/// The longest name, in bytes, as of a topic in Kafka.
const NAME_MAX: usize = 249;

/// Names with control characters are none: clients of brokers do not survive them. They are
/// remembered, so they are short.
pub(super) fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), ProxyRefusal> {
    for name in names {
        if name.len() > NAME_MAX {
            let why = format!(
                "a name of a group, instance or topic, or a pattern, has at most {NAME_MAX} bytes"
            );
            return Err(ProxyRefusal::unprocessable(why));
        }
        if name.chars().any(char::is_control) {
            let why = "a name of a group, instance or topic has no control characters";
            return Err(ProxyRefusal::unprocessable(why));
        }
    }
    Ok(())
}

/// The body of a request.
pub(super) async fn read(app: &App, request: Request<Body>) -> Result<Bytes, ProxyRefusal> {
    body::read(request, app.limits.body_bytes)
        .await
        .map_err(unread)
}

fn none() -> ProxyRefusal {
    let message = "Consumer instance not found.";
    ProxyRefusal::coded(StatusCode::NOT_FOUND, 40403, message)
}

/// An instance, and its consumer to talk to.
struct Taken(OwnedMutexGuard<Instance>);

impl Taken {
    fn consumer(&mut self) -> Result<&mut dyn Consumer, ProxyRefusal> {
        match &mut self.0.consumer {
            Some(consumer) => Ok(consumer.as_mut()),
            None => Err(none()),
        }
    }

    /// An instance reads topics or partitions, until it is told to read nothing.
    fn reads(&mut self, what: Reads) -> Result<(), ProxyRefusal> {
        if self.0.reads != Reads::Nothing && self.0.reads != what {
            let why = "Illegal state: Subscription to topics, partitions and pattern are mutually exclusive";
            return Err(Fault::State(why.to_owned()).into());
        }
        self.0.reads = what;
        Ok(())
    }
}

async fn take(app: &App, place: Place) -> Result<Taken, ProxyRefusal> {
    app.instances
        .take(&place.0)
        .await
        .map(Taken)
        .ok_or_else(none)
}

fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn close(State(app): State<Arc<App>>, Path(name): Place) -> Answered {
    let closed = app.instances.close(&name).await;
    closed.then(done).ok_or_else(none)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topics {
    #[serde(default, deserialize_with = "body::topics")]
    topics: Option<Vec<String>>,
    #[serde(default)]
    topic_pattern: Option<String>,
}

async fn subscribe(State(app): State<Arc<App>>, place: Place, request: Request<Body>) -> Answered {
    let wanted: Topics = parse(&read(&app, request).await?)?;
    named(wanted.topics.iter().flatten().chain(&wanted.topic_pattern))?;
    let to = match (wanted.topics, wanted.topic_pattern) {
        (Some(topics), None) => Subscription::Topics(topics),
        (None, Some(pattern)) => Subscription::Pattern(Pattern::parse(&pattern)?),
        (Some(_), Some(_)) => {
            let why = "Illegal state: Subscription to topics, partitions and pattern are mutually exclusive";
            return Err(Fault::State(why.to_owned()).into());
        }
        (None, None) => {
            return Err(ProxyRefusal::unprocessable(
                "topics or topic_pattern is needed",
            ));
        }
    };
    let mut taken = take(&app, place).await?;
    taken.reads(Reads::Topics)?;
    taken.consumer()?.subscribe(to).await?;
    Ok(done())
}

async fn subscription(State(app): State<Arc<App>>, place: Place) -> Answered {
    let topics = take(&app, place).await?.consumer()?.subscription().await?;
    Ok(answer(&json!({"topics": topics})))
}

async fn unsubscribe(State(app): State<Arc<App>>, place: Place) -> Answered {
    let mut taken = take(&app, place).await?;
    taken.consumer()?.unsubscribe().await?;
    taken.0.reads = Reads::Nothing;
    Ok(done())
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Partition {
    topic: String,
    partition: u32,
}

#[derive(Deserialize, Serialize)]
struct Partitions {
    #[serde(deserialize_with = "body::partitions")]
    partitions: Vec<Partition>,
}

impl From<Partition> for TopicPartition {
    fn from(Partition { topic, partition }: Partition) -> TopicPartition {
        TopicPartition { topic, partition }
    }
}

impl From<TopicPartition> for Partition {
    fn from(TopicPartition { topic, partition }: TopicPartition) -> Partition {
        Partition { topic, partition }
    }
}

async fn partitions(
    app: &App,
    request: Request<Body>,
) -> Result<Vec<TopicPartition>, ProxyRefusal> {
    let body = read(app, request).await?;
    if body.is_empty() {
        return Err(Fault::NoPartition("Partition not found.".to_owned()).into());
    }
    let wanted: Partitions = parse(&body)?;
    named(wanted.partitions.iter().map(|one| &one.topic))?;
    Ok(wanted.partitions.into_iter().map(Into::into).collect())
}

async fn assign(State(app): State<Arc<App>>, place: Place, request: Request<Body>) -> Answered {
    let wanted = partitions(&app, request).await?;
    let mut taken = take(&app, place).await?;
    taken.reads(Reads::Partitions)?;
    taken.consumer()?.assign(wanted).await?;
    Ok(done())
}

async fn assignment(State(app): State<Arc<App>>, place: Place) -> Answered {
    let assigned = take(&app, place).await?.consumer()?.assignment().await?;
    let partitions = assigned.into_iter().map(Into::into).collect();
    Ok(answer(&Partitions { partitions }))
}

#[derive(Deserialize)]
struct Poll {
    timeout: Option<String>,
    max_bytes: Option<String>,
}

async fn records(
    State(app): State<Arc<App>>,
    place: Place,
    Query(poll): Query<Poll>,
    request: Request<Body>,
) -> Answered {
    let mut taken = take(&app, place).await?;
    let format = taken.0.format;
    if !format.is_accepted(request.headers()) {
        let message = "The requested embedded data format does not match the deserializer for this consumer instance";
        return Err(ProxyRefusal::coded(
            StatusCode::NOT_ACCEPTABLE,
            40601,
            message,
        ));
    }
    if taken.0.reads == Reads::Nothing {
        let why =
            "Illegal state: Consumer is not subscribed to any topics or assigned any partitions";
        return Err(Fault::State(why.to_owned()).into());
    }
    let wait = match poll.timeout.and_then(|ms| ms.parse().ok()) {
        Some(ms) => Duration::from_millis(ms),
        None => taken.0.wait,
    };
    // The request itself must not time out while its consumer waits.
    let wait = wait.min(app.limits.request * 3 / 4);
    let bytes_max = poll.max_bytes.and_then(|bytes| bytes.parse().ok());
    let bytes_max = bytes_max
        .filter(|&bytes| bytes > 0)
        .unwrap_or(RECORDS_BYTES_MAX);
    let records = taken
        .consumer()?
        .poll(wait, bytes_max.min(RECORDS_BYTES_MAX))
        .await?;
    let mut response = (
        [(CONTENT_TYPE, format.media_type())],
        list(&records, format),
    )
        .into_response();
    let read = records.len() as u64;
    response.extensions_mut().insert(Counted {
        read,
        ..Counted::default()
    });
    Ok(response)
}

/// `[{"topic": .., "key": .., "value": .., "partition": .., "offset": ..}, ..]`
fn list(records: &[Consumed], format: Format) -> Vec<u8> {
    let size = |record: &Consumed| 96 + record.value.as_ref().map_or(0, Bytes::len);
    let mut body = Vec::with_capacity(2 + records.iter().map(size).sum::<usize>());
    body.push(b'[');
    for (number, record) in records.iter().enumerate() {
        body.extend_from_slice(if number == 0 {
            b"{\"topic\":"
        } else {
            b",{\"topic\":"
        });
        write_text(&mut body, &record.at.topic);
        body.extend_from_slice(b",\"key\":");
        format.write(&mut body, record.key.as_ref());
        body.extend_from_slice(b",\"value\":");
        format.write(&mut body, record.value.as_ref());
        let place = format!(
            ",\"partition\":{},\"offset\":{}}}",
            record.at.partition, record.offset
        );
        body.extend_from_slice(place.as_bytes());
    }
    body.push(b']');
    body
}

#[derive(Deserialize, Serialize)]
struct Offset {
    topic: String,
    partition: u32,
    offset: u64,
    #[serde(default)]
    metadata: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Offsets {
    #[serde(deserialize_with = "body::partitions")]
    offsets: Vec<Offset>,
}

impl Offset {
    fn at(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }
}

async fn commit(State(app): State<Arc<App>>, place: Place, request: Request<Body>) -> Answered {
    let body = read(&app, request).await?;
    let offsets = if body.is_empty() {
        None
    } else {
        let handled: Offsets = parse(&body)?;
        named(handled.offsets.iter().map(|one| &one.topic))?;
        let next = |handled: &Offset| (handled.at(), handled.offset.saturating_add(1));
        Some(handled.offsets.iter().map(next).collect())
    };
    take(&app, place).await?.consumer()?.commit(offsets).await?;
    Ok(answer(&Vec::<u8>::new()))
}

async fn committed(State(app): State<Arc<App>>, place: Place, request: Request<Body>) -> Answered {
    let of = partitions(&app, request).await?;
    let found = take(&app, place).await?.consumer()?.committed(of).await?;
    let offsets = found.into_iter().map(|(at, offset)| Offset {
        topic: at.topic,
        partition: at.partition,
        offset,
        metadata: Some(String::new()),
    });
    Ok(answer(&Offsets {
        offsets: offsets.collect(),
    }))
}

async fn seek(State(app): State<Arc<App>>, place: Place, request: Request<Body>) -> Answered {
    let to: Offsets = parse(&read(&app, request).await?)?;
    named(to.offsets.iter().map(|one| &one.topic))?;
    let to = to
        .offsets
        .iter()
        .map(|one| (one.at(), Seek::Offset(one.offset)));
    take(&app, place)
        .await?
        .consumer()?
        .seek(to.collect())
        .await?;
    Ok(done())
}

async fn seek_to_beginning(
    State(app): State<Arc<App>>,
    place: Place,
    request: Request<Body>,
) -> Answered {
    seek_all(&app, place, request, Seek::Beginning).await
}

async fn seek_to_end(
    State(app): State<Arc<App>>,
    place: Place,
    request: Request<Body>,
) -> Answered {
    seek_all(&app, place, request, Seek::End).await
}

async fn seek_all(app: &App, place: Place, request: Request<Body>, to: Seek) -> Answered {
    let partitions = partitions(app, request).await?;
    let to = partitions.into_iter().map(|at| (at, to)).collect();
    take(app, place).await?.consumer()?.seek(to).await?;
    Ok(done())
}

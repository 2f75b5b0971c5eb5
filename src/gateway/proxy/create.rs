//! `POST /consumers/{group}`: makes a consumer instance.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::consumers::{named, read};
use super::instances::{Instance, Name, Reads};
use super::media::Format;
use super::{json as answer, parse};
use crate::gateway::answer::ProxyRefusal;
use crate::gateway::app::App;
use crate::gateway::backend::{ConsumerSettings, Fault};
use crate::gateway::stage::Stage;

/// How long a poll waits if neither instance nor request say.
const WAIT: Duration = Duration::from_secs(1);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewInstance {
    id: Option<String>,
    name: Option<String>,
    format: Option<String>,
    #[serde(rename = "auto.offset.reset")]
    reset: Option<String>,
    #[serde(rename = "auto.commit.enable")]
    auto_commit: Option<Value>,
    #[serde(rename = "fetch.min.bytes")]
    _fetch_min_bytes: Option<Value>,
    #[serde(rename = "consumer.request.timeout.ms")]
    wait_ms: Option<Value>,
}

/// `POST /consumers/{group}`
pub async fn create(
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
    request: Request<Body>,
) -> Result<Response, ProxyRefusal> {
    let stage = request
        .extensions()
        .get::<Stage>()
        .map_or("", |stage| &stage.0);
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let base = format!(
        "{}://{}{stage}{}",
        if app.tls { "https" } else { "http" },
        host.unwrap_or("localhost"),
        request.uri().path().trim_end_matches('/')
    );
    let body = read(&app, request).await?;
    let new: NewInstance = if body.is_empty() {
        NewInstance::default()
    } else {
        parse(&body)?
    };
    let format = new.format.as_deref().unwrap_or("binary");
    let format = Format::named(format).ok_or_else(|| {
        wrong_setting(&format!(
            "the format `{format}` is not known here; use json or binary"
        ))
    })?;
    let from_beginning = match new.reset.as_deref() {
        Some("earliest") => true,
        None | Some("latest") => false,
        Some(other) => {
            let why = format!("auto.offset.reset is earliest or latest, and not `{other}`");
            return Err(wrong_setting(&why));
        }
    };
    let auto_commit = match new.auto_commit.as_ref().map(text).as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let why = format!("auto.commit.enable is true or false, and not `{other}`");
            return Err(wrong_setting(&why));
        }
    };
    let wait = match new.wait_ms.as_ref().map(text) {
        None => WAIT,
        Some(number) => Duration::from_millis(number.parse().map_err(|_| {
            wrong_setting(&format!(
                "consumer.request.timeout.ms is a number, and not `{number}`"
            ))
        })?),
    };
    let instance = new.name.or(new.id).filter(|name| !name.is_empty());
    let instance = instance.unwrap_or_else(|| app.instances.new_name());
    named([&group, &instance])?;
    let name: Name = (group.clone(), instance.clone());
    if app.instances.has(&name) {
        return Err(exists());
    }
    if app.instances.is_full() {
        let why = "there are too many consumer instances; delete those that are not needed, or wait until they expire";
        return Err(Fault::Throttled(why.to_owned()).into());
    }
    let settings = ConsumerSettings {
        group,
        instance: instance.clone(),
        from_beginning,
        auto_commit,
    };
    let made = Instance {
        consumer: Some(app.topics.consumer(settings).await?),
        format,
        reads: Reads::Nothing,
        wait,
    };
    if let Err(second) = app.instances.add(name, made) {
        if let Some(consumer) = second.consumer {
            consumer.close().await;
        }
        return Err(exists());
    }
    let base_uri = format!("{base}/instances/{instance}");
    Ok(answer(
        &json!({"instance_id": instance, "base_uri": base_uri}),
    ))
}

/// A setting, given as text or as what it is.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn wrong_setting(why: &str) -> ProxyRefusal {
    let message = format!("Invalid consumer configuration: {why}");
    ProxyRefusal::coded(StatusCode::UNPROCESSABLE_ENTITY, 42204, message)
}

fn exists() -> ProxyRefusal {
    let message =
        "Consumer with specified consumer ID already exists in the specified consumer group.";
    ProxyRefusal::coded(StatusCode::CONFLICT, 40902, message)
}

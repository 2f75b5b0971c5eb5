//! The door of the Kafka REST proxy, version 2, as its clients use it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /topics` | names |
//! | `GET /topics/{t}` | name, configuration, partitions |
//! | `GET /topics/{t}/partitions[/{p}[/offsets]]` | partitions; one; its offsets |
//! | `POST /topics/{t}`, `POST /topics/{t}/partitions/{p}` | partition and offset of each record, or why it was refused |
//! | `POST /consumers/{g}` | a consumer instance; see `create.rs` and `consumers.rs` |
//!
//! Records come as `application/vnd.kafka.json.v2+json` or `..binary.v2+json`. Errors are
//! `{"error_code": .., "message": ..}`.

mod consumers;
mod create;
pub mod instances;
mod media;
pub use media::write_text;
mod produce;
mod topics;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{PROXY_TYPE, ProxyRefusal};
use super::app::App;
use super::body::Unread;

/// The routes of this door.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/topics", get(topics::list))
        .route("/topics/{topic}", get(topics::one).post(produce::to_topic))
        .route("/topics/{topic}/partitions", get(topics::partitions))
        .route(
            "/topics/{topic}/partitions/{partition}",
            get(topics::partition).post(produce::to_partition),
        )
        .route(
            "/topics/{topic}/partitions/{partition}/offsets",
            get(topics::offsets),
        )
        .route("/consumers/{group}", post(create::create))
        .nest(
            "/consumers/{group}/instances/{instance}",
            consumers::routes(),
        )
}

fn unread((status, message): Unread) -> ProxyRefusal {
    ProxyRefusal::new(status, message)
}

/// A small body as JSON, or what is wrong with it.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ProxyRefusal> {
    serde_json::from_slice(body).map_err(|error| wrong_json(&error))
}

/// 400 for what is no JSON, 422 for JSON that says something else.
fn wrong_json(error: &serde_json::Error) -> ProxyRefusal {
    let message = error.to_string();
    if error.is_data() {
        let unknown = message.strip_prefix("unknown field `");
        let unknown = unknown.and_then(|rest| rest.split_once('`'));
        ProxyRefusal::unprocessable(match unknown {
            Some((field, _)) => format!("Unrecognized field: {field}"),
            None => message,
        })
    } else {
        ProxyRefusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not JSON: {message}"),
        )
    }
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, PROXY_TYPE)], body).into_response(),
        Err(error) => {
            ProxyRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

//! Answers that are not what was asked for.
//!
//! They are JSON: `{"error": what and why, "hint": what to do}`.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answers::of_type;
use crate::serve::format::Format;
use crate::serve::store::NoSuchView;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
}

impl Failure {
    /// The request cannot be understood.
    pub(super) fn bad_request(error: impl ToString, hint: String) -> Failure {
        Failure {
            status: StatusCode::BAD_REQUEST,
            error: error.to_string(),
            hint,
        }
    }

    /// There is no answer yet: the state is being loaded.
    pub(super) fn too_early(progress: String) -> Failure {
        Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: progress,
            hint: "ask again in a moment".to_owned(),
        }
    }

    /// The request is fine, and still there is no answer.
    pub(super) fn cannot_write(cause: impl ToString) -> Failure {
        Failure {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: format!("the answer cannot be written: {}", cause.to_string()),
            hint: "this is a defect: please report it, with the request".to_owned(),
        }
    }
}

impl From<NoSuchView> for Failure {
    fn from(error: NoSuchView) -> Failure {
        let hint = match &error.nearest {
            Some(near) => format!("did you mean `{near}`?"),
            None => "GET /views lists the views".to_owned(),
        };
        Failure {
            status: StatusCode::NOT_FOUND,
            error: error.to_string(),
            hint,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = format!("{}\n", json!({ "error": self.error, "hint": self.hint }));
        let mut response = (self.status, of_type(Format::Json), body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer to a request that is none of this machine's.
pub(super) fn refuse(_path: &str, status: StatusCode, why: &str) -> Response {
    let failure = Failure {
        status,
        error: why.to_owned(),
        hint: "call it as http://127.0.0.1 with its port".to_owned(),
    };
    failure.into_response()
}

/// The answer for paths that are no route.
pub(super) async fn nothing_here() -> Failure {
    Failure {
        status: StatusCode::NOT_FOUND,
        error: "there is nothing here".to_owned(),
        hint: "GET / says what there is".to_owned(),
    }
}

/// The answer for methods other than GET.
pub(super) async fn only_get() -> Failure {
    Failure {
        status: StatusCode::METHOD_NOT_ALLOWED,
        error: "views and status can be read only".to_owned(),
        hint: "ask with GET".to_owned(),
    }
}

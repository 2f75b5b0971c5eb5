//! Answers and refusals in the words of each door.
//!
//! | what is wrong | the REST proxy's door | the Kinesis door |
//! |---|---|---|
//! | no such topic, stream | 404, 40401 | 400, `ResourceNotFoundException` |
//! | no such partition | 404, 40402 | 400, `InvalidArgumentException` |
//! | the request makes no sense | 422 | 400, `ValidationException` |
//! | an iterator, or where it shall begin, is wrong | | 400, `InvalidArgumentException` |
//! | an iterator is too old | | 400, `ExpiredIteratorException` |
//! | the consumer is in another state | 409, 40903 | |
//! | the backend is away | 503, 50003 | 503, `ServiceUnavailable` |
//!
//! API Gateway answers 200 to the errors of Kinesis where a deployment maps nothing else. Here a
//! 200 means durable.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::backend::Fault;

/// What the REST proxy's own answers are.
pub const PROXY_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.kafka.v2+json");
/// What Kinesis' answers are behind API Gateway.
pub const STREAM_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// A refusal of the REST proxy's door: `{"error_code": .., "message": ..}`.
#[derive(Debug, PartialEq, Eq)]
pub struct ProxyRefusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// The proxy's own code; the status, or the status and two digits.
    pub code: u32,
    /// The sentence.
    pub message: String,
}

impl ProxyRefusal {
    /// A refusal whose code is the status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ProxyRefusal {
            status,
            code: u32::from(status.as_u16()),
            message: message.into(),
        }
    }

    /// A refusal with a code of its own.
    pub fn coded(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        ProxyRefusal {
            status,
            code,
            message: message.into(),
        }
    }

    /// 422: understood, and nothing to be done with.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }
}

impl From<Fault> for ProxyRefusal {
    fn from(fault: Fault) -> Self {
        let (status, code) = match &fault {
            Fault::NotFound(_) => (StatusCode::NOT_FOUND, 40401),
            Fault::NoPartition(_) => (StatusCode::NOT_FOUND, 40402),
            Fault::Exists(_) => (StatusCode::CONFLICT, 409),
            Fault::Invalid(_) | Fault::Argument(_) | Fault::Expired(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, 422)
            }
            Fault::State(_) => (StatusCode::CONFLICT, 40903),
            Fault::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, 429),
            Fault::Denied(_) => (StatusCode::FORBIDDEN, 40301),
            Fault::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, 501),
            Fault::Failed {
                retriable: true, ..
            } => (StatusCode::SERVICE_UNAVAILABLE, 50003),
            Fault::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, 50002),
        };
        ProxyRefusal::coded(status, code, fault.to_string())
    }
}

impl IntoResponse for ProxyRefusal {
    fn into_response(self) -> Response {
        let body = json!({"error_code": self.code, "message": self.message});
        (self.status, [(CONTENT_TYPE, PROXY_TYPE)], body.to_string()).into_response()
    }
}

/// A refusal of the Kinesis door: `{"__type": .., "message": ..}`.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamRefusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// What Kinesis calls it.
    pub kind: &'static str,
    /// The sentence.
    pub message: String,
}

impl StreamRefusal {
    /// 400: the request makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        StreamRefusal {
            status: StatusCode::BAD_REQUEST,
            kind: "ValidationException",
            message: message.into(),
        }
    }

    /// 400: what is asked for is well written and cannot be had.
    pub fn argument(message: impl Into<String>) -> Self {
        StreamRefusal {
            kind: "InvalidArgumentException",
            ..StreamRefusal::invalid(message)
        }
    }
}

impl From<Fault> for StreamRefusal {
    fn from(fault: Fault) -> Self {
        let (status, kind) = match &fault {
            Fault::NotFound(_) => (StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
            Fault::NoPartition(_) | Fault::State(_) | Fault::Argument(_) => {
                (StatusCode::BAD_REQUEST, "InvalidArgumentException")
            }
            Fault::Expired(_) => (StatusCode::BAD_REQUEST, "ExpiredIteratorException"),
            Fault::Exists(_) => (StatusCode::BAD_REQUEST, "ResourceInUseException"),
            Fault::Invalid(_) => (StatusCode::BAD_REQUEST, "ValidationException"),
            Fault::Throttled(_) => (
                StatusCode::BAD_REQUEST,
                "ProvisionedThroughputExceededException",
            ),
            Fault::Denied(_) => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Fault::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "UnsupportedOperation"),
            Fault::Failed {
                retriable: true, ..
            } => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Fault::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        };
        StreamRefusal {
            status,
            kind,
            message: fault.to_string(),
        }
    }
}

impl IntoResponse for StreamRefusal {
    fn into_response(self) -> Response {
        let body = json!({"__type": self.kind, "message": self.message});
        (self.status, [(CONTENT_TYPE, STREAM_TYPE)], body.to_string()).into_response()
    }
}

/// A refusal before any handler was reached, in the words of the door that the path leads to.
pub fn refuse(path: &str, status: StatusCode, message: &str) -> Response {
    if path == "/streams" || path.starts_with("/streams/") {
        let kind = match status {
            StatusCode::FORBIDDEN => "ForbiddenException",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLargeException",
            StatusCode::REQUEST_TIMEOUT => "RequestTimeoutException",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "UnknownOperationException",
            _ => "SerializationException",
        };
        StreamRefusal {
            status,
            kind,
            message: message.to_owned(),
        }
        .into_response()
    } else {
        ProxyRefusal::new(status, message).into_response()
    }
}

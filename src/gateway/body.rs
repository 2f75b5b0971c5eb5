//! Bodies, read within a limit.

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, StatusCode};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

/// Why a body was not read: the status and the sentence.
pub type Unread = (StatusCode, String);

/// The whole body. One that comes in one piece is not copied.
pub async fn read(request: Request<Body>, bytes_max: usize) -> Result<Bytes, Unread> {
    let told = request.headers().get(CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let mut pieces = request.into_body().into_data_stream();
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            let why = format!("the body did not come whole: {error}");
            (StatusCode::BAD_REQUEST, why)
        })?;
        if first.len() + all.len() + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(told.unwrap_or(0).max(first.len() + piece.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large(bytes_max: usize) -> Unread {
    let why = format!("the body is larger than {bytes_max} bytes; send fewer records at a time");
    (StatusCode::PAYLOAD_TOO_LARGE, why)
}

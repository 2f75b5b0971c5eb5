//! Bodies, read within limits of bytes and of records.

use std::fmt;
use std::marker::PhantomData;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{Request, StatusCode};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most records of one request.
const RECORDS_MAX: usize = 10_000;
/// The most topics or partitions that one request of a consumer names: it is remembered with them.
const PLACES_MAX: usize = 1_000;

/// The most bytes that are read of a body only to be forgotten.
const DROPPED_MAX: usize = 64 << 20;

/// Why a body was not read: the status and the sentence.
pub type Unread = (StatusCode, String);

/// How many bytes the body of a request will have, at most.
pub fn announced(request: &Request<Body>, bytes_max: usize) -> usize {
    let size = request.body().size_hint();
    let upper = size.upper().and_then(|bytes| usize::try_from(bytes).ok());
    upper.unwrap_or(bytes_max).min(bytes_max)
}

/// The whole body. One that comes in one piece is not copied.
pub async fn read(request: Request<Body>, bytes_max: usize) -> Result<Bytes, Unread> {
    let told = request.headers().get(CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Who asks first has sent nothing, and is not asked to.
    let asks_first = request.headers().contains_key(EXPECT);
    let too_large_told = told.is_some_and(|length| length > bytes_max);
    let mut pieces = request.into_body().into_data_stream();
    if too_large_told && !asks_first {
        drop_rest(&mut pieces).await;
    }
    if too_large_told {
        return Err(too_large(bytes_max));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            let why = format!("the body did not come whole: {error}");
            (StatusCode::BAD_REQUEST, why)
        })?;
        if first.len() + all.len() + piece.len() > bytes_max {
            drop_rest(&mut pieces).await;
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

/// Reads and forgets what is left of a body that is too large, up to a bound.
///
/// Most clients send all before they read anything: closed meanwhile, they see a broken connection
/// in the place of the answer.
async fn drop_rest(pieces: &mut BodyDataStream) {
    let mut dropped = 0;
    while dropped < DROPPED_MAX
        && let Some(Ok(piece)) = pieces.next().await
    {
        dropped += piece.len();
    }
}

/// Reads a list of at most 10,000 records.
///
/// A record takes three bytes of a request, and some hundred of memory and of the answer.
pub fn records<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    few(from, RECORDS_MAX, "records")
}

/// Reads a list of at most 1,000 topics, if there is one.
pub fn topics<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    few(from, PLACES_MAX, "topics")
}

/// Reads a list of at most 1,000 partitions.
pub fn partitions<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    few(from, PLACES_MAX, "partitions")?
        .ok_or_else(|| de::Error::custom("a list of partitions is needed"))
}

/// Reads a list of at most `most` elements; a longer one is not read to its end.
fn few<'de, D, T>(from: D, most: usize, what: &'static str) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Few<T> {
        most: usize,
        what: &'static str,
        element: PhantomData<T>,
    }
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(text, "a list of {}", self.what)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut few = Vec::new();
            while let Some(element) = list.next_element()? {
                if few.len() == self.most {
                    let Few { most, what, .. } = self;
                    return Err(de::Error::custom(format!(
                        "a request has at most {most} {what}; send fewer at a time"
                    )));
                }
                few.push(element);
            }
            Ok(Some(few))
        }
    }
    from.deserialize_any(Few {
        most,
        what,
        element: PhantomData,
    })
}

fn too_large(bytes_max: usize) -> Unread {
    let why = format!("the body is larger than {bytes_max} bytes; send fewer records at a time");
    (StatusCode::PAYLOAD_TOO_LARGE, why)
}

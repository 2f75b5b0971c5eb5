//! The embedded formats: how keys and values are written inside the JSON of a request or an answer.

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::gateway::answer::ProxyRefusal;

/// Padded or not when read, padded when written.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As bytes, in base64.
    Binary,
}

impl Format {
    /// The format of a request's records.
    pub fn of_request(headers: &HeaderMap) -> Result<Format, ProxyRefusal> {
        let given = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let given = given.unwrap_or_default();
        of_media_type(given).ok_or_else(|| {
            ProxyRefusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "HTTP 415 Unsupported Media Type: `{given}`; records come as application/vnd.kafka.json.v2+json or application/vnd.kafka.binary.v2+json"
                ),
            )
        })
    }

    /// Whether a client that sent this `Accept` takes records in this format. Who names no format
    /// takes any.
    pub fn is_accepted(self, headers: &HeaderMap) -> bool {
        let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
            return true;
        };
        let mut formats = accept.split(',').filter(|one| one.contains("vnd.kafka."));
        let mut named = formats.by_ref().peekable();
        named.peek().is_none()
            || named.any(|one| {
                let any = one.trim().starts_with("application/vnd.kafka.v2+json");
                any || of_media_type(one) == Some(self)
            })
    }

    /// The format by the name that consumers are made with.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "json" => Some(Format::Json),
            "binary" => Some(Format::Binary),
            _ => None,
        }
    }

    /// The media type of answers.
    pub fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Json => "application/vnd.kafka.json.v2+json",
            Format::Binary => "application/vnd.kafka.binary.v2+json",
        })
    }

    /// The bytes that a key or value of `body` stands for.
    pub fn read(self, body: &Bytes, raw: &RawValue) -> Result<Bytes, String> {
        match self {
            Format::Json => Ok(body.slice_ref(raw.get().as_bytes())),
            Format::Binary => {
                let text: Cow<'_, str> = serde_json::from_str::<Text<'_>>(raw.get())
                    .map_err(|_| "is not a string of base64".to_owned())?
                    .0;
                let bytes = BASE64.decode(text.as_bytes());
                let bytes = bytes.map_err(|error| format!("is not base64: {error}"))?;
                Ok(Bytes::from(bytes))
            }
        }
    }

    /// Writes a key or value as JSON. What is no JSON, in the JSON format, is written as text.
    pub fn write(self, to: &mut Vec<u8>, bytes: Option<&Bytes>) {
        let Some(bytes) = bytes else {
            to.extend_from_slice(b"null");
            return;
        };
        match self {
            Format::Json if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() => {
                to.extend_from_slice(bytes);
            }
            Format::Json => write_text(to, &String::from_utf8_lossy(bytes)),
            Format::Binary => {
                to.push(b'"');
                to.extend_from_slice(BASE64.encode(bytes).as_bytes());
                to.push(b'"');
            }
        }
    }
}

/// A string that is borrowed where it can be.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes a JSON string.
pub fn write_text(to: &mut Vec<u8>, text: &str) {
    // Writing text to memory cannot fail.
    let _ = serde_json::to_writer(to, text);
}

fn of_media_type(given: &str) -> Option<Format> {
    let name = given.split(';').next().unwrap_or_default().trim();
    match name.to_ascii_lowercase().as_str() {
        "application/vnd.kafka.json.v2+json" => Some(Format::Json),
        "application/vnd.kafka.binary.v2+json" => Some(Format::Binary),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(accept: &str, format: Format) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        format.is_accepted(&headers)
    }

    #[test]
    fn a_client_that_names_another_format_does_not_take_this_one() {
        assert!(accepts("application/vnd.kafka.json.v2+json", Format::Json));
        assert!(!accepts(
            "application/vnd.kafka.binary.v2+json",
            Format::Json
        ));
        assert!(accepts("*/*", Format::Json));
        assert!(accepts("application/json, text/plain", Format::Binary));
        assert!(accepts("application/vnd.kafka.v2+json", Format::Json));
        assert!(accepts(
            "text/plain, application/vnd.kafka.binary.v2+json;q=0.5",
            Format::Binary
        ));
        assert!(Format::Json.is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn values_that_are_no_json_are_written_as_text() {
        let mut out = Vec::new();
        for value in [&b"{\"a\": 1}"[..], b"not json", b"\"text\"", b""] {
            Format::Json.write(&mut out, Some(&Bytes::from(value)));
            out.push(b' ');
        }
        Format::Json.write(&mut out, None);
        Format::Binary.write(&mut out, Some(&Bytes::from_static(b"\xff\x00")));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a": 1} "not json" "text" "" null"/wA=""#
        );
    }
}

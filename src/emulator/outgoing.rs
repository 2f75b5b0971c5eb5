//! A record on its way to a target: its bytes, its key, and the dress it may be put into.
//!
//! The body is what the stream shall hold in the end; every target delivers just these bytes, be it
//! by HTTP, Kafka or Kinesis. (Gateways that parse and write JSON anew may change blanks and
//! escapes.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::emulator::Stream;
use crate::emulator::random::mix;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outgoing {
    /// Its stream.
    pub(super) stream: Stream,
    /// The post it belongs to, if it can be known. Records of the same stream and key are sent in
    /// their order.
    pub(super) key: Option<u64>,
    /// What the stream will hold.
    pub(super) body: Bytes,
    /// Whether the body is JSON; only then can it stand inside other JSON as it is.
    pub(super) is_json: bool,
}

impl Outgoing {
    /// What puts records in an order: records with the same answer must not overtake each other.
    pub(super) fn order_key(&self) -> Option<(Stream, u64)> {
        self.key.map(|key| (self.stream, key))
    }

    /// A number that is the same for all records with one order key, and scattered otherwise.
    pub(super) fn hash(&self) -> u64 {
        mix(self.key.unwrap_or(self.body.len() as u64))
    }
}

/// What is done to each record before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dressing {
    /// The row stands in an array: `[{..}]`.
    pub(super) wrap: bool,
    /// The JSON stands, as base64, in a JSON string. Kinesis' own base64 then makes it base64
    /// inside base64.
    pub(super) base64: bool,
}

impl Dressing {
    /// The body that `record` is sent as.
    pub(super) fn body(self, record: &[u8]) -> Bytes {
        let body = if self.wrap {
            Bytes::from([b"[", record, b"]"].concat())
        } else {
            Bytes::copy_from_slice(record)
        };
        if self.base64 {
            Bytes::from(format!("\"{}\"", STANDARD.encode(body)))
        } else {
            body
        }
    }

    /// A record as it is sent, when it is known whether it is JSON.
    pub(super) fn outgoing(
        self,
        stream: Stream,
        key: Option<u64>,
        record: &[u8],
        is_json: bool,
    ) -> Outgoing {
        Outgoing {
            stream,
            key,
            body: self.body(record),
            is_json: is_json || self.base64,
        }
    }
}

/// Whether `record` is one JSON value. (Its texts must be UTF-8, which the parser does not look at
/// when it passes over them.)
pub(super) fn is_json(record: &[u8]) -> bool {
    std::str::from_utf8(record).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The key of a record of unknown origin: its member `index` or `ind`, a number or a string of one,
/// also inside an array or a base64 string; `None` if it has none.
pub(super) fn key_of(record: &[u8]) -> Option<u64> {
    match serde_json::from_slice(record).ok()? {
        Shape::Row(row) => row.key(),
        Shape::Rows(rows) => rows.iter().find_map(Row::key),
        Shape::Text(text) => key_of(&STANDARD.decode(text).ok()?),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    Row(Row),
    Rows(Vec<Row>),
    Text(String),
}

#[derive(Deserialize)]
struct Row {
    index: Option<Key>,
    ind: Option<Key>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Key {
    Number(u64),
    Text(String),
    Other(IgnoredAny),
}

impl Row {
    fn key(&self) -> Option<u64> {
        match self.index.as_ref().or(self.ind.as_ref())? {
            Key::Number(number) => Some(*number),
            Key::Text(text) => text.trim().parse().ok(),
            Key::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_every_dress() {
        for record in [
            r#"{"index":12,"title":"a"}"#,
            r#"{"ind": "12", "age": 20}"#,
            r#"[ {"ind":12} ]"#,
            "\"eyJpbmQiOjEyfQ==\"",
        ] {
            assert_eq!(key_of(record.as_bytes()), Some(12), "{record}");
        }
        for record in [
            r#"{"index":null}"#,
            r#"{"index":1"#,
            "12",
            "\"-\"",
            r#"{"index":[1]}"#,
        ] {
            assert_eq!(key_of(record.as_bytes()), None, "{record}");
        }
    }

    #[test]
    fn dresses_are_worn_over_each_other() {
        let body = |wrap, base64| Dressing { wrap, base64 }.body(b"{}");
        assert_eq!(body(false, false), "{}");
        assert_eq!(body(true, false), "[{}]");
        assert_eq!(body(false, true), "\"e30=\"");
        assert_eq!(body(true, true), "\"W3t9XQ==\"");
    }

    #[test]
    fn what_is_cut_or_not_utf8_is_no_json() {
        assert!(is_json("{\"a\":[1,\"\u{e9}\"]} ".as_bytes()));
        for record in [&b"{\"a\":1"[..], b"\"\xff\"", b"{} {}", b""] {
            assert!(!is_json(record), "{}", record.escape_ascii());
        }
    }

    #[test]
    fn base64_makes_json_of_anything() {
        let base64 = Dressing {
            wrap: false,
            base64: true,
        };
        let record = base64.outgoing(Stream::Pin, None, b"{\"index\":", false);
        assert!(record.is_json && is_json(&record.body));
    }
}

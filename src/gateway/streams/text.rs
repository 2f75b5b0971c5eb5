//! Pieces of a request's JSON as the mapping of API Gateway makes text of them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The content of a JSON string, in place if nothing in it is escaped.
pub(super) fn string(body: &Bytes, raw: &RawValue) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    match serde_json::from_str::<Text<'_>>(raw.get()).ok()?.0 {
        Cow::Borrowed(text) => Some(body.slice_ref(text.as_bytes())),
        Cow::Owned(text) => Some(Bytes::from(text)),
    }
}

/// The partition key: a text, or what else was sent as text.
pub(super) fn partition_key(body: &Bytes, raw: Option<&RawValue>) -> Result<Bytes, String> {
    let key = match raw {
        Some(raw) => string(body, raw).unwrap_or_else(|| compact(body, raw.get())),
        None => Bytes::new(),
    };
    match key.len() {
        0 => Err("1 validation error detected: Value at 'partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1".to_owned()),
        length if length > 256 && String::from_utf8_lossy(&key).chars().count() > 256 => {
            Err("1 validation error detected: Value at 'partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256".to_owned())
        }
        _ => Ok(key),
    }
}

/// JSON without the blanks between its tokens, in place if there are none.
pub(super) fn compact(body: &Bytes, json: &str) -> Bytes {
    let text = json.as_bytes();
    let mut out = Vec::new();
    // What was looked at and is not in `out` yet begins here.
    let mut from = 0;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) {
                    at += found + 1;
                    if text[at - 1] == b'"' {
                        break;
                    }
                    at += 1;
                }
            }
            b' ' | b'\n' | b'\r' | b'\t' => {
                if out.capacity() == 0 {
                    out.reserve(text.len());
                }
                out.extend_from_slice(&text[from..at]);
                at += 1;
                from = at;
            }
            _ => at += 1,
        }
    }
    if from == 0 {
        return body.slice_ref(text);
    }
    out.extend_from_slice(&text[from..]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_go_between_tokens_and_stay_in_strings() {
        for (given, expected) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (
                " {\n\t\"a b\" : [ 1 , \"x \\\" y\\\\\" ] }\r",
                r#"{"a b":[1,"x \" y\\"]}"#,
            ),
            (r#""with  quotes""#, r#""with  quotes""#),
            ("  7", "7"),
        ] {
            let body = Bytes::from(given.to_owned());
            let text = std::str::from_utf8(&body).unwrap();
            assert_eq!(compact(&body, text), expected);
        }
    }
}

//! Records as clients of the Kafka REST proxy (v2) send them.
//!
//! A request whose bodies are all JSON is `application/vnd.kafka.json.v2+json` with the bodies as
//! they are; a body that is not JSON cannot stand there, so a request that holds one is
//! `..binary.v2+json`, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::address::TopicsAddress;
use super::http::{Http, below, short};
use super::{Answer, Limits, Outcome, Target, TargetOptions};
use crate::emulator::Stream;
use crate::emulator::outgoing::Outgoing;

const JSON: &str = "application/vnd.kafka.json.v2+json";
const BINARY: &str = "application/vnd.kafka.binary.v2+json";

/// Proxies refuse bodies somewhere above this.
const MOST_BYTES: usize = 4 << 20;

/// A Kafka REST proxy.
pub(super) struct Topics {
    http: Http,
    urls: [Url; 3],
    keys: bool,
    binary: bool,
}

impl Topics {
    pub(super) fn open(address: TopicsAddress, options: &TargetOptions) -> Result<Self, String> {
        Ok(Self {
            http: Http::new(options)?,
            urls: Stream::ALL.map(|stream| below(&address.base, &[address.names.name(stream)])),
            keys: address.keys,
            binary: address.binary,
        })
    }
}

impl Target for Topics {
    fn limits(&self) -> Limits {
        Limits {
            records: usize::MAX,
            bytes: MOST_BYTES,
            keys_once: true,
        }
    }

    fn send<'a>(&'a self, records: &'a [Outgoing]) -> BoxFuture<'a, Answer> {
        async move {
            let Some(first) = records.first() else {
                return Answer::all(0);
            };
            let url = &self.urls[first.stream as usize];
            let binary = self.binary || records.iter().any(|record| !record.is_json);
            let body = request(records, self.keys, binary);
            let kind = if binary { BINARY } else { JSON };
            match self.http.send(Method::POST, url, kind, body).await {
                Ok(reply) if reply.status.is_success() => answer(&reply.body, records.len(), url),
                Ok(reply) => reply.failure(url),
                Err(answer) => answer,
            }
        }
        .boxed()
    }
}

/// `{"records":[{"key":12,"value":{..}},..]}`
fn request(records: &[Outgoing], keys: bool, binary: bool) -> Vec<u8> {
    let bytes: usize = records.iter().map(|record| record.body.len() + 40).sum();
    let mut body = Vec::with_capacity(32 + bytes * 4 / 3);
    body.extend_from_slice(b"{\"records\":[");
    for (at, record) in records.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.push(b'{');
        if let (true, Some(key)) = (keys, record.key) {
            let digits = key.to_string();
            body.extend_from_slice(b"\"key\":");
            if binary {
                push_base64(digits.as_bytes(), &mut body);
            } else {
                body.extend_from_slice(digits.as_bytes());
            }
            body.push(b',');
        }
        body.extend_from_slice(b"\"value\":");
        if binary {
            push_base64(&record.body, &mut body);
        } else {
            body.extend_from_slice(&record.body);
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    body
}

fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

#[derive(Deserialize)]
struct Produced {
    offsets: Vec<Place>,
}

/// Where a record is now, or why it is nowhere.
#[derive(Deserialize)]
struct Place {
    error_code: Option<i64>,
    error: Option<String>,
}

/// What a successful answer says of each record.
fn answer(body: &[u8], records: usize, url: &Url) -> Answer {
    let produced: Produced = match serde_json::from_slice(body) {
        Ok(produced) => produced,
        Err(error) => {
            return Answer::Fatal(format!(
                "{url} does not answer as a Kafka REST proxy does ({error}): {}",
                short(body)
            ));
        }
    };
    if produced.offsets.len() != records {
        return Answer::Fatal(format!(
            "{url} was sent {records} records and tells of {}: nobody knows which are there",
            produced.offsets.len()
        ));
    }
    let outcomes = produced
        .offsets
        .into_iter()
        .map(|place| match place.error_code {
            None | Some(0) => Outcome::Acknowledged,
            Some(code) => {
                let why = format!("{url}: error {code}: {}", place.error.unwrap_or_default());
                // 1 is the proxy's code for what will never work, 422.. those of requests.
                if code == 1 || (40_000..50_000).contains(&code) {
                    Outcome::Refused(why)
                } else {
                    Outcome::Again(why)
                }
            }
        });
    Answer::Each(outcomes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Outgoing> {
        let record = |key, body: &'static str| Outgoing {
            stream: Stream::Pin,
            key,
            body: body.into(),
            is_json: true,
        };
        vec![record(Some(12), r#"{"index":12}"#), record(None, "[]")]
    }

    fn text(keys: bool, binary: bool) -> String {
        String::from_utf8(request(&records(), keys, binary)).unwrap()
    }

    #[test]
    fn requests_are_those_of_the_original_scripts_with_a_key_if_wanted() {
        assert_eq!(
            text(false, false),
            r#"{"records":[{"value":{"index":12}},{"value":[]}]}"#
        );
        assert_eq!(
            text(true, false),
            r#"{"records":[{"key":12,"value":{"index":12}},{"value":[]}]}"#
        );
        assert_eq!(
            text(true, true),
            r#"{"records":[{"key":"MTI=","value":"eyJpbmRleCI6MTJ9"},{"value":"W10="}]}"#
        );
    }

    #[test]
    fn each_record_has_an_outcome_of_its_own() {
        let url = Url::parse("http://h/topics/a").unwrap();
        let body = br#"{"offsets":[{"partition":0,"offset":5,"error_code":null,"error":null},
            {"partition":null,"offset":null,"error_code":2,"error":"leader away"},
            {"error_code":1,"error":"too large"}],"key_schema_id":null}"#;
        let Answer::Each(outcomes) = answer(body, 3, &url) else {
            panic!()
        };
        assert_eq!(outcomes[0], Outcome::Acknowledged);
        assert!(matches!(&outcomes[1], Outcome::Again(why) if why.contains("leader away")));
        assert!(matches!(&outcomes[2], Outcome::Refused(why) if why.contains("too large")));
        assert!(matches!(answer(body, 2, &url), Answer::Fatal(_)));
        assert!(matches!(answer(b"<html>", 2, &url), Answer::Fatal(_)));
    }
}

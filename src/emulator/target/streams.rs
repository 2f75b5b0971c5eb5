//! Records as clients of the gateway's Kinesis routes send them: `PUT /streams/{stream}/record`
//! with one, `PUT /streams/{stream}/records` with several.
//!
//! The two forms differ in what they can carry. `record` has the row as JSON in `Data`; `records`
//! has each row as a text in `data`, so that any text can be in it, and a lone body that is not
//! JSON goes that way too. Bytes that are not UTF-8 cannot go either way: each becomes U+FFFD.

use std::io::Write as _;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::address::StreamsAddress;
use super::http::{Http, below, short};
use super::kinesis::{MOST_BYTES, MOST_RECORDS, Meaning, meaning};
use super::names::{Names, PartitionKeys};
use super::{Answer, Limits, Outcome, Target, TargetOptions};
use crate::emulator::Stream;
use crate::emulator::outgoing::Outgoing;

/// Kinesis by the gateway.
pub(super) struct Streams {
    http: Http,
    base: Url,
    names: Names,
    partition_keys: PartitionKeys,
    seed: u64,
}

impl Streams {
    pub(super) fn open(address: StreamsAddress, options: &TargetOptions) -> Result<Self, String> {
        Ok(Self {
            http: Http::new(options)?,
            base: address.base,
            names: address.names,
            partition_keys: address.partition_keys,
            seed: options.seed,
        })
    }
}

impl Target for Streams {
    fn destinations(&self) -> usize {
        self.names.count()
    }

    fn destination(&self, stream: Stream) -> usize {
        self.names.index(stream)
    }

    fn limits(&self) -> Limits {
        Limits {
            records: MOST_RECORDS,
            bytes: MOST_BYTES,
            keys_once: true,
        }
    }

    fn send<'a>(&'a self, records: &'a [Outgoing]) -> BoxFuture<'a, Answer> {
        async move {
            let Some(first) = records.first() else {
                return Answer::all(0);
            };
            let name = self.names.name(first.stream);
            let key = |record: &Outgoing| self.partition_keys.key(record, self.seed);
            let (url, body) = match records {
                [record] if record.is_json => (
                    below(&self.base, &[name, "record"]),
                    one(name, record, &key(record)),
                ),
                _ => (below(&self.base, &[name, "records"]), many(records, key)),
            };
            match self
                .http
                .send(Method::PUT, &url, "application/json", body)
                .await
            {
                Ok(reply) if reply.status.is_success() => answer(&reply.body, records.len(), &url),
                Ok(reply) => match refusal(&reply.body, &url) {
                    Some(answer) if reply.status.as_u16() == 400 => answer,
                    _ => reply.failure(&url),
                },
                Err(answer) => answer,
            }
        }
        .boxed()
    }
}

fn push_json(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text can be written to memory");
}

/// `{"StreamName":"s","Data":{..},"PartitionKey":"k"}`
fn one(name: &str, record: &Outgoing, key: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(record.body.len() + 128);
    body.extend_from_slice(b"{\"StreamName\":");
    push_json(name, &mut body);
    body.extend_from_slice(b",\"Data\":");
    body.extend_from_slice(&record.body);
    body.extend_from_slice(b",\"PartitionKey\":");
    push_json(key, &mut body);
    body.push(b'}');
    body
}

/// `{"records":[{"data":"{..}","partition-key":"k"},..]}`
fn many(records: &[Outgoing], key: impl Fn(&Outgoing) -> String) -> Vec<u8> {
    let bytes: usize = records
        .iter()
        .map(|record| record.body.len() * 5 / 4 + 64)
        .sum();
    let mut body = Vec::with_capacity(bytes);
    body.extend_from_slice(b"{\"records\":[");
    for (at, record) in records.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"data\":");
        push_json(&String::from_utf8_lossy(&record.body), &mut body);
        body.extend_from_slice(b",\"partition-key\":");
        push_json(&key(record), &mut body);
        body.push(b'}');
    }
    write!(body, "]}}").expect("memory can be written to");
    body
}

/// What Kinesis answers, which the gateway passes on; also errors, which some gateways pass on with
/// status 200.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "SequenceNumber")]
    sequence_number: Option<String>,
    #[serde(rename = "Records")]
    records: Option<Vec<Place>>,
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    #[serde(rename = "ErrorCode")]
    error_code: Option<String>,
    #[serde(rename = "ErrorMessage")]
    error_message: Option<String>,
}

fn answer(body: &[u8], records: usize, url: &Url) -> Answer {
    let unknown = || {
        Answer::Fatal(format!(
            "{url} does not answer as Kinesis does: {}",
            short(body)
        ))
    };
    let Ok(said) = serde_json::from_slice::<Said>(body) else {
        return unknown();
    };
    if let Some(answer) = refusal(body, url) {
        return answer;
    }
    match (said.sequence_number, said.records) {
        (Some(_), None) if records == 1 => Answer::all(1),
        (None, Some(places)) if places.len() == records => {
            let outcome = |place: Place| match place.error_code {
                None => Outcome::Acknowledged,
                Some(code) => {
                    let said = place.error_message.unwrap_or_default();
                    meaning(&code).of_record(format!("{url}: {code}: {said}"))
                }
            };
            Answer::Each(places.into_iter().map(outcome).collect())
        }
        _ => unknown(),
    }
}

/// What an error of Kinesis means; `None` if there is none in `body`.
fn refusal(body: &[u8], url: &Url) -> Option<Answer> {
    let said: Said = serde_json::from_slice(body).ok()?;
    let kind = said.kind?;
    // Some say `com.amazonaws.kinesis.v20131202#ResourceNotFoundException`.
    let kind = kind.rsplit('#').next().unwrap_or(&kind);
    let why = format!("{url}: {kind}: {}", said.message.unwrap_or_default());
    Some(match meaning(kind) {
        Meaning::Passing => Answer::again(why),
        Meaning::Wrong => Answer::Rejected(why),
        Meaning::Hopeless => Answer::Fatal(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &'static str) -> Outgoing {
        Outgoing {
            stream: Stream::Pin,
            key: Some(12),
            body: body.into(),
            is_json: true,
        }
    }

    #[test]
    fn requests_are_those_of_the_gateway() {
        assert_eq!(
            String::from_utf8(one("a", &record(r#"{"index":12}"#), "k")).unwrap(),
            r#"{"StreamName":"a","Data":{"index":12},"PartitionKey":"k"}"#
        );
        assert_eq!(
            String::from_utf8(many(&[record(r#"{"index":12}"#), record("[")], |_| "k"
                .to_owned()))
            .unwrap(),
            r#"{"records":[{"data":"{\"index\":12}","partition-key":"k"},{"data":"[","partition-key":"k"}]}"#
        );
    }

    #[test]
    fn each_record_has_an_outcome_of_its_own() {
        let url = Url::parse("http://h/streams/a/records").unwrap();
        let body = br#"{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1","ShardId":"s"},
            {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow down"}]}"#;
        let Answer::Each(outcomes) = answer(body, 2, &url) else {
            panic!()
        };
        assert_eq!(outcomes[0], Outcome::Acknowledged);
        assert!(matches!(&outcomes[1], Outcome::Again(why) if why.contains("slow down")));
        assert_eq!(
            answer(br#"{"SequenceNumber":"1","ShardId":"s"}"#, 1, &url),
            Answer::all(1)
        );
        assert!(matches!(answer(b"{}", 1, &url), Answer::Fatal(_)));
    }

    #[test]
    fn an_error_is_understood_even_with_a_good_status() {
        let url = Url::parse("http://h/streams/a/record").unwrap();
        let body = br#"{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"no stream a"}"#;
        assert!(matches!(answer(body, 1, &url), Answer::Fatal(why) if why.contains("no stream a")));
        let body = br#"{"__type":"ProvisionedThroughputExceededException"}"#;
        assert!(matches!(answer(body, 1, &url), Answer::Again { .. }));
    }
}

//! `kinesis://<stream>[,<stream>..][?option=value&..]`: which Kinesis streams, where, and how they
//! are read.
//!
//! A stream is written as its name (`streaming-0a1b-pin`), as a pattern in which `*` stands for
//! anything (`streaming-0a1b-*`), or as `pin=my-stream`, which says that all its records belong to
//! the stream `pin`. Without any, the address names the server only.
//!
//! | option | means | default |
//! |---|---|---|
//! | `region`, `profile` | as for every AWS tool | the default chain |
//! | `endpoint` | another server, `http://..` or `https://..`; so do `AWS_ENDPOINT_URL_KINESIS` and `AWS_ENDPOINT_URL` | AWS |
//! | `consumer` | `polling` (GetRecords) or `fan-out` (SubscribeToShard) | `polling` |
//! | `consumer_name` | the registered consumer of `fan-out` | `pinflow` |
//! | `start` | where to begin when nothing was read yet: `earliest`, `latest`, or a time (RFC 3339, or seconds since 1970) | `earliest` |
//! | `on_lost_records` | when retention deleted records before they were read: `fail`, or go on with the `earliest` there is | `fail` |
//! | `unrouted` | records of a shared stream whose partition key names no stream: `dead-letter`, `skip`, or a stream's name | `dead-letter` |
//! | `poll_ms` | pause between two reads of a shard; 5 reads a second are allowed for all its readers together | 250 |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};

use crate::redact::redact;
use crate::source::SourceError;

/// The address of Kinesis streams. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisAddress {
    /// The Kinesis streams to read; empty when only the server is meant.
    pub streams: Vec<StreamChoice>,
    /// The AWS region, if it is not left to the default chain.
    pub region: Option<String>,
    /// The profile of the AWS configuration files, if it is not left to the default chain.
    pub profile: Option<String>,
    /// Another server than that of AWS.
    pub endpoint: Option<String>,
    /// How records are fetched.
    pub consumer: Consumer,
    /// Where to begin when nothing was read yet.
    pub start: Start,
    /// What to do when records were deleted before they were read.
    pub on_lost_records: OnLostRecords,
    /// What to do with records whose stream cannot be told.
    pub unrouted: Unrouted,
    /// The pause between two reads of a shard.
    pub poll: Duration,
}

/// One or more Kinesis streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamChoice {
    /// The Kinesis stream of that name; what its records belong to is told by its name or by their
    /// partition keys.
    Named(String),
    /// The Kinesis stream `kinesis`, whose records all belong to `stream`.
    Bound {
        /// The stream of the dataflow.
        stream: String,
        /// The Kinesis stream's name.
        kinesis: String,
    },
    /// All Kinesis streams whose names fit, `*` being any text.
    Pattern(String),
}

/// How records are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// By GetRecords, sharing 2 MB/s a shard with other readers.
    Polling,
    /// By SubscribeToShard, with 2 MB/s a shard for this consumer alone.
    FanOut {
        /// The registered consumer's name.
        name: String,
    },
}

/// Where to begin when nothing was read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    Earliest,
    /// With the first record that arrives after the source was opened.
    Latest,
    /// With the first record that arrived at this time or later: milliseconds since 1970.
    Time(i64),
}

/// What to do when records were deleted before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLostRecords {
    /// Stop with an error that says what is lost.
    Fail,
    /// Warn, and go on with the oldest record there is.
    Earliest,
}

/// What to do with records of a shared stream whose stream cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// Give them, with their partition key and sequence number, to the first stream of the
    /// definition as text that is not JSON: its dead letters keep them.
    DeadLetter,
    /// Leave them out.
    Skip,
    /// They belong to this stream.
    Stream(String),
}

impl FromStr for KinesisAddress {
    type Err = SourceError;

    fn from_str(address: &str) -> Result<Self, SourceError> {
        let (place, options) = address.split_once('?').unwrap_or((address, ""));
        // Options are never echoed: someone may have put a key there.
        let wrong = |why: String| SourceError::Address {
            address: redact(address),
            why,
        };
        let Some(names) = place.strip_prefix("kinesis://") else {
            return Err(wrong("it does not begin with `kinesis://`".to_owned()));
        };
        if names.contains('@') {
            return Err(wrong(
                "keys do not belong in an address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                    .to_owned(),
            ));
        }
        let mut parsed = KinesisAddress {
            streams: Vec::new(),
            region: None,
            profile: None,
            endpoint: None,
            consumer: Consumer::Polling,
            start: Start::Earliest,
            on_lost_records: OnLostRecords::Fail,
            unrouted: Unrouted::DeadLetter,
            poll: Duration::from_millis(250),
        };
        let names = names.trim_end_matches('/');
        for name in names.split(',').filter(|_| !names.is_empty()) {
            parsed.streams.push(stream(name).map_err(wrong)?);
        }
        let mut consumer_name = None;
        for (name, value) in url::form_urlencoded::parse(options.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "region" => parsed.region = Some(value),
                "profile" => parsed.profile = Some(value),
                "endpoint" => parsed.endpoint = Some(endpoint(value).map_err(wrong)?),
                "consumer_name" => consumer_name = Some(value),
                "consumer" => {
                    parsed.consumer = match value.as_str() {
                        "polling" => Consumer::Polling,
                        "fan-out" => Consumer::FanOut {
                            name: "pinflow".to_owned(),
                        },
                        _ => return Err(wrong("`consumer` is `polling` or `fan-out`".to_owned())),
                    }
                }
                "start" => parsed.start = start(&value).map_err(wrong)?,
                "on_lost_records" => {
                    parsed.on_lost_records = match value.as_str() {
                        "fail" => OnLostRecords::Fail,
                        "earliest" => OnLostRecords::Earliest,
                        _ => {
                            return Err(wrong(
                                "`on_lost_records` is `fail` or `earliest`".to_owned(),
                            ));
                        }
                    }
                }
                "unrouted" => {
                    parsed.unrouted = match value.as_str() {
                        "dead-letter" => Unrouted::DeadLetter,
                        "skip" => Unrouted::Skip,
                        _ => Unrouted::Stream(value),
                    }
                }
                "poll_ms" => {
                    let poll = value.parse().ok().filter(|ms| (1..=60_000).contains(ms));
                    parsed.poll = poll.map(Duration::from_millis).ok_or_else(|| {
                        wrong("`poll_ms` is a whole number of milliseconds, 1 to 60000".to_owned())
                    })?;
                }
                _ => {
                    return Err(wrong(
                        "its options are `region`, `profile`, `endpoint`, `consumer`, `consumer_name`, `start`, `on_lost_records`, `unrouted` and \
                         `poll_ms`; credentials come from the AWS environment"
                            .to_owned(),
                    ));
                }
            }
        }
        match (&mut parsed.consumer, consumer_name) {
            (Consumer::FanOut { name }, Some(given)) => *name = given,
            (Consumer::Polling, Some(_)) => {
                return Err(wrong(
                    "`consumer_name` belongs to `consumer=fan-out`".to_owned(),
                ));
            }
            (_, None) => {}
        }
        Ok(parsed)
    }
}

impl KinesisAddress {
    /// The address for people: without secrets.
    pub fn describe(&self) -> String {
        let mut text = self.to_string();
        if let Some(region) = &self.region {
            text.push_str(&format!(" in {region}"));
        }
        if let Some(endpoint) = &self.endpoint {
            text.push_str(&format!(" at {endpoint}"));
        }
        if let Consumer::FanOut { name } = &self.consumer {
            text.push_str(&format!(" through the consumer {name}"));
        }
        text
    }
}

impl fmt::Display for KinesisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kinesis://")?;
        for (i, stream) in self.streams.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match stream {
                StreamChoice::Named(name) | StreamChoice::Pattern(name) => {
                    write!(f, "{comma}{name}")?
                }
                StreamChoice::Bound { stream, kinesis } => write!(f, "{comma}{stream}={kinesis}")?,
            }
        }
        Ok(())
    }
}

fn stream(text: &str) -> Result<StreamChoice, String> {
    let name = |name: &str, also: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c) || also.contains(c);
        if name.is_empty() || name.len() > 128 || !name.chars().all(good) {
            return Err(
                "the names of Kinesis streams are 1 to 128 letters, digits, `_`, `.` and `-`"
                    .to_owned(),
            );
        }
        Ok(name.to_owned())
    };
    Ok(match text.split_once('=') {
        Some((stream, kinesis)) if !stream.is_empty() => StreamChoice::Bound {
            stream: stream.to_owned(),
            kinesis: name(kinesis, "")?,
        },
        _ if text.contains('*') => StreamChoice::Pattern(name(text, "*")?),
        _ => StreamChoice::Named(name(text, "")?),
    })
}

fn endpoint(text: String) -> Result<String, String> {
    let refused = || {
        "`endpoint` is `http://host:port` or `https://host[:port]`, without user and password"
            .to_owned()
    };
    let url = url::Url::parse(&text).map_err(|_| refused())?;
    let web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    if !web || !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(refused());
    }
    Ok(text)
}

fn start(text: &str) -> Result<Start, String> {
    if text == "earliest" {
        return Ok(Start::Earliest);
    }
    if text == "latest" {
        return Ok(Start::Latest);
    }
    let seconds = text
        .parse::<i64>()
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000));
    // A `+` in a query is a blank: `2024-01-14T15:59:44+01:00` arrives as `..44 01:00`.
    let time = || {
        DateTime::from_str(&text.replace(' ', "+"), DateTimeFormat::DateTimeWithOffset)
            .ok()
            .and_then(|time| time.to_millis().ok())
    };
    seconds.or_else(time).map(Start::Time).ok_or_else(|| {
        "`start` is `earliest`, `latest`, a time like `2024-01-14T15:59:44Z`, or seconds since 1970".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> KinesisAddress {
        address.parse().expect(address)
    }

    #[test]
    fn streams_are_names_patterns_or_bound() {
        let address = parse("kinesis://streaming-0a-*,my-pin-stream,geo=places");
        let expected = [
            StreamChoice::Pattern("streaming-0a-*".to_owned()),
            StreamChoice::Named("my-pin-stream".to_owned()),
            StreamChoice::Bound {
                stream: "geo".to_owned(),
                kinesis: "places".to_owned(),
            },
        ];
        assert_eq!(address.streams, expected);
        assert_eq!(parse("kinesis://?region=eu-west-1").streams, []);
    }

    #[test]
    fn options_say_where_and_how() {
        let address = parse(
            "kinesis://s?region=us-east-1&endpoint=http://127.0.0.1:4567&consumer=fan-out&consumer_name=mine&start=latest&on_lost_records=earliest\
             &unrouted=pin&poll_ms=10",
        );
        assert_eq!(address.region.as_deref(), Some("us-east-1"));
        assert_eq!(
            address.consumer,
            Consumer::FanOut {
                name: "mine".to_owned()
            }
        );
        assert_eq!(address.start, Start::Latest);
        assert_eq!(address.on_lost_records, OnLostRecords::Earliest);
        assert_eq!(address.unrouted, Unrouted::Stream("pin".to_owned()));
        assert_eq!(address.poll, Duration::from_millis(10));
        assert_eq!(
            address.describe(),
            "kinesis://s in us-east-1 at http://127.0.0.1:4567 through the consumer mine"
        );
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        for (text, ms) in [
            ("2024-01-14T15:59:44Z", 1_705_247_984_000),
            ("2024-01-14T15:59:44.500Z", 1_705_247_984_500),
            ("2024-01-14T16:59:44%2B01:00", 1_705_247_984_000),
            ("2024-01-14T16:59:44+01:00", 1_705_247_984_000),
            ("1705247984", 1_705_247_984_000),
        ] {
            assert_eq!(
                parse(&format!("kinesis://s?start={text}")).start,
                Start::Time(ms),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_refused_without_an_echo_of_secrets() {
        for address in [
            "kinesis://AKIA:hunter2@s",
            "kinesis:hunter2@s",
            "kinesis://s?secret_access_key=hunter2",
            "kinesis://s?endpoint=http://user:hunter2@host",
            "kinesis://s?endpoint=hunter2",
            "kinesis://s?consumer=hunter2",
            "kinesis://s?start=hunter2",
            "kinesis://s?poll_ms=hunter2",
            "kinesis://s?consumer_name=hunter2",
            "kinesis://bad/name",
            "kinesis://a,,b",
            "kafka://s",
        ] {
            let error = address.parse::<KinesisAddress>().expect_err(address);
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}

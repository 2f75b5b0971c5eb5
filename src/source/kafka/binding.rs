//! Which topics are whose: streams are bound to topics by name, by prefix, or by what the cluster
//! has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use crate::kafka::{Context, KafkaAddress, create_topics};
use crate::redact::redact;
use crate::source::unread::{Tally, Why};
use crate::source::{Opening, SourceError};

/// A topic of a stream, and how many partitions it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) stream: usize,
    pub(super) topic: String,
    pub(super) partitions: usize,
}

/// The topics of `streams` among `topics`.
pub(super) fn bind(
    address: &KafkaAddress,
    streams: &[String],
    topics: &BTreeMap<String, usize>,
) -> Vec<Bound> {
    let mut all = Vec::new();
    for (stream, name) in streams.iter().enumerate() {
        for (topic, &partitions) in topics {
            if address.is_of(topic, name) {
                all.push(Bound {
                    stream,
                    topic: topic.clone(),
                    partitions,
                });
            }
        }
    }
    all
}

/// Notes the topics with the address's prefix that are read for no stream.
pub(super) fn note_unread(
    address: &KafkaAddress,
    opening: &Opening,
    bound: &[Bound],
    topics: &BTreeMap<String, usize>,
) {
    let Some(prefix) = &address.topic_prefix else {
        return;
    };
    for (topic, partitions) in topics.range(prefix.clone()..) {
        if !topic.starts_with(prefix) {
            break;
        }
        let is_read = bound.iter().any(|bound| bound.topic == *topic);
        let found = Tally {
            count: if is_read { 0 } else { *partitions as u64 },
            example: topic.clone(),
        };
        opening.unread.note(topic, Why::NoTopic, &found);
    }
}

/// The topics of `streams`, which are made if they are missing and the address says so.
pub(super) fn bind_or_create(
    address: &KafkaAddress,
    opening: &Opening,
    client: &BaseConsumer<Context>,
) -> Result<Vec<Bound>, SourceError> {
    let streams = &opening.streams;
    if let Some(name) = address.topics.keys().find(|name| !streams.contains(name)) {
        return Err(SourceError::Address {
            address: redact(&address.describe()),
            why: format!(
                "`{name}` is neither an option nor a stream; streams are {}",
                streams.join(", ")
            ),
        });
    }
    let started = Instant::now();
    let mut asked = false;
    loop {
        let topics = crate::kafka::topics_of(&crate::kafka::metadata(client, address, None)?);
        let bound = bind(address, streams, &topics);
        let missing: Vec<String> = streams
            .iter()
            .enumerate()
            .filter(|(stream, _)| bound.iter().all(|bound| bound.stream != *stream))
            .map(|(_, name)| address.topic_for(name).unwrap_or(name.clone()))
            .collect();
        if missing.is_empty() {
            note_unread(address, opening, &bound, &topics);
            return Ok(bound);
        }
        match address.create_topics {
            Some(how) if !asked => {
                create_topics(address, &missing, how)?;
                tracing::info!("{address}: made the topics {}", missing.join(", "));
                asked = true;
            }
            // The brokers tell each other first.
            Some(_) if started.elapsed() < address.wait => {
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => return Err(are_missing(address, &missing, &topics)),
        }
    }
}

fn are_missing(
    address: &KafkaAddress,
    missing: &[String],
    topics: &BTreeMap<String, usize>,
) -> SourceError {
    let known: Vec<&str> = topics
        .keys()
        .map(String::as_str)
        .filter(|topic| !topic.starts_with("__"))
        .collect();
    let there = match known.len() {
        0 => "the cluster shows us no topic at all".to_owned(),
        1..=20 => format!("the cluster has {}", known.join(", ")),
        many => format!(
            "the cluster has {}, and {} more",
            known[..20].join(", "),
            many - 20
        ),
    };
    let like = if address.topic_prefix.is_some() {
        ""
    } else {
        " (nor one that ends in a dot and that name)"
    };
    SourceError::Failed {
        source_name: address.describe(),
        place: missing.join(", "),
        why: format!(
            "there is no such topic{like}; {there}. Make it, have it made with `--create-topics`, set `topic_prefix=..`, or bind the stream with `<stream>=<topic>` in the address"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(address: &str) -> Vec<String> {
        let address = KafkaAddress::parse(address, &|_| None).unwrap();
        let names = [
            "pin", "a.pin", "b.pin", "xpin", "a.geo", "__pin", "__x.pin", "user",
        ];
        let topics = names.iter().map(|name| ((*name).to_owned(), 3)).collect();
        bind(&address, &["pin".to_owned(), "geo".to_owned()], &topics)
            .into_iter()
            .map(|bound| format!("{}={}", bound.stream, bound.topic))
            .collect()
    }

    #[test]
    fn topics_are_found_by_name_by_prefix_or_by_what_they_end_in() {
        assert_eq!(
            bound("kafka://h"),
            ["0=a.pin", "0=b.pin", "0=pin", "1=a.geo"]
        );
        assert_eq!(bound("kafka://h?topic_prefix=a."), ["0=a.pin", "1=a.geo"]);
        assert_eq!(bound("kafka://h?pin=user"), ["0=user", "1=a.geo"]);
        assert_eq!(
            bound("kafka://h?topic_prefix=b.&stream.geo=xpin"),
            ["0=b.pin", "1=xpin"]
        );
    }
}

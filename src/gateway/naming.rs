//! Which topic a record of a Kinesis stream belongs to, where streams are kept as topics.
//!
//! Topics feed the stream of the dataflow that they end in: `pin` and `<anything>.pin` feed `pin`.
//! Kinesis streams are named otherwise, and a shared one holds the records of several, told apart
//! by their partition keys:
//!
//! | Kinesis stream | partition key | topic |
//! |---|---|---|
//! | `pin`, `x.pin` | any | the same |
//! | `streaming-x-pin`, `x_pin` | any | `streaming-x-pin.pin` |
//! | `Kinesis-Prod-Stream` | `x_pin`, `pin` | `Kinesis-Prod-Stream.pin` |
//! | `Kinesis-Prod-Stream` | anything else | `Kinesis-Prod-Stream`, which feeds nothing |
//!
//! Partition keys are often random, so only the names of the dataflow's streams make topics.

use std::borrow::Cow;

/// The names that topics are made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The dataflow's streams.
    pub streams: Vec<String>,
}

impl Naming {
    /// The topic for a record.
    pub fn topic<'a>(&self, stream: &'a str, partition_key: &str) -> Cow<'a, str> {
        if self.ending(stream, &['.']).is_some() {
            return Cow::Borrowed(stream);
        }
        let separators = ['-', '_', '.'];
        match self
            .ending(stream, &separators)
            .or_else(|| self.ending(partition_key, &separators))
        {
            Some(name) => Cow::Owned(format!("{stream}.{name}")),
            None => Cow::Borrowed(stream),
        }
    }

    /// All topics that records of a stream go to.
    pub fn topics(&self, stream: &str) -> Vec<String> {
        let mut topics = vec![self.topic(stream, "").into_owned()];
        // Partition keys count only where the stream's name says nothing.
        if self.ending(stream, &['-', '_', '.']).is_none() {
            topics.extend(self.streams.iter().map(|name| format!("{stream}.{name}")));
        }
        topics
    }

    /// What a topic tells of the partition keys of a stream's records: the end that led them there,
    /// or nothing.
    pub fn key<'a>(&self, stream: &str, topic: &'a str) -> &'a str {
        if self.topic(stream, "") == topic {
            return "";
        }
        let end = topic.strip_prefix(stream);
        end.and_then(|end| end.strip_prefix('.'))
            .unwrap_or_default()
    }

    /// The Kinesis stream whose records a topic holds.
    pub fn stream<'a>(&self, topic: &'a str) -> &'a str {
        let mapped = self.streams.iter().find_map(|name| {
            let stream = topic.strip_suffix(name.as_str())?.strip_suffix('.')?;
            // `x.pin` is the stream `x.pin`; `x-pin.pin` and `Shared.pin` cannot be told from it,
            // except by the former's end.
            (self.ending(stream, &['-', '_']) == Some(name)).then_some(stream)
        });
        mapped.unwrap_or(topic)
    }

    /// The stream that `text` is, or ends in behind a separator.
    fn ending(&self, text: &str, separators: &[char]) -> Option<&str> {
        let found = self.streams.iter().find(|name| {
            text.strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with(separators))
        });
        found.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming() -> Naming {
        Naming {
            streams: ["pin", "geo", "user"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn all_shapes_of_the_original_pipelines_end_in_the_right_topic() {
        for (stream, key, topic) in [
            ("pin", "partition-1", "pin"),
            ("0ec6.pin", "partition-1", "0ec6.pin"),
            (
                "streaming-0ec6-pin",
                "partition-1",
                "streaming-0ec6-pin.pin",
            ),
            ("streaming-0ec6-geo", "0ec6_pin", "streaming-0ec6-geo.geo"),
            ("x_user", "test", "x_user.user"),
            ("Kinesis-Prod-Stream", "0ec6_pin", "Kinesis-Prod-Stream.pin"),
            ("Kinesis-Prod-Stream", "user", "Kinesis-Prod-Stream.user"),
            ("my-pin-stream", "geo", "my-pin-stream.geo"),
            ("my-pin-stream", "3f0e-uuid", "my-pin-stream"),
            ("shopping", "spin", "shopping"),
        ] {
            assert_eq!(naming().topic(stream, key), topic, "{stream} {key}");
        }
    }

    #[test]
    fn a_stream_that_is_named_after_its_end_is_known_by_its_topic() {
        assert_eq!(
            naming().stream("streaming-0ec6-pin.pin"),
            "streaming-0ec6-pin"
        );
        assert_eq!(naming().stream("0ec6.pin"), "0ec6.pin");
        assert_eq!(
            naming().stream("streaming-0ec6-geo.pin"),
            "streaming-0ec6-geo.pin",
            "no record of `streaming-0ec6-geo` goes there"
        );
    }

    #[test]
    fn a_stream_has_the_topics_that_its_records_go_to() {
        for (stream, topics) in [
            ("pin", vec!["pin"]),
            ("0ec6.pin", vec!["0ec6.pin"]),
            ("streaming-0ec6-geo", vec!["streaming-0ec6-geo.geo"]),
            (
                "Shared",
                vec!["Shared", "Shared.pin", "Shared.geo", "Shared.user"],
            ),
        ] {
            assert_eq!(naming().topics(stream), topics);
            for key in ["0ec6_pin", "geo", "3f0e-uuid"] {
                let topic = naming().topic(stream, key).into_owned();
                assert!(topics.contains(&topic.as_str()), "{stream} {key}");
            }
        }
    }

    #[test]
    fn a_topic_of_a_shared_stream_tells_the_end_of_its_keys() {
        assert_eq!(naming().key("Shared", "Shared.pin"), "pin");
        assert_eq!(naming().key("Shared", "Shared"), "");
        assert_eq!(
            naming().key("streaming-0ec6-geo", "streaming-0ec6-geo.geo"),
            ""
        );
        assert_eq!(naming().key("0ec6.pin", "0ec6.pin"), "");
    }
}

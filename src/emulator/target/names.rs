//! What a destination is called, and which partition key a record has there.

use base64::Engine as _;

use crate::emulator::Stream;
use crate::emulator::outgoing::Outgoing;
use crate::emulator::random::{Random, Topic};

/// Names of topics or Kinesis streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// One for each stream, in the order of [`Stream::ALL`].
    Each([String; 3]),
    /// One for all.
    Shared(String),
}

impl Names {
    /// `a-*` is `a-pin`, `a-geo`, `a-user`; `pin=a,geo=b,user=c` is what it says; anything else is
    /// shared.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "it names no stream: write a name for all, or one with a `*` for pin, geo and user"
                    .to_owned(),
            );
        }
        if text.contains('=') {
            let found = Stream::ALL.map(|stream| {
                text.split(',').find_map(|binding| {
                    let (name, bound) = binding.split_once('=')?;
                    (name == stream.name() && !bound.is_empty()).then(|| bound.to_owned())
                })
            });
            return match found {
                [Some(pin), Some(geo), Some(user)] => Ok(Self::Each([pin, geo, user])),
                _ => Err("each of `pin=..`, `geo=..` and `user=..` must be there".to_owned()),
            };
        }
        if text.contains(',') {
            return Err(
                "one name is for all streams; several are written as `pin=..,geo=..,user=..`"
                    .to_owned(),
            );
        }
        Ok(if text.contains('*') {
            Self::Each(Stream::ALL.map(|stream| text.replace('*', stream.name())))
        } else {
            Self::Shared(text.to_owned())
        })
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Each(names) => names.len(),
            Self::Shared(_) => 1,
        }
    }

    /// The number of the destination of `stream`.
    pub(super) fn index(&self, stream: Stream) -> usize {
        match self {
            Self::Each(_) => stream as usize,
            Self::Shared(_) => 0,
        }
    }

    /// The name of the destination of `stream`.
    pub(super) fn name(&self, stream: Stream) -> &str {
        match self {
            Self::Each(names) => &names[stream as usize],
            Self::Shared(name) => name,
        }
    }
}

/// The partition keys of Kinesis records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PartitionKeys {
    /// The record's key: records spread over the shards, those of a key stay together.
    Index,
    /// Without meaning, as one of the original scripts does. Only the order of sending keeps keys
    /// in order.
    Random,
    /// A text, in which `*` is the stream's name.
    Text(String),
}

impl PartitionKeys {
    /// `index`, `random`, or a text. Without one, a shared stream's records must still tell their
    /// stream.
    pub(super) fn parse(text: Option<&str>, names: &Names) -> Result<Self, String> {
        Ok(match (text, names) {
            (Some("index"), Names::Shared(_)) | (Some("random"), Names::Shared(_)) => {
                return Err(
                    "a stream that is shared tells its records apart by partition keys: write a text with a `*` for \
                     pin, geo and user, such as `partition_key=ID_*`"
                        .to_owned(),
                );
            }
            (Some("index") | None, Names::Each(_)) => Self::Index,
            (Some("random"), Names::Each(_)) => Self::Random,
            (None, Names::Shared(_)) => Self::Text("*".to_owned()),
            (Some(""), _) => return Err("a partition key is not empty".to_owned()),
            (Some(text), Names::Shared(_)) if !text.contains('*') => {
                return Err(format!(
                    "with the partition key `{text}` nobody could tell pin, geo and user of a shared stream apart: \
                     put a `*` into it"
                ));
            }
            (Some(text), _) => Self::Text(text.to_owned()),
        })
    }

    /// The partition key of `record`.
    pub(super) fn key(&self, record: &Outgoing, seed: u64) -> String {
        let draw = |item| Random::new(seed, Topic::PartitionKey, item).bits();
        match (self, record.key) {
            (Self::Index, Some(key)) => key.to_string(),
            (Self::Index | Self::Random, _) => {
                // The same bytes, repeated, get the same key: a repeated request is the same
                // request.
                let item = record.hash() ^ record.body.len() as u64;
                let (high, low) = (draw(item), draw(!item));
                base64::engine::general_purpose::URL_SAFE_NO_PAD
                    .encode([high.to_be_bytes(), low.to_be_bytes()].concat())
            }
            (Self::Text(text), _) => text.replace('*', record.stream.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_streams() {
        let names = Names::parse("streaming-0a-*").unwrap();
        assert_eq!(names.name(Stream::Geo), "streaming-0a-geo");
        assert_eq!((names.count(), names.index(Stream::User)), (3, 2));
        let names = Names::parse("Kinesis-Prod-Stream").unwrap();
        assert_eq!(names.name(Stream::Geo), "Kinesis-Prod-Stream");
        assert_eq!((names.count(), names.index(Stream::User)), (1, 0));
        let names = Names::parse("geo=b,pin=a,user=c").unwrap();
        assert_eq!(
            Stream::ALL.map(|stream| names.name(stream).to_owned()),
            ["a", "b", "c"]
        );
        for wrong in ["", "a,b", "pin=a,geo=b"] {
            assert!(Names::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn records_of_a_shared_stream_can_be_told_apart_by_their_partition_keys() {
        let (each, shared) = (Names::parse("*").unwrap(), Names::parse("a").unwrap());
        let record = Outgoing {
            stream: Stream::Geo,
            key: Some(7),
            body: "{}".into(),
            is_json: true,
        };
        let key = |text, names| PartitionKeys::parse(text, names).unwrap().key(&record, 1);
        assert_eq!(key(None, &each), "7");
        assert_eq!(key(Some("partition-1"), &each), "partition-1");
        assert_eq!(key(None, &shared), "geo");
        assert_eq!(key(Some("0a_*"), &shared), "0a_geo");
        assert_eq!(key(Some("random"), &each).len(), 22);
        for text in ["index", "random", "partition-1", ""] {
            assert!(PartitionKeys::parse(Some(text), &shared).is_err(), "{text}");
        }
    }
}

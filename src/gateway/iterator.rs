//! Shard iterators of backends that keep a Kinesis stream in topics.
//!
//! An iterator is everything there is to know about a reader: the stream, the shard, and the next
//! offset in each topic that holds records of it. It is handed out as base64url of JSON, so that
//! the gateway remembers no reader, iterators outlive it, and any gateway before the same backend
//! takes them.
//!
//! A shard of a shared stream is the same partition of several topics, which are read one after the
//! other; between topics there is no order. A topic that is not named in an iterator is read from
//! its oldest record: it was made later, or whoever asked for the iterator wanted everything.
//!
//! # Invariants
//! 1. An iterator leads only to topics of the stream that it is used for, whatever someone has
//!    written into it.
//! 2. A topic that fills an answer is last in the next one, so that it does not keep others from
//!    being read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::backend::Fault;
use super::shards::offset_of;

/// What an answer may hold at most, and does if nobody asks for less.
const RECORDS_MAX: usize = 10_000;
/// What an answer may weigh; the record that exceeds it is the last one.
const BYTES_MAX: usize = 10 << 20;

/// Where a reader of a shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardIterator {
    stream: String,
    /// The number of the shard.
    pub shard: u32,
    /// The next offsets, by topic, in the order in which the topics are read.
    next: Vec<(String, u64)>,
}

impl ShardIterator {
    /// An iterator that begins at these offsets, and in other topics at the oldest record.
    pub fn new(stream: &str, shard: u32, next: Vec<(String, u64)>) -> ShardIterator {
        ShardIterator {
            stream: stream.to_owned(),
            shard,
            next,
        }
    }

    /// An iterator at the record with a sequence number, or so many records behind it. The others
    /// of its stream's topics are read from their oldest records, as nothing says which of those
    /// came earlier.
    pub fn at_sequence(
        stream: &str,
        shard: u32,
        topics: &[String],
        sequence: &str,
        behind: u64,
    ) -> Result<ShardIterator, Fault> {
        let found = topics.iter().find_map(|topic| {
            let offset = offset_of(topic, shard, sequence)?;
            Some((topic.clone(), offset.saturating_add(behind)))
        });
        let place = found.ok_or_else(|| {
            Fault::Argument(format!(
                "the sequence number {sequence} is none of this shard of the stream `{stream}`; take one that PutRecord or GetRecords told for it"
            ))
        })?;
        Ok(ShardIterator::new(stream, shard, vec![place]))
    }

    /// The iterator of a text that a client sends for `stream`.
    pub fn from_text(text: &str, stream: &str) -> Result<ShardIterator, Fault> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let read: Option<ShardIterator> = json.and_then(|json| serde_json::from_slice(&json).ok());
        let read = read.ok_or_else(|| {
            Fault::Argument(format!(
                "Invalid ShardIterator. It was not made by this gateway, or is not whole; ask for one at /streams/{stream}/sharditerator."
            ))
        })?;
        if read.stream != stream {
            return Err(Fault::Argument(format!(
                "Invalid ShardIterator. It is for the stream `{}` and not for `{stream}`; ask for one at /streams/{stream}/sharditerator.",
                read.stream
            )));
        }
        Ok(read)
    }

    /// The text that clients get.
    pub fn to_text(&self) -> String {
        let json = serde_json::to_vec(self).expect("names and numbers can be written as JSON");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Of `topics`, which are the stream's, each with the offset to go on at, in the order to read
    /// them.
    pub fn order(&self, topics: &[String]) -> Vec<(String, u64)> {
        let place = |topic: &String| self.next.iter().position(|(named, _)| named == topic);
        let mut order: Vec<_> = topics.iter().map(|topic| (place(topic), topic)).collect();
        // Topics that are not named come last.
        order.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
        order
            .into_iter()
            .map(|(place, topic)| {
                let offset = place.map_or(0, |place| self.next[place].1);
                (topic.clone(), offset)
            })
            .collect()
    }

    /// The iterator to go on with, after reading up to `next`; the topic with the number `filled`
    /// has filled the answer.
    pub fn go_on(&self, mut next: Vec<(String, u64)>, filled: Option<usize>) -> ShardIterator {
        if let Some(filled) = filled {
            next.rotate_left(filled + 1);
        }
        ShardIterator::new(&self.stream, self.shard, next)
    }
}

/// What an answer has room for. The first record always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// So many records.
    pub records: usize,
    /// About so many bytes of data.
    pub bytes: usize,
}

impl Room {
    /// An empty answer with at most so many records.
    pub fn of(limit: Option<usize>) -> Room {
        Room {
            records: limit.map_or(RECORDS_MAX, |limit| limit.clamp(1, RECORDS_MAX)),
            bytes: BYTES_MAX,
        }
    }

    /// Whether no more records go in.
    pub fn is_full(self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    /// Puts a record in.
    pub fn take(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The stream has no shard that is called `shard`.
pub fn no_shard(stream: &str, shard: &str) -> Fault {
    Fault::NotFound(format!(
        "Shard {shard} in stream {stream} under account 000000000000 does not exist"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::shards::sequence;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn places(places: &[(&str, u64)]) -> Vec<(String, u64)> {
        let owned = |&(name, offset): &(&str, u64)| (name.to_owned(), offset);
        places.iter().map(owned).collect()
    }

    #[test]
    fn a_text_is_taken_back_for_its_own_stream_only() {
        let iterator = ShardIterator::new("s", 3, places(&[("s.pin", 7), ("s", u64::MAX)]));
        let text = iterator.to_text();
        assert_eq!(ShardIterator::from_text(&text, "s"), Ok(iterator));
        let refused = |text: &str, stream: &str| match ShardIterator::from_text(text, stream) {
            Err(Fault::Argument(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused(&text, "x").contains("for the stream `s` and not for `x`"));
        let foreign = URL_SAFE_NO_PAD.encode(r#"{"stream":"s","shard":0,"next":[],"more":1}"#);
        for wrong in ["", "AAAA", &text[1..], &text[..20], "ä", foreign.as_str()] {
            assert!(
                refused(wrong, "s").starts_with("Invalid ShardIterator."),
                "{wrong}"
            );
        }
    }

    #[test]
    fn only_topics_of_the_stream_are_read_and_each_once() {
        let forged =
            ShardIterator::new("s", 0, places(&[("other", 1), ("s.geo", 2), ("s.geo", 3)]));
        assert_eq!(
            forged.order(&names(&["s", "s.pin", "s.geo"])),
            places(&[("s.geo", 2), ("s", 0), ("s.pin", 0)])
        );
    }

    #[test]
    fn who_fills_an_answer_is_last_in_the_next_one() {
        let iterator = ShardIterator::new("s", 0, Vec::new());
        let read = places(&[("a", 1), ("b", 2), ("c", 3)]);
        let next = |filled| {
            let next = iterator.go_on(read.clone(), filled).next;
            next.into_iter().map(|(topic, _)| topic).collect::<String>()
        };
        assert_eq!(next(None), "abc");
        assert_eq!(next(Some(0)), "bca");
        assert_eq!(next(Some(2)), "abc");
    }

    #[test]
    fn a_sequence_number_leads_to_its_topic() {
        let topics = names(&["s", "s.pin"]);
        let at = |sequence: &str, behind| {
            ShardIterator::at_sequence("s", 1, &topics, sequence, behind).map(|found| found.next)
        };
        let number = sequence("s.pin", 1, 8);
        assert_eq!(at(&number, 0), Ok(places(&[("s.pin", 8)])));
        assert_eq!(at(&number, 1), Ok(places(&[("s.pin", 9)])));
        for other in [
            sequence("s.pin", 0, 8),
            sequence("x", 1, 8),
            "49".to_owned(),
        ] {
            assert!(matches!(at(&other, 0), Err(Fault::Argument(_))), "{other}");
        }
    }
}

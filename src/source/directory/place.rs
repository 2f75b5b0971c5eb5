//! Where a partition stands, and the tokens of positions.
//!
//! * Files in the order of their names: `<read>:<n>:<file>`. `read` is how many bytes of the last file were read, or `0~<t>` when `t` bytes of its
//!   *uncompressed* text were; `n` is how many files sort before it.
//! * Dated objects: JSON, see [`DatedToken`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How much of a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTo {
    /// So many bytes, as they are stored.
    Stored(u64),
    /// So many bytes of the text that a compressed file holds.
    Text(u64),
}

impl ReadTo {
    /// The beginning of a file.
    pub(super) const START: ReadTo = ReadTo::Stored(0);
}

impl fmt::Display for ReadTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadTo::Stored(bytes) => write!(f, "{bytes}"),
            ReadTo::Text(bytes) => write!(f, "0~{bytes}"),
        }
    }
}

impl FromStr for ReadTo {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("0~") {
            Some(bytes) => bytes.parse().map(ReadTo::Text),
            None => text.parse().map(ReadTo::Stored),
        }
    }
}

/// Where a partition is read on.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// How much of `file` was read.
    pub read: ReadTo,
    /// The file, by its path in the store; empty before the first.
    pub file: Arc<str>,
    /// What else the position must say.
    pub order: Order,
}

/// What a place says of the files before its own.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// So many files sort before.
    Names(u64),
    /// What was read of each day.
    Days(Arc<Days>),
}

impl Place {
    /// The token of a position.
    pub(super) fn token(&self) -> String {
        match &self.order {
            Order::Names(before) => format!("{}:{before}:{}", self.read, self.file),
            Order::Days(days) => {
                let token = DatedToken {
                    read: self.read.to_string(),
                    file: self.file.to_string(),
                    days: Days::clone(days),
                };
                serde_json::to_string(&token).expect("texts and numbers are always JSON")
            }
        }
    }
}

/// A place in files that are read in the order of their names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedToken {
    pub read: ReadTo,
    pub before: u64,
    pub file: String,
}

impl NamedToken {
    /// Reads a token; an empty one is the beginning. `None` if it is none.
    pub(super) fn parse(token: &str) -> Option<NamedToken> {
        let mut parts = if token.is_empty() { "0:0:" } else { token }.splitn(3, ':');
        Some(NamedToken {
            read: parts.next()?.parse().ok()?,
            before: parts.next()?.parse().ok()?,
            file: parts.next()?.to_owned(),
        })
    }
}

/// A place in dated objects, as tokens hold it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct DatedToken {
    /// How much was read of `file`.
    pub read: String,
    /// The object that was begun last.
    pub file: String,
    /// What was read of each day.
    pub days: Days,
}

/// What was read of each day: all of the days before the first here, and of these what was modified up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Days {
    /// By the day's number since 1970.
    pub days: BTreeMap<i64, Horizon>,
}

/// An object of a day; they are read in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    /// Milliseconds since 1970.
    pub modified: i64,
    /// The object's path in the store.
    pub name: String,
}

/// What was read of a day: all that was modified before a moment, and of that moment some objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Horizon {
    /// Milliseconds since 1970.
    modified: i64,
    /// The objects of that moment that were read. Others of it may appear yet: a store may tell no more than the second.
    names: BTreeSet<String>,
}

impl Days {
    /// Whether an object was read.
    pub(super) fn has_read(&self, day: i64, object: &Object) -> bool {
        match self.days.get(&day) {
            Some(horizon) if object.modified == horizon.modified => {
                horizon.names.contains(&object.name)
            }
            Some(horizon) => object.modified < horizon.modified,
            None => self.days.keys().next().is_some_and(|first| day < *first),
        }
    }

    /// Notes that an object was read. Days before yesterday are done then.
    pub(super) fn note(&mut self, day: i64, object: Object) {
        let horizon = self.days.entry(day).or_default();
        if object.modified > horizon.modified {
            *horizon = Horizon {
                modified: object.modified,
                names: BTreeSet::new(),
            };
        }
        if object.modified == horizon.modified {
            horizon.names.insert(object.name);
        }
        let last = self.days.keys().next_back().copied().unwrap_or(day);
        // The day before the last keeps its place, so that what is delivered late is found; yesterday without any object is still open.
        self.days.entry(last - 1).or_default();
        self.days = self.days.split_off(&(last - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_names_read_back() {
        let place = |read| Place {
            read,
            file: "pin/a:b.json".into(),
            order: Order::Names(7),
        };
        for (read, token) in [
            (ReadTo::Stored(120), "120:7:pin/a:b.json"),
            (ReadTo::Text(5), "0~5:7:pin/a:b.json"),
        ] {
            assert_eq!(place(read).token(), token);
            let parsed = NamedToken::parse(token).unwrap();
            assert_eq!((parsed.read, parsed.before), (read, 7));
            assert_eq!(parsed.file, "pin/a:b.json");
        }
        assert_eq!(NamedToken::parse("").unwrap().file, "");
        assert_eq!(NamedToken::parse("1:2"), None);
    }

    #[test]
    fn tokens_of_days_read_back() {
        let mut days = Days::default();
        days.note(
            20_188,
            Object {
                modified: 5,
                name: "a".into(),
            },
        );
        let place = Place {
            read: ReadTo::Text(9),
            file: "b".into(),
            order: Order::Days(Arc::new(days.clone())),
        };
        let parsed: DatedToken = serde_json::from_str(&place.token()).unwrap();
        assert_eq!((parsed.read.as_str(), parsed.file.as_str()), ("0~9", "b"));
        assert_eq!(parsed.days, days);
    }

    #[test]
    fn yesterday_stays_open_and_the_days_before_are_done() {
        let object = |modified: i64, name: &str| Object {
            modified,
            name: name.into(),
        };
        let mut days = Days::default();
        assert!(!days.has_read(10, &object(1, "a")));
        days.note(10, object(100, "m"));
        assert!(days.has_read(10, &object(100, "m")) && days.has_read(10, &object(99, "z")));
        assert!(!days.has_read(10, &object(100, "n")) && !days.has_read(11, &object(1, "a")));
        assert!(
            !days.has_read(10, &object(100, "a")),
            "one of the same moment"
        );
        days.note(10, object(100, "a"));
        assert!(days.has_read(10, &object(100, "a")) && days.has_read(10, &object(100, "m")));
        assert!(!days.has_read(9, &object(1, "a")) && days.has_read(8, &object(900, "a")));
        days.note(11, object(200, "x"));
        assert!(days.has_read(9, &object(900, "a")), "two days ago is done");
        assert!(!days.has_read(10, &object(101, "late")));
        days.note(10, object(101, "late"));
        assert!(days.has_read(10, &object(101, "late")) && days.has_read(11, &object(200, "x")));
    }
}

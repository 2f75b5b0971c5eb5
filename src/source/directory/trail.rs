//! What was read of a partition, and the tokens of positions that say so.
//!
//! Both ends keep a trail: the follower, which decides what to read, and the reader, whose chunks
//! carry the token. Each notes the places of its files in the order in which they are read.
//!
//! Tokens are JSON. Files in the order of their names: see [`NamedTrail`]; a token of earlier
//! versions, `<read>:<files before>:<file>`, is understood. Dated objects: see [`DatedTrail`].

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::days::Days;
use super::place::{FileSeen, Place, ReadTo, Tail, printed};

/// How many files a trail remembers one by one.
pub(super) const RECENT: usize = 16;

/// What was read of a partition.
#[derive(Clone, Debug)]
pub(super) enum Trail {
    Named(NamedTrail),
    Dated(DatedTrail),
}

/// Of files that are read in the order of their names: the last ones, and how many there were
/// before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NamedTrail {
    /// How many files sort before the first of the recent ones, and were read.
    pub files: u64,
    /// Their bytes; not known of positions of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The files that were read last, in the order of their names: at most [`RECENT`].
    pub recent: VecDeque<Mark>,
}

/// How far a file was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Its path in the store.
    pub file: String,
    /// How much of it was read.
    #[serde(with = "printed")]
    pub read: ReadTo,
    /// What is there just before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// How it looked when it was opened last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// Of dated objects: what was read of each open day, and the object that was begun last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DatedTrail {
    /// How much was read of `file`; empty before the first.
    pub read: String,
    /// The object that was begun last.
    pub file: String,
    /// What is just before the place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// What was read of each day, without that object.
    pub days: Days,
    #[serde(skip)]
    begun: Option<Arc<FileSeen>>,
}

impl Trail {
    /// What a token says. `None` if it says nothing.
    pub(super) fn parse(token: &str, dated: bool) -> Option<Trail> {
        if dated {
            DatedTrail::parse(token).ok().map(Trail::Dated)
        } else {
            NamedTrail::parse(token).map(Trail::Named)
        }
    }

    /// Notes that a partition was read to `place`.
    pub(super) fn note(&mut self, place: &Place) {
        match self {
            Trail::Named(trail) => {
                trail.note(place);
            }
            Trail::Dated(trail) => trail.note(place),
        }
    }

    /// The token of a position.
    pub(super) fn token(&self) -> String {
        let token = match self {
            Trail::Named(trail) => serde_json::to_string(trail),
            Trail::Dated(trail) => serde_json::to_string(trail),
        };
        token.expect("texts and numbers are always JSON")
    }
}

impl NamedTrail {
    /// Reads a token; an empty one is the beginning. `None` if it is none.
    pub(super) fn parse(token: &str) -> Option<NamedTrail> {
        if token.is_empty() {
            return Some(NamedTrail {
                bytes: Some(0),
                ..NamedTrail::default()
            });
        }
        if token.starts_with('{') {
            return serde_json::from_str(token).ok();
        }
        let mut parts = token.splitn(3, ':');
        let (read, files) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let file = parts.next()?.to_owned();
        let mark = Mark {
            file,
            read,
            tail: None,
            id: None,
        };
        Some(NamedTrail {
            files,
            bytes: None,
            recent: [mark].into_iter().filter(|m| !m.file.is_empty()).collect(),
        })
    }

    /// Notes how far a file was read: a recent one, or one that sorts behind them. Tells which file
    /// is no longer among the recent ones for that.
    pub(super) fn note(&mut self, place: &Place) -> Option<Mark> {
        let mark = Mark {
            file: place.file.path.clone(),
            read: place.read,
            tail: place.tail,
            id: place.file.id,
        };
        if let Some(known) = self.recent.iter_mut().rfind(|m| m.file == mark.file) {
            // Nothing was handed out since: what is before the place is as it was.
            let tail = mark.tail.or(known.tail.filter(|_| known.read == mark.read));
            *known = Mark { tail, ..mark };
            return None;
        }
        self.recent.push_back(mark);
        if self.recent.len() <= RECENT {
            return None;
        }
        let settled = self.recent.pop_front()?;
        self.files += 1;
        self.bytes = self.bytes.map(|bytes| bytes + settled.read.stored());
        Some(settled)
    }

    /// The last file; empty before the first.
    pub(super) fn last(&self) -> &str {
        self.recent.back().map_or("", |mark| &mark.file)
    }

    /// The first of the recent files; empty before the first.
    pub(super) fn first(&self) -> &str {
        self.recent.front().map_or("", |mark| &mark.file)
    }
}

impl DatedTrail {
    /// Reads a token; an empty one is the beginning.
    pub(super) fn parse(token: &str) -> Result<DatedTrail, serde_json::Error> {
        match token {
            "" => Ok(DatedTrail::default()),
            token => serde_json::from_str(token),
        }
    }

    /// An object that was begun is finished before any other: the one before is read then.
    fn note(&mut self, place: &Place) {
        if let Some(begun) = self.begun.replace(Arc::clone(&place.file))
            && begun.path != place.file.path
            && let Some((day, object)) = begun.object
        {
            self.days.note(day, object);
        }
        self.file.clone_from(&place.file.path);
        self.read = place.read.to_string();
        self.tail = place.tail;
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::Object;
    use super::*;

    fn place(path: &str, read: ReadTo) -> Place {
        let file = FileSeen {
            path: path.into(),
            id: Some(7),
            object: None,
        };
        Place {
            file: file.into(),
            read,
            tail: Tail::of(&[], b"{}\n"),
        }
    }

    #[test]
    fn tokens_of_names_read_back() {
        let mut trail = NamedTrail::parse("").unwrap();
        for file in 0..20 {
            let path = format!("pin/{file:02}.json");
            let settled = trail.note(&place(&path, ReadTo::Stored(3)));
            assert_eq!(settled.is_some(), file >= RECENT as u32);
        }
        trail.note(&place("pin/19.json", ReadTo::Text(9)));
        trail.note(&place("pin/10.json", ReadTo::Stored(30)));
        assert_eq!(
            (trail.files, trail.bytes, trail.recent.len()),
            (4, Some(12), 16)
        );
        assert_eq!(
            (trail.first(), trail.last()),
            ("pin/04.json", "pin/19.json")
        );
        let token = Trail::Named(trail.clone()).token();
        assert_eq!(NamedTrail::parse(&token), Some(trail), "{token}");
    }

    #[test]
    fn tokens_of_earlier_versions_are_understood() {
        let trail = NamedTrail::parse("0~5:7:pin/a:b.json").unwrap();
        assert_eq!((trail.files, trail.bytes), (7, None));
        assert_eq!(
            (trail.last(), trail.recent[0].read),
            ("pin/a:b.json", ReadTo::Text(5))
        );
        assert_eq!(NamedTrail::parse("0:0:").unwrap().recent.len(), 0);
        assert_eq!(NamedTrail::parse("1:2"), None);
    }

    #[test]
    fn tokens_of_days_read_back_and_hold_what_was_begun_apart() {
        let object = |key| Object { modified: 5, key };
        let of = |path: &str, key| {
            let file = FileSeen {
                path: path.into(),
                id: None,
                object: Some((20_188, object(key))),
            };
            Place {
                file: file.into(),
                ..place("", ReadTo::Text(9))
            }
        };
        let mut trail = DatedTrail::default();
        for (path, key) in [("a", 1), ("b", 2), ("b", 2)] {
            trail.note(&of(path, key));
        }
        assert!(trail.days.has_read(20_188, "a", &object(1)));
        assert!(!trail.days.has_read(20_188, "b", &object(2)));
        let token = Trail::Dated(trail.clone()).token();
        let parsed = DatedTrail::parse(&token).unwrap();
        assert_eq!((parsed.read.as_str(), parsed.file.as_str()), ("0~9", "b"));
        assert_eq!((parsed.days, parsed.tail), (trail.days, trail.tail));
    }
}

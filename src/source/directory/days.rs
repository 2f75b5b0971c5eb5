//! Which objects of the open days were read.
//!
//! Objects are remembered one by one, so that one with an earlier time that comes later is not
//! taken for read. Of a day with very many objects the oldest are only counted: what comes among
//! them then is told by their number.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::place::Object;

/// So many objects of a day are remembered one by one.
const KNOWN: usize = 2048;

/// What was read of each day: all of the days before the first here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Days {
    /// By the day's number since 1970.
    pub days: BTreeMap<i64, Day>,
}

/// What was read of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredDay", into = "StoredDay")]
pub(super) struct Day {
    /// What was modified before this moment was read, in milliseconds since 1970.
    before: i64,
    /// How many objects that were; not known of positions of earlier versions.
    files: Option<u64>,
    /// The others that were read.
    known: BTreeSet<Object>,
    /// The same as [`Day::known`], by keys.
    keys: BTreeSet<u64>,
    /// The names of some more, as earlier versions stored them.
    names: BTreeSet<String>,
}

/// A day in a token.
#[derive(Serialize, Deserialize)]
struct StoredDay {
    /// The moment before which all was read. (Of `names` it is the moment itself.)
    modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    /// Times and keys, 16 bytes each, as base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    known: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    names: BTreeSet<String>,
}

impl From<StoredDay> for Day {
    fn from(stored: StoredDay) -> Day {
        // A sum that does not hold is caught by counting.
        let packed = STANDARD_NO_PAD.decode(stored.known).unwrap_or_default();
        let known: BTreeSet<Object> = packed
            .as_chunks::<16>()
            .0
            .iter()
            .map(|object| {
                let both = u128::from_le_bytes(*object);
                Object {
                    modified: (both >> 64) as i64,
                    key: both as u64,
                }
            })
            .collect();
        Day {
            before: stored.modified,
            files: stored.files,
            keys: known.iter().map(|object| object.key).collect(),
            known,
            names: stored.names,
        }
    }
}

impl From<Day> for StoredDay {
    fn from(day: Day) -> StoredDay {
        let pack = |object: &Object| {
            let both = (object.modified as u64 as u128) << 64 | u128::from(object.key);
            both.to_le_bytes()
        };
        let packed: Vec<u8> = day.known.iter().flat_map(pack).collect();
        StoredDay {
            modified: day.before,
            files: day.files,
            known: STANDARD_NO_PAD.encode(packed),
            names: day.names,
        }
    }
}

impl Default for Day {
    fn default() -> Day {
        Day {
            before: i64::MIN,
            files: Some(0),
            known: BTreeSet::new(),
            keys: BTreeSet::new(),
            names: BTreeSet::new(),
        }
    }
}

impl Days {
    /// Whether an object was read.
    pub(super) fn has_read(&self, day: i64, name: &str, object: &Object) -> bool {
        match self.days.get(&day) {
            Some(day) => {
                object.modified < day.before
                    || day.keys.contains(&object.key)
                    || object.modified == day.before && day.names.contains(name)
            }
            None => self.days.keys().next().is_some_and(|first| day < *first),
        }
    }

    /// Notes that an object was read. Days before yesterday are done then.
    pub(super) fn note(&mut self, day: i64, object: Object) {
        let noted = self.days.entry(day).or_default();
        noted.known.insert(object);
        noted.keys.insert(object.key);
        if noted.known.len() > KNOWN {
            noted.forget_oldest();
        }
        let last = self.days.keys().next_back().copied().unwrap_or(day);
        // The day before the last keeps its place, so that what is delivered late is found;
        // yesterday without any object is still open.
        self.days.entry(last - 1).or_default();
        self.days = self.days.split_off(&(last - 1));
    }

    /// Compares the objects of a day with those that are only counted. Tells how many have come
    /// among them, and before which moment they were modified.
    pub(super) fn came_among(
        &mut self,
        day: i64,
        objects: impl Iterator<Item = Object>,
    ) -> Option<(u64, i64)> {
        let day = self.days.get_mut(&day)?;
        if day.before == i64::MIN {
            return None;
        }
        let old = objects
            .filter(|object| object.modified < day.before && !day.keys.contains(&object.key));
        let there = old.count() as u64;
        let files = day.files.get_or_insert(there);
        let more = there.saturating_sub(*files);
        // Objects that were read may be deleted.
        *files = (*files).min(there);
        (more > 0).then_some((more, day.before))
    }
}

impl Day {
    /// Counts the older half of the objects, instead of knowing them.
    fn forget_oldest(&mut self) {
        let Some(&middle) = self.known.iter().nth(KNOWN / 2) else {
            return;
        };
        // Others of the same moment may come yet: they are told apart by knowing them all.
        let kept = Object {
            modified: middle.modified,
            key: 0,
        };
        let kept = self.known.split_off(&kept);
        let gone = std::mem::replace(&mut self.known, kept);
        for object in &gone {
            self.keys.remove(&object.key);
        }
        self.files = self.files.map(|files| files + gone.len() as u64);
        self.before = self.before.max(middle.modified);
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(modified: i64, key: u64) -> Object {
        Object { modified, key }
    }

    #[test]
    fn yesterday_stays_open_and_the_days_before_are_done() {
        let mut days = Days::default();
        assert!(!days.has_read(10, "", &object(1, 1)));
        days.note(10, object(100, 2));
        assert!(days.has_read(10, "", &object(100, 2)));
        for late in [object(99, 3), object(100, 4), object(1, 5)] {
            assert!(!days.has_read(10, "", &late), "whenever it was modified");
        }
        assert!(!days.has_read(11, "", &object(1, 1)));
        assert!(!days.has_read(9, "", &object(1, 1)) && days.has_read(8, "", &object(900, 1)));
        days.note(11, object(200, 6));
        assert!(
            days.has_read(9, "", &object(900, 1)),
            "two days ago is done"
        );
        days.note(10, object(1, 5));
        assert!(days.has_read(10, "", &object(1, 5)) && days.has_read(11, "", &object(200, 6)));
    }

    #[test]
    fn a_day_of_very_many_objects_is_bounded_and_what_comes_among_them_is_counted() {
        let mut days = Days::default();
        let all: Vec<Object> = (0..5_000).map(|n| object(n / 3, n as u64 + 1)).collect();
        for object in &all {
            days.note(10, *object);
        }
        assert!(days.days[&10].known.len() <= KNOWN);
        assert!(all.iter().all(|object| days.has_read(10, "", object)));
        let text = serde_json::to_string(&days).unwrap();
        assert!(text.len() < 24 * KNOWN);
        let mut days: Days = serde_json::from_str(&text).unwrap();
        assert!(all.iter().all(|object| days.has_read(10, "", object)));
        assert_eq!(days.came_among(10, all.iter().copied()), None);
        let late = all.iter().copied().chain([object(5, 9_999)]);
        let (count, before) = days.came_among(10, late).unwrap();
        assert!(count == 1 && before > 5);
    }

    #[test]
    fn what_earlier_versions_stored_is_understood() {
        let stored = r#"{"10":{"modified":100,"names":["a"]}}"#;
        let mut days: Days = serde_json::from_str(stored).unwrap();
        assert!(days.has_read(10, "x", &object(99, 1)) && days.has_read(10, "a", &object(100, 1)));
        assert!(!days.has_read(10, "b", &object(100, 1)));
        assert_eq!(days.came_among(10, [object(5, 1)].into_iter()), None);
        let two = [object(5, 1), object(6, 2)].into_iter();
        assert_eq!(days.came_among(10, two), Some((1, 100)));
    }
}

//! What a source has and nobody reads: files in the wrong place, topics that are no stream's.
//!
//! Sources note what they pass over while they look for streams. It is told once in a warning, with
//! counts and what to do, and can be listed at any time.
//!
//! # Invariants
//! 1. Nothing that is there is passed over in silence: it is read, or it is noted here.
//! 2. What is kept is bounded: of more than [`PLACES`] places only their number.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// So many places are kept.
const PLACES: usize = 100;

/// So many places are named in one warning.
const TOLD: usize = 8;

/// Why something is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its folder belongs to no stream.
    NoStream,
    /// Its topic belongs to no stream.
    NoTopic,
    /// A file whose name does not end as those of records do.
    Ending,
    /// It is in a folder within the folder of a partition, or is that folder.
    Within,
    /// It is named like a file of records and is none: a folder, a pipe, a link that leads nowhere.
    NotAFile,
    /// Its name is not UTF-8.
    Name,
    /// A folder that leads back to one on the way to it, or is too deep.
    Loop,
}

/// Something that is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The folder or topic.
    pub place: String,
    /// Why it is not read.
    pub why: Why,
    /// How many files or folders; of topics, partitions.
    pub count: u64,
    /// One of them.
    pub example: String,
}

/// What is not read of a source. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    places: BTreeMap<(String, Why), Noted>,
    /// Places beyond those that are kept.
    others: u64,
    /// What the streams are called.
    streams: String,
}

#[derive(Debug)]
struct Noted {
    count: u64,
    example: String,
    told: bool,
}

/// A number of names, and one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The first in the order of names.
    pub example: String,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, name: &str) {
        if self.count == 0 || *name < *self.example {
            name.clone_into(&mut self.example);
        }
        self.count += 1;
    }
}

impl Unread {
    /// For a source of these streams.
    pub fn of(streams: &[String]) -> Unread {
        let unread = Unread::default();
        unread.lock().streams = streams
            .iter()
            .map(|stream| format!("`{stream}`"))
            .collect::<Vec<_>>()
            .join(", ");
        unread
    }

    /// Notes what is not read of `place` now; nothing of it may be there any more.
    pub fn note(&self, place: &str, why: Why, found: &Tally) {
        let mut inner = self.lock();
        let key = (place.to_owned(), why);
        if found.count == 0 {
            inner.places.remove(&key);
        } else if let Some(noted) = inner.places.get_mut(&key) {
            noted.count = found.count;
            noted.example.clone_from(&found.example);
        } else if inner.places.len() >= PLACES {
            inner.others += 1;
        } else {
            let noted = Noted {
                count: found.count,
                example: found.example.clone(),
                told: false,
            };
            inner.places.insert(key, noted);
        }
    }

    /// What is not read, by place.
    pub fn list(&self) -> Vec<Place> {
        let inner = self.lock();
        let place = |((place, why), noted): (&(String, Why), &Noted)| Place {
            place: place.clone(),
            why: *why,
            count: noted.count,
            example: noted.example.clone(),
        };
        inner.places.iter().map(place).collect()
    }

    /// A warning of what was not told before, if there is something.
    pub fn warning(&self) -> Option<String> {
        let mut inner = self.lock();
        let streams = inner.streams.clone();
        let mut lines = Vec::new();
        for ((place, why), noted) in inner.places.iter_mut().filter(|(_, noted)| !noted.told) {
            noted.told = true;
            let (count, example) = (noted.count, noted.example.clone());
            let place = Place {
                place: place.clone(),
                why: *why,
                count,
                example,
            };
            lines.push(place.told(&streams));
        }
        let more = lines.len().saturating_sub(TOLD);
        lines.truncate(TOLD);
        if more > 0 {
            lines.push(format!("and {more} more places; /status lists them"));
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// Prints the warning, if there is one.
    pub fn tell(&self, source_name: &str) {
        if let Some(warning) = self.warning() {
            tracing::warn!("not everything in {source_name} is read: {warning}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn told(&self, streams: &str) -> String {
        let Place { place, example, .. } = self;
        let named = |what: &str| {
            let s = if self.count == 1 { "" } else { "s" };
            let count = self.count;
            let place = if place.is_empty() { "." } else { place };
            format!("{count} {what}{s} in `{place}` (`{example}`)")
        };
        match self.why {
            Why::NoStream => format!(
                "{} belong to no stream: the streams are {streams}; move them to a folder with a stream's name, or declare one with that LOCATION",
                named("file")
            ),
            Why::NoTopic => format!(
                "topic `{place}` belongs to no stream: the streams are {streams}; declare one, or send to a topic that is named like one, or like `anything.` and one"
            ),
            Why::Ending => format!(
                "{} do not end in .json, .jsonl or .ndjson (or these with .gz or .zst); rename them",
                named("file")
            ),
            Why::Within => format!(
                "{} lie in a folder within the folder of a partition, which is not looked into; move the files up",
                named("item")
            ),
            Why::NotAFile => format!(
                "{} are named like files of records and are no regular files; remove them",
                named("thing")
            ),
            Why::Name => format!("{} are not UTF-8; rename them", named("name")),
            Why::Loop => format!(
                "{} lead back to a folder on the way to them, or are more than 32 folders deep; remove the links",
                named("folder")
            ),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.told("those of the dataflow file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_once_and_listed_as_long_as_it_is_there() {
        let unread = Unread::of(&["pin".to_owned(), "geo".to_owned()]);
        let mut found = Tally::default();
        for name in ["b.jsonl", "a.jsonl"] {
            found.add(name);
        }
        unread.note("pins", Why::NoStream, &found);
        assert_eq!(
            unread.warning().unwrap(),
            "2 files in `pins` (`a.jsonl`) belong to no stream: the streams are `pin`, `geo`; \
             move them to a folder with a stream's name, or declare one with that LOCATION"
        );
        found.add("c.jsonl");
        unread.note("pins", Why::NoStream, &found);
        assert_eq!((unread.warning(), unread.list()[0].count), (None, 3));
        unread.note("pins", Why::NoStream, &Tally::default());
        assert_eq!(unread.list(), []);
        for place in 0..200 {
            unread.note(&format!("{place:03}"), Why::Ending, &found);
        }
        assert_eq!(unread.list().len(), PLACES);
        let warning = unread.warning().unwrap();
        assert!(
            warning.ends_with("and 92 more places; /status lists them"),
            "{warning}"
        );
    }
}

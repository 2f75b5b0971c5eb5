//! What is to be read next: a decision about what was read and what is there.
//!
//! # Invariants
//! 1. A file that is there is read, in whole or from where it was left, or is an error that names
//!    it; it is left alone only while it looks as it did when it was read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::feed::Job;
use super::super::open_file::Writing;
use super::super::place::ReadTo;
use super::super::storage::{Entry, Listing};
use super::super::trail::{Mark, NamedTrail, RECENT};

/// Half a record at the end of a file that has a successor is waited for so long.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// What is known of the recent files beside how far they were read.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<String, Watched>);

#[derive(Debug)]
struct Watched {
    /// As what it was read last.
    writing: Writing,
    /// How it looked then, and since when it looks so.
    id: Option<u64>,
    since: Instant,
    /// Whether it was deleted.
    is_gone: bool,
}

impl Watch {
    /// Notes that a file was read.
    pub(super) fn read(&mut self, path: &str, id: Option<u64>, writing: Writing, now: Instant) {
        let known = self.0.get(path).filter(|known| known.id == id);
        let since = known.map_or(now, |known| known.since);
        let watched = Watched {
            writing,
            id,
            since,
            is_gone: false,
        };
        self.0.insert(path.to_owned(), watched);
    }

    /// Forgets a file that is no longer a recent one. Tells whether it is there still.
    pub(super) fn settle(&mut self, path: &str) -> bool {
        self.0.remove(path).is_none_or(|watched| !watched.is_gone)
    }

    fn is_settled(&self, path: &str, now: Instant) -> bool {
        let known = self.0.get(path);
        known.is_some_and(|known| now.duration_since(known.since) >= SETTLE)
    }

    fn was_read_as(&self, path: &str) -> Option<Writing> {
        self.0.get(path).map(|known| known.writing)
    }
}

/// Why reading cannot go on.
#[derive(Debug, PartialEq)]
pub(super) enum Obstacle {
    /// A file that sorts before others which were read, and was not.
    Late(String),
    /// A file has fewer bytes than were read of it.
    Shrunk { path: String, size: u64, read: u64 },
}

/// What is to be read of what a listing found. Of the recent files size and id are known, if they
/// are there. `all` is what may be written to each of them, if that is not told by those behind it.
pub(super) fn plan(
    trail: &NamedTrail,
    watch: &mut Watch,
    listing: Listing,
    all: Option<Writing>,
    now: Instant,
) -> Result<Vec<Job>, Obstacle> {
    let Listing {
        from,
        entries,
        more,
        ..
    } = listing;
    let last = trail.last().to_owned();
    let (known, new): (Vec<Entry>, Vec<Entry>) = entries
        .into_iter()
        .partition(|entry| !last.is_empty() && entry.path <= last);
    let mut there: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &known {
        if !trail.recent.iter().any(|mark| mark.file == entry.path) {
            return Err(Obstacle::Late(entry.path.clone()));
        }
        if entry.size.is_some() {
            there.insert(&entry.path, entry);
        }
    }
    let behind = new.len() + usize::from(more);
    let leaving = (trail.recent.len() + new.len()).saturating_sub(RECENT);
    let mut jobs = Vec::new();
    for (number, mark) in trail.recent.iter().enumerate() {
        let Some(entry) = there.get(mark.file.as_str()) else {
            // One that is gone is done.
            if mark.file >= from
                && let Some(watched) = watch.0.get_mut(&mark.file)
            {
                watched.is_gone = true;
            }
            continue;
        };
        let is_last = number + 1 == trail.recent.len() && behind == 0;
        let writing = match () {
            () if number < leaving || watch.is_settled(&mark.file, now) && !is_last => {
                Writing::Over
            }
            () if is_last => all.unwrap_or(Writing::GoesOn),
            () => all.unwrap_or(Writing::Ceases),
        };
        jobs.extend(again(mark, entry, watch, writing)?);
    }
    let count = new.len();
    for (number, entry) in new.into_iter().enumerate() {
        let writing = match count - number {
            left if left > RECENT => Writing::Over,
            left => all.unwrap_or(match left == 1 && !more {
                true => Writing::GoesOn,
                false => Writing::Ceases,
            }),
        };
        jobs.push(job(entry, ReadTo::START, None, writing));
    }
    Ok(jobs)
}

/// Reads a recent file again, if it changed or something of it was left.
fn again(
    mark: &Mark,
    entry: &Entry,
    watch: &Watch,
    writing: Writing,
) -> Result<Option<Job>, Obstacle> {
    let size = entry.size.unwrap_or(0);
    if let ReadTo::Stored(read) = mark.read
        && size < read
    {
        return Err(Obstacle::Shrunk {
            path: mark.file.clone(),
            size,
            read,
        });
    }
    let looks_as_then = mark.id.is_some() && mark.id == entry.id;
    let is_read = mark.read == ReadTo::Stored(size);
    let nothing_new = looks_as_then && (is_read || watch.was_read_as(&mark.file) == Some(writing));
    Ok((!nothing_new).then(|| job(entry.clone(), mark.read, mark.tail, writing)))
}

fn job(
    entry: Entry,
    start: ReadTo,
    tail: Option<super::super::place::Tail>,
    writing: Writing,
) -> Job {
    Job {
        path: entry.path.into(),
        size: entry.size,
        id: entry.id,
        object: None,
        start,
        tail,
        writing,
        to: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::place::{FileSeen, Place};
    use super::*;

    fn entry(path: &str, size: u64) -> Entry {
        Entry {
            path: path.into(),
            size: Some(size),
            modified: None,
            id: Some(size),
        }
    }

    fn read(trail: &mut NamedTrail, watch: &mut Watch, path: &str, bytes: u64, size: u64) {
        let file = FileSeen {
            path: path.into(),
            id: Some(size),
            object: None,
        };
        trail.note(&Place {
            file: Arc::new(file),
            read: ReadTo::Stored(bytes),
            tail: None,
        });
        watch.read(path, Some(size), Writing::Ceases, Instant::now());
    }

    fn listing(entries: &[(&str, u64)]) -> Listing {
        Listing {
            entries: entries
                .iter()
                .map(|(path, size)| entry(path, *size))
                .collect(),
            ..Listing::default()
        }
    }

    /// What is read of `entries` when `a` was read, and `b` up to 7 bytes of 9.
    fn planned(entries: &[(&str, u64)], later: Duration) -> Result<Vec<String>, Obstacle> {
        let (mut trail, mut watch) = (NamedTrail::default(), Watch::default());
        read(&mut trail, &mut watch, "a", 5, 5);
        read(&mut trail, &mut watch, "c", 7, 9);
        let now = Instant::now() + later;
        let jobs = plan(&trail, &mut watch, listing(entries), None, now)?;
        let told = |job: Job| format!("{} from {} {:?}", job.path, job.start, job.writing);
        Ok(jobs.into_iter().map(told).collect())
    }

    #[test]
    fn what_changed_is_read_on_and_what_is_new_is_read() {
        let soon = Duration::ZERO;
        let is = |entries: &[(&str, u64)], expected: &[&str]| {
            assert_eq!(planned(entries, soon).unwrap(), expected, "{entries:?}");
        };
        is(&[("a", 5), ("c", 9)], &["c from 7 GoesOn"]);
        is(
            &[("a", 6), ("c", 9)],
            &["a from 5 Ceases", "c from 7 GoesOn"],
        );
        is(
            &[("a", 5), ("c", 9), ("d", 1), ("e", 1)],
            &["d from 0 Ceases", "e from 0 GoesOn"],
        );
        is(&[("d", 1)], &["d from 0 GoesOn"]);
    }

    #[test]
    fn half_a_record_before_a_later_file_is_read_when_it_does_not_grow() {
        let entries = [("a", 5), ("c", 9), ("d", 1)];
        let jobs = planned(&entries, SETTLE).unwrap();
        assert_eq!(jobs, ["c from 7 Over", "d from 0 GoesOn"]);
    }

    #[test]
    fn what_cannot_be_read_in_order_is_named() {
        let late = planned(&[("a", 5), ("b", 1), ("c", 9)], Duration::ZERO);
        assert_eq!(late, Err(Obstacle::Late("b".into())));
        let shrunk = planned(&[("a", 4), ("c", 9)], Duration::ZERO);
        let expected = Obstacle::Shrunk {
            path: "a".into(),
            size: 4,
            read: 5,
        };
        assert_eq!(shrunk, Err(expected));
    }
}

//! Follows objects below dates, as Firehose delivers them: `<prefix>/YYYY/MM/DD[/HH]/<object>`.
//!
//! Firehose writes several objects at once, tries again when it could not deliver, and ends names
//! with a random id: names do not tell in which order objects come. So the objects of a day are
//! read in the order of their modification (then of their names), and a position remembers which
//! objects of the last two days were read. A pass lists these days and nothing before them.
//!
//! # Invariants
//! 1. Objects are complete when they appear.
//! 2. An object is read once it has been seen for a moment, so that those of the same moment are
//!    seen before any of them is read.
//! 3. An object that was begun is finished before any other is read: from then on the position's
//!    days say all that was read.
//! 4. Days are read in their order. What is delivered more than a day late is not looked for.
//! 5. An object of an open day is read whenever it appears, whatever its time; one that has the
//!    name and size of an object that was read is that object. (Of days with very many objects see
//!    [`Days`].)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::assemble::Assembler;
use super::days::Days;
use super::feed::{Job, feed};
use super::layout::{self, dated, is_dated_file, is_record_file};
use super::open_file::Writing;
use super::place::{Object, ReadTo, Tail};
use super::shared::{Pause, Shared};
use super::storage::{Entry, StorageFailure, join};
use super::trail::DatedTrail;
use crate::source::unread::{Tally, Why};
use crate::source::{SourceError, position_key};

/// How long an object must have been seen.
const SETTLE: Duration = Duration::from_secs(2);

/// Formats of Firehose that are not JSON.
const OTHER_FORMATS: [&str; 4] = [".parquet", ".orc", ".zip", ".snappy"];

/// Follows the dates in the folder `root`, given by its parts below the source's root.
pub(super) async fn follow(shared: Arc<Shared>, root: Vec<String>) -> Result<(), SourceError> {
    let mut follower = Follower {
        folder: shared.storage.path(&root.join("/")),
        root,
        shared,
        cursors: Vec::new(),
        assemblers: Vec::new(),
        index: BTreeMap::new(),
        first_seen: BTreeMap::new(),
        settle: SETTLE,
    };
    follower.find_positions()?;
    let bounded = follower.shared.opening.bounded;
    let mut pause = Pause::for_storage(&follower.shared.storage);
    loop {
        let started = Instant::now();
        let read = follower.pass(bounded).await?;
        if bounded {
            return Ok(());
        }
        if read {
            pause.reset();
        }
        pause
            .wait(if read {
                Duration::ZERO
            } else {
                started.elapsed()
            })
            .await;
    }
}

struct Follower {
    shared: Arc<Shared>,
    root: Vec<String>,
    folder: String,
    cursors: Vec<Cursor>,
    assemblers: Vec<Assembler>,
    /// Places in the two, by partition.
    index: BTreeMap<(usize, String), usize>,
    /// When objects that were not read yet were seen first.
    first_seen: BTreeMap<String, Instant>,
    settle: Duration,
}

/// Where a partition stands.
struct Cursor {
    days: Days,
    /// Until the first pass: the object that was begun last, and how much of it was read.
    begun: Option<(String, ReadTo, Option<Tail>)>,
}

impl Follower {
    /// Partitions that positions name, so that the days before them are not listed.
    fn find_positions(&mut self) -> Result<(), SourceError> {
        let mut prefix = vec![super::DATED];
        prefix.extend(self.root.iter().map(String::as_str));
        let prefix = prefix.join("/");
        let streams = &self.shared.opening.streams;
        let mut found = Vec::new();
        for (stream, name) in streams.iter().enumerate() {
            let whole = position_key(name, &prefix);
            for key in self.shared.opening.positions.keys() {
                let of_delivery = key
                    .strip_prefix(&format!("{whole}/"))
                    .is_some_and(|delivery| !delivery.contains('/'));
                if *key == whole || of_delivery {
                    found.push((stream, key[name.len() + 1..].to_owned()));
                }
            }
        }
        for (stream, partition) in found {
            if self.shared.is_mine(stream, &partition) {
                self.partition(stream, partition)?;
            }
        }
        Ok(())
    }

    fn partition(&mut self, stream: usize, name: String) -> Result<usize, SourceError> {
        if let Some(place) = self.index.get(&(stream, name.clone())) {
            return Ok(*place);
        }
        let place = self.cursors.len();
        let position = self
            .shared
            .opening
            .position(&self.shared.opening.streams[stream], &name);
        let token = DatedTrail::parse(&position.token).map_err(|error| {
            let why = format!("its position cannot be read ({error}); begin a new lake");
            self.shared.changed(&name, why)
        })?;
        let begun = match token.file.as_str() {
            "" => None,
            _ => {
                let read = token.read.parse().map_err(|error| {
                    let why = format!(
                        "its position says `{}` where it should say how much was read ({error}); begin a new lake",
                        token.read
                    );
                    self.shared.changed(&name, why)
                })?;
                Some((token.file, read, token.tail))
            }
        };
        self.cursors.push(Cursor {
            days: token.days,
            begun,
        });
        let assembler = Assembler::new(&self.shared, stream, &name);
        self.assemblers.push(assembler);
        self.index.insert((stream, name), place);
        Ok(place)
    }

    /// The first day that may hold something new.
    fn first_day(&self) -> i64 {
        let told_by_folder = dated(
            &self.shared.opening.streams,
            &self.root.iter().map(String::as_str).collect::<Vec<_>>(),
            "",
        )
        .is_some();
        let streams: std::collections::BTreeSet<usize> =
            self.index.keys().map(|(stream, _)| *stream).collect();
        // A stream without a partition here may have one in days that all others are done with.
        if self.cursors.is_empty()
            || !told_by_folder && streams.len() < self.shared.opening.streams.len()
        {
            return i64::MIN;
        }
        let first = |cursor: &Cursor| cursor.days.days.keys().next().copied();
        let firsts = self
            .cursors
            .iter()
            .map(|cursor| first(cursor).unwrap_or(i64::MIN));
        firsts.min().unwrap_or(i64::MIN)
    }

    /// Reads what is new; tells whether there was something.
    async fn pass(&mut self, bounded: bool) -> Result<bool, SourceError> {
        let days = self.days().await;
        let days = days.map_err(|error| self.shared.storage_failed(&self.folder, error))?;
        let mut read = self.finish_begun(&days).await?;
        let mut waiting = vec![false; self.cursors.len()];
        let now = Instant::now();
        for (day, folder) in days {
            let found = self.unread(day, &folder).await?;
            waiting.resize(self.cursors.len(), false);
            let mut jobs = Vec::new();
            let mut read_then = Vec::new();
            for Found {
                place,
                object,
                entry,
            } in found
            {
                let seen = *self.first_seen.entry(entry.path.clone()).or_insert(now);
                if waiting[place] || !bounded && now.duration_since(seen) < self.settle {
                    waiting[place] = true;
                    continue;
                }
                self.first_seen.remove(&entry.path);
                jobs.push(Job {
                    path: entry.path.into(),
                    size: entry.size,
                    id: entry.id,
                    object: Some((day, object)),
                    start: ReadTo::START,
                    tail: None,
                    writing: Writing::Over,
                    to: place,
                });
                read_then.push((place, object));
            }
            if jobs.is_empty() {
                continue;
            }
            read = true;
            for (place, _) in &read_then {
                let known = jobs.iter().filter(|job| job.to == *place);
                let bytes = known.filter_map(|job| job.size).sum();
                let gauge = &self.assemblers[*place].gauge;
                gauge.ahead.store(bytes, Ordering::Relaxed);
            }
            feed(&self.shared, jobs, &mut self.assemblers, &mut |_| ()).await?;
            for (place, object) in read_then {
                self.cursors[place].days.note(day, object);
                let gauge = &self.assemblers[place].gauge;
                gauge.ahead.store(0, Ordering::Relaxed);
            }
        }
        let long_gone = |seen: &Instant| now.duration_since(*seen) > self.settle * 100;
        self.first_seen.retain(|_, seen| !long_gone(seen));
        Ok(read)
    }

    /// Reads what is left of the objects that were begun, and notes that they are read; tells
    /// whether something was left.
    async fn finish_begun(&mut self, days: &[(i64, String)]) -> Result<bool, SourceError> {
        let mut read = false;
        for (place, cursor) in self.cursors.iter_mut().enumerate() {
            let Some((file, start, tail)) = cursor.begun.take() else {
                continue;
            };
            let holds = |folder: &str| {
                file.strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            let Some((day, folder)) = days.iter().find(|(_, folder)| holds(folder)) else {
                continue;
            };
            let files = self.shared.storage.all_files(folder).await;
            let (files, _) = files.map_err(|error| self.shared.storage_failed(folder, error))?;
            // One that is gone is done.
            let Some(entry) = files.into_iter().find(|entry| entry.path == file) else {
                continue;
            };
            let object = object(&entry);
            let size = entry.size.unwrap_or(0);
            if size < start.stored() {
                return Err(self.shared.shrunk(&file, size, start.stored()));
            }
            read |= start != ReadTo::Stored(size);
            // One that was read to its end is only looked at: it must be what it was.
            let job = Job {
                path: file.as_str().into(),
                size: Some(size),
                id: entry.id,
                object: Some((*day, object)),
                start,
                tail,
                writing: Writing::Over,
                to: place,
            };
            feed(&self.shared, vec![job], &mut self.assemblers, &mut |_| ()).await?;
            cursor.days.note(*day, object);
        }
        Ok(read)
    }

    /// The objects of a day that were not read, in their order.
    async fn unread(&mut self, day: i64, folder: &str) -> Result<Vec<Found>, SourceError> {
        let files = self.shared.storage.all_files(folder).await;
        let (files, passed) = files.map_err(|error| self.shared.storage_failed(folder, error))?;
        self.shared.note_passed(folder, &passed, false);
        let mut found = Vec::new();
        let mut all: BTreeMap<usize, Vec<Object>> = BTreeMap::new();
        let mut strangers = Tally::default();
        for entry in files {
            let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
            if !is_dated_file(name) {
                continue;
            }
            let root: Vec<&str> = self.root.iter().map(String::as_str).collect();
            let told = dated(&self.shared.opening.streams, &root, name);
            let Some((stream, partition)) = told else {
                strangers.add(name);
                continue;
            };
            if !self.shared.is_mine(stream, &partition) {
                continue;
            }
            let place = self.partition(stream, partition)?;
            let object = object(&entry);
            all.entry(place).or_default().push(object);
            if self.cursors[place].days.has_read(day, &entry.path, &object) {
                continue;
            }
            if let Some(format) = OTHER_FORMATS.iter().find(|end| entry.path.ends_with(*end)) {
                let why = format!(
                    "objects in the format `{format}` are not read; let the delivery stream write JSON, plain or as gzip"
                );
                return Err(self.shared.storage_failed(&entry.path, why));
            }
            found.push(Found {
                place,
                object,
                entry,
            });
        }
        let unread = &self.shared.opening.unread;
        unread.note(folder, Why::NoStream, &strangers);
        for (place, objects) in all {
            let days = &mut self.cursors[place].days;
            if let Some((count, before)) = days.came_among(day, objects.into_iter()) {
                let why = format!(
                    "{count} objects have come that were modified before others which were read and are only counted by now (before {before} ms since 1970); \
                     write them again, with a new time"
                );
                return Err(self.shared.changed(folder, why));
            }
        }
        found.sort_by(|a, b| {
            (a.object.modified, &a.entry.path).cmp(&(b.object.modified, &b.entry.path))
        });
        Ok(found)
    }

    /// The folders of days that may hold something new, in order.
    async fn days(&self) -> Result<Vec<(i64, String)>, StorageFailure> {
        let storage = &self.shared.storage;
        let first = self.first_day();
        let mut found = Vec::new();
        for year_name in storage
            .contents(&self.folder, is_record_file)
            .await?
            .folders
        {
            let Some(year) = layout::year(&year_name) else {
                continue;
            };
            if day_number(year, 12, 31) < first {
                continue;
            }
            let in_year = join(&self.folder, &year_name);
            for month_name in storage.contents(&in_year, is_record_file).await?.folders {
                let Some(month) = layout::month(&month_name) else {
                    continue;
                };
                if day_number(year, month, 31) < first {
                    continue;
                }
                let in_month = join(&in_year, &month_name);
                for day_name in storage.contents(&in_month, is_record_file).await?.folders {
                    let day = layout::day(&day_name).map(|day| day_number(year, month, day));
                    if let Some(day) = day.filter(|day| *day >= first) {
                        found.push((day, join(&in_month, &day_name)));
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// An object that was not read.
struct Found {
    /// Its partition: a place in the cursors.
    place: usize,
    object: Object,
    entry: Entry,
}

/// Which object that is. The hash is one that no version of a library changes, for positions hold
/// it.
fn object(entry: &Entry) -> Object {
    let mut hash = Sha256::new();
    hash.update(entry.path.as_bytes());
    hash.update(entry.size.unwrap_or(0).to_le_bytes());
    let hash = hash.finalize();
    Object {
        modified: entry.modified.unwrap_or(0),
        key: u64::from_le_bytes(*hash.first_chunk().expect("a sum has 32 bytes")),
    }
}

/// Days since 1970 of a date of the common calendar.
fn day_number(year: u32, month: u32, day: u32) -> i64 {
    // Years begin in March here, so that the day that comes and goes is the last.
    let year = i64::from(year) - i64::from(month <= 2);
    let month = i64::from((month + 9) % 12);
    let century = year.div_euclid(100);
    365 * year + year.div_euclid(4) - century
        + century.div_euclid(4)
        + (153 * month + 2) / 5
        + i64::from(day)
        - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_numbered_through_leap_years() {
        for (date, number) in [
            ((1970, 1, 1), 0),
            ((1970, 12, 31), 364),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2025, 4, 10), 20_188),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(day_number(date.0, date.1, date.2), number, "{date:?}");
        }
    }
}

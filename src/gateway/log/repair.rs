//! What opening a log does: everything that was durable becomes readable again, and everything else
//! is as if it had never been.
//!
//! The order matters. The writes are durable before they are done again, because what readers see
//! must be: a crash of the process alone leaves them in the system's memory. They are written once
//! more for that, since after a sync that failed the next one says yes whatever is on disk. They
//! are forgotten only after the files that they went into are synced.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::extent::{self, Extent, Partition};
use super::layout::{parse_segment, partition_folder, segment_path, topics_folder, wal_folder};
use super::view::{Segment, Topic, View};
use super::wal::{Entry, Replayed, Wal, replay, wal_path};
use super::{LogError, place};
use crate::decode::{count_records, last_newline};
use crate::disk::{self, File};

/// What opening a log finds.
pub(super) struct Repaired {
    pub topics: BTreeMap<String, Arc<Topic>>,
    /// The new log of writes.
    pub wal: Wal,
}

/// Repairs the log, unless something of it is missing that cannot be repaired.
pub(super) fn repair(root: &Path) -> Result<Repaired, LogError> {
    let extent = Extent::read(root)?;
    let last = replay_writes(root, &extent)?.max(extent.wal);
    extent.check(root)?;
    let topics = read_topics(root, &extent)?;
    extent_of(&topics, last).write(root)?;
    let wal = forget_writes(root, last)?;
    Ok(Repaired { topics, wal })
}

/// How far all topics go, when the writes of all logs up to `wal` are in their files.
pub(super) fn extent_of(topics: &BTreeMap<String, Arc<Topic>>, wal: u64) -> Extent {
    let mut partitions = Vec::new();
    for topic in topics.values() {
        for partition in 0..topic.partitions() {
            let view = topic.view(partition);
            let seen = view.filter(|view| view.next > 0);
            partitions.extend(seen.map(|view| Partition::of(&topic.name, partition, &view)));
        }
    }
    Extent { wal, partitions }
}

/// Does all writes again that may be missing, and tells the number of the last log of writes.
fn replay_writes(root: &Path, extent: &Extent) -> Result<u64, LogError> {
    let mut open = Files::new(root);
    let mut last = 0;
    let mut found: BTreeMap<u64, Replayed> = BTreeMap::new();
    for number in numbers(root)? {
        let path = wal_path(&wal_folder(root), number);
        let bytes = std::fs::read(&path).map_err(LogError::at(&path))?;
        if !bytes.is_empty() {
            disk::replace(&path, bytes.clone()).map_err(LogError::at(&path))?;
        }
        let replayed = replay(&bytes, number, |entry| open.apply(entry))?;
        if replayed.stranded > 0 {
            return Err(LogError::Damaged {
                place: path.display().to_string(),
                why: format!(
                    "was changed at byte {} or behind it: {} records that follow were acknowledged, and those that were there cannot be told; restore the file",
                    replayed.whole, replayed.stranded
                ),
            });
        }
        found.insert(number, replayed);
        last = number;
    }
    open.sync()?;
    extent::check_writes(root, extent, |number| Some(found.get(&number)?.whole))?;
    Ok(last)
}

/// Removes the logs of writes, whose writes are all done and synced, and begins a new one behind
/// `last`.
fn forget_writes(root: &Path, last: u64) -> Result<Wal, LogError> {
    let folder = wal_folder(root);
    for number in numbers(root)? {
        let path = wal_path(&folder, number);
        disk::remove(&path).map_err(LogError::at(&path))?;
    }
    Wal::begin(&folder, last + 1).map_err(LogError::at(&folder))
}

fn numbers(root: &Path) -> Result<BTreeSet<u64>, LogError> {
    let names = names(&wal_folder(root))?;
    Ok(names
        .iter()
        .filter_map(|name| name.strip_suffix(".wal")?.parse().ok())
        .collect())
}

/// The partitions' files that writes are done again in, one of each partition at a time.
struct Files<'a> {
    root: &'a Path,
    partitions: BTreeMap<PathBuf, Writes>,
}

/// A partition in which writes are done again.
struct Writes {
    /// Where its last file began when the log was opened.
    last: Option<u64>,
    open: Option<Open>,
}

/// A file in which writes are done again.
struct Open {
    start: u64,
    path: PathBuf,
    file: File,
}

impl<'a> Files<'a> {
    fn new(root: &'a Path) -> Self {
        Files {
            root,
            partitions: BTreeMap::new(),
        }
    }

    fn apply(&mut self, entry: Entry<'_>) -> Result<(), LogError> {
        let Entry {
            topic,
            partition,
            start,
            ..
        } = entry;
        let folder = partition_folder(self.root, topic, partition);
        let writes = match self.partitions.entry(folder.clone()) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(place) => {
                disk::make_durable_folders(&folder).map_err(LogError::at(&folder))?;
                let last = starts(&folder, topic, partition)?.last().copied();
                place.insert(Writes { last, open: None })
            }
        };
        let open = match writes.open.take() {
            Some(open) if open.start == start => open,
            before => {
                // A file is complete and synced before the one that follows it is made.
                before.map_or(Ok(()), |open| open.sync(&folder))?;
                let path = segment_path(self.root, topic, partition, start);
                if Some(start) < writes.last && !path.exists() {
                    // Whoever wanted room has removed it: it was there before the last one was.
                    return Ok(());
                }
                let file = File::open_or_create(&path).map_err(LogError::at(&path))?;
                Open { start, path, file }
            }
        };
        let open = writes.open.insert(open);
        open.write(entry)
    }

    fn sync(self) -> Result<(), LogError> {
        let mut partitions = self.partitions.into_iter();
        partitions.try_for_each(|(folder, writes)| match writes.open {
            Some(open) => open.sync(&folder),
            None => Ok(()),
        })
    }
}

impl Open {
    fn write(&self, entry: Entry<'_>) -> Result<(), LogError> {
        let length = self.file.length().map_err(LogError::at(&self.path))?;
        if length < entry.position {
            return Err(LogError::Damaged {
                place: self.path.display().to_string(),
                why: format!(
                    "has {length} bytes where {} were durable; restore the file, or move the log away and begin another one",
                    entry.position
                ),
            });
        }
        let written = self.file.write_all_at(entry.lines, entry.position);
        written.map_err(LogError::at(&self.path))
    }

    fn sync(self, folder: &Path) -> Result<(), LogError> {
        self.file.sync().map_err(LogError::at(&self.path))?;
        disk::sync_folder(folder).map_err(LogError::at(folder))
    }
}

/// Where the files of a partition begin.
pub(super) fn starts(
    folder: &Path,
    topic: &str,
    partition: u32,
) -> Result<BTreeSet<u64>, LogError> {
    let names = names(folder)?;
    let starts = names
        .iter()
        .filter_map(|name| parse_segment(name, topic, partition));
    Ok(starts.collect())
}

/// The topics and how far they go.
fn read_topics(root: &Path, extent: &Extent) -> Result<BTreeMap<String, Arc<Topic>>, LogError> {
    let folder = topics_folder(root);
    let mut topics = BTreeMap::new();
    for name in names(&folder)? {
        if name.starts_with('.') {
            // A topic that was being made; nothing is in it.
            let unfinished = folder.join(&name);
            disk::remove_folder(&unfinished).map_err(LogError::at(&unfinished))?;
            continue;
        }
        let place = folder.join(&name);
        // A process that ended may have made it and not synced its name.
        disk::sync_folder(&place).map_err(LogError::at(&place))?;
        let count = count_partitions(&place)?;
        let Some(count) = count else { continue };
        let views = (0..count)
            .map(|partition| read_partition(root, &name, partition, extent))
            .collect::<Result<Vec<_>, _>>()?;
        topics.insert(name.clone(), Arc::new(Topic::new(&name, views)));
    }
    disk::sync_folder(&folder).map_err(LogError::at(&folder))?;
    Ok(topics)
}

/// How many partitions a topic's folder has.
pub(super) fn count_partitions(folder: &Path) -> Result<Option<u32>, LogError> {
    let names = names(folder)?;
    let numbers = names
        .iter()
        .filter_map(|entry| entry.strip_prefix("partition=")?.parse::<u32>().ok());
    Ok(numbers.max().map(|last| last + 1))
}

fn read_partition(
    root: &Path,
    topic: &str,
    partition: u32,
    extent: &Extent,
) -> Result<View, LogError> {
    let folder = partition_folder(root, topic, partition);
    if !folder.exists() {
        disk::make_durable_folders(&folder).map_err(LogError::at(&folder))?;
    }
    let starts = starts(&folder, topic, partition)?;
    let mut view = View::default();
    for &start in &starts {
        let path = segment_path(root, topic, partition, start);
        let (bytes, sum) = if starts.last() == Some(&start) {
            let last = read_last(&path)?;
            view.next = start + last.records;
            (last.bytes, Some(last.sum))
        } else {
            let bytes = std::fs::metadata(&path).map_err(LogError::at(&path))?.len();
            (bytes, extent.sum(topic, partition, start, bytes))
        };
        view.segments.push(Segment { start, bytes, sum });
    }
    if starts.first().is_some_and(|&first| first != 0) {
        tracing::info!(
            place = place(root, topic, partition),
            "the first records of this partition are gone"
        );
    }
    Ok(view)
}

/// A partition's last file.
struct Last {
    bytes: u64,
    records: u64,
    sum: u32,
}

/// Reads a partition's last file. Half a record at its end was never durable and is cut.
fn read_last(path: &Path) -> Result<Last, LogError> {
    let bytes = std::fs::read(path).map_err(LogError::at(path))?;
    let whole = last_newline(&bytes).map_or(0, |newline| newline + 1);
    if whole < bytes.len() {
        tracing::warn!(
            file = %path.display(),
            bytes = bytes.len() - whole,
            "half a record at the end of a file of the log was cut"
        );
        let file = File::open(path).map_err(LogError::at(path))?;
        let cut = file.cut(whole as u64).and_then(|()| file.sync());
        cut.map_err(LogError::at(path))?;
    }
    Ok(Last {
        bytes: whole as u64,
        records: count_records(&bytes[..whole]),
        sum: crc32fast::hash(&bytes[..whole]),
    })
}

fn names(folder: &Path) -> Result<Vec<String>, LogError> {
    read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        })
        .map_err(LogError::at(folder))
}

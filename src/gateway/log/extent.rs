//! How far the log goes, written down beside it, so that a missing end is noticed.
//!
//! A file that was cut between two records looks whole. So the log says elsewhere how far it goes:
//! * `_extent` holds bytes and sum of each file of each partition. It is replaced before a log of
//!   writes is removed, and at the end: what it says is not repaired by any log of writes.
//! * `_acknowledged` holds how long the log of writes is, and how far the partitions go that it has
//!   writes of. It is written after each sync, and not synced itself: after a power failure it may
//!   say less than there is, never more.
//!
//! # Invariants
//! 1. A log that has less than these say is refused with the number of records that are missing, and
//!    their offsets.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LogError;
use super::layout::{partition_folder, segment_path};
use super::repair::starts;
use super::view::{Segment, View};
use crate::decode::count_records;
use crate::disk::{self, File};

/// What to do about a log that has lost something.
const HELP: &str = "restore the log from a copy; or, to go on without them, remove `_extent` and `_acknowledged` from its folder \
                    (a lake that has read these records must then be given a log of its own)";

/// How far the partitions of a log go.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Extent {
    /// The last log of writes whose writes are all in the files.
    pub wal: u64,
    pub partitions: Vec<Partition>,
}

/// How far a partition goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Partition {
    pub topic: String,
    pub partition: u32,
    /// The offset behind its last record.
    pub next: u64,
    /// Its files: offset of the first record, bytes, and the CRC-32 of these where it is known.
    pub files: Vec<(u64, u64, Option<u32>)>,
}

impl Partition {
    /// As far as readers may see it.
    pub(super) fn of(topic: &str, partition: u32, view: &View) -> Partition {
        let file = |file: &Segment| (file.start, file.bytes, file.sum);
        Partition {
            topic: topic.to_owned(),
            partition,
            next: view.next,
            files: view.segments.iter().map(file).collect(),
        }
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("_extent")
}

impl Extent {
    /// What is written down; nothing in a log of an earlier version.
    pub(super) fn read(root: &Path) -> Result<Extent, LogError> {
        let path = path(root);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Extent::default());
            }
            Err(error) => return Err(LogError::at(&path)(error)),
        };
        serde_json::from_slice(&text).map_err(|error| LogError::Damaged {
            place: path.display().to_string(),
            why: format!("cannot be understood ({error}); restore it, or remove it"),
        })
    }

    /// Writes it down; it is durable when this returns.
    pub(super) fn write(&self, root: &Path) -> Result<(), LogError> {
        let path = path(root);
        let text = serde_json::to_vec(self).expect("texts and numbers are always JSON");
        disk::replace(&path, text).map_err(LogError::at(&path))
    }

    /// Compares it with the files, after all writes were done again.
    pub(super) fn check(&self, root: &Path) -> Result<(), LogError> {
        self.partitions.iter().try_for_each(|part| part.check(root))
    }

    /// The sum of a file that is complete, if it is known.
    pub(super) fn sum(&self, topic: &str, partition: u32, start: u64, bytes: u64) -> Option<u32> {
        let mut parts = self.partitions.iter();
        let part = parts.find(|part| part.topic == topic && part.partition == partition)?;
        let file = part
            .files
            .iter()
            .find(|file| (file.0, file.1) == (start, bytes))?;
        file.2
    }
}

impl Partition {
    /// Where the first file begins that is there behind the one at `start`.
    fn file_behind(&self, root: &Path, start: u64) -> Result<Option<u64>, LogError> {
        let folder = partition_folder(root, &self.topic, self.partition);
        if !folder.is_dir() {
            return Ok(None);
        }
        let starts = starts(&folder, &self.topic, self.partition)?;
        Ok(starts.range(start + 1..).next().copied())
    }

    fn check(&self, root: &Path) -> Result<(), LogError> {
        let mut is_first = true;
        for (number, &(start, bytes, sum)) in self.files.iter().enumerate() {
            let path = segment_path(root, &self.topic, self.partition, start);
            let behind = self.files.get(number + 1).map(|next| next.0);
            let meta = std::fs::metadata(&path);
            // Whoever wants room may remove the oldest files; more may have come since this was
            // written.
            if meta.is_err()
                && is_first
                && let Some(next) =
                    behind.map_or_else(|| self.file_behind(root, start), |next| Ok(Some(next)))?
            {
                let count = next - start;
                tracing::warn!("{} was removed, with {count} records", path.display());
                continue;
            }
            is_first = false;
            let there = meta.map_or(0, |meta| meta.len());
            // The last one may have grown since.
            let is_right = match behind {
                Some(_) => there == bytes,
                None => there >= bytes,
            };
            let damaged = |what: String| LogError::Damaged {
                place: path.display().to_string(),
                why: format!("{what}; {HELP}"),
            };
            let text = match (is_right, behind, sum) {
                (true, Some(_), _) | (true, _, None) => continue,
                // It is being read anyway.
                _ => std::fs::read(&path).unwrap_or_default(),
            };
            if !is_right {
                let kept = memchr::memchr_iter(b'\n', &text).count() as u64;
                let missing = (behind.unwrap_or(self.next) - start).saturating_sub(kept);
                return Err(damaged(format!(
                    "has {there} bytes where {bytes} were durable: {missing} records that were acknowledged are missing from offset {} on",
                    start + kept
                )));
            }
            if Some(crc32fast::hash(&text[..bytes as usize])) != sum {
                let records = count_records(&text[..bytes as usize]);
                return Err(damaged(format!(
                    "has other bytes than were written: some of its {records} records, from offset {start} on, were changed"
                )));
            }
        }
        Ok(())
    }
}

/// How long the log of writes is, as far as it was acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledged(File);

/// What was acknowledged of a log of writes.
#[derive(Debug, PartialEq)]
struct Noted {
    number: u64,
    length: u64,
    /// The offset behind the last record of each partition that it has writes of; nothing where
    /// that is not known.
    next: Vec<(String, u32, u64)>,
}

/// The number and length of a log of writes, with their sum.
fn mark(number: u64, length: u64) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

impl Acknowledged {
    /// Opens what notes it.
    pub(super) fn open(root: &Path) -> Result<Acknowledged, LogError> {
        let path = root.join("_acknowledged");
        let file = File::open_or_create(&path);
        file.map(Acknowledged).map_err(LogError::at(&path))
    }

    /// Notes it, with the offsets behind the last records of the partitions that it has writes of.
    /// If that fails, a later loss goes unnoticed, and nothing else.
    pub(super) fn note<'a>(
        &self,
        number: u64,
        length: u64,
        next: impl Iterator<Item = (&'a str, u32, u64)>,
    ) {
        let next: Vec<_> = next.collect();
        let next = serde_json::to_vec(&next).expect("texts and numbers are always JSON");
        let sum = crc32fast::hash(&next);
        let mut bytes = mark(number, length).to_vec();
        bytes.extend_from_slice(&(next.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&next);
        let _ = self.0.write_all_at(&bytes, 0);
    }
}

impl Noted {
    /// What is written down, as far as that is whole. What is behind it was longer once.
    fn read(root: &Path) -> Option<Noted> {
        let bytes = std::fs::read(root.join("_acknowledged")).ok()?;
        let number = u64::from_le_bytes(*bytes.first_chunk()?);
        let length = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        if bytes.get(..20)? != mark(number, length) {
            return None;
        }
        Some(Noted {
            number,
            length,
            next: offsets(&bytes[20..]).unwrap_or_default(),
        })
    }

    /// Which records are not in the files: a sentence.
    fn missing(&self, root: &Path) -> Result<String, LogError> {
        let (mut missing, mut places) = (0, Vec::new());
        for (topic, partition, next) in &self.next {
            let there = next_of(root, topic, *partition)?;
            let count = next.saturating_sub(there);
            if count > 0 {
                missing += count;
                let place = format!("{topic}/partition={partition}");
                places.push(format!("{count} of {place} from offset {there} on"));
            }
        }
        Ok(match (self.next.is_empty(), missing) {
            (true, _) => "which records are missing cannot be told".to_owned(),
            (_, 0) => "all records that were acknowledged are in the files, but nothing vouches \
                       for the bytes of the last ones"
                .to_owned(),
            _ => format!(
                "{missing} records that were acknowledged are missing: {}",
                places.join(", ")
            ),
        })
    }
}

/// Offsets that [`Acknowledged::note`] wrote, if they are whole.
fn offsets(bytes: &[u8]) -> Option<Vec<(String, u32, u64)>> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let sum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let text = bytes.get(8..8 + length)?;
    (crc32fast::hash(text) == sum).then(|| serde_json::from_slice(text).ok())?
}

/// The offset behind the last whole record in the files of a partition.
fn next_of(root: &Path, topic: &str, partition: u32) -> Result<u64, LogError> {
    let folder = partition_folder(root, topic, partition);
    if !folder.is_dir() {
        return Ok(0);
    }
    let Some(start) = starts(&folder, topic, partition)?.last().copied() else {
        return Ok(0);
    };
    let path = segment_path(root, topic, partition, start);
    let bytes = std::fs::read(&path).map_err(LogError::at(&path))?;
    Ok(start + memchr::memchr_iter(b'\n', &bytes).count() as u64)
}

/// Refuses a log of writes that is shorter than what was acknowledged, after all that is there was
/// done again; `whole` are the whole frames of those that are there, by number.
pub(super) fn check_writes(
    root: &Path,
    extent: &Extent,
    whole: impl Fn(u64) -> Option<u64>,
) -> Result<(), LogError> {
    let Some(noted) = Noted::read(root) else {
        return Ok(());
    };
    let there = whole(noted.number).unwrap_or(0);
    if noted.number <= extent.wal || there >= noted.length {
        return Ok(());
    }
    let (number, length) = (noted.number, noted.length);
    let missing = noted.missing(root)?;
    Err(LogError::Damaged {
        place: root.join("_wal").display().to_string(),
        why: format!(
            "has {there} bytes of log of writes {number} where {length} were acknowledged: {missing}; {HELP}"
        ),
    })
}

//! Reading the log by offset, for consumers over HTTP. Only what the writer has shown is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::layout::segment_path;
use super::view::{Segment, Topic, View};
use super::{LogError, place};
use crate::decode::last_newline;

/// The least that is read at once.
const WINDOW_BYTES: usize = 64 << 10;

/// How large records are taken to be when few are wanted.
const RECORD_BYTES: usize = 1 << 10;

/// Where a reader is: an offset, and the place in a file if it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The next record to read.
    pub offset: u64,
    /// The file it is in, and where, if the last read ended there.
    known: Option<(u64, u64)>,
}

impl Cursor {
    /// At the record with this offset.
    pub fn at(offset: u64) -> Cursor {
        Cursor {
            offset,
            known: None,
        }
    }
}

/// How much is read at once. The first record is read however large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// So many records.
    pub records: usize,
    /// About so many bytes: the record that exceeds them is the last one.
    pub bytes: usize,
}

impl Most {
    /// As many records as there are in about so many bytes.
    pub fn bytes(bytes: usize) -> Most {
        Most {
            records: usize::MAX,
            bytes,
        }
    }
}

/// See [`super::Log::read`].
pub(super) fn read(
    root: &Path,
    topic: &Topic,
    partition: u32,
    cursor: &mut Cursor,
    most: Most,
) -> Result<Vec<(u64, Bytes)>, LogError> {
    let view = view(topic, partition)?;
    let mut records = Vec::new();
    let mut left = most.bytes;
    let is_full = |records: &Vec<_>, left: usize| {
        records.len() >= most.records.max(1) || (left == 0 && !records.is_empty())
    };
    while cursor.offset < view.next && !is_full(&records, left) {
        let (segment, _) = holder(root, topic, partition, &view, cursor.offset)?;
        let path = segment_path(root, &topic.name, partition, segment.start);
        let file = File::open(&path).map_err(LogError::at(&path))?;
        let (mut offset, mut at) = match cursor.known {
            Some((start, at)) if start == segment.start => (cursor.offset, at),
            _ => (segment.start, 0),
        };
        let mut window = left
            .min(most.records.saturating_mul(RECORD_BYTES))
            .clamp(WINDOW_BYTES, 4 << 20);
        while at < segment.bytes && !is_full(&records, left) {
            let size = usize::try_from(segment.bytes - at)
                .unwrap_or(usize::MAX)
                .min(window);
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, at)
                .map_err(LogError::at(&path))?;
            let Some(newline) = last_newline(&bytes) else {
                // A record that is longer than the window.
                window *= 2;
                continue;
            };
            let bytes = Bytes::from(bytes).slice(..=newline);
            let mut from = 0;
            while let Some(length) = memchr::memchr(b'\n', &bytes[from..]) {
                if offset >= cursor.offset {
                    if is_full(&records, left) {
                        break;
                    }
                    records.push((offset, bytes.slice(from..from + length)));
                    left = left.saturating_sub(length + 1);
                }
                offset += 1;
                from += length + 1;
            }
            at += from as u64;
        }
        *cursor = Cursor {
            offset,
            known: Some((segment.start, at)),
        };
        if at < segment.bytes {
            break;
        }
    }
    Ok(records)
}

/// See [`super::Log::written`].
pub(super) fn written(
    root: &Path,
    topic: &Topic,
    partition: u32,
    offset: u64,
) -> Result<(u64, u64), LogError> {
    let view = view(topic, partition)?;
    let (segment, behind) = holder(root, topic, partition, &view, offset)?;
    let path = segment_path(root, &topic.name, partition, segment.start);
    let written = std::fs::metadata(&path).and_then(|found| found.modified());
    let since = written
        .map_err(LogError::at(&path))?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok((u64::try_from(since.as_millis()).unwrap_or(u64::MAX), behind))
}

fn view(topic: &Topic, partition: u32) -> Result<View, LogError> {
    let view = topic.view(partition).map(|view| view.clone());
    view.ok_or_else(|| LogError::NoPartition {
        topic: topic.name.clone(),
        partition,
        partitions: topic.partitions(),
    })
}

/// The file that holds a record, and the offset behind its last one.
fn holder(
    root: &Path,
    topic: &Topic,
    partition: u32,
    view: &View,
    offset: u64,
) -> Result<(Segment, u64), LogError> {
    let following = view
        .segments
        .partition_point(|segment| segment.start <= offset);
    let Some(last) = following.checked_sub(1) else {
        return Err(LogError::Damaged {
            place: place(root, &topic.name, partition),
            why: format!("no longer has offset {offset}; read on from the beginning"),
        });
    };
    let behind = view.segments.get(following).map(|next| next.start);
    Ok((view.segments[last], behind.unwrap_or(view.next)))
}

//! Reading the log by offset, for consumers over HTTP. Only what the writer has shown is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::layout::segment_path;
use super::view::Topic;
use super::{LogError, place};
use crate::decode::last_newline;

/// The least that is read at once.
const WINDOW_BYTES: usize = 64 << 10;

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

/// See [`super::Log::read`].
pub(super) fn read(
    root: &Path,
    topic: &Topic,
    partition: u32,
    cursor: &mut Cursor,
    bytes_max: usize,
) -> Result<Vec<(u64, Bytes)>, LogError> {
    let Some(view) = topic.view(partition).map(|view| view.clone()) else {
        return Err(LogError::NoPartition {
            topic: topic.name.clone(),
            partition,
            partitions: topic.partitions(),
        });
    };
    let mut records = Vec::new();
    let mut left = bytes_max;
    while cursor.offset < view.next && (left > 0 || records.is_empty()) {
        let number = view
            .segments
            .partition_point(|segment| segment.start <= cursor.offset);
        let Some(segment) = number.checked_sub(1).map(|last| view.segments[last]) else {
            return Err(LogError::Damaged {
                place: place(root, &topic.name, partition),
                why: format!(
                    "no longer has offset {}; read on from the beginning",
                    cursor.offset
                ),
            });
        };
        let path = segment_path(root, &topic.name, partition, segment.start);
        let file = File::open(&path).map_err(LogError::at(&path))?;
        let (mut offset, mut at) = match cursor.known {
            Some((start, at)) if start == segment.start => (cursor.offset, at),
            _ => (segment.start, 0),
        };
        let mut window = left.clamp(WINDOW_BYTES, 4 << 20);
        while at < segment.bytes && (left > 0 || records.is_empty()) {
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
                    if left == 0 && !records.is_empty() {
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

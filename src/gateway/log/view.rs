//! What readers and the writer share: which files a partition has, and how much of each may be
//! read.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A topic of the log.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    pub(super) partitions: Vec<Mutex<View>>,
}

/// One partition as readers may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub segments: Vec<Segment>,
    /// The offset of the next record.
    pub next: u64,
}

/// One file of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The offset of its first record.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Their CRC-32, where it is known.
    pub sum: Option<u32>,
}

impl Topic {
    pub(super) fn new(name: &str, partitions: Vec<View>) -> Topic {
        Topic {
            name: name.to_owned(),
            partitions: partitions.into_iter().map(Mutex::new).collect(),
        }
    }

    /// How many partitions there are, numbered from 0.
    pub fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// The first and the next offset of a partition that exists.
    pub fn bounds(&self, partition: u32) -> Option<(u64, u64)> {
        let view = self.view(partition)?;
        let first = view.segments.first().map_or(view.next, |first| first.start);
        Some((first, view.next))
    }

    pub(super) fn view(&self, partition: u32) -> Option<MutexGuard<'_, View>> {
        // A view is replaced in one step, so one that a panicking thread held is still right.
        let view = self.partitions.get(partition as usize)?;
        Some(view.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

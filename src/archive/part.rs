//! What is archived of one partition: the object that still grows, and where those before it began.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell};

use super::name::Folder;
use super::target::{Lock, Version};

/// Text that is shorter is copied: a slice keeps all of the buffer that it is a part of.
const COPY_BELOW: usize = 64 << 10;

/// One partition of an archive.
pub(super) struct Part {
    /// `<stream>/<partition>`, as positions name it.
    pub key: String,
    pub folder: Arc<Folder>,
    /// What must be done before anything is written; then nobody else writes there.
    pub prepared: Arc<OnceCell<Lock>>,
    /// Behind the last record that was in a seal.
    pub sealed: Option<u64>,
    pub open: Object,
    /// Where objects begin that hold something the last seal did not have, and the one before.
    pub starts: VecDeque<u64>,
    /// Where epochs end that were not sealed.
    pub ends: VecDeque<(u64, u64)>,
}

/// An object that records are added to.
#[derive(Default)]
pub(super) struct Object {
    /// The offset of its first record.
    pub start: u64,
    /// How many records it has.
    pub records: u64,
    /// How many bytes.
    pub bytes: usize,
    text: Vec<Bytes>,
    /// Short text at the end.
    tail: Vec<u8>,
    /// When it was written first, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// How many records it was given to be written with.
    pub given: u64,
    /// As what it was written. Whoever writes it holds this, so that what is shorter never replaces
    /// what is longer.
    pub stored: Arc<Mutex<Stored>>,
}

/// An object as it was written.
#[derive(Default)]
pub(super) struct Stored {
    /// How many records it has.
    pub records: u64,
    /// What the next put replaces.
    pub version: Version,
}

impl Object {
    /// An object without records.
    pub(super) fn at(start: u64) -> Self {
        Object {
            start,
            ..Object::default()
        }
    }

    /// The offset behind its last record.
    pub(super) fn end(&self) -> u64 {
        self.start + self.records
    }

    /// Adds whole lines; the last newline may be missing.
    pub(super) fn push(&mut self, text: Bytes, records: u64) {
        let ends = text.last().is_none_or(|last| *last == b'\n');
        self.records += records;
        self.bytes += text.len() + usize::from(!ends);
        if text.len() < COPY_BELOW {
            self.tail.extend_from_slice(&text);
        } else {
            self.settle();
            self.text.push(text);
        }
        if !ends {
            self.tail.push(b'\n');
        }
        if self.tail.len() >= COPY_BELOW * 4 {
            self.settle();
        }
    }

    /// All of its text so far.
    pub(super) fn text(&mut self) -> Vec<Bytes> {
        self.settle();
        self.text.clone()
    }

    fn settle(&mut self) {
        if !self.tail.is_empty() {
            self.text.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }
}

/// The first `records` lines of `text`, and the rest; `None` if there are fewer.
pub(super) fn split_lines(text: &Bytes, records: u64) -> Option<(Bytes, Bytes)> {
    let Some(last) = records.checked_sub(1) else {
        return Some((Bytes::new(), text.clone()));
    };
    let newline = memchr::memchr_iter(b'\n', text).nth(usize::try_from(last).ok()?)?;
    Some((text.slice(..=newline), text.slice(newline + 1..)))
}

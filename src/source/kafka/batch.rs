//! From messages of one partition to a chunk.
//!
//! # Invariants
//! 1. Line `i` of a chunk is the record at `first + i`; an offset without record is a blank line.
//! 2. No message is without effect: a record is a line that is not blank, a tombstone with a key is
//!    a delete, and one without is the line `null`, which is nobody's row and so is kept as a dead
//!    letter. A record of nothing but blanks is the line `""`, for the same reason.

use bytes::Bytes;

use crate::decode::{push_record, push_value};
use crate::source::{Chunk, Delete, Position};

/// Offsets without record that are spelled out as blank lines; across more of them a chunk ends.
const GAP: u64 = 1000;

/// What is collected of one partition.
#[derive(Debug, Default)]
pub(super) struct Batch {
    first: u64,
    next: u64,
    lines: Vec<u8>,
    deletes: Vec<Delete>,
    /// How long the lines were last time.
    usual: usize,
}

impl Batch {
    /// A batch that goes on at `next`.
    pub(super) fn new(next: u64) -> Batch {
        Batch {
            first: next,
            next,
            ..Batch::default()
        }
    }

    /// The offset behind the last one that was collected (or cut off before).
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that were collected.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a record at `offset` can follow; otherwise the batch is to be cut first.
    pub(super) fn takes(&self, offset: u64) -> bool {
        self.lines.is_empty() || offset.saturating_sub(self.next) <= GAP
    }

    /// Collects a message. One that is behind us already is passed over.
    pub(super) fn push(&mut self, offset: u64, key: Option<&[u8]>, value: Option<&[u8]>) {
        if offset < self.next {
            return;
        }
        self.fill(offset);
        match value {
            Some(value) => push_value(&mut self.lines, value),
            None => match key.filter(|key| !key.is_empty()) {
                Some(key) => {
                    self.deletes.push(Delete {
                        offset,
                        key: Bytes::copy_from_slice(key),
                    });
                    self.lines.push(b'\n');
                }
                None => push_record(&mut self.lines, b"null"),
            },
        }
        self.next = offset + 1;
    }

    /// Notes that there is nothing before `end` any more: what stands there are the marks of
    /// transactions, or it was compacted away.
    pub(super) fn reach(&mut self, end: u64) {
        if end > self.next {
            self.fill(end - 1);
            self.lines.push(b'\n');
            self.next = end;
        }
    }

    /// Blank lines up to `offset`; a batch without lines begins there.
    fn fill(&mut self, offset: u64) {
        if self.lines.is_empty() {
            self.first = offset;
            self.lines.reserve(self.usual);
        } else {
            let blank = (offset - self.next) as usize;
            self.lines.resize(self.lines.len() + blank, b'\n');
        }
        self.next = offset;
    }

    /// Makes a chunk of what was collected.
    pub(super) fn cut(&mut self, stream: usize, partition: &str) -> Option<Chunk> {
        if self.lines.is_empty() {
            return None;
        }
        self.usual = self.lines.len() + self.lines.len() / 8;
        let chunk = Chunk {
            stream,
            partition: partition.to_owned(),
            first_offset: self.first,
            records: self.next - self.first,
            bytes: Bytes::from(std::mem::take(&mut self.lines)),
            deletes: std::mem::take(&mut self.deletes),
            refused: Vec::new(),
            end: Position {
                offset: self.next,
                token: String::new(),
            },
            retry: None,
        };
        self.first = self.next;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(batch: &mut Batch) -> Chunk {
        batch.cut(0, "t/partition=0").unwrap()
    }

    #[test]
    fn offsets_without_record_are_blank_lines() {
        let mut batch = Batch::new(0);
        batch.push(5, None, Some(b"{\"a\":\n1}"));
        batch.push(5, None, Some(b"again"));
        batch.push(8, None, Some(b"{}"));
        let chunk = chunk(&mut batch);
        assert_eq!(&chunk.bytes[..], b"{\"a\":\r1}\n\n\n{}\n");
        assert_eq!(
            (chunk.first_offset, chunk.records, chunk.end.offset),
            (5, 4, 9)
        );
        assert!(batch.cut(0, "").is_none());
    }

    #[test]
    fn a_batch_ends_before_a_large_gap() {
        let mut batch = Batch::new(0);
        assert!(batch.takes(1_000_000), "nothing was collected");
        batch.push(0, None, Some(b"{}"));
        assert!(batch.takes(1001));
        assert!(!batch.takes(1002));
    }

    #[test]
    fn tombstones_delete_their_key_and_nothing_is_lost() {
        let mut batch = Batch::new(0);
        batch.push(0, Some(b"7"), None);
        batch.push(1, None, None);
        batch.push(2, Some(b""), None);
        batch.push(3, None, Some(b""));
        batch.push(4, None, Some(b" \n"));
        let chunk = chunk(&mut batch);
        assert_eq!(&chunk.bytes[..], b"\nnull\nnull\n\"\"\n\"\"\n");
        assert_eq!(
            chunk.deletes,
            [Delete {
                offset: 0,
                key: Bytes::from_static(b"7")
            }]
        );
    }

    #[test]
    fn the_end_is_reached_across_marks_of_transactions() {
        let mut batch = Batch::new(0);
        batch.push(0, None, Some(b"{}"));
        batch.reach(3);
        assert_eq!(&chunk(&mut batch).bytes[..], b"{}\n\n\n");
        batch.reach(3);
        assert!(batch.is_empty());
        batch.reach(1_000_000);
        let far = chunk(&mut batch);
        assert_eq!(
            (far.first_offset, far.records, far.end.offset),
            (999_999, 1, 1_000_000)
        );
    }
}

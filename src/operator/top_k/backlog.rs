//! Changes of rows that are not in order yet, packed: a row's length, the length of its order
//! columns, its diff, its bytes.
//!
//! Most rows of a partition are here and stay here. As bytes one after the other they take a third
//! of the memory that they would in a tree or a vector of boxes.

use super::Entry;
use crate::varint::{self, unzigzag, zigzag};

/// Changes of rows, in the order they came or, once they were put in order, in the order of the
/// rows.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    changes: usize,
}

/// The most bytes that the three numbers before a row take.
const NUMBERS_MAX: usize = 3 * varint::BYTES_MAX;

/// A change as it lies in a backlog.
#[derive(Clone, Copy)]
struct Packed<'a> {
    row: &'a [u8],
    order_length: usize,
    diff: i64,
}

impl Backlog {
    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.changes
    }

    /// Appends the change of a row, of whose bytes the first `order_length` are the order columns.
    pub(super) fn push(&mut self, row: &[u8], order_length: usize, diff: i64) {
        let needed = row.len() + NUMBERS_MAX;
        if self.bytes.capacity() - self.bytes.len() < needed {
            // A quarter more, not twice as much: the room ahead is memory too.
            self.bytes.reserve_exact(needed.max(self.bytes.len() / 4));
        }
        varint::put(&mut self.bytes, row.len() as u64);
        varint::put(&mut self.bytes, order_length as u64);
        varint::put(&mut self.bytes, zigzag(diff));
        self.bytes.extend_from_slice(row);
        self.changes += 1;
    }

    /// Makes the changes of a row one, and leaves out those that cancel.
    pub(super) fn consolidate(&mut self) {
        let packed = std::mem::take(&mut self.bytes);
        self.changes = 0;
        self.bytes.reserve_exact(packed.len());
        for same in sorted(&packed).chunk_by(|a, b| a.row == b.row) {
            let diff: i64 = same.iter().map(|change| change.diff).sum();
            if diff != 0 {
                self.push(same[0].row, same[0].order_length, diff);
            }
        }
    }

    /// Takes all changes out, in the order of the rows; one row may have several.
    pub(super) fn take(&mut self) -> Vec<(Entry, i64)> {
        self.changes = 0;
        let packed = std::mem::take(&mut self.bytes);
        let change = |change: &Packed| (Entry::new(change.row, change.order_length), change.diff);
        sorted(&packed).iter().map(change).collect()
    }

    /// Bytes of memory it owns.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

fn sorted(mut packed: &[u8]) -> Vec<Packed<'_>> {
    let mut changes = Vec::new();
    while !packed.is_empty() {
        let length = varint::take(&mut packed) as usize;
        let order_length = varint::take(&mut packed) as usize;
        let diff = unzigzag(varint::take(&mut packed));
        let (row, rest) = packed.split_at(length);
        packed = rest;
        changes.push(Packed {
            row,
            order_length,
            diff,
        });
    }
    changes.sort_unstable_by_key(|change| change.row);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_row_become_one_and_keep_their_size() {
        let mut backlog = Backlog::default();
        let long = [7; 300];
        for (row, diff) in [
            (&b"b"[..], 1),
            (&long[..], i64::MIN),
            (b"", -3),
            (b"a", 2),
            (b"b", -1),
            (b"a", i64::MAX - 2),
        ] {
            backlog.push(row, row.len() / 2, diff);
        }
        assert_eq!(backlog.len(), 6);
        backlog.consolidate();
        assert_eq!(backlog.len(), 3);
        let expected = [(&b""[..], -3), (&long[..], i64::MIN), (b"a", i64::MAX)];
        assert_eq!(
            backlog.take(),
            expected.map(|(row, diff)| (Entry::new(row, row.len() / 2), diff))
        );
        assert_eq!(backlog.len(), 0);
    }
}

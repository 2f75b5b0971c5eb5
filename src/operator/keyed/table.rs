//! One table of a group: what is kept of its rows, and which file holds each.
//!
//! What an epoch does to it is decided in `group`; here are the columns, bits and file numbers by
//! slot, and how changes are written into them.
//!
//! # Invariants
//! 1. Every vector and bitmap has a place for each slot that was asked about since the last
//!    `resize`.
//! 2. Rows go to the file that is open; one is closed when it has about as many rows as it may.

use arrow::error::ArrowError;

use super::column::KeptColumn;
use super::group::{Appended, FileId, TableShape};
use super::readers::Moment;
use super::retried::{Retried, Verdict};
use super::rows::KeyedRows;
use crate::bits::Bits;
use crate::delta::take_rows;
use crate::segmented::Segmented;

pub(super) struct TableState {
    pub(super) shape: TableShape,
    pub(super) kept: Vec<KeptColumn>,
    pub(super) present: Bits,
    pub(super) before: Bits,
    pub(super) dirty: Bits,
    pub(super) hashes: Segmented<u64>,
    pub(super) files: Segmented<FileId>,
    pub(super) open_file: FileId,
    pub(super) open_rows: usize,
}

/// A row that changes a table in this epoch.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) slot: u32,
    pub(super) batch: u32,
    pub(super) row: u32,
}

impl TableState {
    /// Whether there is a row in `slot`.
    pub(super) fn has(&self, slot: u32, moment: Moment) -> bool {
        match moment {
            Moment::Before => self.before.get(slot as usize),
            Moment::Now => self.present.get(slot as usize),
        }
    }

    /// What becomes of the row in `slot`, if there is one, when a record of its key is sent in
    /// again.
    pub(super) fn verdict(&self, slot: usize, retried: &Retried) -> Verdict {
        // A row of this epoch was sent in again too, and came before.
        if !self.present.get(slot) || self.dirty.get(slot) {
            return Verdict::Replaced;
        }
        let restored = self.shape.restored.get(self.files[slot] as usize);
        retried.verdict(restored.copied())
    }

    pub(super) fn resize(&mut self, slots: usize) {
        if self.hashes.len() >= slots {
            return;
        }
        self.hashes.grow(slots, 0);
        self.files.grow(slots, 0);
        for bits in [&mut self.present, &mut self.before, &mut self.dirty] {
            bits.resize(slots);
        }
        for column in &mut self.kept {
            column.resize(slots);
        }
    }

    /// Leaves the last change of each key: earlier ones of the same epoch were never visible.
    pub(super) fn drop_overtaken(&mut self, changes: &mut Vec<Change>) {
        if self.dirty.count() == changes.len() {
            return;
        }
        let mut last = Vec::with_capacity(self.dirty.count());
        for change in changes.iter().rev() {
            if self.dirty.set(change.slot as usize, false) {
                last.push(*change);
            }
        }
        for change in &last {
            self.dirty.set(change.slot as usize, true);
        }
        last.reverse();
        *changes = last;
    }

    /// Writes the changes into the kept columns, and hands the full rows on to be staged.
    pub(super) fn write(
        &mut self,
        inputs: &[KeyedRows],
        changes: &[Change],
        file_rows_max: usize,
        appended: &mut Vec<Appended>,
    ) -> Result<(), ArrowError> {
        for of_batch in changes.chunk_by(|a, b| a.batch == b.batch) {
            let input = &inputs[of_batch[0].batch as usize];
            let rows = input.rows.batch();
            // Deleted keys leave their slots as they are: nobody reads those.
            let living: Vec<Change> = of_batch
                .iter()
                .copied()
                .filter(|change| self.present.get(change.slot as usize))
                .collect();
            let of_batch = living.as_slice();
            if of_batch.is_empty() {
                continue;
            }
            for (column, &index) in self.kept.iter_mut().zip(&self.shape.kept) {
                let writes = of_batch
                    .iter()
                    .map(|change| (change.slot, change.row as usize));
                column.scatter(rows.column(index), writes)?;
            }
            let file = input
                .file
                .unwrap_or_else(|| self.file_for(of_batch.len(), file_rows_max));
            for change in of_batch {
                self.files[change.slot as usize] = file;
            }
            if input.file.is_none() {
                let rows = if of_batch.len() == rows.num_rows() {
                    rows.clone()
                } else {
                    take_rows(
                        rows,
                        &of_batch
                            .iter()
                            .map(|change| u64::from(change.row))
                            .collect::<Vec<_>>(),
                    )?
                };
                appended.push(Appended {
                    table: self.shape.table,
                    file,
                    rows,
                });
            }
        }
        Ok(())
    }

    /// The open file, or a new one if `rows` more would make it too long.
    pub(super) fn file_for(&mut self, rows: usize, file_rows_max: usize) -> FileId {
        if self.open_rows > 0 && self.open_rows + rows > file_rows_max {
            self.roll();
        }
        self.open_rows += rows;
        self.open_file
    }

    pub(super) fn roll(&mut self) {
        if self.open_rows > 0 {
            self.open_file += 1;
            self.open_rows = 0;
        }
    }
}

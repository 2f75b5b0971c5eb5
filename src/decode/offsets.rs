//! Which record each row came from.

/// The offset of every row of a batch, kept as runs.
///
/// Nearly always row `i` is record `first_offset + i`, so a run of rows whose offsets ascend by one
/// is one entry. A new run starts after a blank or rejected record and at every further row of a
/// record that holds several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowOffsets {
    runs: Vec<Run>,
    rows: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first_row: usize,
    first_offset: u64,
}

impl RowOffsets {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The offset of `row`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn at(&self, row: usize) -> u64 {
        assert!(row < self.rows, "row {row} of {} rows", self.rows);
        let run = self.runs[self.runs.partition_point(|run| run.first_row <= row) - 1];
        run.first_offset + (row - run.first_row) as u64
    }

    /// The offsets, row by row.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().enumerate().flat_map(|(index, run)| {
            let end = self
                .runs
                .get(index + 1)
                .map_or(self.rows, |next| next.first_row);
            (0..(end - run.first_row) as u64).map(|i| run.first_offset + i)
        })
    }

    /// Adds a row that came from the record at `offset`.
    #[inline(always)]
    pub(super) fn push(&mut self, offset: u64) {
        let follows = self
            .runs
            .last()
            .is_some_and(|run| run.first_offset + (self.rows - run.first_row) as u64 == offset);
        if !follows {
            self.runs.push(Run {
                first_row: self.rows,
                first_offset: offset,
            });
        }
        self.rows += 1;
    }

    /// Forgets the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        while self
            .runs
            .last()
            .is_some_and(|run| run.first_row >= self.rows)
        {
            self.runs.pop();
        }
    }

    /// Adds the rows of `other` behind these.
    pub(super) fn extend(&mut self, other: RowOffsets) {
        let before = self.rows;
        self.runs.extend(other.runs.into_iter().map(|run| Run {
            first_row: run.first_row + before,
            ..run
        }));
        self.rows += other.rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_come_back_whatever_was_skipped_or_repeated() {
        let rows = [5, 6, 7, 9, 10, 10, 10, 11, 20];
        let mut offsets = RowOffsets::default();
        rows.iter().for_each(|&offset| offsets.push(offset));
        assert_eq!(offsets.iter().collect::<Vec<_>>(), rows);
        assert_eq!(
            (0..rows.len())
                .map(|row| offsets.at(row))
                .collect::<Vec<_>>(),
            rows
        );

        for keep in (0..=rows.len()).rev() {
            offsets.truncate(keep);
            assert_eq!(offsets.iter().collect::<Vec<_>>(), rows[..keep]);
        }
        rows.iter().for_each(|&offset| offsets.push(offset));
        offsets.extend(offsets.clone());
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [rows, rows].concat());
    }
}

//! Records that were dead letters and are sent in again.
//!
//! Such a record is older than it seems. Where its key has no row, it makes one. Where there is a
//! row, the files say when its record came: if that was in an earlier commit than the letter's, the
//! row is replaced; if in a later one, it stays. If in the same one, nobody can tell, and the
//! record is a dead letter again.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Came;
use crate::delta::{WireBatch, take_rows};

/// What is known of the records that some rows are made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Retried {
    /// When they came first.
    pub came: Came,
    /// For each row the dead letter that its record is again, if nobody can tell whether it is
    /// newer than the row that is there.
    pub letters: WireBatch,
}

impl Retried {
    /// The same of these rows alone.
    pub fn take(&self, rows: &[u64]) -> Result<Retried, ArrowError> {
        Ok(Retried {
            came: self.came,
            letters: WireBatch(self.letters(rows)?),
        })
    }

    /// The letters of these rows.
    pub fn letters(&self, rows: &[u64]) -> Result<RecordBatch, ArrowError> {
        take_rows(&self.letters.0, rows)
    }

    /// What becomes of a row whose record came in `row`, or, without that, is one of these letters
    /// too, which came before.
    pub(super) fn verdict(&self, row: Option<Came>) -> Verdict {
        match row {
            None => Verdict::Replaced,
            Some(row) if row.is_before(self.came) => Verdict::Replaced,
            Some(row) if self.came.is_before(row) => Verdict::Stays,
            Some(_) => Verdict::Unknown,
        }
    }
}

/// What becomes of a row when a record with its key is sent in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is older.
    Replaced,
    /// It is newer.
    Stays,
    /// Nobody can tell.
    Unknown,
}

//! Checkpoints: the durable record that makes an epoch final, and what a restart decides from it.
//!
//! A checkpoint says, for one epoch: how far every partition of every stream was read, and the
//! exact actions that bring every changed Delta table to that epoch. Putting
//! `_checkpoints/<n>.json` where none was **is** the commit; the Delta commits that follow only
//! repeat what it says, and may be repeated any number of times:
//! ```text
//! data files staged ──> checkpoint n put if absent ──> each table: its actions with txn("pinflow", n)
//!    (no one sees them)      (THE commit)                   (skipped where the table has n already)
//! ```
//! This module holds facts and decisions only. It reads no store and no clock; `sink` does that.
//!
//! # Invariants
//! 1. Numbers go up by one, from 1. Checkpoint `n + 1` is put only after every table has `n`.
//! 2. A checkpoint names only files whose put succeeded.
//! 3. For every table of the lake a checkpoint knows the last checkpoint that changed it
//!    ([`Checkpoint::touched`]), so a table's own `txn` tells whether it is behind, even, or was
//!    changed behind our back.
pub mod as_json;
mod came;
mod made_by;
mod recover;

pub use came::{Came, EPOCHS_TAG};
pub use made_by::{Difference, MadeBy, Relation};
pub use recover::{Found, Recovery, recover};

use crate::Epoch;
use crate::lake::LakeError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the checkpoint file's form. A reader refuses any other.
pub const FORMAT: u32 = 2;

/// The commit of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`FORMAT`] when written.
    pub format: u32,
    /// 1 for the first of a lake, then up by one.
    pub number: u64,
    /// The last epoch whose rows are in the tables.
    pub epoch: Epoch,
    /// When it was made, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// Who made it: unique to one run of one process.
    pub writer: String,
    /// What made the rows of the tables and views.
    pub made_by: MadeBy,
    /// Where every partition is to be read on, by `<stream>/<partition>`. All of them, also the
    /// unchanged.
    pub positions: BTreeMap<String, Position>,
    /// The changes, by the table's path in the lake. Tables without changes are absent.
    pub tables: BTreeMap<String, TableCommit>,
    /// Every table of the lake, and the number of the last checkpoint that changed it (this one
    /// included).
    pub touched: BTreeMap<String, u64>,
}

/// The *next* record to read from a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Offset of the next record; what it counts is the source's affair.
    pub offset: u64,
    /// What a source needs beyond a number (a file name, a sequence number); empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
}

/// The change of one Delta table from one checkpoint to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCommit {
    /// Given when the table is new, or its schema changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<NewTable>,
    /// Files that become part of the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adds: Vec<StagedFile>,
    /// Files that cease to be part of it. Their bytes stay until vacuumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<RemovedFile>,
}

/// What a Delta table is, apart from its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTable {
    /// The Delta table id, a UUID. Stays the same when the schema changes.
    pub id: String,
    /// The schema in Delta's JSON form.
    pub schema: String,
    /// Delta table properties.
    pub configuration: BTreeMap<String, String>,
}

/// A data file that was put and that a checkpoint may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Relative to the table: `part-<uuid>.parquet`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    pub rows: u64,
    /// Delta statistics, a JSON text; empty when unknown.
    pub stats: String,
    /// Kept with the file in the Delta log, such as the bucket a view's file holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was staged, in milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// `false` if this file only rearranges rows that the table already had (compaction).
    pub data_change: bool,
}

/// A data file that leaves its table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFile {
    /// Relative to the table.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// As in [`StagedFile::data_change`].
    pub data_change: bool,
}

impl From<&StagedFile> for RemovedFile {
    fn from(file: &StagedFile) -> Self {
        RemovedFile {
            path: file.path.clone(),
            size: file.size,
            data_change: true,
        }
    }
}

impl Checkpoint {
    /// The bytes of the checkpoint's file: the same for the same checkpoint.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a checkpoint has string keys and finite numbers only")
    }

    /// Reads a checkpoint back from the file `path`, which is only used in the error.
    pub fn from_bytes(bytes: &[u8], path: &str) -> Result<Checkpoint, LakeError> {
        let malformed = |why: String| LakeError::Malformed {
            path: path.to_string(),
            why,
        };
        // The form first: a checkpoint of another form would fail on some detail, and the error
        // would mislead.
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let form: Form = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if form.format != FORMAT {
            return Err(malformed(format!(
                "it has format {}, and this program reads format {FORMAT}",
                form.format
            )));
        }
        serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let file = StagedFile {
            path: "part-1.parquet".into(),
            size: 10,
            rows: 2,
            stats: r#"{"numRecords":2}"#.into(),
            tags: BTreeMap::from([("bucket".into(), "3".into())]),
            modified_ms: 5,
            data_change: true,
        };
        let change = TableCommit {
            metadata: None,
            removes: vec![RemovedFile::from(&file)],
            adds: vec![file],
        };
        Checkpoint {
            format: FORMAT,
            number: 4,
            epoch: 44,
            time_ms: 5,
            writer: "me".into(),
            made_by: MadeBy::program("1.2.3", 7),
            positions: BTreeMap::from([(
                "pin/0".into(),
                Position {
                    offset: u64::MAX,
                    token: "é".into(),
                },
            )]),
            tables: BTreeMap::from([("tables/pin".into(), change)]),
            touched: BTreeMap::from([("tables/pin".into(), 4)]),
        }
    }

    #[test]
    fn a_checkpoint_is_read_back_as_it_was_written() {
        let written = checkpoint();
        assert_eq!(
            Checkpoint::from_bytes(&written.to_bytes(), "x").unwrap(),
            written
        );
    }

    #[test]
    fn another_form_and_damage_are_refused_by_name() {
        let newer = br#"{"format":99,"something":"else"}"#;
        for (bytes, expect) in [
            (&newer[..], "it has format 99"),
            (b"{", "_checkpoints/9.json"),
        ] {
            let error = Checkpoint::from_bytes(bytes, "_checkpoints/9.json")
                .unwrap_err()
                .to_string();
            assert!(error.contains(expect), "{error}");
        }
    }
}

//! What must hold of a lake at every moment, whoever died when.
//!
//! The lake is read by plain code: checkpoints and log entries as JSON, data files by the library
//! for Parquet. What is read once is not read again, for objects of a lake never change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use super::oracle::{Rows, answers};
use super::process::key;
use super::records::{Partition, STREAMS};
use super::source::Offsets;
use super::store::{ARCHIVE, Storage};
use crate::checkpoint::Position;

/// Says what is wrong, if anything is.
pub(super) type Verdict = Result<(), String>;

/// The table of dead letters, and which of its columns the oracle knows: stream, partition, offset
/// and text.
pub(super) const DEAD_LETTERS: &str = "dead_letters";
const DEAD_LETTER_COLUMNS: [usize; 4] = [0, 1, 2, 5];
/// What the marks of the archive are named by among the positions.
const MARK: &str = "_archive/";
/// Checkpoints that are older than so many may be gone from the lake.
const KEPT: u64 = 10;

/// A checkpoint, as far as it is promised.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) number: u64,
    epoch: u64,
    positions: BTreeMap<String, Place>,
    pub(super) tables: BTreeMap<String, Change>,
    touched: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Place {
    offset: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Change {
    #[serde(default)]
    pub(super) adds: Vec<File>,
}

/// A file that is named.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: String,
}

impl Sealed {
    /// Where each partition is to be read on.
    pub(super) fn offsets(&self) -> Offsets {
        let places = self.positions.iter();
        let places = places.filter(|(partition, _)| !partition.starts_with(MARK));
        places
            .map(|(partition, place)| (partition.clone(), place.offset))
            .collect()
    }
}

/// An action of a Delta log.
#[derive(Deserialize)]
struct Action {
    add: Option<File>,
    remove: Option<File>,
    txn: Option<Txn>,
}

#[derive(Deserialize)]
struct Txn {
    version: u64,
}

/// What a Delta log says.
#[derive(Default)]
struct Log {
    /// The version that comes next.
    next: u64,
    /// The last checkpoint of ours in it.
    committed: u64,
    files: BTreeSet<String>,
}

/// What was seen of a lake in which nothing is wrong.
#[derive(Debug)]
pub(super) struct Seen {
    /// The last checkpoint.
    pub(super) last: Option<Sealed>,
    /// How many tables do not have it yet, although it changes them.
    pub(super) behind: u64,
}

/// See the module. It remembers what it saw.
pub(super) struct Checker {
    partitions: Arc<Vec<Partition>>,
    /// All checkpoints that ever were, and how many puts of checkpoints were seen.
    checkpoints: BTreeMap<u64, Sealed>,
    puts: usize,
    logs: BTreeMap<String, Log>,
    /// The rows of data files.
    rows: BTreeMap<String, Vec<String>>,
}

impl Checker {
    pub(super) fn new(partitions: Arc<Vec<Partition>>) -> Self {
        Checker {
            partitions,
            checkpoints: BTreeMap::new(),
            puts: 0,
            logs: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }

    /// Every table is what the records make of it, at the checkpoint that it has.
    pub(super) fn lake(&mut self, storage: &Storage) -> Result<Seen, String> {
        self.see_checkpoints(storage)?;
        if let Some(path) = storage.rewritten() {
            return Err(format!("{path} was put again with other content"));
        }
        let Some((_, last)) = self.checkpoints.last_key_value() else {
            let last = None;
            return Ok(Seen { last, behind: 0 });
        };
        let last = last.clone();
        let mut behind = 0;
        let mut expected: BTreeMap<u64, Rows> = BTreeMap::new();
        for (table, number) in &last.touched {
            let log = self.logs.entry(table.clone()).or_default();
            log.see(storage, table)?;
            if log.next == 0 {
                behind += 1;
                continue;
            }
            behind += u64::from(log.committed < *number);
            let at = self.checkpoints.get(&log.committed).ok_or_else(|| {
                let committed = log.committed;
                format!("`{table}` holds checkpoint {committed}, which never was")
            })?;
            let mut rows = Vec::new();
            for file in &log.files {
                let path = format!("lake/{table}/{file}");
                let bytes = storage.get_now(&path).ok_or_else(|| {
                    format!("the log of `{table}` names {file}, which is missing")
                })?;
                if !self.rows.contains_key(&path) {
                    let read = read(bytes, table).map_err(|error| format!("{path}: {error}"))?;
                    self.rows.insert(path.clone(), read);
                }
                rows.extend_from_slice(&self.rows[&path]);
            }
            let expected = expected
                .entry(log.committed)
                .or_insert_with(|| answers(&self.partitions, &at.offsets()));
            same(table, at.number, rows, &expected[table.as_str()])?;
        }
        let last = Some(last);
        Ok(Seen { last, behind })
    }

    /// Takes in the checkpoints that were put since the last look: they follow each other, and
    /// never go back.
    fn see_checkpoints(&mut self, storage: &Storage) -> Verdict {
        let puts = storage.checkpoints(self.puts);
        self.puts += puts.len();
        for (path, bytes) in puts {
            let next: Sealed =
                serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))?;
            let number = next.number;
            let Some((_, last)) = self.checkpoints.last_key_value() else {
                if number != 1 {
                    return Err(format!("the first checkpoint has number {number}"));
                }
                self.checkpoints.insert(number, next);
                continue;
            };
            if number <= last.number {
                // The same put arrived twice, after the first was tidied away; or a writer that
                // slept for long took a place that was free again, and will see that.
                if self.checkpoints[&number] == next || number + KEPT <= last.number {
                    continue;
                }
            }
            if number != last.number + 1 {
                return Err(format!("checkpoint {number} came after {}", last.number));
            }
            if next.epoch < last.epoch {
                let epoch = next.epoch;
                return Err(format!("checkpoint {number} goes back to epoch {epoch}"));
            }
            let after = next.offsets();
            for (partition, before) in last.offsets() {
                let after = after.get(&partition);
                if after < Some(&before) {
                    return Err(format!(
                        "checkpoint {number} takes `{partition}` from {before} back to {after:?}"
                    ));
                }
            }
            self.checkpoints.insert(number, next);
        }
        Ok(())
    }
}

impl Log {
    /// Takes in the entries of `table` that came since the last look.
    fn see(&mut self, storage: &Storage, table: &str) -> Verdict {
        let entry = |version: u64| format!("lake/{table}/_delta_log/{version:020}.json");
        while let Some(lines) = storage.entry(&entry(self.next)) {
            let version = self.next;
            let wrong = |what: &str, of: &dyn std::fmt::Display| {
                Err(format!("`{table}` at {version} {what} {of}"))
            };
            for line in lines.split(|byte| *byte == b'\n') {
                if line.is_empty() {
                    continue;
                }
                let action: Action =
                    serde_json::from_slice(line).map_err(|error| error.to_string())?;
                if let Some(File { path }) = action.add
                    && !self.files.insert(path.clone())
                {
                    return wrong("adds again", &path);
                }
                if let Some(File { path }) = action.remove
                    && !self.files.remove(&path)
                {
                    return wrong("removes what it does not have,", &path);
                }
                if let Some(Txn { version: number }) = action.txn {
                    if number <= self.committed {
                        return wrong("goes back to checkpoint", &number);
                    }
                    self.committed = number;
                }
            }
            self.next += 1;
        }
        Ok(())
    }
}

/// The rows of a data file.
fn read(bytes: Bytes, table: &str) -> Result<Vec<String>, parquet::errors::ParquetError> {
    let mut rows = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        rows.extend(texts(&batch?, table));
    }
    Ok(rows)
}

/// Compares rows in any order.
pub(super) fn same(what: &str, at: u64, mut rows: Vec<String>, expected: &[String]) -> Verdict {
    rows.sort();
    if rows == expected {
        return Ok(());
    }
    let difference = |a: &[String], b: &[String]| {
        let mut rest = a.to_vec();
        for row in b {
            if let Some(place) = rest.iter().position(|r| r == row) {
                rest.remove(place);
            }
        }
        rest
    };
    Err(format!(
        "`{what}` at {at}: too many {:?}, missing {:?}",
        difference(&rows, expected),
        difference(expected, &rows)
    ))
}

/// The rows of a batch as the oracle writes them.
pub(super) fn texts(batch: &RecordBatch, table: &str) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let known: Vec<usize> = match table {
        DEAD_LETTERS => DEAD_LETTER_COLUMNS.to_vec(),
        _ => (0..batch.num_columns()).collect(),
    };
    let columns = known.into_iter().map(|column| batch.column(column));
    let columns: Vec<ArrayFormatter<'_>> = columns
        .map(|column| ArrayFormatter::try_new(column, &options).expect("a type that can be shown"))
        .collect();
    let row = |row| {
        let values = columns.iter().map(|column| column.value(row).to_string());
        values.collect::<Vec<_>>().join(" | ")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Where each partition is to be read on.
pub(super) fn offsets(positions: &BTreeMap<String, Position>) -> Offsets {
    let positions = positions.iter();
    let positions = positions.filter(|(partition, _)| !partition.starts_with(MARK));
    positions
        .map(|(partition, position)| (partition.clone(), position.offset))
        .collect()
}

/// The archive holds every record up to `committed` once, as it came. At the end of all it holds
/// nothing else (`exactly`).
pub(super) fn archive(
    storage: &Storage,
    partitions: &[Partition],
    committed: &Offsets,
    exactly: bool,
) -> Verdict {
    for partition in partitions {
        let end = committed.get(&key(partition)).copied().unwrap_or(0);
        let stream = STREAMS[partition.stream];
        let folder = format!("{ARCHIVE}/topics/{stream}/partition={}", partition.name);
        let wrong = |what: String| Err(format!("{folder}: {what}"));
        let mut next = 0;
        for (path, bytes) in storage.list_now(&folder) {
            let digits = path.rsplit(['+', '.']).nth(1).map(str::parse::<u64>);
            let Some(Ok(start)) = digits else {
                continue;
            };
            let lines = bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            if start != next && (start < end || exactly) {
                return wrong(format!("an object begins at {start} instead of {next}"));
            }
            next = start;
            for line in lines {
                let line = String::from_utf8_lossy(line);
                let record = partition.records.get(next as usize);
                let expected = record.map(|record| match record.text(partition.stream) {
                    Ok(text) => text,
                    Err(key) => format!(r#"{{"__tombstone":"{key}"}}"#),
                });
                if expected.as_deref() != Some(&*line) && (next < end || exactly) {
                    return wrong(format!("line {next} is {line} instead of {expected:?}"));
                }
                next += 1;
            }
        }
        if next < end {
            return wrong(format!("it ends at {next}, and {end} are committed"));
        }
    }
    Ok(())
}

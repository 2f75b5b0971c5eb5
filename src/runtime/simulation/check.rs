//! What must hold of a lake at every moment, whoever died when.
//!
//! The lake is read by plain code: log entries as JSON, and no reader of ours but that of Parquet.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

use super::oracle::answers;
use super::records::Partition;
use super::source::Offsets;
use super::store::Storage;
use crate::checkpoint::{Checkpoint, Position};
use crate::lake::paths;

/// Says what is wrong, if anything is.
pub(super) type Verdict = Result<(), String>;

/// What a Delta log says.
struct Log {
    /// The last checkpoint of ours in it.
    committed: u64,
    files: BTreeSet<String>,
}

/// What was seen of a lake in which nothing is wrong.
#[derive(Debug)]
pub(super) struct Seen {
    /// The last checkpoint.
    pub(super) last: Option<Checkpoint>,
    /// How many tables do not have it yet, although it changes them.
    pub(super) behind: u64,
}

/// Every table is what the records make of it, at the checkpoint that it has.
pub(super) fn lake(storage: &Storage, partitions: &[Partition]) -> Result<Seen, String> {
    let checkpoints = checkpoints(storage)?;
    let Some(last) = checkpoints.values().next_back() else {
        let last = None;
        return Ok(Seen { last, behind: 0 });
    };
    let mut behind = 0;
    for (table, number) in &last.touched {
        let Some(log) = log(storage, table)? else {
            behind += 1;
            continue;
        };
        behind += u64::from(log.committed < *number);
        let at = checkpoints.get(&log.committed).ok_or_else(|| {
            format!(
                "`{table}` holds checkpoint {}, which never was",
                log.committed
            )
        })?;
        let mut rows = Vec::new();
        for file in &log.files {
            let path = format!("lake/{table}/{file}");
            let bytes = storage
                .get_now(&path)
                .ok_or_else(|| format!("the log of `{table}` names {file}, which is missing"))?;
            let batches = crate::sink::parquet::decode(bytes, None, &path);
            for batch in batches.map_err(|error| error.to_string())? {
                rows.extend(texts(&batch, table));
            }
        }
        let expected = answers(partitions, &offsets(&at.positions));
        same(table, at.number, rows, &expected[table.as_str()])?;
    }
    let last = Some(last.clone());
    Ok(Seen { last, behind })
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
    let columns = if table == paths::DEAD_LETTERS {
        3
    } else {
        batch.num_columns()
    };
    let columns: Vec<ArrayFormatter<'_>> = batch.columns()[..columns]
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("a type that can be shown"))
        .collect();
    let row = |row| {
        columns
            .iter()
            .map(|c| c.value(row).to_string())
            .collect::<Vec<_>>()
    };
    (0..batch.num_rows())
        .map(|number| row(number).join(" | "))
        .collect()
}

pub(super) fn offsets(positions: &BTreeMap<String, Position>) -> Offsets {
    positions
        .iter()
        .map(|(partition, position)| (partition.clone(), position.offset))
        .collect()
}

/// All checkpoints that ever were, which follow each other and never go back.
fn checkpoints(storage: &Storage) -> Result<BTreeMap<u64, Checkpoint>, String> {
    let mut checkpoints: BTreeMap<u64, Checkpoint> = BTreeMap::new();
    for (path, bytes) in storage.checkpoints() {
        let next = Checkpoint::from_bytes(&bytes, &path).map_err(|error| error.to_string())?;
        let number = next.number;
        if let Some((_, last)) = checkpoints.last_key_value() {
            if number <= last.number && checkpoints[&number] == next {
                // The same put arrived twice, after the first was tidied away.
                continue;
            }
            if number != last.number + 1 {
                return Err(format!("checkpoint {number} came after {}", last.number));
            }
            if next.epoch < last.epoch {
                return Err(format!(
                    "checkpoint {number} goes back to epoch {}",
                    next.epoch
                ));
            }
            for (partition, before) in &last.positions {
                let after = next
                    .positions
                    .get(partition)
                    .map(|position| position.offset);
                if after < Some(before.offset) {
                    return Err(format!(
                        "checkpoint {number} takes `{partition}` from {} back to {after:?}",
                        before.offset
                    ));
                }
            }
        } else if number != 1 {
            return Err(format!("the first checkpoint has number {number}"));
        }
        checkpoints.insert(number, next);
    }
    Ok(checkpoints)
}

/// Replays the log entries of `table`; `None` if there are none.
fn log(storage: &Storage, table: &str) -> Result<Option<Log>, String> {
    let mut log = Log {
        committed: 0,
        files: BTreeSet::new(),
    };
    let mut version = 0;
    while let Some(entry) = storage.get_now(&format!("lake/{}", paths::log_entry(table, version))) {
        let wrong = |what: &str, path: &Value| format!("`{table}` at {version} {what} {path}");
        for line in entry
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let action: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            if let Some(add) = action.get("add") {
                let path = &add["path"];
                if !log
                    .files
                    .insert(path.as_str().unwrap_or_default().to_owned())
                {
                    return Err(wrong("adds again", path));
                }
            }
            if let Some(remove) = action.get("remove") {
                let path = &remove["path"];
                if !log.files.remove(path.as_str().unwrap_or_default()) {
                    return Err(wrong("removes what it does not have,", path));
                }
            }
            if let Some(txn) = action.get("txn") {
                let number = txn["version"].as_u64().unwrap_or_default();
                if number <= log.committed {
                    return Err(wrong("goes back to checkpoint", &txn["version"]));
                }
                log.committed = number;
            }
        }
        version += 1;
    }
    Ok((version > 0).then_some(log))
}

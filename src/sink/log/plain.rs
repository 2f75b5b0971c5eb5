//! The plain twin of deltalake-core, for simulations: it reads and tidies Delta logs request by
//! request, where the other works on threads of its own.
//!
//! It keeps the order in which deltalake-core puts and deletes, and its rule for what expires. Its
//! log checkpoints are JSON lines between the magic bytes of Parquet; only it can read them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::{Deserialize, Serialize};

use super::{APP_ID, Loaded, TableLog, delta};
use crate::checkpoint::StagedFile;
use crate::lake::{Lake, LakeError};

/// Attempts of a request, as the store of a lake behind a network makes them.
const ATTEMPTS: usize = 6;
/// What files of a log end with, and what a checkpoint's begin and end with.
const ENTRY: &str = ".json";
const CHECKPOINT: &str = ".checkpoint.parquet";
const MAGIC: &[u8] = b"PAR1";
const HINT: &str = "_last_checkpoint";
/// `delta.logRetentionDuration` of our tables.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// An action of a log, as far as it matters here.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    add: Option<Add>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remove: Option<Remove>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn: Option<Txn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta_data: Option<MetaData>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Add {
    path: String,
    size: u64,
    modification_time: i64,
    #[serde(default)]
    stats: Option<String>,
    #[serde(default)]
    tags: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize, Serialize)]
struct Remove {
    path: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Txn {
    app_id: String,
    version: u64,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct MetaData {
    id: String,
    schema_string: String,
}

/// A table at a version.
#[derive(Default)]
struct Snapshot {
    version: u64,
    committed: Option<u64>,
    meta_data: MetaData,
    files: BTreeMap<String, Add>,
}

impl Snapshot {
    fn take(&mut self, lines: &[u8]) -> serde_json::Result<()> {
        for line in lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
            let action: Action = serde_json::from_slice(line)?;
            if let Some(Remove { path }) = action.remove {
                self.files.remove(&path);
            }
            if let Some(add) = action.add {
                self.files.insert(add.path.clone(), add);
            }
            if let Some(txn) = action.txn.filter(|txn| txn.app_id == APP_ID) {
                self.committed = Some(txn.version);
            }
            if let Some(meta_data) = action.meta_data {
                self.meta_data = meta_data;
            }
        }
        Ok(())
    }

    /// What [`take`](Self::take) makes it again.
    fn lines(&self) -> serde_json::Result<Vec<u8>> {
        let meta_data = Action {
            meta_data: Some(self.meta_data.clone()),
            ..Action::default()
        };
        let txn = self.committed.map(|version| Action {
            txn: Some(Txn {
                app_id: APP_ID.to_owned(),
                version,
            }),
            ..Action::default()
        });
        let adds = self.files.values().map(|add| Action {
            add: Some(add.clone()),
            ..Action::default()
        });
        let mut lines = Vec::new();
        for action in [meta_data].into_iter().chain(txn).chain(adds) {
            serde_json::to_writer(&mut lines, &action)?;
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

impl From<Add> for StagedFile {
    fn from(add: Add) -> StagedFile {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rows {
            num_records: u64,
        }
        let stats = add.stats.unwrap_or_default();
        let rows = serde_json::from_str::<Rows>(&stats).map_or(0, |rows| rows.num_records);
        let tags = add.tags.unwrap_or_default().into_iter();
        StagedFile {
            path: add.path,
            size: add.size,
            rows,
            stats,
            tags: tags
                .filter_map(|(tag, value)| Some((tag, value?)))
                .collect(),
            modified_ms: add.modification_time,
            data_change: true,
        }
    }
}

/// The number in the name of a file of a log.
fn version(name: &str, end: &str) -> Option<u64> {
    name.strip_suffix(end)?.parse().ok()
}

/// Makes a request until it is answered well.
async fn patiently<'a, T>(
    request: impl Fn() -> BoxFuture<'a, Result<T, LakeError>>,
) -> Result<T, LakeError> {
    for _ in 1..ATTEMPTS {
        match request().await {
            Err(error) if error.is_retryable() => {}
            answer => return answer,
        }
    }
    request().await
}

/// A file of a table's log that was listed.
async fn get(lake: &Lake, table: &str, name: &str) -> Result<Bytes, LakeError> {
    let path = format!("{table}/_delta_log/{name}");
    let bytes = patiently(|| lake.get_if_present(&path).boxed()).await?;
    bytes.ok_or_else(|| delta("read", table, format!("{path} is gone")))
}

/// Reads what a table is and holds; `None` if there is no such table.
pub(super) async fn read(lake: &Lake, table: &str) -> Result<Option<Loaded>, LakeError> {
    let loaded = |found: Snapshot| Loaded {
        log: TableLog {
            version: Some(found.version),
            committed: found.committed,
        },
        id: found.meta_data.id,
        schema: found.meta_data.schema_string,
        files: found.files.into_values().map(StagedFile::from).collect(),
    };
    Ok(snapshot(lake, table).await?.map(loaded))
}

async fn snapshot(lake: &Lake, table: &str) -> Result<Option<Snapshot>, LakeError> {
    let folder = format!("{table}/_delta_log");
    let names = patiently(|| lake.list(&folder, None).boxed()).await?;
    let wrong = |what: String| delta("read", table, what);
    if !names
        .iter()
        .any(|name| name.ends_with(ENTRY) || name.ends_with(CHECKPOINT))
    {
        return Ok(None);
    }
    let mut found = Snapshot::default();
    let mut next = 0;
    #[derive(Deserialize)]
    struct Hint {
        version: u64,
    }
    let hint = match names.iter().any(|name| name == HINT) {
        true => serde_json::from_slice::<Hint>(&get(lake, table, HINT).await?).ok(),
        false => None,
    };
    let newest = names
        .iter()
        .filter_map(|name| version(name, CHECKPOINT))
        .max();
    if let Some(begin) = newest.max(hint.map(|hint| hint.version)) {
        let name = format!("{begin:020}{CHECKPOINT}");
        let bytes = get(lake, table, &name).await?;
        let lines = bytes
            .strip_prefix(MAGIC)
            .and_then(|bytes| bytes.strip_suffix(MAGIC));
        let lines = lines.ok_or_else(|| wrong(format!("{name} is torn")))?;
        found
            .take(lines)
            .map_err(|error| wrong(error.to_string()))?;
        found.version = begin;
        next = begin + 1;
    }
    let entries = names.iter().filter_map(|name| version(name, ENTRY));
    for at in entries.filter(|at| *at >= next).collect::<Vec<_>>() {
        if at != next {
            return Err(wrong(format!("entry {next} is missing")));
        }
        let lines = get(lake, table, &format!("{at:020}{ENTRY}")).await?;
        found
            .take(&lines)
            .map_err(|error| wrong(error.to_string()))?;
        found.version = at;
        next = at + 1;
    }
    Ok(Some(found))
}

/// Writes a log checkpoint of the table's present version, and removes what has expired.
pub(super) async fn tidy(lake: &Lake, table: &str, now_ms: i64) -> Result<(), LakeError> {
    let Some(found) = snapshot(lake, table).await? else {
        return Ok(());
    };
    let lines = found
        .lines()
        .map_err(|error| delta("tidy the log of", table, error))?;
    let bytes = Bytes::from([MAGIC, &lines, MAGIC].concat());
    let folder = format!("{table}/_delta_log");
    let checkpoint = format!("{folder}/{:020}{CHECKPOINT}", found.version);
    patiently(|| lake.put(&checkpoint, vec![bytes.clone()]).boxed()).await?;
    let hint = Bytes::from(format!("{{\"version\":{}}}", found.version));
    let place = format!("{folder}/{HINT}");
    patiently(|| lake.put(&place, vec![hint.clone()]).boxed()).await?;
    let cutoff_ms = now_ms - RETENTION.as_millis() as i64;
    for name in expired(lake, table, found.version, cutoff_ms).await? {
        let path = format!("{folder}/{name}");
        patiently(|| lake.delete(&path).boxed()).await?;
    }
    Ok(())
}

/// Entries and checkpoints that nobody who reads from `cutoff_ms` on needs.
async fn expired(
    lake: &Lake,
    table: &str,
    last: u64,
    cutoff_ms: i64,
) -> Result<Vec<String>, LakeError> {
    let (store, _, _) = lake.delta(table);
    let log = Path::from("_delta_log");
    let list = || {
        let listing = store.list(Some(&log)).try_collect::<Vec<ObjectMeta>>();
        let failed = |error| LakeError::Store {
            action: "list",
            path: log.to_string(),
            source: Box::new(error),
        };
        listing.map_err(failed).boxed()
    };
    let listed = patiently(list);
    let named: Vec<(String, i64)> = listed
        .await?
        .into_iter()
        .map(|meta| {
            let name = meta.location.filename().unwrap_or_default().to_owned();
            (name, meta.last_modified.timestamp_millis())
        })
        .collect();
    let at = |name: &str| version(name, ENTRY).or_else(|| version(name, CHECKPOINT));
    let young = named.iter().filter(|(_, modified)| *modified >= cutoff_ms);
    let keep = young
        .filter_map(|(name, _)| at(name))
        .min()
        .unwrap_or(last)
        .min(last);
    let checkpoints = named
        .iter()
        .filter_map(|(name, _)| version(name, CHECKPOINT));
    let Some(safe) = checkpoints.filter(|at| *at <= keep).max() else {
        return Ok(Vec::new());
    };
    let old = |(name, modified): &(String, i64)| {
        *modified <= cutoff_ms && at(name).is_some_and(|at| at < safe)
    };
    Ok(named
        .into_iter()
        .filter(old)
        .map(|(name, _)| name)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against deltalake-core itself are in `sink::tests`; here is the order of a log.
    #[test]
    fn a_checkpoint_says_what_the_entries_before_it_said() {
        let entries: [&[u8]; 3] = [
            br#"{"metaData":{"id":"t","schemaString":"{}","format":{}}}
{"txn":{"appId":"pinflow","version":1}}
{"add":{"path":"a","size":1,"modificationTime":5,"stats":"{\"numRecords\":3}"}}"#,
            br#"{"commitInfo":{}}
{"remove":{"path":"a","dataChange":true}}
{"add":{"path":"b","size":2,"modificationTime":6,"tags":{"bucket":"0"}}}"#,
            br#"{"txn":{"appId":"another","version":9}}
{"txn":{"appId":"pinflow","version":3}}"#,
        ];
        let mut all = Snapshot::default();
        for entry in entries {
            all.take(entry).unwrap();
        }
        let mut again = Snapshot::default();
        again.take(&all.lines().unwrap()).unwrap();
        assert_eq!(again.committed, Some(3));
        assert_eq!(again.meta_data.id, "t");
        let files: Vec<StagedFile> = again.files.into_values().map(StagedFile::from).collect();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].path.as_str(), files[0].size), ("b", 2));
        assert_eq!(files[0].tags["bucket"], "0");
    }
}

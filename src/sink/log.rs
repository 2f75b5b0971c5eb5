//! The Delta log of one table, as its only writer sees it.
//!
//! We know the version that comes next, so a commit is one put-if-absent of `_delta_log/<version>.json`. If something is
//! there already, its content decides: our own transaction (an earlier attempt, or another process that rolled the same
//! checkpoint forward) is success; an entry that changes nothing (a reader's `VACUUM` leaves such) is passed over;
//! anything else means that someone else writes the table, and we stop.

use crate::checkpoint::{Checkpoint, NewTable, RemovedFile, StagedFile};
use crate::lake::{Lake, LakeError, Placed, paths};
use bytes::Bytes;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::{Action, Add, CommitInfo, Metadata, Remove, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;

/// The application under whose name each table counts checkpoints.
pub const APP_ID: &str = "pinflow";
/// A log checkpoint is written every this many versions.
pub const CHECKPOINT_EVERY: u64 = 10;

/// Where a table's log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableLog {
    /// Its last version; `None` before the first.
    pub version: Option<u64>,
    /// The last checkpoint it has.
    pub committed: Option<u64>,
}

impl TableLog {
    fn next(&self) -> u64 {
        self.version.map_or(0, |v| v + 1)
    }
}

/// A table as its log describes it.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub log: TableLog,
    pub id: String,
    pub schema: String,
    pub files: Vec<StagedFile>,
}

/// What a log entry is to us.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// It holds this checkpoint.
    Ours(u64),
    /// It changes neither rows nor schema.
    Harmless,
    /// It is someone else's, who did this.
    Foreign(String),
}

/// The log entry that brings `table` to `checkpoint`, which must name it.
pub(super) fn entry(
    checkpoint: &Checkpoint,
    table: &str,
    log: &TableLog,
) -> Result<Bytes, LakeError> {
    let change = &checkpoint.tables[table];
    let time = checkpoint.time_ms;
    let mut actions = vec![Action::CommitInfo(CommitInfo {
        timestamp: Some(time),
        operation: Some("STREAMING UPDATE".to_string()),
        operation_parameters: Some(HashMap::from([
            (
                "outputMode".to_string(),
                json!(if change.removes.is_empty() {
                    "Append"
                } else {
                    "Update"
                }),
            ),
            ("queryId".to_string(), json!(APP_ID)),
            ("epochId".to_string(), json!(checkpoint.number.to_string())),
        ])),
        is_blind_append: Some(change.removes.is_empty()),
        engine_info: Some(concat!("pinflow/", env!("CARGO_PKG_VERSION")).to_string()),
        ..CommitInfo::default()
    })];
    if let Some(new) = &change.metadata {
        if log.version.is_none() {
            actions.push(Action::Protocol(from_json(
                json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
                table,
            )?));
        }
        actions.push(Action::Metadata(metadata(new, time, table)?));
    }
    let number = i64::try_from(checkpoint.number).expect("no lake lives to see 2^63 checkpoints");
    actions.push(Action::Txn(Transaction {
        app_id: APP_ID.to_string(),
        version: number,
        last_updated: Some(time),
    }));
    actions.extend(
        change
            .removes
            .iter()
            .map(|file| Action::Remove(remove(file, time))),
    );
    actions.extend(change.adds.iter().map(|file| Action::Add(add(file))));

    let mut text = Vec::new();
    for action in &actions {
        serde_json::to_writer(&mut text, action)
            .map_err(|e| delta("write the log of", table, e))?;
        text.push(b'\n');
    }
    Ok(text.into())
}

fn metadata(new: &NewTable, time_ms: i64, table: &str) -> Result<Metadata, LakeError> {
    from_json(
        json!({
            "id": new.id,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": new.schema,
            "partitionColumns": [],
            "createdTime": time_ms,
            "configuration": new.configuration,
        }),
        table,
    )
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value, table: &str) -> Result<T, LakeError> {
    serde_json::from_value(value).map_err(|e| delta("describe", table, e))
}

fn add(file: &StagedFile) -> Add {
    let tags = file
        .tags
        .iter()
        .map(|(k, v)| (k.clone(), Some(v.clone())))
        .collect();
    Add {
        path: file.path.clone(),
        partition_values: HashMap::new(),
        size: file.size as i64,
        modification_time: file.modified_ms,
        data_change: file.data_change,
        stats: (!file.stats.is_empty()).then(|| file.stats.clone()),
        tags: (!file.tags.is_empty()).then_some(tags),
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

fn remove(file: &RemovedFile, time_ms: i64) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change: file.data_change,
        deletion_timestamp: Some(time_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(HashMap::new()),
        size: Some(file.size as i64),
        ..Remove::default()
    }
}

/// Gives `table` the actions of `checkpoint`, unless it has them. Repeatable after any failure.
pub(super) async fn append(
    lake: &Lake,
    table: &str,
    mut log: TableLog,
    checkpoint: &Checkpoint,
) -> Result<TableLog, LakeError> {
    if log.committed >= Some(checkpoint.number) {
        return Ok(log);
    }
    let bytes = entry(checkpoint, table, &log)?;
    loop {
        let version = log.next();
        let placed = lake
            .put_if_absent(&paths::log_entry(table, version), bytes.clone())
            .await?;
        let found = match &placed {
            Placed::Ours => Entry::Ours(checkpoint.number),
            Placed::Theirs(found) => judge(found),
        };
        log.version = Some(version);
        match found {
            Entry::Ours(number) if number == checkpoint.number => {
                log.committed = Some(number);
                return Ok(log);
            }
            Entry::Harmless => continue,
            other => return Err(foreign(table, version, other)),
        }
    }
}

/// Makes sure that no one else wrote to `table` since we did. Passes over entries that change nothing.
pub(super) async fn check_untouched(
    lake: &Lake,
    table: &str,
    mut log: TableLog,
) -> Result<TableLog, LakeError> {
    loop {
        let version = log.next();
        let path = paths::log_entry(table, version);
        if !lake.exists(&path).await? {
            return Ok(log);
        }
        match judge(&lake.get(&path).await?) {
            Entry::Harmless => log.version = Some(version),
            other => return Err(foreign(table, version, other)),
        }
    }
}

fn foreign(table: &str, version: u64, entry: Entry) -> LakeError {
    let found = match entry {
        Entry::Ours(number) => format!("another pinflow committed checkpoint {number} there"),
        Entry::Foreign(what) => what,
        Entry::Harmless => "it changed nothing".to_string(),
    };
    LakeError::Foreign {
        table: table.to_string(),
        version,
        found,
    }
}

fn judge(entry: &[u8]) -> Entry {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Txn {
        app_id: String,
        version: i64,
    }
    let mut operation = "an unknown operation".to_string();
    let mut changes = Vec::new();
    for line in entry.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let Ok(Value::Object(action)) = serde_json::from_slice::<Value>(line) else {
            return Entry::Foreign("a log entry that is not JSON".to_string());
        };
        for (name, value) in action {
            match name.as_str() {
                "txn" => {
                    if let Ok(txn) = serde_json::from_value::<Txn>(value)
                        && txn.app_id == APP_ID
                    {
                        return Entry::Ours(txn.version.max(0) as u64);
                    }
                }
                "commitInfo" => {
                    if let Some(Value::String(name)) = value.get("operation") {
                        operation = name.clone();
                    }
                }
                _ => changes.push(name),
            }
        }
    }
    if changes.is_empty() {
        Entry::Harmless
    } else {
        Entry::Foreign(format!("by {operation}"))
    }
}

/// Reads what a table is and holds; `None` if there is no such table.
pub(super) async fn load(lake: &Lake, table: &str) -> Result<Option<Loaded>, LakeError> {
    let store = log_store(lake, table);
    let read = |e| delta("read", table, e);
    if !store.is_delta_table_location().await.map_err(read)? {
        return Ok(None);
    }
    let mut found = DeltaTable::new(store.clone());
    found.load().await.map_err(read)?;
    let state = found.snapshot().map_err(read)?;
    let version = state.version();
    let txn = state
        .transaction_version(store.as_ref(), APP_ID)
        .await
        .map_err(read)?;
    let metadata = serde_json::to_value(state.metadata()).map_err(|e| delta("read", table, e))?;
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_string()
    };
    let files = state
        .log_data()
        .iter()
        .map(|view| active_file(&view))
        .collect();
    let log = TableLog {
        version: Some(version),
        committed: txn.map(|n| n.max(0) as u64),
    };
    if log.committed.is_some() {
        check_last_writer(lake, table, version).await?;
    }
    Ok(Some(Loaded {
        log,
        id: text("id"),
        schema: text("schemaString"),
        files,
    }))
}

#[expect(
    deprecated,
    reason = "the only public way to a file's tags that does not depend on column positions"
)]
fn active_file(view: &deltalake_core::kernel::LogicalFileView) -> StagedFile {
    let add = view.add_action();
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rows {
        num_records: u64,
    }
    let rows = add
        .stats
        .as_deref()
        .and_then(|s| serde_json::from_str::<Rows>(s).ok())
        .map_or(0, |r| r.num_records);
    StagedFile {
        path: add.path,
        size: add.size.max(0) as u64,
        rows,
        stats: add.stats.unwrap_or_default(),
        tags: add
            .tags
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(k, v)| Some((k, v?)))
            .collect(),
        modified_ms: add.modification_time,
        data_change: true,
    }
}

/// The last entry that changed anything must be ours. Entries that were cleaned away end the search: then a log
/// checkpoint was written, which is our doing too.
async fn check_last_writer(lake: &Lake, table: &str, last: u64) -> Result<(), LakeError> {
    for version in (0..=last).rev() {
        let Some(bytes) = lake
            .get_if_present(&paths::log_entry(table, version))
            .await?
        else {
            break;
        };
        match judge(&bytes) {
            Entry::Ours(_) => break,
            Entry::Harmless => {}
            other => return Err(foreign(table, version, other)),
        }
    }
    Ok(())
}

/// Whether the log of `table` is due for a checkpoint at `version`: every [`CHECKPOINT_EVERY`] versions, but not for all
/// tables at the same one, since they get their versions together.
pub(super) fn wants_checkpoint(table: &str, version: u64) -> bool {
    let turn = table.bytes().map(u64::from).sum::<u64>();
    version > 0 && (version + turn).is_multiple_of(CHECKPOINT_EVERY)
}

/// Writes a log checkpoint of the table's present version, and removes log entries that are older than the table's
/// `delta.logRetentionDuration` before `now_ms` and that the checkpoint made superfluous.
pub(super) async fn maintain(lake: &Lake, table: &str, now_ms: i64) -> Result<(), LakeError> {
    use deltalake_core::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
    let failed = |e| delta("tidy the log of", table, e);
    let mut found = DeltaTable::new(log_store(lake, table));
    found.load().await.map_err(failed)?;
    create_checkpoint(&found, None).await.map_err(failed)?;

    use deltalake_core::table::config::TablePropertiesExt;
    let state = found.snapshot().map_err(failed)?;
    let retention = i64::try_from(state.table_config().log_retention_duration().as_millis())
        .unwrap_or(i64::MAX);
    let cutoff = now_ms.saturating_sub(retention);
    cleanup_expired_logs_for(state.version(), found.log_store().as_ref(), cutoff, None)
        .await
        .map_err(failed)?;
    Ok(())
}

fn log_store(lake: &Lake, table: &str) -> LogStoreRef {
    let (at_table, at_bucket, url) = lake.delta(table);
    default_logstore(at_table, at_bucket, &url, &StorageConfig::default())
}

fn delta(
    action: &'static str,
    table: &str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> LakeError {
    LakeError::Delta {
        action,
        table: table.to_string(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_judged_by_what_they_do() {
        let ours = br#"{"commitInfo":{}}
{"txn":{"appId":"pinflow","version":7}}
{"add":{}}"#;
        let vacuum = br#"{"commitInfo":{"operation":"VACUUM END"}}
"#;
        let optimize = br#"{"commitInfo":{"operation":"OPTIMIZE"}}
{"remove":{}}
{"add":{}}"#;
        assert_eq!(judge(ours), Entry::Ours(7));
        assert_eq!(judge(vacuum), Entry::Harmless);
        assert_eq!(judge(optimize), Entry::Foreign("by OPTIMIZE".to_string()));
        assert_eq!(
            judge(b"\x00"),
            Entry::Foreign("a log entry that is not JSON".to_string())
        );
    }
}

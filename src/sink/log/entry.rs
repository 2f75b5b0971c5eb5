//! The log entry of a commit: the actions of a checkpoint for one table, in the types of
//! deltalake-core.

use std::collections::HashMap;

use bytes::Bytes;
use deltalake_core::kernel::{Action, Add, CommitInfo, Metadata, Remove, Transaction};
use serde_json::{Value, json};

use super::{APP_ID, TableLog, delta};
use crate::checkpoint::{Checkpoint, NewTable, RemovedFile, StagedFile};
use crate::lake::LakeError;

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

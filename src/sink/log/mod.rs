//! The Delta log of one table, as its only writer sees it.
//!
//! We know the version that comes next, so a commit is one put-if-absent of
//! `_delta_log/<version>.json`. If something is there already, its content decides: our own
//! transaction (an earlier attempt, or another process that rolled the same checkpoint forward) is
//! success; an entry that changes nothing (a reader's `VACUUM` leaves such) is passed over;
//! anything else means that someone else writes the table, and we stop.

mod entry;
mod heal;
mod judge;
#[cfg(test)]
mod plain;

use crate::checkpoint::{Checkpoint, StagedFile};
use crate::lake::{Lake, LakeError, Placed, paths};
use deltalake_core::DeltaTable;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::error::Error;

use self::entry::entry;
use self::judge::{Entry, judge};

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
        let adds = || checkpoint.tables[table].adds.iter().map(|f| f.path.clone());
        let found = match &placed {
            Placed::Ours => Some(Entry::Ours(checkpoint.number, adds().collect())),
            Placed::Theirs(found) => judge(found),
        };
        log.version = Some(version);
        match found {
            // The words may differ with the version of the program, what they say may not.
            Some(Entry::Ours(number, files))
                if number == checkpoint.number && files == adds().collect::<BTreeSet<_>>() =>
            {
                log.committed = Some(number);
                return Ok(log);
            }
            None => continue,
            Some(other) => return Err(foreign(table, version, checkpoint.number - 1, other)),
        }
    }
}

/// Makes sure that no one else wrote to `table` since we did; `last` is our last checkpoint. Passes
/// over entries that change nothing.
pub(super) async fn check_untouched(
    lake: &Lake,
    table: &str,
    mut log: TableLog,
    last: u64,
) -> Result<TableLog, LakeError> {
    loop {
        let version = log.next();
        let path = paths::log_entry(table, version);
        if !lake.exists(&path).await? {
            return Ok(log);
        }
        match judge(&lake.get(&path).await?) {
            None => log.version = Some(version),
            Some(other) => return Err(foreign(table, version, last, other)),
        }
    }
}

/// What `entry` means, found where nothing was expected behind our checkpoint `last`.
fn foreign(table: &str, version: u64, last: u64, entry: Entry) -> LakeError {
    let table = table.to_string();
    match entry {
        Entry::Ours(has, _) => LakeError::TableAhead { table, has, last },
        Entry::Rearranged(by) => LakeError::Rearranged { table, version, by },
        Entry::Foreign(by) => LakeError::Foreign { table, version, by },
    }
}

/// Reads what a table is and holds; `None` if there is no such table.
pub(super) async fn load(lake: &Lake, table: &str) -> Result<Option<Loaded>, LakeError> {
    match load_once(lake, table).await {
        // Perhaps what readers are to begin with was torn by a power failure; the entries are
        // whole.
        Err(LakeError::Delta { passing: false, .. }) if heal::heal(lake, table).await? => {
            load_once(lake, table).await
        }
        loaded => loaded,
    }
}

async fn load_once(lake: &Lake, table: &str) -> Result<Option<Loaded>, LakeError> {
    let Some(mut loaded) = read(lake, table).await? else {
        return Ok(None);
    };
    // The processes of a cluster share the files out by their places, and what a log checkpoint
    // says comes in another order than what the entries say.
    loaded.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    if let (Some(version), Some(last)) = (loaded.log.version, loaded.log.committed) {
        check_last_writer(lake, table, version, last).await?;
    }
    Ok(Some(loaded))
}

async fn read(lake: &Lake, table: &str) -> Result<Option<Loaded>, LakeError> {
    #[cfg(test)]
    if lake.has_plain_delta() {
        return plain::read(lake, table).await;
    }
    apart(lake, table, "read", |lake, table| async move {
        read_apart(&lake, &table).await
    })
    .await
}

async fn read_apart(
    lake: &Lake,
    table: &str,
) -> Result<Option<Loaded>, Box<dyn Error + Send + Sync>> {
    let store = log_store(lake, table);
    if !store.is_delta_table_location().await? {
        return Ok(None);
    }
    let mut found = DeltaTable::new(store.clone());
    found.load().await?;
    let state = found.snapshot()?;
    let version = state.version();
    let txn = state.transaction_version(store.as_ref(), APP_ID).await?;
    let metadata = serde_json::to_value(state.metadata())?;
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
    Ok(Some(Loaded {
        log,
        id: text("id"),
        schema: text("schemaString"),
        files,
    }))
}

/// Lets deltalake-core do something in a task of its own, so that a panic in it is an error like
/// any other. It is worth another try if the store was away meanwhile.
async fn apart<T, F>(
    lake: &Lake,
    table: &str,
    action: &'static str,
    work: impl FnOnce(Lake, String) -> F,
) -> Result<T, LakeError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let before = lake.given_up();
    let done = lake.ask_delta(work(lake.clone(), table.to_owned()));
    let done = done.await;
    let done = done.unwrap_or_else(|panicked| Err(panicked.into()));
    done.map_err(|source| LakeError::Delta {
        action,
        table: table.to_owned(),
        source,
        passing: lake.given_up() != before,
    })
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

/// The last entry that changed any row must be ours. Entries that were cleaned away end the search:
/// then a log checkpoint was written, which is our doing too.
async fn check_last_writer(
    lake: &Lake,
    table: &str,
    version: u64,
    last: u64,
) -> Result<(), LakeError> {
    for version in (0..=version).rev() {
        let path = paths::log_entry(table, version);
        let Some(bytes) = lake.get_if_present(&path).await? else {
            break;
        };
        match judge(&bytes) {
            Some(Entry::Ours(..)) => break,
            // The rows are read from the new files, and are the same.
            None | Some(Entry::Rearranged(_)) => {}
            Some(other) => return Err(foreign(table, version, last, other)),
        }
    }
    Ok(())
}

/// Whether the log of `table` is due for a checkpoint at `version`: every [`CHECKPOINT_EVERY`]
/// versions, but not for all tables at the same one, since they get their versions together.
pub(super) fn wants_checkpoint(table: &str, version: u64) -> bool {
    let turn = table.bytes().map(u64::from).sum::<u64>();
    version > 0 && (version + turn).is_multiple_of(CHECKPOINT_EVERY)
}

/// Writes a log checkpoint of the table's present version, and removes log entries that are older
/// than the table's `delta.logRetentionDuration` before `now_ms` and that the checkpoint made
/// superfluous.
pub(super) async fn maintain(lake: &Lake, table: &str, now_ms: i64) -> Result<(), LakeError> {
    #[cfg(test)]
    if lake.has_plain_delta() {
        return plain::tidy(lake, table, now_ms).await;
    }
    apart(lake, table, "tidy the log of", |lake, table| async move {
        tidy(&lake, &table, now_ms).await
    })
    .await
}

async fn tidy(lake: &Lake, table: &str, now_ms: i64) -> Result<(), Box<dyn Error + Send + Sync>> {
    use deltalake_core::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
    use deltalake_core::table::config::TablePropertiesExt;
    let mut found = DeltaTable::new(log_store(lake, table));
    found.load().await?;
    create_checkpoint(&found, None).await?;

    let state = found.snapshot()?;
    let retention = i64::try_from(state.table_config().log_retention_duration().as_millis())
        .unwrap_or(i64::MAX);
    let cutoff = now_ms.saturating_sub(retention);
    cleanup_expired_logs_for(state.version(), found.log_store().as_ref(), cutoff, None).await?;
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
        passing: false,
    }
}

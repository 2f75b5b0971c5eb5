//! Opening a lake: what the last run left is made whole, and judged.
//!
//! Another pinflow may be at work beside us. It commits, prunes checkpoints and tidies logs while
//! we read, and what we have read then does not fit together; so whatever is found wrong is
//! believed only if the newest checkpoint stayed the same meanwhile, and else read again. Which of
//! the two may write is settled at the first commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::commit::{Changes, Committer, Recovered, TABLES_AT_ONCE, TableState, held};
use super::log::{self, Loaded, TableLog};
use crate::checkpoint::{Checkpoint, Found, Recovery, recover};
use crate::lake::{Lake, LakeError, paths};

/// How often a lake is read again that someone changes meanwhile.
const READ_AGAIN: usize = 20;

impl Committer {
    /// Opens the lake for writing: finishes what a previous process sealed and did not publish, and
    /// says where to go on; `None` for a new lake. `writer` names this run of this process, for
    /// those who find its traces.
    pub async fn open(
        lake: Lake,
        writer: String,
    ) -> Result<(Committer, Option<Recovered>), LakeError> {
        for _ in 0..READ_AGAIN {
            let numbers = checkpoint_numbers(&lake).await?;
            let newest = numbers.last().copied();
            let opened = open_at(lake.clone(), writer.clone(), numbers).await;
            let Err(error) = opened else {
                return opened;
            };
            if error.is_retryable() || checkpoint_numbers(&lake).await?.last().copied() == newest {
                return Err(error);
            }
        }
        match newest_checkpoint(&lake).await? {
            Some(theirs) => Err(held(&theirs)),
            None => Err(LakeError::Uprooted { number: 1 }),
        }
    }
}

/// Opens the lake with these checkpoints.
async fn open_at(
    lake: Lake,
    writer: String,
    mut numbers: Vec<u64>,
) -> Result<(Committer, Option<Recovered>), LakeError> {
    lake.settle_names(&[paths::CHECKPOINTS.to_owned()]).await?;
    let newest = read_newest(&lake, &mut numbers).await?;
    let mut committer = Committer {
        lake,
        writer,
        opened: Changes::default(),
        number: 0,
        touched: BTreeMap::new(),
        logs: BTreeMap::new(),
        attempted: None,
        sealed: None,
        due: Vec::new(),
        prunable: numbers.clone(),
        time_ms: 0,
    };
    let Some(checkpoint) = newest else {
        refuse_committed(&committer.lake, 1, None).await?;
        return Ok((committer, None));
    };
    let known: Vec<String> = checkpoint.touched.keys().cloned().collect();
    let logs = known.iter().map(|table| format!("{table}/_delta_log"));
    let folders: Vec<String> = logs.chain([paths::CHECKPOINTS.to_owned()]).collect();
    committer.lake.settle_names(&folders).await?;
    let mut tables = load_all(&committer.lake, known.iter().cloned()).await?;

    let mut found = Found {
        committed: committed(&tables),
        checkpoints: vec![checkpoint.clone()],
    };
    let mut decision = match recover(&found) {
        // Perhaps more than the last checkpoint is missing: look at all that are kept.
        Err(LakeError::TableBehind { .. }) => {
            found.checkpoints = read_unbroken(&committer.lake, &numbers).await?;
            match recover(&found) {
                Err(LakeError::TableBehind { table, .. }) if is_gone_view(&tables, &table) => {
                    forget_gone_views(&mut found, &tables);
                    recover(&found)?
                }
                decision => decision?,
            }
        }
        decision => decision?,
    };
    let mut rolled_forward = 0;
    let mut read_again = 0..READ_AGAIN;
    while let Recovery::FinishCommit { missing, .. } = decision {
        if read_again.next().is_none() {
            let (number, table) = missing.into_iter().next().unwrap_or_default();
            return Err(LakeError::ListedStale { table, number });
        }
        rolled_forward = rolled_forward.max(missing.len());
        let rolled = roll_forward(&committer.lake, &found.checkpoints, &missing, &tables).await;
        if let Err(LakeError::CommittedGone { table, .. }) = &rolled
            && is_gone_view(&tables, table)
        {
            forget_gone_views(&mut found, &tables);
            decision = recover(&found)?;
            continue;
        }
        rolled?;
        let again = missing.into_iter().map(|(_, table)| table);
        for (table, loaded) in load_all(&committer.lake, again).await? {
            // A store may list a log as it was before, and even as it was before it was listed the
            // last time. A run beside us may have gone on meanwhile: then a table is ahead by now.
            let known = tables.entry(table).or_default();
            if last_of(&loaded) >= last_of(known) {
                *known = loaded;
            }
        }
        found.committed = committed(&tables);
        decision = recover(&found)?;
    }
    let touched = found.checkpoints.pop().map(|last| last.touched);
    let swept = folders.into_iter().chain(known).collect::<Vec<_>>();
    committer.lake.sweep(&swept).await;

    let mut states = BTreeMap::new();
    for (table, loaded) in tables {
        // `recover` has seen that each of them is there and even.
        let Some(loaded) = loaded else { continue };
        committer.logs.insert(table.clone(), loaded.log);
        states.insert(
            table,
            TableState {
                id: loaded.id,
                schema: loaded.schema,
                files: loaded.files,
            },
        );
    }
    committer.number = checkpoint.number;
    committer.touched = touched.unwrap_or_default();
    committer.time_ms = checkpoint.time_ms;
    committer.opened = Changes {
        epoch: checkpoint.epoch,
        time_ms: checkpoint.time_ms,
        made_by: checkpoint.made_by.clone(),
        positions: checkpoint.positions.clone(),
        tables: BTreeMap::new(),
    };
    let recovered = Recovered {
        number: checkpoint.number,
        epoch: checkpoint.epoch,
        made_by: checkpoint.made_by,
        positions: checkpoint.positions,
        tables: states,
        rolled_forward,
    };
    Ok((committer, Some(recovered)))
}

/// Whether `table` is a view of which there is no log.
fn is_gone_view(tables: &BTreeMap<String, Option<Loaded>>, table: &str) -> bool {
    let mut folders = table.split('/');
    folders.next() == Some(paths::VIEWS) && tables.get(table).is_some_and(Option::is_none)
}

/// Goes on as if views that are gone had never been: their rows follow from the tables, so that the
/// next commit makes them again.
fn forget_gone_views(found: &mut Found, tables: &BTreeMap<String, Option<Loaded>>) {
    for view in tables.keys().filter(|table| is_gone_view(tables, table)) {
        tracing::warn!(
            "the Delta table `{view}` was removed from the lake: the next commit makes it again, out \
             of the tables"
        );
        found.committed.remove(view);
        for checkpoint in &mut found.checkpoints {
            checkpoint.touched.remove(view);
            checkpoint.tables.remove(view);
        }
    }
}

/// The last checkpoint that each table holds.
fn committed(tables: &BTreeMap<String, Option<Loaded>>) -> BTreeMap<String, Option<u64>> {
    let tables = tables.iter();
    tables
        .map(|(table, loaded)| (table.clone(), last_of(loaded)))
        .collect()
}

/// The last checkpoint that a table holds, as it was read.
fn last_of(loaded: &Option<Loaded>) -> Option<u64> {
    loaded.as_ref().and_then(|loaded| loaded.log.committed)
}

/// Reads the newest checkpoint. One that a power failure tore goes, if no table has acted on it:
/// its commit was promised to nobody, and the one before is the newest.
async fn read_newest(lake: &Lake, numbers: &mut Vec<u64>) -> Result<Option<Checkpoint>, LakeError> {
    while let Some(&number) = numbers.last() {
        let path = paths::checkpoint(number);
        let bytes = lake.get(&path).await?;
        let error = match Checkpoint::from_bytes(&bytes, &path) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => error,
        };
        if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
            return Err(error);
        }
        refuse_committed(lake, number, Some(error)).await?;
        tracing::warn!(
            "{path} is not whole, and no table has acted on it: it goes, and its records are read again"
        );
        lake.delete(&path).await?;
        numbers.pop();
    }
    Ok(None)
}

/// Refuses a lake in which a table holds checkpoint `number` or a later one, which is not there or
/// cannot be understood (`error`).
async fn refuse_committed(
    lake: &Lake,
    number: u64,
    error: Option<LakeError>,
) -> Result<(), LakeError> {
    let mut tables = vec![paths::DEAD_LETTERS.to_owned()];
    for folder in [paths::TABLES, paths::VIEWS] {
        let names = lake.folders(folder).await?;
        tables.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
    }
    for (table, loaded) in load_all(lake, tables.into_iter()).await? {
        let has = loaded.and_then(|loaded| loaded.log.committed);
        if let Some(has) = has.filter(|has| *has >= number) {
            let last = number - 1;
            return Err(error.unwrap_or(LakeError::TableAhead { table, has, last }));
        }
    }
    Ok(())
}

/// Gives tables the checkpoints that they lack.
async fn roll_forward(
    lake: &Lake,
    checkpoints: &[Checkpoint],
    missing: &[(u64, String)],
    tables: &BTreeMap<String, Option<Loaded>>,
) -> Result<(), LakeError> {
    let step = |number: u64| {
        let checkpoint = checkpoints.iter().find(|c| c.number == number);
        checkpoint.expect("recovery names only what it was given")
    };
    let change = |(number, table): &(u64, String)| (*number, table.clone(), step(*number));
    let steps: Vec<_> = missing.iter().map(change).collect();
    // A file that leaves its table with a later step may be gone by now.
    let leaves: BTreeSet<String> = steps
        .iter()
        .flat_map(|(_, table, step)| {
            let removes = step.tables[table].removes.iter();
            removes.map(move |file| format!("{table}/{}", file.path))
        })
        .collect();
    let adds = steps.iter().flat_map(|(number, table, step)| {
        let adds = step.tables[table].adds.iter();
        adds.map(move |file| (*number, table, format!("{table}/{}", file.path)))
    });
    let looks = adds.filter(|(_, _, path)| !leaves.contains(path)).map(
        |(number, table, path)| async move {
            let table = table.clone();
            match lake.exists(&path).await? {
                true => Ok(()),
                false => Err(LakeError::CommittedGone {
                    table,
                    path,
                    number,
                }),
            }
        },
    );
    stream::iter(looks)
        .buffer_unordered(TABLES_AT_ONCE)
        .try_collect::<()>()
        .await?;

    let mut logs: BTreeMap<&str, TableLog> = BTreeMap::new();
    for (_, table, checkpoint) in &steps {
        let known = logs.get(table.as_str()).copied();
        let loaded = || tables.get(table)?.as_ref().map(|loaded| loaded.log);
        let log = known.or_else(loaded).unwrap_or_default();
        let log = log::append(lake, table, log, checkpoint).await?;
        logs.insert(table, log);
    }
    Ok(())
}

/// The numbers of all checkpoints in the lake, sorted.
async fn checkpoint_numbers(lake: &Lake) -> Result<Vec<u64>, LakeError> {
    let names = lake.list(paths::CHECKPOINTS, None).await?;
    Ok(names
        .iter()
        .filter_map(|name| paths::checkpoint_number(name))
        .collect())
}

/// The checkpoint with this number.
pub(super) async fn read_checkpoint(lake: &Lake, number: u64) -> Result<Checkpoint, LakeError> {
    let path = paths::checkpoint(number);
    let bytes: Bytes = lake.get(&path).await?;
    Checkpoint::from_bytes(&bytes, &path)
}

/// The newest checkpoint there is.
pub(super) async fn newest_checkpoint(lake: &Lake) -> Result<Option<Checkpoint>, LakeError> {
    match checkpoint_numbers(lake).await?.last() {
        Some(number) => Ok(Some(read_checkpoint(lake, *number).await?)),
        None => Ok(None),
    }
}

/// The newest checkpoints, back to the first gap, oldest first.
async fn read_unbroken(lake: &Lake, numbers: &[u64]) -> Result<Vec<Checkpoint>, LakeError> {
    let gaps = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
    let unbroken = &numbers[gaps.map_or(0, |i| i + 1)..];
    let reads = unbroken.iter().map(|number| read_checkpoint(lake, *number));
    stream::iter(reads)
        .buffered(TABLES_AT_ONCE)
        .try_collect()
        .await
}

/// Reads tables. All of them are read to the end even if one fails, so that nothing is cut off
/// half-way.
async fn load_all(
    lake: &Lake,
    tables: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, Option<Loaded>>, LakeError> {
    let loads = tables.map(|table| async move {
        let loaded = log::load(lake, &table).await?;
        Ok((table, loaded))
    });
    let loaded: Vec<Result<_, LakeError>> = stream::iter(loads)
        .buffer_unordered(TABLES_AT_ONCE)
        .collect()
        .await;
    loaded.into_iter().collect()
}

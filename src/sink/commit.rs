//! The commit of an epoch: one put decides, the tables follow.

use super::log::{self, TableLog};
use crate::Epoch;
use crate::checkpoint::{
    Checkpoint, FORMAT, Found, MadeBy, Position, Recovery, StagedFile, TableCommit, recover,
};
use crate::lake::{Lake, LakeError, Placed, paths};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Old checkpoints that are kept, for a look back and for power failures.
const KEEP: u64 = 10;
/// Tables that are read or written at once.
const TABLES_AT_ONCE: usize = 8;

/// What becomes final together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The last epoch that `tables` holds.
    pub epoch: Epoch,
    /// Milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// What made the rows.
    pub made_by: MadeBy,
    /// Where every partition is to be read on, by `<stream>/<partition>`; all of them.
    pub positions: BTreeMap<String, Position>,
    /// By the table's path in the lake. A table that does not exist yet needs its `metadata`.
    pub tables: BTreeMap<String, TableCommit>,
}

/// What a lake held when it was opened, every table at the last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last checkpoint.
    pub number: u64,
    pub epoch: Epoch,
    pub made_by: MadeBy,
    pub positions: BTreeMap<String, Position>,
    /// Every table of the lake, by its path.
    pub tables: BTreeMap<String, TableState>,
    /// How many table commits the previous process left undone and were done now.
    pub rolled_forward: usize,
}

/// A Delta table at the last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableState {
    /// The Delta table id.
    pub id: String,
    /// The schema in Delta's JSON form; compare with [`super::delta_schema`].
    pub schema: String,
    /// The files that hold its rows.
    pub files: Vec<StagedFile>,
}

/// The one writer of a lake.
///
/// Commits in order: [`seal`](Self::seal) makes an epoch final, [`publish`](Self::publish) shows it to readers of the tables;
/// [`commit`](Self::commit) is both. When a call fails with a retryable error, make it again with the same arguments.
/// After any other error the writer must stop; a restart begins with what was sealed.
#[derive(Debug)]
pub struct Committer {
    lake: Lake,
    writer: String,
    /// The last checkpoint that is known to be in the lake; 0 for none.
    number: u64,
    /// [`Checkpoint::touched`] of the next checkpoint, before its own changes.
    touched: BTreeMap<String, u64>,
    /// Where the logs of all known tables stand.
    logs: BTreeMap<String, TableLog>,
    /// A checkpoint whose put was begun, and whose outcome is not known.
    attempted: Option<Checkpoint>,
    /// A checkpoint in the lake that some tables may not have yet.
    sealed: Option<Checkpoint>,
    /// Tables whose logs want a checkpoint.
    due: Vec<String>,
    /// Checkpoints that may be removed, oldest first.
    prunable: Vec<u64>,
    time_ms: i64,
}

impl Committer {
    /// Opens the lake for writing: finishes what a previous process sealed and did not publish, and says where to go
    /// on; `None` for a new lake. `writer` names this run of this process, for whoever finds its traces.
    pub async fn open(
        lake: Lake,
        writer: String,
    ) -> Result<(Committer, Option<Recovered>), LakeError> {
        let numbers = checkpoint_numbers(&lake).await?;
        let mut committer = Committer {
            lake,
            writer,
            number: 0,
            touched: BTreeMap::new(),
            logs: BTreeMap::new(),
            attempted: None,
            sealed: None,
            due: Vec::new(),
            prunable: numbers.clone(),
            time_ms: 0,
        };
        let Some(&last) = numbers.last() else {
            return Ok((committer, None));
        };
        let checkpoint = read_checkpoint(&committer.lake, last).await?;
        let mut tables = load_all(&committer.lake, checkpoint.touched.keys().cloned()).await?;

        let mut found = Found {
            committed: tables
                .iter()
                .map(|(t, l)| (t.clone(), l.as_ref().and_then(|l| l.log.committed)))
                .collect(),
            checkpoints: vec![checkpoint.clone()],
        };
        let decision = match recover(&found) {
            // Perhaps more than the last checkpoint is missing: look at all that are kept.
            Err(LakeError::TableBehind { .. }) => {
                found.checkpoints = read_unbroken(&committer.lake, &numbers).await?;
                recover(&found)?
            }
            decision => decision?,
        };
        let mut rolled_forward = 0;
        if let Recovery::FinishCommit { missing, .. } = decision {
            rolled_forward = missing.len();
            committer
                .roll_forward(&found.checkpoints, &missing, &tables)
                .await?;
            let again = missing.into_iter().map(|(_, table)| table);
            tables.extend(load_all(&committer.lake, again).await?);
        }
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
        committer.number = last;
        committer.touched = checkpoint.touched;
        committer.time_ms = checkpoint.time_ms;
        let recovered = Recovered {
            number: last,
            epoch: checkpoint.epoch,
            made_by: checkpoint.made_by,
            positions: checkpoint.positions,
            tables: states,
            rolled_forward,
        };
        Ok((committer, Some(recovered)))
    }

    /// The last checkpoint in the lake; 0 for none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The lake written to.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Makes `changes` final and shows them in the tables. Answers the number of the checkpoint.
    pub async fn commit(&mut self, changes: Changes) -> Result<u64, LakeError> {
        let number = self.seal(changes).await?;
        self.publish().await?;
        Ok(number)
    }

    /// Makes `changes` final: when this returns, a restart goes on after them. First publishes what was sealed before.
    pub async fn seal(&mut self, changes: Changes) -> Result<u64, LakeError> {
        self.publish().await?;
        let checkpoint = self.checkpoint(changes);
        let number = checkpoint.number;
        if self
            .attempted
            .as_ref()
            .is_some_and(|attempted| *attempted != checkpoint)
        {
            return Err(LakeError::Unfinished { number });
        }
        let unmade = |(table, change): &(&String, &TableCommit)| {
            change.metadata.is_none() && !self.touched.contains_key(*table)
        };
        if let Some((table, _)) = checkpoint.tables.iter().find(unmade) {
            return Err(LakeError::NoSchema {
                table: table.clone(),
            });
        }
        // Bytes before names: every file that the checkpoint is about to name is on disk.
        let staged = checkpoint
            .tables
            .iter()
            .flat_map(|(t, change)| change.adds.iter().map(move |f| format!("{t}/{}", f.path)));
        self.lake.sync(staged.collect()).await?;
        // Someone else's hand in a table is best found while nothing is promised.
        let logs = &self.logs;
        let lake = &self.lake;
        let checks = checkpoint.tables.keys().map(|table| async move {
            let log = logs.get(table).copied().unwrap_or_default();
            Ok::<_, LakeError>((table.clone(), log::check_untouched(lake, table, log).await?))
        });
        let checked: Vec<_> = stream::iter(checks)
            .buffer_unordered(TABLES_AT_ONCE)
            .try_collect()
            .await?;
        self.logs.extend(checked);

        let path = paths::checkpoint(number);
        self.attempted = Some(checkpoint);
        let bytes = self.attempted.as_ref().expect("it was just set").to_bytes();
        if let Placed::Theirs(found) = self.lake.put_if_absent(&path, bytes.into()).await? {
            self.attempted = None;
            return Err(held(&Checkpoint::from_bytes(&found, &path)?));
        }
        self.check_newest(number).await?;
        self.lake.sync(vec![path]).await?;
        // From here on the epoch is final, whatever happens.
        let checkpoint = self.attempted.take().expect("it was set before the put");
        self.number = number;
        self.touched = checkpoint.touched.clone();
        self.time_ms = checkpoint.time_ms;
        self.prunable.push(number);
        self.sealed = Some(checkpoint);
        Ok(number)
    }

    /// Brings the tables to the last sealed checkpoint. Does nothing where that is done.
    pub async fn publish(&mut self) -> Result<(), LakeError> {
        let Some(checkpoint) = &self.sealed else {
            return Ok(());
        };
        let (lake, logs) = (&self.lake, &self.logs);
        let appends = checkpoint.tables.keys().map(|table| async move {
            let log = logs.get(table).copied().unwrap_or_default();
            (
                table.clone(),
                log::append(lake, table, log, checkpoint).await,
            )
        });
        let done: Vec<_> = stream::iter(appends)
            .buffer_unordered(TABLES_AT_ONCE)
            .collect()
            .await;
        let mut entries = Vec::new();
        let mut failed = None;
        for (table, result) in done {
            match result {
                Ok(log) => {
                    let version = log
                        .version
                        .expect("a table that took a checkpoint has a version");
                    entries.push(paths::log_entry(&table, version));
                    if log::wants_checkpoint(&table, version) && !self.due.contains(&table) {
                        self.due.push(table.clone());
                    }
                    self.logs.insert(table, log);
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.lake.sync(entries).await?;
        self.sealed = None;
        Ok(())
    }

    /// Writes the Delta log checkpoints that are due, and removes old log entries and old checkpoints of the lake.
    ///
    /// Nothing depends on it but the speed of readers and the number of files, so it may run beside later commits,
    /// and when it fails the next turn does the work. The future borrows nothing.
    pub fn tidy(&mut self) -> impl Future<Output = Result<(), LakeError>> + Send + use<> {
        let lake = self.lake.clone();
        let due = std::mem::take(&mut self.due);
        let now_ms = self.time_ms;
        let kept_from = (self.number + 1).saturating_sub(KEEP);
        let old = self.prunable.iter().take_while(|n| **n < kept_from).count();
        // While a checkpoint is not published, nothing before it may be needed by anyone but a reader of this list.
        let old: Vec<u64> = self.prunable.drain(..old).collect();
        async move {
            for number in old {
                lake.delete(&paths::checkpoint(number)).await?;
            }
            for table in due {
                log::maintain(&lake, &table, now_ms).await?;
            }
            Ok(())
        }
    }

    /// The checkpoint that `changes` make, after the last.
    fn checkpoint(&self, changes: Changes) -> Checkpoint {
        let number = self.number + 1;
        let mut touched = self.touched.clone();
        touched.extend(changes.tables.keys().map(|table| (table.clone(), number)));
        Checkpoint {
            format: FORMAT,
            number,
            epoch: changes.epoch,
            time_ms: changes.time_ms,
            writer: self.writer.clone(),
            made_by: changes.made_by,
            positions: changes.positions,
            tables: changes.tables,
            touched,
        }
    }

    /// After our put of `number`: it must be the newest. Where it is not, we slept so long that another writer took the
    /// lake, went on, and pruned the checkpoint whose place we just took; then ours means nothing and goes.
    async fn check_newest(&self, number: u64) -> Result<(), LakeError> {
        let ours = paths::checkpoint(number);
        let name = &ours[paths::CHECKPOINTS.len() + 1..];
        let later = self.lake.list(paths::CHECKPOINTS, Some(name)).await?;
        match later
            .iter()
            .filter_map(|name| paths::checkpoint_number(name))
            .next_back()
        {
            None => Ok(()),
            Some(newest) => {
                let theirs = read_checkpoint(&self.lake, newest).await?;
                self.lake.delete(&ours).await?;
                Err(held(&theirs))
            }
        }
    }

    async fn roll_forward(
        &self,
        checkpoints: &[Checkpoint],
        missing: &[(u64, String)],
        tables: &BTreeMap<String, Option<log::Loaded>>,
    ) -> Result<(), LakeError> {
        let mut logs: BTreeMap<&str, TableLog> = BTreeMap::new();
        let mut entries = Vec::new();
        for (number, table) in missing {
            let checkpoint = checkpoints
                .iter()
                .find(|c| c.number == *number)
                .expect("recovery names only what it was given");
            let known = logs.get(table.as_str()).copied();
            let log = known
                .or_else(|| tables.get(table)?.as_ref().map(|l| l.log))
                .unwrap_or_default();
            let log = log::append(&self.lake, table, log, checkpoint).await?;
            entries.push(paths::log_entry(
                table,
                log.version.expect("it was just written"),
            ));
            logs.insert(table, log);
        }
        self.lake.sync(entries).await
    }
}

fn held(by: &Checkpoint) -> LakeError {
    LakeError::Held {
        holder: by.writer.clone(),
        number: by.number,
        at_ms: by.time_ms,
    }
}

/// The numbers of all checkpoints in the lake, sorted.
async fn checkpoint_numbers(lake: &Lake) -> Result<Vec<u64>, LakeError> {
    let names = lake.list(paths::CHECKPOINTS, None).await?;
    Ok(names
        .iter()
        .filter_map(|name| paths::checkpoint_number(name))
        .collect())
}

async fn read_checkpoint(lake: &Lake, number: u64) -> Result<Checkpoint, LakeError> {
    let path = paths::checkpoint(number);
    Checkpoint::from_bytes(&lake.get(&path).await?, &path)
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

async fn load_all(
    lake: &Lake,
    tables: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, Option<log::Loaded>>, LakeError> {
    let loads = tables.map(|table| async move {
        let loaded = log::load(lake, &table).await?;
        Ok::<_, LakeError>((table, loaded))
    });
    stream::iter(loads)
        .buffer_unordered(TABLES_AT_ONCE)
        .try_collect()
        .await
}

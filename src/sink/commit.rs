//! The commit of an epoch: one put decides, the tables follow.
//!
//! A checkpoint without changes is a fence: it takes the place that a checkpoint of a run that died
//! might still come to.

use super::log::{self, TableLog};
use super::open::{newest_checkpoint, read_checkpoint};
use crate::Epoch;
use crate::checkpoint::{Checkpoint, FORMAT, MadeBy, Position, StagedFile, TableCommit};
use crate::lake::{Lake, LakeError, Placed, paths};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Old checkpoints that are kept, for a look back and for power failures.
const KEEP: u64 = 10;
/// Tables that are read or written at once.
pub(super) const TABLES_AT_ONCE: usize = 8;
/// Age in milliseconds from which a staged file is looked for before it is committed.
const STAGED_LONG_MS: i64 = 60_000;

/// What becomes final together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
/// Commits in order: [`seal`](Self::seal) makes an epoch final, [`publish`](Self::publish) shows it
/// to readers of the tables; [`commit`](Self::commit) is both. When a call fails with a retryable
/// error, make it again with the same arguments. After any other error the writer must stop; a
/// restart begins with what was sealed.
#[derive(Debug)]
pub struct Committer {
    pub(super) lake: Lake,
    pub(super) writer: String,
    /// What the last checkpoint said when the lake was opened, without its changes.
    pub(super) opened: Changes,
    /// The last checkpoint that is known to be in the lake; 0 for none.
    pub(super) number: u64,
    /// [`Checkpoint::touched`] of the next checkpoint, before its own changes.
    pub(super) touched: BTreeMap<String, u64>,
    /// Where the logs of all known tables stand.
    pub(super) logs: BTreeMap<String, TableLog>,
    /// A checkpoint whose put was begun, and whose outcome is not known.
    pub(super) attempted: Option<Checkpoint>,
    /// A checkpoint in the lake that some tables may not have yet.
    pub(super) sealed: Option<Checkpoint>,
    /// Tables whose logs want a checkpoint.
    pub(super) due: Vec<String>,
    /// Checkpoints that may be removed, oldest first.
    pub(super) prunable: Vec<u64>,
    pub(super) time_ms: i64,
}

impl Checkpoint {
    /// Whether it is these changes that it makes final.
    fn is_of(&self, changes: &Changes) -> bool {
        (self.epoch, self.time_ms) == (changes.epoch, changes.time_ms)
            && self.positions == changes.positions
            && self.tables == changes.tables
    }
}

impl Committer {
    /// The last checkpoint in the lake; 0 for none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The lake written to.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Makes `changes` final and shows them in the tables. Answers the number of the checkpoint.
    ///
    /// When it is called again because publishing failed, the changes are final already, and are
    /// not made final a second time.
    pub async fn commit(&mut self, changes: Changes) -> Result<u64, LakeError> {
        let sealed = self.sealed.as_ref().filter(|sealed| sealed.is_of(&changes));
        let number = match sealed.map(|sealed| sealed.number) {
            Some(number) => number,
            None => self.seal(changes).await?,
        };
        self.publish().await?;
        Ok(number)
    }

    /// Makes `changes` final: when this returns, a restart goes on after them. First publishes what
    /// was sealed before.
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
        // Bytes before names: every file that the checkpoint is about to name is there to stay.
        self.find_staged(&checkpoint).await?;
        // Someone else's hand in a table is best found while nothing is promised.
        let (lake, logs, last) = (&self.lake, &self.logs, self.number);
        let checks = checkpoint.tables.keys().map(|table| async move {
            let log = logs.get(table).copied().unwrap_or_default();
            let log = log::check_untouched(lake, table, log, last).await?;
            Ok::<_, LakeError>((table.clone(), log))
        });
        let checked: Result<Vec<_>, _> = stream::iter(checks)
            .buffer_unordered(TABLES_AT_ONCE)
            .try_collect()
            .await;
        match checked {
            Ok(checked) => self.logs.extend(checked),
            Err(error) => return Err(self.rival_or(error).await),
        }

        let path = paths::checkpoint(number);
        self.attempted = Some(checkpoint);
        let bytes = self.attempted.as_ref().expect("it was just set").to_bytes();
        if let Placed::Theirs(found) = self.lake.put_if_absent(&path, bytes.into()).await? {
            self.attempted = None;
            return Err(held(&Checkpoint::from_bytes(&found, &path)?));
        }
        if let Some(theirs) = self.newest_behind(number).await? {
            self.lake.delete(&path).await?;
            self.attempted = None;
            return Err(held(&theirs));
        }
        // From here on the epoch is final, whatever happens.
        let checkpoint = self.attempted.take().expect("it was set before the put");
        self.number = number;
        self.touched = checkpoint.touched.clone();
        self.time_ms = checkpoint.time_ms;
        self.prunable.push(number);
        self.sealed = Some(checkpoint);
        Ok(number)
    }

    /// Puts the next checkpoint, at `now_ms`, with nothing changed since the lake was opened. Answers
    /// its number.
    ///
    /// A run that died may have had a checkpoint on its way, and whatever it names that is no data
    /// file (`crate::archive`) must stay until that cannot be applied any more: when this returns,
    /// its place is taken. Where a fence took it, of another process or of a run that died, ours is
    /// put behind it. All processes of a cluster may fence at once: whichever of their fences is
    /// the newest, each stays where it was put.
    pub async fn fence(&mut self, now_ms: i64) -> Result<u64, LakeError> {
        loop {
            let fence = self.checkpoint(Changes {
                time_ms: now_ms,
                ..self.opened.clone()
            });
            let path = paths::checkpoint(fence.number);
            let placed = self
                .lake
                .put_if_absent(&path, fence.to_bytes().into())
                .await?;
            let (newest, is_ours) = match placed {
                Placed::Ours => (self.newest_behind(fence.number).await?, true),
                Placed::Theirs(found) => (Some(Checkpoint::from_bytes(&found, &path)?), false),
            };
            // Ours stays also where a rival has gone on: perhaps it did so from ours, and the place
            // must not become free again.
            if let Some(rival) = newest.filter(|newest| !self.is_fence(newest)) {
                return Err(held(&rival));
            }
            self.pass(fence.number);
            if is_ours {
                return Ok(fence.number);
            }
        }
    }

    /// Whether `checkpoint`, which came since the lake was opened, changed nothing.
    fn is_fence(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.tables.is_empty() && checkpoint.epoch == self.opened.epoch
    }

    /// The checkpoints up to `number` that came since the lake was opened are fences of processes
    /// that this one works with: it goes on behind them.
    pub fn pass(&mut self, number: u64) {
        self.prunable.extend(self.number + 1..=number);
        self.number = self.number.max(number);
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
        let mut failed = None;
        for (table, result) in done {
            match result {
                Ok(log) => {
                    let version = log
                        .version
                        .expect("a table that took a checkpoint has a version");
                    if log::wants_checkpoint(&table, version) && !self.due.contains(&table) {
                        self.due.push(table.clone());
                    }
                    self.logs.insert(table, log);
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(self.rival_or(error).await);
        }
        self.sealed = None;
        Ok(())
    }

    /// Writes the Delta log checkpoints that are due, and removes old log entries and old
    /// checkpoints of the lake.
    ///
    /// Nothing depends on it but the speed of readers and the number of files, so it may run beside
    /// later commits, and when it fails the next turn does the work. The future borrows nothing.
    pub fn tidy(&mut self) -> impl Future<Output = Result<(), LakeError>> + Send + use<> {
        let lake = self.lake.clone();
        let due = std::mem::take(&mut self.due);
        let now_ms = self.time_ms;
        let kept_from = (self.number + 1).saturating_sub(KEEP);
        let old = self.prunable.iter().take_while(|n| **n < kept_from).count();
        // While a checkpoint is not published, nothing before it may be needed by anyone but a
        // reader of this list.
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

    /// Looks for the data files that `checkpoint` adds: someone may have removed what no table
    /// names yet.
    async fn find_staged(&self, checkpoint: &Checkpoint) -> Result<(), LakeError> {
        let adds = |since: i64| {
            let tables = checkpoint.tables.iter();
            let added = tables.flat_map(|(table, c)| c.adds.iter().map(move |add| (table, add)));
            let added = added.filter(move |(_, add)| add.modified_ms <= since);
            added.map(|(table, add)| format!("{table}/{}", add.path))
        };
        if self.lake.is_local() {
            let all: Vec<String> = adds(i64::MAX).collect();
            return self.lake.settle(&all).await;
        }
        // Behind a network every look is a request; who removes files takes those that have been
        // there for a while.
        let looks = adds(checkpoint.time_ms - STAGED_LONG_MS).map(async |path| {
            match self.lake.exists(&path).await? {
                true => Ok(()),
                false => Err(LakeError::Vanished { path }),
            }
        });
        stream::iter(looks)
            .buffer_unordered(TABLES_AT_ONCE)
            .try_collect()
            .await
    }

    /// After our put of `number`: the newest checkpoint, if it is a later one. Then we slept so long
    /// that another writer took the lake, went on, and pruned the checkpoint whose place we just
    /// took: a commit of ours means nothing and must go. Where there is no later one, and the one
    /// before is gone, which nobody prunes, the lake was removed behind our back, and ours goes.
    async fn newest_behind(&self, number: u64) -> Result<Option<Checkpoint>, LakeError> {
        let before = paths::checkpoint(number.saturating_sub(2));
        let after = &before[paths::CHECKPOINTS.len() + 1..];
        let names = self.lake.list(paths::CHECKPOINTS, Some(after)).await?;
        let numbers = names
            .iter()
            .filter_map(|name| paths::checkpoint_number(name));
        let numbers: Vec<u64> = numbers.collect();
        if let Some(newest) = numbers.last().filter(|newest| **newest > number) {
            return read_checkpoint(&self.lake, *newest).await.map(Some);
        }
        let known = number == 1 || numbers.contains(&(number - 1));
        // A list may be of some time ago.
        if !known && !self.lake.exists(&paths::checkpoint(number - 1)).await? {
            self.lake.delete(&paths::checkpoint(number)).await?;
            return Err(LakeError::Uprooted { number: number - 1 });
        }
        Ok(None)
    }

    /// What `error` means: a table that is ahead of us has got a checkpoint of another writer, if
    /// there is one.
    async fn rival_or(&self, error: LakeError) -> LakeError {
        if !matches!(error, LakeError::TableAhead { .. }) {
            return error;
        }
        match newest_checkpoint(&self.lake).await {
            Ok(Some(theirs)) if theirs.number > self.number => held(&theirs),
            Ok(Some(theirs)) if theirs.writer != self.writer => held(&theirs),
            Ok(_) => error,
            Err(unknown) => unknown,
        }
    }
}

pub(super) fn held(by: &Checkpoint) -> LakeError {
    LakeError::Held {
        holder: by.writer.clone(),
        number: by.number,
        at_ms: by.time_ms,
    }
}

//! How the run is: derived from facts at the moment somebody asks, and never set.
//!
//! The status knows epochs, commits and what is being loaded. The parts of the run that may be in
//! trouble (the lake, the source, the gateway) are asked through [`Status::check`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

use serde::Serialize;

use super::{Commit, Status};
use crate::delta::Epoch;
use crate::serve::format::grouped;

/// Without a closed epoch for so long, something is stuck.
const STUCK_MS: u64 = 30_000;
/// A commit is overdue when so many intervals have passed since something was read that it should
/// hold, and this on top.
const OVERDUE_INTERVALS: u64 = 3;
const OVERDUE_MS: u64 = 2_000;

/// How the run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Health {
    /// It loads what the lake holds, and cannot answer for views yet: how far it is.
    Starting(String),
    /// All is well.
    Healthy,
    /// Something is away, stuck or wrong: a sentence says what.
    Ailing(String),
    /// It commits what it has and ends.
    Stopping,
}

/// What a part of the run answers when it is asked how it is, and is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Something is away, stuck or wrong.
    Ailing(String),
    /// The run is to end.
    Stopping,
}

type Check = Box<dyn Fn() -> Option<Complaint> + Send + Sync>;

/// Those who are asked.
#[derive(Default)]
pub(super) struct Checks(RwLock<Vec<Check>>);

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checks")
    }
}

/// What is loaded before views can be answered, in this process.
#[derive(Debug, Default)]
pub(super) struct Loading {
    files: AtomicU64,
    files_total: AtomicU64,
    rows: AtomicU64,
    rows_total: AtomicU64,
}

impl Loading {
    pub(super) fn expect(&self, files: u64, rows: u64) {
        self.files_total.fetch_add(files, Relaxed);
        self.rows_total.fetch_add(rows, Relaxed);
    }

    pub(super) fn loaded(&self, rows: u64) {
        self.files.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
    }

    fn progress(&self) -> String {
        let (files, files_total) = (self.files.load(Relaxed), self.files_total.load(Relaxed));
        if files_total == 0 {
            "it is starting: the lake and the source are being opened".to_owned()
        } else if files < files_total {
            format!(
                "it is starting: {} of {} rows are loaded, from {} of {} files",
                grouped(self.rows.load(Relaxed)),
                grouped(self.rows_total.load(Relaxed)),
                grouped(files),
                grouped(files_total)
            )
        } else {
            format!(
                "it is starting: all {} rows are loaded, and the views are being computed",
                grouped(self.rows.load(Relaxed))
            )
        }
    }
}

/// What was read and is not in the lake yet.
#[derive(Debug, Default)]
pub(super) struct Uncommitted {
    /// The last epoch in which something was read.
    read: Epoch,
    /// Since when something waits to be committed.
    since_ms: Option<u64>,
}

impl Uncommitted {
    pub(super) fn read(&mut self, epoch: Epoch, now_ms: u64) {
        self.read = self.read.max(epoch);
        self.since_ms.get_or_insert(now_ms);
    }

    pub(super) fn committed(&mut self, commit: &Commit) {
        // What came since then has been waiting since the commit began, at most.
        let began_ms = commit.when_ms.saturating_sub(commit.duration_ms);
        self.since_ms = (self.read > commit.epoch).then_some(began_ms);
    }
}

impl Status {
    /// Asks `check` from now on when somebody wants to know how the run is. It must not wait for
    /// anything.
    pub fn check(&self, check: impl Fn() -> Option<Complaint> + Send + Sync + 'static) {
        let mut checks = self
            .checks
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        checks.push(Box::new(check));
    }

    /// Whether views can be answered: the state is loaded, and an epoch has been published.
    pub fn is_loaded(&self) -> bool {
        self.closed_ms.load(Relaxed) > 0
    }

    /// How far it is on the way there.
    pub fn loading(&self) -> String {
        self.loading.progress()
    }

    /// How the run is at this moment.
    pub fn health(&self, now_ms: u64) -> Health {
        let checks = self.checks.0.read().unwrap_or_else(PoisonError::into_inner);
        let complaints: Vec<Complaint> = checks.iter().filter_map(|check| check()).collect();
        drop(checks);
        let stopping = complaints.contains(&Complaint::Stopping);
        let ailing = complaints
            .into_iter()
            .find_map(|complaint| match complaint {
                Complaint::Ailing(why) => Some(why),
                Complaint::Stopping => None,
            });
        match ailing {
            Some(why) => Health::Ailing(why),
            None if stopping => Health::Stopping,
            None if !self.is_loaded() => Health::Starting(self.loading()),
            None => self.overdue(now_ms).map_or(Health::Healthy, Health::Ailing),
        }
    }

    /// What should have happened by now.
    fn overdue(&self, now_ms: u64) -> Option<String> {
        let age = now_ms.saturating_sub(self.closed_ms.load(Relaxed));
        if age > STUCK_MS {
            return Some(format!("no epoch has closed for {} s", age / 1000));
        }
        let waiting = now_ms.saturating_sub(self.seldom().uncommitted.since_ms?);
        let patience = OVERDUE_INTERVALS * self.run.commit_every_ms + OVERDUE_MS;
        (waiting > patience).then(|| {
            format!(
                "nothing was committed for {} s, although records were read",
                waiting / 1000
            )
        })
    }
}

impl Health {
    /// Why the run is not well, if it is not.
    pub fn complaint(&self) -> Option<&str> {
        match self {
            Health::Healthy => None,
            Health::Starting(why) | Health::Ailing(why) => Some(why),
            Health::Stopping => Some("it is stopping: what was read is being committed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use super::super::RunDescription;
    use super::*;

    fn status() -> Status {
        let run = RunDescription {
            source: "emulator:".to_owned(),
            lake: "./lake".to_owned(),
            workers: 2,
            commit_every_ms: 10_000,
        };
        Status::new(run, &["pin"], 1_000_000)
    }

    fn said(status: &Status, now_ms: u64) -> String {
        status.health(now_ms).complaint().unwrap_or("ok").to_owned()
    }

    fn commit(epoch: Epoch, when_ms: u64) -> Commit {
        Commit {
            number: 1,
            epoch,
            when_ms,
            duration_ms: 100,
            files: 1,
            bytes: 1,
        }
    }

    #[test]
    fn a_run_that_loads_says_how_far_it_is() {
        let status = status();
        assert_eq!(
            said(&status, 1_000_000),
            "it is starting: the lake and the source are being opened"
        );
        status.to_load(2, 5000);
        status.loaded(1500);
        assert_eq!(
            said(&status, 1_000_000),
            "it is starting: 1,500 of 5,000 rows are loaded, from 1 of 2 files"
        );
        status.loaded(3500);
        assert_eq!(
            said(&status, 1_000_000),
            "it is starting: all 5,000 rows are loaded, and the views are being computed"
        );
        status.closed(1, 1_000_500);
        assert_eq!(said(&status, 1_001_000), "ok");
    }

    #[test]
    fn a_run_is_well_while_epochs_close() {
        let status = status();
        status.closed(1, 1_050_000);
        assert_eq!(said(&status, 1_080_000), "ok");
        assert_eq!(said(&status, 1_081_000), "no epoch has closed for 31 s");
    }

    #[test]
    fn what_was_read_must_be_committed_within_three_intervals() {
        let status = status();
        let at = |now_ms| {
            status.closed(1, now_ms);
            said(&status, now_ms)
        };
        assert_eq!(at(1_100_000), "ok", "nothing was read");
        status.to_commit(5, 1_100_000);
        status.to_commit(6, 1_110_000);
        assert_eq!(at(1_132_000), "ok");
        assert_eq!(
            at(1_132_001),
            "nothing was committed for 32 s, although records were read"
        );
        status.committed(commit(5, 1_140_000));
        assert_eq!(at(1_171_000), "ok", "epoch 6 waits since the commit began");
        assert_ne!(at(1_172_000), "ok");
        status.committed(commit(6, 1_172_000));
        assert_eq!(at(1_300_000), "ok");
    }

    #[test]
    fn what_a_part_complains_about_comes_first_and_goes_when_it_does() {
        let status = status();
        status.closed(1, 1_000_000);
        let complaint = Arc::new(Mutex::new(None));
        let asked = Arc::clone(&complaint);
        status.check(|| None);
        status.check(move || asked.lock().unwrap().clone());
        assert_eq!(said(&status, 1_000_000), "ok");
        *complaint.lock().unwrap() = Some(Complaint::Ailing("the lake is away".to_owned()));
        assert_eq!(said(&status, 1_000_000), "the lake is away");
        status.check(|| Some(Complaint::Stopping));
        assert_eq!(said(&status, 1_000_000), "the lake is away");
        *complaint.lock().unwrap() = None;
        assert_eq!(status.health(1_000_000), Health::Stopping);
    }
}

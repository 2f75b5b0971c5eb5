//! What is drawn for a history: what its lives have in common, how each of them goes, and what fails
//! meanwhile.

use std::time::Duration;

use super::chance::Chance;
use super::history::BEGAN_MS;
use super::process::Settings;
use super::store::Rates;
use crate::archive::ArchiveOptions;
use crate::reclock::IntakeLimits;

/// More requests and answers than there are from a checkpoint to the last of its tables.
const COMMIT_OPERATIONS: u64 = 14;

/// Where a life is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// After so many steps.
    AtStep(u64),
    /// In a commit: so many requests and answers after its checkpoint was sent, and some steps.
    InCommit {
        commit: u64,
        operations: u64,
        steps: u64,
    },
}

/// What all lives of a history have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    /// Whether deltalake-core reads and tidies logs, or its plain twin.
    pub(super) library: bool,
    /// Whether a raw archive is kept.
    pub(super) archive: bool,
    /// Whether commits come thick and fast and days pass between lives, so that log entries
    /// expire.
    pub(super) days: bool,
}

impl Common {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        Common {
            library: chance.once_in(50),
            archive: chance.once_in(4),
            days: chance.once_in(12),
        }
    }

    /// How a life goes in which all goes well.
    pub(super) fn settings(&self, chance: &mut Chance) -> Settings {
        let processes = if chance.once_in(5) {
            2 + chance.small(2)
        } else {
            1
        };
        let archive = self.archive.then(|| ArchiveOptions {
            roll_bytes: 100 + chance.below(2000) as usize,
            roll_records: 1 + chance.below(40),
            roll_ms: 1 + chance.below(300) as i64,
            open_bytes: 300 + chance.below(4000) as usize,
        });
        let (tick, commit_every) = match self.days {
            true => (chance.below(3), chance.below(8)),
            false => (chance.below(80), 4 + chance.below(100)),
        };
        Settings {
            processes: processes as usize,
            workers: 1 + chance.small(4 - processes) as usize,
            tick: Duration::from_millis(1 + tick),
            commit_every: Duration::from_millis(1 + commit_every),
            limits: IntakeLimits {
                chunk_bytes: 1 << 10,
                epoch_bytes: 50 + chance.below(2000),
                budget_bytes: 200 + chance.below(4000),
            },
            bounded: true,
            source_fails: 0,
            sleepy: 2 + chance.below(20),
            run_id: chance.next(),
            began_ms: BEGAN_MS + chance.below(20_000) as i64 - 10_000,
            archive,
            library: self.library,
        }
    }

    /// Where a life dies. Many die early: in the middle of a recovery there is the most to go
    /// wrong. More die in the middle of a commit.
    pub(super) fn death(&self, chance: &mut Chance) -> Death {
        if chance.below(5) < 2 {
            let magnitude = chance.below(12);
            return Death::AtStep(chance.below(1 << magnitude));
        }
        let commits = if self.days { 20 } else { 3 };
        Death::InCommit {
            commit: 1 + chance.small(commits),
            operations: chance.below(COMMIT_OPERATIONS),
            steps: chance.below(3),
        }
    }
}

impl Rates {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let mut rate = || {
            if chance.below(2) == 0 {
                0
            } else {
                3 + chance.below(60)
            }
        };
        Rates {
            refused: rate(),
            answer_lost: rate(),
            late: rate(),
            cut: rate(),
            stale: rate(),
            slowest: 1 + chance.below(40),
        }
    }
}

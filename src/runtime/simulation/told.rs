//! What histories came to.

use std::ops::AddAssign;

/// What a history came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// A hash of all that happened, step by step.
    pub(super) trace: u64,
    pub(super) steps: u64,
    pub(super) lives: u64,
    /// Those of several processes.
    pub(super) clusters: u64,
    /// Those with a raw archive.
    pub(super) archives: u64,
    pub(super) checkpoints: u64,
    /// Lives that were ended by a kill.
    pub(super) killed: u64,
    /// Of these, deaths between a checkpoint and the last of its tables.
    pub(super) unfinished: u64,
    /// Clusters of which one process died alone.
    pub(super) bereft: u64,
    /// Lives that stopped because another one had the lake.
    pub(super) rivals: u64,
    /// Log entries that expired.
    pub(super) expired: u64,
    /// How often readers looked at the live views.
    pub(super) looks: u64,
}

impl AddAssign for Told {
    fn add_assign(&mut self, other: Told) {
        self.trace ^= other.trace;
        self.steps += other.steps;
        self.lives += other.lives;
        self.clusters += other.clusters;
        self.archives += other.archives;
        self.checkpoints += other.checkpoints;
        self.killed += other.killed;
        self.unfinished += other.unfinished;
        self.bereft += other.bereft;
        self.rivals += other.rivals;
        self.expired += other.expired;
        self.looks += other.looks;
    }
}

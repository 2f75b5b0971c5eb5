//! How epochs and commits follow each other in time.
//!
//! The clock of the dataflow (`render::clock`) asks, and carries the answer to all workers; here is what the answer depends on.
//!
//! # Invariants
//! 1. An epoch is over when its tick is, or earlier when it is full.
//! 2. A commit ends with an epoch, and only if something was taken in since the last one began; while one is under way no other begins. (The commit when the
//!    sources are at their end is the clock's own.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::delta::Epoch;
use crate::host::Host;
use crate::reclock::Intake;
use crate::render::{Closed, EpochClock};
use crate::serve::status::Status;

/// When epochs and commits end.
pub(super) struct Pace {
    /// How long an epoch stays open.
    tick: Duration,
    /// The time between commits.
    commit_every: Duration,
    intake: Arc<Intake>,
    status: Arc<Status>,
    host: Arc<dyn Host>,
    /// The epoch of the last commit that is in the lake.
    committed: Arc<AtomicU64>,
    state: Mutex<State>,
}

/// What was decided last.
struct State {
    /// When the open epoch was opened.
    tick_started: Instant,
    /// When an epoch last ended a commit.
    commit_started: Instant,
    /// The commit that is under way.
    pending: Option<Epoch>,
    /// Whether anything was taken in since the last commit began.
    changed: bool,
}

impl Pace {
    /// The first tick and the time until the first commit begin now.
    pub(super) fn new(
        tick: Duration,
        commit_every: Duration,
        intake: Arc<Intake>,
        status: Arc<Status>,
        host: Arc<dyn Host>,
        committed: Arc<AtomicU64>,
    ) -> Pace {
        let now = host.instant();
        Pace {
            tick,
            commit_every,
            intake,
            status,
            host,
            committed,
            state: Mutex::new(State {
                tick_started: now,
                commit_started: now,
                pending: None,
                changed: false,
            }),
        }
    }
}

impl EpochClock for Pace {
    fn decide(&self) -> Option<Closed> {
        let (epoch, full, bytes) = self.intake.open();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.host.instant();
        let due = now.duration_since(state.tick_started) >= self.tick;
        if !(due || full) {
            return None;
        }
        state.tick_started = now;
        state.changed |= bytes > 0;
        if state
            .pending
            .is_some_and(|pending| self.committed.load(Ordering::SeqCst) >= pending)
        {
            state.pending = None;
        }
        let commit = state.changed
            && state.pending.is_none()
            && now.duration_since(state.commit_started) >= self.commit_every;
        if commit {
            state.commit_started = now;
            state.pending = Some(epoch);
            state.changed = false;
        }
        self.status.opened(epoch + 1);
        // Chunks that are claimed from here on belong to the next epoch, in this process; the others hear of it through the dataflow.
        self.intake.advance_to(epoch + 1);
        Some(Closed { epoch, commit })
    }

    fn advance_to(&self, epoch: Epoch) {
        self.intake.advance_to(epoch);
    }

    fn open(&self) -> Epoch {
        self.intake.open().0
    }
}

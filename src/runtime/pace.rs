//! How epochs and commits follow each other in time.
//!
//! The clock of the dataflow (`render::clock`) asks, and carries the answer to all workers; here is
//! what the answer depends on.
//!
//! # Invariants
//! 1. An epoch is over when its tick is, or earlier when it is full.
//! 2. A commit ends with an epoch, and only if something was read, in any process, that no commit
//!    holds; while one is under way no other begins. (The commit when the sources are at their end
//!    is the clock's own.)
//! 3. A chunk that is heard of after its epoch was closed still brings about a commit, unless its
//!    epoch was part of one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
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
    outcome: Outcome,
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
    /// The last epoch that ended a commit.
    boundary: Epoch,
    /// The last epoch in which something was read.
    read: Epoch,
    /// The epoch that the lake had at the start.
    restored: Epoch,
    /// Whether the other processes were asked to stop.
    stopped: bool,
}

impl Pace {
    /// The first tick and the time until the first commit begin now; the lake holds the epochs up
    /// to `committed`.
    pub(super) fn new(
        tick: Duration,
        commit_every: Duration,
        intake: Arc<Intake>,
        status: Arc<Status>,
        outcome: Outcome,
        host: Arc<dyn Host>,
        committed: Arc<AtomicU64>,
    ) -> Pace {
        let now = host.instant();
        let boundary = committed.load(Ordering::SeqCst);
        Pace {
            tick,
            commit_every,
            intake,
            status,
            outcome,
            host,
            committed,
            state: Mutex::new(State {
                tick_started: now,
                commit_started: now,
                pending: None,
                boundary,
                read: boundary,
                restored: boundary,
                stopped: false,
            }),
        }
    }

    /// Notes that some process read something in `epoch`.
    pub(super) fn read(&self, epoch: Epoch) {
        let mut state = self.state();
        state.read = state.read.max(epoch);
    }

    /// Whether anything was read that no commit of an earlier run holds.
    pub(super) fn has_read(&self) -> bool {
        let state = self.state();
        state.read > state.restored
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EpochClock for Pace {
    fn decide(&self) -> Option<Closed> {
        let mut state = self.state();
        let now = self.host.instant();
        let stop = self.outcome.is_stopping();
        let due = now.duration_since(state.tick_started) >= self.tick || (stop && !state.stopped);
        // Chunks that are claimed from here on belong to the next epoch, in this process; the
        // others hear of it through the dataflow.
        let epoch = self.intake.close(due)?;
        self.status.opened(epoch + 1);
        state.tick_started = now;
        state.stopped = stop;
        let committed = self.committed.load(Ordering::SeqCst);
        state.pending = state.pending.filter(|pending| *pending > committed);
        let commit = state.read > state.boundary
            && state.pending.is_none()
            && now.duration_since(state.commit_started) >= self.commit_every;
        if commit {
            state.commit_started = now;
            state.pending = Some(epoch);
            state.boundary = epoch;
        }
        Some(Closed {
            epoch,
            commit,
            stop,
        })
    }

    fn over(&self, closed: Closed) {
        self.intake.advance_to(closed.epoch + 1);
        if closed.stop {
            self.outcome.stop();
        }
    }

    fn open(&self) -> Epoch {
        self.intake.open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Machine;
    use crate::reclock::IntakeLimits;
    use crate::serve::status::RunDescription;
    use crate::source::{Read, Source, SourceError};

    /// What the process of worker 0 reads: nothing.
    struct Silent;

    impl Source for Silent {
        fn read(&mut self, _bytes_max: usize) -> Result<Read, SourceError> {
            Ok(Read::Idle)
        }

        fn describe(&self) -> String {
            "silent".to_owned()
        }
    }

    /// A pace at which every epoch and every commit is due, over a lake that holds epoch 4.
    fn pace() -> (Pace, Outcome, Arc<AtomicU64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let host: Arc<dyn Host> = Arc::new(Machine(runtime.expect("a runtime").handle().clone()));
        let limits = IntakeLimits::default();
        let intake = Intake::new(Box::new(Silent), 5, limits, None, Arc::clone(&host));
        let run = RunDescription {
            source: "silent".to_owned(),
            lake: "lake".to_owned(),
            workers: 1,
            commit_every_ms: 0,
        };
        let outcome = Outcome::new(Arc::clone(&host));
        let committed = Arc::new(AtomicU64::new(4));
        let pace = Pace::new(
            Duration::ZERO,
            Duration::ZERO,
            Arc::new(intake),
            Arc::new(Status::new(run, &[], 0)),
            outcome.clone(),
            host,
            Arc::clone(&committed),
        );
        (pace, outcome, committed)
    }

    fn decided(pace: &Pace) -> (Epoch, bool) {
        let closed = pace.decide().expect("every epoch is due");
        (closed.epoch, closed.commit)
    }

    #[test]
    fn what_another_process_reads_brings_about_a_commit() {
        let (pace, _, committed) = pace();
        assert_eq!(decided(&pace), (5, false), "nothing was read");
        pace.read(6);
        assert_eq!(decided(&pace), (6, true));
        pace.read(7);
        assert_eq!(decided(&pace), (7, false), "a commit is under way");
        committed.store(6, Ordering::SeqCst);
        assert_eq!(decided(&pace), (8, true));
        committed.store(8, Ordering::SeqCst);
        assert_eq!(decided(&pace), (9, false), "nothing more was read");
    }

    #[test]
    fn a_chunk_that_is_heard_of_late_is_committed_unless_it_was() {
        let (pace, _, committed) = pace();
        assert_eq!(decided(&pace), (5, false));
        // It was claimed in epoch 5, just before that was closed.
        pace.read(5);
        assert_eq!(decided(&pace), (6, true));
        committed.store(6, Ordering::SeqCst);
        pace.read(6);
        assert_eq!(decided(&pace), (7, false), "epoch 6 is in the commit");
    }

    #[test]
    fn the_other_processes_hear_that_the_run_is_to_stop() {
        let (pace, outcome, _) = pace();
        assert!(!pace.decide().unwrap().stop);
        outcome.stop();
        let closed = pace.decide().unwrap();
        assert!(closed.stop);
        let (other, asked, _) = self::pace();
        other.over(closed);
        assert!(asked.is_stopping());
        assert_eq!(other.open(), closed.epoch + 1);
    }
}

//! The threads of a run: who starts them, and how they end.
//!
//! The workers end first, when their dataflow is done or the run has failed. With them go the last
//! senders to the stagers and the keeper, and with the keeper the last ones to the committer: each
//! thread ends when nobody can send it anything more.
//!
//! # Invariants
//! 1. When [`run`] returns, the workers, the keeper and the committer have ended, and if one of
//!    them failed it says why.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::actor::start;
use super::engine::run_workers;
use super::outcome::Outcome;
use super::parts::Assembled;
use super::run::Cluster;
use super::worker::Turning;

/// How long a worker waits that has nothing to do.
const PAUSE: Duration = Duration::from_millis(1);

/// Runs until all threads have ended.
pub(super) fn run(
    assembled: Assembled,
    cluster: Option<&Cluster>,
    outcome: &Outcome,
    runtime: &Handle,
) {
    let Assembled {
        workers,
        stagers,
        keeper: (keeper, events),
        committer: (committer, commit_parts),
        commits: _,
    } = assembled;
    let committing = start(
        "committer",
        committer,
        commit_parts,
        outcome.clone(),
        runtime.clone(),
    );
    let keeping = start("keeper", keeper, events, outcome.clone(), runtime.clone());
    let count = stagers.len();
    for (stager, tasks) in stagers {
        start("stager", stager, tasks, outcome.clone(), runtime.clone());
    }
    let shared = Arc::new(workers);
    let intake = Arc::clone(&shared.intake);
    let watched = outcome.clone();
    let worked = run_workers(count, cluster, move |worker| {
        let _watch = watched.watch_thread();
        let mut turning = Turning::begin(Arc::clone(&shared), worker)?;
        while turning.turn(worker, PAUSE) {}
        Ok(())
    });
    for handle in [keeping, committing] {
        // One that panicked has told the outcome.
        let _ = handle.join();
    }
    if let Err(error) = worked {
        outcome.fail(error);
    }
    if let Some(why) = intake.failure() {
        outcome.fail(why);
    }
}

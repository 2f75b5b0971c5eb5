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

use timely::worker::Worker;
use tokio::runtime::Handle;

use super::actor::start;
use super::engine::{Joining, run_workers};
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
        premise,
        commits,
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
    let joining = cluster.map(|cluster| Joining {
        cluster,
        premise,
        fences: &commits.fences,
        outcome,
    });
    let worked = run_workers(count, joining, move |worker| {
        let begin = |worker: &mut Worker| Turning::begin(Arc::clone(&shared), worker);
        watched_work(&watched, worker, begin, |turning, worker| {
            turning.turn(worker, PAUSE)
        })
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

/// What a worker thread does: it begins, and goes on while there is more to come. Where it fails or
/// panics it tells the outcome at once, for nothing else would end the others.
fn watched_work<T>(
    outcome: &Outcome,
    worker: &mut Worker,
    begin: impl FnOnce(&mut Worker) -> Result<T, String>,
    mut turn: impl FnMut(&mut T, &mut Worker) -> bool,
) -> Result<(), String> {
    let _watch = outcome.watch_thread();
    let begun = begin(worker).inspect_err(|error| outcome.fail(error));
    let mut turning = begun?;
    while turn(&mut turning, worker) {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use timely::dataflow::operators::Input;

    use super::super::engine::drop_dataflows;
    use super::*;
    use crate::delta::Epoch;
    use crate::host::Machine;

    /// Two workers whose dataflow would never end; the second begins like this.
    fn run(begins: fn() -> Result<(), String>) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let machine = Machine(runtime.expect("a runtime").handle().clone());
        let outcome = Outcome::new(Arc::new(machine));
        let watched = outcome.clone();
        let worked = run_workers(2, None, move |worker| {
            let second = worker.index() == 1;
            let begin = |worker: &mut Worker| {
                let input = worker.dataflow::<Epoch, _, _>(|scope| scope.new_input::<Vec<()>>().0);
                if second {
                    begins()?
                }
                Ok(input)
            };
            watched_work(&watched, worker, begin, |_, worker| {
                worker.step_or_park(Some(PAUSE));
                if watched.is_over() {
                    drop_dataflows(worker);
                }
                !watched.is_over()
            })
        });
        assert!(worked.is_err());
        outcome
    }

    #[test]
    fn a_dataflow_that_cannot_be_built_ends_every_worker_with_its_sentence() {
        let outcome = run(|| Err("the dataflow cannot be built: no".to_owned()));
        assert_eq!(
            outcome.failure().unwrap(),
            "the dataflow cannot be built: no"
        );
    }

    #[test]
    fn a_worker_that_panics_while_it_builds_does_not_keep_the_others() {
        let outcome = run(|| panic!("on purpose"));
        assert!(outcome.failure().unwrap().contains("panicked"));
    }
}

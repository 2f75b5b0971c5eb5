//! Worker threads: the same for a run and for a replay.

use timely::WorkerConfig;
use timely::communication::Config as CommunicationConfig;
use timely::execute::execute_from;
use timely::worker::Worker;

use super::cluster::{Fences, Premise, connect, say_goodbye};
use super::outcome::Outcome;
use super::run::Cluster;

/// How a process finds the others of its cluster.
pub(super) struct Joining<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) premise: Premise,
    pub(super) fences: &'a Fences,
    pub(super) outcome: &'a Outcome,
}

/// Runs `work` on each of this process's worker threads, and waits until all of them have ended.
/// Those of a cluster work together with those of its other processes.
///
/// What `work` leaves of a worker's dataflow is turned to its end; where it fails, the dataflow is
/// dropped.
pub(super) fn run_workers(
    workers: usize,
    joining: Option<Joining<'_>>,
    work: impl Fn(&mut Worker) -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), String> {
    let work = move |worker: &mut Worker| {
        let worked = work(worker);
        if worked.is_err() {
            drop_dataflows(worker);
        }
        worked
    };
    let (builders, talking) = match joining {
        Some(Joining {
            cluster,
            premise,
            fences,
            outcome,
        }) => {
            let connected = connect(cluster, workers, premise, fences, outcome)?;
            let Some((builders, threads)) = connected else {
                outcome.abandon();
                return Ok(());
            };
            (builders, Some((threads, outcome)))
        }
        None if workers == 1 => (CommunicationConfig::Thread.try_build()?.0, None),
        None => (CommunicationConfig::Process(workers).try_build()?.0, None),
    };
    let guards = execute_from(builders, Box::new(()), WorkerConfig::default(), work)?;
    let mut failed = None;
    for result in guards.join() {
        if let Err(error) | Ok(Err(error)) = result {
            failed.get_or_insert(error);
        }
    }
    if let Some((threads, outcome)) = talking {
        say_goodbye(threads, outcome);
    }
    failed.map_or(Ok(()), Err)
}

/// Drops the dataflows of a worker as they are.
pub(super) fn drop_dataflows(worker: &mut Worker) {
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

//! Worker threads: the same for a run and for a replay.

use timely::communication::Config as CommunicationConfig;
use timely::worker::Worker;
use timely::{Config, WorkerConfig};

use super::run::Cluster;

/// Runs `work` on each of this process's worker threads, and waits until all of them have ended.
/// With a `cluster` they work together with those of its other processes.
pub(super) fn run_workers(
    workers: usize,
    cluster: Option<&Cluster>,
    work: impl Fn(&mut Worker) -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), String> {
    let communication = match cluster {
        Some(cluster) => CommunicationConfig::Cluster {
            threads: workers,
            process: cluster.process,
            addresses: cluster.addresses.clone(),
            report: false,
            zerocopy: false,
        },
        None if workers == 1 => CommunicationConfig::Thread,
        None => CommunicationConfig::Process(workers),
    };
    let config = Config {
        communication,
        worker: WorkerConfig::default(),
    };
    let guards = timely::execute(config, work)?;
    let mut failed = None;
    for result in guards.join() {
        if let Err(error) | Ok(Err(error)) = result {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

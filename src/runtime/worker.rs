//! The workers of this process: what each of them is given, and what it does beside turning its dataflow.
//!
//! ```text
//!  step the dataflow --> how far are the views? --> the intake: these epochs are visible, their bytes count no more
//!        ^                                     '--> the keeper, from one worker alone: this epoch is closed
//!        '------ until the dataflow is done, or the run has failed
//! ```
//!
//! # Invariants
//! 1. Every worker ends: when the run is to stop, the intake is told, and the dataflow runs dry; when it has failed, the dataflow is dropped as it is.
//! 2. What the workers share goes with them, its senders included: a thread that is told things by workers alone sees their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use timely::communication::Config as CommunicationConfig;
use timely::worker::Worker;
use timely::{Config, WorkerConfig as TimelyWorkerConfig};

use super::committer::CommitPart;
use super::now_ms;
use super::outcome::Outcome;
use super::pace::Pace;
use super::run::Cluster;
use super::stager::{FileNumbers, StagedTable, StagerConfig, start as start_stager};
use crate::archive::SharedArchive;
use crate::delta::Epoch;
use crate::lake::Lake;
use crate::operator::fault::Faults;
use crate::operator::keyed::KeyedCounters;
use crate::plan::Plan;
use crate::reclock::Intake;
use crate::render::{
    ClockConfig, Gathered, IngestConfig, Restored, ViewEvent, WorkerConfig, build,
};
use crate::serve::status::{LagSample, Status};
use crate::sink::ParquetOptions;

/// How often it is asked how far behind the source is.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// What the workers of a process share.
pub(super) struct WorkerShared {
    pub(super) plan: Arc<Plan>,
    pub(super) streams: Vec<(String, SchemaRef)>,
    pub(super) intake: Arc<Intake>,
    pub(super) status: Arc<Status>,
    pub(super) lake: Lake,
    pub(super) tables: Arc<Vec<StagedTable>>,
    pub(super) archive: Option<SharedArchive>,
    pub(super) start: Epoch,
    pub(super) parquet: ParquetOptions,
    pub(super) events: crossbeam_channel::Sender<ViewEvent>,
    pub(super) commit_parts: crossbeam_channel::Sender<CommitPart>,
    pub(super) outcome: Outcome,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) faults: Faults,
    pub(super) counters: Arc<KeyedCounters>,
    pub(super) pace: Pace,
    pub(super) run_id: u64,
    pub(super) process: usize,
    pub(super) workers: usize,
}

/// Runs the workers of this process until all of them are done.
pub(super) fn run_workers(shared: WorkerShared, cluster: Option<&Cluster>) -> Result<(), String> {
    let communication = match cluster {
        Some(cluster) => CommunicationConfig::Cluster {
            threads: shared.workers,
            process: cluster.process,
            addresses: cluster.addresses.clone(),
            report: false,
            zerocopy: false,
        },
        None if shared.workers == 1 => CommunicationConfig::Thread,
        None => CommunicationConfig::Process(shared.workers),
    };
    let config = Config {
        communication,
        worker: TimelyWorkerConfig::default(),
    };
    let shared = Arc::new(shared);
    let guards = timely::execute(config, move |worker| shared.work(worker))?;
    let mut failed = None;
    for result in guards.join() {
        if let Err(error) | Ok(Err(error)) = result {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

impl WorkerShared {
    /// Builds the worker's part of the dataflow, and turns it until it is done or the run has failed.
    fn work(self: &Arc<Self>, worker: &mut Worker) -> Result<(), String> {
        let _watch = self.outcome.watch_thread();
        let index = worker.index();
        let events = self.events.clone();
        let config = self.worker_config(index, worker.peers(), events.clone());
        let probes = worker
            .dataflow::<Epoch, _, _>(|scope| build(scope, config))
            .map_err(|error| format!("the dataflow cannot be built: {error}"))?;
        // One worker of the serving process tells the keeper how far all of them are.
        let tells = self.process == 0 && index == 0;
        let mut told: Option<Epoch> = None;
        let finished = AtomicBool::new(false);
        let mut looked = Instant::now();
        while !probes.all.done() {
            worker.step_or_park(Some(Duration::from_millis(1)));
            if tells && looked.elapsed() >= LAG_EVERY {
                looked = Instant::now();
                self.tell_lags();
            }
            if self.outcome.is_stopping() && !finished.swap(true, Ordering::Relaxed) {
                self.intake.stop();
            }
            if self.outcome.failure().is_some() {
                // Nothing that is under way can be finished: the dataflow goes as it is.
                for dataflow in worker.installed_dataflows() {
                    worker.drop_dataflow(dataflow);
                }
                return Ok(());
            }
            let frontier = probes
                .views
                .with_frontier(|frontier| frontier.first().copied());
            let closed = match frontier {
                Some(0) => continue,
                Some(frontier) => frontier - 1,
                None => self.intake.open().0,
            };
            if told.is_none_or(|told| told < closed) {
                told = Some(closed);
                self.intake.visible(closed, |records, since| {
                    self.status.visible(
                        records,
                        since.elapsed().as_micros() as u64,
                        now_ms() as u64,
                    );
                });
                if tells {
                    self.status.set_state_bytes(self.counters.state_bytes.get());
                    let _ = events.send(ViewEvent::Closed(closed));
                }
            }
        }
        if tells {
            let _ = events.send(ViewEvent::Closed(self.intake.open().0));
        }
        Ok(())
    }

    fn tell_lags(&self) {
        let lags = self.intake.lag().into_iter().map(|lag| LagSample {
            stream: self.streams[lag.stream].0.clone(),
            partition: lag.partition,
            records: lag.records,
            bytes: lag.bytes,
            seconds: lag.seconds,
        });
        self.status.set_lags(lags.collect());
    }

    fn worker_config(
        self: &Arc<Self>,
        index: usize,
        peers: usize,
        events: crossbeam_channel::Sender<ViewEvent>,
    ) -> WorkerConfig {
        let stager = start_stager(
            StagerConfig {
                lake: self.lake.clone(),
                tables: Arc::clone(&self.tables),
                options: self.parquet.clone(),
                // The first worker of each process looks after what the process archives.
                archive: self
                    .archive
                    .clone()
                    .filter(|_| index.is_multiple_of(self.workers)),
                numbers: FileNumbers::new(self.run_id, index as u64),
                now_ms: Arc::new(now_ms),
                outcome: self.outcome.clone(),
            },
            &self.runtime,
        );
        let commit_parts = self.commit_parts.clone();
        let (decide, advance, open) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let status = Arc::clone(&self.status);
        WorkerConfig {
            ingest: IngestConfig {
                plan: Arc::clone(&self.plan),
                streams: self.streams.clone(),
                feed: Arc::clone(&self.intake) as _,
                start: self.start,
                restored: self.restored(index, peers),
                now_us: Arc::new(|| now_ms() * 1000),
                counted: Arc::new(move |stream, records, bytes, dead| {
                    status.read(stream, records, bytes);
                    status.dead(stream, dead);
                }),
            },
            restored_files: self.tables[..self.plan.tables.len()]
                .iter()
                .map(|table| table.restored.len() as u32)
                .collect(),
            faults: self.faults.clone(),
            counters: Arc::clone(&self.counters),
            clock: Some(ClockConfig {
                decide: Arc::new(move || decide.pace.decide()),
                advance: Arc::new(move |epoch| advance.intake.advance_to(epoch)),
                open: Arc::new(move || open.intake.open().0),
            }),
            events,
            serving_workers: self.workers,
            stager: Some(stager),
            complete: Arc::new(move |gathered: Gathered| {
                let _ = commit_parts.send(CommitPart::Tables(gathered));
            }),
        }
    }

    /// The files that this worker reads to restore the state: every `peers`th of them.
    fn restored(self: &Arc<Self>, index: usize, peers: usize) -> Vec<Restored> {
        let files = self.tables[..self.plan.tables.len()]
            .iter()
            .enumerate()
            .flat_map(|(table, staged)| (0..staged.restored.len()).map(move |file| (table, file)));
        files
            .enumerate()
            .filter(|(number, _)| number % peers == index)
            .map(|(_, (table, file))| {
                let shared = Arc::clone(self);
                let read = move || {
                    let staged = &shared.tables[table];
                    let path = &staged.restored[file].path;
                    let reading = shared
                        .outcome
                        .retrying("read a table's file back", async || {
                            shared.lake.read_file(&staged.path, path, None).await
                        });
                    shared.runtime.block_on(reading).unwrap_or_default()
                };
                Restored {
                    table,
                    file: file as u32,
                    read: Box::new(read),
                }
            })
            .collect()
    }
}

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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use timely::worker::Worker;

use super::outcome::Outcome;
use super::pace::Pace;
use super::stager::StagedTable;
use crate::delta::Epoch;
use crate::host::Host;
use crate::operator::fault::Faults;
use crate::operator::keyed::KeyedCounters;
use crate::plan::Plan;
use crate::reclock::{Feed, Intake};
use crate::render::{
    CommitPart, EpochClock, Gathered, IngestConfig, RestoredRows, StagerHandle, ViewEvent,
    WorkerConfig, WorkerProbes, build,
};
use crate::serve::status::{LagSample, Status};

/// How often it is asked how far behind the source is.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// What the workers of a process share.
pub(super) struct WorkerShared {
    pub(super) plan: Arc<Plan>,
    pub(super) streams: Vec<(String, SchemaRef)>,
    pub(super) intake: Arc<Intake>,
    /// Where chunks are claimed: the intake, or what a test has put in front of it.
    pub(super) feed: Arc<dyn Feed>,
    pub(super) status: Arc<Status>,
    pub(super) tables: Arc<Vec<StagedTable>>,
    pub(super) start: Epoch,
    pub(super) events: crossbeam_channel::Sender<ViewEvent>,
    pub(super) commit_parts: crossbeam_channel::Sender<CommitPart>,
    pub(super) outcome: Outcome,
    pub(super) host: Arc<dyn Host>,
    pub(super) faults: Faults,
    pub(super) counters: Arc<KeyedCounters>,
    pub(super) pace: Arc<Pace>,
    pub(super) process: usize,
    /// One for each worker of this process, which takes it when it begins.
    pub(super) lake_ends: Mutex<Vec<Option<LakeEnds>>>,
}

/// A worker's ways from the lake and to it.
pub(super) struct LakeEnds {
    pub(super) restored: tokio::sync::mpsc::Receiver<RestoredRows>,
    pub(super) stager: StagerHandle,
}

/// A worker whose dataflow is turning.
pub(super) struct Turning {
    shared: Arc<WorkerShared>,
    probes: WorkerProbes,
    /// Whether it is this worker of the serving process that tells the keeper how far all of them are.
    tells: bool,
    told: Option<Epoch>,
    looked: Instant,
    stopped: bool,
}

impl Turning {
    /// Builds the worker's part of the dataflow.
    pub(super) fn begin(shared: Arc<WorkerShared>, worker: &mut Worker) -> Result<Self, String> {
        let config = shared.worker_config(worker.index());
        let probes = worker
            .dataflow::<Epoch, _, _>(|scope| build(scope, config))
            .map_err(|error| format!("the dataflow cannot be built: {error}"))?;
        Ok(Turning {
            probes,
            tells: shared.process == 0 && worker.index() == 0,
            told: None,
            looked: shared.host.instant(),
            stopped: false,
            shared,
        })
    }

    /// Turns the dataflow once, after a pause of at most `pause` if there is nothing to do. Answers
    /// whether there is more to come.
    pub(super) fn turn(&mut self, worker: &mut Worker, pause: Duration) -> bool {
        let shared = &self.shared;
        if self.probes.all.done() {
            if self.tells {
                let _ = shared
                    .events
                    .send(ViewEvent::Closed(shared.intake.open().0));
            }
            return false;
        }
        worker.step_or_park(Some(pause));
        if self.tells && shared.host.instant() - self.looked >= LAG_EVERY {
            self.looked = shared.host.instant();
            shared.tell_lags();
        }
        if shared.outcome.is_stopping() && !std::mem::replace(&mut self.stopped, true) {
            shared.intake.stop();
        }
        if shared.outcome.failure().is_some() {
            // Nothing that is under way can be finished: the dataflow goes as it is.
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
            return false;
        }
        let views = &self.probes.views;
        let closed = match views.with_frontier(|frontier| frontier.first().copied()) {
            Some(0) => return true,
            Some(frontier) => frontier - 1,
            None => shared.intake.open().0,
        };
        if self.told.is_none_or(|told| told < closed) {
            self.told = Some(closed);
            shared.visible(closed);
            if self.tells {
                let bytes = shared.counters.state_bytes.get();
                shared.status.set_state_bytes(bytes);
                let _ = shared.events.send(ViewEvent::Closed(closed));
            }
        }
        true
    }
}

impl WorkerShared {
    /// The views have all epochs up to `closed`.
    fn visible(&self, closed: Epoch) {
        let now_ms = self.host.now_ms() as u64;
        self.intake.visible(closed, |records, age| {
            let latency_us = age.as_micros() as u64;
            self.status.visible(records, latency_us, now_ms);
        });
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

    fn worker_config(&self, index: usize) -> WorkerConfig {
        let mut ends = self
            .lake_ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let workers = ends.len();
        let LakeEnds { restored, stager } = ends[index % workers]
            .take()
            .expect("each worker begins once");
        let commit_parts = self.commit_parts.clone();
        let (status, host) = (Arc::clone(&self.status), Arc::clone(&self.host));
        WorkerConfig {
            ingest: IngestConfig {
                plan: Arc::clone(&self.plan),
                streams: self.streams.clone(),
                feed: Arc::clone(&self.feed),
                start: self.start,
                restored: Some(restored),
                now_us: Arc::new(move || host.now_ms() * 1000),
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
            clock: Some(Arc::clone(&self.pace) as Arc<dyn EpochClock>),
            events: self.events.clone(),
            serving_workers: workers,
            stager: Some(stager),
            complete: Arc::new(move |gathered: Gathered| {
                let _ = commit_parts.send(CommitPart::Tables(gathered));
            }),
        }
    }
}

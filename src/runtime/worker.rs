//! The workers of this process: what each of them is given, and what it does beside turning its
//! dataflow.
//!
//! ```text
//!  step the dataflow --> how far are the views? --> the keeper, from one worker alone: this epoch is closed
//!        ^                                                '--> the intake: it is visible, its bytes count no more
//!        '------ until the dataflow is done, or the run has failed
//! ```
//!
//! # Invariants
//! 1. Every worker ends: when the run is to stop, the intake is told, and the dataflow runs dry;
//!    when it is over, the dataflow is dropped as it is.
//! 2. What the workers share goes with them, its senders included: a thread that is told things by
//!    workers alone sees their end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use timely::worker::Worker;

use super::engine::drop_dataflows;
use super::keeper::acknowledge;
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
    CommitPart, EpochClock, Gathered, IngestConfig, IntakeEvent, RestoredRows, StagerHandle,
    ViewEvent, WorkerConfig, WorkerProbes, build,
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
    /// Whether it is this worker of the serving process that tells the keeper how far all of them
    /// are.
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
        if worker.has_dataflows() {
            worker.step_or_park(Some(pause));
        }
        self.look();
        if self.shared.outcome.is_over() {
            // Nothing that is under way can be finished: the dataflow goes as it is.
            drop_dataflows(worker);
        }
        worker.has_dataflows()
    }

    /// Passes on how far the dataflow is, and what is asked of the run.
    fn look(&mut self) {
        let shared = &self.shared;
        let now = shared.host.instant();
        if self.tells && now - self.looked >= LAG_EVERY {
            self.looked = now;
            shared.tell_lags();
        }
        let views = &self.probes.views;
        let frontier = views.with_frontier(|frontier| frontier.first().copied());
        // Before its state is loaded, a run has nothing to show and nothing to commit.
        let loaded = frontier.is_none_or(|frontier| frontier > shared.start);
        if let Some(why) = shared.intake.failure().filter(|_| !self.stopped) {
            shared.outcome.stop_because(why);
        }
        if shared.outcome.is_stopping() {
            let restores = shared.start > 0;
            if restores && !loaded && self.tells {
                shared.outcome.abandon();
            }
            if !std::mem::replace(&mut self.stopped, true) {
                shared.intake.stop();
            }
        }
        let closed = frontier.map_or_else(|| shared.intake.open(), |frontier| frontier.max(1) - 1);
        if loaded && self.told.is_none_or(|told| told < closed) {
            self.told = Some(closed);
            if shared.process != 0 {
                // Where views are served, the keeper does it, once readers see them.
                let now_ms = shared.host.now_ms() as u64;
                acknowledge(&shared.intake, &shared.status, closed, now_ms);
            }
            if self.tells {
                let bytes = shared.counters.state_bytes.get();
                shared.status.set_state_bytes(bytes);
                let _ = shared.events.send(ViewEvent::Closed(closed));
            }
        }
    }
}

impl WorkerShared {
    /// Notes what happened at the intake of some process; worker 0 hears of all.
    fn heard(&self, epoch: Epoch, event: &IntakeEvent, workers: usize) {
        match event {
            IntakeEvent::Read(read) => {
                self.pace.read(epoch);
                self.status.to_commit(epoch, self.host.now_ms() as u64);
                self.status
                    .read(read.stream, read.records, read.bytes, read.dead_letters);
            }
            IntakeEvent::Stopped { why: None, .. } => self.outcome.stop(),
            IntakeEvent::Stopped {
                worker,
                why: Some(why),
            } => {
                let process = worker / workers;
                let why = match process == self.process {
                    true => why.clone(),
                    false => format!("process {process} of the cluster failed: {why}"),
                };
                self.outcome.stop_because(why);
            }
        }
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

    fn worker_config(self: &Arc<Self>, index: usize) -> WorkerConfig {
        let mut ends = self
            .lake_ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let workers = ends.len();
        let LakeEnds { restored, stager } = ends[index % workers]
            .take()
            .expect("each worker begins once");
        let commit_parts = self.commit_parts.clone();
        let (hearing, host) = (Arc::clone(self), Arc::clone(&self.host));
        WorkerConfig {
            ingest: IngestConfig {
                plan: Arc::clone(&self.plan),
                streams: self.streams.clone(),
                feed: Arc::clone(&self.feed),
                start: self.start,
                restored: Some(restored),
                now_us: Arc::new(move || host.now_ms() * 1000),
            },
            restored_files: self.tables[..self.plan.tables.len()]
                .iter()
                .map(StagedTable::restored_came)
                .collect(),
            faults: self.faults.clone(),
            counters: Arc::clone(&self.counters),
            clock: Some(Arc::clone(&self.pace) as Arc<dyn EpochClock>),
            heard: Arc::new(move |epoch, event| hearing.heard(epoch, event, workers)),
            events: self.events.clone(),
            serving_workers: workers,
            stager: Some(stager),
            complete: Arc::new(move |gathered: Gathered| {
                let _ = commit_parts.send(CommitPart::Tables(gathered));
            }),
        }
    }
}

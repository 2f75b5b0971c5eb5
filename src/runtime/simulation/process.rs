//! One life of a pinflow: the program's own parts, turned by the scheduler.
//!
//! A life has one process, or the two or three of a cluster. Their workers exchange bytes, as they
//! would over sockets, and each notices after a while when another is gone.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::join_all;
use object_store::path::Path;
use timely::WorkerConfig;
use timely::worker::Worker;
use url::Url;

use super::chance::Chance;
use super::check::offsets;
use super::idle::Idle;
use super::meeting::Meeting;
use super::records::{Partition, SQL, STREAMS};
use super::scheduler::{LocalSpawner, ProcessId, SimulatedHost, World};
use super::source::{Claims, Offsets, Recorder, Share, SimulatedSource};
use super::store::{ARCHIVE, Door};
use crate::archive::{Archive, ArchiveOptions, SharedArchive};
use crate::definition::Definition;
use crate::host::Host;
use crate::lake::Lake;
use crate::plan::{Plan, lower};
use crate::reclock::{Intake, IntakeLimits};
use crate::render::served_views;
use crate::runtime::actor::Actor;
use crate::runtime::archive::settle_archive;
use crate::runtime::cluster::{Fences, Premise, lost};
use crate::runtime::outcome::Outcome;
use crate::runtime::parts::{Assembled, Parts};
use crate::runtime::restore::Found;
use crate::runtime::run::{Cluster, RunOptions, live_store, open_lake, writer};
use crate::runtime::worker::{Turning, WorkerShared};
use crate::serve::status::{RunDescription, Status};
use crate::serve::store::LiveStore;
use crate::sink::{Codec, Committer};
use crate::source::{SourceSpec, Storage, position_key};

static PIPELINE: LazyLock<(Arc<Definition>, Arc<Plan>)> = LazyLock::new(|| {
    let definition = Definition::parse("simulation.sql", SQL).expect("the pipeline is right");
    let plan = lower(&definition).expect("the pipeline can be run");
    (Arc::new(definition), Arc::new(plan))
});

/// deltalake-core brings its own threads; they work while the scheduler waits.
static DELTA: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build();
    runtime.expect("the system can start a thread")
});

/// How long one waits for the others of its cluster before it looks again.
const AGAIN: Duration = Duration::from_millis(5);
/// All processes of a cluster that is asked to stop have heard of it after this time.
const HEARD_WITHIN: Duration = Duration::from_millis(300);

/// How a life goes.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) processes: usize,
    /// Of each process.
    pub(super) workers: usize,
    pub(super) tick: Duration,
    pub(super) commit_every: Duration,
    pub(super) limits: IntakeLimits,
    pub(super) bounded: bool,
    /// The source fails once in so many reads.
    pub(super) source_fails: u64,
    /// The longest time that one of its threads sleeps, in milliseconds.
    pub(super) sleepy: u64,
    pub(super) run_id: u64,
    /// The machine's time of day at the beginning of the history.
    pub(super) began_ms: i64,
    /// How the raw archive is kept, if it is.
    pub(super) archive: Option<ArchiveOptions>,
    /// Whether deltalake-core reads and tidies logs, or its plain twin.
    pub(super) library: bool,
}

/// What is known of a life from outside.
#[derive(Clone)]
pub(super) struct Life {
    /// The first of them serves and commits.
    pub(super) processes: Vec<Process>,
    pub(super) claims: Claims,
    meeting: Rc<RefCell<Meeting>>,
}

/// What is known of one of its processes.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    /// What it calls itself in the lake.
    pub(super) writer: String,
    run_id: u64,
    pub(super) outcome: Outcome,
    shown: Rc<RefCell<Shown>>,
}

#[derive(Default)]
struct Shown {
    /// The live store and what it began with, once the lake is open.
    store: Option<(Arc<LiveStore>, u64, Offsets)>,
    ended: bool,
}

impl Process {
    /// Whether it has ended, well or not.
    pub(super) fn ended(&self) -> bool {
        self.shown.borrow().ended
    }
}

impl Life {
    /// Whether all of its processes have ended.
    pub(super) fn ended(&self) -> bool {
        self.processes.iter().all(Process::ended)
    }

    /// The live store, its first epoch, and what had been read until then.
    pub(super) fn store(&self) -> Option<(Arc<LiveStore>, u64, Offsets)> {
        self.processes[0].shown.borrow().store.clone()
    }

    pub(super) fn ids(&self) -> Vec<ProcessId> {
        self.processes.iter().map(|process| process.id).collect()
    }

    /// Asks all processes to end well.
    pub(super) fn stop(&self) {
        self.processes.iter().for_each(|p| p.outcome.stop());
    }

    /// Lets the others notice that process `number` is dead.
    pub(super) fn mourn(&self, number: usize) {
        self.meeting.borrow_mut().lost[number] = true;
        self.processes[number].shown.borrow_mut().ended = true;
    }

    pub(super) fn failures(&self) -> Vec<String> {
        let processes = self.processes.iter();
        processes.filter_map(|p| p.outcome.failure()).collect()
    }
}

/// What a life lives in.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) world: World,
    pub(super) local: LocalSpawner,
    pub(super) door: Door,
    pub(super) partitions: Arc<Vec<Partition>>,
    /// Some moment, for steady clocks.
    pub(super) zero: Instant,
}

/// Begins a life, whose processes are numbered from `first` on.
pub(super) fn begin(
    surroundings: &Surroundings,
    first: ProcessId,
    settings: &Settings,
    mut chance: Chance,
) -> Life {
    let hosts: Vec<Arc<dyn Host>> = (0..settings.processes)
        .map(|number| {
            Arc::new(SimulatedHost {
                world: surroundings.world.clone(),
                process: first + number,
                zero: surroundings.zero,
                began_ms: settings.began_ms,
            }) as Arc<dyn Host>
        })
        .collect();
    let process = |(number, host): (usize, &Arc<dyn Host>)| {
        let id = first + number;
        let run_id = settings.run_id.wrapping_add(id as u64) << 8;
        Process {
            id,
            writer: writer(run_id),
            run_id,
            outcome: Outcome::new(Arc::clone(host)),
            shown: Rc::default(),
        }
    };
    let meeting = Meeting::new(settings.processes, settings.workers);
    let life = Life {
        processes: hosts.iter().enumerate().map(process).collect(),
        claims: Claims::default(),
        meeting: Rc::new(RefCell::new(meeting)),
    };
    for (number, host) in hosts.into_iter().enumerate() {
        let living = Living {
            surroundings: surroundings.clone(),
            life: life.clone(),
            me: life.processes[number].clone(),
            number,
            settings: settings.clone(),
            host,
            tasks: Rc::default(),
        };
        let process = first + number;
        if settings.processes > 1 {
            let watching = living.clone().watch(chance.fork());
            surroundings.local.spawn(process, watching.boxed_local());
        }
        let living = living.live(chance.fork());
        surroundings.local.spawn(process, living.boxed_local());
    }
    life
}

/// A process that lives.
#[derive(Clone)]
struct Living {
    surroundings: Surroundings,
    life: Life,
    me: Process,
    number: usize,
    settings: Settings,
    host: Arc<dyn Host>,
    /// The ends of the tasks that it waits for.
    tasks: Rc<RefCell<Vec<oneshot::Receiver<()>>>>,
}

impl Living {
    async fn live(self, chance: Chance) {
        let done = self.run(chance).await;
        if let Err(why) = done {
            self.me.outcome.fail(why);
        }
        let mut meeting = self.life.meeting.borrow_mut();
        if self.me.outcome.is_over() || meeting.there[self.number].is_none() {
            // It says no goodbye.
            meeting.lost[self.number] = true;
        }
        drop(meeting);
        self.me.shown.borrow_mut().ended = true;
    }

    /// Notices when another process of the cluster is gone, as `cluster.rs` does. One that goes
    /// before all have met ends no run: who launched it asks the others to stop.
    async fn watch(self, mut chance: Chance) {
        let (world, outcome) = (&self.surroundings.world, &self.me.outcome);
        while !self.me.ended() {
            world.sleep(chance.nap(self.settings.sleepy)).await;
            let gone = {
                let meeting = self.life.meeting.borrow();
                let met = meeting.there.iter().all(Option::is_some);
                let mut lost = (0..meeting.lost.len()).filter(|process| meeting.lost[*process]);
                lost.find(|process| *process != self.number)
                    .map(|process| (process, met))
            };
            match gone {
                None => {}
                Some((_, false)) => return outcome.stop(),
                Some((process, true)) => {
                    if process == 0 {
                        world.sleep(HEARD_WITHIN).await;
                    }
                    return lost(outcome, process, || outcome.is_stopping());
                }
            }
        }
    }

    async fn run(&self, mut chance: Chance) -> Result<(), String> {
        let (settings, outcome) = (&self.settings, &self.me.outcome);
        let (definition, plan) = PIPELINE.clone();
        let lake = self.lake();
        let (run_id, writer) = (self.me.run_id, self.me.writer.clone());
        let options = self.options();
        let opening = open_lake(&lake, writer, &definition, &plan, &options, outcome);
        let opened = opening.await.map_err(|error| error.to_string())?;
        let Some((mut committer, found)) = opened else {
            return Ok(());
        };
        let Some((archive, fence)) = self.archive(&found, &mut committer).await? else {
            return Ok(());
        };
        let intake = self.intake(&found, archive.clone(), chance.fork());
        let served = served_views(&plan);
        let store = Arc::new(live_store(&served).expect("the views can be served"));
        let began = offsets(&found.positions);
        self.me.shown.borrow_mut().store = Some((Arc::clone(&store), found.epoch, began));
        let description = RunDescription {
            source: "simulated".to_owned(),
            lake: lake.location(),
            workers: settings.workers * settings.processes,
            commit_every_ms: settings.commit_every.as_millis() as u64,
        };
        let now_ms = self.host.now_ms() as u64;
        let parts = Parts {
            options: self.options(),
            definition,
            plan,
            served,
            store,
            status: Arc::new(Status::new(description, &STREAMS, now_ms)),
            lake,
            found,
            intake: Arc::clone(&intake),
            archive,
            fence,
            retried: None,
            run_id,
            // A worker cannot wait here for a stager of the same thread.
            stager_queue: None,
            outcome: outcome.clone(),
            host: Arc::clone(&self.host),
        };
        let Assembled {
            mut workers,
            stagers,
            keeper,
            committer,
            premise,
            commits,
        } = parts.assemble(committer).await;
        let recorder = Recorder {
            intake: Arc::clone(&intake),
            claims: self.life.claims.clone(),
        };
        workers.feed = Arc::new(recorder);
        for (stager, tasks) in stagers {
            self.act(stager, tasks, chance.fork());
        }
        self.act(keeper.0, keeper.1, chance.fork());
        self.act(committer.0, committer.1, chance.fork());
        if self.meet(premise, &commits.fences).await? {
            self.work(workers, &mut chance);
        } else {
            outcome.abandon();
            drop(workers);
        }
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        join_all(tasks).await;
        intake.failure().map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn lake(&self) -> Lake {
        let url = Url::parse("memory:///lake/").expect("it is a URL");
        let door = Arc::new(self.surroundings.door.clone());
        let lake = Lake::on(door, Path::from("lake"), url);
        match self.settings.library {
            true => lake.with_delta_on(DELTA.handle().clone()),
            false => lake.with_plain_delta(),
        }
    }

    fn share(&self) -> Share {
        Share {
            process: self.number,
            processes: self.settings.processes,
        }
    }

    /// Opens the archive as the lake's checkpoint left it, and the fence that this took; `None` if
    /// the run was asked to stop meanwhile.
    async fn archive(
        &self,
        found: &Found,
        committer: &mut Committer,
    ) -> Result<Option<(Option<SharedArchive>, u64)>, String> {
        let Some(options) = self.settings.archive.clone() else {
            return Ok(Some((None, 0)));
        };
        let door = Arc::new(self.surroundings.door.clone());
        let storage = Storage::Bucket(door, Path::from(ARCHIVE));
        let streams = STREAMS.map(str::to_owned).to_vec();
        let name = ARCHIVE.to_owned();
        let mut archive = Archive::open(storage, name, streams, Arc::clone(&self.host), options);
        let (share, partitions) = (self.share(), &self.surroundings.partitions);
        let mine = |stream: &str, partition: &str| {
            let is = |p: &Partition| STREAMS[p.stream] == stream && p.name == partition;
            let place = partitions.iter().position(is);
            place.is_some_and(|place| share.has(place))
        };
        let recovered = archive.recover(&found.positions, mine).await;
        recovered.map_err(|error| error.to_string())?;
        let now_ms = self.host.now_ms();
        let settling = settle_archive(&mut archive, committer, &self.me.outcome, now_ms);
        let settled = settling.await.map_err(|error| error.to_string())?;
        Ok(settled.map(|fence| (Some(Arc::new(Mutex::new(archive))), fence)))
    }

    fn intake(&self, found: &Found, archive: Option<SharedArchive>, chance: Chance) -> Arc<Intake> {
        let settings = &self.settings;
        let source = SimulatedSource::new(
            Arc::clone(&self.surroundings.partitions),
            self.share(),
            &found.positions,
            self.surroundings.world.clone(),
            chance,
            settings.bounded,
            settings.source_fails,
        );
        Arc::new(Intake::new(
            Box::new(source),
            found.epoch + 1,
            settings.limits,
            archive,
            Arc::clone(&self.host),
        ))
    }

    fn options(&self) -> RunOptions {
        let settings = &self.settings;
        let addresses = (0..settings.processes).map(|process| process.to_string());
        RunOptions {
            source_moved: false,
            retry: None,
            on_bad_file: crate::source::OnBadFile::Fail,
            dataflow: "simulation.sql".into(),
            lake: "memory:///lake/".to_owned(),
            prefix: String::new(),
            source: SourceSpec::Directory("simulated".to_owned()),
            archive: None,
            bounded: settings.bounded,
            workers: settings.workers,
            cluster: (settings.processes > 1).then(|| Cluster {
                process: self.number,
                addresses: addresses.collect(),
            }),
            tick: settings.tick,
            commit_every: settings.commit_every,
            codec: Some(Codec::None),
            limits: settings.limits,
        }
    }

    /// Waits for the other processes; `false` if the run was asked to stop before all were there.
    async fn meet(&self, premise: Premise, fences: &Fences) -> Result<bool, String> {
        self.life.meeting.borrow_mut().there[self.number] = Some(premise);
        loop {
            {
                let meeting = self.life.meeting.borrow();
                for (process, theirs) in meeting.there.iter().enumerate() {
                    if let Some(theirs) = theirs {
                        premise.agree(process, *theirs, fences)?;
                    }
                }
                // Nobody is connected with one that died, even if it was there before.
                let dead = meeting.lost.contains(&true);
                if !dead && meeting.there.iter().all(Option::is_some) {
                    return Ok(true);
                }
            }
            if self.me.outcome.is_stopping() {
                return Ok(false);
            }
            self.surroundings.world.sleep(AGAIN).await;
        }
    }

    /// Begins the workers.
    fn work(&self, shared: WorkerShared, chance: &mut Chance) {
        let shared = Arc::new(shared);
        let mut meeting = self.life.meeting.borrow_mut();
        for allocator in std::mem::take(&mut meeting.allocators[self.number]) {
            let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
            let (shared, mut chance) = (Arc::clone(&shared), chance.fork());
            let (world, sleepy) = (self.surroundings.world.clone(), self.settings.sleepy);
            let (outcome, busy) = (self.me.outcome.clone(), self.activity());
            self.start(async move {
                let mut turning = match Turning::begin(shared, &mut worker) {
                    Ok(turning) => turning,
                    Err(error) => return outcome.fail(error),
                };
                let mut idle = Idle::default();
                while turning.turn(&mut worker, Duration::ZERO) {
                    let nap = chance.nap(sleepy);
                    let pause = idle.pause(nap, busy(), outcome.is_stopping());
                    world.sleep(pause).await;
                }
            });
        }
    }

    /// Runs a task that the process waits for.
    fn start(&self, task: impl Future<Output = ()> + 'static) {
        let (ended, end) = oneshot::channel();
        self.tasks.borrow_mut().push(end);
        let task = task.map(move |()| drop(ended));
        let local = &self.surroundings.local;
        local.spawn(self.me.id, task.boxed_local());
    }

    /// What [`crate::runtime::actor::start`] is for threads.
    fn act<A: Actor + 'static>(
        &self,
        mut actor: A,
        inbox: Receiver<A::Message>,
        mut chance: Chance,
    ) {
        let (world, outcome) = (self.surroundings.world.clone(), self.me.outcome.clone());
        let sleepy = self.settings.sleepy;
        self.start(async move {
            let (mut idle, mut taken) = (Idle::default(), 0);
            loop {
                match inbox.try_recv() {
                    Ok(message) => {
                        taken += 1;
                        if actor.take(message).await.is_none() {
                            return outcome.stop();
                        }
                        if chance.once_in(2) {
                            continue;
                        }
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return actor.end().await,
                }
                let nap = chance.nap(sleepy);
                let pause = idle.pause(nap, taken, outcome.is_stopping());
                world.sleep(pause).await;
            }
        });
    }

    /// A number that changes whenever a record is claimed, or something happens in the store.
    fn activity(&self) -> impl Fn() -> u64 + use<> {
        let (claims, storage) = (
            self.life.claims.clone(),
            Arc::clone(&self.surroundings.door.storage),
        );
        move || claims.count() + storage.progress().0
    }
}

/// The name of a partition in positions.
pub(super) fn key(partition: &Partition) -> String {
    position_key(STREAMS[partition.stream], &partition.name)
}

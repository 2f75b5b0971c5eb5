//! One life of a pinflow: the program's own parts, turned by the scheduler.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use futures::FutureExt;
use object_store::path::Path;
use timely::WorkerConfig;
use timely::communication::{Allocator, Config as CommunicationConfig, initialize_from};
use timely::worker::Worker;
use url::Url;

use super::chance::Chance;
use super::records::{Partition, SQL, STREAMS};
use super::scheduler::{LocalSpawner, ProcessId, SimulatedHost, World};
use super::source::{Claims, Offsets, Recorder, SimulatedSource};
use super::store::Door;
use crate::definition::Definition;
use crate::host::Host;
use crate::lake::Lake;
use crate::plan::{Plan, lower};
use crate::reclock::{Intake, IntakeLimits};
use crate::render::served_views;
use crate::runtime::actor::Actor;
use crate::runtime::outcome::Outcome;
use crate::runtime::parts::{Assembled, Parts};
use crate::runtime::run::{RunOptions, live_store, open_lake, writer};
use crate::runtime::worker::Turning;
use crate::serve::status::{RunDescription, Status};
use crate::serve::store::LiveStore;
use crate::source::SourceSpec;

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

/// How a life goes.
#[derive(Clone, Debug)]
pub(super) struct Settings {
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
}

/// What is known of a life from outside.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) process: ProcessId,
    pub(super) outcome: Outcome,
    pub(super) claims: Claims,
    shown: Rc<RefCell<Shown>>,
}

#[derive(Default)]
struct Shown {
    /// The live store and what it began with, once the lake is open.
    store: Option<(Arc<LiveStore>, u64, Offsets)>,
    ended: bool,
}

impl Life {
    /// Whether it has ended, well or not.
    pub(super) fn ended(&self) -> bool {
        self.shown.borrow().ended
    }

    /// The live store, its first epoch, and what had been read until then.
    pub(super) fn store(&self) -> Option<(Arc<LiveStore>, u64, Offsets)> {
        self.shown.borrow().store.clone()
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

/// Begins a life.
pub(super) fn begin(
    surroundings: &Surroundings,
    process: ProcessId,
    settings: Settings,
    chance: Chance,
) -> Life {
    let host: Arc<dyn Host> = Arc::new(SimulatedHost {
        world: surroundings.world.clone(),
        process,
        zero: surroundings.zero,
        began_ms: settings.began_ms,
    });
    let life = Life {
        process,
        outcome: Outcome::new(Arc::clone(&host)),
        claims: Claims::default(),
        shown: Rc::default(),
    };
    let living = live(surroundings.clone(), life.clone(), settings, host, chance);
    surroundings.local.spawn(process, living.boxed_local());
    life
}

async fn live(
    surroundings: Surroundings,
    life: Life,
    settings: Settings,
    host: Arc<dyn Host>,
    mut chance: Chance,
) {
    let Surroundings {
        world,
        local,
        door,
        partitions,
        ..
    } = surroundings;
    let outcome = life.outcome.clone();
    let (definition, plan) = PIPELINE.clone();
    let url = Url::parse("memory:///lake/").expect("it is a URL");
    let lake = Lake::on(Arc::new(door), Path::from("lake"), url);
    let lake = lake.with_delta_runtime(DELTA.handle().clone());
    let writer = writer(settings.run_id);
    let opened = open_lake(
        &lake,
        writer,
        &definition,
        &plan,
        &options(&settings),
        &outcome,
    )
    .await;
    let (committer, found) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            life.shown.borrow_mut().ended = true;
            return;
        }
        Err(error) => {
            outcome.fail(error.to_string());
            life.shown.borrow_mut().ended = true;
            return;
        }
    };
    let source = SimulatedSource::new(
        partitions,
        &found.positions,
        world.clone(),
        chance.fork(),
        settings.bounded,
        settings.source_fails,
    );
    let intake = Intake::new(
        Box::new(source),
        found.epoch + 1,
        settings.limits,
        None,
        Arc::clone(&host),
    );
    let intake = Arc::new(intake);
    let served = served_views(&plan);
    let store = Arc::new(live_store(&served).expect("the views can be served"));
    let began = super::check::offsets(&found.positions);
    life.shown.borrow_mut().store = Some((Arc::clone(&store), found.epoch, began));
    let description = RunDescription {
        source: "simulated".to_owned(),
        lake: lake.location(),
        workers: settings.workers,
        commit_every_ms: settings.commit_every.as_millis() as u64,
    };
    let parts = Parts {
        options: options(&settings),
        definition,
        plan,
        served,
        store,
        status: Arc::new(Status::new(description, &STREAMS, host.now_ms() as u64)),
        lake,
        found,
        intake: Arc::clone(&intake),
        archive: None,
        retried: None,
        run_id: settings.run_id,
        // A worker cannot wait here for a stager of the same thread.
        stager_queue: None,
        outcome: outcome.clone(),
        host,
    };
    let Assembled {
        mut workers,
        stagers,
        keeper,
        committer,
        ..
    } = parts.assemble(committer).await;
    let claims = life.claims.clone();
    workers.feed = Arc::new(Recorder {
        intake: Arc::clone(&intake),
        claims,
    });
    let running = Running {
        world,
        local,
        process: life.process,
        outcome: outcome.clone(),
        sleepy: settings.sleepy,
        left: Rc::default(),
    };
    for (stager, tasks) in stagers {
        running.act(stager, tasks, chance.fork());
    }
    running.act(keeper.0, keeper.1, chance.fork());
    running.act(committer.0, committer.1, chance.fork());
    let shared = Arc::new(workers);
    for allocator in allocators(settings.workers) {
        let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
        let (shared, mut chance) = (Arc::clone(&shared), chance.fork());
        let turner = running.clone();
        running.run(async move {
            let mut turning = match Turning::begin(shared, &mut worker) {
                Ok(turning) => turning,
                Err(error) => return turner.outcome.fail(error),
            };
            while turning.turn(&mut worker, Duration::ZERO) {
                turner.world.sleep(chance.nap(turner.sleepy)).await;
            }
        });
    }
    drop(shared);
    while *running.left.borrow() > 0 {
        running.world.sleep(Duration::from_millis(5)).await;
    }
    if let Some(why) = intake.failure() {
        outcome.fail(why);
    }
    life.shown.borrow_mut().ended = true;
}

fn options(settings: &Settings) -> RunOptions {
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
        cluster: None,
        tick: settings.tick,
        commit_every: settings.commit_every,
        codec: None,
        limits: settings.limits,
    }
}

/// What runs of a life.
#[derive(Clone)]
struct Running {
    world: World,
    local: LocalSpawner,
    process: ProcessId,
    outcome: Outcome,
    sleepy: u64,
    /// How many tasks have not ended.
    left: Rc<RefCell<usize>>,
}

impl Running {
    fn run(&self, task: impl Future<Output = ()> + 'static) {
        *self.left.borrow_mut() += 1;
        let left = Rc::clone(&self.left);
        let counted = task.map(move |()| *left.borrow_mut() -= 1);
        self.local.spawn(self.process, counted.boxed_local());
    }

    /// What [`crate::runtime::actor::start`] is for threads.
    fn act<A: Actor + 'static>(&self, mut actor: A, inbox: Receiver<A::Message>, chance: Chance) {
        let (world, outcome) = (self.world.clone(), self.outcome.clone());
        let (sleepy, mut chance) = (self.sleepy, chance);
        self.run(async move {
            loop {
                match inbox.try_recv() {
                    Ok(message) => {
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
                world.sleep(chance.nap(sleepy)).await;
            }
        });
    }
}

/// The allocators of workers that are turned by one thread.
fn allocators(workers: usize) -> Vec<Allocator> {
    /// What leaves the thread that made it.
    struct Moved(Allocator);
    // SAFETY: an allocator shares `Rc`s with nothing but itself until a worker is made of it. The
    // threads are here because allocators wait for each other when they are made.
    unsafe impl Send for Moved {}
    let communication = match workers {
        1 => CommunicationConfig::Thread,
        _ => CommunicationConfig::Process(workers),
    };
    let (builders, others) = communication.try_build().expect("a process needs nothing");
    let made = initialize_from(builders, others, Moved).expect("the system can start a thread");
    let made = made.join().into_iter();
    made.map(|moved| moved.expect("it does nothing that panics").0)
        .collect()
}

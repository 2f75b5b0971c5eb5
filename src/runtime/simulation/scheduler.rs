//! A seeded scheduler with a clock of its own: everything of a history runs here, in one thread.
//!
//! At each step one of the tasks that can go on is picked at random and polled once. When none can,
//! time moves to the next moment at which one wakes up; so hours of waiting cost nothing. Tasks
//! belong to processes, and a process can be killed or frozen between any two steps.
//!
//! # Invariants
//! 1. The same seed gives the same steps: there is no other source of time or chance.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, LocalBoxFuture};

use super::chance::Chance;
use crate::host::Host;

/// A process of the simulation.
pub(super) type ProcessId = usize;

type TaskId = u64;

struct Task {
    process: ProcessId,
    future: LocalBoxFuture<'static, ()>,
    waker: Waker,
}

/// See the module.
pub(super) struct Scheduler {
    tasks: BTreeMap<TaskId, Task>,
    ready: Vec<TaskId>,
    frozen: Vec<ProcessId>,
    next: TaskId,
    chance: Chance,
    steps: u64,
    trace: u64,
    world: World,
    local: LocalSpawner,
}

/// Time, and what woke up; shared with wakers and hosts.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    timers: BinaryHeap<Reverse<(Duration, u64)>>,
    sleeping: BTreeMap<u64, Waker>,
    timers_made: u64,
    woken: Vec<TaskId>,
    spawned: Vec<(ProcessId, BoxFuture<'static, ()>)>,
}

/// Starts tasks that stay in this thread.
#[derive(Clone, Default)]
pub(super) struct LocalSpawner(Rc<RefCell<Vec<LocalTask>>>);

/// A task that stays in its thread, and the process that it dies with.
type LocalTask = (ProcessId, LocalBoxFuture<'static, ()>);

impl LocalSpawner {
    pub(super) fn spawn(&self, process: ProcessId, task: LocalBoxFuture<'static, ()>) {
        self.0.borrow_mut().push((process, task));
    }
}

struct Alarm {
    task: TaskId,
    world: World,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.world.state().woken.push(self.task);
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.state().now
    }

    /// Lets time pass at once.
    pub(super) fn skip(&self, time: Duration) {
        self.state().now += time;
    }

    pub(super) fn sleep(&self, pause: Duration) -> Sleep {
        let mut state = self.state();
        state.timers_made += 1;
        Sleep {
            due: state.now + pause,
            number: state.timers_made,
            world: self.clone(),
        }
    }
}

/// A pause on the world's clock.
pub(super) struct Sleep {
    due: Duration,
    number: u64,
    world: World,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state();
        if state.now >= self.due {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        if state.sleeping.insert(self.number, waker).is_none() {
            state.timers.push(Reverse((self.due, self.number)));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.world.state().sleeping.remove(&self.number);
    }
}

impl Scheduler {
    pub(super) fn new(seed: u64) -> Self {
        Scheduler {
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            frozen: Vec::new(),
            next: 0,
            chance: Chance::new(seed),
            steps: 0,
            trace: 0,
            world: World::default(),
            local: LocalSpawner::default(),
        }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn local(&self) -> &LocalSpawner {
        &self.local
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// A hash of every step so far, and of what was noted.
    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    /// Makes `fact` a part of the trace.
    pub(super) fn note(&mut self, fact: u64) {
        self.trace = crate::operator::route::mix(self.trace ^ fact);
    }

    /// Drops everything that `process` runs, wherever it is.
    pub(super) fn kill(&mut self, process: ProcessId) {
        self.absorb();
        let dead = self.tasks.extract_if(.., |_, task| task.process == process);
        let dead: Vec<Task> = dead.map(|(_, task)| task).collect();
        drop(dead);
        // What was dropped may have woken or started something.
        self.absorb();
        self.tasks.retain(|_, task| task.process != process);
        let tasks = &self.tasks;
        self.ready.retain(|id| tasks.contains_key(id));
    }

    /// Lets these processes make no step until others are frozen, or none.
    pub(super) fn freeze(&mut self, processes: Vec<ProcessId>) {
        self.frozen = processes;
    }

    /// Makes one step; `false` if nothing is left that could ever make one.
    pub(super) fn step(&mut self) -> bool {
        loop {
            self.absorb();
            let (frozen, tasks) = (&self.frozen, &self.tasks);
            let can = |id: &TaskId| tasks.get(id).is_some_and(|t| !frozen.contains(&t.process));
            let able = self.ready.iter().filter(|id| can(id)).count();
            if able == 0 {
                if !self.pass_time() {
                    return false;
                }
                continue;
            }
            let pick = self.chance.below(able as u64) as usize;
            let (place, id) = self
                .ready
                .iter()
                .copied()
                .enumerate()
                .filter(|(_, id)| can(id))
                .nth(pick)
                .expect("one of those that were counted");
            self.ready.swap_remove(place);
            self.steps += 1;
            self.note(id ^ self.world.now().as_micros() as u64);
            let mut task = self.tasks.remove(&id).expect("it can go on");
            let polled = task
                .future
                .as_mut()
                .poll(&mut Context::from_waker(&task.waker));
            if polled.is_pending() {
                self.tasks.insert(id, task);
            }
            return true;
        }
    }

    fn absorb(&mut self) {
        let (spawned, woken) = {
            let mut state = self.world.state();
            (
                std::mem::take(&mut state.spawned),
                std::mem::take(&mut state.woken),
            )
        };
        let spawned = spawned
            .into_iter()
            .map(|(process, task)| (process, task as LocalBoxFuture<'static, ()>));
        let local = std::mem::take(&mut *self.local.0.borrow_mut());
        for (process, future) in spawned.chain(local) {
            let id = self.next;
            self.next += 1;
            let alarm = Alarm {
                task: id,
                world: self.world.clone(),
            };
            let waker = Waker::from(Arc::new(alarm));
            self.tasks.insert(
                id,
                Task {
                    process,
                    future,
                    waker,
                },
            );
            self.ready.push(id);
        }
        for id in woken {
            if self.tasks.contains_key(&id) && !self.ready.contains(&id) {
                self.ready.push(id);
            }
        }
    }

    /// Moves time to the next moment at which a task wakes up; `false` if there is none.
    fn pass_time(&mut self) -> bool {
        let mut wakers = Vec::new();
        {
            let mut state = self.world.state();
            while let Some(Reverse((due, number))) = state.timers.peek().copied() {
                if !wakers.is_empty() && due > state.now {
                    break;
                }
                state.timers.pop();
                // A pause that was dropped is not there any more.
                if let Some(waker) = state.sleeping.remove(&number) {
                    state.now = state.now.max(due);
                    wakers.push(waker);
                }
            }
        }
        let any = !wakers.is_empty();
        wakers.into_iter().for_each(Waker::wake);
        any
    }
}

/// The machine of one simulated process.
#[derive(Clone)]
pub(super) struct SimulatedHost {
    pub(super) world: World,
    pub(super) process: ProcessId,
    /// The steady clock's zero.
    pub(super) zero: Instant,
    /// What the time of day was at the beginning, in milliseconds since 1970, by this machine's
    /// clock.
    pub(super) began_ms: i64,
}

impl fmt::Debug for SimulatedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated machine {}", self.process)
    }
}

impl Host for SimulatedHost {
    fn now_ms(&self) -> i64 {
        self.began_ms + self.world.now().as_millis() as i64
    }

    fn instant(&self) -> Instant {
        self.zero + self.world.now()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.world.sleep(pause))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.state().spawned.push((self.process, task));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.spawn(Box::pin(async move { work() }));
    }
}

//! The machine that a run lives on: the time, and work beside the dataflow.
//!
//! A run asks for the time, pauses and starts work in the background through [`Host`] alone. So a
//! simulation can put a seeded scheduler and a clock of its own in the machine's place, and run the
//! very same code (`runtime/simulation`).

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;

/// What a run asks of its machine.
pub trait Host: Debug + Send + Sync {
    /// The time of day, in milliseconds since 1970 UTC.
    fn now_ms(&self) -> i64;

    /// A steady clock, for measuring.
    fn instant(&self) -> Instant;

    /// A pause.
    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task in the background. It is dropped, wherever it is, when the host ends.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs work that keeps a core busy, or that waits for a disk, where it holds up no task.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}

impl dyn Host {
    /// Runs `future` in the background; its answer can be awaited.
    pub fn task<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (sender, receiver) = oneshot::channel();
        // Nobody may want the answer any more.
        self.spawn(future.map(|answer| drop(sender.send(answer))).boxed());
        Task(receiver)
    }

    /// Runs `work` where it holds up no task; its answer can be awaited.
    pub fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        let (sender, receiver) = oneshot::channel();
        self.spawn_blocking(Box::new(move || drop(sender.send(work()))));
        Task(receiver)
    }
}

/// Work in the background. It goes on when this is dropped.
#[derive(Debug)]
pub struct Task<T>(oneshot::Receiver<T>);

/// The work ended without an answer: it panicked, or its host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked; the message above says where: please report it")]
pub struct Panicked;

impl<T> Task<T> {
    /// Whether it has ended. Asked after a `true`, it answers `true` again.
    pub fn is_finished(&mut self) -> bool {
        !matches!(self.0.try_recv(), Ok(None))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context).map_err(|_| Panicked)
    }
}

/// The real machine: its clocks, and a tokio runtime.
#[derive(Clone, Debug)]
pub struct Machine(pub tokio::runtime::Handle);

impl Host for Machine {
    fn now_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        // Made when it is first polled, which is on the runtime.
        async move { tokio::time::sleep(pause).await }.boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(work);
    }
}

//! A part of a run that takes messages one after the other: a stager, the keeper, the committer.
//!
//! Each has a thread of its own in a program. In a simulation the scheduler decides when each of
//! them takes its next message; it is the same code.

use crossbeam_channel::Receiver;

use super::outcome::Outcome;

/// See the module.
pub(super) trait Actor {
    /// What it is sent.
    type Message;

    /// Takes one message. `None` when it failed for good; the outcome says why.
    async fn take(&mut self, message: Self::Message) -> Option<()>;

    /// Comes to an end: all senders are gone, and every message was taken.
    async fn end(&mut self) {}
}

/// Gives `actor` a thread, which ends when all senders to `inbox` are gone or the run has failed.
pub(super) fn start<A: Actor + Send + 'static>(
    name: &str,
    mut actor: A,
    inbox: Receiver<A::Message>,
    outcome: Outcome,
    runtime: tokio::runtime::Handle,
) -> std::thread::JoinHandle<()>
where
    A::Message: Send,
{
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _watch = outcome.watch_thread();
            for message in inbox {
                if runtime.block_on(actor.take(message)).is_none() {
                    return outcome.stop();
                }
            }
            runtime.block_on(actor.end());
        })
        .expect("the system can start a thread")
}

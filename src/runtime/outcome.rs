//! How a run ends: because it was asked to, because its input ended, or because something failed.
//!
//! ```text
//!  signal, lost launcher --stop--> drain and commit --> end
//!  a source fails --------stop--> drain and commit --> end with its sentence
//!  anything else fails ---fail--> drop the dataflow --> end with its sentence
//! ```
//!
//! # Invariants
//! 1. The first reason to fail stays.
//! 2. Once a run was asked to stop, no call to the lake is waited for longer than
//!    [`COMMIT_WITHIN`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::host::Host;
use crate::lake::LakeError;
use crate::trouble::{Trouble, Troubles};

/// After this time a run that was asked to stop ends, whatever is away.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The share of it in which the lake must answer.
const COMMIT_WITHIN: Duration = Duration::from_secs(8);
/// Pauses between attempts, while the run goes on and once it was asked to stop.
const PAUSE_MAX: Duration = Duration::from_secs(10);
const LAST_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a run that panicked says.
const PANICKED: &str =
    "a thread of pinflow panicked; the message above says where: please report it";

/// Shared by all threads of a process.
#[derive(Clone, Debug)]
pub struct Outcome(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Arc<dyn Host>,
    /// Since when the run is to end.
    stopping: watch::Sender<Option<Instant>>,
    ending: Mutex<Ending>,
    /// What is being tried again.
    troubles: Troubles,
}

#[derive(Debug, Default)]
struct Ending {
    /// Why the run ends, if it was not asked to.
    why: Option<String>,
    /// Whether it failed so that the dataflow goes as it is.
    failed: bool,
    /// Whether the dataflow was dropped before it had read anything.
    abandoned: bool,
}

impl Outcome {
    /// Of a run on this machine that goes well so far.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Outcome(Arc::new(Inner {
            host,
            stopping: watch::Sender::new(None),
            ending: Mutex::default(),
            troubles: Troubles::default(),
        }))
    }

    /// Asks the run to end well.
    pub fn stop(&self) {
        self.0.stopping.send_if_modified(|since| {
            let first = since.is_none();
            since.get_or_insert_with(|| self.0.host.instant());
            first
        });
    }

    /// Whether the run is to end.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.borrow().is_some()
    }

    /// Returns once the run was asked to end `within` ago.
    pub async fn stopped_for(&self, within: Duration) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender lives as long as `self`.
        let since = stopping.wait_for(Option::is_some).await;
        let since = since.ok().and_then(|since| *since);
        let age = since.map(|since| self.0.host.instant() - since);
        if let Some(left) = age.and_then(|age| within.checked_sub(age)) {
            self.0.host.sleep(left).await;
        }
    }

    /// Returns once the run was asked to end so long ago that it waits for no store any more.
    pub async fn out_of_time(&self) {
        self.stopped_for(COMMIT_WITHIN).await;
    }

    /// Ends the run well, and then with this sentence: what was read before is still committed.
    pub fn stop_because(&self, why: impl Into<String>) {
        self.ending().why.get_or_insert_with(|| why.into());
        self.stop();
    }

    /// Notes why the run cannot go on; the first reason stays.
    pub fn fail(&self, why: impl Into<String>) {
        let mut ending = self.ending();
        ending.why.get_or_insert_with(|| why.into());
        ending.failed = true;
        drop(ending);
        self.stop();
    }

    /// Ends the run at once and well: nothing that it read would be lost.
    pub fn abandon(&self) {
        self.ending().abandoned = true;
        self.stop();
    }

    /// Why the run failed, or why it drains, if it was not asked to.
    pub fn failure(&self) -> Option<String> {
        self.ending().why.clone()
    }

    /// Whether the run ended before it had read anything, because it was asked to.
    pub fn is_abandoned(&self) -> bool {
        self.ending().abandoned
    }

    /// Whether something failed in a way that lets nothing be finished.
    pub fn has_failed(&self) -> bool {
        self.ending().failed
    }

    /// Whether the dataflow is to be dropped as it is.
    pub fn is_over(&self) -> bool {
        let ending = self.ending();
        ending.failed || ending.abandoned
    }

    /// What is being tried again, what fails for longest first.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.troubles.list(self.0.host.instant())
    }

    /// Where others say what they try again.
    pub fn noting(&self) -> Troubles {
        self.0.troubles.clone()
    }

    /// Watches the calling thread until what is returned is dropped: if it panics, the run fails.
    /// Its messages would be waited for without end otherwise.
    pub fn watch_thread(&self) -> Watch {
        Watch(self.clone())
    }

    /// Calls `action` until it succeeds or fails for good, pausing longer each time; a failure for
    /// good ends the run.
    ///
    /// While the store is away the run waits: memory stays within the source's budget, because
    /// nothing is taken in meanwhile. A run that was asked to stop waits for [`COMMIT_WITHIN`] and
    /// fails.
    pub async fn retrying<T>(
        &self,
        what: &str,
        action: impl AsyncFnMut() -> Result<T, LakeError>,
    ) -> Option<T> {
        let mut last = None;
        let done = self.attempt(what, action, &mut last, COMMIT_WITHIN).await;
        if done.is_none() {
            self.too_late(what, last.as_deref());
        }
        done
    }

    /// Waits as long for work that is tried again elsewhere.
    pub async fn waiting<T>(&self, what: &str, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.out_of_time() => {
                let troubles = self.troubles();
                self.too_late(what, troubles.first().map(|trouble| trouble.error.as_str()));
                None
            }
            done = work => Some(done),
        }
    }

    fn too_late(&self, what: &str, last: Option<&str>) {
        let said = last.map_or(String::new(), |error| format!(": {error}"));
        self.fail(format!(
            "could not {what} within {} s after the run was asked to stop{said}; what is not committed will be read again by the next run",
            COMMIT_WITHIN.as_secs()
        ));
    }

    /// The same for what need not be done once the run was asked to stop: `None` then, and nothing
    /// failed.
    pub async fn retrying_until_stopped<T>(
        &self,
        what: &str,
        action: impl AsyncFnMut() -> Result<T, LakeError>,
    ) -> Option<T> {
        self.attempt(what, action, &mut None, Duration::ZERO).await
    }

    /// `None` when the run was asked to stop `within` ago, or `action` failed for good; then the
    /// outcome says why.
    async fn attempt<T>(
        &self,
        what: &str,
        mut action: impl AsyncFnMut() -> Result<T, LakeError>,
        last: &mut Option<String>,
        within: Duration,
    ) -> Option<T> {
        let mut pause = Duration::from_millis(50);
        let mut trying = self.0.troubles.trying(what);
        loop {
            let tried = tokio::select! {
                biased;
                () = self.stopped_for(within) => return None,
                tried = action() => tried,
            };
            let error = match tried {
                Ok(done) => return Some(done),
                // Where something else has failed, nobody waits for the store any more.
                Err(error) if error.is_retryable() && !self.has_failed() => error,
                Err(error) => {
                    self.fail(format!("could not {what}: {error}"));
                    return None;
                }
            };
            tracing::warn!("could not {what}, trying again in {pause:?}: {error}");
            let said = error.to_string();
            trying.failed(self.0.host.instant(), &said);
            *last = Some(said);
            self.pause(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Sleeps, but not for long once the run was asked to stop.
    async fn pause(&self, pause: Duration) {
        let short = pause.min(LAST_PAUSE_MAX);
        self.0.host.sleep(short).await;
        if pause > short {
            tokio::select! {
                biased;
                () = self.stopped_for(Duration::ZERO) => {}
                () = self.0.host.sleep(pause - short) => {}
            }
        }
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.0.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Outcome::watch_thread`].
#[derive(Debug)]
pub struct Watch(Outcome);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(PANICKED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Machine;

    /// A store that is away.
    fn away() -> LakeError {
        LakeError::Store {
            action: "write",
            path: "x".to_owned(),
            source: "connection refused".into(),
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    }

    fn outcome(runtime: &tokio::runtime::Runtime) -> Outcome {
        Outcome::new(Arc::new(Machine(runtime.handle().clone())))
    }

    #[test]
    fn a_thread_that_panics_fails_the_run() {
        let runtime = runtime();
        let outcome = outcome(&runtime);
        let watched = outcome.clone();
        let good = std::thread::spawn(move || drop(watched.watch_thread()));
        good.join().expect("it does not panic");
        assert_eq!(outcome.failure(), None);
        let watched = outcome.clone();
        let bad = std::thread::spawn(move || {
            let _watch = watched.watch_thread();
            panic!("on purpose");
        });
        assert!(bad.join().is_err());
        assert_eq!(outcome.failure().as_deref(), Some(PANICKED));
        assert!(outcome.is_stopping() && outcome.is_over());
    }

    #[test]
    fn what_is_tried_again_is_a_trouble_until_it_succeeds() {
        let runtime = runtime();
        let outcome = outcome(&runtime);
        let mut tries = 0;
        let told = runtime.block_on(outcome.retrying("write a file", async || {
            tries += 1;
            let seen = outcome.troubles().pop().map(|trouble| trouble.what);
            if tries == 1 { Err(away()) } else { Ok(seen) }
        }));
        assert_eq!(told.flatten().as_deref(), Some("write a file"));
        assert!(outcome.troubles().is_empty());
        assert_eq!(outcome.failure(), None);
    }

    #[test]
    fn a_store_that_never_answers_does_not_keep_a_run_from_stopping() {
        let runtime = runtime();
        let outcome = outcome(&runtime);
        outcome
            .0
            .stopping
            .send_replace(Some(Instant::now() - COMMIT_WITHIN));
        let hung = outcome.retrying("commit", async || {
            std::future::pending::<Result<(), LakeError>>().await
        });
        assert_eq!(runtime.block_on(hung), None);
        let why = outcome.failure().unwrap();
        assert!(
            why.starts_with("could not commit within 8 s after"),
            "{why}"
        );
        let work = outcome.waiting("write the archive", std::future::pending::<()>());
        assert_eq!(runtime.block_on(work), None);
    }

    #[test]
    fn a_run_that_is_asked_to_stop_gives_up_what_it_only_wanted_to_read() {
        let runtime = runtime();
        let outcome = outcome(&runtime);
        let asking = outcome.clone();
        let read = outcome.retrying_until_stopped("read a file", async || {
            asking.stop();
            Err::<(), _>(away())
        });
        assert_eq!(runtime.block_on(read), None);
        assert_eq!(outcome.failure(), None);
    }

    #[test]
    fn a_run_that_stops_for_a_reason_drains_and_tells_it() {
        let runtime = runtime();
        let outcome = outcome(&runtime);
        outcome.stop_because("the source failed");
        assert!(outcome.is_stopping() && !outcome.is_over());
        assert_eq!(outcome.failure().as_deref(), Some("the source failed"));
        outcome.fail("the lake failed");
        assert!(outcome.is_over());
        assert_eq!(outcome.failure().as_deref(), Some("the source failed"));
    }
}

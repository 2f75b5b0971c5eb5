//! How a run ends: because it was asked to, because its input ended, or because something failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::host::Host;
use crate::lake::LakeError;

/// What a run that panicked says.
const PANICKED: &str =
    "a thread of pinflow panicked; the message above says where: please report it";

/// Shared by all threads of a process.
#[derive(Clone, Debug)]
pub struct Outcome(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Arc<dyn Host>,
    stopping: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Outcome {
    /// Of a run on this machine that goes well so far.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Outcome(Arc::new(Inner {
            host,
            stopping: AtomicBool::new(false),
            failure: Mutex::new(None),
        }))
    }

    /// Asks the run to end well.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the run is to end.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// Notes why the run cannot go on; the first reason stays.
    pub fn fail(&self, why: impl Into<String>) {
        self.0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| why.into());
        self.stop();
    }

    /// Why the run failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Watches the calling thread until what is returned is dropped: if it panics, the run fails. Its messages would be waited for without end otherwise.
    pub fn watch_thread(&self) -> Watch {
        Watch(self.clone())
    }

    /// Calls `action` until it succeeds or fails for good, pausing longer each time; a failure for good ends the run.
    ///
    /// While the store is away the run waits: memory stays within the source's budget, because nothing is taken in meanwhile. When the run is to
    /// end, a handful of tries is all there is.
    pub async fn retrying<T>(
        &self,
        what: &str,
        mut action: impl AsyncFnMut() -> Result<T, LakeError>,
    ) -> Option<T> {
        const PAUSE_MAX: Duration = Duration::from_secs(10);
        const LAST_TRIES: u32 = 5;
        let mut pause = Duration::from_millis(50);
        let mut last_tries = 0;
        loop {
            match action().await {
                Ok(done) => return Some(done),
                Err(error) if error.is_retryable() && last_tries < LAST_TRIES => {
                    tracing::warn!("could not {what}, trying again in {pause:?}: {error}");
                    last_tries += u32::from(self.is_stopping());
                    self.0.host.sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => {
                    self.fail(format!("could not {what}: {error}"));
                    return None;
                }
            }
        }
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

    #[test]
    fn a_thread_that_panics_fails_the_run() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let machine = Machine(runtime.expect("a runtime").handle().clone());
        let outcome = Outcome::new(Arc::new(machine));
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
        assert!(outcome.is_stopping());
    }
}

//! How a run ends: because it was asked to, because its input ended, or because something failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::lake::LakeError;

/// Shared by all threads of a process.
#[derive(Clone, Debug, Default)]
pub struct Outcome(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopping: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Outcome {
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
                    tokio::time::sleep(pause).await;
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

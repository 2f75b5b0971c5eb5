//! A reader that panics must not look like the end of input, nor like one that waits.
//!
//! Sources read in tasks and threads of their own. What runs there is run through here: a panic
//! becomes a failure of the source, which ends the run.
//!
//! # Invariants
//! Whoever waits for what runs here is told how it ended.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;

use super::SourceError;

/// What a panic is told as.
fn panicked(source_name: &str, place: &str) -> SourceError {
    SourceError::Failed {
        source_name: source_name.to_owned(),
        place: place.to_owned(),
        why: "its reader panicked; the message above says where: please report it".to_owned(),
    }
}

/// Reads in a task.
pub(super) async fn in_task<T>(
    source_name: &str,
    place: &str,
    reading: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    // What the reader leaves behind is not looked at: the source has failed.
    let read = AssertUnwindSafe(reading).catch_unwind().await;
    read.unwrap_or_else(|_| Err(panicked(source_name, place)))
}

/// Reads in a thread.
pub(super) fn in_thread(
    source_name: &str,
    place: &str,
    reading: impl FnOnce(),
) -> Result<(), SourceError> {
    catch_unwind(AssertUnwindSafe(reading)).map_err(|_| panicked(source_name, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "the source dir:here failed at pin: its reader panicked; the message above says where: please report it";

    #[test]
    fn a_panic_in_a_task_is_a_failure_of_the_source() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let bad = in_task("dir:here", "pin", async { panic!("on purpose") });
        let told: Result<(), SourceError> = runtime.block_on(bad);
        assert_eq!(told.unwrap_err().to_string(), TOLD);
        let good = in_task("dir:here", "pin", async { Ok(7) });
        assert_eq!(runtime.block_on(good).unwrap(), 7);
    }

    #[test]
    fn a_panic_in_a_thread_is_a_failure_of_the_source() {
        let bad = in_thread("dir:here", "pin", || panic!("on purpose"));
        assert_eq!(bad.unwrap_err().to_string(), TOLD);
        assert!(in_thread("dir:here", "pin", || ()).is_ok());
    }
}

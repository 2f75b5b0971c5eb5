//! How a run opens its archive: as the lake's checkpoint left it, so that both hold the same
//! records.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::outcome::Outcome;
use super::run::RunError;
use crate::archive::{Archive, ArchiveOptions};
use crate::host::{Host, Machine};
use crate::sink::Committer;
use crate::source::{Opening, Storage};

/// Opens the archive that the lake's checkpoint speaks of, as far as this process looks after it.
pub(super) fn open_archive(
    location: &str,
    opening: &Opening,
    mine: impl Fn(&str, &str) -> bool,
    runtime: &Handle,
) -> Result<Archive, RunError> {
    let storage = Storage::at(location, &opening.troubles)?;
    let (name, streams) = (location.to_owned(), opening.streams.clone());
    let options = ArchiveOptions::default();
    let host: Arc<dyn Host> = Arc::new(Machine(runtime.clone()));
    let archive = Archive::open(storage, name, streams, host, options);
    let mut archive = archive.noting(opening.troubles.clone());
    runtime
        .block_on(archive.recover(&opening.positions, mine))
        .map_err(|error| RunError::Failed(error.to_string()))?;
    Ok(archive)
}

/// Makes the archive what it was at the lake's checkpoint. Where something is to go, the lake is
/// fenced first, at `now_ms`: answers the number of that checkpoint, or 0; `None` if the run was
/// asked to stop meanwhile.
pub(super) async fn settle_archive(
    archive: &mut Archive,
    committer: &mut Committer,
    outcome: &Outcome,
    now_ms: i64,
) -> Result<Option<u64>, RunError> {
    if !archive.exceeds_checkpoint() {
        return Ok(Some(0));
    }
    let fencing = outcome.retrying_until_stopped("take over the archive", async || {
        committer.fence(now_ms).await
    });
    let Some(fence) = fencing.await else {
        let failure = outcome.failure().map(RunError::Failed);
        return failure.map_or(Ok(None), Err);
    };
    tokio::select! {
        biased;
        () = outcome.stopped_for(Duration::ZERO) => Ok(None),
        cut = archive.cut() => match cut {
            Ok(()) => Ok(Some(fence)),
            Err(error) => Err(RunError::Failed(error.to_string())),
        },
    }
}

//! How a run opens its archive: as the lake's checkpoint left it, so that both hold the same
//! records.

use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use super::run::RunError;
use crate::archive::{Archive, ArchiveOptions, SharedArchive};
use crate::host::{Host, Machine};
use crate::source::{Opening, Storage};

/// Opens the archive as it was at the lake's checkpoint, as far as this process looks after it.
pub(super) fn open_archive(
    location: &str,
    opening: &Opening,
    mine: impl Fn(&str, &str) -> bool,
    runtime: &Handle,
) -> Result<SharedArchive, RunError> {
    let storage = Storage::at(location, &opening.troubles)?;
    let (name, streams) = (location.to_owned(), opening.streams.clone());
    let options = ArchiveOptions::default();
    let host: Arc<dyn Host> = Arc::new(Machine(runtime.clone()));
    let archive = Archive::open(storage, name, streams, host, options);
    let mut archive = archive.noting(opening.troubles.clone());
    runtime
        .block_on(archive.recover(&opening.positions, mine))
        .map_err(|error| RunError::Failed(error.to_string()))?;
    Ok(Arc::new(Mutex::new(archive)))
}

//! Reads files, one after the other, into assemblers.

mod files;
mod objects;

use std::sync::Arc;

use super::assemble::Assembler;
use super::place::{Order, ReadTo};
use super::shared::Shared;
use crate::source::SourceError;

/// A file to read.
pub(super) struct Job {
    /// Its path in the store.
    pub path: Arc<str>,
    /// Its size, where listing told.
    pub size: Option<u64>,
    /// Where to begin.
    pub start: ReadTo,
    /// Whether nothing more can be written to it.
    pub complete: bool,
    /// What places in it say.
    pub order: Order,
    /// Which assembler it goes to.
    pub to: usize,
}

/// How far a file was read.
pub(super) struct Done {
    /// Which job.
    pub job: usize,
    /// The file's size then.
    pub size: u64,
    /// How much of it was handed on.
    pub read: ReadTo,
}

/// Reads `jobs` in order. `done` is told when one is finished.
pub(super) async fn feed(
    shared: &Arc<Shared>,
    jobs: Vec<Job>,
    assemblers: &mut [Assembler],
    done: &mut (dyn FnMut(Done) + Send),
) -> Result<(), SourceError> {
    if shared.storage.is_bucket() {
        objects::feed(shared, jobs.into(), assemblers, done).await?;
    } else {
        files::feed(shared, jobs.into(), assemblers, done).await?;
    }
    for assembler in assemblers {
        assembler.flush().await?;
    }
    Ok(())
}

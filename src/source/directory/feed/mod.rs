//! Reads files, one after the other, into assemblers.

mod files;
mod objects;

use std::sync::Arc;

use super::assemble::Assembler;
use super::open_file::Writing;
use super::place::{FileSeen, Object, Place, ReadTo, Tail};
use super::shared::Shared;
use crate::source::SourceError;

/// A file to read.
pub(super) struct Job {
    /// Its path in the store.
    pub path: Arc<str>,
    /// Its size, where listing told.
    pub size: Option<u64>,
    /// See [`super::storage::Entry::id`], where listing told.
    pub id: Option<u64>,
    /// Of an object below a date: which one it is.
    pub object: Option<(i64, Object)>,
    /// Where to begin.
    pub start: ReadTo,
    /// What must be before that.
    pub tail: Option<Tail>,
    /// Whether more may be written to it.
    pub writing: Writing,
    /// Which assembler it goes to.
    pub to: usize,
}

impl Job {
    /// The file as it looks now that it is opened.
    fn seen(&self, id: Option<u64>) -> FileSeen {
        FileSeen {
            path: self.path.to_string(),
            id,
            object: self.object,
        }
    }
}

/// How far a file was read.
pub(super) struct Done {
    /// Which job.
    pub job: usize,
    /// The file's size then.
    pub size: u64,
    /// The file, and how much of it was handed on.
    pub place: Place,
}

/// Reads `jobs` in order. `done` is told when one is finished.
pub(super) async fn feed(
    shared: &Arc<Shared>,
    jobs: Vec<Job>,
    assemblers: &mut [Assembler],
    done: &mut (dyn FnMut(Done) + Send),
) -> Result<(), SourceError> {
    let fed = if shared.storage.is_bucket() {
        objects::feed(shared, jobs.into(), assemblers, done).await
    } else {
        files::feed(shared, jobs.into(), assemblers, done).await
    };
    // What came before a failure is handed on, so that it can be committed.
    for assembler in assemblers {
        assembler.abandon().await?;
        assembler.flush().await?;
    }
    fed
}

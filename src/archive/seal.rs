//! The end of a commit, as the archive sees it.

use std::collections::BTreeMap;

use super::ArchiveError;
use crate::host::Task;
use crate::source::Position;

/// An object that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its path below the archive's root.
    pub path: String,
    /// The offset of its first record.
    pub start: u64,
    /// The offset behind its last record.
    pub end: u64,
    /// Its size.
    pub bytes: usize,
}

/// What a seal wrote.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    /// All objects that were written since the last seal.
    pub objects: Vec<Written>,
    /// The marks, to be put into the checkpoint beside the source's positions.
    pub positions: BTreeMap<String, Position>,
}

/// A seal that is being written.
pub struct Sealing {
    pub(super) writes: Vec<Task<Result<Option<Written>, ArchiveError>>>,
    pub(super) positions: BTreeMap<String, Position>,
    pub(super) failure: Option<ArchiveError>,
}

impl Sealing {
    /// Waits until everything is written.
    pub async fn written(self) -> Result<Sealed, ArchiveError> {
        let mut failure = self.failure;
        let mut objects = Vec::new();
        for write in self.writes {
            match write.await {
                Ok(Ok(written)) => objects.extend(written),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(panicked) => {
                    let error = ArchiveError::Store {
                        archive: String::new(),
                        action: "write",
                        path: String::new(),
                        why: panicked.to_string(),
                    };
                    failure = failure.or(Some(error));
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Sealed {
                objects,
                positions: self.positions,
            }),
        }
    }
}

//! What can go wrong with an archive.

/// Why an archive cannot be written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store did not do what it was asked.
    #[error(
        "could not {action} `{path}` in the archive {archive}: {why}; check that it can be reached and may be written, then start again: nothing is lost"
    )]
    Store {
        archive: String,
        action: &'static str,
        path: String,
        why: String,
    },
    /// What is there is not what was written.
    #[error("`{path}` in the archive {archive} is not what was written there: {why}")]
    Altered {
        archive: String,
        path: String,
        why: String,
    },
    /// Someone else writes there.
    #[error(
        "`{path}` in the archive {archive} is being written by another process; end that one first, or use another archive"
    )]
    Locked { archive: String, path: String },
    /// Records came out of their order.
    #[error(
        "offset {came} of `{partition}` came when {expected} was to come next; the archive was not continued (this is a bug: please report it)"
    )]
    Order {
        partition: String,
        came: u64,
        expected: u64,
    },
}

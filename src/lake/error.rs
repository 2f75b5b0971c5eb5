//! What can go wrong with a lake, in sentences: what, where, why, and what to do.

use std::error::Error;

/// An error of the lake, its checkpoints or its Delta tables.
///
/// Ask [`LakeError::is_retryable`] whether the same call may simply be made again; every other kind needs a
/// person (or is a bug, and says so).
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The location given by the user cannot be a lake.
    #[error("the lake location `{location}` cannot be used: {why}")]
    Location { location: String, why: String },

    /// The store did not do what it was asked. Nothing is known to be wrong with the lake itself.
    #[error("could not {action} `{path}` in the lake: {}; check that the store can be reached and may be written, then try again", chain(source.as_ref()))]
    Store {
        action: &'static str,
        path: String,
        source: Box<dyn Error + Send + Sync>,
    },

    /// A put-if-absent whose answer was lost, and the store could not be asked what became of it.
    #[error("it is not known whether `{path}` was written: {}; repeat the same commit, which is safe, or restart, which reads the lake afresh", chain(source.as_ref()))]
    Unknown {
        path: String,
        source: Box<dyn Error + Send + Sync>,
    },

    /// Another writer committed the checkpoint that we were about to commit.
    #[error(
        "the lake is held by the writer `{holder}`, which committed checkpoint {number} at {at_ms} ms since 1970; \
         only one pinflow may write a lake: stop one of the two, then start again"
    )]
    Held {
        holder: String,
        number: u64,
        at_ms: i64,
    },

    /// Someone else changed a table that only pinflow may change.
    #[error(
        "the Delta table `{table}` was changed by someone else at version {version} ({found}); pinflow must be the only writer of its tables: \
         stop the other writer, and remove its log entry or move the table away"
    )]
    Foreign {
        table: String,
        version: u64,
        found: String,
    },

    /// A table has seen a checkpoint that the lake does not have.
    #[error(
        "the Delta table `{table}` already holds checkpoint {has}, but the last checkpoint of the lake that names it is {expected}; \
         `_checkpoints` was changed or restored from an older copy: bring back its newest files"
    )]
    TableAhead {
        table: String,
        has: u64,
        expected: u64,
    },

    /// A table lacks a checkpoint that was complete long ago.
    #[error(
        "the Delta table `{table}` should hold checkpoint {expected}, but holds {}, and the checkpoints in between are gone; \
         the table was removed or restored from an older copy: bring it back, or start a new lake", .has.map_or("none".to_string(), |n| n.to_string())
    )]
    TableBehind {
        table: String,
        has: Option<u64>,
        expected: u64,
    },

    /// A commit was begun, its outcome is open, and a different one was asked for.
    #[error(
        "checkpoint {number} was tried before with other content and may have been written; repeat that commit first (this is a bug in pinflow, please report it)"
    )]
    Unfinished { number: u64 },

    /// The first commit to a table did not say what columns it has.
    #[error(
        "the Delta table `{table}` is new, and its first commit has no schema (this is a bug in pinflow, please report it)"
    )]
    NoSchema { table: String },

    /// A file of the lake does not hold what it should.
    #[error(
        "`{path}` in the lake cannot be understood: {why}; it was damaged or written by another version of pinflow: restore the file, run that version, or begin a new lake with --lake"
    )]
    Malformed { path: String, why: String },

    /// Rows could not be written as, or read from, Parquet.
    #[error("could not {action} Parquet {of}: {}", chain(source.as_ref()))]
    Parquet {
        action: &'static str,
        of: String,
        source: Box<dyn Error + Send + Sync>,
    },

    /// A column type that a lake does not hold.
    #[error(
        "the column `{column}` has the type {data_type}, which tables in the lake cannot hold; cast it to TEXT, BIGINT, INT, DOUBLE, BOOLEAN, DATE, TIMESTAMP or an array of these"
    )]
    ColumnType { column: String, data_type: String },

    /// deltalake-core could not read a table or maintain its log.
    #[error("could not {action} the Delta table `{table}`: {}", chain(source.as_ref()))]
    Delta {
        action: &'static str,
        table: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl LakeError {
    /// Whether the same call may be made again as it was, after a pause.
    pub fn is_retryable(&self) -> bool {
        match self {
            LakeError::Store { source, .. } => !is_final(source.as_ref()),
            LakeError::Unknown { .. } => true,
            _ => false,
        }
    }
}

/// Whether the store refused, rather than was away: it will refuse again.
fn is_final(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    use object_store::Error::{NotFound, NotImplemented, PermissionDenied, Unauthenticated};
    let refusal = error.downcast_ref::<object_store::Error>();
    refusal.is_some_and(|error| {
        matches!(
            error,
            NotFound { .. }
                | NotImplemented { .. }
                | PermissionDenied { .. }
                | Unauthenticated { .. }
        )
    })
}

/// An error and its causes on one line, each once: object stores repeat the cause's text in their own.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

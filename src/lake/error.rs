//! What can go wrong with a lake, in sentences: what, where, why, and what to do.

use std::error::Error;

/// An error of the lake, its checkpoints or its Delta tables.
///
/// Ask [`LakeError::is_retryable`] whether the same call may simply be made again; every other kind
/// needs a person (or is a bug, and says so).
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The location given by the user cannot be a lake.
    #[error("the lake location `{location}` cannot be used: {why}")]
    Location { location: String, why: String },

    /// The store did not do what it was asked. Nothing is known to be wrong with the lake itself.
    #[error(
        "could not {action} `{path}` in the lake: {}; {}",
        chain(source.as_ref()), what_to_do(action, source.as_ref())
    )]
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

    /// A file or folder of a local lake could not be brought to disk.
    #[error(
        "`{path}` could not be brought to disk: {why}; what the disk holds of it is not known, so pinflow stops here: \
         look after the disk, then start again, which goes on from the last checkpoint"
    )]
    Sync { path: String, why: String },

    /// A data file was removed before a checkpoint named it.
    #[error(
        "the data file `{path}` was written for the next commit and is gone: something else removes files from the lake \
         (VACUUM without retention, a lifecycle rule, a script); nothing was promised yet: keep it away from files that are \
         younger than a day, then start again, which reads the same records again"
    )]
    Vanished { path: String },

    /// A data file was removed after a checkpoint named it, and before its table did.
    #[error(
        "checkpoint {number} made the data file `{path}` part of its table, and the file was removed before the table's log named it \
         (by VACUUM without retention, a lifecycle rule, a script): bring it back from a backup or an older version of the object, \
         or read the sources again into a new lake with --lake"
    )]
    CommittedGone {
        table: String,
        path: String,
        number: u64,
    },

    /// Another writer committed the checkpoint that we were about to commit.
    #[error(
        "the lake is held by the writer `{holder}`, which committed checkpoint {number} at {}; \
         only one pinflow may write a lake: stop one of the two, then start again", date(*.at_ms)
    )]
    Held {
        holder: String,
        number: u64,
        at_ms: i64,
    },

    /// The checkpoint before the one that was just put is gone.
    #[error(
        "checkpoint {number} was removed from the lake while pinflow was writing to it, and perhaps all of the lake with it; \
         nothing more is written there: bring the lake back, or begin a new one with --lake"
    )]
    Uprooted { number: u64 },

    /// Someone else changed a table that only pinflow may change.
    #[error(
        "the Delta table `{table}` was changed by someone else at version {version} ({by}); pinflow must be the only writer of its tables, \
         so it stops and changes nothing: every version before is whole. Leave the table's log as it is, since files that it no longer \
         names may be gone already; read the sources again into a new lake with --lake, and keep other writers out of it"
    )]
    Foreign {
        table: String,
        version: u64,
        by: String,
    },

    /// Someone else wrote the same rows into other files, while pinflow was running.
    #[error(
        "the files of the Delta table `{table}` were replaced by others with the same rows at version {version} ({by}); \
         nothing is lost: start again, which goes on with the new files"
    )]
    Rearranged {
        table: String,
        version: u64,
        by: String,
    },

    /// A table has seen a checkpoint that the lake does not have.
    #[error(
        "the Delta table `{table}` holds checkpoint {has}, and the last one in `_checkpoints` is {}: \
         that folder was removed or restored from an older copy, and only it says how far the sources were read; \
         bring back its newest files, or read the sources again into a new lake with --lake", number(*.last)
    )]
    TableAhead { table: String, has: u64, last: u64 },

    /// A table lacks a checkpoint that was complete long ago.
    #[error(
        "the Delta table `{table}` should hold checkpoint {expected}, but holds {}, and the checkpoints in between are gone; \
         the table was removed or restored from an older copy: bring it back, or read the sources again into a new lake with --lake",
         number(.has.unwrap_or(0))
    )]
    TableBehind {
        table: String,
        has: Option<u64>,
        expected: u64,
    },

    /// A table has a checkpoint, and the store goes on listing its log without it.
    #[error(
        "the store lists the log of the Delta table `{table}` as it was before checkpoint {number}, which is in it: lists of the store must show what was put; \
         try again later"
    )]
    ListedStale { table: String, number: u64 },

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
    #[error(
        "could not {action} the Delta table `{table}`: {}{}",
        chain(source.as_ref()),
        if *passing { "" } else {
            "; if files in its `_delta_log` are damaged or missing, bring them back, or read the \
             sources again into a new lake with --lake"
        }
    )]
    Delta {
        action: &'static str,
        table: String,
        source: Box<dyn Error + Send + Sync>,
        /// Whether the store was away meanwhile.
        passing: bool,
    },
}

impl LakeError {
    /// Whether the same call may be made again as it was, after a pause.
    pub fn is_retryable(&self) -> bool {
        match self {
            LakeError::Store { source, .. } => !is_final(source.as_ref()),
            LakeError::Delta { passing, .. } => *passing,
            LakeError::Unknown { .. } | LakeError::ListedStale { .. } => true,
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

/// What a person can do about a store that does not do what it is asked.
fn what_to_do(action: &str, error: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    /// Where keys are asked for when the environment has none.
    const INSTANCE_METADATA: &str = "169.254.169.254";
    match error.downcast_ref::<object_store::Error>() {
        Some(NotFound { .. }) if action == "read" => {
            "something else removed it: bring it back from a backup or an older version of the \
             object, or read the sources again into a new lake with --lake"
        }
        Some(PermissionDenied { .. } | Unauthenticated { .. }) => {
            "see that the lake may be read and written from here (S3: by the keys in \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), then start again"
        }
        _ if chain(error).contains(INSTANCE_METADATA) => {
            "no keys for S3 were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        _ => "check that the store can be reached and may be written, then try again",
    }
}

/// A moment as people read it, in UTC.
pub(crate) fn date(ms: i64) -> String {
    let nanos = i128::from(ms) * 1_000_000;
    let moment = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    let format = &time::format_description::well_known::Rfc3339;
    let text = moment.and_then(|moment| moment.format(format).ok());
    text.unwrap_or_else(|| format!("{ms} ms since 1970"))
}

/// A checkpoint's number; there is none with the number 0.
fn number(number: u64) -> String {
    match number {
        0 => "none".to_owned(),
        number => number.to_string(),
    }
}

/// An error and its causes on one line, each once: object stores repeat the cause's text in their
/// own.
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

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_to_do_fits_what_the_store_said() {
        let path = || "tables/pin/a.parquet".to_owned();
        let store = |action, source| LakeError::Store {
            action,
            path: path(),
            source: Box::new(source),
        };
        let gone = || object_store::Error::NotFound {
            path: path(),
            source: "404".into(),
        };
        let denied = object_store::Error::PermissionDenied {
            path: path(),
            source: "403".into(),
        };
        let generic = |why: &str| object_store::Error::Generic {
            store: "S3",
            source: why.to_owned().into(),
        };
        let errors = [
            store("read", gone()),
            store("write", gone()),
            store("write", denied),
            store(
                "list",
                generic("PUT http://169.254.169.254/latest/api/token"),
            ),
            store("list", generic("connection refused")),
        ];
        let told: Vec<String> = errors.iter().map(LakeError::to_string).collect();
        expect![[r#"
            could not read `tables/pin/a.parquet` in the lake: Object at location tables/pin/a.parquet not found: 404; something else removed it: bring it back from a backup or an older version of the object, or read the sources again into a new lake with --lake
            could not write `tables/pin/a.parquet` in the lake: Object at location tables/pin/a.parquet not found: 404; check that the store can be reached and may be written, then try again
            could not write `tables/pin/a.parquet` in the lake: The operation lacked the necessary privileges to complete for path tables/pin/a.parquet: 403; see that the lake may be read and written from here (S3: by the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), then start again
            could not list `tables/pin/a.parquet` in the lake: Generic S3 error: PUT http://169.254.169.254/latest/api/token; no keys for S3 were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
            could not list `tables/pin/a.parquet` in the lake: Generic S3 error: connection refused; check that the store can be reached and may be written, then try again
        "#]]
        .assert_eq(&(told.join("\n") + "\n"));
    }
}

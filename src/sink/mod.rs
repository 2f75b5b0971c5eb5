//! Rows into Delta tables, exactly once: stage data files, commit a checkpoint, repeat it to the
//! tables.
//!
//! ```text
//!  rows of an epoch --encode--> Parquet --Lake::stage--> file that no one names    (every worker, any time)
//!                                              |
//!  offsets + all staged files of the epoch --Committer::seal--> checkpoint n       (one worker: THE commit)
//!                                              |
//!                                        Committer::publish --> Delta log entries  (the same worker; repeatable)
//!                                        Committer::tidy    --> Delta log checkpoints, old logs and checkpoints removed
//! ```
//! On restart [`Committer::open`] finds the last checkpoint, repeats to the tables what they lack
//! of it, and says where to go on and which files each table has.
//!
//! # Which part deltalake-core plays
//! It reads tables, and it writes and cleans the checkpoints of their logs; the log entries have
//! its types. They are put by ourselves ([`log`]), because its transaction builder answers
//! questions that we must not ask: it rebases on foreign commits where we want to stop, takes the
//! time and an id from the machine where ours come from the checkpoint, mistakes its own commit for
//! a conflict when the store's answer was lost, and lists and replays the log for every commit
//! where we know the next version and need one put.
//!
//! # Invariants
//! 1. A file is named only after its put succeeded, and (local lakes) after it is on disk.
//! 2. A checkpoint is put only when every table has the one before.
//! 3. A table gets the actions of a checkpoint once: its `txn` says which it has.
mod commit;
pub mod log;
mod open;
mod pages;
pub mod parquet;
pub mod schema;
mod stage;
mod stats;

pub use commit::{Changes, Committer, Recovered, TableState};
pub use parquet::{Codec, Encoded, ParquetFile, ParquetOptions, encode};
pub use schema::{delta_schema, is_delta_schema};
pub use stage::FileFacts;

#[cfg(test)]
mod tests;

//! Where streams come from: bytes arrive with their offsets.
//!
//! A [`Source`] has partitions; each is read in order, in chunks of newline-separated records.
//! Adding a kind of source is a file here and a line in [`open`]. Sources know nothing of epochs:
//! `reclock` stamps their chunks.
//!
//! # Invariants
//! 1. The chunks of a partition follow each other without gap: the end position of one is where the
//!    next begins.
//! 2. A position is the *next* record to read. Opened at a position, a source continues exactly
//!    there.

mod directory;
mod emulated;
mod guard;
mod kafka;
mod kinesis;
mod mysql;
mod spec;
pub mod tombstone;
pub mod unread;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use crate::checkpoint::{Came, Position};
pub use crate::trouble::Troubles;
pub use directory::{Directory, Storage, stream_of_topic};
pub use emulated::Emulated;
pub use kafka::KafkaSource;
pub use kinesis::Kinesis;
pub use mysql::Mysql;
pub use spec::SourceSpec;
pub use unread::Unread;

/// Some consecutive records of one partition.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The stream: an index into the definition's streams.
    pub stream: usize,
    /// The partition's name, unique within the stream.
    pub partition: String,
    /// The offset of the first record.
    pub first_offset: u64,
    /// How many records.
    pub records: u64,
    /// The records, separated by newlines.
    pub bytes: Bytes,
    /// Keys that were deleted, in the order of their offsets. A blank line stands at the offset of
    /// each.
    pub deletes: Vec<Delete>,
    /// Rests of files that cannot be read on, in the order of their offsets. A blank line stands at
    /// the offset of each.
    pub refused: Vec<Refused>,
    /// Where the partition is to be read on.
    pub end: Position,
    /// What is known of the records if they were dead letters and are sent in again.
    pub retry: Option<Retry>,
}

/// What is known of dead letters that are sent in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// When their records came first.
    pub came: Came,
    /// The table that they could not become rows of; `None` if of any.
    pub table: Option<String>,
}

/// The deletion of a key: a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The offset of the tombstone.
    pub offset: u64,
    /// The key as the source has it: a number or text, bare or as JSON.
    pub key: Bytes,
}

/// The rest of a file that cannot be read on: it becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The offset that the rest has in its partition.
    pub offset: u64,
    /// The file.
    pub file: String,
    /// What is wrong with it, and what to do.
    pub why: String,
    /// What had begun of a record.
    pub begun: Bytes,
}

/// How far behind a partition is. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lag {
    /// The stream: an index into the definition's streams.
    pub stream: usize,
    /// The partition.
    pub partition: String,
    /// Records that are there and were not read.
    pub records: Option<u64>,
    /// Bytes that are there and were not read.
    pub bytes: Option<u64>,
    /// The age in seconds of the oldest record that was not read.
    pub seconds: Option<f64>,
}

/// What a source has to offer right now.
#[derive(Debug)]
pub enum Read {
    /// Records.
    Chunk(Chunk),
    /// Nothing at the moment.
    Idle,
    /// Nothing ever again: a bounded source is at its end.
    End,
}

/// Something that streams are read from.
///
/// It belongs to one process; each process of a cluster opens its own and reads the partitions that
/// are its share.
pub trait Source: Send {
    /// The next records of any partition, at most about `bytes_max` bytes. Must not block for long.
    fn read(&mut self, bytes_max: usize) -> Result<Read, SourceError>;

    /// What the source is, for people: without secrets.
    fn describe(&self) -> String;

    /// What positions are of, as far as possible whatever way it is reached: a folder, a bucket, a
    /// cluster, a database; without secrets. `None` if that is not known.
    fn identity(&self) -> Option<String> {
        None
    }

    /// How far behind each partition is that this process reads.
    fn lag(&self) -> Vec<Lag> {
        Vec::new()
    }
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is not one.
    #[error(
        "`{address}` is not a source: {why}\n help: sources are `dir:PATH`, `dir:s3://bucket/prefix`, `kafka://HOST:9092?topic_prefix=ID.`, `kinesis://STREAM`, `mysql://USER@HOST/DATABASE` and `emulator:`"
    )]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The storage behind a source failed.
    #[error("could not read `{place}` of the source {source_name}: {why}")]
    Storage {
        /// The source.
        source_name: String,
        /// The file or folder.
        place: String,
        /// What the storage said.
        why: String,
    },
    /// A file cannot be read on: its bytes are damaged, or nobody may read them.
    #[error(
        "could not read on in `{place}` of the source {source_name}: {why}\n help: with `--on-bad-file dead-letter` its rest becomes a dead letter, and reading goes on behind it"
    )]
    BadFile {
        /// The source.
        source_name: String,
        /// The file.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The servers behind a source refuse, or cannot be understood.
    #[error("the source {source_name} failed at {place}: {why}")]
    Failed {
        /// The source.
        source_name: String,
        /// The topic, shard or table, with the partition and offset where there is one.
        place: String,
        /// What was said, and what to do.
        why: String,
    },
    /// What is there contradicts what was read before.
    #[error("`{place}` of the source {source_name} is not what was read before: {why}")]
    Changed {
        /// The source.
        source_name: String,
        /// The file.
        place: String,
        /// What differs, and what to do.
        why: String,
    },
}

/// What to do about a file that cannot be read on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadFile {
    /// Fail: someone has to decide.
    #[default]
    Fail,
    /// Make its rest a dead letter, and go on behind it.
    DeadLetter,
}

/// What every source needs to know when it is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The streams' names, in the definition's order.
    pub streams: Vec<String>,
    /// Whether to end when everything that is there now has been read.
    pub bounded: bool,
    /// Where to read on, by `<stream>/<partition>`.
    pub positions: BTreeMap<String, Position>,
    /// This process.
    pub process: usize,
    /// How many processes share the partitions.
    pub processes: usize,
    /// The bytes that the source may keep ready, over all partitions.
    pub budget_bytes: usize,
    /// What to do about a file that cannot be read on.
    pub on_bad_file: OnBadFile,
    /// Notes what the source has and nobody reads.
    pub unread: Unread,
    /// Notes what does not work at the moment and is tried again.
    pub troubles: Troubles,
}

impl Opening {
    /// All there is now of `streams`, from the beginning, by this process alone.
    pub fn whole(streams: Vec<String>) -> Self {
        Opening {
            unread: Unread::of(&streams),
            troubles: Troubles::default(),
            on_bad_file: OnBadFile::Fail,
            streams,
            bounded: true,
            positions: BTreeMap::new(),
            process: 0,
            processes: 1,
            budget_bytes: 64 << 20,
        }
    }

    /// Where to read `partition` of `stream` on.
    pub fn position(&self, stream: &str, partition: &str) -> Position {
        self.positions
            .get(&position_key(stream, partition))
            .cloned()
            .unwrap_or_default()
    }

    /// Whether this process reads `partition` of `stream`.
    pub fn is_mine(&self, stream: &str, partition: &str) -> bool {
        let hash = crate::operator::route::hash_bytes(position_key(stream, partition).as_bytes());
        hash % self.processes as u64 == self.process as u64
    }
}

/// The name of a partition's position in checkpoints.
pub fn position_key(stream: &str, partition: &str) -> String {
    format!("{stream}/{partition}")
}

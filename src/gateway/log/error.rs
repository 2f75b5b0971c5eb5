//! Why the log cannot do what it was asked.

use std::io;
use std::path::Path;

/// Why the log cannot do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Not a name of a topic.
    #[error("`{name}` cannot be a topic of the embedded log: {why}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Too many topics.
    #[error(
        "the embedded log has {max} topics already and makes no more for `{name}`; remove those that a mistake has made, or allow more"
    )]
    TooManyTopics {
        /// The topic that was to be made.
        name: String,
        /// How many there may be.
        max: usize,
    },
    /// Not a name of a group.
    #[error(
        "`{name}` cannot be a consumer group of the embedded log: the name is too long for a file"
    )]
    GroupName {
        /// What was given.
        name: String,
    },
    /// Too many groups.
    #[error(
        "the embedded log keeps the offsets of {max} consumer groups already and of no more, such as `{name}`; remove files of `_groups` that a mistake has made"
    )]
    TooManyGroups {
        /// The group that was to be kept.
        name: String,
        /// How many there may be.
        max: usize,
    },
    /// Too many streams.
    #[error(
        "the embedded log has {max} streams already and makes no more for `{name}`; delete those that a mistake has made"
    )]
    TooManyStreams {
        /// The stream that was to be made.
        name: String,
        /// How many there may be.
        max: usize,
    },
    /// A topic has no such partition.
    #[error("the topic `{topic}` has no partition {partition}; it has {partitions}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: u32,
        /// How many there are, from 0.
        partitions: u32,
    },
    /// Names have no digit for more offsets.
    #[error(
        "partition {partition} of `{topic}` is full: names of files have no digit for more offsets; send to another topic"
    )]
    Full {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// Someone else writes it.
    #[error(
        "the log {folder} is being written by another process; only one gateway writes a log, so stop the other one or choose another folder"
    )]
    Locked {
        /// The log's folder.
        folder: String,
    },
    /// What is there contradicts itself.
    #[error("the log cannot be continued: {place} {why}")]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The file system failed.
    #[error(
        "the log failed at {place}: {why}; nothing is taken in until it can be opened again, which is tried every second"
    )]
    Failed {
        /// The file or folder.
        place: String,
        /// What the system said.
        why: String,
    },
    /// It was closed.
    #[error("the log is closed; send the records again when the gateway is back")]
    Closed,
}

impl LogError {
    /// An error of the file system, with its place.
    pub(super) fn at(place: &Path) -> impl FnOnce(io::Error) -> LogError + '_ {
        move |error| LogError::Failed {
            place: place.display().to_string(),
            why: error.to_string(),
        }
    }
}

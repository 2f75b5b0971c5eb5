//! Where records are posted to.
//!
//! A target takes one request's worth of records for one destination (a topic, a Kinesis stream)
//! and says of each what became of it. It repeats nothing itself: when and what to send again is
//! decided in `lanes.rs`, the same for all.
//!
//! ```text
//! address.rs   what `--to` can be
//! topics.rs    POST /topics/{topic}, as clients of the Kafka REST proxy    over http.rs
//! streams.rs   PUT /streams/{stream}/record(s), Kinesis by the gateway     over http.rs
//! kafka.rs     a producer
//! kinesis.rs   PutRecord(s)
//! folder.rs    files, for posts that are not made up in order
//! ```

mod address;
mod folder;
mod http;
mod kafka;
mod kinesis;
mod names;
mod streams;
mod topics;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::emulator::outgoing::Outgoing;
use crate::emulator::{EmulatorError, Stream};

pub(super) use address::TargetAddress;
pub(super) use folder::Folder;

/// What became of one record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is there, durably.
    Acknowledged,
    /// It is not there (or that is not known), and may be sent again.
    Again(String),
    /// It is not there, and sending it again would not help.
    Refused(String),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Each record has an outcome, in their order.
    Each(Vec<Outcome>),
    /// Nothing is known to be there; all may be sent again, at the earliest after a time that the
    /// target asked for.
    Again {
        /// What happened.
        why: String,
        /// What the target asked for.
        after: Option<Duration>,
    },
    /// Something in the request is wrong. A smaller request would tell what.
    Rejected(String),
    /// No request like this will ever be answered otherwise.
    Fatal(String),
}

impl Answer {
    /// All `records` records are there.
    pub(super) fn all(records: usize) -> Self {
        Self::Each(vec![Outcome::Acknowledged; records])
    }

    /// Nothing is known to be there, and nothing of how long that will last.
    pub(super) fn again(why: impl ToString) -> Self {
        Self::Again {
            why: why.to_string(),
            after: None,
        }
    }
}

/// How much one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) records: usize,
    /// Bytes of bodies; a single record may exceed it.
    pub(super) bytes: usize,
    /// Whether a key may be in a request only once, since some of its records can fail while later
    /// ones do not.
    pub(super) keys_once: bool,
}

/// Takes records.
pub(super) trait Target: Send + Sync {
    /// How many destinations there are.
    fn destinations(&self) -> usize {
        Stream::ALL.len()
    }

    /// Which destination the records of `stream` go to.
    fn destination(&self, stream: Stream) -> usize {
        stream as usize
    }

    /// Whether all records must come in the order in which they were made, of whatever key.
    fn is_ordered(&self) -> bool {
        false
    }

    /// What a request may hold.
    fn limits(&self) -> Limits;

    /// Sends records, all of one destination.
    fn send<'a>(&'a self, records: &'a [Outgoing]) -> BoxFuture<'a, Answer>;

    /// Nothing will be sent any more.
    fn finish(&self) -> BoxFuture<'_, Result<(), EmulatorError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What targets need to know beside their address.
#[derive(Clone, Default)]
pub(super) struct TargetOptions {
    /// Sent as `x-api-key`. A secret.
    pub(super) api_key: Option<String>,
    /// Chooses partition keys without meaning.
    pub(super) seed: u64,
}

impl TargetAddress {
    /// Opens the target: checks what can be checked, and connects where that is needed.
    pub(super) async fn open(
        &self,
        options: &TargetOptions,
    ) -> Result<Arc<dyn Target>, EmulatorError> {
        let failed = |why: String| EmulatorError::Target {
            address: self.to_string(),
            why,
        };
        Ok(match self {
            Self::Folder(_) => {
                return Err(failed(
                    "a folder is opened with the options of its files".to_owned(),
                ));
            }
            Self::Topics(topics) => {
                Arc::new(topics::Topics::open(topics.clone(), options).map_err(failed)?)
            }
            Self::Streams(streams) => {
                Arc::new(streams::Streams::open(streams.clone(), options).map_err(failed)?)
            }
            Self::Kafka(kafka) => Arc::new(kafka::Producer::open(kafka).map_err(failed)?),
            Self::Kinesis(kinesis) => Arc::new(
                kinesis::Kinesis::open(kinesis.clone(), options)
                    .await
                    .map_err(failed)?,
            ),
        })
    }
}

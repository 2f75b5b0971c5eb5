//! Kinesis Data Streams as a source.
//!
//! ```text
//!  watch ---- lineage: which shard, when, from where
//!    |  one task a shard
//!    v
//!  poll | fan_out ---- cursor: which records, for which stream, as chunks ----> queue (bounded in bytes) ----> read
//! ```
//!
//! A partition is a shard: `<kinesis stream>/<shard id>`, of each stream that gets records of it.
//! Offsets count its lines; the position's token says after which sequence number to read on
//! (`place`). What belongs to which stream: `route`. Records packed by Amazon's producer library
//! are unpacked (`aggregated`).
//!
//! # Unrouted records
//! A record of a shared stream whose partition key names no stream becomes, with its key and
//! sequence number, a dead letter of the definition's first stream. The address may say otherwise:
//! `unrouted=skip`, or `unrouted=<stream>`.
//!
//! # Invariants
//! 1. A child shard's first chunk comes behind the last one of each of its parents, so the records
//!    of a partition key keep their order. Within an epoch the names of shards have that order,
//!    too: a child's is greater than its parents'.
//! 2. A position is advanced for a record only together with, or behind, the chunk that holds it.
//! 3. Records that retention deleted before they were read are an error, or
//!    (`on_lost_records=earliest`) a warning.

mod aggregated;
mod ask;
mod body;
mod cursor;
mod fan_out;
mod known;
mod lineage;
mod place;
mod poll;
mod queue;
mod reader;
mod retry;
mod route;
mod watch;

#[cfg(test)]
mod history;

use std::time::Instant;

use aws_sdk_kinesis::Client;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::AbortHandle;

use self::queue::{Item, Lags, queue};
use self::reader::{Opened, now_ms};
use self::watch::Watch;
use super::{Lag, Opening, Read, Source, SourceError};
use crate::kinesis::KinesisAddress;

/// The streams of an address.
pub struct Kinesis {
    name: String,
    identity: Option<String>,
    items: UnboundedReceiver<Item>,
    lags: Lags,
    watch: AbortHandle,
    ended: bool,
}

impl Kinesis {
    /// Opens the streams of `address`; what is asked of the server is asked on `runtime`, and fails
    /// in `read`.
    pub fn open(
        address: KinesisAddress,
        opening: Opening,
        runtime: &Handle,
    ) -> Result<Self, SourceError> {
        Kinesis::start(None, address, opening, runtime)
    }

    /// Opens the streams of `address` through a client that is there.
    pub fn with_client(
        client: Client,
        address: KinesisAddress,
        opening: Opening,
        runtime: &Handle,
    ) -> Result<Self, SourceError> {
        Kinesis::start(Some(client), address, opening, runtime)
    }

    fn start(
        client: Option<Client>,
        address: KinesisAddress,
        opening: Opening,
        runtime: &Handle,
    ) -> Result<Self, SourceError> {
        if address.streams.is_empty() {
            return Err(SourceError::Address {
                address: address.to_string(),
                why: "it names no Kinesis stream; write `kinesis://<stream>[,<stream>..]`"
                    .to_owned(),
            });
        }
        let (inlet, items, lags) = queue(opening.budget_bytes);
        let name = address.describe();
        let identity = address.region.as_ref().map(|region| {
            let endpoint = address.endpoint.as_deref().unwrap_or("AWS");
            format!("Kinesis at {endpoint} in {region}")
        });
        let opened = Opened {
            at: Instant::now(),
            wall_ms: now_ms(),
        };
        let watching = runtime.spawn(async move {
            let client = match client {
                Some(client) => Ok(client),
                None => address.client().await,
            };
            match client {
                Ok(client) => {
                    Watch::new(client, address, opening, inlet, opened)
                        .run()
                        .await
                }
                Err(error) => inlet.fail(error),
            }
        });
        Ok(Kinesis {
            name,
            identity,
            items,
            lags,
            watch: watching.abort_handle(),
            ended: false,
        })
    }
}

impl Source for Kinesis {
    fn read(&mut self, _bytes_max: usize) -> Result<Read, SourceError> {
        if self.ended {
            return Ok(Read::End);
        }
        match self.items.try_recv() {
            Ok(Item::Chunk(chunk, _room)) => {
                self.lags.taken(&chunk);
                Ok(Read::Chunk(chunk))
            }
            Ok(Item::End) => {
                self.ended = true;
                Ok(Read::End)
            }
            Ok(Item::Failed(error)) => Err(error),
            Err(TryRecvError::Empty) => Ok(Read::Idle),
            Err(TryRecvError::Disconnected) => Err(SourceError::Failed {
                source_name: self.name.clone(),
                place: "its reader".to_owned(),
                why: "it stopped after an error that was told before; start again".to_owned(),
            }),
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn identity(&self) -> Option<String> {
        self.identity.clone()
    }

    fn lag(&self) -> Vec<Lag> {
        self.lags.all()
    }
}

impl Drop for Kinesis {
    fn drop(&mut self) {
        // The readers are the watch's, and end with it.
        self.watch.abort();
    }
}

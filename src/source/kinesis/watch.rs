//! Finds streams and shards, and lets each shard be read when its turn has come.
//!
//! One process reads all shards of a Kinesis stream: only who read the parents to their ends knows
//! when a child may begin.
//!
//! ```text
//!  list streams, list shards ---> Lineage ---> begin: a task that polls or subscribes ---> queue
//!                                    ^                          |
//!                                    '------- drained ----------'
//! ```

mod begin;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use tokio::task::JoinSet;

use super::aggregated::HashRange;
use super::ask::{Asking, Summary};
use super::fan_out::consumer;
use super::known::known;
use super::lineage::Lineage;
use super::place::Token;
use super::queue::Inlet;
use super::reader::{Ending, Opened};
use super::route::{Routing, fits};
use crate::kinesis::{Consumer, KinesisAddress, Start, StreamChoice};
use crate::source::{Opening, SourceError};

/// Streams and shards are listed so often; shards also whenever one was read to its end.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// All of a source's Kinesis streams.
pub struct Watch {
    asking: Asking,
    address: KinesisAddress,
    opening: Opening,
    inlet: Inlet,
    opened: Opened,
    /// Until when streams had been read when this lake was last read; what was created later is
    /// read from its beginning.
    reference_ms: i64,
    streams: BTreeMap<String, Watched>,
    /// Streams that other processes read.
    elsewhere: BTreeSet<String>,
    /// Streams that a pattern fits and whose names tell nothing.
    ignored: BTreeSet<String>,
    readers: JoinSet<(String, String, Result<Ending, SourceError>)>,
}

/// One Kinesis stream.
struct Watched {
    routing: Routing,
    lineage: Lineage,
    start: Start,
    ranges: BTreeMap<String, HashRange>,
    retention_ms: Arc<AtomicI64>,
    consumer_arn: Option<String>,
}

impl Watch {
    /// Watches the streams of `address`.
    pub fn new(
        client: Client,
        address: KinesisAddress,
        opening: Opening,
        inlet: Inlet,
        opened: Opened,
    ) -> Self {
        let tokens = opening
            .positions
            .values()
            .filter_map(|position| position.token.parse::<Token>().ok());
        let reference_ms = tokens
            .filter_map(|token| token.seen_ms)
            .max()
            .unwrap_or(opened.wall_ms);
        Watch {
            asking: Asking::new(client, address.describe(), opening.troubles.clone()),
            address,
            opening,
            inlet,
            opened,
            reference_ms,
            streams: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            ignored: BTreeSet::new(),
            readers: JoinSet::new(),
        }
    }

    /// Reads until the source is dropped, fails, or (bounded) is at its end.
    pub async fn run(mut self) {
        if let Err(error) = self.watch().await {
            self.inlet.fail(error);
        }
    }

    async fn watch(&mut self) -> Result<(), SourceError> {
        self.find().await?;
        self.asking.settled();
        let mut list_at = tokio::time::Instant::now() + LIST_EVERY;
        loop {
            if self.opening.bounded
                && self
                    .streams
                    .values()
                    .all(|watched| watched.lineage.finished())
            {
                self.inlet.end();
                return Ok(());
            }
            tokio::select! {
                Some(ended) = self.readers.join_next(), if !self.readers.is_empty() => {
                    let mut drained = BTreeSet::new();
                    self.ended(ended, &mut drained)?;
                    while let Some(ended) = self.readers.try_join_next() {
                        self.ended(ended, &mut drained)?;
                    }
                    for kinesis in drained {
                        self.list(&kinesis).await?;
                    }
                }
                () = tokio::time::sleep_until(list_at) => {
                    self.find().await?;
                    list_at = tokio::time::Instant::now() + LIST_EVERY;
                }
            }
        }
    }

    /// Takes in that a reader ended.
    fn ended(
        &mut self,
        ended: Result<(String, String, Result<Ending, SourceError>), tokio::task::JoinError>,
        drained: &mut BTreeSet<String>,
    ) -> Result<(), SourceError> {
        let (kinesis, shard, result) = ended
            .map_err(|error| self.failed("a shard", format!("its reader broke off: {error}")))?;
        let ending = result?;
        let Some(watched) = self.streams.get_mut(&kinesis) else {
            return Ok(());
        };
        match ending {
            Ending::Rested => watched.lineage.rested(&shard),
            Ending::Drained => {
                let decisions = watched.lineage.drained(&shard);
                self.act(&kinesis, decisions)?;
                drained.insert(kinesis);
            }
        }
        Ok(())
    }

    /// Finds the Kinesis streams of the address, and lists the shards of all.
    async fn find(&mut self) -> Result<(), SourceError> {
        let mut existing = None;
        for choice in self.address.streams.clone() {
            let names = match &choice {
                StreamChoice::Named(name) | StreamChoice::Bound { kinesis: name, .. } => {
                    vec![name.clone()]
                }
                StreamChoice::Pattern(pattern) => {
                    if existing.is_none() {
                        existing = Some(self.asking.stream_names().await?);
                    }
                    let fitting = existing.iter().flatten().filter(|name| fits(name, pattern));
                    fitting.cloned().collect()
                }
            };
            for kinesis in names {
                if !self.streams.contains_key(&kinesis) && !self.elsewhere.contains(&kinesis) {
                    self.found(kinesis, &choice).await?;
                }
            }
        }
        if self.streams.is_empty() && self.elsewhere.is_empty() {
            let ignored: Vec<&str> = self.ignored.iter().map(String::as_str).collect();
            let why = match ignored.as_slice() {
                [] => "no Kinesis stream fits its pattern".to_owned(),
                names => format!(
                    "the names of the Kinesis streams that fit its pattern ({}) tell no stream of the definition ({}); write the name of a shared stream in full, \
                     or `stream=name`",
                    names.join(", "),
                    self.opening.streams.join(", ")
                ),
            };
            return Err(self.failed("its streams", why));
        }
        for kinesis in self.streams.keys().cloned().collect::<Vec<_>>() {
            self.list(&kinesis).await?;
        }
        Ok(())
    }

    /// Begins to watch a Kinesis stream.
    async fn found(&mut self, kinesis: String, choice: &StreamChoice) -> Result<(), SourceError> {
        let routing = Routing::of(
            &kinesis,
            choice,
            &self.opening.streams,
            &self.address.unrouted,
        );
        let Some(routing) = routing.map_err(|why| self.failed(&kinesis, why))? else {
            if self.ignored.insert(kinesis.clone()) {
                tracing::warn!(
                    "the Kinesis stream {kinesis} is not read: its name tells no stream of the definition"
                );
            }
            return Ok(());
        };
        if !self.opening.is_mine("", &kinesis) {
            self.elsewhere.insert(kinesis);
            return Ok(());
        }
        let summary = self.asking.summary(&kinesis).await?;
        let start = match self.address.start {
            Start::Latest if summary.created_ms >= self.reference_ms => Start::Earliest,
            start => start,
        };
        let consumer_arn = match &self.address.consumer {
            Consumer::Polling => None,
            Consumer::FanOut { name } => {
                let arn = consumer(self.asking.client(), &summary.arn, name).await;
                Some(arn.map_err(|why| self.failed(&kinesis, why))?)
            }
        };
        let names: Vec<&str> = routing
            .streams()
            .iter()
            .map(|&stream| self.opening.streams[stream].as_str())
            .collect();
        let known = known(
            &self.opening.positions,
            &kinesis,
            &names,
            start == Start::Latest,
        );
        let watched = Watched {
            routing,
            lineage: Lineage::new(known, start == Start::Latest),
            start,
            ranges: BTreeMap::new(),
            retention_ms: Arc::new(AtomicI64::new(summary.retention_ms)),
            consumer_arn,
        };
        self.streams.insert(kinesis, watched);
        Ok(())
    }

    /// Lists the shards of a Kinesis stream, and begins those whose turn has come.
    async fn list(&mut self, kinesis: &str) -> Result<(), SourceError> {
        let Summary { retention_ms, .. } = self.asking.summary(kinesis).await?;
        let listed = self.asking.shards(kinesis).await?;
        let Some(watched) = self.streams.get_mut(kinesis) else {
            return Ok(());
        };
        watched.retention_ms.store(retention_ms, Ordering::Relaxed);
        let shards: Vec<_> = listed.iter().map(|(shard, _)| shard.clone()).collect();
        let ranges = listed
            .into_iter()
            .filter_map(|(shard, range)| Some((shard.id, range?)));
        watched.ranges = ranges.collect();
        let decisions = watched.lineage.listed(&shards);
        self.act(kinesis, decisions)
    }

    fn failed(&self, place: &str, why: String) -> SourceError {
        SourceError::Failed {
            source_name: self.address.describe(),
            place: place.to_owned(),
            why,
        }
    }
}

//! Kafka topics as a source: every partition of every topic that belongs to a stream.
//!
//! ```text
//!  brokers ──> librdkafka: a queue per partition ──> pump threads: chunks ──> ready queue ──> read()
//!                      ^                                    |  ^
//!                      +---- assign, at offsets of ours ---- keeper thread: new partitions, lost offsets
//! ```
//! A partition is called `<topic>/partition=<number>`; its position is the offset of the next
//! message, with the id of the topic.
//!
//! # Invariants
//! 1. Offsets come from the checkpoint only. No group is joined, nothing is committed to the
//!    broker.
//! 2. What is fetched and not read yet stays within the budget: half of it in librdkafka's queues,
//!    an eighth on the way, a quarter in ours.
//! 3. An offset is never left out silently: where one has no record, the broker said so; where
//!    records are gone, it is an error unless `on_lost_offsets` says otherwise. A topic that was
//!    deleted and made again is another one, however many records it has.
//! 4. Topics that could be a stream's by their prefix and are none's are noted in
//!    [`super::unread`].

mod batch;
mod binding;
mod keeper;
mod pump;
mod ready;
mod start;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use self::keeper::Keeper;
use self::pump::Pump;
use self::ready::{Next, Ready};
use self::status::Status;
use super::{Lag, Opening, Read, Source, SourceError, guard};
use crate::kafka::{Context, Health, KafkaAddress, topic_ids, unusable};

/// The largest chunk.
const CHUNK_BYTES: usize = 1 << 20;

/// How long is waited for the ids of cluster and topics.
const ID_PATIENCE: Duration = Duration::from_secs(5);

/// Topics of a Kafka cluster.
pub struct KafkaSource {
    name: String,
    /// The id of the cluster, if it tells.
    cluster: Option<String>,
    ready: Arc<Ready>,
    health: Arc<Health>,
    statuses: Arc<Mutex<Vec<Arc<Status>>>>,
    pumps: Vec<JoinHandle<()>>,
}

impl KafkaSource {
    /// Finds the topics and begins to fetch. Waits for the brokers as long as the address says.
    pub fn open(address: &KafkaAddress, opening: Opening) -> Result<KafkaSource, SourceError> {
        let name = address.describe();
        let asking: BaseConsumer<Context> = address
            .client_config()
            .set("isolation.level", address.isolation.setting())
            .create_with_context(address.context())
            .map_err(|error| unusable(address, &error))?;
        let bound = binding::bind_or_create(address, &opening, &asking)?;
        opening.unread.tell(&name);
        let topics = bound.iter().map(|bound| bound.topic.as_str());
        let ids = topic_ids(&asking, topics, ID_PATIENCE.min(address.wait));
        let cluster = asking.client().fetch_cluster_id(ID_PATIENCE);
        let plans = start::plan(address, &opening, &bound, &ids, &asking)?;
        drop(asking);

        let consumer: BaseConsumer<Context> = address
            .consumer_config(opening.budget_bytes, plans.len())
            .create_with_context(address.context())
            .map_err(|error| unusable(address, &error))?;
        let health = consumer.client().context().health();
        let consumer = Arc::new(consumer);
        let open = opening.bounded.then_some(plans.len());
        let ready = Arc::new(Ready::new(opening.budget_bytes / 4, open));
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let (asks, asked) = crossbeam_channel::unbounded();
        let (inboxes, pumps): (Vec<_>, Vec<_>) = (0..threads(plans.len()))
            .map(|number| {
                let (send, inbox) = crossbeam_channel::unbounded();
                let trying = || opening.troubles.trying(format!("read {name}"));
                let pump = Pump {
                    source_name: name.clone(),
                    consumer: Arc::clone(&consumer),
                    health: Arc::clone(&health),
                    ready: Arc::clone(&ready),
                    chunk_bytes: CHUNK_BYTES.min(opening.budget_bytes / 16).max(1),
                    inbox,
                    keeper: asks.clone(),
                    partitions: Vec::new(),
                    statistics: 0,
                    trying: (number == 0).then(trying),
                };
                (send, pump)
            })
            .unzip();
        // Only the pumps ask: when they are gone, the keeper goes.
        drop(asks);
        let mut keeper = Keeper {
            address: address.clone(),
            opening,
            consumer,
            ready: Arc::clone(&ready),
            statuses: Arc::clone(&statuses),
            pumps: inboxes,
            known: BTreeSet::new(),
            made_for: plans.len().max(1),
            topic_ids: ids,
        };
        for plan in plans {
            keeper.read(plan)?;
        }
        let mut source = KafkaSource {
            name,
            cluster,
            ready,
            health,
            statuses,
            pumps: Vec::new(),
        };
        for pump in pumps {
            let thread = source.thread("kafka-pump", move || pump.run())?;
            source.pumps.push(thread);
        }
        // It may be waiting for a broker when the source is dropped, and ends by itself then.
        source.thread("kafka-keeper", move || keeper.run(&asked))?;
        Ok(source)
    }

    fn thread(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, SourceError> {
        let (source_name, place) = (self.name.clone(), name.to_owned());
        let ready = Arc::clone(&self.ready);
        let guarded = move || {
            if let Err(error) = guard::in_thread(&source_name, &place, body) {
                ready.fail(error);
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(guarded)
            .map_err(|error| SourceError::Failed {
                source_name: self.name.clone(),
                place: name.to_owned(),
                why: format!("the thread cannot be started: {error}"),
            })
    }
}

impl Source for KafkaSource {
    /// The next chunk, of at most [`CHUNK_BYTES`] and one record, whatever `bytes_max` is. Never
    /// waits.
    fn read(&mut self, _bytes_max: usize) -> Result<Read, SourceError> {
        match self.ready.pop() {
            Next::Chunk(fetched) => {
                fetched.status.read(&fetched.chunk, fetched.made_ms);
                Ok(Read::Chunk(fetched.chunk))
            }
            Next::Idle => Ok(Read::Idle),
            Next::End => Ok(Read::End),
            Next::Failed(error) => Err(error),
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn identity(&self) -> Option<String> {
        let cluster = self.cluster.as_ref()?;
        Some(format!("kafka cluster {cluster}"))
    }

    fn lag(&self) -> Vec<Lag> {
        let trouble = self.health.trouble();
        let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses
            .iter()
            .map(|status| status.lag(trouble.as_ref()))
            .collect()
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.ready.close();
        for pump in self.pumps.drain(..) {
            pump.thread().unpark();
            // A pump that panicked has said so.
            let _ = pump.join();
        }
    }
}

/// How many pumps: each takes about a million messages a second from librdkafka, and leaves the
/// other cores to the dataflow.
fn threads(partitions: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 4).clamp(1, 4).min(partitions.max(1))
}

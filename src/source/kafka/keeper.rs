//! The thread that decides which partitions are read and from where: it finds new ones, gives up
//! those that ended, and answers when records are gone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::batch::Batch;
use super::binding::{Bound, bind, note_unread};
use super::pump::Partition;
use super::ready::Ready;
use super::start::{Begin, Plan, TopicIds};
use super::status::{Status, partition_name};
use crate::kafka::{Context, Isolation, KafkaAddress, OnLostOffsets, topic_ids, topics_of};
use crate::source::{Opening, SourceError};

/// One question to the brokers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// What the pumps ask for.
pub(super) enum Ask {
    /// The partition is at its end.
    Leave(Arc<Status>),
    /// The broker has no record at `next`.
    Lost {
        status: Arc<Status>,
        next: u64,
        target: Option<u64>,
    },
}

/// The thread's state.
pub(super) struct Keeper {
    pub(super) address: KafkaAddress,
    pub(super) opening: Opening,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) ready: Arc<Ready>,
    pub(super) statuses: Arc<Mutex<Vec<Arc<Status>>>>,
    pub(super) pumps: Vec<Sender<Partition>>,
    /// Stream, topic and number of all partitions that are read or were.
    pub(super) known: BTreeSet<(usize, String, i32)>,
    /// For how many partitions the client's queues were made.
    pub(super) made_for: usize,
    /// The ids of the topics when they were found.
    pub(super) topic_ids: TopicIds,
}

impl Keeper {
    /// Runs until the pumps are gone.
    pub(super) fn run(mut self, asks: &Receiver<Ask>) {
        let every = self.address.discover;
        let mut next = Instant::now() + every;
        loop {
            let wait = if self.opening.bounded {
                every
            } else {
                next.saturating_duration_since(Instant::now())
            };
            let outcome = match asks.recv_timeout(wait) {
                Ok(Ask::Leave(status)) => {
                    self.leave(&status);
                    Ok(())
                }
                Ok(Ask::Lost {
                    status,
                    next,
                    target,
                }) => self.lost(&status, next, target),
                Err(RecvTimeoutError::Timeout) if self.opening.bounded => Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + every;
                    self.discover()
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = outcome {
                self.ready.fail(error);
            }
            if self.ready.is_closed() {
                return;
            }
        }
    }

    /// Reads partitions that were not there before, from their beginning.
    fn discover(&mut self) -> Result<(), SourceError> {
        let metadata = match self.consumer.fetch_metadata(None, PATIENCE) {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::debug!(
                    "{}: new partitions cannot be looked for: {error}",
                    self.address
                );
                return Ok(());
            }
        };
        let topics = topics_of(&metadata);
        let bound = bind(&self.address, &self.opening.streams, &topics);
        note_unread(&self.address, &self.opening, &bound, &topics);
        self.opening.unread.tell(&self.address.describe());
        self.check_topics(&bound)?;
        for plan in self.new_partitions(&bound) {
            tracing::info!(
                "{}: reading the new partition {}",
                self.address,
                partition_name(&plan.topic, plan.number)
            );
            self.read(plan)?;
        }
        if self.known.len() > 2 * self.made_for {
            self.made_for = self.known.len();
            tracing::warn!(
                "{}: there are {} partitions now; restart to divide the memory among them anew",
                self.address,
                self.known.len()
            );
        }
        Ok(())
    }

    /// Whether the topics are still those that are read.
    fn check_topics(&mut self, bound: &[Bound]) -> Result<(), SourceError> {
        let names = bound.iter().map(|bound| bound.topic.as_str());
        for (topic, id) in topic_ids(&self.consumer, names, PATIENCE) {
            let known = self
                .topic_ids
                .entry(topic.clone())
                .or_insert_with(|| id.clone())
                .clone();
            if known == id {
                continue;
            }
            let read: u64 = {
                let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
                let own = statuses.iter().filter(|status| status.topic == topic);
                own.map(|status| status.records()).sum()
            };
            return Err(self.failed(
                &topic,
                format!(
                    "the topic was deleted and made again while it was read: {read} records were read since the start of the one with the id {known}, and there is one with the id {id} now; start again to be told where each partition stands"
                ),
            ));
        }
        Ok(())
    }

    fn new_partitions(&self, bound: &[Bound]) -> Vec<Plan> {
        let mut plans = Vec::new();
        for bound in bound {
            let stream = &self.opening.streams[bound.stream];
            for number in 0..bound.partitions as i32 {
                let name = partition_name(&bound.topic, number);
                let place = (bound.stream, bound.topic.clone(), number);
                if self.known.contains(&place) || !self.opening.is_mine(stream, &name) {
                    continue;
                }
                let begin = match self.opening.position(stream, &name).offset {
                    0 => Begin::Oldest,
                    offset => Begin::At(offset),
                };
                plans.push(Plan {
                    topic_id: self
                        .topic_ids
                        .get(&bound.topic)
                        .cloned()
                        .unwrap_or_default(),
                    stream: bound.stream,
                    topic: bound.topic.clone(),
                    number,
                    begin,
                    target: None,
                });
            }
        }
        plans
    }

    /// Begins to read a partition.
    pub(super) fn read(&mut self, plan: Plan) -> Result<(), SourceError> {
        let name = partition_name(&plan.topic, plan.number);
        let is_other = |(stream, topic, number): &(usize, String, i32)| {
            *stream != plan.stream && *topic == plan.topic && *number == plan.number
        };
        if let Some((other, ..)) = self.known.iter().find(|known| is_other(known)) {
            let (one, other) = (
                &self.opening.streams[*other],
                &self.opening.streams[plan.stream],
            );
            let why = format!(
                "the streams {one} and {other} are both bound to this topic; bind each to its own with `<stream>=<topic>`"
            );
            return Err(self.failed(&name, why));
        }
        let (offset, batch) = match plan.begin {
            Begin::Oldest => (Offset::Beginning, Batch::new(0)),
            Begin::At(offset) => (raw(offset), Batch::new(offset)),
            Begin::Chosen(offset) => {
                // A blank line before the first record, so that the choice becomes part of the
                // checkpoint and is made only once.
                let mut batch = Batch::new(0);
                batch.reach(offset);
                (raw(offset), batch)
            }
        };
        let status = Arc::new(Status::new(
            plan.stream,
            &plan.topic,
            plan.number,
            &plan.topic_id,
            self.address.isolation == Isolation::ReadCommitted,
            batch.next(),
        ));
        let queue = self
            .consumer
            .split_partition_queue(&plan.topic, plan.number)
            .ok_or_else(|| self.failed(&name, "librdkafka has no queue for it".to_owned()))?;
        let place = one(&plan.topic, plan.number, offset)
            .map_err(|error| self.failed(&name, error.to_string()))?;
        self.consumer
            .incremental_assign(&place)
            .map_err(|error| self.failed(&name, format!("it cannot be read: {error}")))?;
        let known = (plan.stream, plan.topic, plan.number);
        self.known.insert(known);
        let partition = Partition {
            status: Arc::clone(&status),
            queue,
            batch,
            target: plan.target,
            made_ms: None,
            since: None,
            end_seen: None,
        };
        {
            let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
            statuses.retain(|status| status.partition != name || status.stream != plan.stream);
            statuses.push(status);
        }
        let pump = plan.number as usize % self.pumps.len();
        // A pump that is gone has closed the queue, and the reader is told.
        let _ = self.pumps[pump].send(partition);
        Ok(())
    }

    fn leave(&self, status: &Status) {
        // If that cannot be, records wait in librdkafka's queue, as much of them as it may hold,
        // and nobody reads them.
        if let Ok(place) = one(&status.topic, status.number, Offset::Invalid) {
            let _ = self.consumer.incremental_unassign(&place);
        }
    }

    /// Decides what to do about records that are gone.
    fn lost(&mut self, status: &Status, next: u64, target: Option<u64>) -> Result<(), SourceError> {
        let (low, high) = loop {
            match self
                .consumer
                .fetch_watermarks(&status.topic, status.number, PATIENCE)
            {
                Ok((low, high)) => break (low.max(0) as u64, high.max(0) as u64),
                Err(error) => {
                    tracing::warn!(
                        "{}: the offsets of {} cannot be had: {error}",
                        self.address,
                        status.partition
                    );
                    if self.ready.is_closed() {
                        return Ok(());
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        };
        self.leave(status);
        let mut plan = Plan {
            topic_id: status.topic_id.clone(),
            stream: status.stream,
            topic: status.topic.clone(),
            number: status.number,
            begin: Begin::At(next),
            target,
        };
        let what = if next < low {
            format!(
                "{} records from offset {next} on are gone (removed by retention, or deleted): the oldest that is there is {low}",
                low - next
            )
        } else if next > high {
            format!(
                "the partition ends at offset {high}, before {next}, where reading is to go on: the topic was deleted and made again, or lost its end"
            )
        } else {
            // It was a passing state of the broker.
            return self.read(plan);
        };
        let chosen = match self.address.on_lost_offsets {
            OnLostOffsets::Earliest => low,
            OnLostOffsets::Latest => high,
            OnLostOffsets::Fail => {
                return Err(self.failed(
                    &format!("{} at offset {next}", status.partition),
                    format!(
                        "{what}. With `--on-lost-offsets earliest` reading goes on at {low}, with `latest` at {high}; what lies between is not in the tables then"
                    ),
                ));
            }
        };
        tracing::warn!(
            "{}: {}: {what}; going on at {chosen}, as `on_lost_offsets` says",
            self.address,
            status.partition
        );
        plan.begin = Begin::Chosen(chosen);
        self.read(plan)
    }

    fn failed(&self, place: &str, why: String) -> SourceError {
        SourceError::Failed {
            source_name: self.address.describe(),
            place: place.to_owned(),
            why,
        }
    }
}

fn raw(offset: u64) -> Offset {
    Offset::Offset(offset.min(i64::MAX as u64) as i64)
}

fn one(topic: &str, number: i32, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number, offset)?;
    Ok(list)
}

//! The thread that empties the queues of partitions into chunks.
//!
//! Each partition has a queue of its own in librdkafka, so a run of messages is one batch, and what
//! is to be known of a partition is looked up once a run. While our own queue is full nothing is
//! taken, the queues of librdkafka fill, and it stops fetching: that is all the back pressure there
//! is.

use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;

use super::batch::Batch;
use super::keeper::Ask;
use super::ready::{Fetched, Ready};
use super::status::Status;
use crate::kafka::{Context, Health};
use crate::source::SourceError;
use crate::trouble::Trying;

/// How long to wait for messages or room before the client's events are served.
const TURN: Duration = Duration::from_millis(20);

/// A batch waits this long for more while there is something else to read.
const LINGER: Duration = Duration::from_millis(10);

/// How long brokers may refuse us while running.
const REFUSED: Duration = Duration::from_secs(30);

/// Messages between looks at the clock.
const STRIDE: u32 = 256;

/// A partition that is read.
pub(super) struct Partition {
    pub(super) status: Arc<Status>,
    pub(super) queue: PartitionQueue<Context>,
    pub(super) batch: Batch,
    /// Where a bounded source ends.
    pub(super) target: Option<u64>,
    /// When one of the last records of the batch was made, in milliseconds since 1970.
    pub(super) made_ms: Option<i64>,
    /// When the batch got its first line.
    pub(super) since: Option<Instant>,
    /// The statistics say that there is nothing readable before this offset.
    pub(super) end_seen: Option<u64>,
}

impl Partition {
    /// Hands over what was collected.
    fn flush(&mut self, ready: &Ready) {
        self.since = None;
        hand_over(&self.status, &mut self.batch, self.made_ms, ready);
    }
}

fn hand_over(status: &Arc<Status>, batch: &mut Batch, made_ms: Option<i64>, ready: &Ready) {
    if let Some(mut chunk) = batch.cut(status.stream, &status.partition) {
        chunk.end.token.clone_from(&status.topic_id);
        ready.push(Fetched {
            chunk,
            status: Arc::clone(status),
            made_ms,
        });
    }
}

/// What came of looking at a partition.
enum Outcome {
    /// There may be more.
    More,
    /// Its queue is empty.
    Drained,
    /// It is at its end and is no longer read.
    Done,
    /// The broker does not have the offset that was asked for.
    Lost,
    /// It cannot be read.
    Failed(String),
}

/// The thread's state.
pub(super) struct Pump {
    pub(super) source_name: String,
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) health: Arc<Health>,
    pub(super) ready: Arc<Ready>,
    pub(super) chunk_bytes: usize,
    /// Partitions to read from now on.
    pub(super) inbox: Receiver<Partition>,
    pub(super) keeper: Sender<Ask>,
    pub(super) partitions: Vec<Partition>,
    pub(super) statistics: u64,
    /// Of the first pump: tells that the brokers cannot be reached.
    pub(super) trying: Option<Trying>,
}

impl Pump {
    /// Runs until the queue is closed.
    pub(super) fn run(mut self) {
        let me = std::thread::current();
        while !self.ready.is_closed() {
            if let Err(why) = self.serve() {
                self.ready.fail(self.failed(&self.source_name, why));
                return;
            }
            while let Ok(mut partition) = self.inbox.try_recv() {
                wake_by(&mut partition.queue, me.clone());
                self.partitions.push(partition);
            }
            if !self.ready.wait_for_room(TURN) {
                continue;
            }
            if !self.turn() {
                std::thread::park_timeout(if self.is_collecting() { LINGER } else { TURN });
            }
        }
    }

    /// Serves the client's events: errors, statistics, tokens.
    fn serve(&mut self) -> Result<(), String> {
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            if let Err(KafkaError::MessageConsumptionFatal(code)) = event {
                return Err(format!("librdkafka cannot go on: {code}"));
            }
        }
        let trouble = self.health.trouble();
        if let Some(trying) = &mut self.trying {
            match &trouble {
                Some(trouble) => trying.failed(trouble.since, &trouble.what),
                None => trying.succeeded(),
            }
        }
        if let Some(trouble) = trouble
            && trouble.refused
            && trouble.since.elapsed() > REFUSED
        {
            return Err(format!(
                "the brokers refuse us ({}); check the user, the password and the certificates",
                trouble.what
            ));
        }
        let Some((version, statistics)) = self.health.statistics() else {
            return Ok(());
        };
        if version != self.statistics {
            self.statistics = version;
            for partition in &mut self.partitions {
                let seen = partition.status.learn(&statistics);
                if partition.target.is_none() {
                    partition.end_seen = seen;
                }
            }
        }
        Ok(())
    }

    /// Looks at every partition once; tells whether there was anything.
    fn turn(&mut self) -> bool {
        let mut any = false;
        let mut at = 0;
        while at < self.partitions.len() {
            let outcome = self.look(at, &mut any);
            match outcome {
                Outcome::More => any = true,
                Outcome::Drained => {}
                Outcome::Done => {
                    let mut partition = self.partitions.swap_remove(at);
                    partition.flush(&self.ready);
                    drop(partition.queue);
                    // The keeper is there as long as we are.
                    let _ = self.keeper.send(Ask::Leave(partition.status));
                    self.ready.end_one();
                    any = true;
                    continue;
                }
                Outcome::Lost => {
                    let mut partition = self.partitions.swap_remove(at);
                    partition.flush(&self.ready);
                    // Only then may the queue be split off again.
                    drop(partition.queue);
                    let _ = self.keeper.send(Ask::Lost {
                        status: partition.status,
                        next: partition.batch.next(),
                        target: partition.target,
                    });
                    continue;
                }
                Outcome::Failed(why) => {
                    let status = &self.partitions[at].status;
                    let place = format!(
                        "{} at offset {}",
                        status.partition,
                        self.partitions[at].batch.next()
                    );
                    self.ready.fail(self.failed(&place, why));
                    return false;
                }
            }
            if self.is_due(at) {
                self.partitions[at].flush(&self.ready);
            }
            at += 1;
            if !self.ready.wait_for_room(Duration::ZERO) {
                return true;
            }
        }
        any
    }

    /// Takes what the queue of a partition has, up to a chunk.
    fn look(&mut self, at: usize, any: &mut bool) -> Outcome {
        let partition = &mut self.partitions[at];
        let mut messages = 0_u32;
        let outcome = loop {
            match partition.queue.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    let Ok(offset) = u64::try_from(message.offset()) else {
                        continue;
                    };
                    if partition.target.is_some_and(|target| offset >= target) {
                        break Outcome::Done;
                    }
                    if !partition.batch.takes(offset) {
                        hand_over(
                            &partition.status,
                            &mut partition.batch,
                            partition.made_ms,
                            &self.ready,
                        );
                    }
                    partition
                        .batch
                        .push(offset, message.key(), message.payload());
                    messages += 1;
                    if messages % STRIDE == 1 {
                        partition.made_ms = message.timestamp().to_millis();
                    }
                    if partition.batch.len() >= self.chunk_bytes {
                        partition.made_ms = message.timestamp().to_millis();
                        break Outcome::More;
                    }
                }
                None => {
                    break Outcome::Drained;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    if partition.target.is_some() {
                        break Outcome::Done;
                    }
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AutoOffsetReset) => break Outcome::Lost,
                    Some(code) => {
                        if let Some(advice) = is_final(code) {
                            break Outcome::Failed(format!("{code}; {advice}"));
                        }
                        // librdkafka tries again by itself.
                        tracing::warn!(
                            "{}: {}: {code}",
                            self.source_name,
                            partition.status.partition
                        );
                    }
                    None => break Outcome::Failed(error.to_string()),
                },
            }
        };
        *any |= messages > 0;
        match &outcome {
            Outcome::Done => {
                if let Some(target) = partition.target {
                    partition.batch.reach(target);
                }
            }
            Outcome::Drained => {
                if let Some(end) = partition.end_seen.take() {
                    partition.batch.reach(end);
                }
            }
            _ => {}
        }
        if partition.since.is_none() && !partition.batch.is_empty() {
            partition.since = Some(Instant::now());
        }
        outcome
    }

    /// Whether the batch should wait no longer: it is full, old, or there is nothing else to read.
    fn is_due(&self, at: usize) -> bool {
        let partition = &self.partitions[at];
        !partition.batch.is_empty()
            && (partition.batch.len() >= self.small()
                || partition
                    .since
                    .is_none_or(|since| since.elapsed() >= LINGER)
                || self.ready.is_empty())
    }

    /// Batches from this size on do not wait; all that wait together stay below the size of some
    /// chunks.
    fn small(&self) -> usize {
        (4 * self.chunk_bytes / self.partitions.len().max(1)).min(self.chunk_bytes)
    }

    fn is_collecting(&self) -> bool {
        self.partitions
            .iter()
            .any(|partition| !partition.batch.is_empty())
    }

    fn failed(&self, place: &str, why: String) -> SourceError {
        SourceError::Failed {
            source_name: self.source_name.clone(),
            place: place.to_owned(),
            why,
        }
    }
}

/// Has `thread` woken when messages arrive.
fn wake_by(queue: &mut PartitionQueue<Context>, thread: Thread) {
    queue.set_nonempty_callback(move || thread.unpark());
}

/// What to do about an error that does not go away by itself.
fn is_final(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId => {
            Some("the topic was deleted; make it again, or take it out of the source")
        }
        Code::TopicAuthorizationFailed => {
            Some("the user may not read the topic; grant READ and DESCRIBE on it")
        }
        Code::InvalidMessage | Code::BadMessage | Code::BadCompression => Some(
            "the broker's bytes are damaged or in a form that is not understood; skipping them would lose records, so look at the broker's log",
        ),
        Code::NotImplemented | Code::UnsupportedCompressionType => Some(
            "records are compressed in a way that is not built in; use gzip, snappy, lz4 or zstd",
        ),
        _ => None,
    }
}

//! Clients that read a piece of a partition and forget it: what GetRecords needs.
//!
//! Such a read has no group and leaves nothing behind, but a client costs connections and threads,
//! and whoever follows a shard reads every second. So clients are used again, one read at a time.
//! There is a limit to them; who comes with more reads waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ANSWER_WITHIN;
use super::client::Client;
use super::error::{blocking, ending, failed};
use crate::gateway::backend::Fault;
use crate::gateway::iterator::Room;
use crate::kafka::{Context, KafkaAddress};

/// How many clients there may be.
const CLIENTS_MAX: usize = 8;
/// What a client may keep of records that were fetched and not asked for yet: they are fetched in
/// vain when the answer is full.
const CLIENT_BYTES: usize = 4 << 20;
/// A client that was idle for so long is not used again: its login is renewed only while it is
/// used.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Once one record has come, how long to wait for another one that is there.
const NEXT_WITHIN: Duration = Duration::from_millis(500);

/// The clients that nobody uses now, and room for more.
pub(super) struct Readers {
    address: KafkaAddress,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<(Instant, Client)>>,
}

/// A client that is in use.
pub(super) struct Reader {
    client: Client,
    _place: OwnedSemaphorePermit,
}

/// A record.
pub(super) struct Found {
    pub offset: u64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// Its time, in milliseconds since 1970, if it has one.
    pub ms: Option<u64>,
}

impl Readers {
    pub fn of(address: KafkaAddress) -> Readers {
        Readers {
            address,
            places: Arc::new(Semaphore::new(CLIENTS_MAX)),
            idle: Mutex::default(),
        }
    }

    /// A client, for as long as it is held. What fails with it should be the last thing that is
    /// done with it.
    pub async fn take(&self) -> Result<Reader, Fault> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| ending())?;
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(since, _)| since.elapsed() < IDLE_MAX);
            idle.pop()
        };
        let client = match idle {
            Some((_, client)) => client,
            None => self.make()?,
        };
        Ok(Reader {
            client,
            _place: place,
        })
    }

    /// Gives a client back that was of use.
    pub fn give_back(&self, reader: Reader) {
        // One that does not let go of its partition would go on fetching it.
        if reader.client.get().unassign().is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((Instant::now(), reader.client));
        }
    }

    fn make(&self) -> Result<Client, Fault> {
        let mut config = self.address.consumer_config(CLIENT_BYTES, 1);
        // Offsets are asked for before each read, so one that is out of range has gone a moment
        // ago.
        config.set("auto.offset.reset", "earliest");
        config.set("statistics.interval.ms", "0");
        // Whoever waits for records asks again; a fetch that waits at the end keeps the next
        // request of its connection waiting.
        config.set("fetch.wait.max.ms", "5");
        let client: Result<StreamConsumer<Context>, KafkaError> =
            config.create_with_context(self.address.context());
        let client = client.map_err(|error| failed("a reader cannot be made", &error))?;
        Ok(Client::new(client))
    }
}

impl Reader {
    /// The first offset of a partition, and the one behind its last record that may be read.
    pub async fn bounds(&self, topic: &str, partition: u32) -> Result<(u64, u64), Fault> {
        let (client, topic) = (Arc::clone(self.client.get()), topic.to_owned());
        let (first, end) = blocking("offsets cannot be read", move || {
            client.fetch_watermarks(&topic, number(partition), ANSWER_WITHIN)
        })
        .await?;
        Ok((first.unsigned_abs(), end.unsigned_abs()))
    }

    /// The offset of the first record with this time or a later one, in milliseconds since 1970, if
    /// there is one.
    pub async fn offset_at(
        &self,
        topic: &str,
        partition: u32,
        ms: u64,
    ) -> Result<Option<u64>, Fault> {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let (client, topic) = (Arc::clone(self.client.get()), topic.to_owned());
        let found = blocking("the offset of a time cannot be read", move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, number(partition), Offset::Offset(ms))?;
            let found = client.offsets_for_times(list, ANSWER_WITHIN)?;
            let answer = found.find_partition(&topic, number(partition));
            answer.map_or(Ok(Offset::End), |answer| {
                answer.error().map(|()| answer.offset())
            })
        })
        .await?;
        Ok(match found {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        })
    }

    /// Records from `from` on, which is before `end`, while there is room, and the offset to go on
    /// at. Offsets are not without gaps: there may be no record before `end`, and then it is `end`.
    pub async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
        end: u64,
        room: &mut Room,
    ) -> Result<(Vec<Found>, u64), Fault> {
        let cannot = |error: &KafkaError| failed("records cannot be read", error);
        let mut list = TopicPartitionList::new();
        let begin = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, number(partition), begin)
            .map_err(|error| cannot(&error))?;
        let client = self.client.get();
        client.assign(&list).map_err(|error| cannot(&error))?;
        let mut records: Vec<Found> = Vec::new();
        let mut next = from;
        let mut deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
        let mut trouble = None;
        while next < end && !room.is_full() {
            let message = match tokio::time::timeout_at(deadline, client.recv()).await {
                Ok(Ok(message)) => message,
                Ok(Err(KafkaError::PartitionEOF(_))) => {
                    // What is left before the end are marks of transactions, and records that were
                    // taken back or compacted away.
                    next = end;
                    break;
                }
                Ok(Err(error)) if is_final(&error) => return Err(cannot(&error)),
                // The client is at it itself; if it lasts, time runs out.
                Ok(Err(error)) => {
                    trouble = Some(error);
                    continue;
                }
                Err(_) if records.is_empty() => {
                    return Err(trouble.as_ref().map_or_else(no_record_came, cannot));
                }
                Err(_) => break,
            };
            let offset = message.offset().unsigned_abs();
            if offset < next {
                continue;
            }
            if offset >= end {
                next = end;
                break;
            }
            let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
            room.take(size(message.key()) + size(message.payload()));
            next = offset + 1;
            let ms = message.timestamp().to_millis();
            records.push(Found {
                offset,
                key: message.key().map(Bytes::copy_from_slice),
                value: message.payload().map(Bytes::copy_from_slice),
                ms: ms.and_then(|ms| u64::try_from(ms).ok()),
            });
            deadline = tokio::time::Instant::now() + NEXT_WITHIN;
        }
        Ok((records, next))
    }
}

/// Kafka's number of a partition.
fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// Whether trying again does not help.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    match error {
        KafkaError::MessageConsumptionFatal(_) => true,
        KafkaError::MessageConsumption(code) => matches!(
            code,
            Code::TopicAuthorizationFailed
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::InvalidMessage
                | Code::BadMessage
                | Code::BadCompression
                | Code::NotImplemented
                | Code::UnsupportedCompressionType
        ),
        _ => false,
    }
}

fn no_record_came() -> Fault {
    Fault::Failed {
        retriable: true,
        why: "Kafka did not hand out a record that it has in time; read again with the same iterator, and look at the brokers if it lasts".to_owned(),
    }
}

//! An instance of a Kafka consumer group.
//!
//! Offsets are committed by us and not by the client: what is committed is what was returned to
//! whoever polls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::ANSWER_WITHIN;
use super::client::Client;
use super::error::{blocking, failed};
use crate::gateway::backend::{
    Consumed, Consumer, ConsumerSettings, Fault, Seek, Subscription, TopicPartition,
};
use crate::kafka::KafkaAddress;

/// Once one record has come, how long to wait for another one.
const NEXT_WITHIN: Duration = Duration::from_millis(10);

/// How long leaving a group may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct KafkaConsumer {
    client: Client,
    auto_commit: bool,
    /// The partitions that were asked for one by one.
    assigned: Option<Vec<TopicPartition>>,
    topics: Vec<String>,
    /// The offsets behind all that was returned and is not committed.
    returned: BTreeMap<TopicPartition, u64>,
}

impl KafkaConsumer {
    pub fn new(address: &KafkaAddress, settings: &ConsumerSettings) -> Result<Self, Fault> {
        let mut config = address.client_config();
        let reset = if settings.from_beginning {
            "earliest"
        } else {
            "latest"
        };
        config
            .set("group.id", &settings.group)
            .set("client.id", &settings.instance)
            .set("auto.offset.reset", reset)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            // The instance expires before Kafka takes it for dead.
            .set("max.poll.interval.ms", "900000")
            .set("queued.max.messages.kbytes", "16384");
        let client = config
            .create_with_context(address.context())
            .map_err(|error| failed("a consumer cannot be made", &error))?;
        Ok(KafkaConsumer {
            client: Client::new(client),
            auto_commit: settings.auto_commit,
            assigned: None,
            topics: Vec::new(),
            returned: BTreeMap::new(),
        })
    }

    async fn commit_to(&self, offsets: Vec<(TopicPartition, u64)>) -> Result<(), Fault> {
        if offsets.is_empty() {
            return Ok(());
        }
        let client = Arc::clone(self.client.get());
        blocking("offsets cannot be committed", move || {
            let mut list = TopicPartitionList::new();
            for (at, offset) in &offsets {
                let offset = Offset::Offset(*offset as i64);
                list.add_partition_offset(&at.topic, at.partition as i32, offset)?;
            }
            // A commit that is waited for waits for ever when no broker answers; one that is looked
            // up does not.
            client.commit(&list, CommitMode::Async)?;
            let partitions = offsets.iter().map(|(at, _)| at.clone()).collect::<Vec<_>>();
            let found = client.committed_offsets(self::list(&partitions), ANSWER_WITHIN)?;
            for (at, offset) in &offsets {
                let there = found.find_partition(&at.topic, at.partition as i32);
                if there.map(|there| there.offset()) != Some(Offset::Offset(*offset as i64)) {
                    return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset));
                }
            }
            Ok(())
        })
        .await
    }

    async fn commit_returned(&mut self) -> Result<(), Fault> {
        let mut returned: Vec<_> = std::mem::take(&mut self.returned).into_iter().collect();
        // What another member has got meanwhile is that member's to commit.
        let mine = self.partitions()?;
        returned.retain(|(at, _)| mine.contains(at));
        self.commit_to(returned).await
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>, Fault> {
        let assignment = self
            .client
            .get()
            .assignment()
            .map_err(|error| failed("the assignment cannot be read", &error))?;
        let mut partitions: Vec<_> = assignment
            .elements()
            .iter()
            .map(|one| at(one.topic(), one.partition()))
            .collect();
        partitions.sort();
        Ok(partitions)
    }
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.to_owned(),
        partition: partition.unsigned_abs(),
    }
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, at.partition as i32);
    }
    list
}

impl Consumer for KafkaConsumer {
    fn subscribe(&mut self, to: Subscription) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let topics = match to {
                Subscription::Topics(topics) => topics,
                Subscription::Pattern(pattern) => vec![pattern.as_str().to_owned()],
            };
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            self.client.get().subscribe(&names).map_err(|error| {
                Fault::Invalid(format!("Kafka refuses the subscription: {error}"))
            })?;
            self.topics = topics;
            Ok(())
        })
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            self.client.get().unsubscribe();
            if self.assigned.take().is_some() {
                self.client
                    .get()
                    .unassign()
                    .map_err(|error| failed("partitions cannot be given back", &error))?;
            }
            self.topics.clear();
            self.returned.clear();
            Ok(())
        })
    }

    fn subscription(&mut self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move { Ok(self.topics.clone()) })
    }

    fn assign(&mut self, to: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            self.client
                .get()
                .assign(&list(&to))
                .map_err(|error| failed("partitions cannot be assigned", &error))?;
            self.assigned = Some(to);
            Ok(())
        })
    }

    fn assignment(&mut self) -> BoxFuture<'_, Result<Vec<TopicPartition>, Fault>> {
        Box::pin(async move { self.partitions() })
    }

    fn poll(
        &mut self,
        wait: Duration,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Consumed>, Fault>> {
        Box::pin(async move {
            if self.auto_commit {
                self.commit_returned().await?;
            }
            let until = tokio::time::Instant::now() + wait;
            let mut records: Vec<Consumed> = Vec::new();
            let mut bytes = 0;
            while bytes < bytes_max {
                let deadline = if records.is_empty() {
                    until
                } else {
                    tokio::time::Instant::now() + NEXT_WITHIN
                };
                let message =
                    match tokio::time::timeout_at(deadline, self.client.get().recv()).await {
                        Err(_) => break,
                        Ok(Ok(message)) => message,
                        // The client is at it itself; if it lasts, the poll ends without records.
                        Ok(Err(KafkaError::MessageConsumption(
                            RDKafkaErrorCode::AllBrokersDown
                            | RDKafkaErrorCode::BrokerTransportFailure
                            | RDKafkaErrorCode::UnknownTopicOrPartition,
                        ))) => continue,
                        Ok(Err(_)) if !records.is_empty() => break,
                        Ok(Err(error)) => return Err(failed("records cannot be read", &error)),
                    };
                let record = Consumed {
                    at: at(message.topic(), message.partition()),
                    offset: message.offset().unsigned_abs(),
                    key: message.key().map(Bytes::copy_from_slice),
                    value: message.payload().map(Bytes::copy_from_slice),
                };
                bytes += record.value.as_ref().map_or(0, Bytes::len).max(1);
                self.returned.insert(record.at.clone(), record.offset + 1);
                records.push(record);
            }
            Ok(records)
        })
    }

    fn commit(
        &mut self,
        offsets: Option<Vec<(TopicPartition, u64)>>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            match offsets {
                None => self.commit_returned().await,
                Some(offsets) => self.commit_to(offsets).await,
            }
        })
    }

    fn committed(
        &mut self,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<Vec<(TopicPartition, u64)>, Fault>> {
        Box::pin(async move {
            let client = Arc::clone(self.client.get());
            let found = blocking("committed offsets cannot be read", move || {
                client.committed_offsets(list(&of), ANSWER_WITHIN)
            })
            .await?;
            let mut committed = Vec::new();
            for one in found.elements() {
                if let Offset::Offset(offset) = one.offset() {
                    committed.push((at(one.topic(), one.partition()), offset.unsigned_abs()));
                }
            }
            Ok(committed)
        })
    }

    fn seek(&mut self, to: Vec<(TopicPartition, Seek)>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let mine = self.partitions()?;
            if let Some((other, _)) = to.iter().find(|(at, _)| !mine.contains(at)) {
                return Err(Fault::State(format!(
                    "No current assignment for partition {}-{}",
                    other.topic, other.partition
                )));
            }
            self.returned
                .retain(|at, _| to.iter().all(|(moved, _)| moved != at));
            let (client, exactly) = (Arc::clone(self.client.get()), self.assigned.clone());
            blocking("partitions cannot be read elsewhere", move || {
                let mut moved = TopicPartitionList::new();
                for (at, seek) in &to {
                    let offset = match seek {
                        Seek::Beginning => Offset::Beginning,
                        Seek::End => Offset::End,
                        Seek::Offset(offset) => Offset::Offset(*offset as i64),
                    };
                    moved.add_partition_offset(&at.topic, at.partition as i32, offset)?;
                }
                // A partition that was assigned and not read yet cannot be sought in; assigning it
                // at its offset is the same.
                let Some(exactly) = exactly else {
                    client.seek_partitions(moved, ANSWER_WITHIN)?;
                    return Ok(());
                };
                let positions = client.position()?;
                for at in exactly {
                    let (topic, partition) = (at.topic.as_str(), at.partition as i32);
                    if moved.find_partition(topic, partition).is_none() {
                        let there = positions.find_partition(topic, partition);
                        let offset = there.map_or(Offset::Invalid, |there| there.offset());
                        moved.add_partition_offset(topic, partition, offset)?;
                    }
                }
                client.assign(&moved)
            })
            .await
        })
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if self.auto_commit
                && let Err(fault) = self.commit_returned().await
            {
                tracing::warn!("the last offsets of a consumer were not committed: {fault}");
            }
            let left = tokio::time::timeout(LEAVE_WITHIN, self.client.leave());
            if left.await.is_err() {
                tracing::warn!(
                    "a consumer could not leave its group in time; its partitions are free when Kafka misses it"
                );
            }
        })
    }
}

//! Which topics there are: asked now and then, and made if that is allowed.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::error::{ending, failed};
use super::{ANSWER_WITHIN, Kafka, NewTopics};
use crate::gateway::backend::{Fault, PartitionInfo, TopicInfo};

/// How old the knowledge of topics may be.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(30);
/// How often unknown topics may be asked for.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(500);
/// What is known of the brokers' topics, and since when.
#[derive(Default)]
pub(super) struct Known {
    topics: BTreeMap<String, TopicInfo>,
    at: Option<Instant>,
}

impl Kafka {
    /// Calls `look` with the topics, asked anew if they are too old.
    pub(super) async fn known<T>(
        &self,
        at_most: Duration,
        look: impl Fn(&BTreeMap<String, TopicInfo>) -> T,
    ) -> Result<T, Fault> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.at.is_some_and(|at| at.elapsed() < at_most) {
                return Ok(look(&known.topics));
            }
        }
        let producer = self.producer.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = producer.client().fetch_metadata(None, ANSWER_WITHIN)?;
            Ok(metadata.topics().iter().map(info).collect())
        });
        let topics: BTreeMap<String, TopicInfo> = asked
            .await
            .map_err(|_| ending())?
            .map_err(|error: KafkaError| failed("its topics cannot be listed", &error))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known {
            topics,
            at: Some(Instant::now()),
        };
        Ok(look(&known.topics))
    }

    /// A topic.
    pub(super) async fn find(&self, name: &str) -> Result<TopicInfo, Fault> {
        let look = |topics: &BTreeMap<String, TopicInfo>| topics.get(name).cloned();
        if let Some(found) = self.known(KNOWN_FOR, look).await? {
            return Ok(found);
        }
        let found = self.known(ASK_EVERY, look).await?;
        found.ok_or_else(|| {
            Fault::NotFound(format!(
                "Topic not found. There is no topic `{name}` at {}; make it, or let the gateway make topics.",
                self.address.describe()
            ))
        })
    }

    /// The topics that hold records of a stream, as they were known so long ago; those that are not
    /// there are left out.
    pub(super) async fn topics_of(
        &self,
        stream: &str,
        at_most: Duration,
    ) -> Result<Vec<TopicInfo>, Fault> {
        let mut names = self.naming.topics(stream);
        names.retain(|name| is_public(name));
        let look = |topics: &BTreeMap<String, TopicInfo>| -> Vec<TopicInfo> {
            let there = names.iter().filter_map(|name| topics.get(name).cloned());
            there.collect()
        };
        let mut found = self.known(at_most, look).await?;
        if found.is_empty() {
            found = self.known(ASK_EVERY, look).await?;
        }
        if found.is_empty() {
            return Err(Fault::NotFound(format!(
                "Stream {stream} under account 000000000000 not found."
            )));
        }
        Ok(found)
    }

    /// The topic, made if that is allowed.
    pub(super) async fn find_or_make(&self, name: &str) -> Result<TopicInfo, Fault> {
        match (self.find(name).await, self.new_topics) {
            (Err(Fault::NotFound(_)), Some(new)) => {
                self.make(name, new).await?;
                self.find(name).await
            }
            (found, _) => found,
        }
    }

    /// Makes a topic; one that is there already is as good.
    pub(super) async fn make(&self, name: &str, new: NewTopics) -> Result<(), Fault> {
        let topic = NewTopic::new(
            name,
            new.partitions,
            TopicReplication::Fixed(new.replication),
        );
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER_WITHIN))
            .operation_timeout(Some(ANSWER_WITHIN));
        let made = self.admin.create_topics([&topic], &options).await;
        let made = made.map_err(|error| failed("a topic cannot be made", &error))?;
        self.forget();
        for topic in made {
            match topic {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(Fault::Invalid(format!(
                        "Kafka does not make the topic `{name}`: {code}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Has the topics asked for anew.
    pub(super) fn forget(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.at = None;
    }
}

/// Kafka keeps topics of its own beside those of its users.
pub(super) fn is_public(topic: &str) -> bool {
    !["__consumer_offsets", "__transaction_state"].contains(&topic)
}

fn info(topic: &rdkafka::metadata::MetadataTopic) -> (String, TopicInfo) {
    let mut partitions: Vec<PartitionInfo> = topic
        .partitions()
        .iter()
        .map(|partition| PartitionInfo {
            partition: partition.id().unsigned_abs(),
            leader: partition.leader(),
            replicas: partition
                .replicas()
                .iter()
                .map(|broker| (*broker, partition.isr().contains(broker)))
                .collect(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    let name = topic.name().to_owned();
    (name.clone(), TopicInfo { name, partitions })
}

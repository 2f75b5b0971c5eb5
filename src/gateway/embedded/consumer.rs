//! A consumer of the embedded log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::groups::{Groups, wants};
use super::{blocking, no_topic};
use crate::gateway::backend::{
    Consumed, Consumer, ConsumerSettings, Fault, Seek, Subscription, TopicPartition,
};
use crate::gateway::log::{Cursor, Log, LogError, Most};

/// What is read.
enum Mode {
    Nothing,
    Share(Subscription),
    Exactly(Vec<TopicPartition>),
}

pub(super) struct LogConsumer {
    log: Arc<Log>,
    groups: Arc<Groups>,
    settings: ConsumerSettings,
    mode: Mode,
    cursors: BTreeMap<TopicPartition, Cursor>,
    /// The offsets behind all that was returned and is not committed.
    returned: BTreeMap<TopicPartition, u64>,
    /// Which partition comes first at the next poll.
    turn: usize,
}

impl LogConsumer {
    /// A member of its group. Blocks when the group is new.
    pub fn new(
        log: Arc<Log>,
        groups: Arc<Groups>,
        settings: ConsumerSettings,
    ) -> Result<Self, LogError> {
        groups.enter(&settings.group, &settings.instance)?;
        Ok(LogConsumer {
            log,
            groups,
            settings,
            mode: Mode::Nothing,
            cursors: BTreeMap::new(),
            returned: BTreeMap::new(),
            turn: 0,
        })
    }

    /// The partitions to read now; a change of the group's members is noticed here.
    fn partitions(&self) -> Result<Vec<TopicPartition>, Fault> {
        match &self.mode {
            Mode::Nothing => Ok(Vec::new()),
            Mode::Exactly(partitions) => Ok(partitions.clone()),
            Mode::Share(subscription) => {
                let mut share = Vec::new();
                for topic in self.log.topics() {
                    let Some(found) = self
                        .log
                        .topic(&topic)
                        .filter(|_| wants(subscription, &topic))
                    else {
                        continue;
                    };
                    let (group, instance) = (&self.settings.group, &self.settings.instance);
                    let mine = self
                        .groups
                        .share(group, instance, &topic, found.partitions())?;
                    share.extend(mine.into_iter().map(|partition| TopicPartition {
                        topic: topic.clone(),
                        partition,
                    }));
                }
                Ok(share)
            }
        }
    }

    /// Where a partition is read that was not read before.
    fn beginning(&self, at: &TopicPartition) -> Result<Cursor, Fault> {
        if let Some(offset) = self.groups.committed(&self.settings.group, at)? {
            return Ok(Cursor::at(offset));
        }
        let bounds = self.bounds(at)?;
        Ok(Cursor::at(if self.settings.from_beginning {
            bounds.0
        } else {
            bounds.1
        }))
    }

    fn bounds(&self, at: &TopicPartition) -> Result<(u64, u64), Fault> {
        let topic = self
            .log
            .topic(&at.topic)
            .ok_or_else(|| no_topic(&at.topic))?;
        topic.bounds(at.partition).ok_or_else(|| {
            Fault::from(LogError::NoPartition {
                topic: at.topic.clone(),
                partition: at.partition,
                partitions: topic.partitions(),
            })
        })
    }

    /// What is there now.
    async fn read(&mut self, bytes_max: usize) -> Result<Vec<Consumed>, Fault> {
        let partitions = self.partitions()?;
        self.cursors.retain(|at, _| partitions.contains(at));
        self.returned.retain(|at, _| partitions.contains(at));
        self.turn += 1;
        let mut read = Vec::new();
        let mut left = bytes_max;
        for number in 0..partitions.len() {
            let at = &partitions[(self.turn + number) % partitions.len()];
            let cursor = match self.cursors.get(at) {
                Some(cursor) => *cursor,
                None => self.beginning(at)?,
            };
            let (log, place) = (Arc::clone(&self.log), at.clone());
            let (records, cursor) = blocking(move || {
                let mut cursor = cursor;
                let Some(topic) = log.topic(&place.topic) else {
                    return Ok((Vec::new(), cursor));
                };
                let records = log.read(&topic, place.partition, &mut cursor, Most::bytes(left))?;
                Ok((records, cursor))
            })
            .await?;
            self.cursors.insert(at.clone(), cursor);
            if !records.is_empty() {
                self.returned.insert(at.clone(), cursor.offset);
            }
            left = left.saturating_sub(records.iter().map(|(_, value)| value.len()).sum());
            read.extend(records.into_iter().map(|(offset, value)| Consumed {
                at: at.clone(),
                offset,
                key: None,
                value: Some(value),
            }));
            if left == 0 {
                break;
            }
        }
        Ok(read)
    }

    async fn commit_returned(&mut self) -> Result<(), Fault> {
        let returned: Vec<_> = std::mem::take(&mut self.returned).into_iter().collect();
        self.commit_to(returned).await
    }

    async fn commit_to(&self, offsets: Vec<(TopicPartition, u64)>) -> Result<(), Fault> {
        let (groups, group) = (Arc::clone(&self.groups), self.settings.group.clone());
        blocking(move || groups.commit(&group, &offsets)).await
    }

    fn left(&mut self) -> Result<(), Fault> {
        self.cursors.clear();
        self.returned.clear();
        self.mode = Mode::Nothing;
        Ok(self
            .groups
            .leave(&self.settings.group, &self.settings.instance)?)
    }
}

impl Consumer for LogConsumer {
    fn subscribe(&mut self, to: Subscription) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let (group, instance) = (&self.settings.group, &self.settings.instance);
            self.groups.join(group, instance, to.clone())?;
            self.mode = Mode::Share(to);
            Ok(())
        })
    }

    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { self.left() })
    }

    fn subscription(&mut self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            Ok(match &self.mode {
                Mode::Share(Subscription::Topics(topics)) => topics.clone(),
                Mode::Share(pattern) => {
                    let mut topics = self.log.topics();
                    topics.retain(|topic| wants(pattern, topic));
                    topics
                }
                Mode::Nothing | Mode::Exactly(_) => Vec::new(),
            })
        })
    }

    fn assign(&mut self, to: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            for at in &to {
                self.bounds(at)?;
            }
            let mut to = to;
            to.sort();
            to.dedup();
            self.mode = Mode::Exactly(to);
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
            if self.settings.auto_commit {
                self.commit_returned().await?;
            }
            let until = tokio::time::Instant::now() + wait;
            let mut grown = self.log.grown();
            loop {
                grown.mark_unchanged();
                let records = self.read(bytes_max).await?;
                if !records.is_empty() {
                    return Ok(records);
                }
                match tokio::time::timeout_at(until, grown.changed()).await {
                    Ok(Ok(())) => {}
                    // Time is over, or the log is closed.
                    Ok(Err(_)) | Err(_) => return Ok(records),
                }
            }
        })
    }

    fn commit(
        &mut self,
        offsets: Option<Vec<(TopicPartition, u64)>>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            match offsets {
                None => self.commit_returned().await,
                Some(offsets) => {
                    for (at, _) in &offsets {
                        self.bounds(at)?;
                    }
                    self.commit_to(offsets).await
                }
            }
        })
    }

    fn committed(
        &mut self,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<Vec<(TopicPartition, u64)>, Fault>> {
        Box::pin(async move {
            let mut committed = Vec::new();
            for at in of {
                if let Some(offset) = self.groups.committed(&self.settings.group, &at)? {
                    committed.push((at, offset));
                }
            }
            Ok(committed)
        })
    }

    fn seek(&mut self, to: Vec<(TopicPartition, Seek)>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let partitions = self.partitions()?;
            for (at, _) in &to {
                if !partitions.contains(at) {
                    return Err(Fault::State(format!(
                        "No current assignment for partition {}-{}",
                        at.topic, at.partition
                    )));
                }
            }
            for (at, seek) in to {
                let (first, next) = self.bounds(&at)?;
                let offset = match seek {
                    Seek::Beginning => first,
                    Seek::End => next,
                    // As with Kafka, an offset that is not there leads to where the settings say.
                    Seek::Offset(offset) if (first..=next).contains(&offset) => offset,
                    Seek::Offset(_) if self.settings.from_beginning => first,
                    Seek::Offset(_) => next,
                };
                self.returned.remove(&at);
                self.cursors.insert(at, Cursor::at(offset));
            }
            Ok(())
        })
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if self.settings.auto_commit
                && let Err(fault) = self.commit_returned().await
            {
                tracing::warn!("the last offsets of a consumer were not committed: {fault}");
            }
            self.groups
                .exit(&self.settings.group, &self.settings.instance);
        })
    }
}

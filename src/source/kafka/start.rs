//! Where each partition begins and, in a bounded source, ends.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::binding::Bound;
use super::status::partition_name;
use crate::kafka::{Context, KafkaAddress, OnLostOffsets, Start};
use crate::source::{Opening, Position, SourceError, position_key};

/// A partition to read.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stream: usize,
    pub(super) topic: String,
    pub(super) number: i32,
    pub(super) begin: Begin,
    /// Records from here on are not read.
    pub(super) target: Option<u64>,
    /// The id of the topic, where the cluster tells: what the position's token says.
    pub(super) topic_id: String,
}

/// The ids of topics, by name.
pub(super) type TopicIds = BTreeMap<String, String>;

/// Why a partition cannot be read on where it was left, if its topic is not the one that was read.
pub(super) fn remade(position: &Position, topic_id: &str) -> Option<String> {
    let is_other = !position.token.is_empty() && !topic_id.is_empty() && position.token != topic_id;
    is_other.then(|| {
        format!(
            "the topic was deleted and made again: {} records were read of the one with the id {}, and this one has the id {topic_id}",
            position.offset, position.token
        )
    })
}

/// Where a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// At the oldest record that is there.
    Oldest,
    /// Where it was left.
    At(u64),
    /// At an offset that was chosen just now.
    Chosen(u64),
}

/// Offsets by topic and partition.
type Offsets = BTreeMap<(String, i32), u64>;

/// This process's partitions of `bound`.
///
/// A partition goes on where it was left. One that was never read begins as the address says, but
/// at its oldest record if others of its topic were read before: it is new since then.
pub(super) fn plan(
    address: &KafkaAddress,
    opening: &Opening,
    bound: &[Bound],
    ids: &TopicIds,
    client: &BaseConsumer<Context>,
) -> Result<Vec<Plan>, SourceError> {
    let mut remade_at = Vec::new();
    let mut plans = Vec::new();
    let mut fresh = Vec::new();
    for bound in bound {
        let stream = &opening.streams[bound.stream];
        let prefix = position_key(stream, &format!("{}/partition=", bound.topic));
        let was_read = opening.positions.keys().any(|key| key.starts_with(&prefix));
        for number in 0..bound.partitions as i32 {
            let name = partition_name(&bound.topic, number);
            if !opening.is_mine(stream, &name) {
                continue;
            }
            let position = opening.position(stream, &name);
            let topic_id = ids.get(&bound.topic).cloned().unwrap_or_default();
            let mut begin = match position.offset {
                0 => Begin::Oldest,
                offset => Begin::At(offset),
            };
            if let Some(why) = remade(&position, &topic_id) {
                begin = Begin::Oldest;
                remade_at.push((plans.len(), why));
            }
            if begin == Begin::Oldest && !was_read && address.start != Start::Earliest {
                fresh.push(plans.len());
            }
            plans.push(Plan {
                stream: bound.stream,
                topic: bound.topic.clone(),
                number,
                begin,
                target: None,
                topic_id,
            });
        }
    }
    if plans.is_empty() {
        return Ok(plans);
    }
    for (at, why) in remade_at {
        begin_again(address, client, &mut plans[at], &why)?;
    }
    if opening.bounded {
        let ends = ask(address, client, &plans, Offset::End)?;
        for plan in &mut plans {
            plan.target = ends.get(&place(plan)).copied();
        }
    }
    if !fresh.is_empty() {
        let new: Vec<Plan> = fresh.iter().map(|&at| plans[at].clone()).collect();
        let ends = ask(address, client, &new, Offset::End)?;
        let begins = match address.start {
            Start::Timestamp(ms) => ask(address, client, &new, Offset::Offset(ms))?,
            _ => Offsets::new(),
        };
        for at in fresh {
            // Without a record that is late enough, it is the end.
            let place = place(&plans[at]);
            let begin = begins.get(&place).or_else(|| ends.get(&place));
            plans[at].begin = match begin {
                Some(0) | None => Begin::Oldest,
                Some(&offset) => Begin::Chosen(offset),
            };
        }
    }
    Ok(plans)
}

/// Begins with a topic that was made again, as the address says.
fn begin_again(
    address: &KafkaAddress,
    client: &BaseConsumer<Context>,
    plan: &mut Plan,
    why: &str,
) -> Result<(), SourceError> {
    let ends = ask(address, client, std::slice::from_ref(plan), Offset::End)?;
    let end = ends.get(&place(plan)).copied().unwrap_or(0);
    let name = partition_name(&plan.topic, plan.number);
    plan.begin = match address.on_lost_offsets {
        OnLostOffsets::Earliest => Begin::Oldest,
        OnLostOffsets::Latest => Begin::Chosen(end),
        OnLostOffsets::Fail => {
            return Err(SourceError::Failed {
                source_name: address.describe(),
                place: name,
                why: format!(
                    "{why}, and ends at offset {end}. With `--on-lost-offsets earliest` it is read from its beginning, with `latest` from {end} on; to read it apart from the former, give it a lake of its own with --lake"
                ),
            });
        }
    };
    tracing::warn!("{address}: {name}: {why}; going on as `on_lost_offsets` says");
    Ok(())
}

fn place(plan: &Plan) -> (String, i32) {
    (plan.topic.clone(), plan.number)
}

/// Asks the leaders for the end of partitions, or for the first offset at a time. Where there is no
/// answer but the end, it is left out.
fn ask(
    address: &KafkaAddress,
    client: &BaseConsumer<Context>,
    plans: &[Plan],
    what: Offset,
) -> Result<Offsets, SourceError> {
    let started = Instant::now();
    loop {
        let answer = ask_once(address, client, plans, what);
        match answer {
            Ok(offsets) => return Ok(offsets),
            Err(error) if started.elapsed() > address.wait => {
                return Err(SourceError::Failed {
                    source_name: address.describe(),
                    place: address.brokers().to_owned(),
                    why: format!(
                        "the offsets of the partitions cannot be had: {error}; check that all their leaders are up"
                    ),
                });
            }
            Err(_) => while client.poll(std::time::Duration::from_millis(100)).is_some() {},
        }
    }
}

fn ask_once(
    address: &KafkaAddress,
    client: &BaseConsumer<Context>,
    plans: &[Plan],
    what: Offset,
) -> Result<Offsets, KafkaError> {
    let mut list = TopicPartitionList::new();
    for plan in plans {
        list.add_partition_offset(&plan.topic, plan.number, what)?;
    }
    let mut offsets = Offsets::new();
    for answer in client.offsets_for_times(list, address.wait)?.elements() {
        answer.error()?;
        if let Offset::Offset(offset) = answer.offset() {
            let place = (answer.topic().to_owned(), answer.partition());
            offsets.insert(place, offset.max(0) as u64);
        }
    }
    Ok(offsets)
}

//! Which records are sent when, and which again: pure bookkeeping, with time and chance passed in.
//!
//! A lane is a queue of records of one destination with at most one request under way. All records
//! of a key are in the same lane, and no request holds two of them, so that they arrive in their
//! order whatever is repeated. What a target acknowledges leaves; what failed returns to the head
//! of its lane, which then pauses.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::emulator::Stream;
use crate::emulator::backoff::Backoff;
use crate::emulator::outgoing::Outgoing;
use crate::emulator::posted::Tally;
use crate::emulator::random::Random;
use crate::emulator::target::{Answer, Limits, Outcome};

/// A record in its lane.
#[derive(Debug)]
struct Waiting {
    record: Outgoing,
    failures: u32,
}

/// The records of one request.
#[derive(Debug)]
pub(super) struct Batch {
    lane: usize,
    pub(super) records: Vec<Outgoing>,
    failures: Vec<u32>,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<Waiting>,
    under_way: bool,
    /// Nothing is sent before.
    not_before: Duration,
    /// So many records go one by one, since a request with them was rejected.
    alone: usize,
}

/// All lanes of a target.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Lanes of a destination.
    width: usize,
    limits: Limits,
    backoff: Backoff,
    jitter: Random,
    /// Records in queues.
    queued: usize,
    /// Records in requests.
    under_way: usize,
}

/// There is no sense in going on, and why.
#[derive(Debug, PartialEq)]
pub(super) struct GiveUp(pub(super) String);

impl Lanes {
    /// `width` lanes for each of `destinations`.
    pub(super) fn new(
        destinations: usize,
        width: usize,
        limits: Limits,
        backoff: Backoff,
        jitter: Random,
    ) -> Self {
        let lanes = destinations * width;
        Self {
            lanes: std::iter::repeat_with(Lane::default).take(lanes).collect(),
            width,
            limits,
            backoff,
            jitter,
            queued: 0,
            under_way: 0,
        }
    }

    /// Puts a record of `destination` behind those of its lane.
    pub(super) fn push(&mut self, destination: usize, record: Outgoing) {
        let lane = destination * self.width + (record.hash() % self.width as u64) as usize;
        self.lanes[lane].queue.push_back(Waiting {
            record,
            failures: 0,
        });
        self.queued += 1;
    }

    /// Records that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0 && self.under_way == 0
    }

    /// The next request that can be sent now; all of them if it is asked again and again.
    pub(super) fn next(&mut self, now: Duration) -> Option<Batch> {
        let at = self
            .lanes
            .iter()
            .position(|lane| !lane.under_way && !lane.queue.is_empty() && lane.not_before <= now)?;
        let lane = &mut self.lanes[at];
        let (records, failures) = lane.take(self.limits);
        lane.under_way = true;
        self.queued -= records.len();
        self.under_way += records.len();
        Some(Batch {
            lane: at,
            records,
            failures,
        })
    }

    /// When [`Self::next`] will have something again, if nothing happens before.
    pub(super) fn next_moment(&self) -> Option<Duration> {
        let waiting = self
            .lanes
            .iter()
            .filter(|lane| !lane.under_way && !lane.queue.is_empty());
        waiting.map(|lane| lane.not_before).min()
    }

    /// Takes note of what became of a request that was answered at `now`.
    pub(super) fn settle(
        &mut self,
        batch: Batch,
        answer: Answer,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), GiveUp> {
        let Batch {
            lane: at,
            records,
            failures,
        } = batch;
        self.under_way -= records.len();
        let count = records.len();
        let lane = &mut self.lanes[at];
        lane.under_way = false;
        let was_alone = lane.alone > 0;
        lane.alone = lane.alone.saturating_sub(count);
        let mut pause = Duration::ZERO;
        let outcomes = match answer {
            Answer::Each(outcomes) if outcomes.len() == count => outcomes,
            Answer::Each(_) => {
                return self.give_up(
                    at,
                    records,
                    failures,
                    "the target lost count of records".to_owned(),
                );
            }
            Answer::Again { why, after } => {
                pause = after.unwrap_or_default();
                vec![Outcome::Again(why); count]
            }
            Answer::Rejected(why) if count > 1 => {
                tally.trouble(why);
                tally.repeat(count);
                lane.alone = count;
                self.back(at, records.into_iter().zip(failures));
                return Ok(());
            }
            Answer::Rejected(why) => vec![Outcome::Refused(why)],
            Answer::Fatal(why) => return self.give_up(at, records, failures, why),
        };
        let mut again = Vec::new();
        let mut given_up = None;
        let mut worst = 0;
        for ((record, failures), outcome) in records.into_iter().zip(failures).zip(outcomes) {
            match outcome {
                Outcome::Acknowledged => tally.acknowledge(record.stream, record.body.len()),
                Outcome::Refused(why) => tally.refuse(record.stream, why),
                Outcome::Again(why) => {
                    worst = worst.max(failures + 1);
                    if failures >= self.backoff.retries {
                        given_up.get_or_insert_with(|| {
                            format!("tried {} times, at last: {why}", failures + 1)
                        });
                    }
                    tally.trouble(why);
                    again.push((record, failures + 1));
                }
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        if was_alone {
            self.lanes[at].alone += again.len();
        }
        tally.repeat(again.len());
        self.back(at, again.into_iter());
        match (given_up, self.backoff.wait(worst, &mut self.jitter)) {
            (None, Some(wait)) => {
                self.lanes[at].not_before = now + wait.max(pause);
                Ok(())
            }
            (why, _) => Err(GiveUp(why.unwrap_or_default())),
        }
    }

    /// Returns records to the head of their lane, in their order.
    fn back(&mut self, lane: usize, records: impl DoubleEndedIterator<Item = (Outgoing, u32)>) {
        for (record, failures) in records.rev() {
            self.lanes[lane]
                .queue
                .push_front(Waiting { record, failures });
            self.queued += 1;
        }
    }

    fn give_up(
        &mut self,
        lane: usize,
        records: Vec<Outgoing>,
        failures: Vec<u32>,
        why: String,
    ) -> Result<(), GiveUp> {
        self.back(lane, records.into_iter().zip(failures));
        Err(GiveUp(why))
    }
}

impl Lane {
    /// Takes the records of a request from the head of the queue: no two of a key, and within the
    /// limits.
    fn take(&mut self, limits: Limits) -> (Vec<Outgoing>, Vec<u32>) {
        let most = if self.alone > 0 { 1 } else { limits.records };
        let (mut records, mut failures) = (Vec::new(), Vec::new());
        let mut keys: HashSet<(Stream, u64)> = HashSet::new();
        let mut passed_over = Vec::new();
        let mut bytes = 0;
        while records.len() < most
            && passed_over.len() <= most
            && let Some(waiting) = self.queue.pop_front()
        {
            let size = waiting.record.body.len();
            if !records.is_empty() && bytes + size > limits.bytes {
                passed_over.push(waiting);
                break;
            }
            // A key that was passed over must not be overtaken either.
            let key = waiting.record.order_key().filter(|_| limits.keys_once);
            if key.is_some_and(|key| !keys.insert(key)) {
                passed_over.push(waiting);
                continue;
            }
            bytes += size;
            records.push(waiting.record);
            failures.push(waiting.failures);
        }
        for waiting in passed_over.into_iter().rev() {
            self.queue.push_front(waiting);
        }
        (records, failures)
    }
}

#[cfg(test)]
mod tests;

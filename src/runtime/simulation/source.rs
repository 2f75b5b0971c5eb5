//! A source whose partitions come at their own speeds, and a record of what was claimed when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::chance::Chance;
use super::records::{Partition, STREAMS};
use super::scheduler::World;
use crate::delta::Epoch;
use crate::reclock::{Claim, Feed, Intake};
use crate::source::{Chunk, Delete, Position, Read, Source, SourceError, position_key};

/// Which partitions a process reads: every so many, from its own number on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) process: usize,
    pub(super) processes: usize,
}

impl Share {
    pub(super) fn has(self, place: usize) -> bool {
        place % self.processes == self.process
    }
}

/// See the module.
pub(super) struct SimulatedSource {
    partitions: Arc<Vec<Partition>>,
    share: Share,
    /// The next record of each.
    next: Vec<usize>,
    world: World,
    chance: Chance,
    /// Whether it ends behind the last record, or waits for more.
    bounded: bool,
    /// It fails once in so many reads.
    fails: u64,
}

/// What the source says when it fails on purpose.
pub(super) const SOURCE_FAILED: &str = "a broker went away on purpose";

impl SimulatedSource {
    pub(super) fn new(
        partitions: Arc<Vec<Partition>>,
        share: Share,
        positions: &BTreeMap<String, Position>,
        world: World,
        chance: Chance,
        bounded: bool,
        fails: u64,
    ) -> Self {
        let next = partitions.iter().map(|partition| {
            let key = position_key(STREAMS[partition.stream], &partition.name);
            positions
                .get(&key)
                .map_or(0, |position| position.offset as usize)
        });
        SimulatedSource {
            next: next.collect(),
            partitions,
            share,
            world,
            chance,
            bounded,
            fails,
        }
    }
}

impl Source for SimulatedSource {
    fn read(&mut self, _bytes_max: usize) -> Result<Read, SourceError> {
        if self.chance.once_in(self.fails) {
            return Err(SourceError::Failed {
                source_name: self.describe(),
                place: "somewhere".to_owned(),
                why: SOURCE_FAILED.to_owned(),
            });
        }
        let now = self.world.now();
        let waiting = |place: &usize| {
            let record = self.partitions[*place].records.get(self.next[*place]);
            record.is_some_and(|record| record.since <= now)
        };
        let mut mine = (0..self.partitions.len()).filter(|place| self.share.has(*place));
        let able: Vec<usize> = mine.clone().filter(waiting).collect();
        if able.is_empty() {
            let all = mine.all(|place| self.next[place] >= self.partitions[place].records.len());
            return Ok(if all && self.bounded {
                Read::End
            } else {
                Read::Idle
            });
        }
        let place = able[self.chance.below(able.len() as u64) as usize];
        let partition = &self.partitions[place];
        let first = self.next[place];
        let most = 1 + self.chance.below(8) as usize;
        let records = partition.records[first..].iter();
        let (mut bytes, mut deletes, mut count) = (Vec::new(), Vec::new(), 0);
        for record in records.take_while(|record| record.since <= now).take(most) {
            match record.text(partition.stream) {
                Ok(text) => crate::decode::push_record(&mut bytes, text.as_bytes()),
                Err(key) => {
                    bytes.push(b'\n');
                    let offset = (first + count) as u64;
                    deletes.push(Delete {
                        offset,
                        key: key.into(),
                    });
                }
            }
            count += 1;
        }
        self.next[place] += count;
        Ok(Read::Chunk(Chunk {
            stream: partition.stream,
            partition: partition.name.clone(),
            first_offset: first as u64,
            records: count as u64,
            bytes: bytes.into(),
            deletes,
            refused: Vec::new(),
            end: Position {
                offset: (first + count) as u64,
                token: String::new(),
            },
            retry: None,
        }))
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }
}

/// Where each partition is to be read on after an epoch, by `<stream>/<partition>`.
pub(super) type Offsets = BTreeMap<String, u64>;

/// What one process claimed in which epoch.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<Vec<(Epoch, String, u64)>>>);

impl Claims {
    /// How many chunks were claimed.
    pub(super) fn count(&self) -> u64 {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.len() as u64
    }

    /// Where partitions were to be read on at the end of `epoch`, after `before`.
    pub(super) fn at(&self, epoch: Epoch, mut before: Offsets) -> Offsets {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, partition, end) in claims.iter().filter(|(of, _, _)| *of <= epoch) {
            before.insert(partition.clone(), *end);
        }
        before
    }
}

/// An intake that writes down what is claimed.
pub(super) struct Recorder {
    pub(super) intake: Arc<Intake>,
    pub(super) claims: Claims,
}

impl Feed for Recorder {
    fn claim(&self) -> Claim {
        let claim = self.intake.claim();
        if let Claim::Chunk(epoch, chunk) = &claim {
            let partition = position_key(STREAMS[chunk.stream], &chunk.partition);
            let mut claims = self.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
            claims.push((*epoch, partition, chunk.end.offset));
        }
        claim
    }
}

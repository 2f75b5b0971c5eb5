//! Random histories: records, splits, merges, reads, commits of any prefix, and restarts. Whatever
//! happens, each stream has every record of each key once and in order.
//!
//! The server is a model; what decides is the real lineage and the real cursors.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::cursor::{Cursor, Record};
use super::known::known;
use super::lineage::{Decision, Lineage, Shard};
use super::place::{Place, Sequence};
use super::route::{Rest, Routing};
use crate::source::{Chunk, Position, position_key};

const STREAMS: [&str; 2] = ["pin", "geo"];

/// What happens. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Records of these keys arrive.
    Put(u8, u8),
    Split(u8, u8),
    Merge(u8),
    /// A reader gets so many records, after repeating some that it had.
    Read(u8, u8, u8),
    List,
    /// A commit of a part of what was handed out, then a restart.
    Restart(u8),
}

/// A shard of the model: keys from `first` to `last`.
struct Stored {
    shard: Shard,
    first: u8,
    last: u8,
    /// Sequence number and key.
    records: Vec<(u64, u8)>,
}

#[derive(Default)]
struct World {
    shards: Vec<Stored>,
    sequence: u64,
    /// Chunks that were handed out since the start.
    handed: Vec<Chunk>,
    /// What commits hold.
    positions: BTreeMap<String, Position>,
    committed: Vec<(usize, String)>,
    now_ms: i64,
}

struct Process {
    lineage: Lineage,
    readers: BTreeMap<String, Cursor>,
}

fn routing() -> Routing {
    Routing::ByKey {
        names: STREAMS.map(str::to_owned).to_vec(),
        rest: Rest::DeadLetter,
    }
}

impl World {
    fn with_shards(count: u8) -> Self {
        let mut world = World::default();
        let width = 256 / u16::from(count);
        for i in 0..u16::from(count) {
            let last = if i + 1 == u16::from(count) {
                255
            } else {
                (i + 1) * width - 1
            };
            world.add((i * width) as u8, last as u8, &[]);
        }
        world
    }

    fn add(&mut self, first: u8, last: u8, parents: &[usize]) {
        let shard = Shard {
            id: format!("shardId-{:03}", self.shards.len()),
            parents: parents
                .iter()
                .map(|&parent| self.shards[parent].shard.id.clone())
                .collect(),
            closed: false,
        };
        self.shards.push(Stored {
            shard,
            first,
            last,
            records: Vec::new(),
        });
    }

    fn open(&self) -> Vec<usize> {
        let mut open: Vec<usize> = (0..self.shards.len())
            .filter(|&i| !self.shards[i].shard.closed)
            .collect();
        open.sort_by_key(|&i| self.shards[i].first);
        open
    }

    fn put(&mut self, key: u8) {
        self.sequence += 1;
        let sequence = self.sequence;
        let stored = self
            .shards
            .iter_mut()
            .find(|stored| !stored.shard.closed && (stored.first..=stored.last).contains(&key));
        stored
            .expect("open shards cover all keys")
            .records
            .push((sequence, key));
    }

    fn split(&mut self, choice: u8, at: u8) {
        let open = self.open();
        let parent = open[usize::from(choice) % open.len()];
        let (first, last) = (self.shards[parent].first, self.shards[parent].last);
        if first < last {
            let middle = first + at % (last - first);
            self.shards[parent].shard.closed = true;
            self.add(first, middle, &[parent]);
            self.add(middle + 1, last, &[parent]);
        }
    }

    fn merge(&mut self, choice: u8) {
        let open = self.open();
        if open.len() > 1 {
            let i = usize::from(choice) % (open.len() - 1);
            let (one, two) = (open[i], open[i + 1]);
            self.shards[one].shard.closed = true;
            self.shards[two].shard.closed = true;
            let (first, last) = (self.shards[one].first, self.shards[two].last);
            self.add(first, last, &[one, two]);
        }
    }

    fn start(&mut self) -> Process {
        let known = known(&self.positions, "s", &STREAMS, false);
        let mut process = Process {
            lineage: Lineage::new(known, false),
            readers: BTreeMap::new(),
        };
        self.list(&mut process);
        process
    }

    fn list(&mut self, process: &mut Process) {
        let listing: Vec<Shard> = self
            .shards
            .iter()
            .map(|stored| stored.shard.clone())
            .collect();
        let decisions = process.lineage.listed(&listing);
        self.act(process, decisions);
    }

    fn act(&mut self, process: &mut Process, decisions: Vec<Decision>) {
        for decision in decisions {
            let Decision::Begin { shard, .. } = decision else {
                panic!("nothing is lost here: {decision:?}");
            };
            let partition = format!("s/{shard}");
            let position = |stream: usize| {
                let key = position_key(STREAMS[stream], &partition);
                self.positions.get(&key).cloned().unwrap_or_default()
            };
            let mut cursor = Cursor::new(
                partition.clone(),
                routing(),
                None,
                position,
                Some(Place::Beginning),
                self.now_ms,
            )
            .expect("positions are our own");
            self.handed.extend(cursor.begin());
            process.readers.insert(shard, cursor);
        }
    }

    fn read(&mut self, process: &mut Process, choice: u8, count: u8, repeat: u8) {
        let Some(shard) = process
            .readers
            .keys()
            .nth(usize::from(choice) % process.readers.len().max(1))
            .cloned()
        else {
            return;
        };
        self.now_ms += 300;
        let stored = self
            .shards
            .iter()
            .find(|stored| stored.shard.id == shard)
            .expect("only listed shards are read");
        let cursor = process
            .readers
            .get_mut(&shard)
            .expect("it was named a moment ago");
        let from = match cursor.place() {
            Place::After(read) => stored
                .records
                .partition_point(|(sequence, _)| number(*sequence) <= read),
            _ => 0,
        };
        let to = (from + usize::from(count)).min(stored.records.len());
        let answer = &stored.records[from.saturating_sub(usize::from(repeat))..to];
        let texts: Vec<_> = answer
            .iter()
            .map(|(sequence, key)| (partition_key(*key), text(*sequence, *key)))
            .collect();
        let records: Vec<Record<'_>> = answer
            .iter()
            .zip(&texts)
            .map(|((sequence, _), (key, data))| Record {
                sequence: number(*sequence),
                partition_key: key,
                arrival_ms: None,
                data: data.as_bytes(),
            })
            .collect();
        let chunks = cursor.take(&records, 0, self.now_ms);
        self.handed.extend(chunks);
        if stored.shard.closed && to == stored.records.len() {
            self.handed.extend(cursor.end());
            process.readers.remove(&shard);
            let decisions = process.lineage.drained(&shard);
            self.act(process, decisions);
        }
    }

    /// Commits the first chunks that were handed out, and forgets the others.
    fn commit(&mut self, chunks: usize) {
        for chunk in self.handed.drain(..).take(chunks) {
            let key = position_key(STREAMS[chunk.stream], &chunk.partition);
            let position = self.positions.entry(key).or_default();
            assert!(
                chunk.first_offset <= position.offset,
                "a gap before {chunk:?}"
            );
            assert_eq!(
                chunk.first_offset, position.offset,
                "a repetition in {chunk:?}"
            );
            *position = chunk.end;
            let lines = chunk
                .bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            let lines =
                lines.map(|line| (chunk.stream, String::from_utf8_lossy(line).into_owned()));
            self.committed.extend(lines);
        }
    }
}

fn number(sequence: u64) -> Sequence {
    Sequence::new(&sequence.to_string()).expect("digits")
}

fn partition_key(key: u8) -> String {
    format!("{key}_{}", STREAMS[usize::from(key % 2)])
}

fn text(sequence: u64, key: u8) -> String {
    format!("{{\"key\":{key},\"n\":{sequence}}}")
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (any::<u8>(), any::<u8>()).prop_map(|(one, two)| Event::Put(one, two)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(shard, at)| Event::Split(shard, at)),
        2 => any::<u8>().prop_map(Event::Merge),
        6 => (any::<u8>(), 0..6u8, 0..3u8).prop_map(|(shard, count, repeat)| Event::Read(shard, count, repeat)),
        2 => Just(Event::List),
        1 => any::<u8>().prop_map(Event::Restart),
    ];
    proptest::collection::vec(event, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_repeated_or_reordered_per_key(shards in 1..4u8, events in events()) {
        let mut world = World::with_shards(shards);
        let mut process = world.start();
        let mut expected: BTreeMap<u8, Vec<(usize, String)>> = BTreeMap::new();
        for event in events {
            match event {
                Event::Put(one, two) => {
                    for key in [one, two] {
                        world.put(key);
                        let line = (usize::from(key % 2), text(world.sequence, key));
                        expected.entry(key).or_default().push(line);
                    }
                }
                Event::Split(shard, at) => world.split(shard, at),
                Event::Merge(shard) => world.merge(shard),
                Event::Read(shard, count, repeat) => world.read(&mut process, shard, count, repeat),
                Event::List => world.list(&mut process),
                Event::Restart(part) => {
                    let chunks = world.handed.len() * usize::from(part) / 255;
                    world.commit(chunks);
                    process = world.start();
                }
            }
        }
        // Read what is left.
        let mut rounds = 0;
        loop {
            let before = world.handed.iter().map(|chunk| chunk.records).sum::<u64>();
            world.list(&mut process);
            for reader in 0..process.readers.len() as u8 {
                world.read(&mut process, reader, 255, 0);
            }
            rounds += 1;
            let all_open = process.readers.len() == world.open().len();
            if all_open && world.handed.iter().map(|chunk| chunk.records).sum::<u64>() == before {
                break;
            }
            prop_assert!(rounds < 1000, "it does not come to an end");
        }
        let chunks = world.handed.len();
        world.commit(chunks);
        let mut found: BTreeMap<u8, Vec<(usize, String)>> = BTreeMap::new();
        for (stream, line) in world.committed {
            let key = line["{\"key\":".len()..].split(',').next().and_then(|key| key.parse().ok());
            found.entry(key.expect("lines are our own")).or_default().push((stream, line));
        }
        prop_assert_eq!(found, expected);
    }
}

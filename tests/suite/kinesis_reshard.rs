//! Shards are split and merged at random while records flow and the reader is restarted at random,
//! its last chunks forgotten: no record of a key is lost, comes twice, or comes out of order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_kinesis::types::Shard;
use pinflow::source::{Chunk, Read, Source};

use crate::support::ferro::Ferro;
use crate::support::kinesis::{Lake, Setting, wait};
use crate::support::kinesis_local::KinesisLocal;

const KEYS: [&str; 12] = [
    "a_pin", "b_pin", "c_pin", "d_pin", "pin", "a_geo", "b_geo", "c_geo", "geo", "a_user",
    "b_user", "user",
];

/// So often the reader is restarted at least.
const RESTARTS: usize = 6;

/// So many records may be put before the reader has seen as many, those that it sees again
/// included.
const AHEAD: usize = 1000;

/// What the reader did.
#[derive(Default)]
struct Progress {
    restarts: AtomicUsize,
    records: AtomicUsize,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn open_shards(setting: &Setting, stream: &str) -> Vec<Shard> {
    let listed = setting
        .runtime
        .block_on(setting.client.list_shards().stream_name(stream).send());
    let mut shards: Vec<Shard> = listed
        .map(|answer| answer.shards().to_vec())
        .unwrap_or_default();
    shards.retain(|shard| {
        shard
            .sequence_number_range()
            .is_some_and(|range| range.ending_sequence_number().is_none())
    });
    shards.sort_by_key(|shard| hashes(shard).0);
    shards
}

fn hashes(shard: &Shard) -> (u128, u128) {
    let range = shard.hash_key_range().expect("shards have hash keys");
    let number = |text: &str| text.parse().expect("a number");
    (
        number(range.starting_hash_key()),
        number(range.ending_hash_key()),
    )
}

/// Begins a split or a merge; the stream takes records all the while.
fn reshard(setting: &Setting, stream: &str, dice: &mut Dice) {
    let shards = open_shards(setting, stream);
    let at = dice.below(shards.len() as u64) as usize;
    if shards.len() > 1 && (shards.len() > 6 || dice.below(2) == 0) {
        let at = at.min(shards.len() - 2);
        let merge = setting
            .client
            .merge_shards()
            .stream_name(stream)
            .shard_to_merge(shards[at].shard_id());
        let merge = merge
            .adjacent_shard_to_merge(shards[at + 1].shard_id())
            .send();
        setting
            .runtime
            .block_on(merge)
            .expect("neighbours can be merged");
    } else {
        let (first, last) = hashes(&shards[at]);
        let middle = first + (last - first) / 2 + 1;
        let split = setting
            .client
            .split_shard()
            .stream_name(stream)
            .shard_to_split(shards[at].shard_id());
        let split = split.new_starting_hash_key(middle.to_string()).send();
        setting
            .runtime
            .block_on(split)
            .expect("a wide shard can be split");
    }
}

/// Puts at least `count` records, and goes on until the reader was restarted often enough,
/// resharding on the way; returns how many records, and how often it resharded.
fn produce(
    setting: &Setting,
    stream: &str,
    count: usize,
    reader: &Progress,
    dice: &mut Dice,
) -> (usize, usize) {
    let mut reshards = 0;
    let mut n = 0;
    while n < count || reader.restarts.load(Ordering::SeqCst) < RESTARTS {
        wait("the reader keeps up", || {
            n < reader.records.load(Ordering::SeqCst) + AHEAD
        });
        let mut batch = Vec::new();
        for key in KEYS.iter().filter(|_| dice.below(3) > 0) {
            batch.push((
                (*key).to_owned(),
                format!("{{\"key\":\"{key}\",\"n\":{n}}}").into_bytes(),
            ));
            n += 1;
        }
        if !batch.is_empty() {
            setting.put(stream, &batch);
        }
        if dice.below(4) == 0 && setting.is_active(stream) {
            reshard(setting, stream, dice);
            reshards += 1;
        }
    }
    (n, reshards)
}

fn reshard_while_records_flow(endpoint: &str, options: &str, count: usize, chunks_most: u64) {
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
        | 1;
    eprintln!("seed {seed}");
    let stream = "Kinesis-Prod-Stream";
    let setting = Setting::new(endpoint);
    setting.create(stream, 2);
    let produced = Arc::new(AtomicBool::new(false));
    let progress = Arc::new(Progress::default());
    let producer = std::thread::spawn({
        let (produced, progress) = (Arc::clone(&produced), Arc::clone(&progress));
        let endpoint = endpoint.to_owned();
        move || {
            let setting = Setting::new(&endpoint);
            let put = produce(&setting, stream, count, &progress, &mut Dice(seed));
            produced.store(true, Ordering::SeqCst);
            put
        }
    });
    let mut dice = Dice(seed ^ 0x9E37_79B9_7F4A_7C15);
    let mut lake = Lake::default();
    let begun = Instant::now();
    // While records flow: reads some chunks, commits a part of them, forgets the rest.
    while !produced.load(Ordering::SeqCst) {
        let mut source = setting.open(stream, options, lake.opening(false));
        let mut handed: Vec<Chunk> = Vec::new();
        let wanted = 1 + dice.below(chunks_most) as usize;
        while handed.len() < wanted && !produced.load(Ordering::SeqCst) {
            match source.read(1 << 20).expect("it is read") {
                Read::Chunk(chunk) => {
                    progress
                        .records
                        .fetch_add(chunk.records as usize, Ordering::SeqCst);
                    handed.push(chunk);
                }
                Read::Idle => std::thread::sleep(Duration::from_millis(1)),
                Read::End => panic!("it is not bounded"),
            }
            assert!(
                begun.elapsed() < Duration::from_secs(200),
                "it takes too long"
            );
        }
        let committed = dice.below(handed.len() as u64 + 1) as usize;
        handed
            .into_iter()
            .take(committed)
            .for_each(|chunk| lake.commit(chunk));
        progress.restarts.fetch_add(1, Ordering::SeqCst);
    }
    let (put, reshards) = producer.join().expect("all records are put");
    // What is left, and then nothing.
    for _ in 0..2 {
        lake.read_to_end(&mut setting.open(stream, options, lake.opening(true)))
            .expect("it is read");
    }
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in lake.lines.values().flatten() {
        let part = |name: &str| {
            let rest = &line[line.find(name).expect("our records") + name.len()..];
            rest.split([',', '"', '}'])
                .next()
                .expect("a value")
                .to_owned()
        };
        found
            .entry(part("\"key\":\""))
            .or_default()
            .push(part("\"n\":").parse().expect("a number"));
    }
    // Records are numbered through, over all keys.
    let mut all: Vec<usize> = found.values().flatten().copied().collect();
    all.sort_unstable();
    let total = all.len();
    let missing: Vec<usize> = (0..put).filter(|n| all.binary_search(n).is_err()).collect();
    assert_eq!(missing, [0; 0], "lost of {put} records");
    assert_eq!(total, put, "each record comes once");
    for (key, numbers) in &found {
        assert!(numbers.is_sorted(), "the records of {key} come in order");
    }
    eprintln!(
        "{total} records, {reshards} splits and merges, {} restarts, {} shards",
        progress.restarts.load(Ordering::SeqCst),
        lake.positions.len() / 3
    );
    assert!(reshards > 3, "{reshards} splits and merges");
}

#[test]
fn polling_ferrokinesis() {
    let ferro = Ferro::start();
    reshard_while_records_flow(&ferro.endpoint, "", 6000, 60);
}

#[test]
fn fan_out_from_ferrokinesis() {
    let ferro = Ferro::with(|options| options.subscribe_to_shard_session_ms = 3000);
    reshard_while_records_flow(&ferro.endpoint, "&consumer=fan-out", 4000, 10);
}

#[test]
fn polling_kinesis_local() {
    let local =
        KinesisLocal::start().unwrap_or_else(|why| panic!("kinesis-local cannot be used: {why}"));
    reshard_while_records_flow(&local.endpoint, "", 700, 60);
}

//! Power failures: after one at any moment, the log opens with every record that was acknowledged
//! or could be read, at its offset, and takes more.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use futures::future::join_all;

use super::layout::{parse_segment, segment_path};
use super::*;
use crate::disk::cases::{in_memory, seeds};
use crate::disk::image::{Chance, Image, promised};
use crate::disk::tape::{Op, Tape};

const TOPICS: [&str; 2] = ["a.pin", "geo"];
const PARTITIONS: u32 = 2;

/// So many power failures are tried in the same history.
const FAILURES_OF_ONE: u64 = 20;

fn options() -> LogOptions {
    LogOptions {
        partitions: PARTITIONS,
        segment_bytes: 250,
        wal_bytes: 600,
        queue_bytes: 4096,
        topics_max: 3,
        reopen_every: Duration::ZERO,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.build().unwrap()
}

/// A topic, and a partition of it.
type Key = (String, u32);

/// What is in a partition: the first offset, and the records from there on.
type Records = BTreeMap<Key, (u64, Vec<String>)>;

/// `Err` says what is wrong with a log.
type Opened<T> = Result<T, String>;

/// The record that is sent as the `serial`-th one.
fn record(serial: u64, (topic, partition): &Key) -> String {
    let length = serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
    let filler = "y".repeat(length as usize);
    format!("{serial} {topic} {partition} {filler}")
}

/// What the files of partitions hold.
fn records_of<'f>(files: impl Iterator<Item = (&'f Path, Vec<u8>)>) -> Opened<Records> {
    let mut found: BTreeMap<Key, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
    for (path, bytes) in files {
        let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
        let [.., topic, partition, name] = names[..] else {
            continue;
        };
        let partition = partition.strip_prefix("partition=");
        let Some(partition) = partition.and_then(|partition| partition.parse().ok()) else {
            continue;
        };
        if let Some(start) = parse_segment(name, topic, partition) {
            let key = (topic.to_owned(), partition);
            found.entry(key).or_default().insert(start, bytes);
        }
    }
    let mut records = Records::new();
    for (key, files) in found {
        let first = *files.keys().next().expect("there is a file");
        let mut lines = Vec::new();
        for (start, bytes) in files {
            if start != first + lines.len() as u64 {
                return Err(format!("{key:?}: a file begins at {start}"));
            }
            let text = String::from_utf8(bytes).map_err(|error| format!("{key:?}: {error}"))?;
            if !text.is_empty() && !text.ends_with('\n') {
                return Err(format!("{key:?}: half a record behind {start}"));
            }
            lines.extend(text.lines().map(str::to_owned));
        }
        records.insert(key, (first, lines));
    }
    Ok(records)
}

/// What a reader of the folder finds, who knows nothing of the log.
fn records_in(root: &Path) -> Opened<Records> {
    let mut files = Vec::new();
    for topic in TOPICS {
        for partition in 0..PARTITIONS {
            let folder = partition_folder(root, topic, partition);
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    records_of(files.iter().map(|path| (path.as_path(), read(path))))
}

/// Checks that each record of `least` is where it was, that none is there twice or out of order,
/// and that all were sent.
fn compare(found: &Records, least: &Records) -> Opened<()> {
    for (key, (_, lines)) in found {
        let mut last = 0;
        for line in lines {
            let serial = line
                .split(' ')
                .next()
                .and_then(|digits| digits.parse().ok());
            let serial: u64 = serial.ok_or_else(|| format!("{key:?}: what is {line:?}"))?;
            if *line != record(serial, key) {
                return Err(format!("{key:?}: what is {line:?}"));
            }
            if serial <= last {
                return Err(format!("{key:?}: {serial} comes behind {last}"));
            }
            last = serial;
        }
    }
    for (key, (first, lines)) in least {
        let (found_first, found) = found.get(key).cloned().unwrap_or((*first, Vec::new()));
        if found_first > *first && !lines.is_empty() {
            return Err(format!("{key:?} begins at {found_first}, not at {first}"));
        }
        let skipped = (first - found_first.min(*first)) as usize;
        let there = found.get(skipped..).unwrap_or_default();
        if !there.starts_with(lines) {
            return Err(format!(
                "{key:?}, from {first} on: {there:?}, not {lines:?}"
            ));
        }
    }
    Ok(())
}

/// Sends records to a log; `serial` is the last one that was sent.
struct Sender {
    runtime: tokio::runtime::Runtime,
    serial: u64,
    /// What was acknowledged, with its offset.
    acknowledged: Vec<(Key, u64, String)>,
}

impl Sender {
    fn new(serial: u64) -> Sender {
        Sender {
            runtime: runtime(),
            serial,
            acknowledged: Vec::new(),
        }
    }

    /// Sends several requests at once; `lengths` says to which partition, and how many records.
    /// Whether all were acknowledged.
    fn send(&mut self, log: &Log, requests: &[(Key, u64)]) -> bool {
        let mut appends = Vec::new();
        let mut sent = Vec::new();
        for (key, count) in requests {
            let Ok(topic) = log.make_topic(&key.0, None) else {
                return false;
            };
            let serials = self.serial + 1..=self.serial + count;
            self.serial += count;
            let lines: Vec<String> = serials.map(|serial| record(serial, key)).collect();
            let text = lines.join("\n") + "\n";
            sent.push((key, lines));
            let partition = key.1;
            appends.push(async move { log.append(&topic, partition, text.into()).await });
        }
        let mut all = true;
        for ((key, lines), answer) in sent
            .into_iter()
            .zip(self.runtime.block_on(join_all(appends)))
        {
            match answer {
                Ok(first) => {
                    let at = (first..).zip(lines);
                    let acknowledged = at.map(|(offset, line)| (key.clone(), offset, line));
                    self.acknowledged.extend(acknowledged);
                }
                Err(_) => all = false,
            }
        }
        all
    }
}

fn draw_key(chance: &mut Chance) -> Key {
    let topic = TOPICS[chance.below(TOPICS.len())].to_owned();
    (topic, chance.below(PARTITIONS as usize) as u32)
}

fn is_write_log(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "wal")
}

fn is_partition(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json")
}

fn is_topics(path: &Path) -> bool {
    path.ends_with("topics")
}

fn is_extent(path: &Path) -> bool {
    path.to_string_lossy().contains("_extent")
}

/// Removes the oldest file of some partition, as people do who want room.
fn remove_oldest(root: &Path, chance: &mut Chance) {
    let (topic, partition) = draw_key(chance);
    let folder = partition_folder(root, &topic, partition);
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let mut starts: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.unwrap().file_name();
            parse_segment(name.to_str()?, &topic, partition)
        })
        .collect();
    starts.sort_unstable();
    if starts.len() > 1 {
        // File systems keep the order in which the names of a folder come and go.
        disk::sync_folder(&folder).unwrap();
        disk::remove(&segment_path(root, &topic, partition, starts[0])).unwrap();
        disk::sync_folder(&folder).unwrap();
    }
}

/// Five lives of a log in which requests come several at once, syncs fail, oldest files are
/// removed, and which end well or not. Each acknowledgement is a promise: how many records were
/// acknowledged by then.
fn history(root: &Path, tape: &Tape, seed: u64) -> Sender {
    let mut chance = Chance::new(seed);
    let mut sender = Sender::new(0);
    for _ in 0..5 {
        // What is to fail may fail now, once.
        let log = Log::open(root, options()).or_else(|_| Log::open(root, options()));
        let log = log.unwrap();
        for _ in 0..8 {
            if chance.below(6) == 0 {
                let of = [is_write_log, is_partition, is_extent, is_topics][chance.below(4)];
                tape.fail_sync(of);
            }
            let requests: Vec<(Key, u64)> = (0..chance.below(5) + 1)
                .map(|_| (draw_key(&mut chance), chance.below(4) as u64 + 1))
                .collect();
            sender.send(&log, &requests);
            tape.promise(sender.acknowledged.len() as u64);
        }
        match chance.below(2) {
            0 => drop(log),
            _ => log.crash(),
        }
        remove_oldest(root, &mut chance);
    }
    sender
}

/// Opens a log, which must have `least`, and goes on with it; what is promised meanwhile is noted.
fn opens(root: &Path, least: &Records, serial: u64, tape: &Tape) -> Opened<[Records; 2]> {
    let log = Log::open(root, options()).map_err(|error| error.to_string())?;
    let found = records_in(root)?;
    compare(&found, least)?;
    for ((topic, partition), (first, lines)) in &found {
        let bounds = log.topic(topic).and_then(|topic| topic.bounds(*partition));
        let expected = Some((*first, first + lines.len() as u64));
        if bounds != expected {
            return Err(format!("{topic} {partition}: {bounds:?}, not {expected:?}"));
        }
    }
    tape.promise(1);
    let mut sender = Sender::new(serial);
    for _ in 0..3 {
        let keys = TOPICS.iter().flat_map(|topic| {
            let key = |partition| ((*topic).to_owned(), partition);
            (0..PARTITIONS).map(key)
        });
        let requests: Vec<(Key, u64)> = keys.map(|key| (key, 2)).collect();
        if !sender.send(&log, &requests) {
            return Err(format!("it takes nothing in: {:?}", log.trouble()));
        }
    }
    let more = records_in(root)?;
    compare(&more, &found)?;
    has_acknowledged(&more, &sender.acknowledged)?;
    tape.promise(2);
    log.close();
    Ok([found, more])
}

fn has_acknowledged(found: &Records, acknowledged: &[(Key, u64, String)]) -> Opened<()> {
    for (key, offset, line) in acknowledged {
        let Some((first, lines)) = found.get(key) else {
            return Err(format!("{key:?} is gone, with offset {offset}"));
        };
        // The oldest files may be removed.
        let Some(at) = offset.checked_sub(*first) else {
            continue;
        };
        if lines.get(at as usize) != Some(line) {
            return Err(format!("{key:?}: {line:?} is not at offset {offset}"));
        }
    }
    Ok(())
}

/// Opens the log of an image, then lets the power fail again while that goes on.
fn opens_twice(
    image: &Image,
    least: &Records,
    serial: u64,
    chance: &mut Chance,
) -> Opened<Records> {
    let dir = in_memory();
    image.write(dir.path());
    let tape = Tape::record(dir.path());
    let [found, more] = opens(dir.path(), least, serial, &tape)?;
    let ops = tape.ops();
    drop(tape);
    let until = chance.below(ops.len() + 1);
    let least = match promised(&ops, until) {
        None => least,
        Some(1) => &found,
        Some(_) => &more,
    };
    let dir = in_memory();
    image.after(&ops, until, chance).write(dir.path());
    let tape = Tape::record(dir.path());
    let opened = opens(dir.path(), least, serial + 1000, &tape);
    opened.map_err(|problem| format!("after the second failure, at call {until}: {problem}"))?;
    Ok(found)
}

fn recorded(seed: u64) -> (Vec<Op>, Sender) {
    let root = in_memory();
    let tape = Tape::record(root.path());
    let sender = history(root.path(), &tape, seed);
    (tape.ops(), sender)
}

#[test]
fn after_a_power_failure_at_any_moment_the_log_opens_with_all_that_was_acknowledged_or_seen() {
    let started = Instant::now();
    let (mut seen, mut calls) = (HashSet::new(), 0);
    let mut of = None;
    for case in seeds() {
        let number = case / FAILURES_OF_ONE;
        let (_, (ops, sender)) = match of.take() {
            Some((recent, history)) if recent == number => of.insert((recent, history)),
            _ => of.insert((number, recorded(number))),
        };
        let mut chance = Chance::new(case);
        let until = chance.below(ops.len() + 1);
        let image = Image::default().after(ops, until, &mut chance);
        calls = ops.len();
        if !seen.insert(image.clone()) {
            continue;
        }
        let visible = Image::default().seen(ops, until);
        let files = visible.files().iter();
        let least = records_of(files.map(|(path, bytes)| (path.as_path(), bytes.clone())));
        let acknowledged = promised(ops, until).unwrap_or(0) as usize;
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let least = least.map_err(|problem| format!("what was seen: {problem}"))?;
            let found = opens_twice(&image, &least, sender.serial, &mut chance)?;
            has_acknowledged(&found, &sender.acknowledged[..acknowledged])
        }));
        assert!(
            matches!(tried, Ok(Ok(()))),
            "{:?}; PINFLOW_SEED={case} PINFLOW_CASES=1, call {until} of {calls}",
            tried.ok(),
        );
    }
    println!(
        "{} power failures in histories of about {calls} calls, {} different images, {:?}",
        seeds().count(),
        seen.len(),
        started.elapsed()
    );
}

#[test]
fn what_is_damaged_beyond_that_is_an_error_that_says_so() {
    let mut refused = 0;
    for case in seeds() {
        let mut chance = Chance::new(case);
        let dir = in_memory();
        let mut sender = Sender::new(0);
        let log = Log::open(dir.path(), options()).unwrap();
        for _ in 0..chance.below(20) + 1 {
            assert!(sender.send(&log, &[(draw_key(&mut chance), 2)]));
        }
        match chance.below(2) {
            0 => drop(log),
            _ => log.crash(),
        }
        let least = records_in(dir.path()).unwrap();
        let done = damage(dir.path(), &mut chance);
        match Log::open(dir.path(), options()) {
            Err(LogError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("PINFLOW_SEED={case}, {done}: {error}"),
            Ok(_) => {
                let found = records_in(dir.path());
                let kept = found.and_then(|found| compare(&found, &least));
                assert_eq!(kept, Ok(()), "PINFLOW_SEED={case}, {done}");
            }
        }
    }
    assert!(refused > 0);
}

/// Cuts a file of the log, or changes a byte of one that is read when the log is opened. What was
/// done.
fn damage(root: &Path, chance: &mut Chance) -> String {
    let cuts = chance.below(2) == 0;
    let mut files = vec![root.join("_extent"), root.join("_acknowledged")];
    let wals = std::fs::read_dir(wal_folder(root)).unwrap();
    files.extend(wals.map(|entry| entry.unwrap().path()));
    for (topic, partition) in records_in(root).unwrap().into_keys() {
        let folder = partition_folder(root, &topic, partition);
        let names = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let last = names.len() - 1;
        files.extend(names.drain(if cuts { 0 } else { last }..));
    }
    files.retain(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0));
    files.sort();
    let path = &files[chance.below(files.len())];
    let mut bytes = std::fs::read(path).unwrap();
    let at = chance.below(bytes.len());
    let done = if cuts { "cut" } else { "changed" };
    match cuts {
        true => bytes.truncate(at),
        false => bytes[at] ^= 1 << chance.below(8),
    }
    std::fs::write(path, bytes).unwrap();
    format!("{} {done} at {at}", path.display())
}

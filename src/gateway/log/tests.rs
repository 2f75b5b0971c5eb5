//! The log against a model: whatever was acknowledged, or seen, is there after any crash.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::layout::{parse_segment, segment_path, topics_folder, wal_folder};
use super::wal::{Entry, Wal, replay, wal_path};
use super::*;

fn small() -> LogOptions {
    LogOptions {
        partitions: 2,
        segment_bytes: 300,
        wal_bytes: 700,
        queue_bytes: 4096,
        topics_max: 3,
        reopen_every: Duration::ZERO,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// What must be there, by topic and partition.
type Expected = BTreeMap<(String, u32), Vec<Vec<u8>>>;

/// The whole text of a partition, and its files' start offsets.
fn on_disk(root: &Path, topic: &str, partition: u32) -> (Vec<u8>, Vec<u64>) {
    let mut starts: Vec<u64> = std::fs::read_dir(partition_folder(root, topic, partition))
        .unwrap()
        .filter_map(|entry| {
            parse_segment(
                entry.unwrap().file_name().to_str().unwrap(),
                topic,
                partition,
            )
        })
        .collect();
    starts.sort_unstable();
    let mut text = Vec::new();
    for &start in &starts {
        let lines = memchr::memchr_iter(b'\n', &text).count() as u64;
        assert_eq!(
            lines, start,
            "a file's name is the offset of its first line"
        );
        text.extend(std::fs::read(segment_path(root, topic, partition, start)).unwrap());
    }
    (text, starts)
}

fn check(log: &Log, expected: &Expected) {
    for ((topic, partition), lines) in expected {
        let found = log.topic(topic).unwrap();
        let (text, _) = on_disk(log.root(), topic, *partition);
        let mut there: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        assert_eq!(there.pop(), Some(&b""[..]), "the last line has its newline");
        assert_eq!(there.len() as u64, found.bounds(*partition).unwrap().1);
        for (offset, (line, expected)) in there.iter().zip(lines).enumerate() {
            assert!(
                line == expected,
                "{topic} {partition}: another line at offset {offset}"
            );
        }
        assert_eq!(there.len(), lines.len(), "{topic} {partition}");
        let mut cursor = Cursor::at(lines.len() as u64 / 2);
        let mut read = Vec::new();
        loop {
            let most = Most {
                records: 3,
                bytes: 50,
            };
            let records = log.read(&found, *partition, &mut cursor, most).unwrap();
            let Some((last, _)) = records.last() else {
                break;
            };
            assert!(records.len() <= 3);
            let (_, behind) = log.written(&found, *partition, *last).unwrap();
            assert!(*last < behind && behind <= lines.len() as u64);
            read.extend(records);
        }
        let half: Vec<_> = lines.iter().enumerate().skip(lines.len() / 2).collect();
        assert_eq!(read.len(), half.len());
        for ((offset, value), (number, line)) in read.iter().zip(half) {
            assert_eq!((*offset, value.as_ref()), (number as u64, line.as_slice()));
        }
    }
}

/// The last file of each partition that a power failure may shorten, and to what at least: what the
/// remaining logs of writes cover.
fn unsynced(root: &Path) -> BTreeMap<PathBuf, u64> {
    let mut least: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for entry in std::fs::read_dir(wal_folder(root)).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        replay::<()>(&std::fs::read(&path).unwrap(), number, |entry| {
            let (_, starts) = on_disk(root, entry.topic, entry.partition);
            if starts.last() == Some(&entry.start) {
                let file = segment_path(root, entry.topic, entry.partition, entry.start);
                let least = least.entry(file).or_insert(u64::MAX);
                *least = (*least).min(entry.position);
            }
            Ok(())
        })
        .unwrap();
    }
    least
}

/// What is on disk at this moment. The logs of writes come first: one that goes meanwhile has its
/// writes synced.
fn snapshot(root: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        let mut entries: Vec<PathBuf> = std::fs::read_dir(from)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries {
            let target = to.join(entry.file_name().unwrap());
            if entry.is_dir() {
                copy(&entry, &target);
            } else if let Err(error) = std::fs::copy(&entry, &target) {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for part in ["_wal", "topics"] {
        copy(&root.join(part), &dir.path().join(part));
    }
    // How far the log goes is written down before a log of writes goes.
    for file in ["_extent", "_acknowledged"] {
        let _ = std::fs::copy(root.join(file), dir.path().join(file));
    }
    dir
}

/// What a power failure leaves: files shorter than they were, or gone, and half a frame at the end
/// of the log of writes.
fn lose_power(root: &Path, chance: u64) {
    for (number, (file, least)) in unsynced(root).into_iter().enumerate() {
        let length = std::fs::metadata(&file).unwrap().len();
        let random = chance
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(7 * number as u32);
        let kept = least + random % (length - least + 1);
        if kept == 0 && random.is_multiple_of(2) {
            std::fs::remove_file(&file).unwrap();
        } else {
            File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_len(kept)
                .unwrap();
        }
    }
    let logs = std::fs::read_dir(wal_folder(root)).unwrap();
    let last = logs.map(|entry| entry.unwrap().path()).max().unwrap();
    let number = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut frame = Wal::begin(elsewhere.path(), number).unwrap();
    frame.push(Entry {
        topic: "x.pin",
        partition: 0,
        start: 0,
        position: 0,
        lines: b"never acknowledged\n",
    });
    frame.commit().unwrap();
    let torn = std::fs::read(wal_path(elsewhere.path(), number)).unwrap();
    let mut whole = std::fs::read(&last).unwrap();
    whole.extend_from_slice(&torn[..chance as usize % torn.len()]);
    std::fs::write(&last, whole).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends at once: topic, partition, lengths of the lines.
    Append(Vec<(u8, u32, Vec<u8>)>),
    Close,
    Crash,
    LosePower(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let lines = prop::collection::vec(0u8..90, 1..6);
    let append = (0u8..2, 0u32..2, lines);
    prop_oneof![
        6 => prop::collection::vec(append, 1..6).prop_map(Step::Append),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
        2 => any::<u64>().prop_map(Step::LosePower),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_was_acknowledged_or_seen_is_lost_or_moved(steps in prop::collection::vec(step(), 1..24)) {
        let mut dir = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let mut expected = Expected::new();
        let mut log = Log::open(dir.path(), small()).unwrap();
        let mut serial = 0;
        for step in steps {
            match step {
                Step::Append(appends) => {
                    let mut sent = Vec::new();
                    let mut all = Vec::new();
                    for (topic, partition, lengths) in appends {
                        let topic = log.make_topic(["x.pin", "geo"][usize::from(topic)], None).unwrap();
                        let mut lines = Vec::new();
                        let mut text = Vec::new();
                        for length in lengths {
                            serial += 1;
                            let line = format!("{serial}{}", "y".repeat(usize::from(length)));
                            text.extend_from_slice(line.as_bytes());
                            text.push(b'\n');
                            lines.push(line.into_bytes());
                        }
                        sent.push(((topic.name.clone(), partition), lines));
                        all.push((topic, partition, text));
                    }
                    let log = &log;
                    let appends = all.into_iter().map(|(topic, partition, text)| async move {
                        log.append(&topic, partition, text).await.unwrap()
                    });
                    let offsets = runtime.block_on(futures::future::join_all(appends));
                    for ((key, lines), offset) in sent.into_iter().zip(offsets) {
                        let there = expected.entry(key).or_default();
                        prop_assert_eq!(there.len() as u64, offset);
                        there.extend(lines);
                    }
                }
                Step::Close => {
                    log.close();
                    prop_assert!(unsynced(dir.path()).is_empty(), "closing leaves nothing to repair");
                    drop(log);
                    log = Log::open(dir.path(), small()).unwrap();
                }
                Step::Crash => {
                    log.crash();
                    dir = snapshot(dir.path());
                    log = Log::open(dir.path(), small()).unwrap();
                }
                Step::LosePower(chance) => {
                    log.crash();
                    dir = snapshot(dir.path());
                    lose_power(dir.path(), chance);
                    log = Log::open(dir.path(), small()).unwrap();
                }
            }
            check(&log, &expected);
        }
    }
}

#[test]
fn many_appends_share_a_sync_and_get_offsets_without_gap() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions::default()).unwrap();
    let topic = log.make_topic("pin", None).unwrap();
    let appends = (0..500).map(|number| log.append(&topic, 0, format!("{number}\n").into_bytes()));
    let offsets = runtime().block_on(futures::future::join_all(appends));
    let mut offsets: Vec<u64> = offsets.into_iter().map(Result::unwrap).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..500).collect::<Vec<u64>>());
    let groups = *log.grown().borrow();
    assert!(groups < 100, "{groups} groups");
}

#[test]
fn only_one_opens_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    let second = Log::open(dir.path(), small()).unwrap_err().to_string();
    assert!(
        second.contains("being written by another process"),
        "{second}"
    );
    drop(log);
    Log::open(dir.path(), small()).unwrap();
}

#[test]
fn appends_to_a_closed_log_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    let topic = log.make_topic("pin", None).unwrap();
    log.close();
    let refused = runtime().block_on(log.append(&topic, 0, b"{}\n".to_vec()));
    assert!(matches!(refused, Err(LogError::Closed)));
}

#[test]
fn durable_bytes_that_are_gone_are_an_error_and_not_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions::default()).unwrap();
    let topic = log.make_topic("pin", None).unwrap();
    let runtime = runtime();
    runtime
        .block_on(log.append(&topic, 0, b"first\n".to_vec()))
        .unwrap();
    log.close();
    drop(log);
    let log = Log::open(dir.path(), LogOptions::default()).unwrap();
    let topic = log.topic("pin").unwrap();
    runtime
        .block_on(log.append(&topic, 0, b"second\n".to_vec()))
        .unwrap();
    log.crash();
    let file = segment_path(dir.path(), "pin", 0, 0);
    std::fs::write(&file, b"fir").unwrap();
    let error = Log::open(dir.path(), LogOptions::default()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("has 3 bytes where 6 were durable"),
        "{error}"
    );
}

/// A log that took three times `lines` and was then left by `leave`; and its only file.
fn left(lines: &str, leave: impl Fn(Log)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions::default()).unwrap();
    let topic = log.make_topic("pin", None).unwrap();
    for _ in 0..3 {
        let appended = runtime().block_on(log.append(&topic, 0, lines.into()));
        appended.unwrap();
    }
    leave(log);
    let file = segment_path(dir.path(), "pin", 0, 0);
    (dir, file)
}

fn refusal(root: &Path) -> String {
    let refused = Log::open(root, LogOptions::default()).unwrap_err();
    // It is refused again: nothing was changed.
    let again = Log::open(root, LogOptions::default()).unwrap_err();
    assert_eq!(refused.to_string(), again.to_string());
    refused.to_string()
}

#[test]
fn a_missing_end_is_refused_with_its_records_wherever_it_was_cut() {
    for cut in 0..15 {
        let (dir, file) = left("ab\ncd\n", |log| log.close());
        let text = std::fs::read(&file).unwrap();
        assert_eq!(text.len(), 18);
        std::fs::write(&file, &text[..cut]).unwrap();
        let told = refusal(dir.path());
        let missing = 6 - cut / 3;
        assert!(
            told.contains(&format!(
                "{missing} records that were acknowledged are missing from offset {}",
                cut / 3
            )),
            "{told}"
        );
    }
}

#[test]
fn a_file_that_is_gone_and_one_that_was_changed_are_refused() {
    let (dir, file) = left("ab\n", |log| log.close());
    std::fs::remove_file(&file).unwrap();
    assert!(refusal(dir.path()).contains("3 records that were acknowledged are missing"));
    let (dir, file) = left("ab\n", |log| log.close());
    std::fs::write(&file, "ab\nxb\nab\n").unwrap();
    assert!(refusal(dir.path()).contains("has other bytes than were written"));
}

#[test]
fn the_oldest_files_may_be_removed_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    let topic = log.make_topic("pin", None).unwrap();
    let line = format!("{}\n", "x".repeat(299));
    for _ in 0..4 {
        let appended = runtime().block_on(log.append(&topic, 0, line.clone().into()));
        appended.unwrap();
    }
    drop(log);
    std::fs::remove_file(segment_path(dir.path(), "pin", 0, 0)).unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    assert_eq!(log.topic("pin").unwrap().bounds(0), Some((1, 4)));
    drop(log);
    std::fs::remove_file(segment_path(dir.path(), "pin", 0, 2)).unwrap();
    assert!(refusal(dir.path()).contains("1 records that were acknowledged are missing"));
}

#[test]
fn a_log_of_writes_that_was_cut_or_changed_is_refused() {
    let wal = |dir: &tempfile::TempDir| {
        let mut entries = std::fs::read_dir(wal_folder(dir.path())).unwrap();
        entries.next().unwrap().unwrap().path()
    };
    for cut in [1, 40, 80] {
        let (dir, file) = left("ab\n", Log::crash);
        let (path, text) = (wal(&dir), std::fs::read(wal(&dir)).unwrap());
        std::fs::write(&path, &text[..text.len() - cut]).unwrap();
        std::fs::write(&file, "ab\n").unwrap();
        let told = refusal(dir.path());
        assert!(
            told.contains("that were acknowledged are missing: "),
            "{told}"
        );
    }
    // Without it the file alone says what is there.
    for kept in 0..=3_u64 {
        let (dir, file) = left("ab\n", Log::crash);
        std::fs::remove_file(wal(&dir)).unwrap();
        std::fs::write(&file, "ab\n".repeat(kept as usize)).unwrap();
        let missing = 3 - kept;
        let expected = match missing {
            0 => "all records that were acknowledged are in the files".to_owned(),
            _ => format!(
                "{missing} records that were acknowledged are missing: {missing} of \
                 pin/partition=0 from offset {kept} on"
            ),
        };
        let told = refusal(dir.path());
        assert!(told.contains(&expected), "{told}");
    }
    let (dir, file) = left("ab\n", Log::crash);
    let (path, mut text) = (wal(&dir), std::fs::read(wal(&dir)).unwrap());
    let middle = text.len() / 3 + 30;
    text[middle] ^= 1;
    std::fs::write(&path, text).unwrap();
    std::fs::remove_file(&file).unwrap();
    let told = refusal(dir.path());
    assert!(
        told.contains("records that follow were acknowledged"),
        "{told}"
    );
}

#[test]
fn a_log_of_an_earlier_version_is_opened_and_then_watched() {
    let (dir, file) = left("ab\n", |log| log.close());
    for name in ["_extent", "_acknowledged"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    drop(Log::open(dir.path(), LogOptions::default()).unwrap());
    std::fs::write(&file, "ab\n").unwrap();
    assert!(refusal(dir.path()).contains("2 records"));
}

#[test]
fn a_log_that_failed_opens_again_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        wal_bytes: 1,
        reopen_every: Duration::ZERO,
        ..LogOptions::default()
    };
    let log = Log::open(dir.path(), options).unwrap();
    let topic = log.make_topic("pin", None).unwrap();
    let runtime = runtime();
    let append = |line: &str| runtime.block_on(log.append(&topic, 0, line.into()));
    // Where the next file of the log of writes should be is something else.
    let in_the_way = dir.path().join("_wal/0000000002.wal");
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(append("first\n").unwrap(), 0);
    assert!(matches!(append("refused\n"), Err(LogError::Failed { .. })));
    assert!(log.trouble().is_some());
    assert!(append("refused\n").is_err());
    std::fs::remove_dir(&in_the_way).unwrap();
    let offset = append("second\n").unwrap();
    assert_eq!((offset, log.trouble().is_none()), (1, true));
    assert_eq!(
        std::fs::read(segment_path(dir.path(), "pin", 0, 0)).unwrap(),
        b"first\nsecond\n"
    );
    drop(log);
    Log::open(dir.path(), LogOptions::default()).unwrap();
}

#[test]
fn topics_appear_whole_and_there_is_a_limit_to_them() {
    let dir = tempfile::tempdir().unwrap();
    // A crash while a topic was being made.
    std::fs::create_dir_all(topics_folder(dir.path()).join(".half/partition=7")).unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    assert_eq!(log.topics(), Vec::<String>::new());
    for name in ["half", "b", "c"] {
        assert_eq!(log.make_topic(name, None).unwrap().partitions(), 2);
    }
    assert!(matches!(
        log.make_topic("d", None),
        Err(LogError::TooManyTopics { .. })
    ));
    assert!(log.make_topic("b", Some(9)).unwrap().partitions() == 2);
    drop(log);
    let log = Log::open(dir.path(), small()).unwrap();
    assert_eq!(log.topics(), ["b", "c", "half"]);
    assert_eq!(log.topic("half").unwrap().partitions(), 2);
}

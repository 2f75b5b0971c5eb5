//! The raw archive: what was written is read again by the source for files, whatever crashed in
//! between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use pinflow::archive::{Archive, ArchiveError, ArchiveOptions, Sealed, Sealing};
use pinflow::host::Machine;
use pinflow::source::{Chunk, Delete, Directory, Opening, Position, Storage};
use tempfile::TempDir;

use super::directory::{Taken, drain, streams};
use crate::support::s3::S3;

/// A generator of small numbers; its seed is printed by whoever fails.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn machine(runtime: &tokio::runtime::Runtime) -> Arc<Machine> {
    Arc::new(Machine(runtime.handle().clone()))
}

/// The key that is deleted at an offset, if one is.
fn deleted(offset: u64) -> Option<Bytes> {
    (offset % 17 == 9).then(|| Bytes::from(offset.to_string()))
}

/// A stream that can be read again from any offset: the record at each is known.
pub(super) fn record(stream: usize, offset: u64) -> String {
    if offset % 17 == 3 || deleted(offset).is_some() {
        return String::new();
    }
    format!(
        "{{\"stream\":{stream},\"offset\":{offset},\"x\":\"{}\"}}",
        "y".repeat(offset as usize % 50)
    )
}

/// Offsets without records: 600 to 649.
fn gap_after(offset: u64) -> u64 {
    if offset < 650 { 600 } else { u64::MAX }
}

fn behind_gap(offset: u64) -> u64 {
    if offset == 600 { 650 } else { offset }
}

pub(super) fn chunk(stream: usize, partition: &str, first: u64, records: u64) -> Chunk {
    let lines: Vec<String> = (first..first + records)
        .map(|offset| record(stream, offset))
        .collect();
    // The last newline may be missing, unless the last record is blank.
    let text = if first.is_multiple_of(2) && !lines[lines.len() - 1].is_empty() {
        lines.join("\n")
    } else {
        lines.join("\n") + "\n"
    };
    Chunk {
        stream,
        partition: partition.to_owned(),
        first_offset: first,
        records,
        bytes: text.into(),
        deletes: (first..first + records)
            .filter_map(|offset| deleted(offset).map(|key| Delete { offset, key }))
            .collect(),
        refused: Vec::new(),
        end: Position {
            offset: first + records,
            token: String::new(),
        },
        retry: None,
    }
}

const PARTITIONS: [(usize, &str); 3] = [
    (0, "0ec6.pin/partition=0"),
    (0, "0ec6.pin/partition=1"),
    (1, "shared/shardId-000000000000"),
];

/// Makes the archive what it was at the checkpoint with these positions.
pub(super) async fn recovered(
    archive: &mut Archive,
    positions: &BTreeMap<String, Position>,
) -> Result<(), ArchiveError> {
    archive.recover(positions, |_, _| true).await?;
    archive.cut().await
}

/// What was sealed; `None` if a put of the life before came in between, which ends a life.
fn written(life: &tokio::runtime::Runtime, sealing: Sealing) -> Option<Sealed> {
    let written = life.block_on(sealing.written());
    let late = |error: &ArchiveError| error.to_string().contains("someone else has written it");
    match written {
        Err(error) if late(&error) => None,
        written => Some(written.unwrap()),
    }
}

/// Many lives of one process: each begins at the last checkpoint, and ends somewhere.
fn lives(storage: &Storage, dice: &mut Dice, options: &ArchiveOptions, total: u64) -> u64 {
    let mut positions: BTreeMap<String, Position> = BTreeMap::new();
    let mut crashes = 0;
    let mut epoch = 0;
    loop {
        let life = runtime();
        let mut archive = Archive::open(
            storage.clone(),
            "here".into(),
            streams(),
            machine(&life),
            options.clone(),
        );
        life.block_on(recovered(&mut archive, &positions)).unwrap();
        let key = |(stream, partition): (usize, &str)| format!("{}/{partition}", streams()[stream]);
        let mut next: Vec<u64> = PARTITIONS
            .iter()
            .map(|at| {
                positions
                    .get(&key(*at))
                    .map_or(0, |position| position.offset)
            })
            .collect();
        loop {
            if next.iter().all(|next| *next == total) {
                let sealing = archive.seal(epoch, epoch as i64 * 100);
                let Some(sealed) = written(&life, sealing) else {
                    break;
                };
                archive.committed(&sealed.positions);
                return crashes;
            }
            epoch += 1;
            // Some chunks of this epoch, and after the seal is asked for some of the next.
            let mut at_seal = next.clone();
            let mut sealing = None;
            for step in 0..dice.below(8) + 2 {
                let which = dice.below(3) as usize;
                let (stream, partition) = PARTITIONS[which];
                let until = gap_after(next[which]).min(total);
                let records = (dice.below(60) + 1).min(until - next[which]);
                if records > 0 {
                    let of = if sealing.is_some() { epoch + 1 } else { epoch };
                    archive.append(of, &chunk(stream, partition, next[which], records));
                    // As with the marks of transactions: the position is behind the gap at once.
                    next[which] = behind_gap(next[which] + records);
                }
                if step == 4 {
                    at_seal = next.clone();
                    sealing = Some(archive.seal(epoch, epoch as i64 * 100));
                }
            }
            epoch += 1;
            let fate = dice.below(12);
            if fate == 0 {
                crashes += 1;
                break;
            }
            let Some(sealing) = sealing else { continue };
            let Some(sealed) = written(&life, sealing) else {
                break;
            };
            if fate == 1 {
                // The crash comes between the archive and the checkpoint.
                crashes += 1;
                break;
            }
            for (at, end) in PARTITIONS.iter().zip(&at_seal) {
                if *end > 0 {
                    let position = Position {
                        offset: *end,
                        token: String::new(),
                    };
                    positions.insert(key(*at), position);
                }
            }
            positions.extend(sealed.positions.clone());
            if fate != 2 {
                archive.committed(&sealed.positions);
            }
        }
        // Of what is being written, what has reached the store stays, and the rest never happens.
        drop(life);
    }
}

pub(super) fn read_back(storage: &Storage) -> Taken {
    let life = runtime();
    let mut taken = Taken::default();
    let mut source = Directory::open(
        storage.clone(),
        "back".into(),
        life.handle(),
        Opening::whole(streams()),
    );
    drain(&mut source, &mut taken, 1 << 20).unwrap();
    taken
}

fn check(storage: &Storage, total: u64, seed: u64) {
    let taken = read_back(storage);
    assert_eq!(taken.records.len(), 3, "seed {seed}");
    for (key, stream) in [
        ("pin/0ec6.pin/partition=0", 0),
        ("pin/0ec6.pin/partition=1", 0),
        ("geo/shared.geo/partition=shardId-000000000000", 1),
    ] {
        let found = taken.of(key);
        let offsets: Vec<u64> = (0..total)
            .filter(|offset| !(600..650).contains(offset))
            .collect();
        assert_eq!(found.len(), offsets.len(), "seed {seed}, {key}");
        let deletes: Vec<Delete> = (0..)
            .zip(&offsets)
            .filter_map(|(at, offset)| deleted(*offset).map(|key| Delete { offset: at, key }))
            .collect();
        assert_eq!(taken.deletes[key], deletes, "seed {seed}, {key}");
        for (offset, found) in offsets.into_iter().zip(found) {
            assert_eq!(
                found,
                record(stream, offset),
                "seed {seed}, {key}, offset {offset}"
            );
        }
    }
}

#[test]
fn what_was_archived_through_crashes_is_read_back_once_and_in_order() {
    let mut crashes = 0;
    for seed in 0..40 {
        let folder = TempDir::new().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let mut dice = Dice(seed);
        let options = ArchiveOptions {
            roll_bytes: [400, 5_000, 1 << 20][seed as usize % 3],
            roll_records: [7, 100, 1_000_000][seed as usize / 3 % 3],
            roll_ms: [50, 1_000, 1 << 40][seed as usize / 9 % 3],
            open_bytes: [500, 1 << 20][seed as usize % 2],
        };
        crashes += lives(&storage, &mut dice, &options, 800);
        check(&storage, 800, seed);
    }
    assert!(crashes > 40, "{crashes} crashes");
}

#[test]
fn a_bucket_is_archived_to_through_crashes_too() {
    let s3 = S3::start();
    for seed in 100..103 {
        let root = object_store::path::Path::from(format!("archive/{seed}"));
        let storage = Storage::Bucket(s3.store(), root);
        let mut dice = Dice(seed);
        let options = ArchiveOptions {
            roll_records: 50,
            ..ArchiveOptions::default()
        };
        lives(&storage, &mut dice, &options, 300);
        check(&storage, 300, seed);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn objects_end_by_count_size_and_time_and_grow_until_then() {
    let folder = TempDir::new().unwrap();
    let storage = Storage::Folder(folder.path().to_owned());
    let life = runtime();
    let options = ArchiveOptions {
        roll_records: 100,
        roll_bytes: 10_000,
        roll_ms: 1_000,
        ..ArchiveOptions::default()
    };
    let mut archive = Archive::open(storage, "here".into(), streams(), machine(&life), options);
    let seal = |archive: &mut Archive, epoch: u64, now: i64| {
        let sealed = life.block_on(archive.seal(epoch, now).written()).unwrap();
        sealed
            .objects
            .iter()
            .map(|object| (object.start, object.end))
            .collect::<Vec<_>>()
    };
    archive.append(1, &chunk(0, "0", 0, 10));
    assert_eq!(seal(&mut archive, 1, 0), [(0, 10)]);
    archive.append(2, &chunk(0, "0", 10, 10));
    assert_eq!(
        seal(&mut archive, 2, 500),
        [(0, 20)],
        "the same object, longer"
    );
    archive.append(3, &chunk(0, "0", 20, 1));
    assert_eq!(
        seal(&mut archive, 3, 1_000),
        [(0, 21)],
        "and it ends by its age"
    );
    archive.append(4, &chunk(0, "0", 21, 250));
    assert_eq!(
        seal(&mut archive, 4, 1_100),
        [(21, 121), (121, 221), (221, 271)]
    );
    archive.append(5, &chunk(0, "0", 900, 1));
    assert_eq!(
        seal(&mut archive, 5, 1_200),
        [(900, 901)],
        "a gap begins an object"
    );
    assert_eq!(seal(&mut archive, 6, 9_000), []);
    assert_eq!(
        names(&folder.path().join("topics/pin/partition=0")),
        [
            "pin+0+0000000000.json",
            "pin+0+0000000021.json",
            "pin+0+0000000121.json",
            "pin+0+0000000221.json",
            "pin+0+0000000900.json"
        ]
    );
}

#[test]
fn an_archive_knows_whether_it_holds_more_than_the_checkpoint() {
    let folder = TempDir::new().unwrap();
    let bucket = Arc::new(object_store::memory::InMemory::new());
    for storage in [
        Storage::Folder(folder.path().to_owned()),
        Storage::Bucket(bucket, object_store::path::Path::default()),
    ] {
        let life = runtime();
        let options = ArchiveOptions::default();
        let begin = |positions: &BTreeMap<String, Position>| {
            let (storage, options) = (storage.clone(), options.clone());
            let name = "here".to_owned();
            let mut archive = Archive::open(storage, name, streams(), machine(&life), options);
            life.block_on(archive.recover(positions, |_, _| true))
                .unwrap();
            archive
        };
        let mut positions = BTreeMap::new();
        let mut archive = begin(&positions);
        assert!(!archive.exceeds_checkpoint(), "there is nothing");
        archive.append(1, &chunk(0, "0", 0, 10));
        let sealed = life.block_on(archive.seal(1, 0).written()).unwrap();
        drop(archive);
        assert!(
            begin(&positions).exceeds_checkpoint(),
            "nothing is committed"
        );

        let end = Position {
            offset: 10,
            token: String::new(),
        };
        positions.insert("pin/0".to_owned(), end);
        positions.extend(sealed.positions);
        let mut archive = begin(&positions);
        assert!(!archive.exceeds_checkpoint(), "all is committed");
        archive.append(2, &chunk(0, "0", 10, 10));
        life.block_on(archive.seal(2, 0).written()).unwrap();
        drop(archive);
        let mut archive = begin(&positions);
        assert!(archive.exceeds_checkpoint(), "the last records are not");
        life.block_on(archive.cut()).unwrap();
        drop(archive);
        assert!(!begin(&positions).exceeds_checkpoint(), "they were cut");
    }
}

#[test]
fn what_came_after_an_archive_was_looked_at_is_emptied_behind_a_fence_only() {
    let bucket = Arc::new(object_store::memory::InMemory::new());
    let storage = Storage::Bucket(bucket, object_store::path::Path::default());
    let life = runtime();
    let begin = || {
        let options = ArchiveOptions::default();
        let (storage, name) = (storage.clone(), "here".to_owned());
        let mut archive = Archive::open(storage, name, streams(), machine(&life), options);
        life.block_on(archive.recover(&BTreeMap::new(), |_, _| true))
            .unwrap();
        archive
    };
    let write = |archive: &mut Archive| {
        archive.append(1, &chunk(0, "0", 0, 10));
        life.block_on(archive.seal(1, 0).written())
    };
    let (mut ours, mut theirs) = (begin(), begin());
    write(&mut theirs).unwrap();
    let refused = write(&mut ours).unwrap_err().to_string();
    assert!(refused.contains("another pinflow writes"), "{refused}");
    assert_eq!(read_back(&storage).of("pin/pin/partition=0").len(), 10);

    let mut next = begin();
    assert!(next.exceeds_checkpoint());
    life.block_on(next.cut()).unwrap();
    write(&mut next).unwrap();
    assert_eq!(read_back(&storage).of("pin/pin/partition=0").len(), 10);
}

#[test]
fn what_an_older_version_left_uncommitted_is_emptied_behind_a_fence_too() {
    let folder = TempDir::new().unwrap();
    let bucket = Arc::new(object_store::memory::InMemory::new());
    let life = runtime();
    let place = "topics/pin/partition=0";
    for storage in [
        Storage::Folder(folder.path().to_owned()),
        Storage::Bucket(bucket, object_store::path::Path::default()),
    ] {
        for (name, text) in [("_uncommitted", ""), ("pin+0+0000000000.json", "{}\n{}\n")] {
            let path = format!("{place}/{name}");
            match &storage {
                Storage::Folder(root) => {
                    std::fs::create_dir_all(root.join(place)).unwrap();
                    std::fs::write(root.join(path), text).unwrap();
                }
                Storage::Bucket(store, _) => {
                    let path = object_store::path::Path::from(path);
                    let put = store.put(&path, text.into());
                    life.block_on(put).unwrap();
                }
            }
        }
        let begin = |positions: &BTreeMap<String, Position>| {
            let (options, name) = (ArchiveOptions::default(), "here".to_owned());
            let storage = storage.clone();
            let mut archive = Archive::open(storage, name, streams(), machine(&life), options);
            life.block_on(archive.recover(positions, |_, _| true))
                .unwrap();
            archive
        };
        let none = BTreeMap::new();
        let mut archive = begin(&none);
        assert!(archive.exceeds_checkpoint());
        life.block_on(archive.cut()).unwrap();
        archive.append(1, &chunk(0, "0", 5, 10));
        let sealed = life.block_on(archive.seal(1, 0).written()).unwrap();
        drop(archive);
        let mut archive = begin(&none);
        assert!(archive.exceeds_checkpoint(), "nothing is committed yet");
        life.block_on(archive.cut()).unwrap();
        assert_eq!(read_back(&storage).of("pin/pin/partition=0").len(), 10);
        drop(archive);

        let position = Position {
            offset: 15,
            token: String::new(),
        };
        let mut positions = BTreeMap::from([("pin/0".to_owned(), position)]);
        positions.extend(sealed.positions);
        begin(&positions);
        assert!(!begin(&none).exceeds_checkpoint(), "no mark is left");
    }
}

#[test]
fn objects_of_someone_else_are_neither_overwritten_nor_deleted() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("topics/pin/partition=0");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("pin+0+0000000005.json"), "{}\n").unwrap();
    let life = runtime();
    let storage = Storage::Folder(folder.path().to_owned());
    let open = || {
        Archive::open(
            storage.clone(),
            "here".into(),
            streams(),
            machine(&life),
            ArchiveOptions::default(),
        )
    };
    let mut archive = open();
    life.block_on(recovered(&mut archive, &BTreeMap::new()))
        .unwrap();
    archive.append(1, &chunk(0, "0", 0, 10));
    let error = life
        .block_on(archive.seal(1, 0).written())
        .unwrap_err()
        .to_string();
    assert!(error.contains("checkpoint does not know of it"), "{error}");
    assert_eq!(names(&place), ["pin+0+0000000005.json"]);
    // Not even where the lake was ahead of them before it had an archive.
    let mut archive = open();
    let position = Position {
        offset: 3,
        token: String::new(),
    };
    let positions = BTreeMap::from([("pin/0".to_owned(), position)]);
    life.block_on(recovered(&mut archive, &positions)).unwrap();
    archive.append(1, &chunk(0, "0", 3, 1));
    assert!(life.block_on(archive.seal(1, 0).written()).is_err());
    assert_eq!(names(&place), ["pin+0+0000000005.json"]);
}

#[test]
fn an_archive_that_lost_committed_records_is_not_continued() {
    let folder = TempDir::new().unwrap();
    let life = runtime();
    let storage = Storage::Folder(folder.path().to_owned());
    let open = || {
        Archive::open(
            storage.clone(),
            "here".into(),
            streams(),
            machine(&life),
            ArchiveOptions::default(),
        )
    };
    let mut archive = open();
    archive.append(1, &chunk(0, "0", 0, 10));
    let sealed = life.block_on(archive.seal(1, 0).written()).unwrap();
    let mut positions = sealed.positions.clone();
    positions.insert(
        "pin/0".into(),
        Position {
            offset: 10,
            token: String::new(),
        },
    );
    drop(archive);
    let object = folder
        .path()
        .join("topics/pin/partition=0/pin+0+0000000000.json");
    std::fs::write(&object, "{}\n").unwrap();
    let error = life
        .block_on(recovered(&mut open(), &positions))
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds fewer"), "{error}");
}

//! Files of a folder and of a bucket, through the source that reads them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinflow::source::{
    Chunk, Delete, Directory, Opening, Position, Read, Source, SourceError, Storage, position_key,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::s3::S3;

/// The records of each partition, and where it is to be read on.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub records: BTreeMap<String, Vec<String>>,
    pub positions: BTreeMap<String, Position>,
    pub deletes: BTreeMap<String, Vec<Delete>>,
}

impl Taken {
    /// Takes a chunk; it must follow what was taken before.
    pub fn take(&mut self, streams: &[String], chunk: &Chunk) {
        let key = position_key(&streams[chunk.stream], &chunk.partition);
        let records = self.records.entry(key.clone()).or_default();
        assert_eq!(
            chunk.first_offset,
            records.len() as u64,
            "{key}: no gap, no overlap"
        );
        let text = std::str::from_utf8(&chunk.bytes).unwrap();
        records.extend(text.lines().map(str::to_owned));
        assert_eq!(chunk.first_offset + chunk.records, records.len() as u64);
        assert_eq!(chunk.end.offset, records.len() as u64);
        self.positions.insert(key.clone(), chunk.end.clone());
        let deletes = self.deletes.entry(key).or_default();
        deletes.extend(chunk.deletes.iter().cloned());
    }

    pub fn of(&self, key: &str) -> Vec<&str> {
        let records = self.records.get(key);
        records.into_iter().flatten().map(String::as_str).collect()
    }

    pub fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }
}

pub fn streams() -> Vec<String> {
    ["pin", "geo", "user"].map(str::to_owned).to_vec()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Something that files are in, and how to put them there.
struct Place {
    folder: PathBuf,
    storage: Storage,
    runtime: tokio::runtime::Handle,
}

impl Place {
    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let hidden = file.with_file_name(".writing");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, file).unwrap();
    }

    fn append(&self, path: &str, text: &str) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(self.folder.join(path))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn open(&self, opening: Opening) -> Directory {
        Directory::open(self.storage.clone(), "here".into(), &self.runtime, opening)
    }

    fn whole(&self) -> Taken {
        let mut taken = Taken::default();
        drain(
            &mut self.open(Opening::whole(streams())),
            &mut taken,
            1 << 20,
        )
        .unwrap();
        taken
    }

    fn follow(&self, taken: &Taken) -> Directory {
        self.open(Opening {
            bounded: false,
            positions: taken.positions.clone(),
            ..Opening::whole(streams())
        })
    }
}

/// Runs a test on a folder, and on a bucket.
fn everywhere(test: impl Fn(&Place)) {
    let (folder, runtime) = (TempDir::new().unwrap(), runtime());
    test(&Place {
        folder: folder.path().to_owned(),
        storage: Storage::Folder(folder.path().to_owned()),
        runtime: runtime.handle().clone(),
    });
    let s3 = S3::start();
    test(&Place {
        folder: s3.bucket_folder(),
        storage: Storage::Bucket(s3.store(), object_store::path::Path::default()),
        runtime: s3.runtime.handle().clone(),
    });
}

fn in_folder(test: impl Fn(&Place)) {
    let (folder, runtime) = (TempDir::new().unwrap(), runtime());
    test(&Place {
        folder: folder.path().to_owned(),
        storage: Storage::Folder(folder.path().to_owned()),
        runtime: runtime.handle().clone(),
    });
}

const DEADLINE: Duration = Duration::from_secs(30);

/// Reads until `done`, or the end.
pub fn read_until(
    source: &mut dyn Source,
    taken: &mut Taken,
    bytes_max: usize,
    mut done: impl FnMut(&Taken) -> bool,
) -> Result<(), SourceError> {
    let deadline = Instant::now() + DEADLINE;
    while !done(taken) {
        match source.read(bytes_max)? {
            Read::Chunk(chunk) => taken.take(&streams(), &chunk),
            Read::End => return Ok(()),
            Read::Idle => {
                assert!(
                    Instant::now() < deadline,
                    "it did not come: {:?}",
                    taken.positions
                );
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
    }
    Ok(())
}

pub fn drain(
    source: &mut dyn Source,
    taken: &mut Taken,
    bytes_max: usize,
) -> Result<(), SourceError> {
    read_until(source, taken, bytes_max, |_| false)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

#[test]
fn the_layouts_may_be_mixed_and_what_is_none_of_them_is_ignored() {
    everywhere(|place| {
        place.put(
            "topics/0ec6.pin/partition=0/0ec6.pin+0+0000000000.json",
            "{\"i\":0}\n{\"i\":1}\n",
        );
        place.put(
            "topics/0ec6.pin/partition=0/0ec6.pin+0+0000000002.json.gz",
            gzip("{\"i\":2}\n"),
        );
        place.put(
            "topics/0ec6.pin/partition=1/0ec6.pin+1+0000000000.json",
            "{\"i\":9}",
        );
        place.put("topics/0ec6.pinned/partition=0/x.json", "{}\n");
        place.put("geo/a.jsonl", "{\"g\":1}\n\n{\"g\":3}\n");
        place.put("geo/b.jsonl.zst", zstd("{\"g\":4}\n"));
        place.put("geo/_hidden.jsonl", "{}\n");
        place.put("geo/readme.txt", "no\n");
        place.put("geo/2025/04/10/15/anything", "{\"g\":5}{\"g\":6}");
        place.put("raw-failed/geo/2025/04/10/15/error", "{}");
        place.put("raw/user/year=2025/month=04/day=10/object", "{\"u\":1}");
        place.put(
            "2025/04/10/15/KDS-user-1-2025-04-10-15-00-00-aa",
            gzip("{\"u\":2}{\"u\":3}"),
        );
        place.put("other/a.jsonl", "{}\n");
        let taken = place.whole();
        let keys: Vec<&str> = taken.records.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "geo/dated/geo",
                "geo/geo",
                "pin/0ec6.pin/partition=0",
                "pin/0ec6.pin/partition=1",
                "user/dated/KDS-user",
                "user/dated/raw/user",
            ]
        );
        assert_eq!(
            taken.of("pin/0ec6.pin/partition=0"),
            ["{\"i\":0}", "{\"i\":1}", "{\"i\":2}"]
        );
        assert_eq!(taken.of("pin/0ec6.pin/partition=1"), ["{\"i\":9}"]);
        assert_eq!(
            taken.of("geo/geo"),
            ["{\"g\":1}", "", "{\"g\":3}", "{\"g\":4}"]
        );
        assert_eq!(taken.of("geo/dated/geo"), ["{\"g\":5}", "{\"g\":6}"]);
        assert_eq!(taken.of("user/dated/raw/user"), ["{\"u\":1}"]);
        assert_eq!(taken.of("user/dated/KDS-user"), ["{\"u\":2}", "{\"u\":3}"]);
    });
}

#[test]
fn records_are_found_whatever_stands_between_them() {
    everywhere(|place| {
        place.put("pin/1.json", "[{\"a\":1},{\"a\":2}]");
        place.put("pin/2.json", "[\n  {\"a\": 3},\n  {\"a\": 4}\n]\n");
        place.put("pin/3.json", "{\n  \"a\": 5\n}\n{\n  \"a\": 6\n}\n");
        place.put("pin/4.json", "{\"a\":7}{\"a\":8}{\"a\":\"cut");
        assert_eq!(
            place.whole().of("pin/pin"),
            [
                "[{\"a\":1},{\"a\":2}]",
                "{\"a\": 3}",
                "{\"a\": 4}",
                "{\r  \"a\": 5\r}",
                "{\r  \"a\": 6\r}",
                "{\"a\":7}",
                "{\"a\":8}",
                "{\"a\":\"cut",
            ]
        );
    });
}

#[test]
fn positions_of_earlier_versions_are_read_on() {
    everywhere(|place| {
        place.put("pin/a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
        place.put("pin/b.jsonl", "{\"b\":1}\n{\"b\":2}\n");
        place.put("pin/c.jsonl.gz", gzip("{\"c\":1}\n"));
        for (offset, token, first) in [
            (0, "", "{\"a\":1}"),
            (1, "8:0:pin/a.jsonl", "{\"a\":2}"),
            (2, "16:0:pin/a.jsonl", "{\"b\":1}"),
            (3, "8:1:pin/b.jsonl", "{\"b\":2}"),
            (4, "16:1:pin/b.jsonl", "{\"c\":1}"),
        ] {
            let mut opening = Opening::whole(streams());
            let position = Position {
                offset,
                token: token.into(),
            };
            opening.positions.insert("pin/pin".into(), position);
            let mut source = place.open(opening);
            let chunk = loop {
                match source.read(1).unwrap() {
                    Read::Chunk(chunk) => break chunk,
                    Read::Idle => std::thread::yield_now(),
                    Read::End => panic!("there is more behind {token}"),
                }
            };
            assert_eq!(chunk.first_offset, offset);
            assert!(
                chunk.bytes.starts_with(first.as_bytes()),
                "{token}: {chunk:?}"
            );
        }
    });
}

#[test]
fn files_folders_and_lines_that_come_later_are_read() {
    everywhere(|place| {
        let in_bucket = matches!(place.storage, Storage::Bucket(..));
        place.put("pin/a.jsonl", "{\"a\":1}\n");
        let mut taken = Taken::default();
        let mut source = place.follow(&taken);
        let mut expect = |taken: &mut Taken, count: usize| {
            read_until(&mut source, taken, 1 << 20, |taken| taken.count() == count).unwrap();
        };
        expect(&mut taken, 1);
        if !in_bucket {
            place.append("pin/a.jsonl", "{\"a\":2}\n{\"a\":");
            expect(&mut taken, 2);
            place.append("pin/a.jsonl", "3}\n");
            expect(&mut taken, 3);
        } else {
            place.put("pin/a.jsonl", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
            expect(&mut taken, 3);
        }
        place.put("pin/b.jsonl", "{\"b\":1}");
        place.put("pin/c.jsonl", "{\"c\":1}\n");
        expect(&mut taken, 5);
        place.put(
            "topics/geo/partition=3/geo+3+0000000000.json",
            "{\"g\":1}\n",
        );
        expect(&mut taken, 6);
        place.put("user/2025/04/10/15/b", "{\"u\":1}");
        expect(&mut taken, 7);
        place.put("user/2025/04/10/15/a", "{\"u\":2}");
        place.put("user/2025/04/11/00/x", "{\"u\":3}");
        expect(&mut taken, 9);
        assert_eq!(
            taken.of("pin/pin"),
            [
                "{\"a\":1}",
                "{\"a\":2}",
                "{\"a\":3}",
                "{\"b\":1}",
                "{\"c\":1}"
            ]
        );
        let user = taken.of("user/dated/user");
        assert_eq!(user.len(), 3);
        assert_eq!(user[0], "{\"u\":1}");
        let lag = source.lag();
        assert_eq!(lag.len(), 3);
        assert!(lag.iter().all(|lag| lag.bytes == Some(0)), "{lag:?}");
    });
}

#[test]
fn what_comes_late_to_a_day_is_read_by_a_later_run_too() {
    everywhere(|place| {
        let object = |id: &str| format!("2025/04/10/15/x-pin-1-2025-04-10-15-00-0{id}");
        place.put(&object("5-cc"), "{\"n\":1}");
        let mut taken = place.whole();
        assert_eq!(taken.count(), 1);
        place.put(&object("1-aa"), "{\"n\":2}");
        place.put("2025/04/12/00/x-pin-1-2025-04-12-00-00-00-aa", "{\"n\":3}");
        let opening = |taken: &Taken| Opening {
            positions: taken.positions.clone(),
            ..Opening::whole(streams())
        };
        let now = opening(&taken);
        drain(&mut place.open(now), &mut taken, 1).unwrap();
        assert_eq!(
            taken.of("pin/dated/x-pin"),
            ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]
        );
        let now = opening(&taken);
        drain(&mut place.open(now), &mut taken, 1).unwrap();
        assert_eq!(taken.count(), 3, "and nothing twice");
    });
}

#[test]
fn a_file_that_sorts_before_what_was_read_is_an_error() {
    everywhere(|place| {
        place.put("pin/b.jsonl", "{}\n");
        let mut taken = Taken::default();
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 1).unwrap();
        place.put("pin/a.jsonl", "{}\n");
        for source in [&mut source, &mut place.follow(&taken)] {
            let error = read_until(source, &mut taken.clone(), 1 << 20, |_| false).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("pin/a.jsonl") && text.contains("later ones sort later"),
                "{text}"
            );
        }
    });
}

#[test]
fn files_that_were_read_may_be_deleted() {
    in_folder(|place| {
        for name in ["a", "b", "c"] {
            place.put(&format!("pin/{name}.jsonl"), "{}\n");
        }
        let mut taken = place.whole();
        std::fs::remove_file(place.folder.join("pin/a.jsonl")).unwrap();
        std::fs::remove_file(place.folder.join("pin/c.jsonl")).unwrap();
        place.put("pin/d.jsonl", "{}\n");
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1, |taken| taken.count() == 4).unwrap();
    });
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    everywhere(|place| {
        place.put("pin/a.jsonl", "{}\n{}\n");
        let taken = place.whole();
        place.put("pin/a.jsonl", "{}\n");
        let error = drain(&mut place.follow(&taken), &mut taken.clone(), 1).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("it has 3 bytes, and 6 were read already"),
            "{text}"
        );
    });
}

#[test]
fn a_compressed_file_that_grew_is_an_error() {
    everywhere(|place| {
        place.put("pin/a.jsonl.gz", gzip("{}\n"));
        let taken = place.whole();
        place.put(
            "pin/a.jsonl.gz",
            [gzip("{}\n"), gzip("{\"a\":2}\n")].concat(),
        );
        let error = drain(&mut place.follow(&taken), &mut taken.clone(), 1).unwrap_err();
        assert!(
            error.to_string().contains("it is compressed and grew"),
            "{error}"
        );
    });
}

#[test]
fn a_compressed_file_that_is_none_is_an_error() {
    everywhere(|place| {
        place.put("pin/a.jsonl.gz", "{}\n");
        let opening = Opening::whole(streams());
        let error = drain(&mut place.open(opening), &mut Taken::default(), 1).unwrap_err();
        assert!(error.to_string().contains("it is not gzip"), "{error}");
    });
}

#[test]
fn a_file_without_any_newline_is_cut_between_its_values_within_the_budget() {
    everywhere(|place| {
        let value = format!("{{\"text\":\"{}\"}}", "x}{".repeat(300));
        place.put("pin/2025/04/10/15/large", value.repeat(4_000));
        place.put(
            "geo/large.json",
            format!("[{}]", vec![value.clone(); 4_000].join(",")),
        );
        let opening = Opening {
            budget_bytes: 1 << 20,
            ..Opening::whole(streams())
        };
        let mut source = place.open(opening);
        let mut taken = Taken::default();
        let mut largest = 0;
        loop {
            match source.read(1 << 20).unwrap() {
                Read::Chunk(chunk) => {
                    largest = largest.max(chunk.bytes.len());
                    let waiting: u64 = source.lag().iter().filter_map(|lag| lag.bytes).sum();
                    let all = 2 * 4_000 * (value.len() + 1) as u64;
                    assert!(waiting < all);
                    taken.take(&streams(), &chunk);
                }
                Read::Idle => std::thread::park_timeout(Duration::from_micros(200)),
                Read::End => break,
            }
        }

        assert_eq!(taken.count(), 8_000);
        assert!(
            taken
                .records
                .values()
                .flatten()
                .all(|record| *record == value)
        );
        assert!(largest <= 5 << 18, "{largest}");
    });
}

#[test]
fn many_small_files_become_few_chunks() {
    everywhere(|place| {
        for number in 0..700 {
            let text = format!("{{\"n\":{number}}}\n").repeat(number % 5 + 1);
            place.put(&format!("pin/{number:04}.json"), text);
            if number % 100 == 7 {
                let text = format!("{{\"n\":{number},\"x\":\"large\"}}\n").repeat(30_000);
                place.put(&format!("pin/{number:04}.json"), text);
            }
        }
        let mut source = place.open(Opening::whole(streams()));
        let (mut chunks, mut taken) = (0, Taken::default());
        while taken.count() < 700 * 3 - 7 * 3 + 7 * 30_000 {
            match source.read(4 << 20).unwrap() {
                Read::Chunk(chunk) => {
                    chunks += 1;
                    taken.take(&streams(), &chunk);
                }
                Read::Idle => std::thread::park_timeout(Duration::from_micros(200)),
                Read::End => break,
            }
        }
        assert!(chunks < 40, "{chunks} chunks");
        assert_eq!(taken.count(), 700 * 3 - 7 * 3 + 7 * 30_000);
        let numbers = taken.of("pin/pin").into_iter().map(|record| {
            let value: serde_json::Value = serde_json::from_str(record).unwrap();
            value["n"].as_u64().unwrap()
        });
        assert!(numbers.is_sorted());
    });
}

#[test]
fn a_poll_of_a_bucket_lists_only_what_is_new() {
    let s3 = S3::start();
    let place = Place {
        folder: s3.bucket_folder(),
        storage: Storage::Bucket(s3.store(), object_store::path::Path::default()),
        runtime: s3.runtime.handle().clone(),
    };
    let folder = place.folder.join("topics/pin/partition=0");
    std::fs::create_dir_all(&folder).unwrap();
    let name = |n: usize| format!("pin+0+{n:010}.json");
    for n in 0..2500 {
        std::fs::write(folder.join(name(n)), format!("{{\"n\":{n}}}\n")).unwrap();
    }
    let mut taken = place.whole();
    assert_eq!(taken.count(), 2500);
    let mut source = place.follow(&taken);
    let begun = s3.requests();
    place.put(
        &format!("topics/pin/partition=0/{}", name(2500)),
        "{\"n\":2500}\n",
    );
    read_until(&mut source, &mut taken, 1 << 20, |taken| {
        taken.count() == 2501
    })
    .unwrap();
    let used = s3.requests() - begun;
    // The folders, what is new, the object, and one count of all.
    assert!(used <= 12, "{used} requests for one object among 2501");
}

fn files_of(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the files are and wherever reading is interrupted: every record once, in order.
    #[test]
    fn restarts_neither_lose_nor_repeat(
        files in prop::collection::vec((0_usize..400, 0_usize..5, prop::bool::ANY), 1..8),
        bytes_max in 1_usize..5000,
        stops in prop::collection::vec(1_usize..40, 0..6),
        budget in prop_oneof![Just(64_usize << 10), Just(8 << 20)],
    ) {
        in_folder(|place| {
            let mut expected = Vec::new();
            for (number, (records, form, newline)) in files.iter().enumerate() {
                let records: Vec<String> = (0..*records)
                    .map(|n| format!("{{\"file\":{number},\"n\":{n},\"x\":\"{}\"}}", "é\\\"}".repeat(n % 90)))
                    .collect();
                let lines = records.join("\n") + if *newline && !records.is_empty() { "\n" } else { "" };
                let name = format!("pin/{number:05}.json");
                match form {
                    0 => place.put(&name, &lines),
                    1 => place.put(&format!("{name}.gz"), gzip(&lines)),
                    2 => place.put(&format!("{name}.zst"), zstd(&lines)),
                    3 if records.len() > 1 => place.put(&name, records.concat()),
                    _ if records.len() > 1 => place.put(&name, format!("[\n{}\n]", records.join(",\n"))),
                    _ => place.put(&name, &lines),
                }
                expected.extend(records);
            }
            let mut taken = Taken::default();
            for stop in stops.iter().copied().map(Some).chain([None]) {
                let mut source = place.open(Opening {
                    positions: taken.positions.clone(),
                    budget_bytes: budget,
                    ..Opening::whole(streams())
                });
                let mut left = stop.unwrap_or(usize::MAX);
                read_until(&mut source, &mut taken, bytes_max, |_| {
                    left = left.saturating_sub(1);
                    left == 0
                }).unwrap();
            }
            let found = taken.of("pin/pin");
            assert_eq!(found.len(), expected.len(), "{:?}", files_of(&place.folder.join("pin")));
            assert!(found.iter().zip(&expected).all(|(a, b)| a == b));
        });
    }
}

//! Files of a folder and of a bucket, through the source that reads them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use pinflow::source::{
    Chunk, Delete, Directory, OnBadFile, Opening, Position, Read, Refused, Source, SourceError,
    Storage, position_key,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::s3::S3;

mod changes;
mod growth;
mod layouts;
mod restarts;
mod unread;

/// The records of each partition, and where it is to be read on.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub records: BTreeMap<String, Vec<String>>,
    pub positions: BTreeMap<String, Position>,
    pub deletes: BTreeMap<String, Vec<Delete>>,
    pub refused: BTreeMap<String, Vec<Refused>>,
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
        let deletes = self.deletes.entry(key.clone()).or_default();
        deletes.extend(chunk.deletes.iter().cloned());
        let refused = self.refused.entry(key).or_default();
        refused.extend(chunk.refused.iter().cloned());
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

    fn set_modified(&self, path: &str, when: SystemTime) {
        let file = std::fs::File::options()
            .append(true)
            .open(self.folder.join(path))
            .unwrap();
        file.set_modified(when).unwrap();
    }

    fn append(&self, path: &str, text: impl AsRef<[u8]>) {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(self.folder.join(path))
            .unwrap();
        file.write_all(text.as_ref()).unwrap();
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

    /// All there is now behind what was taken.
    fn after(&self, taken: &Taken) -> Opening {
        Opening {
            positions: taken.positions.clone(),
            ..Opening::whole(streams())
        }
    }

    fn follow(&self, taken: &Taken) -> Directory {
        self.open(Opening {
            bounded: false,
            ..self.after(taken)
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

/// Only what hangs takes so long, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(120);

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

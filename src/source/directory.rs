//! Files of JSON records in a folder or a bucket.
//!
//! Two layouts are known, and may be mixed:
//! * `topics/<topic>/partition=<p>/*.json[.gz]`, as the S3 sink connector writes it; the topic is the stream's name or ends in `.<stream>`;
//! * `<stream>/*.jsonl[.gz]` (or `.json`): one partition named after the folder.
//!
//! The files of a partition are read in the order of their names. A position is the number of records read and, as its token,
//! `<bytes>:<n>:<file>`: how much of the last file was read, and how many files sort before it. Without `--bounded` the folder is listed again and again; files that were added behind the
//! last one, or bytes added to it, are read.
//!
//! # Invariants
//! 1. A file is read once it is named; writers rename complete files into place (names that begin with a dot or an underscore are ignored).
//! 2. New files sort behind those that were read. One that does not is an error, never a silent gap.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Chunk, Opening, Position, Read, Source, SourceError};
use crate::decode::{count_records, last_newline};

/// How often a followed folder is listed.
const LIST_EVERY: Duration = Duration::from_millis(20);

/// More is fetched of a file at once than a chunk holds, so that requests to a bucket are few.
const FETCH_BYTES: u64 = 8 << 20;

/// A folder or bucket of record files.
pub struct Directory {
    store: Arc<dyn ObjectStore>,
    root: Path,
    name: String,
    runtime: tokio::runtime::Handle,
    opening: Opening,
    partitions: BTreeMap<(usize, String), Partition>,
    /// Partitions that may have something to read, in turn.
    ready: VecDeque<(usize, String)>,
    listed: Option<Instant>,
}

struct Partition {
    /// Files still to be read: name and size.
    files: VecDeque<(String, u64)>,
    /// The last file that was begun, and how many of its bytes were read.
    file: String,
    read: u64,
    offset: u64,
    /// Bytes that were fetched and not handed out; they follow `read`.
    buffer: Bytes,
    /// Files that sort before `file`: the ones that were read.
    before: u64,
    /// What the first listing must find before `file`, after a restart.
    expected_before: Option<u64>,
    known: BTreeSet<String>,
}

impl Directory {
    /// Opens the folder `root` of `store`; `name` is what people call it.
    pub fn open(
        store: Arc<dyn ObjectStore>,
        root: Path,
        name: String,
        runtime: tokio::runtime::Handle,
        opening: Opening,
    ) -> Self {
        Directory {
            store,
            root,
            name,
            runtime,
            opening,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            listed: None,
        }
    }

    fn storage(&self, place: &str, why: impl ToString) -> SourceError {
        SourceError::Storage {
            source_name: self.name.clone(),
            place: place.to_owned(),
            why: why.to_string(),
        }
    }

    /// The stream and partition of a file, from its path below the root.
    fn place(&self, relative: &str) -> Option<(usize, String)> {
        let parts: Vec<&str> = relative.split('/').collect();
        let file = parts.last()?;
        let stem = file.strip_suffix(".gz").unwrap_or(file);
        if file.starts_with(['.', '_']) || !(stem.ends_with(".json") || stem.ends_with(".jsonl")) {
            return None;
        }
        let stream = |topic: &str| {
            self.opening.streams.iter().position(|name| {
                topic == name
                    || topic
                        .strip_suffix(name.as_str())
                        .is_some_and(|rest| rest.ends_with('.'))
            })
        };
        match parts.as_slice() {
            [.., "topics", topic, partition, _] => {
                Some((stream(topic)?, format!("{topic}/{partition}")))
            }
            [folder, _] => Some((stream(folder)?, (*folder).to_owned())),
            _ => None,
        }
    }

    /// Lists the folder and queues what is new.
    fn list(&mut self) -> Result<(), SourceError> {
        self.listed = Some(Instant::now());
        let listing = self.store.list(Some(&self.root));
        let mut found: Vec<(String, u64)> = self
            .runtime
            .block_on(
                listing
                    .map_ok(|meta| (meta.location.to_string(), meta.size))
                    .try_collect(),
            )
            .map_err(|error| self.storage(self.root.as_ref(), error))?;
        found.sort();
        let prefix = self.root.to_string();
        for (path, size) in found {
            let relative = path
                .strip_prefix(&prefix)
                .unwrap_or(&path)
                .trim_start_matches('/')
                .to_owned();
            let Some((stream, partition)) = self.place(&relative) else {
                continue;
            };
            if !self
                .opening
                .is_mine(&self.opening.streams[stream], &partition)
            {
                continue;
            }
            self.queue(stream, partition, path, size)?;
        }
        Ok(())
    }

    fn queue(
        &mut self,
        stream: usize,
        name: String,
        path: String,
        size: u64,
    ) -> Result<(), SourceError> {
        let position = self.opening.position(&self.opening.streams[stream], &name);
        let partition = self
            .partitions
            .entry((stream, name.clone()))
            .or_insert_with(|| {
                let mut parts = position.token.splitn(3, ':');
                let mut number = || parts.next().and_then(|text| text.parse::<u64>().ok());
                let (read, before) = (number().unwrap_or(0), number());
                Partition {
                    files: VecDeque::new(),
                    file: parts.next().unwrap_or_default().to_owned(),
                    read,
                    offset: position.offset,
                    buffer: Bytes::new(),
                    before: before.unwrap_or(0),
                    expected_before: before,
                    known: BTreeSet::new(),
                }
            });
        if path == partition.file {
            if size < partition.read {
                return Err(SourceError::Changed {
                    source_name: self.name.clone(),
                    place: path,
                    why: format!(
                        "it has {size} bytes, and {} were read already; restore the file, or begin a new lake",
                        partition.read
                    ),
                });
            }
            let last = partition.files.is_empty()
                || partition
                    .files
                    .front()
                    .is_some_and(|(front, _)| *front == path);
            if size > partition.read && last && partition.files.is_empty() {
                partition.files.push_back((path.clone(), size));
            } else if let Some(front) = partition.files.front_mut().filter(|front| front.0 == path)
            {
                front.1 = size;
            }
        } else if path > partition.file && partition.known.insert(path.clone()) {
            if partition.files.back().is_some_and(|(last, _)| *last > path) {
                return Err(self.out_of_order(path));
            }
            partition.files.push_back((path, size));
        } else if path < partition.file && partition.known.insert(path.clone()) {
            // After a restart the first listing meets the files that were read before; any other is a latecomer.
            match partition.expected_before.as_mut() {
                Some(left) if *left > 0 => *left -= 1,
                _ => return Err(self.out_of_order(path)),
            }
        }
        let key = (stream, name);
        if !self.partitions[&key].files.is_empty() && !self.ready.contains(&key) {
            self.ready.push_back(key);
        }
        Ok(())
    }

    fn out_of_order(&self, place: String) -> SourceError {
        SourceError::Changed {
            source_name: self.name.clone(),
            place,
            why: "it came after files whose names sort behind it had been read; name files so that later ones sort later, as \
                  `<stream>+<partition>+<offset, 10 digits>.json` does"
                .to_owned(),
        }
    }

    /// Some records of the partition's first file; `None` when that file is done.
    fn next_chunk(
        &mut self,
        key: &(usize, String),
        bytes_max: usize,
    ) -> Result<Option<Chunk>, SourceError> {
        let Some(partition) = self.partitions.get_mut(key) else {
            return Ok(None);
        };
        let Some((path, size)) = partition.files.front().cloned() else {
            return Ok(None);
        };
        if partition.file != path {
            partition.before += u64::from(!partition.file.is_empty());
            partition.file.clone_from(&path);
            partition.read = 0;
            partition.buffer = Bytes::new();
        }
        let zipped = path.ends_with(".gz");
        let (at, have) = (partition.read, partition.buffer.len());
        let complete = zipped && have > 0;
        // A zipped file has no place in its middle to read on from: it is one chunk.
        let wanted = if zipped { usize::MAX } else { bytes_max.max(1) };
        if have < wanted
            && !complete
            && (!zipped && at + (have as u64) < size || zipped && at < size)
        {
            let fetched = self.fetch(
                &path,
                if zipped { 0 } else { at + have as u64 },
                size,
                zipped,
            )?;
            let partition = self
                .partitions
                .get_mut(key)
                .expect("the partition was there a moment ago");
            if partition.buffer.is_empty() {
                partition.buffer = fetched;
            } else {
                let mut joined = BytesMut::with_capacity(partition.buffer.len() + fetched.len());
                joined.extend_from_slice(&partition.buffer);
                joined.extend_from_slice(&fetched);
                partition.buffer = joined.freeze();
            }
        }
        let bounded = self.opening.bounded;
        let partition = self
            .partitions
            .get_mut(key)
            .expect("the partition was there a moment ago");
        let buffer = &partition.buffer;
        let whole_file = zipped || partition.read + buffer.len() as u64 >= size;
        let window = &buffer[..buffer.len().min(wanted)];
        let cut = match last_newline(window).or_else(|| memchr::memchr(b'\n', buffer)) {
            Some(newline) if !(whole_file && buffer.len() <= wanted) => newline + 1,
            // The end of a file ends its last record, newline or not, once nothing more can be written to it.
            _ if whole_file => match last_newline(buffer) {
                _ if bounded || zipped || partition.files.len() > 1 => buffer.len(),
                Some(newline) => newline + 1,
                None => 0,
            },
            _ => 0,
        };
        if cut == 0 && !whole_file {
            return Err(self.storage(
                &path,
                "one record is longer than a fetch; split the file into one record a line",
            ));
        }
        let bytes = partition.buffer.split_to(cut);
        let records = count_records(&bytes);
        let first_offset = partition.offset;
        partition.offset += records;
        partition.read = if zipped && partition.buffer.is_empty() {
            size
        } else if zipped {
            0
        } else {
            partition.read + cut as u64
        };
        let done = partition.buffer.is_empty() && whole_file || cut == 0;
        if done {
            partition.files.pop_front();
        }
        if cut == 0 {
            return Ok(None);
        }
        let end = Position {
            offset: partition.offset,
            token: format!("{}:{}:{}", partition.read, partition.before, partition.file),
        };
        Ok(Some(Chunk {
            stream: key.0,
            partition: key.1.clone(),
            first_offset,
            records,
            bytes,
            deletes: Vec::new(),
            end,
        }))
    }

    fn fetch(&self, path: &str, at: u64, size: u64, zipped: bool) -> Result<Bytes, SourceError> {
        let location = Path::from(path);
        let bytes = if zipped {
            self.runtime
                .block_on(async { self.store.get(&location).await?.bytes().await })
        } else {
            self.runtime.block_on(
                self.store
                    .get_range(&location, at..size.min(at + FETCH_BYTES)),
            )
        }
        .map_err(|error| self.storage(path, error))?;
        if !zipped {
            return Ok(bytes);
        }
        let mut text = Vec::with_capacity(bytes.len() * 4);
        flate2::read::MultiGzDecoder::new(bytes.as_ref())
            .read_to_end(&mut text)
            .map_err(|error| self.storage(path, format!("it is not gzip: {error}")))?;
        Ok(Bytes::from(text))
    }
}

impl Source for Directory {
    fn read(&mut self, bytes_max: usize) -> Result<Read, SourceError> {
        loop {
            while let Some(key) = self.ready.pop_front() {
                let chunk = self.next_chunk(&key, bytes_max)?;
                if self
                    .partitions
                    .get(&key)
                    .is_some_and(|partition| !partition.files.is_empty())
                {
                    self.ready.push_back(key);
                }
                if let Some(chunk) = chunk {
                    return Ok(Read::Chunk(chunk));
                }
            }
            match self.listed {
                Some(_) if self.opening.bounded => return Ok(Read::End),
                Some(at) if at.elapsed() < LIST_EVERY => return Ok(Read::Idle),
                Some(_) => {
                    self.list()?;
                    if self.ready.is_empty() {
                        return Ok(Read::Idle);
                    }
                }
                None => self.list()?,
            }
        }
    }

    fn describe(&self) -> String {
        format!("dir:{}", self.name)
    }
}

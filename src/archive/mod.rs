//! The raw archive: every record as it was received, in objects that can be read again.
//!
//! `topics/<topic>/partition=<p>/<topic>+<p>+<start offset, 10 digits>.json` holds a record a line:
//! line `i` is the record at offset `start + i`. See `name` for the topic and p of each source. An
//! object ends when it has enough records or bytes, when its first record was written long enough
//! ago, or when offsets have a gap. A blank line stands for an offset without record, as in chunks,
//! so that offsets can be told from the archive alone.
//!
//! A record whose value is null (a tombstone) is a line too, which names the key that it deletes
//! (see [`tombstone`]), so that a run over the archive deletes what the stream deleted. Of a file
//! that could not be read on there is what had begun of a record.
//!
//! # Exactly once
//! ```text
//!  claim a chunk ──append(epoch)──> objects in memory ──full──> written at once
//!  end of a commit ──seal(epoch)──> the rest is written; marks ──> checkpoint ──committed(its marks)
//! ```
//! Each process archives the partitions that it reads; their marks travel to the one that commits,
//! as the positions of the source do.
//!
//! `seal` gives, beside the positions of the source, a *mark* for each partition: where the object
//! begins that holds its last committed record, and where that record ends. Both go into the
//! checkpoint. An object that is still small is written again with the next seal, longer, under the
//! same name; it never changes otherwise. After a crash the archive may hold more than the
//! checkpoint knows. [`Archive::cut`] cuts the marked object where the mark says, and deletes what
//! begins behind it; the source then delivers the same records again.
//!
//! The run that wrote what is cut may have died with its next checkpoint on the way: if that
//! arrived later, it would vouch for records that are gone. So a start that finds more than the
//! checkpoint knows ([`Archive::exceeds_checkpoint`]) puts the next checkpoint itself, without
//! changes, before anything is cut (`Committer::fence`). A run that ended well leaves nothing to
//! cut, and no fence is put.
//!
//! # Late writers
//! A process that is stopped for a while, or a request that is slow, may write after its successor
//! did. What a checkpoint vouches for must not be shortened by that. In a folder a partition is
//! locked by the process that writes it, for as long as it lives. In a bucket every put names the
//! version that it replaces, so that one which comes late is refused by the store; one that came
//! before ours is taken over if ours goes on with it, and ends the run otherwise: the next start
//! cuts it off.
//!
//! # Invariants
//! 1. Objects of a partition do not overlap, and up to the committed offset they hold every offset
//!    that was appended.
//! 2. Whatever the checkpoint's position says was written before the checkpoint is.
//! 3. Nothing that someone else wrote is deleted: a partition without a mark in the checkpoint must
//!    have an empty folder, or a mark in `_uncommitted` that nothing in it was committed.
//! 4. What a checkpoint may vouch for that is still on its way is not deleted: nothing is, unless
//!    the lake was fenced after it was listed.

mod error;
mod name;
mod part;
mod recover;
mod seal;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::host::{Host, Task};
use crate::source::{Chunk, Position, Storage, position_key, tombstone};
use crate::trouble::Troubles;
pub use error::ArchiveError;
use name::{Folder, TOPICS, UNCOMMITTED};
use part::{Object, Part, Stored, split_lines};
use recover::Tail;
pub use seal::{Sealed, Sealing, Written};
use target::Target;

/// What marks in positions are named by. A checkpoint of a run without archive has none.
pub const MARK: &str = "_archive/";

/// An archive that the intake fills and the end of a commit seals.
pub type SharedArchive = Arc<Mutex<Archive>>;

/// The offsets that a mark names: of its object's first record, and behind its last committed one.
fn range(mark: &Position) -> Option<(u64, u64)> {
    let end = mark.token.parse().ok()?;
    (mark.offset < end).then_some((mark.offset, end))
}

/// An object that is larger is not written again: commits would write the same bytes over and over.
const GROWS_BELOW: usize = 4 << 20;

/// When objects end.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Bytes, exceeded by at most a chunk.
    pub roll_bytes: usize,
    /// Records, never exceeded.
    pub roll_records: u64,
    /// Milliseconds after the object was written first.
    pub roll_ms: i64,
    /// Bytes in memory over all objects that grow; beyond that the largest ends.
    pub open_bytes: usize,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        ArchiveOptions {
            roll_bytes: 32 << 20,
            roll_records: 1_000_000,
            roll_ms: 10 * 60 * 1000,
            open_bytes: 64 << 20,
        }
    }
}

/// See the module.
pub struct Archive {
    target: Target,
    streams: Vec<String>,
    host: Arc<dyn Host>,
    options: ArchiveOptions,
    parts: BTreeMap<(usize, String), Part>,
    /// Partitions that a checkpoint has a mark of, of all processes.
    committed: BTreeSet<String>,
    /// Partitions with more than the checkpoint's mark says, to be cut.
    surplus: Vec<Surplus>,
    /// Whether there are partitions that the checkpoint has no mark of, with something in them.
    has_uncommitted: bool,
    /// Whether a checkpoint that is still on its way comes too late.
    is_fenced: bool,
    writes: Vec<Task<Result<Option<Written>, ArchiveError>>>,
    unwritten: Arc<AtomicUsize>,
    open_bytes: usize,
    failure: Option<ArchiveError>,
}

/// A partition with more than the checkpoint's mark says.
struct Surplus {
    stream: usize,
    partition: String,
    part: Part,
    mark: (u64, u64),
}

impl Archive {
    /// An archive of `streams` in `storage`, which people call `name`. Objects are written in the
    /// background of `host`.
    pub fn open(
        storage: Storage,
        name: String,
        streams: Vec<String>,
        host: Arc<dyn Host>,
        options: ArchiveOptions,
    ) -> Self {
        Archive {
            target: Target::new(storage, name, Arc::clone(&host)),
            streams,
            host,
            options,
            parts: BTreeMap::new(),
            committed: BTreeSet::new(),
            surplus: Vec::new(),
            has_uncommitted: false,
            is_fenced: false,
            writes: Vec::new(),
            unwritten: Arc::default(),
            open_bytes: 0,
            failure: None,
        }
    }

    /// The same archive, which notes in `troubles` what it tries again.
    pub fn noting(mut self, troubles: Troubles) -> Self {
        self.target.troubles = troubles;
        self
    }

    /// Goes on from the checkpoint with these positions, as far as the archive is `mine` (stream,
    /// partition): to be called before anything is appended, by each process for the partitions
    /// that it reads. Nothing is cut yet.
    pub async fn recover(
        &mut self,
        positions: &BTreeMap<String, Position>,
        mine: impl Fn(&str, &str) -> bool,
    ) -> Result<(), ArchiveError> {
        let marks = positions.keys().filter(|key| key.starts_with(MARK));
        self.committed.extend(marks.cloned());
        let all = format!("{UNCOMMITTED}/");
        let uncommitted = self.target.list(UNCOMMITTED, &all).await?;
        let mut uncommitted: BTreeSet<String> = uncommitted.into_iter().collect();
        if self.committed.is_empty() {
            // Perhaps the run that died was of a version that put its marks beside the objects.
            let mut paths = self.target.list(TOPICS, &format!("{TOPICS}/")).await?;
            paths.retain(|path| path.rsplit('/').next() == Some(UNCOMMITTED));
            uncommitted.extend(paths);
        }
        for (key, position) in positions {
            let Some((stream, partition)) = self.split(key) else {
                continue;
            };
            let mut part = self.new_part(stream, &partition);
            let mark = positions.get(&format!("{MARK}{key}")).and_then(range);
            // A mark that says otherwise was to be deleted.
            let stale = mark.is_some() && uncommitted.remove(&part.folder.mark());
            if !mine(&self.streams[stream], &partition) {
                continue;
            }
            part.open = Object::at(position.offset);
            if let Some(mark) = mark {
                part.sealed = Some(mark.1);
                let lock = self.target.lock(&part.folder.path).await?;
                part.prepared = Arc::new(OnceCell::new_with(Some(lock)));
                if stale {
                    self.target.delete(&part.folder.mark()).await?;
                }
                let tail = recover::tail(&self.target, &part.folder, mark).await?;
                if !tail.is_cut() {
                    self.surplus.push(Surplus {
                        stream,
                        partition,
                        part,
                        mark,
                    });
                    continue;
                }
                self.resume(&mut part, mark, tail);
            }
            self.parts.insert((stream, partition), part);
        }
        self.has_uncommitted = !uncommitted.is_empty();
        Ok(())
    }

    /// Whether there is something in the archive that the checkpoint does not know: then the lake
    /// must be fenced before it is [`cut`](Self::cut).
    pub fn exceeds_checkpoint(&self) -> bool {
        self.has_uncommitted || !self.surplus.is_empty()
    }

    /// Makes the archive what it was at the checkpoint that it was recovered from, now that the lake
    /// is fenced. Partitions that the checkpoint has no mark of are emptied when they are first
    /// written to.
    pub async fn cut(&mut self) -> Result<(), ArchiveError> {
        self.is_fenced = true;
        for surplus in std::mem::take(&mut self.surplus) {
            let Surplus {
                stream,
                partition,
                mut part,
                mark,
            } = surplus;
            let tail = recover::cut(&self.target, &part.folder, mark).await?;
            self.resume(&mut part, mark, tail);
            self.parts.insert((stream, partition), part);
        }
        Ok(())
    }

    fn resume(&mut self, part: &mut Part, mark: (u64, u64), tail: Tail) {
        let is_bucket = self.target.is_bucket();
        recover::resume(part, mark, tail, self.options.roll_records, is_bucket);
        self.open_bytes += part.open.bytes;
    }

    /// Adds a chunk that was claimed in `epoch`. Chunks of a partition come in order, and epochs do
    /// not decrease.
    pub fn append(&mut self, epoch: u64, chunk: &Chunk) {
        if chunk.records == 0 || self.failure.is_some() {
            return;
        }
        let key = (chunk.stream, chunk.partition.clone());
        let mut part = match self.parts.remove(&key) {
            Some(part) => part,
            None => {
                let mut part = self.new_part(chunk.stream, &chunk.partition);
                part.open = Object::at(chunk.first_offset);
                part
            }
        };
        let expected = part.open.end();
        if chunk.first_offset < expected {
            self.failure = Some(ArchiveError::Order {
                partition: part.key.clone(),
                came: chunk.first_offset,
                expected,
            });
        } else {
            if chunk.first_offset > expected {
                self.end_object(&mut part, chunk.first_offset);
            }
            self.add(&mut part, chunk);
            let end = part.open.end();
            match part.ends.back_mut() {
                Some((last, at)) if *last == epoch => *at = end,
                _ => part.ends.push_back((epoch, end)),
            }
        }
        self.parts.insert(key, part);
        while self.open_bytes > self.options.open_bytes {
            let largest = self.parts.iter().max_by_key(|(_, part)| part.open.bytes);
            let Some(key) = largest.map(|(key, _)| key.clone()) else {
                break;
            };
            let Some(mut part) = self.parts.remove(&key) else {
                break;
            };
            let end = part.open.end();
            self.end_object(&mut part, end);
            self.parts.insert(key, part);
        }
    }

    fn add(&mut self, part: &mut Part, chunk: &Chunk) {
        let text = tombstone::write(&chunk.bytes, chunk.first_offset, &chunk.deletes);
        let mut text = tombstone::write_refused(text, chunk.first_offset, &chunk.refused);
        let mut records = chunk.records;
        while records > 0 {
            if part.open.records == 0 {
                part.starts.push_back(part.open.start);
            }
            let room = self.options.roll_records.max(1) - part.open.records;
            let split = (room < records).then(|| split_lines(&text, room)).flatten();
            let (now, count, rest) = match split {
                Some((now, rest)) => (now, room, rest),
                None => (text, records, bytes::Bytes::new()),
            };
            let before = part.open.bytes;
            part.open.push(now, count);
            self.open_bytes += part.open.bytes - before;
            (text, records) = (rest, records - count);
            if part.open.records >= self.options.roll_records
                || part.open.bytes >= self.options.roll_bytes
            {
                let end = part.open.end();
                self.end_object(part, end);
            }
        }
    }

    /// Bytes that were given to be written and are not yet. Whoever claims chunks should pause
    /// above some bound.
    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Begins to write what was appended in epochs up to `epoch`, at `now_ms` (milliseconds since
    /// 1970). The checkpoint of that epoch must wait for [`Sealing::written`] and hold its marks.
    pub fn seal(&mut self, epoch: u64, now_ms: i64) -> Sealing {
        let mut positions = BTreeMap::new();
        let keys: Vec<(usize, String)> = self.parts.keys().cloned().collect();
        for key in keys {
            let Some(mut part) = self.parts.remove(&key) else {
                continue;
            };
            let mut sealed = None;
            while let Some((_, end)) = part.ends.pop_front_if(|(of, _)| *of <= epoch) {
                sealed = Some(end);
            }
            if let Some(end) = sealed {
                part.sealed = sealed;
                while part.starts.get(1).is_some_and(|next| *next < end) {
                    part.starts.pop_front();
                }
            }
            if let (Some(start), Some(end)) = (part.starts.front(), part.sealed) {
                let mark = Position {
                    offset: *start,
                    token: end.to_string(),
                };
                positions.insert(format!("{MARK}{}", part.key), mark);
            }
            let object = &mut part.open;
            if object.records > object.given && sealed.is_some_and(|end| object.start < end) {
                object.since_ms.get_or_insert(now_ms);
                self.write(&mut part);
            }
            let object = &part.open;
            let old = object
                .since_ms
                .is_some_and(|since| now_ms - since >= self.options.roll_ms);
            if object.given > 0 && (old || object.bytes >= GROWS_BELOW) {
                let end = object.end();
                self.end_object(&mut part, end);
            }
            self.parts.insert(key, part);
        }
        Sealing {
            writes: std::mem::take(&mut self.writes),
            positions,
            failure: self.failure.clone(),
        }
    }

    /// Notes that a checkpoint with these positions is there, marks of whatever process among them.
    pub fn committed(&mut self, positions: &BTreeMap<String, Position>) {
        for (mark, _) in positions.range(MARK.to_owned()..) {
            let Some(key) = mark.strip_prefix(MARK) else {
                break;
            };
            if self.committed.contains(mark) {
                continue;
            }
            self.committed.insert(mark.clone());
            if let Some((stream, partition)) = self.split(key) {
                let folder = Folder::of(&self.streams, stream, &partition);
                let target = self.target.clone();
                // If this fails, the next recovery does it.
                self.host
                    .task(async move { target.delete(&folder.mark()).await });
            }
        }
    }

    /// Ends the object that grows; the next one begins at `next`.
    fn end_object(&mut self, part: &mut Part, next: u64) {
        if part.open.records > part.open.given {
            self.write(part);
        }
        self.open_bytes -= part.open.bytes;
        part.open = Object::at(next);
    }

    /// Writes the object that grows, as it is now.
    fn write(&mut self, part: &mut Part) {
        let object = &mut part.open;
        let text = object.text();
        object.given = object.records;
        let written = Written {
            path: part.folder.object(object.start),
            start: object.start,
            end: object.end(),
            bytes: object.bytes,
        };
        let (target, unwritten) = (self.target.clone(), Arc::clone(&self.unwritten));
        let (prepared, folder) = (Arc::clone(&part.prepared), Arc::clone(&part.folder));
        let stored = Arc::clone(&object.stored);
        let is_fenced = self.is_fenced;
        unwritten.fetch_add(written.bytes, Ordering::Relaxed);
        self.writes.push(self.host.task(async move {
            let records = written.end - written.start;
            let result = async {
                let prepare = || recover::prepare(&target, &folder, is_fenced);
                let _lock = prepared.get_or_try_init(prepare).await?;
                let mut stored = stored.lock().await;
                if stored.records >= records {
                    return Ok(None);
                }
                let Stored { version, .. } = &mut *stored;
                target.put(&written.path, text, version).await?;
                stored.records = records;
                Ok(Some(written.clone()))
            };
            let result = result.await;
            unwritten.fetch_sub(written.bytes, Ordering::Relaxed);
            result
        }));
    }

    fn new_part(&self, stream: usize, partition: &str) -> Part {
        Part {
            key: position_key(&self.streams[stream], partition),
            folder: Arc::new(Folder::of(&self.streams, stream, partition)),
            prepared: Arc::default(),
            sealed: None,
            open: Object::default(),
            starts: Default::default(),
            ends: Default::default(),
        }
    }

    /// The stream and partition of a position's key.
    fn split(&self, key: &str) -> Option<(usize, String)> {
        let of = |stream: &String| key.strip_prefix(stream.as_str())?.strip_prefix('/');
        let streams = self.streams.iter().enumerate();
        let found = streams.filter_map(|(index, stream)| Some((index, of(stream)?.to_owned())));
        found.max_by_key(|(index, _)| self.streams[*index].len())
    }
}

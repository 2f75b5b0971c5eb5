//! Files of JSON records in a folder or a bucket.
//!
//! # Which files
//! Three layouts are known, and may be mixed:
//! * `topics/<topic>/partition=<p>/*.json`, as the S3 sink connector and the archive write it; the
//!   topic is the stream's name or ends in `.<stream>`. The partition is `<topic>/partition=<p>`.
//! * `<stream>/*.jsonl` (or `.json`): one partition named after the folder, which is the stream's
//!   name or ends in `.<stream>`.
//! * `<prefix>/YYYY/MM/DD[/HH]/<any name>`, as Firehose delivers (also with `year=`, `month=`,
//!   `day=`, `hour=`). The stream is told by the folder of the prefix that is nearest to the date
//!   and is the stream's name or ends in it behind `.`, `-` or `_`; the partition is
//!   `dated/<prefix>` then. Without such a folder it is told by the delivery stream in the object's
//!   name, `<delivery stream>-<version>-YYYY-MM-DD-HH-MM-SS-<id>`, which ends in the stream's name
//!   in the same way; the partition is `dated/<prefix>/<delivery stream>`. Folders that end in
//!   `-failed` hold what Firehose could not deliver.
//!
//! Names that begin with a dot or an underscore are ignored. gzip and Zstandard are known by their
//! first bytes (and by `.gz`, `.zst`, `.zstd`). In a file records are lines, or JSON values of
//! which several stand on a line, in an array, or over several lines: see `frame`.
//!
//! # Order and positions
//! Files of the first two layouts are read in the order of their names (`named`), dated objects in
//! the order of their modification (`dated`). A position is the number of records read, and a token
//! that says how far which file was read: see `trail`. Without `bounded` folders are looked at
//! again and again; new files, new folders, and bytes added to one of the last files are read. A
//! compressed file may grow until its compression has ended.
//!
//! Nothing is passed over in silence: a file that was written anew, cut, or came too late is an
//! error that names it, and what belongs to no stream is noted in [`super::unread`].
//!
//! # How it is fast
//! ```text
//!  finder ──starts──> follower of a folder ──> feed ──> assembler ──pieces──> read
//!                      lists what is new       fetches   frames               cuts
//! ```
//! Tasks in the background fetch ahead as far as the budget goes, several objects at once, and
//! frame what they fetch. Whoever reads takes what is ready and never waits. The bytes of a chunk
//! are a slice of what was fetched: lines are not copied.

mod assemble;
mod budget;
mod dated;
mod days;
mod feed;
mod finder;
mod frame;
mod layout;
mod named;
mod open_file;
mod piece;
mod place;
mod shared;
mod storage;
mod trail;
mod unzip;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::SystemTime;

use super::{Chunk, Lag, Opening, Position, Read, Refused, Source, SourceError, tombstone};
use crate::decode::count_records;
use piece::Piece;
use shared::{Event, Shared};
pub use storage::Storage;
use trail::Trail;

/// The partitions of dated objects are called `dated/<..>`.
const DATED: &str = "dated";

/// The stream that a topic is read as, by the name of its folder: an index into `streams`.
pub fn stream_of_topic(streams: &[String], topic: &str) -> Option<usize> {
    layout::stream_named(streams, topic, layout::TOPIC)
}

/// A folder or bucket of record files.
pub struct Directory {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    finder: tokio::task::JoinHandle<()>,
    /// The piece that chunks are cut off.
    current: Option<Piece>,
    /// Where each partition is.
    reached: HashMap<(usize, Arc<str>), Reached>,
    ended: bool,
}

/// Where a partition is.
struct Reached {
    /// The next offset.
    offset: u64,
    trail: Trail,
    /// Whether lines of its files may be deletions: in dated objects all are a producer's values.
    deletes: bool,
}

impl Reached {
    fn from(position: &Position, is_dated: bool) -> Reached {
        // A token that says nothing was refused by who follows the partition.
        let trail = Trail::parse(&position.token, is_dated)
            .or_else(|| Trail::parse("", is_dated))
            .expect("nothing is a token");
        Reached {
            offset: position.offset,
            trail,
            deletes: !is_dated,
        }
    }
}

impl Directory {
    /// Opens `storage`; `name` is what people call it. Reading ahead begins at once, on `runtime`.
    pub fn open(
        storage: Storage,
        name: String,
        runtime: &tokio::runtime::Handle,
        opening: Opening,
    ) -> Self {
        let (sender, events) = channel();
        let shared = Arc::new(Shared::new(storage, name, opening, sender));
        let finding = finder::find(Arc::clone(&shared));
        let guarded = Arc::clone(&shared).guarded(shared.storage.path(""), finding);
        Directory {
            finder: runtime.spawn(guarded),
            shared,
            events,
            current: None,
            reached: HashMap::new(),
            ended: false,
        }
    }

    fn chunk(&mut self, bytes_max: usize) -> Option<Chunk> {
        let piece = self.current.as_mut()?;
        let (stream, partition) = (piece.stream, Arc::clone(&piece.partition));
        let first = piece.segments.front();
        let is_dated = first.is_some_and(|segment| segment.place.file.object.is_some());
        let opening = &self.shared.opening;
        let reached = self
            .reached
            .entry((stream, Arc::clone(&partition)))
            .or_insert_with(|| {
                let position = opening.position(&opening.streams[stream], &partition);
                Reached::from(&position, is_dated)
            });
        let mut refused = Vec::new();
        let bytes = piece.cut(bytes_max, |segment| {
            reached.trail.note(&segment.place);
            refused.extend(segment.refused.map(|rest| (segment.end, rest)));
        });
        if piece.text.is_empty() {
            self.current = None;
        }
        let records = count_records(&bytes);
        let first_offset = reached.offset;
        reached.offset += records;
        let refused = refused.into_iter().map(|(end, rest)| Refused {
            offset: first_offset + count_records(&bytes[..end]) - 1,
            ..rest
        });
        let refused = refused.collect();
        let (bytes, deletes) = if reached.deletes {
            tombstone::read(bytes, first_offset)
        } else {
            (bytes, Vec::new())
        };
        Some(Chunk {
            stream,
            partition: partition.to_string(),
            first_offset,
            records,
            bytes,
            deletes,
            refused,
            end: Position {
                offset: reached.offset,
                token: reached.trail.token(),
            },
            retry: None,
        })
    }
}

impl Source for Directory {
    fn read(&mut self, bytes_max: usize) -> Result<Read, SourceError> {
        loop {
            if let Some(chunk) = self.chunk(bytes_max) {
                return Ok(Read::Chunk(chunk));
            }
            match self.events.try_recv() {
                Ok(Event::Piece(piece)) => self.current = Some(piece),
                Ok(Event::Failed(error)) => return Err(error),
                Ok(Event::End) | Err(TryRecvError::Disconnected) => self.ended = true,
                Err(TryRecvError::Empty) if self.ended => return Ok(Read::End),
                Err(TryRecvError::Empty) => return Ok(Read::Idle),
            }
            if self.ended && self.current.is_none() {
                return Ok(Read::End);
            }
        }
    }

    fn describe(&self) -> String {
        format!("dir:{}", self.shared.name)
    }

    fn identity(&self) -> Option<String> {
        let place = match &self.shared.storage {
            // One folder, however its path is written.
            Storage::Folder(folder) => std::fs::canonicalize(folder).ok()?.display().to_string(),
            Storage::Bucket(..) => self.shared.name.trim_end_matches('/').to_owned(),
        };
        Some(format!("the files in {place}"))
    }

    fn lag(&self) -> Vec<Lag> {
        self.shared.lag(SystemTime::now())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The followers end with the finder.
        self.finder.abort();
    }
}

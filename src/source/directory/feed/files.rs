//! Reads files of this machine: small ones whole, many in one go and several goes at once; large ones block by block, in turn.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::super::assemble::Assembler;
use super::super::frame::HEAD_BYTES;
use super::super::place::ReadTo;
use super::super::shared::Shared;
use super::super::storage::{StorageFailure, blocking, millis};
use super::{Done, Job};
use crate::source::SourceError;

/// Files up to this size are small.
const SMALL_BYTES: u64 = 256 << 10;

/// Files that are read in one go.
const FILES: usize = 64;

/// Goes at once for one partition: opening files is mostly waiting.
const GOES: usize = 4;

/// A small file that was read, or what must be known to read a large one.
enum Opened {
    Small(Opening, Bytes),
    Large,
}

/// How a file looked when it was opened.
struct Opening {
    /// Its size then.
    size: u64,
    /// When it was modified, in milliseconds since 1970.
    modified: i64,
    /// How it begins, if that is not where it is read from.
    head: Bytes,
}

/// See [`super::feed`].
pub(super) async fn feed(
    shared: &Arc<Shared>,
    jobs: Arc<[Job]>,
    assemblers: &mut [Assembler],
    done: &mut (dyn FnMut(Done) + Send),
) -> Result<(), SourceError> {
    let files: Arc<[(PathBuf, ReadTo)]> = jobs
        .iter()
        .map(|job| {
            let place = shared.storage.local(&job.path).unwrap_or_default();
            (place, job.start)
        })
        .collect();
    // A go stops when it has so much; its other files are read as if they were large.
    let go_bytes = shared.block / GOES;
    let (budget, all) = (Arc::clone(shared), Arc::clone(&files));
    let goes = stream::iter((0..jobs.len()).step_by(FILES))
        .then(move |first| {
            let shared = Arc::clone(&budget);
            async move { (shared.fetching.take(go_bytes).await, first) }
        })
        .map(move |(permit, first)| {
            let files = Arc::clone(&all);
            async move {
                let last = files.len().min(first + FILES);
                let read = blocking(move || {
                    let mut left = go_bytes;
                    let opened = files[first..last].iter().map(|(path, start)| {
                        let opened = open_small(path, *start, left);
                        if let Ok(Opened::Small(_, bytes)) = &opened {
                            left -= bytes.len();
                        }
                        opened
                    });
                    Ok(opened.collect::<Vec<io::Result<Opened>>>())
                });
                (permit, first, read.await)
            }
        })
        .buffered(GOES);
    let mut goes = std::pin::pin!(goes);
    while let Some((permit, first, opened)) = goes.next().await {
        let failed = |place: &str, error: StorageFailure| shared.storage_failed(place, error);
        let opened = opened.map_err(|error| failed(&jobs[first].path, error))?;
        for (number, opened) in (first..).zip(opened) {
            let job = &jobs[number];
            let assembler = &mut assemblers[job.to];
            let opened = opened.map_err(|error| failed(&job.path, error.into()))?;
            let size = match opened {
                Opened::Small(opening, bytes) => {
                    begin(shared, job, assembler, &opening)?;
                    assembler.block(bytes).await?;
                    opening.size
                }
                Opened::Large => read_large(shared, job, &files[number].0, assembler).await?,
            };
            let read = assembler.end(size, job.complete).await?;
            done(Done {
                job: number,
                size,
                read,
            });
        }
        drop(permit);
    }
    Ok(())
}

/// Begins a file in the assembler, unless it lost something that was read.
fn begin(
    shared: &Shared,
    job: &Job,
    assembler: &mut Assembler,
    opening: &Opening,
) -> Result<(), SourceError> {
    if let ReadTo::Stored(read) = job.start
        && opening.size < read
    {
        return Err(shared.changed(&job.path, shrunk(opening.size, read)));
    }
    assembler.begin(&job.path, job.order.clone(), job.start, &opening.head)?;
    assembler
        .gauge
        .oldest
        .store(opening.modified, Ordering::Relaxed);
    Ok(())
}

fn shrunk(size: u64, read: u64) -> String {
    format!(
        "it has {size} bytes, and {read} were read already; restore the file, or begin a new lake"
    )
}

/// Reads a large file, or what was appended to one; tells its size.
async fn read_large(
    shared: &Arc<Shared>,
    job: &Job,
    path: &Path,
    assembler: &mut Assembler,
) -> Result<u64, SourceError> {
    let failed = |error: StorageFailure| shared.storage_failed(&job.path, error);
    let (place, start) = (path.to_owned(), job.start);
    let opened = blocking(move || open(&place, start))
        .await
        .map_err(failed)?;
    let (mut file, opening) = opened;
    begin(shared, job, assembler, &opening)?;
    let size = opening.size;
    let mut at = match job.start {
        ReadTo::Stored(at) => at,
        ReadTo::Text(_) => 0,
    };
    while at < size {
        let carry = assembler.take_carry();
        let room = match shared.block {
            block if carry.len() < block / 2 => block,
            block => carry.len() + block,
        };
        // Nothing that waits for this one holds what it takes: goes have a budget of their own.
        let permit = shared.blocks.take(room).await;
        let wanted = (room - carry.len()).min((size - at) as usize);
        let pool = Arc::clone(&shared.pool);
        let read = blocking(move || {
            let mut buffer = pool.take(room);
            buffer.bytes[..carry.len()].copy_from_slice(&carry);
            let until = carry.len() + wanted;
            let filled = fill(&file, &mut buffer.bytes[carry.len()..until], at)?;
            buffer.filled = carry.len() + filled;
            Ok((file, filled, buffer.freeze()))
        });
        let (filled, bytes);
        (file, filled, bytes) = read.await.map_err(failed)?;
        at += filled as u64;
        if filled < wanted {
            return Err(shared.changed(&job.path, shrunk(at, size)));
        }
        assembler.block(bytes).await?;
        drop(permit);
    }
    Ok(size)
}

/// Opens a file, and looks at it.
fn open(path: &Path, start: ReadTo) -> io::Result<(File, Opening)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let mut head = Vec::new();
    if let ReadTo::Stored(1..) = start {
        head = vec![0; HEAD_BYTES.min(meta.len() as usize)];
        let filled = fill(&file, &mut head, 0)?;
        head.truncate(filled);
    }
    let opening = Opening {
        size: meta.len(),
        modified: meta.modified().map(millis).unwrap_or(0),
        head: head.into(),
    };
    Ok((file, opening))
}

/// Reads a file that has at most `left` bytes to read.
fn open_small(path: &Path, start: ReadTo, left: usize) -> io::Result<Opened> {
    if left == 0 {
        return Ok(Opened::Large);
    }
    let (file, mut opening) = open(path, start)?;
    let at = match start {
        ReadTo::Stored(at) => at,
        ReadTo::Text(_) => 0,
    };
    let length = opening.size.saturating_sub(at);
    if length > SMALL_BYTES.min(left as u64) {
        return Ok(Opened::Large);
    }
    let mut bytes = vec![0; length as usize];
    let filled = fill(&file, &mut bytes, at)?;
    if filled < bytes.len() {
        // It became shorter meanwhile; whether that matters shows in its size.
        bytes.truncate(filled);
        opening.size = at + filled as u64;
    }
    Ok(Opened::Small(opening, bytes.into()))
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

//! Reads files of this machine: small ones whole, many in one go and several goes at once; large
//! ones block by block, in turn.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::super::assemble::{Assembler, Start};
use super::super::frame::HEAD_BYTES;
use super::super::place::{Place, ReadTo, TAIL_BYTES, Tail};
use super::super::shared::Shared;
use super::super::storage::{Look, StorageFailure, blocking, millis};
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
    look: Look,
    start: Start,
}

/// Where a file is, and how much of it was read.
type Known = (PathBuf, ReadTo, Option<Tail>);

/// See [`super::feed`].
pub(super) async fn feed(
    shared: &Arc<Shared>,
    jobs: Arc<[Job]>,
    assemblers: &mut [Assembler],
    done: &mut (dyn FnMut(Done) + Send),
) -> Result<(), SourceError> {
    let files: Arc<[Known]> = jobs
        .iter()
        .map(|job| {
            let place = shared.storage.local(&job.path).unwrap_or_default();
            (place, job.start, job.tail)
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
                    let opened = files[first..last].iter().map(|known| {
                        let opened = open_small(known, left);
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
            let known = &files[number];
            let one = match read_one(shared, job, known, assembler, opened).await {
                Ok(one) => one,
                Err(error) => {
                    let why = shared.letter_of(error)?;
                    let path = known.0.clone();
                    // One that is gone by now has nothing left either.
                    let look = blocking(move || std::fs::metadata(path)).await.ok();
                    let look = look.map(|meta| Look::of(&meta));
                    let size = look.map_or(0, |look| look.size);
                    let seen = job.seen(look.map(|look| look.id));
                    (size, assembler.refuse(seen, size, &why).await?)
                }
            };
            let (size, place) = one;
            done(Done {
                job: number,
                size,
                place,
            });
        }
        drop(permit);
    }
    Ok(())
}

/// Reads one file; tells its size, and how far it was read.
async fn read_one(
    shared: &Arc<Shared>,
    job: &Job,
    known: &Known,
    assembler: &mut Assembler,
    opened: io::Result<Opened>,
) -> Result<(u64, Place), SourceError> {
    let opened = opened.map_err(|error| shared.bad_file(&job.path, error))?;
    let look = match opened {
        Opened::Small(opening, bytes) => {
            begin(shared, job, assembler, &opening)?;
            assembler.block(bytes).await?;
            opening.look
        }
        Opened::Large => read_large(shared, job, known, assembler).await?,
    };
    let place = |read, tail| Place {
        file: Arc::new(job.seen(Some(look.id))),
        read,
        tail,
    };
    let place = match job.start {
        ReadTo::Stored(read @ 1..) if read == look.size => {
            let place = place(job.start, job.tail);
            assembler.note(place.clone());
            place
        }
        _ => {
            let (read, tail) = assembler.end(look.size, job.writing).await?;
            place(read, tail)
        }
    };
    Ok((look.size, place))
}

/// Begins a file in the assembler, unless it lost something that was read, or there is nothing to
/// read.
fn begin(
    shared: &Shared,
    job: &Job,
    assembler: &mut Assembler,
    opening: &Opening,
) -> Result<(), SourceError> {
    if let ReadTo::Stored(read @ 1..) = job.start {
        if opening.look.size < read {
            return Err(shared.shrunk(&job.path, opening.look.size, read));
        }
        if !opening.start.is_sound() {
            return Err(shared.rewritten(&job.path));
        }
        if opening.look.size == read {
            return Ok(());
        }
    }
    assembler.begin(job.seen(Some(opening.look.id)), &opening.start)?;
    let modified = millis(opening.look.modified);
    assembler.gauge.oldest.store(modified, Ordering::Relaxed);
    Ok(())
}

/// Reads a large file, or what was appended to one; tells how it looked.
async fn read_large(
    shared: &Arc<Shared>,
    job: &Job,
    known: &Known,
    assembler: &mut Assembler,
) -> Result<Look, SourceError> {
    let failed = |error: StorageFailure| shared.bad_file(&job.path, error);
    let place = known.clone();
    let opened = blocking(move || open(&place)).await.map_err(failed)?;
    let (mut file, opening) = opened;
    begin(shared, job, assembler, &opening)?;
    let size = opening.look.size;
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
            return Err(shared.shrunk(&job.path, at, size));
        }
        assembler.block(bytes).await?;
        drop(permit);
    }
    Ok(opening.look)
}

/// Opens a file, and looks at it.
fn open((path, read, tail): &Known) -> io::Result<(File, Opening)> {
    // Opening a pipe must not wait for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let look = Look::of(&file.metadata()?);
    if !look.is_file {
        return Err(io::Error::other("it is not a regular file; remove it"));
    }
    let mut start = Start {
        read: Some(*read),
        tail: *tail,
        ..Start::default()
    };
    if let ReadTo::Stored(at @ 1..) = *read {
        let length = TAIL_BYTES.min(at as usize);
        start.before = bytes_at(&file, at - length as u64, length)?;
        if at < look.size {
            start.head = bytes_at(&file, 0, HEAD_BYTES.min(look.size as usize))?;
        }
    }
    Ok((file, Opening { look, start }))
}

/// Up to so many bytes of a file: less if it ends.
fn bytes_at(file: &File, at: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let filled = fill(file, &mut bytes, at)?;
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Reads a file that has at most `left` bytes to read.
fn open_small(known: &Known, left: usize) -> io::Result<Opened> {
    if left == 0 {
        return Ok(Opened::Large);
    }
    let (file, mut opening) = open(known)?;
    let start = known.1;
    let at = match start {
        ReadTo::Stored(at) => at,
        ReadTo::Text(_) => 0,
    };
    let length = opening.look.size.saturating_sub(at);
    if length > SMALL_BYTES.min(left as u64) {
        return Ok(Opened::Large);
    }
    let mut bytes = vec![0; length as usize];
    let filled = fill(&file, &mut bytes, at)?;
    if filled < bytes.len() {
        // It became shorter meanwhile; whether that matters shows in its size.
        bytes.truncate(filled);
        opening.look.size = at + filled as u64;
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

//! Reads objects of a bucket: the next blocks, and the next small objects, are fetched several at
//! once while earlier ones are handed on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::super::assemble::{Assembler, Start};
use super::super::frame::HEAD_BYTES;
use super::super::place::{Place, ReadTo, TAIL_BYTES};
use super::super::shared::Shared;
use super::{Done, Job};
use crate::source::SourceError;

/// Requests to a bucket that are under way at once for one partition. Small objects take a round
/// trip each, and hardly anything else.
const REQUESTS: usize = 64;

/// Part of an object.
struct Part {
    job: usize,
    range: std::ops::Range<u64>,
    last: bool,
}

/// See [`super::feed`].
pub(super) async fn feed(
    shared: &Arc<Shared>,
    jobs: Arc<[Job]>,
    assemblers: &mut [Assembler],
    done: &mut (dyn FnMut(Done) + Send),
) -> Result<(), SourceError> {
    let block = shared.block as u64;
    let files = Arc::clone(&jobs);
    let parts = (0..jobs.len()).flat_map(move |job| {
        let size = files[job].size.unwrap_or(0);
        let mut at = match files[job].start {
            ReadTo::Stored(at) => at.min(size),
            ReadTo::Text(_) => 0,
        };
        let mut ended = false;
        std::iter::from_fn(move || {
            let range = at..size.min(at + block);
            at = range.end;
            let last = at == size;
            let part = Part { job, range, last };
            (!std::mem::replace(&mut ended, last)).then_some(part)
        })
    });
    // Budget is taken in the order of the parts, so that the first to be handed on never waits for
    // later ones.
    let (budget, store) = (Arc::clone(shared), Arc::clone(shared));
    let files = Arc::clone(&jobs);
    let fetches = stream::iter(parts)
        .then(move |part| {
            let shared = Arc::clone(&budget);
            async move {
                let bytes = part.range.end - part.range.start;
                (shared.fetching.take(bytes as usize).await, part)
            }
        })
        .map(move |(permit, part)| {
            let (shared, path) = (Arc::clone(&store), Arc::clone(&files[part.job].path));
            async move {
                let _place = shared.requests.acquire().await;
                let bytes = shared.storage.range(&path, part.range.clone()).await;
                (permit, part, bytes)
            }
        })
        .buffered(REQUESTS);
    let mut fetches = std::pin::pin!(fetches);
    let mut open = None;
    let mut refused = None;
    while let Some((permit, part, bytes)) = fetches.next().await {
        let file = &jobs[part.job];
        let bytes = bytes.map_err(|error| shared.storage_failed(&file.path, error))?;
        if bytes.len() as u64 != part.range.end - part.range.start {
            let why =
                "it became shorter while it was read; restore the object, or begin a new lake";
            return Err(shared.changed(&file.path, why.to_owned()));
        }
        let assembler = &mut assemblers[file.to];
        let size = file.size.unwrap_or(0);
        let length = bytes.len() as u64;
        let read = if refused == Some(part.job) {
            Ok(None)
        } else {
            let is_first = open != Some(part.job);
            open = Some(part.job);
            read_part(shared, file, assembler, bytes, is_first, part.last).await
        };
        let place = match read {
            Ok(place) => place,
            Err(error) => {
                let why = shared.letter_of(error)?;
                refused = Some(part.job);
                Some(assembler.refuse(file.seen(file.id), size, &why).await?)
            }
        };
        let _ = assembler
            .gauge
            .ahead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead| {
                Some(ahead.saturating_sub(length))
            });
        drop(permit);
        if let Some(place) = place {
            done(Done {
                job: part.job,
                size,
                place,
            });
        }
    }
    Ok(())
}

/// Reads the next part of an object; tells how far it was read, if it was the last.
async fn read_part(
    shared: &Shared,
    job: &Job,
    assembler: &mut Assembler,
    bytes: Bytes,
    is_first: bool,
    is_last: bool,
) -> Result<Option<Place>, SourceError> {
    let size = job.size.unwrap_or(0);
    if is_first {
        let start = start(shared, job, size).await?;
        if !start.is_sound() {
            return Err(shared.rewritten(&job.path));
        }
        if job.start == ReadTo::START || job.start != ReadTo::Stored(size) {
            assembler.begin(job.seen(job.id), &start)?;
        }
    }
    assembler.block(bytes).await?;
    if !is_last {
        return Ok(None);
    }
    let (read, tail) = match job.start {
        // There was nothing to read, and what was read is still there.
        ReadTo::Stored(at @ 1..) if at == size => (job.start, job.tail),
        _ => assembler.end(size, job.writing).await?,
    };
    let place = Place {
        file: Arc::new(job.seen(job.id)),
        read,
        tail,
    };
    if job.start == read {
        assembler.note(place.clone());
    }
    Ok(Some(place))
}

/// What must be known of an object to read it on.
async fn start(shared: &Shared, job: &Job, size: u64) -> Result<Start, SourceError> {
    let mut start = Start {
        read: Some(job.start),
        tail: job.tail,
        ..Start::default()
    };
    if let ReadTo::Stored(at @ 1..) = job.start {
        let failed = |error| shared.storage_failed(&job.path, error);
        let storage = &shared.storage;
        let length = (TAIL_BYTES as u64).min(at);
        if job.tail.is_some() {
            let range = storage.range(&job.path, at - length..at).await;
            start.before = range.map_err(failed)?;
        }
        if at < size {
            let until = size.min(HEAD_BYTES as u64);
            start.head = storage.range(&job.path, 0..until).await.map_err(failed)?;
        }
    }
    Ok(start)
}

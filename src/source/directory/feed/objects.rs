//! Reads objects of a bucket: the next blocks, and the next small objects, are fetched several at once while earlier ones are handed on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::super::assemble::Assembler;
use super::super::frame::HEAD_BYTES;
use super::super::place::ReadTo;
use super::super::shared::Shared;
use super::{Done, Job};
use crate::source::SourceError;

/// Requests to a bucket that are under way at once for one partition. Small objects take a round trip each, and hardly anything else.
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
    // Budget is taken in the order of the parts, so that the first to be handed on never waits for later ones.
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
    while let Some((permit, part, bytes)) = fetches.next().await {
        let file = &jobs[part.job];
        let bytes = bytes.map_err(|error| shared.storage_failed(&file.path, error))?;
        if bytes.len() as u64 != part.range.end - part.range.start {
            let why =
                "it became shorter while it was read; restore the object, or begin a new lake";
            return Err(shared.changed(&file.path, why.to_owned()));
        }
        let assembler = &mut assemblers[file.to];
        if open != Some(part.job) {
            open = Some(part.job);
            let head = match file.start {
                ReadTo::Stored(at) if at > 0 => {
                    let until = file.size.unwrap_or(0).min(HEAD_BYTES as u64);
                    let head = shared.storage.range(&file.path, 0..until).await;
                    head.map_err(|error| shared.storage_failed(&file.path, error))?
                }
                _ => Bytes::new(),
            };
            assembler.begin(&file.path, file.order.clone(), file.start, &head)?;
        }
        let length = bytes.len() as u64;
        assembler.block(bytes).await?;
        let _ = assembler
            .gauge
            .ahead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead| {
                Some(ahead.saturating_sub(length))
            });
        drop(permit);
        if part.last {
            let size = file.size.unwrap_or(0);
            let read = assembler.end(size, file.complete).await?;
            done(Done {
                job: part.job,
                size,
                read,
            });
        }
    }
    Ok(())
}

//! Chunks that were fetched and not read yet: a queue bounded by bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::status::Status;
use crate::source::{Chunk, SourceError};

/// The queue between the threads that fetch and whoever reads.
pub(super) struct Ready {
    budget: usize,
    inner: Mutex<Inner>,
    room: Condvar,
}

#[derive(Default)]
struct Inner {
    chunks: VecDeque<Fetched>,
    bytes: usize,
    /// How many partitions may still deliver; unknown for sources without end.
    open: Option<usize>,
    failure: Option<SourceError>,
    /// The source was dropped, or has failed: nothing is to be fetched any more.
    is_closed: bool,
}

/// A chunk and what is known of it.
pub(super) struct Fetched {
    pub(super) chunk: Chunk,
    pub(super) status: Arc<Status>,
    /// When one of its last records was made, in milliseconds since 1970.
    pub(super) made_ms: Option<i64>,
}

/// What there is to read.
pub(super) enum Next {
    Chunk(Fetched),
    Idle,
    End,
    Failed(SourceError),
}

impl Ready {
    /// A queue for `budget` bytes; `open` partitions will end if the source has an end.
    pub(super) fn new(budget: usize, open: Option<usize>) -> Ready {
        let inner = Inner {
            open,
            ..Inner::default()
        };
        Ready {
            budget,
            inner: Mutex::new(inner),
            room: Condvar::new(),
        }
    }

    /// Waits until there is room, at most for `patience`; tells whether there is.
    pub(super) fn wait_for_room(&self, patience: Duration) -> bool {
        let inner = self.lock();
        if !self.is_full(&inner) {
            return true;
        }
        let (inner, _) = self
            .room
            .wait_timeout(inner, patience)
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_full(&inner)
    }

    pub(super) fn push(&self, fetched: Fetched) {
        let mut inner = self.lock();
        inner.bytes += size(&fetched.chunk);
        inner.chunks.push_back(fetched);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().chunks.is_empty()
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// A partition of a bounded source is at its end.
    pub(super) fn end_one(&self) {
        let mut inner = self.lock();
        if let Some(open) = &mut inner.open {
            *open = open.saturating_sub(1);
        }
    }

    /// Ends it all with an error, which is told when everything before it was read. The first one
    /// counts.
    pub(super) fn fail(&self, error: SourceError) {
        let mut inner = self.lock();
        if !inner.is_closed {
            inner.failure = Some(error);
            inner.is_closed = true;
        }
        self.room.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.room.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    pub(super) fn pop(&self) -> Next {
        let mut inner = self.lock();
        if let Some(fetched) = inner.chunks.pop_front() {
            let was_full = self.is_full(&inner);
            inner.bytes -= size(&fetched.chunk);
            if was_full && !self.is_full(&inner) {
                self.room.notify_all();
            }
            return Next::Chunk(fetched);
        }
        if let Some(error) = inner.failure.take() {
            return Next::Failed(error);
        }
        if inner.open == Some(0) || inner.is_closed {
            return Next::End;
        }
        Next::Idle
    }

    fn is_full(&self, inner: &Inner) -> bool {
        inner.bytes >= self.budget && !inner.is_closed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a chunk takes, roughly.
fn size(chunk: &Chunk) -> usize {
    chunk.bytes.len() + chunk.deletes.len() * 64 + 200
}

//! Bounds on the bytes that are fetched ahead, and the buffers they are fetched into.
//!
//! There are three budgets, and they are taken in this order: for what is fetched ahead, for the
//! block of a large file that is next, and for what waits to be read. Whoever holds of one waits at
//! most for a later one, and what waits to be read waits for nobody: so there is always something
//! that goes on.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A share of a budget; it goes back when dropped.
pub(super) type Permit = OwnedSemaphorePermit;

/// Budgets count in these.
const UNIT: usize = 1024;

/// A bound on bytes, over everyone who shares it.
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: usize,
}

impl Budget {
    /// At most `bytes`.
    pub(super) fn of(bytes: usize) -> Self {
        let total = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Budget {
            units: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits for a share of `bytes`, or for all there is if that is less: something large must go
    /// through too.
    pub(super) async fn take(&self, bytes: usize) -> Option<Permit> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.total) as u32;
        // The semaphore is never closed.
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

/// Buffers of one size that are used again: fresh memory costs more than reading a cached file
/// does.
pub(super) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
    size: usize,
    keep: usize,
}

impl Pool {
    /// Buffers of `size` bytes, of which up to `keep` are kept.
    pub(super) fn new(size: usize, keep: usize) -> Arc<Self> {
        Arc::new(Pool {
            free: Mutex::new(Vec::new()),
            size,
            keep,
        })
    }

    /// A buffer of the pool's size, or of `at_least` if that is more.
    pub(super) fn take(self: &Arc<Self>, at_least: usize) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = (at_least <= self.size).then(|| free.pop()).flatten();
        drop(free);
        Buffer {
            bytes: kept.unwrap_or_else(|| vec![0; self.size.max(at_least)]),
            filled: 0,
            pool: Arc::clone(self),
        }
    }
}

/// A buffer that goes back to its pool.
pub(super) struct Buffer {
    /// All of it; what was not filled holds whatever was there before.
    pub bytes: Vec<u8>,
    /// How much is filled.
    pub filled: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// The filled part, shared; the buffer goes back when the last share is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.bytes.len() == self.pool.size && free.len() < self.pool.keep {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

//! How many bytes of bodies may be in memory at once.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Semaphores count to 2²⁹ on some machines, so permits are for blocks.
const BLOCK: usize = 1 << 10;

/// Bytes that may be in memory at once. Clones share them.
#[derive(Clone, Debug)]
pub struct Room {
    blocks: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from a [`Room`], given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    _blocks: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for `bytes`.
    pub fn new(bytes: usize) -> Room {
        let total = bytes.div_ceil(BLOCK).max(1);
        Room {
            blocks: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits for room, first come first served. What is larger than all of it waits for all of it.
    pub async fn take(&self, bytes: usize) -> Place {
        let blocks = bytes.div_ceil(BLOCK).min(self.total);
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let taken = Arc::clone(&self.blocks).acquire_many_owned(blocks).await;
        Place {
            _blocks: taken.ok(),
        }
    }
}

impl Place {
    /// The bytes, which keep their place until the last of them is gone.
    pub fn hold(self, body: Vec<u8>) -> Bytes {
        struct Held(Vec<u8>, #[allow(dead_code)] Place);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Held(body, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn what_finds_no_room_waits_until_bytes_are_gone() {
        let room = Room::new(10 * BLOCK);
        let first = room.take(7 * BLOCK).await.hold(vec![1; 3]);
        let slice = first.slice(1..2);
        drop(first);
        assert!(room.take(4 * BLOCK).now_or_never().is_none());
        assert!(room.take(3 * BLOCK).now_or_never().is_some());
        drop(slice);
        let all = room.take(usize::MAX).now_or_never();
        assert!(
            all.is_some(),
            "what is larger than the room takes all of it"
        );
        assert!(room.take(1).now_or_never().is_none());
    }
}

//! The queue between the tasks that fetch and the source that hands out, bounded in bytes over all
//! shards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::source::{Chunk, Lag, SourceError};

/// What goes through the queue.
#[derive(Debug)]
pub enum Item {
    /// Records, and the bytes they hold of the budget.
    Chunk(Chunk, Option<OwnedSemaphorePermit>),
    /// The source failed.
    Failed(SourceError),
    /// A bounded source is at its end.
    End,
}

/// The end of the queue that fetching tasks hold.
#[derive(Clone, Debug)]
pub struct Inlet {
    items: mpsc::UnboundedSender<Item>,
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    lags: Lags,
}

/// How far behind each partition of each stream is.
#[derive(Clone, Debug, Default)]
pub struct Lags(Arc<Mutex<BTreeMap<(usize, String), Behind>>>);

#[derive(Debug)]
struct Behind {
    /// What the server said last, and when.
    behind_ms: i64,
    asked: Instant,
    /// Chunks in the queue.
    queued: usize,
}

/// A queue with room for about `budget_bytes`.
pub fn queue(budget_bytes: usize) -> (Inlet, mpsc::UnboundedReceiver<Item>, Lags) {
    let (items, outlet) = mpsc::unbounded_channel();
    let budget_bytes = budget_bytes.clamp(1 << 16, 1 << 31) as u32;
    let lags = Lags::default();
    let inlet = Inlet {
        items,
        budget: Arc::new(Semaphore::new(budget_bytes as usize)),
        budget_bytes,
        lags: lags.clone(),
    };
    (inlet, outlet, lags)
}

impl Inlet {
    /// Bytes to ask for at once, so that several shards get their turns.
    pub fn portion(&self) -> usize {
        (self.budget_bytes as usize / 8).clamp(1 << 14, 2 << 20)
    }

    /// Waits until there is room for `bytes`.
    pub async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(self.budget_bytes as usize) as u32;
        Arc::clone(&self.budget)
            .acquire_many_owned(bytes)
            .await
            .ok()
    }

    /// Puts chunks into the queue, in the room that was made for them. More bytes than that are let
    /// in (an answer cannot be asked back), and count as far as they fit: so no task waits for room
    /// while it holds some.
    pub fn put(&self, chunks: Vec<Chunk>, room: &mut Option<OwnedSemaphorePermit>) {
        for chunk in chunks {
            let taken = room.as_mut().and_then(|room| {
                let bytes = chunk.bytes.len().min(room.num_permits());
                room.split(bytes)
            });
            self.lags.queued(&chunk);
            // Nobody listens any more when the source was dropped.
            let _ = self.items.send(Item::Chunk(chunk, taken));
        }
    }

    /// Notes how far behind a partition is.
    pub fn behind(&self, streams: &[usize], partition: &str, behind_ms: i64) {
        self.lags.behind(streams, partition, behind_ms);
    }

    /// Nothing is read of a partition any more.
    pub fn forget(&self, partition: &str) {
        let mut lags = self.lags.0.lock().unwrap_or_else(PoisonError::into_inner);
        lags.retain(|(_, name), _| name != partition);
    }

    /// Says that the source failed.
    pub fn fail(&self, error: SourceError) {
        let _ = self.items.send(Item::Failed(error));
    }

    /// Says that nothing will come any more.
    pub fn end(&self) {
        let _ = self.items.send(Item::End);
    }
}

impl Lags {
    fn queued(&self, chunk: &Chunk) {
        let mut lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(behind) = lags.get_mut(&(chunk.stream, chunk.partition.clone())) {
            behind.queued += 1;
        }
    }

    /// Notes that a chunk was handed out.
    pub fn taken(&self, chunk: &Chunk) {
        let mut lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(behind) = lags.get_mut(&(chunk.stream, chunk.partition.clone())) {
            behind.queued = behind.queued.saturating_sub(1);
        }
    }

    fn behind(&self, streams: &[usize], partition: &str, behind_ms: i64) {
        let mut lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &stream in streams {
            let behind = lags
                .entry((stream, partition.to_owned()))
                .or_insert(Behind {
                    behind_ms,
                    asked: Instant::now(),
                    queued: 0,
                });
            (behind.behind_ms, behind.asked) = (behind_ms, Instant::now());
        }
    }

    /// The lags in seconds: what the server said, and what the queue adds to it.
    pub fn all(&self) -> Vec<Lag> {
        let lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = |((stream, partition), behind): (&(usize, String), &Behind)| {
            let waiting = if behind.queued > 0 {
                behind.asked.elapsed().as_secs_f64()
            } else {
                0.0
            };
            Lag {
                stream: *stream,
                partition: partition.clone(),
                records: None,
                bytes: None,
                seconds: Some(behind.behind_ms.max(0) as f64 / 1000.0 + waiting),
            }
        };
        lags.iter().map(lag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Position;
    use bytes::Bytes;
    use futures::FutureExt;

    fn chunk(bytes: usize) -> Chunk {
        Chunk {
            stream: 0,
            partition: "s/0".to_owned(),
            first_offset: 0,
            records: 1,
            bytes: Bytes::from(vec![b'x'; bytes]),
            deletes: Vec::new(),
            refused: Vec::new(),
            end: Position::default(),
            retry: None,
        }
    }

    #[test]
    fn room_is_given_back_when_chunks_are_taken_out() {
        let (inlet, mut outlet, _) = queue(1 << 16);
        let mut room = inlet
            .room(1 << 16)
            .now_or_never()
            .expect("the queue is empty");
        inlet.put(vec![chunk(60_000)], &mut room);
        drop(room);
        assert!(
            inlet.room(10_000).now_or_never().is_none(),
            "only 5536 bytes are left"
        );
        assert!(inlet.room(5_000).now_or_never().is_some());
        drop(outlet.try_recv().expect("a chunk"));
        assert!(inlet.room(1 << 16).now_or_never().is_some());
    }

    #[test]
    fn an_answer_that_is_larger_than_its_room_is_let_in() {
        let (inlet, mut outlet, _) = queue(1 << 16);
        let mut room = inlet.room(100).now_or_never().expect("the queue is empty");
        inlet.put(vec![chunk(60), chunk(60), chunk(60)], &mut room);
        assert_eq!(std::iter::from_fn(|| outlet.try_recv().ok()).count(), 3);
    }

    #[test]
    fn lag_is_what_the_server_says_and_what_waits_in_the_queue() {
        let (inlet, _outlet, lags) = queue(1 << 16);
        inlet.behind(&[0, 2], "s/0", 1_500);
        let seconds: Vec<_> = lags
            .all()
            .into_iter()
            .map(|lag| (lag.stream, lag.seconds))
            .collect();
        assert_eq!(seconds, [(0, Some(1.5)), (2, Some(1.5))]);
        inlet.put(vec![chunk(1)], &mut None);
        assert!(lags.all()[0].seconds > Some(1.5));
        lags.taken(&chunk(1));
        assert_eq!(lags.all()[0].seconds, Some(1.5));
        inlet.forget("s/0");
        assert_eq!(lags.all(), []);
    }
}

//! What the tasks of one source share: where files are, how much may be fetched ahead, and where
//! pieces go.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use super::budget::{Budget, Pool};
use super::piece::Piece;
use super::storage::{Passed, Storage, millis};
use crate::source::unread::Why;
use crate::source::{Lag, OnBadFile, Opening, SourceError, guard};

/// Names that are kept of files that wait to be read, over all partitions.
const NAMES_MAX: usize = 128 << 10;

/// At least so many of each partition.
const NAMES_MIN: usize = 2 << 10;

/// In a bucket, so many of each partition at once: listing more takes longer than reading what was
/// listed.
const BUCKET_NAMES: usize = 5_000;

/// Requests to a bucket that are under way at once, over all partitions.
const REQUESTS: usize = 128;

/// What tasks tell the source.
pub(super) enum Event {
    /// Records.
    Piece(Piece),
    /// The source cannot be read.
    Failed(SourceError),
    /// Nothing comes any more.
    End,
}

/// See the module.
pub(super) struct Shared {
    pub storage: Storage,
    /// The source for people.
    pub name: String,
    pub opening: Opening,
    /// Bounds what is fetched ahead.
    pub fetching: Budget,
    /// Bounds the blocks of large files.
    pub blocks: Budget,
    /// Bounds what waits to be read.
    pub waiting: Budget,
    /// Bounds the requests to a bucket that are under way.
    pub requests: Semaphore,
    pub pool: Arc<Pool>,
    /// Large files are fetched in blocks of so many bytes.
    pub block: usize,
    pub events: Sender<Event>,
    gauges: Mutex<BTreeMap<(usize, String), Arc<Gauge>>>,
}

/// How much of a partition is there and was not read.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Whether there was ever a file.
    pub used: AtomicBool,
    /// Bytes in files that were listed and not fetched, as far as known.
    pub ahead: AtomicU64,
    /// Bytes that were fetched and wait.
    pub waiting: AtomicU64,
    /// When the oldest file with something unread was modified, in milliseconds since 1970; 0 if
    /// not known.
    pub oldest: AtomicI64,
}

impl Shared {
    /// For a source that `opening` describes.
    pub(super) fn new(
        storage: Storage,
        name: String,
        opening: Opening,
        events: Sender<Event>,
    ) -> Self {
        let budget = opening.budget_bytes.max(64 << 10);
        let block = (budget / 16).clamp(64 << 10, 4 << 20);
        Shared {
            storage,
            name,
            fetching: Budget::of(budget / 4),
            blocks: Budget::of(budget / 4),
            waiting: Budget::of(budget / 2),
            requests: Semaphore::new(REQUESTS),
            pool: Pool::new(block, budget / block),
            block,
            events,
            gauges: Mutex::default(),
            opening,
        }
    }

    /// How many names of files may wait in a partition's task.
    pub(super) fn names_limit(&self) -> usize {
        if self.storage.is_bucket() {
            return BUCKET_NAMES;
        }
        (NAMES_MAX / self.gauges().len().max(1)).max(NAMES_MIN)
    }

    /// The gauge of a partition.
    pub(super) fn gauge(&self, stream: usize, partition: &str) -> Arc<Gauge> {
        let key = (stream, partition.to_owned());
        Arc::clone(self.gauges().entry(key).or_default())
    }

    /// How far behind each partition is, at `now`.
    pub(super) fn lag(&self, now: SystemTime) -> Vec<Lag> {
        let lag = |((stream, partition), gauge): (&(usize, String), &Arc<Gauge>)| {
            let bytes = gauge.ahead.load(Ordering::Relaxed) + gauge.waiting.load(Ordering::Relaxed);
            let oldest = gauge.oldest.load(Ordering::Relaxed);
            let age = (millis(now) - oldest).max(0) as f64 / 1000.0;
            Lag {
                stream: *stream,
                partition: partition.clone(),
                records: (bytes == 0).then_some(0),
                bytes: Some(bytes),
                seconds: match bytes {
                    0 => Some(0.0),
                    _ => (oldest != 0).then_some(age),
                },
            }
        };
        let gauges = self.gauges();
        let used = gauges
            .iter()
            .filter(|(_, gauge)| gauge.used.load(Ordering::Relaxed));
        used.map(lag).collect()
    }

    /// Whether this process reads a partition.
    pub(super) fn is_mine(&self, stream: usize, partition: &str) -> bool {
        self.opening
            .is_mine(&self.opening.streams[stream], partition)
    }

    /// Notes what is passed over in the folder of a partition; `leaf` if nobody looks into the
    /// folders in it.
    pub(super) fn note_passed(&self, folder: &str, passed: &Passed, leaf: bool) {
        let unread = &self.opening.unread;
        if leaf {
            unread.note(folder, Why::Within, &passed.folders);
        }
        unread.note(folder, Why::Ending, &passed.others);
        unread.note(folder, Why::NotAFile, &passed.odd);
        unread.note(folder, Why::Name, &passed.names);
    }

    /// Tells which streams had no file at all, at the end of a bounded source. `found` are those
    /// that had a folder.
    pub(super) fn tell_empty(&self, found: &BTreeSet<usize>) {
        let opening = &self.opening;
        let gauges = self.gauges();
        let is_read = |stream: usize| {
            let mut own = gauges.iter().filter(|((of, _), _)| *of == stream);
            own.any(|(_, gauge)| gauge.used.load(Ordering::Relaxed))
        };
        for (stream, name) in opening.streams.iter().enumerate() {
            let was_read = opening.positions.keys().any(|key| {
                key.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            // Another process may read what is in a folder, but all of them see the folders.
            let may_be_elsewhere = opening.processes > 1 && found.contains(&stream);
            if opening.process == 0 && !is_read(stream) && !was_read && !may_be_elsewhere {
                tracing::warn!(
                    "{} has no file for the stream `{name}`: looked for were `{name}/*.jsonl`, `topics/{name}/partition=0/*.json` and folders of dates below `{name}`",
                    self.name
                );
            }
        }
    }

    /// Reads at `place`, and tells if that failed.
    pub(super) async fn guarded(
        self: Arc<Self>,
        place: String,
        reading: impl Future<Output = Result<(), SourceError>>,
    ) {
        if let Err(error) = guard::in_task(&self.name, &place, reading).await {
            // Without a receiver the source is gone.
            let _ = self.events.send(Event::Failed(error));
        }
    }

    /// The storage failed.
    pub(super) fn storage_failed(&self, place: &str, why: impl ToString) -> SourceError {
        SourceError::Storage {
            source_name: self.name.clone(),
            place: place.to_owned(),
            why: why.to_string(),
        }
    }

    /// A file cannot be read on.
    pub(super) fn bad_file(&self, place: &str, why: impl ToString) -> SourceError {
        SourceError::BadFile {
            source_name: self.name.clone(),
            place: place.to_owned(),
            why: why.to_string(),
        }
    }

    /// Why a file cannot be read on, if that is to become a dead letter.
    pub(super) fn letter_of(&self, error: SourceError) -> Result<String, SourceError> {
        match error {
            SourceError::BadFile { why, .. }
                if self.opening.on_bad_file == OnBadFile::DeadLetter =>
            {
                Ok(why)
            }
            error => Err(error),
        }
    }

    /// What is there is not what was there.
    pub(super) fn changed(&self, place: &str, why: String) -> SourceError {
        SourceError::Changed {
            source_name: self.name.clone(),
            place: place.to_owned(),
            why,
        }
    }

    /// A file has fewer bytes than were read of it.
    pub(super) fn shrunk(&self, place: &str, size: u64, read: u64) -> SourceError {
        self.changed(
            place,
            format!(
                "it has {size} bytes, and {read} were read already; restore the file, or begin a new lake"
            ),
        )
    }

    /// What was read of a file is not in it any more.
    pub(super) fn rewritten(&self, place: &str) -> SourceError {
        self.changed(
            place,
            "it was written anew after it had been read; restore the file, write what is new under a new name, or begin a new lake".to_owned(),
        )
    }

    fn gauges(&self) -> std::sync::MutexGuard<'_, BTreeMap<(usize, String), Arc<Gauge>>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait before looking again.
///
/// As long as nothing changes the pauses grow; and looking never takes more than a small part of
/// the time, however long it takes.
pub(super) struct Pause {
    first: Duration,
    last: Duration,
    next: Duration,
    cost: Cost,
}

/// Looking takes one part in so many of the time.
const SHARE: u32 = 20;

/// What looking at a folder costs: the lesser of the last two times that it took. A busy machine
/// holds up a single look, and that must not put off the next ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    last: Duration,
    lesser: Duration,
}

impl Cost {
    /// Notes how long a look took.
    pub(super) fn note(&mut self, took: Duration) {
        self.lesser = took.min(self.last);
        self.last = took;
    }

    /// How long to leave be what was looked at, so that looking takes only its share of the time.
    pub(super) fn rest(&self) -> Duration {
        self.lesser * SHARE
    }
}

impl Pause {
    /// Pauses for looking at `storage`.
    pub(super) fn for_storage(storage: &Storage) -> Self {
        // Looking at a folder costs microseconds. Every look at a bucket costs money.
        let (first, last) = if storage.is_bucket() {
            (100, 2000)
        } else {
            (10, 40)
        };
        Pause {
            first: Duration::from_millis(first),
            last: Duration::from_millis(last),
            next: Duration::from_millis(first),
            cost: Cost::default(),
        }
    }

    /// Something changed: the next pause is short.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits, after a look that took `looked`.
    pub(super) async fn wait(&mut self, looked: Duration) {
        self.cost.note(looked);
        tokio::time::sleep(self.next.max(self.cost.rest())).await;
        self.next = (self.next * 3 / 2).min(self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_was_held_up_once_does_not_put_off_the_next() {
        let mut cost = Cost::default();
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(2));
        let mut rests = Vec::new();
        for took in [long, short, long, short, long, long, short] {
            cost.note(took);
            rests.push(cost.rest().as_millis());
        }
        assert_eq!(rests, [0, 20, 20, 20, 20, 40_000, 20]);
    }
}

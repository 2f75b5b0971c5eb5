//! From (partition, offset) to epoch: the intake of a process.
//!
//! Workers claim chunks of their process's source here. Each chunk is stamped with the epoch that
//! is open at that moment, and where its partition is to be read on becomes part of that epoch:
//! committing the epoch commits the position.
//!
//! ```text
//!  source --read--> chunk + open epoch --> worker
//!  clock ---------> closes the open epoch: the next chunk belongs to the next one
//! ```
//!
//! # Invariants
//! 1. Epochs of claimed chunks never decrease, and chunks of one partition are claimed in order.
//! 2. The archive, if there is one, gets a chunk in the epoch that the chunk belongs to.
//! 3. Bytes in epochs that are not visible yet stay below the budget (and one chunk); beyond it
//!    nothing is claimed: memory is bounded by this, not by the source.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::archive::SharedArchive;
use crate::delta::Epoch;
use crate::host::Host;
use crate::source::{Chunk, Lag, Position, Read, Source};

/// Where workers get records from.
pub trait Feed: Send + Sync {
    /// The next chunk, if there is one.
    fn claim(&self) -> Claim;
}

/// What a worker gets.
#[derive(Debug)]
pub enum Claim {
    /// A chunk that belongs to an epoch.
    Chunk(Epoch, Chunk),
    /// Nothing now; what comes later belongs to this epoch or a later one.
    Idle(Epoch),
    /// Nothing ever again: the source is at its end.
    End,
    /// Nothing ever again, though there may be more: the run was asked to stop, or the source
    /// failed for this reason.
    Stopped(Option<String>),
}

/// Where a partition is to be read on, from some epoch on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// `<stream>/<partition>`.
    pub partition: String,
    /// The next record to read.
    #[serde(with = "crate::checkpoint::as_json")]
    pub position: Position,
}

/// How much is taken in at once.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Bytes of an epoch: a fuller one is closed before its tick.
    pub epoch_bytes: u64,
    /// Bytes in epochs that are not visible yet.
    pub budget_bytes: u64,
}

impl IntakeLimits {
    /// Megabytes on their way when nobody says otherwise.
    pub const DEFAULT_MB: u64 = 96;

    /// Limits that keep at most about `budget_bytes` of records on their way.
    pub fn within(budget_bytes: u64) -> Self {
        IntakeLimits {
            chunk_bytes: 2 << 20,
            epoch_bytes: budget_bytes / 4,
            budget_bytes,
        }
    }
}

impl Default for IntakeLimits {
    fn default() -> Self {
        IntakeLimits::within(Self::DEFAULT_MB << 20)
    }
}

/// The intake of a live process.
pub struct Intake {
    inner: Mutex<Inner>,
    limits: IntakeLimits,
    /// Gets every chunk as it came.
    archive: Option<SharedArchive>,
    host: Arc<dyn Host>,
    /// Why the source failed.
    failure: OnceLock<String>,
}

/// Nothing is taken in while more than this waits to be written to the archive.
const UNWRITTEN_MAX: usize = 64 << 20;

struct Inner {
    source: Box<dyn Source>,
    open: Epoch,
    open_bytes: u64,
    open_records: u64,
    /// When the first chunk of the open epoch was claimed.
    open_since: Option<Instant>,
    /// Closed epochs that are not visible yet.
    behind: VecDeque<Behind>,
    behind_bytes: u64,
    end: Option<End>,
}

/// Why nothing is claimed any more.
enum End {
    /// The source has nothing more.
    Reached,
    /// The run was asked to stop.
    Asked,
    /// The source failed, for this reason.
    Failed(String),
}

/// A closed epoch that is not visible yet.
struct Behind {
    epoch: Epoch,
    bytes: u64,
    records: u64,
    since: Option<Instant>,
}

impl Intake {
    /// Takes in `source`, beginning in epoch `first`.
    pub fn new(
        source: Box<dyn Source>,
        first: Epoch,
        limits: IntakeLimits,
        archive: Option<SharedArchive>,
        host: Arc<dyn Host>,
    ) -> Self {
        let inner = Inner {
            source,
            open: first,
            open_bytes: 0,
            open_records: 0,
            open_since: None,
            behind: VecDeque::new(),
            behind_bytes: 0,
            end: None,
        };
        Intake {
            inner: Mutex::new(inner),
            limits,
            archive,
            host,
            failure: OnceLock::new(),
        }
    }

    /// The open epoch.
    pub fn open(&self) -> Epoch {
        self.lock().open
    }

    /// Closes the open epoch if it is `due`, or holds as much as an epoch should, and says which
    /// one it was.
    pub fn close(&self, due: bool) -> Option<Epoch> {
        let mut inner = self.lock();
        let closed = inner.open;
        let full = inner.open_bytes >= self.limits.epoch_bytes;
        (due || full).then(|| {
            inner.advance_to(closed + 1);
            closed
        })
    }

    /// Closes all epochs below `epoch`: from now on chunks belong to `epoch`.
    pub fn advance_to(&self, epoch: Epoch) {
        self.lock().advance_to(epoch);
    }

    /// Notes that all epochs up to `epoch` are visible: their bytes no longer count against the
    /// budget. Tells how many records each of them had, and how long ago its first one was claimed.
    pub fn visible(&self, epoch: Epoch, mut seen: impl FnMut(u64, Duration)) {
        let mut inner = self.lock();
        while inner
            .behind
            .front()
            .is_some_and(|behind| behind.epoch <= epoch)
        {
            if let Some(behind) = inner.behind.pop_front() {
                inner.behind_bytes -= behind.bytes;
                if let Some(since) = behind.since {
                    seen(behind.records, self.host.instant() - since);
                }
            }
        }
    }

    /// Ends the intake: nothing is claimed any more.
    pub fn stop(&self) {
        self.lock().end.get_or_insert(End::Asked);
    }

    /// How far behind the source's partitions are.
    pub fn lag(&self) -> Vec<Lag> {
        self.lock().source.lag()
    }

    /// Why the source failed, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn advance_to(&mut self, epoch: Epoch) {
        if epoch > self.open {
            if self.open_bytes > 0 {
                let closed = Behind {
                    epoch: self.open,
                    bytes: self.open_bytes,
                    records: self.open_records,
                    since: self.open_since.take(),
                };
                self.behind_bytes += closed.bytes;
                self.behind.push_back(closed);
            }
            self.open = epoch;
            self.open_bytes = 0;
            self.open_records = 0;
        }
    }
}

impl End {
    /// What every worker is told from now on.
    fn claim(&self) -> Claim {
        match self {
            End::Reached => Claim::End,
            End::Asked => Claim::Stopped(None),
            End::Failed(why) => Claim::Stopped(Some(why.clone())),
        }
    }
}

impl Feed for Intake {
    fn claim(&self) -> Claim {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return end.claim();
        }
        // A full epoch waits for the clock to close it: it is the clock that decides which epochs
        // end a commit.
        if inner.open_bytes >= self.limits.epoch_bytes
            || inner.behind_bytes + inner.open_bytes >= self.limits.budget_bytes
        {
            return Claim::Idle(inner.open);
        }
        let archive = self.archive.as_ref();
        let archive = archive.map(|archive| archive.lock().unwrap_or_else(PoisonError::into_inner));
        if archive
            .as_ref()
            .is_some_and(|archive| archive.unwritten_bytes() > UNWRITTEN_MAX)
        {
            return Claim::Idle(inner.open);
        }
        match inner.source.read(self.limits.chunk_bytes) {
            Ok(Read::Chunk(chunk)) => {
                if let Some(mut archive) = archive {
                    archive.append(inner.open, &chunk);
                }
                inner.open_bytes += chunk.bytes.len() as u64;
                inner.open_records += chunk.records;
                inner.open_since.get_or_insert_with(|| self.host.instant());
                Claim::Chunk(inner.open, chunk)
            }
            Ok(Read::Idle) => Claim::Idle(inner.open),
            Ok(Read::End) => inner.end.insert(End::Reached).claim(),
            Err(error) => {
                let why = self.failure.get_or_init(|| error.to_string());
                inner.end.insert(End::Failed(why.clone())).claim()
            }
        }
    }
}

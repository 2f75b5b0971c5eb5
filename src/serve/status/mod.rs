//! What the program is doing, in numbers: written by the run, read by `GET /status` and the
//! terminal.
//!
//! The run adds to counters as it goes; a reader takes a [`StatusSample`], which also has what only
//! two moments can tell (records per second) and what the live store knows (rows per view). Time
//! comes in as milliseconds since 1970, so that whoever owns the clock owns the time.
//!
//! Freshness has two numbers, for they answer two questions. *Age*: how long ago the newest closed
//! epoch closed; it grows when the dataflow is stuck. *Latency*: how long a record took from being
//! available in its source to being visible in a view; quantiles over the last half minute to
//! minute.
//!
//! Health is never set: it follows from these numbers and from what the run's parts answer when
//! they are asked (`health.rs`).

mod health;
mod recent;
mod sample;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;

use self::health::{Checks, Loading, Uncommitted};
use self::recent::{RecentLatencies, rates};
use super::store::LiveStore;
use crate::delta::Epoch;

pub use health::{Complaint, Health};
pub use sample::{Freshness, LagSample, StatusSample, StreamSample, UnreadSample, ViewSample};

/// Asks for the time: milliseconds since 1970.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What does not change while the program runs.
#[derive(Clone, Debug, Serialize)]
pub struct RunDescription {
    /// Where the records come from, as the user wrote it: `emulator:`, `dir:PATH`, ...
    pub source: String,
    /// Where the tables are.
    pub lake: String,
    /// Worker threads in all processes.
    pub workers: usize,
    /// The time between commits.
    pub commit_every_ms: u64,
}

/// What a lake held when the run started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredLake {
    /// The number of its last checkpoint.
    pub checkpoint: u64,
    /// Rows of all its tables.
    pub rows: u64,
}

/// One commit to the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// The checkpoint's number.
    pub number: u64,
    /// The epoch that it made final.
    pub epoch: Epoch,
    /// When it was done, in milliseconds since 1970.
    pub when_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// How many data files it added.
    pub files: u64,
    /// The bytes of these files.
    pub bytes: u64,
}

/// The run's counters. All methods may be called from any thread.
#[derive(Debug)]
pub struct Status {
    run: RunDescription,
    started_ms: u64,
    streams: Vec<StreamCounters>,
    open_epoch: AtomicU64,
    closed_epoch: AtomicU64,
    /// 0 before the first epoch closed.
    closed_ms: AtomicU64,
    state_bytes: AtomicU64,
    loading: Loading,
    checks: Checks,
    seldom: Mutex<Seldom>,
    unread: OnceLock<Unread>,
}

/// Asks what the source has and nobody reads.
struct Unread(Box<dyn Fn() -> Vec<UnreadSample> + Send + Sync>);

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unread")
    }
}

/// What changes a few times a second at most.
#[derive(Debug)]
struct Seldom {
    lags: Vec<LagSample>,
    http: Option<String>,
    restored: Option<RestoredLake>,
    commit: Option<Commit>,
    uncommitted: Uncommitted,
    latencies: RecentLatencies,
    /// Moments with the records of each stream until then, the oldest first.
    moments: VecDeque<(u64, Vec<u64>)>,
}

#[derive(Debug)]
struct StreamCounters {
    name: String,
    records: AtomicU64,
    bytes: AtomicU64,
    dead_letters: AtomicU64,
}

impl Status {
    /// Counters of these streams, all zero.
    pub fn new(run: RunDescription, streams: &[&str], started_ms: u64) -> Status {
        let counters = |name: &&str| StreamCounters {
            name: (*name).to_owned(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
        };
        Status {
            run,
            started_ms,
            streams: streams.iter().map(counters).collect(),
            open_epoch: AtomicU64::new(0),
            closed_epoch: AtomicU64::new(0),
            closed_ms: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            loading: Loading::default(),
            checks: Checks::default(),
            seldom: Mutex::new(Seldom {
                lags: Vec::new(),
                http: None,
                restored: None,
                commit: None,
                uncommitted: Uncommitted::default(),
                latencies: RecentLatencies::default(),
                moments: VecDeque::from([(started_ms, vec![0; streams.len()])]),
            }),
            unread: OnceLock::new(),
        }
    }

    /// When the run started, in milliseconds since 1970.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// Records of a stream (by its position) that were read, their bytes, and how many of them
    /// became dead letters.
    pub fn read(&self, stream: usize, records: u64, bytes: u64, dead_letters: u64) {
        let stream = &self.streams[stream];
        stream.records.fetch_add(records, Relaxed);
        stream.bytes.fetch_add(bytes, Relaxed);
        stream.dead_letters.fetch_add(dead_letters, Relaxed);
    }

    /// Something was read in this epoch: the lake is to have it.
    pub fn to_commit(&self, epoch: Epoch, now_ms: u64) {
        self.seldom().uncommitted.read(epoch, now_ms);
    }

    /// So many files, with so many rows, are to be loaded before views can be answered.
    pub fn to_load(&self, files: u64, rows: u64) {
        self.loading.expect(files, rows);
    }

    /// One of them was loaded.
    pub fn loaded(&self, rows: u64) {
        self.loading.loaded(rows);
    }

    /// Records are stamped with this epoch now.
    pub fn opened(&self, epoch: Epoch) {
        self.open_epoch.fetch_max(epoch, Relaxed);
    }

    /// An epoch is visible.
    pub fn closed(&self, epoch: Epoch, now_ms: u64) {
        self.closed_epoch.fetch_max(epoch, Relaxed);
        self.closed_ms.store(now_ms, Relaxed);
    }

    /// So many records became visible, so long after they were available in their source.
    pub fn visible(&self, records: u64, latency_us: u64, now_ms: u64) {
        let latency = Duration::from_micros(latency_us);
        self.seldom().latencies.add(records, latency, now_ms);
    }

    /// The lake has a new commit.
    pub fn committed(&self, commit: Commit) {
        let mut seldom = self.seldom();
        seldom.uncommitted.committed(&commit);
        seldom.commit = Some(commit);
    }

    /// About how many bytes the operators' state takes.
    pub fn set_state_bytes(&self, bytes: u64) {
        self.state_bytes.store(bytes, Relaxed);
    }

    /// What the run goes on from.
    pub fn set_restored(&self, restored: RestoredLake) {
        self.seldom().restored = Some(restored);
    }

    /// Where HTTP answers.
    pub fn set_http(&self, url: String) {
        self.seldom().http = Some(url);
    }

    /// Notes how far behind the partitions are.
    pub fn set_lags(&self, lags: Vec<LagSample>) {
        self.seldom().lags = lags;
    }

    /// Says who tells what the source has and nobody reads.
    pub fn set_unread(&self, list: impl Fn() -> Vec<UnreadSample> + Send + Sync + 'static) {
        // A run opens one source.
        let _ = self.unread.set(Unread(Box::new(list)));
    }

    /// All numbers at this moment.
    pub fn sample(&self, store: &LiveStore, now_ms: u64) -> StatusSample {
        let cut = store.cut();
        let views = cut.views.iter().map(|view| ViewSample {
            name: view.name.to_string(),
            rows: view.row_count(),
            changed: view.changed,
        });
        let records: Vec<u64> = self
            .streams
            .iter()
            .map(|stream| stream.records.load(Relaxed))
            .collect();
        let closed_ms = self.closed_ms.load(Relaxed);
        let health = self.health(now_ms);
        let mut seldom = self.seldom();
        let rates = rates(&mut seldom.moments, now_ms, &records);
        let streams: Vec<StreamSample> = self
            .streams
            .iter()
            .zip(records.iter().zip(rates))
            .map(|(stream, (records, rate))| StreamSample {
                name: stream.name.clone(),
                records: *records,
                bytes: stream.bytes.load(Relaxed),
                dead_letters: stream.dead_letters.load(Relaxed),
                records_per_second: rate,
            })
            .collect();
        StatusSample {
            health,
            run: self.run.clone(),
            http: seldom.http.clone(),
            uptime_ms: now_ms.saturating_sub(self.started_ms),
            epoch: cut.epoch,
            open_epoch: self.open_epoch.load(Relaxed),
            freshness: Freshness {
                age_ms: (closed_ms > 0).then(|| now_ms.saturating_sub(closed_ms)),
                latency_ms_p50: seldom.latencies.quantile_ms(0.5, now_ms),
                latency_ms_p99: seldom.latencies.quantile_ms(0.99, now_ms),
            },
            records: streams.iter().map(|stream| stream.records).sum(),
            records_per_second: streams.iter().map(|stream| stream.records_per_second).sum(),
            streams,
            lags: seldom.lags.clone(),
            unread: self
                .unread
                .get()
                .map_or_else(Vec::new, |unread| (unread.0)()),
            views: views.collect(),
            restored: seldom.restored,
            commit: seldom.commit.clone(),
            commit_age_ms: seldom
                .commit
                .as_ref()
                .map(|commit| now_ms.saturating_sub(commit.when_ms)),
            state_bytes: self.state_bytes.load(Relaxed),
            live_store_bytes: store.memory(),
            live_store_faults: store.faults(),
        }
    }

    fn seldom(&self) -> MutexGuard<'_, Seldom> {
        self.seldom.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let run = RunDescription {
            source: "emulator:".to_owned(),
            lake: "./lake".to_owned(),
            workers: 2,
            commit_every_ms: 10_000,
        };
        Status::new(run, &["pin", "geo"], 1_000_000)
    }

    fn sample(status: &Status, now_ms: u64) -> StatusSample {
        status.sample(&LiveStore::new(vec![]).unwrap(), now_ms)
    }

    #[test]
    fn rates_are_averages_over_the_last_seconds() {
        let status = status();
        status.read(0, 500, 60_000, 0);
        assert_eq!(
            sample(&status, 1_001_000).streams[0].records_per_second,
            500.0
        );
        for second in 2..=10 {
            status.read(0, 100, 12_000, 0);
            status.read(1, 10, 100, 0);
            sample(&status, 1_000_000 + 1000 * second);
        }
        let after = sample(&status, 1_010_000);
        assert_eq!(after.streams[0].records_per_second, 100.0);
        assert_eq!(after.records_per_second, 110.0);
        assert_eq!((after.records, after.streams[0].bytes), (1490, 168_000));
    }

    #[test]
    fn a_rate_needs_time() {
        let status = status();
        status.read(0, 5, 5, 0);
        assert_eq!(sample(&status, 1_000_000).records_per_second, 0.0);
    }

    #[test]
    fn latency_quantiles_are_near_the_truth_and_forget() {
        let status = status();
        for latency_ms in 1..=100 {
            status.visible(10, latency_ms * 1000, 1_000_000);
        }
        let now = sample(&status, 1_001_000).freshness;
        let (p50, p99) = (now.latency_ms_p50.unwrap(), now.latency_ms_p99.unwrap());
        assert!((50.0..53.2).contains(&p50), "{p50}");
        assert!((99.0..105.2).contains(&p99), "{p99}");
        let later = sample(&status, 1_070_000).freshness;
        assert_eq!(later.latency_ms_p99, None);
    }

    #[test]
    fn a_sample_is_json() {
        let status = status();
        status.check(|| Some(Complaint::Ailing("the lake is away".to_owned())));
        status.closed(7, 1_000_500);
        status.committed(Commit {
            number: 3,
            epoch: 6,
            when_ms: 1_000_100,
            duration_ms: 20,
            files: 4,
            bytes: 4096,
        });
        let json = serde_json::to_value(sample(&status, 1_001_000)).unwrap();
        assert_eq!(json["health"]["state"], "ailing");
        assert_eq!(json["health"]["reason"], "the lake is away");
        assert_eq!(json["workers"], 2);
        assert_eq!(json["freshness"]["age_ms"], 500);
        assert_eq!(json["commit"]["number"], 3);
        assert_eq!(json["commit_age_ms"], 900);
    }
}

//! What the program is doing, in numbers: written by the run, read by `GET /status` and the terminal.
//!
//! The run adds to counters as it goes; a reader takes a [`StatusSample`], which also has what only two moments
//! can tell (records per second) and what the live store knows (rows per view). Time comes in as milliseconds
//! since 1970, so that whoever owns the clock owns the time.
//!
//! Freshness has two numbers, for they answer two questions. *Age*: how long ago the newest closed epoch
//! closed; it grows when the dataflow is stuck. *Latency*: how long a record took from being available in its
//! source to being visible in a view; quantiles over the last half minute to minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::store::LiveStore;
use crate::delta::Epoch;

/// Asks for the time: milliseconds since 1970.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Without a closed epoch for so long, something is stuck.
const STUCK_MS: u64 = 60_000;
/// Rates are averages over this time.
const RATE_WINDOW_MS: u64 = 5_000;
/// Two moments nearer than this are one moment for rates.
const RATE_STEP_MS: u64 = 250;
/// Latencies are kept for this long, and at most twice as long.
const LATENCY_WINDOW_MS: u64 = 30_000;

/// What does not change while the program runs.
#[derive(Clone, Debug, Serialize)]
pub struct RunDescription {
    /// Where the records come from, as the user wrote it: `emulator:`, `dir:PATH`, ...
    pub source: String,
    /// Where the tables are.
    pub lake: String,
    /// Worker threads in all processes.
    pub workers: usize,
}

/// How the run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Health {
    /// It loads what it had; views may not be complete yet.
    Starting,
    /// All is well.
    Healthy,
    /// Something is away or fails, and is tried again: a sentence says what.
    Ailing(String),
    /// It commits what it has and ends.
    Stopping,
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
    seldom: Mutex<Seldom>,
}

/// What changes a few times a second at most.
#[derive(Debug)]
struct Seldom {
    health: Health,
    lags: Vec<LagSample>,
    http: Option<String>,
    commit: Option<Commit>,
    latencies: Latencies,
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
            seldom: Mutex::new(Seldom {
                lags: Vec::new(),
                health: Health::Starting,
                http: None,
                commit: None,
                latencies: Latencies::default(),
                moments: VecDeque::from([(started_ms, vec![0; streams.len()])]),
            }),
        }
    }

    /// When the run started, in milliseconds since 1970.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// Records of a stream (by its position) that were read, and their bytes.
    pub fn read(&self, stream: usize, records: u64, bytes: u64) {
        self.streams[stream].records.fetch_add(records, Relaxed);
        self.streams[stream].bytes.fetch_add(bytes, Relaxed);
    }

    /// Records of a stream that became dead letters.
    pub fn dead(&self, stream: usize, records: u64) {
        self.streams[stream]
            .dead_letters
            .fetch_add(records, Relaxed);
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
        self.seldom().latencies.add(records, latency_us, now_ms);
    }

    /// The lake has a new commit.
    pub fn committed(&self, commit: Commit) {
        self.seldom().commit = Some(commit);
    }

    /// About how many bytes the operators' state takes.
    pub fn set_state_bytes(&self, bytes: u64) {
        self.state_bytes.store(bytes, Relaxed);
    }

    /// How the run is from now on.
    pub fn set_health(&self, health: Health) {
        self.seldom().health = health;
    }

    /// Where HTTP answers.
    pub fn set_http(&self, url: String) {
        self.seldom().http = Some(url);
    }

    /// Why the run is not well at this moment, if it is not.
    pub fn complaint(&self, now_ms: u64) -> Option<String> {
        match &self.seldom().health {
            Health::Starting => Some("it is starting: state is being loaded".to_owned()),
            Health::Stopping => Some("it is stopping".to_owned()),
            Health::Ailing(reason) => Some(reason.clone()),
            Health::Healthy => {
                let since = self.closed_ms.load(Relaxed).max(self.started_ms);
                let age = now_ms.saturating_sub(since);
                (age > STUCK_MS).then(|| format!("no epoch has closed for {} s", age / 1000))
            }
        }
    }

    /// Notes how far behind the partitions are.
    pub fn set_lags(&self, lags: Vec<LagSample>) {
        self.seldom().lags = lags;
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
            health: seldom.health.clone(),
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
            views: views.collect(),
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

/// How far behind a partition is; what its source cannot tell is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LagSample {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: String,
    /// Records that are there and were not read.
    pub records: Option<u64>,
    /// Bytes that are there and were not read.
    pub bytes: Option<u64>,
    /// The age of the oldest of them.
    pub seconds: Option<f64>,
}

/// The status at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct StatusSample {
    /// How the run is.
    pub health: Health,
    /// What does not change.
    #[serde(flatten)]
    pub run: RunDescription,
    /// Where HTTP answers, as a URL.
    pub http: Option<String>,
    /// Time since the start.
    pub uptime_ms: u64,
    /// The last closed epoch: the one readers see.
    pub epoch: Epoch,
    /// The epoch that records are stamped with.
    pub open_epoch: Epoch,
    /// How far readers are behind.
    pub freshness: Freshness,
    /// Records of all streams.
    pub records: u64,
    /// Records of all streams a second, over the last seconds.
    pub records_per_second: f64,
    /// One entry a stream.
    pub streams: Vec<StreamSample>,
    /// The partitions that this process reads, where the source tells how far behind they are.
    pub lags: Vec<LagSample>,
    /// One entry a view.
    pub views: Vec<ViewSample>,
    /// The last commit.
    pub commit: Option<Commit>,
    /// How long ago that was.
    pub commit_age_ms: Option<u64>,
    /// About how many bytes the operators' state takes.
    pub state_bytes: u64,
    /// How many bytes the live store's rows take.
    pub live_store_bytes: u64,
    /// Retractions of rows that no view had; more than none is a defect.
    pub live_store_faults: u64,
}

/// How far readers are behind the sources.
#[derive(Clone, Debug, Serialize)]
pub struct Freshness {
    /// Time since the newest closed epoch closed; none before the first.
    pub age_ms: Option<u64>,
    /// Half of the recent records were visible within so many milliseconds; none if there were no records.
    pub latency_ms_p50: Option<f64>,
    /// 99 of 100 of the recent records were visible within so many milliseconds.
    pub latency_ms_p99: Option<f64>,
}

/// One stream's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct StreamSample {
    /// The stream.
    pub name: String,
    /// Records read since the start.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them became dead letters.
    pub dead_letters: u64,
    /// Records a second, over the last seconds.
    pub records_per_second: f64,
}

/// One view's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct ViewSample {
    /// The view.
    pub name: String,
    /// Its rows at the sample's epoch.
    pub rows: u64,
    /// The last epoch that changed it.
    pub changed: Epoch,
}

/// Records a second of each stream, since the newest moment that is a window ago (or the oldest there is).
fn rates(moments: &mut VecDeque<(u64, Vec<u64>)>, now_ms: u64, records: &[u64]) -> Vec<f64> {
    let starts_a_window = |moment: &(u64, Vec<u64>)| moment.0 + RATE_WINDOW_MS <= now_ms;
    while moments.get(1).is_some_and(starts_a_window) {
        moments.pop_front();
    }
    let rates = match moments.front() {
        Some((then_ms, then)) if *then_ms < now_ms => {
            let seconds = (now_ms - then_ms) as f64 / 1000.0;
            let rate = |(now, then): (&u64, &u64)| now.saturating_sub(*then) as f64 / seconds;
            records.iter().zip(then).map(rate).collect()
        }
        _ => vec![0.0; records.len()],
    };
    if moments
        .back()
        .is_none_or(|last| last.0 + RATE_STEP_MS <= now_ms)
    {
        moments.push_back((now_ms, records.to_vec()));
    }
    rates
}

/// How long recent records took, in counts of geometrically growing ranges: 16 to each power of two, so that a
/// quantile is at most 1/16 too high.
#[derive(Debug, Default)]
struct Latencies {
    /// Counts of this window and of the one before.
    windows: [Vec<u64>; 2],
    began_ms: u64,
}

impl Latencies {
    fn add(&mut self, records: u64, latency_us: u64, now_ms: u64) {
        self.turn(now_ms);
        let range = range_of(latency_us);
        let counts = &mut self.windows[0];
        if counts.len() <= range {
            counts.resize(range + 1, 0);
        }
        counts[range] += records;
    }

    /// Begins a new window when this one is full.
    fn turn(&mut self, now_ms: u64) {
        let age = now_ms.saturating_sub(self.began_ms);
        if age >= LATENCY_WINDOW_MS {
            let full = std::mem::take(&mut self.windows[0]);
            self.windows[1] = if age < 2 * LATENCY_WINDOW_MS {
                full
            } else {
                Vec::new()
            };
            self.began_ms = now_ms;
        }
    }

    fn quantile_ms(&mut self, quantile: f64, now_ms: u64) -> Option<f64> {
        self.turn(now_ms);
        let [now, before] = &self.windows;
        let total: u64 = now.iter().chain(before).sum();
        let rank = (quantile * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for range in 0..now.len().max(before.len()) {
            seen += now.get(range).unwrap_or(&0) + before.get(range).unwrap_or(&0);
            if seen >= rank {
                return Some(end_of(range) as f64 / 1000.0);
            }
        }
        None
    }
}

/// Below 16 each number has its own range; above, the four bits after the leading one choose it.
fn range_of(value: u64) -> usize {
    if value < 16 {
        return value as usize;
    }
    let shift = 59 - value.leading_zeros();
    (shift as usize) * 16 + (value >> shift) as usize
}

/// The largest number of a range.
fn end_of(range: usize) -> u64 {
    if range < 16 {
        return range as u64;
    }
    let shift = range / 16 - 1;
    let first = (16 + range as u64 % 16) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let run = RunDescription {
            source: "emulator:".to_owned(),
            lake: "./lake".to_owned(),
            workers: 2,
        };
        Status::new(run, &["pin", "geo"], 1_000_000)
    }

    fn sample(status: &Status, now_ms: u64) -> StatusSample {
        status.sample(&LiveStore::new(vec![]).unwrap(), now_ms)
    }

    #[test]
    fn rates_are_averages_over_the_last_seconds() {
        let status = status();
        status.read(0, 500, 60_000);
        assert_eq!(
            sample(&status, 1_001_000).streams[0].records_per_second,
            500.0
        );
        for second in 2..=10 {
            status.read(0, 100, 12_000);
            status.read(1, 10, 100);
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
        status.read(0, 5, 5);
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
    fn every_latency_lies_in_its_range() {
        for value in (0..5000).chain([1 << 40, (1 << 40) + 1, u64::MAX]) {
            let range = range_of(value);
            assert!(end_of(range) >= value);
            assert!(range == 0 || end_of(range - 1) < value, "{value}");
        }
    }

    #[test]
    fn a_run_is_well_while_epochs_close() {
        let status = status();
        assert!(
            status
                .complaint(1_000_000)
                .unwrap()
                .starts_with("it is starting")
        );
        status.set_health(Health::Healthy);
        assert_eq!(status.complaint(1_001_000), None);
        status.closed(1, 1_050_000);
        assert_eq!(status.complaint(1_100_000), None);
        assert_eq!(
            status.complaint(1_115_000).unwrap(),
            "no epoch has closed for 65 s"
        );
        status.set_health(Health::Ailing("the lake is away".to_owned()));
        assert_eq!(status.complaint(1_050_000).unwrap(), "the lake is away");
    }

    #[test]
    fn a_sample_is_json() {
        let status = status();
        status.set_health(Health::Ailing("the lake is away".to_owned()));
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

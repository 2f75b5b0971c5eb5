//! The status at one moment, as `GET /status` gives it.

use serde::Serialize;

use super::{Commit, Health, RestoredLake, RunDescription};
use crate::delta::Epoch;

/// Something that is there and is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadSample {
    /// The folder or topic.
    pub place: String,
    /// How much is there: files, or partitions of a topic.
    pub count: u64,
    /// Why it is not read, and what to do.
    pub why: String,
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
    /// What the source has and nobody reads.
    pub unread: Vec<UnreadSample>,
    /// One entry a view.
    pub views: Vec<ViewSample>,
    /// What the lake held at the start; none if it was new.
    pub restored: Option<RestoredLake>,
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
    /// Half of the recent records were visible within so many milliseconds; none if there were no
    /// records.
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

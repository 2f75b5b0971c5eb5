//! How far a partition was read, and how far there is to read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::statistics::{Partition, Statistics};

use crate::kafka::Trouble;
use crate::source::{Chunk, Lag};

/// What is not known yet.
const UNKNOWN: i64 = -1;

/// One partition, as the threads see it together.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) stream: usize,
    pub(super) topic: String,
    pub(super) number: i32,
    /// `<topic>/partition=<number>`.
    pub(super) partition: String,
    /// The id of the topic; empty if the cluster does not tell.
    pub(super) topic_id: String,
    /// Only committed records are read.
    committed: bool,
    /// The next offset to read.
    next: AtomicU64,
    /// The end of what can be read.
    end: AtomicI64,
    /// The oldest offset that is there.
    begin: AtomicI64,
    /// When the last record that was read was made, in milliseconds since 1970.
    last_ms: AtomicI64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Status {
    pub(super) fn new(
        stream: usize,
        topic: &str,
        number: i32,
        topic_id: &str,
        committed: bool,
        next: u64,
    ) -> Status {
        Status {
            topic_id: topic_id.to_owned(),
            stream,
            topic: topic.to_owned(),
            number,
            partition: partition_name(topic, number),
            committed,
            next: AtomicU64::new(next),
            end: AtomicI64::new(UNKNOWN),
            begin: AtomicI64::new(UNKNOWN),
            last_ms: AtomicI64::new(UNKNOWN),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Learns from statistics where the partition ends. Returns the offset before which librdkafka
    /// has put everything readable into our queue, if it was at the end.
    pub(super) fn learn(&self, statistics: &Statistics) -> Option<u64> {
        let partition: &Partition = statistics
            .topics
            .get(&self.topic)?
            .partitions
            .get(&self.number)?;
        let end = if self.committed && partition.ls_offset >= 0 {
            partition.ls_offset
        } else {
            partition.hi_offset
        };
        self.begin.store(partition.lo_offset, Ordering::Relaxed);
        if end >= 0 {
            self.end.store(end, Ordering::Relaxed);
        }
        u64::try_from(partition.eof_offset).ok()
    }

    /// How many records were read.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Notes that a chunk was read.
    pub(super) fn read(&self, chunk: &Chunk, made_ms: Option<i64>) {
        if let Some(made_ms) = made_ms {
            self.last_ms.store(made_ms, Ordering::Relaxed);
        }
        self.next.store(chunk.end.offset, Ordering::Relaxed);
        self.records.fetch_add(chunk.records, Ordering::Relaxed);
        self.bytes
            .fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
    }

    /// How far behind we are. While brokers cannot be reached only the time is known.
    pub(super) fn lag(&self, trouble: Option<&Trouble>) -> Lag {
        let mut lag = Lag {
            stream: self.stream,
            partition: self.partition.clone(),
            ..Lag::default()
        };
        if let Some(trouble) = trouble {
            lag.seconds = Some(trouble.since.elapsed().as_secs_f64());
            return lag;
        }
        let next = self.next.load(Ordering::Relaxed);
        let Ok(end) = u64::try_from(self.end.load(Ordering::Relaxed)) else {
            return lag;
        };
        let begin = self.begin.load(Ordering::Relaxed);
        let behind = end.saturating_sub(next.max(u64::try_from(begin).unwrap_or(0)));
        lag.records = Some(behind);
        let records = self.records.load(Ordering::Relaxed);
        lag.bytes = match self.bytes.load(Ordering::Relaxed) {
            _ if behind == 0 => Some(0),
            bytes if records > 0 => Some((bytes as f64 / records as f64 * behind as f64) as u64),
            _ => None,
        };
        let last = self.last_ms.load(Ordering::Relaxed);
        lag.seconds = if behind == 0 {
            Some(0.0)
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
            now.filter(|_| last >= 0)
                .map(|now| (now.as_secs_f64() - last as f64 / 1000.0).max(0.0))
        };
        lag
    }
}

/// What partitions are called in checkpoints and archives.
pub(super) fn partition_name(topic: &str, number: i32) -> String {
    format!("{topic}/partition={number}")
}

//! One shard being read: what polling and subscribing have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::Record as Received;
use tokio::sync::OwnedSemaphorePermit;

use super::cursor::{Cursor, Record};
use super::place::{Place, Sequence};
use super::queue::Inlet;
use super::retry::Backoff;
use crate::kinesis::OnLostRecords;
use crate::source::SourceError;
use crate::trouble::Trying;

/// When the source was opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// By the clock that never goes back.
    pub at: Instant,
    /// In milliseconds since 1970.
    pub wall_ms: i64,
}

/// How the reading of a shard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The shard is closed, and was read to its end.
    Drained,
    /// A bounded source was read as far as it had to be.
    Rested,
}

/// One shard being read.
pub struct Reader {
    /// The client.
    pub client: Client,
    /// The source, for errors.
    pub source_name: String,
    /// The Kinesis stream.
    pub kinesis: String,
    /// The shard.
    pub shard: String,
    /// What was read of it.
    pub cursor: Cursor,
    /// Whether to begin with what arrives from now on.
    pub latest: bool,
    /// Whether it must be read to its end, being closed.
    pub closed: bool,
    /// Since when a bounded source is open.
    pub bounded: Option<Opened>,
    /// Where chunks go.
    pub inlet: Inlet,
    /// The stream's retention in milliseconds.
    pub retention_ms: Arc<AtomicI64>,
    /// What to do when records are lost.
    pub on_lost: OnLostRecords,
    /// The pause between two reads.
    pub poll: Duration,
    /// The pauses after errors.
    pub backoff: Backoff,
    /// Says that the shard cannot be read.
    pub trying: Trying,
    /// Whether to begin with the oldest record although some were read: others were lost.
    pub oldest: bool,
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

impl Reader {
    /// Where the server is to begin. `None` is with what arrives from now on.
    pub fn place(&self) -> Option<Place> {
        if self.latest {
            None
        } else if self.oldest {
            Some(Place::Beginning)
        } else {
            Some(self.cursor.place())
        }
    }

    /// Sees to it that retention has not passed what was read.
    pub fn check_retention(&mut self) -> Result<(), SourceError> {
        let (now, retention) = (now_ms(), self.retention_ms.load(Ordering::Relaxed));
        let Some(since) = self.cursor.lost_since(now, retention) else {
            return Ok(());
        };
        let lost = format!(
            "the records that arrived between {} and {} (milliseconds since 1970) were deleted before they were read, if there were any: the stream keeps \
             them for {} hours",
            since,
            now - retention,
            retention / 3_600_000
        );
        match self.on_lost {
            OnLostRecords::Fail => Err(self.failed(format!(
                "{lost}; to go on with the oldest that is there, add `on_lost_records=earliest`; to keep them longer, increase the stream's retention period"
            ))),
            OnLostRecords::Earliest => {
                tracing::warn!("{} of {}: {lost}; going on with the oldest that is there", self.shard, self.source_name);
                self.cursor.accept_loss(now);
                self.oldest = true;
                Ok(())
            }
        }
    }

    /// Takes in an answer that was asked for at `asked`; `last` says that the shard ends with it.
    pub fn take(
        &mut self,
        received: &[Received],
        behind_ms: i64,
        last: bool,
        asked: Instant,
        room: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<Ending>, SourceError> {
        let mut records = Vec::with_capacity(received.len());
        for record in received {
            let Some(sequence) = Sequence::new(record.sequence_number()) else {
                return Err(self.failed(format!(
                    "`{}` is not a sequence number",
                    record.sequence_number()
                )));
            };
            records.push(Record {
                sequence,
                partition_key: record.partition_key().unwrap_or_default(),
                arrival_ms: record
                    .approximate_arrival_timestamp()
                    .and_then(|time| time.to_millis().ok()),
                data: record.data().as_ref(),
            });
        }
        let chunks = self.cursor.take(&records, behind_ms, now_ms());
        (self.latest, self.oldest) = (false, false);
        self.inlet
            .behind(&self.cursor.streams(), self.cursor.partition(), behind_ms);
        self.inlet.put(chunks, room);
        let arrival = records
            .last()
            .map(|record| record.arrival_ms.unwrap_or(i64::MIN));
        if last {
            self.inlet.put(self.cursor.end(), room);
            self.inlet.forget(self.cursor.partition());
            return Ok(Some(Ending::Drained));
        }
        if let (Some(opened), false) = (self.bounded, self.closed)
            && reached(opened, asked, behind_ms, arrival)
        {
            self.inlet.put(self.cursor.rest(), room);
            return Ok(Some(Ending::Rested));
        }
        Ok(None)
    }

    /// The server has answered well.
    pub fn works(&mut self) {
        self.backoff.reset();
        self.trying.succeeded();
    }

    /// Waits after an error that may pass.
    pub async fn wait(&mut self, why: &str) {
        let pause = self.backoff.pause();
        // Being throttled now and then is normal; said at the fifth time in a row, and seldom after
        // that.
        if self.backoff.tries() >= 5 {
            self.trying.failed(Instant::now(), why);
        }
        if self.backoff.tries() % 30 == 5 {
            tracing::warn!(
                "{} of {} cannot be read, trying on: {why}",
                self.shard,
                self.source_name
            );
        }
        tokio::time::sleep(pause).await;
    }

    /// An error about this shard.
    pub fn failed(&self, why: String) -> SourceError {
        SourceError::Failed {
            source_name: self.source_name.clone(),
            place: self.describe(),
            why,
        }
    }

    /// The error when the stream or shard is not there.
    pub fn gone(&self, why: String) -> SourceError {
        self.failed(format!(
            "{why}; the stream was deleted, or retention took the shard before it was read to its end"
        ))
    }

    /// The error when the server does not know our place.
    pub fn refused(&self, why: String) -> SourceError {
        SourceError::Changed {
            source_name: self.source_name.clone(),
            place: self.describe(),
            why: format!(
                "{why}; if the stream was deleted and created again under its name, begin a new lake, or give the new stream another name"
            ),
        }
    }

    fn describe(&self) -> String {
        format!("{}/{}", self.kinesis, self.shard)
    }
}

/// Whether an answer shows that all was read that was there when the source was opened. `arrival`
/// is when its last record arrived, if it has any.
///
/// The server says by its own clock how far the answer is behind. Being less behind than we are
/// open, it is past the opening. A server that always says 0 is believed once it has nothing more,
/// or only what arrived since. Such servers exist, whose arrivals are moreover up to two seconds in
/// the future when a shard is new.
fn reached(opened: Opened, asked: Instant, behind_ms: i64, arrival: Option<i64>) -> bool {
    const INEXACT_MS: i64 = 1_000;
    const CLOCKS_DIFFER_MS: i64 = 5_000;
    let open_ms = asked.duration_since(opened.at).as_millis() as i64;
    match (behind_ms, arrival) {
        (0, None) => true,
        (0, Some(arrival)) => arrival > opened.wall_ms + CLOCKS_DIFFER_MS,
        (behind, _) => behind + INEXACT_MS < open_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_source_ends_at_what_was_there_when_it_was_opened() {
        let opened = Opened {
            at: Instant::now(),
            wall_ms: 500_000,
        };
        let after = |ms| opened.at + Duration::from_millis(ms);
        for (asked_ms, behind_ms, arrival, expected) in [
            (0, 0, None, true),
            (0, 0, Some(499_000), false),
            (0, 0, Some(505_000), false),
            (0, 0, Some(505_001), true),
            (0, 5, None, false),
            (10_000, 20_000, Some(600_000), false),
            (10_000, 9_500, Some(400_000), false),
            (10_000, 8_000, Some(400_000), true),
        ] {
            let case = format!("asked {asked_ms}, behind {behind_ms}, arrival {arrival:?}");
            assert_eq!(
                reached(opened, after(asked_ms), behind_ms, arrival),
                expected,
                "{case}"
            );
        }
    }
}

//! Begins shards where their positions, or the address, say.

use super::super::cursor::Cursor;
use super::super::fan_out::subscribe;
use super::super::lineage::{Decision, From, Loss};
use super::super::place::Place;
use super::super::poll::poll;
use super::super::reader::{Reader, now_ms};
use super::super::retry::Backoff;
use super::Watch;
use crate::kinesis::{OnLostRecords, Start};
use crate::operator::route::hash_bytes;
use crate::source::SourceError;
use std::sync::Arc;

/// `start=latest` is kept as a time, so that a restart before the first record begins there; clocks
/// may differ by so much.
const CLOCKS_DIFFER_MS: i64 = 1_000;

impl Watch {
    /// Does what the lineage decided.
    pub(super) fn act(
        &mut self,
        kinesis: &str,
        decisions: Vec<Decision>,
    ) -> Result<(), SourceError> {
        let mut readers = Vec::new();
        for decision in decisions {
            match decision {
                Decision::Lost { shard, loss } => self.lost(kinesis, &shard, &loss)?,
                Decision::Begin {
                    shard,
                    from,
                    closed,
                } => {
                    if let Some(reader) = self.reader(kinesis, &shard, from, closed)? {
                        readers.push(reader);
                    }
                }
            }
        }
        // First all streams get positions in all shards, then records are fetched.
        for reader in &mut readers {
            self.inlet.put(reader.cursor.begin(), &mut None);
        }
        for mut reader in readers {
            let consumer_arn = self
                .streams
                .get(kinesis)
                .and_then(|watched| watched.consumer_arn.clone());
            self.readers.spawn(async move {
                let result = match consumer_arn {
                    Some(arn) => subscribe(&mut reader, &arn).await,
                    None => poll(&mut reader).await,
                };
                (reader.kinesis, reader.shard, result)
            });
        }
        Ok(())
    }

    fn lost(&mut self, kinesis: &str, shard: &str, loss: &Loss) -> Result<(), SourceError> {
        let lost = match loss {
            Loss::Gone => "retention deleted the shard before it was read to its end; the records behind its position are lost".to_owned(),
            Loss::Parents(parents) => format!(
                "it continues {}, which retention deleted before they were read; their records are lost",
                parents.join(" and ")
            ),
        };
        match self.address.on_lost_records {
            OnLostRecords::Fail => Err(self.failed(
                &format!("{kinesis}/{shard}"),
                format!(
                    "{lost}; to go on without them, add `on_lost_records=earliest`; to keep records longer, increase the stream's retention period"
                ),
            )),
            OnLostRecords::Earliest => {
                tracing::warn!("{kinesis}/{shard} of {}: {lost}; going on without them", self.address.describe());
                if *loss == Loss::Gone
                    && let Some(cursor) = self.cursor(kinesis, shard, From::Position)?
                {
                    let mut cursor = cursor;
                    self.inlet.put(cursor.end(), &mut None);
                }
                Ok(())
            }
        }
    }

    fn cursor(
        &self,
        kinesis: &str,
        shard: &str,
        from: From,
    ) -> Result<Option<Cursor>, SourceError> {
        let Some(watched) = self.streams.get(kinesis) else {
            return Ok(None);
        };
        let default = match (watched.start, from) {
            (Start::Time(ms), _) => Some(Place::Time(ms)),
            (Start::Latest, From::Start) => {
                Some(Place::Time(self.opened.wall_ms - CLOCKS_DIFFER_MS))
            }
            (Start::Latest, From::Position) => None,
            (Start::Latest, From::Beginning) | (Start::Earliest, _) => Some(Place::Beginning),
        };
        let partition = format!("{kinesis}/{shard}");
        let position = |stream: usize| {
            self.opening
                .position(&self.opening.streams[stream], &partition)
        };
        let range = watched.ranges.get(shard).copied();
        Cursor::new(
            partition.clone(),
            watched.routing.clone(),
            range,
            position,
            default,
            now_ms(),
        )
        .map(Some)
        .map_err(|why| SourceError::Changed {
            source_name: self.address.describe(),
            place: partition.clone(),
            why: format!("{why}; begin a new lake, or read what was read before"),
        })
    }

    fn reader(
        &self,
        kinesis: &str,
        shard: &str,
        from: From,
        closed: bool,
    ) -> Result<Option<Reader>, SourceError> {
        let (Some(watched), Some(cursor)) = (
            self.streams.get(kinesis),
            self.cursor(kinesis, shard, from)?,
        ) else {
            return Ok(None);
        };
        let latest = match watched.start {
            Start::Latest => from == From::Start,
            // The server refuses times to come.
            Start::Time(ms) => from == From::Start && ms > now_ms(),
            Start::Earliest => false,
        };
        let what = format!("read {kinesis}/{shard} of {}", self.address.describe());
        let seed = hash_bytes(shard.as_bytes()) ^ self.opened.wall_ms as u64;
        Ok(Some(Reader {
            client: self.asking.client().clone(),
            source_name: self.address.describe(),
            kinesis: kinesis.to_owned(),
            shard: shard.to_owned(),
            cursor,
            latest,
            closed,
            bounded: self.opening.bounded.then_some(self.opened),
            inlet: self.inlet.clone(),
            retention_ms: Arc::clone(&watched.retention_ms),
            on_lost: self.address.on_lost_records,
            poll: self.address.poll,
            backoff: Backoff::new(seed),
            trying: self.opening.troubles.trying(what),
            oldest: false,
        }))
    }
}

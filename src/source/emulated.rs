//! The embedded emulator as a source: posts at a steady rate, for trying pinflow with nothing
//! installed.
//!
//! Posts are a pure function of their number, so a partition's position is the number of the next
//! post: a restart goes on with the posts that were not committed, and the same records come again.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Chunk, Opening, Position, Read, Source, SourceError, position_key};
use crate::emulator::{Emulator, EmulatorOptions, Stream};

/// Posts by the emulator.
pub struct Emulated {
    emulator: Emulator,
    seed: u64,
    streams: Vec<(Stream, usize)>,
    offsets: Vec<u64>,
    /// Posts of which a stream has all records already, because it was read further than another
    /// one.
    done_until: Vec<u64>,
    rate: f64,
    started: Instant,
    first_post: u64,
    pending: Vec<Chunk>,
    finished: bool,
    opening: Opening,
}

/// All of the emulator is one partition a stream: its posts are numbered through.
const PARTITION: &str = "0";

/// Where the number of the next post is kept in a position's token.
fn post_of(position: &Position) -> u64 {
    position.token.parse().unwrap_or(0)
}

impl Emulated {
    /// Posts `rate` posts a second, beginning where the positions say.
    pub fn open(
        options: EmulatorOptions,
        rate: f64,
        opening: Opening,
    ) -> Result<Self, SourceError> {
        let position = |stream: &str| opening.position(stream, PARTITION);
        let streams: Vec<(Stream, usize)> = Stream::ALL
            .into_iter()
            .filter_map(|stream| {
                Some((
                    stream,
                    opening
                        .streams
                        .iter()
                        .position(|name| name == stream.name())?,
                ))
            })
            .collect();
        let posted = |name: &&String| Stream::ALL.iter().any(|stream| stream.name() == *name);
        let unposted = opening.streams.iter().filter(|name| !posted(name));
        let unposted: Vec<String> = unposted.map(|name| format!("`{name}`")).collect();
        if !unposted.is_empty() && opening.process == 0 {
            tracing::warn!(
                "the emulator posts `pin`, `geo` and `user`, and nothing for {}: say with --source \
                 where these records come from",
                unposted.join(", ")
            );
        }
        let done_until: Vec<u64> = opening
            .streams
            .iter()
            .map(|stream| post_of(&position(stream)))
            .collect();
        let first_post = done_until.iter().copied().min().unwrap_or(0);
        let offsets = opening
            .streams
            .iter()
            .map(|stream| position(stream).offset)
            .collect();
        let seed = options.seed;
        let emulator = Emulator::at(options, first_post).map_err(|error| SourceError::Address {
            address: "emulator:".to_owned(),
            why: error.to_string(),
        })?;
        let finished = opening.process != 0;
        Ok(Emulated {
            seed,
            emulator,
            streams,
            offsets,
            done_until,
            rate,
            started: Instant::now(),
            first_post,
            pending: Vec::new(),
            finished,
            opening,
        })
    }

    fn post(&mut self, until: u64, bytes_max: usize) {
        let mut buffers: Vec<(u64, Vec<u8>)> = vec![(0, Vec::new()); self.offsets.len()];
        let mut total = 0;
        while self.emulator.post_number() < until && total < bytes_max && !self.finished {
            let post = self.emulator.post_number();
            let more = self.emulator.next_post(&mut |stream, _partition, record| {
                if let Some((_, index)) = self.streams.iter().find(|(known, _)| *known == stream)
                    && self.done_until[*index] <= post
                {
                    let (records, bytes) = &mut buffers[*index];
                    *records += 1;
                    bytes.extend_from_slice(record);
                    bytes.push(b'\n');
                    total += record.len();
                }
            });
            self.finished = !more;
        }
        let token = self.emulator.post_number().to_string();
        for (stream, (records, bytes)) in buffers.into_iter().enumerate() {
            if records > 0 {
                let first_offset = self.offsets[stream];
                self.offsets[stream] += records;
                self.pending.push(Chunk {
                    stream,
                    partition: PARTITION.to_owned(),
                    first_offset,
                    records,
                    bytes: Bytes::from(bytes),
                    deletes: Vec::new(),
                    refused: Vec::new(),
                    end: Position {
                        offset: self.offsets[stream],
                        token: token.clone(),
                    },
                    retry: None,
                });
            }
        }
    }
}

impl Source for Emulated {
    fn read(&mut self, bytes_max: usize) -> Result<Read, SourceError> {
        if self.pending.is_empty() && !self.finished {
            let due = self
                .started
                .elapsed()
                .max(Duration::from_millis(1))
                .as_secs_f64()
                * self.rate;
            let until = if self.rate.is_finite() {
                self.first_post + due as u64
            } else {
                u64::MAX
            };
            self.post(until, bytes_max);
        }
        Ok(match self.pending.pop() {
            Some(chunk) => Read::Chunk(chunk),
            None if self.finished => Read::End,
            None => Read::Idle,
        })
    }

    fn identity(&self) -> Option<String> {
        Some(format!("the emulator with the seed {}", self.seed))
    }

    fn describe(&self) -> String {
        let streams: Vec<String> = self
            .opening
            .streams
            .iter()
            .map(|stream| position_key(stream, PARTITION))
            .collect();
        format!("emulator: {} posts/s to {}", self.rate, streams.join(", "))
    }
}

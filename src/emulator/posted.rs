//! What was posted: counts while it goes on, and the report in the end.

use std::fmt;
use std::time::Duration;

use crate::emulator::Stream;
use crate::emulator::summary::grouped;
use crate::latencies::Latencies;

/// Counts of what happened so far.
#[derive(Clone, Default)]
pub(super) struct Tally {
    /// Posts taken from the origin.
    pub(super) posts: u64,
    /// Records taken from the origin, by stream.
    pub(super) made: [u64; 3],
    /// Records that are there, by stream.
    pub(super) acknowledged: [u64; 3],
    /// Bytes of their bodies.
    pub(super) bytes: u64,
    /// Requests that were answered, or failed.
    pub(super) requests: u64,
    /// Times that a record was sent again.
    pub(super) repeated: u64,
    /// Records that the target does not take, by stream.
    pub(super) refused: [u64; 3],
    /// Why the first one was refused.
    pub(super) first_refusal: Option<String>,
    /// What went wrong since a record was acknowledged.
    pub(super) last_trouble: Option<String>,
    /// How long requests took.
    pub(super) latencies: Latencies,
}

impl Tally {
    pub(super) fn acknowledge(&mut self, stream: Stream, bytes: usize) {
        self.acknowledged[stream as usize] += 1;
        self.bytes += bytes as u64;
        self.last_trouble = None;
    }

    pub(super) fn refuse(&mut self, stream: Stream, why: String) {
        self.refused[stream as usize] += 1;
        self.first_refusal.get_or_insert(why);
    }

    pub(super) fn repeat(&mut self, records: usize) {
        self.repeated += records as u64;
    }

    pub(super) fn trouble(&mut self, why: String) {
        self.last_trouble = Some(why);
    }

    /// Records that were made, and neither acknowledged nor refused, by stream.
    fn unsettled(&self) -> [u64; 3] {
        std::array::from_fn(|at| self.made[at] - self.acknowledged[at] - self.refused[at])
    }

    /// Records of all streams that are there.
    pub(super) fn total(&self) -> u64 {
        self.acknowledged.iter().sum()
    }
}

/// What an emulation posted.
#[derive(Clone)]
pub struct Posted {
    pub(super) target: String,
    pub(super) tally: Tally,
    pub(super) interrupted: bool,
    pub(super) time: Duration,
}

impl Posted {
    /// Posts sent.
    pub fn posts(&self) -> u64 {
        self.tally.posts
    }

    /// Records of pin, geo and user that the target acknowledged.
    pub fn acknowledged(&self) -> [u64; 3] {
        self.tally.acknowledged
    }

    /// Records of pin, geo and user that the target refused for good.
    pub fn refused(&self) -> [u64; 3] {
        self.tally.refused
    }

    /// Records of pin, geo and user of which nobody knows whether they are there: the emulation
    /// ended before.
    pub fn unsettled(&self) -> [u64; 3] {
        self.tally.unsettled()
    }

    /// Times that a record was sent again.
    pub fn repeated(&self) -> u64 {
        self.tally.repeated
    }

    /// Whether it was ended from outside.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn by_stream(counts: [u64; 3]) -> String {
    let parts: Vec<String> = Stream::ALL
        .iter()
        .zip(counts)
        .map(|(stream, count)| format!("{} {}", stream.name(), grouped(count)))
        .collect();
    parts.join(", ")
}

/// `812 us`, `3.1 ms`, `2.45 s`
fn short(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} us"),
        micros @ 1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

impl fmt::Display for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let seconds = self.time.as_secs_f64();
        write!(
            f,
            "{} posts to {}{}: {} records acknowledged ({}), {:.1} MB, {seconds:.2} s",
            grouped(tally.posts),
            self.target,
            if self.interrupted {
                ", interrupted"
            } else {
                ""
            },
            grouped(tally.total()),
            by_stream(tally.acknowledged),
            tally.bytes as f64 / 1e6,
        )?;
        if seconds > 0.0 {
            write!(
                f,
                ", {} records/s",
                grouped((tally.total() as f64 / seconds) as u64)
            )?;
        }
        write!(f, "\n{} requests", grouped(tally.requests))?;
        if let (Some(half), Some(most)) = (
            tally.latencies.quantile(0.5),
            tally.latencies.quantile(0.99),
        ) {
            let longest = tally.latencies.longest();
            write!(
                f,
                " (p50 {}, p99 {}, longest {})",
                short(half),
                short(most),
                short(longest)
            )?;
        }
        write!(f, ", {} records sent again", grouped(tally.repeated))?;
        let unsettled: u64 = tally.unsettled().iter().sum();
        if unsettled > 0 {
            write!(
                f,
                "\n{} records not acknowledged ({})",
                grouped(unsettled),
                by_stream(tally.unsettled())
            )?;
        }
        let refused: u64 = tally.refused.iter().sum();
        if refused > 0 {
            write!(
                f,
                "\n{} records refused ({})",
                grouped(refused),
                by_stream(tally.refused)
            )?;
            if let Some(why) = &tally.first_refusal {
                write!(f, ", the first because: {why}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_what_arrived_and_what_did_not() {
        let mut tally = Tally {
            posts: 1500,
            requests: 45,
            repeated: 12,
            ..Tally::default()
        };
        tally.made = [1500, 1500, 1495];
        tally.acknowledged = tally.made;
        tally.bytes = 1_440_000;
        tally.latencies.add(1, Duration::from_micros(800));
        tally.latencies.add(1, Duration::from_millis(25));
        let mut posted = Posted {
            target: "http://h:8082/topics/*".to_owned(),
            tally,
            interrupted: false,
            time: Duration::from_secs(2),
        };
        assert_eq!(
            posted.to_string(),
            "1,500 posts to http://h:8082/topics/*: 4,495 records acknowledged (pin 1,500, geo 1,500, user 1,495), 1.4 MB, 2.00 s, \
             2,247 records/s\n45 requests (p50 831 us, p99 25.0 ms, longest 25.0 ms), 12 records sent again"
        );
        posted.interrupted = true;
        posted.tally.made = [1500, 1503, 1498];
        posted
            .tally
            .refuse(Stream::Geo, "it is too large".to_owned());
        let text = posted.to_string();
        assert!(text.contains("interrupted"));
        assert!(text.ends_with(
            "\n5 records not acknowledged (pin 0, geo 2, user 3)\n1 records refused (pin 0, geo 1, user 0), the first because: it is too large"
        ));
    }
}

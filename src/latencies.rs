//! How long things took, in little memory: counts of ranges that grow geometrically.
//!
//! # Invariant
//! A quantile is never too low, and too high by one part in sixteen at most.

use std::time::Duration;

/// Ranges for each doubling.
const STEPS: u32 = 16;

/// Counts of durations.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// By range, up to the last that has any.
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Latencies {
    /// Counts a duration so many times.
    pub fn add(&mut self, times: u64, duration: Duration) {
        let range = range_of(duration.as_micros() as u64);
        if self.counts.len() <= range {
            self.counts.resize(range + 1, 0);
        }
        self.counts[range] += times;
        self.count += times;
        self.longest = self.longest.max(duration);
    }

    /// Adds the counts of another.
    pub fn extend(&mut self, other: &Latencies) {
        let ranges = self.counts.len().max(other.counts.len());
        self.counts.resize(ranges, 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// The duration that a share of all do not exceed; `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (range, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Some(Duration::from_micros(end_of(range)).min(self.longest));
            }
        }
        None
    }

    /// The longest of all.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

/// The range of a number: below [`STEPS`] one each, then as many for each doubling.
fn range_of(number: u64) -> usize {
    if number < u64::from(STEPS) {
        return number as usize;
    }
    let doublings = number.ilog2() - STEPS.ilog2();
    let step = (number >> doublings) as u32 - STEPS;
    ((doublings + 1) * STEPS + step) as usize
}

/// The largest number of a range.
fn end_of(range: usize) -> u64 {
    let (doublings, step) = (range as u32 / STEPS, range as u32 % STEPS);
    match doublings {
        0 => u64::from(step),
        // In 128 bits, since the last range ends at the largest number there is.
        _ => ((u128::from(STEPS + step + 1) << (doublings - 1)) - 1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_a_range_that_ends_little_above_it() {
        for number in (0..5000).chain([70_000, 1 << 40, (1 << 50) + 12_345, u64::MAX]) {
            let end = end_of(range_of(number));
            assert!(
                end >= number && end - number <= number / 16 + 1,
                "{number} {end}"
            );
        }
    }

    #[test]
    fn quantiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        for ms in 1..=1000 {
            latencies.add(1, Duration::from_millis(ms));
        }
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!((found / ms - 1.0).abs() < 0.07, "{found} for {ms}");
        }
        assert_eq!(latencies.longest(), Duration::from_secs(1));
        let mut more = Latencies::default();
        more.add(9000, Duration::from_secs(2));
        more.extend(&latencies);
        let shares = [0.05, 0.2].map(|share| more.quantile(share).unwrap().as_secs_f64());
        assert!(
            (shares[0] - 0.5).abs() < 0.04 && shares[1] == 2.0,
            "{shares:?}"
        );
    }
}

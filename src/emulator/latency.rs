//! How long requests took, in little memory: counts of logarithmic buckets.

use std::time::Duration;

/// Buckets for each doubling; a quantile is right to one part in this many.
const STEPS: u32 = 16;
const BUCKETS: usize = 64 * STEPS as usize;

/// Counts of durations.
#[derive(Clone)]
pub(super) struct Latencies {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            count: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, time: Duration) {
        self.counts[bucket(time.as_micros() as u64)] += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    /// The duration that a share of all do not exceed; `None` if there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Some(Duration::from_micros(end(bucket)).min(self.longest));
            }
        }
        None
    }

    /// The longest of all.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

/// The bucket of a number: below [`STEPS`] one each, then as many for each doubling.
fn bucket(number: u64) -> usize {
    if number < u64::from(STEPS) {
        return number as usize;
    }
    let doublings = number.ilog2() - STEPS.ilog2();
    let step = (number >> doublings) as u32 - STEPS;
    ((doublings + 1) * STEPS + step) as usize
}

/// The largest number of a bucket.
fn end(bucket: usize) -> u64 {
    let (doublings, step) = (bucket as u32 / STEPS, bucket as u32 % STEPS);
    match doublings {
        0 => u64::from(step),
        _ => (u64::from(STEPS + step + 1) << (doublings - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_a_bucket_that_ends_little_above_it() {
        for number in (0..5000).chain([70_000, 1 << 40, (1 << 50) + 12_345]) {
            let end = end(bucket(number));
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
            latencies.add(Duration::from_millis(ms));
        }
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!((found / ms - 1.0).abs() < 0.07, "{found} for {ms}");
        }
        assert_eq!(latencies.longest(), Duration::from_secs(1));
    }
}

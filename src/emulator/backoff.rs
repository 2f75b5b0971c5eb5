//! How long to wait before something is tried again.

use std::time::Duration;

use crate::emulator::random::Random;

/// Exponential back-off with full jitter: before try `n + 1` a random time below `first * 2^n`
/// passes, and never more than `longest`. Many clients that failed together do not come back
/// together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// The longest wait after the first try.
    pub(super) first: Duration,
    /// The longest wait of all.
    pub(super) longest: Duration,
    /// Tries after the first.
    pub(super) retries: u32,
}

impl Backoff {
    /// The time to wait after `failures` failures in a row (at least one); `None` when it should be
    /// given up.
    pub(super) fn wait(&self, failures: u32, random: &mut Random) -> Option<Duration> {
        if failures > self.retries {
            return None;
        }
        let factor = 1u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let limit = self.first.saturating_mul(factor).min(self.longest);
        let share = f64::from(random.below(u32::MAX)) / f64::from(u32::MAX);
        Some(limit.mul_f64(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::random::Topic;

    #[test]
    fn waits_double_up_to_the_longest_and_then_it_is_given_up() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            retries: 40,
        };
        for (failures, limit_ms) in [(1, 100), (2, 200), (5, 1_600), (7, 5_000), (40, 5_000)] {
            let waits: Vec<Duration> = (0..200)
                .map(|n| {
                    backoff
                        .wait(failures, &mut Random::new(n, Topic::Jitter, 0))
                        .unwrap()
                })
                .collect();
            let limit = Duration::from_millis(limit_ms);
            assert!(waits.iter().all(|wait| *wait <= limit));
            assert!(
                waits.iter().any(|wait| *wait > limit * 9 / 10),
                "waits are spread"
            );
            assert!(
                waits.iter().any(|wait| *wait < limit / 10),
                "waits are spread"
            );
        }
        assert_eq!(
            backoff.wait(41, &mut Random::new(0, Topic::Jitter, 0)),
            None
        );
    }
}

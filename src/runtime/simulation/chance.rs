//! Random numbers from a seed: the same on every machine.

use std::time::Duration;

use crate::operator::route::mix;

/// A row of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Chance(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// Another row, which does not depend on how many numbers were drawn from this one afterwards.
    pub(super) fn fork(&mut self) -> Self {
        Chance::new(self.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number below `n`, mostly a small one: every other time below `n / 5`.
    pub(super) fn small(&mut self, n: u64) -> u64 {
        let limit = 1 + self.below(n);
        self.below(limit)
    }

    /// True once in `n` times; never if `n` is 0.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// How long a thread sleeps that is `sleepy`: about so many milliseconds, and now and then much
    /// longer.
    pub(super) fn nap(&mut self, sleepy: u64) -> Duration {
        let often = if self.once_in(8) { 20 } else { 1 };
        self.pause(sleepy) * often
    }

    /// A pause: mostly short, seldom up to `most` milliseconds.
    pub(super) fn pause(&mut self, most: u64) -> Duration {
        let limit = 1 + self.below(most.max(1));
        Duration::from_micros(self.below(limit * 1000))
    }
}

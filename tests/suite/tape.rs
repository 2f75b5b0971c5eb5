//! Random choices from a row of bytes.
//!
//! A test case is a tape, and whatever is made from it is made by picking. Tapes are shrunk, so the
//! first choice of each list should be the plainest: a tape of zeros, which every tape ends in, is
//! the simplest case there is.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::seed::Cases;

/// Bytes that are turned into choices; behind the end there are zeros.
pub struct Tape<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tape<'a> {
    /// From the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Tape { bytes, at: 0 }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % n
    }

    /// One of `choices`.
    pub fn one<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// True about once in `n` times.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

/// All tapes of up to `length` choices.
pub fn tapes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), length / 2..length)
}

/// So many cases, unless the environment asks for others (see [`Cases`]).
pub fn cases(default: u32) -> ProptestConfig {
    let cases = Cases::or(default.into());
    ProptestConfig {
        cases: cases.count as u32,
        rng_seed: RngSeed::Fixed(cases.first),
        max_shrink_time: 30_000,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

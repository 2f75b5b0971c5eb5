//! Random choices from a row of bytes.
//!
//! A test case is a tape, and whatever is made from it is made by picking. proptest shrinks tapes, so the first choice of each list
//! should be the plainest: a tape of zeros, which every tape ends in, is the simplest case there is.

use proptest::prelude::*;

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

/// The number of cases, unless `PROPTEST_CASES` says otherwise.
pub fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default);
    ProptestConfig {
        cases,
        max_shrink_time: 30_000,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

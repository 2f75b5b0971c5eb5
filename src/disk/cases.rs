//! How many power failures a test tries, and where their files are.

use std::ops::Range;

/// How many images are tried, and from which seed, unless `PINFLOW_CASES` and `PINFLOW_SEED` say
/// otherwise.
const CASES: u64 = 100;
const SEED: u64 = 1;

fn number_of(variable: &str, default: u64) -> u64 {
    let said = std::env::var(variable).ok();
    said.map_or(default, |text| text.parse().expect("a whole number"))
}

/// The seeds to be tried.
pub(crate) fn seeds() -> Range<u64> {
    let first = number_of("PINFLOW_SEED", SEED);
    first..first + number_of("PINFLOW_CASES", CASES)
}

/// A folder whose syncs cost nothing, where there is memory to have files in.
pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

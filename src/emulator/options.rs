//! What an emulation is: how many posts, from which seed, and how badly the world behaves.

use crate::emulator::EmulatorError;
use crate::emulator::dates::DateForm;

/// The options of an emulation. The same options always give the same bytes.
///
/// Shares are probabilities in `0.0..=1.0`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmulatorOptions {
    /// How many posts there are; `None` never ends.
    pub posts: Option<u64>,
    /// Chooses one of 2^64 worlds.
    pub seed: u64,
    /// Share of records that are sent a second time, byte for byte: half of them at once, the
    /// others up to 2,000 posts later.
    pub duplicates: f64,
    /// Share of posts with placeholders, odd follower counts, empty or blank texts: valid records
    /// that need cleaning.
    pub dirty: f64,
    /// Share of posts of which one record comes up to 2,000 posts late.
    pub late: f64,
    /// Share of posts sent again with the same key and another value, after every other copy of
    /// that post.
    pub updates: f64,
    /// Share of records that cannot become rows: cut JSON, wrong types, null keys, dates that are
    /// none.
    pub broken: f64,
    /// Share of records in an uncommon wire form: rare date forms, numbers as strings, a row
    /// wrapped in an array, `\u` escapes, blanks between tokens. (`T` and space dates are always
    /// mixed.)
    pub variants: f64,
    /// How all dates are spelled; `None` mixes the two common forms and, among `variants`, the
    /// others.
    pub dates: Option<DateForm>,
    /// Partitions of each stream. The records of a post are in the same partition of each.
    pub partitions: u32,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        Self {
            posts: None,
            seed: 100,
            duplicates: 0.05,
            dirty: 0.15,
            late: 0.02,
            updates: 0.02,
            broken: 0.0,
            variants: 0.02,
            dates: None,
            partitions: 4,
        }
    }
}

/// Above this, one file a partition is no longer a sensible layout, and partition numbers of real
/// brokers end.
pub(super) const MOST_PARTITIONS: u32 = 10_000;

impl EmulatorOptions {
    /// Checks every value; the error names the first bad one.
    pub fn validate(&self) -> Result<(), EmulatorError> {
        for (name, value) in [
            ("duplicates", self.duplicates),
            ("dirty", self.dirty),
            ("late", self.late),
            ("updates", self.updates),
            ("broken", self.broken),
            ("variants", self.variants),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(EmulatorError::Share { name, value });
            }
        }
        if !(1..=MOST_PARTITIONS).contains(&self.partitions) {
            return Err(EmulatorError::Partitions(self.partitions));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_outside_zero_to_one_is_refused_by_name() {
        for value in [-0.1, 1.5, f64::NAN] {
            let options = EmulatorOptions {
                late: value,
                ..EmulatorOptions::default()
            };
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains("`late`"), "{error}");
        }
    }

    #[test]
    fn there_is_at_least_one_partition() {
        let options = EmulatorOptions {
            partitions: 0,
            ..EmulatorOptions::default()
        };
        assert!(options.validate().is_err());
    }
}

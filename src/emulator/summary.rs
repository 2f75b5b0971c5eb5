//! What an emulation has written: so far, and in the end.

use std::fmt;

use crate::emulator::Stream;

/// How far an emulation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Posts sent.
    pub posts: u64,
    /// Records of all streams.
    pub records: u64,
    /// Bytes of records with their line ends, before any compression.
    pub bytes: u64,
}

/// What an emulation wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Posts sent.
    pub posts: u64,
    /// Records of each stream, in the order of [`Stream::ALL`], with copies and updates.
    pub records: [u64; 3],
    /// Bytes of records with their line ends, before any compression.
    pub bytes: u64,
    /// Files written.
    pub files: u64,
    /// Time it took.
    pub seconds: f64,
}

impl Summary {
    /// Records of all streams.
    pub fn total(&self) -> u64 {
        self.records.iter().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} posts as {} records (",
            grouped(self.posts),
            grouped(self.total())
        )?;
        for (at, stream) in Stream::ALL.into_iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}", stream.name(), grouped(self.records[at]))?;
        }
        let megabytes = self.bytes as f64 / 1e6;
        write!(
            f,
            "), {megabytes:.1} MB in {} files, {:.2} s",
            grouped(self.files),
            self.seconds
        )?;
        if self.seconds > 0.0 {
            let rate = self.total() as f64 / self.seconds;
            write!(f, ", {} records/s", grouped(rate as u64))?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_as_a_sentence() {
        let summary = Summary {
            posts: 1000,
            records: [1000, 1001, 999],
            bytes: 812_345,
            files: 12,
            seconds: 0.5,
        };
        assert_eq!(
            summary.to_string(),
            "1,000 posts as 3,000 records (pin 1,000, geo 1,001, user 999), 0.8 MB in 12 files, 0.50 s, 6,000 records/s"
        );
    }
}
